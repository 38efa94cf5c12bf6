# SPDX-License-Identifier: MIT
"""The next move of a task after an attempt: every disposition, every limit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from fastagi.domain.attempt import Disposition, Verdict
from fastagi.domain.reason import said
from fastagi.domain.retry import (
    Decision,
    ResultRule,
    RetryRules,
    decide,
    is_called_again,
)
from fastagi.domain.task import Move, Status, after
from tests.unit.tasks import NOW, a_task

RULES = RetryRules(
    attempts=3,
    retry_delay=timedelta(seconds=30),
    success_duration_s=5.0,
    member_attempts=4,
    member_retry_delay=timedelta(seconds=7),
)
TASK = a_task(status=Status.CALLING, expires_at=NOW + timedelta(hours=1), why=said(""))
FREE = {"MEMBER NO ANSWER", "NOT PLACED"}
COSTLY = {d.value for d in Disposition} - FREE - {"ANSWERED", "WITHDRAWN"}


def verdict(disposition: str) -> Verdict:
    return Verdict(
        disposition=Disposition(disposition),
        talk_s=0.0,
        member="",
        why=said("its reason"),
    )


def after_attempts(
    disposition: str, *earlier: str, rules: RetryRules = RULES
) -> Decision:
    """Decide after an attempt with such a disposition and others before it."""
    ends = [Disposition(end) for end in earlier]
    costly = sum(end.value in COSTLY for end in ends)
    task = attrs.evolve(TASK, attempts=costly, member_attempts=len(ends) - costly)
    return decide(task, verdict(disposition), rules, NOW, ends)


def in_s(decision: Decision) -> float:
    """Return the delay of a retry in seconds."""
    assert decision.due_at is not None, decision
    return (decision.due_at - NOW).total_seconds()


@pytest.mark.parametrize("disposition", [d.value for d in Disposition])
def test_which_dispositions_cost_the_caller_an_attempt(disposition: str) -> None:
    judged = verdict(disposition)

    assert judged.counts is (disposition not in {*FREE, "WITHDRAWN"})
    assert judged.success is (disposition == "ANSWERED")


@pytest.mark.parametrize("disposition", sorted(COSTLY))
@pytest.mark.parametrize(
    ("used", "move", "delay_s"), [(0, "retry", 30), (1, "retry", 30), (2, "give_up", 0)]
)
def test_a_failed_call_is_tried_again_until_the_attempts_are_used_up(
    disposition: str, used: int, move: str, delay_s: int
) -> None:
    # Many tries without an agent do not shorten the caller's own attempts.
    task = attrs.evolve(TASK, attempts=used, member_attempts=99)

    decision = decide(task, verdict(disposition), RULES, NOW, ())

    assert decision.move.value == move
    assert "its reason" in decision.reason
    if move == "retry":
        assert decision.due_at == NOW + timedelta(seconds=delay_s)
    else:
        assert decision.due_at is None
        assert "all 3 attempts used up" in decision.reason


@pytest.mark.parametrize("disposition", sorted(FREE))
@pytest.mark.parametrize(
    ("used", "move"), [(0, "retry"), (2, "retry"), (3, "give_up"), (9, "give_up")]
)
def test_an_agent_who_does_not_answer_costs_the_caller_nothing(
    disposition: str, used: int, move: str
) -> None:
    task = attrs.evolve(TASK, attempts=2, member_attempts=used)

    decision = decide(task, verdict(disposition), RULES, NOW, ())

    assert decision.move.value == move
    if move == "retry":
        assert in_s(decision) == 7
    else:
        assert decision.due_at is None
        assert "all 4 tries to reach an agent used up" in decision.reason


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("late_s", [-1, 0, 1])
@pytest.mark.parametrize("used", [0, 2, 50])
def test_a_success_is_a_success_whatever_else_happened(
    served: bool, cancelled: bool, late_s: int, used: int
) -> None:
    task = attrs.evolve(
        TASK,
        served=served,
        cancel_requested=cancelled,
        attempts=used,
        expires_at=NOW - timedelta(seconds=late_s),
    )

    decision = decide(task, verdict("ANSWERED"), RULES, NOW, ())

    assert (decision.move, decision.due_at) == (Move.COMPLETE, None)
    assert decision.reason == "its reason"


@pytest.mark.parametrize("disposition", sorted(COSTLY | FREE))
@pytest.mark.parametrize(
    ("served", "cancelled", "left_us", "move"),
    [
        (True, True, -1, "serve"),
        (True, False, 1, "serve"),
        (False, True, -1, "cancel"),
        (False, True, 1, "cancel"),
        (False, False, -1, "expire"),
        (False, False, 0, "expire"),
        (False, False, 1, "retry"),
    ],
)
def test_what_ends_a_task_before_its_attempts_are_used_up(
    disposition: str, served: bool, cancelled: bool, left_us: int, move: str
) -> None:
    task = attrs.evolve(
        TASK,
        served=served,
        cancel_requested=cancelled,
        expires_at=NOW + timedelta(microseconds=left_us),
    )

    decision = decide(task, verdict(disposition), RULES, NOW, ())

    assert decision.move.value == move
    assert "its reason" in decision.reason
    assert (decision.due_at is None) is (move != "retry")


def test_a_task_served_meanwhile_keeps_the_words_of_who_served_it() -> None:
    task = attrs.evolve(TASK, served=True, why=said("rang again, alice answered"))

    decision = decide(task, verdict("CANCEL"), RULES, NOW, ())

    assert decision.reason == (
        "rang again, alice answered; the attempt under way: its reason"
    )


@pytest.mark.parametrize("disposition", [d.value for d in Disposition])
@pytest.mark.parametrize("used", range(5))
def test_every_decision_is_a_legal_move_that_ends_the_task_or_sets_a_time(
    disposition: str, used: int
) -> None:
    task = attrs.evolve(TASK, attempts=used, member_attempts=used)

    decision = decide(task, verdict(disposition), RULES, NOW, ())

    status = after(Status.CALLING, decision.move)
    assert (decision.due_at is not None) is (status is Status.PENDING)
    assert decision.reason


# -- agents who do not answer ----------------------------------------------


def test_agents_who_do_not_answer_are_rung_ever_more_seldom() -> None:
    rules = attrs.evolve(RULES, member_attempts=99)
    silent = "MEMBER NO ANSWER"

    delays = [
        in_s(after_attempts(silent, *[silent] * n, rules=rules)) for n in range(4)
    ]

    assert delays == [7, 14, 21, 28]


def test_once_an_agent_has_answered_the_pauses_begin_anew() -> None:
    rules = attrs.evolve(RULES, member_attempts=99, attempts=99)
    silent = "MEMBER NO ANSWER"

    assert in_s(after_attempts(silent, silent, silent, "BUSY", rules=rules)) == 7
    assert in_s(after_attempts(silent, silent, "BUSY", "NOT PLACED", rules=rules)) == 14


def test_an_attempt_that_we_withdrew_is_as_if_it_had_not_been() -> None:
    rules = attrs.evolve(RULES, member_attempts=1)

    decision = after_attempts("WITHDRAWN", rules=rules)

    assert (decision.move, decision.due_at) == (Move.RETRY, NOW)
    assert decision.reason == "its reason"


# -- what is different by result -------------------------------------------

BY_RESULT = attrs.evolve(
    RULES,
    attempts=6,
    by_result={
        Disposition.BUSY: ResultRule(attempts=2, delay=timedelta(seconds=300)),
        Disposition.NO_ANSWER: ResultRule(delay=timedelta(seconds=1800)),
        Disposition.CONGESTION: ResultRule(attempts=3),
        Disposition.INVALID_NUMBER: ResultRule(attempts=1),
        Disposition.SHORT: ResultRule(delay=timedelta(0)),
    },
)


@pytest.mark.parametrize(
    ("disposition", "delay_s"),
    [
        ("BUSY", 300),
        ("NO ANSWER", 1800),
        ("CONGESTION", 30),
        ("SHORT", 0),
        ("CANCEL", 30),
        ("UNAVAILABLE", 30),
    ],
)
def test_each_result_has_its_own_delay(disposition: str, delay_s: float) -> None:
    assert in_s(after_attempts(disposition, rules=BY_RESULT)) == delay_s


def test_a_result_is_counted_apart_from_the_others() -> None:
    decision = after_attempts("BUSY", "NO ANSWER", "CONGESTION", rules=BY_RESULT)
    assert decision.move is Move.RETRY

    decision = after_attempts("BUSY", "BUSY", "NO ANSWER", rules=BY_RESULT)
    assert decision.move is Move.GIVE_UP
    assert decision.reason == "its reason; given up after 2 attempts that ended so"


def test_a_number_that_does_not_exist_is_not_tried_again() -> None:
    decision = after_attempts("INVALID NUMBER", rules=BY_RESULT)

    assert (decision.move, decision.due_at) == (Move.GIVE_UP, None)
    assert decision.reason == "its reason; not tried again"


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, True),
        ({"attempts": RULES.attempts - 2}, True),
        ({"attempts": RULES.attempts - 1}, False),
        # The next call would come too late.
        ({"expires_at": NOW + RULES.retry_delay}, False),
        ({"expires_at": NOW + RULES.retry_delay + timedelta(seconds=1)}, True),
    ],
)
def test_whether_a_client_is_certainly_called_again(
    changes: dict[str, Any], again: bool
) -> None:
    task = attrs.evolve(TASK, expires_at=NOW + timedelta(days=1))
    task = attrs.evolve(task, **changes)
    assert is_called_again(task, Disposition.SHORT, RULES, NOW) is again


def test_client_may_not_be_called_again_after_the_last_call_with_this_result() -> None:
    rules = attrs.evolve(RULES, by_result={Disposition.SHORT: ResultRule(attempts=1)})
    task = attrs.evolve(TASK, expires_at=NOW + timedelta(days=1))
    assert not is_called_again(task, Disposition.SHORT, rules, NOW)
    assert is_called_again(task, Disposition.BUSY, rules, NOW)


def test_the_attempts_bound_all_results_together() -> None:
    earlier = ["CONGESTION", "NO ANSWER", "NO ANSWER", "SHORT", "CONGESTION"]

    assert after_attempts("SHORT", *earlier[1:], rules=BY_RESULT).move is Move.RETRY
    decision = after_attempts("SHORT", *earlier, rules=BY_RESULT)

    assert decision.move is Move.GIVE_UP
    assert decision.reason == "all 6 attempts used up; its reason"


def test_tries_without_an_agent_are_no_calls_that_ended_so() -> None:
    earlier = ["MEMBER NO ANSWER", "NOT PLACED", "MEMBER NO ANSWER"]

    assert after_attempts("BUSY", *earlier, rules=BY_RESULT).move is Move.RETRY


def test_a_success_and_an_end_from_outside_come_before_any_result() -> None:
    task = attrs.evolve(TASK, served=True, why=said("rang again"))
    decision = decide(task, verdict("INVALID NUMBER"), BY_RESULT, NOW, ())
    assert decision.move is Move.SERVE
    assert after_attempts("ANSWERED", rules=BY_RESULT).move is Move.COMPLETE
