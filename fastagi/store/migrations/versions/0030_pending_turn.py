# SPDX-License-Identifier: MIT
"""The first task of a line is found without reading all others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"

_PENDING = "status = 'pending'"


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "ix_task_pending_turn",
        "task",
        [
            "queue",
            sa.text("coalesce(place_chosen, chosen_at IS NOT NULL)"),
            sa.text("coalesce(place_priority, priority) DESC"),
            sa.text("coalesce(place_at, joined_at)"),
            "id",
        ],
        sqlite_where=sa.text(_PENDING),
        postgresql_where=sa.text(_PENDING),
    )
