# SPDX-License-Identifier: MIT
"""Requests of callers who wait for the answer: answered in time, or taken back.

If a caller can not be told the answer, one of these follows:

- the caller goes back into the queue: the request must be taken back;
- the caller has hung up, or has heard that Asterisk stored the request: the request
  stays, as the caller wants the callback.

Only later events show which one it is, so these callers are remembered until then.

There is one `Promises` for each Asterisk, as channel ids are unique only there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.domain.not_callable import NotCallable
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask, IllegalMove, NewTask, Status
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

#: Pause before retrying to take back a request, in seconds.
_STORE_RETRY_S: Final = 2.0
#: Maximum number of remembered calls whose request Asterisk stored.
_MAX_KEPT: Final = 1000
#: Maximum number of remembered callers who could not be told the answer.
_MAX_UNANSWERED: Final = 1000


class Line(Protocol):
    """The queues in which the callers wait, as Asterisk sees them."""

    async def is_gone(self, uniqueid: str) -> bool:
        """Return whether a channel is known to be hung up."""

    def is_waiting(self, queue: str, uniqueid: str) -> bool:
        """Return whether a caller is known to wait in a queue now."""


class Promises:
    """Stores requests and delivers the answers, or takes the requests back."""

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
        #: Requests whose callers could not be told the answer, by uniqueid.
        self._unanswered: dict[str, tuple[NewTask, Recorded]] = {}
        #: Linkedids of calls whose callers were told that Asterisk stored the request.
        self._kept_calls: deque[str] = deque(maxlen=_MAX_KEPT)
        #: Called with the uniqueid of a caller, and whether the request stays (True) or
        #: is taken back (False).
        self.request_changed: Listeners[[str, bool]] = Listeners("a request")
        #: Called with the id of a task that is in an attempt although its client is to
        #: be called at a time to come, and why.
        self.too_early: Listeners[[int, Reason]] = Listeners("a chosen time")

    async def ask(
        self,
        request: CallbackRequest,
        limit_s: float,
        deliver: Callable[[Answer], Awaitable[None]],
    ) -> None:
        """Store a request and deliver the answer to the caller.

        Args:
            request: must have the uniqueid of the caller's channel.
            limit_s: how long the caller waits for the COMMIT, in seconds.
            deliver: called once, with the answer. If it raises, the caller has not
                received the answer.
        """
        new = self._requests.decide(request)
        if isinstance(new, Refused):
            await deliver(new)
            return
        try:
            recorded = await self._store_in_time(request, new, limit_s)
        except NotCallable as refusal:
            await deliver(self._requests.refuse(request, new.queue, refusal.why))
            return
        except StoreUnavailable as error:
            self._log.error(
                "a request in queue {queue} could not be stored, the caller is put back"
                " in line: {error}",
                queue=new.queue,
                error=error,
                uniqueid=request.uniqueid,
            )
            await deliver(NotStored(str(error)))
            return
        self.request_changed.call(request.uniqueid, True)
        if new.slot is not None and recorded.task.status is Status.CALLING:
            # It waits in line, or an agent's phone rings: that would be too early.
            self.too_early.call(recorded.task.id, new.why_again or new.why)
        try:
            await deliver(self._requests.stored(request, new, recorded))
        except Exception:
            if _can_be_taken_back(recorded):
                self._background.start(
                    "finding out whether a caller is back in line",
                    self._answer_undelivered(request.uniqueid, new, recorded),
                )
            raise
        finally:
            self._tasks_changed()

    # -- what becomes of the caller ----------------------------------------

    def kept_by_asterisk(self, uniqueid: str, linkedid: str) -> None:
        """Keep the request: the caller heard that Asterisk stored it."""
        self._kept_calls.append(linkedid)
        self._unanswered.pop(uniqueid, None)
        self.request_changed.call(uniqueid, True)

    def caller_joined(self, queue: str, uniqueid: str) -> None:
        """Take back the request of a caller who was not told and is in line again."""
        unanswered = self._unanswered.pop(uniqueid, None)
        if unanswered is not None:
            self.request_changed.call(uniqueid, False)
            self._background.start(
                "taking back a request", self._take_back(*unanswered)
            )

    def channel_gone(self, uniqueid: str) -> None:
        """Keep the request of a caller who was not told and has hung up."""
        self._unanswered.pop(uniqueid, None)

    # -- storing within the time limit -------------------------------------

    async def _store_in_time(
        self, request: CallbackRequest, new: NewTask, limit_s: float
    ) -> Recorded:
        """Store a request within the time limit.

        Raises:
            NotCallable: the number is blocked, or was called too often.
            StoreUnavailable: the database failed, or did not answer in time. If it
                stores the request after that, the request is taken back, unless the
                caller has hung up.
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

        def take_back_late() -> None:
            self._background.start(
                "taking back a request that may be stored late",
                self._take_back_late(request.uniqueid, new, asked_at, late),
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
                take_back_late()

        def too_late() -> None:
            in_time.errback(
                StoreUnavailable(f"the database took more than {limit_s:.2g} s")
            )
            take_back_late()

        _ = adding.addCallbacks(stored, failed)
        timer = self._clock.call_later(limit_s, too_late)
        try:
            return await in_time
        finally:
            if timer.active():
                timer.cancel()

    async def _take_back_late(
        self,
        uniqueid: str,
        new: NewTask,
        asked_at: datetime,
        adding: Deferred[Recorded],
    ) -> None:
        """Take back a request that is stored late, if its caller is in line again.

        If the caller has hung up, the request stays.

        Args:
            uniqueid: the caller's channel.
            new: the task of the request.
            asked_at: when the request was made.
            adding: fires when the request is stored, or with the reason why not.
        """
        hung_up = False
        try:
            hung_up = await self._line.is_gone(uniqueid)
            if not hung_up and new.linkedid not in self._kept_calls:
                # If the caller hangs up in line, this is a missed call.
                self.request_changed.call(uniqueid, False)
            recorded = await adding
        except CommitUnknown as error:
            if not hung_up:
                await self._take_back_unheard(new, asked_at, error.result)
        except (NotCallable, StoreUnavailable):
            return
        else:
            if _can_be_taken_back(recorded) and not hung_up:
                await self._take_back(new, recorded)
        finally:
            # If the service stops meanwhile, nobody needs the result.
            _ = adding.addErrback(lambda _failure: None)
        self._tasks_changed()

    async def _answer_undelivered(
        self, uniqueid: str, new: NewTask, recorded: Recorded
    ) -> None:
        """Remember a caller who could not be told the answer, until more is known.

        If the caller has hung up, the request stays. If Asterisk did not wait for the
        answer, the caller is in line again, or will be in a moment.
        """
        self._unanswered[uniqueid] = (new, recorded)
        if len(self._unanswered) > _MAX_UNANSWERED:
            # The oldest is probably a call whose end was missed.
            del self._unanswered[next(iter(self._unanswered))]
        if await self._line.is_gone(uniqueid):
            self.channel_gone(uniqueid)
        elif self._line.is_waiting(new.queue, uniqueid):
            self.caller_joined(new.queue, uniqueid)

    # -- taking back -------------------------------------------------------

    async def _take_back(self, new: NewTask, recorded: Recorded) -> None:
        await self._until_taken_back(
            new.linkedid,
            lambda: (
                self._store.move_back(
                    recorded.task, recorded.former, self._clock.now(), recorded.later_id
                )
                if recorded.former is not None
                else self._store.take_back(
                    recorded.task.id, self._clock.now(), recorded.later_id
                )
            ),
        )

    async def _take_back_unheard(
        self, new: NewTask, asked_at: datetime, result: object
    ) -> None:
        recorded = result if isinstance(result, Recorded) else None
        await self._until_taken_back(
            new.linkedid,
            lambda: self._store.take_back_unheard(
                new, asked_at, self._clock.now(), recorded
            ),
        )

    async def _until_taken_back(
        self,
        linkedid: str,
        take_back: Callable[[], Coroutine[Deferred[Any], Any, CallbackTask | None]],
    ) -> None:
        """Take back a request, as soon as the database can be used."""

        async def unless_kept() -> CallbackTask | None:
            # Asterisk may have stored the request between two tries.
            return None if linkedid in self._kept_calls else await take_back()

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
    """Whether the request changed anything, that is, did not only repeat a task."""
    return (
        recorded.created or recorded.later_id is not None or recorded.former is not None
    )
