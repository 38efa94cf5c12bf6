# SPDX-License-Identifier: MIT
"""What several services on one PostgreSQL tell each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fastagi.store import lease_rows, leases
from fastagi.store.engine import Database
from fastagi.store.errors import LeaseLost
from fastagi.store.instances import Told
from fastagi.store.leases import Held, Lease
from fastagi.store.processes import Process
from fastagi.store.store import TaskStore
from tests.store.harness import done

A = Process("pbx1", "boot", 1, "pid:[1]", "1")
B = Process("pbx2", "boot", 2, "pid:[1]", "1")


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    made = Database(postgres_url, deliver=None)
    yield made
    done(made.close())


def started(database: Database, process: Process, name: str) -> tuple[Held, TaskStore]:
    """Start one of several; its token is its name."""
    held: Held = database.run_now("take", leases.take, process, name, True, name)
    lease = Lease(held, leases.steady_seconds, leases.steady_seconds())
    return held, TaskStore(database, lease=lease)


def told(text: str = "{}", version: str = "1") -> Told:
    return Told(version=version, settings=text, digest=f"digest of {text}")


def make_older(database: Database, table: str, column: str, by_s: float) -> None:
    change = sa.text(f"UPDATE {table} SET {column} = {column} - :by_s")
    database.run_now("set", lambda conn: conn.execute(change, {"by_s": by_s}).close())


def test_each_sees_what_the_others_have_told_last(database: Database) -> None:
    (_, a), (held, b) = started(database, A, "a"), started(database, B, "b")
    done(a.tell_others(told("here")))
    assert done(a.other_instances()) == []
    done(b.tell_others(told("there", "2")))

    (seen,) = done(a.other_instances())
    assert (seen.name, seen.version, seen.seen_s) == ("b", "2", 0.0)
    assert seen.lease is not None
    assert (seen.lease.process, seen.lease.since) == (B, held.since)
    assert done(a.settings_of(seen)) == "there"
    (back,) = done(b.other_instances())
    assert (back.name, done(b.settings_of(back))) == ("a", "here")

    done(b.tell_others(told("changed")))
    # What was seen before is not there any more.
    assert done(a.settings_of(seen)) is None
    (seen,) = done(a.other_instances())
    assert (seen.version, done(a.settings_of(seen))) == ("1", "changed")
    done(b.tell_others(None))
    assert done(a.settings_of(seen)) == "changed"


def test_asterisks_of_each_are_seen(database: Database) -> None:
    (_, a), (_, b) = started(database, A, "a"), started(database, B, "b")
    for store in (a, b):
        done(store.tell_others(told()))
    taken = done(b.take_nodes({"x": 0.0, "y": 0.0})).taken
    done(a.take_nodes({"z": 0.0}))

    (seen,) = done(a.other_instances())

    assert seen.nodes == (("x", taken["x"].since), ("y", taken["y"].since))
    done(b.release_lease(taken["x"]))
    (seen,) = done(a.other_instances())
    assert [name for name, _ in seen.nodes] == ["y"]


def test_one_that_has_stopped_is_seen_for_a_day(database: Database) -> None:
    (_, a), (held, b) = started(database, A, "a"), started(database, B, "b")
    done(b.tell_others(told()))
    done(b.take_nodes({"x": 0.0}))
    database.run_now("release", leases.release, held)

    (seen,) = done(a.other_instances())
    assert (seen.lease, seen.nodes) == (None, ())
    assert 0 <= seen.seen_s < 60

    make_older(database, "instance", "seen_at", lease_rows.SHOWN_S - 100)
    (seen,) = done(a.other_instances())
    assert lease_rows.SHOWN_S - 100 <= seen.seen_s < lease_rows.SHOWN_S
    make_older(database, "instance", "seen_at", 200)
    assert done(a.other_instances()) == []
    # Whoever tells the others next deletes what nobody needs any more.
    done(a.tell_others(told()))
    count = sa.text("SELECT count(*) FROM instance")
    assert database.run_now("count", lambda conn: conn.execute(count).scalar()) == 1


def test_one_whose_lease_has_run_out_does_not_run(database: Database) -> None:
    (_, a), (_, b) = started(database, A, "a"), started(database, B, "b")
    done(b.tell_others(told()))
    done(b.take_nodes({"x": 0.0}))
    make_older(database, "lease", "valid_until", leases.LENGTH_S + 1)

    (seen,) = done(a.other_instances())
    assert (seen.lease, seen.nodes) == (None, ())


def test_successor_of_the_same_name_tells_in_its_place(database: Database) -> None:
    (held, former) = started(database, A, "a")
    done(former.tell_others(told("former")))
    database.run_now("release", leases.release, held)
    # Another token: it is another run.
    held = database.run_now("take", leases.take, B, "next", True, "a")
    lease = Lease(held, leases.steady_seconds, leases.steady_seconds())
    _, c = started(database, A, "c")
    done(TaskStore(database, lease=lease).tell_others(told("next")))

    with pytest.raises(LeaseLost):
        done(former.tell_others(told("former")))
    (seen,) = done(c.other_instances())
    assert done(c.settings_of(seen)) == "next"


def test_each_sees_to_which_asterisks_the_others_have_no_link(
    database: Database,
) -> None:
    (_, a), (ours, b) = started(database, A, "a"), started(database, B, "b")
    done(b.tell_others(told()))
    taken = done(b.take_nodes({"x": 0.0, "y": 0.0})).taken
    done(b.tell_link(taken["y"], 20.0))

    (seen,) = done(a.other_instances())
    assert [name for name, _ in seen.nodes] == ["x", "y"]
    assert list(seen.lost_links) == ["y"]
    lost_s = ours.since.timestamp() - seen.lost_links["y"].timestamp()
    assert 19.0 < lost_s <= 20.0

    done(b.tell_link(taken["y"], None))
    (seen,) = done(a.other_instances())
    assert seen.lost_links == {}
