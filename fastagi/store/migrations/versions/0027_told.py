# SPDX-License-Identifier: MIT
"""What the holder of each Asterisk tells the other services on the same database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "told",
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("what", sa.Text, primary_key=True),
        sa.Column("about", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
