# SPDX-License-Identifier: MIT
"""The limits count calls from when their clients were dialled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

#: The dispositions of 0020 in which the client was not dialled.
_NOT_DIALLED = ("MEMBER NO ANSWER", "NOT PLACED", "WITHDRAWN")


def upgrade() -> None:
    """Add the column; older attempts get the time at which they began."""
    op.add_column("attempt", sa.Column("dialled_at", sa.Double))
    attempt = sa.table(
        "attempt",
        sa.column("started_at"),
        sa.column("disposition"),
        sa.column("dialled_at"),
    )
    op.execute(
        attempt.update()
        .where(attempt.c.disposition.not_in(_NOT_DIALLED))
        .values(dialled_at=attempt.c.started_at)
    )
    op.drop_index("ix_attempt_started_at", "attempt")
    op.create_index("ix_attempt_dialled_at", "attempt", ["dialled_at"])
