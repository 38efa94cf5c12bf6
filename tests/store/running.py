# SPDX-License-Identifier: MIT
"""The service as a separate process on a real database, and callers who press 1.

There is no Asterisk: a caller is the other end of a FastAGI connection, and reads the
variables on which the dialplan would act.
"""

from __future__ import annotations

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
from fastagi.doors import client
from fastagi.service.commands import COMMANDS
from tests.emulator.agi_client import AsteriskAgi
from tests.lab.ports import HeldPort
from tests.process.program import Program
from tests.store.harness import PATIENCE_S

#: Time limit of the dialplan's request, in seconds: callback-ask.
DIALPLAN_S = 1.0
#: Space for several hundred tasks.
SMALL_DISK_BYTES = 2_000_000
#: Pause between two checks of a condition that has no event, in seconds.
_PAUSE_S = 0.02


class RunningService(Program):
    """``callback-queue run`` with the queue ``support``.

    Args:
        home: a directory of the test.
        url: the URL of its database.
        small_disk: a directory that is a small disk in the service's namespace.
    """

    def __init__(self, home: Path, url: str, *, small_disk: Path | None = None) -> None:
        self.url = url
        # Held, so that nobody else gets these ports during the test.
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
        """Kill it: its database may be blocked."""
        assert self._process is not None
        self._process.kill()
        for port in self._ports:
            port.release()
        return self._process.wait()

    def seen(self, path: Path) -> Path:
        """Return the path outside of a file on the service's own disk."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

    def log_says(self, pattern: str) -> bool:
        """Return whether a line of its log matches."""
        return re.search(pattern, self.said) is not None

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition is true.

        Raises:
            AssertionError: it is not true in time, or the service has ended.
        """
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.assert_runs()
            assert time.monotonic() < end, self.said
            time.sleep(_PAUSE_S)

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command through the control socket."""
        kind = COMMANDS[command]
        with client.Service(str(self.socket), PATIENCE_S) as service:
            return service.do(kind(**arguments))

    @property
    def database(self) -> str:
        """What ``status`` reports about the database."""
        return str(self.ask("status")["database"])

    def numbers(self, **arguments: Any) -> set[str]:
        """Return the numbers of the open tasks."""
        return {task["number"] for task in self.ask("tasks.list", **arguments)}

    def press_until_accepted(self, number: str) -> None:
        """Let a caller press 1, again if a busy machine was too slow."""
        self.wait_until(lambda: self.press(number) in {"ACCEPTED", "ALREADY"})

    def press(self, number: str) -> str:
        """Let a caller press 1; return the status for the dialplan.

        Empty: no answer in time, so the dialplan puts the caller back in line.
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


#: The disk is in a mount namespace, and ends with the process.
_WITH_DISK = f"""
mount -t tmpfs -o size={SMALL_DISK_BYTES} callbacks "$0"
exec "$@"
"""


def _on_small_disk(directory: Path | None) -> list[str]:
    if directory is None:
        return []
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ["unshare", "--mount", *as_root, "sh", "-ec", _WITH_DISK, str(directory)]
