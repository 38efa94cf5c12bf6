# SPDX-License-Identifier: MIT
"""Stores refusals, so that an operator can see who was not called back and why.

Nothing waits for the writes. The number of waiting writes, the number of rows and the
size of a row are limited, so that a flood of refused callers does no harm.
"""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from fastagi.domain.blocked_numbers import Refusal
from fastagi.domain.numbers import printable, shown_number
from fastagi.domain.reason import Reason, map_texts
from fastagi.domain.task import Kind
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Maximum number of writes that wait for the database. Further ones are only logged.
_MAX_WAITING: Final = 100
#: Maximum length of a text in a reason, in characters.
_LONGEST_TEXT: Final = 300
_LONGEST_ID: Final = 150


class Refusals:
    """The stored refusals."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
    ) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._waiting = 0

    def store(
        self, kind: Kind, queue: str, number: str, why: Reason, linkedid: str
    ) -> None:
        """Store a refusal, unless too many are waiting already.

        Args:
            kind: how the callback was requested.
            queue: name of the queue, as in the settings.
            number: the caller ID in any form; empty if withheld.
            why: the reason of the refusal.
            linkedid: the linkedid of the call.
        """
        if self._waiting >= _MAX_WAITING:
            return
        refusal = Refusal(
            at=self._clock.now(),
            kind=kind,
            queue=queue,
            number=shown_number(number),
            why=map_texts(why, _cut),
            linkedid=printable(linkedid[:_LONGEST_ID]),
        )
        self._waiting += 1
        self._background.start("storing a refusal", self._write(refusal))

    async def _write(self, refusal: Refusal) -> None:
        try:
            await self._store.refuse(refusal)
        except StoreUnavailable as error:
            self._log.warn(
                "a refusal in queue {queue} is not stored, it is only in the log:"
                " {error}",
                queue=refusal.queue,
                error=error,
            )
        finally:
            self._waiting -= 1


def _cut(text: str) -> str:
    return text[:_LONGEST_TEXT]
