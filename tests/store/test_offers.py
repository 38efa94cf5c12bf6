# SPDX-License-Identifier: MIT
"""Offers of a callback, on every engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.offers import Offer, OfferOutcome, Trigger
from fastagi.store import offers
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import done

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPIRES = AT + timedelta(hours=4)


def offer(n: int = 0, number: str = "0301234567", **more: object) -> Offer:
    """Return an offer made n seconds later."""
    made = Offer(
        at=AT + timedelta(seconds=n),
        queue="support",
        number=number,
        position=3,
        expected_wait_s=250.5,
        trigger=Trigger.WAITED,
        linkedid=f"100.{n}",
    )
    return attrs.evolve(made, **more)


def add(store: TaskStore, made: Offer) -> int:
    """Store an offer, and return its id."""
    key = done(store.add_offer(made, made.number, EXPIRES))
    assert key is not None
    return key


def test_offers_are_kept_the_latest_first_with_what_the_caller_did(
    store: TaskStore,
) -> None:
    first, second = offer(1), offer(2, expected_wait_s=None, trigger=Trigger.CLOSED)
    key = add(store, first)
    add(store, second)
    ended_at = AT + timedelta(minutes=1)
    done(store.end_offer(key, OfferOutcome.DECLINED, ended_at))
    # The first outcome stays.
    done(store.end_offer(key, OfferOutcome.HUNG_UP, ended_at))

    ended = attrs.evolve(first, outcome=OfferOutcome.DECLINED, ended_at=ended_at)
    assert done(store.offers(10)) == [second, ended]
    assert done(store.offers(1)) == [second]


def test_the_latest_offer_to_each_number_is_found(store: TaskStore) -> None:
    for n, number in ((1, "0301"), (2, "0302"), (3, "0301"), (4, "0303")):
        add(store, offer(n, number))
    since = AT + timedelta(seconds=2)
    assert done(store.latest_offers(since)) == {
        "0301": AT + timedelta(seconds=3),
        "0302": since,
        "0303": AT + timedelta(seconds=4),
    }


def test_outcomes_are_counted(store: TaskStore) -> None:
    keys = [add(store, offer(n)) for n in range(4)]
    for key in keys[:2]:
        done(store.end_offer(key, OfferOutcome.ACCEPTED, AT))
    done(store.end_offer(keys[2], OfferOutcome.TIMED_OUT, AT))
    assert done(store.offer_counts(AT)) == {
        OfferOutcome.ASKED: 1,
        OfferOutcome.ACCEPTED: 2,
        OfferOutcome.REFUSED: 0,
        OfferOutcome.DECLINED: 0,
        OfferOutcome.TIMED_OUT: 1,
        OfferOutcome.HUNG_UP: 0,
    }
    later = done(store.offer_counts(AT + timedelta(seconds=3)))
    assert sum(later.values()) == 1


def test_offer_of_another_service_is_ended_by_its_call(store: TaskStore) -> None:
    first = add(store, offer(1, linkedid="7"))
    add(store, offer(2, linkedid="7"))
    add(store, offer(3, linkedid="8"))
    done(store.end_offer(first, OfferOutcome.DECLINED, AT))

    def end(linkedid: str, outcome: OfferOutcome, since: datetime = AT) -> bool:
        return done(store.end_offer_of_call(linkedid, since, outcome, AT))

    assert not end("9", OfferOutcome.ACCEPTED)
    assert not end("7", OfferOutcome.ACCEPTED, AT + timedelta(seconds=3))
    assert end("7", OfferOutcome.HUNG_UP)
    # The service that made it may have seen the end before the other one stored it.
    assert end("7", OfferOutcome.ACCEPTED)
    assert not end("7", OfferOutcome.REFUSED)
    outcomes = [one.outcome for one in done(store.offers(10))]
    assert outcomes == [
        OfferOutcome.ASKED,
        OfferOutcome.ACCEPTED,
        OfferOutcome.DECLINED,
    ]


def test_a_number_that_would_be_refused_is_not_offered_anything(
    store: TaskStore,
) -> None:
    blocked = BlockedNumber(
        number="0301234567", number_key="0301234567", reason="", at=AT
    )
    done(store.block(blocked, ""))
    assert done(store.add_offer(offer(), "0301234567", EXPIRES)) is None
    assert done(store.offers(10)) == []


def test_a_flood_of_offers_takes_no_more_room(database: Database) -> None:
    for n in range(25):
        made = offer(n)
        done(database.run("add offer", offers.add, made, made.number, EXPIRES, 0, 10))
    kept = done(TaskStore(database).offers(100))
    assert kept == [offer(n) for n in reversed(range(15, 25))]
