# SPDX-License-Identifier: MIT
"""Tables and indexes of the reports; numbers may be erased from ended tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_ERASABLE = "ended_at IS NOT NULL AND number <> 'erased'"
_REFUSAL = "the history of a task is only ever added to"
#: What is the same before and after a number is erased from an event.
_SAME = ("id", "task_id", "at", "move", "status", "reason_code")
_COUNTS = ("asked", "reached", "failed", "expired", "cancelled", "served")


def upgrade() -> None:
    """Create them; of older talks only the beginning is known."""
    op.create_index("ix_task_created_at", "task", ["created_at"])
    op.create_index(
        "ix_task_event_repeated",
        "task_event",
        ["task_id"],
        sqlite_where=sa.text("move = 'repeat'"),
        postgresql_where=sa.text("move = 'repeat'"),
    )
    op.create_table(
        "reached",
        sa.Column(
            "task_id",
            sa.Integer,
            sa.ForeignKey("task.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("talk_at", sa.Double, nullable=False),
        sa.Column("net_wait_s", sa.Double),
    )
    op.execute(
        "INSERT INTO reached (task_id, talk_at)"
        " SELECT task_id, max(ended_at - talk_s) FROM attempt"
        " WHERE disposition = 'ANSWERED'"
        " AND task_id IN (SELECT id FROM task WHERE status = 'completed')"
        " GROUP BY task_id"
    )
    op.create_table(
        "queue_zone",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("zone", sa.Text, nullable=False),
    )
    op.create_table(
        "tally",
        sa.Column("span", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("begins_at", sa.Double, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("ends_at", sa.Double, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in _COUNTS),
        sa.Column("numbers", sa.Text, nullable=False),
        sa.Column("last_task", sa.Integer, nullable=False),
        sa.Column(
            "final", sa.Boolean(create_constraint=True, name="final"), nullable=False
        ),
        sa.CheckConstraint("span IN ('day', 'week', 'month')", name="span"),
    )
    op.create_index("ix_tally_queue_begins_at", "tally", ["queue", "begins_at"])
    op.create_index(
        "ix_tally_days",
        "tally",
        ["span", "kind", "begins_at", "queue", "ends_at", *_COUNTS],
    )
    op.create_index(
        "ix_task_not_erased",
        "task",
        ["ended_at"],
        sqlite_where=sa.text(_ERASABLE),
        postgresql_where=sa.text(_ERASABLE),
    )
    # Only numbers of ended tasks may be erased from the history.
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER task_event_update")
        op.execute(
            "CREATE TRIGGER task_event_update BEFORE UPDATE ON task_event"
            f" WHEN NOT ({_is_erasure('IS')})"
            f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
    else:
        op.execute(
            "CREATE OR REPLACE FUNCTION task_event_guard() RETURNS trigger"
            " LANGUAGE plpgsql AS $$"
            " BEGIN"
            "   IF TG_OP = 'UPDATE' THEN"
            f"    IF {_is_erasure('IS NOT DISTINCT FROM')} THEN RETURN NEW; END IF;"
            f"    RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';"
            "   END IF;"
            "   IF EXISTS (SELECT 1 FROM task"
            "    WHERE task.id = OLD.task_id AND task.ended_at IS NULL) THEN"
            f"    RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';"
            "   END IF;"
            "   RETURN OLD;"
            " END $$"
        )


def _is_erasure(same: str) -> str:
    """Return the condition of an update that erases a number."""
    kept = " AND ".join(
        f"NEW.{name} {same} OLD.{name}" for name in (*_SAME, "attempt_id")
    )
    return (
        f"{kept} AND NEW.linkedid IN ('', OLD.linkedid) AND EXISTS (SELECT 1 FROM task"
        " WHERE task.id = OLD.task_id AND task.ended_at IS NOT NULL)"
    )
