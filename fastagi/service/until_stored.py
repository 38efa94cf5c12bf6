# SPDX-License-Identifier: MIT
"""Does something in the database, as often as it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from twisted.logger import Logger

from fastagi.runtime.background import Background
from fastagi.store.errors import StoreUnavailable

T = TypeVar("T")

#: Pause before retrying after StoreUnavailable, in seconds.
STORE_RETRY_S: Final = 5.0

_log = Logger()


async def until_stored(
    work: Callable[[], Awaitable[T]],
    trouble: str,
    background: Background,
    *,
    pause_s: float = STORE_RETRY_S,
) -> T:
    """Return what ``work()`` returns, trying again while the database can not be used.

    Args:
        work: called anew for each try.
        trouble: what is not as it should be meanwhile, in words for the log, such as
            "a missed call is not stored yet".
        background: ends the pauses when the service stops.
        pause_s: from one try to the next, in seconds.

    Raises:
        Stopping: the service stopped before it succeeded.
    """
    while True:
        try:
            return await work()
        except StoreUnavailable as error:
            _log.error("{trouble}, trying again: {error}", trouble=trouble, error=error)
        await background.pause(pause_s)
