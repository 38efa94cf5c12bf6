# SPDX-License-Identifier: MIT
"""Which channels a person may hold, by their technology.

A caller who is connected to anything else (a voice bot on AudioSocket, external media,
a recording) has not reached a person. So it counts what is known to be a person's, and
what is new in Asterisk is nobody's until it is listed here or in the settings.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final

#: Telephones, and lines to the public network, as channel drivers name them.
PERSON_TECHNOLOGIES: Final = (
    *("PJSIP", "SIP", "IAX2", "DAHDI"),
    # Other telephones that Asterisk has, or had, a driver for.
    *("Console", "H323", "MGCP", "Motif", "OOH323", "Phone", "SCCP", "Skinny", "USTM"),
    # Lines by drivers of other vendors.
    *("CAPI", "Dongle", "Khomp", "mISDN", "Mobile", "Quectel", "vpb"),
)
#: Where a program is at the other end.
MACHINE_TECHNOLOGIES: Final = frozenset(
    {"AudioSocket", "MulticastRTP", "UnicastRTP", "WebSocket"}
)
#: What Asterisk makes for itself. A person may be behind both halves of ``Local``.
INTERNAL_TECHNOLOGIES: Final = frozenset(
    {
        *("Announcer", "AsyncGoto", "CBAnn", "CBRec", "Local", "Message", "Recorder"),
        *("Snoop", "Surrogate"),
    }
)


def is_person(
    channel: str, technologies: Collection[str] = PERSON_TECHNOLOGIES
) -> bool:
    """Whether a person may hold a channel.

    Args:
        channel: its name, or its interface, such as ``PJSIP/101-00000001``.
        technologies: those of persons, in any case.
    """
    return technology_of(channel).lower() in _folded(tuple(technologies))


def is_machine(
    channel: str, technologies: Collection[str] = PERSON_TECHNOLOGIES
) -> bool:
    """Whether a program is known to be behind a channel or an agent of that name.

    The name of an agent may be any text, so nothing else can be told from it.
    """
    return technology_of(channel) in MACHINE_TECHNOLOGIES and not is_person(
        channel, technologies
    )


def technology_of(channel: str) -> str:
    """Return the technology of a channel or an interface."""
    return channel.partition("/")[0]


@lru_cache(maxsize=16)
def _folded(technologies: tuple[str, ...]) -> frozenset[str]:
    return frozenset(one.lower() for one in technologies)
