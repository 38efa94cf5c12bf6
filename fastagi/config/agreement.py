# SPDX-License-Identifier: MIT
"""Compares the settings of several services on one database.

All of them should have the same, except what depends on the machine of a service: how
it reaches Asterisk, the database and the files, where it listens, its name and its log.
So no secret is among the settings that are compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from attrs import evolve, frozen

from fastagi.config.listing import Written, listed, written
from fastagi.config.sections import SECTIONS, NodeSection, Settings
from fastagi.config.source import dotted
from fastagi.config.values import Section
from fastagi.domain.difference import Difference

#: Sections that may differ: they say where something is, seen from one machine.
OF_A_MACHINE: Final = frozenset(
    {"ami", "asterisk", "control", "database", "fastagi", "history", "instance", "log"}
)
#: Sections that are not compared, as they only say where others come from: a queue has
#: all of its settings.
_ELSEWHERE: Final = frozenset({"defaults", "include"})
#: Sections that are compared.
COMPARED: Final = tuple(
    name for name in SECTIONS if name not in OF_A_MACHINE | _ELSEWHERE
)
#: Settings of a node that are compared; its sections depend on the machine.
_OF_NODE: Final = tuple(
    name
    for name, field in NodeSection.model_fields.items()
    if not isinstance(field.default, Section)
)

#: Values as they are written in the file, by the name of the setting.
Values: TypeAlias = Mapping[str, Written]


@frozen
class Shared:
    """The settings that all services should have alike.

    Attributes:
        general: those of no queue, by their name in the file.
        queues: those of each queue, by their name below it.
    """

    general: Values
    queues: Mapping[str, Values]

    def as_json(self) -> str:
        """Return them as text that is the same for the same settings."""
        both = {"general": self.general, "queues": self.queues}
        return json.dumps(both, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Shared:
        """Return what another service has written, perhaps of another version."""
        both = json.loads(text)
        return Shared(both["general"], both["queues"])


def digest_of(text: str) -> str:
    """Return a short text that is the same for the same settings."""
    return hashlib.sha256(text.encode()).hexdigest()


def of_no_queue(settings: Settings) -> dict[str, Written]:
    """Return the settings to compare, except those of queues."""
    found: dict[str, Written] = {
        # The first node has tasks of its own, and the first queue callers without one.
        "nodes": [node.name for node in settings.all_nodes],
        "queues": list(settings.queues),
    }
    for node in settings.all_nodes:
        for name in _OF_NODE:
            place = ("nodes", node.name, name)
            found[dotted(place)] = written(getattr(node, name))
    for setting in listed(settings, sections=COMPARED):
        found[setting.name] = setting.value
    return found


def of_queue(settings: Settings, queue: str) -> dict[str, Written]:
    """Return the settings of a queue, by their names below it."""
    above = dotted(("queues", queue)) + "."
    return {
        setting.name.removeprefix(above): setting.value
        for setting in listed(settings, queue)
    }


def compare(here: Shared, there: Shared) -> list[Difference]:
    """Return the settings that two services have otherwise.

    What only one of them has is told by the lists of nodes and queues, or a program of
    the other version does not know it.
    """
    found = list(_differing(here.general, there.general))
    of_queues: dict[str, Difference] = {}
    for queue, values in here.queues.items():
        for one in _differing(values, there.queues.get(queue, {})):
            kind = json.dumps([one.name, one.here, one.there], sort_keys=True)
            if (like := of_queues.get(kind)) is not None:
                of_queues[kind] = evolve(like, more=like.more + 1)
            else:
                name = f"{dotted(('queues', queue))}.{one.name}"
                of_queues[kind] = evolve(one, name=name)
    return [*found, *of_queues.values()]


def _differing(here: Values, there: Values) -> Iterator[Difference]:
    for name, value in here.items():
        if name in there and there[name] != value:
            yield Difference(name, value, there[name])
