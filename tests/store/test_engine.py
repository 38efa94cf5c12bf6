# SPDX-License-Identifier: MIT
"""Durability, group commit, and every failure of a database."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs

from fastagi.domain.task import NewTask, Status
from fastagi.store import engine, migrate, queries, requests, results
from fastagi.store.engine import ALONE, Alone, Database
from fastagi.store.errors import (
    CommitUnknown,
    NoSuchTask,
    OutOfTime,
    StoreUnavailable,
    TryAgain,
)
from fastagi.store.store import TaskStore
from tests.lab.processes import wait_until
from tests.store.harness import NOW, PATIENCE_S, Loop, OtherProcess, done, new_task


def add_task(conn: sa.Connection, new: NewTask) -> bool:
    """Add a task without any condition against it."""
    recorded = requests.add(conn, new, NOW, False)
    assert isinstance(recorded, results.Recorded)
    return recorded.created


def add(conn: sa.Connection, number: str) -> bool:
    """Add a task; for :meth:`Database.run`."""
    return add_task(conn, new_task(number))


def count(conn: sa.Connection) -> int:
    """Count all tasks."""
    return sum(queries.counts(conn, 0, 1_000_000).by_status.values())


def numbers(database: Database) -> list[str]:
    """Return the numbers of all tasks, as another connection sees them."""
    fresh = Database(_url_of(database), deliver=None)
    found = [task.number_key for task in done(TaskStore(fresh).listing())]
    done(fresh.close())
    return sorted(found)


def _url_of(database: Database) -> str:
    return database.test_url  # type: ignore[attr-defined]


@pytest.fixture
def threaded(url: str, loop: Loop) -> Iterator[Database]:
    """A database with its thread, as in the service."""
    database = Database(url, deliver=loop.deliver)
    database.test_url = url  # type: ignore[attr-defined]
    yield database
    loop.wait(database.close())


class Gate:
    """Keeps the worker busy, so that requests queue up behind it."""

    def __init__(self, database: Database) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        database.run("gate", self._pass)
        assert self._entered.wait(20)

    def _pass(self, _conn: sa.Connection) -> None:
        self._entered.set()
        assert self._open.wait(20)

    def open(self) -> None:
        """Let the worker continue."""
        self._open.set()


class Slow:
    """A request that takes a while, and notes its name when it ends."""

    def __init__(self, order: list[str], name: str) -> None:
        self._order, self._name = order, name
        self._entered, self._may_end = threading.Event(), threading.Event()

    def __call__(self, _conn: sa.Connection) -> None:
        self._entered.set()
        assert self._may_end.wait(PATIENCE_S)
        self._order.append(self._name)

    def wait(self) -> None:
        """Wait until it is carried out."""
        assert self._entered.wait(PATIENCE_S)

    def end(self) -> None:
        """Let it end."""
        self._may_end.set()


# -- durability ------------------------------------------------------------


def test_every_commit_waits_for_the_disk(sqlite_url: str, loop: Loop) -> None:
    database = Database(sqlite_url, deliver=loop.deliver)

    def settings(conn: sa.Connection) -> list[object]:
        names = ["journal_mode", "synchronous", "foreign_keys"]
        return [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    # 2 means FULL: https://sqlite.org/pragma.html#pragma_synchronous
    assert loop.wait(database.run("settings", settings)) == ["wal", 2, 1]
    loop.wait(database.close())


def test_postgresql_waits_for_its_disk_even_if_told_not_to(postgres_url: str) -> None:
    lax = sa.make_url(postgres_url)
    lax = lax.update_query_dict({"options": "-c synchronous_commit=off"})
    database = Database(lax.render_as_string(hide_password=False), deliver=None)

    def setting(conn: sa.Connection) -> object:
        return conn.exec_driver_sql("SHOW synchronous_commit").scalar()

    assert database.run_now("setting", setting) == "on"
    done(database.close())


def test_what_was_told_survives_a_kill(url: str) -> None:
    with OtherProcess("add_and_hang", url) as other:
        assert other.line().startswith("added ")
        other.kill()

    database = Database(url, deliver=None)
    (task,) = done(TaskStore(database).listing())
    assert (task.number_key, task.status) == ("100", Status.PENDING)
    assert len(done(TaskStore(database).history(task.id))) == 1
    done(database.close())


def test_nothing_is_told_before_the_commit(threaded: Database, loop: Loop) -> None:
    gate = Gate(threaded)
    seen: list[list[str]] = []
    added = [threaded.run("add", add, f"{n}") for n in range(3)]
    for deferred in added:
        deferred.addCallback(lambda _: seen.append(numbers(threaded)))
    gate.open()

    loop.outcomes(added)

    assert seen == [["0", "1", "2"]] * 3


def test_a_new_file_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        path = tmp_path / "new.db"
        migrate.upgrade(f"sqlite:///{path}")
        database = Database(f"sqlite:///{path}", deliver=None)
        database.run_now("add", add, "1")
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert {file.name for file in tmp_path.iterdir()} == {
            *["new.db", "new.db-wal", "new.db-shm"]
        }
        done(database.close())
    finally:
        os.umask(old_mask)


@pytest.mark.parametrize("name", ["a b.db", "50%25.db", "x?mode=ro", "#1.db", "ü&=.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    url = sa.URL.create("sqlite", database=str(tmp_path / name))
    text = url.render_as_string()
    migrate.upgrade(text)
    database = Database(text, deliver=None)

    database.run_now("add", add, "1")
    done(database.close())

    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert sqlite3.connect(tmp_path / name).execute("SELECT number FROM task")


# -- the thread ------------------------------------------------------------


def test_no_function_runs_on_the_reactors_thread(
    threaded: Database, loop: Loop
) -> None:
    def where(_conn: sa.Connection) -> int:
        return threading.get_ident()

    idents = {loop.wait(threaded.run("where", where)) for _ in range(3)}

    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_results_are_told_on_the_reactors_thread(
    threaded: Database, loop: Loop
) -> None:
    told: list[int] = []
    work = threaded.run("count", count)
    work.addCallback(lambda _: told.append(threading.get_ident()))

    loop.wait(work)

    assert told == [threading.get_ident()]


def test_nothing_is_opened_before_the_first_request(tmp_path: Path) -> None:
    threads = threading.active_count()
    database = Database(f"sqlite:///{tmp_path}/none/x.db", deliver=Loop().deliver)

    assert threading.active_count() == threads
    done(database.close())


def test_waiting_requests_share_one_transaction(threaded: Database, loop: Loop) -> None:
    loop.wait(threaded.run("count", count))
    gate = Gate(threaded)
    before = threaded.commits

    added = [threaded.run("add", add, f"{n}") for n in range(50)]
    gate.open()

    assert loop.outcomes(added) == [True] * 50
    # One for the gate, and one for all requests behind it.
    assert threaded.commits - before == 2
    assert loop.wait(threaded.run("count", count)) == 50


def test_fifty_at_once_need_few_commits(threaded: Database, loop: Loop) -> None:
    added = [threaded.run("add", add, f"{n}") for n in range(50)]

    assert loop.outcomes(added) == [True] * 50
    assert threaded.commits <= 10


def test_requests_are_carried_out_in_their_order(
    threaded: Database, loop: Loop
) -> None:
    order: list[int] = []
    gate = Gate(threaded)
    works = [threaded.run("note", lambda _, n=n: order.append(n)) for n in range(500)]
    gate.open()

    loop.outcomes(works)

    assert order == list(range(500))


# -- deadlines of many requests --------------------------------------------


class _Clock:
    """The engine's steady clock, which a test sets forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def set_forward(self, seconds: float) -> None:
        """Let this many seconds pass at once."""
        self._ahead_s += seconds

    def monotonic(self) -> float:
        """Return the time, as `time.monotonic` does."""
        return time.monotonic() + self._ahead_s

    def sleep(self, seconds: float) -> None:
        """Pause, as `time.sleep` does."""
        time.sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(engine, "time", clock)
    return clock


def test_a_request_whose_time_is_over_before_it_began_is_never_run(
    threaded: Database, loop: Loop, clock: _Clock
) -> None:
    gate = Gate(threaded)
    late = [
        threaded.run("add", add, "1", within_s=0.02),
        threaded.run("add", add, "2", within_s=0.02, together=_add_many),
    ]
    patient = [threaded.run("add", add, "3"), threaded.run("add", add, "4")]
    clock.set_forward(0.03)
    with capturedLogs() as logged:
        gate.open()
        outcomes = loop.outcomes(late + patient)

    assert [type(outcome) for outcome in outcomes] == [OutOfTime, OutOfTime, bool, bool]
    assert numbers(threaded) == ["3", "4"]
    # They waited for other requests, which is no fault of the database.
    assert not [event for event in logged if "can not be used" in event["log_format"]]


def test_what_can_not_be_committed_in_time_is_undone(
    threaded: Database, loop: Loop, clock: _Clock
) -> None:
    def add_slowly(conn: sa.Connection) -> bool:
        added = add(conn, "1")
        clock.set_forward(0.2)
        return added

    outcomes = loop.outcomes([threaded.run("add", add_slowly, within_s=0.1)])

    assert [type(outcome) for outcome in outcomes] == [OutOfTime]
    assert numbers(threaded) == []


def test_a_group_is_committed_before_its_first_would_be_late(
    threaded: Database, loop: Loop, clock: _Clock
) -> None:
    ran: list[int] = []
    told = threading.Event()

    def slow(_conn: sa.Connection, number: int) -> None:
        clock.set_forward(0.1)
        if number == 7:
            assert told.wait(PATIENCE_S), "the first has to wait for all others"
        ran.append(number)

    gate = Gate(threaded)
    urgent = threaded.run("add", add, "1", within_s=0.5)
    urgent.addBoth(lambda outcome: told.set() or outcome)
    others = [threaded.run("slow", slow, number) for number in range(8)]
    gate.open()
    outcomes = loop.outcomes([urgent, *others])

    assert outcomes == [True, *[None] * 8]
    # In order, and none twice.
    assert ran == list(range(8))


def test_requests_with_a_deadline_go_first(threaded: Database, loop: Loop) -> None:
    order: list[str] = []
    gate = Gate(threaded)
    works = [
        threaded.run("note", lambda _: order.append("first")),
        threaded.run("note", lambda _: order.append("second")),
        threaded.run("note", lambda _: order.append("urgent"), within_s=PATIENCE_S),
    ]
    gate.open()

    loop.outcomes(works)

    assert order == ["urgent", "first", "second"]


def test_requests_under_way_are_interrupted_for_one_with_a_deadline(
    threaded: Database, loop: Loop
) -> None:
    order: list[str] = []
    slow = Slow(order, "first")

    gate = Gate(threaded)
    works = [
        threaded.run("note", slow),
        threaded.run("note", lambda _: order.append("second")),
    ]
    gate.open()
    slow.wait()
    works.append(
        threaded.run("note", lambda _: order.append("urgent"), within_s=PATIENCE_S)
    )
    slow.end()

    loop.outcomes(works)

    assert order == ["first", "urgent", "second"]


def test_nothing_is_told_that_a_broken_transaction_left_for_later(
    sqlite_url: str, loop: Loop
) -> None:
    """Its requests let one with a deadline go first, and run after it."""
    threaded = Database(sqlite_url, deliver=loop.deliver)
    threaded.test_url = sqlite_url  # type: ignore[attr-defined]
    entered, arrived = threading.Event(), threading.Event()

    def break_once(_conn: sa.Connection) -> str:
        if arrived.is_set():
            return "done"
        entered.set()
        assert arrived.wait(PATIENCE_S)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # type: ignore[misc]
        raise sa.exc.OperationalError("INSERT", None, error)

    gate = Gate(threaded)
    works: list[Deferred[Any]] = [
        threaded.run("add", add, "1"),
        threaded.run("break", break_once),
        threaded.run("add", add, "2"),
    ]
    gate.open()
    assert entered.wait(PATIENCE_S)
    works.append(threaded.run("add", add, "3", within_s=PATIENCE_S))
    arrived.set()

    assert loop.outcomes(works) == [True, "done", True, True]
    assert numbers(threaded) == ["1", "2", "3"]
    loop.wait(threaded.close())


def test_a_request_without_a_deadline_does_not_wait_for_ever(
    threaded: Database, loop: Loop, clock: _Clock
) -> None:
    order: list[str] = []
    gate = Gate(threaded)
    works = [threaded.run("note", lambda _: order.append("patient"))]
    clock.set_forward(1.0)
    works += [
        threaded.run("note", lambda _: order.append("new")),
        threaded.run("note", lambda _: order.append("urgent"), within_s=PATIENCE_S),
    ]
    gate.open()

    loop.outcomes(works)

    assert order == ["patient", "urgent", "new"]


def test_callers_wait_for_one_request_without_a_deadline_at_most(
    threaded: Database, loop: Loop, clock: _Clock
) -> None:
    order: list[str] = []
    slow = Slow(order, "1")

    def note(_conn: sa.Connection, what: str) -> None:
        order.append(what)

    gate = Gate(threaded)
    works = [threaded.run("note", slow)]
    works += [threaded.run("note", note, number) for number in "2345"]
    clock.set_forward(1.0)
    works.append(threaded.run("note", note, "first caller", within_s=PATIENCE_S))
    gate.open()
    slow.wait()
    # This one comes while the transaction of the first runs.
    works.append(threaded.run("note", note, "second caller", within_s=PATIENCE_S))
    slow.end()

    loop.outcomes(works)

    assert order == ["1", "first caller", "2", "second caller", "3", "4", "5"]


def test_callers_interrupt_requests_that_have_waited_for_long(
    threaded: Database, loop: Loop, clock: _Clock
) -> None:
    order: list[str] = []
    slow = Slow(order, "1")

    gate = Gate(threaded)
    works = [threaded.run("note", slow)]
    works.append(threaded.run("note", lambda _: order.append("2")))
    works.append(threaded.run("note", lambda _: order.append("3")))
    clock.set_forward(1.0)
    gate.open()
    slow.wait()
    works.append(
        threaded.run("note", lambda _: order.append("caller"), within_s=PATIENCE_S)
    )
    slow.end()

    loop.outcomes(works)

    # The oldest of those left goes before the caller, the next one does not.
    assert order == ["1", "2", "caller", "3"]


def test_requests_of_one_turn_begin_together_at_its_end(
    url: str, loop: Loop, clock: _Clock
) -> None:
    ends: list[Callable[[], object]] = []
    gathering = Database(url, deliver=loop.deliver, at_turn_end=ends.append)
    gathering.test_url = url  # type: ignore[attr-defined]
    threads = threading.active_count()
    works = [gathering.run("add", add, number) for number in "12"]
    assert len(ends) == 1
    ends.pop()()
    # Another turn may bring more.
    works.append(gathering.run("add", add, "3"))
    ends.pop()()
    assert threading.active_count() == threads
    ends.pop()()
    assert loop.outcomes(works) == [True] * 3
    assert gathering.commits == 1
    assert not ends
    # One that comes alone does not wait for others.
    works = [gathering.run("add", add, "4")]
    ends.pop()()
    assert loop.outcomes(works) == [True]
    # Nor does the first of many wait for ever.
    works = [gathering.run("add", add, number) for number in "56"]
    ends.pop()()
    works.append(gathering.run("add", add, "7"))
    clock.set_forward(0.02)
    ends.pop()()
    assert not ends
    assert loop.outcomes(works) == [True] * 3
    # What has not begun is carried out before the database is closed.
    works = [gathering.run("add", add, number) for number in "89"]
    loop.wait(gathering.close())
    ends.pop()()
    assert loop.outcomes(works) == [True] * 2
    assert numbers(gathering) == [*"123456789"]


def test_more_than_may_wait_are_refused_before_the_turn_ends(
    url: str, loop: Loop
) -> None:
    ends: list[Callable[[], object]] = []
    gathering = Database(
        url, deliver=loop.deliver, at_turn_end=ends.append, most_waiting=2
    )
    works = [gathering.run("add", add, number) for number in "123"]
    with pytest.raises(StoreUnavailable, match="2 requests are already waiting"):
        loop.wait(works[2])
    loop.wait(gathering.close())
    assert loop.outcomes(works[:2]) == [True] * 2


def test_what_nobody_waits_for_is_not_in_the_way_of_the_next_caller(
    threaded: Database, loop: Loop, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_QUIET_S", PATIENCE_S)
    monkeypatch.setattr(engine, "_LETS_OTHERS_GO_FIRST_S", 2 * PATIENCE_S)
    order: list[str] = []

    def note(_conn: sa.Connection, what: str) -> None:
        order.append(what)

    loop.wait(threaded.run("note", note, "first", within_s=PATIENCE_S))
    before = threaded.commits
    patient = threaded.run("note", note, "patient")
    loop.wait(threaded.run("note", note, "second", within_s=PATIENCE_S))
    # The caller's transaction had nothing else to do.
    assert order == ["first", "second"]
    assert threaded.commits == before + 1

    # The worker waits for the next caller, and then sees both requests at once.
    wait_until(lambda: threaded._quiet_at < math.inf, PATIENCE_S, "the end of a group")
    with threaded._changed:
        clock.set_forward(1.1 * PATIENCE_S)
        last = threaded.run("note", note, "last")
    loop.outcomes([patient, last])
    assert order == ["first", "second", "patient", "last"]
    assert threaded.commits == before + 2


def _add_many(conn: sa.Connection, asked: Sequence[tuple[str]]) -> list[bool | Alone]:
    return [ALONE if number == "alone" else add(conn, number) for (number,) in asked]


def test_requests_of_one_kind_are_carried_out_by_one_call(
    threaded: Database, loop: Loop
) -> None:
    calls: list[list[str]] = []

    def many(conn: sa.Connection, asked: Sequence[tuple[str]]) -> list[bool | Alone]:
        calls.append([number for (number,) in asked])
        return _add_many(conn, asked)

    def one(conn: sa.Connection, number: str) -> bool:
        calls.append([number])
        return add(conn, number)

    gate = Gate(threaded)
    works: list[Deferred[Any]] = [
        threaded.run("add", one, number, together=many) for number in ("1", "alone")
    ]
    works.append(threaded.run("count", count))
    works.append(threaded.run("add", one, "2", together=many))
    before = threaded.commits
    gate.open()

    assert loop.outcomes(works) == [True, True, 2, True]
    assert calls == [["1", "alone"], ["alone"], ["2"]]
    # This includes the gate's.
    assert threaded.commits - before <= 2
    assert numbers(threaded) == ["1", "2", "alone"]


@pytest.mark.parametrize("beside", [False, True], ids=["", "beside a failure"])
def test_one_of_many_that_fails_harms_no_other(
    threaded: Database, loop: Loop, *, beside: bool
) -> None:
    def many(conn: sa.Connection, asked: Sequence[tuple[str]]) -> list[bool | Alone]:
        return [one(conn, number) for (number,) in asked]

    def one(conn: sa.Connection, number: str) -> bool:
        if number == "2":
            raise NoSuchTask("no")
        return add(conn, number)

    gate = Gate(threaded)
    works: list[Deferred[Any]] = [
        threaded.run("add", one, number, together=many) for number in "123"
    ]
    if beside:
        works.append(threaded.run("fail", _add_then_fail, "4"))
    gate.open()
    outcomes = loop.outcomes(works)

    assert [type(outcome) for outcome in outcomes[:3]] == [bool, NoSuchTask, bool]
    assert numbers(threaded) == ["1", "3"]


def test_fifty_new_tasks_need_as_few_statements_as_one(
    url: str, store: TaskStore, database: Database
) -> None:
    statements: list[str] = []

    def note(_conn, _cursor, statement: str, *_rest) -> None:
        statements.append(statement)

    def needed(first: int, number: int) -> int:
        statements.clear()
        asked = [(new_task(f"{first + n}"), NOW, False, (), 10) for n in range(number)]
        database.run_now("add", requests.add_many, asked)
        return len(statements)

    needed(1000, 1)
    sa.event.listen(database._backend.engine, "before_cursor_execute", note)
    assert needed(2000, 1) == needed(3000, 50)
    # One reads the numbers, the others store; PostgreSQL stores all of them with one.
    assert len(statements) <= (2 if url.startswith("postgresql") else 6)
    assert len(done(store.listing())) == 52


def test_too_many_waiting_are_refused_at_once(url: str, loop: Loop) -> None:
    database = Database(url, deliver=loop.deliver, most_waiting=5)
    started = threading.Event()
    gate = Gate(database)
    first = database.run("first", lambda _: started.set())
    works = [first] + [database.run("add", add, f"{n}") for n in range(9)]

    refused = [work for work in works if work.called]
    gate.open()
    outcomes = loop.outcomes(works)

    assert refused
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(failed) == len(refused)
    assert all(isinstance(error, StoreUnavailable) for error in failed)
    assert "5 requests are already waiting" in str(failed[0])
    assert loop.wait(database.run("count", count)) == 9 - len(refused)
    loop.wait(database.close())


def test_closing_carries_out_what_waits(url: str, loop: Loop) -> None:
    database = Database(url, deliver=loop.deliver)
    gate = Gate(database)
    added = [database.run("add", add, f"{n}") for n in range(5)]

    closed, again = database.close(), database.close()
    late = database.run("add", add, "late")
    gate.open()
    loop.wait(closed)

    assert done(again) is None
    assert [done(work) for work in added] == [True] * 5
    with pytest.raises(StoreUnavailable, match="closed"):
        done(late)
    assert done(database.close()) is None
    assert "database" not in {thread.name for thread in threading.enumerate()}


def test_a_cancelled_request_tells_its_owner_and_nobody_else(
    threaded: Database, loop: Loop
) -> None:
    gate = Gate(threaded)
    first, second = (threaded.run("add", add, number) for number in "12")
    first.cancel()
    gate.open()

    with pytest.raises(CancelledError):
        done(first)
    assert loop.wait(second) is True


def test_it_does_not_block_the_reactors_thread(threaded: Database) -> None:
    with pytest.raises(RuntimeError, match="block"):
        threaded.run_now("count", count)


# -- functions that fail ---------------------------------------------------


def _add_then_fail(conn: sa.Connection, number: str) -> None:
    add(conn, number)
    raise NoSuchTask(f"for {number}")


def _add_then_break_a_rule(conn: sa.Connection, number: str) -> None:
    add(conn, number)
    conn.exec_driver_sql("UPDATE task SET kind = 'other'")


def _add_then_mistype(conn: sa.Connection, number: str) -> None:
    add(conn, number)
    conn.exec_driver_sql("SELEKT 1")


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (_add_then_fail, NoSuchTask),
        (_add_then_break_a_rule, sa.exc.IntegrityError),
        (_add_then_mistype, sa.exc.DBAPIError),
    ],
)
def test_a_function_that_fails_harms_no_other(
    threaded: Database, loop: Loop, bad, error: type[Exception]
) -> None:
    gate = Gate(threaded)
    before = threaded.commits
    works = [
        threaded.run("add", add, "1"),
        threaded.run("bad", bad, "2"),
        threaded.run("add", add, "3"),
        threaded.run("bad", bad, "4"),
    ]
    gate.open()

    outcomes = loop.outcomes(works)

    assert [outcomes[0], outcomes[2]] == [True, True]
    assert isinstance(outcomes[1], error)
    assert isinstance(outcomes[3], error)
    assert outcomes[1] is not outcomes[3]
    assert numbers(threaded) == ["1", "3"]
    assert threaded.commits - before == 2


def test_numbers_do_not_leak_into_the_text_of_errors(database: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError) as caught:
        database.run_now(
            "bad",
            lambda conn: (
                conn.execute(
                    sa.text("INSERT INTO task (number) VALUES (:n)"),
                    {"n": "+4930123456"},
                ).rowcount
            ),
        )

    assert "SQL" in str(caught.value)
    assert "[parameters: hidden]" not in str(caught.value.orig)
    assert "parameters hidden" in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda conn: conn.exec_driver_sql("SELECT 1"),
        lambda conn: conn.exec_driver_sql("SELECT 1").one(),
        lambda conn: conn.exec_driver_sql("SELECT 1").all(),
        lambda conn: conn.exec_driver_sql("SELECT 1 AS x").mappings().one(),
        lambda conn: (row for row in conn.exec_driver_sql("SELECT 1")),
        lambda conn: conn,
    ],
)
def test_what_lives_only_in_its_transaction_does_not_leave_it(
    database: Database, function
) -> None:
    with pytest.raises(TypeError, match="must not leave its transaction"):
        database.run_now("leak", function)


def _close_connection(conn: sa.Connection) -> None:
    conn.close()


def _commit(conn: sa.Connection) -> None:
    conn.commit()


def _commit_and_go_on(conn: sa.Connection) -> int:
    conn.commit()
    return count(conn)


def _roll_back(conn: sa.Connection) -> None:
    conn.rollback()


@pytest.mark.parametrize(
    "fault", [_close_connection, _commit, _commit_and_go_on, _roll_back]
)
def test_a_faulty_function_leaves_nobody_waiting(
    threaded: Database, loop: Loop, fault
) -> None:
    with capturedLogs():
        error = loop.outcomes([threaded.run("fault", fault)])[0]

    assert isinstance(error, RuntimeError)
    assert "fault ended the transaction" in str(error)
    assert loop.wait(threaded.run("add", add, "1")) is True


def test_a_lost_race_is_run_again(database: Database) -> None:
    tries: list[int] = []

    def race(conn: sa.Connection) -> int:
        tries.append(add(conn, f"{len(tries)}"))
        if len(tries) < 3:
            raise TryAgain
        return len(tries)

    assert database.run_now("race", race) == 3
    # The changes of the lost ones are rolled back.
    assert database.run_now("count", count) == 1


def test_who_always_loses_is_told_in_the_end(threaded: Database, loop: Loop) -> None:
    tries: list[int] = []

    def race(_conn: sa.Connection) -> None:
        tries.append(1)
        raise TryAgain

    gate = Gate(threaded)
    works = [threaded.run("race", race), threaded.run("add", add, "1")]
    gate.open()
    lost, added = loop.outcomes(works)

    assert isinstance(lost, StoreUnavailable)
    assert "race: other processes" in str(lost)
    assert len(tries) == 4
    assert added is True


# -- commits that fail -----------------------------------------------------


def _make_late_check(conn: sa.Connection) -> None:
    conn.exec_driver_sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    conn.exec_driver_sql(
        "CREATE TABLE child (id INTEGER REFERENCES parent (id)"
        " DEFERRABLE INITIALLY DEFERRED)"
    )


def _fail_commit(conn: sa.Connection) -> str:
    """Do something that the database refuses only at the commit."""
    conn.exec_driver_sql("INSERT INTO child (id) VALUES (1)")
    return "fine so far"


def _drop_late_check(conn: sa.Connection) -> None:
    conn.exec_driver_sql("DROP TABLE child")
    conn.exec_driver_sql("DROP TABLE parent")


def test_a_failed_commit_fails_all_in_it(threaded: Database, loop: Loop) -> None:
    loop.wait(threaded.run("make", _make_late_check))
    gate = Gate(threaded)
    works: list[Deferred[object]] = [
        threaded.run("add", add, "1"),
        threaded.run("late", _fail_commit),
        threaded.run("bad", _add_then_fail, "2"),
        threaded.run("add", add, "3"),
    ]
    gate.open()

    outcomes = loop.outcomes(works)

    results = [(0, "add", True), (1, "late", "fine so far"), (3, "add", True)]
    for index, name, result in results:
        outcome = outcomes[index]
        assert isinstance(outcome, CommitUnknown)
        assert str(outcome).startswith(f"{name}: it could not be committed")
        assert outcome.result == result
    assert isinstance(outcomes[2], NoSuchTask)
    assert loop.wait(threaded.run("count", count)) == 0
    assert loop.wait(threaded.run("add", add, "1")) is True
    loop.wait(threaded.run("drop", _drop_late_check))


# -- SQLite: no room -------------------------------------------------------


def _add_much(conn: sa.Connection, number: str) -> bool:
    new = new_task(number, name="x" * 100_000)
    return add_task(conn, new)


def test_no_room_left_fails_only_who_needs_room(sqlite_url: str, loop: Loop) -> None:
    def add_without_room(conn: sa.Connection, number: str) -> bool:
        conn.exec_driver_sql("PRAGMA max_page_count = 1")
        return _add_much(conn, number)

    database = Database(sqlite_url, deliver=loop.deliver)
    gate = Gate(database)
    works: list[Deferred[object]] = [
        database.run("add", add, "1"),
        database.run("much", add_without_room, "2"),
        database.run("add", add, "3"),
        database.run("count", count),
    ]
    gate.open()

    added, error, also_added, counted = loop.outcomes(works)

    assert isinstance(error, StoreUnavailable)
    assert "much: no room left for " in str(error)
    assert "callbacks.db" in str(error)
    assert (added, also_added, counted) == (True, True, 2)
    # Once there is room, no restart is needed.
    assert loop.wait(database.run("much", _add_much, "2")) is True
    loop.wait(database.close())


def test_a_disk_that_takes_no_more_loses_nothing_that_was_told(
    sqlite_url: str,
) -> None:
    with OtherProcess("fill_up", sqlite_url, "1000000") as other:
        error, added, counted, at_last = other.lines()

    assert "callbacks.db" in error
    assert int(added) > 10
    assert counted == added
    assert int(at_last) == int(added) + 1
    conn = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()


# -- SQLite: locked --------------------------------------------------------


def test_a_lock_held_too_long_fails_and_a_later_request_works(
    sqlite_url: str, sqlite_path: Path, loop: Loop
) -> None:
    database = Database(sqlite_url, deliver=loop.deliver, lock_wait_s=0.5)
    loop.wait(database.run("count", count))
    with OtherProcess("hold_lock", str(sqlite_path)) as other:
        assert other.line() == "locked"
        began = time.monotonic()
        outcomes = loop.outcomes([database.run("add", add, f"{n}") for n in range(5)])
        took_s = time.monotonic() - began

        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert f"{sqlite_path} is locked by another process" in str(outcomes[0])
        assert "fuser" in str(outcomes[0])
        assert 0.5 <= took_s < 5
        other.go()
        assert other.line() == "free"

    assert loop.wait(database.run("add", add, "1")) is True
    assert loop.wait(database.run("count", count)) == 1
    loop.wait(database.close())


def test_a_lock_let_go_in_time_is_not_noticed(
    sqlite_url: str, sqlite_path: Path, loop: Loop
) -> None:
    database = Database(sqlite_url, deliver=loop.deliver, lock_wait_s=15)
    loop.wait(database.run("count", count))
    with OtherProcess("hold_lock", str(sqlite_path)) as other:
        assert other.line() == "locked"
        added = database.run("add", add, "1")
        impatient = Database(sqlite_url, deliver=None, lock_wait_s=0.3)
        with pytest.raises(StoreUnavailable, match="locked"):
            impatient.run_now("add", add, "2")
        done(impatient.close())
        other.go()
        assert loop.wait(added) is True
    loop.wait(database.close())


def test_a_file_locked_from_the_beginning(sqlite_url: str, sqlite_path: Path) -> None:
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    database = Database(sqlite_url, deliver=None, lock_wait_s=0.3)

    with pytest.raises(StoreUnavailable, match="locked by another process"):
        database.run_now("add", add, "1")

    other.close()
    assert database.run_now("add", add, "1") is True
    done(database.close())


# -- SQLite: files ---------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none/callbacks.db"
    database = Database(url, deliver=None)

    with pytest.raises(StoreUnavailable, match=f"directory {tmp_path}/none does not"):
        database.run_now("add", add, "1")
    with pytest.raises(StoreUnavailable, match=f"directory {tmp_path}/none does not"):
        migrate.prepare(url)

    assert not (tmp_path / "none").exists()
    done(database.close())


def test_a_missing_file_is_named_and_not_made(
    sqlite_url: str, sqlite_path: Path
) -> None:
    sqlite_path.unlink()
    database = Database(sqlite_url, deliver=None)

    with pytest.raises(StoreUnavailable, match=f"{sqlite_path} does not exist"):
        database.run_now("add", add, "1")

    assert not sqlite_path.exists()
    migrate.upgrade(sqlite_url)
    assert database.run_now("add", add, "1") is True
    done(database.close())


@pytest.mark.parametrize("replaced", [False, True])
def test_no_promise_goes_into_a_file_that_is_no_longer_there(
    sqlite_url: str, sqlite_path: Path, replaced: bool
) -> None:
    copy = sqlite_path.with_name("copy.db")
    shutil.copy2(sqlite_path, copy)
    database = Database(sqlite_url, deliver=None)
    database.run_now("add", add, "1")
    for name in ("callbacks.db", "callbacks.db-wal", "callbacks.db-shm"):
        sqlite_path.with_name(name).unlink()
    if replaced:
        copy.rename(sqlite_path)

    with pytest.raises(StoreUnavailable, match=f"{sqlite_path} was moved, deleted or"):
        database.run_now("add", add, "2")

    if replaced:
        assert database.run_now("add", add, "3") is True
        assert database.run_now("count", count) == 1
    else:
        with pytest.raises(StoreUnavailable, match="does not exist"):
            database.run_now("add", add, "3")
        assert not sqlite_path.exists()
    done(database.close())


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "callbacks.db"
    path.write_bytes(b"Dear diary, " * 1000)
    database = Database(f"sqlite:///{path}", deliver=None)

    with pytest.raises(StoreUnavailable, match=f"{path} is damaged or no database"):
        database.run_now("add", add, "1")

    assert path.read_bytes().startswith(b"Dear diary")
    done(database.close())


def test_a_damaged_file(sqlite_url: str, sqlite_path: Path) -> None:
    intact = sqlite_path.read_bytes()
    sqlite_path.write_bytes(intact[:4096] + b"\xff" * (len(intact) - 4096))
    database = Database(sqlite_url, deliver=None)

    with pytest.raises(StoreUnavailable, match="is damaged or no database"):
        database.run_now("add", add, "1")

    # The operator puts a copy back; no restart is needed.
    sqlite_path.write_bytes(intact)
    for name in ("callbacks.db-wal", "callbacks.db-shm"):
        sqlite_path.with_name(name).unlink(missing_ok=True)
    assert database.run_now("add", add, "1") is True
    done(database.close())


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user of the machine can enter."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_file_that_can_not_be_written(public_directory: Path, what: str) -> None:
    path = public_directory / "callbacks.db"
    url = f"sqlite:///{path}"
    migrate.upgrade(url)
    # Root may write anywhere, so the test becomes another user.
    user = "65534" if os.geteuid() == 0 else ""
    path.chmod(0o444 if what == "file" else 0o666)
    public_directory.chmod(0o555)

    with OtherProcess("try_add", url, user) as other:
        (said,) = other.lines()

    assert f"add: {path} can not be " in said
    assert "let the user this service runs as" in said


def test_a_directory_where_no_file_can_be_made() -> None:
    # Not even root may write there.
    with pytest.raises(StoreUnavailable, match=r"/proc/callbacks\.db can not be made"):
        migrate.prepare("sqlite:////proc/callbacks.db")


def test_a_user_who_may_not_make_the_file_is_told_of_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really = tmp_path / "callbacks.db", os.open

    def refuse(file: Any, *args: Any, **more: Any) -> int:
        if Path(file) == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really(file, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable, match="run the command with sudo, or let"):
        migrate.prepare(f"sqlite:///{path}")


# -- PostgreSQL ------------------------------------------------------------


def _end_all_sessions(url: str) -> None:
    parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(parsed, poolclass=sa.NullPool)
    with engine.begin() as conn:
        conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'callback-queue'"
            " AND datname = current_database()"
        )


def test_a_connection_cut_while_idle_is_not_noticed(
    postgres_url: str, loop: Loop
) -> None:
    database = Database(postgres_url, deliver=loop.deliver)
    loop.wait(database.run("add", add, "1"))
    _end_all_sessions(postgres_url)

    added = [database.run("add", add, number) for number in "234"]

    assert loop.outcomes(added) == [True] * 3
    assert loop.wait(database.run("count", count)) == 4
    loop.wait(database.close())


def test_a_connection_cut_in_the_middle_does_the_work_once(
    postgres_url: str, loop: Loop
) -> None:
    database = Database(postgres_url, deliver=loop.deliver, lock_wait_s=15)
    cut: list[int] = []

    def add_and_be_cut(conn: sa.Connection) -> bool:
        created = add(conn, "2")
        if not cut:
            cut.append(1)
            _end_all_sessions(postgres_url)
            add(conn, "3")
        return created

    gate = Gate(database)
    works = [database.run("add", add, "1"), database.run("cut", add_and_be_cut)]
    gate.open()

    assert loop.outcomes(works) == [True, True]
    assert loop.wait(database.run("count", count)) == 2
    loop.wait(database.close())


def test_a_connection_cut_at_the_commit_is_not_called_a_success(
    postgres_url: str,
) -> None:
    database = Database(postgres_url, deliver=None)
    database.run_now("add", add, "1")
    # The last step before the commit is sent.
    database._backend.check_commit = lambda: _end_all_sessions(postgres_url)

    with pytest.raises(CommitUnknown, match="add: it could not be committed") as error:
        database.run_now("add", add, "2")
    assert error.value.result is True

    del database._backend.check_commit
    assert database.run_now("count", count) == 1
    done(database.close())


def test_a_request_that_is_still_being_stored_is_taken_back_in_the_end(
    postgres_url: str, loop: Loop
) -> None:
    """The server does not know yet that its client has given up."""
    new = new_task("1", linkedid="1800000000.1")
    stored, leave = threading.Event(), threading.Event()

    def add_slowly(conn: sa.Connection) -> None:
        requests.add(conn, new, NOW, once=False)
        stored.set()
        assert leave.wait(PATIENCE_S)

    slow, quick, other = (Database(postgres_url, deliver=loop.deliver) for _ in "123")
    adding = slow.run("add", add_slowly)
    assert stored.wait(PATIENCE_S)
    taking = quick.run("take_back", requests.take_back_unheard, new, NOW, NOW)
    while not loop.wait(other.run("look", _some_session_waits)):
        pass
    leave.set()

    assert loop.outcomes([adding])[0] is None
    taken = loop.wait(taking)

    assert taken is not None and taken.status is Status.CANCELLED
    assert loop.wait(other.run("listing", queries.listing, None, None, None, 9)) == [
        taken
    ]
    for database in (slow, quick, other):
        loop.wait(database.close())


def _some_session_waits(conn: sa.Connection) -> bool:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return bool(conn.execute(waiting).scalar())


def test_two_sessions_in_each_others_way_both_get_through(postgres_url: str) -> None:
    setup = Database(postgres_url, deliver=None)
    setup.run_now("add", add, "1")
    setup.run_now("add", add, "2")
    done(setup.close())
    meeting = threading.Barrier(2)

    def touch(conn: sa.Connection, number: str) -> None:
        conn.execute(
            sa.text("UPDATE task SET attempts = attempts + 1 WHERE number_key = :n"),
            {"n": number},
        )

    def both(conn: sa.Connection, first: str, second: str) -> str:
        touch(conn, first)
        if not meeting.broken:
            try:
                meeting.wait(5)
                meeting.abort()
            except threading.BrokenBarrierError:
                pass
        touch(conn, second)
        return "done"

    loops = [Loop(), Loop()]
    databases = [
        Database(postgres_url, deliver=loop.deliver, lock_wait_s=15) for loop in loops
    ]
    works = [
        databases[0].run("both", both, "1", "2"),
        databases[1].run("both", both, "2", "1"),
    ]
    for loop, database, work in zip(loops, databases, works, strict=True):
        assert loop.wait(work) == "done"
        loop.wait(database.close())

    check = Database(postgres_url, deliver=None)
    assert [task.attempts for task in done(TaskStore(check).listing())] == [2, 2]
    done(check.close())


def test_a_number_taken_by_another_session_in_the_same_moment(
    postgres_url: str,
) -> None:
    database = Database(postgres_url, deliver=None)
    other = Database(postgres_url, deliver=None)
    taken: list[bool] = []

    def take_it_first(_conn, _cursor, statement: str, *_rest) -> None:
        if statement.startswith("INSERT INTO task ") and len(tries) == 2 and not taken:
            taken.append(other.run_now("add", add, "1"))

    tries: list[int] = []

    def late(conn: sa.Connection) -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise TryAgain
        return add(conn, "1")

    sa.event.listen(database._backend.engine, "before_cursor_execute", take_it_first)

    assert database.run_now("add", late) is False
    assert taken == [True]
    assert len(tries) == 3
    assert database.run_now("count", count) == 1
    for one in (database, other):
        done(one.close())


def test_a_row_locked_too_long_fails_alone(postgres_url: str, loop: Loop) -> None:
    database = Database(postgres_url, deliver=loop.deliver)
    loop.wait(database.run("add", add, "1"))
    engine = sa.create_engine(
        sa.make_url(postgres_url).set(drivername="postgresql+psycopg"),
        poolclass=sa.NullPool,
    )
    with engine.begin() as conn:
        conn.exec_driver_sql("SELECT * FROM task FOR UPDATE")
        gate = Gate(database)
        works = [database.run("add", add, "1"), database.run("add", add, "2")]
        began = time.monotonic()
        gate.open()
        stuck, added = loop.outcomes(works)
        took_s = time.monotonic() - began

    assert took_s < 3.5
    assert isinstance(stuck, StoreUnavailable)
    assert "locked by another session" in str(stuck)
    assert added is True
    loop.wait(database.close())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": 1}, "refused"),
        ({"password": "s3cret"}, "password authentication failed"),
        ({"database": "no_such_database"}, "does not exist"),
    ],
)
def test_a_server_that_can_not_be_used(
    postgres_url: str, changes: dict[str, object], words: str
) -> None:
    url = sa.make_url(postgres_url).set(**changes)
    database = Database(url.render_as_string(hide_password=False), deliver=None)

    with pytest.raises(StoreUnavailable, match=words) as caught:
        database.run_now("add", add, "1")

    assert "postgresql://" in str(caught.value)
    assert str(url.password) not in str(caught.value)
    done(database.close())


def test_a_server_that_is_not_there_is_told_soon() -> None:
    database = Database("postgresql://u:s3cret@127.0.0.1:1/x", deliver=None)

    with pytest.raises(StoreUnavailable, match="the database postgresql://u:"):
        database.run_now("add", add, "1")

    done(database.close())


# -- URLs ------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:s3cret@h/d"])
def test_a_url_that_is_no_database_of_ours(url: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Database(url, deliver=None)

    assert "s3cret" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StoreUnavailable, match=r"pip install 'psycopg\[bin"):
        Database("postgresql://u:s3cret@127.0.0.1/x", deliver=None)


# -- the log ---------------------------------------------------------------


def test_trouble_and_its_end_are_logged_once(
    sqlite_url: str, sqlite_path: Path
) -> None:
    database = Database(sqlite_url, deliver=None)
    hidden = sqlite_path.with_name("hidden")
    sqlite_path.rename(hidden)

    with capturedLogs() as events:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                done(database.run("add", add, "1"))
        hidden.rename(sqlite_path)
        for _ in range(3):
            done(database.run("add", add, "1"))

    assert [event["log_level"] for event in events] == [LogLevel.error, LogLevel.info]
    assert "does not exist" in events[0]["error"]
    assert events[0]["name"] == "add"
    done(database.close())
