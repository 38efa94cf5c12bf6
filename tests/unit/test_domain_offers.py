# SPDX-License-Identifier: MIT
"""When a callback is offered, by the facts about one caller."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.offers import (
    OfferRules,
    Trigger,
    Waiting,
    next_look_in_s,
    trigger_of,
)

NEVER = OfferRules(
    not_before_s=0,
    after_s=None,
    wait_over_s=None,
    position_over=None,
    at_closing=False,
    without_agents=False,
    unless_within_s=20,
    pause_s=300,
)
#: Waits as the third, and nothing is special.
CALLER = Waiting(
    waited_s=60,
    position=3,
    agents=2,
    agents_soon=0,
    is_ringing=False,
    is_open=True,
    joined_open=True,
)


def rules(**values: Any) -> OfferRules:
    """Return rules that allow an offer for the given reasons only."""
    return attrs.evolve(NEVER, **values)


def caller(**values: Any) -> Waiting:
    """Return a caller who differs in these facts."""
    return attrs.evolve(CALLER, **values)


ALWAYS = rules(after_s=0.001)


@pytest.mark.parametrize(
    ("settings", "facts", "trigger"),
    [
        ({}, {"waited_s": 1e6, "position": 99, "agents": 0, "is_open": False}, None),
        ({"after_s": 60}, {"waited_s": 59.9}, None),
        ({"after_s": 60}, {"waited_s": 60}, Trigger.WAITED),
        ({"position_over": 3}, {"position": 3}, None),
        ({"position_over": 3}, {"position": 4}, Trigger.POSITION),
        ({"wait_over_s": 300}, {"expected_wait_s": None}, None),
        ({"wait_over_s": 300}, {"expected_wait_s": 300}, None),
        ({"wait_over_s": 300}, {"expected_wait_s": 301}, Trigger.EXPECTED_WAIT),
        ({"without_agents": True}, {"agents": 1}, None),
        ({"without_agents": True}, {"agents": 0}, Trigger.NO_AGENTS),
        ({"at_closing": True}, {"is_open": True}, None),
        ({"at_closing": True}, {"is_open": False}, Trigger.CLOSED),
        ({"at_closing": True}, {"is_open": False, "joined_open": False}, None),
    ],
)
def test_each_reason_by_itself(
    settings: dict[str, Any], facts: dict[str, Any], trigger: Trigger | None
) -> None:
    assert trigger_of(rules(**settings), caller(**facts)) is trigger


@pytest.mark.parametrize(
    "facts",
    [
        {"is_ringing": True},
        {"agents_soon": 3},
        {"expected_wait_s": 19.9},
        {"since_offer_s": 299.9},
    ],
)
def test_no_offer_to_one_who_is_served_soon_or_was_just_asked(
    facts: dict[str, Any],
) -> None:
    assert trigger_of(ALWAYS, caller()) is Trigger.WAITED
    assert trigger_of(ALWAYS, caller(**facts)) is None


def test_no_offer_before_the_time_after_joining() -> None:
    settings = rules(position_over=1, not_before_s=10)
    assert trigger_of(settings, caller(waited_s=9.9)) is None
    assert trigger_of(settings, caller(waited_s=10)) is Trigger.POSITION


def test_agents_who_will_take_those_ahead_do_not_count_for_the_caller() -> None:
    assert trigger_of(ALWAYS, caller(position=3, agents_soon=2)) is Trigger.WAITED


def test_nobody_is_served_soon_where_no_agent_is_logged_in() -> None:
    settings = rules(without_agents=True)
    alone = caller(agents=0, agents_soon=0, expected_wait_s=1)
    assert trigger_of(settings, alone) is Trigger.NO_AGENTS


_SECONDS = st.floats(0, 10_000)


@given(
    waited_s=_SECONDS,
    not_before_s=_SECONDS,
    after_s=st.none() | st.floats(1, 10_000),
    since_offer_s=st.none() | _SECONDS,
)
def test_the_answer_changes_by_time_alone_only_when_it_is_said(
    waited_s: float,
    not_before_s: float,
    after_s: float | None,
    since_offer_s: float | None,
) -> None:
    settings = rules(not_before_s=not_before_s, after_s=after_s, position_over=2)
    now = caller(waited_s=waited_s, since_offer_s=since_offer_s)
    again_in_s = next_look_in_s(settings, now)
    assert again_in_s is None or again_in_s > 0

    def after(seconds: float) -> Trigger | None:
        since = None if since_offer_s is None else since_offer_s + seconds
        return trigger_of(
            settings, caller(waited_s=waited_s + seconds, since_offer_s=since)
        )

    until = 1e6 if again_in_s is None else again_in_s * 0.999
    assert after(until) is trigger_of(settings, now)
