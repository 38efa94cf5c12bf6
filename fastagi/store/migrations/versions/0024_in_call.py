# SPDX-License-Identifier: MIT
"""Who is in a call, for the other services on the same database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "in_call",
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("number_key", sa.Text, primary_key=True),
    )
