# SPDX-License-Identifier: MIT
"""Tables and indexes of the reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

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
        sa.Column(
            "final", sa.Boolean(create_constraint=True, name="final"), nullable=False
        ),
        sa.CheckConstraint("span IN ('day', 'month')", name="span"),
    )
    op.create_index("ix_tally_queue_begins_at", "tally", ["queue", "begins_at"])
