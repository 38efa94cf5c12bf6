# SPDX-License-Identifier: MIT
"""Retries work after a connect until it succeeds or the link is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.logger import Logger

from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession
from fastagi.runtime.background import Background
from fastagi.store.errors import StoreUnavailable

#: Pause before retrying if Asterisk or the database did not answer, in seconds.
_RETRY_S: Final = 5.0

_log = Logger()


async def until_known(
    work: Callable[[], Awaitable[object]],
    what: str,
    *,
    manager: AmiSession,
    link: int,
    background: Background,
) -> bool:
    """Do ``work()`` until it succeeds or the link is lost.

    Args:
        work: called for each try.
        what: what must be known before a call is placed, for the log, such as "who is
            in a call".
        manager: the session with Asterisk.
        link: number of the link that the work is for.
        background: ends the pauses when the service stops.

    Returns:
        Whether it succeeded. If not, the next connect has to begin again.

    Raises:
        Stopping: the service stopped before.
    """
    while manager.is_up(link):
        try:
            await work()
        except NotConnected:
            return False
        except (ActionFailed, ActionTimedOut, StoreUnavailable) as error:
            _log.error(
                "no call is placed until it is known {what}: {error}",
                what=what,
                error=error,
            )
            await background.pause(_RETRY_S)
        else:
            return True
    return False
