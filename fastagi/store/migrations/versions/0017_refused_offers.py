# SPDX-License-Identifier: MIT
"""An offer can end with a request that is refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_OUTCOME = (
    "outcome IN ('asked', 'accepted', 'refused', 'declined', 'timed out', 'hung up')"
)
_NAME = "ck_offer_outcome"


def upgrade() -> None:
    """Allow the new word."""
    if op.get_bind().dialect.name == "sqlite":
        # SQLite can not change a constraint: the table is made anew and filled.
        with op.batch_alter_table(
            "offer", copy_from=_offer(), recreate="always"
        ) as batch:
            batch.create_check_constraint(op.f(_NAME), _OUTCOME)
    else:
        op.drop_constraint(op.f(_NAME), "offer")
        op.create_check_constraint(op.f(_NAME), "offer", _OUTCOME)


def _offer() -> sa.Table:
    """Return the table without the constraint that changes.

    Alembic could read it from the database, but not its checks.
    """
    conventions = op.get_context().opts["target_metadata"].naming_convention
    table = sa.Table(
        "offer",
        sa.MetaData(naming_convention=conventions),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("expected_wait_s", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("linkedid", sa.Text, nullable=False),
        sa.CheckConstraint(
            "reason IN ('no agents', 'closed', 'waited', 'expected wait', 'position')",
            name="reason",
        ),
        sa.CheckConstraint("(outcome = 'asked') = (ended_at IS NULL)", name="ended"),
        sqlite_autoincrement=True,
    )
    sa.Index("ix_offer_at", table.c.at)
    return table
