# SPDX-License-Identifier: MIT
"""The services on one database, as the web process reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.config.agreement import Shared, digest_of
from fastagi.store import leases
from fastagi.store.engine import Database
from fastagi.store.instances import Told
from fastagi.store.leases import Lease
from fastagi.store.processes import Process
from fastagi.store.store import TaskStore
from fastagi.web import services
from fastagi.web.services import HeldAsterisk, Services
from tests.harness.tables import empty_tables
from tests.store.harness import done

A = Process("pbx1", "boot", 1, "pid:[1]", "1")
B = Process("pbx2", "boot", 2, "pid:[1]", "1")


@pytest.fixture
def database(postgresql_with_tables: str) -> Iterator[Database]:
    empty_tables(postgresql_with_tables)
    made = Database(postgresql_with_tables, deliver=None)
    yield made
    done(made.close())


def start(
    database: Database, process: Process, name: str, attempts: int = 3
) -> TaskStore:
    """Start a service, as it does: take its lease, and tell the others."""
    held = database.run_now("take", leases.take, process, name, True, name)
    lease = Lease(held, leases.steady_seconds, leases.steady_seconds())
    store = TaskStore(database, lease=lease)
    text = Shared({"nodes": ["x", "y"]}, {"support": {"attempts": attempts}}).as_json()
    done(store.tell_others(Told(version="1", settings=text, digest=digest_of(text))))
    return store


def answering(process: Process) -> dict[str, Any]:
    return {"holder": {"host": process.host, "pid": process.pid}}


def seen(database: Database, asked: Process | None = A) -> Services:
    found: Services = database.run_now(
        "read", services.read_all, None if asked is None else answering(asked)
    )
    return found


def execute(database: Database, text: str) -> None:
    database.run_now("set", lambda conn: conn.execute(sa.text(text)).close())


def test_each_service_is_seen_with_its_asterisks_and_other_settings(
    database: Database,
) -> None:
    start(database, A, "a")
    b = start(database, B, "b", attempts=5)
    taken = done(b.take_nodes({"y": 0.0})).taken["y"]
    found = seen(database)
    one, other = found.all
    assert (one.name, one.is_asked, one.asterisks) == ("a", True, ())
    assert (other.name, other.is_asked, other.runs) == ("b", False, True)
    assert (other.host, other.pid, other.version) == ("pbx2", 2, "1")
    assert other.asterisks == (HeldAsterisk("y", taken.since),)
    assert one.differences == ()
    (difference,) = other.differences
    assert difference.words(other.where) == (
        "queues.support.attempts is 3 here and 5 at instance b (pbx2)"
    )
    assert (found.not_held, found.compared_with) == (("x",), "a")

    back = seen(database, B)
    assert back.compared_with == "b"
    assert [len(one.differences) for one in back.all] == [1, 0]


def test_services_are_known_without_the_one_that_is_asked(database: Database) -> None:
    start(database, A, "a")
    b = start(database, B, "b", attempts=5)
    done(b.take_nodes({"x": 0.0, "y": 0.0}))
    execute(database, "UPDATE lease SET valid_until = 1 WHERE name = 'instance:a'")
    execute(database, "UPDATE instance SET seen_at = seen_at - 300 WHERE name = 'a'")
    found = seen(database, None)
    one, other = found.all
    assert (one.runs, one.host, one.asterisks) == (False, None, ())
    assert 300 <= (other.seen_at - one.seen_at).total_seconds() < 400
    assert not one.is_asked and not other.is_asked
    # Compared with one that runs.
    assert found.compared_with == "b"
    assert [len(each.differences) for each in found.all] == [1, 0]
    assert found.not_held == ()


def test_one_that_has_not_run_for_long_counts_less_and_less(database: Database) -> None:
    start(database, A, "a")
    start(database, B, "b", attempts=5)
    execute(database, "UPDATE lease SET valid_until = 1 WHERE name = 'instance:b'")
    execute(database, "UPDATE instance SET seen_at = seen_at - 700 WHERE name = 'b'")
    found = seen(database)
    assert [(one.name, one.differences) for one in found.all] == [("a", ()), ("b", ())]
    assert found.compared_with == ""
    execute(database, "UPDATE instance SET seen_at = seen_at - 90000 WHERE name = 'b'")
    # It has two Asterisks still.
    assert [one.name for one in seen(database).all] == ["a"]


def test_the_web_process_sees_what_the_services_see(database: Database) -> None:
    a, b = start(database, A, "a"), start(database, B, "b")
    done(a.take_nodes({"x": 0.0}))
    done(b.take_nodes({"y": 0.0}))
    for store, name in ((a, "b"), (b, "a")):
        execute(
            database, "UPDATE lease SET link_lost_at = since + 9 WHERE name = 'node:y'"
        )
        (told,) = done(store.other_instances())
        (ours,) = [one for one in seen(database).all if one.name == name]
        assert told.lease is not None
        held = tuple((one.name, one.since) for one in ours.asterisks)
        assert (told.version, told.nodes) == (ours.version, held)
        since = {one.name: one.link_lost_since for one in ours.asterisks}
        assert {node: since[node] for node in told.lost_links} == told.lost_links
        assert bool(told.lost_links) == (name == "b")
        process = told.lease.process
        assert (process.host, process.pid, told.lease.since) == (
            ours.host,
            ours.pid,
            ours.since,
        )


def test_services_of_before_are_not_shown_beside_one_without_a_name(
    database: Database,
) -> None:
    start(database, A, "a")
    start(database, B, "b")
    execute(database, "UPDATE lease SET valid_until = 1")
    assert [one.runs for one in seen(database).all] == [False, False]
    database.run_now("take", leases.take, A, "alone", True)
    assert seen(database, None) == Services()


def test_a_service_alone_with_one_asterisk_shows_nothing(database: Database) -> None:
    one = {"name": "default", "connected": True, "version": "22", "error": ""}
    service = {
        "version": "1",
        "started_at": "2026-03-04T08:00:00+00:00",
        "asterisk": one,
        "nodes": [one],
        **answering(A),
    }
    read = services.read_all
    assert database.run_now("read", read, service) == Services()
    assert database.run_now("read", read, None) == Services()
    (alone,) = database.run_now(
        "read", read, {**service, "nodes": [one, {**one, "name": "berlin"}]}
    ).all
    assert alone.asterisks == (HeldAsterisk("default"), HeldAsterisk("berlin"))
    assert alone.runs and alone.is_asked
