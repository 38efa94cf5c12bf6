# SPDX-License-Identifier: MIT
"""A request made while its client is in a call, and what happens to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import pytest

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.queue_log_entries import Word, entries
from fastagi.domain.reason import said
from fastagi.domain.task import CallbackTask, Kind, Status
from fastagi.store.store import Recorded, TaskAttempt, TaskStore
from tests.store.harness import RULES, at, done, new_task, verdict

#: The client answers five seconds after the attempt began.
ANSWERED_S = 5.0


def ask(store: TaskStore, seconds: float, **changes: Any) -> Recorded:
    """Ask for a callback at that moment."""
    new = new_task(
        joined_at=at(seconds - 2),
        due_at=at(seconds),
        expires_at=at(seconds + 3600),
        **changes,
    )
    return done(store.add(new, at(seconds)))


def ask_in_sales(store: TaskStore, seconds: float = 8.5, **changes: Any) -> Recorded:
    """Let the client, transferred to another queue, press the key there."""
    known = {"queue": "sales", "name": "Ann", "language": "de", "linkedid": "17.2"}
    return ask(store, seconds, **{**known, **changes})


def begin(store: TaskStore, channel_id: str = "c1", seconds: float = 0) -> TaskAttempt:
    (begun,) = done(
        store.begin_attempts({"support", "sales"}, [channel_id], at(seconds))
    ).begun
    return begun


def talk(store: TaskStore) -> TaskAttempt:
    """Call a client, who answers."""
    ask(store, 0, linkedid="17.1")
    begun = begin(store)
    done(
        store.progress(
            begun.attempt.channel_id,
            said("talking"),
            at(ANSWERED_S),
            answered_at=at(ANSWERED_S),
        )
    )
    return begun


def close(
    store: TaskStore,
    begun: TaskAttempt,
    how: str = "ANSWERED",
    seconds: float = 20,
    answered_at: datetime | None = None,
) -> CallbackTask:
    """End the attempt."""
    return done(
        store.close_attempt(
            begun.attempt.channel_id,
            verdict(how),
            RULES,
            at(seconds),
            answered_at=answered_at,
        )
    )


def statuses(store: TaskStore) -> list[str]:
    """Return the statuses of all tasks, the first one first."""
    return [task.status.value for task in reversed(done(store.listing()))]


def last(store: TaskStore) -> CallbackTask:
    """Return the newest task."""
    return done(store.listing())[0]


def use_up(store: TaskStore, task_id: int) -> None:
    """Let a task fail when its next attempt is short."""
    for n in range(RULES.attempts - 1):
        close(store, begin(store, f"b{n}", n * 30), "BUSY", n * 30)
    assert last(store).id == task_id


# -- after the client had answered -----------------------------------------


def test_a_request_in_the_talk_becomes_a_task_of_its_own(store: TaskStore) -> None:
    begun = talk(store)
    recorded = ask_in_sales(store, priority=5)
    assert not recorded.created

    ended = close(store, begun)

    assert (ended.id, ended.status) == (begun.task.id, Status.COMPLETED)
    assert ended.reason.endswith("asked for again in the talk: a new task")
    task = last(store)
    assert (task.status, task.kind) == (Status.PENDING, Kind.REQUESTED)
    assert (task.queue, task.name, task.language) == ("sales", "Ann", "de")
    assert (task.linkedid, task.number_key) == ("17.2", begun.task.number_key)
    assert task.joined_at == at(6.5)
    assert task.priority == 5
    assert task.due_at == task.created_at == at(20)
    assert task.expires_at == at(8.5 + 3600)
    assert task.attempts == 0
    (created,) = done(store.history(task.id))
    assert created.text == (
        "the client pressed the key in queue support, while the client talked in task"
        f" {ended.id}"
    )
    assert begin(store, "c2", 20).task.id == task.id


def test_a_request_before_the_answer_is_fulfilled_by_that_call(
    store: TaskStore,
) -> None:
    ask(store, 0, linkedid="17.1")
    begun = begin(store)
    ask_in_sales(store, 3.5)
    done(
        store.progress(
            begun.attempt.channel_id, said("talking"), at(5), answered_at=at(5)
        )
    )

    close(store, begun)

    assert statuses(store) == ["completed"]


@pytest.mark.parametrize("asked_s", [3.5, 8.5])
def test_an_answer_that_is_known_at_the_end_only(
    store: TaskStore, asked_s: float
) -> None:
    """As in a service that restarted during the call: the dialplan kept the time."""
    ask(store, 0, linkedid="17.1")
    begun = begin(store)
    ask_in_sales(store, asked_s)

    close(store, begun, answered_at=at(5))

    after = ["completed"] if asked_s < 5 else ["completed", "pending"]
    assert statuses(store) == after


def test_an_answer_of_which_nobody_knows_when_costs_no_request(
    store: TaskStore,
) -> None:
    ask(store, 0, linkedid="17.1")
    begun = begin(store)
    ask_in_sales(store, 8.5)

    close(store, begun)

    assert statuses(store) == ["completed", "pending"]


def test_a_request_told_to_the_second_is_not_before_an_answer_in_that_second(
    store: TaskStore,
) -> None:
    """Stored by Asterisk at 5.9, read as 5; the client answered at 5.3."""
    ask(store, 0, linkedid="17.1")
    begun = begin(store)
    done(
        store.progress(
            begun.attempt.channel_id, said("talking"), at(5.3), answered_at=at(5.3)
        )
    )
    new = new_task(due_at=at(5), linkedid="17.2")
    done(store.add(new, at(9), once=True))

    close(store, begun)

    assert statuses(store) == ["completed", "pending"]


def test_a_request_after_the_clock_was_set_back_in_the_talk(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store, -3000.5)

    close(store, begun, seconds=-2990)

    assert statuses(store) == ["completed", "pending"]


@pytest.mark.parametrize("kind", Kind)
def test_each_way_to_ask_outlives_the_talk(store: TaskStore, kind: Kind) -> None:
    begun = talk(store)
    ask_in_sales(store, kind=kind, linkedid="" if kind is Kind.MANUAL else "17.2")

    close(store, begun)

    assert last(store).kind is kind
    assert statuses(store) == ["completed", "pending"]


def test_two_requests_in_the_talk_become_one_task(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store, 8.5, kind=Kind.MISSED)
    ask(store, 12.5, linkedid="17.3")

    close(store, begun)

    assert statuses(store) == ["completed", "pending"]
    task = last(store)
    assert (task.queue, task.kind) == ("sales", Kind.REQUESTED)
    assert task.expires_at == at(12.5 + 3600)
    assert [e.move.value for e in done(store.history(task.id))] == ["create", "repeat"]


# -- however the call ends -------------------------------------------------


def test_a_short_talk_is_tried_again_and_that_is_enough(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store)

    task = close(store, begun, "SHORT")

    assert statuses(store) == ["pending"]
    assert task.due_at == at(20) + RULES.retry_delay


def test_a_short_talk_of_the_last_attempt_leaves_a_task_for_the_request(
    store: TaskStore,
) -> None:
    first = ask(store, 0).task
    use_up(store, first.id)
    begun = begin(store, "c1", 100)
    done(
        store.progress(
            begun.attempt.channel_id, said("talking"), at(105), answered_at=at(105)
        )
    )
    ask_in_sales(store, 110.5)

    close(store, begun, "SHORT", 120)

    assert statuses(store) == ["failed", "pending"]
    assert last(store).queue == "sales"


def test_a_request_while_the_last_attempt_rings_ends_with_it(store: TaskStore) -> None:
    first = ask(store, 0).task
    use_up(store, first.id)
    begun = begin(store, "c1", 100)
    ask_in_sales(store, 103.5)

    close(store, begun, "BUSY", 120)

    assert statuses(store) == ["failed"]


def test_cancelling_ends_the_request_too(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store)
    done(store.cancel(begun.task.id, said("by hand"), at(10)))

    close(store, begun)

    assert statuses(store) == ["completed"]


def test_a_request_after_cancelling_stands(store: TaskStore) -> None:
    begun = talk(store)
    done(store.cancel(begun.task.id, said("by hand"), at(7)))
    ask_in_sales(store)

    close(store, begun)

    assert statuses(store) == ["completed", "pending"]


def test_a_blocked_number_is_not_called_again(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store)
    key = begun.task.number_key
    number = BlockedNumber(number="+100", number_key=key, reason="", at=at(10))
    done(store.block(number, ""))
    with pytest.raises(NotCallable):
        ask_in_sales(store, 11.5, linkedid="17.3")

    close(store, begun)

    assert statuses(store) == ["completed"]


def test_a_client_served_after_the_request_is_not_called_again(
    store: TaskStore,
) -> None:
    begun = talk(store)
    ask_in_sales(store)
    assert (
        done(store.serve(begun.task.number_key, said("rang again"), at(10))) is not None
    )

    close(store, begun)

    assert statuses(store) == ["completed"]


def test_a_client_served_before_the_request_is_called_again(store: TaskStore) -> None:
    begun = talk(store)
    done(store.serve(begun.task.number_key, said("rang again"), at(7)))
    ask_in_sales(store)

    close(store, begun)

    assert statuses(store) == ["completed", "pending"]


def test_who_was_served_after_the_request_is_known_after_the_call_too(
    store: TaskStore,
) -> None:
    """The database was unavailable at that moment."""
    begun = talk(store)
    ask_in_sales(store)
    close(store, begun)
    key = begun.task.number_key

    before = done(store.serve(key, said("rang again"), at(25), served_at=at(8)))
    after = done(store.serve(key, said("rang again"), at(25), served_at=at(12)))

    assert before is None
    assert after is not None and after.status is Status.SERVED


def test_a_request_that_is_too_old_at_the_end_expires(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store)
    close(store, begun, seconds=2 * 3600)

    (expired,) = done(store.expire(at(2 * 3600)))

    assert expired.id == last(store).id
    assert expired.reason == "too old; it was never called"


def test_the_limit_of_calls_holds_for_the_new_task(store: TaskStore) -> None:
    ask(store, 0)
    begun = begin(store)
    new = new_task(due_at=at(8.5))
    with pytest.raises(NotCallable):
        done(store.add(new, at(8.5), most_calls=1))

    close(store, begun)

    assert statuses(store) == ["completed"]


# -- the same call once more -----------------------------------------------


@pytest.mark.parametrize("over", [False, True])
def test_a_call_that_is_found_in_a_history_later_is_known(
    store: TaskStore, over: bool
) -> None:
    begun = talk(store)
    ask_in_sales(store)
    if over:
        close(store, begun)
    found = new_task(kind=Kind.MISSED, linkedid="17.2", due_at=at(9))

    known = done(store.add(found, at(30), once=True))

    assert known.known
    if not over:
        close(store, begun, seconds=40)
    assert statuses(store) == ["completed", "pending"]
    assert len(done(store.history(last(store).id))) == 1


# -- taken back ------------------------------------------------------------


def test_what_was_taken_back_in_the_talk_is_not_called(store: TaskStore) -> None:
    begun = talk(store)
    recorded = ask_in_sales(store)
    taken = done(store.take_back(begun.task.id, at(9), recorded.later_id))
    assert taken is not None and taken.status is Status.CALLING

    close(store, begun)

    assert statuses(store) == ["completed"]
    texts = [event.text for event in done(store.history(begun.task.id))]
    assert (
        "asked again, but the caller could not be told in time and is back in line"
        in texts
    )


def test_what_is_taken_back_after_the_talk_is_not_called(store: TaskStore) -> None:
    begun = talk(store)
    recorded = ask_in_sales(store)
    close(store, begun)

    taken = done(store.take_back(begun.task.id, at(22), recorded.later_id))

    assert taken is not None and taken.id == last(store).id
    assert statuses(store) == ["completed", "cancelled"]


def test_another_request_in_the_talk_stands_when_one_is_taken_back(
    store: TaskStore,
) -> None:
    begun = talk(store)
    first = ask_in_sales(store)
    ask(store, 12.5, linkedid="17.3")
    done(store.take_back(begun.task.id, at(13), first.later_id))

    close(store, begun)

    assert statuses(store) == ["completed", "pending"]
    assert last(store).linkedid == "17.3"


@pytest.mark.parametrize("over", [False, True])
def test_a_request_of_which_nobody_heard_whether_it_was_stored_is_taken_back(
    store: TaskStore, over: bool
) -> None:
    begun = talk(store)
    new = new_task(queue="sales", linkedid="17.2", due_at=at(8.5))
    done(store.add(new, at(8.5)))
    if over:
        close(store, begun)

    assert done(store.take_back_unheard(new, at(8.5), at(21))) is not None

    if not over:
        close(store, begun, seconds=40)
    assert "pending" not in statuses(store)


def test_who_hangs_up_in_line_after_a_request_was_taken_back_is_missed(
    store: TaskStore,
) -> None:
    begun = talk(store)
    recorded = ask_in_sales(store)
    done(store.take_back(begun.task.id, at(9), recorded.later_id))
    missed = new_task(kind=Kind.MISSED, linkedid="17.2", due_at=at(12.5))

    assert not done(store.add(missed, at(12.5), once=True)).known

    close(store, begun)
    assert statuses(store) == ["completed", "pending"]


# -- events ----------------------------------------------------------------


def test_queue_log_is_told_of_each_request_and_each_end_once(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store)
    close(store, begun)
    close(store, begin(store, "c2", 30), seconds=60)

    told = [
        (entry.word, entry.data[0], entry.queue, entry.uniqueid)
        for happening in done(store.events_after(0, 100)).events
        for entry in entries(happening)
    ]

    assert told == [
        (Word.REQUEST, "1", "support", "17.1"),
        (Word.REQUEST, "1", "support", "17.2"),
        (Word.ATTEMPT, "1", "support", "c1"),
        (Word.DONE, "1", "support", "17.1"),
        (Word.ATTEMPT, "2", "sales", "c2"),
        (Word.DONE, "2", "sales", "17.2"),
    ]


def test_a_new_spelling_of_the_queue_holds_for_the_request(store: TaskStore) -> None:
    begun = talk(store)
    ask_in_sales(store)
    done(store.respell(["Sales"]))

    close(store, begun)

    assert last(store).queue == "Sales"


def test_an_ended_task_keeps_its_reason_when_nothing_was_asked(
    store: TaskStore,
) -> None:
    ended = close(store, talk(store))
    assert ended == attrs.evolve(ended, why=said("it was ANSWERED"))
    assert ended.ended_at is not None
