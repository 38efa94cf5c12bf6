# SPDX-License-Identifier: MIT
"""The process of the service: whether it runs, as which user, with which rights.

``check`` is mostly run by root, who may do everything. What counts are the rights of
the service's user, so the file system is asked for that user.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.console import console_socket
from fastagi.checks.finding import Notes
from fastagi.doors import client
from fastagi.errors import CallbackError
from fastagi.plain_file import open_plain
from fastagi.runtime.kernel_limits import open_files
from fastagi.service.commands import ShowStatus

#: The user that the systemd unit names.
DEFAULT_USER: Final = "callback-queue"
#: The user id for an unknown user: one that owns nothing.
_NO_GROUP: Final = 65534
_TIMEOUT_S: Final = 10.0
#: Bytes of the file with Asterisk's process id that are read.
_LONGEST_PID: Final = 32


@attrs.frozen
class Running:
    """Facts about the running service.

    Attributes:
        uid: the user it runs as.
        groups: those the process has besides its own; None if they are not known.
        status: its answer to ``status``; None if it does not answer.
        gid: the group it runs as; None if that is not known.
        open_files: how many files it may have open; None if that is not known.
        is_outdated: whether it is of an earlier version that can not be asked.
    """

    uid: int
    status: Mapping[str, Any] | None
    groups: tuple[int, ...] | None = None
    gid: int | None = None
    open_files: int | None = None
    is_outdated: bool = False


def running_service(socket_path: str) -> Running | None:
    """Ask the running service for its facts over the control socket.

    Returns:
        None if no service runs.

    Raises:
        SocketRefused: this user may not ask.
    """
    try:
        with client.Service(socket_path) as service:
            pid, uid, gid = service.credentials
            running = Running(uid, None, _groups_of(pid), gid, open_files(pid))
            try:
                return attrs.evolve(running, status=service.do(ShowStatus()))
            except client.OtherVersion:
                return attrs.evolve(running, is_outdated=True)
            except CallbackError:
                return running
    except client.SocketRefused:
        raise
    except CallbackError:
        return None


def _groups_of(pid: int) -> tuple[int, ...] | None:
    """Return the supplementary groups of a process, such as those from systemd."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("Groups:"))
        return tuple(int(group) for group in line.split()[1:])
    except (OSError, StopIteration, ValueError):
        return None


@attrs.frozen
class User:
    """The user that the service runs as."""

    name: str
    uid: int
    #: The groups of the process, if it runs; the user may have got more since.
    groups: tuple[int, ...] | None = None
    #: The group of the process, if it runs.
    gid: int | None = None
    #: Whether this is the service's user; otherwise it is the user who runs ``check``.
    is_service: bool = True

    @property
    def is_us(self) -> bool:
        """Whether this process has the same rights."""
        return self.uid == os.geteuid()

    def may(self, mode: str, path: Path) -> bool:
        """Ask the file system whether the user may use a path.

        Args:
            mode: one of "r", "w" and "x".
            path: an existing path.
        """
        flag = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[mode]
        if self.is_us:
            return os.access(path, flag, effective_ids=True)
        group, groups = self._usual_groups()
        done = subprocess.run(
            ["test", f"-{mode}", str(path)],
            cwd="/",
            user=self.uid,
            group=group if self.gid is None else self.gid,
            extra_groups=groups if self.groups is None else self.groups,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return done.returncode == 0

    def _usual_groups(self) -> tuple[int, Sequence[int]]:
        """Return the user's group, and all groups that a new process would have."""
        try:
            entry = pwd.getpwuid(self.uid)
        except KeyError:
            return _NO_GROUP, ()
        return entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)

    @property
    def owner(self) -> str:
        """User and group in the form of chown."""
        try:
            entry = pwd.getpwuid(self.uid)
            return f"{entry.pw_name}:{grp.getgrgid(entry.pw_gid).gr_name}"
        except KeyError:
            return str(self.uid)


def note_missing_right(
    notes: Notes, user: User, where: object, what: str, remedy: str
) -> None:
    """Note a missing right, if the user is the service's.

    Args:
        notes: the findings of the area.
        user: from ``service_user``.
        where: the file or directory.
        what: the missing right, such as "may not read it".
        remedy: how to grant it to the service.
    """
    if user.is_service:
        notes.fault(where, f"{user.name} {what}", remedy)
    else:
        notes.skip(
            where,
            f"not checked: {user.name} {what}",
            "run this check as root, who can look at it as the user of the service",
        )


def asterisk_user(machine: AsteriskMachine) -> User | None:
    """Return Asterisk's user; None if it is unknown, or its rights cannot be checked.

    Only root can ask the file system about another user.
    """
    pid_file = console_socket(machine.config_dir).with_name("asterisk.pid")
    try:
        with open_plain(pid_file) as file:
            pid = int(file.read(_LONGEST_PID))
        uid = Path(f"/proc/{pid}").stat().st_uid
        gid = Path(f"/proc/{pid}").stat().st_gid
        user = _user(uid, _groups_of(pid), gid)
    except (OSError, ValueError):
        conf = machine.conf_or_none("asterisk.conf")
        options = conf.section("options") if conf else None
        option = options.get("runuser") if options else None
        if option is None:
            return None
        try:
            user = _user(pwd.getpwnam(option.value).pw_uid)
        except KeyError:
            return None
    return user if os.geteuid() == 0 or user.is_us else None


def service_user(running: Running | None) -> User:
    """Return the user as whom the service runs, or will run.

    Only root looks for another user, as nobody else can check that user's rights.
    """
    us = os.geteuid()
    if us != 0:
        user = _user(us)
        runs = running is not None and running.uid == us
        is_service = runs or user.name == DEFAULT_USER
        return attrs.evolve(user, is_service=is_service)
    if running is not None:
        return _user(running.uid, running.groups, running.gid)
    try:
        return _user(pwd.getpwnam(DEFAULT_USER).pw_uid)
    except KeyError:
        return _user(0)


def _user(
    uid: int, groups: tuple[int, ...] | None = None, gid: int | None = None
) -> User:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        # For example a container whose user has no name.
        name = f"user {uid}"
    return User(name, uid, groups, gid)
