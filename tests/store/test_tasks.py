# SPDX-License-Identifier: MIT
"""The store's operations, on every engine."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastagi.domain.agent_keys import (
    AgentAnswer,
    AgentKeyRules,
    AgentsToAsk,
    NoKey,
)
from fastagi.domain.attempt import Disposition, Verdict
from fastagi.domain.limits import CallLimits
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Code, because, said
from fastagi.domain.retry import ResultRule, RetryRules
from fastagi.domain.task import CallbackTask, IllegalMove, Kind, Move, Status
from fastagi.domain.turns import ANY_TURN, Turn
from fastagi.store import (
    attempts,
    events,
    lifecycle,
    migrate,
    requests,
    rows,
    settings_changes,
)
from fastagi.store.engine import Database
from fastagi.store.errors import AlreadyOpen, NoSuchTask, StaleTask, StoreUnavailable
from fastagi.store.results import BeginResult
from fastagi.store.schema import attempt as attempt_table
from fastagi.store.schema import task as task_table
from fastagi.store.schema import task_event as event_table
from fastagi.store.store import TaskAttempt, TaskStore
from tests.store.harness import NOW, RULES, at, done, new_task, verdict


def add(store: TaskStore, number_key: str = "100", seconds: float = 0, **changes):
    new = attrs.evolve(new_task(number_key), **changes)
    return done(store.add(new, at(seconds))).task


def begin(store: TaskStore, channel_id: str = "c1", seconds: float = 0) -> TaskAttempt:
    (begun,) = done(store.begin_attempts({"support"}, [channel_id], at(seconds))).begun
    return begun


def close(
    store: TaskStore,
    begun: TaskAttempt,
    disposition: str,
    seconds: float = 0,
    rules: RetryRules = RULES,
    **v,
):
    return done(
        store.close_attempt(
            begun.attempt.channel_id, verdict(disposition, **v), rules, at(seconds)
        )
    )


def story(store: TaskStore, task_id: int) -> list[tuple[str, str]]:
    return [(e.move.value, e.status.value) for e in done(store.history(task_id))]


def end_in(store: TaskStore, status: str):
    """Return a task with this final status."""
    task = add(store)
    match status:
        case "completed":
            return close(store, begin(store), "ANSWERED")
        case "failed":
            for n in range(RULES.attempts):
                task = close(store, begin(store, f"c{n}", n * 30), "BUSY", n * 30)
            return task
        case "expired":
            return done(store.expire(task.expires_at))[0]
        case "cancelled":
            return done(store.cancel(task.id, said("by hand"), NOW))
        case "served":
            return done(store.serve(task.number_key, said("rang again"), NOW))
    raise AssertionError(status)


ENDS = ["completed", "failed", "expired", "cancelled", "served"]

# -- asking ----------------------------------------------------------------


def test_a_request_is_kept_as_it_was_made(store: TaskStore) -> None:
    new = new_task(
        name='Jörg "der" Müller',
        language="de",
        linkedid="1712.5",
        joined_at=at(-90.123456),
        due_at=at(0.000001),
    )

    recorded = done(store.add(new, at(1)))

    assert recorded.created
    task = recorded.task
    assert done(store.find(task.id)) == task
    known = {field.name for field in attrs.fields(type(task))}
    asked = {field.name for field in attrs.fields(type(new))}
    # Values that decide whether and how the request is stored.
    assert asked - known == {"slot", "entered", "why_again"}
    for name in asked & known:
        assert getattr(task, name) == getattr(new, name), name
    assert task.created_at == at(1)
    assert (task.status, task.ended_at) == (Status.PENDING, None)
    assert (task.attempts, task.member_attempts) == (0, 0)
    assert (task.cancel_requested, task.served) == (False, False)
    (event,) = done(store.history(task.id))
    assert (event.move, event.status, event.at) == (
        Move.CREATE,
        Status.PENDING,
        at(1),
    )
    assert event.why == new.why
    assert event.attempt_id is None


def test_asking_again_keeps_the_place_and_makes_no_second_task(
    store: TaskStore,
) -> None:
    first = add(store, kind=Kind.MISSED, joined_at=at(-60), due_at=at(5))

    again = done(
        store.add(
            new_task(
                queue="sales",
                name="Ann",
                language="de",
                joined_at=at(10),
                due_at=at(10),
                expires_at=at(7200),
                why=said("pressed the key once more"),
            ),
            at(10),
        )
    )

    assert not again.created
    assert again.task == attrs.evolve(
        first,
        kind=Kind.REQUESTED,
        name="Ann",
        language="de",
        expires_at=at(7200),
        why=said("pressed the key once more"),
    )
    assert done(store.find(first.id)) == again.task
    assert story(store, first.id) == [("create", "pending"), ("repeat", "pending")]
    assert len(done(store.listing())) == 1


@pytest.mark.parametrize("first", list(Kind))
@pytest.mark.parametrize("second", list(Kind))
def test_a_task_becomes_a_requested_one_and_stays_so(
    store: TaskStore, first: Kind, second: Kind
) -> None:
    add(store, kind=first)

    expected = Kind.REQUESTED if second is Kind.REQUESTED else first
    assert add(store, kind=second).kind is expected


def test_asking_again_never_shortens_the_life_nor_changes_the_name(
    store: TaskStore,
) -> None:
    first = add(store, name="Ann", language="en", expires_at=at(3600))

    again = add(store, name="Bob", language="de", expires_at=at(60))

    assert (again.name, again.language) == ("Ann", "en")
    assert again.expires_at == first.expires_at


def test_asking_again_between_two_attempts_does_not_hasten_the_next(
    store: TaskStore,
) -> None:
    add(store)
    close(store, begin(store), "BUSY", 10)

    again = add(store, seconds=20, due_at=at(20))

    assert again.due_at == at(40)
    assert again.attempts == 1


def test_asking_again_while_being_called_leaves_the_attempt_alone(
    store: TaskStore,
) -> None:
    add(store)
    begun = begin(store)

    again = add(store, seconds=3)

    assert again.status is Status.CALLING
    assert story(store, again.id)[-1] == ("repeat", "calling")
    assert [b.attempt for b in done(store.open_attempts())] == [begun.attempt]


@pytest.mark.parametrize("how", ["cancel", "serve"])
def test_asking_again_is_newer_than_what_was_to_end_the_task(
    store: TaskStore, how: str
) -> None:
    task = add(store)
    begun = begin(store)
    if how == "cancel":
        done(store.cancel(task.id, said("by hand"), at(1)))
    else:
        done(store.serve(task.number_key, said("rang again"), at(1)))

    add(store, seconds=2)

    assert close(store, begun, "BUSY", 3).status is Status.PENDING


@pytest.mark.parametrize("status", ENDS)
def test_after_its_end_the_same_number_may_ask_anew(
    store: TaskStore, status: str
) -> None:
    ended = end_in(store, status)

    recorded = done(store.add(new_task(), at(9000)))

    assert recorded.created
    assert recorded.task.id != ended.id
    assert done(store.find(ended.id)) == ended


def test_a_call_taken_in_before_is_not_taken_in_once_more(store: TaskStore) -> None:
    task = add(store, linkedid="1712.5")
    add(store, linkedid="1712.9")
    ended = done(store.cancel(task.id, said("by hand"), at(1)))

    for linkedid in ("1712.5", "1712.9"):
        again = done(store.add(new_task(linkedid=linkedid), at(2), once=True))
        assert (again.created, again.task) == (False, ended)

    assert len(story(store, task.id)) == 3
    assert done(store.add(new_task(linkedid="1712.7"), at(3), once=True)).created


def test_once_says_nothing_of_other_numbers_and_of_calls_without_an_id(
    store: TaskStore,
) -> None:
    add(store, "100", linkedid="1712.5")
    done(store.cancel(add(store, "300", linkedid="").id, said("by hand"), NOW))

    for number, linkedid in [("200", "1712.5"), ("300", "")]:
        new = new_task(number, linkedid=linkedid)
        assert done(store.add(new, NOW, once=True)).created


_WORDS = st.text(max_size=20) | st.sampled_from(
    ["\x00", "J\udcf6rg", "'; DROP TABLE task; --", "%s {x} :name ?", "\r\nAction: x"]
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0), _WORDS, _WORDS, _WORDS)
def test_a_stranger_can_have_any_name(
    store: TaskStore, number: int, name: str, reason: str, step: str
) -> None:
    task = add(store, f"1{number}", name=name, why=said(reason), linkedid=step)

    def kept(words: str) -> str:
        return re.sub("[\x00\ud800-\udfff]", "\ufffd", words)

    try:
        assert done(store.find(task.id)) == task
        assert (task.name, task.reason) == (kept(name), kept(reason))
        begun = begin(store)
        done(store.progress(begun.attempt.channel_id, said(step), NOW, member=name))
        close(store, begun, "ANSWERED", why=said(reason))
        assert done(store.history(task.id))[2].text == kept(step)
        assert done(store.attempts(task.id))[0].member == kept(name)
    finally:
        done(store.cancel(task.id, said("x"), NOW)) if done(
            store.find(task.id)
        ).is_open else None
        done(store._database.run("clear", _forget_channels))


def _forget_channels(conn: sa.Connection) -> None:
    conn.execute(
        sa.update(attempt_table).values(channel_id=sa.cast(attempt_table.c.id, sa.Text))
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 31), timezones=st.just(UTC))
)
def test_a_time_comes_back_to_the_microsecond(
    store: TaskStore, moment: datetime
) -> None:
    task = add(store, joined_at=moment)

    try:
        assert done(store.find(task.id)).joined_at == moment
    finally:
        done(store.cancel(task.id, said("x"), NOW))


def test_a_time_without_a_zone_never_reaches_the_database(store: TaskStore) -> None:
    bare = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="without a zone"):
        done(store.add(new_task(), bare))
    assert done(store.listing()) == []

    task = add(store)
    begun = begin(store)
    for work in (
        store.progress(begun.attempt.channel_id, said("rings"), bare),
        store.close_attempt(begun.attempt.channel_id, verdict("BUSY"), RULES, bare),
        store.begin_attempts({"support"}, ["c2"], bare),
        store.expire(bare),
    ):
        with pytest.raises((ValueError, TypeError)):
            done(work)
    assert story(store, task.id) == [("create", "pending"), ("begin", "calling")]


# -- beginning -------------------------------------------------------------


def test_the_longest_in_line_is_called_first(store: TaskStore) -> None:
    for number, joined in [("1", 5), ("2", -5), ("3", 0), ("4", -5)]:
        add(store, number, joined_at=at(joined))

    begun = done(store.begin_attempts({"support"}, ["a", "b", "c"], at(10))).begun

    assert [b.task.number_key for b in begun] == ["2", "4", "3"]
    assert [b.attempt.channel_id for b in begun] == ["a", "b", "c"]
    rest = done(store.begin_attempts({"support"}, ["d", "e"], at(10))).begun
    assert [b.task.number_key for b in rest] == ["1"]
    assert done(store.begin_attempts({"support"}, ["f"], at(10))).begun == []


def test_what_a_begun_attempt_looks_like(store: TaskStore) -> None:
    task = add(store)

    begun = begin(store, "callback-7", 3)

    assert begun.task.status is Status.CALLING
    assert begun.task == done(store.find(task.id))
    assert begun.attempt.channel_id == "callback-7"
    assert begun.attempt.started_at == at(3)
    assert (begun.attempt.ended_at, begun.attempt.disposition) == (None, None)
    assert done(store.attempts(task.id)) == [begun.attempt]
    assert done(store.open_attempts()) == [begun]
    event = done(store.history(task.id))[-1]
    assert (event.move, event.status) == (Move.BEGIN, Status.CALLING)
    assert event.attempt_id == begun.attempt.id
    assert "callback-7" in event.text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (9.999999, False),
        (10, True),
        (10.000001, True),
        (59.999999, True),
        (60, False),
        (60.000001, False),
    ],
)
def test_a_task_is_due_from_one_instant_to_another(
    store: TaskStore, seconds: float, expected: bool
) -> None:
    add(store, due_at=at(10), expires_at=at(60))

    begun = done(store.begin_attempts({"support"}, ["c"], at(seconds))).begun

    assert bool(begun) is expected


def test_only_the_queues_named_are_called(store: TaskStore) -> None:
    add(store, "1", queue="sales")
    add(store, "2", queue="support")
    add(store, "3", queue="billing", joined_at=at(-1))

    begun = done(
        store.begin_attempts({"support", "billing"}, ["a", "b", "c"], NOW)
    ).begun

    assert [b.task.number_key for b in begun] == ["3", "2"]


def test_who_joined_too_late_is_not_called(store: TaskStore) -> None:
    add(store, "1", joined_at=at(-1))
    add(store, "2", joined_at=at(-5))

    begun = done(
        store.begin_attempts(
            {"support"}, ["a", "b"], NOW, last=Turn(at(-5).timestamp())
        )
    ).begun

    assert [b.task.number_key for b in begun] == ["2"]


def test_task_waits_as_long_as_only_agents_are_free_who_refused_it(
    store: TaskStore,
) -> None:
    rules = AgentKeyRules(
        later_delay=timedelta(minutes=5),
        later_times=3,
        cannot_pause=timedelta(minutes=10),
        no_key=NoKey.NO_ANSWER,
    )
    retry_rules = attrs.evolve(RULES, agent_keys=rules)
    for number in ("1", "2"):
        add(store, number, joined_at=at(int(number)))
    begin(store, "c1", 3)
    refusal = Verdict(
        disposition=Disposition.MEMBER_NO_ANSWER,
        talk_s=0.0,
        member="PJSIP/alice",
        why=because(Code.AGENT_CANNOT, who="PJSIP/alice"),
    )
    done(store.close_attempt("c1", refusal, retry_rules, at(5)))

    def begin_with(free: str, seconds: float, *channel_ids: str) -> BeginResult:
        agents = AgentsToAsk(
            rules=rules,
            free=frozenset({free}),
            logged_in=frozenset({"PJSIP/alice", "PJSIP/bob"}),
            in_line=False,
        )
        attempts = store.begin_attempts(
            {"support"}, channel_ids, at(seconds), agents={"support": agents}
        )
        return done(attempts)

    passed_over = begin_with("PJSIP/alice", 6, "c2", "c3")
    assert [one.task.number_key for one in passed_over.begun] == ["2"]
    assert passed_over.held_until == at(605)
    assert passed_over.held[1].why.code is Code.AGENTS_REFUSED
    (begun,) = begin_with("PJSIP/bob", 7, "c4").begun
    assert begun.task.number_key == "1"
    assert begun.answers == (AgentAnswer("PJSIP/alice", Code.AGENT_CANNOT, at(5)),)
    done(store.close_attempt("c4", refusal, retry_rules, at(8)))
    assert begin_with("PJSIP/alice", 607, "c5").begun == []
    (begun,) = begin_with("PJSIP/alice", 608, "c6").begun
    assert len(begun.answers) == 2


def test_higher_priority_is_called_first(store: TaskStore) -> None:
    for number, joined, priority in [
        ("1", -9, 0),
        ("2", -5, 5),
        ("3", -7, -1),
        ("4", -6, 5),
    ]:
        add(store, number, joined_at=at(joined), priority=priority)

    def begin_until(last: Turn, *channel_ids: str) -> list[str]:
        attempts = store.begin_attempts({"support"}, channel_ids, NOW, last=last)
        return [begun.task.number_key for begun in done(attempts).begun]

    assert begin_until(Turn(at(-5.5).timestamp(), 5), "a", "b") == ["4"]
    assert begin_until(Turn(at(-10).timestamp(), 0), "c", "d") == ["2"]
    assert begin_until(Turn(at(-8).timestamp(), 0), "e", "f") == ["1"]
    assert begin_until(Turn(at(-8).timestamp(), 0), "g") == []
    assert begin_until(ANY_TURN, "h") == ["3"]


def test_priority_is_kept_and_rises_with_a_later_request(store: TaskStore) -> None:
    task = add(store, priority=2)
    assert done(store.find(task.id)).priority == 2
    assert add(store, seconds=1, priority=1).priority == 2
    assert add(store, seconds=2, priority=7).priority == 7
    assert done(store.find(task.id)).priority == 7


def test_no_queue_or_no_channel_begins_nothing(store: TaskStore) -> None:
    add(store)

    assert done(store.begin_attempts(set(), ["c"], NOW)).begun == []
    assert done(store.begin_attempts({"support"}, [], NOW)).begun == []
    assert done(store.next_due(set(), NOW)) is None


def test_who_is_on_the_phone_with_us_is_not_called(store: TaskStore) -> None:
    add(store, "1")
    add(store, "2")

    begun = done(
        store.begin_attempts({"support"}, ["a", "b"], NOW, busy_keys={"1", "9"})
    ).begun

    assert [b.task.number_key for b in begun] == ["2"]


def test_a_channel_id_is_never_used_twice(store: TaskStore) -> None:
    add(store)
    close(store, begin(store, "c1"), "BUSY")

    with pytest.raises(sa.exc.IntegrityError):
        begin(store, "c1", 30)

    assert done(store.listing())[0].status is Status.PENDING
    assert done(store.open_attempts()) == []


# -- during ----------------------------------------------------------------


def test_the_steps_of_an_attempt_are_told_in_order(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store)

    done(store.progress(begun.attempt.channel_id, said("PJSIP/1 rings"), at(1)))
    done(
        store.progress(
            begun.attempt.channel_id, said("PJSIP/1 answered"), at(2), member="PJSIP/1"
        )
    )
    done(store.progress(begun.attempt.channel_id, said("dialling"), at(3)))

    told = done(store.history(task.id))[2:]
    assert [(e.text, e.at) for e in told] == [
        ("PJSIP/1 rings", at(1)),
        ("PJSIP/1 answered", at(2)),
        ("dialling", at(3)),
    ]
    assert {(e.move, e.status) for e in told} == {(Move.PROGRESS, Status.CALLING)}
    assert {e.attempt_id for e in told} == {begun.attempt.id}
    assert done(store.open_attempts())[0].attempt.member == "PJSIP/1"


def test_the_member_who_answered_is_remembered_at_the_end(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store)
    done(
        store.progress(
            begun.attempt.channel_id, said("answered"), at(1), member="PJSIP/1"
        )
    )

    close(store, begun, "BUSY", 2)

    assert done(store.attempts(task.id))[0].member == "PJSIP/1"


def test_a_step_told_too_late_is_void(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store)
    close(store, begun, "BUSY")
    before = done(store.history(task.id))

    with pytest.raises(StaleTask, match=f"attempt {begun.attempt.id}"):
        done(
            store.progress(
                begun.attempt.channel_id, said("late"), at(1), member="PJSIP/1"
            )
        )

    assert done(store.history(task.id)) == before
    assert done(store.attempts(task.id))[0].member == ""


# -- a database that was set back ------------------------------------------


def lost(begun: TaskAttempt) -> TaskAttempt:
    """Return an attempt of the same task that the database lacks."""
    return attrs.evolve(begun, attempt=attrs.evolve(begun.attempt, channel_id="lost"))


def test_lost_attempt_is_stored_again_under_its_channel_id(store: TaskStore) -> None:
    task = add(store)
    earlier = begin(store, "c1", 1)
    close(store, earlier, "WITHDRAWN", 2)
    restored = done(store.restore_attempt(lost(earlier), at(9)))
    assert restored is not None
    assert restored.anew
    (opened,) = done(store.open_attempts())
    assert opened.attempt == restored.attempt
    assert (opened.attempt.channel_id, opened.attempt.started_at) == ("lost", at(1))
    assert opened.task.id == task.id
    assert opened.task.status is Status.CALLING
    close(store, opened, "ANSWERED", 20)
    assert story(store, task.id)[-2:] == [
        ("begin", "calling"),
        ("complete", "completed"),
    ]


def test_attempt_that_is_there_is_not_stored_again(store: TaskStore) -> None:
    add(store)
    begun = begin(store)
    restored = done(store.restore_attempt(begun, at(9)))
    assert restored is not None
    assert (restored.attempt, restored.anew) == (begun.attempt, False)
    assert done(store.open_attempts()) == [begun]


@pytest.mark.parametrize(
    "changes", [{"created_at": at(1)}, {"number": "+200"}, {"id": 99}]
)
def test_attempt_of_a_lost_task_is_not_given_to_another(
    store: TaskStore, changes: dict
) -> None:
    """The id of the lost task may belong to another task now."""
    task = add(store)
    begun = begin(store)
    close(store, begun, "WITHDRAWN", 2)
    other = attrs.evolve(lost(begun), task=attrs.evolve(task, **changes))
    assert done(store.restore_attempt(other, at(9))) is None
    assert done(store.open_attempts()) == []


def test_attempt_is_not_stored_again_beside_another_or_after_the_end(
    store: TaskStore,
) -> None:
    task = add(store)
    begun = begin(store)
    assert done(store.restore_attempt(lost(begun), at(9))) is None
    close(store, begun, "ANSWERED", 10)
    assert done(store.restore_attempt(lost(begun), at(11))) is None
    assert story(store, task.id)[-1] == ("complete", "completed")


def test_attempt_with_the_id_of_a_lost_one_is_not_ended_for_it(
    store: TaskStore,
) -> None:
    add(store)
    begun = begin(store)
    with pytest.raises(NoSuchTask, match="lost"):
        close(store, lost(begun), "ANSWERED", 9)
    assert done(store.open_attempts()) == [begun]


# -- ending ----------------------------------------------------------------


def test_a_success_completes_the_task(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store, seconds=1)

    ended = close(
        store, begun, "ANSWERED", 20, member="PJSIP/1", talk_s=7.25, why=said("talked")
    )

    assert ended == done(store.find(task.id))
    assert (ended.status, ended.ended_at) == (Status.COMPLETED, at(20))
    assert (ended.attempts, ended.reason) == (1, "talked")
    (attempt,) = done(store.attempts(task.id))
    assert attempt == attrs.evolve(
        begun.attempt,
        ended_at=at(20),
        disposition=Disposition.ANSWERED,
        member="PJSIP/1",
        talk_s=7.25,
        why=said("talked"),
    )
    assert done(store.open_attempts()) == []
    assert story(store, task.id) == [
        ("create", "pending"),
        ("begin", "calling"),
        ("complete", "completed"),
    ]


def test_the_attempts_are_used_up_one_by_one_after_each_delay(
    store: TaskStore,
) -> None:
    task = add(store)
    moment = 0.0
    for used in (1, 2):
        begun = begin(store, f"c{used}", moment)
        task = close(store, begun, "NO ANSWER", moment + 12)
        assert (task.status, task.attempts) == (Status.PENDING, used)
        assert task.due_at == at(moment + 12 + 30)
        too_early = at(moment + 12 + 29.999999)
        assert done(store.begin_attempts({"support"}, ["early"], too_early)).begun == []
        moment += 42

    task = close(store, begin(store, "c3", moment), "NO ANSWER", moment + 12)

    assert (task.status, task.attempts) == (Status.FAILED, 3)
    assert task.ended_at == at(moment + 12)
    assert "all 3 attempts used up" in task.reason
    assert [e.move.value for e in done(store.history(task.id))] == [
        *["create", "begin", "retry", "begin", "retry", "begin", "give_up"]
    ]
    assert done(store.begin_attempts({"support"}, ["c4"], at(3000))).begun == []


def test_an_agent_who_does_not_answer_costs_no_attempt(store: TaskStore) -> None:
    add(store)

    task = close(store, begin(store), "MEMBER NO ANSWER", 10)

    assert (task.attempts, task.member_attempts) == (0, 1)
    assert task.due_at == at(17)


_TWICE_BUSY = attrs.evolve(
    RULES,
    attempts=9,
    member_attempts=9,
    by_result={Disposition.BUSY: ResultRule(attempts=2, delay=timedelta(0))},
)


def ends(store: TaskStore, *dispositions: str, since: float = 0) -> CallbackTask:
    """End attempts with these dispositions, one after another; return the task."""
    for n, disposition in enumerate(dispositions):
        seconds = since + n * 100
        begun = begin(store, f"c{seconds}", seconds)
        task = close(store, begun, disposition, seconds, _TWICE_BUSY)
    return task


def test_the_attempts_that_ended_in_one_way_are_counted_by_the_database(
    store: TaskStore,
) -> None:
    add(store)

    task = ends(store, "BUSY", "NO ANSWER", "MEMBER NO ANSWER", "NO ANSWER")
    assert task.status is Status.PENDING
    task = ends(store, "BUSY", since=1000)

    assert task.status is Status.FAILED
    assert task.reason == "it was BUSY; given up after 2 attempts that ended so"
    assert (task.attempts, task.member_attempts) == (4, 1)


def test_the_attempts_of_another_task_do_not_count(store: TaskStore) -> None:
    add(store, "1")
    assert ends(store, "BUSY", "BUSY").status is Status.FAILED
    add(store, "1", expires_at=at(9999))

    assert ends(store, "BUSY", since=500).status is Status.PENDING


def test_a_task_put_back_in_line_is_counted_from_there(store: TaskStore) -> None:
    task = add(store)
    ends(store, "BUSY", "MEMBER NO ANSWER", "BUSY")
    done(store.retry(task.id, said("by hand"), at(500), at(9999)))

    assert ends(store, "NO ANSWER", "BUSY", since=500).status is Status.PENDING
    assert ends(store, "BUSY", since=1000).status is Status.FAILED


def test_tries_without_an_agent_in_a_row_wait_longer_each_time(
    store: TaskStore,
) -> None:
    add(store)
    silent = "MEMBER NO ANSWER"

    assert ends(store, silent).due_at == at(7)
    assert ends(store, silent, since=100).due_at == at(114)
    assert ends(store, "NO ANSWER", silent, since=200).due_at == at(307)


def test_closing_twice_changes_nothing(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store)
    closed = close(store, begun, "BUSY")
    attempts, history = done(store.attempts(task.id)), story(store, task.id)

    with pytest.raises(StaleTask, match=f"attempt {begun.attempt.id}"):
        close(store, begun, "ANSWERED")

    assert done(store.find(task.id)) == closed
    assert done(store.attempts(task.id)) == attempts
    assert story(store, task.id) == history


def test_closing_the_earlier_attempt_does_not_touch_the_one_under_way(
    store: TaskStore,
) -> None:
    add(store)
    first = begin(store, "c1")
    close(store, first, "BUSY")
    second = begin(store, "c2", 30)

    with pytest.raises(StaleTask):
        close(store, first, "ANSWERED", 31)

    assert done(store.open_attempts()) == [second]


@pytest.mark.parametrize("disposition", [d.value for d in Disposition])
def test_every_disposition_can_be_stored(store: TaskStore, disposition: str) -> None:
    task = add(store)

    close(store, begin(store), disposition)

    assert done(store.attempts(task.id))[0].disposition == disposition


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(59.999999, "pending"), (60, "expired"), (60.000001, "expired")],
)
def test_a_waiting_task_expires_exactly_then(
    store: TaskStore, seconds: float, status: str
) -> None:
    task = add(store, expires_at=at(60))

    expired = done(store.expire(at(seconds)))

    now = done(store.find(task.id))
    assert now.status.value == status
    assert expired == ([now] if status == "expired" else [])
    assert (now.ended_at is not None) is (status == "expired")


def test_what_expired_says_what_was_tried(store: TaskStore) -> None:
    add(store, "1", expires_at=at(50))
    add(store, "2", expires_at=at(60), joined_at=at(1))
    first = begin(store, "c1")
    assert first.task.number_key == "1"
    close(store, first, "MEMBER NO ANSWER", 1)
    close(store, begin(store, "c2", 8), "BUSY", 8)
    second = begin(store, "c3", 9)
    close(store, second, "BUSY", 10)

    expired = done(store.expire(at(60)))

    assert [task.number_key for task in expired] == ["1", "2"]
    assert [task.status for task in expired] == [Status.EXPIRED] * 2
    assert "too old" in expired[0].reason
    assert story(store, expired[0].id)[-1] == ("expire", "expired")
    assert done(store.expire(at(61))) == []


def test_what_was_never_called_says_so_when_it_expires(store: TaskStore) -> None:
    add(store, expires_at=at(50))

    assert done(store.expire(at(50)))[0].reason == "too old; it was never called"


def test_a_task_being_called_does_not_expire_under_the_call(store: TaskStore) -> None:
    task = add(store, expires_at=at(60))
    begun = begin(store, seconds=59)

    assert done(store.expire(at(100))) == []
    assert done(store.next_expiry()) is None
    assert done(store.find(task.id)).status is Status.CALLING
    assert close(store, begun, "BUSY", 100).status is Status.EXPIRED


def test_a_request_that_may_be_stored_is_taken_back_if_it_is(store: TaskStore) -> None:
    new = new_task(linkedid="1800000000.1")
    task = done(store.add(new, at(1))).task
    taken = done(store.take_back_unheard(new, at(1), at(2)))
    assert taken is not None
    assert (taken.id, taken.status, taken.reason) == (
        task.id,
        Status.CANCELLED,
        "the caller could not be told in time and is back in line",
    )


def test_nothing_is_left_of_looking_for_what_was_not_stored(store: TaskStore) -> None:
    new = new_task(linkedid="1800000000.1")
    assert done(store.take_back_unheard(new, at(1), at(2))) is None
    assert done(store.listing()) == []


@pytest.mark.parametrize(
    "other", [{"linkedid": "1800000000.2"}, {"seconds": 2}], ids=["call", "moment"]
)
def test_what_was_stored_by_another_is_not_taken_back(
    store: TaskStore, other: dict[str, object]
) -> None:
    new = new_task(linkedid="1800000000.1")
    task = add(store, **{"linkedid": new.linkedid, "seconds": 1, **other})
    assert done(store.take_back_unheard(new, at(1), at(3))) is None
    assert done(store.find(task.id)) == task


def test_what_was_asked_for_again_is_not_taken_back_unheard(store: TaskStore) -> None:
    new = new_task(linkedid="1800000000.1")
    done(store.add(new, at(1)))
    done(store.add(new, at(2)))
    assert done(store.take_back_unheard(new, at(1), at(3))) is None
    assert [task.status for task in done(store.listing())] == [Status.PENDING]


def test_cancelling_a_waiting_task_ends_it_at_once(store: TaskStore) -> None:
    task = add(store)

    ended = done(store.cancel(task.id, said("the operator said so"), at(5)))

    assert (ended.status, ended.ended_at) == (Status.CANCELLED, at(5))
    assert ended.reason == "the operator said so"
    assert story(store, task.id)[-1] == ("cancel", "cancelled")


def test_cancelling_during_a_call_takes_effect_at_its_end(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store)

    noted = done(store.cancel(task.id, said("by hand"), at(1)))

    assert (noted.status, noted.cancel_requested) == (Status.CALLING, True)
    assert done(store.find(task.id)) == noted
    ended = close(store, begun, "BUSY", 2)
    assert ended.status is Status.CANCELLED
    assert [move for move, _ in story(store, task.id)][-2:] == [
        "cancel_later",
        "cancel",
    ]


def test_a_success_is_told_even_if_it_was_cancelled_meanwhile(
    store: TaskStore,
) -> None:
    task = add(store)
    begun = begin(store)
    done(store.cancel(task.id, said("by hand"), at(1)))

    assert close(store, begun, "ANSWERED", 9).status is Status.COMPLETED


def test_a_client_served_in_another_way_is_not_called(store: TaskStore) -> None:
    task = add(store)

    ended = done(store.serve("100", said("rang again and was answered"), at(5)))

    assert (ended.id, ended.status) == (task.id, Status.SERVED)
    assert ended.reason == "rang again and was answered"
    assert done(store.begin_attempts({"support"}, ["c"], at(6))).begun == []
    assert done(store.serve("100", said("once more"), at(7))) is None
    assert story(store, task.id)[-1] == ("serve", "served")


def test_a_client_served_during_an_attempt_is_not_called_again(
    store: TaskStore,
) -> None:
    task = add(store)
    begun = begin(store)

    noted = done(store.serve("100", said("rang again"), at(1)))

    assert (noted.status, noted.served) == (Status.CALLING, True)
    assert not done(store.add(new_task("100", linkedid="x"), at(1))).created
    done(store.serve("100", said("rang again"), at(2)))
    ended = close(store, begun, "CANCEL", 3)
    assert ended.status is Status.SERVED
    assert [move for move, _ in story(store, task.id)][-2:] == ["serve_later", "serve"]


def test_client_who_asked_after_being_served_is_still_called(
    store: TaskStore,
) -> None:
    add(store, seconds=10)

    assert done(store.serve("100", said("rang"), at(60), served_at=at(9))) is None
    assert done(store.listing())[0].status is Status.PENDING

    ended = done(store.serve("100", said("rang again"), at(61), served_at=at(11)))
    assert ended.status is Status.SERVED


def test_client_who_asked_again_after_being_served_is_still_called(
    store: TaskStore,
) -> None:
    add(store)
    add(store, seconds=20)

    assert done(store.serve("100", said("rang"), at(60), served_at=at(19))) is None
    assert done(store.serve("100", said("rang"), at(60), served_at=at(21))) is not None


def test_client_is_served_by_a_talk_after_the_clock_was_set_back(
    store: TaskStore,
) -> None:
    add(store, seconds=3700)

    rang, now = said("rang"), at(120)
    served = done(store.serve("100", rang, now, served_at=at(119), clock_at=now))

    assert served is not None
    assert served.status is Status.SERVED


def test_talk_before_the_clock_was_set_back_does_not_serve_who_asked_later(
    store: TaskStore,
) -> None:
    add(store, seconds=3700)

    assert done(store.serve("100", said("rang"), at(120), served_at=at(3690))) is None
    # Nor if the clock shows a later time again.
    assert done(store.serve("100", said("rang"), at(3650), served_at=at(3600))) is None


def test_request_that_was_stored_just_before_a_talk_that_came_first_stays(
    store: TaskStore,
) -> None:
    """A request goes before work that nobody waits for."""
    add(store, seconds=11)
    rang, now = said("rang"), at(10)

    assert done(store.serve("100", rang, now, served_at=now, clock_at=now)) is None


def test_client_asked_when_the_call_was_and_not_when_it_was_stored(
    store: TaskStore,
) -> None:
    add(store)
    add(store, seconds=50, linkedid="found later")
    asked_at = {"found later": at(10)}

    def serve(served_at: float) -> CallbackTask | None:
        return done(
            store.serve(
                "100", said("rang"), at(60), served_at=at(served_at), asked_at=asked_at
            )
        )

    assert serve(9) is None
    assert serve(11) is not None


def test_call_is_known_by_any_of_its_ids(store: TaskStore) -> None:
    first = add(store, linkedid="1.1")
    call = new_task("100", linkedid="1.2")

    known = done(store.add(call, at(1), once=True, ids=["1.3", "1.1"]))
    assert (known.known, known.created, known.task.id) == (True, False, first.id)
    again = done(store.add(call, at(2), once=True, ids=["1.3"]))
    assert (again.known, again.created) == (False, False)
    assert [move for move, _ in story(store, first.id)] == ["create", "repeat"]


def test_moments_are_kept_by_their_names(store: TaskStore) -> None:
    assert done(store.mark("heard until")) is None

    done(store.set_mark("heard until", at(1.25)))
    done(store.set_mark("other", at(5)))
    done(store.set_mark("heard until", at(2.5)))

    assert done(store.mark("heard until")) == at(2.5)
    assert done(store.mark("other")) == at(5)


def test_serving_a_number_nobody_waits_with_is_nothing(store: TaskStore) -> None:
    add(store, "100")

    assert done(store.serve("999", said("rang"), NOW)) is None
    assert done(store.listing())[0].status is Status.PENDING


# -- putting back in line --------------------------------------------------


def test_a_waiting_task_put_back_is_due_at_once(store: TaskStore) -> None:
    add(store, due_at=at(0), expires_at=at(3600))
    task = close(store, begin(store), "BUSY")
    assert task.due_at == at(30)

    again = done(store.retry(task.id, said("now, please"), at(2), at(1000)))

    assert again == attrs.evolve(task, due_at=at(2), why=said("now, please"))
    assert story(store, task.id)[-1] == ("reopen", "pending")
    assert done(store.find(task.id)) == again


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_an_ended_task_put_back_begins_from_zero(store: TaskStore, status: str) -> None:
    ended = end_in(store, status)

    again = done(store.retry(ended.id, said("try once more"), at(5000), at(9000)))

    assert again == attrs.evolve(
        ended,
        status=Status.PENDING,
        due_at=at(5000),
        expires_at=at(9000),
        ended_at=None,
        attempts=0,
        member_attempts=0,
        why=said("try once more"),
    )
    assert done(store.find(ended.id)) == again
    assert begin(store, "again", 5000).task.id == ended.id


def test_a_cancelled_call_put_back_forgets_the_cancel(store: TaskStore) -> None:
    task = add(store)
    begun = begin(store)
    done(store.cancel(task.id, said("by hand"), at(1)))
    close(store, begun, "BUSY", 2)

    again = done(store.retry(task.id, said("after all"), at(3), at(1000)))

    assert not again.cancel_requested
    assert close(store, begin(store, "c2", 3), "BUSY", 4).status is Status.PENDING


@pytest.mark.parametrize("status", ["completed", "served"])
def test_what_is_done_can_not_be_put_back(store: TaskStore, status: str) -> None:
    ended = end_in(store, status)

    with pytest.raises(IllegalMove):
        done(store.retry(ended.id, said("again"), at(100), at(1000)))

    assert done(store.find(ended.id)) == ended


def test_what_is_being_called_can_not_be_put_back(store: TaskStore) -> None:
    begun = begin(store) if add(store) else None

    with pytest.raises(IllegalMove):
        done(store.retry(begun.task.id, said("again"), at(100), at(1000)))


def test_two_open_tasks_of_one_number_can_not_be_made_by_hand_either(
    store: TaskStore,
) -> None:
    ended = end_in(store, "cancelled")
    other = add(store)

    with pytest.raises(AlreadyOpen, match=f"task {other.id}") as caught:
        done(store.retry(ended.id, said("again"), at(1), at(1000)))

    assert caught.value.task_id == other.id
    assert done(store.find(ended.id)) == ended


@pytest.mark.parametrize("status", ENDS)
def test_an_ended_task_can_not_be_cancelled(store: TaskStore, status: str) -> None:
    ended = end_in(store, status)
    before = story(store, ended.id)

    with pytest.raises(IllegalMove):
        done(store.cancel(ended.id, said("too late"), at(9000)))

    assert done(store.find(ended.id)) == ended
    assert story(store, ended.id) == before


# -- queries ---------------------------------------------------------------


def test_what_is_not_there(store: TaskStore) -> None:
    assert done(store.find(7)) is None
    for work in (
        store.history(7),
        store.attempts(7),
        store.cancel(7, said("x"), NOW),
        store.retry(7, said("x"), NOW, at(1)),
        store.progress("c7", said("x"), NOW),
        store.close_attempt("c7", verdict("BUSY"), RULES, NOW),
    ):
        with pytest.raises(NoSuchTask, match="7"):
            done(work)


def test_when_the_next_task_is_due(store: TaskStore) -> None:
    assert done(store.next_due({"support"}, NOW)) is None
    add(store, "1", due_at=at(30))
    add(store, "2", due_at=at(20), queue="sales")
    add(store, "3", due_at=at(10), expires_at=at(60))
    add(store, "4", due_at=at(5))
    begin(store, "c", 5)

    assert done(store.next_due({"support"}, at(5))) == at(10)
    assert done(store.next_due({"support", "sales"}, at(59.999999))) == at(10)
    assert done(store.next_due({"support", "sales"}, at(60))) == at(20)
    assert done(store.next_due({"support"}, at(60))) == at(30)
    assert done(store.next_due({"support"}, at(5), busy_keys={"3"})) == at(30)
    assert done(store.next_due({"support"}, at(5), busy_keys={"1", "3"})) is None


def test_when_the_next_task_expires(store: TaskStore) -> None:
    assert done(store.next_expiry()) is None
    add(store, "1", expires_at=at(30))
    task = add(store, "2", expires_at=at(20))

    assert done(store.next_expiry()) == at(20)
    done(store.cancel(task.id, said("x"), NOW))
    assert done(store.next_expiry()) == at(30)


def test_the_attempts_under_way_are_listed_with_their_tasks(store: TaskStore) -> None:
    add(store, "1")
    add(store, "2", joined_at=at(1))
    first, second = done(store.begin_attempts({"support"}, ["a", "b"], at(2))).begun

    assert done(store.open_attempts()) == [first, second]
    close(store, first, "BUSY")
    assert done(store.open_attempts()) == [second]


def test_tasks_are_listed_newest_first_by_what_is_asked(store: TaskStore) -> None:
    one = add(store, "1")
    two = add(store, "2", queue="sales")
    done(store.cancel(one.id, said("x"), NOW))
    three = add(store, "1")

    def ids(**wanted) -> list[int]:
        return [task.id for task in done(store.listing(**wanted))]

    assert ids() == [three.id, two.id, one.id]
    assert ids(limit=2) == [three.id, two.id]
    assert ids(queue="support") == [three.id, one.id]
    assert ids(number_key="1") == [three.id, one.id]
    assert ids(number_key="1", statuses={Status.CANCELLED}) == [one.id]
    assert ids(statuses=[Status.PENDING, Status.CALLING]) == [three.id, two.id]
    assert ids(statuses=[]) == []


def test_tasks_are_counted_by_status(store: TaskStore) -> None:
    assert done(store.counts()) == dict.fromkeys(Status, 0)
    add(store, "1")
    add(store, "2")
    begin(store)
    done(store.cancel(add(store, "3").id, said("x"), NOW))

    assert done(store.counts()) == dict.fromkeys(Status, 0) | {
        Status.PENDING: 1,
        Status.CALLING: 1,
        Status.CANCELLED: 1,
    }


def test_open_tasks_are_counted_by_queue(store: TaskStore) -> None:
    assert done(store.open_by_queue()) == {}
    add(store, "1")
    add(store, "2", queue="sales")
    begin(store)
    add(store, "3", queue="sales")
    done(store.cancel(add(store, "4").id, said("x"), NOW))
    done(store.cancel(add(store, "5", queue="gone").id, said("x"), NOW))

    assert done(store.open_by_queue()) == {"support": 1, "sales": 2}


def test_a_database_without_tables_does_not_answer(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        migrate.backend_for(empty_url).create()
    database = Database(empty_url, deliver=None)

    with pytest.raises(StoreUnavailable, match="callback-queue db upgrade"):
        done(TaskStore(database).find(1))

    done(database.close())


# -- constraints of the database -------------------------------------------


def _row(**changes):
    def insert(conn: sa.Connection) -> None:
        values = {
            "kind": "requested",
            "status": "pending",
            "number": "1",
            "number_key": "1",
            "name": "",
            "language": "",
            "queue": "q",
            "linkedid": "",
            "joined_at": 0.0,
            "created_at": 0.0,
            "due_at": 0.0,
            "expires_at": 0.0,
            "ended_at": None,
            "attempts": 0,
            "member_attempts": 0,
            "reason_params": "{}",
            "cancel_requested": False,
            "served": False,
        }
        conn.execute(sa.insert(task_table), values | changes)

    return insert


def test_the_row_that_all_refused_rows_are_made_of_is_taken(
    database: Database,
) -> None:
    database.run_now("insert", _row())


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "other"},
        {"status": "other"},
        {"status": "completed"},
        {"ended_at": 1.0},
        {"number": ""},
        {"number_key": ""},
        {"attempts": -1},
        {"member_attempts": -1},
        {"due_at": None},
        {"queue": None},
    ],
)
def test_a_row_that_can_not_be_true_is_refused(
    database: Database, changes: dict[str, object]
) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        database.run_now("insert", _row(**changes))


def test_a_second_open_row_of_a_number_is_refused(database: Database) -> None:
    database.run_now("insert", _row(status="calling"))
    database.run_now("insert", _row(status="served", ended_at=1.0))

    with pytest.raises(sa.exc.IntegrityError):
        database.run_now("insert", _row())


def test_a_second_attempt_under_way_is_refused(
    database: Database, store: TaskStore
) -> None:
    task = add(store)
    begin(store)

    def insert(conn: sa.Connection) -> None:
        conn.execute(
            sa.insert(attempt_table),
            {
                "task_id": task.id,
                "channel_id": "c2",
                "started_at": 0.0,
                "member": "",
                "talk_s": 0.0,
                "reason_params": "{}",
            },
        )

    with pytest.raises(sa.exc.IntegrityError):
        database.run_now("insert", insert)


def test_an_attempt_without_a_task_is_refused(database: Database) -> None:
    def insert(conn: sa.Connection) -> None:
        rows.insert_row(
            conn,
            sa.insert(attempt_table),
            {
                "task_id": 77,
                "channel_id": "c",
                "started_at": 0.0,
                "member": "",
                "talk_s": 0.0,
                "reason_params": "{}",
            },
        )

    with pytest.raises(sa.exc.IntegrityError):
        database.run_now("insert", insert)


def test_history_can_not_be_rewritten(database: Database, store: TaskStore) -> None:
    task = add(store)

    def rewrite(conn: sa.Connection) -> None:
        conn.execute(sa.update(event_table).values(reason_params="{}"))

    def erase(conn: sa.Connection) -> int:
        return conn.execute(sa.delete(event_table)).rowcount

    for change in (rewrite, erase):
        with pytest.raises(sa.exc.IntegrityError, match="only ever added to"):
            database.run_now("change", change)
    done(store.cancel(task.id, said("x"), NOW))

    def backdate(conn: sa.Connection) -> None:
        conn.execute(sa.update(event_table).values(at=event_table.c.at - 1))

    def replace_call(conn: sa.Connection) -> None:
        conn.execute(sa.update(event_table).values(linkedid="another"))

    # Of an ended task only numbers and names may be erased.
    for change in (backdate, replace_call):
        with pytest.raises(sa.exc.IntegrityError, match="only ever added to"):
            database.run_now("change", change)
    database.run_now("change", rewrite)
    assert len(done(store.history(task.id))) == 2

    # Events of an ended task may be deleted on purpose.
    assert database.run_now("change", erase) == 2


def test_a_task_with_a_history_can_not_be_deleted(
    database: Database, store: TaskStore
) -> None:
    add(store)

    with pytest.raises(sa.exc.IntegrityError):
        database.run_now(
            "delete", lambda conn: conn.execute(sa.delete(task_table)).rowcount
        )


def test_a_task_that_moved_meanwhile_is_stale(database: Database) -> None:
    """In addition to the locks, the WHERE clause checks the status."""
    store = TaskStore(database)
    task = add(store)
    done(store.cancel(task.id, said("x"), NOW))

    with pytest.raises(StaleTask, match=f"task {task.id} is not pending any more"):
        database.run_now(
            "move",
            lambda conn: events.move_task(conn, task, Move.EXPIRE, NOW, said("late")),
        )

    assert len(done(store.history(task.id))) == 2


def test_the_first_in_line_is_found_without_reading_all_tasks(
    sqlite_url: str,
) -> None:
    database = Database(sqlite_url, deliver=None)

    def plan(conn: sa.Connection, query: sa.Select, values: dict[str, object]) -> str:
        seen = []

        def note(_conn, _cursor, statement, parameters, *_) -> None:
            seen.append((statement, parameters))

        sa.event.listen(conn, "before_cursor_execute", note)
        conn.execute(query, values).all()
        sa.event.remove(conn, "before_cursor_execute", note)
        (statement, parameters), *_ = seen
        rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return " ".join(row.detail for row in rows)

    due = {
        "queues": ["a", "b"],
        "lines": '["a", "b"]',
        "busy_keys": ["x"],
        "held": [],
        "one_waits": True,
        "unknown": ["a"],
        "ask_alone": ["PJSIP/bob"],
        "now": 1.0,
        "priority": 0,
        "joined_until": 1e12,
        "chosen_first": True,
        "most": 3,
    }
    assert "ix_task_queue_status_due_at" in database.run_now(
        "plan", plan, attempts._FIRST, due
    )
    assert "USING COVERING INDEX ix_task_queue_status_due_at" in database.run_now(
        "plan", plan, attempts._COUNT_DUE, {**due, "most_counted": 5}
    )
    first = database.run_now("plan", plan, attempts._FIRST_OF_MANY["sqlite"], due)
    assert "USING INDEX ix_task_pending_turn (queue=? AND <expr>=?)" in first
    assert "SEARCH task USING INTEGER PRIMARY KEY" in first
    assert "uq_task_open_number_key" in database.run_now(
        "plan", plan, rows.LOCK_OPEN_BY_KEY, {"number_key": "1"}
    )
    assert "ix_task_pending_expires_at" in database.run_now(
        "plan", plan, lifecycle._NEXT_EXPIRY, {}
    )
    assert "ix_task_pending_expires_at" in database.run_now(
        "plan", plan, settings_changes._PUT_OFF, {"now": 1.0}
    )
    assert "ix_task_event_linkedid" in database.run_now(
        "plan", plan, requests._BY_CALL, {"linkedids": ["x"], "number_key": "1"}
    )
    assert "SCAN" not in database.run_now(
        "plan", plan, requests._BY_CALL, {"linkedids": ["x", "y"], "number_key": "1"}
    )
    done(database.close())


def test_a_delay_is_counted_from_the_end_of_the_attempt(store: TaskStore) -> None:
    add(store)

    task = close(store, begin(store, seconds=5), "BUSY", 105.5)

    assert task.due_at - at(105.5) == timedelta(seconds=30)


# -- after a change of the number plan -------------------------------------


#: In Russia +7 and 8 mean the same.
RUSSIAN: Final = NumberPlan("RU")


def test_open_tasks_get_the_keys_their_numbers_have_now(store: TaskStore) -> None:
    task = add(store, "89031234567", number="89031234567")

    assert done(store.rekey(RUSSIAN, at(1))) == []

    found = done(store.find(task.id))
    assert (found.number, found.number_key) == ("89031234567", "79031234567")
    assert add(store, "79031234567", 2).id == task.id


def test_of_two_tasks_of_one_client_the_first_in_line_stays(store: TaskStore) -> None:
    later = add(store, "79031234567", number="+79031234567", joined_at=at(-10))
    earlier = add(store, "89031234567", number="89031234567", joined_at=at(-60))

    (ended,) = done(store.rekey(RUSSIAN, at(1)))

    assert (ended.id, ended.status) == (later.id, Status.CANCELLED)
    assert f"task {earlier.id}" in ended.reason
    assert story(store, later.id)[-1] == ("cancel", "cancelled")
    assert done(store.find(earlier.id)).number_key == "79031234567"


def test_of_two_tasks_of_one_client_the_one_being_called_stays(
    store: TaskStore,
) -> None:
    calling = add(store, "89031234567", number="89031234567", joined_at=at(-10))
    begin(store)
    waiting = add(store, "79031234567", number="+79031234567", joined_at=at(-60))

    (ended,) = done(store.rekey(RUSSIAN, at(1)))

    assert ended.id == waiting.id
    assert done(store.find(calling.id)).number_key == "79031234567"


def test_two_tasks_of_one_client_that_are_both_being_called_are_left_alone(
    store: TaskStore,
) -> None:
    first, second = (
        add(store, "89031234567", number="89031234567"),
        add(store, "79031234567", number="+79031234567"),
    )
    begin(store, "c1")
    begin(store, "c2")

    assert done(store.rekey(RUSSIAN, at(1))) == []

    keys = {done(store.find(task.id)).number_key for task in (first, second)}
    assert len(keys) == 2


def test_keys_can_change_places(store: TaskStore) -> None:
    one = add(store, "200", number="100")
    two = add(store, "100", number="200")

    assert done(store.rekey(NumberPlan(), at(1))) == []

    assert done(store.find(one.id)).number_key == "100"
    assert done(store.find(two.id)).number_key == "200"


def test_ended_tasks_keep_their_keys(store: TaskStore) -> None:
    task = add(store, "89031234567", number="89031234567")
    done(store.cancel(task.id, said("by hand"), NOW))
    assert done(store.rekey(RUSSIAN, at(1))) == []
    assert done(store.find(task.id)).number_key == task.number_key


def test_the_open_tasks_of_many_clients_are_read(store: TaskStore) -> None:
    expected = {add(store, str(number)).id for number in range(100, 1300, 2)}
    ended = add(store, "99")
    done(store.cancel(ended.id, said("no"), NOW))
    wanted = [str(number) for number in range(99, 1300)]
    found = done(store.open_tasks_of(wanted))
    assert {task.id for task in found} == expected
    assert len(found) == len(expected)
    assert done(store.open_tasks_of([])) == []


@pytest.mark.parametrize("queue", ['Büro "1"', "O'Neill\\", "{поддержка}", "%s", " "])
def test_a_task_is_found_whatever_the_name_of_its_queue(
    store: TaskStore, queue: str
) -> None:
    task = add(store, queue=queue)
    assert done(store.begin_attempts({queue.swapcase() + "x"}, ["c1"], NOW)).begun == []
    (begun,) = done(store.begin_attempts({"other", queue}, ["c1"], NOW)).begun
    assert begun.task.id == task.id


@pytest.mark.parametrize("chosen_first", [False, True])
def test_many_due_tasks_are_begun_in_the_same_order_as_few(
    database: Database,
    store: TaskStore,
    chosen_first: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(60):
        add(
            store,
            str(100 + number),
            queue=("support", "sales", "other")[number % 3],
            joined_at=at(number * 37 % 60 // 2 - 60),
            priority=number % 2,
            due_at=at(0 if number % 7 else 10),
        )

    def change(conn: sa.Connection) -> None:
        for column, value, rest in (
            ("place_at", "joined_at - 40", 5),
            ("place_priority", "2", 11),
            ("chosen_at", "joined_at", 4),
            ("place_chosen", "false", 8),
            ("place_chosen", "true", 13),
        ):
            conn.execute(
                sa.text(f"UPDATE task SET {column} = {value} WHERE id % {rest} = 0")
            )

    database.run_now("change", change)

    class Done(Exception):
        pass

    def ids(conn: sa.Connection, found: list[int]) -> None:
        """Begin all that are due, and undo it."""
        channels = [f"c{number}" for number in range(100)]
        begun = attempts.begin_attempts(
            conn,
            ["sales", "support"],
            channels,
            ["105"],
            at(1),
            CallLimits(),
            {},
            ANY_TURN,
            chosen_first,
            {},
            "",
        ).begun
        found += [one.task.id for one in begun]
        raise Done

    few = attempts._FIRST
    orders: list[list[int]] = []
    for many in (0, 1000):
        monkeypatch.setattr(attempts, "_MANY", many)
        # What is used if the other statement finds nothing finds nothing either.
        monkeypatch.setattr(attempts, "_FIRST", few if many else few.where(sa.false()))
        orders.append([])
        with pytest.raises(Done):
            database.run_now("begin", ids, orders[-1])
    assert orders[0] == orders[1]
    assert len(orders[0]) > 25
