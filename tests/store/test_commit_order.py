# SPDX-License-Identifier: MIT
"""Events of several services on one PostgreSQL are read in the order of their ids.

Although one with a lower id may be committed later.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from fastagi.domain.queue_log_entries import EventRow
from fastagi.store import live_reads, positions, story_events, together, writers
from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.positions import part_of
from fastagi.store.store import TaskStore
from fastagi.store.story_events import StoryPosition
from fastagi.store.together import LastEvents
from tests.store.harness import NOW, RULES, at, done, new_task, verdict
from tests.store.open_transaction import OpenTransaction
from tests.store.test_outbox import Diary, Outboxes


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    made = Database(postgres_url, deliver=None)
    yield made
    done(made.close())


@pytest.fixture
def store(database: Database) -> TaskStore:
    return TaskStore(database)


@pytest.fixture
def outboxes(store: TaskStore) -> Iterator[Outboxes]:
    one = Outboxes(store)
    yield one
    done(one.background.stop())


@pytest.fixture
def other(postgres_url: str) -> Iterator[OpenTransaction]:
    """The other service, whose transaction is open."""
    with OpenTransaction(postgres_url) as one:
        yield one


def ask(store: TaskStore, number: str = "100") -> int:
    return done(store.add(new_task(number), NOW)).task.id


class Reports(Diary):
    """A sink with one entry for each event of an attempt on a node."""

    def entries(self, event: EventRow) -> list[str]:
        if part_of("queue_log", event.node) != self.name:
            return []
        return [f"{event.task_id} {event.move.value}"]


# -- sinks ---------------------------------------------------------------------


def test_event_committed_later_than_the_next_one_reaches_each_sink_once(
    store: TaskStore, other: OpenTransaction, outboxes: Outboxes
) -> None:
    first, second = Diary(), Diary("log")
    boxes = [outboxes.begin(first), outboxes.begin(second)]
    assert ask(other.store(), "1") == 1
    assert ask(store, "2") == 2

    for box in boxes:
        box.wake()
    assert first.written == second.written == []
    other.commit()
    # They look again by themselves.
    outboxes.reactor.advance(0.1)

    all_once = ["1 asked", "1 waits", "2 asked", "2 waits"]
    assert first.written == second.written == all_once
    for box in boxes:
        box.wake()
    outboxes.reactor.advance(60)
    assert first.written == second.written == all_once


def test_each_asterisk_gets_its_lines_of_attempts_that_two_services_began(
    postgres_url: str, store: TaskStore, other: OpenTransaction, outboxes: Outboxes
) -> None:
    for number in "12":
        ask(store, number)
    there = other.store(node="y")
    (begun,) = done(there.begin_attempts({"support"}, ["c1"], at(1))).begun
    with OpenTransaction(postgres_url) as third:
        here = third.store(node="x")
        (own,) = done(here.begin_attempts({"support"}, ["c2"], at(1))).begun
        third.commit()
    done(TaskStore(store._database).share_events("queue_log", ["x", "y"]))
    x, y = Reports("queue_log:x"), Reports("queue_log:y")
    boxes = [outboxes.begin(x), outboxes.begin(y)]
    assert x.written == y.written == []

    done(there.close_attempt("c1", verdict("BUSY"), RULES, at(2)))
    other.commit()
    outboxes.reactor.advance(0.1)

    assert y.written == [f"{begun.task.id} begin", f"{begun.task.id} retry"]
    assert x.written == [f"{own.task.id} begin"]
    for box in boxes:
        box.wake()
    outboxes.reactor.advance(60)
    assert (len(y.written), len(x.written)) == (2, 1)


def test_event_that_was_never_committed_holds_up_nothing(
    store: TaskStore, other: OpenTransaction, outboxes: Outboxes
) -> None:
    diary = Diary()
    ask(other.store(), "1")
    ask(store, "2")
    outboxes.begin(diary)
    assert diary.written == []

    other.roll_back()
    outboxes.reactor.advance(0.1)

    assert diary.written == ["2 asked", "2 waits"]


def test_what_has_no_gap_before_it_does_not_wait(
    store: TaskStore, other: OpenTransaction, outboxes: Outboxes
) -> None:
    ask(store, "1")
    ask(store, "2")
    ask(other.store(), "3")
    ask(store, "4")
    diary = Diary()
    outboxes.begin(diary)
    assert diary.written[-1] == "2 waits"
    other.commit()
    outboxes.reactor.advance(0.1)
    assert diary.written[-1] == "4 waits"


def test_long_transactions_of_other_programs_hold_up_nothing(
    store: TaskStore, postgres_url: str, other: OpenTransaction, outboxes: Outboxes
) -> None:
    """Not even one that changes something, or reads everything, such as pg_dump."""
    with backend_for(postgres_url).engine.connect() as program:
        program.exec_driver_sql("SELECT pg_current_xact_id()")
        program.exec_driver_sql("SELECT count(*) FROM task_event")
        program.exec_driver_sql("INSERT INTO mark (name, at) VALUES ('x', 1)")
        ask(other.store(), "1")
        ask(store, "2")
        other.roll_back()
        diary = Diary()
        outboxes.begin(diary)
        assert diary.written == ["2 asked", "2 waits"]


# -- the live state, and other services ----------------------------------------


def test_live_state_gets_the_task_of_an_event_that_is_committed_later(
    store: TaskStore, other: OpenTransaction
) -> None:
    before = done(store.last_event())
    ask(other.store(), "1")
    ask(store, "2")

    changes = done(store.changes_after(before, 100, ["queue_log"], at(9)))
    assert (changes.open, changes.held_back) == ([], True)
    assert changes.last_event == before
    # Who begins to follow begins before both.
    assert done(store.last_event()) == before

    other.commit()
    changes = done(store.changes_after(before, 100, ["queue_log"], at(9)))
    assert sorted(task.id for task in changes.open) == [1, 2]
    assert (changes.last_event, changes.held_back) == (2, False)
    assert done(store.last_event()) == 2


def test_live_state_does_not_believe_that_the_database_was_set_back(
    store: TaskStore, other: OpenTransaction
) -> None:
    """A transaction is about to write since before the last event that is known."""
    about_to_write = f"SELECT pg_advisory_xact_lock_shared({writers.EVENTS_LOCK}, 0)"
    other.conn.exec_driver_sql(about_to_write)
    ask(store, "1")
    changes = done(store.changes_after(0, 100, ["queue_log"], at(9)))
    assert (changes.last_event, len(changes.open)) == (1, 1)
    assert done(store.changes_after(1, 100, ["queue_log"], at(9))).last_event == 1


def test_others_are_told_of_an_event_that_is_committed_later(
    store: TaskStore, other: OpenTransaction
) -> None:
    def look(known: LastEvents) -> LastEvents:
        return done(store.look_at_others((), (), known)).last_events

    nothing = look(together.NO_EVENTS)
    ask(other.store(), "1")
    ask(store, "2")
    one = look(nothing)
    assert one == LastEvents(2, 0) == look(one)
    other.commit()
    assert look(one) == LastEvents(2, 2) == look(LastEvents(2, 2))


# -- what it costs -------------------------------------------------------------


def statements(database: Database, work: Any) -> list[str]:
    """Return the statements that some work executes."""
    found: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    engine = database._backend.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return found


def test_one_service_alone_reads_events_with_one_statement(
    store: TaskStore, database: Database
) -> None:
    for number in "123":
        ask(store, number)
    for first in range(4):
        read = partial(store.events_after, first, 100)
        assert len(statements(database, lambda read=read: done(read()))) == 1


def test_transaction_holds_one_lock_however_many_events_it_writes(
    store: TaskStore, other: OpenTransaction, postgres_url: str
) -> None:
    ask(store, "1")
    for number in range(100, 120):
        ask(other.store(), str(number))
    held = sa.text(
        "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"
        f" AND classid = {writers.EVENTS_LOCK}"
    )
    with backend_for(postgres_url).engine.connect() as conn:
        assert conn.execute(held).scalars().all() == [1]
        other.commit()
        assert conn.execute(held).scalars().all() == []


def test_rows_can_be_restored_without_a_search_path(postgres_url: str) -> None:
    """As pg_restore does it."""
    with OpenTransaction(postgres_url) as one:
        task_id = ask(one.store())
        one.conn.exec_driver_sql("SET LOCAL search_path TO ''")
        one.conn.exec_driver_sql("SET LOCAL callback_queue.writes TO ''")
        one.conn.exec_driver_sql(
            "INSERT INTO public.task_event (task_id, at, move, status, reason_params,"
            f" linkedid) VALUES ({task_id}, 3, 'progress', 'pending', '', '')"
        )


# -- any order -----------------------------------------------------------------


@attrs.define
class Reader:
    """Follows the events in one way, and notes their ids."""

    url: str
    isolation: str
    ids: list[int] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        engine = backend_for(self.url).engine
        self._engine = engine.execution_options(isolation_level=self.isolation)

    def _in_transaction(self, function: Any, *args: Any) -> Any:
        with self._engine.connect() as conn:
            return function(conn, *args)

    def read(self, most: int) -> None:
        raise NotImplementedError


class OfSink(Reader):
    def read(self, most: int) -> None:
        last = self.ids[-1] if self.ids else 0
        page = self._in_transaction(positions.after, last, most)
        self.ids += [event.event_id for event in page.events]


class OfLiveState(Reader):
    last = 0

    def read(self, most: int) -> None:
        found = self._in_transaction(
            live_reads.changes_after, self.last, most, ["queue_log"], NOW
        )
        # Each task has one event here.
        tasks = [task.id for task in found.open]
        with self._engine.connect() as conn:
            wanted = sa.text("SELECT id FROM task_event WHERE task_id = ANY(:ids)")
            self.ids += sorted(conn.execute(wanted, {"ids": tasks}).scalars())
        self.last = found.last_event


class OfWebProcess(Reader):
    position = StoryPosition()

    def read(self, most: int) -> None:
        page = self._in_transaction(story_events.read_after, self.position, most)
        if page.settled is not None:
            page = self._in_transaction(
                story_events.read_after, self.position, most, page.settled
            )
        self.ids += [event.id for event in page.events]
        if page.events:
            self.position = page.events[-1].position


READERS: list[tuple[type[Reader], str]] = [
    (OfSink, "READ COMMITTED"),
    (OfLiveState, "READ COMMITTED"),
    (OfWebProcess, "REPEATABLE READ"),
]


@pytest.mark.parametrize("seed", range(6))
def test_every_reader_gets_each_event_once_and_in_order(
    postgres_url: str, seed: int
) -> None:
    """Whatever three services begin, commit, and roll back, and when."""
    draw = random.Random(seed)
    numbers = map(str, count(1000))
    readers = [kind(postgres_url, isolation) for kind, isolation in READERS]
    with ExitStack() as stack:
        services = [
            stack.enter_context(OpenTransaction(postgres_url)) for _ in range(3)
        ]
        for _ in range(80):
            service = draw.choice(services)
            step = draw.choice(["ask", "ask", "undo", "commit", "roll back", "read"])
            if step == "ask":
                ask(service.store(), next(numbers))
            elif step == "undo":
                service.conn.exec_driver_sql("SAVEPOINT request")
                ask(service.store(), next(numbers))
                service.conn.exec_driver_sql("ROLLBACK TO SAVEPOINT request")
            elif step == "commit":
                service.commit()
            elif step == "roll back":
                service.roll_back()
            else:
                draw.choice(readers).read(draw.choice([1, 3, 100]))
        for service in services:
            draw.choice([service.commit, service.roll_back])()
        stored = services[0].conn.exec_driver_sql(
            "SELECT id FROM task_event ORDER BY id"
        )
        expected = list(stored.scalars())
    assert len(expected) > 5
    for reader in readers:
        # Nobody writes any more, so nothing is held back.
        reader.read(1000)
        assert reader.ids == expected, reader


@pytest.mark.parametrize(("kind", "isolation"), READERS)
def test_event_that_is_committed_while_it_is_looked_who_writes_is_not_passed(
    store: TaskStore,
    other: OpenTransaction,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Reader],
    isolation: str,
) -> None:
    """The events were read before, and the locks are read after the COMMIT."""
    look = writers.settled

    def commit_and_look(conn: sa.Connection, last: int) -> int:
        other.commit()
        return look(conn, last)

    monkeypatch.setattr(writers, "settled", commit_and_look)
    ask(other.store(), "1")
    ask(store, "2")
    reader = kind(postgres_url, isolation)
    reader.read(100)
    assert reader.ids == [1, 2]
    reader.read(100)
    assert reader.ids == [1, 2]


@pytest.mark.parametrize(("kind", "isolation"), READERS)
def test_event_that_is_written_while_it_is_looked_who_writes_is_not_passed(
    store: TaskStore,
    other: OpenTransaction,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Reader],
    isolation: str,
) -> None:
    """Ids were given after the locks were read, before the events are read again."""
    look = writers.settled

    def look_and_write(conn: sa.Connection, last: int) -> int:
        up_to = look(conn, last)
        ask(other.store(), "3")
        ask(store, "4")
        monkeypatch.setattr(writers, "settled", look)
        return up_to

    monkeypatch.setattr(writers, "settled", look_and_write)
    with OpenTransaction(postgres_url) as gone:
        ask(gone.store(), "1")
    ask(store, "2")
    reader = kind(postgres_url, isolation)
    reader.read(100)
    assert reader.ids == [2]
    other.commit()
    reader.read(100)
    assert reader.ids == [2, 3, 4]


def test_position_of_a_new_reader_is_before_what_is_committed_later(
    store: TaskStore, other: OpenTransaction, postgres_url: str
) -> None:
    reader = OfWebProcess(postgres_url, "REPEATABLE READ")
    ask(store, "1")
    ask(other.store(), "2")
    ask(store, "3")
    last = reader._in_transaction(story_events.last_position)
    assert last.event_id == 1
    seen = reader._in_transaction(story_events.last_seen, last)
    assert seen == (last, False)
    other.commit()
    seen = reader._in_transaction(story_events.last_seen, None)
    assert (seen[0].event_id, seen[1]) == (3, True)
    reader.position = last
    reader.read(100)
    assert reader.ids == [2, 3]
