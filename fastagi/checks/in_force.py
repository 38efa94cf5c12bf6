# SPDX-License-Identifier: MIT
"""Compares the queues that Asterisk has loaded with queues.conf.

Asterisk reports the members, the strategy and some numbers of a queue. It does not
report the context of the key or the announcements; for those only the age of the files
is checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from fastagi.ami import actions
from fastagi.ami.actions import Action
from fastagi.checks.conf import Conf, Section
from fastagi.checks.finding import Notes
from fastagi.checks.link import LinkFailed, ManagerLink, Refused
from fastagi.domain.names import folded

#: Numbers of a queue: options of queues.conf, and headers of QueueParams.
_NUMBERS: Final = {"maxlen": "Max", "weight": "Weight", "servicelevel": "ServiceLevel"}
_STRATEGIES: Final = frozenset(
    {
        *("ringall", "leastrecent", "fewestcalls", "random", "rrmemory", "linear"),
        *("wrandom", "rrordered"),
    }
)


@attrs.frozen
class Member:
    """One member of a queue, as Asterisk has loaded it."""

    interface: str
    state_interface: str
    status: str
    #: Whether it comes from queues.conf, not from an action or a database.
    is_static: bool


@attrs.frozen
class Loaded:
    """One queue, as Asterisk has loaded it.

    Attributes:
        options: headers of QueueParams by name.
    """

    name: str
    options: Mapping[str, str]
    members: Sequence[Member]


def loaded_queues(link: ManagerLink) -> dict[str, Loaded]:
    """Return each queue that Asterisk has loaded, by its name in lower case.

    Raises:
        Refused, LinkFailed: Asterisk does not list the queues.
    """
    queues: dict[str, Loaded] = {}
    members: dict[str, list[Member]] = {}
    for message in link.ask_list(actions.queue_status()):
        name = message.get("Queue")
        of_this = members.setdefault(folded(name), [])
        if message.event == "QueueParams":
            queues[folded(name)] = Loaded(name, dict(message.headers), of_this)
        elif message.event == "QueueMember":
            interface = message.get("Location")
            of_this.append(
                Member(
                    interface,
                    message.get("StateInterface") or interface,
                    message.get("Status"),
                    message.get("Membership") == "static",
                )
            )
    return queues


def check_in_force(conf: Conf, loaded: Loaded, notes: Notes, reload: str) -> None:
    """Note queues that differ from queues.conf because it was not reloaded."""
    section = conf.section(loaded.name)
    if section is None or conf.gaps:
        return
    for where, difference in (
        *_other_options(section, loaded),
        *_other_members(section, loaded),
    ):
        notes.fault(
            where,
            f"Asterisk has not read it: {difference}",
            f"run: {reload}",
        )


def _other_options(section: Section, loaded: Loaded) -> list[tuple[str, str]]:
    found = []
    for name, header in _NUMBERS.items():
        option, value = section.get(name), loaded.options.get(header)
        number = re.match(r"\d+", option.value) if option else None
        if not (option and number and value and value.isdecimal()):
            continue
        if int(number[0]) != int(value):
            found.append(
                (option.where, f"[{section.name}] is loaded with {name} = {value}")
            )
    # app_queue takes the first one, even if that is a template's.
    strategy, value = section.first("strategy"), loaded.options.get("Strategy", "")
    if strategy and strategy.value.lower() in _STRATEGIES:
        wanted = strategy.value.lower()
        # A change to linear needs a restart, as app_queue says in the log.
        if value and wanted not in (value.lower(), "linear"):
            found.append(
                (strategy.where, f"[{section.name}] is loaded with strategy = {value}")
            )
    return found


def _other_members(section: Section, loaded: Loaded) -> list[tuple[str, str]]:
    written: dict[str, tuple[str, str, str]] = {}
    for option in section.all("member"):
        interface, _penalty, _name, state, *_ = [
            one.strip() for one in (*option.value.split(","), "", "", "")
        ]
        if interface:
            written[interface.lower()] = (interface, state or interface, option.where)
    has = {one.interface.lower(): one for one in loaded.members}
    found = []
    for key, (interface, state, where) in written.items():
        if key not in has:
            found.append((where, f"[{section.name}] is loaded without {interface}"))
        elif has[key].state_interface.lower() != state.lower():
            found.append(
                (
                    where,
                    f"[{section.name}] is loaded with {interface} by the state of"
                    f" {has[key].state_interface}",
                )
            )
    found += [
        (section.where, f"[{section.name}] is loaded with the member {one.interface}")
        for key, one in has.items()
        if one.is_static and key not in written
    ]
    return found


def check_age(link: ManagerLink, conf: Conf, notes: Notes, reload: str) -> None:
    """Warn if a file was changed after Asterisk last reloaded anything."""
    read_at = _last_reload(link)
    if read_at is None:
        return
    for path in conf.files:
        try:
            changed_at = datetime.fromtimestamp(
                int(path.stat().st_mtime), read_at.tzinfo
            )
        except OSError:
            continue
        if changed_at > read_at:
            notes.warn(
                path,
                f"it was changed at {changed_at:%H:%M:%S}, and Asterisk's last reload"
                f" that is known was at {read_at:%H:%M:%S}: its queues may still be"
                " the old ones",
                f"run: {reload}",
            )


def _last_reload(link: ManagerLink) -> datetime | None:
    """Return when Asterisk last started or reloaded a module; None if not known.

    "queue reload" is not counted by Asterisk.
    """
    try:
        status = link.ask(Action("CoreStatus"))
        zone = link.ask(actions.get_var("STRFTIME(,,%z)")).get("Value")
    except (Refused, LinkFailed):
        return None
    if not re.fullmatch(r"[+-]\d{4}", zone):
        return None
    moments = []
    for name in ("Startup", "Reload"):
        text = f"{status.get(f'Core{name}Date')} {status.get(f'Core{name}Time')} {zone}"
        try:
            moments.append(datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z"))
        except ValueError:
            continue
    return max(moments, default=None)
