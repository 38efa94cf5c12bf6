# SPDX-License-Identifier: MIT
"""The live state: what can be seen of the service and its queues at one moment.

A reader gets one :class:`Snapshot`, then each :class:`Change` to it. Entities are sent
whole. They contain times, not durations that grow, so an entity is the same until
something happens to it. :mod:`fastagi.service.live_state` makes them,
:mod:`fastagi.doors.live_json` writes them as JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Protocol

from attrs import field, frozen

from fastagi.domain.agent_states import AgentState
from fastagi.domain.attempt import Stage
from fastagi.domain.reason import Reason
from fastagi.errors import CallbackError, Problem
from fastagi.service.commands import (
    AsteriskStatus,
    DatabaseHolder,
    NodeStatus,
    TaskState,
)


@frozen(kw_only=True)
class LiveService:
    """The service, its link to Asterisk, its lease and its database."""

    version: str
    started_at: datetime
    #: The only Asterisk, or the first one.
    node: str
    asterisk: AsteriskStatus
    #: All Asterisks.
    nodes: tuple[NodeStatus, ...]
    #: Whether the state of the queues of every Asterisk is known.
    queues_known: bool
    #: The holder of the lease on the database: this service.
    holder: DatabaseHolder
    #: Whether it certainly holds the lease; without that no call is placed.
    lease_held: bool
    #: The problem of the database; None: it works.
    database_problem: Problem | None
    #: How long the last reading took, from the request to its result, in seconds; None:
    #: not measured yet.
    database_latency_s: float | None
    #: The number of events of tasks that are not written to queue_log yet; None: not
    #: known, or queue_log is not written.
    events_waiting: int | None
    #: The time of the oldest of them; None if there is none.
    events_waiting_since: datetime | None
    #: What keeps all tasks from being called; None: nothing.
    why_no_callbacks: Reason | None


@frozen(kw_only=True)
class LiveQueue:
    """One queue of the settings."""

    open: bool
    #: When it opened; None: it is closed, or has been open for longer than a week.
    open_since: datetime | None
    #: When the queue opens or closes next; None: never.
    until: datetime | None
    #: The name of the queue's time zone.
    zone: str
    #: Who takes its callbacks: a queue of Asterisk, or an extension.
    target: str
    #: Whether Asterisk has the target.
    known: bool
    #: The number of live callers who wait, and since when the one who waits longest
    #: does; None: nobody waits.
    waiting: int
    waiting_since: datetime | None
    #: The number of callbacks that wait in Asterisk's line.
    in_line: int
    #: The number of open tasks: those that wait, and those that are being called.
    callbacks_waiting: int
    callbacks_calling: int
    #: Since when the first task in line waits; None: none waits.
    oldest_callback_since: datetime | None
    #: When the next task is due that is not due yet; None: there is none.
    next_due_at: datetime | None
    #: What keeps the next task of the queue from being called; None: nothing, or no
    #: task waits.
    why_no_callback: Reason | None
    #: The numbers of agents of the target by state. Only free ones are free here: an
    #: agent may be paused in one queue only.
    agents: int
    free: int
    ringing: int
    busy: int
    wrapping_up: int
    paused: int
    unavailable: int
    #: How long a caller is expected to wait who joins now, and when the next callback
    #: is expected to be placed; None: not known.
    expected_wait_s: float | None
    expected_callback_at: datetime | None
    #: Since midnight in the queue's zone: tasks that ended as reached, and as failed or
    #: expired. Tasks that were cancelled, or whose client was served in another way,
    #: count as neither.
    reached_today: int
    not_reached_today: int
    #: Half of the clients reached today were reached within this time, in seconds, from
    #: the request (or the chosen time) to the talk; None: nobody was.
    median_time_to_reach_s: float | None

    @property
    def share_reached_today(self) -> float | None:
        """The share of clients who were reached, from 0 to 1; None: no task ended."""
        ended = self.reached_today + self.not_reached_today
        return self.reached_today / ended if ended else None


@frozen(kw_only=True)
class LiveAgent:
    """One agent, who may be a member of several queues."""

    name: str
    state: AgentState
    #: Since when the agent is in this state; None: since before the service looked.
    since: datetime | None
    #: The names of the agent's queues: those of the settings, and targets of callbacks.
    queues: tuple[str, ...]
    #: Those in which the agent is paused.
    paused_in: tuple[str, ...] = ()
    pause_reason: str = ""


@frozen(kw_only=True)
class LiveCaller:
    """One caller who waits in a queue, or a callback that waits in line like one."""

    queue: str
    #: Empty if it is withheld.
    number: str
    name: str
    #: The position in Asterisk's queue, from 1; None: the caller has left it to be
    #: asked something, and will be back.
    position: int | None
    #: When the caller joined the queue.
    joined_at: datetime
    #: The priority in the queue; a higher one goes first.
    priority: int
    #: The task whose callback this is; None: a live caller.
    task_id: int | None = None


@frozen(kw_only=True)
class LiveAttempt:
    """One attempt in progress."""

    task_id: int
    queue: str
    number: str
    name: str
    stage: Stage
    #: Since when it is at this stage, as far as the service saw it.
    since: datetime
    #: When the attempt began.
    started_at: datetime
    #: Interface of the agent who has answered or whose phone rings; empty: none yet.
    agent: str
    #: Whether the client is called before an agent.
    client_first: bool


@frozen(kw_only=True)
class Entities:
    """Some entities by their keys.

    Attributes:
        service: None in a change that does not change it.
        queues: by name, as in the settings.
        agents: by interface.
        callers: by uniqueid.
        tasks: the open tasks, by id.
        attempts: those in progress, by id.
    """

    service: LiveService | None = None
    queues: Mapping[str, LiveQueue] = field(factory=dict)
    agents: Mapping[str, LiveAgent] = field(factory=dict)
    callers: Mapping[str, LiveCaller] = field(factory=dict)
    tasks: Mapping[int, TaskState] = field(factory=dict)
    attempts: Mapping[int, LiveAttempt] = field(factory=dict)


@frozen(kw_only=True)
class Removed:
    """The keys of entities that are gone."""

    queues: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()
    tasks: tuple[int, ...] = ()
    attempts: tuple[int, ...] = ()


@frozen(kw_only=True, eq=False)
class Snapshot:
    """Everything at one moment.

    Attributes:
        id: the number of the last change that it contains.
    """

    id: int
    at: datetime
    all: Entities


@frozen(kw_only=True, eq=False)
class Change:
    """What has changed since the message before.

    Attributes:
        id: one more than that of the message before.
        set: entities that are new or have changed.
        remove: entities that are gone.
    """

    id: int
    at: datetime
    set: Entities
    remove: Removed


class TooSlow(CallbackError):
    """The subscriber did not take its messages in time; it has to subscribe again."""


class Subscription(Protocol):
    """The messages for one subscriber: a snapshot, then each change to it."""

    def next(self) -> Awaitable[Snapshot | Change]:
        """Return the next message, as soon as there is one.

        Raises:
            TooSlow: too many messages waited, and they were dropped.
            Stopping: the service stops.
        """

    def close(self) -> None:
        """End the subscription; nothing is computed while there is none."""


class LiveFeed(Protocol):
    """Where the live state comes from."""

    def snapshot(self) -> Awaitable[Snapshot]:
        """Return everything as it is now.

        While the database can not be used, the tasks are as they were last read, and
        `LiveService.database_problem` says so.
        """

    def subscribe(self) -> Subscription:
        """Return a new subscription, whose first message is a snapshot."""
