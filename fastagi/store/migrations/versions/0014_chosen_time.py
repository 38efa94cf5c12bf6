# SPDX-License-Identifier: MIT
"""Somebody may choose the time of a callback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_UNSETTLED = "call_by IS NOT NULL"


def upgrade() -> None:
    """Add the columns; every task so far is to be called as soon as possible."""
    for table in ("task", "later_request"):
        op.add_column(table, sa.Column("chosen_at", sa.Double))
        op.add_column(table, sa.Column("call_by", sa.Double))
    op.create_index(
        "ix_task_call_by",
        "task",
        ["call_by"],
        sqlite_where=sa.text(_UNSETTLED),
        postgresql_where=sa.text(_UNSETTLED),
    )
