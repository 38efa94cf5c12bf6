# SPDX-License-Identifier: MIT
"""Retries work on the database until it succeeds."""

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
    too_late: Callable[[], bool] = lambda: False,
    **fields: object,
) -> T:
    """Return the result of ``work()``, and retry while the database can not be used.

    Args:
        work: called for each try.
        trouble: the problem that lasts until the work succeeds, in words for the log,
            such as "a missed call is not stored yet".
        background: ends the pauses when the service stops.
        pause_s: pause before a retry, in seconds.
        too_late: called after each failed try; if True, there is no further try.
        fields: further fields of the log line.

    Raises:
        Stopping: the service stopped before the work succeeded.
        StoreUnavailable: the last try failed, and it is too late for another.
    """
    while True:
        try:
            return await work()
        except StoreUnavailable as error:
            if too_late():
                raise
            _log.error(
                "{trouble}, trying again: {error}",
                trouble=trouble,
                error=error,
                **fields,
            )
        await background.pause(pause_s)
