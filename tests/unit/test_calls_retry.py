# SPDX-License-Identifier: MIT
"""What becomes of a task after an attempt: every disposition, every limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from fastagi.calls.attempt import Disposition, Verdict
from fastagi.calls.retry import RetryRules, decide
from fastagi.calls.task import CallbackTask, Kind, Move, Status, after

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = RetryRules(
    attempts=3,
    retry_delay=timedelta(seconds=30),
    success_duration_s=5.0,
    member_attempts=4,
    member_retry_delay=timedelta(seconds=7),
)
TASK = CallbackTask(
    id=1,
    kind=Kind.REQUESTED,
    status=Status.CALLING,
    number="100",
    number_key="100",
    name="",
    language="",
    queue="support",
    linkedid="",
    joined_at=NOW,
    created_at=NOW,
    due_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    reason="",
)
FREE = {"MEMBER NO ANSWER", "NOT PLACED"}
COSTLY = {d.value for d in Disposition} - FREE - {"ANSWERED"}


def verdict(disposition: str) -> Verdict:
    return Verdict(
        disposition=Disposition(disposition), talk_s=0.0, member="", reason="its reason"
    )


@pytest.mark.parametrize("disposition", [d.value for d in Disposition])
def test_which_dispositions_cost_the_caller_an_attempt(disposition: str) -> None:
    judged = verdict(disposition)

    assert judged.counts is (disposition not in FREE)
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

    decision = decide(task, verdict(disposition), RULES, NOW)

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

    decision = decide(task, verdict(disposition), RULES, NOW)

    assert decision.move.value == move
    if move == "retry":
        assert decision.due_at == NOW + timedelta(seconds=7)
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

    decision = decide(task, verdict("ANSWERED"), RULES, NOW)

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

    decision = decide(task, verdict(disposition), RULES, NOW)

    assert decision.move.value == move
    assert "its reason" in decision.reason
    assert (decision.due_at is None) is (move != "retry")


def test_a_task_served_meanwhile_keeps_the_words_of_who_served_it() -> None:
    task = attrs.evolve(TASK, served=True, reason="rang again, alice answered")

    decision = decide(task, verdict("CANCEL"), RULES, NOW)

    assert decision.reason == (
        "rang again, alice answered; the attempt under way: its reason"
    )


@pytest.mark.parametrize("disposition", [d.value for d in Disposition])
@pytest.mark.parametrize("used", range(5))
def test_every_decision_is_a_legal_move_that_ends_the_task_or_sets_a_time(
    disposition: str, used: int
) -> None:
    task = attrs.evolve(TASK, attempts=used, member_attempts=used)

    decision = decide(task, verdict(disposition), RULES, NOW)

    status = after(Status.CALLING, decision.move)
    assert (decision.due_at is not None) is (status is Status.PENDING)
    assert decision.reason
