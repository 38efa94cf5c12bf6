# SPDX-License-Identifier: MIT
"""What several services on one database tell each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Create the table of services; extend the leases on Asterisks."""
    op.create_table(
        "instance",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
    op.add_column("lease", sa.Column("system_name", sa.Text))
    op.add_column("lease", sa.Column("wanted_by", sa.Text))
    op.create_index("uq_lease_system_name", "lease", ["system_name"], unique=True)
