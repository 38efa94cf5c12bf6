# SPDX-License-Identifier: MIT
"""Operators move tasks in line, assign them to an agent, and write notes."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_MOVE: Final = (
    "move IN ('create', 'repeat', 'begin', 'progress', 'retry', 'complete', 'give_up',"
    " 'expire', 'cancel_later', 'cancel', 'take_back', 'take_back_later',"
    " 'serve_later', 'serve', 'reopen', 'move', 'assign', 'release', 'note')"
)
_STATUS: Final = (
    "status IN ('pending', 'calling', 'completed', 'failed', 'expired', 'cancelled',"
    " 'served')"
)
_OPEN: Final = "status IN ('pending', 'calling')"
_REFUSAL: Final = "the history of a task is only ever added to"


def upgrade() -> None:
    """Add the columns, and allow the new words."""
    op.add_column("task", sa.Column("place_at", sa.Double))
    op.add_column("task", sa.Column("place_priority", sa.Integer))
    op.add_column("task", sa.Column("place_chosen", sa.Boolean))
    op.add_column("task", sa.Column("assigned_to", sa.Text))
    op.add_column("task", sa.Column("assigned_at", sa.Double))
    op.add_column("task", sa.Column("assigned_until", sa.Double))
    if op.get_bind().dialect.name == "sqlite":
        _renew_events_on_sqlite()
    else:
        op.drop_constraint(op.f("ck_task_event_move"), "task_event")
        op.create_check_constraint(op.f("ck_task_event_move"), "task_event", _MOVE)


def _renew_events_on_sqlite() -> None:
    """Recreate the table, as SQLite cannot change a constraint."""
    op.create_table(
        "new_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Integer, nullable=False),
        sa.Column("attempt_id", sa.Integer),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason_params", sa.Text, nullable=False),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.Column("reason_code", sa.Text, nullable=False, server_default="text"),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_task_event_task_id_task")
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempt.id"],
            name=op.f("fk_task_event_attempt_id_attempt"),
        ),
        sa.CheckConstraint(_MOVE, name=op.f("ck_task_event_move")),
        sa.CheckConstraint(_STATUS, name=op.f("ck_task_event_status")),
        sqlite_autoincrement=True,
    )
    columns = (
        "id, task_id, attempt_id, at, move, status, reason_code, reason_params,"
        " linkedid"
    )
    op.execute(
        f"INSERT INTO new_event ({columns}) SELECT {columns} FROM task_event"
        " ORDER BY id"
    )
    # An id is not used again, even if its row was deleted.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'new_event'")
    op.execute(
        "UPDATE sqlite_sequence SET name = 'new_event' WHERE name = 'task_event'"
    )
    # Its triggers are dropped, too.
    op.execute("DROP TABLE task_event")
    op.execute("ALTER TABLE new_event RENAME TO task_event")
    op.create_index("ix_task_event_task_id", "task_event", ["task_id"])
    op.create_index(
        "ix_task_event_linkedid",
        "task_event",
        ["linkedid"],
        sqlite_where=sa.text("linkedid <> ''"),
    )
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
