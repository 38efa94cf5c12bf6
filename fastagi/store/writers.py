# SPDX-License-Identifier: MIT
"""Up to which event none can be stored any more, if several services write events.

PostgreSQL gives an event its id before the COMMIT, so of two writers the one with the
lower id may commit later. A reader that follows the ids would have passed it by then.
So each transaction that writes events holds an advisory lock, from before its first
event gets an id until it has ended. The key of the lock is the last id that was given
before. A trigger takes it (:mod:`fastagi.store.creation`). What is not higher than the
lowest of these keys is settled: it is seen, or will never be.

Where no id is missing, nothing can come later, and no lock is looked at: that is how
one service alone finds its events. Other programs that use the server, such as
pg_dump, hold no such lock, and hold up nobody. SQLite has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import text

#: The first key of the locks of transactions that write events; the second one is the
#: last id that was given before.
EVENTS_LOCK: Final = 4574
#: Without the lock of this transaction itself: what it reads is used when it has ended.
_LOWEST: Final = text(
    "SELECT min(CAST(objid AS bigint)) FROM pg_locks"
    f" WHERE locktype = 'advisory' AND classid = {EVENTS_LOCK} AND objsubid = 2"
    " AND pid <> pg_backend_pid() AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def settled(conn: sa.Connection, last: int) -> int:
    """Return up to which event none can be stored any more, at most ``last``.

    What is read after this has all events up to there. What was read before may lack
    some.

    Args:
        conn: in a transaction.
        last: an event that was seen.
    """
    if conn.dialect.name != "postgresql":
        return last
    lowest: int | None = conn.execute(_LOWEST).scalar()
    return last if lowest is None else min(last, lowest)


def without_gaps(
    conn: sa.Connection, rows: Sequence[sa.Row[Any]], after: int, up_to: int
) -> Sequence[sa.Row[Any]]:
    """Return the first of some events, before which none can be stored any more.

    Args:
        conn: in a transaction.
        rows: events after one, in the order of their ids.
        after: the id of that one.
        up_to: the event up to which ids may be missing, as none will be stored.
    """
    if conn.dialect.name != "postgresql":
        return rows
    last = after
    for index, row in enumerate(rows):
        if row.id > up_to and row.id != last + 1:
            return rows[:index]
        last = row.id
    return rows


def read(
    conn: sa.Connection,
    events: sa.Select[Any],
    given: Mapping[str, Any],
    after: int,
) -> tuple[Sequence[sa.Row[Any]], bool]:
    """Return events, and whether more of them have to wait for one that may be stored.

    Args:
        conn: in a transaction in which each statement sees what is committed by then.
        events: reads the events after one, in the order of their ids.
        given: its parameters.
        after: the id of that one.
    """
    rows = conn.execute(events, given).all()
    if len(without_gaps(conn, rows, after, after)) == len(rows):
        return rows, False
    up_to = settled(conn, rows[-1].id)
    rows = conn.execute(events, given).all()
    known = without_gaps(conn, rows, after, up_to)
    return known, len(known) < len(rows)
