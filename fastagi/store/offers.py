# SPDX-License-Identifier: MIT
"""Stores which callers were offered a callback, and what they did.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, func, insert, select, update

from fastagi.domain.offers import Offer, OfferOutcome, Trigger
from fastagi.store import guards, limits, schema

#: Number of offers that are kept, the latest ones; they take a few megabytes.
MAX_OFFERS: Final = 10_000

_offer: Final = schema.offer
_ADD: Final = insert(_offer)
_FORGET_OLD: Final = delete(_offer).where(_offer.c.id <= bindparam("last"))
_END: Final = (
    update(_offer)
    .where(
        _offer.c.id == bindparam("offer_id"),
        _offer.c.outcome == OfferOutcome.ASKED.value,
    )
    .values(outcome=bindparam("known"), ended_at=bindparam("known_at"))
)
#: The service that made the offer may see first that the caller has left.
_END_OF_CALL: Final = (
    update(_offer)
    .where(
        _offer.c.id
        == select(func.max(_offer.c.id))
        .where(
            _offer.c.linkedid == bindparam("of_call"), _offer.c.at >= bindparam("since")
        )
        .scalar_subquery(),
        _offer.c.outcome.in_((OfferOutcome.ASKED.value, OfferOutcome.HUNG_UP.value)),
    )
    .values(outcome=bindparam("known"), ended_at=bindparam("known_at"))
)
_SINCE: Final = (
    select(_offer.c.number, func.max(_offer.c.at))
    .where(_offer.c.at >= bindparam("since"))
    .group_by(_offer.c.number)
)
_COUNTS: Final = (
    select(_offer.c.outcome, func.count())
    .where(_offer.c.at >= bindparam("since"))
    .group_by(_offer.c.outcome)
)


def add(
    conn: sa.Connection,
    offer: Offer,
    number_key: str,
    expires_at: datetime,
    most_calls: int = 0,
    most: int = MAX_OFFERS,
) -> int | None:
    """Store an offer that begins, and delete the oldest if there are too many.

    Args:
        conn: in a transaction.
        offer: the offer.
        number_key: the client key of its number.
        expires_at: when a request that is made now would expire.
        most_calls: maximum number of calls to one number within a day; 0: no limit.
        most: number of offers that are kept.

    Returns:
        The id of the offer; None: a request of this number would be refused, and
        nothing is stored.
    """
    if guards.blocked(conn, number_key) is not None:
        return None
    again_at = limits.number_free_at(conn, number_key, most_calls, offer.at)
    if again_at is not None and again_at >= expires_at:
        return None
    key = conn.execute(
        _ADD,
        {
            "at": offer.at.timestamp(),
            "queue": offer.queue,
            "number": offer.number,
            "position": offer.position,
            "expected_wait_s": offer.expected_wait_s,
            "reason": offer.trigger.value,
            "outcome": offer.outcome.value,
            "linkedid": offer.linkedid,
        },
    ).inserted_primary_key
    assert key is not None
    conn.execute(_FORGET_OLD, {"last": key[0] - most})
    return int(key[0])


def end(
    conn: sa.Connection, offer_id: int, outcome: OfferOutcome, at: datetime
) -> None:
    """Store what the caller did; the first outcome of an offer stays."""
    conn.execute(
        _END,
        {"offer_id": offer_id, "known": outcome.value, "known_at": at.timestamp()},
    )


def end_of_call(
    conn: sa.Connection,
    linkedid: str,
    since: datetime,
    outcome: OfferOutcome,
    at: datetime,
) -> bool:
    """Store what a caller did whose offer another service made, or a former process.

    Args:
        conn: in a transaction.
        linkedid: of the call.
        since: no earlier offer is looked for.
        outcome: what the caller did.
        at: when.

    Returns:
        Whether the latest offer in this call had no outcome yet.
    """
    ended = {
        "of_call": linkedid,
        "since": since.timestamp(),
        "known": outcome.value,
        "known_at": at.timestamp(),
    }
    return bool(conn.execute(_END_OF_CALL, ended).rowcount)


def latest(conn: sa.Connection, since: datetime) -> dict[str, datetime]:
    """Return when each number was last offered a callback, not before ``since``."""
    rows = conn.execute(_SINCE, {"since": since.timestamp()})
    return {number: datetime.fromtimestamp(at, UTC) for number, at in rows}


def counts(conn: sa.Connection, since: datetime) -> dict[OfferOutcome, int]:
    """Return how many offers since then had each outcome."""
    found = {
        OfferOutcome(outcome): count
        for outcome, count in conn.execute(_COUNTS, {"since": since.timestamp()})
    }
    return {outcome: found.get(outcome, 0) for outcome in OfferOutcome}


def listing(conn: sa.Connection, limit: int) -> list[Offer]:
    """Return at most ``limit`` offers, the latest first."""
    rows = conn.execute(select(_offer).order_by(_offer.c.id.desc()).limit(limit))
    return [offer_of(row) for row in rows]


def offer_of(row: sa.Row[Any]) -> Offer:
    """Return the offer of a row."""
    return Offer(
        id=row.id,
        at=datetime.fromtimestamp(row.at, UTC),
        queue=row.queue,
        number=row.number,
        position=row.position,
        expected_wait_s=row.expected_wait_s,
        trigger=Trigger(row.reason),
        linkedid=row.linkedid,
        outcome=OfferOutcome(row.outcome),
        ended_at=None
        if row.ended_at is None
        else datetime.fromtimestamp(row.ended_at, UTC),
    )
