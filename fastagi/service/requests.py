# SPDX-License-Identifier: MIT
"""Turns every request for a callback into a task or a refusal.

Each source (a key press, an entry of AstDB, a missed call, an operator) creates a
:class:`CallbackRequest` and gets an answer. Only this module decides which queue calls
back, whether the number may be called, when the task expires and whether the call is
known already, and only this module stores, logs and refuses requests. A new source
needs a :class:`Source` here, and the code that creates the request.

Requests whose callers wait for the answer go through :mod:`fastagi.service.promises`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from attrs import field, frozen

from twisted.logger import Logger, LogLevel

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import QueueRules, Settings
from fastagi.domain.chosen_time import waits_for
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import (
    NumberPlan,
    callable_number,
    display_name,
    plain_number,
    shown_number,
)
from fastagi.domain.reason import Code, Reason, Value, because
from fastagi.domain.slots import Slot, SlotLimit
from fastagi.domain.task import CallbackTask, Entered, Kind, NewTask, Status
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.commands import Actor
from fastagi.service.refusals import Refusals
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import CommitUnknown, StoreUnavailable
from fastagi.store.store import Recorded, TaskStore

#: Why a caller can not have the time that was chosen, but perhaps another one.
TIME_NOT_FREE: Final = frozenset(
    {Code.SLOT_FULL, Code.SLOT_OVER, Code.CALLED_BY_OTHER_QUEUE}
)
#: A number that the network does not show, in texts.
_NOT_SHOWN: Final = "a number that is not shown"

# -- sources ---------------------------------------------------------------


@frozen(kw_only=True)
class Source:
    """A source of requests: its rules, and its log lines.

    The log lines may contain the fields ``queue``, ``number``, ``how`` and ``actor``;
    those about stored requests also ``task_id``, those about refusals ``reason`` and
    ``caller``: the number, or that it is not shown.
    """

    #: A request of this source, as the log names it.
    what: str
    kind: Kind
    #: Code of the first event in the task's history; its parameters come from the
    #: request.
    story: Code
    #: Code of the event if the client has an open task already; None: ``story``.
    story_again: Code | None = None
    #: Whether the queue is one of these parameters.
    story_names_queue: bool = False
    #: Log line: a task was created.
    created: str
    #: Log line: the client already had an open task.
    repeated: str
    #: Log line: the same call was stored before; empty: no line.
    known: str = ""
    #: Log line: the request is refused; empty: no line, and the refusal is not stored.
    refused: str = ""
    #: Log line: the queue is not in the settings; empty: no line.
    unknown_queue: str = ""
    #: Whether the same call may come more than once; it makes one task.
    once: bool = False
    #: Whether the caller hears the answer. Then a request that would expire before the
    #: queue opens is refused; otherwise it is stored, and expires.
    is_answered: bool = False
    #: Whether the caller has already been told that there will be a callback.
    is_promised: bool = False
    #: Whether the call may have ended long ago; one that is too old is not stored.
    may_be_old: bool = False


KEY_PRESS: Final = Source(
    what="a request",
    kind=Kind.REQUESTED,
    story=Code.REQUESTED,
    story_names_queue=True,
    created="task {task_id}: callback to {number} requested in queue {queue}",
    repeated="task {task_id}: callback to {number} asked for again in {queue}",
    refused="request of {caller} in queue {queue} refused: {reason}",
    unknown_queue="a caller asked for a callback in queue {queue!r}, which is not in"
    " the settings; add it under 'queues'",
    is_answered=True,
)
KEPT_BY_ASTERISK: Final = Source(
    what="a request that Asterisk kept",
    kind=Kind.REQUESTED,
    story=Code.REQUESTED_WHILE_DOWN,
    story_names_queue=True,
    created="task {task_id}: callback to {number} requested in queue {queue} while"
    " there was no answer, kept by Asterisk until now",
    repeated="task {task_id}: the request of {number} in {queue} that Asterisk kept has"
    " this task already",
    known="task {task_id}: the request of {number} in {queue} that Asterisk kept has"
    " this task already",
    refused="the request of {caller} in {queue} that Asterisk kept is not called back:"
    " {reason}",
    once=True,
    is_promised=True,
)
MISSED_CALL: Final = Source(
    what="a missed call",
    kind=Kind.MISSED,
    story=Code.MISSED_CALL,
    created="task {task_id}: missed call of {number} in queue {queue}: {how}",
    repeated="task {task_id}: missed again: {number} in queue {queue}: {how}",
    refused="missed call of {caller} in queue {queue} is not called back: {reason}",
    once=True,
    may_be_old=True,
)
OPERATOR: Final = Source(
    what="a task added by hand",
    kind=Kind.MANUAL,
    story=Code.ADDED_BY_HAND,
    story_again=Code.REQUESTED_AGAIN_BY_HAND,
    created="task {task_id}: added by hand ({actor})",
    repeated="task {task_id}: asked for again by hand ({actor})",
)


@frozen(kw_only=True)
class CallbackRequest:
    """A request for a callback.

    Texts may be as they were received: this module checks and cleans them.
    """

    source: Source
    #: Name of the queue, in upper or lower case.
    queue: str
    #: The number to call, in any form.
    number: str
    #: Whether the caller asked the network not to show the number.
    withheld: bool = False
    #: The number that the network shows, "" if none, if the caller entered another one;
    #: None otherwise.
    entered_by: str | None = None
    name: str = ""
    #: The language of the caller's channel, as in Asterisk.
    language: str = ""
    #: When the request was made; None: just now.
    asked_at: datetime | None = None
    #: Since when the client waits; None: since the request was made.
    joined_at: datetime | None = None
    #: Asterisk's priority of the client in the queue.
    priority: int = 0
    #: The time that an operator chose for the call, already judged by the rules of the
    #: queue; None: as soon as possible, or ``slot``.
    chosen_at: datetime | None = None
    #: The slot that the caller chose; the call is promised within it.
    slot: Slot | None = None
    #: Uniqueid of the caller's channel.
    uniqueid: str = ""
    #: Id by which the store recognises the call.
    linkedid: str = ""
    #: Further ids by which the call may be known.
    ids: frozenset[str] = frozenset()
    #: Whether a request in the same call was stored and taken back.
    taken_back: bool = False
    #: Parameters of the source's ``story``.
    params: Mapping[str, Value] = field(factory=dict)
    #: Who gave the command, if it was an operator.
    actor: Actor = field(factory=Actor)

    @property
    def how(self) -> str:
        """Why a call is missed, in words; empty for other sources."""
        return str(self.params.get("cause", ""))


# -- answers ---------------------------------------------------------------


@frozen
class Accepted:
    """A task was created."""

    task: CallbackTask


@frozen
class Repeated:
    """The client already had an open task, which keeps its place."""

    task: CallbackTask


@frozen
class Known:
    """The same call was stored before; nothing was changed."""

    task: CallbackTask


@frozen
class Refused:
    """There will be no callback; at most the refusal was stored."""

    why: Reason

    @property
    def reason(self) -> str:
        """The reason in words."""
        return str(self.why)


@frozen
class NotStored:
    """The database could not store the request in time."""

    reason: str


Stored: TypeAlias = Accepted | Repeated | Known
Answer: TypeAlias = Stored | Refused | NotStored


# -- the rules -------------------------------------------------------------


class Requests:
    """Decides on requests and stores them."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        refusals: Refusals,
        tasks_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._settings = settings
        self._refusals = refusals
        self._tasks_changed = tasks_changed

    async def ask(self, request: CallbackRequest) -> Stored | Refused:
        """Create a task for a request, or repeat the client's open task.

        Returns after the COMMIT, or if the request is refused.

        Raises:
            StoreUnavailable: the request may be made again.
        """
        new = self.decide(request)
        if isinstance(new, Refused):
            return new
        return await self._ask(request, new)

    async def ask_until_stored(self, request: CallbackRequest) -> Answer:
        """Do the same as :meth:`ask`, but retry while the database can not be used.

        Returns `NotStored` when the task would be expired.
        """
        new = self.decide(request)
        if isinstance(new, Refused):
            return new
        try:
            return await until_stored(
                partial(self._ask, request, new),
                f"{request.source.what} is not stored yet",
                self._background,
                too_late=lambda: self._clock.now() >= new.expires_at,
            )
        except StoreUnavailable as error:
            self._log.error(
                "{what} of {number} is lost: {error}",
                what=request.source.what,
                number=new.number,
                queue=new.queue,
                error=error,
            )
            return NotStored(str(error))

    async def _ask(self, request: CallbackRequest, new: NewTask) -> Stored | Refused:
        try:
            recorded = await self.store(request, new, self._clock.now())
        except NotCallable as refusal:
            return self.refuse(request, new.queue, refusal.why)
        except CommitUnknown:
            # If it is stored, the next try finds a call that is known, and no change.
            self._tasks_changed()
            raise
        answer = self.stored(request, new, recorded)
        if not isinstance(answer, Known):
            self._tasks_changed()
        return answer

    # -- the single steps, for callers who wait ----------------------------

    def decide(self, request: CallbackRequest) -> NewTask | Refused:
        """Return the new task for a request, or the refusal, which is then stored."""
        source = request.source
        settings = self._settings()
        queue = settings.queues.get(request.queue)
        if queue is None:
            if source.unknown_queue:
                self._log.warn(
                    source.unknown_queue, queue=request.queue, uniqueid=request.uniqueid
                )
            return Refused(because(Code.QUEUE_NOT_IN_SETTINGS))
        try:
            number = self._number(request, queue, settings)
        except NotCallable as refusal:
            return self.refuse(request, queue.name, refusal.why)
        rules = settings.rules_of(queue)
        now = self._clock.now()
        at = now if request.asked_at is None else request.asked_at
        slot, chosen_at = request.slot, request.chosen_at
        call_by = queue.chosen_time.call_by(chosen_at)
        limit = None
        if slot is not None:
            if not rules.slots.may_begin(slot, now):
                return self.refuse(request, queue.name, because(Code.SLOT_OVER))
            chosen_at, call_by = slot.begins_at, slot.ends_at
            limit = SlotLimit(slot, queue.choices.per_slot)
        number_key = settings.plan.key(number)
        joined_at = at if request.joined_at is None else request.joined_at
        due_at = at if chosen_at is None else chosen_at
        new = NewTask(
            kind=source.kind,
            number=number,
            number_key=number_key,
            name=display_name(request.name),
            language=request.language,
            queue=queue.name,
            joined_at=joined_at if chosen_at is None else chosen_at,
            priority=request.priority,
            due_at=due_at,
            expires_at=rules.expiry.expires_at(source.kind, due_at),
            chosen_at=chosen_at,
            call_by=call_by,
            slot=limit,
            linkedid=request.linkedid,
            entered=_entered(request, queue, settings.plan, number_key),
            why=_story(request, queue.name, source.story, chosen_at),
            why_again=None
            if source.story_again is None
            else _story(request, queue.name, source.story_again, chosen_at),
        )
        if source.is_answered and _is_closed_too_long(
            rules, new.due_at, new.expires_at
        ):
            return self.refuse(request, queue.name, because(Code.CLOSED_TOO_LONG))
        if source.may_be_old and new.expires_at <= now:
            why = because(Code.TOO_LONG_AGO, **request.params)
            self._log_refusal(request, queue.name, why)
            return Refused(why)
        return new

    def is_closed_too_long(self, request: CallbackRequest) -> bool:
        """Whether a request would expire before its queue opens."""
        settings = self._settings()
        rules = settings.rules_of(settings.queues[request.queue])
        at = self._clock.now() if request.asked_at is None else request.asked_at
        expires_at = rules.expiry.expires_at(request.source.kind, at)
        return _is_closed_too_long(rules, at, expires_at)

    def check_number(self, request: CallbackRequest) -> str:
        """Return the number to dial, by the rules alone; nothing is stored.

        Raises:
            NotCallable: the number must not be called.
        """
        settings = self._settings()
        return self._number(request, settings.queues[request.queue], settings)

    def _number(
        self, request: CallbackRequest, queue: QueueSettings, settings: Settings
    ) -> str:
        if request.withheld:
            raise NotCallable(because(Code.NUMBER_WITHHELD))
        return callable_number(request.number, settings.number_rules(queue))

    async def store(
        self,
        request: CallbackRequest,
        new: NewTask,
        at: datetime,
        within_s: float | None = None,
    ) -> Recorded:
        """Store the task of a request; return after the COMMIT.

        Args:
            request: the request.
            new: the result of :meth:`decide`.
            at: now.
            within_s: time limit in seconds; None for none.

        Raises:
            NotCallable: the number is blocked, or was called too often.
            StoreUnavailable: the database can not be used, or did not answer in time.
        """
        most_calls = self._settings().limits.calls_per_number
        recorded = await self._store.add(
            new,
            at,
            once=request.source.once and not request.taken_back,
            ids=request.ids,
            most_calls=most_calls,
            within_s=within_s,
        )
        if _is_stored_again(request, recorded):
            recorded = await self._store.add(
                new, self._clock.now(), most_calls=most_calls
            )
        return recorded

    def stored(
        self, request: CallbackRequest, new: NewTask, recorded: Recorded
    ) -> Stored:
        """Log a stored request, and return the answer."""
        source, task = request.source, recorded.task
        answer: Stored
        if recorded.known:
            answer, words = Known(task), source.known
        elif recorded.created:
            answer, words = Accepted(task), source.created
        else:
            answer, words = Repeated(task), source.repeated
        if words:
            self._log.info(
                words,
                task_id=task.id,
                number=new.number,
                queue=new.queue,
                how=request.how,
                actor=request.actor,
                uniqueid=request.uniqueid,
                linkedid=new.linkedid,
            )
        return answer

    def refuse(self, request: CallbackRequest, queue: str, why: Reason) -> Refused:
        """Refuse a request: log the refusal and store it.

        It is not stored if the caller may choose another time.

        Args:
            request: the request.
            queue: name of the queue, as in the settings.
            why: the reason.
        """
        self._log_refusal(request, queue, why)
        if why.code not in TIME_NOT_FREE:
            self.store_refusal(request, queue, why)
        return Refused(why)

    def _log_refusal(self, request: CallbackRequest, queue: str, why: Reason) -> None:
        if request.source.refused:
            number = shown_number(_loggable_number(request))
            self._log.emit(
                LogLevel.warn if request.source.is_promised else LogLevel.info,
                request.source.refused,
                queue=queue,
                reason=why,
                number=number,
                caller=number or _NOT_SHOWN,
                uniqueid=request.uniqueid,
                linkedid=request.linkedid,
            )

    def store_refusal(self, request: CallbackRequest, queue: str, why: Reason) -> None:
        """Store a refusal, if the source wants that."""
        source = request.source
        if source.refused:
            self._refusals.store(
                source.kind, queue, _loggable_number(request), why, request.linkedid
            )


def _story(
    request: CallbackRequest, queue: str, code: Code, chosen_at: datetime | None
) -> Reason:
    """Return the reason of the request's event in the task's history."""
    story = request.actor.named_in(Reason(code, request.params))
    if request.entered_by is not None:
        caller = shown_number(request.entered_by) or _NOT_SHOWN
        story = story.with_params(caller=caller)
    if request.source.story_names_queue:
        story = story.with_params(queue=queue)
    return story if chosen_at is None else waits_for(chosen_at, story)


def _entered(
    request: CallbackRequest, queue: QueueSettings, plan: NumberPlan, number_key: str
) -> Entered | None:
    """Return whose entered numbers to count; None if there is no such limit."""
    if not request.entered_by:
        return None
    try:
        caller_key = plan.key(plain_number(request.entered_by))
    except NotCallable:
        # Many callers may come without a number: they are not one caller.
        return None
    if caller_key == number_key:
        return None
    return Entered(caller_key, queue.choices.other_numbers_per_day)


def _is_closed_too_long(rules: QueueRules, at: datetime, expires_at: datetime) -> bool:
    return not rules.hours.opens_between(at, expires_at)


def _loggable_number(request: CallbackRequest) -> str:
    """Return the number, or "" if the caller withheld it."""
    return "" if request.withheld else request.number


def _is_stored_again(request: CallbackRequest, recorded: Recorded) -> bool:
    """Whether a request creates a new task although its call is known.

    It does if the known request was taken back: then the call was missed after that, or
    its caller was told that Asterisk stored the request. And it does if the caller was
    promised a callback, but the call is only known as a missed call that has expired
    or is still open.
    """
    if not recorded.created and recorded.task.was_taken_back:
        return True
    task = recorded.task
    return (
        request.source.is_promised
        and recorded.known
        and task.kind is Kind.MISSED
        and (task.is_open or task.status is Status.EXPIRED)
    )
