# SPDX-License-Identifier: MIT
"""The one way from "somebody wants a callback" to a task or a refusal.

Whoever asks (a key press, an entry of AstDB, a missed call, an operator) fills in a
:class:`CallbackRequest` and gets an answer. In between, and only here: which queue
calls back, may the number be called, when does the task expire, is the call known
already, the COMMIT, the log and the list of refusals. A further way to ask is one more
:class:`Source` here, and the code that fills in the request.

Requests whose callers wait for the answer go through :mod:`fastagi.service.promises`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from attrs import field, frozen

from twisted.logger import Logger, LogLevel

from fastagi.config.model import Settings
from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.numbers import (
    NotCallable,
    callable_number,
    display_name,
    shown_number,
)
from fastagi.domain.reason import Code, Reason, Value, because
from fastagi.domain.task import CallbackTask, Kind, NewTask, Status
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.refusals import Refusals
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import Recorded, TaskStore

# -- who asks --------------------------------------------------------------


@frozen(kw_only=True)
class Source:
    """A way to ask: the rules that differ, and the words of the log.

    The words may name ``queue``, ``number``, ``how``, ``actor`` and, of a stored one,
    ``task_id``; of a refusal ``reason``.
    """

    #: One of them, as the log names it.
    what: str
    kind: Kind
    #: How the task came about, for its story; its parameters are those of the request.
    story: Code
    #: The queue is one of the parameters, too.
    story_names_queue: bool = False
    #: A task was made.
    created: str
    #: The client had an open task.
    repeated: str
    #: The same call had been taken in before; empty: nothing is logged.
    known: str = ""
    #: It is not called back; empty: whoever asks is told, and nothing is kept of it.
    refused: str = ""
    #: The queue is not in the settings; empty: nothing is logged.
    unknown_queue: str = ""
    #: One call may come more than once, and makes one task.
    once: bool = False
    #: Whoever asks hears the answer, so a request that would be too old when the queue
    #: opens is refused. What nobody hears is stored, and expires.
    is_answered: bool = False
    #: The caller was told already that there will be a callback.
    is_promised: bool = False
    #: The call may be long over: one that is too old is not stored.
    may_be_old: bool = False


KEY_PRESS: Final = Source(
    what="a request",
    kind=Kind.REQUESTED,
    story=Code.REQUESTED,
    story_names_queue=True,
    created="task {task_id}: callback to {number} requested in queue {queue}",
    repeated="task {task_id}: callback to {number} asked for again in {queue}",
    refused="request in queue {queue} refused: {reason}",
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
    repeated="task {task_id}: the request of {number} in {queue} that Asterisk kept is"
    " known",
    known="task {task_id}: the request of {number} in {queue} that Asterisk kept is"
    " known",
    refused="a request that Asterisk kept for queue {queue} is not called back:"
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
    refused="missed call of {number} in queue {queue} is not called back: {reason}",
    once=True,
    may_be_old=True,
)
OPERATOR: Final = Source(
    what="a task added by hand",
    kind=Kind.MANUAL,
    story=Code.ADDED_BY_HAND,
    created="task {task_id}: added by hand ({actor})",
    repeated="task {task_id}: added by hand ({actor})",
)


@frozen(kw_only=True)
class CallbackRequest:
    """Somebody is to be called back.

    Texts are as they came: what strangers typed is checked and cleaned here.
    """

    source: Source
    #: Name of the queue, in capital or small letters.
    queue: str
    #: To call, in any form.
    number: str
    #: The caller asked the network not to show the number.
    withheld: bool = False
    name: str = ""
    #: Asterisk's, of the caller's channel.
    language: str = ""
    #: None: just now.
    asked_at: datetime | None = None
    #: Since when the client waits; None: since it was asked.
    joined_at: datetime | None = None
    #: Of the caller's channel.
    uniqueid: str = ""
    #: Id by which the store knows the call.
    linkedid: str = ""
    #: Further ids by which it may be known.
    ids: frozenset[str] = frozenset()
    #: A request made in the same call was stored and taken back.
    taken_back: bool = False
    #: How it came about: parameters of the source's story.
    params: Mapping[str, Value] = field(factory=dict)
    #: Who gave the command, where the source's words name it.
    actor: str = ""

    @property
    def how(self) -> str:
        """How a missed call ended, in words."""
        return str(self.params.get("cause", ""))


# -- what came of it -------------------------------------------------------


@frozen
class Accepted:
    """A task was made."""

    task: CallbackTask


@frozen
class Repeated:
    """The client had an open task; it keeps its place."""

    task: CallbackTask


@frozen
class Known:
    """The same call had been taken in before; nothing was changed."""

    task: CallbackTask


@frozen
class Refused:
    """There will be no callback, and nothing was stored but the refusal."""

    why: Reason

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.why)


@frozen
class NotStored:
    """The database did not take it, as long as there was time."""

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
        """Make a task of a request, or renew the client's open one.

        Returns after the COMMIT, or when it is known that there will be none.

        Raises:
            StoreUnavailable: it may be asked again.
        """
        new = self.decide(request)
        if isinstance(new, Refused):
            return new
        return await self._ask(request, new)

    async def ask_until_stored(self, request: CallbackRequest) -> Answer:
        """Do the same, trying again while the database can not be used.

        It is given up when it would be too old to be called.
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
        answer = self.stored(request, new, recorded)
        if not isinstance(answer, Known):
            self._tasks_changed()
        return answer

    # -- step by step, for whom time matters -------------------------------

    def decide(self, request: CallbackRequest) -> NewTask | Refused:
        """Return the task that a request makes, or why it makes none."""
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
        now = self._clock.now()
        at = now if request.asked_at is None else request.asked_at
        new = NewTask(
            kind=source.kind,
            number=number,
            number_key=settings.plan.key(number),
            name=display_name(request.name),
            language=request.language,
            queue=queue.name,
            joined_at=at if request.joined_at is None else request.joined_at,
            due_at=at,
            expires_at=queue.expiry_rules.expires_at(source.kind, at),
            linkedid=request.linkedid,
            why=_story(request, queue.name),
        )
        if source.is_answered and not queue.hours.opens_between(
            new.due_at, new.expires_at
        ):
            return self.refuse(request, queue.name, because(Code.CLOSED_TOO_LONG))
        if source.may_be_old and new.expires_at <= now:
            why = because(Code.TOO_LONG_AGO, **request.params)
            self._log_refusal(request, queue.name, why)
            return Refused(why)
        return new

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
            request: whose it is.
            new: what :meth:`decide` returned.
            at: now.
            within_s: how long whoever asks waits for it; None: for ever.

        Raises:
            NotCallable: the number is blocked, or was called too often.
            StoreUnavailable: the database can not be used, or was not fast enough.
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
        if _counts_anew(request, recorded):
            recorded = await self._store.add(
                new, self._clock.now(), most_calls=most_calls
            )
        return recorded

    def stored(
        self, request: CallbackRequest, new: NewTask, recorded: Recorded
    ) -> Stored:
        """Say what came of a request that is stored."""
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
        """Refuse a request: say so, and keep it for the admin to see.

        Args:
            request: the request.
            queue: as in the settings.
            why: the reason.
        """
        self._log_refusal(request, queue, why)
        self.keep_refusal(request, queue, why)
        return Refused(why)

    def _log_refusal(self, request: CallbackRequest, queue: str, why: Reason) -> None:
        if request.source.refused:
            self._log.emit(
                LogLevel.warn if request.source.is_promised else LogLevel.info,
                request.source.refused,
                queue=queue,
                reason=why,
                number=shown_number(_shown(request)),
                uniqueid=request.uniqueid,
                linkedid=request.linkedid,
            )

    def keep_refusal(self, request: CallbackRequest, queue: str, why: Reason) -> None:
        """Keep a refusal for the admin to see."""
        source = request.source
        if source.refused:
            self._refusals.keep(
                source.kind, queue, _shown(request), why, request.linkedid
            )


def _story(request: CallbackRequest, queue: str) -> Reason:
    """Return how the task of a request came about."""
    story = Reason(request.source.story, request.params)
    return story.with_params(queue=queue) if request.source.story_names_queue else story


def _shown(request: CallbackRequest) -> str:
    """Return the number that may be written down."""
    return "" if request.withheld else request.number


def _counts_anew(request: CallbackRequest, recorded: Recorded) -> bool:
    """Whether a call that is known makes a task all the same.

    One known by a request that was taken back does: whoever was missed after that, or
    was told that Asterisk keeps the request, did not hear of it. A request that was
    promised counts more than the same call found missed in a history.
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
