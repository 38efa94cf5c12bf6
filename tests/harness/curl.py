# SPDX-License-Identifier: MIT
"""A stand-in for curl, for the examples of docs/ on machines that have none.

It takes the options that the examples use, and no others. It imports nothing but the
standard library, as it runs without the packages of the tests.
"""

from __future__ import annotations

import argparse
import http.client
import shlex
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

#: The exit code of curl after an answer with an error, with --fail-with-body.
_HTTP_ERROR = 22


def install(folder: Path) -> Path:
    """Put the stand-in into a folder under the name curl; return the folder."""
    program = folder / "curl"
    here = [sys.executable, "-IS", __file__]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(here)} "$@"\n')
    program.chmod(0o755)
    return folder


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def main() -> int:
    """Send one request and print the body of the answer."""
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--show-error", action="store_true")
    parser.add_argument("--fail-with-body", action="store_true")
    parser.add_argument("--no-buffer", action="store_true")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--json")
    parser.add_argument("--request")
    parser.add_argument("--unix-socket")
    parser.add_argument("--max-time", type=float, default=30.0)
    given = parser.parse_args()
    url = urlsplit(given.url)
    if url.scheme != "http" or not url.hostname:
        parser.error(f"{given.url} is no address with http://")
    connection = (
        _UnixConnection(given.unix_socket, given.max_time)
        if given.unix_socket
        else http.client.HTTPConnection(url.hostname, url.port, timeout=given.max_time)
    )
    headers = {"Accept": "*/*"}
    if given.json is not None:
        headers = dict.fromkeys(("Accept", "Content-Type"), "application/json")
    for header in given.header:
        name, _, value = header.partition(":")
        headers[name.strip()] = value.strip()
    method = given.request or ("GET" if given.json is None else "POST")
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    body = None if given.json is None else given.json.encode()
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    while piece := answer.read1():
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return _HTTP_ERROR if given.fail_with_body and answer.status >= 400 else 0


if __name__ == "__main__":
    sys.exit(main())
