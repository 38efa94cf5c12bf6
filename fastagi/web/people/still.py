# SPDX-License-Identifier: MIT
"""Whether the reader of an answer without end may still read it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import HTTPConnection

from fastagi.store.errors import StoreUnavailable
from fastagi.web.parts import parts_of
from fastagi.web.people.access import Principal

#: Time between two questions, in seconds.
_EVERY_S: Final = 5.0


class StillAllowed:
    """Asks now and then, and remembers the answer in between."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[bool]],
        *,
        every_s: float = _EVERY_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with a request that has just been admitted.

        Args:
            ask: asks whether the reader has the same rights as then.
            every_s: time between two questions, in seconds.
            now_s: the steady clock, in seconds.
        """
        self._ask = ask
        self._every_s = every_s
        self._now_s = now_s
        self._asked_at = now_s()

    async def __call__(self) -> bool:
        """Whether the reader may get the next piece."""
        now_s = self._now_s()
        if now_s - self._asked_at < self._every_s:
            return True
        self._asked_at = now_s
        try:
            return await self._ask()
        except StoreUnavailable:
            # Nobody can log out meanwhile either. It is asked again soon.
            return True


def still_allowed(request: HTTPConnection, who: Principal) -> StillAllowed:
    """Return what asks whether the one who made a request may still do the same."""
    people = parts_of(request).people
    return StillAllowed(lambda: people.is_still(request, who))
