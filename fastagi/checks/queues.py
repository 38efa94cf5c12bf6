# SPDX-License-Identifier: MIT
"""Checks the configured queues in Asterisk and in queues.conf."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.checks.asterisk_machine import AsteriskMachine, NotVisible, note_stops
from fastagi.checks.conf import Conf, Section
from fastagi.checks.dialplan import NO_CONTEXT, show_context
from fastagi.checks.finding import Notes
from fastagi.checks.in_force import (
    Loaded,
    Member,
    check_age,
    check_in_force,
    loaded_queues,
)
from fastagi.checks.link import LinkFailed, ManagerLink, Refused
from fastagi.checks.trunks import check_trunks
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.names import folded
from fastagi.domain.trunk import UNKNOWN_DEVICE, trunk_of
from fastagi.wire.errors import LocalProtocolError

#: Not "queue reload all": that raises no event, so the service hears of it late.
_RELOAD: Final = "sudo asterisk -rx 'module reload app_queue.so'"
#: Local/{number}@CONTEXT, perhaps followed by options.
_LOCAL: Final = re.compile(r"Local/[^@]*@([^/@]+)(?:/[a-z]*)?", re.IGNORECASE)
#: QueueMember's Status of a device Asterisk does not know.
_INVALID: Final = "4"
#: The context of the dialplan to which keys other than 1 lead.
_KEY_CONTEXT: Final = "callback-key"
#: In place of a key: the context includes the service's context.
_ALL_KEYS: Final = "all"
#: Values of joinempty with which no caller is refused.
_JOIN_EMPTY: Final = frozenset({"yes", "y", "true", "t", "1", "on", ""})


def check_queues(
    link: ManagerLink | None, settings: Settings, machine: AsteriskMachine
) -> Notes:
    """Check each queue and the target of its callbacks."""
    notes = Notes("queues")
    conf = _conf(machine, notes)
    realtime = _realtime(machine)
    loaded: dict[str, Loaded] | None = None
    if link is None:
        notes.skip(
            "Asterisk",
            "which queues and members it has is not checked: there is no connection"
            " to the manager",
            "put the connection right and run this check again",
        )
    else:
        try:
            loaded = loaded_queues(link)
        except (Refused, LinkFailed) as error:
            notes.fault("Asterisk", f"it does not tell its queues: {error}", _RELOAD)
        if conf is not None:
            check_age(link, conf, notes, _RELOAD)
    for queue in settings.queues.values():
        names = dict.fromkeys((queue.name, queue.target_queue or queue.name))
        if loaded is not None:
            for name in names:
                _check_existence(name, loaded, conf, realtime, notes)
                if conf is not None and folded(name) in loaded:
                    check_in_force(conf, loaded[folded(name)], notes, _RELOAD)
            target = queue.target_queue
            if target and folded(target) in loaded:
                _check_members(target, loaded[folded(target)].members, notes)
                _check_room(loaded[folded(target)], notes)
                if conf is not None and loaded[folded(target)].members:
                    _check_ring_in_use(conf.section(target), notes)
        _check_options(queue, conf, realtime, link, notes)
        if queue.keeps_place and conf is not None:
            _check_line(conf.section(queue.target_queue), notes)
        if queue.target_extension and link is not None:
            _check_extension(link, queue, notes)
    channels = [queue.outbound_channel for queue in settings.queues.values()]
    for channel in dict.fromkeys(channels):
        if link is not None:
            _check_outbound(link, channel, notes)
    if link is not None:
        check_trunks(link, settings, machine, notes)
    return notes


def _conf(machine: AsteriskMachine, notes: Notes) -> Conf | None:
    try:
        conf = machine.conf("queues.conf")
    except NotVisible as error:
        notes.skip(
            "queues.conf",
            str(error),
            "run this check as root on Asterisk's machine; or see there that each queue"
            f" has: context = {dialplan.REQUEST_CONTEXT}, setqueuevar = yes,"
            " announce-to-first-user = yes and a periodic-announce",
        )
        return None
    for gap in conf.gaps:
        notes.skip(
            gap,
            "not checked",
            "let this file be read, or see by hand what it says of your queues",
        )
    note_stops(notes, conf, _RELOAD)
    return conf


def _realtime(machine: AsteriskMachine) -> bool:
    """Whether Asterisk reads queues from a database."""
    conf = machine.conf_or_none("extconfig.conf")
    section = conf.section("settings") if conf else None
    return section is not None and section.get("queues") is not None


def _check_existence(
    name: str,
    loaded: Mapping[str, Loaded],
    conf: Conf | None,
    realtime: bool,
    notes: Notes,
) -> None:
    if folded(name) in loaded:
        return
    problem = f"Asterisk has no queue {name}"
    section = conf.section(name) if conf else None
    if section is not None:
        notes.fault(section.where, f"{problem}, though it is here", f"run: {_RELOAD}")
    elif realtime:
        notes.skip(
            f"queue {name}",
            "not checked: queues are kept in a database, and Asterisk knows one only"
            " after a call to it",
            f"run: sudo asterisk -rx 'queue show {name}'",
        )
    elif conf is not None and conf.stops:
        notes.fault(
            "queues.conf",
            problem,
            f"mend the line at which Asterisk stops reading, and run: {_RELOAD}; if it"
            f" is not the reason, add [{name}]",
        )
    else:
        notes.fault(
            "queues.conf",
            problem,
            f"add [{name}] to queues.conf and run: {_RELOAD}; or correct the name under"
            " queues in the settings",
        )


def _check_members(name: str, members: Sequence[Member], notes: Notes) -> None:
    where = f"queue {name}"
    if not members:
        notes.warn(
            where,
            "it has no members, so nobody is called back as long as that is so",
            "add a line such as member => PJSIP/101 to queues.conf, or let agents log"
            " in to the queue",
        )
    for member in members:
        if member.status == _INVALID:
            notes.warn(
                where,
                "Asterisk does not know the device of its member"
                f" {member.state_interface}",
                f"correct the member, or configure {member.state_interface}",
            )
        if member.state_interface.lower().startswith("local/"):
            notes.warn(
                where,
                f"its member {member.interface} looks free during calls: a Local"
                " channel does not tell the state of a phone",
                "name the phone's device as the fourth value of its member line"
                " (member => Local/101@agents/n,0,Alice,PJSIP/101), or as"
                " state_interface where it is added",
            )


def _check_options(
    queue: QueueSettings,
    conf: Conf | None,
    realtime: bool,
    link: ManagerLink | None,
    notes: Notes,
) -> None:
    """Check options that only queues.conf contains."""
    if conf is None:
        return
    name = queue.name
    section = conf.section(name)
    if section is None:
        if realtime:
            notes.skip(
                f"queue {name}",
                "its options are not checked: they are kept in a database",
                f"run: sudo asterisk -rx 'realtime load queues name {name}' and see"
                " that it"
                f" has context {dialplan.REQUEST_CONTEXT}, setqueuevar yes,"
                " announce_to_first_user yes and a periodic_announce",
            )
        return
    _check_keys(section, queue, link, notes)
    if not _is_on(section, "setqueuevar"):
        option = section.get("setqueuevar")
        notes.fault(
            option.where if option else section.where,
            f"[{name}] does not tell its name to the dialplan: setqueuevar is not yes",
            f"write there: setqueuevar = yes; then run: {_RELOAD}",
        )
    if queue.offers.enabled:
        _check_join_empty(section, notes)
    else:
        _check_announcement(section, conf, notes)
    _check_position(section, notes)


def _check_keys(
    section: Section, queue: QueueSettings, link: ManagerLink | None, notes: Notes
) -> None:
    """Check that the keys of callers lead to the service."""
    option = section.get("context")
    remedy = f"context = {dialplan.REQUEST_CONTEXT}; then run: {_RELOAD}"
    if option is None or not option.value:
        notes.fault(
            section.where,
            f"[{section.name}] has no context, so nothing happens when a caller"
            " presses 1",
            f"write there: {remedy}",
        )
        return
    if option.value == dialplan.REQUEST_CONTEXT:
        _check_other_keys(option.value, queue, link, notes)
        return
    leads = None if link is None else _leading_keys(link, option.value)
    if leads is None:
        notes.skip(
            option.where,
            f"whether the context {option.value} leads to"
            f" {dialplan.REQUEST_CONTEXT} is not checked",
            f"run: sudo asterisk -rx 'dialplan show {option.value}'",
        )
        return
    include = (
        f"write: {remedy}; or write include => {dialplan.REQUEST_CONTEXT} in the"
        f" context {option.value}"
    )
    if not leads:
        notes.fault(
            option.where,
            f"key 1 leads to the context {option.value}, which does not go on to"
            f" {dialplan.REQUEST_CONTEXT}",
            include,
        )
        return
    _check_other_keys(option.value, queue, link, notes)
    if queue.offers.enabled and leads.isdisjoint((_ALL_KEYS, dialplan.OFFER_KEY)):
        notes.fault(
            option.where,
            f"no callback can be offered in [{section.name}]: the context"
            f" {option.value} does not take the key {dialplan.OFFER_KEY} of the"
            " service ('offers')",
            include,
        )


def _check_other_keys(
    context: str, queue: QueueSettings, link: ManagerLink | None, notes: Notes
) -> None:
    """Check that the keys that say when lead anywhere in the context of the queue."""
    choices = queue.choices
    if link is None or not choices.times:
        return
    settings = ("queue_soon_keys", "queue_time_keys")
    if not any(getattr(choices, name) for name in settings):
        return
    extensions = _extensions(link, context)
    if extensions is None:
        return
    for name in settings:
        for key in getattr(choices, name):
            if not any(takes_key(extension, key) for extension in extensions):
                _note_key(context, queue, name, key, notes)


def _note_key(
    context: str, queue: QueueSettings, name: str, key: str, notes: Notes
) -> None:
    where = f"queues.{queue.name}.choices.{name}"
    line = f"exten => {key},1,Goto({_KEY_CONTEXT},{key},1)"
    add = (
        "give the queue a context of its own with: include =>"
        f" {dialplan.REQUEST_CONTEXT} and {line}"
        if context == dialplan.REQUEST_CONTEXT
        else f"write in the context {context}: {line}; then run: sudo asterisk -rx"
        " 'dialplan reload'"
    )
    lacks = f"the context {context} has no extension {key}"
    if queue.offers.enabled and key in queue.offers.accept_keys:
        notes.warn(
            where,
            f"key {key} only accepts an offer; a caller who presses it in the queue"
            f" gets nowhere: {lacks}",
            f"if it is meant for the queue, too, {add}",
        )
    else:
        notes.fault(where, f"key {key} leads nowhere: {lacks}", add)


def _extensions(link: ManagerLink, context: str) -> set[str] | None:
    """Return the extensions of a context and of those it includes; None if unknown.

    Unknown are those of a context that may not be read, or that a switch, such as one
    to a database, adds to.
    """
    found: set[str] = set()
    seen: set[str] = set()
    to_read = [context]
    while to_read:
        name = to_read.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            shown = link.ask_list(show_context(name))
        except Refused as refused:
            if NO_CONTEXT in str(refused).lower():
                continue
            return None
        except (LinkFailed, LocalProtocolError):
            return None
        for message in shown:
            if message.get("Switch"):
                return None
            if included := message.get("IncludeContext"):
                # Behind a comma stand the hours in which it is included.
                to_read.append(re.split(r"[,|]", included)[0])
            elif extension := message.get("Extension"):
                found.add(extension)
    return found


def takes_key(extension: str, key: str) -> bool:
    """Whether an extension, or pattern of extensions, is that of a single key."""
    if not extension.startswith("_"):
        return extension == key
    pattern = extension[1:].replace("-", "") if "[" not in extension else extension[1:]
    if pattern[:1] in {".", "!"}:
        return True
    found = re.fullmatch(r"(?:\[([^\]]*)\]|(.))!?", pattern)
    if found is None:
        return False
    if found[1] is not None:
        return _is_in_set(key, found[1])
    digits = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
    return key in digits.get(found[2].upper(), found[2])


def _is_in_set(key: str, members: str) -> bool:
    ranges = re.findall(r"(.)-(.)|(.)", members)
    return any(
        first <= key <= last if first else key == single
        for first, last, single in ranges
    )


def _leading_keys(link: ManagerLink, context: str) -> frozenset[str] | None:
    """Return the keys with which a context leads to the service's; None if unknown."""
    try:
        shown = link.ask_list(show_context(context))
    except Refused as refused:
        return frozenset() if NO_CONTEXT in str(refused).lower() else None
    except (LinkFailed, LocalProtocolError):
        return None
    return frozenset(
        _ALL_KEYS if message.get("IncludeContext") else message.get("Extension")
        for message in shown
        if message.get("IncludeContext") == dialplan.REQUEST_CONTEXT
        or dialplan.REQUEST_CONTEXT in message.get("AppData")
    )


def _check_room(loaded: Loaded, notes: Notes) -> None:
    """Check that callbacks leave callers a place in a queue with ``maxlen``."""
    most, agents = loaded.options.get("Max", ""), len(loaded.members)
    if most.isdecimal() and 0 < int(most) <= agents:
        notes.warn(
            f"queue {loaded.name}",
            f"it takes {most} callers (maxlen); to Asterisk, a callback that waits in"
            " it or rings an agent is a caller, so callers may be refused",
            f"write in [{loaded.name}]: maxlen = {int(most) + agents}, one place more"
            f" for each agent; then run: {_RELOAD}",
        )


def _check_ring_in_use(section: Section | None, notes: Notes) -> None:
    """Check that Asterisk rings no agent who is in a call or being rung."""
    option = section.get("ringinuse") if section else None
    # Without the option it is on.
    if section is None or (option is not None and not option.is_true):
        return
    notes.warn(
        option.where if option else section.where,
        f"agents of [{section.name}] are rung while they talk, so one agent may be"
        " rung for several callbacks at once (ringinuse is not no)",
        f"write there: ringinuse = no; then run: {_RELOAD}",
    )


def _check_line(section: Section | None, notes: Notes) -> None:
    """Check that clients can wait in a queue while its agents talk."""
    for name in ("joinempty", "leavewhenempty"):
        option = section.get(name) if section else None
        if option is None or "inuse" not in re.split(r"[,\s]+", option.value.lower()):
            continue
        notes.warn(
            option.where,
            f"nobody waits in the queue while all agents talk ({name}), so no client"
            " keeps a place there ('fairness: place')",
            f"take 'inuse' out of {name}; then run: {_RELOAD}",
        )


def _check_join_empty(section: Section, notes: Notes) -> None:
    """Check that a caller who does not accept an offer is let in again.

    It does not matter for which reason the callback is offered: the last agent may have
    left before, or may leave meanwhile.
    """
    option = section.get("joinempty")
    if option is None or option.value.lower() in _JOIN_EMPTY:
        return
    notes.warn(
        option.where,
        f"a caller who is offered a callback in [{section.name}] and stays is not let"
        " in again if no agent is there then; the call goes on with the line after"
        " Queue()",
        f"write there: joinempty = yes; then run: {_RELOAD}",
    )


def _check_announcement(section: Section, conf: Conf, notes: Notes) -> None:
    """Check that an announcement tells callers about the key."""
    prompt = section.get("periodic-announce")
    frequency = section.get("periodic-announce-frequency")
    often = frequency is not None and frequency.value.strip("0 ") != ""
    if prompt is None or not prompt.value or not often:
        notes.warn(
            section.where,
            f"[{section.name}] has no periodic announcement, so no caller is told to"
            " press 1",
            "write there: periodic-announce = callback-queue/offer and"
            f" periodic-announce-frequency = 30; then run: {_RELOAD}",
        )
    # With autofill, the first in line waits like the others while nobody is free.
    elif not (_is_on(section, "announce-to-first-user") or _fills(section, conf)):
        notes.warn(
            section.where,
            f"the first caller in line of [{section.name}] never hears the periodic"
            " announcement",
            f"write there: announce-to-first-user = yes; then run: {_RELOAD}",
        )


def _check_position(section: Section, notes: Notes) -> None:
    """Check whether the position in line is announced: Asterisk ignores keys meanwhile.

    app_queue's say_position() takes the digit for true or false, and so for no key. Of
    what it says only "you are next" and the hold time can be interrupted.
    """
    frequency = section.get("announce-frequency")
    if frequency is None or not _is_positive(frequency.value):
        return
    position = section.get("announce-position")
    if position is not None and not (
        position.is_true or position.value.lower() in {"limit", "more"}
    ):
        return
    notes.warn(
        (position or frequency).where,
        f"while [{section.name}] tells callers their position, Asterisk ignores the key"
        " of all but the first in line: they have to press 1 again",
        "write there: announce-position = no; announce-holdtime and periodic-announce"
        f" can be interrupted by the key; then run: {_RELOAD}",
    )


def _is_positive(number: str) -> bool:
    """Whether atoi() returns a positive number for it."""
    found = re.match(r"\s*\+?(\d+)", number)
    return found is not None and int(found[1]) > 0


def _fills(section: Section, conf: Conf) -> bool:
    general = conf.section("general")
    own = section.get("autofill")
    return own.is_true if own else general is not None and _is_on(general, "autofill")


def _is_on(section: Section, name: str) -> bool:
    option = section.get(name)
    return option is not None and option.is_true


def _check_extension(link: ManagerLink, queue: QueueSettings, notes: Notes) -> None:
    """Check that Asterisk knows the state of the target extension's device."""
    device = queue.state_interface
    where = f"queues.{queue.name}.target_extension"
    try:
        if device.lower().startswith("hint:"):
            exten, _, context = device[len("hint:") :].partition("@")
            answer = link.ask(actions.extension_state(exten, context))
            known = answer.get("Status") != "-1"
        else:
            known = _knows(link, device)
    except (Refused, LinkFailed) as error:
        notes.skip(
            where,
            f"whether Asterisk knows {device} is not checked: {error}",
            f"run: sudo asterisk -rx 'core show hints', and look for {device} there",
        )
        return
    if not known:
        notes.fault(
            where,
            f"Asterisk does not know the device {device}, so it is never free",
            "correct target_extension, or state_interface if it is given; the names of"
            " PJSIP devices are in: sudo asterisk -rx 'pjsip show endpoints'",
        )


def _knows(link: ManagerLink, device: str) -> bool:
    state = link.ask(actions.get_var(f"DEVICE_STATE({device})")).get("Value")
    if state:
        return state != UNKNOWN_DEVICE
    # func_devstate.so is not loaded, so the list is used.
    listed = link.ask_list(actions.device_state_list())
    return any(one.get("Device") == device for one in listed)


def _check_outbound(link: ManagerLink, channel: str, notes: Notes) -> None:
    """Check that the destination of ``outbound_channel`` exists."""
    where = "outbound_channel"
    try:
        if found := _LOCAL.fullmatch(channel):
            link.ask_list(show_context(found[1]))
        elif (trunk := trunk_of(channel)) and not _knows(link, f"PJSIP/{trunk}"):
            notes.fault(
                where,
                f"it is {channel}, and Asterisk has no PJSIP endpoint {trunk}",
                "correct it; the names are in: sudo asterisk -rx 'pjsip show"
                " endpoints'",
            )
    except (Refused, LinkFailed, LocalProtocolError) as error:
        if NO_CONTEXT in str(error).lower():
            notes.fault(
                where,
                f"it is {channel}, and Asterisk has no such context",
                "write the context of your outbound routes, or a trunk such as"
                " PJSIP/{number}@trunk",
            )
        else:
            notes.skip(
                where,
                f"where {channel} leads is not checked: {error}",
                "add a task by hand and see whether the client is called:"
                " callback-queue tasks add QUEUE NUMBER",
            )
