# SPDX-License-Identifier: MIT
"""The tables. What must never be true is refused here, whoever writes.

Times are epoch seconds, words are those of :mod:`fastagi.domain`. The migrations make
the tables; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from fastagi.domain.attempt import DEFAULT_NODE, Disposition
from fastagi.domain.reason import Code
from fastagi.domain.task import OPEN, Kind, Move, Status


class LaterState(StrEnum):
    """What became of a request that came while its client was being called."""

    #: The call is still under way.
    OPEN = "open"
    #: It came before the client answered: that call was the answer to it.
    FULFILLED = "fulfilled"
    #: The task that was being called waits for another attempt, or ended without the
    #: client having answered.
    STANDS = "stands"
    #: It became a task of its own, or part of one.
    TASK = "task"
    #: It was cancelled, or its client was served after it.
    ENDED = "ended"
    #: Its caller could not be told of it in time, and is back in line.
    TAKEN_BACK = "taken back"


def _one_of(column: str, words: Iterable[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


def _flag(name: str) -> Boolean:
    return Boolean(create_constraint=True, name=name)


def _reason_code() -> Column[str]:
    """Return the column of a reason's code; ``reason_params`` has its parameters."""
    return Column("reason_code", Text, nullable=False, server_default=Code.TEXT.value)


#: An index that is for open tasks only is used only where the same words stand.
OPEN_ONLY: Final = _one_of("status", [status for status in Status if status in OPEN])
#: It holds for each ended task (see the constraint), and for no other.
ENDED_ONLY: Final = "ended_at IS NOT NULL"
PENDING_ONLY: Final = f"status = '{Status.PENDING.value}'"
#: Likewise for attempts.
UNDER_WAY: Final = "ended_at IS NULL"

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
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    CheckConstraint(_one_of("status", Status), name="status"),
    CheckConstraint(f"({OPEN_ONLY}) = (ended_at IS NULL)", name="ended"),
    CheckConstraint("number <> '' AND number_key <> ''", name="number"),
    CheckConstraint("attempts >= 0 AND member_attempts >= 0", name="attempts"),
    # An id stands in logs and commands: it is never given to another task.
    sqlite_autoincrement=True,
)
Index(
    "uq_task_open_number_key",
    task.c.number_key,
    unique=True,
    sqlite_where=text(OPEN_ONLY),
    postgresql_where=text(OPEN_ONLY),
)
Index("ix_task_queue_status_due_at", task.c.queue, task.c.status, task.c.due_at)
Index(
    "ix_task_pending_expires_at",
    task.c.expires_at,
    sqlite_where=text(PENDING_ONLY),
    postgresql_where=text(PENDING_ONLY),
)
Index(None, task.c.number_key)
#: Among a million ended tasks the few open ones, by queue; the ended ones of one
#: status, to list and to count them; and those of one queue.
Index(
    "ix_task_open_queue_joined_at",
    task.c.queue,
    task.c.joined_at,
    sqlite_where=text(OPEN_ONLY),
    postgresql_where=text(OPEN_ONLY),
)
Index(
    "ix_task_ended_status_id",
    task.c.status,
    task.c.id,
    sqlite_where=text(ENDED_ONLY),
    postgresql_where=text(ENDED_ONLY),
)
Index(None, task.c.queue, task.c.id)

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
    #: The Asterisk that makes the call.
    Column("node", Text, nullable=False, server_default=DEFAULT_NODE),
    _reason_code(),
    CheckConstraint(_one_of("disposition", Disposition), name="disposition"),
    CheckConstraint(f"({UNDER_WAY}) = (disposition IS NULL)", name="ended"),
    CheckConstraint("talk_s >= 0", name="talk"),
    sqlite_autoincrement=True,
)
Index(None, attempt.c.task_id)
#: Limits count the latest.
Index(None, attempt.c.started_at)
Index(
    "uq_attempt_under_way_task_id",
    attempt.c.task_id,
    unique=True,
    sqlite_where=text(UNDER_WAY),
    postgresql_where=text(UNDER_WAY),
)

#: Only ever added to: triggers refuse to change a line, and to delete one of a task
#: that is still open.
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
    #: The call that caused it, for those a caller causes; empty for the others.
    Column("linkedid", Text, nullable=False),
    _reason_code(),
    CheckConstraint(_one_of("move", Move), name="move"),
    CheckConstraint(_one_of("status", Status), name="status"),
    sqlite_autoincrement=True,
)
Index(None, task_event.c.task_id)
Index(
    "ix_task_event_linkedid",
    task_event.c.linkedid,
    sqlite_where=text("linkedid <> ''"),
    postgresql_where=text("linkedid <> ''"),
)

#: In what way a task was asked for, of those events in which it was.
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

#: When the client of an attempt answered, as soon as that is known.
answer = Table(
    "answer",
    metadata,
    Column(
        "attempt_id", ForeignKey(attempt.c.id, ondelete="CASCADE"), primary_key=True
    ),
    Column("at", Double, nullable=False),
)

#: Requests that came while their client was being called. One that came after the
#: client had answered is not fulfilled by that call.
later_request = Table(
    "later_request",
    metadata,
    #: The repeat in the story of the task that was being called.
    Column(
        "event_id",
        ForeignKey(task_event.c.id, ondelete="CASCADE"),
        primary_key=True,
    ),
    #: The call that was under way.
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
    #: Whether the client was known to have answered when it came.
    Column("answered", _flag("answered"), nullable=False),
    Column("state", Text, nullable=False),
    #: Its event in the story of the task it became.
    Column("next_event_id", ForeignKey(task_event.c.id, ondelete="CASCADE")),
    _reason_code(),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    CheckConstraint(_one_of("state", LaterState), name="state"),
)
Index(None, later_request.c.attempt_id)
Index(None, later_request.c.next_event_id)

#: Moments the service must know after a restart.
mark = Table(
    "mark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
)

#: How far in the table of events somebody who tells them elsewhere has come.
position = Table(
    "position",
    metadata,
    Column("name", Text, primary_key=True),
    #: The last event that is told to its end.
    Column("event_id", Integer, nullable=False),
    #: How many entries are told of the event after that one.
    Column("entries", Integer, nullable=False),
)

#: Numbers that are never called, whatever asks for it.
blocked = Table(
    "blocked",
    metadata,
    #: The same for each form of it; of a further form that was blocked, with that form.
    Column("number_key", Text, primary_key=True),
    #: As it was blocked: digits, perhaps a leading ``+``.
    Column("number", Text, nullable=False),
    #: The region by which the key was made; empty for none.
    Column("region", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Double, nullable=False),
    CheckConstraint("number <> '' AND number_key <> ''", name="number"),
)

#: Requests and missed calls that are not called back, the latest of them.
refusal = Table(
    "refusal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("queue", Text, nullable=False),
    #: What was shown as caller ID, in a safe form; empty if it was withheld.
    Column("number", Text, nullable=False),
    Column("reason_params", Text, nullable=False),
    Column("linkedid", Text, nullable=False),
    _reason_code(),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    # An id is never given again: by it is told which are the latest.
    sqlite_autoincrement=True,
)

#: Which process runs the service on this database.
lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    #: Changes with each start of the machine; empty if it can not be read.
    Column("boot_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    #: In which the process has that id: a container has one of its own.
    Column("pid_space", Text, nullable=False),
    #: When the process began; tells it from a later one with the same id.
    Column("process_start", Text, nullable=False),
    #: Of one run of the service; empty when nobody holds the lease.
    Column("token", Text, nullable=False),
    Column("since", Double, nullable=False),
    #: Grows each time the lease is taken.
    Column("epoch", Integer, nullable=False),
    #: By the database's clock; NULL where a lock on a file says whether it is held.
    Column("valid_until", Double),
)
