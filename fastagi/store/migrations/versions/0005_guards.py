# SPDX-License-Identifier: MIT
"""Blocked numbers, refusals, and an index to count calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables and the index."""
    op.create_table(
        "blocked",
        sa.Column("number_key", sa.Text, primary_key=True),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.CheckConstraint("number <> '' AND number_key <> ''", name="number"),
    )
    op.create_table(
        "refusal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('requested', 'missed', 'manual')", name="kind"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempt_started_at", "attempt", ["started_at"])
