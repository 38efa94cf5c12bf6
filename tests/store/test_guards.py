# SPDX-License-Identifier: MIT
"""Blocked numbers, refusals and limits, on every engine."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import attrs
import pytest

from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.limits import CallLimits
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import NumberPlan, NumberRules
from fastagi.domain.reason import Code, because, said
from fastagi.domain.task import CallbackTask, Kind, Move
from fastagi.store import guards, requests
from fastagi.store.engine import ALONE, Database
from fastagi.store.store import BeginResult, Recorded, TaskStore
from tests.store.harness import NOW, RULES, at, done, new_task, verdict

DAY_S = 24 * 3600


def blocked(
    number: str = "100", reason: str = "", seconds: float = 0, key: str = ""
) -> BlockedNumber:
    return BlockedNumber(
        number=number, number_key=key or number, reason=reason, at=at(seconds)
    )


def add(store: TaskStore, key: str = "100", **more) -> CallbackTask:
    return done(store.add(new_task(key, **more), more.get("due_at", NOW))).task


def begin(
    store: TaskStore, seconds: float = 0, *, count: int = 1, queues=("support",), **more
) -> BeginResult:
    """Begin attempts for this many free agents."""
    begin.channels += count
    channels = [f"c{begin.channels - n}" for n in range(count)]
    return done(store.begin_attempts(queues, channels, at(seconds), **more))


begin.channels = 0


def call(store: TaskStore, key: str, seconds: float, how: str = "ANSWERED") -> None:
    """Let somebody be called back at a moment."""
    moment = at(seconds)
    task = add(
        store,
        key,
        joined_at=moment,
        due_at=moment,
        expires_at=at(seconds + 3600),
    )
    (begun,) = begin(store, seconds).begun
    assert begun.task.id == task.id
    done(store.close_attempt(begun.attempt.channel_id, verdict(how), RULES, moment))
    if how != "ANSWERED":
        done(store.cancel(task.id, said("enough"), moment))


def dial(store: TaskStore, begun: BeginResult, seconds: float) -> None:
    """Let the agents of these attempts answer, so that the clients are dialled."""
    for one in begun.begun:
        why = because(Code.CLIENT_DIALLED, number=one.task.number)
        done(store.progress(one.attempt.channel_id, why, at(seconds)))


# -- blocked numbers -------------------------------------------------------


def test_a_blocked_number_makes_no_task(store: TaskStore) -> None:
    created = done(store.block(blocked(reason="asked us to"), ""))
    assert (created.created, created.task) == (True, None)

    with pytest.raises(NotCallable, match="the number is blocked: asked us to"):
        add(store)

    assert done(store.listing()) == []
    assert add(store, "200").number_key == "200"
    assert done(store.blocked(10)) == [blocked(reason="asked us to")]


def test_a_number_that_is_no_more_blocked_makes_one(store: TaskStore) -> None:
    done(store.block(blocked(), ""))
    assert done(store.unblock("100")) == blocked()
    assert done(store.unblock("100")) is None
    assert add(store).is_open
    assert done(store.blocked(10)) == []


def test_blocking_ends_the_task_that_waits(store: TaskStore) -> None:
    task = add(store)

    ended = done(store.block(blocked(reason="no calls"), "")).task

    assert ended is not None
    assert (ended.id, ended.status.value) == (task.id, "cancelled")
    assert ended.reason == "the number is blocked: no calls"
    assert done(store.history(task.id))[-1].text == ended.reason


def test_blocking_ends_the_task_that_is_called_with_its_call(store: TaskStore) -> None:
    add(store)
    (begun,) = begin(store).begun

    ended = done(store.block(blocked(reason="no calls"), "")).task
    assert ended is not None
    assert (ended.status.value, ended.cancel_requested) == ("calling", True)
    # A repeated request is refused, so nothing can be taken back.
    with pytest.raises(NotCallable):
        add(store)

    task = done(
        store.close_attempt(begun.attempt.channel_id, verdict("BUSY"), RULES, NOW)
    )
    assert task.status.value == "cancelled"
    assert task.reason == "the number is blocked: no calls; it was BUSY"


def test_blocked_once_more_keeps_the_first_moment(store: TaskStore) -> None:
    done(store.block(blocked(reason="first"), ""))
    again = done(store.block(blocked(seconds=60), ""))
    assert (again.created, again.number) == (False, blocked(reason="first"))
    done(store.block(blocked(reason="second", seconds=60), ""))
    assert done(store.blocked(10)) == [blocked(reason="second")]


def test_a_blocked_number_can_not_be_put_back_in_line(store: TaskStore) -> None:
    task = add(store)
    done(store.block(blocked(), ""))
    with pytest.raises(NotCallable, match="the number is blocked"):
        done(store.retry(task.id, said("by hand"), NOW, at(3600)))
    assert done(store.find(task.id)).status.value == "cancelled"


def test_a_task_whose_number_turns_out_to_be_blocked_is_not_called(
    store: TaskStore,
) -> None:
    """As after a change of the region: requested before the number was recognised."""
    done(store.block(blocked("0301234567", reason="no calls"), ""))
    add(store, "49301234567")
    done(store.rekey_blocked(NumberPlan("DE")))
    outcome = begin(store)

    assert outcome.begun == []
    (ended,) = outcome.not_begun
    assert (ended.status.value, ended.reason) == (
        "cancelled",
        "the number is blocked: no calls",
    )
    assert done(store.attempts(ended.id)) == []


def test_blocked_numbers_are_recognised_anew_in_another_region(
    store: TaskStore,
) -> None:
    for number, seconds in (("0301234567", 0), ("+49301234567", 1), ("101", 2)):
        done(
            store.block(
                BlockedNumber(
                    number=number,
                    number_key=NumberPlan().key(number),
                    reason="",
                    at=at(seconds),
                ),
                "",
            )
        )
    plan = NumberPlan("DE")

    assert done(store.rekey_blocked(plan)) == 3
    assert done(store.rekey_blocked(plan)) == 0

    assert [(one.number, one.number_key) for one in done(store.blocked(10))] == [
        ("101", "101"),
        ("0301234567", "49301234567"),
    ]
    with pytest.raises(NotCallable):
        add(store, "49301234567")


# -- refusals --------------------------------------------------------------


def block_two_forms(store: TaskStore) -> None:
    for number, seconds in (("0301234567", 0), ("+49301234567", 1)):
        key = NumberPlan().key(number)
        done(store.block(blocked(number, seconds=seconds, key=key), ""))
    done(store.rekey_blocked(NumberPlan("DE")))


def test_two_forms_of_a_number_are_two_again_without_the_region(
    store: TaskStore,
) -> None:
    block_two_forms(store)
    done(store.rekey_blocked(NumberPlan("FR")))
    done(store.rekey_blocked(NumberPlan("DE")))
    done(store.rekey_blocked(NumberPlan()))

    assert [one.number for one in done(store.blocked(10))] == [
        "+49301234567",
        "0301234567",
    ]
    for key in ("0301234567", "49301234567"):
        with pytest.raises(NotCallable):
            add(store, key)


def test_to_unblock_a_number_means_all_of_its_forms(store: TaskStore) -> None:
    block_two_forms(store)
    assert done(store.unblock("49301234567")) is not None
    done(store.rekey_blocked(NumberPlan()))

    assert done(store.blocked(10)) == []
    assert add(store, "49301234567").is_open


def refusal(n: int, queue: str = "support") -> Refusal:
    return Refusal(
        at=at(n),
        kind=Kind.REQUESTED,
        queue=queue,
        number=f"0900{n}",
        why=said("it is a premium-rate number"),
        linkedid=f"1.{n}",
    )


def test_refusals_are_kept_the_latest_first(store: TaskStore) -> None:
    done(store.refuse(refusal(1)))
    done(store.refuse(refusal(2, "sales")))
    assert done(store.refusals(None, 10)) == [refusal(2, "sales"), refusal(1)]
    assert done(store.refusals("support", 10)) == [refusal(1)]
    assert done(store.refusals(None, 1)) == [refusal(2, "sales")]


def test_a_flood_of_refusals_takes_no_more_room(database: Database) -> None:
    for n in range(25):
        done(database.run("refuse", guards.refuse, refusal(n), 10))
    kept = done(TaskStore(database).refusals(None, 100))
    assert kept == [refusal(n) for n in reversed(range(15, 25))]


# -- limits ----------------------------------------------------------------

THREE_A_DAY = CallLimits(per_number=3)


def test_a_number_is_not_called_more_often_in_a_day(store: TaskStore) -> None:
    for n in range(3):
        call(store, "100", n * 3600)
    call(store, "200", 3 * 3600)
    moment = 4 * 3600.0
    task = add(store, due_at=at(moment), joined_at=at(moment), expires_at=at(2 * DAY_S))

    outcome = begin(store, moment, call_limits=THREE_A_DAY)

    assert outcome.begun == []
    (waits,) = outcome.not_begun
    assert (waits.id, waits.status.value) == (task.id, "pending")
    # The first of the three was at 0.
    assert 0 <= (waits.due_at - at(DAY_S)).total_seconds() < 0.01
    assert "called 3 times within 24 hours" in waits.reason
    assert "from 2026-03-02 12:00 UTC on" in waits.reason
    # It is not checked again before that.
    assert begin(store, moment, call_limits=THREE_A_DAY) == BeginResult([], [])
    assert (
        done(store.next_due({"support"}, at(moment), call_limits=THREE_A_DAY))
        == waits.due_at
    )
    (begun,) = begin(store, DAY_S + 0.01, call_limits=THREE_A_DAY).begun
    assert begun.task.id == task.id


def test_a_task_for_which_that_would_be_too_late_ends(store: TaskStore) -> None:
    add(store, expires_at=at(3600))
    done(store.add(new_task("200", expires_at=at(3600)), NOW))
    for n in range(3):
        (begun,) = begin(store, n * 30, call_limits=THREE_A_DAY).begun
        assert begun.task.number_key == "100"
        done(
            store.close_attempt(
                begun.attempt.channel_id,
                verdict("BUSY"),
                attrs.evolve(RULES, attempts=9),
                at(n * 30),
            )
        )

    outcome = begin(store, 90, call_limits=THREE_A_DAY)

    (ended,) = outcome.not_begun
    assert (ended.status.value, ended.number_key) == ("failed", "100")
    assert ended.reason.endswith("UTC on, which is too late")
    # The next task in line gets the agent.
    assert [one.task.number_key for one in outcome.begun] == ["200"]


def test_who_asks_for_a_call_that_can_not_come_in_time_is_refused(
    store: TaskStore,
) -> None:
    for n in range(3):
        call(store, "100", n * 60)
    moment = at(300)
    soon = new_task(joined_at=moment, due_at=moment, expires_at=at(3600))
    with pytest.raises(NotCallable, match="called 3 times within 24 hours"):
        done(store.add(soon, moment, most_calls=3))
    assert done(store.add(soon, moment, most_calls=4)).created
    late = new_task("100", expires_at=at(DAY_S + 60))
    # A task that expires late enough waits.
    assert not done(store.add(late, moment, most_calls=3)).created


def wait_for_number(store: TaskStore) -> CallbackTask:
    """Let a task wait because its number was called twice."""
    for seconds in (0, 100):
        call(store, "100", seconds)
    add(store, "100", joined_at=at(200), due_at=at(200), expires_at=at(3 * DAY_S))
    (task,) = begin(store, 200, call_limits=CallLimits(per_number=2)).not_begun
    assert task.due_at >= at(DAY_S)
    return task


@pytest.mark.parametrize("most", [0, 3])
def test_a_higher_limit_lets_a_task_be_due(store: TaskStore, most: int) -> None:
    task = wait_for_number(store)

    (earlier,) = done(store.use_limit(most, at(300)))

    assert (earlier.id, earlier.due_at) == (task.id, at(300))
    assert done(store.history(task.id))[-1].text == earlier.reason
    assert done(store.use_limit(most, at(300))) == []


@pytest.mark.parametrize("most", [1, 2])
def test_a_limit_that_is_not_higher_changes_nothing(
    store: TaskStore, most: int
) -> None:
    task = wait_for_number(store)
    assert done(store.use_limit(most, at(300))) == []
    assert done(store.find(task.id)) == task


def test_a_task_that_waits_after_an_attempt_is_no_matter_of_limits(
    store: TaskStore,
) -> None:
    add(store, "100", expires_at=at(3 * DAY_S))
    (begun,) = begin(store, 0).begun
    done(store.close_attempt(begun.attempt.channel_id, verdict("BUSY"), RULES, at(10)))
    assert done(store.use_limit(0, at(11))) == []


@pytest.mark.parametrize("how", ["MEMBER NO ANSWER", "NOT PLACED"])
def test_attempts_in_which_no_client_was_dialled_do_not_count(
    store: TaskStore, how: str
) -> None:
    for n in range(3):
        call(store, "100", n * 60, how)
    call(store, "100", 200)
    limits = CallLimits(per_number=2, per_minute=2, per_hour={"support": 2})
    add(store, joined_at=at(210), due_at=at(210), expires_at=at(3600))
    assert len(begin(store, 210, call_limits=limits).begun) == 1


@pytest.mark.parametrize(
    ("limits", "window_s"),
    [
        (CallLimits(per_minute=3), 60.0),
        (CallLimits(per_hour={"support": 3}), 3600.0),
    ],
)
def test_no_more_clients_are_dialled_within_a_window(
    store: TaskStore, limits: CallLimits, window_s: float
) -> None:
    for key in "12345":
        add(store, key, expires_at=at(2 * DAY_S))

    first = begin(store, 0, count=1, call_limits=limits)
    rest = begin(store, 10, count=4, call_limits=limits)
    dial(store, first, 0)
    dial(store, rest, 10)

    # Attempts in progress count, also within one transaction.
    assert (len(first.begun), len(rest.begun)) == (1, 2)
    assert rest.not_begun == []
    free_at = done(store.next_due({"support"}, at(10), call_limits=limits))
    assert free_at is not None
    assert 0 <= (free_at - at(window_s)).total_seconds() < 0.01
    just_before = (free_at - NOW).total_seconds() - 0.01
    assert begin(store, just_before, call_limits=limits).begun == []
    # At the reported moment there is room for exactly one.
    then = (free_at - NOW).total_seconds()
    assert len(begin(store, then, count=2, call_limits=limits).begun) == 1


def test_the_limit_of_one_queue_is_none_of_another(store: TaskStore) -> None:
    limits = CallLimits(per_hour={"support": 1})
    both = {"support", "sales"}
    add(store, "1")
    add(store, "2", expires_at=at(2 * 3600))
    add(store, "3", queue="sales", joined_at=at(5), due_at=at(20))

    result = begin(store, 0, count=3, queues=both, call_limits=limits)
    (first,) = result.begun
    assert first.task.number_key == "1"
    dial(store, result, 0)
    assert done(store.next_due(both, at(1), call_limits=limits)) == at(20)
    (other,) = begin(store, 20, count=3, queues=both, call_limits=limits).begun
    assert other.task.number_key == "3"
    free_at = done(store.next_due(both, at(21), call_limits=limits))
    assert free_at is not None
    assert 0 <= (free_at - at(3600)).total_seconds() < 0.01


def test_a_limit_never_makes_a_task_due_sooner(store: TaskStore) -> None:
    limits = CallLimits(per_minute=1, per_hour={"support": 1})
    add(store, "1")
    begin(store, 0, call_limits=limits)
    add(store, "2", due_at=at(2 * 3600), expires_at=at(DAY_S))
    assert done(store.next_due({"support"}, at(1), call_limits=limits)) == at(2 * 3600)


def test_a_clock_set_back_forgets_no_call_and_blocks_none_for_long(
    store: TaskStore,
) -> None:
    limits = CallLimits(per_minute=1)
    add(store, "1", due_at=at(-9999))
    add(store, "2", due_at=at(-9999))
    dial(store, begin(store, 0, call_limits=limits), 0)
    assert begin(store, -30, call_limits=limits).begun == []
    # An hour earlier the call lies far in the future.
    assert len(begin(store, -3600, call_limits=limits).begun) == 1


def test_a_call_counts_from_when_the_client_is_dialled(store: TaskStore) -> None:
    limits = CallLimits(per_minute=1)
    for key in "123":
        add(store, key, expires_at=at(DAY_S))
    first = begin(store, 0, call_limits=limits)
    # The client may be dialled at any moment, however long it waits for an agent.
    assert begin(store, 300, call_limits=limits).begun == []
    dial(store, first, 400)
    assert begin(store, 459, call_limits=limits).begun == []
    second = begin(store, 461, call_limits=limits)
    assert len(second.begun) == 1
    # An attempt that ends before that makes room at once.
    channel_id = second.begun[0].attempt.channel_id
    withdrawn = verdict("WITHDRAWN")
    done(store.close_attempt(channel_id, withdrawn, RULES, at(470)))
    assert len(begin(store, 470, call_limits=limits).begun) == 1


def test_a_call_that_was_not_seen_counts_from_its_latest_possible_beginning(
    store: TaskStore,
) -> None:
    limits = CallLimits(per_minute=1)
    add(store, "1")
    add(store, "2")
    (begun,) = begin(store, 0, call_limits=limits).begun
    talked = verdict("ANSWERED", talk_s=20.0)
    done(store.close_attempt(begun.attempt.channel_id, talked, RULES, at(100)))
    assert begin(store, 139, call_limits=limits).begun == []
    assert len(begin(store, 141, call_limits=limits).begun) == 1


def test_without_limits_nothing_is_counted(store: TaskStore) -> None:
    for key in "123456789":
        add(store, key)
    assert len(begin(store, 0, count=9, call_limits=CallLimits()).begun) == 9


# -- the settings in force -------------------------------------------------


_DENIES_12345: Final = NumberRules(deny=(re.compile(r"\+?12345"),))


def test_a_task_that_must_not_be_called_any_more_ends(store: TaskStore) -> None:
    for number in ("12345", "67890"):
        done(store.add(attrs.evolve(new_task(number), number=number), NOW))

    outcome = begin(store, 0, number_rules={"support": _DENIES_12345})

    assert [one.task.number_key for one in outcome.begun] == ["67890"]
    (ended,) = outcome.not_begun
    assert (ended.status.value, ended.reason) == (
        "failed",
        "the settings do not allow it any more: the number is on the list of numbers"
        " not to call",
    )
    assert ended.ended_at == NOW
    assert done(store.attempts(ended.id)) == []


def test_many_tasks_that_must_not_be_called_hold_up_nobody_for_long(
    store: TaskStore,
) -> None:
    nobody = {"support": NumberRules(deny=(re.compile(".*"),))}
    for n in range(130):
        add(store, f"{n}")
    ended: list[datetime] = []
    for _ in range(3):
        outcome = begin(store, 0, number_rules=nobody)
        assert outcome.begun == []
        ended += [task.ended_at for task in outcome.not_begun if task.ended_at]
    assert len(ended) == 130
    assert begin(store, 0, number_rules=nobody) == BeginResult([], [])


# -- concurrent transactions -----------------------------------------------


def test_many_at_once_leave_to_one_by_one_what_depends_on_more(
    store: TaskStore, database: Database
) -> None:
    done(store.block(blocked("1"), ""))
    add(store, "2")
    call(store, "3", -60)
    asked = [
        (new_task(number), NOW, number == "6", (), most)
        for number, most in (
            *(("1", 0), ("2", 0), ("3", 1)),
            *(("4", 1), ("4", 1), ("5", 0), ("6", 0)),
        )
    ]

    found = database.run_now("add", requests.add_many, asked)

    assert [one is ALONE for one in found] == [
        *(True, True, True),
        *(False, True, False, True),
    ]
    made = [one.task for one in found if isinstance(one, Recorded)]
    assert [one.number_key for one in made] == ["4", "5"]
    for one in made:
        assert done(store.find(one.id)) == one
        (event,) = done(store.history(one.id))
        assert (event.move, event.at, event.text) == (Move.CREATE, NOW, one.reason)
