# SPDX-License-Identifier: MIT
"""What was measured in each queue, for the expected wait, survives a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "measured",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("handling_s", sa.Double, nullable=False),
        sa.Column("handling_weight", sa.Double, nullable=False),
        sa.Column("ring_s", sa.Double, nullable=False),
        sa.Column("ring_weight", sa.Double, nullable=False),
        sa.Column("callers_left", sa.Double, nullable=False),
        sa.Column("waited_s", sa.Double, nullable=False),
    )
