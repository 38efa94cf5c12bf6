# SPDX-License-Identifier: MIT
"""The part of the live state that one Asterisk and its callbacks are.

It reads the state of the other parts and keeps only what took long to compute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from fastagi.config.sections import Settings
from fastagi.domain.agent_states import AgentState
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.domain.names import folded
from fastagi.domain.reason import Reason
from fastagi.domain.task import WaitingTask
from fastagi.node.call_tracker import CallTracker
from fastagi.node.dialer import Dialer
from fastagi.node.expected_waits import ExpectedWaits
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.targets import Target, target_key
from fastagi.runtime.clock import Clock
from fastagi.service.commands import AsteriskStatus, CallUnderWay
from fastagi.service.live import LiveAgent, LiveAttempt, LiveCaller, LiveQueue
from fastagi.service.live_state import QueueTasks
from fastagi.service.opening_state import OpeningState

#: Steps to which an expected wait is rounded, and up to which wait, in seconds.
_STEPS_S: Final = ((60, 5), (600, 30), (3600, 120))
_LONG_STEP_S: Final = 600
#: How often a wait is estimated again, in seconds.
_WAITS_EACH_S: Final = 3.0


class LiveNode:
    """Builds the entities of one Asterisk."""

    def __init__(
        self,
        *,
        asterisk: Callable[[], AsteriskStatus],
        queue_monitor: QueueMonitor,
        dialer: Dialer,
        call_tracker: CallTracker,
        expected_waits: ExpectedWaits,
        opening_state: OpeningState,
        clock: Clock,
        settings: Callable[[], Settings],
        targets: Callable[[], list[Target]],
        name: str = DEFAULT_NODE,
    ) -> None:
        self.name = name
        self._asterisk = asterisk
        self._queue_monitor = queue_monitor
        self._dialer = dialer
        self._call_tracker = call_tracker
        self._expected_waits = expected_waits
        self._opening_state = opening_state
        self._clock = clock
        self._settings = settings
        self._targets = targets
        #: The last expected waits, and when they were estimated, by queue.
        self._waits: dict[str, tuple[float, float | None]] = {}

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of the link to this Asterisk."""
        return self._asterisk()

    @property
    def queues_known(self) -> bool:
        """Whether the state of Asterisk's queues is known."""
        return self._queue_monitor.ready

    def agents(self, now: float) -> dict[str, LiveAgent]:
        """Return the agents who take callbacks, by interface."""
        wrapuptimes = {target.key: target.wrapuptime_s for target in self._targets()}
        agents = self._queue_monitor.queues.agents_now(wrapuptimes, now)
        names = self._names()

        def shown(keys: Sequence[str]) -> tuple[str, ...]:
            """Return names of queues as in the settings, where they are there."""
            return tuple(sorted(names.get(folded(key), key) for key in keys))

        return {
            interface: LiveAgent(
                name=agent.name,
                state=agent.state,
                since=None if agent.since is None else _utc(agent.since),
                queues=shown(agent.queues),
                paused_in=shown(agent.paused_in),
                pause_reason=agent.pause_reason,
            )
            for interface, agent in agents.items()
        }

    def _names(self) -> dict[str, str]:
        """Return the names of queues in the settings, by the folded name.

        For an extension it is the name of a queue whose callbacks it takes.
        """
        names = {folded(name): name for name in self._settings().queues}
        for target in self._targets():
            names.setdefault(
                folded(target.key),
                min(target.queues) if target.device else target.key,
            )
        return names

    def callers(self) -> dict[str, LiveCaller]:
        """Return those who wait in the queues, by uniqueid."""
        live = self._queue_monitor.queues
        ours = {
            running.attempt.member_channel_id: running
            for running in self._dialer.running.values()
        }
        is_withheld = self._call_tracker.calls.is_withheld
        found = {}
        for name in self._names().values():
            for position, caller in live.in_queue(name):
                running = ours.get(caller.uniqueid)
                is_callback = running is not None and live.is_member_leg(
                    caller.uniqueid, name
                )
                task = running.task if running is not None and is_callback else None
                number, words = caller.number, caller.name
                if task is not None:
                    number, words = task.number, task.name
                elif is_withheld(caller.uniqueid):
                    number = words = ""
                found[caller.uniqueid] = LiveCaller(
                    queue=name if task is None else task.queue,
                    number=number,
                    name=words,
                    position=position,
                    joined_at=_utc(caller.waits_since or caller.joined_at),
                    priority=caller.priority,
                    task_id=None if task is None else task.id,
                )
        return found

    def attempts(self) -> dict[int, LiveAttempt]:
        """Return the attempts in progress, by id."""
        now = self._clock.now()
        found = {}
        for running in self._dialer.running.values():
            running.note_stage(now)
            progress, task = running.progress, running.task
            rings = [one for one in progress.rung if one in progress.ringing]
            found[running.attempt.id] = LiveAttempt(
                task_id=task.id,
                queue=task.queue,
                number=task.number,
                name=task.name,
                stage=running.stage,
                since=running.stage_since or running.attempt.started_at,
                started_at=running.attempt.started_at,
                agent=progress.member or next(iter(rings), ""),
                client_first=progress.client_first,
            )
        return found

    def calls(self) -> dict[int, CallUnderWay]:
        """Return how far the attempts in progress are, by task id."""
        name_of = self._queue_monitor.queues.member_name
        dialled = {
            running.task.id
            for running in self._dialer.running.values()
            if running.progress.caller_dialled_at is not None
        }
        return {
            one.task_id: CallUnderWay(
                stage=one.stage,
                since=one.since,
                agent=one.agent,
                agent_name=name_of(one.agent),
                client_dialled=one.task_id in dialled,
            )
            for one in self.attempts().values()
        }

    def positions(self) -> dict[int, int]:
        """Return the positions of tasks that wait in Asterisk's line, by task id."""
        if not self._queue_monitor.ready:
            return {}
        found = {}
        for running in self._dialer.placeholders():
            position = self._queue_monitor.queues.position(
                running.target, running.attempt.member_channel_id
            )
            if position is not None:
                found[running.task.id] = position
        return found

    def queues(
        self,
        now: float,
        agents: Mapping[str, LiveAgent],
        tasks: Mapping[str, QueueTasks],
        why_not: Callable[[str], Reason | None],
    ) -> dict[str, LiveQueue]:
        """Return the queues of the settings, by name.

        Args:
            now: epoch seconds.
            agents: the agents, as :meth:`agents` returns them.
            tasks: what is known of the tasks of each queue.
            why_not: returns what keeps the tasks of a queue from being called.
        """
        live = self._queue_monitor.queues
        found = {}
        for name, settings in self._settings().queues.items():
            key = target_key(settings)
            state = self._opening_state.state_at(name, now)
            of_tasks = tasks.get(name, QueueTasks())
            callers = live.waiting(name)
            states: Counter[AgentState] = Counter()
            members = live.members(key)
            for member in members:
                agent = agents.get(member.interface)
                shown = AgentState.UNAVAILABLE if agent is None else agent.state
                if member.paused and shown is not AgentState.TALKING:
                    shown = AgentState.PAUSED
                states[shown] += 1
            found[name] = LiveQueue(
                open=state.is_open,
                open_since=self._opening_state.open_since(name, now),
                until=state.until,
                zone=str(settings.zone),
                target=key,
                known=key in live,
                waiting=len(callers),
                waiting_since=_earliest(
                    [caller.waits_since or caller.joined_at for caller in callers]
                ),
                in_line=sum(
                    running.task.queue == name
                    for running in self._dialer.placeholders()
                ),
                callbacks_waiting=of_tasks.waiting,
                callbacks_calling=of_tasks.calling,
                oldest_callback_since=of_tasks.oldest_since,
                next_due_at=of_tasks.next_due_at,
                why_no_callback=why_not(name) if of_tasks.is_any_due else None,
                agents=len(members),
                free=states[AgentState.FREE],
                ringing=states[AgentState.RINGING],
                busy=states[AgentState.TALKING],
                wrapping_up=states[AgentState.WRAPPING_UP],
                paused=states[AgentState.PAUSED],
                unavailable=states[AgentState.UNAVAILABLE],
                expected_wait_s=self._expected_wait_s(name),
                expected_callback_at=of_tasks.expected_at,
                reached_today=of_tasks.reached_today,
                not_reached_today=of_tasks.not_reached_today,
                median_time_to_reach_s=of_tasks.median_time_to_reach_s,
            )
        return found

    def _expected_wait_s(self, queue: str) -> float | None:
        """Return how long a caller is expected to wait who joins now, about."""
        now = self._clock.steady()
        known = self._waits.get(queue)
        if known is None or now - known[0] > _WAITS_EACH_S:
            wait_s = _rounded(self._expected_waits.next_caller_s(queue))
            known = self._waits[queue] = now, wait_s
        return known[1]

    def callback_waits_s(self, waiting: Sequence[WaitingTask]) -> Mapping[int, float]:
        """Return in how many seconds tasks are expected to be called, by task id."""
        return self._expected_waits.callback_waits_s(waiting)

    def next_change(self, now: float) -> float | None:
        """Return when the state changes although no event comes; None: it does not."""
        live = self._queue_monitor.queues
        ends = [live.next_free_at(t.key, t.wrapuptime_s, now) for t in self._targets()]
        ends.append(self._opening_state.next_change(now))
        return min((at for at in ends if at is not None and at > now), default=None)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _earliest(moments: Sequence[float]) -> datetime | None:
    return _utc(min(moments)) if moments else None


def _rounded(wait_s: float | None) -> float | None:
    """Return an expected wait, rounded so that it seldom changes by itself."""
    if wait_s is None:
        return None
    step = next((step for up_to, step in _STEPS_S if wait_s < up_to), _LONG_STEP_S)
    return float(round(wait_s / step) * step)
