# SPDX-License-Identifier: MIT
"""Several services on one PostgreSQL: which of them holds an Asterisk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fastagi.domain.reason import said
from fastagi.domain.task import CallbackTask
from fastagi.store import leases, node_leases, places, told
from fastagi.store.engine import Database
from fastagi.store.errors import LeaseLost
from fastagi.store.leases import Held, Lease
from fastagi.store.node_leases import NodeLeases
from fastagi.store.processes import Process
from fastagi.store.store import TaskStore
from fastagi.store.told import What
from tests.store.harness import NOW, RULES, done, new_task, verdict

A = Process("pbx1", "boot", 1, "pid:[1]", "1")
B = Process("pbx2", "boot", 1, "pid:[1]", "1")
AT_ONCE = 0.0


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    made = Database(postgres_url, deliver=None)
    yield made
    done(made.close())


def instance(database: Database, process: Process, name: str) -> Held:
    """Start one of several; its token is its name."""
    return database.run_now("take", leases.take, process, name, True, name)


def take(
    database: Database, ours: Held, node: str = "x", wait_s: float = AT_ONCE
) -> NodeLeases:
    return database.run_now("take nodes", node_leases.take_free, ours, {node: wait_s})


def set_valid(database: Database, name: str, left_s: float) -> None:
    """Let a lease run out so many seconds from now, by the database's clock."""
    until = "extract(epoch FROM clock_timestamp()) + :left_s"
    change = sa.text(f"UPDATE lease SET valid_until = {until} WHERE name = :name")
    values = {"left_s": left_s, "name": name}
    database.run_now("set", lambda conn: conn.execute(change, values).close())


def lease_of(held: Held) -> Lease:
    return Lease(held, leases.steady_seconds, leases.steady_seconds())


def store_of(database: Database, ours: Held, node: str = "x") -> TaskStore:
    held = take(database, ours, node).taken[node]
    return TaskStore(
        database, lease=lease_of(held), node=node, of_process=lease_of(ours)
    )


def test_asterisk_has_one_holder_until_its_lease_runs_out(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    assert (a.instance, b.instance) == ("a", "b")

    held = take(database, a).taken["x"]
    assert (held.node, held.epoch, held.left_s) == ("x", 1, leases.NODE_LENGTH_S)
    assert take(database, b, "y").taken["y"].epoch == 1
    seen = take(database, b)
    assert not seen.taken
    name, other = seen.others["x"]
    assert (name, other.process, other.since) == ("a", A, held.since)

    set_valid(database, "node:x", -0.01)
    assert database.run_now("renew", leases.renew, held).epoch == 1
    assert not take(database, b).taken
    set_valid(database, "node:x", -0.01)
    assert take(database, b).taken["x"].epoch == 2
    with pytest.raises(LeaseLost, match=r"not hold the Asterisk x: .* 1 on pbx2"):
        database.run_now("renew", leases.renew, held)


def test_instance_that_does_not_prefer_an_asterisk_waits_longer(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")

    # Nobody has held it: the preferred one may be about to take it.
    assert not take(database, b, wait_s=1).taken
    assert not take(database, b, wait_s=1).taken
    held = take(database, a).taken["x"]
    set_valid(database, "node:x", -0.5)
    assert not take(database, b, wait_s=1).taken
    set_valid(database, "node:x", -1.01)
    taken = take(database, b, wait_s=1).taken["x"]
    assert taken.epoch > held.epoch


def test_asterisk_that_was_given_back_is_taken_at_once(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    held = take(database, a).taken["x"]

    database.run_now("release", leases.release, held)

    assert take(database, b, wait_s=1).taken["x"].epoch == 2
    # A late release of the former holder changes nothing.
    database.run_now("release", leases.release, held)
    assert take(database, a).others["x"][0] == "b"


def test_lease_that_a_transaction_of_the_holder_has_locked_is_not_waited_for(
    database: Database, postgres_url: str
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    held = take(database, a).taken["x"]
    set_valid(database, "node:x", -5)
    engine = sa.create_engine(postgres_url)
    with engine.begin() as frozen:
        frozen.execute(sa.text("SELECT * FROM lease WHERE name = 'node:x' FOR SHARE"))
        assert take(database, b).taken == {}
    assert take(database, b).taken["x"].epoch == held.epoch + 1
    engine.dispose()


def test_attempts_begin_and_end_only_with_the_lease_on_their_asterisk(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    frozen, elsewhere = store_of(database, a), store_of(database, a, "y")
    for number in "123":
        done(frozen.add(new_task(number), NOW))
    (begun,) = done(frozen.begin_attempts({"support"}, ["a"], NOW)).begun
    set_valid(database, "node:x", -0.01)
    successor = store_of(database, b)

    with pytest.raises(LeaseLost):
        done(frozen.begin_attempts({"support"}, ["b"], NOW))
    with pytest.raises(LeaseLost):
        done(frozen.close_attempt("a", verdict("BUSY"), RULES, NOW))
    with pytest.raises(LeaseLost):
        done(frozen.set_mark("history", NOW))

    # The other Asterisk of the same process is still its own.
    (other,) = done(elsewhere.begin_attempts({"support"}, ["c"], NOW)).begun
    assert other.task.id != begun.task.id
    assert done(successor.open_attempts()) == [begun]
    done(successor.close_attempt("a", verdict("BUSY"), RULES, NOW))


def test_nothing_begins_with_a_lease_that_has_run_out_and_nobody_took(
    database: Database,
) -> None:
    store = store_of(database, instance(database, A, "a"))
    done(store.add(new_task(), NOW))
    set_valid(database, "node:x", -0.01)

    with pytest.raises(LeaseLost, match="has run out"):
        done(store.begin_attempts({"support"}, ["a"], NOW))

    done(store.renew_lease())
    assert len(done(store.begin_attempts({"support"}, ["a"], NOW)).begun) == 1


def test_promise_is_taken_back_after_the_asterisk_was_lost(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    store = store_of(database, a)
    task = done(store.add(new_task(), NOW)).task
    set_valid(database, "node:x", -0.01)
    take(database, b)

    taken_back = done(store.take_back(task.id, NOW))

    assert taken_back is not None and taken_back.status.value == "cancelled"


def test_service_alone_and_one_of_several_exclude_each_other(
    database: Database,
) -> None:
    alone = database.run_now("take", leases.take, A, "alone", True)
    assert instance(database, B, "b").token == "alone"
    set_valid(database, "service", -0.01)

    b = instance(database, B, "b")
    node = take(database, b).taken["x"]
    assert b.token == "b"
    with pytest.raises(LeaseLost):
        database.run_now("renew", leases.renew, alone)
    assert database.run_now("take", leases.take, A, "alone", True).token == "b"

    set_valid(database, "instance:b", -0.01)
    assert database.run_now("take", leases.take, A, "alone", True).token == "alone"
    for held in (b, node):
        with pytest.raises(LeaseLost):
            database.run_now("renew", leases.renew, held)
    with pytest.raises(LeaseLost):
        take(database, b)


def test_name_of_an_instance_is_one_process(database: Database) -> None:
    assert instance(database, A, "a").process == A
    other = database.run_now("take", leases.take, B, "b's text", True, "a")
    assert (other.process, other.instance) == (A, "a")


def test_clients_in_a_call_elsewhere_are_not_called_until_it_ends(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    here, there = store_of(database, a), store_of(database, b, "y")
    task = done(here.add(new_task("1"), NOW)).task
    done(there.put_calls({task.number_key, "2"}, None))

    assert done(here.begin_attempts({"support"}, ["a"], NOW)).begun == []
    seen = done(here.look_at_others({"x"}, ()))
    assert seen.busy == {task.number_key, "2"}
    assert done(there.look_at_others({"y"}, ())).busy == frozenset()

    done(there.put_calls({"3"}, {task.number_key}))
    assert done(here.look_at_others({"x"}, ())).busy == {"2", "3"}
    assert len(done(here.begin_attempts({"support"}, ["a"], NOW)).begun) == 1


def test_calls_of_an_asterisk_that_nobody_holds_count_for_five_minutes(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    here, there = store_of(database, a), store_of(database, b, "y")
    done(there.put_calls({"1"}, None))
    set_valid(database, "node:y", -299)
    assert done(here.look_at_others({"x"}, ())).busy == {"1"}

    set_valid(database, "node:y", -301)
    assert done(here.look_at_others({"x"}, ())).busy == frozenset()

    # The next holder stores its own.
    successor = store_of(database, a, "y")
    with pytest.raises(LeaseLost):
        done(there.put_calls({"5"}, ()))
    done(successor.put_calls({"4"}, None))
    assert done(here.look_at_others({"x"}, ())).busy == {"4"}


def test_cancelled_task_is_seen_by_the_service_that_calls_it(
    database: Database,
) -> None:
    store = store_of(database, instance(database, A, "a"))
    task = done(store.add(new_task(), NOW)).task
    done(store.begin_attempts({"support"}, ["a"], NOW))
    (known,) = done(store.look_at_others({"x"}, [task.id])).in_progress
    assert not known.cancel_requested

    cancelled = done(TaskStore(database).cancel(task.id, said("no"), NOW))

    seen = done(store.look_at_others({"x"}, [task.id]))
    assert seen.in_progress == (cancelled,)
    done(store.close_attempt("a", verdict("BUSY"), RULES, NOW))
    assert done(store.look_at_others({"x"}, [task.id])).in_progress == ()


def test_others_see_how_far_a_callback_is(database: Database) -> None:
    store = store_of(database, instance(database, A, "a"))
    other = store_of(database, instance(database, B, "b"), "y")
    task = done(store.add(new_task(), NOW)).task
    done(store.begin_attempts({"support"}, ["a"], NOW))
    seen = done(other.look_at_others({"y"}, ()))
    assert (seen.unanswered, seen.dialled) == ({task.id}, frozenset())
    assert done(store.look_at_others({"x"}, ())).unanswered == frozenset()

    done(store.progress("a", said("answered"), NOW, member="PJSIP/alice"))

    seen = done(other.look_at_others({"y"}, ()))
    assert (seen.unanswered, seen.dialled) == (frozenset(), {task.number_key})
    done(store.close_attempt("a", verdict("BUSY"), RULES, NOW))
    assert done(other.look_at_others({"y"}, ())).dialled == frozenset()


def test_waiting_task_that_was_moved_is_seen_once(database: Database) -> None:
    store = store_of(database, instance(database, A, "a"))
    task = done(store.add(new_task(), NOW)).task
    seen = done(store.look_at_others({"x"}, ()))
    assert seen.moved == ()

    def move(conn: sa.Connection) -> CallbackTask:
        queues = ["support"]
        why = said("moved")
        return places.move_to_front(conn, task.id, why, NOW, queues, None, False)

    (moved,) = done(store.carry_out([move]))
    again = done(store.look_at_others({"x"}, (), seen.last_events))
    assert again.moved == (moved,)
    assert done(store.look_at_others({"x"}, (), again.last_events)).moved == ()
    done(store.begin_attempts({"support"}, ["a"], NOW))
    assert done(store.look_at_others({"x"}, (), seen.last_events)).moved == ()


def test_attempts_of_an_asterisk_that_somebody_holds_are_not_of_nobody(
    database: Database,
) -> None:
    a = instance(database, A, "a")
    store = store_of(database, a)
    done(store.add(new_task(), NOW))
    done(store.begin_attempts({"support"}, ["a"], NOW))
    assert done(store.nodes_of_nobody()) == frozenset()
    set_valid(database, "node:x", -0.01)
    assert done(store.nodes_of_nobody()) == {"x"}
    done(store.renew_lease())
    assert done(store.nodes_of_nobody()) == frozenset()
    held = take(database, a, "x").taken["x"]
    done(store.release_lease(held))
    assert done(store.nodes_of_nobody()) == {"x"}


# -- what is told ------------------------------------------------------------------


def test_agents_are_told_as_long_as_the_lease_lasts(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    store, other = store_of(database, a), store_of(database, b, "y")
    sales, support = (What.AGENTS, "sales"), (What.AGENTS, "support")
    done(store.tell({sales: "1", support: "2"}, None))
    done(other.tell({support: "3"}, None))
    agents = done(other.look_at_others({"y"}, ())).agents
    assert agents == {"sales": ("1",), "support": ("2",)}
    assert done(store.look_at_others((), ())).agents["support"] == ("2", "3")

    done(store.tell({support: "4"}, {sales}))
    assert done(other.look_at_others({"y"}, ())).agents == {"support": ("4",)}

    set_valid(database, "node:x", -0.01)
    assert done(other.look_at_others({"y"}, ())).agents == {}
    successor = store_of(database, b)
    assert done(store.look_at_others((), ())).agents == {"support": ("3",)}
    with pytest.raises(LeaseLost):
        done(store.tell({support: "5"}, ()))
    done(successor.tell({}, None))
    assert done(other.look_at_others({"y"}, ())).agents == {}


def test_time_at_which_a_caller_joined_is_told(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    there = TaskStore(database, lease=lease_of(b), node="x")
    store = store_of(database, a)
    joined = (What.JOINED, told.caller("1.5", "support"))
    assert done(there.joined_at("1.5", "support", 1.0)) is None
    done(store.tell({joined: repr(1_800_000_000.123456)}, None))
    assert done(there.joined_at("1.5", "support", 1.0)) == 1_800_000_000.123456
    assert done(there.joined_at("1.5", "sales", 1.0)) is None
    other = TaskStore(database, lease=lease_of(b), node="y")
    assert done(other.joined_at("1.5", "support", 1.0)) is None
