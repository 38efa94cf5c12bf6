# SPDX-License-Identifier: MIT
"""Stores blocked numbers and refusals.

The functions run inside a transaction, may run twice and change only the database. A
blocked number is found by its key, so every form of it is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.task import Kind
from fastagi.store import schema
from fastagi.store.rows import reason_of, reason_values

#: Number of refusals that are kept, the latest ones; they take a few megabytes.
MAX_REFUSALS: Final = 10_000

_blocked: Final = schema.blocked
_refusal: Final = schema.refusal
_BY_KEY: Final = select(_blocked).where(
    _blocked.c.number_key == bindparam("number_key")
)
#: Suffix of the key of a number that is blocked in another form, too. No search finds
#: such a key. It gets a key of its own if a new number plan tells the two apart.
_ALSO: Final = "#"
#: The condition of a blocked number that is no second form of another one.
IS_LISTED: Final = ~_blocked.c.number_key.contains(_ALSO)
_BLOCK: Final = insert(_blocked)
_REMOVE: Final = delete(_blocked).where(_blocked.c.number_key == bindparam("old_key"))
_UNBLOCK: Final = delete(_blocked).where(
    or_(
        _blocked.c.number_key == bindparam("old_key"),
        _blocked.c.number_key.startswith(bindparam("also"), autoescape=False),
    )
)
_SAY_WHY: Final = (
    update(_blocked)
    .where(_blocked.c.number_key == bindparam("old_key"))
    .values(reason=bindparam("new_reason"))
)
_OF_OTHER_REGIONS: Final = (
    select(_blocked)
    .where(_blocked.c.region != bindparam("region"))
    .order_by(_blocked.c.at, _blocked.c.number_key)
)
_REFUSE: Final = insert(_refusal)
_FORGET_OLD: Final = delete(_refusal).where(_refusal.c.id <= bindparam("last"))


# -- blocked numbers -------------------------------------------------------


def blocked(conn: sa.Connection, number_key: str) -> BlockedNumber | None:
    """Return the blocked number with this key; None if it is not blocked."""
    row = conn.execute(_BY_KEY, {"number_key": number_key}).first()
    return None if row is None else blocked_of(row)


def put(conn: sa.Connection, number: BlockedNumber, region: str) -> bool:
    """Block a number; return whether it was not blocked before."""
    if blocked(conn, number.number_key) is not None:
        if number.reason:
            conn.execute(
                _SAY_WHY, {"old_key": number.number_key, "new_reason": number.reason}
            )
        return False
    conn.execute(_BLOCK, _values(number, region))
    return True


def unblock(conn: sa.Connection, number_key: str) -> BlockedNumber | None:
    """Unblock a number and return it; None if it was not blocked."""
    known = blocked(conn, number_key)
    conn.execute(_UNBLOCK, {"old_key": number_key, "also": f"{number_key}{_ALSO}"})
    return known


def is_blocked_as(number_key: str) -> sa.ColumnElement[bool]:
    """Return the condition of a blocked number, and of its second forms."""
    return or_(
        _blocked.c.number_key == number_key,
        _blocked.c.number_key.startswith(f"{number_key}{_ALSO}", autoescape=True),
    )


def listing(
    conn: sa.Connection, limit: int, before: str | None = None
) -> list[BlockedNumber]:
    """Return at most ``limit`` blocked numbers, the latest first.

    Args:
        conn: in a transaction.
        limit: maximum number of them.
        before: only those that follow the number with this key; if it is not blocked
            any more, there are none.
    """
    wanted = (
        select(_blocked)
        .where(IS_LISTED)
        .order_by(_blocked.c.at.desc(), _blocked.c.number_key)
        .limit(limit)
    )
    if before is not None:
        row = conn.execute(_BY_KEY, {"number_key": before}).first()
        if row is None:
            return []
        wanted = wanted.where(
            or_(
                _blocked.c.at < row.at,
                and_(_blocked.c.at == row.at, _blocked.c.number_key > before),
            )
        )
    return [blocked_of(row) for row in conn.execute(wanted)]


def rekey(conn: sa.Connection, plan: NumberPlan) -> int:
    """Update the keys of numbers that were blocked with another region setting.

    If two numbers now have the same key, one of them is listed, and unblocking it
    unblocks both. The other stays stored, in case another region tells them apart
    again.

    Returns:
        How many numbers had a key of another region.
    """
    rows = conn.execute(_OF_OTHER_REGIONS, {"region": plan.region}).all()
    for row in rows:
        conn.execute(_REMOVE, {"old_key": row.number_key})
    for row in rows:
        number = blocked_of(row)
        key = plan.key(number.number)
        known = blocked(conn, key)
        if known is not None:
            key += f"{_ALSO}{number.number}"
            if known.number == number.number or blocked(conn, key) is not None:
                continue
        conn.execute(_BLOCK, {**_values(number, plan.region), "number_key": key})
    return len(rows)


def _values(number: BlockedNumber, region: str) -> dict[str, Any]:
    return {
        "number_key": number.number_key,
        "number": number.number,
        "region": region,
        "reason": number.reason,
        "at": number.at.timestamp(),
    }


def blocked_of(row: sa.Row[Any]) -> BlockedNumber:
    """Return the blocked number of a row."""
    return BlockedNumber(
        number=row.number,
        number_key=row.number_key,
        reason=row.reason,
        at=datetime.fromtimestamp(row.at, UTC),
    )


# -- refusals --------------------------------------------------------------


def refuse(conn: sa.Connection, refusal: Refusal, most: int = MAX_REFUSALS) -> None:
    """Store a refusal, and delete the oldest if there are more than ``most``."""
    key = conn.execute(
        _REFUSE,
        {
            "at": refusal.at.timestamp(),
            "kind": refusal.kind.value,
            "queue": refusal.queue,
            "number": refusal.number,
            **reason_values(refusal.why),
            "linkedid": refusal.linkedid,
        },
    ).inserted_primary_key
    assert key is not None
    conn.execute(_FORGET_OLD, {"last": key[0] - most})


def refusals(
    conn: sa.Connection, queue: str | None, limit: int, before_id: int | None = None
) -> list[Refusal]:
    """Return at most ``limit`` refusals, the latest first.

    Args:
        conn: in a transaction.
        queue: only those of this queue; None: of all queues.
        limit: maximum number of refusals.
        before_id: only those that are older than this refusal.
    """
    wanted = select(_refusal).order_by(_refusal.c.id.desc()).limit(limit)
    if queue is not None:
        wanted = wanted.where(_refusal.c.queue == queue)
    if before_id is not None:
        wanted = wanted.where(_refusal.c.id < before_id)
    return [refusal_of(row) for row in conn.execute(wanted)]


def refusals_ending_in(conn: sa.Connection, ending: str) -> Iterator[Refusal]:
    """Yield the refusals of numbers with these last characters, the latest first."""
    wanted = select(_refusal).where(_refusal.c.number.endswith(ending, autoescape=True))
    for row in conn.execute(wanted.order_by(_refusal.c.id.desc())):
        yield refusal_of(row)


def refusal_of(row: sa.Row[Any]) -> Refusal:
    """Return the refusal of a row."""
    return Refusal(
        id=row.id,
        at=datetime.fromtimestamp(row.at, UTC),
        kind=Kind(row.kind),
        queue=row.queue,
        number=row.number,
        why=reason_of(row),
        linkedid=row.linkedid,
    )
