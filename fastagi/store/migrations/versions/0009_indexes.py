# SPDX-License-Identifier: MIT
"""What is asked of many ended tasks is found by indexes; numbers get new keys.

The keys of blocked numbers are made anew at the next start: some forms of a number that
were two clients are one now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_OPEN = "status IN ('pending', 'calling')"
_ENDED = "ended_at IS NOT NULL"


def upgrade() -> None:
    """Make the indexes, and have the keys made anew."""
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
    # No region: the service finds that they were blocked by another plan of numbers.
    op.execute("UPDATE blocked SET region = '?'")
