# SPDX-License-Identifier: MIT
"""Hides the last digits of clients' numbers from those who may not see them.

Used by the console, the API and webhooks. Numbers also occur in names, and in the words
and parameters of reasons. So every text is masked, except in the fields that are known
to hold something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from fastagi.masking import hide

_HIDDEN_DIGIT: Final = "•"
#: A number as people or machines write it; shorter ones are extensions of agents, or
#: counts. What comes before it is left alone: times, and ids of channels, which begin
#: with the seconds since the epoch.
_NUMBER: Final = re.compile(
    r"""
    (?P<other>
        (?<!\d) (?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])
        (?:[T ]\d\d:\d\d (?: :\d\d (?:\.\d{1,6})? )? (?:Z|[+-]\d\d:\d\d)? )? (?!\d)
      | (?<!\d) 1[5-9]\d{8}\.\d{1,9} (?!\d)
    )
    | \+?\d (?:[ ./()-]{0,2}\d){4,}
    """,
    re.VERBOSE,
)
#: Fields that hold a number and nothing else.
_HOLDS_NUMBER: Final = frozenset({"caller", "number"})
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
        "node",
        "open_since",
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


def mask(number: str) -> str:
    """Return a number with its last three digits hidden."""
    return hide(number, _HIDDEN_DIGIT)


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
    if name in _HOLDS_NUMBER:
        return mask(value)
    if name in _HOLDS_NO_NUMBER or name.endswith("_at"):
        return value
    return _NUMBER.sub(
        lambda found: found[0] if found["other"] else mask(found[0]), value
    )
