# SPDX-License-Identifier: MIT
"""A task has the priority that its caller had in Asterisk's queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column; the priority of earlier callers is not known."""
    for table in ("task", "later_request"):
        op.add_column(
            table, sa.Column("priority", sa.Integer, nullable=False, server_default="0")
        )
