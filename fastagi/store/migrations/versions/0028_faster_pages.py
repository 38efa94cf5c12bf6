# SPDX-License-Identifier: MIT
"""SQLite finds texts, and both engines add up the reports of years, by reading less."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

_SPAN = "span IN ('day', 'week', 'month', 'year')"
_NAME = "ck_tally_span"
_COUNTS = ("asked", "reached", "failed", "expired", "cancelled", "served")
_LISTED = ("span", "kind", "begins_at", "queue", "ends_at", *_COUNTS)


def upgrade() -> None:
    """Create the index; allow the counts of years."""
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_task_text", "task", ["id", "number", "name"])
        # SQLite can not change a constraint: the table is made anew and filled.
        with op.batch_alter_table(
            "tally", copy_from=_tally(), recreate="always"
        ) as batch:
            batch.create_check_constraint(op.f(_NAME), _SPAN)
        op.create_index("ix_tally_queue_begins_at", "tally", ["queue", "begins_at"])
        op.create_index("ix_tally_days", "tally", list(_LISTED))
    else:
        op.drop_constraint(op.f(_NAME), "tally")
        op.create_check_constraint(op.f(_NAME), "tally", _SPAN)


def _tally() -> sa.Table:
    """Return the table without its indexes and the constraint that changes.

    Alembic could read it from the database, but not its checks.
    """
    conventions = op.get_context().opts["target_metadata"].naming_convention
    return sa.Table(
        "tally",
        sa.MetaData(naming_convention=conventions),
        sa.Column("span", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("begins_at", sa.Double, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("ends_at", sa.Double, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in _COUNTS),
        sa.Column("numbers", sa.Text, nullable=False),
        sa.Column("last_task", sa.Integer, nullable=False),
        sa.Column(
            "final", sa.Boolean(create_constraint=True, name="final"), nullable=False
        ),
    )
