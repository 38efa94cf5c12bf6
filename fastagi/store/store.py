# SPDX-License-Identifier: MIT
"""The task store as the services use it: every method is one transaction.

Each method finishes after its COMMIT. Besides what its docstring names, each raises
StoreUnavailable when the database can not be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar, TypeVarTuple

import sqlalchemy as sa

from twisted.internet.defer import Deferred

from fastagi.domain.attempt import DEFAULT_NODE, Attempt, Verdict
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.limits import CallLimits
from fastagi.domain.numbers import NotCallable, NumberPlan
from fastagi.domain.queue_log_entries import EventRow
from fastagi.domain.reason import Reason
from fastagi.domain.retry import RetryRules
from fastagi.domain.task import CallbackTask, NewTask, Status, TaskEvent
from fastagi.store import (
    attempts,
    guards,
    leases,
    lifecycle,
    marks,
    positions,
    queries,
    requests,
    rows,
    settings_changes,
)
from fastagi.store.engine import Alone, Database
from fastagi.store.leases import Lease
from fastagi.store.positions import Position
from fastagi.store.results import (
    Beginnings,
    Begun,
    Blocked,
    Recorded,
    Refused,
    Restored,
)

__all__ = ["Beginnings", "Begun", "Blocked", "Recorded", "TaskStore"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Ids of tasks that one transaction counts: some milliseconds.
_COUNTED_AT_ONCE: Final = 50_000
_NO_LIMITS: Final = CallLimits()


def _nothing(_task: CallbackTask) -> Reason | None:
    return None


class TaskStore:
    """Durable tasks, their attempts and their history."""

    def __init__(
        self,
        database: Database,
        *,
        lease: Lease | None = None,
        node: str = DEFAULT_NODE,
    ) -> None:
        """Prepare.

        Args:
            database: where all is stored.
            lease: without which only commands of an operator and refusals are stored;
                None: this store is not that of a service.
            node: the Asterisk of the attempts.
        """
        self._database = database
        self._lease = lease
        self._node = node

    def _run_fenced(
        self, name: str, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts
    ) -> Deferred[T]:
        """Run it if, in the same transaction, the lease is still ours."""
        if self._lease is None:
            return self._database.run(name, fn, *args)
        held = self._lease.held

        def fenced(conn: sa.Connection) -> T:
            leases.assert_held(conn, held)
            return fn(conn, *args)

        return self._database.run(name, fenced)

    def _make_sure(self, conn: sa.Connection) -> None:
        """Go on only if the lease is ours; costs nothing while that is known.

        Raises:
            LeaseLost: another process has taken it.
        """
        if self._lease is not None and not self._lease.is_sure:
            leases.assert_held(conn, self._lease.held)

    def _add_one(
        self, conn: sa.Connection, new: NewTask, now: datetime, *rest: Any
    ) -> Recorded | Refused:
        self._make_sure(conn)
        return requests.add(conn, new, now, *rest)

    def _add_many(
        self, conn: sa.Connection, asked: Sequence[Any]
    ) -> list[Recorded | Refused | Alone]:
        self._make_sure(conn)
        return requests.add_many(conn, asked)

    async def renew_lease(self) -> None:
        """Hold the lease for longer.

        Raises:
            LeaseLost: another process has taken it.
        """
        lease = self._lease
        if lease is not None:
            asked_at = lease.seconds()
            held = await self._database.run("renew lease", leases.renew, lease.held)
            lease.renewed(held, asked_at)

    async def add(
        self,
        new: NewTask,
        now: datetime,
        *,
        once: bool = False,
        ids: Collection[str] = (),
        most_calls: int = 0,
        within_s: float | None = None,
    ) -> Recorded:
        """Make a task, or renew the one that is open for the same number.

        The open one keeps its place, its queue and the time it is due; it becomes a
        requested one if it is requested now, lives as long as the longer-lived of
        both, and what was to end it after its attempt is void.

        Args:
            new: the task to be.
            now: the time.
            once: change nothing if the same call (its linkedid) has been taken in
                before, even if that task has ended.
            ids: further ids by which that call may be known.
            most_calls: to one number within a day; 0 is no limit.
            within_s: how long the caller waits for it; None: for ever.

        Raises:
            LeaseLost: another process runs the service on the database; what this one
                knew of the client may be out of date. Nothing was changed.
            NotCallable: the number is blocked, or was called so often that it can not
                be called again before the task is too old. Nothing was changed.
            OutOfTime: the caller's time was over before it began, or before its COMMIT
                began. Nothing was changed, and nothing will be.
        """
        recorded = await self._database.run(
            "add",
            self._add_one,
            new,
            now,
            once,
            tuple(ids),
            most_calls,
            within_s=within_s,
            together=self._add_many,
        )
        if isinstance(recorded, Refused):
            raise NotCallable(recorded.why)
        return recorded

    async def begin_attempts(
        self,
        queues: Collection[str],
        channel_ids: Sequence[str],
        now: datetime,
        *,
        busy_keys: Collection[str] = (),
        most: CallLimits = _NO_LIMITS,
        why_not: Callable[[CallbackTask], Reason | None] = _nothing,
    ) -> Beginnings:
        """Begin attempts of due tasks, the longest in line first.

        A task whose number may not be called now, or ever, is put off: it ends with a
        reason, or is due again when the number may be called.

        Args:
            queues: whose tasks may be called now.
            channel_ids: one for each attempt that may begin.
            now: a task is due from ``due_at`` on, and too old from ``expires_at`` on.
            busy_keys: number keys that must not be called now.
            most: what calls there may be, these included.
            why_not: says why a task must not be called any more, None if it may;
                called outside the reactor's thread.
        """
        if not queues or not channel_ids:
            return Beginnings([], [])
        return await self._run_fenced(
            "begin attempts",
            attempts.begin_attempts,
            tuple(queues),
            tuple(channel_ids),
            tuple(busy_keys),
            now,
            most,
            why_not,
            self._node,
        )

    async def progress(
        self,
        channel_id: str,
        why: Reason,
        now: datetime,
        *,
        member: str = "",
        answered_at: datetime | None = None,
    ) -> None:
        """Add a line to the story of a task.

        Args:
            channel_id: of the attempt under way.
            why: what happened.
            now: the time.
            member: the agent who answered, if this is what it tells.
            answered_at: when the client answered, likewise.

        Raises:
            LeaseLost: another process follows the attempt, and tells it.
            StaleTask: the attempt has ended.
            NoSuchTask: there is no such attempt.
        """
        await self._run_fenced(
            "progress",
            attempts.progress,
            channel_id,
            why,
            now,
            member,
            answered_at,
        )

    async def restore_attempt(self, begun: Begun, now: datetime) -> Restored | None:
        """Store an attempt under way again, if the database was set back and lost it.

        Returns:
            The attempt as it is stored now, under the same channel id; None if its
            task is gone too, has ended, or has another attempt under way.
        """
        return await self._run_fenced(
            "restore attempt", attempts.restore_attempt, begun, now
        )

    async def close_attempt(
        self,
        channel_id: str,
        verdict: Verdict,
        rules: RetryRules,
        now: datetime,
        *,
        answered_at: datetime | None = None,
    ) -> CallbackTask:
        """End an attempt and do with its task what the rules say; return the task.

        What was asked for after the client had answered outlives the attempt: if the
        task ends, it becomes a new one.

        Args:
            channel_id: of the attempt under way.
            verdict: how it went.
            rules: of the task's queue.
            now: the time.
            answered_at: when the client answered, if that is known.

        Raises:
            StaleTask: it has ended before, nothing was changed.
            NoSuchTask: there is no such attempt.
        """
        return await self._run_fenced(
            "close attempt",
            attempts.close_attempt,
            channel_id,
            verdict,
            rules,
            now,
            answered_at,
        )

    async def open_attempts(self) -> list[Begun]:
        """Return this node's attempts that have not ended, the oldest first."""
        return await self._database.run(
            "open attempts", attempts.open_attempts, self._node
        )

    async def next_due(
        self,
        queues: Collection[str],
        now: datetime,
        *,
        busy_keys: Collection[str] = (),
        most: CallLimits = _NO_LIMITS,
    ) -> datetime | None:
        """Return when the next of the waiting tasks may be called.

        That is the least ``due_at`` of those that are not too old, or later if there
        were as many calls as may be. Those with one of ``busy_keys`` are left out, as
        in :meth:`begin_attempts`.
        """
        if not queues:
            return None
        return await self._database.run(
            "next due", attempts.next_due, tuple(queues), tuple(busy_keys), now, most
        )

    async def next_expiry(self) -> datetime | None:
        """Return the least ``expires_at`` of the waiting tasks."""
        return await self._database.run("next expiry", lifecycle.next_expiry)

    async def expire(self, now: datetime) -> list[CallbackTask]:
        """End the waiting tasks that are too old and return them."""
        return await self._run_fenced("expire", lifecycle.expire, now)

    async def cancel(self, task_id: int, why: Reason, now: datetime) -> CallbackTask:
        """End a task: at once, or, if it is being called, after this attempt.

        Raises:
            NoSuchTask: there is none.
            IllegalMove: it has ended.
        """
        return await self._database.run("cancel", lifecycle.cancel, task_id, why, now)

    async def take_back(
        self, task_id: int, now: datetime, later_id: int | None = None
    ) -> CallbackTask | None:
        """Cancel a task whose caller was never told of it.

        Args:
            task_id: of the task.
            now: the time.
            later_id: of the request, if :meth:`add` told one: then only that request
                is taken back.

        Returns:
            The task; None when it was asked for again since and so must stand.

        Raises:
            IllegalMove: it has ended already.
            StoreUnavailable: nothing was changed.
        """
        return await self._run_fenced(
            "take_back", requests.take_back, task_id, now, later_id
        )

    async def take_back_unheard(
        self, new: NewTask, asked_at: datetime, now: datetime
    ) -> CallbackTask | None:
        """Take back what became of an :meth:`add` that ended in CommitUnknown.

        Args:
            new: as given to it.
            asked_at: the time that was given to it.
            now: the time.

        Returns:
            The task; None when it was not stored and never will be, or was asked for
            again since and so must stand.

        Raises:
            IllegalMove: it has ended already.
            StoreUnavailable: it is still not known.
        """
        return await self._run_fenced(
            "take_back", requests.take_back_unheard, new, asked_at, now
        )

    async def serve(
        self,
        number_key: str,
        why: Reason,
        now: datetime,
        *,
        served_at: datetime | None = None,
        asked_at: Mapping[str, datetime] | None = None,
    ) -> CallbackTask | None:
        """End the number's open task, as its caller was served in another way.

        At once, or, if it is being called, after this attempt.

        Args:
            number_key: of the caller.
            why: how.
            now: the time.
            served_at: when, if that was before now: a task that was asked for later
                is left alone.
            asked_at: when calls asked for it, by their linkedids, where that is not
                when it was stored.

        Returns:
            The task, or None if the number has no such open one.
        """
        return await self._run_fenced(
            "serve", lifecycle.serve, number_key, why, now, served_at, asked_at
        )

    async def rekey(
        self, key_of: Callable[[str], str], now: datetime
    ) -> list[CallbackTask]:
        """Recognise callers of open tasks anew, after it changed what numbers mean.

        Args:
            key_of: gives the key of a number; called outside the reactor's thread.
            now: the time.

        Returns:
            The tasks that ended because their caller has another one.
        """
        return await self._run_fenced("rekey", settings_changes.rekey, key_of, now)

    async def use_limit(self, most_calls: int, now: datetime) -> list[CallbackTask]:
        """Let tasks wait no longer for their numbers than a new limit has them wait.

        Args:
            most_calls: to one number within a day; 0 is no limit.
            now: the time.

        Returns:
            The tasks that are due earlier by it.
        """
        return await self._run_fenced(
            "use limit", settings_changes.use_limit, most_calls, now
        )

    async def retry(
        self, task_id: int, why: Reason, now: datetime, expires_at: datetime
    ) -> CallbackTask:
        """Put a task back in line, due at once; an ended one begins from zero.

        Raises:
            NoSuchTask: there is none.
            IllegalMove: it is being called, has succeeded, or was served.
            AlreadyOpen: its number has another open task.
            NotCallable: its number is blocked.
        """
        task = await self._database.run(
            "retry", lifecycle.retry, task_id, why, now, expires_at
        )
        if isinstance(task, Refused):
            raise NotCallable(task.why)
        return task

    async def find(self, task_id: int) -> CallbackTask | None:
        """Return a task, or None if there is none."""
        return await self._database.run("find", rows.find, task_id)

    async def listing(
        self,
        statuses: Collection[Status] | None = None,
        queue: str | None = None,
        number_key: str | None = None,
        limit: int = 100,
        before_id: int | None = None,
    ) -> list[CallbackTask]:
        """Return at most ``limit`` tasks, the newest first; None means any.

        With ``before_id`` those that come after that task in the list.
        """
        chosen = None if statuses is None else tuple(statuses)
        return await self._database.run(
            "listing", queries.listing, chosen, queue, number_key, limit, before_id
        )

    async def history(self, task_id: int) -> list[TaskEvent]:
        """Return the task's story from its beginning.

        Raises:
            NoSuchTask: there is none.
        """
        return await self._database.run("history", queries.history, task_id)

    async def attempts(self, task_id: int) -> list[Attempt]:
        """Return the task's attempts from the first.

        Raises:
            NoSuchTask: there is none.
        """
        return await self._database.run("attempts", queries.attempts, task_id)

    async def counts(self) -> dict[Status, int]:
        """Return how many tasks there are of each status.

        Counted in several transactions, so that nobody waits long for it; what changes
        meanwhile may be counted as it was before or after.
        """
        counted = dict.fromkeys(Status, 0)
        after_id: int | None = 0
        while after_id is not None:
            some = await self._database.run(
                "counts", queries.counts, after_id, _COUNTED_AT_ONCE
            )
            for status, number in some.by_status.items():
                counted[status] += number
            after_id = some.more_after
        return counted

    async def respell(self, name_of: Callable[[str], str | None]) -> int:
        """Write the queues of open tasks as the settings do now.

        Args:
            name_of: gives the name of a queue in the settings, None if it is not
                there; called outside the reactor's thread.

        Returns:
            How many tasks had another spelling.
        """
        return await self._run_fenced("respell", settings_changes.respell, name_of)

    async def oldest_open(self) -> dict[str, datetime]:
        """Return since when the first in line waits, for each queue with open tasks."""
        return await self._database.run("oldest open", queries.oldest_open)

    async def open_by_queue(self) -> dict[str, int]:
        """Return how many open tasks each queue has that has any."""
        return await self._database.run("open by queue", queries.open_by_queue)

    async def block(self, number: BlockedNumber, region: str) -> Blocked:
        """Have a number never called again, in whatever form.

        Its open task ends: at once, or, if it is being called, after this attempt.

        Args:
            number: which, why and when.
            region: by which its key was made.
        """
        return await self._database.run(
            "block", lifecycle.block, number, region, number.at
        )

    async def unblock(self, number_key: str) -> BlockedNumber | None:
        """Let a number be called again; None if it was not blocked."""
        return await self._database.run("unblock", guards.unblock, number_key)

    async def blocked(self, most: int) -> list[BlockedNumber]:
        """Return the numbers that are never called, the latest first."""
        return await self._database.run("blocked", guards.listing, most)

    async def rekey_blocked(self, plan: NumberPlan) -> int:
        """Recognise blocked numbers anew, after it changed what numbers mean.

        Returns:
            How many had been blocked by another plan.
        """
        return await self._run_fenced("rekey blocked", guards.rekey, plan)

    async def refuse(self, refusal: Refusal) -> None:
        """Keep that somebody is not called back; the oldest are forgotten."""
        await self._database.run("refuse", guards.refuse, refusal)

    async def refusals(
        self, queue: str | None, most: int, before_id: int | None = None
    ) -> list[Refusal]:
        """Return who was not called back, the latest first, perhaps before one."""
        return await self._database.run(
            "refusals", guards.refusals, queue, most, before_id
        )

    async def mark(self, name: str) -> datetime | None:
        """Return a moment that was kept; None if it never was."""
        return await self._database.run("mark", marks.get, name)

    async def set_mark(self, name: str, at: datetime) -> None:
        """Keep a moment in the place of the one of that name."""
        await self._run_fenced("set mark", marks.put, name, at)

    async def events_after(self, event_id: int, most: int) -> list[EventRow]:
        """Return the events of all tasks after that one, at most so many, in order."""
        return await self._database.run("events", positions.after, event_id, most)

    async def position(self, reader: str) -> Position:
        """Return how far a reader of the events has come."""
        return await self._database.run("position", positions.get, reader)

    async def set_position(self, reader: str, position: Position) -> None:
        """Keep how far a reader of the events has come."""
        await self._run_fenced("set position", positions.put, reader, position)

    async def skip_events(self, reader: str) -> None:
        """Have a reader leave out every event until now."""
        await self._run_fenced("skip events", positions.put_last, reader)
