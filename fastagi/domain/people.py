# SPDX-License-Identifier: MIT
"""Which channels may belong to a person, by their technology.

A caller who is connected to anything else (a voice bot on AudioSocket, external media,
a recording) has not reached a person. Only listed technologies count; a new one in
Asterisk does not count until it is listed here or in the settings.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final

#: Telephones, and lines to the public network, as channel drivers name them.
PERSON_TECHNOLOGIES: Final = (
    *("PJSIP", "SIP", "IAX2", "DAHDI"),
    # Other telephones for which Asterisk has, or had, a driver.
    *("Console", "H323", "MGCP", "Motif", "OOH323", "Phone", "SCCP", "Skinny", "USTM"),
    # Lines by drivers of other vendors.
    *("CAPI", "Dongle", "Khomp", "mISDN", "Mobile", "Quectel", "vpb"),
)
#: Technologies with a program at the other end.
MACHINE_TECHNOLOGIES: Final = frozenset(
    {"AudioSocket", "MulticastRTP", "UnicastRTP", "WebSocket"}
)
#: Channels that Asterisk creates internally; a person may be behind a ``Local`` one.
INTERNAL_TECHNOLOGIES: Final = frozenset(
    {
        *("Announcer", "AsyncGoto", "CBAnn", "CBRec", "Local", "Message", "Recorder"),
        *("Snoop", "Surrogate"),
    }
)


def is_person(
    channel: str, technologies: Collection[str] = PERSON_TECHNOLOGIES
) -> bool:
    """Whether a channel may belong to a person.

    Args:
        channel: the channel's name or interface, such as ``PJSIP/101-00000001``.
        technologies: further technologies of persons; case does not matter.
    """
    return technology_of(channel).lower() in _folded(tuple(technologies))


def is_machine(
    channel: str, technologies: Collection[str] = PERSON_TECHNOLOGIES
) -> bool:
    """Whether the name of a channel or an agent shows that it is a program.

    An agent's name may be any text, so other names prove nothing.
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
