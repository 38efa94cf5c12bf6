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
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastagi.dialplan import Variable
from tests.emulator.agi_client import AsteriskAgi
from tests.lab.ports import HeldPort
from tests.process.program import Program
from tests.store.harness import PATIENCE_S

#: What the dialplan gives the service, in seconds: callback-ask.
DIALPLAN_S = 1.0
#: Room for some hundreds of tasks.
SMALL_DISK_BYTES = 2_000_000
#: How often what can only be asked for is asked for, in seconds.
_PAUSE_S = 0.02


class RunningService(Program):
    """``callback-queue run`` with the queue ``support``.

    Args:
        home: a directory of the test.
        url: of its database.
        small_disk: a directory that is a small disk of the service's own.
    """

    def __init__(self, home: Path, url: str, *, small_disk: Path | None = None) -> None:
        self.url = url
        # Nobody else gets them while a test takes its time.
        self._ports = HeldPort(), HeldPort()
        agi, ami = self._ports
        super().__init__(
            home,
            runs_in=_on_small_disk(small_disk),
            environ={"PYTHONWARNINGS": "default"},
            ami={"port": ami.number},
            fastagi={"port": agi.number},
            database={"url": url},
            log={"level": "info"},
        )

    def end(self) -> int:
        """End it at once: its database may be one that holds it up."""
        assert self._process is not None
        self._process.kill()
        for port in self._ports:
            port.release()
        return self._process.wait()

    def seen(self, path: Path) -> Path:
        """Return where a file of the service's own disk is for everybody else."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

    def log_says(self, pattern: str) -> bool:
        """Whether some line of its log says so."""
        return re.search(pattern, self.said) is not None

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so.

        Raises:
            AssertionError: it is not so in time, or the service has ended.
        """
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.assert_runs()
            assert time.monotonic() < end, self.said
            time.sleep(_PAUSE_S)

    def ask(self, command: str, **arguments: Any) -> Any:
        """Ask through the control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.socket))
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
        address = ("127.0.0.1", self.agi_port)
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
