# SPDX-License-Identifier: MIT
"""The task store: every method is one transaction.

Each method returns after its COMMIT. Every method may raise StoreUnavailable, if the
database cannot be used, besides the errors in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar, TypeVarTuple

import sqlalchemy as sa
from attrs import evolve

from fastagi.domain.agent_keys import AgentsToAsk
from fastagi.domain.attempt import DEFAULT_NODE, Attempt, Verdict
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.expected_wait import Measured
from fastagi.domain.limits import CallLimits
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.number_records import Erased, NumberRecords
from fastagi.domain.numbers import NumberPlan, NumberRules
from fastagi.domain.offers import Offer, OfferOutcome
from fastagi.domain.reason import Reason
from fastagi.domain.retry import RetryRules
from fastagi.domain.tally import LocalDay
from fastagi.domain.task import (
    OPEN,
    CallbackTask,
    NewTask,
    Status,
    TaskEvent,
    WaitingTask,
)
from fastagi.domain.turns import ANY_TURN, Turn
from fastagi.errors import CallbackError
from fastagi.store import (
    attempts,
    changes,
    erasure,
    guards,
    instances,
    leases,
    lifecycle,
    live_reads,
    locks,
    marks,
    measured,
    node_leases,
    notices,
    number_facts,
    offers,
    positions,
    preferred_agents,
    queries,
    requests,
    rows,
    selection,
    settings_changes,
    slots,
    statements,
    tallies,
    together,
    told,
)
from fastagi.store.changes import Change
from fastagi.store.engine import Alone, Database
from fastagi.store.errors import LeaseLost
from fastagi.store.instances import Seen, Told
from fastagi.store.leases import Held, Lease
from fastagi.store.live_reads import EndedTask, TaskChanges
from fastagi.store.node_leases import NodeLeases
from fastagi.store.number_facts import NumberFacts
from fastagi.store.positions import Position
from fastagi.store.results import (
    BeginResult,
    Blocked,
    Recorded,
    Refused,
    Restored,
    TaskAttempt,
)
from fastagi.store.selection import Selection

__all__ = ["BeginResult", "Blocked", "Recorded", "TaskAttempt", "TaskStore"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Number of task ids that one transaction counts, in some milliseconds.
_COUNTED_AT_ONCE: Final = 50_000
#: Number of waiting tasks for which an expected time is known.
_MAX_WAITING: Final = 1_000
#: Maximum number of clients whose open tasks are read in one transaction.
_MAX_CLIENTS: Final = 500
_NO_LIMITS: Final = CallLimits()
_ANY_NUMBER: Final[Mapping[str, NumberRules]] = {}
_ANY_AGENT: Final[Mapping[str, AgentsToAsk]] = {}


class TaskStore:
    """Durable tasks, their attempts and their history."""

    def __init__(
        self,
        database: Database,
        *,
        lease: Lease | None = None,
        node: str = DEFAULT_NODE,
        of_process: Lease | None = None,
    ) -> None:
        """Prepare.

        Args:
            database: where all is stored.
            lease: without which only commands of an operator and refusals are stored;
                None: this store is not that of a service.
            node: the Asterisk of the attempts.
            of_process: the lease of the process, if ``lease`` is that on one Asterisk:
                what the process has promised by itself depends on this one only.
        """
        self._database = database
        self._lease = lease
        self._of_process = of_process or lease
        self._node = node

    def node_is_left(self) -> None:
        """Let the process alone promise what callers are still being asked about.

        Its lease on the Asterisk was given to another process.
        """
        self._lease = self._of_process

    @property
    def is_idle(self) -> bool:
        """Whether the database has been used, and nothing waits for it."""
        return self._database.is_idle

    def first_uses(self) -> Iterator[Callable[[], None]]:
        """Yield functions that each compile one statement of calls, and store nothing.

        Each takes some milliseconds, which its first execution then does not take.
        """
        for one in statements.of_calls(self._database.engine):
            yield partial(
                self._database.compile, one.statement, one.names, several=one.several
            )

    async def _run_fenced(
        self, name: str, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts
    ) -> T:
        """Run a function in a transaction in which the lease is still held."""
        return await self._run_with(self._lease, name, fn, *args)

    async def _run_with(
        self,
        lease: Lease | None,
        name: str,
        fn: Callable[[sa.Connection, *Ts], T],
        *args: *Ts,
        valid: bool = False,
    ) -> T:
        """Run a function in a transaction in which a lease is still held.

        Args:
            lease: the lease; None: any process may do it.
            name: of the work.
            fn: the function.
            args: its arguments.
            valid: whether the lease must not have run out either.
        """
        if lease is None:
            return await self._database.run(name, fn, *args)

        def fenced(conn: sa.Connection, held: Held) -> T:
            leases.assert_held(conn, held, valid=valid)
            return fn(conn, *args)

        try:
            return await self._database.run(name, fenced, lease.held)
        except LeaseLost:
            if lease.held.runs_out:
                # A renewed lease: this one is lost.
                raise
            # Nobody else has the lock on the file, but a database that was set back
            # does not know that this process took it.
            await self.renew_lease()
            return await self._database.run(name, fenced, lease.held)

    def _make_sure(self, conn: sa.Connection) -> None:
        """Check that the lease is still ours; this costs nothing while it is certain.

        Raises:
            LeaseLost: another process has taken it.
        """
        if self._lease is not None and not self._lease.is_sure:
            leases.assert_held(conn, self._lease.held)

    @property
    def _is_one_of_several(self) -> bool:
        """Whether other services on the database may do the same at this moment."""
        lease = self._lease
        return lease is not None and (
            lease.held.is_of_node or bool(lease.held.instance)
        )

    def _add_one(
        self, conn: sa.Connection, new: NewTask, now: datetime, *rest: Any
    ) -> Recorded | Refused:
        self._make_sure(conn)
        if self._is_one_of_several:
            locks.keep_unblocked(conn, [new.number_key])
            if new.entered is not None:
                locks.count_entered(conn, new.entered.caller_key)
        return requests.add(conn, new, now, *rest)

    def _add_many(
        self, conn: sa.Connection, asked: Sequence[Any]
    ) -> list[Recorded | Refused | Alone]:
        self._make_sure(conn)
        if self._is_one_of_several:
            locks.keep_unblocked(conn, [new.number_key for new, *_ in asked])
        return requests.add_many(conn, asked)

    async def renew_lease(self) -> None:
        """Renew the lease.

        Raises:
            LeaseLost: another process has taken it.
        """
        lease = self._lease
        if lease is not None:
            asked_at = lease.seconds()
            held = await self._database.run("renew lease", leases.renew, lease.held)
            lease.renewed(held, asked_at)

    async def take_nodes(self, wanted: Mapping[str, float]) -> NodeLeases:
        """Take the leases of Asterisks that are free.

        Args:
            wanted: for each Asterisk how many seconds ago its lease must have run out.

        Raises:
            LeaseLost: this process may not run the service any more.
        """
        assert self._lease is not None
        ours = self._lease.held
        return await self._database.run(
            "take nodes", node_leases.take_free, ours, dict(wanted)
        )

    async def look_at_others(
        self,
        own: Collection[str],
        calling: Collection[int],
        known: together.LastEvents = together.NO_EVENTS,
    ) -> together.Look:
        """Look at what other services on the database have done.

        Args:
            own: the Asterisks that this one holds.
            calling: the ids of tasks in progress there.
            known: the last events that this one has seen.
        """
        return await self._database.run(
            "look at others", together.look, tuple(own), tuple(calling), known
        )

    async def tell(
        self, changed: Mapping[told.Key, str], removed: Collection[told.Key] | None
    ) -> None:
        """Tell other services of this Asterisk; see :func:`told.put`.

        Raises:
            LeaseLost: another process holds the Asterisk.
        """
        assert self._lease is not None
        await self._database.run(
            "tell", told.put, self._lease.held, dict(changed), removed
        )

    async def joined_at(
        self, uniqueid: str, queue: str, within_s: float
    ) -> float | None:
        """Return when a caller on this Asterisk joined a queue, as its holder tells.

        Raises:
            OutOfTime: ``within_s`` had passed before it was read.
        """
        return await self._database.run(
            "joined at",
            told.joined_at,
            self._node,
            uniqueid,
            queue,
            within_s=within_s,
        )

    async def put_calls(
        self, begun: Collection[str], ended: Collection[str] | None
    ) -> None:
        """Store the keys of clients whose calls on this Asterisk have begun and ended.

        With None for ``ended`` all others are deleted.

        Raises:
            LeaseLost: another process holds the Asterisk.
        """
        assert self._lease is not None
        await self._database.run(
            "calls", together.put_calls, self._lease.held, tuple(begun), ended
        )

    async def wake_others(self, sender: str) -> None:
        """Wake the other services on the database; ``sender`` is this one's name."""
        await self._database.run("notify", notices.send, sender)

    async def ask_for_node(self, of: Held) -> bool:
        """Ask the holder of an Asterisk for it; return whether that is stored.

        Raises:
            LeaseLost: this process may not run the service any more.
        """
        assert self._lease is not None
        return await self._database.run(
            "ask for a node", node_leases.ask_for, self._lease.held, of
        )

    async def tell_link(self, held: Held, lost_s: float | None) -> None:
        """Tell other services that the link to an Asterisk is lost, or that it is back.

        Args:
            held: the lease on the Asterisk.
            lost_s: how many seconds ago it was lost; None: there is a link.

        Raises:
            LeaseLost: another process holds the Asterisk.
        """
        await self._database.run("tell of a link", node_leases.tell_link, held, lost_s)

    async def is_node_wanted(self, held: Held) -> bool:
        """Whether the service that has asked for an Asterisk still runs."""
        return await self._database.run(
            "who asks for a node", node_leases.is_wanted, held
        )

    async def pass_node_on(self, held: Held) -> str:
        """Give an Asterisk to the service that has asked for it; return its name.

        It is empty if that one has ended; then nothing was changed.
        """
        return await self._database.run("pass on a node", node_leases.pass_on, held)

    async def claim_name(self, held: Held, name: str | None) -> str:
        """Store the systemname of an Asterisk, unless another one has it.

        Args:
            held: the lease on the Asterisk.
            name: its systemname; None: not known, or it is gone.

        Returns:
            The node of the other Asterisk; empty: there is none.

        Raises:
            LeaseLost: another process holds the Asterisk.
        """
        return await self._database.run(
            "claim a systemname", node_leases.claim_name, held, name
        )

    async def tell_others(self, told: Told | None) -> None:
        """Tell the other services that this one runs, and what has changed in it.

        Raises:
            LeaseLost: this process may not run the service any more.
        """
        assert self._lease is not None
        await self._database.run("tell others", instances.tell, self._lease.held, told)

    async def other_instances(self) -> list[Seen]:
        """Return the other services that run, or ran not long ago."""
        assert self._lease is not None
        return await self._database.run(
            "other services", instances.others, self._lease.held
        )

    async def settings_of(self, seen: Seen) -> str | None:
        """Return the settings of another service, as JSON; None: they have changed."""
        return await self._database.run(
            "settings of another service", instances.settings_of, seen
        )

    async def release_lease(self, held: Held) -> None:
        """Release the lease on an Asterisk, so that others can take it at once."""
        await self._database.run("release lease", leases.release, held)

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
        """Create a task, or renew the open task of the same number.

        An open task keeps its place, its queue and ``due_at``, unless a time is chosen
        now, or the client does not want to wait for the chosen time. It becomes a
        requested task if it is requested now, and gets the later ``expires_at`` of the
        two. A cancellation that waits for its attempt to end is dropped.

        Args:
            new: the new task.
            now: the current time.
            once: change nothing if a request of the same call (linkedid) was stored
                before, even if its task has ended.
            ids: further ids under which that call may be stored.
            most_calls: maximum number of calls to one number within a day; 0: no limit.
            within_s: how long the caller waits for it, in seconds; None: for ever.

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
        call_limits: CallLimits = _NO_LIMITS,
        number_rules: Mapping[str, NumberRules] = _ANY_NUMBER,
        last: Turn = ANY_TURN,
        chosen_first: bool = False,
        agents: Mapping[str, AgentsToAsk] = _ANY_AGENT,
    ) -> BeginResult:
        """Begin attempts of due tasks, the first in line first.

        A task whose number may not be called now, or ever, is put off: it ends with a
        reason, or is due again when the number may be called.

        Args:
            queues: the queues whose tasks may be called now.
            channel_ids: one for each attempt that may begin.
            now: the current time. A task is due from ``due_at`` on, and expired from
                ``expires_at`` on.
            busy_keys: number keys that must not be called now.
            call_limits: maximum numbers of calls, these included.
            number_rules: which numbers each queue may call; a queue without: any. A
                task whose number is not allowed any more ends.
            last: the last turn whose task may be begun.
            chosen_first: whether tasks with a chosen time come before all others.
            agents: who may be asked, for each queue whose agents may refuse a task. A
                task is passed over as long as only agents are free who refused it.
        """
        if not queues or not channel_ids:
            return BeginResult([], [])
        # What is dialled was committed while nobody else could take the Asterisk.
        lease = self._lease
        is_one_of_several = lease is not None and lease.held.is_of_node
        is_counted = call_limits.counts_calls_of(queues)

        def begin(
            conn: sa.Connection,
            queues: Sequence[str],
            channel_ids: Sequence[str],
            busy_keys: Sequence[str],
            *rest: Any,
        ) -> BeginResult:
            if is_one_of_several:
                if is_counted and not locks.may_count_calls(conn):
                    return BeginResult([], [], busy=True)
                elsewhere = together.busy_elsewhere(conn, [self._node])
                busy_keys = tuple(elsewhere.union(busy_keys))
            return attempts.begin_attempts(conn, queues, channel_ids, busy_keys, *rest)

        return await self._run_with(
            lease,
            "begin attempts",
            begin,
            tuple(queues),
            tuple(channel_ids),
            tuple(busy_keys),
            now,
            call_limits,
            number_rules,
            last,
            chosen_first,
            agents,
            self._node,
            valid=is_one_of_several,
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
        """Add an event to the history of a task.

        Args:
            channel_id: the channel id of the attempt in progress.
            why: what happened.
            now: the current time.
            member: the agent, if the event is that an agent answered.
            answered_at: when the client answered, if that is the event.

        Raises:
            LeaseLost: another process follows the attempt, and adds its events.
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

    async def restore_attempt(
        self, begun: TaskAttempt, now: datetime
    ) -> Restored | None:
        """Store an attempt in progress again, if a restored database has lost it.

        Returns:
            The attempt as it is stored now, with the same channel id; None if its task
            is gone, too, has ended, or has another attempt in progress.
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
        """End an attempt, and move its task by the retry rules; return the task.

        Requests that were made after the client had answered survive: if the task ends,
        they become a new task.

        Args:
            channel_id: the channel id of the attempt in progress.
            verdict: the result of the attempt.
            rules: the retry rules of the task's queue.
            now: the current time.
            answered_at: when the client answered, if that is known.

        Raises:
            StaleTask: the attempt has ended before. Nothing was changed.
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

    async def open_attempts(self) -> list[TaskAttempt]:
        """Return this node's attempts that have not ended, the oldest first."""
        return await self._database.run(
            "open attempts", attempts.open_attempts, self._node
        )

    async def open_attempts_on(self, node: str) -> list[TaskAttempt]:
        """Return the attempts on any node that have not ended, the oldest first."""
        return await self._database.run("open attempts", attempts.open_attempts, node)

    async def given_up(self, channel_ids: Collection[str]) -> list[Attempt]:
        """Return those of some attempts that have ended though their calls may exist.

        They were given up, or withdrawn.
        """
        return await self._database.run(
            "given up", attempts.given_up, tuple(channel_ids)
        )

    async def nodes_of_nobody(self) -> frozenset[str]:
        """Return the nodes with attempts that have not ended, and that nobody holds.

        If there are not several services, these are all nodes with such attempts.
        """
        return await self._database.run("nodes", attempts.nodes_of_nobody)

    async def next_due(
        self,
        queues: Collection[str],
        now: datetime,
        *,
        busy_keys: Collection[str] = (),
        call_limits: CallLimits = _NO_LIMITS,
        after_now: bool = False,
    ) -> datetime | None:
        """Return when the next waiting task may be called; None if there is none.

        That is the earliest ``due_at`` of the tasks that have not expired, or later if
        the limits do not allow a call then. Tasks with one of ``busy_keys`` are left
        out, as in :meth:`begin_attempts`. With ``after_now`` also those that may be
        called already.
        """
        if not queues:
            return None
        return await self._database.run(
            "next due",
            attempts.next_due,
            tuple(queues),
            tuple(busy_keys),
            now,
            call_limits,
            after_now,
        )

    async def next_expiry(self) -> datetime | None:
        """Return the earliest ``expires_at`` of the waiting tasks."""
        return await self._database.run("next expiry", lifecycle.next_expiry)

    async def expire(self, now: datetime) -> list[CallbackTask]:
        """End waiting tasks that have expired, some at a time, and return them."""
        return await self._run_fenced("expire", lifecycle.expire, now)

    async def chosen_times(
        self,
        queue: str,
        since: datetime,
        until: datetime,
        within_s: float | None = None,
    ) -> list[datetime]:
        """Return the chosen times of the open tasks of a queue, in order.

        Raises:
            OutOfTime: ``within_s`` had passed before it was read.
        """
        return await self._database.run(
            "chosen times", slots.chosen_times, queue, since, until, within_s=within_s
        )

    async def past_call_by(self, now: datetime) -> list[CallbackTask]:
        """Return open tasks whose client was not dialled in time, the first ones."""
        return await self._database.run("past call by", lifecycle.past_call_by, now)

    async def miss_chosen_time(
        self, task: CallbackTask, why: Reason, now: datetime
    ) -> bool:
        """Store that a chosen time was missed, and why; the task waits on.

        Args:
            task: one of :meth:`past_call_by`.
            why: the reason.
            now: the current time.

        Returns:
            False if the task has been changed since; nothing was changed.
        """
        return await self._run_fenced(
            "miss chosen time", lifecycle.miss_chosen_time, task, why, now
        )

    async def next_call_by(self) -> datetime | None:
        """Return until when the next client with a chosen time must be dialled."""
        return await self._database.run("next call by", lifecycle.next_call_by)

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
        """Cancel a task whose caller was not told that it was accepted.

        Args:
            task_id: the id of the task.
            now: the current time.
            later_id: the ``later_id`` that :meth:`add` returned, if any: then only that
                request is taken back.

        Returns:
            The task; None if it was requested again since, and so stays open.

        Raises:
            IllegalMove: it has ended already.
            StoreUnavailable: nothing was changed.
        """
        return await self._run_with(
            self._of_process, "take_back", requests.take_back, task_id, now, later_id
        )

    async def move_back(
        self,
        moved: CallbackTask,
        former: CallbackTask,
        now: datetime,
        later_id: int | None = None,
    ) -> CallbackTask | None:
        """Give a task its former time back; see :func:`requests.move_back`."""
        return await self._run_with(
            self._of_process,
            "take_back",
            requests.move_back,
            moved,
            former,
            now,
            later_id,
        )

    async def take_back_unheard(
        self,
        new: NewTask,
        asked_at: datetime,
        now: datetime,
        recorded: Recorded | None = None,
    ) -> CallbackTask | None:
        """Take back an :meth:`add` that raised CommitUnknown.

        Args:
            new: the task that was given to it.
            asked_at: the time that was given to it.
            now: the current time.
            recorded: the result in the error, if there is one.

        Returns:
            The task; None if it was not stored and never will be, or was requested
            again since and so stays open.

        Raises:
            IllegalMove: it has ended already.
            StoreUnavailable: it is still unknown whether it was stored.
        """
        return await self._run_with(
            self._of_process,
            "take_back",
            requests.take_back_unheard,
            new,
            asked_at,
            now,
            recorded,
        )

    async def serve(
        self,
        number_key: str,
        why: Reason,
        now: datetime,
        *,
        served_at: datetime | None = None,
        asked_at: Mapping[str, datetime] | None = None,
        clock_at: datetime | None = None,
    ) -> CallbackTask | None:
        """End the number's open task, because its client was served in another way.

        It ends at once, or, if it is in progress, after this attempt.

        Args:
            number_key: the number key of the client.
            why: how the client was served.
            now: the current time.
            served_at: when the client was served, if before ``now``; a task that was
                requested later is left alone.
            asked_at: by linkedid, when a call requested the task, if not when the
                request was stored.
            clock_at: the time at this moment, if the talk has just begun; None: it may
                have begun before the clock was set.

        Returns:
            The task; None if the number has no such open task.
        """
        return await self._run_fenced(
            "serve",
            lifecycle.serve,
            number_key,
            why,
            now,
            served_at,
            asked_at,
            clock_at,
        )

    async def rekey(self, plan: NumberPlan, now: datetime) -> list[CallbackTask]:
        """Update the number keys of open tasks after a change of the number plan.

        Args:
            plan: what numbers mean now.
            now: the current time.

        Returns:
            The tasks that ended because their client has another open task.
        """
        return await self._run_fenced("rekey", settings_changes.rekey, plan, now)

    async def use_limit(self, most_calls: int, now: datetime) -> list[CallbackTask]:
        """Make tasks due earlier if a new limit allows calls to their numbers earlier.

        Args:
            most_calls: maximum number of calls to one number within a day; 0: no limit.
            now: the current time.

        Returns:
            The tasks that are now due earlier.
        """
        return await self._run_fenced(
            "use limit", settings_changes.use_limit, most_calls, now
        )

    async def retry(
        self,
        task_id: int,
        why: Reason,
        now: datetime,
        expires_at: datetime,
        *,
        chosen_at: datetime | None = None,
        call_by: datetime | None = None,
    ) -> CallbackTask:
        """Put a task back in line; counters of an ended task are reset.

        Args:
            task_id: the id of the task.
            why: the reason.
            now: the current time.
            expires_at: when it expires. An open task that did not wait for a chosen
                time keeps a later time, unless one is chosen now.
            chosen_at: when it is due, and its place in line; None: due at once.
            call_by: until when its client must be dialled, if a time is chosen.

        Raises:
            NoSuchTask: there is none.
            IllegalMove: it is in progress, has succeeded, or was served.
            AlreadyOpen: its number has another open task.
            NotCallable: its number is blocked.
        """
        task = await self._database.run(
            "retry",
            lifecycle.retry,
            task_id,
            why,
            now,
            expires_at,
            chosen_at,
            call_by,
        )
        if isinstance(task, Refused):
            raise NotCallable(task.why)
        return task

    async def carry_out(
        self, wanted: Sequence[Change], *, preview: bool = False
    ) -> list[CallbackTask | CallbackError]:
        """Carry out changes of tasks in one transaction.

        Args:
            wanted: the changes; few, because callers wait for the end.
            preview: whether to change nothing, and only return what would come of it.

        Returns:
            For each change its task, or why it was refused.
        """
        return await self._database.run(
            "preview" if preview else "change",
            changes.carry_out,
            tuple(wanted),
            preview,
        )

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
        within_s: float | None = None,
    ) -> list[CallbackTask]:
        """Return at most ``limit`` tasks, the newest first.

        With ``before_id``, only tasks older than that one; None for the other arguments
        means any.

        Raises:
            OutOfTime: ``within_s`` had passed before they were read.
        """
        queues = None if queue is None else [queue]
        return await self._database.run(
            "listing",
            selection.select_tasks,
            Selection(statuses=statuses, queues=queues, number_key=number_key),
            limit,
            before_id,
            within_s=within_s,
        )

    async def select(
        self, wanted: Selection, limit: int, before_id: int | None = None
    ) -> list[CallbackTask]:
        """Return at most ``limit`` selected tasks, the newest first.

        Reads in several transactions, so that other requests do not wait long. A task
        that changes meanwhile is selected as before or as after the change.
        """
        tasks: list[CallbackTask] = []
        while True:
            page = await self._database.run(
                "listing", selection.page, wanted, limit - len(tasks), before_id
            )
            tasks += page.tasks
            before_id = page.more_before
            if before_id is None or len(tasks) >= limit:
                return tasks

    async def open_task(
        self, number_key: str, within_s: float | None = None
    ) -> CallbackTask | None:
        """Return the open task of a client, or None.

        Raises:
            OutOfTime: ``within_s`` had passed before it was read.
        """
        found = await self.listing(
            sorted(OPEN), number_key=number_key, limit=1, within_s=within_s
        )
        return found[0] if found else None

    async def open_tasks_of(self, number_keys: Collection[str]) -> list[CallbackTask]:
        """Return the open tasks of some clients.

        Reads in several transactions, so that other requests do not wait long.
        """
        tasks: list[CallbackTask] = []
        left = iter(tuple(number_keys))
        while some := tuple(islice(left, _MAX_CLIENTS)):
            tasks += await self._database.run(
                "open of clients", queries.open_of_clients, some
            )
        return tasks

    async def history(self, task_id: int) -> list[TaskEvent]:
        """Return the events of a task, the oldest first.

        Raises:
            NoSuchTask: there is none.
        """
        return await self._database.run("history", queries.history, task_id)

    async def attempts(self, task_id: int) -> list[Attempt]:
        """Return the attempts of a task, the oldest first.

        Raises:
            NoSuchTask: there is none.
        """
        return await self._database.run("attempts", queries.attempts, task_id)

    async def counts(self) -> dict[Status, int]:
        """Return the number of tasks of each status.

        Counts in several transactions, so that other requests do not wait long. A task
        that changes meanwhile is counted as before or as after the change.
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

    async def respell(self, names: Collection[str]) -> int:
        """Spell the queues of open tasks as the settings do now.

        Args:
            names: of the queues in the settings.

        Returns:
            How many tasks had another spelling.
        """
        return await self._run_fenced("respell", settings_changes.respell, tuple(names))

    async def oldest_open(self, now: datetime) -> dict[str, datetime]:
        """Return for each queue with open tasks since when the first in line waits."""
        return await self._database.run("oldest open", queries.oldest_open, now)

    async def open_by_queue(self) -> dict[str, int]:
        """Return the number of open tasks for each queue that has any."""
        return await self._database.run("open by queue", queries.open_by_queue)

    async def waiting_tasks(
        self, queues: Collection[str] | None = None
    ) -> list[WaitingTask]:
        """Return the first thousand waiting tasks by place; None: of all queues."""
        chosen = None if queues is None else tuple(queues)
        return await self._database.run(
            "waiting tasks", queries.waiting, chosen, _MAX_WAITING
        )

    async def first_in_line(
        self,
        queues: Mapping[str, bool],
        ask_alone: Mapping[str, Collection[str]],
        now: datetime,
        most: int,
    ) -> list[CallbackTask]:
        """Return the first due tasks of queues, in the order in which they are called.

        Args:
            queues: the names of the queues, and whether tasks with a chosen time come
                before all others there.
            ask_alone: the agents who may be asked for tasks assigned to them, by queue;
                tasks of the others are left out. A queue without: none is.
            now: the current time.
            most: maximum number of tasks of each queue.
        """
        return await self._database.run(
            "first in line",
            queries.first_in_line,
            dict(queues),
            dict(ask_alone),
            now,
            most,
        )

    async def measured(self) -> dict[str, Measured]:
        """Return what was measured here, by the name of the queue in lower case."""
        return await self._database.run("measured", measured.get, self._node)

    async def note_talk(
        self, number_key: str, member: str, now: datetime, since: datetime
    ) -> None:
        """Store that an agent talks to a client who called a queue.

        Args:
            number_key: the client.
            member: interface of the agent.
            now: the current time.
            since: older talks, of any client, are deleted.
        """
        await self._run_fenced(
            "note talk", preferred_agents.note_talk, number_key, member, now, since
        )

    async def set_measured(self, by_queue: Mapping[str, Measured]) -> None:
        """Store what was measured, in place of what was stored for these queues."""
        await self._run_fenced("set measured", measured.put, dict(by_queue), self._node)

    async def block(
        self, number: BlockedNumber, region: str, actor: str = ""
    ) -> Blocked:
        """Block a number in all its forms.

        Its open task ends: at once, or, if it is in progress, after this attempt.

        Args:
            number: the number, with the reason and the time.
            region: the ``number_plan.region`` with which its key was made.
            actor: who blocks it; empty if that is unknown.
        """
        return await self._database.run(
            "block", lifecycle.block, number, region, number.at, actor
        )

    async def unblock(self, number_key: str) -> BlockedNumber | None:
        """Unblock a number and return it; None if it was not blocked."""
        return await self._database.run("unblock", guards.unblock, number_key)

    async def blocked(
        self, limit: int, before: str | None = None
    ) -> list[BlockedNumber]:
        """Return at most ``limit`` blocked numbers, the latest first.

        With ``before``, only those that follow the number with this key.
        """
        return await self._database.run("blocked", guards.listing, limit, before)

    async def number_facts(
        self,
        number: str,
        plan: NumberPlan,
        queue: str,
        call_limits: CallLimits,
        now: datetime,
    ) -> NumberFacts:
        """Return all that decides whether a queue may call a number now."""
        return await self._database.run(
            "number facts",
            number_facts.number_facts,
            number,
            plan,
            queue,
            call_limits,
            now,
        )

    async def rekey_blocked(self, plan: NumberPlan) -> int:
        """Update the keys of blocked numbers after a change of the number plan.

        Returns:
            How many numbers had a key of another plan.
        """
        return await self._run_fenced("rekey blocked", guards.rekey, plan)

    async def refuse(self, refusal: Refusal) -> None:
        """Store a refusal; the oldest ones are deleted when there are too many."""
        await self._database.run("refuse", guards.refuse, refusal)

    async def refusals(
        self, queue: str | None, limit: int, before_id: int | None = None
    ) -> list[Refusal]:
        """Return refusals, the latest first; with ``before_id``, only older ones."""
        return await self._database.run(
            "refusals", guards.refusals, queue, limit, before_id
        )

    async def add_offer(
        self,
        offer: Offer,
        number_key: str,
        expires_at: datetime,
        most_calls: int = 0,
        within_s: float | None = None,
    ) -> int | None:
        """Store an offer that begins; return its id.

        The oldest ones are deleted when there are too many.

        Args:
            offer: the offer.
            number_key: the client key of its number.
            expires_at: when a request that is made now would expire.
            most_calls: maximum number of calls to one number within a day; 0: no limit.
            within_s: how long the caller waits for it, in seconds; None: for ever.

        Returns:
            None if a request of this number would be refused.

        Raises:
            OutOfTime: the caller's time was over. Nothing was stored.
        """
        return await self._database.run(
            "add offer",
            offers.add,
            offer,
            number_key,
            expires_at,
            most_calls,
            within_s=within_s,
        )

    async def end_offer(
        self, offer_id: int, outcome: OfferOutcome, at: datetime
    ) -> None:
        """Store what the caller did; the first outcome of an offer stays."""
        await self._database.run("end offer", offers.end, offer_id, outcome, at)

    async def end_offer_of_call(
        self, linkedid: str, since: datetime, outcome: OfferOutcome, at: datetime
    ) -> bool:
        """Store what a caller did whose offer another service made, or a former one.

        Returns:
            Whether the latest offer in the call, not before ``since``, had no outcome.
        """
        return await self._database.run(
            "end offer of call", offers.end_of_call, linkedid, since, outcome, at
        )

    async def latest_offers(self, since: datetime) -> dict[str, datetime]:
        """Return when each number was last offered a callback, not before ``since``."""
        return await self._database.run("latest offers", offers.latest, since)

    async def offer_counts(self, since: datetime) -> dict[OfferOutcome, int]:
        """Return how many offers since then had each outcome."""
        return await self._database.run("offer counts", offers.counts, since)

    async def offers(self, limit: int) -> list[Offer]:
        """Return at most ``limit`` offers, the latest first."""
        return await self._database.run("offers", offers.listing, limit)

    # -- reports and retention ---------------------------------------------

    async def set_zones(self, zones: Mapping[str, str]) -> None:
        """Store the time zones of queues, in which the reports count days."""
        await self._run_fenced("set zones", tallies.set_zones, dict(zones))

    async def days_not_counted(
        self, now: datetime, most: int
    ) -> dict[LocalDay, list[str]]:
        """Return past days whose counts can be stored, each with its queues."""
        found = await self._database.run(
            "days not counted", tallies.not_stored, now.timestamp(), most
        )
        if found:
            # Once these are stored, it is not known any more.
            await self.recount_tasks_set_back()
        return found

    async def count_day(self, queues: Sequence[str], day: LocalDay) -> int:
        """Store the counts of a day; return for how many queues that was possible."""
        return await self._run_fenced(
            "count day", tallies.store_day, tuple(queues), day
        )

    async def count_longer(self, most: int) -> int:
        """Store the counts of weeks, months and years whose parts are all stored.

        Returns how many, at most ``most``; if there are fewer, none is left.
        """
        return await self._run_fenced("count longer", tallies.store_longer, most)

    async def recount_tasks_set_back(self) -> None:
        """Delete the counts of days to which tasks were added after they were stored.

        That happens if the machine's clock was set back.
        """
        await self._run_fenced("recount", tallies.forget_if_set_back)

    async def last_stored_at(self) -> datetime | None:
        """Return when the last event, refusal or offer was stored, if there is one."""
        return await self._database.run("last stored", erasure.last_stored_at)

    async def erase_old(self, before: datetime) -> int:
        """Erase numbers and names of what ended before a time, some rows at a time.

        Returns:
            How many rows were changed; 0: nothing is left.
        """
        return await self._run_fenced(
            "erase old", erasure.erase_old, before.timestamp()
        )

    async def delete_old(self, before: datetime) -> int:
        """Delete tasks that ended before a time, some at a time; return how many."""
        return await self._run_fenced(
            "delete old", erasure.delete_old, before.timestamp()
        )

    async def erase_number(
        self, keys: Collection[str], plan: NumberPlan, why: Reason, now: datetime
    ) -> Erased:
        """Erase a number from everything that has ended.

        Works in several transactions, so that other requests do not wait long. If it is
        interrupted, it can be repeated.

        Args:
            keys: all keys of the number.
            plan: the number plan.
            why: what is written to the history of each task.
            now: the current time.
        """
        tasks = 0
        while some := await self._database.run(
            "erase number", erasure.erase_number, tuple(keys), why, now
        ):
            tasks += some
        others = await self._database.run(
            "erase rows", erasure.erase_rows_of_number, tuple(keys), plan
        )
        mentions = 0
        for after_id in await self._ranges_of_events():
            mentions += await self._database.run(
                "erase mentions", erasure.erase_mentions, tuple(keys), after_id
            )
        await self.leave_nothing_erased()
        return Erased(tasks=tasks, others=others, mentions=mentions)

    async def leave_nothing_erased(self) -> None:
        """Remove what was erased from the engine's log of writes, too."""
        await self._database.run("empty log", erasure.nothing, empty_log=True)

    async def records_of(
        self, keys: Collection[str], plan: NumberPlan
    ) -> NumberRecords:
        """Return everything that is stored about a number."""
        found = await self._database.run("records", erasure.records, tuple(keys), plan)
        own = {task.task.id for task in found.tasks}
        mentioned: set[int] = set()
        for after_id in await self._ranges_of_events():
            mentioned |= await self._database.run(
                "mentions", erasure.mentioning, tuple(keys), after_id
            )
        return evolve(found, mentioned_in=tuple(sorted(mentioned - own)))

    async def open_among(self, task_ids: Collection[int]) -> list[int]:
        """Return those of some tasks that are open, in order."""
        return await self._database.run(
            "open among", erasure.open_among, tuple(task_ids)
        )

    async def clear_block_reason(self, number_key: str) -> None:
        """Erase why a number is blocked; it stays blocked."""
        await self._database.run("clear reason", erasure.clear_block, number_key)

    async def _ranges_of_events(self) -> range:
        last = await self._database.run("last event", erasure.last_event_id)
        return range(0, last, erasure.EVENTS_AT_ONCE)

    async def mark(self, name: str) -> datetime | None:
        """Return the time with a name; None if none is stored."""
        return await self._database.run("mark", marks.get, name)

    async def set_mark(self, name: str, at: datetime) -> None:
        """Store the time with a name, in place of an earlier one."""
        await self._run_fenced("set mark", marks.put, name, at)

    async def events_after(self, event_id: int, limit: int) -> positions.Page:
        """Return the events of all tasks after one, at most ``limit``, in order."""
        return await self._database.run("events", positions.after, event_id, limit)

    async def last_event(self) -> int:
        """Return the last event before which no other one can be stored any more."""
        return await self._database.run("live: last event", live_reads.last_event)

    async def changes_after(
        self, event_id: int, most: int, readers: Sequence[str], before: datetime
    ) -> TaskChanges:
        """Return the tasks with events after one, and how far a reader is behind.

        Args:
            event_id: the last event that is known.
            most: maximum number of events.
            readers: the readers of events; the unread events of the one that is behind
                the others are counted.
            before: only events before this time count for that.
        """
        return await self._database.run(
            "live: changes", live_reads.changes_after, event_id, most, readers, before
        )

    async def open_tasks(self, limit: int, before_id: int | None) -> list[CallbackTask]:
        """Return at most ``limit`` open tasks, the newest first.

        With ``before_id``, only tasks older than that one.
        """
        return await self._database.run(
            "live: open tasks",
            queries.listing,
            tuple(sorted(OPEN)),
            None,
            None,
            limit,
            before_id,
        )

    async def first_event_since(self, since: datetime) -> int:
        """Return the id of the last event before a time; 0: there is none."""
        return await self._database.run(
            "live: first event", live_reads.first_event_since, since
        )

    async def ended_tasks(self, event_id: int, up_to: int) -> list[EndedTask]:
        """Return the tasks that ended by their calls within a range of events."""
        return await self._database.run(
            "live: ended tasks", live_reads.ended, event_id, up_to
        )

    async def position(self, reader: str) -> Position:
        """Return how far a reader of the events has read."""
        return await self._database.run("position", positions.get, reader)

    async def set_position(self, reader: str, position: Position) -> None:
        """Store how far a reader of the events has read."""
        await self._run_fenced("set position", positions.put, reader, position)

    async def share_events(self, reader: str, parts: Collection[str]) -> None:
        """Let parts of the events have readers of their own, and no other parts."""
        await self._run_fenced("share events", positions.share, reader, parts)

    async def skip_events(self, reader: str) -> None:
        """Make a reader skip all events until now."""
        await self._run_fenced("skip events", positions.put_last, reader)
