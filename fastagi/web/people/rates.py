# SPDX-License-Identifier: MIT
"""Limits the number of requests of each client in a minute, in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fastagi.errors import CallbackError

_MINUTE_S: Final = 60.0
#: Maximum number of clients that are remembered.
_MOST_CLIENTS: Final = 20_000


class TooManyRequests(CallbackError):
    """The client has sent too many requests.

    Attributes:
        wait_s: after how many seconds it may send the next one.
    """

    def __init__(self, wait_s: float, what: str = "too many requests") -> None:
        self.wait_s = max(1, round(wait_s + 0.5))
        super().__init__(what, f"try again in {self.wait_s} s")


class Rates:
    """A bucket for each client, which fills evenly and holds the requests of a minute.

    When there are too many clients, the one whose last request is the oldest is
    forgotten.
    """

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        #: For each client what is left in its bucket, and since when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def note(self, client: str, per_minute: int) -> None:
        """Count a request.

        Raises:
            TooManyRequests: the client has none left.
        """
        now_s = self._now_s()
        left, at_s = self._buckets.pop(client, (float(per_minute), now_s))
        left = min(per_minute, left + (now_s - at_s) * per_minute / _MINUTE_S)
        refused = left < 1.0
        self._buckets[client] = (left if refused else left - 1.0, now_s)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if refused:
            raise TooManyRequests((1.0 - left) * _MINUTE_S / per_minute)
