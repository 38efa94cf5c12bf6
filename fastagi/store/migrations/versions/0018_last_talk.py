# SPDX-License-Identifier: MIT
"""Which agent talked to a client last, in a call to a queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "last_talk",
        sa.Column("number_key", sa.Text, nullable=False),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("number_key", name="pk_last_talk"),
    )
    op.create_index("ix_last_talk_at", "last_talk", ["at"])
