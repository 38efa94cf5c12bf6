# SPDX-License-Identifier: MIT
"""Numbers that callers enter count for the caller, on every engine."""

from __future__ import annotations

import pytest

from fastagi.domain.not_callable import NotCallable
from fastagi.domain.reason import Code
from fastagi.domain.task import CallbackTask, Entered
from fastagi.store.store import TaskStore
from tests.store.harness import at, done, new_task

DAY_S = 24 * 3600


def enter(
    store: TaskStore, number: str, seconds: float = 0, caller: str = "900"
) -> CallbackTask:
    """Let a caller enter a number; two a day are allowed."""
    new = new_task(
        number,
        entered=Entered(caller, limit=2),
        due_at=at(seconds),
        expires_at=at(seconds + 3600),
    )
    return done(store.add(new, at(seconds))).task


def test_caller_enters_only_so_many_numbers_within_24_hours(store: TaskStore) -> None:
    enter(store, "100")
    enter(store, "200", 60)
    with pytest.raises(NotCallable) as refused:
        enter(store, "300", 120)
    assert refused.value.why.code is Code.ENTERED_TOO_OFTEN
    assert str(refused.value) == (
        "the caller has entered another number 2 times within 24 hours, the most that"
        " is allowed"
    )
    assert len(done(store.listing())) == 2
    # A caller who entered none, and the same caller a day after the first.
    enter(store, "300", 180, caller="901")
    enter(store, "400", DAY_S + 1)
    with pytest.raises(NotCallable):
        enter(store, "500", DAY_S + 2)


def test_repeated_entry_of_one_number_counts_each_time_and_makes_one_task(
    store: TaskStore,
) -> None:
    first = enter(store, "100")
    assert enter(store, "100", 10).id == first.id
    with pytest.raises(NotCallable):
        enter(store, "100", 20)
    assert [task.id for task in done(store.listing())] == [first.id]


def test_own_number_of_a_caller_is_not_counted(store: TaskStore) -> None:
    enter(store, "100")
    enter(store, "200")
    assert done(store.add(new_task("900"), at(5))).created
