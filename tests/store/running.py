# SPDX-License-Identifier: MIT
"""The service as a process of its own on a real database, and callers who press 1.

There is no Asterisk: a caller is the other end of a FastAGI connection, and hears what
the variables say that the dialplan would go by.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from fastagi.dialplan import Variable
from tests.lab.ports import HeldPort
from tests.store.harness import PATIENCE_S
from tests.support.agi_client import AsteriskAgi

#: What the dialplan gives the service, in seconds: callback-ask.
DIALPLAN_S = 1.0
#: Room for some hundreds of tasks.
SMALL_DISK_BYTES = 2_000_000
#: How often what can only be asked for is asked for, in seconds.
_PAUSE_S = 0.02


class RunningService:
    """``callback-queue run`` with the queue ``support``."""

    def __init__(self, url: str, *, small_disk: Path | None = None) -> None:
        """Start it.

        Args:
            url: of its database.
            small_disk: a directory that is a small disk of the service's own.
        """
        self.url = url
        self.home = Path(tempfile.mkdtemp(prefix="callback-queue-service-"))
        self._agi = HeldPort()
        self._ami = HeldPort()
        self._socket = self.home / "control.sock"
        config = self.home / "callback-queue.yaml"
        settings = {
            "ami": {"port": self._ami.number, "secret": "nobody listens"},
            "fastagi": {"port": self._agi.number},
            "database": {"url": url},
            "control": {"socket": str(self._socket)},
            "queues": {"support": {"outbound_channel": "PJSIP/{number}@trunk"}},
        }
        config.write_text(yaml.safe_dump(settings))
        self.arguments = ("--config", str(config))
        self._log = self.home / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *_on_small_disk(small_disk),
                    *_program("run", *self.arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )

    def __enter__(self) -> Self:
        try:
            # It listens here last.
            self.wait_until(self._listens)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it at once and remove every trace."""
        self.process.kill()
        self.process.wait()
        for port in (self._agi, self._ami):
            port.release()
        shutil.rmtree(self.home)

    def _listens(self) -> bool:
        with suppress(OSError):
            address = ("127.0.0.1", self._agi.number)
            with socket.create_connection(address, timeout=DIALPLAN_S):
                return True
        return False

    def seen(self, path: Path) -> Path:
        """Return where a file of the service's own disk is for everybody else."""
        return Path(f"/proc/{self.process.pid}/root") / path.relative_to("/")

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def log_says(self, pattern: str) -> bool:
        """Whether some line of its log says so."""
        return re.search(pattern, self.log) is not None

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so.

        Raises:
            AssertionError: it is not so in time, or the service has ended.
        """
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(_PAUSE_S)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line."""
        return subprocess.run(
            _program(*arguments, *self.arguments),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def ask(self, command: str, **arguments: Any) -> Any:
        """Ask through the control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self._socket))
            request = {"command": command, **arguments}
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(connection.makefile("rb").readline())
        assert answer["ok"], answer
        return answer["result"]

    @property
    def database(self) -> str:
        """What ``status`` says of the database."""
        return str(self.ask("status")["database"])

    def numbers(self, **arguments: Any) -> set[str]:
        """Return the numbers of the open tasks."""
        return {task["number"] for task in self.ask("tasks.list", **arguments)}

    def press_until_accepted(self, number: str) -> None:
        """Have a caller press 1, and again where a busy machine was too slow."""
        self.wait_until(lambda: self.press(number) in {"ACCEPTED", "ALREADY"})

    def press(self, number: str) -> str:
        """Have a caller press 1; return what the dialplan is told.

        Empty: nothing before it gave up. The caller is back in line then.
        """
        uniqueid = secrets.token_hex(8)
        channel = AsteriskAgi(
            args=("support", "1", uniqueid),
            headers={"agi_uniqueid": uniqueid, "agi_callerid": number},
        )
        address = ("127.0.0.1", self._agi.number)
        end = time.monotonic() + DIALPLAN_S
        with socket.create_connection(address, timeout=DIALPLAN_S) as connection:
            connection.sendall(channel.start())
            while (left_s := end - time.monotonic()) > 0:
                if not select.select([connection], [], [], left_s)[0]:
                    break
                data = connection.recv(4096)
                if not data:
                    break
                connection.sendall(channel.receive(data))
        return channel.variables.get(Variable.STATUS, "")


#: The disk is in a namespace of mounts, and goes with the process.
_WITH_DISK = f"""
mount -t tmpfs -o size={SMALL_DISK_BYTES} callbacks "$0"
exec "$@"
"""


def _on_small_disk(directory: Path | None) -> list[str]:
    if directory is None:
        return []
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ["unshare", "--mount", *as_root, "sh", "-ec", _WITH_DISK, str(directory)]


def _program(*arguments: str) -> list[str]:
    # Not the script beside the interpreter: it may be of another working copy.
    return [sys.executable, "-m", "fastagi.cli", *arguments]
