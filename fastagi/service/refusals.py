# SPDX-License-Identifier: MIT
"""Keeps in the store who is not called back and why, for the admin to see.

Nobody waits for it. A flood of refused callers costs a bounded number of rows, each of
a bounded size, and a bounded number of writes that wait.
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

#: Writes that may wait for the database; what comes more is only in the log.
_MOST_WAITING: Final = 100
#: Characters of a text in a reason.
_LONGEST_TEXT: Final = 300
_LONGEST_ID: Final = 150


class Refusals:
    """Who is not called back."""

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

    def keep(
        self, kind: Kind, queue: str, number: str, why: Reason, linkedid: str
    ) -> None:
        """Keep one.

        Args:
            kind: in what way a callback was asked for.
            queue: as in the settings.
            number: what was shown as caller ID, of any form; empty if withheld.
            why: the reason.
            linkedid: of the call.
        """
        if self._waiting >= _MOST_WAITING:
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
        self._background.start("keeping a refusal", self._write(refusal))

    async def _write(self, refusal: Refusal) -> None:
        try:
            await self._store.refuse(refusal)
        except StoreUnavailable as error:
            self._log.warn(
                "who was refused in queue {queue} is in the log alone: {error}",
                queue=refusal.queue,
                error=error,
            )
        finally:
            self._waiting -= 1


def _cut(text: str) -> str:
    return text[:_LONGEST_TEXT]
