# SPDX-License-Identifier: MIT
"""Requests of callers who wait for the answer: answered in time, or taken back.

If a caller can not be told the answer, one of these follows:

- the caller goes back into the queue: the request must be taken back;
- the caller has hung up, or has heard that Asterisk stored the request: the request
  stays, as the caller wants the callback.

Only later events show which one it is, so these callers are remembered until then.

If the dialplan asks again meanwhile, at another address of this service, the request is
not stored a second time: the caller is told the answer to the first.

There is one `Promises` for each Asterisk, as channel ids are unique only there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Final, Protocol

from attrs import define, field

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.domain.not_callable import NotCallable
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask, IllegalMove, NewTask, Status
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.runtime.waiters import Waiters, release
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


@define(eq=False)
class _Asked:
    """A request whose caller was not told the answer yet."""

    request: CallbackRequest
    new: NewTask
    #: When it was first asked for.
    at: datetime
    #: How often the dialplan has asked. The last time decides what becomes of it.
    times: int = 0
    #: What was stored, or why nothing; None: not known yet.
    result: Recorded | Failure | None = None
    #: Those who wait for the result.
    waiters: Waiters[None] = field(factory=Waiters)
    #: The answer for the caller, once it is stored.
    answer: Answer | None = None
    #: Whether the caller was told.
    told: bool = False
    #: Whether it is being taken back.
    taken_back: bool = False

    def is_left(self, time: int) -> bool:
        """Whether the caller was not told, and did not ask again since this time."""
        return not (self.told or self.taken_back) and time == self.times

    async def stored(self) -> Recorded:
        """Wait until it is stored.

        Raises:
            NotCallable: the number is blocked, or was called too often.
            StoreUnavailable: the database failed.
        """
        if self.result is None:
            await self.waiters.add()
        assert self.result is not None
        if isinstance(self.result, Failure):
            self.result.raiseException()
        return self.result


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
        #: Requests whose answer is not known yet, or is being told, by uniqueid.
        self._asked: dict[str, _Asked] = {}
        #: Stored requests whose callers could not be told the answer, by uniqueid.
        self._unanswered: dict[str, _Asked] = {}
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
        if limit_s <= 0:
            await self._not_stored(
                new,
                request,
                "this service was too busy to read it within the caller's second",
                deliver,
            )
            return
        asked = self._asked_before(request) or self._begin(request, new, limit_s)
        new = asked.new
        asked.times += 1
        time = asked.times
        try:
            recorded = await Deferred.fromCoroutine(asked.stored()).addTimeout(
                limit_s, self._clock.timers
            )
        except NotCallable as refusal:
            self._forget(asked, time)
            await deliver(self._requests.refuse(request, new.queue, refusal.why))
            return
        except TimeoutError:
            self._begin_taking_back(asked, time)
            await self._not_stored(
                new, request, f"the database took more than {limit_s:.2g} s", deliver
            )
            return
        except StoreUnavailable as error:
            if isinstance(error, CommitUnknown):
                self._begin_taking_back(asked, time)
            else:
                self._forget(asked, time)
            await self._not_stored(new, request, str(error), deliver)
            return
        self.request_changed.call(request.uniqueid, True)
        if new.slot is not None and recorded.task.status is Status.CALLING:
            # It waits in line, or an agent's phone rings: that would be too early.
            self.too_early.call(recorded.task.id, new.why_again or new.why)
        if asked.answer is None:
            asked.answer = self._requests.stored(request, new, recorded)
        try:
            await deliver(asked.answer)
        except Exception:
            if _can_be_taken_back(recorded) and asked.is_left(time):
                self._background.start(
                    "finding out whether a caller is back in line",
                    self._answer_undelivered(asked),
                )
            raise
        else:
            asked.told = True
            self._unanswered.pop(request.uniqueid, None)
        finally:
            self._forget(asked, time)
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
            self._background.start("taking back a request", self._take_back(unanswered))

    def channel_gone(self, uniqueid: str) -> None:
        """Keep the request of a caller who was not told and has hung up."""
        self._unanswered.pop(uniqueid, None)

    # -- storing within the time limit -------------------------------------

    def _asked_before(self, request: CallbackRequest) -> _Asked | None:
        """Return the same request of the same caller, if its answer was not told."""
        for known in (self._asked, self._unanswered):
            asked = known.get(request.uniqueid)
            if asked is not None and asked.request == request and not asked.taken_back:
                return asked
        return None

    def _begin(self, request: CallbackRequest, new: NewTask, limit_s: float) -> _Asked:
        """Begin to store a request."""
        asked = _Asked(request, new, self._clock.now())
        self._asked[request.uniqueid] = asked
        adding = Deferred.fromCoroutine(
            self._requests.store(request, new, asked.at, within_s=limit_s)
        )

        def ended(result: Recorded | Failure) -> None:
            asked.result = result
            release(asked.waiters)

        _ = adding.addBoth(ended)
        return asked

    def _forget(self, asked: _Asked, time: int) -> None:
        """Let a caller who asks from now on ask anew."""
        uniqueid = asked.request.uniqueid
        if time == asked.times and self._asked.get(uniqueid) is asked:
            del self._asked[uniqueid]

    async def _not_stored(
        self,
        new: NewTask,
        request: CallbackRequest,
        why: str,
        deliver: Callable[[Answer], Awaitable[None]],
    ) -> None:
        self._log.error(
            "a request in queue {queue} could not be stored, the caller is put back"
            " in line: {error}",
            queue=new.queue,
            error=why,
            uniqueid=request.uniqueid,
        )
        await deliver(NotStored(why))

    def _begin_taking_back(self, asked: _Asked, time: int) -> None:
        self._background.start(
            "taking back a request that may be stored late",
            self._take_back_late(asked, time),
        )

    async def _take_back_late(self, asked: _Asked, time: int) -> None:
        """Take back a request that is stored late, if its caller is in line again.

        If the caller has hung up, or asked again since, the request stays.

        Args:
            asked: the request.
            time: when it was too late: the first time that it was asked, or a later.
        """
        uniqueid, new = asked.request.uniqueid, asked.new
        hung_up = False
        try:
            hung_up = await self._line.is_gone(uniqueid)
            if (
                not hung_up
                and new.linkedid not in self._kept_calls
                and asked.is_left(time)
            ):
                # If the caller hangs up in line, this is a missed call.
                self.request_changed.call(uniqueid, False)
            recorded = await asked.stored()
        except CommitUnknown as error:
            if not hung_up and asked.is_left(time):
                await self._take_back_unheard(asked, error.result)
        except (NotCallable, StoreUnavailable):
            return
        else:
            if _can_be_taken_back(recorded) and not hung_up and asked.is_left(time):
                await self._take_back(asked)
        finally:
            self._forget(asked, time)
        self._tasks_changed()

    async def _answer_undelivered(self, asked: _Asked) -> None:
        """Remember a caller who could not be told the answer, until more is known.

        If the caller has hung up, the request stays. If Asterisk did not wait for the
        answer, the caller is in line again, or will be in a moment; or the dialplan
        asks again, at another address of this service.
        """
        uniqueid, queue = asked.request.uniqueid, asked.new.queue
        self._unanswered[uniqueid] = asked
        if len(self._unanswered) > _MAX_UNANSWERED:
            # The oldest is probably a call whose end was missed.
            del self._unanswered[next(iter(self._unanswered))]
        if await self._line.is_gone(uniqueid):
            self.channel_gone(uniqueid)
        elif self._line.is_waiting(queue, uniqueid):
            self.caller_joined(queue, uniqueid)

    # -- taking back -------------------------------------------------------

    async def _take_back(self, asked: _Asked) -> None:
        recorded = await asked.stored()
        asked.taken_back = True
        await self._until_taken_back(
            asked.new.linkedid,
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

    async def _take_back_unheard(self, asked: _Asked, result: object) -> None:
        recorded = result if isinstance(result, Recorded) else None
        asked.taken_back = True
        await self._until_taken_back(
            asked.new.linkedid,
            lambda: self._store.take_back_unheard(
                asked.new, asked.at, self._clock.now(), recorded
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
