# SPDX-License-Identifier: MIT
"""Who holds the database, and what the others may not do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Code, because, said
from fastagi.domain.task import NewTask
from fastagi.store import backends, leases
from fastagi.store.engine import Database
from fastagi.store.errors import DatabaseHeld, LeaseLost
from fastagi.store.leases import Held, Lease, Ownership
from fastagi.store.processes import Process
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, RULES, done, new_task, verdict

OURS = Process("pbx1", "boot", 1, "pid:[1]", "1")
THEIRS = Process("pbx2", "boot", 1, "pid:[1]", "1")


def take(database: Database, process: Process, token: str) -> Held:
    return database.run_now("take", leases.take, process, token, True)


def run_out(database: Database) -> None:
    database.run_now(
        "run out",
        lambda conn: conn.execute(sa.text("UPDATE lease SET valid_until = 1")).close(),
    )


def lease_of(held: Held) -> Lease:
    return Lease(held, leases.steady_seconds, leases.steady_seconds())


def test_lease_is_one_process_until_it_runs_out(database: Database) -> None:
    held = take(database, OURS, "a")

    assert (held.token, held.epoch) == ("a", 1)
    assert take(database, THEIRS, "b") == attrs.evolve(
        held, left_s=pytest.approx(leases.LENGTH_S, abs=2)
    )
    run_out(database)
    assert database.run_now("renew", leases.renew, held).epoch == 1
    assert take(database, THEIRS, "b").token == "a"
    run_out(database)
    assert (take(database, THEIRS, "b").epoch) == 2
    with pytest.raises(LeaseLost, match="run by process 1 on pbx2 since"):
        database.run_now("renew", leases.renew, held)


def test_process_frozen_in_a_transaction_keeps_nobody_from_the_lease(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_FROZEN_S", 0.3)
    database = Database(postgres_url, deliver=None)
    take(database, OURS, "a")
    run_out(database)
    backend = backends.backend_for(postgres_url)
    with backend.engine.connect() as frozen:
        frozen.execute(sa.text("SELECT * FROM lease FOR SHARE"))

        # Sooner than the time-out of a lock.
        assert take(database, THEIRS, "b").token == "b"

        with pytest.raises(sa.exc.DBAPIError) as woken:
            frozen.execute(sa.text("SELECT 1"))
        explained = backend.explain(woken.value)
        assert explained is not None
        assert explained.trouble is backends.Trouble.LOST
    done(database.close())


def test_released_lease_is_taken_at_once(database: Database) -> None:
    held = take(database, OURS, "a")
    database.run_now("release", leases.release, held)

    assert database.run_now("read", leases.read) is None
    theirs = take(database, THEIRS, "b")
    assert (theirs.token, theirs.epoch) == ("b", 2)
    # A late release of the former holder changes nothing.
    database.run_now("release", leases.release, held)
    assert database.run_now("read", leases.read) is not None


def test_attempts_begin_and_end_only_while_the_lease_is_held(
    database: Database,
) -> None:
    frozen = TaskStore(database, lease=lease_of(take(database, OURS, "a")))
    for number in "12":
        done(frozen.add(new_task(number), NOW))
    (begun,) = done(frozen.begin_attempts({"support"}, ["a"], NOW)).begun
    run_out(database)
    take(database, THEIRS, "b")

    with pytest.raises(LeaseLost):
        done(frozen.begin_attempts({"support"}, ["b"], NOW))
    with pytest.raises(LeaseLost):
        done(frozen.close_attempt(begun.attempt.id, verdict("BUSY"), RULES, NOW))

    (open_one,) = done(frozen.open_attempts())
    assert open_one.attempt.ended_at is None


def test_steps_of_an_attempt_are_told_only_while_the_lease_is_held(
    database: Database,
) -> None:
    frozen = TaskStore(database, lease=lease_of(take(database, OURS, "a")))
    done(frozen.add(new_task(), NOW))
    (begun,) = done(frozen.begin_attempts({"support"}, ["a"], NOW)).begun
    done(frozen.progress("a", said("one agent rings"), NOW))
    told = done(frozen.history(begun.task.id))
    run_out(database)
    take(database, THEIRS, "b")

    # The holder reads the same events and stores the step itself.
    with pytest.raises(LeaseLost):
        done(frozen.progress("a", said("one agent answered"), NOW))

    assert done(frozen.history(begun.task.id)) == told


def _work_of_the_service(
    store: TaskStore, new: NewTask
) -> dict[str, Callable[[], Coroutine[Any, Any, object]]]:
    """Return what the service does by itself to tasks and marks; each must fail."""
    late = NOW + timedelta(days=30)
    served = because(Code.CLIENT_RANG_AGAIN)
    return {
        "serve": partial(store.serve, new.number_key, served, late),
        "take back": partial(store.take_back, 1, late),
        "take back what nobody heard of": partial(
            store.take_back_unheard, new, NOW, late
        ),
        "expire": partial(store.expire, late),
        "recognise clients": partial(store.rekey, lambda number: f"1{number}", late),
        "recognise blocked numbers": partial(store.rekey_blocked, NumberPlan("DE")),
        "use a limit": partial(store.use_limit, 0, late),
        "adopt queues": partial(store.respell, ["SUPPORT"]),
        "move a mark": partial(store.set_mark, "history", late),
    }


@pytest.mark.parametrize("work", _work_of_the_service(TaskStore(None), new_task()))  # type: ignore[arg-type]
def test_service_that_lost_the_lease_changes_neither_tasks_nor_marks(
    database: Database, work: str
) -> None:
    frozen = TaskStore(database, lease=lease_of(take(database, OURS, "a")))
    run_out(database)
    holder = TaskStore(database, lease=lease_of(take(database, THEIRS, "b")))
    new = new_task()
    # Requested from the holder, after the frozen service has read.
    task = done(holder.add(new, NOW)).task

    with pytest.raises(LeaseLost):
        done(_work_of_the_service(frozen, new)[work]())

    assert done(holder.find(task.id)) == task
    assert done(holder.mark("history")) is None


def test_attempts_of_another_node_are_not_looked_after(database: Database) -> None:
    store, other = TaskStore(database), TaskStore(database, node="pbx2")
    done(store.add(new_task(), NOW))
    (begun,) = done(other.begin_attempts({"support"}, ["a"], NOW)).begun

    assert begun.attempt.node == "pbx2"
    assert done(store.open_attempts()) == []
    assert done(other.open_attempts()) == [begun]
    assert done(store.nodes_of_nobody()) == {"pbx2"}


def test_database_that_was_set_back_is_taken_anew(database: Database) -> None:
    held = attrs.evolve(take(database, OURS, "a"), token="later", epoch=7)
    run_out(database)

    assert database.run_now("renew", leases.renew, held).epoch == 8


def test_lock_on_the_file_counts_more_than_a_row_that_was_set_back(
    database: Database,
) -> None:
    former = database.run_now("take", leases.take, OURS, "a", False)
    held = database.run_now("take", leases.take, OURS, "b", False)
    store = TaskStore(database, lease=lease_of(held))
    # Restore a copy that was made while the former run had the lock.
    database.run_now(
        "set back",
        lambda conn: conn.execute(
            sa.text("UPDATE lease SET token = :token, epoch = :epoch"),
            {"token": former.token, "epoch": former.epoch},
        ).close(),
    )

    done(store.set_mark("one", NOW))

    assert done(store.mark("one")) == NOW
    found = database.run_now("read", leases.read)
    assert found is not None
    assert (found.token, found.epoch) == ("b", 3)
    # Another transaction found the same row at that moment; the lease is taken again
    # only once.
    assert database.run_now("renew", leases.renew, held).epoch == 3


def test_row_of_a_later_holder_is_believed_although_there_is_a_lock(
    database: Database,
) -> None:
    held = database.run_now("take", leases.take, OURS, "a", False)
    database.run_now("take", leases.take, THEIRS, "b", False)

    with pytest.raises(LeaseLost):
        done(TaskStore(database, lease=lease_of(held)).set_mark("one", NOW))


def test_database_that_was_set_back_and_is_run_by_another_is_left_alone(
    database: Database,
) -> None:
    held = attrs.evolve(take(database, OURS, "a"), token="later", epoch=7)

    with pytest.raises(LeaseLost, match="run by process 1 on pbx1"):
        database.run_now("renew", leases.renew, held)


def test_holder_counts_on_its_lease_for_less_than_it_lasts(database: Database) -> None:
    now = [100.0]
    lease = Lease(take(database, OURS, "a"), lambda: now[0], 100.0)
    assert lease.is_sure
    now[0] += leases.LENGTH_S - 1
    assert not lease.is_sure
    lease.renewed(lease.held, now[0])
    assert lease.is_sure


def test_second_in_the_same_process_is_refused(url: str) -> None:
    first = Ownership.take(url)
    # As times are written in the log.
    since = f"{first.lease.held.since.astimezone():%Y-%m-%d %H:%M:%S}"
    with pytest.raises(
        DatabaseHeld, match=rf"by process .* since {since}(?!\+).* stop that one"
    ):
        Ownership.take(url)
    first.release()
    Ownership.take(url).release()


def test_sqlite_file_is_one_by_whatever_name(sqlite_url: str, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "callbacks.db")
    first = Ownership.take(sqlite_url)
    with pytest.raises(DatabaseHeld):
        Ownership.take(f"sqlite:///{link}")
    first.release()
