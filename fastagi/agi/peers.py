# SPDX-License-Identifier: MIT
"""Which addresses may connect to the FastAGI server, and the limits for each of them.

A peer is one IP address. This module does not know what a connection is for.
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

#: Length of the periods in which connections are counted, in seconds.
_PERIOD_S: Final = 1.0


class Admission(enum.Enum):
    """The decision about a new connection."""

    ADMITTED = "admitted"
    #: The address is in none of the allowed networks.
    NOT_ALLOWED = "not allowed"
    #: The peer has the maximum number of open connections.
    TOO_MANY = "too many at once"
    #: The peer has made the maximum number of connections in this second.
    TOO_FAST = "too many in a second"


class Peers:
    """Admits or refuses each new connection by its address.

    Args:
        clock: a steady clock.
        allowed: networks whose connections are admitted.
        max_at_once: maximum number of open connections of one peer; None for no limit.
        max_per_second: maximum number of new connections of one peer in a second; None
            for no limit.
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
        # Cached, as nearly every connection comes from the same host.
        self._peer_name = lru_cache(maxsize=256)(self._find_name)
        #: Open connections of each peer.
        self._open: Counter[str] = Counter()
        #: New connections of each peer in the current period.
        self._recent: Counter[str] = Counter()
        #: Number of the current period.
        self._period = -1

    def admit(self, host: str) -> Admission:
        """Decide about a new connection; count it as open if it is admitted."""
        peer = self._peer_name(host)
        if not peer:
            return Admission.NOT_ALLOWED
        if self._is_too_fast(peer):
            return Admission.TOO_FAST
        open_now = self._open[peer]
        if self._max_at_once is not None and open_now >= self._max_at_once:
            return Admission.TOO_MANY
        self._open[peer] = open_now + 1
        return Admission.ADMITTED

    def release(self, host: str) -> None:
        """Count an admitted connection as closed."""
        peer = self._peer_name(host)
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]

    def _is_too_fast(self, peer: str) -> bool:
        if self._max_per_second is None:
            return False
        period = int(self._clock.seconds() / _PERIOD_S)
        if period != self._period:
            self._period = period
            self._recent.clear()
        self._recent[peer] += 1
        return self._recent[peer] > self._max_per_second

    def _find_name(self, host: str) -> str:
        """Return the same text for all forms of an allowed address; "" for others."""
        try:
            address = ip_address(host)
        except ValueError:
            return ""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        allowed = any(address in network for network in self._allowed)
        return str(address) if allowed else ""


class RateLimitedReport:
    """Reports something that may happen a thousand times a second, once a minute.

    The first case is reported at once. Later cases are counted, and the first one after
    the interval reports how many there were.

    Args:
        clock: a steady clock.
        report: called with the number of cases since the last report, and the peer of
            the latest case.
        interval_s: shortest time from one report to the next, in seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        report: Callable[[int, str], None],
        interval_s: float = 60.0,
    ) -> None:
        self._clock = clock
        self._report = report
        self._interval_s = interval_s
        self._count = 0
        self._next_at = float("-inf")

    def add(self, peer: str) -> None:
        """Count one case, and report if the interval is over."""
        self._count += 1
        now = self._clock.seconds()
        if now >= self._next_at:
            count, self._count = self._count, 0
            self._next_at = now + self._interval_s
            self._report(count, peer)
