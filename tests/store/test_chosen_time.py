# SPDX-License-Identifier: MIT
"""Tasks with a chosen time: their order, and how the time changes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import attrs
import pytest

from fastagi.domain.limits import CallLimits
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.reason import Code, because, said
from fastagi.domain.slots import Slot, SlotLimit
from fastagi.domain.task import CallbackTask, Kind, NewTask, Status
from fastagi.store import preferred_agents
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, RULES, at, done, new_task, verdict

LATER = at(3600)


def chosen_task(number: str = "100", when: datetime = LATER, **changes: Any) -> NewTask:
    """Return a request to be called at a time."""
    return new_task(
        number,
        joined_at=when,
        due_at=when,
        chosen_at=when,
        call_by=at((when - NOW).total_seconds() + 900),
        expires_at=at((when - NOW).total_seconds() + 7200),
        **changes,
    )


def add(store: TaskStore, new: NewTask, now: datetime = NOW) -> CallbackTask:
    return done(store.add(new, now)).task


def begin(store: TaskStore, now: datetime, **more: Any) -> CallbackTask | None:
    begun = done(store.begin_attempts(["support"], [f"{now}"], now, **more)).begun
    return begun[0].task if begun else None


@pytest.fixture
def store(database: Database) -> TaskStore:
    return TaskStore(database)


def found(store: TaskStore, task_id: int) -> CallbackTask:
    task = done(store.find(task_id))
    assert task is not None
    return task


def test_chosen_time_is_stored(store: TaskStore) -> None:
    task = add(store, chosen_task())
    assert found(store, task.id) == task
    assert (task.chosen_at, task.call_by) == (LATER, at(4500))


def test_nothing_is_called_before_its_chosen_time(store: TaskStore) -> None:
    task = add(store, chosen_task())
    assert begin(store, at(3599)) is None
    assert done(store.next_due(["support"], NOW)) == LATER
    begun = begin(store, LATER)
    assert begun is not None and begun.id == task.id


def test_chosen_time_comes_before_those_who_wait_where_live_callers_go_first(
    store: TaskStore,
) -> None:
    add(store, new_task("1", expires_at=at(9999)))
    chosen = add(store, chosen_task("2"))
    begun = begin(store, LATER, chosen_first=True)
    assert begun is not None and begun.id == chosen.id


def test_chosen_time_is_the_place_where_everybody_keeps_the_place(
    store: TaskStore,
) -> None:
    first = add(store, new_task("1", expires_at=at(9999)))
    chosen = add(store, chosen_task("2"))
    add(store, new_task("3", joined_at=at(3601), expires_at=at(9999)), at(3601))
    order = [begin(store, at(3602 + n)) for n in range(2)]
    assert [task.id for task in order if task] == [first.id, chosen.id]


def test_new_chosen_time_replaces_the_former_one(store: TaskStore) -> None:
    add(store, chosen_task())
    task = add(store, chosen_task(when=at(7200)), at(60))
    assert (task.chosen_at, task.due_at, task.joined_at) == (at(7200),) * 3
    assert task.expires_at == at(14400)
    assert found(store, task.id) == task


@pytest.mark.parametrize("calling", [False, True])
def test_time_of_which_nobody_heard_whether_it_is_stored_is_taken_back(
    store: TaskStore, calling: bool
) -> None:
    task = add(store, new_task(queue="support" if calling else "sales"))
    assign = partial(
        preferred_agents.assign,
        task_id=task.id,
        interface="PJSIP/bob",
        until=None,
        why=because(Code.ASSIGNED, interface="PJSIP/bob"),
        now=NOW,
    )
    if calling:
        assert begin(store, at(1)) is not None
    else:
        done(store.carry_out([assign]))
    former = found(store, task.id)
    new = chosen_task(when=at(7200), linkedid="17.2")
    new = attrs.evolve(new, slot=SlotLimit(Slot(at(7200), at(9000)), 1))
    recorded = done(store.add(new, at(60)))
    assert recorded.task.chosen_at == at(7200)
    taken = done(store.take_back_unheard(new, at(60), at(63), recorded))
    why = because(Code.REPEAT_TAKEN_BACK, cause=because(Code.TAKEN_BACK))
    assert taken == attrs.evolve(former, why=why)
    assert done(store.take_back_unheard(new, at(60), at(64), recorded)) is None


def test_time_that_was_not_stored_or_was_chosen_anew_is_not_taken_back(
    store: TaskStore,
) -> None:
    add(store, chosen_task())
    new = chosen_task(when=at(7200), linkedid="17.2")
    recorded = done(store.add(new, at(60)))
    # Another request, of which nothing was stored.
    assert done(store.take_back_unheard(new, at(50), at(63), recorded)) is None
    task = add(store, chosen_task(when=at(8000)), at(62))
    assert done(store.take_back_unheard(new, at(60), at(64), recorded)) is None
    assert found(store, task.id) == task


def test_client_with_a_place_in_line_may_choose_a_time(store: TaskStore) -> None:
    add(store, new_task())
    task = add(store, chosen_task(), at(60))
    assert (task.chosen_at, task.due_at) == (LATER, LATER)
    assert begin(store, at(61)) is None


def test_client_who_presses_the_key_before_the_chosen_time_joins_the_line_then(
    store: TaskStore,
) -> None:
    add(store, chosen_task())
    task = add(store, new_task(joined_at=at(590), due_at=at(600)), at(600))
    assert (task.chosen_at, task.call_by) == (None, None)
    assert (task.joined_at, task.due_at) == (at(590), at(600))
    assert begin(store, at(600)) is not None


@pytest.mark.parametrize("kind", [Kind.MISSED, Kind.MANUAL])
def test_missed_call_does_not_change_the_chosen_time(
    store: TaskStore, kind: Kind
) -> None:
    add(store, chosen_task())
    task = add(store, new_task(kind=kind), at(600))
    assert (task.chosen_at, task.due_at, task.joined_at) == (LATER,) * 3


def test_time_chosen_while_the_client_is_being_called_is_kept_by_the_next_attempt(
    store: TaskStore,
) -> None:
    add(store, new_task())
    begin(store, at(1))
    add(store, chosen_task(), at(5))
    task = done(store.close_attempt(f"{at(1)}", verdict("BUSY"), RULES, at(20)))
    assert (task.status, task.due_at) == (Status.PENDING, LATER)
    assert task.why.code is Code.WAITS_FOR_CHOSEN_TIME
    # That call was not the one at the chosen time.
    assert task.call_by == at(4500)


def test_time_chosen_after_the_client_had_answered_is_the_time_of_the_new_task(
    store: TaskStore,
) -> None:
    add(store, new_task())
    begin(store, at(1))
    why = because(Code.TALK_BEGINS)
    done(store.progress(f"{at(1)}", why, at(3), answered_at=at(3)))
    add(store, chosen_task(), at(10))
    done(
        store.close_attempt(
            f"{at(1)}", verdict("ANSWERED"), RULES, at(20), answered_at=at(3)
        )
    )
    first, second = reversed(done(store.listing()))
    assert first.status is Status.COMPLETED
    assert (second.due_at, second.chosen_at, second.call_by) == (LATER, LATER, at(4500))


def test_missed_chosen_time_is_stored_once(store: TaskStore) -> None:
    task = add(store, chosen_task())
    assert done(store.past_call_by(at(4499))) == []
    assert done(store.next_call_by()) == at(4500)
    (late,) = done(store.past_call_by(at(4500)))
    assert late == task
    why = because(Code.CHOSEN_TIME_MISSED, cause=said("x"))
    assert done(store.miss_chosen_time(late, why, at(4500)))
    assert not done(store.miss_chosen_time(late, why, at(4501)))
    assert done(store.past_call_by(at(9000))) == []
    assert done(store.next_call_by()) is None
    event = done(store.history(task.id))[-1]
    assert (event.why, event.status) == (why, Status.PENDING)
    begun = begin(store, at(5000), chosen_first=True)
    assert begun is not None and begun.id == task.id


def test_chosen_time_is_kept_once_the_client_is_dialled(store: TaskStore) -> None:
    task = add(store, chosen_task())
    begin(store, LATER)
    channel = f"{LATER}"
    done(store.progress(channel, because(Code.AGENT_RINGS, interface="x"), at(3601)))
    assert found(store, task.id).call_by == at(4500)
    done(store.progress(channel, because(Code.CLIENT_DIALLED, number="1"), at(3605)))
    assert found(store, task.id).call_by is None
    assert done(store.past_call_by(at(9000))) == []


def test_attempt_that_dialled_the_client_keeps_the_time_though_no_step_was_stored(
    store: TaskStore,
) -> None:
    add(store, chosen_task())
    begin(store, LATER)
    task = done(store.close_attempt(f"{LATER}", verdict("BUSY"), RULES, at(3650)))
    assert (task.call_by, task.due_at) == (None, at(3680))


def test_attempt_without_an_agent_does_not_keep_the_time(store: TaskStore) -> None:
    add(store, chosen_task())
    begin(store, LATER)
    ended = verdict("MEMBER NO ANSWER")
    task = done(store.close_attempt(f"{LATER}", ended, RULES, at(3650)))
    assert task.call_by == at(4500)


def test_ended_task_misses_nothing(store: TaskStore) -> None:
    task = add(store, chosen_task())
    done(store.cancel(task.id, said("x"), at(10)))
    assert done(store.past_call_by(at(9000))) == []
    assert found(store, task.id).chosen_at == LATER


def test_task_is_moved_to_another_time_and_back(store: TaskStore) -> None:
    task = add(store, new_task())
    moved = done(
        store.retry(
            task.id, said("x"), at(5), at(9000), chosen_at=LATER, call_by=at(4500)
        )
    )
    assert (moved.due_at, moved.joined_at, moved.chosen_at) == (LATER,) * 3
    assert moved.expires_at == at(9000)
    assert found(store, task.id) == moved
    back = done(store.retry(task.id, said("x"), at(10), at(5000)))
    assert (back.due_at, back.joined_at, back.chosen_at) == (at(10), at(10), None)
    assert (back.call_by, back.expires_at) == (None, at(5000))


def test_task_put_back_in_line_after_its_chosen_time_keeps_its_place(
    store: TaskStore,
) -> None:
    task = add(store, chosen_task())
    back = done(store.retry(task.id, said("x"), at(4000), at(9000)))
    assert (back.joined_at, back.due_at) == (LATER, at(4000))


def test_limit_that_is_raised_calls_nobody_before_the_chosen_time(
    store: TaskStore,
) -> None:
    add(store, new_task())
    begin(store, at(1))
    done(store.close_attempt(f"{at(1)}", verdict("BUSY"), RULES, at(2)))
    limited = done(
        store.begin_attempts(
            ["support"], ["x"], at(60), call_limits=CallLimits(per_number=1)
        )
    )
    assert limited.not_begun
    add(store, chosen_task(), at(70))
    done(store.use_limit(0, at(80)))
    assert done(store.listing())[0].due_at == LATER


def test_nobody_is_in_line_before_the_chosen_time(store: TaskStore) -> None:
    add(store, chosen_task())
    assert done(store.oldest_open(NOW)) == {}
    assert done(store.oldest_open(at(3601))) == {"support": LATER}


# -- slots -------------------------------------------------------------------


def limited(number: str, when: datetime = LATER, per_slot: int = 1) -> NewTask:
    """Return a request of a caller who chose a time in the slot that begins then."""
    slot = Slot(LATER, at(3600 + 1800))
    return chosen_task(number, when, slot=SlotLimit(slot, per_slot))


def test_slot_takes_as_many_clients_as_it_may(store: TaskStore) -> None:
    add(store, limited("1", per_slot=2))
    add(store, limited("2", at(3660), per_slot=2))
    with pytest.raises(NotCallable, match="others have chosen that time"):
        add(store, limited("3", per_slot=2))
    # The next slot has room.
    add(store, limited("4", at(3600 + 1800), per_slot=3))
    taken = done(store.chosen_times("support", LATER, at(9999)))
    assert taken == [LATER, at(3660), at(3600 + 1800)]
    assert done(store.chosen_times("sales", LATER, at(9999))) == []


def test_client_who_chooses_the_same_slot_again_is_not_counted_twice(
    store: TaskStore,
) -> None:
    task = add(store, limited("1"))
    assert add(store, limited("1", at(3660))).id == task.id
    with pytest.raises(NotCallable):
        add(store, limited("2"))


def test_slot_is_free_again_when_its_task_ends_or_moves(store: TaskStore) -> None:
    task = add(store, limited("1"))
    done(store.cancel(task.id, said("x"), NOW))
    task = add(store, limited("2"))
    done(store.retry(task.id, said("x"), at(5), at(9000)))
    add(store, limited("3"))


def test_task_of_an_operator_takes_the_slot_too(store: TaskStore) -> None:
    add(store, chosen_task("1", at(4000), kind=Kind.MANUAL))
    with pytest.raises(NotCallable):
        add(store, limited("2"))


def test_time_in_another_queue_moves_the_task_there(store: TaskStore) -> None:
    first = add(store, new_task("1", queue="sales"))
    task = add(store, attrs.evolve(limited("1"), number="001"))
    assert (task.id, task.queue, task.number) == (first.id, "support", "001")
    assert found(store, task.id) == task
    # It takes the slot of that queue.
    with pytest.raises(NotCallable, match="others have chosen that time"):
        add(store, limited("2"))


def test_time_can_not_be_chosen_while_another_queue_calls(store: TaskStore) -> None:
    add(store, new_task("1", queue="sales"))
    done(store.begin_attempts(["sales"], ["a"], at(1)))
    with pytest.raises(NotCallable, match="queue sales calls that number"):
        add(store, limited("1"))
    task = done(store.open_task("1"))
    assert task is not None and (task.queue, task.chosen_at) == ("sales", None)


def test_callers_who_choose_at_once_never_overfill_a_slot(url: str) -> None:
    """Each has its own connection, like two processes."""
    callers = 8
    together = threading.Barrier(callers)

    def choose(number: int) -> bool:
        database = Database(url, deliver=None)
        store = TaskStore(database)
        done(store.find(1))
        together.wait(20)
        try:
            done(store.add(limited(str(number), per_slot=3), NOW))
        except NotCallable:
            return False
        finally:
            done(database.close())
        return True

    with ThreadPoolExecutor(callers) as pool:
        told = list(pool.map(choose, range(1, callers + 1)))

    assert told.count(True) == 3
