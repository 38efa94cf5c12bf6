# SPDX-License-Identifier: MIT
"""Who may connect, how much of the server one peer may take, and what is said of it.

Owns the list of those who get an answer and the limits for each of them. Must not know
what a connection is for.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from twisted.internet.interfaces import IReactorTime

Network = IPv4Network | IPv6Network

#: The rate is counted in spans of this length.
_SPAN_S: Final = 1.0


class Verdict(enum.Enum):
    """What becomes of a new connection."""

    WELCOME = "welcome"
    #: Not among those who get an answer.
    STRANGER = "stranger"
    #: The peer has as many connections as one may have.
    TOO_MANY = "too many at once"
    #: The peer has made as many connections as one may make in a second.
    TOO_FAST = "too many in a second"


class Peers:
    """Judges each new connection by where it comes from.

    Args:
        clock: a steady one.
        allowed: who gets an answer.
        max_at_once: connections of one peer at one time; None for no limit.
        max_per_second: connections that one peer may make in a second; None for no
            limit.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        allowed: tuple[Network, ...],
        max_at_once: int | None,
        max_per_second: int | None,
    ) -> None:
        self._clock = clock
        self._allowed = allowed
        self._max_at_once = max_at_once
        self._max_per_second = max_per_second
        # Nearly every connection comes from the same host.
        self._known = lru_cache(maxsize=256)(self._name)
        self._held: Counter[str] = Counter()
        #: Connections in this span; forgotten with it, so that it stays small.
        self._made: Counter[str] = Counter()
        self._span = -1

    def admit(self, host: str) -> Verdict:
        """Judge a new connection; one that is welcome holds a place from now on."""
        peer = self._known(host)
        if not peer:
            return Verdict.STRANGER
        if self._is_too_fast(peer):
            return Verdict.TOO_FAST
        held = self._held[peer]
        if self._max_at_once is not None and held >= self._max_at_once:
            return Verdict.TOO_MANY
        self._held[peer] = held + 1
        return Verdict.WELCOME

    def release(self, host: str) -> None:
        """Give back the place of a connection that was welcome."""
        peer = self._known(host)
        self._held[peer] -= 1
        if not self._held[peer]:
            del self._held[peer]

    def _is_too_fast(self, peer: str) -> bool:
        if self._max_per_second is None:
            return False
        span = int(self._clock.seconds() / _SPAN_S)
        if span != self._span:
            self._span = span
            self._made.clear()
        self._made[peer] += 1
        return self._made[peer] > self._max_per_second

    def _name(self, host: str) -> str:
        """Return one name for each form of an allowed address; "" for others."""
        try:
            address = ip_address(host)
        except ValueError:
            return ""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        allowed = any(address in network for network in self._allowed)
        return str(address) if allowed else ""


class Complaints:
    """Tells of what may happen a thousand times a second, once a minute at most.

    The first is told at once; of those after it, the number and the latest, with the
    first one that comes when the minute is over.

    Args:
        clock: a steady one.
        tell: called with how many there were, and who was the latest.
        interval_s: from one time to the next.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tell: Callable[[int, str], None],
        interval_s: float = 60.0,
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._interval_s = interval_s
        self._count = 0
        self._next_at = float("-inf")

    def add(self, peer: str) -> None:
        """One more."""
        self._count += 1
        now = self._clock.seconds()
        if now >= self._next_at:
            count, self._count = self._count, 0
            self._next_at = now + self._interval_s
            self._tell(count, peer)
