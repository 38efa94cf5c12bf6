# SPDX-License-Identifier: MIT
"""The web process, run as a user runs it: a settings file and a command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

import yaml

from tests.lab.closing import Starting
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.processes import wait_for_matches
from tests.lab.program import FORK, Launcher, Program
from tests.lab.service import Service

_READY_S = 30.0
_STOP_S = 15.0
_COMMAND_S = 30.0
_LINK = re.compile(r"https?://\S+")


class Web(Starting):
    """One ``callback-queue web`` beside one service."""

    def __init__(
        self,
        service: Service,
        settings: Mapping[str, Any] | None = None,
        *,
        launcher: Launcher = FORK,
        port: int | None = None,
    ) -> None:
        self._launcher = launcher
        self.home = service.home
        self.port = _free_port() if port is None else port
        self.address = f"http://127.0.0.1:{self.port}"
        self.config = self.home / "web.yaml"
        contents = {
            "web": {"port": self.port},
            "service": {
                "socket": service.settings["control"]["socket"],
                "database_url": service.settings["database"]["url"],
            },
            "database": {"url": f"sqlite:///{self.home}/web.sqlite3"},
            **(settings or {}),
        }
        self.config.write_text(yaml.safe_dump(contents, sort_keys=False))
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._process: Program | None = None

    def start(self) -> None:
        """Start it; return when it listens.

        Raises:
            DeadlinePassed: it does not; the text holds what it said.
        """
        seen = len(self._lines)
        self._process = self._launcher.start(
            ["web", "run", "--config", str(self.config)],
            cwd=self.home,
            environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        threading.Thread(
            target=self._read, args=(self._process,), name="web log", daemon=True
        ).start()
        self.wait_for(r"listens on", after=seen)

    def stop(self) -> None:
        """Stop it as systemd does."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                raise DeadlinePassed(
                    f"the web process did not end:\n{self.report()}"
                ) from None

    def close(self) -> None:
        """End it in any state."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)

    def first_link(self) -> str:
        """Return the one-time link that the first start prints."""
        return _link_in(self.wait_for("make the first administrator"))

    def cli(self, *arguments: str) -> str:
        """Run ``callback-queue web ARGUMENTS`` and return what it prints."""
        done = self._launcher.run(
            ["web", *arguments, "--config", str(self.config)],
            cwd=self.home,
            environment=dict(os.environ),
            timeout_s=_COMMAND_S,
        )
        if done.returncode:
            raise LabError(f"web {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return str(done.stdout)

    def add_user(self, name: str, role: str, *queues: str) -> str:
        """Add a user; return the link that sets the password."""
        of_queues = [word for queue in queues for word in ("--queue", queue)]
        if role == "supervisor" and not queues:
            of_queues = ["--all-queues"]
        said = self.cli("user", "add", name, "--role", role, *of_queues, "--link")
        return _link_in(said)

    def add_wall_link(self, name: str, *queues: str) -> str:
        """Return the address of a new wall link."""
        of_queues = [word for queue in queues for word in ("--queue", queue)]
        return _link_in(
            self.cli("wall-link", "add", name, *(of_queues or ["--all-queues"]))
        )

    def wait_for(self, pattern: str, *, after: int = 0) -> str:
        """Wait for a line of its log that matches; return it.

        Raises:
            DeadlinePassed: it did not come; the text holds the log.
        """
        found = wait_for_matches(
            self._changed,
            lambda: self._lines[after:],
            lambda line: re.search(pattern, line),
            _READY_S,
            1,
        )
        if not found:
            raise DeadlinePassed(f"no line with {pattern!r}:\n{self.report()}")
        return found[0]

    def report(self) -> str:
        """Return the log."""
        with self._changed:
            return "\n".join(self._lines)

    def _read(self, process: Program) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for raw in stream:
                with self._changed:
                    self._lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()


def _link_in(text: str) -> str:
    if (found := _LINK.search(text)) is None:
        raise LabError(f"there is no link in {text!r}")
    return found[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
