# SPDX-License-Identifier: MIT
"""An attempt can end because an answering machine answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

_DISPOSITION = (
    "disposition IN ('ANSWERED', 'SHORT', 'BUSY', 'NO ANSWER', 'CONGESTION',"
    " 'UNAVAILABLE', 'INVALID NUMBER', 'FORWARDED', 'MACHINE', 'NOT CONFIRMED',"
    " 'CANCEL', 'MEMBER NO ANSWER', 'NOT PLACED', 'WITHDRAWN', 'UNKNOWN')"
)
_NAME = "ck_attempt_disposition"


def upgrade() -> None:
    """Allow the new word."""
    if op.get_bind().dialect.name == "sqlite":
        # SQLite can not change a constraint: the table is made anew and filled.
        with op.batch_alter_table(
            "attempt", copy_from=_attempt(), recreate="always"
        ) as batch:
            batch.create_check_constraint(op.f(_NAME), _DISPOSITION)
    else:
        op.drop_constraint(op.f(_NAME), "attempt")
        op.create_check_constraint(op.f(_NAME), "attempt", _DISPOSITION)


def _attempt() -> sa.Table:
    """Return the table without the constraint that changes.

    Alembic could read it from the database, but not its checks.
    """
    conventions = op.get_context().opts["target_metadata"].naming_convention
    table = sa.Table(
        "attempt",
        sa.MetaData(naming_convention=conventions),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("disposition", sa.Text),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("talk_s", sa.Double, nullable=False),
        sa.Column("reason_params", sa.Text, nullable=False),
        sa.Column("node", sa.Text, nullable=False, server_default="default"),
        sa.Column("reason_code", sa.Text, nullable=False, server_default="text"),
        sa.CheckConstraint("(ended_at IS NULL) = (disposition IS NULL)", name="ended"),
        sa.CheckConstraint("talk_s >= 0", name="talk"),
        sa.UniqueConstraint("channel_id"),
        sqlite_autoincrement=True,
    )
    sa.Index("ix_attempt_task_id", table.c.task_id)
    sa.Index("ix_attempt_started_at", table.c.started_at)
    sa.Index(
        "uq_attempt_under_way_task_id",
        table.c.task_id,
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    return table
