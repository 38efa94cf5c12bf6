# SPDX-License-Identifier: MIT
"""Asterisk's machine, and the parts of it that this machine can read."""

from __future__ import annotations

import ipaddress
import socket
from functools import cached_property
from pathlib import Path

from fastagi.checks.conf import Conf, ConfUnreadable, read_conf
from fastagi.checks.console import console_socket, run_command
from fastagi.checks.finding import Notes
from fastagi.config.sections import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ON_ANOTHER_MACHINE = "not checked: Asterisk is on another machine (ami.host is {host})"


class NotVisible(Exception):
    """Something of Asterisk cannot be read from here; the text says why."""


class AsteriskMachine:
    """The machine of Asterisk, its files and its console.

    Args:
        settings: the settings with its address and directories.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.config_dir = Path(settings.asterisk.config_dir)
        self.sounds_dir = Path(settings.asterisk.sounds_dir)
        self._confs: dict[str, Conf | ConfUnreadable] = {}

    @cached_property
    def addresses(self) -> list[Address]:
        """The addresses of ami.host; empty if it has none."""
        try:
            found = socket.getaddrinfo(
                self._settings.ami.host, None, type=socket.SOCK_STREAM
            )
        except OSError:
            return []
        texts = {str(address[0]).partition("%")[0] for *_, address in found}
        return sorted(map(ipaddress.ip_address, texts), key=str)

    @cached_property
    def is_here(self) -> bool:
        """Whether Asterisk runs on this machine, so that its files are here."""
        return any(_is_ours(address) for address in self.addresses)

    def conf(self, name: str) -> Conf:
        """Return one of Asterisk's configuration files.

        Raises:
            NotVisible: it is elsewhere, or not to be read.
        """
        if not self.is_here:
            raise NotVisible(self._elsewhere)
        if name not in self._confs:
            try:
                self._confs[name] = read_conf(self.config_dir, name)
            except ConfUnreadable as unreadable:
                self._confs[name] = unreadable
        found = self._confs[name]
        if isinstance(found, ConfUnreadable):
            raise NotVisible(f"not checked: {found}") from found
        return found

    def conf_or_none(self, name: str) -> Conf | None:
        """Return one of Asterisk's configuration files; None if it cannot be read."""
        try:
            return self.conf(name)
        except NotVisible:
            return None

    def sounds(self) -> Path:
        """Return the directory of Asterisk's sounds.

        Raises:
            NotVisible: it is elsewhere.
        """
        if not self.is_here:
            raise NotVisible(self._elsewhere)
        return self.sounds_dir

    def console(self, command: str) -> str | None:
        """Run a command on Asterisk's console; return None if it cannot be reached."""
        if not self.is_here:
            return None
        return run_command(
            console_socket(self.config_dir), command, self._settings.ami.timeout_s
        )

    @property
    def _elsewhere(self) -> str:
        return _ON_ANOTHER_MACHINE.format(host=self._settings.ami.host)


def note_stops(notes: Notes, conf: Conf | None, reload: str) -> None:
    """Note each line at which Asterisk stops reading a file.

    Args:
        notes: the findings of the area.
        conf: the file; None if it cannot be read.
        reload: the command with which Asterisk reads it again.
    """
    if conf is None:
        return
    for stop in conf.stops:
        lost = f"all of {conf.path.name}" if stop.whole else "the rest of this file"
        notes.fault(
            stop.problem.where,
            f"Asterisk does not read {lost}: {stop.problem.what}",
            f"{stop.problem.remedy}; then run: {reload}",
        )


def _is_ours(address: Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        # Only an address of this machine can be bound to.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
