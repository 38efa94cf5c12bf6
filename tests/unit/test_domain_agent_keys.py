# SPDX-License-Identifier: MIT
"""Which agents are asked for a task, after some did not accept it."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from fastagi.domain.agent_keys import (
    AgentAnswer,
    AgentKeyRules,
    AgentsToAsk,
    NoKey,
    refused_until,
    times_put_off,
)
from fastagi.domain.attempt import Disposition, Progress, Verdict, judge
from fastagi.domain.capacity import Capacity
from fastagi.domain.reason import Code, because
from fastagi.domain.retry import decide
from tests.unit.test_domain_retry import NOW, RULES, TASK

MINUTE = timedelta(minutes=1)
KEYS = AgentKeyRules(
    later_delay=5 * MINUTE,
    later_times=2,
    cannot_pause=10 * MINUTE,
    no_key=NoKey.NO_ANSWER,
)
STRICT = attrs.evolve(KEYS, no_key=NoKey.CANNOT)
WITH_KEYS = attrs.evolve(RULES, agent_keys=KEYS)


def answer(code: Code, member: str = "a", ago: timedelta = MINUTE) -> AgentAnswer:
    return AgentAnswer(member, code, NOW - ago)


def after(code: Code, rules: AgentKeyRules, member: str = "a") -> timedelta:
    """Return the delay after an attempt that ended for this reason."""
    verdict = Verdict(
        disposition=Disposition.MEMBER_NO_ANSWER,
        talk_s=0.0,
        member=member,
        why=because(code),
    )
    decision = decide(TASK, verdict, attrs.evolve(RULES, agent_keys=rules), NOW, [])
    assert decision.due_at is not None
    return decision.due_at - NOW


def test_agent_who_can_not_is_refused_until_the_pause_is_over() -> None:
    answers = [
        answer(Code.AGENT_CANNOT),
        answer(Code.AGENT_CANNOT, "b", 10 * MINUTE),
        answer(Code.AGENT_LATER, "c"),
        answer(Code.AGENT_PRESSED_NO_KEY, "d"),
        answer(Code.AGENT_CANNOT, ""),
    ]
    assert refused_until(answers, KEYS, NOW) == {"a": NOW + 9 * MINUTE}
    assert set(refused_until(answers, STRICT, NOW)) == {"a", "d"}


def test_answer_from_the_future_of_a_clock_that_was_set_back_is_ignored() -> None:
    answers = [answer(Code.AGENT_CANNOT, ago=-60 * MINUTE)]
    assert refused_until(answers, KEYS, NOW) == {}


def test_how_often_a_task_was_put_off() -> None:
    answers = [answer(Code.AGENT_LATER), answer(Code.AGENT_CANNOT)]
    assert times_put_off(answers) == 1


@pytest.mark.parametrize(
    ("free", "refused", "at_once", "in_line"),
    [
        ("", "", True, True),
        ("a", "", True, True),
        ("ab", "a", True, True),
        # Only the one who refused is free: others in line would wait for nothing.
        ("a", "a", False, False),
        # Nobody is free: one who waits in line is in nobody's way.
        ("", "a", False, True),
        ("", "abc", False, False),
    ],
)
def test_who_may_be_asked(
    free: str, refused: str, at_once: bool, in_line: bool
) -> None:
    agents = AgentsToAsk(
        rules=KEYS, free=frozenset(free), logged_in=frozenset("abc"), in_line=False
    )
    assert agents.may_ask(refused) is at_once
    assert attrs.evolve(agents, in_line=True).may_ask(refused) is in_line


def test_task_that_was_put_off_comes_after_the_delay_and_before_it_expires() -> None:
    assert after(Code.AGENT_LATER, KEYS) == 5 * MINUTE
    # The task expires in an hour.
    slow = attrs.evolve(KEYS, later_delay=timedelta(days=1))
    assert after(Code.AGENT_LATER, slow) == 30 * MINUTE


def test_task_is_due_at_once_when_the_agent_can_not() -> None:
    assert after(Code.AGENT_CANNOT, KEYS) == timedelta(0)
    assert after(Code.AGENT_PRESSED_NO_KEY, STRICT) == timedelta(0)
    # As after no answer: nobody is excluded.
    assert after(Code.AGENT_PRESSED_NO_KEY, KEYS) == RULES.member_retry_delay
    assert after(Code.AGENT_CANNOT, KEYS, member="") == RULES.member_retry_delay


@pytest.mark.parametrize("code", [Code.AGENT_LATER, Code.AGENT_CANNOT])
def test_tries_to_reach_an_agent_are_limited_whatever_agents_press(code: Code) -> None:
    verdict = Verdict(
        disposition=Disposition.MEMBER_NO_ANSWER,
        talk_s=0.0,
        member="a",
        why=because(code),
    )
    task = attrs.evolve(TASK, member_attempts=RULES.member_attempts - 1)
    decision = decide(task, verdict, WITH_KEYS, NOW, [])
    assert decision.why.code is Code.AGENT_TRIES_USED_UP


def test_verdict_says_what_the_agent_pressed_and_who_that_was() -> None:
    progress = Progress(not_accepted=Code.AGENT_LATER)
    progress.member_answers("PJSIP/alice", 1.0)
    progress.ended(2.0)
    verdict = judge(progress, 5.0)
    assert verdict.disposition is Disposition.MEMBER_NO_ANSWER
    assert verdict.why == because(Code.AGENT_LATER, who="PJSIP/alice")
    assert not verdict.counts


def test_capacity_grants_a_callback_no_agent_who_refused() -> None:
    capacity = Capacity({"q": ["a", "b"]}, {})
    assert capacity.spare("q") == {"a", "b"}
    assert not capacity.take("q", without=["a", "b"])
    assert capacity.take("q", without=["a"])
    assert capacity.spare("q") == {"a"}
    assert not capacity.take("q", without=["a"])
    assert capacity.take("q")


def test_number_of_callbacks_that_would_be_granted() -> None:
    free = {"q": ["a", "b", "c"], "other": ["a"]}
    capacity = Capacity(free, {"q": 1})
    # Each of the three could be had, but one is for the caller who waits.
    assert capacity.spare("q") == {"a", "b", "c"}
    assert capacity.count("q") == 2
    assert capacity.count("other") == 1
    assert capacity.take("other")
    assert capacity.count("q") == 1
    assert capacity.count("none") == 0


def test_agent_whom_a_caller_may_leave_is_spare() -> None:
    # The one caller may be given either agent.
    capacity = Capacity({"q": ["a", "b"]}, {"q": 1})
    assert capacity.spare("q") == {"a", "b"}
    assert capacity.take("q", without=["a"])
    assert capacity.spare("q") == set()
