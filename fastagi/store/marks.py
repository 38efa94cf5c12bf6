# SPDX-License-Identifier: MIT
"""Stored moments, each as one function inside a transaction.

The functions may run twice and touch nothing but the database. What a moment means is
the business of whoever names it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, select, update

from fastagi.store import schema

_mark: Final = schema.mark
_GET: Final = select(_mark.c.at).where(_mark.c.name == bindparam("name"))
_MOVE: Final = (
    update(_mark)
    .where(_mark.c.name == bindparam("old_name"))
    .values(at=bindparam("to"))
)
_MAKE: Final = insert(_mark)


def get(conn: sa.Connection, name: str) -> datetime | None:
    """Return a moment; None if it was never put."""
    row = conn.execute(_GET, {"name": name}).first()
    return None if row is None else datetime.fromtimestamp(row.at, UTC)


def put(conn: sa.Connection, name: str, at: datetime) -> None:
    """Put a moment in the place of the one before."""
    seconds = at.timestamp()
    if not conn.execute(_MOVE, {"old_name": name, "to": seconds}).rowcount:
        conn.execute(_MAKE, {"name": name, "at": seconds})
