# SPDX-License-Identifier: MIT
"""The events of all tasks, and how far each reader has read."""

from __future__ import annotations

import attrs

from fastagi.domain.reason import said
from fastagi.domain.task import Kind, Move
from fastagi.store.positions import Position
from fastagi.store.store import TaskStore
from tests.store.harness import RULES, at, done, new_task, verdict

READER = "queue_log"


def events(store: TaskStore, after: int = 0, most: int = 100):
    return done(store.events_after(after, most)).events


def play(store: TaskStore) -> None:
    """Play a missed call, a request of the same client, and a successful attempt."""
    missed = attrs.evolve(new_task("100"), kind=Kind.MISSED, linkedid="1.1")
    asked = attrs.evolve(new_task("100"), kind=Kind.REQUESTED, linkedid="2.2")
    done(store.add(missed, at(0)))
    done(store.add(asked, at(1)))
    (begun,) = done(store.begin_attempts({"support"}, ["c1"], at(2))).begun
    done(
        store.progress(
            begun.attempt.channel_id, said("rings"), at(3), member="PJSIP/alice"
        )
    )
    done(
        store.close_attempt(
            begun.attempt.channel_id, verdict("ANSWERED", talk_s=20), RULES, at(4)
        )
    )


def test_events_come_in_order_with_what_is_known(store: TaskStore) -> None:
    play(store)
    found = events(store)
    assert [(one.move, one.asked) for one in found] == [
        (Move.CREATE, Kind.MISSED),
        (Move.REPEAT, Kind.REQUESTED),
        (Move.BEGIN, None),
        (Move.PROGRESS, None),
        (Move.COMPLETE, None),
    ]
    assert [one.linkedid for one in found] == ["1.1", "2.2", "1.1", "1.1", "1.1"]
    last = found[-1]
    assert (last.channel_id, last.talk_s, last.queue) == ("c1", 20, "support")
    assert [one.node for one in found] == ["", "", *["default"] * 3]
    assert last.disposition is not None
    assert last.at == at(4)


def test_events_are_read_on(store: TaskStore) -> None:
    play(store)
    first = events(store, most=2)
    rest = events(store, first[-1].event_id)
    assert first + rest == events(store)
    assert events(store, rest[-1].event_id) == []


def test_position_is_kept(store: TaskStore) -> None:
    assert done(store.position(READER)) == Position()
    play(store)
    for position in (Position(2, 1), Position(3)):
        done(store.set_position(READER, position))
        assert done(store.position(READER)) == position
    assert done(store.position("another")) == Position()


def test_position_is_never_beyond_the_last_event(store: TaskStore) -> None:
    """The reader was further when the database was set back."""
    done(store.set_position(READER, Position(1)))
    play(store)
    last = events(store)[-1].event_id
    done(store.set_position(READER, Position(last + 7)))
    done(store.add(new_task("200"), at(9)))
    told = events(store, done(store.position(READER)).event_id)
    assert [one.number for one in told] == ["+200"]


def test_what_has_happened_is_left_out(store: TaskStore) -> None:
    done(store.skip_events(READER))
    assert done(store.position(READER)) == Position()
    play(store)
    done(store.skip_events(READER))
    assert events(store, done(store.position(READER)).event_id) == []
