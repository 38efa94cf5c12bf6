#!/usr/lib/callback-queue/bin/python -I
# SPDX-License-Identifier: MIT
"""The health check of a container: ``callback-queue-health [service|web] [--alive]``.

Exit code 0 if the service answers, may place calls on every Asterisk and can use its
database; or if the web process answers and reaches the service. With --alive it is
enough that the process answers. It loads nothing but the standard library, as it runs
every minute.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
from collections.abc import Mapping
from typing import Any

_TIMEOUT_S = 8.0


class _Unhealthy(Exception):
    """The text says why."""


class _ControlSocket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("callback-queue", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def main() -> int:
    """Read the arguments and say whether the process is healthy."""
    parser = argparse.ArgumentParser(prog="callback-queue-health")
    parser.add_argument(
        "process", nargs="?", choices=["service", "web"], default="service"
    )
    parser.add_argument("--alive", action="store_true")
    parser.add_argument("--socket", default="/run/callback-queue/control.sock")
    parser.add_argument("--port", type=int, default=8573)
    options = parser.parse_args()
    try:
        if options.process == "web":
            _check_web(options.port, alive=options.alive)
        else:
            _check_service(options.socket, alive=options.alive)
    except (_Unhealthy, OSError, http.client.HTTPException, ValueError) as error:
        print(f"{options.process}: {error}", file=sys.stderr)
        return 1
    return 0


def _check_service(path: str, *, alive: bool) -> None:
    answer = _ask(_ControlSocket(path), "POST", "/v1/commands/status")
    if alive:
        return
    links = answer.get("nodes") or [answer["asterisk"]]
    errors = [_why_not(link, several=len(links) > 1) for link in links]
    # With several Asterisks, a restart of the service helps none that is down.
    if all(errors):
        raise _Unhealthy("; ".join(errors))
    if answer["database"] != "ok":
        raise _Unhealthy(answer["database"])


def _why_not(link: Mapping[str, Any], *, several: bool) -> str:
    """Return why an Asterisk can not be used; empty: it can."""
    if link["connected"] and not link.get("error"):
        return ""
    error = link.get("error") or "not connected to Asterisk"
    return f"{link['name']}: {error}" if several else str(error)


def _check_web(port: int, *, alive: bool) -> None:
    web = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    _ask(web, "GET", f"/api/v1/{'alive' if alive else 'ready'}")


def _ask(connection: http.client.HTTPConnection, method: str, path: str) -> Any:
    try:
        connection.request(method, path, "{}" if method == "POST" else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        detail = answer.get("detail") if isinstance(answer, dict) else None
        raise _Unhealthy(f"status {response.status}: {detail or 'no reason given'}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
