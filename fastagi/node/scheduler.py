# SPDX-License-Identifier: MIT
"""Matches due tasks with agents.

It reacts to events (an agent becomes free, a task becomes due, a queue opens) and never
polls. One pass runs at a time; events during a pass cause another one. In queues where
live callers go first, it begins only as many callbacks as :class:`Capacity` allows. In
queues where clients keep their place, it puts a task in line when its turn is near
(:func:`turn_of`). With ``first: auto`` that depends on how many agents are to spare:
while they are enough, clients are dialled first, as in a queue with ``first: client``.
The dialer places the callbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from attrs import evolve, frozen

from twisted.logger import Logger

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.agent_keys import (
    AgentsToAsk,
    only_refused_are_free,
    refused_until,
)
from fastagi.domain.capacity import Capacity
from fastagi.domain.names import folded
from fastagi.domain.policy import First
from fastagi.domain.preferred_agent import why_over
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask
from fastagi.domain.turns import ANY_TURN, Turn, turn_of
from fastagi.domain.why_not_yet import Held, Outlook, QueueOutlook, until
from fastagi.node.dialer import Dialer, RunningAttempt
from fastagi.node.elsewhere import Agents, NamedAgent
from fastagi.node.hold import Hold
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.targets import Target, target_key
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.runtime.worker import MAX_SLEEP_S, GatedWorker, Worker
from fastagi.service.opening_state import OpeningState
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskAttempt, TaskStore

#: Pause after a queue was full though it seemed to have a place, in seconds.
_FULL_S: Final = 1.0
#: For how long at least a task that was passed over is not taken over from the line of
#: another Asterisk, in seconds.
_PASSED_OVER_S: Final = 30.0
#: Pause while another service begins attempts, which may count for the limits, in
#: seconds: until its COMMIT.
_BUSY_S: Final = 0.05
#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 2.0


@frozen
class _NothingDue:
    """The database had no due task with this turn or an earlier one."""

    last: Turn
    #: Until when this is so, in epoch seconds.
    until: float


@frozen
class _Kinds:
    """The names of queues of some kinds, in one version of the settings."""

    settings: Settings
    #: Whose clients are called from here.
    all: frozenset[str]
    #: Whose tasks wait in line among the callers.
    keep_place: frozenset[str]
    #: Whose tasks wait until it is known what the dialplan can do.
    need_dialplan: frozenset[str]
    #: With ``first: auto``.
    auto: frozenset[str]


class Others(Protocol):
    """The schedulers of the other Asterisks."""

    def look_first(
        self, scheduler: Scheduler, queues: frozenset[str]
    ) -> frozenset[str]:
        """Return the queues for which another one has a free agent, and is to look."""

    def have_agent_for(self, scheduler: Scheduler, task: CallbackTask) -> bool:
        """Whether another one would begin a task at once, for a free agent."""

    def logged_in_elsewhere(self, scheduler: Scheduler, queue: str) -> frozenset[str]:
        """Return the agents of a queue who are logged in and not paused there."""


class Scheduler:
    """Decides which task is called back when."""

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
        new_channel_id: Callable[[], str],
        busy: Callable[[], Collection[str]],
        events_stored: Callable[[], None],
        hold: Hold,
        is_connected: Callable[[], bool],
        may_call: Callable[[], bool],
        holds_lease: Callable[[], bool],
        dialplan_has_places: Callable[[], bool | None],
        dialplan_has_only: Callable[[], bool],
        why_no_trunk: Callable[[QueueSettings], Reason | None],
        after_read: Callable[[Callable[[], object]], None],
        being_called: Callable[[], Collection[str]],
        why_not_here: Callable[[], Reason | None] = lambda: None,
        others: Others | None = None,
    ) -> None:
        self._store = store
        self._queue_monitor = queue_monitor
        self._dialer = dialer
        self._clock = clock
        self._settings = settings
        self._opening_state = opening_state
        self._targets = targets
        self._new_channel_id = new_channel_id
        #: Returns the keys of clients who are in a call: they are not called.
        self._in_a_call = busy
        #: Returns the keys of clients whom attempts in progress are about.
        self._being_called = being_called
        #: Returns why no call may be placed on this Asterisk at all.
        self._why_not_here = why_not_here
        #: The schedulers of the other Asterisks; None: there are none.
        self._others = others
        #: Whether a pass is to come that will look for due tasks; and whether the last
        #: one has done so.
        self._will_look = False
        self._has_looked = False
        #: Whether something has happened since the last pass began, and whether
        #: something had happened before that pass; not only that others have looked.
        self._has_news = False
        self._looks_at_news = False
        #: Whether others have looked since the last pass began.
        self._others_have_looked = False
        #: Whether tasks were left to others, which were about to look for due tasks.
        self.leaves_to_others = False
        #: Called when tasks got an event in the database, but no attempt.
        self._events_stored = events_stored
        #: Returns whether certainly no other service has taken over the database. If
        #: not, `wake` is called as soon as that is known.
        self._may_call = may_call
        #: The same without renewing the lease.
        self._holds_lease = holds_lease
        self._is_connected = is_connected
        #: Whether the dialplan that Asterisk has loaded can put an attempt in line;
        #: None if that is not known yet.
        self._dialplan_has_places = dialplan_has_places
        #: Whether it can ring one agent of a queue only.
        self._dialplan_has_only = dialplan_has_only
        #: Returns why a queue's clients can not be called; None: they can.
        self._why_no_trunk = why_no_trunk
        #: When the next task is due in queues where live callers go first, in epoch
        #: seconds; None if unknown.
        self._next_due: float | None = None
        #: Queues where clients keep their place and no task is due, by target.
        self._nothing_due: dict[str, _NothingDue] = {}
        #: The first turn of tasks that operators moved, for which nobody has made way
        #: in the line yet; by target.
        self._moved: dict[str, Turn] = {}
        #: Queues that had a task that is assigned to an agent, since the start.
        self._with_assigned: frozenset[str] = frozenset()
        #: Until when no task is put in line, as the queue sent one away; by target, in
        #: epoch seconds.
        self._paused: dict[str, float] = {}
        #: Queues with `first: auto` that had enough agents to spare when it was last
        #: looked which tasks are due.
        self._clients_first: frozenset[str] = frozenset()
        #: The queues that were open at the last pass.
        self._open: frozenset[str] = frozenset()
        #: Tasks that were passed over when attempts were begun, by id; and queues that
        #: a limit kept from calls.
        self._held: dict[int, Held] = {}
        self._limited: dict[str, Held] = {}
        #: Until when tasks that were passed over here are not taken over from the line
        #: of another Asterisk for these agents, who were free then: by id and
        #: interface, in epoch seconds.
        self._passed_over: dict[int, dict[str, float]] = {}
        #: When a task may be begun besides those that are due and wait for an agent, in
        #: epoch seconds; None if there is none.
        self._again_at: float | None = None
        #: Called when what keeps tasks from being called may have changed, other than
        #: by a change of the queues.
        self.outlook_changed: Listeners[[]] = Listeners("a change of the outlook")
        self._known_kinds: _Kinds | None = None
        self._hold = hold
        self._worker = GatedWorker(
            Worker(
                self._place_calls,
                what="scheduling",
                background=background,
                clock=clock,
                trouble="no callback can be placed",
                passing=StoreUnavailable,
                retry_s=_STORE_RETRY_S,
            ),
            is_ready=lambda: queue_monitor.ready,
            after_read=after_read,
        )

    def enable(self) -> None:
        """Start placing calls."""
        self._has_news = True
        self._forget_due_times()
        self._worker.enable()
        self.outlook_changed.call()

    def disable(self) -> None:
        """Place no new calls; calls in progress continue."""
        self._worker.disable()
        self.outlook_changed.call()

    def stop(self) -> None:
        """Place no new calls until the process ends."""
        self._worker.stop()

    def sent_away(self, running: RunningAttempt, why: Reason) -> None:
        """Put nobody in a line for a while that has just sent a callback away."""
        full = why.code is Code.LINE_FULL
        delay = running.settings.retry_rules.member_retry_delay
        pause_s = _FULL_S if full else min(delay.total_seconds(), MAX_SLEEP_S)
        until = self._clock.epoch_s() + pause_s
        self._paused[folded(running.target)] = until
        self._log.warn(
            "task {task_id}: put out of the line of {target}: {reason}; the next is put"
            " in line after {pause_s:g} s",
            task_id=running.task.id,
            target=running.target,
            reason=why,
            pause_s=pause_s,
        )

    def announce(self) -> None:
        """`tasks_changed` is called soon, perhaps after that of other schedulers."""
        self._will_look = True

    def tasks_changed(self) -> None:
        """A task was added, changed or put back in line."""
        self._will_look = False
        self._forget_due_times()
        self.wake()

    def task_moved(self, task: CallbackTask) -> None:
        """Let a task that an operator moved take its new place in line.

        One that waits in line leaves it, and joins again. For another one, the last in
        line makes way if no more may join. `tasks_changed` is called after this.
        """
        if self._dialer.task_moved(task):
            return
        key = folded(target_key(self._settings().queue(task.queue)))
        self._moved[key] = min(task.turn, self._moved.get(key, task.turn))

    def wake(self) -> None:
        """Check whether a call can be placed, as something has changed."""
        self._has_news = True
        self._worker.wake()

    def others_have_looked(self) -> None:
        """Take the due tasks that were left to others and that they have left."""
        if self.leaves_to_others:
            self._others_have_looked = True
            self._worker.wake()

    @property
    def is_placing(self) -> bool:
        """Whether it may be beginning attempts now."""
        return self._worker.is_running

    @property
    def is_about_to_look(self) -> bool:
        """Whether it will look for due tasks at once, or does so now.

        It does not count if it looks only because others have looked: nothing has
        changed here, and two would leave tasks to each other without an end.
        """
        worker = self._worker
        looks = (worker.woken and self._has_news) or (
            worker.is_running and self._looks_at_news and not self._has_looked
        )
        return self._will_look or (worker.ready and looks)

    @property
    def has_only_followed(self) -> bool:
        """Whether it has just looked only because others have looked.

        No other one waited for that. Two that wait for a third would wake each other
        without an end.
        """
        return self._has_looked and not (self._looks_at_news or self._has_news)

    def has_agent_for(self, task: CallbackTask) -> bool:
        """Whether a due task would be begun here now, for a free agent."""
        queue, now = self._settings().queues.get(task.queue), self._clock.epoch_s()
        if queue is None or self._is_passed_over(task, self._target_of(queue), now):
            return False
        last = self.last_turns([task.queue]).get(task.queue)
        return last is not None and task.turn <= last

    def last_turns(self, names: Collection[str]) -> dict[str, Turn]:
        """Return the queues of which a task would be begun here now, for a free agent.

        For each the latest turn that such a task may have.
        """
        settings, now = self._settings().queues, self._clock.epoch_s()
        queues = [settings[name] for name in names if name in settings]
        if not queues or self._why_no_calls() is not None:
            return {}
        capacity = self._capacity(self._targets(), now)
        clients_first = self._queues_with_clients_first(capacity)
        targets = {target.key: target for target in self._targets()}
        found: dict[str, Turn] = {}
        for queue in queues:
            key = target_key(queue)
            if not capacity.can_take(folded(key)) or self._why_closed(queue, now):
                continue
            last: Turn | Reason = ANY_TURN
            if self._is_put_in_line(queue, clients_first):
                last = self._line_or_why_not(targets[key])
            if isinstance(last, Turn):
                found[queue.name] = last
        return found

    def agents_for_others(self) -> dict[str, Agents]:
        """Return what others look at when they leave tasks here, by queue."""
        queues, now = self._settings().queues, self._clock.epoch_s()
        last = self.last_turns(queues)
        found: dict[str, Agents] = {}
        for target in self._targets() if self._why_no_calls() is None else ():
            live = self._queue_monitor.queues
            agents = Agents(
                last=None,
                free=self._free(target.key, target.wrapuptime_s, now),
                logged_in=live.who_is_logged_in(target.key),
                named=tuple(
                    NamedAgent(one.interface, one.name)
                    for one in live.members(target.key)
                    if self._dialplan_has_only()
                ),
            )
            for name in target.queues:
                found[name] = evolve(agents, last=last.get(name))
        return found

    def _is_passed_over(self, task: CallbackTask, target: Target, now: float) -> bool:
        """Whether a task was passed over for each agent who is free now."""
        over = self._passed_over.get(task.id)
        return over is not None and all(
            over.get(agent, 0.0) > now
            for agent in self._free(target.key, target.wrapuptime_s, now)
        )

    def _target_of(self, queue: QueueSettings) -> Target:
        key = target_key(queue)
        return next(target for target in self._targets() if target.key == key)

    def _forget_due_times(self) -> None:
        self._next_due = None
        self._nothing_due.clear()

    @property
    def _is_ready(self) -> bool:
        """Whether calls may be placed, and it is known which agents are free."""
        return self._worker.ready

    # -- what keeps tasks from being called ----------------------------------

    def outlook(self) -> Outlook:
        """Return what keeps tasks from being called at this moment.

        It asks the same functions by which a pass begins attempts.
        """
        now = self._clock.epoch_s()
        why = self._why_no_calls()
        if why is None and not self._holds_lease():
            why = because(Code.LEASE_NOT_HELD)
        capacity = self._capacity(self._targets(), now)
        clients_first = self._queues_with_clients_first(capacity)
        by_key = {target.key: target for target in self._targets()}
        queues = {}
        for name, queue in self._settings().queues.items():
            in_line = self._is_put_in_line(queue, clients_first)
            turn = self._line_or_why_not(by_key[target_key(queue)]) if in_line else None
            limit = self._limited.get(name)
            no_agent: Reason | None = None
            if limit is not None and _utc(now) < limit.until:
                no_agent = limit.why
            elif isinstance(turn, Reason):
                no_agent = turn
            elif not in_line:
                no_agent = self._why_no_agent(queue, capacity, now)
            queues[name] = QueueOutlook(
                closed=self._why_closed(queue, now),
                opens_at=self._opening_state.opens_at(name, now),
                no_agent=no_agent,
                last=turn if isinstance(turn, Turn) else ANY_TURN,
                ahead=self._ahead_in_line(target_key(queue)) if in_line else 0,
                chosen_first=not in_line,
                ask_alone=self._ask_alone(name, capacity, now, in_line=in_line),
            )
        return Outlook(
            now=now,
            all_tasks=why,
            queues=queues,
            busy=frozenset(self._busy()),
            held={i: held for i, held in self._held.items() if _utc(now) < held.until},
        )

    def _ask_alone(
        self, queue: str, capacity: Capacity, now: float, *, in_line: bool
    ) -> frozenset[str] | None:
        """Return who may be asked for tasks assigned to them; None: no task is."""
        if queue not in self._with_assigned:
            return None
        free: Capacity | frozenset[str] = capacity
        if in_line:
            key = target_key(self._settings().queue(queue))
            target = next(t for t in self._targets() if t.key == key)
            free = self._free(key, target.wrapuptime_s, now)
        agents = self._agents_to_ask([queue], free, in_line=in_line)
        return agents[queue].may_ask_alone

    def _why_no_calls(self) -> Reason | None:
        """Return what keeps all tasks from being called; None: nothing."""
        if not self._is_connected():
            return because(Code.NO_LINK)
        if (why := self._why_not_here()) is not None:
            return why
        if not self._queue_monitor.ready:
            return because(Code.QUEUES_NOT_KNOWN)
        if not self._is_ready:
            return because(Code.CATCHES_UP)
        return because(Code.CALLS_ON_HOLD) if self._hold.holds() else None

    def _why_closed(self, queue: QueueSettings, now: float) -> Reason | None:
        """Return why no task of a queue is called, however many agents are free.

        While it is not known what the dialplan can do, tasks wait that keep their
        place, and those whose clients may be called first.
        """
        if (closed := self._opening_state.why_closed(queue.name, now)) is not None:
            return closed
        if self._waits_for_dialplan(queue):
            return because(Code.DIALPLAN_NOT_KNOWN)
        return self._why_no_trunk(queue)

    def _waits_for_dialplan(self, queue: QueueSettings) -> bool:
        return _needs_dialplan(queue) and self._dialplan_has_places() is None

    def _why_no_agent(
        self, queue: QueueSettings, capacity: Capacity, now: float
    ) -> Reason | None:
        """Return why one more callback that rings a free agent can not begin."""
        key = target_key(queue)
        if capacity.can_take(folded(key)):
            return None
        live = self._queue_monitor.queues
        if not live.logged_in(key):
            return because(Code.AGENTS_AWAY)
        if callers := live.waiting(key):
            return because(Code.LIVE_CALLERS_FIRST, callers=len(callers))
        target = next(t for t in self._targets() if t.key == key)
        is_free = self._free(key, target.wrapuptime_s, now)
        return because(Code.AGENTS_CLAIMED if is_free else Code.AGENTS_BUSY)

    def _is_put_in_line(
        self, queue: QueueSettings, clients_first: Collection[str]
    ) -> bool:
        """Whether tasks of a queue wait in Asterisk's line for an agent."""
        return (
            queue.keeps_place
            and bool(self._dialplan_has_places())
            and queue.name not in clients_first
        )

    def _ahead_in_line(self, target: str) -> int:
        in_line = sum(
            folded(running.target) == folded(target)
            for running in self._dialer.placeholders()
        )
        return len(self._queue_monitor.queues.waiting(target)) + in_line

    def _callable(self, now: float, *, in_line: bool) -> frozenset[str]:
        """Return the queues whose tasks are called as soon as there is an agent.

        Args:
            now: the current time, in epoch seconds.
            in_line: whether those whose tasks wait in Asterisk's line, or the others.
        """
        kinds, has_places = self._kinds(), self._dialplan_has_places()
        put_in_line = frozenset[str]()
        if has_places:
            put_in_line = kinds.keep_place - self._clients_first
        found = self._opening_state.open_queues(now) & kinds.all
        found = found & put_in_line if in_line else found - put_in_line
        if has_places is None:
            found -= kinds.need_dialplan
        queues = self._settings().queues
        return frozenset(n for n in found if self._why_no_trunk(queues[n]) is None)

    def _kinds(self) -> _Kinds:
        """Return the kinds of the queues in the settings in force."""
        settings = self._settings()
        if self._known_kinds is None or self._known_kinds.settings is not settings:
            self._known_kinds = _kinds_of(settings)
        return self._known_kinds

    def _with_agent(self, capacity: Capacity, now: float) -> frozenset[str]:
        """Return the queues with an agent who is free for one more callback."""
        free = {t.key for t in self._targets() if capacity.can_take(folded(t.key))}
        if not free:
            return frozenset()
        queues = self._settings().queues
        return frozenset(
            name
            for name in self._callable(now, in_line=False)
            if target_key(queues[name]) in free
        )

    # -- a pass --------------------------------------------------------------

    async def _place_calls(self) -> float | None:
        """Place as many calls as possible now.

        Returns:
            In how many seconds to do it again; None: only after a change.
        """
        if not self._is_ready:
            return None
        self._has_looked = False
        # Without both it was time to look.
        self._looks_at_news = self._has_news or not self._others_have_looked
        self._has_news = self._others_have_looked = False
        due_at = await self._begin_due_tasks()
        self._has_looked = True
        self.outlook_changed.call()
        if due_at is None or not self._is_ready:
            return None
        return due_at - self._clock.epoch_s()

    async def _begin_due_tasks(self) -> float | None:
        """Begin due tasks; return the time of :meth:`_next_change`."""
        now = self._clock.epoch_s()
        settings = self._settings()
        targets = self._targets()
        self._again_at = None
        self._update_open_queues(now)
        self._update_placeholders(now)
        if self._why_no_calls() is not None:
            return self._next_change(targets, now)
        at_first: Capacity | None = None
        if self._kinds().auto or self._others is not None:
            at_first = self._capacity(targets, now)
            self._update_clients_first(at_first)
        in_line = self._callable(now, in_line=True)
        self.leaves_to_others = False
        if at_first is not None:
            in_line -= self._left_to_others(targets, in_line, at_first)
        for target in targets:
            self._make_way(target)
            queues = target.queues & in_line
            if queues and not await self._put_in_line(target, queues):
                return self._next_change(targets, self._clock.epoch_s())
        now = self._clock.epoch_s()
        if self._next_due is not None and _is_ahead(self._next_due, now):
            return self._next_change(targets, now)
        capacity = self._capacity(targets, now)
        self._update_clients_first(capacity)
        while spare := self._with_agent(capacity, now):
            if not self._may_call():
                return self._next_change(targets, now)
            agents = partial(self._agents_to_ask, spare, capacity)
            begun = await self._begin_attempt(spare, agents, chosen_first=True)
            if begun is None:
                break
            queue = self._settings().queue(begun.task.queue)
            # Agents may have left and callers may have joined during the COMMIT.
            now = self._clock.epoch_s()
            why_not = self._reason_not_to_place(begun, now)
            capacity = self._capacity(targets, now)
            skips = self._skips(begun)
            client_first = _calls_client_first(queue, capacity)
            if why_not is not None:
                self._dialer.drop(begun, queue, why_not)
            elif not capacity.take(folded(target_key(queue)), skips):
                self._dialer.drop(begun, queue, because(Code.AGENT_TAKEN))
            else:
                self._dialer.place(begun, queue, skips=skips, client_first=client_first)
            self._update_clients_first(capacity)
            if not self._is_ready or self._hold.holds():
                return self._next_change(targets, now)
        else:
            # No agent is free. The next change of a queue calls `wake`.
            return self._next_change(targets, now)
        at_once = self._callable(now, in_line=False)
        at = await self._store.next_due(
            at_once,
            _utc(now),
            busy_keys=self._busy(),
            call_limits=settings.call_limits,
        )
        if self._again_at is not None or (at is not None and at.timestamp() <= now):
            # A task is due that waits for agents of its own.
            await self._note_due_besides(at_once, _utc(now))
        if not self._worker.woken:
            # Another process may add tasks, and this one gets no notice of that.
            latest = now + MAX_SLEEP_S
            self._next_due = min(at.timestamp(), latest) if at else latest
        return self._next_change(targets, now)

    def _update_clients_first(self, agents: Capacity) -> None:
        """Find out in which queues with ``first: auto`` clients are dialled first."""
        clients_first = self._queues_with_clients_first(agents)
        if clients_first != self._clients_first:
            self._clients_first = clients_first
            # They were found for other queues.
            self._forget_due_times()
            self.wake()

    def _queues_with_clients_first(self, agents: Capacity) -> frozenset[str]:
        """Return the queues with ``first: auto`` that have enough agents to spare."""
        queues = self._settings().queues
        return frozenset(
            name
            for name in self._kinds().auto
            if _calls_client_first(queues[name], agents)
        )

    def _agents_to_ask(
        self,
        queues: Iterable[str],
        free: Capacity | frozenset[str],
        *,
        in_line: bool = False,
    ) -> dict[str, AgentsToAsk]:
        """Return who may be asked, for the queues whose agents may refuse a task."""
        agents = {}
        for name in queues:
            queue = self._settings().queue(name)
            key, rules = target_key(queue), queue.retry_rules.agent_keys
            one_phone = bool(queue.target_extension)
            preferred = (
                queue.preferred_agent.rules
                if self._dialplan_has_only() and not one_phone
                else None
            )
            if rules or preferred or name in self._with_assigned:
                agents[name] = AgentsToAsk(
                    rules=rules,
                    preferred=preferred,
                    free=free.spare(folded(key))
                    if isinstance(free, Capacity)
                    else free,
                    logged_in=self._queue_monitor.queues.who_is_logged_in(key),
                    elsewhere=self._logged_in_elsewhere(name),
                    in_line=in_line,
                    one_alone=self._dialplan_has_only() and not one_phone,
                )
        return agents

    def _logged_in_elsewhere(self, queue: str) -> frozenset[str]:
        if self._others is None:
            return frozenset()
        return self._others.logged_in_elsewhere(self, queue)

    def who_is_logged_in(self, name: str) -> frozenset[str]:
        """Return the agents who may be rung here for a queue, if calls are placed."""
        queue = self._settings().queues.get(name)
        if queue is None or self._why_no_calls() is not None:
            return frozenset()
        return self._queue_monitor.queues.who_is_logged_in(target_key(queue))

    def _skips(self, begun: TaskAttempt) -> frozenset[str]:
        """Return the agents who are not rung for an attempt."""
        if begun.preferred is not None:
            key = target_key(self._settings().queue(begun.task.queue))
            logged_in = self._queue_monitor.queues.who_is_logged_in(key)
            return logged_in - {begun.preferred.interface}
        rules = self._settings().queue(begun.task.queue).retry_rules.agent_keys
        if rules is None:
            return frozenset()
        return frozenset(refused_until(begun.answers, rules, self._clock.now()))

    async def _begin_attempt(
        self,
        queues: frozenset[str],
        agents: Callable[[], Mapping[str, AgentsToAsk]],
        last: Turn = ANY_TURN,
        *,
        chosen_first: bool = False,
    ) -> TaskAttempt | None:
        """Store an attempt of the first task in line; None if no task is due.

        Args:
            queues: the queues whose tasks may be called now.
            agents: tells who may be asked, for queues whose agents may refuse a task.
            last: a task with a later turn is not begun.
            chosen_first: whether tasks with a chosen time come before all others.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        settings = self._settings()
        rules = {name: settings.number_rules(settings.queue(name)) for name in queues}
        while True:
            due = await self._store.begin_attempts(
                queues,
                [self._new_channel_id()],
                self._clock.now(),
                busy_keys=self._busy(),
                call_limits=settings.call_limits,
                number_rules=rules,
                last=last,
                chosen_first=chosen_first,
                agents=agents(),
            )
            if due.busy:
                busy_until = self._clock.epoch_s() + _BUSY_S
                self._again_at = min(busy_until, self._again_at or busy_until)
                return None
            self._with_assigned |= due.unknown_agents
            self._log_not_begun(due.not_begun, due.notes)
            self._note_held(queues, due.held, due.limited)
            if due.held_until is not None:
                held_until = due.held_until.timestamp()
                self._again_at = min(held_until, self._again_at or held_until)
            if due.begun:
                return due.begun[0]
            if not due.not_begun and not due.unknown_agents:
                return None

    def _note_held(
        self,
        queues: Collection[str],
        held: Mapping[int, Held],
        limited: Mapping[str, Held],
    ) -> None:
        """Remember why due tasks of some queues, asked for just now, were not begun."""
        others = {i: one for i, one in self._held.items() if one.queue not in queues}
        self._held = others | dict(held)
        if self._others is not None:
            self._note_passed_over(held)
        rest = {name: one for name, one in self._limited.items() if name not in queues}
        self._limited = rest | dict(limited)

    def _note_passed_over(self, held: Mapping[int, Held]) -> None:
        now = self._clock.epoch_s()
        self._passed_over = {
            task_id: over
            for task_id, over in self._passed_over.items()
            if max(over.values(), default=0.0) > now
        }
        for task_id, one in held.items():
            target = self._target_of(self._settings().queue(one.queue))
            free = self._free(target.key, target.wrapuptime_s, now)
            until = max(one.until.timestamp(), now + _PASSED_OVER_S)
            over = self._passed_over.setdefault(task_id, {})
            over.update(dict.fromkeys(free, until))

    def _reason_not_to_place(self, begun: TaskAttempt, now: float) -> Reason | None:
        """Return why an attempt that has just been stored must not be placed."""
        if not self._may_call():
            # The process may have been frozen since the COMMIT.
            return because(Code.LEASE_RAN_OUT)
        self._update_open_queues(now)
        if not self._is_ready:
            return because(Code.SERVICE_STOPS)
        if self._hold.holds():
            return because(Code.ASTERISK_TAKES_NO_CALLS)
        if begun.task.queue not in self._open:
            return because(Code.QUEUE_CLOSED)
        if no_trunk := self._why_no_trunk(self._settings().queue(begun.task.queue)):
            return no_trunk
        if self._settings().plan.key(begun.task.number) in self._in_a_call():
            return because(Code.CLIENT_RANG_IN)
        if begun.task.number_key in self._being_called():
            return because(Code.CLIENT_BEING_CALLED)
        return None

    # -- in line -----------------------------------------------------------

    def _update_placeholders(self, now: float) -> None:
        """Store in `LiveQueues` which place each placeholder has.

        A placeholder is withdrawn if its task is too old, if Asterisk does not have its
        trunk, or if no agent is logged in and not paused. It ends as a try in vain if
        the agents' phones rang for the ring time of a try.
        """
        queues = self._queue_monitor.queues
        self._give_to_any_agent(now)
        for running in self._dialer.placeholders():
            self._note_place(running)
            target = running.target
            if running.task.expires_at.timestamp() <= now:
                self._dialer.withdraw_ringing(running, because(Code.TASK_TOO_OLD))
            elif (no_trunk := self._why_no_trunk(running.settings)) is not None:
                self._dialer.withdraw_ringing(running, no_trunk)
            elif target in queues and not queues.logged_in(target):
                self._dialer.withdraw_ringing(running, because(Code.NO_AGENT_LOGGED_IN))
            elif self._dialer.ring_time_left_s(running) == 0:
                self._dialer.end_try(running)
            elif running.moved and not running.progress.ringing:
                self._take_new_place(running, running.moved)
            elif (agent := self._assigned_and_away(running)) is not None:
                why = because(Code.ASSIGNED_AGENT_AWAY, interface=agent)
                self._dialer.withdraw_ringing(running, why)
            elif not running.progress.ringing and self._holds_up(running, now):
                why = because(Code.ONLY_REFUSING_AGENTS_FREE)
                if running.preferred is not None:
                    interface = running.preferred.interface
                    why = because(Code.PREFERRED_AGENT_BUSY, interface=interface)
                self._dialer.withdraw_ringing(running, why)
        for target in {running.target for running in self._dialer.placeholders()}:
            self._make_room(target)
        if self._others is not None:
            for one in self._targets():
                self._leave_to_others(one)

    def _take_new_place(self, running: RunningAttempt, task: CallbackTask) -> None:
        """Let a placeholder leave the line, unless it has its new place already."""
        queues, former = self._queue_monitor.queues, running.task.turn
        channel = running.attempt.member_channel_id
        position = queues.position_of(task.turn, running.target, without=channel)
        if (
            task.turn <= former
            and task.turn.priority == former.priority
            and queues.position(running.target, channel) == position
        ):
            running.task, running.moved = (
                evolve(
                    running.task,
                    place_at=task.place_at,
                    place_priority=task.place_priority,
                    place_chosen=task.place_chosen,
                ),
                None,
            )
            self._note_place(running)
        else:
            self._dialer.withdraw_ringing(running, because(Code.PLACE_CHANGED))

    def _make_way(self, target: Target) -> None:
        """Withdraw the last placeholder if a task that was moved can not join the line.

        No more may wait in line than agents are logged in, or than ``maxlen`` allows.
        """
        turn = self._moved.pop(folded(target.key), None)
        if turn is None:
            return
        queues = self._queue_monitor.queues
        in_line = [
            running
            for running in self._dialer.placeholders()
            if folded(running.target) == folded(target.key) and not running.ending
        ]
        if not in_line:
            return
        is_full = queues.room(target.key) == 0
        last = max(in_line, key=lambda running: running.next_turn)
        if (
            (is_full or len(in_line) >= queues.logged_in(target.key))
            and turn < last.next_turn
            and not last.progress.ringing
        ):
            self._dialer.withdraw_ringing(last, because(Code.WAY_MADE))

    def _assigned_and_away(self, running: RunningAttempt) -> str | None:
        """Return the agent to whom a placeholder is assigned, if nobody can ring it."""
        agent = running.preferred
        if agent is None or not agent.assigned or running.progress.ringing:
            return None
        logged_in = self._queue_monitor.queues.who_is_logged_in(running.target)
        return None if agent.interface in logged_in else agent.interface

    def _holds_up(self, running: RunningAttempt, now: float) -> bool:
        """Whether only agents are free who are not rung for a placeholder."""
        free = self._free(running.target, running.settings.wrapuptime_s, now)
        return only_refused_are_free(free, free - running.may_ring(free))

    def _give_to_any_agent(self, now: float) -> None:
        """Withdraw attempts that do not wait for one agent any more.

        The next attempt of the task, which follows at once, asks any agent.
        """
        for running in self._dialer.asking_one_agent():
            agent = running.preferred
            if agent is None or running.target not in self._queue_monitor.queues:
                continue
            why = why_over(
                agent,
                _utc(now),
                is_logged_in=agent.interface
                in self._queue_monitor.queues.who_is_logged_in(running.target),
                was_asked=running.progress.rang_in_vain(agent.interface),
            )
            if why is not None and not running.progress.ringing:
                self._dialer.withdraw_ringing(running, why)

    def _make_room(self, target: str) -> None:
        """Withdraw a placeholder if its queue is full, unless its client is next.

        Asterisk refuses callers of a queue with ``maxlen`` that is full. One for which
        an agent's phone rings is about to leave the line.
        """
        queues = self._queue_monitor.queues
        in_line = [
            running
            for running in self._dialer.placeholders()
            if folded(running.target) == folded(target)
        ]
        if queues.room(target) != 0 or any(running.ending for running in in_line):
            return
        waiting = [running for running in in_line if not running.progress.ringing]
        if not waiting:
            return
        last = max(waiting, key=lambda running: running.task.turn)
        others = [caller.turn for caller in queues.waiting(target)]
        others += [running.task.turn for running in in_line if running is not last]
        if others and min(others) < last.task.turn:
            self._dialer.withdraw_ringing(last, because(Code.LINE_NEEDED))

    def _free(self, target: str, wrapuptime_s: float, now: float) -> frozenset[str]:
        return self._queue_monitor.queues.free(target, wrapuptime_s, now)

    def _note_place(self, running: RunningAttempt) -> None:
        self._queue_monitor.queues.placeholder(
            running.target,
            running.attempt.member_channel_id,
            running.task.turn,
        )

    def _line_or_why_not(self, target: Target) -> Turn | Reason:
        """Return the latest turn that a task may have to be put in line now.

        Returns the reason if no task may be. Asterisk inserts a caller at a position. A
        position means something only if nobody is on the way, so a placeholder must
        have joined before the next one is placed.
        """
        queues = self._queue_monitor.queues
        placeholders = [
            running
            for running in self._dialer.placeholders()
            if folded(running.target) == folded(target.key)
        ]
        for running in placeholders:
            if not queues.is_waiting(target.key, running.attempt.member_channel_id):
                return because(Code.ANOTHER_JOINS_LINE)
        paused_until = self._paused.get(folded(target.key), 0.0)
        if _is_ahead(paused_until, self._clock.epoch_s()):
            return until(Code.LINE_REFUSED, paused_until)
        if any(
            running.moved and (running.ending or running.closing)
            for running in self._dialer.running.values()
            if folded(running.target) == folded(target.key)
        ):
            # Its place is free already, and it is the next one that may join.
            return because(Code.ANOTHER_JOINS_LINE)
        live = [caller.turn for caller in queues.waiting(target.key)]
        agents = queues.logged_in(target.key)
        if not agents:
            return because(Code.AGENTS_AWAY)
        last = turn_of(live, len(placeholders), agents)
        if last is None:
            return because(Code.TURN_NOT_NEAR, ahead=len(live) + len(placeholders))
        room = queues.room(target.key)
        if room is None or room > 1:
            return last
        if not room or placeholders:
            return because(Code.LINE_IS_FULL)
        # The last place is for a live caller, unless the client is next.
        return min([last, *live])

    def _left_to_others(
        self, targets: list[Target], in_line: frozenset[str], capacity: Capacity
    ) -> frozenset[str]:
        """Return the queues whose tasks are not put in line here yet.

        If no agent is free here, others with a free agent look first; what they leave
        is put in line here.
        """
        if self._others is None:
            return frozenset()
        of = {target.key: target.queues & in_line for target in targets}
        busy = [key for key in of if of[key] and not capacity.can_take(folded(key))]
        queues = frozenset[str]().union(*(of[key] for key in busy))
        left = self._others.look_first(self, queues) if queues else frozenset[str]()
        self.leaves_to_others = bool(left)
        for key in busy:
            if of[key] & left:
                # It was found for other queues.
                self._nothing_due.pop(folded(key), None)
        return left

    def _leave_to_others(self, target: Target) -> None:
        """Withdraw the first placeholder if an agent is free for it elsewhere only."""
        in_line = [
            running
            for running in self._dialer.placeholders()
            if folded(running.target) == folded(target.key)
        ]
        if (
            self._others is None
            or not in_line
            or any(running.ending for running in in_line)
            or self._free(target.key, target.wrapuptime_s, self._clock.epoch_s())
        ):
            return
        for running in sorted(in_line, key=lambda running: running.task.turn):
            if (
                running.preferred is None
                and not running.progress.ringing
                and self._others.have_agent_for(self, running.task)
            ):
                self._dialer.withdraw_ringing(running, because(Code.AGENT_ELSEWHERE))
                return

    async def _put_in_line(self, target: Target, queues: frozenset[str]) -> bool:
        """Put tasks in line whose turn is near.

        Returns:
            Whether calls may still be placed.
        """
        while isinstance(last := self._line_or_why_not(target), Turn):
            if self._has_nothing_due(target, last):
                return True
            if not self._may_call():
                return False
            asked_at = self._clock.now()
            free = self._free(target.key, target.wrapuptime_s, asked_at.timestamp())
            agents = partial(self._agents_to_ask, queues, free, in_line=True)
            begun = await self._begin_attempt(queues, agents, last)
            if begun is None and self._again_at is not None:
                # A task may be begun when another agent is free.
                await self._note_due_besides(queues, asked_at)
                return True
            if begun is None:
                await self._note_nothing_due(target, queues, last, asked_at)
                return True
            queue = self._settings().queue(begun.task.queue)
            why_not = self._reason_not_to_place(begun, self._clock.epoch_s())
            if why_not is None and not self._queue_monitor.queues.logged_in(target.key):
                why_not = because(Code.NO_AGENT_LOGGED_IN)
            if why_not is not None:
                self._dialer.drop(begun, queue, why_not)
                return self._is_ready and not self._hold.holds()
            position = self._queue_monitor.queues.position_of(
                begun.task.turn, target.key
            )
            self._dialer.place(begun, queue, position, self._skips(begun))
            self._note_place(self._dialer.running[begun.attempt.channel_id])
        return True

    def _has_nothing_due(self, target: Target, last: Turn) -> bool:
        """Whether the database is known to have no due task up to this turn."""
        known = self._nothing_due.get(folded(target.key))
        return (
            known is not None
            and last <= known.last
            and _is_ahead(known.until, self._clock.epoch_s())
        )

    async def _note_nothing_due(
        self,
        target: Target,
        queues: frozenset[str],
        last: Turn,
        asked_at: datetime,
    ) -> None:
        """Remember that no task up to this turn is due, and until when."""
        at = await self._store.next_due(
            queues,
            asked_at,
            busy_keys=self._busy(),
            call_limits=self._settings().call_limits,
            after_now=True,
        )
        if not self._worker.woken:
            latest = asked_at.timestamp() + MAX_SLEEP_S
            until = min(at.timestamp(), latest) if at else latest
            self._nothing_due[folded(target.key)] = _NothingDue(last, until)

    async def _note_due_besides(
        self, queues: Collection[str], asked_at: datetime
    ) -> None:
        """Find out when the next task is due, as one is due that waits for an agent.

        It is not stored in `_next_due` or `_nothing_due`: the task that waits is due,
        and may be begun at any change of the agents.
        """
        at = await self._store.next_due(
            queues,
            asked_at,
            busy_keys=self._busy(),
            call_limits=self._settings().call_limits,
            after_now=True,
        )
        if at is not None:
            due_at = at.timestamp()
            self._again_at = min(due_at, self._again_at or due_at)

    # -- what may be called now --------------------------------------------

    def _busy(self) -> set[str]:
        """Return the keys of clients who must not be called now."""
        return {*self._in_a_call(), *self._being_called()}

    def _log_not_begun(
        self, tasks: list[CallbackTask], notes: Mapping[int, Reason]
    ) -> None:
        """Log the tasks that ended or were delayed when they were due, and notes."""
        for task_id, note in notes.items():
            self._log.info("task {task_id}: {note}", task_id=task_id, note=note)
        for task in tasks:
            self._log.info(
                "task {task_id}: not called: {reason}",
                task_id=task.id,
                queue=task.queue,
                status=task.status.value,
                reason=task.reason,
            )
        if tasks or notes:
            self._events_stored()

    def _update_open_queues(self, now: float) -> None:
        """Find out which queues are open, and stop ringing agents for closed ones."""
        is_open = self._opening_state.open_queues(now)
        if is_open - self._open:
            # Tasks have waited for the queue to open.
            self._forget_due_times()
        self._open = is_open
        self._dialer.end_ringing(
            lambda queue: self._opening_state.state_at(queue, now).is_open,
            because(Code.QUEUE_CLOSED),
        )

    def _capacity(self, targets: list[Target], now: float) -> Capacity:
        queues = self._queue_monitor.queues
        free: dict[str, frozenset[str]] = {}
        claimed: dict[str, int] = {}
        # Count the live callers of every queue, also of queues without callbacks, as
        # an agent may be a member of several.
        for name in queues.with_callers():
            if callers := queues.waiting(name):
                free[folded(name)] = queues.free(name, 0.0, now)
                claimed[folded(name)] = len(callers)
        waiting = self._dialer.waiting_for_member()
        for target in targets:
            key = folded(target.key)
            free[key] = queues.free(target.key, target.wrapuptime_s, now)
            for running in waiting.get(target.key, ()):
                claims = key
                if running.skips or running.preferred:
                    claims = f"{key}, {running.attempt.channel_id}"
                    free[claims] = running.may_ring(free[key])
                claimed[claims] = claimed.get(claims, 0) + 1
        return Capacity(free, claimed)

    def _next_change(self, targets: list[Target], now: float) -> float | None:
        """Return when to check again although no event comes, in epoch seconds.

        Returns None if there is no such time.
        """
        queues = self._queue_monitor.queues
        moments = [queues.next_free_at(t.key, t.wrapuptime_s, now) for t in targets]
        moments += [
            self._next_due,
            self._again_at,
            self._opening_state.next_change(now),
        ]
        moments += [nothing.until for nothing in self._nothing_due.values()]
        moments += self._paused.values()
        for running in self._dialer.placeholders():
            moments.append(running.task.expires_at.timestamp())
            ring_time_left_s = self._dialer.ring_time_left_s(running)
            if ring_time_left_s is not None:
                moments.append(now + ring_time_left_s)
        moments += [
            running.preferred.until.timestamp()
            for running in self._dialer.asking_one_agent()
            if running.preferred is not None
        ]
        return min((m for m in moments if m is not None and m > now), default=None)


def _kinds_of(settings: Settings) -> _Kinds:
    queues = settings.queues.items()
    return _Kinds(
        settings=settings,
        all=frozenset(settings.queues),
        keep_place=frozenset(name for name, queue in queues if queue.keeps_place),
        need_dialplan=frozenset(n for n, queue in queues if _needs_dialplan(queue)),
        auto=frozenset(name for name, queue in queues if queue.first is First.AUTO),
    )


def _needs_dialplan(queue: QueueSettings) -> bool:
    return queue.keeps_place or queue.may_call_client_first


def _calls_client_first(queue: QueueSettings, agents: Capacity) -> bool:
    """Whether the client of a callback that begins now is dialled before an agent."""
    if queue.first is First.AUTO:
        return agents.count(folded(target_key(queue))) >= queue.auto_agents
    return queue.first is First.CLIENT


def _is_ahead(at: float, now: float) -> bool:
    """Whether a time is in the future.

    A time more than MAX_SLEEP_S ahead was computed before the clock was set back, so it
    does not count.
    """
    return now < at <= now + MAX_SLEEP_S


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
