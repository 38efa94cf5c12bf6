# SPDX-License-Identifier: MIT
"""Tasks, their attempts and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_STATUS = (
    "status IN ('pending', 'calling', 'completed', 'failed', 'expired', 'cancelled',"
    " 'served')"
)
_OPEN = "status IN ('pending', 'calling')"
_REFUSAL = "the history of a task is only ever added to"


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "task",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("number_key", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.Column("joined_at", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("member_attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column(
            "cancel_requested",
            sa.Boolean(create_constraint=True, name="cancel_requested"),
            nullable=False,
        ),
        sa.Column(
            "served",
            sa.Boolean(create_constraint=True, name="served"),
            nullable=False,
        ),
        sa.CheckConstraint("kind IN ('requested', 'missed', 'manual')", name="kind"),
        sa.CheckConstraint(_STATUS, name="status"),
        sa.CheckConstraint(f"({_OPEN}) = (ended_at IS NULL)", name="ended"),
        sa.CheckConstraint("number <> '' AND number_key <> ''", name="number"),
        sa.CheckConstraint("attempts >= 0 AND member_attempts >= 0", name="attempts"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_task_open_number_key",
        "task",
        ["number_key"],
        unique=True,
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )
    op.create_index(
        "ix_task_queue_status_due_at", "task", ["queue", "status", "due_at"]
    )
    op.create_index(
        "ix_task_pending_expires_at",
        "task",
        ["expires_at"],
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("ix_task_number_key", "task", ["number_key"])
    op.create_table(
        "attempt",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("disposition", sa.Text),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("talk_s", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint(
            "disposition IN ('ANSWERED', 'SHORT', 'BUSY', 'NO ANSWER', 'CONGESTION',"
            " 'UNAVAILABLE', 'CANCEL', 'MEMBER NO ANSWER', 'NOT PLACED', 'UNKNOWN')",
            name="disposition",
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (disposition IS NULL)", name="ended"),
        sa.CheckConstraint("talk_s >= 0", name="talk"),
        sa.UniqueConstraint("channel_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempt_task_id", "attempt", ["task_id"])
    op.create_index(
        "uq_attempt_under_way_task_id",
        "attempt",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "task_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False),
        sa.Column("attempt_id", sa.Integer, sa.ForeignKey("attempt.id")),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.CheckConstraint(
            "move IN ('create', 'repeat', 'begin', 'progress', 'retry', 'complete',"
            " 'give_up', 'expire', 'cancel_later', 'cancel', 'serve_later', 'serve',"
            " 'reopen')",
            name="move",
        ),
        sa.CheckConstraint(_STATUS, name="status"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_task_event_task_id", "task_event", ["task_id"])
    op.create_index(
        "ix_task_event_linkedid",
        "task_event",
        ["linkedid"],
        sqlite_where=sa.text("linkedid <> ''"),
        postgresql_where=sa.text("linkedid <> ''"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _guard_history_on_sqlite()
    else:
        _guard_history_on_postgresql()


def _guard_history_on_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER task_event_update BEFORE UPDATE ON task_event"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    )
    op.execute(
        "CREATE TRIGGER task_event_delete BEFORE DELETE ON task_event"
        " WHEN EXISTS (SELECT 1 FROM task"
        f" WHERE task.id = OLD.task_id AND task.{_OPEN})"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    )


def _guard_history_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION task_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN"
        "   IF TG_OP = 'UPDATE' OR EXISTS (SELECT 1 FROM task"
        f"    WHERE task.id = OLD.task_id AND task.{_OPEN}) THEN"
        f"    RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';"
        "   END IF;"
        "   RETURN OLD;"
        " END $$"
    )
    op.execute(
        "CREATE TRIGGER task_event_guard BEFORE UPDATE OR DELETE ON task_event"
        " FOR EACH ROW EXECUTE FUNCTION task_event_guard()"
    )
