# SPDX-License-Identifier: MIT
"""Requests of callers who wait for the answer: told in time, or taken back.

A caller who can not be told goes back into the queue, so the request must not stand.
One who has hung up does not go back, and one who was told that Asterisk keeps the
request does not either: both want their callback. Which of these it is shows only
afterwards, so callers who could not be told are remembered until it does.

There is one of these for each Asterisk, as ids of channels are unique only there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.domain.numbers import NotCallable
from fastagi.domain.reason import Code, because
from fastagi.domain.task import CallbackTask, IllegalMove, NewTask
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.service.requests import (
    Answer,
    CallbackRequest,
    NotStored,
    Refused,
    Requests,
)
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import CommitUnknown, StoreUnavailable
from fastagi.store.store import Recorded, TaskStore

#: Pause before trying again to take a request back, in seconds.
_STORE_RETRY_S: Final = 2.0
#: How many calls are remembered whose requests Asterisk keeps.
_MOST_KEPT: Final = 1000
#: How many callers are remembered who may be on the way back.
_MOST_UNTOLD: Final = 1000


class Line(Protocol):
    """The queues in which the callers wait."""

    async def is_gone(self, uniqueid: str) -> bool:
        """Return whether a channel is surely gone."""

    def is_waiting(self, queue: str, uniqueid: str) -> bool:
        """Return whether a caller is known to wait in a queue now."""


class Promises:
    """Requests that are answered, or taken back."""

    _log = Logger()

    def __init__(
        self,
        *,
        requests: Requests,
        store: TaskStore,
        line: Line,
        clock: Clock,
        background: Background,
        tasks_changed: Callable[[], None],
    ) -> None:
        self._requests = requests
        self._store = store
        self._line = line
        self._clock = clock
        self._background = background
        self._tasks_changed = tasks_changed
        #: Requests whose callers could not be told, by the caller's uniqueid.
        self._untold: dict[str, tuple[NewTask, Recorded]] = {}
        #: Calls, by Linkedid, whose callers were told that Asterisk keeps the request.
        self._kept: deque[str] = deque(maxlen=_MOST_KEPT)
        #: Uniqueid of a caller, and whether the request stands or was taken back.
        self.request_changed: Listeners[[str, bool]] = Listeners("a request")

    async def ask(
        self,
        request: CallbackRequest,
        limit_s: float,
        tell: Callable[[Answer], Awaitable[None]],
    ) -> None:
        """Store a request and tell the caller what came of it.

        Args:
            request: with the uniqueid of the caller's channel.
            limit_s: how long the caller waits for the COMMIT.
            tell: called once. If it raises, the caller has not heard the answer.
        """
        new = self._requests.decide(request)
        if isinstance(new, Refused):
            await tell(new)
            return
        try:
            recorded = await self._store_in_time(request, new, limit_s)
        except NotCallable as refusal:
            await tell(self._requests.refuse(request, new.queue, refusal.why))
            return
        except StoreUnavailable as error:
            self._log.error(
                "a request in queue {queue} could not be kept, the caller is put back"
                " in line: {error}",
                queue=new.queue,
                error=error,
                uniqueid=request.uniqueid,
            )
            await tell(NotStored(str(error)))
            return
        self.request_changed.call(request.uniqueid, True)
        try:
            await tell(self._requests.stored(request, new, recorded))
        except Exception:
            if _can_be_taken_back(recorded):
                self._background.start(
                    "finding out whether a caller is back in line",
                    self._could_not_tell(request.uniqueid, new, recorded),
                )
            raise
        finally:
            self._tasks_changed()

    # -- what shows afterwards ---------------------------------------------

    def kept_by_asterisk(self, uniqueid: str, linkedid: str) -> None:
        """We gave no answer, and the caller was told that the request is kept."""
        self._kept.append(linkedid)
        self._untold.pop(uniqueid, None)
        self.request_changed.call(uniqueid, True)

    def caller_joined(self, queue: str, uniqueid: str) -> None:
        """A caller joined a queue: was it one we could not tell?"""
        untold = self._untold.pop(uniqueid, None)
        if untold is not None:
            self.request_changed.call(uniqueid, False)
            self._background.start("taking back a request", self._take_back(*untold))

    def channel_gone(self, uniqueid: str) -> None:
        """A channel was hung up: who it was does not come back into the line."""
        self._untold.pop(uniqueid, None)

    # -- in time or not at all ---------------------------------------------

    async def _store_in_time(
        self, request: CallbackRequest, new: NewTask, limit_s: float
    ) -> Recorded:
        """Store a request before its caller is sent back into the queue.

        Raises:
            NotCallable: the number is blocked, or was called too often.
            StoreUnavailable: the database said no, or nothing yet. What it stores
                after all is taken back, unless the caller has hung up by now.
        """
        if limit_s <= 0:
            raise StoreUnavailable(
                "this service was too busy to read it within the caller's second"
            )
        asked_at = self._clock.now()
        adding = Deferred.fromCoroutine(
            self._requests.store(request, new, asked_at, within_s=limit_s)
        )
        in_time: Deferred[Recorded] = Deferred()
        late: Deferred[Recorded] = Deferred()

        def undo() -> None:
            self._background.start(
                "taking back what may be stored late",
                self._undo(request.uniqueid, new, asked_at, late),
            )

        def stored(recorded: Recorded) -> None:
            (late if in_time.called else in_time).callback(recorded)

        def failed(failure: Failure) -> None:
            if in_time.called:
                late.errback(failure)
                return
            in_time.errback(failure)
            if failure.check(CommitUnknown):
                late.errback(failure)
                undo()

        def too_late() -> None:
            in_time.errback(
                StoreUnavailable(f"the database took more than {limit_s:.2g} s")
            )
            undo()

        _ = adding.addCallbacks(stored, failed)
        timer = self._clock.call_later(limit_s, too_late)
        try:
            return await in_time
        finally:
            if timer.active():
                timer.cancel()

    async def _undo(
        self,
        uniqueid: str,
        new: NewTask,
        asked_at: datetime,
        adding: Deferred[Recorded],
    ) -> None:
        """Take back what becomes of a request whose caller goes back in line.

        Who has hung up before that does not, and the request stands if it is stored.
        """
        hung_up = False
        try:
            hung_up = await self._line.is_gone(uniqueid)
            if not hung_up and new.linkedid not in self._kept:
                # If he hangs up in line it is a missed call, which this request is not.
                self.request_changed.call(uniqueid, False)
            recorded = await adding
        except CommitUnknown:
            if not hung_up:
                await self._take_back_unheard(new, asked_at)
        except (NotCallable, StoreUnavailable):
            return
        else:
            if _can_be_taken_back(recorded) and not hung_up:
                await self._take_back(new, recorded)
        finally:
            # When the service stops in between, what the database says is nobody's.
            _ = adding.addErrback(lambda _failure: None)
        self._tasks_changed()

    async def _could_not_tell(
        self, uniqueid: str, new: NewTask, recorded: Recorded
    ) -> None:
        """Find out why a caller could not be told that the request is kept.

        If the caller hung up, the request stands. If Asterisk gave up on us, the
        caller is in line again, or will be in a moment.
        """
        self._untold[uniqueid] = (new, recorded)
        if len(self._untold) > _MOST_UNTOLD:
            # Of a call whose end nobody told us.
            del self._untold[next(iter(self._untold))]
        if await self._line.is_gone(uniqueid):
            self.channel_gone(uniqueid)
        elif self._line.is_waiting(new.queue, uniqueid):
            self.caller_joined(new.queue, uniqueid)

    # -- taking back -------------------------------------------------------

    async def _take_back(self, new: NewTask, recorded: Recorded) -> None:
        await self._until_taken_back(
            new.linkedid,
            lambda: self._store.take_back(
                recorded.task.id, self._clock.now(), recorded.later_id
            ),
        )

    async def _take_back_unheard(self, new: NewTask, asked_at: datetime) -> None:
        await self._until_taken_back(
            new.linkedid,
            lambda: self._store.take_back_unheard(new, asked_at, self._clock.now()),
        )

    async def _until_taken_back(
        self,
        linkedid: str,
        take_back: Callable[[], Coroutine[Deferred[Any], Any, CallbackTask | None]],
    ) -> None:
        """Take a request back, as soon as the database can be used."""

        async def unless_kept() -> CallbackTask | None:
            # Asterisk may have kept it between two tries.
            return None if linkedid in self._kept else await take_back()

        try:
            taken = await until_stored(
                unless_kept,
                "a request is not taken back yet",
                self._background,
                pause_s=_STORE_RETRY_S,
                linkedid=linkedid,
            )
        except IllegalMove as error:
            self._log.info(
                "a request is not taken back: {error}", linkedid=linkedid, error=error
            )
            return
        if taken is not None:
            self._log.warn(
                "task {task_id}: {reason}",
                task_id=taken.id,
                reason=because(Code.TAKEN_BACK),
            )
            self._tasks_changed()


def _can_be_taken_back(recorded: Recorded) -> bool:
    """Whether a request has done more than repeat one that stands anyway."""
    return recorded.created or recorded.later_id is not None
