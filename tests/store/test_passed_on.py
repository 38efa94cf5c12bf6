# SPDX-License-Identifier: MIT
"""An Asterisk goes from one service to another, with what belongs to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fastagi.store import leases, node_leases
from fastagi.store.engine import Database
from fastagi.store.errors import LeaseLost
from fastagi.store.leases import Held
from fastagi.store.processes import Process
from tests.store.harness import NOW, done, new_task
from tests.store.test_node_leases import A, B, instance, set_valid, store_of, take


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    made = Database(postgres_url, deliver=None)
    yield made
    done(made.close())


def renewed(database: Database, held: Held) -> Held:
    found: Held = database.run_now("renew", leases.renew, held)
    return found


def test_asterisk_is_passed_on_to_the_instance_that_asks_for_it(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    c = instance(database, Process("pbx3", "boot", 1, "pid:[1]", "1"), "c")
    held = take(database, b).taken["x"]
    assert renewed(database, held).wanted_by == ""
    _, seen = take(database, a).others["x"]

    assert database.run_now("ask", node_leases.ask_for, a, seen)

    held = renewed(database, held)
    assert (held.wanted_by, held.epoch) == ("a", 1)
    assert take(database, c).others["x"][1].wanted_by == "a"
    assert database.run_now("is wanted", node_leases.is_wanted, held)
    assert database.run_now("pass on", node_leases.pass_on, held) == "a"

    # It is not free for a moment, and the former holder has no right any more.
    assert not take(database, c).taken
    assert take(database, c).others["x"][0] == "a"
    with pytest.raises(LeaseLost):
        database.run_now("renew", leases.renew, held)
    with pytest.raises(LeaseLost):
        database.run_now("pass on", node_leases.pass_on, held)
    assert not take(database, b).taken
    mine = take(database, a).taken["x"]
    assert mine.epoch > held.epoch + 1
    assert (mine.process, renewed(database, mine).wanted_by) == (A, "")


def test_clients_in_a_call_count_while_an_asterisk_is_passed_on(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    there, here = store_of(database, b), store_of(database, a, "y")
    task = done(here.add(new_task("1"), NOW)).task
    done(there.put_calls({task.number_key}, None))
    _, seen = take(database, a).others["x"]
    database.run_now("ask", node_leases.ask_for, a, seen)
    held = renewed(database, take(database, a).others["x"][1])
    assert database.run_now("pass on", node_leases.pass_on, held) == "a"

    assert done(here.begin_attempts({"support"}, ["a"], NOW)).begun == []


def test_wish_of_a_process_that_has_ended_is_forgotten(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    held = take(database, b).taken["x"]
    _, seen = take(database, a).others["x"]
    database.run_now("ask", node_leases.ask_for, a, seen)
    held = renewed(database, held)
    set_valid(database, "instance:a", -0.01)

    assert database.run_now("pass on", node_leases.pass_on, held) == ""
    assert not database.run_now("is wanted", node_leases.is_wanted, held)

    held = renewed(database, held)
    assert held.wanted_by == ""
    # The next run of that instance has asked for nothing yet.
    database.run_now("take", leases.take, A, "a again", True, "a")
    assert not database.run_now("is wanted", node_leases.is_wanted, held)


def test_wish_reaches_only_the_holder_that_was_seen(database: Database) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    take(database, b)
    _, seen = take(database, a).others["x"]
    set_valid(database, "node:x", -5)
    held = take(database, b).taken["x"]

    assert not database.run_now("ask", node_leases.ask_for, a, seen)
    assert renewed(database, held).wanted_by == ""


def test_lease_that_the_holder_has_locked_is_not_waited_for_by_who_asks(
    database: Database, postgres_url: str
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    take(database, b)
    _, seen = take(database, a).others["x"]
    engine = sa.create_engine(postgres_url)
    with engine.begin() as frozen:
        frozen.execute(sa.text("SELECT * FROM lease WHERE name = 'node:x' FOR SHARE"))
        assert not database.run_now("ask", node_leases.ask_for, a, seen)
    assert database.run_now("ask", node_leases.ask_for, a, seen)
    engine.dispose()


def tell_link(database: Database, held: Held, lost_s: float | None) -> None:
    database.run_now("tell of a link", node_leases.tell_link, held, lost_s)


def test_holder_without_a_link_is_asked_by_one_until_the_link_is_back(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    c = instance(database, Process("pbx3", "boot", 1, "pid:[1]", "1"), "c")
    held = take(database, b).taken["x"]
    tell_link(database, held, 20.0)
    _, seen = take(database, a).others["x"]
    assert seen.link_lost_at is not None
    since = held.since.timestamp() - seen.link_lost_at.timestamp()
    assert 19.0 < since <= 20.0

    assert database.run_now("ask", node_leases.ask_for, a, seen)
    assert not database.run_now("ask", node_leases.ask_for, c, seen)
    assert renewed(database, held).wanted_by == "a"

    tell_link(database, held, None)
    assert renewed(database, held).wanted_by == ""
    assert not database.run_now("ask", node_leases.ask_for, c, seen)
    _, seen = take(database, a).others["x"]
    assert (seen.link_lost_at, seen.wanted_by) == (None, "")


def test_next_holder_has_not_lost_the_link_of_the_former_one(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    held = take(database, b).taken["x"]
    tell_link(database, held, 20.0)
    _, seen = take(database, a).others["x"]
    database.run_now("ask", node_leases.ask_for, a, seen)
    held = renewed(database, held)
    assert database.run_now("pass on", node_leases.pass_on, held) == "a"

    assert take(database, b).others["x"][1].link_lost_at is None
    with pytest.raises(LeaseLost):
        tell_link(database, held, 21.0)


def test_calls_count_from_when_an_asterisk_is_given_back_until_it_is_taken(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    here, there = store_of(database, a), store_of(database, b, "y")
    task = done(here.add(new_task("1"), NOW)).task
    done(there.put_calls({task.number_key}, None))

    done(here.release_lease(take(database, a, "y").others["y"][1]))

    assert done(here.begin_attempts({"support"}, ["a"], NOW)).begun == []
    successor = store_of(database, a, "y")
    done(successor.put_calls((), None))
    assert len(done(here.begin_attempts({"support"}, ["a"], NOW)).begun) == 1


# -- the systemname --------------------------------------------------------------


def claim(database: Database, held: Held, name: str | None) -> str:
    other: str = database.run_now("claim", node_leases.claim_name, held, name)
    return other


@pytest.mark.parametrize("name", ["pbx", ""])
def test_systemname_belongs_to_one_asterisk(database: Database, name: str) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    x, y = take(database, a, "x").taken["x"], take(database, b, "y").taken["y"]

    assert claim(database, x, name) == ""
    assert claim(database, y, name) == "x"
    assert claim(database, x, name) == ""
    assert claim(database, y, "another") == ""

    # It has another name, or is gone: the name is free.
    assert claim(database, x, None) == ""
    assert claim(database, y, name) == ""
    assert claim(database, x, name) == "y"
    with pytest.raises(LeaseLost):
        claim(database, take_over(database, x), name)


def take_over(database: Database, held: Held) -> Held:
    """Let another process take an Asterisk; return the lease of the former one."""
    set_valid(database, held.name, -5)
    take(database, instance(database, B, "b"), held.node)
    return held


def test_systemname_stays_with_its_asterisk_when_another_instance_takes_it(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    x, y = take(database, a, "x").taken["x"], take(database, b, "y").taken["y"]
    claim(database, x, "pbx")
    set_valid(database, "node:x", -2)
    assert claim(database, y, "pbx") == "x"

    x = take(database, b, "x").taken["x"]

    assert claim(database, y, "pbx") == "x"
    assert claim(database, x, "pbx") == ""


def test_systemname_of_an_asterisk_that_nobody_holds_counts_for_five_minutes(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    x, y = take(database, a, "x").taken["x"], take(database, b, "y").taken["y"]
    claim(database, x, "pbx")
    set_valid(database, "node:x", -299)
    assert claim(database, y, "pbx") == "x"
    set_valid(database, "node:x", -301)
    assert claim(database, y, "pbx") == ""

    # Its holder wakes up.
    x = renewed(database, x)
    assert claim(database, x, "pbx") == "y"


def test_systemname_stays_with_its_asterisk_when_its_service_stops(
    database: Database,
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    x, y = take(database, a, "x").taken["x"], take(database, b, "y").taken["y"]
    claim(database, x, "pbx")

    database.run_now("release", leases.release, x)

    assert claim(database, y, "pbx") == "x"
    assert claim(database, take(database, b, wait_s=1).taken["x"], "pbx") == ""


def test_one_of_two_that_claim_a_name_at_the_same_moment_gets_it(
    database: Database, postgres_url: str
) -> None:
    a, b = instance(database, A, "a"), instance(database, B, "b")
    x, y = take(database, a, "x").taken["x"], take(database, b, "y").taken["y"]
    held = {"x": x, "y": y}
    both = threading.Barrier(2)
    found: dict[str, str] = {}

    def claim_at_once(node: str) -> None:
        own = Database(postgres_url, deliver=None)

        def work(conn: sa.Connection) -> str:
            if not both.broken and node not in met:
                met.add(node)
                conn.exec_driver_sql("SELECT 1")
                both.wait(10)
            return node_leases.claim_name(conn, held[node], "pbx")

        found[node] = own.run_now("claim", work)
        done(own.close())

    met: set[str] = set()
    threads = [threading.Thread(target=claim_at_once, args=(one,)) for one in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found.items()) in (
        [("x", ""), ("y", "x")],
        [("x", "y"), ("y", "")],
    )
