# SPDX-License-Identifier: MIT
"""Checks who may read the settings file and the files that it names.

Other modules check their contents.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import fastagi
from fastagi.checks.console import console_socket
from fastagi.checks.finding import Level, Notes
from fastagi.checks.process import DEFAULT_USER, User, note_missing_right
from fastagi.config.secrecy import unsafe_rights
from fastagi.config.sections import AmiSettings, Settings

#: Directories that the systemd unit hides from the service (InaccessiblePaths).
HIDDEN: Final = tuple(
    Path(path)
    for path in (
        "/etc/asterisk",
        "/run/asterisk",
        "/var/run/asterisk",
        "/var/lib/asterisk",
        "/var/spool/asterisk",
    )
)


def check_settings_file(config: str, settings: Settings, user: User) -> Notes:
    """Check that the service can read its files, and others cannot read secrets."""
    notes = Notes("settings")
    nodes = settings.all_nodes
    group = user.owner.partition(":")[2] or user.owner
    secret = (
        config,
        *(node.ami.secret_file for node in nodes),
        *(node.history.queue_log_password_file for node in nodes),
        *(node.history.cdr_password_file for node in nodes),
    )
    for name in dict.fromkeys(filter(None, secret)):
        if _is_hidden(name, user):
            _note_hidden(notes, name)
        elif not user.may("r", Path(name)):
            note_missing_right(
                notes,
                user,
                name,
                "may not read it",
                f"chgrp {group} {name}; chmod 640 {name}; and let {user.name} pass to"
                " its directory",
            )
    for node in nodes:
        _check_ca_file(node.ami, user, notes)
    _check_console(Path(settings.asterisk.config_dir), user, notes)
    for door in unsafe_rights(config, settings, group, os.environ):
        notes.note(door, Level.WARNING)
    return notes


def _check_ca_file(ami: AmiSettings, user: User, notes: Notes) -> None:
    ca_file = ami.tls.ca_file if ami.tls.enabled else None
    # The check of the manager reports a missing file.
    if ca_file and _is_hidden(ca_file, user):
        _note_hidden(notes, ca_file)
    elif ca_file and os.path.exists(ca_file) and not user.may("r", Path(ca_file)):
        note_missing_right(
            notes,
            user,
            ca_file,
            "may not read it",
            f"chmod 644 {ca_file}; and let {user.name} pass to its directory",
        )


def check_program(
    user: User,
    files: Sequence[Path] = (Path(sys.executable), Path(fastagi.__file__)),
    directory: Path = Path(sys.prefix),
) -> Notes:
    """Check whether the service can run its own program.

    It cannot if root installed it with the umask 077.

    Args:
        user: the user of the service.
        files: Python, and a file of the program.
        directory: the directory in which it is installed.
    """
    notes = Notes("program")
    for file in files:
        if not user.may("r", file):
            note_missing_right(
                notes,
                user,
                file,
                "may not read it, so the service can not start",
                f"chmod -R go+rX {directory}; and let {user.name} pass to that"
                " directory",
            )
            break
    return notes


def _check_console(config_dir: Path, user: User, notes: Notes) -> None:
    """Check whether the service could use Asterisk's console.

    The unit hides the console's directory, but only the one that exists when the
    service starts, not a new one that Asterisk creates when it restarts.
    """
    path = console_socket(config_dir)
    if user.is_us or not path.exists() or not user.may("w", path):
        return
    notes.warn(
        path,
        f"{user.name} may use Asterisk's console; the systemd unit hides it only until"
        " Asterisk makes its directory anew",
        "take the group away from the user, as docs/history.md tells; or run: sudo"
        " systemctl edit asterisk, and write RuntimeDirectoryPreserve=yes under"
        " [Service]",
    )


def _is_hidden(name: str, user: User) -> bool:
    # Any other user runs the service without this unit.
    return user.name == DEFAULT_USER and any(
        Path(name).is_relative_to(directory) for directory in HIDDEN
    )


def _note_hidden(notes: Notes, name: str) -> None:
    notes.fault(
        name,
        "the systemd unit hides its directory from the service (InaccessiblePaths)",
        f"install -m 640 -g callback-queue {name} /etc/callback-queue/ and write that"
        " path in the settings",
    )
