# SPDX-License-Identifier: MIT
"""When a client answered, and requests made while their client was being called."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "answer",
        sa.Column(
            "attempt_id",
            sa.Integer,
            sa.ForeignKey("attempt.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "later_request",
        sa.Column(
            "event_id",
            sa.Integer,
            sa.ForeignKey("task_event.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "attempt_id",
            sa.Integer,
            sa.ForeignKey("attempt.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.Column("joined_at", sa.Double, nullable=False),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column(
            "answered",
            sa.Boolean(create_constraint=True, name="answered"),
            nullable=False,
        ),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column(
            "next_event_id",
            sa.Integer,
            sa.ForeignKey("task_event.id", ondelete="CASCADE"),
        ),
        sa.CheckConstraint("kind IN ('requested', 'missed', 'manual')", name="kind"),
        sa.CheckConstraint(
            "state IN ('open', 'fulfilled', 'stands', 'task', 'ended', 'taken back')",
            name="state",
        ),
    )
    op.create_index("ix_later_request_attempt_id", "later_request", ["attempt_id"])
    op.create_index(
        "ix_later_request_next_event_id", "later_request", ["next_event_id"]
    )
