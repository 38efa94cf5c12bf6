# SPDX-License-Identifier: MIT
"""Checks the FastAGI port and the control socket."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from pathlib import Path
from typing import Final

from fastagi.checks.asterisk_machine import Address, AsteriskMachine
from fastagi.checks.finding import Notes
from fastagi.checks.process import Running, User, note_missing_right
from fastagi.config.sections import FastAgiSettings
from fastagi.runtime.kernel_limits import longest_backlog

_TIMEOUT_S: Final = 3.0
#: RuntimeDirectory of the systemd unit. A copy of it has a name that begins with it.
_MADE_BY_SYSTEMD: Final = re.compile("/run/callback-queue[^/]*")
_UNPRIVILEGED: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def check_fastagi(
    fastagi: FastAgiSettings,
    machine: AsteriskMachine,
    running: Running | None,
    user: User,
    *,
    control_refused: bool,
) -> Notes:
    """Check the port, and who may connect to it."""
    notes = Notes("FastAGI")
    where = f"{fastagi.listen}:{fastagi.port}"
    if running is not None:
        _check_answer(fastagi, where, notes)
    elif control_refused:
        notes.skip(
            where,
            "not checked: this user may not ask whether the service runs",
            "run this check as root",
        )
    else:
        _check_free(fastagi, where, user, notes)
    _check_peers(fastagi, machine, notes)
    _check_limits(fastagi, running, notes)
    return notes


def _check_limits(
    fastagi: FastAgiSettings, running: Running | None, notes: Notes
) -> None:
    """Check that the system allows as many connections as the settings do."""
    files = None if running is None else running.open_files
    if files is not None and files < fastagi.open_files:
        notes.warn(
            "fastagi.max_connections",
            f"{fastagi.max_connections} connections need {fastagi.open_files} open"
            f" files, and the service may have {files}",
            f"write LimitNOFILE={fastagi.open_files} below [Service] (sudo systemctl"
            " edit"
            " callback-queue) and restart the service, or write a lower"
            " max_connections",
        )
    longest = longest_backlog()
    if longest < fastagi.backlog:
        notes.warn(
            "net.core.somaxconn",
            f"the kernel holds {longest} connections until they are accepted, and"
            f" {fastagi.backlog} are wanted: of callers who press the key at the same"
            " moment some may wait for two seconds and then be put back in line",
            f"run: sysctl -w net.core.somaxconn={fastagi.backlog}, write the same into"
            " a file in /etc/sysctl.d, and restart the service",
        )


def _check_answer(fastagi: FastAgiSettings, where: str, notes: Notes) -> None:
    """Check that the running service listens where the settings say."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(fastagi.listen, fastagi.listen)
    try:
        socket.create_connection((host, fastagi.port), _TIMEOUT_S).close()
    except OSError as error:
        notes.fault(
            where,
            f"the service runs, and does not listen here: {error.strerror or error}",
            "put the settings in force: sudo systemctl restart callback-queue",
        )


def _check_free(fastagi: FastAgiSettings, where: str, user: User, notes: Notes) -> None:
    """Check that the service, which does not run, could listen here."""
    family = socket.AF_INET6 if ":" in fastagi.listen else socket.AF_INET
    first = _first_unprivileged()
    if fastagi.port < first and user.uid != 0:
        notes.fault(
            where,
            f"{user.name} may not listen on a port below {first}",
            "write another fastagi.port, and the same in CALLBACK_AGI",
        )
        return
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Like the service itself, so that a port that was just closed is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((fastagi.listen, fastagi.port))
            # Two sockets may bind to one port, but only one may listen.
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = "another program has this port"
            remedy = (
                f"see which: ss -ltnp 'sport = :{fastagi.port}'; stop it, or write"
                " another fastagi.port, and the same in CALLBACK_AGI"
            )
        elif error.errno == errno.EADDRNOTAVAIL:
            problem = f"this machine has no address {fastagi.listen}"
            remedy = (
                "write one of those that 'ip -brief address' shows as fastagi.listen"
            )
        else:
            problem = f"the port can not be used: {error.strerror}"
            remedy = "write another fastagi.listen or fastagi.port"
        notes.fault(where, problem, remedy)


def _first_unprivileged() -> int:
    try:
        return int(_UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024


def _check_peers(
    fastagi: FastAgiSettings, machine: AsteriskMachine, notes: Notes
) -> None:
    """Check that Asterisk may connect, and that not everybody may."""
    listens_to_itself = ipaddress.ip_address(fastagi.listen).is_loopback
    remote = [] if machine.is_here else machine.addresses
    if remote and listens_to_itself:
        notes.fault(
            "fastagi.listen",
            f"Asterisk is on another machine and can not reach {fastagi.listen}",
            "write the address of this machine that Asterisk can reach",
        )
    elif remote and not any(_is_allowed(address, fastagi) for address in remote):
        addresses = ", ".join(map(str, remote))
        notes.fault(
            "fastagi.allowed_peers",
            f"Asterisk ({addresses}) is not among those who may connect",
            f"write allowed_peers: [{remote[0]}]",
        )
    if not listens_to_itself:
        for network in fastagi.allowed_peers:
            # A single address is Asterisk's. A global network may contain strangers.
            if network.is_global and network.num_addresses > 1:
                notes.warn(
                    "fastagi.allowed_peers",
                    f"{network} lets strangers ask for callbacks: FastAGI knows no"
                    " password",
                    "name only the addresses of your Asterisk machines",
                )


def _is_allowed(address: Address, fastagi: FastAgiSettings) -> bool:
    return any(address in network for network in fastagi.allowed_peers)


def check_control(
    socket_path: str, running: Running | None, user: User, *, control_refused: bool
) -> Notes:
    """Check the control socket."""
    notes = Notes("control socket")
    directory = Path(socket_path).parent
    if control_refused:
        notes.skip(
            socket_path,
            "not checked: this user may not open it",
            "run this check as root",
        )
    elif running is not None:
        if running.status is None and not running.is_outdated:
            notes.fault(
                socket_path,
                "the service has it open and does not answer",
                "see its log: journalctl -u callback-queue; then: sudo systemctl"
                " restart"
                " callback-queue",
            )
    elif directory.is_dir():
        if not (user.may("w", directory) and user.may("x", directory)):
            note_missing_right(
                notes,
                user,
                directory,
                "may not make the control socket here",
                f"chown {user.owner} {directory}",
            )
    # The unit creates this directory at each start.
    elif not _MADE_BY_SYSTEMD.fullmatch(str(directory)):
        above = next(path for path in directory.parents if path.is_dir())
        if not user.may("w", above):
            note_missing_right(
                notes,
                user,
                directory,
                "may not make the directory of the control socket",
                f"install -d -m 750 -o {user.owner.replace(':', ' -g ')} {directory};"
                " or write RuntimeDirectory= in the unit",
            )
    return notes
