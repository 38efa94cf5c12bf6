# SPDX-License-Identifier: MIT
"""Stores named times.

The functions run inside a transaction, may run twice and change only the database. The
code that uses a name defines what its time means.
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
    """Return the time with a name; None if none is stored."""
    row = conn.execute(_GET, {"name": name}).first()
    return None if row is None else datetime.fromtimestamp(row.at, UTC)


def put(conn: sa.Connection, name: str, at: datetime) -> None:
    """Store the time with a name, in place of an earlier one."""
    seconds = at.timestamp()
    if not conn.execute(_MOVE, {"old_name": name, "to": seconds}).rowcount:
        conn.execute(_MAKE, {"name": name, "at": seconds})
