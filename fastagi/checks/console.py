# SPDX-License-Identifier: MIT
"""Runs commands on Asterisk's console, like ``asterisk -rx``.

The console shows what Asterisk has loaded, which may differ from its files. Only root
and Asterisk's group can open it, and only on Asterisk's machine.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from fastagi.checks.conf import ConfUnreadable, read_conf

#: The directory of the console's socket in packages of Asterisk.
_RUN_DIRECTORY: Final = "/var/run/asterisk"
_SOCKET: Final = "asterisk.ctl"


def console_socket(config_dir: Path) -> Path:
    """Return the path of the console's socket, from asterisk.conf."""
    directory, name = _RUN_DIRECTORY, _SOCKET
    try:
        conf = read_conf(config_dir, "asterisk.conf")
    except ConfUnreadable:
        return Path(directory, name)
    if (directories := conf.section("directories")) and (
        option := directories.get("astrundir")
    ):
        directory = option.value
    if (files := conf.section("files")) and (option := files.get("astctl")):
        name = option.value
    return Path(directory, name)


def run_command(path: Path, command: str, timeout_s: float) -> str | None:
    """Run one command of the console.

    Args:
        path: the path of the console's socket.
        command: the command as typed on the console.
        timeout_s: time-out for each part of the answer, in seconds.

    Returns:
        The output; None if there is no console, or it must not be used.
    """
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.settimeout(timeout_s)
            console.connect(str(path))
            # What `asterisk -rx` sends (main/asterisk.c).
            console.sendall(b"cli quit after " + command.encode() + b"\0")
            while part := console.recv(65536):
                answer += part
    except OSError:
        return None
    _greeting, _, text = answer.decode("utf-8", "replace").partition("\n")
    # Lines of the log come, too, marked with \x7f and their level.
    lines = text.replace("\0", "").splitlines()
    return "\n".join(line for line in lines if not line.startswith("\x7f")).strip()
