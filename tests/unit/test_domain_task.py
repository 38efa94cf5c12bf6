# SPDX-License-Identifier: MIT
"""The moves of a task: every allowed one, and every one that is not."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest

from fastagi.domain.reason import said
from fastagi.domain.task import (
    ENDED,
    OPEN,
    TRANSITIONS,
    IllegalMove,
    Kind,
    Move,
    NewTask,
    Status,
    TaskEvent,
    after,
)
from tests.unit.tasks import NOW, a_task

#: Written by hand, not taken from the code, so that a changed move fails here.
ARROWS = {
    ("pending", "repeat", "pending"),
    ("pending", "begin", "calling"),
    ("pending", "progress", "pending"),
    ("pending", "retry", "pending"),
    ("pending", "give_up", "failed"),
    ("pending", "expire", "expired"),
    ("pending", "cancel", "cancelled"),
    ("pending", "take_back", "cancelled"),
    ("pending", "serve", "served"),
    ("pending", "reopen", "pending"),
    ("calling", "repeat", "calling"),
    ("calling", "progress", "calling"),
    ("calling", "retry", "pending"),
    ("calling", "complete", "completed"),
    ("calling", "give_up", "failed"),
    ("calling", "expire", "expired"),
    ("calling", "cancel_later", "calling"),
    ("calling", "cancel", "cancelled"),
    ("calling", "take_back_later", "calling"),
    ("calling", "take_back", "cancelled"),
    ("calling", "serve_later", "calling"),
    ("calling", "serve", "served"),
    ("failed", "reopen", "pending"),
    ("expired", "reopen", "pending"),
    ("cancelled", "reopen", "pending"),
    ("pending", "move", "pending"),
    ("calling", "move", "calling"),
    ("pending", "assign", "pending"),
    ("calling", "assign", "calling"),
    ("pending", "release", "pending"),
    ("calling", "release", "calling"),
    ("pending", "note", "pending"),
    ("calling", "note", "calling"),
    ("completed", "note", "completed"),
    ("failed", "note", "failed"),
    ("expired", "note", "expired"),
    ("cancelled", "note", "cancelled"),
    ("served", "note", "served"),
}
HOLES = sorted(
    set(itertools.product(Status, Move))
    - {(Status(start), Move(move)) for start, move, _ in ARROWS}
)


@pytest.mark.parametrize(("start", "move", "end"), sorted(ARROWS))
def test_an_arrow_of_the_table_leads_where_it_should(
    start: str, move: str, end: str
) -> None:
    assert after(Status(start), Move(move)) is Status(end)


@pytest.mark.parametrize(("status", "move"), HOLES)
def test_a_hole_in_the_table_raises(status: Status, move: Move) -> None:
    with pytest.raises(IllegalMove) as caught:
        after(status, move)

    assert caught.value.status is status
    assert caught.value.move is move
    assert status.value in str(caught.value)
    assert "can not" in str(caught.value)


def test_the_table_has_nothing_more() -> None:
    assert {(s.value, m.value, e.value) for (s, m), e in TRANSITIONS.items()} == ARROWS


def test_a_status_is_either_open_or_an_end() -> None:
    assert {Status.PENDING, Status.CALLING} == OPEN
    assert set(Status) == OPEN | ENDED
    assert not OPEN & ENDED


def test_every_status_is_reached_and_an_open_one_can_always_end() -> None:
    assert {end for _, _, end in ARROWS} == {status.value for status in Status}
    for status in OPEN:
        assert {e for (s, _), e in TRANSITIONS.items() if s is status} & ENDED


def test_nothing_but_an_operator_moves_an_ended_task() -> None:
    moves = {move for (s, move) in TRANSITIONS if s in ENDED}
    assert moves == {Move.REOPEN, Move.NOTE}


def test_a_task_that_succeeded_stays_so() -> None:
    reached = {Status.COMPLETED, Status.SERVED}
    assert {end for (s, _), end in TRANSITIONS.items() if s in reached} == reached
    assert {move for (s, move) in TRANSITIONS if s in reached} == {Move.NOTE}


@pytest.mark.parametrize(
    "name", ["joined_at", "created_at", "due_at", "expires_at", "ended_at"]
)
def test_a_time_without_a_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: a time without a zone"):
        a_task(**{name: datetime(2026, 3, 1, 12)})


@pytest.mark.parametrize("name", ["joined_at", "due_at", "expires_at"])
def test_a_new_task_without_a_zone_is_refused(name: str) -> None:
    times = {"joined_at": NOW, "due_at": NOW, "expires_at": NOW}
    times[name] = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match=name):
        NewTask(
            kind=Kind.MISSED,
            number="1",
            number_key="1",
            queue="support",
            why=said("hung up"),
            **times,
        )


def test_an_event_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="at: a time without a zone"):
        TaskEvent(
            task_id=1,
            at=NOW.replace(tzinfo=None),
            move=Move.CREATE,
            status=Status.PENDING,
            why=said(""),
        )


@pytest.mark.parametrize("name", ["attempts", "member_attempts"])
def test_a_counter_is_never_negative(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        a_task(**{name: -1})


@pytest.mark.parametrize("status", list(Status))
def test_the_promise_stands_while_the_task_is_open(status: Status) -> None:
    assert a_task(status=status).is_open is (status.value in {"pending", "calling"})
