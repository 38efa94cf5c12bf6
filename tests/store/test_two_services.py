# SPDX-License-Identifier: MIT
"""Two services on one PostgreSQL do the same at once, and every limit holds.

The transaction of one is open, with all of its changes, while the other one acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import attrs
import pytest
import sqlalchemy as sa

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.limits import CallLimits
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.reason import Code, said
from fastagi.domain.slots import Slot, SlotLimit
from fastagi.domain.task import Entered, Status
from fastagi.store import attempts, lease_rows
from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.leases import Held
from fastagi.store.store import TaskStore
from tests.lab.processes import pauses
from tests.store.harness import NOW, PATIENCE_S, RULES, at, done, new_task, verdict
from tests.store.open_transaction import OpenTransaction
from tests.store.test_commit_order import statements
from tests.store.test_node_leases import A, B, instance, lease_of, set_valid, take

T = TypeVar("T")

NO_LIMITS = CallLimits()
A_MINUTE = CallLimits(per_minute=1)
AN_HOUR = CallLimits(per_hour={"support": 1})


@attrs.frozen
class Two:
    """Two services with an Asterisk each."""

    url: str
    #: The one whose transaction is open.
    open: OpenTransaction
    database: Database
    leases: dict[str, dict[str, Any]]

    @property
    def first(self) -> TaskStore:
        return self.open.store(**self.leases["x"])

    @property
    def second(self) -> TaskStore:
        return TaskStore(self.database, **self.leases["y"])


@pytest.fixture
def two(postgres_url: str) -> Iterator[Two]:
    database = Database(postgres_url, deliver=None)
    held: dict[str, dict[str, Any]] = {}
    for process, name, node in ((A, "a", "x"), (B, "b", "y")):
        ours: Held = instance(database, process, name)
        of_node = take(database, ours, node).taken[node]
        held[node] = {
            "lease": lease_of(of_node),
            "node": node,
            "of_process": lease_of(ours),
        }
        # However slow the machine is.
        set_valid(database, lease_rows.name_of_node(node), 600)
    with OpenTransaction(postgres_url) as one:
        yield Two(postgres_url, one, database, held)
    done(database.close())


def begin(store: TaskStore, channel: str, limits: CallLimits = NO_LIMITS) -> Any:
    return done(store.begin_attempts({"support"}, [channel], NOW, call_limits=limits))


def ask(store: TaskStore, number: str = "100", **more: Any) -> Any:
    return done(store.add(new_task(number), NOW, **more))


def block(store: TaskStore, number: str = "100") -> Any:
    one = BlockedNumber(number=f"+{number}", number_key=number, reason="", at=NOW)
    return done(store.block(one, "DE"))


def meanwhile(two: Two, work: Callable[[], T]) -> Future[T]:
    """Begin work of the second service that has to wait for the open transaction."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        with backend_for(two.url).engine.connect() as conn:
            for _ in pauses(PATIENCE_S):
                if future.done() or _waits(conn):
                    break
        assert not future.done(), future.result()
        two.open.commit()
        future.exception(timeout=PATIENCE_S)
    return future


def _waits(conn: sa.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool(conn.exec_driver_sql(waiting).scalar())


# -- calls ---------------------------------------------------------------------


@pytest.mark.parametrize("locked", [1, 15, 40])
@pytest.mark.parametrize("many", [0, 200])
def test_one_begins_the_first_task_that_the_other_has_not_locked(
    two: Two, locked: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_MANY", many)
    ids = [ask(two.second, str(100 + number)).task.id for number in range(60)]
    channels = [f"c{number}" for number in range(locked)]
    done(two.first.begin_attempts({"support"}, channels, NOW))
    assert [one.task.id for one in begin(two.second, "other").begun] == [ids[locked]]


@pytest.mark.parametrize("limits", [A_MINUTE, AN_HOUR])
def test_both_begin_at_once_and_the_limit_of_calls_holds(
    two: Two, limits: CallLimits
) -> None:
    ask(two.second, "1")
    ask(two.second, "2")
    assert len(begin(two.first, "c1", limits).begun) == 1

    found = begin(two.second, "c2", limits)
    assert (found.begun, found.busy) == ([], True)

    two.open.commit()
    found = begin(two.second, "c2", limits)
    assert (found.begun, found.busy) == ([], False)
    assert set(found.limited) == {"support"}


def test_nothing_was_begun_after_all_and_the_other_one_begins(two: Two) -> None:
    ask(two.second, "1")
    assert len(begin(two.first, "c1", A_MINUTE).begun) == 1
    assert begin(two.second, "c2", A_MINUTE).busy
    two.open.roll_back()
    assert len(begin(two.second, "c2", A_MINUTE).begun) == 1


def test_both_begin_at_once_where_calls_are_not_limited(two: Two) -> None:
    ask(two.second, "1")
    ask(two.second, "2")
    of_others = CallLimits(per_number=9, per_hour={"sales": 1})
    begun = begin(two.first, "c1", of_others).begun
    begun += begin(two.second, "c2", of_others).begun
    assert [one.task.id for one in begun] == [1, 2]


def test_two_asterisks_of_one_service_do_not_wait_for_each_other(two: Two) -> None:
    ask(two.second, "1")
    ask(two.second, "2")
    few = CallLimits(per_minute=9)
    assert len(begin(two.first, "c1", few).begun) == 1
    assert len(begin(two.open.store(**two.leases["y"]), "c2", few).begun) == 1


def test_number_that_both_could_call_is_called_as_often_as_is_allowed(
    two: Two,
) -> None:
    once = CallLimits(per_number=1)
    task = ask(two.second).task
    assert len(begin(two.first, "c1", once).begun) == 1
    # Its task is locked: there is one for each number.
    assert begin(two.second, "c2", once).begun == []
    two.open.commit()

    done(two.first.close_attempt("c1", verdict("BUSY"), RULES, at(1)))
    assert begin(two.second, "c2", once).begun == []
    two.open.commit()
    later = done(
        two.second.begin_attempts({"support"}, ["c2"], at(60), call_limits=once)
    )
    assert later.begun == []
    assert [one.why.code for one in later.not_begun] == [Code.CALLED_TOO_OFTEN]
    assert later.not_begun[0].id == task.id


# -- requests ------------------------------------------------------------------


def test_request_and_block_of_a_number_at_once_leave_no_open_task(two: Two) -> None:
    task = ask(two.first).task
    blocked = meanwhile(two, lambda: block(two.second)).result()
    assert (blocked.created, blocked.task.id) == (True, task.id)
    assert blocked.task.status is Status.CANCELLED


def test_requests_of_many_numbers_and_a_block_leave_no_open_task(two: Two) -> None:
    """With the statements of requests that come together."""
    asked = [(new_task(number), NOW, False, (), 0) for number in ("1", "100", "2")]
    first = two.first
    done(two.open.run("add", first._add_many, asked))
    blocked = meanwhile(two, lambda: block(two.second)).result()
    assert blocked.task.status is Status.CANCELLED


def test_block_and_request_of_a_number_at_once_leave_no_open_task(two: Two) -> None:
    block(two.first)
    refused = meanwhile(two, lambda: ask(two.second)).exception()
    assert isinstance(refused, NotCallable)
    assert done(two.second.open_task("100")) is None


def test_block_does_not_hold_up_requests_of_other_numbers(two: Two) -> None:
    block(two.first)
    assert ask(two.second, "200").created


def test_two_services_store_requests_of_one_number_as_one_task(two: Two) -> None:
    task = ask(two.first).task
    again = meanwhile(two, lambda: ask(two.second)).result()
    assert (again.created, again.task.id) == (False, task.id)


def test_two_services_store_one_call_once(two: Two) -> None:
    def store(store: TaskStore) -> Any:
        return done(store.add(new_task(linkedid="1.1"), NOW, once=True))

    task = store(two.first).task
    again = meanwhile(two, lambda: store(two.second)).result()
    assert (again.known, again.task.id) == (True, task.id)


def test_task_that_a_call_has_left_is_found_by_a_block_at_once(two: Two) -> None:
    """The client asked again while talking."""
    ask(two.second)
    begin(two.second, "c1")
    done(two.second.progress("c1", said("answers"), at(1), answered_at=at(1)))
    done(two.second.add(new_task(due_at=at(2)), at(2)))
    of_x = two.open.store(**{**two.leases["x"], "lease": None})
    done(of_x.close_attempt("c1", verdict("ANSWERED"), RULES, at(9)))

    blocked = meanwhile(two, lambda: block(two.second)).result()

    assert blocked.task.status is Status.CANCELLED
    assert done(two.second.open_task("100")) is None


def test_ended_task_is_not_put_back_in_line_while_its_number_is_blocked(
    two: Two,
) -> None:
    task = ask(two.second).task
    done(two.second.cancel(task.id, said("no"), at(1)))
    block(two.first)
    refused = meanwhile(
        two,
        lambda: done(two.second.retry(task.id, said("again"), at(2), at(3600))),
    ).exception()
    assert isinstance(refused, NotCallable)


def test_caller_enters_numbers_in_two_calls_and_the_limit_holds(two: Two) -> None:
    entered = Entered(caller_key="7", limit=1)

    def enter(store: TaskStore, number: str) -> Any:
        return done(store.add(new_task(number, entered=entered), NOW))

    assert enter(two.first, "1").created
    refused = meanwhile(two, lambda: enter(two.second, "2")).exception()
    assert isinstance(refused, NotCallable)
    assert refused.why.code is Code.ENTERED_TOO_OFTEN


def test_last_place_of_a_slot_is_given_once(two: Two) -> None:
    slot = SlotLimit(Slot(at(3600), at(7200)), 1)

    def choose(store: TaskStore, number: str) -> Any:
        new = new_task(
            number,
            slot=slot,
            chosen_at=at(3600),
            call_by=at(4000),
            due_at=at(3600),
            joined_at=at(3600),
            expires_at=at(9000),
        )
        return done(store.add(new, NOW))

    assert choose(two.first, "1").created
    refused = meanwhile(two, lambda: choose(two.second, "2")).exception()
    assert isinstance(refused, NotCallable)
    assert refused.why.code is Code.SLOT_FULL


# -- what it costs -------------------------------------------------------------


def needed(two: Two, store: TaskStore, first: int) -> list[list[str]]:
    """Return the statements of a request, and of the beginning of an attempt."""

    def add() -> None:
        new = [(new_task(f"{first}"), NOW, False, (), 10)]
        two.database.run_now("add", store._add_many, new)

    def claim() -> None:
        assert begin(store, f"c{first}", CallLimits(per_minute=99)).begun

    return [statements(two.database, work) for work in (add, claim)]


def test_each_of_several_needs_one_statement_more_and_one_alone_none(
    two: Two,
) -> None:
    alone = needed(two, TaskStore(two.database), 1000)
    several = needed(two, two.second, 2000)
    # Requests: the numbers are kept from being blocked. Attempts: the lease and who is
    # in a call elsewhere (two statements each), and whether another one begins.
    assert [len(each) for each in alone] == [2, 7]
    assert [len(each) for each in several] == [2 + 1, 7 + 4 + 1]
    for more, fewer in zip(several, alone, strict=True):
        assert sum("advisory" in each for each in more) == 1
        assert not any("advisory" in each for each in fewer)
