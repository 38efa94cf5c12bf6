# SPDX-License-Identifier: MIT
"""Measures how fast each queue is served, and estimates waits.

It follows the events of agents and callers, and measures in each queue: how long a call
occupies an agent, how long phones ring, how many callers give up, and how many join.
All but the last is stored every few minutes and at the end, so that it survives a
restart. The estimate itself is :func:`fastagi.domain.expected_wait.expected_wait_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import define, frozen

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from fastagi.ami.events import (
    AgentComplete,
    AgentConnect,
    Handler,
    Hangup,
    QueueCallerJoin,
    QueueCallerLeave,
    on,
)
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.expected_wait import (
    Agent,
    Arrivals,
    Measured,
    Pace,
    expected_wait_s,
)
from fastagi.domain.names import folded
from fastagi.domain.task import WaitingTask
from fastagi.domain.turns import Turn
from fastagi.node.dialer import Dialer
from fastagi.node.queue_monitor import OWN_CHANNEL, QueueMonitor
from fastagi.node.targets import Target, target_key
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.service.opening_state import OpeningState
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Interval of storing what was measured, in seconds.
_STORE_S: Final = 300.0
#: Shortest interval of reading the tasks in line, in seconds.
_READ_S: Final = 2.0
#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 30.0
#: Time limit for storing what was measured when the service stops, in seconds.
_LAST_STORE_S: Final = 3.0
#: Maximum number of callers that are remembered, as the end of a call may not be seen.
_MAX_CALLERS: Final = 10_000
#: The turn of a caller who joins next, with the usual priority.
_NEXT: Final = Turn(math.inf)


@frozen
class _Left:
    """A caller who left a queue; times are seconds of the steady clock."""

    #: The folded name of the queue.
    queue: str
    joined_at: float
    at: float


@define
class _Line:
    """The common part of the estimates for all tasks of one target."""

    #: The turns of the live callers.
    callers: list[Turn]
    agents: list[Agent]
    pace: Pace
    #: The pace for tasks that let all callers go first.
    pace_behind_callers: Pace
    tasks_ahead: int = 0

    def callback_s(self, turn: Turn | None) -> float | None:
        """Return the expected wait of the next task, in seconds; None: not known.

        Args:
            turn: its turn among the callers; None: behind all of them.
        """
        if turn is None:
            ahead, pace = len(self.callers), self.pace_behind_callers
        else:
            ahead, pace = sum(other < turn for other in self.callers), self.pace
        return expected_wait_s(ahead + self.tasks_ahead, self.agents, pace)


class ExpectedWaits:
    """The expected waits of the callers and tasks of one Asterisk."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        queue_monitor: QueueMonitor,
        dialer: Dialer,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        opening_state: OpeningState,
        targets: Callable[[], list[Target]],
    ) -> None:
        self._store = store
        self._queue_monitor = queue_monitor
        self._dialer = dialer
        self._clock = clock
        self._background = background
        self._settings = settings
        self._opening_state = opening_state
        self._targets = targets
        #: What was measured, by the folded name of the queue.
        self._measured: dict[str, Measured] = {}
        self._arrivals: dict[str, Arrivals] = {}
        self._began_at = clock.steady()
        #: When callers joined a queue, by uniqueid and folded name of the queue.
        self._joined: dict[tuple[str, str], float] = {}
        #: Callers who left a queue, until an agent answers or they hang up.
        self._left: dict[str, _Left] = {}
        #: Whether the measurements of an earlier process were read.
        self._is_read = False
        self._is_changed = False
        self._store_at = clock.steady() + _STORE_S
        #: Tasks that wait and are not in Asterisk's line; only of queues in which
        #: tasks keep their place.
        self._line: Sequence[WaitingTask] = ()
        self._read_at = -math.inf
        self._storing = Worker(
            self._store_now_and_then,
            what="storing the measured handling times",
            background=background,
            clock=clock,
            trouble="the measured handling times are not stored yet",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )
        self._reading = Worker(
            self._read_line,
            what="reading the tasks in line",
            background=background,
            clock=clock,
            trouble="expected waits leave out new tasks",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    # -- start and stop ----------------------------------------------------

    def start(self) -> None:
        """Read the measurements of an earlier process, and the tasks in line."""
        self._background.start("reading the measured handling times", self._read())
        self.tasks_changed()

    async def stop(self) -> None:
        """Store the measurements."""
        self._storing.stop()
        self._reading.stop()
        if not (self._is_changed and self._is_read):
            return
        storing = Deferred.fromCoroutine(self._store.set_measured(self._measured))
        try:
            await storing.addTimeout(_LAST_STORE_S, self._clock.timers)
        except (StoreUnavailable, TimeoutError) as error:
            self._log.info(
                "the handling times of the last minutes are not stored: {error}",
                error=error,
            )

    async def _read(self) -> None:
        stored = await until_stored(
            self._store.measured,
            "the measured handling times of earlier are not read yet",
            self._background,
            pause_s=_STORE_RETRY_S,
        )
        for key, known in stored.items():
            self._measured[key] = known.merged(self._measured.get(key, Measured()))
        self._is_read = True
        if self._is_changed:
            self._storing.wake()

    async def _store_now_and_then(self) -> float | None:
        if not (self._is_changed and self._is_read):
            return None
        due_in_s = self._store_at - self._clock.steady()
        if due_in_s > 0:
            return due_in_s
        self._is_changed = False
        try:
            await self._store.set_measured(dict(self._measured))
        except StoreUnavailable:
            self._is_changed = True
            raise
        self._store_at = self._clock.steady() + _STORE_S
        return None

    # -- the tasks in line ---------------------------------------------------

    def tasks_changed(self) -> None:
        """Read the tasks in line again, if they count for callers."""
        self._reading.wake()

    async def _read_line(self) -> float | None:
        queues = [n for n, q in self._settings().queues.items() if q.keeps_place]
        if not queues:
            self._line = ()
            return None
        due_in_s = self._read_at + _READ_S - self._clock.steady()
        if due_in_s > 0:
            return due_in_s
        self._line = await self._store.waiting_tasks(queues)
        self._read_at = self._clock.steady()
        return None

    # -- measuring -----------------------------------------------------------

    def handlers(self) -> Iterator[Handler]:
        """Yield the handler of each event that this tracker needs."""
        yield on(QueueCallerJoin, self._caller_joined)
        yield on(QueueCallerLeave, self._caller_left)
        yield on(AgentConnect, self._agent_connect)
        yield on(AgentComplete, self._agent_complete)
        yield on(Hangup, self._hangup)

    def disconnected(self) -> None:
        """Forget callers whose next event will be missed."""
        self._left.clear()
        self._joined.clear()

    def request_changed(self, uniqueid: str, stays: bool) -> None:
        """Note that a caller asked to be called back.

        Where tasks keep the place, the caller has not made way for others.
        """
        left = self._left.get(uniqueid)
        found = None if left is None else self._settings().queues.get(left.queue)
        if stays and found is not None and found.keeps_place:
            del self._left[uniqueid]

    def extension_done(self, target: str, talk_s: float) -> None:
        """Note that an extension has ended a callback."""
        self._note_call(target, talk_s + self._wrapuptime_s(target))

    def _caller_joined(self, event: QueueCallerJoin) -> None:
        is_own = OWN_CHANNEL.fullmatch(event.uniqueid) is not None
        if is_own or not self._is_watched(event.queue):
            return
        key, now = folded(event.queue), self._clock.steady()
        left = self._left.pop(event.uniqueid, None)
        if left is not None and left.queue == key:
            # Back in line.
            self._joined[event.uniqueid, key] = left.joined_at
            return
        self._joined[event.uniqueid, key] = now
        _forget_oldest(self._joined)
        known = self._arrivals.get(key, Arrivals(self._began_at, now))
        self._arrivals[key] = known.with_one(now)

    def _caller_left(self, event: QueueCallerLeave) -> None:
        key = folded(event.queue)
        joined_at = self._joined.pop((event.uniqueid, key), None)
        if joined_at is not None:
            self._left[event.uniqueid] = _Left(key, joined_at, self._clock.steady())
            _forget_oldest(self._left)

    def _agent_connect(self, event: AgentConnect) -> None:
        self._note_caller(event.uniqueid, left=False)
        if self._is_watched(event.queue):
            self._note(event.queue, lambda known: known.with_answer(event.ring_time_s))

    def _agent_complete(self, event: AgentComplete) -> None:
        if self._is_watched(event.queue):
            wrapuptime_s = self._wrapuptime_s(event.queue)
            self._note_call(event.queue, event.talk_time_s + wrapuptime_s)

    def _hangup(self, event: Hangup) -> None:
        self._note_caller(event.uniqueid, left=True)

    def _note_caller(self, uniqueid: str, *, left: bool) -> None:
        gone = self._left.pop(uniqueid, None)
        if gone is not None:
            waited_s = gone.at - gone.joined_at
            self._note(gone.queue, lambda known: known.with_caller(waited_s, left=left))

    def _note_call(self, key: str, handling_s: float) -> None:
        prior_s = self._prior_s(key)
        self._note(key, lambda known: known.with_call(handling_s, prior_s))

    def _note(self, key: str, change: Callable[[Measured], Measured]) -> None:
        self._measured[folded(key)] = change(
            self._measured.get(folded(key), Measured())
        )
        if not self._is_changed:
            self._is_changed = True
            self._storing.wake()

    def _is_watched(self, queue: str) -> bool:
        """Whether a queue is in the settings, or takes callbacks."""
        return queue in self._settings().queues or any(
            folded(target.key) == folded(queue) for target in self._targets()
        )

    # -- asking ----------------------------------------------------------------

    def expected_wait_s(self, queue: str, position: int) -> float | None:
        """Return how long a caller at a position is expected to wait, in seconds.

        Tasks that keep their place count, also if they are not in Asterisk's line yet.

        Args:
            queue: the queue in which the caller waits.
            position: in Asterisk's line, from 1.

        Returns:
            Seconds; None: not known, as nobody takes calls or the link is down.
        """
        live = self._queue_monitor.queues
        turn = live.turn_at(queue, position) or _NEXT
        ahead = max(position, 1) - 1 + self._tasks_before(queue, turn)
        return expected_wait_s(ahead, self._agents(queue), self._pace(queue))

    def next_caller_s(self, queue: str) -> float | None:
        """Return how long a caller is expected to wait who joins now, in seconds."""
        in_line = self._queue_monitor.queues.in_line(queue)
        return self.expected_wait_s(queue, in_line + 1)

    def callback_waits_s(self, waiting: Sequence[WaitingTask]) -> dict[int, float]:
        """Return in how many seconds tasks are expected to be called, by task id.

        A task is left out if that is not known: the queue is closed or not in the
        settings, nobody takes calls, or the line is not expected to empty.

        Args:
            waiting: all tasks that wait.
        """
        waits: dict[int, float] = {}
        now = self._clock.epoch_s()
        is_open = self._opening_state.open_queues(now)
        here = self._settings().queues
        lines: dict[str, _Line] = {}
        for task in sorted([*waiting, *self._placeholders()], key=_by_turn):
            if task.queue not in is_open or task.queue not in here:
                continue
            queue = self._settings().queue(task.queue)
            key = target_key(queue)
            line = lines.get(folded(key))
            if line is None:
                line = lines[folded(key)] = self._line_of(key)
            wait_s = line.callback_s(task.turn if queue.keeps_place else None)
            due_in_s = task.due_at - now
            if wait_s is not None:
                waits[task.id] = max(wait_s, due_in_s)
            if due_in_s <= 0:
                line.tasks_ahead += 1
        return waits

    def first_callbacks_s(self, waiting: Sequence[WaitingTask]) -> dict[str, float]:
        """Return in how many seconds the next callback of each queue is expected.

        Args:
            waiting: all tasks that wait.
        """
        waits = self.callback_waits_s(waiting)
        first_s: dict[str, float] = {}
        for task in [*waiting, *self._placeholders()]:
            wait_s = waits.get(task.id)
            if wait_s is not None:
                first_s[task.queue] = min(wait_s, first_s.get(task.queue, wait_s))
        return first_s

    async def expected_times(self) -> dict[int, datetime]:
        """Return when open tasks are expected to be called, by task id.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        waits = self.callback_waits_s(await self._store.waiting_tasks())
        now = self._clock.now()
        return {
            task_id: now + timedelta(seconds=wait_s)
            for task_id, wait_s in waits.items()
        }

    def _line_of(self, key: str) -> _Line:
        live = self._queue_monitor.queues
        return _Line(
            callers=[caller.turn for caller in live.waiting(key)],
            agents=self._agents(key),
            pace=self._pace(key),
            pace_behind_callers=self._pace(key, callers_first=True),
        )

    def _placeholders(self) -> list[WaitingTask]:
        return [
            WaitingTask(
                id=running.task.id,
                queue=running.task.queue,
                turn=running.task.turn,
                due_at=0.0,
            )
            for running in self._dialer.placeholders()
        ]

    def _tasks_before(self, queue: str, turn: Turn) -> int:
        """Return how many tasks that are not in line yet will be before that one."""
        now = self._clock.epoch_s()
        is_open = self._opening_state.open_queues(now)
        return sum(
            task.turn < turn
            and task.due_at <= now
            and task.queue in is_open
            and folded(target_key(self._settings().queue(task.queue))) == folded(queue)
            for task in self._line
        )

    def _agents(self, queue: str) -> list[Agent]:
        """Return the agents who take calls now; none while they are unknown."""
        if not self._queue_monitor.ready:
            return []
        return self._queue_monitor.queues.agents(
            queue, self._wrapuptime_s(queue), self._clock.epoch_s()
        )

    def _pace(self, queue: str, *, callers_first: bool = False) -> Pace:
        measured = self._measured.get(folded(queue), Measured())
        arriving_per_s = 0.0
        arrivals = self._arrivals.get(folded(queue))
        if callers_first and arrivals is not None:
            arriving_per_s = arrivals.per_s(self._clock.steady())
        return measured.pace(self._prior_s(queue), arriving_per_s)

    def _prior_s(self, queue: str) -> float:
        about = self._about(queue)
        return 0.0 if about is None else about.handling_time_s

    def _wrapuptime_s(self, queue: str) -> float:
        about = self._about(queue)
        return 0.0 if about is None else about.wrapuptime_s

    def _about(self, queue: str) -> QueueSettings | None:
        """Return the settings of a queue, or of one whose callbacks it takes."""
        settings = self._settings().queues
        if queue in settings:
            return settings[queue]
        for target in self._targets():
            if folded(target.key) == folded(queue):
                return settings[min(target.queues)]
        return None


def _forget_oldest(callers: dict[Any, Any]) -> None:
    while len(callers) > _MAX_CALLERS:
        del callers[next(iter(callers))]


def _by_turn(task: WaitingTask) -> tuple[Turn, int]:
    return task.turn, task.id
