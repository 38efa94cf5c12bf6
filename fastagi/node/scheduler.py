# SPDX-License-Identifier: MIT
"""Matches due tasks with free agents.

It reacts to events (an agent becomes free, a task becomes due, a queue opens) and never
polls. One pass runs at a time; events during a pass cause another one. It begins only
as many callbacks as :class:`Capacity` allows, and the dialer places them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Final

from twisted.logger import Logger

from fastagi.config.model import Settings
from fastagi.domain.capacity import Capacity
from fastagi.domain.names import folded
from fastagi.domain.reason import Code, because
from fastagi.domain.task import CallbackTask
from fastagi.node.dialer import Dialer
from fastagi.node.hold import Hold
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.targets import Target, target_key
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import MAX_SLEEP_S, Worker
from fastagi.service.opening_state import OpeningState
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 2.0


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
        put_off: Callable[[], None],
        hold: Hold,
        may_call: Callable[[], Awaitable[bool]],
        after_read: Callable[[Callable[[], object]], None],
    ) -> None:
        self._store = store
        self._queue_monitor = queue_monitor
        self._dialer = dialer
        self._clock = clock
        self._settings = settings
        self._opening_state = opening_state
        self._targets = targets
        self._new_channel_id = new_channel_id
        #: Keys of clients who are in a call with us: they are not called.
        self._in_a_call = busy
        #: Called when tasks ended, or wait, instead of being called.
        self._put_off = put_off
        #: Makes sure that no other service has taken the database over.
        self._may_call = may_call
        #: Calls a function when the events that came together are all taken in.
        self._after_read = after_read
        self._enabled = False
        self._is_waking = False
        #: No task is due before; None when that is not known.
        self._next_due: float | None = None
        #: The queues that were open at the last pass.
        self._open: frozenset[str] = frozenset()
        self._hold = hold
        self._worker = Worker(
            self._look,
            what="scheduling",
            background=background,
            clock=clock,
            trouble="no callback can be placed",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def enable(self) -> None:
        """Start placing calls."""
        self._enabled = True
        self.tasks_changed()

    def disable(self) -> None:
        """Place no new calls; calls in progress continue."""
        self._enabled = False
        self._worker.cancel_timer()

    def stop(self) -> None:
        """Place no new calls until the process ends."""
        self._enabled = False
        self._worker.stop()

    def tasks_changed(self) -> None:
        """A task was added, changed or put back in line."""
        self._next_due = None
        self.wake()

    def wake(self) -> None:
        """Check whether a call can be placed, as something has changed."""
        if self._is_ready and not self._is_waking:
            self._is_waking = True
            self._after_read(self._begin)

    def _begin(self) -> None:
        self._is_waking = False
        self._worker.wake()

    @property
    def _is_ready(self) -> bool:
        """Whether calls may be placed, and it is known which agents are free."""
        return self._enabled and self._queue_monitor.ready

    async def _look(self) -> float | None:
        """Place calls as long as it is possible; return when to look again.

        That is in how many seconds something happens by itself; None if nothing does.
        """
        if not self._is_ready:
            return None
        due_at = await self._pass()
        if due_at is None or not self._is_ready:
            return None
        return due_at - self._clock.epoch_s()

    async def _pass(self) -> float | None:
        now = self._clock.epoch_s()
        settings = self._settings()
        wanted = self._targets()
        self._look_who_is_open(now)
        if self._hold.holds():
            return self._next_change(wanted, now)
        # A due time more than MAX_SLEEP_S ahead was computed before the clock was set
        # back, so it is not used.
        if self._next_due and now < self._next_due <= now + MAX_SLEEP_S:
            return self._next_change(wanted, now)
        capacity = self._capacity(wanted, now)
        while spare := self._open & frozenset().union(
            *(t.queues for t in wanted if capacity.can_take(folded(t.key)))
        ):
            if not await self._may_call():
                return None
            due = await self._store.begin_attempts(
                spare,
                [self._new_channel_id()],
                _utc(now),
                busy_keys=self._busy(),
                call_limits=settings.call_limits,
                number_rules={
                    name: settings.number_rules(settings.queue(name)) for name in spare
                },
            )
            self._tell(due.put_off)
            if not due.begun:
                if due.put_off:
                    continue
                break
            (begun,) = due.begun
            # Since its COMMIT the process may have been frozen for a minute.
            if not await self._may_call():
                return None
            queue = settings.queues[begun.task.queue]
            # The store took its time: agents may be gone, callers may have come.
            now = self._clock.epoch_s()
            self._look_who_is_open(now)
            capacity = self._capacity(wanted, now)
            if not self._is_ready:
                self._dialer.drop(begun, queue, because(Code.SERVICE_STOPS))
            elif self._hold.holds():
                self._dialer.drop(begun, queue, because(Code.ASTERISK_TAKES_NO_CALLS))
            elif begun.task.queue not in self._open:
                self._dialer.drop(begun, queue, because(Code.QUEUE_CLOSED))
            elif self._settings().plan.key(begun.task.number) in self._in_a_call():
                self._dialer.drop(begun, queue, because(Code.CLIENT_RANG_IN))
            elif begun.task.number_key in self._dialer.busy_keys():
                self._dialer.drop(begun, queue, because(Code.CLIENT_BEING_CALLED))
            elif not capacity.take(folded(target_key(queue))):
                self._dialer.drop(begun, queue, because(Code.AGENT_TAKEN))
            else:
                self._dialer.place(begun, queue)
            if not self._is_ready or self._hold.holds():
                return self._next_change(wanted, now)
        else:
            # No agent is free: the next change of a queue wakes this part.
            return self._next_change(wanted, now)
        at = await self._store.next_due(
            self._open,
            _utc(now),
            busy_keys=self._busy(),
            call_limits=settings.call_limits,
        )
        if not (self._worker.woken or self._is_waking):
            # Another process may add tasks without a word to this one.
            latest = now + MAX_SLEEP_S
            self._next_due = min(at.timestamp(), latest) if at else latest
        return self._next_change(wanted, now)

    def _busy(self) -> set[str]:
        """Return the keys of clients who must not be called now."""
        return {*self._in_a_call(), *self._dialer.busy_keys()}

    def _tell(self, put_off: list[CallbackTask]) -> None:
        """Say which tasks ended, or wait, instead of being called."""
        for task in put_off:
            self._log.info(
                "task {task_id}: not called: {reason}",
                task_id=task.id,
                queue=task.queue,
                status=task.status.value,
                reason=task.reason,
            )
        if put_off:
            self._put_off()

    def _look_who_is_open(self, now: float) -> None:
        """Learn which queues are open; where one is not, no agent is rung any more."""
        is_open = self._opening_state.open_queues(now)
        if is_open - self._open:
            # Tasks have waited for it.
            self._next_due = None
        self._open = is_open
        self._dialer.end_ringing(
            lambda queue: self._opening_state.state_at(queue, now).is_open,
            because(Code.QUEUE_CLOSED),
        )

    def _capacity(self, wanted: list[Target], now: float) -> Capacity:
        queues = self._queue_monitor.queues
        free: dict[str, set[str]] = {}
        claimed: dict[str, int] = {}
        # Live callers of every queue count, also of those without callbacks: an
        # agent may be a member of several.
        for name in queues.names():
            if callers := queues.waiting(name):
                free[folded(name)] = queues.free(name, 0.0, now)
                claimed[folded(name)] = len(callers)
        for target in wanted:
            key = folded(target.key)
            free[key] = queues.free(target.key, target.wrapuptime_s, now)
            claimed[key] = claimed.get(key, 0) + self._dialer.waiting_for_member(
                target.key
            )
        return Capacity(free, claimed)

    def _next_change(self, wanted: list[Target], now: float) -> float | None:
        """Return when the next thing happens by itself; None if nothing will."""
        queues = self._queue_monitor.queues
        moments = [queues.next_free_at(t.key, t.wrapuptime_s, now) for t in wanted]
        moments += [self._next_due, self._opening_state.next_change(now)]
        return min((m for m in moments if m is not None and m > now), default=None)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
