# SPDX-License-Identifier: MIT
"""Which callers were offered a callback, and what they did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        "offer",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("expected_wait_s", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.CheckConstraint(
            "reason IN ('no agents', 'closed', 'waited', 'expected wait', 'position')",
            name="reason",
        ),
        sa.CheckConstraint(
            "outcome IN ('asked', 'accepted', 'declined', 'timed out', 'hung up')",
            name="outcome",
        ),
        sa.CheckConstraint("(outcome = 'asked') = (ended_at IS NULL)", name="ended"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_offer_at", "offer", ["at"])
