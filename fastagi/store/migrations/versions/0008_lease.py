# SPDX-License-Identifier: MIT
"""The holder of the database, and the Asterisk of each attempt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table; every attempt so far was made on the only Asterisk."""
    op.create_table(
        "lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_space", sa.Text, nullable=False),
        sa.Column("process_start", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("valid_until", sa.Double),
    )
    op.add_column(
        "attempt",
        sa.Column("node", sa.Text, nullable=False, server_default="default"),
    )
