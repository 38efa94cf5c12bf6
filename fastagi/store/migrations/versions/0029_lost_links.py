# SPDX-License-Identifier: MIT
"""A service that has lost its link to an Asterisk tells the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add since when the holder of an Asterisk has had no link to it."""
    op.add_column("lease", sa.Column("link_lost_at", sa.Double))
