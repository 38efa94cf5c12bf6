# SPDX-License-Identifier: MIT
"""Hides the last digits of clients' numbers from those who may not see them.

Numbers also occur in names, and in the words and parameters of reasons. So every text
is masked, except in the fields that are known to hold something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

#: Number of digits that are hidden.
_HIDDEN: Final = 3
_HIDDEN_DIGIT: Final = "•"
#: A number as people or machines write it. Shorter ones are extensions of agents, or
#: counts.
_NUMBER: Final = re.compile(r"\+?\d(?:[ ./()-]?\d){4,}")
#: Fields with times, ids and words of this program.
_HOLDS_NO_NUMBER: Final = frozenset(
    {
        "agent",
        "at",
        "channel_id",
        "code",
        "disposition",
        "event",
        "interface",
        "kind",
        "linkedid",
        "member",
        "move",
        "opens_at",
        "paused_in",
        "queue",
        "queues",
        "reason_code",
        "since",
        "stage",
        "state",
        "status",
        "target",
        "time_zone",
        "until",
        "version",
    }
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def mask(number: str) -> str:
    """Return a number with its last three digits hidden."""
    shown: list[str] = []
    hidden = 0
    for char in reversed(number):
        if char.isdigit() and hidden < _HIDDEN:
            char = _HIDDEN_DIGIT
            hidden += 1
        shown.append(char)
    return "".join(reversed(shown))


def masked(value: Any, name: str = "") -> Any:
    """Return a JSON value in which every number of a client is masked.

    Args:
        value: the value; it is not changed.
        name: the name of its field; empty if there is none.
    """
    match value:
        case str():
            return _masked_text(value, name)
        case Mapping():
            return {key: masked(inner, str(key)) for key, inner in value.items()}
        case list() | tuple():
            return [masked(inner, name) for inner in value]
        case _:
            return value


def _masked_text(value: str, name: str) -> str:
    if name == "number":
        return mask(value)
    if name in _HOLDS_NO_NUMBER or name.endswith("_at") or _TIME.match(value):
        return value
    return _NUMBER.sub(lambda found: mask(found[0]), value)
