# SPDX-License-Identifier: MIT
"""The measurements of each queue, and the waiting tasks, in each database."""

from __future__ import annotations

import attrs

from fastagi.domain.expected_wait import Average, Measured
from fastagi.domain.task import WaitingTask
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import at, done, new_task

BUSY = Measured(
    handling=Average(181.25, 100.0), ring=Average(4.5, 99.0), left=3.5, waited_s=1e4
)


def test_nothing_was_measured_at_first(store: TaskStore) -> None:
    assert done(store.measured()) == {}


def test_what_was_measured_is_read_as_it_was_stored(store: TaskStore) -> None:
    done(store.set_measured({"support": BUSY, "sales": Measured()}))
    assert done(store.measured()) == {"support": BUSY, "sales": Measured()}


def test_what_was_measured_replaces_what_was_stored_of_that_queue(
    store: TaskStore,
) -> None:
    done(store.set_measured({"support": BUSY, "sales": BUSY}))
    longer = BUSY.with_call(500, 180)
    done(store.set_measured({"support": longer}))
    assert done(store.measured()) == {"support": longer, "sales": BUSY}


def test_each_node_has_its_own_measurements(database: Database) -> None:
    one, other = TaskStore(database), TaskStore(database, node="berlin")
    longer = BUSY.with_call(500, 180)
    done(one.set_measured({"support": BUSY}))
    done(other.set_measured({"support": longer, "sales": BUSY}))
    assert done(one.measured()) == {"support": BUSY}
    assert done(other.measured()) == {"support": longer, "sales": BUSY}


def test_waiting_tasks_come_by_place_with_their_times(store: TaskStore) -> None:
    later = attrs.evolve(new_task("200"), joined_at=at(5), queue="sales")
    sooner = attrs.evolve(new_task("100"), joined_at=at(1), queue="support")
    done(store.add(later, at(6)))
    done(store.add(sooner, at(7)))
    found = done(store.waiting_tasks())
    assert [(one.id, one.queue) for one in found] == [(2, "support"), (1, "sales")]
    assert found[0].turn.joined_at == at(1).timestamp()
    assert isinstance(found[0], WaitingTask)
    assert [one.id for one in done(store.waiting_tasks(["sales"]))] == [1]
    assert done(store.waiting_tasks([])) == []


def test_a_task_that_is_being_called_does_not_wait(store: TaskStore) -> None:
    done(store.add(new_task("100"), at(0)))
    assert len(done(store.begin_attempts({"support"}, ["c1"], at(2))).begun) == 1
    assert done(store.waiting_tasks()) == []
