# SPDX-License-Identifier: MIT
"""Tasks are left to other services once, and for a moment."""

from __future__ import annotations

import math
from typing import cast

import pytest
from attrs import evolve

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from fastagi.domain.turns import ANY_TURN, Turn
from fastagi.node.elsewhere import Agents, AgentsElsewhere, NamedAgent
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from tests.unit.tasks import a_task

BOB = NamedAgent("PJSIP/bob", "Bob, called \u00fc")
FREE = Agents(
    last=ANY_TURN,
    free=frozenset(),
    logged_in=frozenset({"PJSIP/bob", "PJSIP/eve"}),
    named=(BOB,),
)
BUSY = evolve(FREE, last=None)
TASK = a_task(id=1, queue="support")


class AgentsTests(SynchronousTestCase):
    def test_what_is_told_is_read_again(self) -> None:
        for last in (None, ANY_TURN, Turn(1_800_000_000.25, -3), Turn(math.inf, 5)):
            agents = evolve(FREE, last=last)
            self.assertEqual(Agents.read(agents.as_text()), agents)
        # Who is free is not told.
        free = evolve(FREE, free=frozenset({"PJSIP/bob"}))
        self.assertEqual(free.as_text(), FREE.as_text())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"last": 7, "logged_in": [], "named": []}']
)
def test_what_another_version_tells_in_another_way_is_left_out(
    text: str, logged: list[LogEvent]
) -> None:
    clock = MachineClock(cast(IReactorTime, Clock()))
    elsewhere = AgentsElsewhere(
        clock=clock, background=Background(clock), look_again=lambda: None
    )
    told = {"support": (text, FREE.as_text()), "sales": (text,)}
    assert elsewhere.are(told)
    assert elsewhere.named("support") == [BOB]
    assert elsewhere.have_agent_for(TASK)
    assert not elsewhere.named("sales")
    # Once, until something else is told.
    assert not elsewhere.are(told)
    assert ["does not understand it" in formatEvent(one) for one in logged] == [
        True
    ] * 2


class AgentsElsewhereTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.timers = Clock()
        clock = MachineClock(cast(IReactorTime, self.timers))
        self.looked: list[float] = []
        self.elsewhere = AgentsElsewhere(
            clock=clock,
            background=Background(clock),
            look_again=lambda: self.looked.append(self.timers.seconds()),
        )

    def tell(self, *agents: Agents) -> bool:
        return self.elsewhere.are({"support": tuple(one.as_text() for one in agents)})

    def test_nothing_is_left_where_no_agent_is_free(self) -> None:
        self.assertTrue(self.tell(BUSY, BUSY))
        self.assertFalse(self.tell(BUSY, BUSY))
        self.assertEqual(self.elsewhere.look_first({"support", "sales"}), frozenset())
        self.assertFalse(self.elsewhere.have_agent_for(TASK))
        self.assertEqual(self.elsewhere.logged_in("support"), FREE.logged_in)
        self.assertEqual(self.elsewhere.named("support"), [BOB, BOB])
        self.assertEqual(self.elsewhere.logged_in("sales"), frozenset())

    def test_queue_is_left_for_two_seconds_and_not_at_once_again(self) -> None:
        self.tell(BUSY, FREE)
        left = {"support"}
        self.assertEqual(self.elsewhere.look_first({"support", "sales"}), left)
        self.timers.advance(1.9)
        self.assertEqual(self.elsewhere.look_first(left), left)
        self.assertEqual(self.looked, [])
        self.timers.advance(0.1)
        self.assertEqual(self.looked, [2.0])
        for _ in range(4):
            self.assertEqual(self.elsewhere.look_first(left), frozenset())
            self.timers.advance(1)
        self.timers.advance(1)
        self.assertEqual(self.elsewhere.look_first(left), left)

    def test_task_in_line_is_left_once_for_what_is_told(self) -> None:
        other = a_task(id=2, queue="support")
        self.tell(FREE)
        self.assertTrue(self.elsewhere.have_agent_for(TASK))
        # One at a time.
        self.assertFalse(self.elsewhere.have_agent_for(other))
        self.assertEqual(self.elsewhere.look_first({"support"}), {"support"})
        self.timers.advance(2)
        self.assertFalse(self.elsewhere.have_agent_for(TASK))
        self.assertTrue(self.elsewhere.have_agent_for(other))
        self.timers.advance(2)

        self.tell(BUSY)
        self.assertFalse(self.elsewhere.have_agent_for(TASK))
        self.tell(evolve(FREE, last=Turn(TASK.turn.joined_at - 1)))
        self.assertFalse(self.elsewhere.have_agent_for(TASK))
        self.tell(evolve(FREE, last=TASK.turn))
        self.assertTrue(self.elsewhere.have_agent_for(TASK))
        self.timers.advance(2)
