# SPDX-License-Identifier: MIT
"""Checks the manager interface: login, permitted actions, and received events."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import attrs

from fastagi.ami import actions
from fastagi.ami.events import LISTENED, READ_CLASSES, FullyBooted
from fastagi.ami.session import Credentials
from fastagi.ami.tls import TlsMisconfigured
from fastagi.checks.asterisk_machine import AsteriskMachine, NotVisible, note_stops
from fastagi.checks.conf import Conf, Option, Section
from fastagi.checks.finding import Notes
from fastagi.checks.link import LinkFailed, ManagerLink, Refused, Trouble, Where
from fastagi.config.sections import (
    AMI_PORT,
    AMI_TLS_PORT,
    AmiLogin,
    AmiSettings,
    Settings,
)
from fastagi.node.manager_tls import manager_tls

OLDEST_ASTERISK: Final = 16
#: AMI 5 came with Asterisk 16.
_OLDEST_AMI: Final = 5

#: The needed actions by the class of ``write`` that permits them. The others, such as
#: QueueStatus and Ping, need no class.
WRITE_CLASSES: Final = {
    "agent": ("QueueLog",),
    "call": ("Hangup",),
    "originate": ("Originate",),
    "reporting": ("CoreSettings", "CoreShowChannels", "DBGet"),
}
#: Another needed action; each of the classes call and reporting permits it.
_DEVICES: Final = "DeviceStateList"
#: Actions by the module that they need, and those that any user may send.
_MODULES: Final = {
    _DEVICES: "res_manager_devicestate.so",
    "PlayDTMF": "app_senddtmf.so",
    "QueueStatus": "app_queue.so",
}
#: The event filter against text in callers' numbers: Asterisk passes on CR and LF, so
#: text after an empty line would be an event of its own.
NO_EMPTY_LINE: Final = "![[:cntrl:]]{3}[^[:cntrl:]]"
_MADE_UP: Final = "Event: Newchannel\r\nCallerIDNum: 1\r\n\r\nEvent: Hangup\r\n"
#: A class of characters that only Asterisk's regular expressions know.
_CONTROL: Final = ("[:cntrl:]", r"\x00-\x1f\x7f")
_READ: Final = "read = " + ",".join(READ_CLASSES)
_WRITE: Final = "write = " + ",".join(WRITE_CLASSES)
_RELOAD: Final = "sudo asterisk -rx 'manager reload'"


def log_in(ami: AmiSettings) -> ManagerLink:
    """Connect and log in as the settings say.

    Raises:
        LinkFailed: there is no connection, or the login is refused.
    """
    try:
        tls = manager_tls(ami)
    except TlsMisconfigured as error:
        raise LinkFailed(Trouble.NO_TLS, error.problem) from error
    return ManagerLink(
        Where(host=ami.host, port=ami.tcp_port, timeout_s=ami.timeout_s, tls=tls),
        Credentials(
            username=ami.username,
            secret=ami.secret.get_secret_value(),
            auth="plain" if ami.login is AmiLogin.PLAIN else "md5",
        ),
    )


def explain_failure(
    error: LinkFailed, ami: AmiSettings, machine: AsteriskMachine
) -> Notes:
    """Return findings that explain why there is no connection to the manager."""
    notes = Notes("manager")
    where = f"{ami.host}:{ami.tcp_port}"
    conf = machine.conf_or_none("manager.conf")
    note_stops(notes, conf, _RELOAD)
    match error.trouble:
        case Trouble.NO_ADDRESS:
            notes.fault(
                "ami.host", f"{ami.host} has no address: {error}", "correct ami.host"
            )
        case Trouble.REFUSED:
            notes.fault(
                where, f"no manager interface: {error}", _port_advice(conf, ami)
            )
        case Trouble.UNREACHABLE:
            notes.fault(
                where,
                f"no manager interface: {error}",
                "correct ami.host and ami.port, or let a firewall pass this port",
            )
        case Trouble.LOGIN_REFUSED:
            notes.fault(
                *_login_advice(error, conf, ami)
                or (
                    where,
                    f"Asterisk refuses the login of {ami.username}: {error}",
                    "compare ami.username and ami.secret with manager.conf, let its"
                    " permit lines name the address of this machine, then run:"
                    f" {_RELOAD}",
                )
            )
        case Trouble.NOT_ASTERISK:
            notes.fault(
                where,
                f"something else answers there: {error}",
                "correct ami.port: it is 'port' in manager.conf",
            )
        case Trouble.NO_TLS:
            notes.fault(where, f"no TLS: {error}", error.problem.remedy)
        case Trouble.SILENT if not ami.tls.enabled:
            notes.fault(
                where,
                f"the manager interface does not answer: {error}",
                "see whether Asterisk is well: sudo asterisk -rx 'core show uptime';"
                " if this"
                " port is that of tlsbindaddr in manager.conf, write ami.tls",
            )
        case Trouble.SILENT | Trouble.LOST:
            notes.fault(
                where,
                f"the manager interface does not answer: {error}",
                "see whether Asterisk is well: sudo asterisk -rx 'core show uptime'",
            )
    return notes


def _port_advice(conf: Conf | None, ami: AmiSettings) -> str:
    general = conf.section("general") if conf else None
    if general is not None:
        enabled, port = general.get("enabled"), general.get("port")
        if enabled is None or not enabled.is_true:
            place = enabled.where if enabled else general.where
            return (
                f"write enabled = yes under [general] in manager.conf ({place});"
                f" then run: {_RELOAD}"
            )
        if ami.tls.enabled:
            return _tls_port_advice(general, ami)
        theirs = port.value if port else str(AMI_PORT)
        if theirs != str(ami.tcp_port):
            place = port.where if port else general.where
            return f"write port: {theirs} under ami, as manager.conf has it ({place})"
    return (
        "see whether Asterisk runs (systemctl status asterisk) and whether ami.port is"
        " the port in manager.conf"
    )


def _tls_port_advice(general: Section, ami: AmiSettings) -> str:
    """Explain, from manager.conf, why there is no TLS at the configured port."""
    enabled, address = general.get("tlsenable"), general.get("tlsbindaddr")
    if enabled is None or not enabled.is_true:
        place = enabled.where if enabled else general.where
        return (
            "write tlsenable = yes, tlscertfile and tlsprivatekey under [general] in"
            f" manager.conf ({place}); then restart Asterisk"
        )
    # "0.0.0.0:5039", "[::]:5039", or no port at all.
    found = re.search(r":(\d+)$", address.value) if address else None
    theirs = found[1] if found else str(AMI_TLS_PORT)
    if address is not None and theirs != str(ami.tcp_port):
        return (
            f"write port: {theirs} under ami, as tlsbindaddr in manager.conf has it"
            f" ({address.where})"
        )
    return (
        "see whether Asterisk runs (systemctl status asterisk) and could read"
        " tlscertfile and tlsprivatekey; it reads them when it starts"
    )


def _login_advice(
    error: LinkFailed, conf: Conf | None, ami: AmiSettings
) -> tuple[str, str, str] | None:
    """Explain, from manager.conf, why a login is refused; "" if it does not show."""
    if "already in use" in str(error).lower():
        return (
            f"[{ami.username}] in manager.conf",
            "it may log in only once, and the service is logged in",
            f"write there: allowmultiplelogin = yes; then run: {_RELOAD}",
        )
    if conf is None:
        return None
    user = conf.section(ami.username)
    if user is None or ami.username.lower() == "general":
        if conf.gaps or conf.stops:
            return None
        return (
            str(conf.path),
            f"there is no user [{ami.username}]",
            "copy the example etc/asterisk/manager.d/callback-queue.conf there, or"
            f" correct ami.username; then run: {_RELOAD}",
        )
    secret = user.get("secret")
    if secret is None or secret.value != ami.secret.get_secret_value():
        return (
            secret.where if secret else user.where,
            f"the secret of [{ami.username}] is not the one in the settings",
            f"write the same secret in both; then run: {_RELOAD}",
        )
    return None


def check_manager(
    link: ManagerLink, settings: Settings, machine: AsteriskMachine
) -> Notes:
    """Check which actions Asterisk permits and which events it sends."""
    notes = Notes("manager")
    ami = settings.ami
    granted = _granted(ami, machine)
    _check_clear_text(ami, machine, notes)
    note_stops(notes, machine.conf_or_none("manager.conf"), _RELOAD)
    try:
        _check_actions(link, settings, granted, notes)
        _check_version(link, notes)
        _check_events(link, ami, machine, granted, notes)
    except (Refused, LinkFailed) as error:
        notes.fault(f"{ami.host}:{ami.tcp_port}", str(error), "run this check again")
    return notes


def _check_clear_text(ami: AmiSettings, machine: AsteriskMachine, notes: Notes) -> None:
    """Check whether messages to Asterisk cross a network unencrypted."""
    if ami.tls.enabled or machine.is_here:
        return
    heard = "hear every call and number and place calls of his own"
    if ami.login is AmiLogin.PLAIN:
        heard = f"read the secret of {ami.username}, {heard}"
    notes.warn(
        "ami.tls",
        f"the manager interface of {ami.host} is reached in clear text: who is between"
        f" here and there can {heard}",
        "set up TLS as in docs/tls.md, or let the connection go through a tunnel",
    )


@attrs.frozen
class _Granted:
    """The classes of a user of the manager, and their source.

    Attributes:
        read: the classes; None if they are unknown.
        where: the section of manager.conf, or its name.
    """

    read: Collection[str] | None
    where: str
    section: Section | None


def _granted(ami: AmiSettings, machine: AsteriskMachine) -> _Granted:
    conf = machine.conf_or_none("manager.conf")
    section = conf.section(ami.username) if conf else None
    where = section.where if section else f"[{ami.username}] in manager.conf"
    # What Asterisk has loaded counts, not the file, which may have changed since.
    shown = machine.console(f"manager show user {ami.username}") or ""
    if found := re.search(r"^\s*read perm:(.*)$", shown, re.MULTILINE):
        return _Granted(_classes(found[1]), where, section)
    if section is not None and (option := section.get("read")):
        return _Granted(_classes(option.value), where, section)
    return _Granted(set() if section else None, where, section)


def _classes(text: str) -> set[str]:
    return {name.strip().lower() for name in re.split(r"[,&]", text)}


def _check_actions(
    link: ManagerLink, settings: Settings, granted: _Granted, notes: Notes
) -> None:
    may = {name for name, _ in link.ask(actions.list_commands()).headers}
    if not settings.reports.queue_log or "QueueStatus" not in may:
        # Not needed; or its module is not loaded, which is reported below.
        may.add("QueueLog")
    offers = any(queue.offers.enabled for queue in settings.queues.values())
    if not offers or "Hangup" not in may:
        # Not needed; or the class is missing, which is reported below.
        may.add("PlayDTMF")
    for name, needed in WRITE_CLASSES.items():
        missing = [action for action in needed if action not in may]
        # The class is granted, so a module is missing.
        if len(missing) == len(needed):
            notes.fault(
                granted.where,
                f"{settings.ami.username} may not use {', '.join(missing)}:"
                f" write has no '{name}'",
                f"write there: {_WRITE}; then run: {_RELOAD}",
            )
            may.update(missing, [_DEVICES])
    for action, module in _MODULES.items():
        if action not in may:
            notes.fault(
                "modules.conf",
                f"Asterisk has no action {action}: {module} is not loaded",
                f"load = {module} in modules.conf; then run:"
                f" sudo asterisk -rx 'module load {module}'",
            )


def _check_version(link: ManagerLink, notes: Notes) -> None:
    try:
        text = link.ask(actions.core_settings()).get("AsteriskVersion")
    except Refused:
        text = ""
    if found := re.search(r"\d+", text):
        old = int(found[0]) < OLDEST_ASTERISK
    elif found := re.match(r"\d+", link.ami_version):
        old, text = int(found[0]) < _OLDEST_AMI, f"with AMI {link.ami_version}"
    else:
        return
    if old:
        notes.fault(
            "Asterisk",
            f"Asterisk {text} is too old",
            f"install Asterisk {OLDEST_ASTERISK} or newer",
        )


def _check_events(
    link: ManagerLink,
    ami: AmiSettings,
    machine: AsteriskMachine,
    granted: _Granted,
    notes: Notes,
) -> None:
    remedy = f"write there: {_READ}; then run: {_RELOAD}"
    if granted.read is None:
        try:
            gaps = machine.conf("manager.conf").gaps
            reason = f"not checked: {gaps[0] if gaps else 'it is not in the file'}"
        except NotVisible as error:
            reason = str(error)
        notes.skip(
            granted.where,
            f"which events {ami.username} may read is {reason}",
            "run this check as root on Asterisk's machine; or run there: sudo asterisk"
            " -rx"
            f" 'manager show user {ami.username}' and compare its 'read perm' with:"
            f" {_READ}",
        )
        # This event always comes, and shows that at least one class is granted.
        missing = [] if FullyBooted.__name__ in link.heard else ["system"]
    elif "all" in granted.read:
        missing = []
    else:
        missing = [name for name in READ_CLASSES if name not in granted.read]
    for name in missing:
        events = READ_CLASSES[name]
        shown = ", ".join(events[:3]) + (", ..." if len(events) > 3 else "")
        notes.fault(
            granted.where,
            f"{ami.username} does not hear {shown}: read has no '{name}'",
            remedy,
        )
    if granted.section is not None:
        _check_filters(granted.section, notes)


def _check_filters(user: Section, notes: Notes) -> None:
    """Look for event filters that block events which the service needs."""
    filters = [
        one for one in user.options if one.name.lower().startswith("eventfilter")
    ]
    including: list[tuple[Option, re.Pattern[str]]] = []
    excluding: list[tuple[Option, re.Pattern[str]]] = []
    for one in filters:
        if one.name.lower() != "eventfilter":
            notes.skip(
                one.where,
                "not checked: an event filter in the form of newer versions",
                "make sure that it lets through: " + ", ".join(_all_events()),
            )
            return
        bad = one.value.startswith("!")
        pattern = one.value.removeprefix("!")
        try:
            compiled = re.compile(pattern.replace(*_CONTROL))
            (excluding if bad else including).append((one, compiled))
        except re.error:
            notes.skip(
                one.where,
                f"not checked: the event filter {pattern}",
                "make sure that it lets through: " + ", ".join(_all_events()),
            )
            return
    lost: dict[str, list[str]] = {}
    for event in _all_events():
        text = f"Event: {event}\r\nPrivilege: "
        stopped = next((one for one, p in excluding if p.search(text)), None)
        if (
            stopped is None
            and including
            and not any(p.search(text) for _, p in including)
        ):
            stopped = including[0][0]
        if stopped is not None:
            lost.setdefault(stopped.where, []).append(event)
    for where, events in lost.items():
        notes.fault(
            where,
            f"this event filter keeps away {', '.join(events)}",
            f"delete it or take the filter of the example; then run: {_RELOAD}",
        )
    if not any(pattern.search(_MADE_UP) for _, pattern in excluding):
        notes.warn(
            user.where,
            "a caller can make up events: no event filter keeps away those with an"
            " empty line in a number",
            f"write there: eventfilter = {NO_EMPTY_LINE}; then run: {_RELOAD}",
        )


def _all_events() -> list[str]:
    return sorted(kind.__name__ for kind in LISTENED)
