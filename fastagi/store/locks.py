# SPDX-License-Identifier: MIT
"""Locks between several services on one PostgreSQL, for what no row can be locked for.

They end with the transaction. One service alone needs none of them: it has one
connection. Nor does SQLite, where one transaction at a time writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import text

#: The first keys of the locks: of counted calls, of numbers, of callers who enter
#: numbers. Slots have locks with one key (:mod:`fastagi.store.slots`).
_CALLS: Final = 4575
_NUMBERS: Final = 4576
_CALLERS: Final = 4577
_TRY_CALLS: Final = text(f"SELECT pg_try_advisory_xact_lock({_CALLS}, 0)")
#: In order, so that two services that store the same numbers do not wait for each
#: other.
_SHARE_NUMBERS: Final = text(
    f"SELECT pg_advisory_xact_lock_shared({_NUMBERS}, hashtext(number_key))"
    " FROM unnest(CAST(:number_keys AS text[])) AS given(number_key)"
)
_NUMBER: Final = text(
    f"SELECT pg_advisory_xact_lock({_NUMBERS}, hashtext(:number_key))"
)
_CALLER: Final = text(
    f"SELECT pg_advisory_xact_lock({_CALLERS}, hashtext(:caller_key))"
)


def may_count_calls(conn: sa.Connection) -> bool:
    """Whether no other service begins attempts until this transaction ends.

    It does not wait: the thread of the database must not wait for a service that was
    frozen.
    """
    if conn.dialect.name != "postgresql":
        return True
    return bool(conn.execute(_TRY_CALLS).scalar())


def keep_unblocked(conn: sa.Connection, number_keys: Iterable[str]) -> None:
    """Keep numbers from being blocked until the transaction ends."""
    if conn.dialect.name == "postgresql":
        conn.execute(_SHARE_NUMBERS, {"number_keys": sorted(set(number_keys))})


def block(conn: sa.Connection, number_key: str) -> None:
    """Wait until requests of a number that others are storing are stored."""
    if conn.dialect.name == "postgresql":
        conn.execute(_NUMBER, {"number_key": number_key})


def count_entered(conn: sa.Connection, caller_key: str) -> None:
    """Let nobody else count what a caller has entered until the transaction ends."""
    if conn.dialect.name == "postgresql":
        conn.execute(_CALLER, {"caller_key": caller_key})
