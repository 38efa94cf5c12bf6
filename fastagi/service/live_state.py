# SPDX-License-Identifier: MIT
"""Builds the live state: one snapshot, then changes, the same for all subscribers.

While nobody subscribes it does nothing. For the first subscriber it reads the open
tasks once; after that it follows their events, looks what has changed in memory, and
sends only that, at most twice a second. All readings are requests that nobody waits
for, so requests of callers go before them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from statistics import median
from typing import Any, Final, Protocol, TypeVar

from attrs import define, evolve, field, frozen

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import fail as failed
from twisted.logger import Logger

from fastagi import __version__
from fastagi.config.sections import Settings
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask, Status, WaitingTask
from fastagi.domain.why_not_yet import Outlook, QueueOutlook
from fastagi.errors import Problem
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.service.commands import (
    AsteriskStatus,
    DatabaseHolder,
    NodeStatus,
    TaskState,
)
from fastagi.service.live import (
    Change,
    Entities,
    LiveAgent,
    LiveAttempt,
    LiveCaller,
    LiveQueue,
    LiveService,
    Removed,
    Snapshot,
    TooSlow,
)
from fastagi.service.live_tasks import OpenTasks
from fastagi.service.owner import Owner
from fastagi.service.task_states import TaskStates
from fastagi.store.errors import StoreUnavailable
from fastagi.store.live_reads import EndedTask
from fastagi.store.store import TaskStore

K = TypeVar("K", int, str)
V = TypeVar("V")

#: Pause between two messages, in seconds.
_PAUSE_S: Final = 0.5
#: From a change to the look at it, in seconds, as several events report one change.
_COALESCE_S: Final = 0.05
#: Longest time between two looks, in seconds.
_LOOK_S: Final = 10.0
#: Pause after the database failed, in seconds.
_RETRY_S: Final = 2.0
#: Tasks read in one transaction, and events, and tasks that are looked at before the
#: reactor does other work.
_TASKS_AT_ONCE: Final = 500
_EVENTS_AT_ONCE: Final = 500
_LOOKED_AT_AT_ONCE: Final = 200
#: Events read in one transaction to find the tasks that have ended today.
_ENDS_AT_ONCE: Final = 5_000
#: Most messages that wait for a subscriber.
_MOST_MESSAGES: Final = 20
#: Number of tasks for which it is estimated when they are called, and how often, in
#: seconds.
_MOST_EXPECTED: Final = 100
_EXPECTED_EACH_S: Final = 10.0
#: A new estimate counts if it differs by more than this share of the time until then,
#: and by more than so many seconds.
_EXPECTED_SHARE: Final = 0.2
_EXPECTED_S: Final = 30.0
#: A new latency of the database counts if it differs by more, in seconds.
_LATENCY_S: Final = 0.005
#: Events younger than this are not late: a reader is about to read them.
_EVENT_S: Final = timedelta(seconds=2)


@frozen(kw_only=True)
class QueueTasks:
    """What is known of the tasks of one queue; as in `LiveQueue`."""

    waiting: int = 0
    calling: int = 0
    #: Whether any task is due.
    is_any_due: bool = False
    oldest_since: datetime | None = None
    next_due_at: datetime | None = None
    expected_at: datetime | None = None
    reached_today: int = 0
    not_reached_today: int = 0
    median_time_to_reach_s: float | None = None


class Nodes(Protocol):
    """What the live state needs of the Asterisks."""

    @property
    def name(self) -> str:
        """The name of the first Asterisk, or of the only one."""

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of the link to that one."""

    @property
    def states(self) -> tuple[NodeStatus, ...]:
        """The state of each Asterisk."""

    @property
    def queues_known(self) -> bool:
        """Whether the state of the queues of every Asterisk is known."""

    def agents(self, now: float) -> dict[str, LiveAgent]:
        """Return the agents, by interface."""

    def callers(self) -> dict[str, LiveCaller]:
        """Return those who wait in the queues, by uniqueid."""

    def attempts(self) -> dict[int, LiveAttempt]:
        """Return the attempts in progress, by id."""

    def positions(self) -> dict[int, int]:
        """Return the positions of tasks that wait in Asterisk's line, by task id."""

    def queues(
        self,
        now: float,
        agents: Mapping[str, LiveAgent],
        tasks: Mapping[str, QueueTasks],
        why_not: Callable[[str], Reason | None],
    ) -> dict[str, LiveQueue]:
        """Return the queues of the settings, by name."""

    def callback_waits_s(self, waiting: Sequence[WaitingTask]) -> Mapping[int, float]:
        """Return in how many seconds tasks are expected to be called, by task id."""

    def next_change(self, now: float) -> float | None:
        """Return when the state changes although no event comes; None: it does not."""


class _Subscription:
    """The messages for one subscriber."""

    def __init__(self, on_close: Callable[[_Subscription], None]) -> None:
        self._on_close = on_close
        self._messages: deque[Snapshot | Change] = deque()
        self._waiter: Deferred[Snapshot | Change] | None = None
        self._ended: Exception | None = None
        #: Whether the snapshot was sent, with which its messages begin.
        self.has_begun = False

    def next(self) -> Deferred[Snapshot | Change]:
        """Return the next message, as soon as there is one.

        Raises:
            TooSlow: too many messages waited, and they were dropped.
            Stopping: the service stops, or the subscription was closed.
        """
        if self._messages:
            return succeed(self._messages.popleft())
        if self._ended is not None:
            return failed(self._ended)
        if self._waiter is not None:
            raise RuntimeError("another call waits for the next message already")
        self._waiter = Deferred(self._forget_waiter)
        return self._waiter

    def _forget_waiter(self, _waiter: Deferred[Any]) -> None:
        self._waiter = None

    def put(self, message: Snapshot | Change) -> None:
        """Deliver a message, or end the subscription if too many wait."""
        self.has_begun = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(message)
        elif len(self._messages) < _MOST_MESSAGES:
            self._messages.append(message)
        else:
            self._messages.clear()
            self.end(
                TooSlow(
                    f"{_MOST_MESSAGES} messages were not taken in time",
                    "read faster, or connect again for a new snapshot",
                )
            )

    def end(self, error: Exception) -> None:
        """End the subscription."""
        if self._ended is None:
            self._ended = error
            self._on_close(self)
            waiter, self._waiter = self._waiter, None
            if waiter is not None:
                waiter.errback(error)

    def close(self) -> None:
        """End the subscription; nothing is computed while there is none."""
        self.end(Stopping())


@define
class _Seen:
    """What was sent last."""

    service: LiveService | None = None
    queues: dict[str, LiveQueue] = field(factory=dict)
    agents: dict[str, LiveAgent] = field(factory=dict)
    callers: dict[str, LiveCaller] = field(factory=dict)
    tasks: dict[int, TaskState] = field(factory=dict)
    attempts: dict[int, LiveAttempt] = field(factory=dict)

    def all(self) -> Entities:
        """Return a copy of everything."""
        return Entities(
            service=self.service,
            queues=dict(self.queues),
            agents=dict(self.agents),
            callers=dict(self.callers),
            tasks=dict(self.tasks),
            attempts=dict(self.attempts),
        )


class LiveState:
    """Builds the live state for its subscribers."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        owner: Owner,
        nodes: Nodes,
        task_states: TaskStates,
        outlook: Callable[[], Outlook],
        sinks: Sequence[str],
    ) -> None:
        """Store the parts.

        Args:
            store: where the tasks are.
            clock: the clocks.
            background: the owner of the work.
            settings: the settings in force.
            owner: knows whether this service holds the database.
            nodes: the Asterisks.
            task_states: says of a task whether its queue is open.
            outlook: returns what keeps tasks from being called at this moment.
            sinks: the names of the readers of events; the greatest lag is told.
        """
        self.started_at = clock.now()
        self._store = store
        self._clock = clock
        self._background = background
        self._settings = settings
        self._owner = owner
        self._nodes = nodes
        self._task_states = task_states
        self._outlook = outlook
        self._sinks = tuple(sinks)
        self._subscriptions: list[_Subscription] = []
        self._stopped = False
        #: Number of the last change.
        self._id = 0
        self._seen = _Seen()
        self._worker = Worker(
            self._look,
            what="building the live state",
            background=background,
            clock=clock,
            retry_s=_RETRY_S,
        )
        self._is_due = False
        self._is_looking = False
        self._sent_at = clock.steady() - _PAUSE_S
        self._forget()

    def _forget(self) -> None:
        """Forget the tasks; the next look reads them all."""
        self._tasks = OpenTasks()
        self._is_loaded = False
        self._last_event = 0
        #: Whether tasks may have changed in the database.
        self._must_read = True
        self._read_at = -_LOOK_S
        #: The tasks to look at.
        self._dirty: set[int] = set()
        self._former = Outlook(now=0.0)
        self._next: set[int] = set()
        self._positions: dict[int, int] = {}
        self._expected: dict[int, datetime] = {}
        self._expected_at = -_EXPECTED_EACH_S
        #: The tasks that have ended today by their calls, by queue and id; the queues
        #: in which that has changed; and when today began there.
        self._ended: dict[str, dict[int, EndedTask]] = {}
        self._ended_changed: set[str] = set()
        self._midnights: dict[str, datetime] = {}
        self._by_queue: dict[str, QueueTasks] = {}
        self._events_waiting: int | None = None
        self._events_waiting_since: datetime | None = None
        self._latency_s: float | None = None
        self._problem: Problem | None = None

    # -- subscribing ---------------------------------------------------------

    def subscribe(self) -> _Subscription:
        """Return a new subscription, whose first message is a snapshot."""
        subscription = _Subscription(self._closed)
        if self._stopped:
            subscription.end(Stopping())
            return subscription
        self._subscriptions.append(subscription)
        if self._seen.service is not None:
            subscription.put(self._snapshot())
        else:
            self._wake()
        return subscription

    async def snapshot(self) -> Snapshot:
        """Return everything as it is now.

        While the database can not be used, the tasks are as they were last read.
        """
        subscription = self.subscribe()
        try:
            message = await subscription.next()
        finally:
            subscription.close()
        assert isinstance(message, Snapshot)
        return message

    def _snapshot(self) -> Snapshot:
        return Snapshot(id=self._id, at=self._clock.now(), all=self._seen.all())

    def _closed(self, subscription: _Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        if not self._subscriptions and not self._is_looking:
            self._rest()

    def _rest(self) -> None:
        """Do nothing until somebody subscribes."""
        self._worker.cancel_timer()
        self._is_due = False
        self._seen = _Seen()
        self._forget()

    def stop(self) -> None:
        """End all subscriptions."""
        self._stopped = True
        self._worker.stop()
        for subscription in list(self._subscriptions):
            subscription.end(Stopping())

    # -- what has changed ------------------------------------------------------

    def changed(self) -> None:
        """Something in memory may have changed."""
        if self._subscriptions and not self._is_due:
            self._wake()

    def tasks_changed(self) -> None:
        """Tasks have changed in the database."""
        self._must_read = True
        self.changed()

    def settings_changed(self) -> None:
        """Read all tasks again, as their queues may be spelled differently now."""
        self._is_loaded = False
        self._dirty |= self._tasks.ids()
        self.tasks_changed()

    def _wake(self) -> None:
        self._is_due = True
        since_s = self._clock.steady() - self._sent_at
        self._worker.wake_in(max(_COALESCE_S, _PAUSE_S - since_s))

    # -- one look --------------------------------------------------------------

    async def _look(self) -> float | None:
        """Find what has changed, and send it.

        Returns:
            The seconds until the next look; None: until something changes.
        """
        if not self._subscriptions:
            return None
        self._is_due = False
        self._is_looking = True
        try:
            await self._read()
            change = await self._find_changes()
            self._send(change)
        finally:
            self._is_looking = False
            if not self._subscriptions:
                self._rest()
        if not self._subscriptions:
            return None
        if self._is_due or (self._must_read and self._problem is None):
            # Something has changed during the look; its timer is lost with this run.
            return _PAUSE_S
        return self._next_look_s()

    def _next_look_s(self) -> float:
        if self._problem is not None:
            return _RETRY_S
        now = self._clock.epoch_s()
        moments = [self._nodes.next_change(now), self._tasks.next_due()]
        moments += [held.until.timestamp() for held in self._former.held.values()]
        soonest = min((at - now for at in moments if at is not None), default=_LOOK_S)
        return min(max(soonest, _PAUSE_S), _LOOK_S)

    def _send(self, change: Change | None) -> None:
        now = self._clock.steady()
        if change is not None:
            self._sent_at = now
        for subscription in list(self._subscriptions):
            if not subscription.has_begun:
                subscription.put(self._snapshot())
                self._sent_at = now
            elif change is not None:
                subscription.put(change)

    # -- reading the tasks -----------------------------------------------------

    async def _read(self) -> None:
        """Read the tasks that have changed; note the problem if that fails."""
        now = self._clock.steady()
        is_poll = now - self._read_at >= _LOOK_S
        # The scheduler begins and the dialer ends attempts.
        self._must_read |= self._nodes.attempts().keys() != self._seen.attempts.keys()
        if not (self._must_read or is_poll or self._problem):
            return
        self._must_read = False
        try:
            if not self._is_loaded:
                await self._load()
            await self._follow(measures=is_poll)
        except StoreUnavailable as error:
            self._must_read = True
            self._problem = error.database_problem
        else:
            self._problem = None
            self._read_at = now

    async def _load(self) -> None:
        """Read all open tasks, and those that have ended today."""
        last_event = await self._store.last_event()
        before_id: int | None = None
        known: set[int] = set()
        while tasks := await self._store.open_tasks(_TASKS_AT_ONCE, before_id):
            before_id = tasks[-1].id
            for task in tasks:
                known.add(task.id)
                self._put(task)
            if len(tasks) < _TASKS_AT_ONCE:
                break
        for task_id in self._tasks.ids() - known:
            self._drop(task_id)
        self._ended.clear()
        self._ended_changed |= self._settings().queues.keys()
        event_id = await self._store.first_event_since(self._first_midnight())
        while event_id < last_event:
            up_to = min(event_id + _ENDS_AT_ONCE, last_event)
            for ended in await self._store.ended_tasks(event_id, up_to):
                self._note_end(ended)
            event_id = up_to
        self._last_event = last_event
        self._is_loaded = True

    async def _follow(self, *, measures: bool) -> None:
        """Read the tasks whose events are new."""
        while True:
            began_at = self._clock.steady()
            changes = await self._store.changes_after(
                self._last_event,
                _EVENTS_AT_ONCE,
                self._sinks,
                self._clock.now() - _EVENT_S,
            )
            if measures:
                self._note_latency(self._clock.steady() - began_at)
            if changes.last_event < self._last_event:
                # The database was set back.
                await self._load()
                continue
            self._last_event = changes.last_event
            for task in changes.open:
                self._put(task)
                if self._ended.get(task.queue, {}).pop(task.id, None) is not None:
                    self._ended_changed.add(task.queue)
            for ended in changes.ended:
                self._drop(ended.task.id)
                self._note_end(ended)
            for task_id in changes.gone:
                self._drop(task_id)
            if not changes.more:
                # Soon an event before the next one is stored, or certainly never.
                self._must_read |= changes.held_back
                self._events_waiting = changes.waiting_events
                self._events_waiting_since = changes.waiting_since
                return

    def _put(self, task: CallbackTask) -> None:
        self._tasks.put(task, self._clock.epoch_s())
        self._dirty.add(task.id)

    def _drop(self, task_id: int) -> None:
        self._tasks.remove(task_id)
        self._dirty.add(task_id)

    def _note_end(self, ended: EndedTask) -> None:
        if ended.task.status in (Status.COMPLETED, Status.FAILED, Status.EXPIRED):
            queue = ended.task.queue
            self._ended.setdefault(queue, {})[ended.task.id] = ended
            self._ended_changed.add(queue)

    def _note_latency(self, latency_s: float) -> None:
        """Note how long a reading took, unless it is about the same as before."""
        known = self._latency_s
        if known is None or not (
            known / 2 <= latency_s <= known * 2 or abs(latency_s - known) < _LATENCY_S
        ):
            self._latency_s = round(latency_s, 3)

    def _first_midnight(self) -> datetime:
        """Return the earliest beginning of today in a queue's zone."""
        now = self._clock.now()
        zones = {queue.zone for queue in self._settings().queues.values()}
        return min((_midnight(now, zone) for zone in zones), default=now)

    # -- finding changes ---------------------------------------------------------

    async def _find_changes(self) -> Change | None:
        now = self._clock.epoch_s()
        outlook = self._outlook()
        positions = self._nodes.positions()
        tasks_changed = bool(self._dirty)
        self._note_what_to_look_at(outlook, positions)
        tasks_changed |= bool(self._dirty)
        expected = self._estimate(tasks_changed=tasks_changed)
        states: dict[int, TaskState] = {}
        gone: list[int] = []
        looked_at = 0
        dirty, self._dirty = self._dirty, set()
        for task_id in dirty:
            if task_id not in self._tasks:
                if task_id in self._seen.tasks:
                    gone.append(task_id)
                continue
            state = self._state(self._tasks[task_id], outlook)
            if self._seen.tasks.get(task_id) != state:
                states[task_id] = state
            looked_at += 1
            if looked_at % _LOOKED_AT_AT_ONCE == 0:
                await self._background.pause(0)
        is_new_day = self._is_new_day()
        if tasks_changed or expected or is_new_day:
            self._by_queue = self._count(now)
        seen = self._seen
        service = self._service(outlook)
        agents, callers = self._nodes.agents(now), self._nodes.callers()
        queues = self._nodes.queues(now, agents, self._by_queue, outlook.why_not_queue)
        attempts = self._nodes.attempts()
        changed = Entities(
            service=service if service != seen.service else None,
            queues=_changed(queues, seen.queues),
            agents=_changed(agents, seen.agents),
            callers=_changed(callers, seen.callers),
            tasks=states,
            attempts=_changed(attempts, seen.attempts),
        )
        removed = Removed(
            queues=tuple(seen.queues.keys() - queues.keys()),
            agents=tuple(seen.agents.keys() - agents.keys()),
            callers=tuple(seen.callers.keys() - callers.keys()),
            tasks=tuple(gone),
            attempts=tuple(seen.attempts.keys() - attempts.keys()),
        )
        if changed == Entities() and removed == Removed():
            return None
        self._seen = _Seen(service, queues, agents, callers, seen.tasks, attempts)
        self._seen.tasks.update(states)
        for task_id in gone:
            del self._seen.tasks[task_id]
        self._id += 1
        return Change(id=self._id, at=self._clock.now(), set=changed, remove=removed)

    def _note_what_to_look_at(
        self, outlook: Outlook, positions: dict[int, int]
    ) -> None:
        """Add the tasks that may say something else than before to the dirty ones."""
        former, self._former = self._former, outlook
        dirty = self._dirty
        if outlook.now < former.now:
            # The clock was set back.
            dirty |= self._tasks.ids()
        dirty.update(self._tasks.become_due(outlook.now))
        for queue in self._tasks.queues():
            if _common(outlook, queue) != _common(former, queue):
                dirty |= self._tasks.of_queue(queue)
            if outlook.of_queue(queue).ask_alone != former.of_queue(queue).ask_alone:
                dirty |= self._tasks.assigned(queue)
        dirty.update(self._tasks.with_keys(outlook.busy ^ former.busy))
        dirty |= outlook.held.keys() ^ former.held.keys()
        nexts = self._tasks.first(outlook)
        # Those who were next and are not any more, and those who may say what their
        # queue waits for.
        dirty |= nexts ^ self._next
        for task_id in nexts:
            queue = self._tasks[task_id].queue
            if outlook.of_queue(queue) != former.of_queue(queue):
                dirty.add(task_id)
        dirty |= {
            task_id
            for task_id, held in outlook.held.items()
            if outlook.of_queue(held.queue) != former.of_queue(held.queue)
            or former.held.get(task_id) != held
        }
        self._next = nexts
        dirty |= {
            task_id
            for task_id in positions.keys() | self._positions.keys()
            if positions.get(task_id) != self._positions.get(task_id)
        }
        self._positions = positions

    def _state(self, task: CallbackTask, outlook: Outlook) -> TaskState:
        position = self._positions.get(task.id)
        state = self._task_states.of(task, position)
        why: Reason | None = None
        if task.status is Status.PENDING:
            why = outlook.why_not(task, is_next=task.id in self._next)
        elif position is not None:
            why = because(Code.IN_LINE, position=position)
        return TaskState(
            # Without what is not shown, which may change alone.
            task=evolve(task, number_key="", call_by=None, served=False),
            queue_closed=state.queue_closed,
            opens_at=state.opens_at,
            zone=state.zone,
            position=position,
            expected_at=self._expected.get(task.id),
            why_not_yet=why,
        )

    def _estimate(self, *, tasks_changed: bool) -> bool:
        """Estimate when the first tasks are called; return whether any has changed."""
        steady = self._clock.steady()
        if steady - self._expected_at < (
            _PAUSE_S if tasks_changed else _EXPECTED_EACH_S
        ):
            return False
        self._expected_at = steady
        now = self._clock.now()
        waits = self._nodes.callback_waits_s(self._tasks.waiting(_MOST_EXPECTED))
        expected = {}
        for task_id, wait_s in waits.items():
            at = _to_the_minute(now + timedelta(seconds=wait_s))
            known = self._expected.get(task_id)
            if known is not None:
                off_s = abs((at - known).total_seconds())
                if off_s <= max(_EXPECTED_S, _EXPECTED_SHARE * wait_s):
                    at = known
            expected[task_id] = at
        changed = {
            task_id
            for task_id in expected.keys() | self._expected.keys()
            if expected.get(task_id) != self._expected.get(task_id)
        }
        self._expected = expected
        self._dirty |= changed
        return bool(changed)

    def _count(self, now: float) -> dict[str, QueueTasks]:
        """Return what is known of the tasks of each queue."""
        found = {}
        for name in self._settings().queues:
            waiting, calling = self._tasks.count(name)
            today = self._by_queue.get(name)
            if today is None or name in self._ended_changed:
                today = self._count_ended(name)
            expected = (
                at
                for task_id, at in self._expected.items()
                if task_id in self._tasks and self._tasks[task_id].queue == name
            )
            found[name] = QueueTasks(
                waiting=waiting,
                calling=calling,
                is_any_due=self._tasks.is_any_due(name),
                oldest_since=self._tasks.oldest_since(name, now),
                next_due_at=self._tasks.next_due_of(name),
                expected_at=min(expected, default=None),
                reached_today=today.reached_today,
                not_reached_today=today.not_reached_today,
                median_time_to_reach_s=today.median_time_to_reach_s,
            )
        self._ended_changed.clear()
        return found

    def _is_new_day(self) -> bool:
        """Return whether a day has begun in a queue's zone, or a queue is new."""
        now = self._clock.now()
        midnights = {
            name: _midnight(now, queue.zone)
            for name, queue in self._settings().queues.items()
        }
        former, self._midnights = self._midnights, midnights
        if former != midnights:
            self._ended_changed |= midnights.keys()
        return former != midnights

    def _count_ended(self, queue: str) -> QueueTasks:
        """Return how many tasks of a queue have ended today, and how."""
        midnight = self._midnights[queue]
        ended = self._ended.get(queue, {})
        for task_id, one in list(ended.items()):
            if one.task.ended_at is None or one.task.ended_at < midnight:
                del ended[task_id]
        times = [_time_to_reach_s(one) for one in ended.values() if one.reached_at]
        reached = sum(one.task.status is Status.COMPLETED for one in ended.values())
        return QueueTasks(
            reached_today=reached,
            not_reached_today=len(ended) - reached,
            median_time_to_reach_s=round(median(times), 1) if times else None,
        )

    def _service(self, outlook: Outlook) -> LiveService:
        holder = self._owner.lease.held
        return LiveService(
            version=__version__,
            started_at=self.started_at,
            node=self._nodes.name,
            asterisk=self._nodes.asterisk,
            nodes=self._nodes.states,
            queues_known=self._nodes.queues_known,
            holder=DatabaseHolder(
                host=holder.process.host, pid=holder.process.pid, since=holder.since
            ),
            lease_held=self._owner.holds_lease,
            database_problem=self._problem,
            database_latency_s=self._latency_s,
            events_waiting=self._events_waiting,
            events_waiting_since=self._events_waiting_since,
            why_no_callbacks=outlook.all_tasks,
        )


def _common(outlook: Outlook, queue: str) -> tuple[Reason | None, Reason | None]:
    """Return what all tasks of a queue say, whether or not they are next."""
    found: QueueOutlook = outlook.of_queue(queue)
    return outlook.all_tasks, found.closed


def _changed(new: Mapping[K, V], old: Mapping[K, V]) -> dict[K, V]:
    return {
        key: value
        for key, value in new.items()
        if (known := old.get(key)) is not value and known != value
    }


def _midnight(now: datetime, zone: tzinfo) -> datetime:
    """Return the beginning of the present day in a zone."""
    local = now.astimezone(zone)
    start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return start.astimezone(UTC)


def _time_to_reach_s(ended: EndedTask) -> float:
    """Return the seconds from the request, or the chosen time, to the talk."""
    assert ended.reached_at is not None
    task = ended.task
    since = max(at for at in (task.created_at, task.chosen_at) if at is not None)
    return max(0.0, (ended.reached_at - since).total_seconds())


def _to_the_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)
