# SPDX-License-Identifier: MIT
"""The running system: Asterisk's console, processes, users, systemd.

Every wait has a time-out.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final

from fastagi.checks.console import console_socket, run_command
from fastagi.errors import Problem
from fastagi.setup.errors import SetupFailed
from fastagi.setup.paths import Root
from fastagi.setup.settings_file import AGI_PORT

#: The user of the service.
USER: Final = "callback-queue"
#: The unit of the web process, which setup does not enable.
WEB_UNIT: Final = "callback-queue-web"
_CONSOLE_S: Final = 10.0
_COMMAND_S: Final = 120.0
#: How many ports behind the usual one are tried.
_PORTS: Final = 30
_LONGEST_PID: Final = 32


class Reload(Enum):
    """What became of letting Asterisk read its files again."""

    DONE = auto()
    NOT_RUNNING = auto()
    NO_ANSWER = auto()


class Machine:
    """The machine on which Asterisk runs.

    Args:
        root: its root directory.
        config_dir: the directory of Asterisk's configuration there.
    """

    def __init__(self, root: Root, config_dir: Path) -> None:
        self.root = root
        self.config_dir = config_dir

    # -- Asterisk

    @property
    def _socket(self) -> Path:
        """The socket of Asterisk's console."""
        return self.root.inside(console_socket(self.root.inside(self.config_dir)))

    def console(self, command: str) -> str | None:
        """Run a command on Asterisk's console; None if it does not answer."""
        return run_command(self._socket, command, _CONSOLE_S)

    def asterisk_runs_as(self) -> tuple[int, int] | None:
        """Return user and group of the running Asterisk."""
        try:
            text = self._socket.with_name("asterisk.pid").read_text()[:_LONGEST_PID]
            status = Path(f"/proc/{int(text)}").stat()
        except (OSError, ValueError):
            return None
        # In a container or a tree the number is that of another process.
        if not self.root.is_this_machine:
            return None
        return status.st_uid, status.st_gid

    def reload_asterisk(self) -> Reload:
        """Let Asterisk read its files again."""
        if all(self.console(command) is not None for command in RELOADS):
            return Reload.DONE
        return Reload.NO_ANSWER if self._has_console else Reload.NOT_RUNNING

    @property
    def _has_console(self) -> bool:
        """Whether some process has Asterisk's console open, even if it hangs."""
        if not self._socket.exists():
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONSOLE_S)
            try:
                probe.connect(str(self._socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                pass
        return True

    # -- the port

    def free_port(self) -> int:
        """Return the first port from the usual one on that nothing listens on."""
        if not self.root.is_this_machine:
            return AGI_PORT
        for port in range(AGI_PORT, AGI_PORT + _PORTS):
            if _is_free(port):
                return port
        return AGI_PORT

    # -- users

    def user_ids(self) -> tuple[int, int] | None:
        """Return the user and the group of the service; None if it does not exist."""
        return self.root.user(USER)

    def add_user(self, sysusers: Path) -> bool:
        """Add the user of the service; False if no program can.

        Args:
            sysusers: the file for systemd-sysusers.

        Raises:
            SetupFailed: the program failed.
        """
        directory = str(self.root.directory)
        if shutil.which("systemd-sysusers"):
            self.run(["systemd-sysusers", f"--root={directory}", str(sysusers)])
        elif self.root.is_this_machine and shutil.which("useradd"):
            self.run(
                [
                    *("useradd", "--system", "--user-group", "--no-create-home"),
                    *("--home-dir", f"/var/lib/{USER}", "--shell", "/usr/sbin/nologin"),
                    USER,
                ]
            )
        return self.user_ids() is not None

    # -- systemd

    @property
    def has_systemd(self) -> bool:
        """Whether systemd runs here."""
        return self.root.is_this_machine and Path("/run/systemd/system").is_dir()

    @property
    def service_runs(self) -> bool:
        """Whether the service runs on this machine, under systemd."""
        return self.has_systemd and self.service_is_active

    @property
    def service_is_active(self) -> bool:
        """Whether systemd says that the service runs."""
        try:
            self.run(["systemctl", "is-active", "--quiet", USER])
        except SetupFailed:
            return False
        return True

    @property
    def web_is_enabled(self) -> bool:
        """Whether systemd starts the web process."""
        try:
            self.run(["systemctl", "is-enabled", "--quiet", WEB_UNIT])
        except SetupFailed:
            return False
        return True

    def run(self, argv: Sequence[str]) -> None:
        """Run a command.

        Raises:
            SetupFailed: it failed; the text has what it said.
        """
        shown = " ".join(argv)
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupFailed(f"'{shown}' failed: {error}", "run it by hand") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip() or f"code {done.returncode}"
            raise SetupFailed(f"'{shown}' failed: {said}", "run it by hand")


#: What lets Asterisk read the changed files again.
RELOADS: Final = ("manager reload", "dialplan reload", "module reload app_queue.so")
#: The same for an administrator.
RELOADS_BY_HAND: Final = "; ".join(f"sudo asterisk -rx '{one}'" for one in RELOADS)


def port_owner(port: int) -> str:
    """Return the program that listens on a port of this machine; "" if unknown."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, rows):
            # 0A: it listens.
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(one) in inodes for one in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue
    return ""


def needs_root(root: Root) -> Problem | None:
    """Return a problem if this user can not install on a machine."""
    if os.geteuid() == 0 or not root.is_this_machine:
        return None
    return Problem(
        "callback-queue setup",
        "only root may write Asterisk's files",
        "run it with sudo; --preview shows what it would write",
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
