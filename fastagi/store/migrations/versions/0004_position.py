# SPDX-License-Identifier: MIT
"""Readers of the tasks' events, such as queue_log, have a position each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables; readers skip all earlier events."""
    op.create_table(
        "asked",
        sa.Column(
            "event_id",
            sa.Integer,
            sa.ForeignKey("task_event.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('requested', 'missed', 'manual')", name="kind"),
    )
    op.create_table(
        "position",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Integer, nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
    )
    op.execute(
        "INSERT INTO position (name, event_id, entries)"
        " SELECT 'queue_log', COALESCE(MAX(id), 0), 0 FROM task_event"
    )
