# SPDX-License-Identifier: MIT
"""Requests in which callers entered another number are counted by caller."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "entered_number",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("caller_key", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_entered_number"),
    )
    op.create_index(
        "ix_entered_number_caller_key_at", "entered_number", ["caller_key", "at"]
    )
