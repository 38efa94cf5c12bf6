# SPDX-License-Identifier: MIT
"""Pages of the blocked numbers and of the refusals, the latest first.

The functions run inside a transaction and only read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy import select, tuple_

from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.store import guards, schema

_blocked: Final = schema.blocked
_refusal: Final = schema.refusal


def blocked(
    conn: sa.Connection, limit: int, after: tuple[float, str] | None = None
) -> list[BlockedNumber]:
    """Return blocked numbers.

    Args:
        conn: in a transaction.
        limit: maximum number of them.
        after: time and key of the last one of the page before.
    """
    query = (
        select(_blocked)
        .where(guards.IS_LISTED)
        .order_by(_blocked.c.at.desc(), _blocked.c.number_key.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(_blocked.c.at, _blocked.c.number_key) < after)
    return [guards.blocked_of(row) for row in conn.execute(query)]


def refusals(
    conn: sa.Connection,
    queues: Collection[str] | None,
    limit: int,
    before_id: int | None = None,
) -> list[Refusal]:
    """Return refusals.

    Args:
        conn: in a transaction.
        queues: of these queues; None: of all.
        limit: maximum number of them.
        before_id: those before this one.
    """
    query = select(_refusal).order_by(_refusal.c.id.desc()).limit(limit)
    if queues is not None:
        query = query.where(_refusal.c.queue.in_(sorted(queues)))
    if before_id is not None:
        query = query.where(_refusal.c.id < before_id)
    return [guards.refusal_of(row) for row in conn.execute(query)]
