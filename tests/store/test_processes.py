# SPDX-License-Identifier: MIT
"""Two processes on one database: the database itself enforces the rules."""

from __future__ import annotations

from collections import Counter

from fastagi.domain.task import Move
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, OtherProcess, done, new_task


def test_one_open_task_per_number_however_many_ask_at_once(url: str) -> None:
    with (
        OtherProcess("add_many", url, "1", "40", "2") as one,
        OtherProcess("add_many", url, "1", "40", "2") as two,
    ):
        for process in (one, two):
            assert process.line() == "ready"
        for process in (one, two):
            process.go()
        said = [line.split() for line in one.lines() + two.lines()]

    store = TaskStore(Database(url, deliver=None))
    tasks = done(store.listing())
    assert len(said) == 160
    assert sorted(int(task.number_key) for task in tasks) == list(range(1, 41))
    assert Counter(what for what, _ in said) == {"created": 40, "repeated": 120}
    assert Counter(int(number) for _, number in said) == {t.id: 4 for t in tasks}
    for task in tasks:
        moves = [event.move for event in done(store.history(task.id))]
        assert moves == [Move.CREATE, Move.REPEAT, Move.REPEAT, Move.REPEAT]
    done(store._database.close())


def test_no_task_is_given_to_two_processes(url: str) -> None:
    database = Database(url, deliver=None)
    store = TaskStore(database)
    for number in range(60):
        done(store.add(new_task(f"{number}"), NOW))

    with (
        OtherProcess("begin_all", url, "one") as one,
        OtherProcess("begin_all", url, "two") as two,
    ):
        for process in (one, two):
            assert process.line() == "ready"
        for process in (one, two):
            process.go()
        given = one.lines() + two.lines()

    assert len(given) == len(set(given)) == 60
    opened = done(store.open_attempts())
    assert sorted(begun.task.id for begun in opened) == sorted(map(int, given))
    assert {len(done(store.attempts(b.task.id))) for b in opened} == {1}
    done(database.close())
