# SPDX-License-Identifier: MIT
"""Indexes for queries over many ended tasks; new keys for numbers.

The next start renews the keys of blocked numbers: some forms of a number that counted
as two clients count as one now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_OPEN = "status IN ('pending', 'calling')"
_ENDED = "ended_at IS NOT NULL"


def upgrade() -> None:
    """Create the indexes, and let the next start renew the keys."""
    op.create_index(
        "ix_task_open_queue_joined_at",
        "task",
        ["queue", "joined_at"],
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )
    op.create_index(
        "ix_task_ended_status_id",
        "task",
        ["status", "id"],
        sqlite_where=sa.text(_ENDED),
        postgresql_where=sa.text(_ENDED),
    )
    op.create_index("ix_task_queue_id", "task", ["queue", "id"])
    # Without a region the service sees that they were blocked by another number plan.
    op.execute("UPDATE blocked SET region = '?'")
