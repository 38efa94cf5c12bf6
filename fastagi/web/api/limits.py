# SPDX-License-Identifier: MIT
"""Limits on how often something may be done, by token, address or number.

The counts are kept in memory: a restart begins anew, which is good enough against
floods. The limits on calls to one number are the service's own (docs/numbers.md).
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from fastagi.web.settings import ApiSettings

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0
#: Maximum number of keys that are counted; the ones that were used least recently go.
_MAX_KEYS: Final = 20_000


class RateLimit:
    """At most so many within a span of time, for each key."""

    def __init__(
        self,
        most: int,
        within_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no counts.

        Args:
            most: maximum number within the span; 0: no limit.
            within_s: the span, in seconds.
            clock: the steady clock, in seconds.
        """
        self._most = most
        self._within_s = within_s
        self._clock = clock
        self._times: OrderedDict[bytes, deque[float]] = OrderedDict()
        # Keys may be numbers of clients, which are not to be kept, not even in memory.
        self._salt = secrets.token_bytes(16)

    def give_back(self, key: str) -> None:
        """Take back the last count of a key."""
        if times := self._times.get(self._digest(key)):
            times.pop()

    def wait_s(self, key: str) -> int:
        """Count one; return 0, or in how many seconds there may be another one."""
        if not self._most:
            return 0
        now = self._clock()
        digest = self._digest(key)
        times = self._times.setdefault(digest, deque())
        self._times.move_to_end(digest)
        if len(self._times) > _MAX_KEYS:
            self._times.popitem(last=False)
        while times and times[0] <= now - self._within_s:
            times.popleft()
        if len(times) >= self._most:
            return math.ceil(times[0] + self._within_s - now)
        times.append(now)
        return 0

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(), key=self._salt, digest_size=16).digest()


class CreateLimits:
    """How often tasks may be created.

    Attributes:
        by_token: by one token or person.
        by_address: for one visitor of a web site.
        by_number: for one number, by a web site.
    """

    def __init__(
        self, settings: ApiSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.by_token = RateLimit(settings.create_per_token, _MINUTE_S, clock=clock)
        self.by_address = RateLimit(settings.create_per_address, _HOUR_S, clock=clock)
        self.by_number = RateLimit(settings.create_per_number, _DAY_S, clock=clock)
