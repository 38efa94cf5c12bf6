# SPDX-License-Identifier: MIT
"""The web process beside a `Rig`, as its unit runs it, with people who may use it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import yaml

from fastagi.web.people import sessions, tokens, users
from fastagi.web.people.access import Right, Role
from fastagi.web.state import versions
from fastagi.web.state.direct import committed
from tests.bench.rig import Rig, pause
from tests.process.program import free_port

#: Nice value of CPUWeight=20 beside services with the usual weight of 100.
_NICE = "7"
_READY_S = 60.0


class WebProcess:
    """One ``callback-queue web``."""

    def __init__(self, rig: Rig) -> None:
        self._home = rig.home
        self._url = f"sqlite:///{rig.home}/web.sqlite3"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            "web": {"port": self.port},
            "service": {
                "socket": str(rig.home / "control.sock"),
                "database_url": rig.database_url,
            },
            "database": {"url": self._url},
            "limits": {"per_address": 100_000, "per_client": 100_000},
            "log": {"level": "warn"},
        }
        (rig.home / "web.yaml").write_text(yaml.safe_dump(settings))
        versions.prepare(self._url)

    def cookies(self, count: int, role: Role = Role.SUPERVISOR) -> list[str]:
        """Return the cookies of one user's sessions."""
        now_s = time.time()
        with committed(self._url) as conn:
            user = users.add(conn, now_s, name=role.value, role=role, queues=None)
            return [
                "cbq_session="
                + sessions.begin(
                    conn, now_s, user, login="password", address="", browser=""
                )
                for _ in range(count)
            ]

    def tokens(self, count: int, rights: Iterable[Right]) -> list[str]:
        """Return the tokens of programs."""
        with committed(self._url) as conn:
            return [
                tokens.make(
                    conn,
                    time.time(),
                    name=f"program-{number}",
                    rights=tuple(rights),
                    queues=None,
                    expires_at=None,
                    by="admin",
                )[1]
                for number in range(count)
            ]

    async def start(self) -> None:
        """Start the process; return when it answers.

        Raises:
            RuntimeError: it does not; the text holds its log.
        """
        with (self._home / "web.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "nice", "-n", _NICE),
                    *(sys.executable, "-m", "fastagi.command.cli", "web", "run"),
                    *("--config", str(self._home / "web.yaml")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )
        end = time.monotonic() + _READY_S
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError((self._home / "web.log").read_text()[-3000:])
            await pause(0.2)

    def _answers(self) -> bool:
        address = f"http://127.0.0.1:{self.port}/api/v1/ready"
        try:
            with urllib.request.urlopen(address, timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """End it as systemd does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        self._process = None

    def kill(self) -> None:
        """End it, after a failure."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._process = None
