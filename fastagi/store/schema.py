# SPDX-License-Identifier: MIT
"""The tables, with constraints against impossible values.

Times are seconds since the epoch; statuses and the like are the words of
:mod:`fastagi.domain`. An empty database gets these tables at once
(:mod:`fastagi.store.creation`), an older one by the migrations; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)

from fastagi.domain.attempt import DEFAULT_NODE, Disposition
from fastagi.domain.erasure import ERASED
from fastagi.domain.offers import OfferOutcome, Trigger
from fastagi.domain.reason import Code
from fastagi.domain.task import OPEN, Kind, Move, Status


class LaterState(StrEnum):
    """The state of a request that was made while its client was being called."""

    #: The call is still in progress.
    OPEN = "open"
    #: It was made before the client answered, so that call fulfilled it.
    FULFILLED = "fulfilled"
    #: The client did not answer; the task waits for another attempt, or has ended.
    STANDS = "stands"
    #: It became a new task, or renewed one.
    TASK = "task"
    #: It was cancelled, or its client was served after it.
    ENDED = "ended"
    #: Its caller could not be told in time, and is back in line.
    TAKEN_BACK = "taken back"


class Span(StrEnum):
    """What a row of the table ``tally`` covers."""

    DAY = "day"
    #: From Monday.
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


def _one_of(column: str, words: Iterable[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


def place_of(task: FromClause) -> ColumnElement[float]:
    """Return the place by which a task is called, in the table or an alias of it."""
    return func.coalesce(task.c.place_at, task.c.joined_at)


def priority_of(task: FromClause) -> ColumnElement[int]:
    """Return the priority by which a task is called."""
    return func.coalesce(task.c.place_priority, task.c.priority)


def among_chosen(task: FromClause) -> ColumnElement[bool]:
    """Return whether a task is called among those with a chosen time."""
    return func.coalesce(
        task.c.place_chosen, task.c.chosen_at.is_not(None), type_=Boolean
    )


def _flag(name: str) -> Boolean:
    return Boolean(create_constraint=True, name=name)


def _reason_code() -> Column[str]:
    """Return the column of a reason's code; ``reason_params`` has its parameters."""
    return Column("reason_code", Text, nullable=False, server_default=Code.TEXT.value)


def _priority() -> Column[int]:
    """Return the column of the caller's priority in Asterisk's queue."""
    return Column("priority", Integer, nullable=False, server_default="0")


#: The condition of the partial indexes for open tasks. A database uses them only for a
#: query with exactly this condition.
OPEN_ONLY: Final = _one_of("status", [status for status in Status if status in OPEN])
#: True for ended tasks only, by the constraint "ended".
ENDED_ONLY: Final = "ended_at IS NOT NULL"
PENDING_ONLY: Final = f"status = '{Status.PENDING.value}'"
#: The condition of the partial index for chosen times that are not settled.
CALL_BY_SET: Final = "call_by IS NOT NULL"
#: The condition of the partial index for ended tasks with a number.
NOT_ERASED: Final = f"ended_at IS NOT NULL AND number <> '{ERASED}'"
#: The condition of the partial index for events in which a client asked again.
REPEATED: Final = f"move = '{Move.REPEAT.value}'"
#: The condition of the partial index for attempts in progress.
UNDER_WAY: Final = "ended_at IS NULL"

#: All indexes, in the order in which they are created. Between two indexes that are
#: equally good for a query, an engine chooses by this order.
INDEXES: Final[list[Index]] = []


def _index(
    *columns: Column[Any],
    name: str | None = None,
    unique: bool = False,
    where: str = "",
) -> None:
    """Add an index.

    Args:
        columns: the columns of one table.
        name: its name; None: composed of the names of table and columns.
        unique: whether two rows may not have the same values.
        where: the condition of a partial index.
    """
    condition = text(where) if where else None
    index = Index(
        name,
        *columns,
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )
    INDEXES.append(index)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

task = Table(
    "task",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("number_key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("linkedid", Text, nullable=False),
    Column("joined_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("attempts", Integer, nullable=False),
    Column("member_attempts", Integer, nullable=False),
    Column("reason_params", Text, nullable=False),
    Column("cancel_requested", _flag("cancel_requested"), nullable=False),
    Column("served", _flag("served"), nullable=False),
    _reason_code(),
    _priority(),
    #: The time that somebody chose for the call; NULL: as soon as possible.
    Column("chosen_at", Double),
    #: Until when the client must be dialled, so that it is kept; NULL once that is
    #: settled.
    Column("call_by", Double),
    #: The place in line that an operator gave it; NULL: its own.
    Column("place_at", Double),
    Column("place_priority", Integer),
    Column("place_chosen", Boolean),
    #: Interface of the only agent who is asked for it; NULL: any agent.
    Column("assigned_to", Text),
    Column("assigned_at", Double),
    #: NULL: until it is released.
    Column("assigned_until", Double),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    CheckConstraint(_one_of("status", Status), name="status"),
    CheckConstraint(f"({OPEN_ONLY}) = (ended_at IS NULL)", name="ended"),
    CheckConstraint("number <> '' AND number_key <> ''", name="number"),
    CheckConstraint("attempts >= 0 AND member_attempts >= 0", name="attempts"),
    # Logs and commands contain the id, so it is never used again for another task.
    sqlite_autoincrement=True,
)
_index(task.c.number_key, name="uq_task_open_number_key", unique=True, where=OPEN_ONLY)
_index(task.c.queue, task.c.status, task.c.due_at)
_index(task.c.expires_at, name="ix_task_pending_expires_at", where=PENDING_ONLY)
_index(task.c.number_key)
#: Indexes for: the few open tasks among a million ended ones, by queue; ended tasks by
#: status, to list and count them; ended tasks by queue.
_index(
    task.c.queue, task.c.joined_at, name="ix_task_open_queue_joined_at", where=OPEN_ONLY
)
_index(task.c.status, task.c.id, name="ix_task_ended_status_id", where=ENDED_ONLY)
_index(task.c.queue, task.c.id)
#: The few tasks whose chosen time may still be missed.
_index(task.c.call_by, name="ix_task_call_by", where=CALL_BY_SET)
#: The tasks of a day, for the reports.
_index(task.c.created_at)
#: The tasks whose numbers are to be erased after a time.
_index(task.c.ended_at, name="ix_task_not_erased", where=NOT_ERASED)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", ForeignKey(task.c.id), nullable=False),
    Column("channel_id", Text, nullable=False, unique=True),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("disposition", Text),
    Column("member", Text, nullable=False),
    Column("talk_s", Double, nullable=False),
    Column("reason_params", Text, nullable=False),
    #: The name of the Asterisk that places the call.
    Column("node", Text, nullable=False, server_default=DEFAULT_NODE),
    _reason_code(),
    #: When the client was dialled; NULL: not yet, or never.
    Column("dialled_at", Double),
    CheckConstraint(_one_of("disposition", Disposition), name="disposition"),
    CheckConstraint(f"({UNDER_WAY}) = (disposition IS NULL)", name="ended"),
    CheckConstraint("talk_s >= 0", name="talk"),
    sqlite_autoincrement=True,
)
_index(attempt.c.task_id)
_index(
    attempt.c.task_id, name="uq_attempt_under_way_task_id", unique=True, where=UNDER_WAY
)
#: The limits count the latest calls.
_index(attempt.c.dialled_at)

#: Append-only: triggers refuse updates and deletes. But ended tasks may be deleted, and
#: their reason_params and linkedid may be erased.
task_event = Table(
    "task_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", ForeignKey(task.c.id), nullable=False),
    Column("attempt_id", ForeignKey(attempt.c.id)),
    Column("at", Double, nullable=False),
    Column("move", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason_params", Text, nullable=False),
    #: The linkedid of the caller's call, if that caused the event; otherwise empty.
    Column("linkedid", Text, nullable=False),
    _reason_code(),
    CheckConstraint(_one_of("move", Move), name="move"),
    CheckConstraint(_one_of("status", Status), name="status"),
    sqlite_autoincrement=True,
)
_index(task_event.c.task_id)
_index(task_event.c.linkedid, name="ix_task_event_linkedid", where="linkedid <> ''")
_index(task_event.c.task_id, name="ix_task_event_repeated", where=REPEATED)

#: The kind of request, for events that are requests.
asked = Table(
    "asked",
    metadata,
    Column(
        "event_id",
        ForeignKey(task_event.c.id, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("kind", Text, nullable=False),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
)

#: When the client of an attempt answered; stored as soon as it is known.
answer = Table(
    "answer",
    metadata,
    Column(
        "attempt_id", ForeignKey(attempt.c.id, ondelete="CASCADE"), primary_key=True
    ),
    Column("at", Double, nullable=False),
)

#: Requests of the last 24 hours in which the caller entered another number.
entered_number = Table(
    "entered_number",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("caller_key", Text, nullable=False),
    Column("at", Double, nullable=False),
)
_index(entered_number.c.caller_key, entered_number.c.at)

#: Requests that were made while their client was being called. The call does not fulfil
#: a request that was made after the client had answered.
later_request = Table(
    "later_request",
    metadata,
    #: The event of the request in the history of the task that was being called.
    Column(
        "event_id",
        ForeignKey(task_event.c.id, ondelete="CASCADE"),
        primary_key=True,
    ),
    #: The attempt that was in progress.
    Column("attempt_id", ForeignKey(attempt.c.id, ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("linkedid", Text, nullable=False),
    Column("joined_at", Double, nullable=False),
    Column("asked_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("reason_params", Text, nullable=False),
    #: Whether the client was known to have answered when it was made.
    Column("answered", _flag("answered"), nullable=False),
    Column("state", Text, nullable=False),
    #: The event of the request in the history of the task that it became.
    Column("next_event_id", ForeignKey(task_event.c.id, ondelete="CASCADE")),
    _reason_code(),
    _priority(),
    #: As in a task.
    Column("chosen_at", Double),
    Column("call_by", Double),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    CheckConstraint(_one_of("state", LaterState), name="state"),
)
_index(later_request.c.attempt_id)
_index(later_request.c.next_event_id)

#: Times that must survive a restart.
mark = Table(
    "mark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
)

#: How far each reader of the events has read.
position = Table(
    "position",
    metadata,
    Column("name", Text, primary_key=True),
    #: The last event of which all entries are written.
    Column("event_id", Integer, nullable=False),
    #: How many entries of the next event are written.
    Column("entries", Integer, nullable=False),
)

#: What was measured in each queue, for the expected wait
#: (:class:`fastagi.domain.expected_wait.Measured`).
measured = Table(
    "measured",
    metadata,
    #: The name of the queue in lower case.
    Column("queue", Text, primary_key=True),
    Column("handling_s", Double, nullable=False),
    Column("handling_weight", Double, nullable=False),
    Column("ring_s", Double, nullable=False),
    Column("ring_weight", Double, nullable=False),
    Column("callers_left", Double, nullable=False),
    Column("waited_s", Double, nullable=False),
)

#: The agent who talked last to a client who had called a queue. Callbacks are in the
#: table attempt.
last_talk = Table(
    "last_talk",
    metadata,
    Column("number_key", Text, primary_key=True),
    #: Interface of the agent.
    Column("member", Text, nullable=False),
    Column("at", Double, nullable=False),
)
_index(last_talk.c.at)

#: Numbers that are never called, whoever requests it.
blocked = Table(
    "blocked",
    metadata,
    #: The same for each form of the number. A second blocked form has a suffix.
    Column("number_key", Text, primary_key=True),
    #: The number as it was blocked: digits, perhaps with a leading ``+``.
    Column("number", Text, nullable=False),
    #: The value of ``number_plan.region`` when the key was made; may be empty.
    Column("region", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
    CheckConstraint("number <> '' AND number_key <> ''", name="number"),
)

#: The latest requests and missed calls that are not called back.
refusal = Table(
    "refusal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("queue", Text, nullable=False),
    #: The caller ID, without unsafe characters; empty if it was withheld.
    Column("number", Text, nullable=False),
    Column("reason_params", Text, nullable=False),
    Column("linkedid", Text, nullable=False),
    _reason_code(),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    # Ids are never used again, so the highest ids are the latest refusals.
    sqlite_autoincrement=True,
)

#: The latest offers of a callback to callers who waited, and what they did.
offer = Table(
    "offer",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("queue", Text, nullable=False),
    #: The caller ID, without unsafe characters.
    Column("number", Text, nullable=False),
    Column("position", Integer, nullable=False),
    #: What the caller heard; NULL: it was not known.
    Column("expected_wait_s", Double),
    Column("reason", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("ended_at", Double),
    Column("linkedid", Text, nullable=False),
    CheckConstraint(_one_of("reason", Trigger), name="reason"),
    CheckConstraint(_one_of("outcome", OfferOutcome), name="outcome"),
    CheckConstraint(
        f"(outcome = '{OfferOutcome.ASKED.value}') = (ended_at IS NULL)", name="ended"
    ),
    # Ids are never used again, so the highest ids are the latest offers.
    sqlite_autoincrement=True,
)
_index(offer.c.at)

#: The talks that completed tasks, for the reports.
reached = Table(
    "reached",
    metadata,
    Column("task_id", ForeignKey(task.c.id, ondelete="CASCADE"), primary_key=True),
    #: When agent and client began to talk.
    Column("talk_at", Double, nullable=False),
    #: For how long the queue was open from when the task was due until the talk; NULL:
    #: not known.
    Column("net_wait_s", Double),
)

#: The time zone of each queue, in which the reports count its days and hours.
queue_zone = Table(
    "queue_zone",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("zone", Text, nullable=False),
)

#: What the reports count, for each past day, week, month and year of a queue without
#: open tasks.
#: All of it can be counted again from the tasks, except for days whose tasks were
#: deleted.
tally = Table(
    "tally",
    metadata,
    Column("span", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("begins_at", Double, primary_key=True),
    #: The kind of the tasks; empty: what does not depend on tasks, such as offers. Each
    #: day and month that was counted has a row with an empty kind.
    Column("kind", Text, primary_key=True),
    Column("ends_at", Double, nullable=False),
    *(
        Column(name, Integer, nullable=False)
        for name in ("asked", "reached", "failed", "expired", "cancelled", "served")
    ),
    #: The numbers by key (:mod:`fastagi.domain.tally`), as JSON.
    Column("numbers", Text, nullable=False),
    #: The highest id of a task when it was counted.
    Column("last_task", Integer, nullable=False),
    #: Whether tasks of the day were deleted, so it can not be counted again.
    Column("final", _flag("final"), nullable=False),
    CheckConstraint(_one_of("span", Span), name="span"),
)
_index(tally.c.queue, tally.c.begins_at)
#: Days are listed without reading the rows, which are long.
_index(
    tally.c.span,
    tally.c.kind,
    tally.c.begins_at,
    tally.c.queue,
    tally.c.ends_at,
    tally.c.asked,
    tally.c.reached,
    tally.c.failed,
    tally.c.expired,
    tally.c.cancelled,
    tally.c.served,
    name="ix_tally_days",
)

#: Clients in a call on each Asterisk, for the other services on the database.
in_call = Table(
    "in_call",
    metadata,
    Column("node", Text, primary_key=True),
    Column("number_key", Text, primary_key=True),
)

#: What the holder of each Asterisk tells the other services on the database.
told = Table(
    "told",
    metadata,
    Column("node", Text, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("about", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

#: The process that runs the service on this database, or the processes, and who holds
#: each Asterisk.
lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    #: Changes with each start of the machine; empty if it cannot be read.
    Column("boot_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    #: The pid namespace of the process; a container has its own.
    Column("pid_space", Text, nullable=False),
    #: When the process started; a later process with the same pid differs in it.
    Column("process_start", Text, nullable=False),
    #: A random text of each run of the service; empty when nobody holds the lease.
    Column("token", Text, nullable=False),
    Column("since", Double, nullable=False),
    #: Grows each time the lease is taken.
    Column("epoch", Integer, nullable=False),
    #: When the lease expires, by the database's clock; NULL with a lock on a file.
    Column("valid_until", Double),
    #: ``systemname`` of the Asterisk, which no other one has; NULL: not known, or
    #: another one has it.
    Column("system_name", Text),
    #: The token of the service that asks the holder for the Asterisk; NULL: none does.
    Column("wanted_by", Text),
    #: Since when its holder has had no link to the Asterisk, so that another one may
    #: have it; NULL: there is a link, or it was lost just now.
    Column("link_lost_at", Double),
)
_index(lease.c.system_name, name="uq_lease_system_name", unique=True)

#: What each of several services on this database tells the others. Who runs, and since
#: when, is in the table lease.
instance = Table(
    "instance",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    #: Its settings in force that all services should have alike, as JSON, without
    #: secrets; and their digest.
    Column("settings", Text, nullable=False),
    Column("digest", Text, nullable=False),
    #: When it ran last, by the database's clock; written once a minute.
    Column("seen_at", Double, nullable=False),
)
