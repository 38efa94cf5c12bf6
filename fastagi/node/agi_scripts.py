# SPDX-License-Identifier: MIT
"""Takes requests from the dialplan: decide, store, and only then promise.

The scripts here only decide and set variables; prompts are played by the dialplan,
so a session lasts milliseconds and a caller never depends on this process staying
alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.agi.errors import AgiError
from fastagi.agi.session import AgiSession
from fastagi.config.model import Settings
from fastagi.config.queue_layers import QueueSettings
from fastagi.dialplan import Answer, Variable
from fastagi.domain.numbers import (
    NotCallable,
    callable_number,
    display_name,
    is_withheld,
    shown_number,
)
from fastagi.domain.task import CallbackTask, IllegalMove, Kind, NewTask
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.runtime.background import Background
from fastagi.runtime.listeners import Listeners
from fastagi.service.refusals import Refusals
from fastagi.service.taking_back import TAKEN_BACK
from fastagi.store.errors import CommitUnknown, StoreUnavailable
from fastagi.store.store import Recorded, TaskStore
from fastagi.wire.agi import AgiRequest

#: The dialplan waits for one second (callback-ask), the answer included.
_STORE_LIMIT_S: Final = 0.8
#: After the store failed to take a request back, in seconds.
_STORE_RETRY_S: Final = 2.0
#: Why a request is refused while the queue is closed.
TOO_LATE: Final = (
    "the queue is closed, and when it opens the request would be too old; see"
    " opening_hours in the settings"
)
#: How many calls are remembered whose requests Asterisk keeps.
_MOST_KEPT: Final = 1000
#: How many callers are remembered who may be on the way back.
_MOST_UNTOLD: Final = 1000


class AgiScripts:
    """The FastAGI scripts ``request`` and ``position``."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        queue_monitor: QueueMonitor,
        clock: IReactorTime,
        background: Background,
        settings: Callable[[], Settings],
        refusals: Refusals,
        tasks_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._queue_monitor = queue_monitor
        self._clock = clock
        self._background = background
        self._settings = settings
        self._refusals = refusals
        self._tasks_changed = tasks_changed
        #: Requests whose callers could not be told, by the caller's uniqueid.
        self._untold: dict[str, tuple[NewTask, Recorded]] = {}
        #: Calls, by Linkedid, whose callers were told that Asterisk keeps the request.
        self._kept: deque[str] = deque(maxlen=_MOST_KEPT)
        #: Uniqueid of a caller, and whether the request stands or was taken back.
        self.request_changed: Listeners[[str, bool]] = Listeners("a request")

    def kept_by_asterisk(self, uniqueid: str, linkedid: str) -> None:
        """We gave no answer, and the caller was told that the request is kept."""
        self._kept.append(linkedid)
        self._untold.pop(uniqueid, None)
        self.request_changed.call(uniqueid, True)

    async def request(self, agi: AgiSession) -> None:
        """A caller pressed the key: keep the request and say what came of it."""
        request = agi.request
        queue = request.args[0] if request.args else ""
        settings = self._settings().queues.get(queue)
        if settings is None:
            self._log.warn(
                "a caller asked for a callback in queue {queue!r}, which is not in the"
                " settings; add it under 'queues'",
                queue=queue,
                uniqueid=request.uniqueid,
            )
            await self._answer(agi, Answer.ERROR, "")
            return
        # As the settings spell it; Asterisk does not mind upper and lower case.
        queue = settings.name
        try:
            number = self._number(request, settings)
        except NotCallable as refusal:
            self._refuse(request, queue, str(refusal))
            await self._answer(agi, Answer.REFUSED, settings.sounds.cannot_call)
            return
        new = self._new_task(request, queue, number, settings)
        if not settings.hours.opens_between(new.due_at, new.expires_at):
            self._refuse(request, queue, TOO_LATE)
            await self._answer(agi, Answer.REFUSED, settings.sounds.hold_on)
            return
        try:
            left_s = _STORE_LIMIT_S - agi.unread_s
            recorded = await self._add_in_time(request.uniqueid, new, left_s)
        except NotCallable as refusal:
            self._refuse(request, queue, str(refusal))
            await self._answer(agi, Answer.REFUSED, settings.sounds.cannot_call)
            return
        except StoreUnavailable as error:
            self._log.error(
                "a request in queue {queue} could not be kept, the caller is put back"
                " in line: {error}",
                queue=queue,
                error=error,
                uniqueid=request.uniqueid,
            )
            await self._answer(agi, Answer.ERROR, settings.sounds.hold_on)
            return
        task = recorded.task
        self.request_changed.call(request.uniqueid, True)
        self._log.info(
            "task {task_id}: callback to {number} requested in queue {queue}"
            if recorded.created
            else "task {task_id}: callback to {number} asked for again in {queue}",
            task_id=task.id,
            number=number,
            queue=queue,
            uniqueid=request.uniqueid,
            linkedid=task.linkedid,
        )
        try:
            if recorded.created:
                await self._answer(agi, Answer.ACCEPTED, settings.sounds.accepted)
            else:
                await self._answer(
                    agi, Answer.ALREADY, settings.sounds.already_registered
                )
        except AgiError:
            if _can_be_taken_back(recorded):
                self._background.start(
                    "finding out whether a caller is back in line",
                    self._could_not_tell(request.uniqueid, new, recorded),
                )
            raise
        finally:
            self._tasks_changed()

    async def position(self, agi: AgiSession) -> None:
        """A caller goes back in line: say at which position it belongs now."""
        args = agi.request.args
        if args and (joined_at := self._joined_at(agi.request, args[0])) is not None:
            place = self._queue_monitor.queues.place_of(joined_at, args[0])
            await agi.set_variable(Variable.POSITION, str(place))

    def _refuse(self, request: AgiRequest, queue: str, reason: str) -> None:
        """Keep that a caller's number may not be called."""
        number = "" if is_withheld(request.callingpres) else request.callerid
        self._log.info(
            "request in queue {queue} refused: {reason}",
            queue=queue,
            reason=reason,
            number=shown_number(number),
            uniqueid=request.uniqueid,
        )
        self._refusals.keep(Kind.REQUESTED, queue, number, reason, _linkedid(request))

    async def _answer(self, agi: AgiSession, answer: Answer, prompt: str) -> None:
        # The status comes last: without it the dialplan takes nothing as decided.
        await agi.set_variable(Variable.PROMPT, prompt)
        await agi.set_variable(Variable.STATUS, answer.value)

    async def _add_in_time(
        self, uniqueid: str, new: NewTask, left_s: float
    ) -> Recorded:
        """Store a request before the dialplan gives up on us.

        Args:
            uniqueid: of the caller's channel.
            new: the task to be.
            left_s: how long it may take.

        Raises:
            NotCallable: the number is blocked, or was called too often.
            StoreUnavailable: the database said no, or nothing yet. What it stores
                after all is taken back, unless the caller has hung up by now.
        """
        if left_s <= 0:
            raise StoreUnavailable(
                "this service was too busy to read it within the caller's second"
            )
        asked_at = self._now()
        most_calls = self._settings().limits.calls_per_number
        adding = Deferred.fromCoroutine(
            self._store.add(new, asked_at, most_calls=most_calls, within_s=left_s)
        )
        in_time: Deferred[Recorded] = Deferred()
        late: Deferred[Recorded] = Deferred()

        def undo() -> None:
            self._background.start(
                "taking back what may be stored late",
                self._undo(uniqueid, new, asked_at, late),
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
                StoreUnavailable(f"the database took more than {left_s:.2g} s")
            )
            undo()

        _ = adding.addCallbacks(stored, failed)
        timer = self._clock.callLater(left_s, too_late)
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
            hung_up = await self._queue_monitor.is_gone(uniqueid)
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

    def _number(self, request: AgiRequest, settings: QueueSettings) -> str:
        if is_withheld(request.callingpres):
            raise NotCallable("the caller withholds the number")
        rules = self._settings().number_rules(settings)
        return callable_number(request.callerid, rules)

    def _new_task(
        self, request: AgiRequest, queue: str, number: str, settings: QueueSettings
    ) -> NewTask:
        now = self._now()
        joined_at = self._joined_at(request, queue)
        return NewTask(
            kind=Kind.REQUESTED,
            number=number,
            number_key=self._settings().plan.key(number),
            name=display_name(request.calleridname),
            language=request.language,
            queue=queue,
            joined_at=datetime.fromtimestamp(joined_at, UTC) if joined_at else now,
            due_at=now,
            expires_at=settings.expiry_rules.expires_at(Kind.REQUESTED, now),
            linkedid=_linkedid(request),
            reason=f"the client pressed the key in queue {queue}",
        )

    def _joined_at(self, request: AgiRequest, queue: str) -> float | None:
        return self._queue_monitor.queues.joined_at(queue, request.uniqueid)

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
        if await self._queue_monitor.is_gone(uniqueid):
            self.channel_gone(uniqueid)
            return
        # Without a link, what was heard of queues is of before the key.
        waiting = self._queue_monitor.queues.is_waiting(new.queue, uniqueid)
        if self._queue_monitor.ready and waiting:
            self.caller_joined(new.queue, uniqueid)

    def caller_joined(self, queue: str, uniqueid: str) -> None:
        """A caller joined a queue: was it one we could not tell?"""
        untold = self._untold.pop(uniqueid, None)
        if untold is not None:
            self.request_changed.call(uniqueid, False)
            self._background.start("taking back a request", self._take_back(*untold))

    def channel_gone(self, uniqueid: str) -> None:
        """A channel was hung up: who it was does not come back into the line."""
        self._untold.pop(uniqueid, None)

    async def _take_back(self, new: NewTask, recorded: Recorded) -> None:
        await self._until_taken_back(
            new.linkedid,
            lambda: self._store.take_back(
                recorded.task.id, TAKEN_BACK, self._now(), recorded.later_id
            ),
        )

    async def _take_back_unheard(self, new: NewTask, asked_at: datetime) -> None:
        await self._until_taken_back(
            new.linkedid,
            lambda: self._store.take_back_unheard(
                new, asked_at, TAKEN_BACK, self._now()
            ),
        )

    async def _until_taken_back(
        self,
        linkedid: str,
        take_back: Callable[[], Coroutine[Deferred[Any], Any, CallbackTask | None]],
    ) -> None:
        """Take a request back, as soon as the database can be used."""
        taken: CallbackTask | None = None
        while taken is None:
            if linkedid in self._kept:
                return
            try:
                taken = await take_back()
                if taken is None:
                    return
            except StoreUnavailable as error:
                self._log.error(
                    "a request is not taken back yet, trying again: {error}",
                    linkedid=linkedid,
                    error=error,
                )
                await self._background.pause(_STORE_RETRY_S)
            except IllegalMove as error:
                self._log.info(
                    "a request is not taken back: {error}",
                    linkedid=linkedid,
                    error=error,
                )
                return
        self._log.warn("task {task_id}: {reason}", task_id=taken.id, reason=TAKEN_BACK)
        self._tasks_changed()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)


def _can_be_taken_back(recorded: Recorded) -> bool:
    """Whether a request has done more than repeat one that stands anyway."""
    return recorded.created or recorded.later_id is not None


def _linkedid(request: AgiRequest) -> str:
    """Return the third argument of the dialplan's request; older ones had two."""
    return request.args[2][:150] if len(request.args) > 2 else request.uniqueid
