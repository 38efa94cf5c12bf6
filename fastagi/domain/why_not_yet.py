# SPDX-License-Identifier: MIT
"""What keeps a task from being called now.

An attempt begins only if :func:`obstacle` returns None for its task, and its queue has
no obstacle (:class:`QueueOutlook`); the same functions say why a task is not called
yet. The codes are those of :data:`CODES`. Pure functions and values; times are epoch
seconds and arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import field, frozen

from fastagi.domain.preferred_agent import assigned_agent, waits_for_agent
from fastagi.domain.reason import Code, Reason, because, utc_minute
from fastagi.domain.task import CallbackTask, Status
from fastagi.domain.turns import ANY_TURN, Turn

#: All codes that say why a task is not called yet.
CODES: Final = (
    Code.NO_LINK,
    Code.SYSTEMNAME_TAKEN,
    Code.QUEUES_NOT_KNOWN,
    Code.CATCHES_UP,
    Code.CALLS_ON_HOLD,
    Code.LEASE_NOT_HELD,
    Code.NO_SUCH_QUEUE,
    Code.CLOSED_UNTIL,
    Code.DIALPLAN_NOT_KNOWN,
    Code.NO_TRUNK,
    Code.EXPIRED,
    Code.NOT_DUE,
    Code.CHOSEN_TIME_TO_COME,
    Code.NUMBER_LIMIT,
    Code.CLIENT_IN_A_CALL,
    Code.MINUTE_LIMIT,
    Code.HOUR_LIMIT,
    Code.AGENTS_AWAY,
    Code.LIVE_CALLERS_FIRST,
    Code.AGENTS_BUSY,
    Code.AGENTS_CLAIMED,
    Code.TURN_NOT_NEAR,
    Code.LINE_IS_FULL,
    Code.LINE_REFUSED,
    Code.ANOTHER_JOINS_LINE,
    Code.WAITS_FOR_AGENT,
    Code.WAITS_FOR_ASSIGNED,
    Code.AGENTS_REFUSED,
    Code.OTHERS_FIRST,
    Code.IN_LINE,
)
#: How many tasks of a queue are next. Those behind only say that others come first, so
#: that a caller who joins does not change what thousands of tasks say.
NEXT: Final = 10


def until(code: Code, at: float | None, **params: str) -> Reason:
    """Return a reason that holds until a time; None: no end is known."""
    if at is not None:
        params["until"] = utc_minute(datetime.fromtimestamp(at, UTC))
    return because(code, **params)


def obstacle(
    task: CallbackTask, now: float, busy: Collection[str], last: Turn = ANY_TURN
) -> Reason | None:
    """Return what the task itself waits for; None: it may be called now.

    Args:
        task: a pending task.
        now: the current time.
        busy: number keys that must not be called now.
        last: the last turn whose task may be called.
    """
    if task.expires_at.timestamp() <= now:
        return because(Code.EXPIRED)
    if task.due_at.timestamp() > now:
        return _not_due(task)
    if task.number_key in busy:
        return because(Code.CLIENT_IN_A_CALL)
    return None if task.turn <= last else because(Code.TURN_NOT_NEAR)


def _not_due(task: CallbackTask) -> Reason:
    due_at = utc_minute(task.due_at)
    if task.chosen_at is not None and task.due_at <= task.chosen_at:
        return because(Code.CHOSEN_TIME_TO_COME, chosen_at=due_at)
    if task.why.code is Code.CALLED_TOO_OFTEN:
        return because(Code.NUMBER_LIMIT, until=due_at)
    return because(Code.NOT_DUE, due_at=due_at)


@frozen
class Held:
    """Why a due task was passed over when attempts were begun.

    Attributes:
        queue: the task's queue.
        why: the reason.
        until: until when it holds, at most.
    """

    queue: str
    why: Reason
    until: datetime


@frozen(kw_only=True)
class QueueOutlook:
    """What keeps the tasks of one queue from being called now.

    Attributes:
        closed: why none of its tasks may be called, however many agents are free; None:
            they may.
        opens_at: when the queue opens, if it is closed; None: it is open, or no opening
            is known.
        no_agent: why no further callback may begin; None: one may.
        last: the last turn that is near.
        ahead: how many are in line before a task whose turn is not near.
        chosen_first: whether tasks with a chosen time come before all others.
        ask_alone: the agents who may be asked now for tasks assigned to them; None:
            not known, as no task was assigned.
    """

    closed: Reason | None = None
    opens_at: float | None = None
    no_agent: Reason | None = None
    last: Turn = ANY_TURN
    ahead: int = 0
    chosen_first: bool = False
    ask_alone: frozenset[str] | None = None


#: Of a queue that is not in the settings.
_NO_QUEUE: Final = QueueOutlook(closed=because(Code.NO_SUCH_QUEUE))
_OTHERS_FIRST: Final = because(Code.OTHERS_FIRST)


@frozen(kw_only=True)
class Outlook:
    """What keeps tasks from being called now.

    Attributes:
        now: the current time.
        all_tasks: why no task at all may be called; None: they may.
        queues: by name.
        busy: number keys that must not be called now.
        held: tasks that were passed over, by id.
    """

    now: float
    all_tasks: Reason | None = None
    queues: Mapping[str, QueueOutlook] = field(factory=dict)
    busy: frozenset[str] = frozenset()
    held: Mapping[int, Held] = field(factory=dict)

    def of_queue(self, queue: str) -> QueueOutlook:
        """Return what keeps the tasks of a queue from being called."""
        return self.queues.get(queue, _NO_QUEUE)

    def why_not_queue(self, queue: str) -> Reason | None:
        """Return what keeps every task of a queue from being called; None: nothing."""
        found = self.of_queue(queue)
        return self.all_tasks or found.closed or found.no_agent

    def is_in_line(self, task: CallbackTask) -> bool:
        """Whether a pending task counts among the next of its queue."""
        return (
            task.id not in self.held
            and self._waits_for_assigned(task) is None
            and obstacle(task, self.now, self.busy) is None
        )

    def _waits_for_assigned(self, task: CallbackTask) -> Reason | None:
        """Return the reason if a task waits for the agent to whom it is assigned."""
        agent, ask_alone = assigned_agent(task), self.of_queue(task.queue).ask_alone
        if (
            agent is None
            or ask_alone is None
            or agent.interface in ask_alone
            or agent.until.timestamp() <= self.now
        ):
            return None
        return waits_for_agent(agent)

    def why_not(self, task: CallbackTask, *, is_next: bool) -> Reason | None:
        """Return what keeps a pending task from being called; None: nothing.

        Args:
            task: the task.
            is_next: whether it is one of the next of its queue; see :func:`first`.
        """
        queue = self.of_queue(task.queue)
        if self.all_tasks is not None:
            return self.all_tasks
        its_own = obstacle(task, self.now, self.busy)
        due_at = task.due_at.timestamp()
        if queue.closed is not None and not (
            queue.opens_at is not None and queue.opens_at <= due_at
        ):
            return queue.closed
        if its_own is not None:
            return its_own
        if (waits := self._waits_for_assigned(task)) is not None:
            return waits
        held = self.held.get(task.id)
        if held is not None:
            return queue.no_agent or held.why
        if not is_next:
            return _OTHERS_FIRST
        if queue.no_agent is not None:
            return queue.no_agent
        if obstacle(task, self.now, self.busy, queue.last) is not None:
            return because(Code.TURN_NOT_NEAR, ahead=queue.ahead)
        return None


def order(task: CallbackTask, *, chosen_first: bool) -> tuple[bool, Turn, int]:
    """Return the key by which the tasks of a queue are called, the first one first."""
    return not (chosen_first and task.is_among_chosen), task.turn, task.id


def first(tasks: Iterable[CallbackTask], outlook: Outlook) -> frozenset[int]:
    """Return the ids of the pending tasks that are the next of their queues."""
    lines: dict[str, list[CallbackTask]] = {}
    for task in tasks:
        if task.status is Status.PENDING and outlook.is_in_line(task):
            lines.setdefault(task.queue, []).append(task)
    found: set[int] = set()
    for queue, line in lines.items():
        chosen_first = outlook.of_queue(queue).chosen_first
        line.sort(key=lambda task: order(task, chosen_first=chosen_first))
        found |= {task.id for task in line[:NEXT]}
    return frozenset(found)
