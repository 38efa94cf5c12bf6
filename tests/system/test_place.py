# SPDX-License-Identifier: MIT
"""Clients who wait for a callback keep their place among the live callers."""

from __future__ import annotations

from typing import Any

from fastagi import dialplan
from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.turns import Fairness
from tests.emulator.calls import LiveCall
from tests.emulator.manager import Action
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    queue_settings,
    settings,
)

#: A client who answers at once and talks for five seconds.
TALKS_5S = Answers(after_s=1, hangs_up_after_s=5)


def with_places(name: str = "support", **values: Any) -> QueueSettings:
    """Return the settings of a queue in which everybody keeps the place."""
    return queue_settings(name, fairness=Fairness.PLACE, **values)


class PlaceTestCase(ServiceTestCase):
    """Agents who are busy, and a line that builds up."""

    def setUp(self) -> None:
        super().setUp()
        self.callers: dict[str, LiveCall] = {}

    def live(self, name: str, talks_s: float = 10.0, priority: str = "") -> LiveCall:
        """Have somebody call in who waits for an agent."""
        number = f"03099{len(self.callers):05}"
        call = self.asterisk.call("support", number, talks_s=talks_s, priority=priority)
        self.callers[name] = call
        # No two join at the same time.
        self.world.run(0.5)
        return call

    def client_joins(self, number: str = NUMBER, priority: str = "") -> None:
        """Have a client call in and press 1 at once."""
        self.asterisk.client(number).always(TALKS_5S)
        self.request(number, priority=priority)

    def order(self, *clients: str) -> list[str]:
        """Return who talked with an agent, in order."""
        talks = [
            (call.answered_at, name)
            for name, call in self.callers.items()
            if call.answered_at is not None
        ]
        talks += [
            (ring.answered_at, number)
            for number in (clients or (NUMBER,))
            for ring in self.asterisk.client(number).rung
            if ring.answered_at is not None
        ]
        return [name for _, name in sorted(talks)]

    def line(self) -> list[str]:
        """Return the numbers of those in the real queue, in order."""
        return [visit.channel.number for visit in self.support.visits]


class TwoAgentsTestCase(PlaceTestCase):
    """Two agents, who answer after two seconds."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.asterisk.phone(BOB).always(Answers(after_s=2))

    def busy_agents(self, *talks_s: float, **values: Any) -> None:
        """Start the service; the agents take two callers who talk for so long."""
        self.begin(with_places(**values))
        for name, seconds in zip(("first", "second"), talks_s, strict=True):
            self.live(name, talks_s=seconds)
            self.world.run(3)


class OneAgentTests(PlaceTestCase):
    """One agent, and live callers all the time."""

    def busy_line(self, settings: QueueSettings) -> None:
        """The client joins as the third; later callers join faster than they leave."""
        self.begin(settings)
        self.live("first", talks_s=30)
        self.live("second")
        self.client_joins()
        for number in range(6):
            self.live(f"later {number}")
            self.world.run(3)

    def one_in_line(self, talks_s: float, **values: Any) -> None:
        """The agent talks for so long, and the client is alone in line at 10 s."""
        self.begin(with_places(**values))
        self.live("first", talks_s=talks_s)
        self.client_joins()
        self.run_to(10)
        self.assertEqual(self.line(), [NUMBER])

    def test_client_is_called_in_the_order_of_joining(self) -> None:
        self.busy_line(with_places())
        self.run_to(150)
        self.assertEqual(
            self.order()[:4], ["first", "second", NUMBER, "later 0"], self.order()
        )
        self.assert_status("completed")

    def test_live_callers_go_first_where_the_settings_say_so(self) -> None:
        self.busy_line(queue_settings(fairness=Fairness.LIVE_FIRST))
        self.run_to(150)
        self.assertEqual(self.order()[-1], NUMBER)
        self.assertEqual(len(self.order()), 9)

    def test_client_waits_outside_until_the_turn_comes_near(self) -> None:
        self.busy_line(with_places())
        self.run_to(30)
        self.assertEqual(self.originates, [])
        # The first caller is gone, and the second talks: the client is the next.
        self.run_to(40)
        self.assertEqual(len(self.originates), 1)
        self.assertEqual(self.line()[0], NUMBER)
        self.assertEqual(len(self.line()), 7)

    def test_older_dialplan_lets_live_callers_go_first(self) -> None:
        self.asterisk.dialplan_has.clear()
        self.busy_line(with_places())
        self.run_to(150)
        self.assertEqual(self.order()[-1], NUMBER)
        self.assert_warned("can not keep places")

    def test_status_counts_no_placeholder_as_a_live_caller(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        status = self.world.ask("status")["result"]
        queue = status["queues"]["support"]
        self.assertEqual((queue["waiting"], queue["in_line"]), (6, 1))
        self.assertEqual(status["calls_under_way"], 0)

    def test_tasks_are_shown_with_their_position_in_line(self) -> None:
        self.busy_line(with_places())
        self.assertEqual(self.shown_position(), None)
        self.run_to(40)
        self.assertEqual(self.shown_position(), 1)
        self.live("important", priority="9")
        self.assertEqual(self.shown_position(), 2)
        self.run_to(150)
        self.assertEqual(self.shown_position(), None)

    def shown_position(self) -> int | None:
        """Return the position that ``tasks list`` and ``tasks show`` tell."""
        (listed,) = self.world.ask("tasks.list", all=True)["result"]
        shown = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertEqual(listed["position"], shown["position"])
        position: int | None = shown["position"]
        return position

    def test_the_story_says_at_which_position_the_client_waits(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        self.assertIn("waits in line at position 1", str(self.world.story(1)))

    def test_an_agent_who_does_not_answer_is_rung_again_for_the_client(self) -> None:
        """As for any caller, until the phones have rung for the ring time."""
        self.alice.will(Answers(after_s=2), NO_ANSWER, NO_ANSWER, Answers(after_s=2))
        self.begin(with_places())
        self.live("first", talks_s=10)
        self.client_joins()
        self.run_to(100)
        self.assertEqual(self.order(), ["first", NUMBER])
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_try_ends_when_phones_rang_for_the_ring_time(self) -> None:
        """Waiting for an agent does not count, nor do the pauses between rings."""
        self.alice.will(Answers(after_s=2)).always(NO_ANSWER)
        self.support.retry_s = 5
        self.begin(with_places(member_ring_time="40s", member_retry_delay="30s"))
        self.live("first", talks_s=60)
        self.client_joins()
        self.run_to(60)
        self.assertEqual(self.line(), [NUMBER])
        # Rings of 15, 15 and 10 seconds.
        self.run_to(115)
        self.assertEqual(self.line(), [])
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"])
        rung = self.alice.rung[1:]
        self.assertEqual(len(rung), 3)
        self.assertEqual(round(rung[-1].ended_at - rung[-1].at), 10)
        self.assert_status("pending", "no agent answered")
        self.assertEqual(self.world.task().member_attempts, 1)

        self.alice.always(Answers(after_s=2))
        self.live("second")
        self.live("third", talks_s=40)
        self.live("fourth")
        # The delay is over: the client is before all who joined later.
        self.run_to(150)
        self.assertEqual(self.line()[0], NUMBER)
        self.run_to(300)
        self.assertEqual(self.order(), ["first", "second", "third", NUMBER, "fourth"])
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])

    def test_task_is_given_up_when_the_tries_to_reach_an_agent_are_used_up(
        self,
    ) -> None:
        self.alice.will(Answers(after_s=2)).always(NO_ANSWER)
        self.begin(
            with_places(
                member_ring_time="20s", member_retry_delay="10s", member_attempts=2
            )
        )
        self.live("first", talks_s=10)
        self.client_joins()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"] * 2)
        self.assert_status("failed", "no agent answered")
        self.assertEqual(self.client.rung, [])

    def test_phone_that_refuses_at_once_uses_up_the_ring_time_too(self) -> None:
        self.alice.will(Answers(after_s=2)).always(Refuses.BUSY)
        self.support.retry_s = 5
        self.begin(with_places(member_ring_time="18s", member_retry_delay="60s"))
        self.live("first", talks_s=10)
        self.client_joins()
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"])
        self.assertEqual(len(self.alice.rung), 1 + 4)

    def test_client_who_rings_in_leaves_the_line(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        call = self.asterisk.call("support", NUMBER, talks_s=5)
        self.run_to(41)
        self.assertEqual(self.line().count(NUMBER), 1)
        self.assertTrue(call.waiting)
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        self.assert_status("pending")

    def test_cancelled_task_leaves_the_line(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.run_to(41)
        self.assertNotIn(NUMBER, self.line())
        self.assert_status("cancelled")
        self.assertEqual(self.client.rung, [])

    def test_task_that_is_too_old_leaves_the_line(self) -> None:
        self.one_in_line(60, request_expiry="20s")
        self.run_to(30)
        self.assertEqual(self.line(), [])
        self.assert_status("expired", "too old; it was never called")
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])

    def test_client_leaves_the_line_when_all_agents_are_paused(self) -> None:
        self.one_in_line(20)
        self.support.pause(ALICE)
        self.run_to(30)
        self.assertEqual(self.line(), [])
        self.assert_status("pending")
        self.support.pause(ALICE, paused=False)
        self.run_to(60)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["WITHDRAWN", "ANSWERED"])

    def test_busy_client_is_called_again_when_the_delay_is_over(self) -> None:
        """Though nothing happens in the queue meanwhile."""
        self.begin(with_places(retry_delay="20s"))
        self.alice.busy()
        self.client_joins()
        self.client.will(Refuses.BUSY)
        self.alice.busy(False)
        self.world.run(15)
        (busy,) = self.client.rung
        self.world.run(25)
        again = self.client.rung[1]
        self.assertLess(again.at - busy.at, 20 + 5)

    def test_client_leaves_the_line_whose_queue_left_the_settings(self) -> None:
        self.one_in_line(120, request_expiry="20s")
        process = self.world.processes[-1]
        process.service.settings.replace(settings(queue_settings("sales")))
        self.run_to(30)
        self.assertEqual(self.line(), [])

    def test_no_task_is_begun_before_a_reload_knows_what_the_dialplan_can_do(
        self,
    ) -> None:
        process = self.begin(queue_settings(fairness=Fairness.LIVE_FIRST))
        self.alice.busy()
        self.client_joins()
        self.run_to(10)

        def slow(action: Action) -> float:
            return 4.0 if "DIALPLAN_EXISTS" in action.get("Variable") else 0.0

        self.asterisk.manager.answer_after = slow
        process.service.settings.replace(settings(with_places()))
        self.alice.busy(False)
        self.run_to(13)
        self.assertEqual(self.originates, [])

        self.run_to(30)

        self.assertEqual(self.originates, [14.0])
        (action,) = [
            action
            for _, action in self.asterisk.manager.actions
            if action.name == "Originate"
            and action.get("Context") == dialplan.CALLER_CONTEXT
        ]
        self.assertTrue(
            action.get("Channel").startswith(f"Local/{dialplan.PLACE_EXTEN}@")
        )
        self.assert_status("completed")

    def test_client_in_line_leaves_it_in_time_after_other_settings(self) -> None:
        self.one_in_line(120, request_expiry="60s")
        self.restart(queue_settings(request_expiry="60s", fairness=Fairness.LIVE_FIRST))
        self.run_to(20)
        self.assertEqual(self.line(), [NUMBER])
        self.run_to(75)
        self.assertEqual(self.line(), [])

    def test_database_is_not_asked_with_each_event(self) -> None:
        process = self.begin(with_places())
        self.client_joins()
        self.run_to(60)
        self.assert_status("completed")
        process.points.clear()
        for _ in range(10):
            self.support.pause(ALICE)
            self.support.pause(ALICE, paused=False)
            self.world.run(0.5)
        asked = [
            name for name in process.points if name == "after COMMIT of begin attempts"
        ]
        self.assertLess(len(asked), 3)

    def test_stop_does_not_wait_for_a_client_in_line(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        process = self.world.processes[-1]
        process.stop()
        self.world.run(0.5)
        self.assertEqual(process.stopped, [None])
        self.assertIn(NUMBER, self.line())

    def test_client_keeps_the_place_when_the_service_is_killed(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        self.restart(with_places())
        self.run_to(43)
        self.assertEqual(self.line()[0], NUMBER)
        queue = self.world.ask("status")["result"]["queues"]["support"]
        self.assertEqual(queue["waiting"], 6)
        self.run_to(150)
        self.assertEqual(self.order()[:4], ["first", "second", NUMBER, "later 0"])
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_client_keeps_the_place_while_the_link_is_lost(self) -> None:
        self.busy_line(with_places())
        self.run_to(40)
        self.asterisk.cut_links()
        self.run_to(150)
        self.assertEqual(self.order()[:4], ["first", "second", NUMBER, "later 0"])
        self.assertEqual(self.dispositions(), ["ANSWERED"])


class PriorityTests(PlaceTestCase):
    """One agent, and callers who are more important than others."""

    def line_of_two_priorities(self) -> None:
        self.begin(with_places())
        self.live("first", talks_s=20)
        self.live("plain")
        self.live("important", priority="5")
        self.client_joins(priority="5")
        self.live("later important", priority="5")
        self.live("later plain")

    def test_client_keeps_the_place_among_callers_of_the_same_priority(self) -> None:
        self.line_of_two_priorities()
        self.run_to(120)
        self.assertEqual(
            self.order(),
            [
                "first",
                "important",
                NUMBER,
                "later important",
                "plain",
                "later plain",
            ],
        )

    def test_client_without_a_priority_goes_behind_the_important(self) -> None:
        self.begin(with_places())
        self.live("first", talks_s=20)
        self.client_joins()
        self.live("plain")
        self.live("important", priority="5")
        self.run_to(120)
        self.assertEqual(self.order(), ["first", "important", NUMBER, "plain"])

    def test_client_of_a_low_priority_is_the_last(self) -> None:
        self.begin(with_places())
        self.live("first", talks_s=20)
        self.live("low", priority="-1")
        self.client_joins(priority="-1")
        self.live("plain")
        self.run_to(120)
        self.assertEqual(self.order(), ["first", "plain", "low", NUMBER])

    def test_priorities_are_known_after_a_start(self) -> None:
        self.line_of_two_priorities()
        self.restart(with_places())
        self.run_to(120)
        self.assertEqual(self.order()[1:4], ["important", NUMBER, "later important"])

    def test_priority_is_shown(self) -> None:
        self.line_of_two_priorities()
        task = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertEqual(task["priority"], 5)

    def test_client_who_asks_again_with_a_higher_priority_has_that(self) -> None:
        self.alice.busy()
        self.begin(with_places())
        self.client_joins()
        self.client_joins(priority="3")
        self.client_joins(priority="2")
        self.assertEqual(self.world.task().priority, 3)


class QueueOptionsTests(TwoAgentsTestCase):
    """Queues that do not take everybody."""

    def test_last_place_is_left_to_a_live_caller(self) -> None:
        self.support.maxlen = 2
        self.busy_agents(20, 40)
        self.live("third")
        self.client_joins()
        self.world.run(1)
        self.assertEqual(self.originates, [])
        self.live("fourth")
        self.assertEqual(len(self.line()), 2)
        self.run_to(100)
        self.assertEqual(self.order(), ["first", "second", "third", NUMBER, "fourth"])

    def test_client_who_is_next_may_take_the_last_place(self) -> None:
        self.support.maxlen = 1
        self.busy_agents(20, 40)
        self.client_joins()
        self.assertEqual(self.line(), [NUMBER])
        refused = self.live("third")
        self.assertEqual(refused.refused, "FULL")
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_client_is_not_put_in_a_line_that_is_full(self) -> None:
        self.support.maxlen = 1
        self.busy_agents(20, 40)
        self.live("third")
        self.client.always(TALKS_5S)
        self.add()
        self.world.run(5)
        self.assertEqual(self.originates, [])
        self.run_to(100)
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_client_who_is_not_next_leaves_a_line_that_becomes_full(self) -> None:
        self.support.maxlen = 3
        self.busy_agents(20, 40)
        self.live("third")
        self.client_joins()
        self.assertEqual(self.line()[1:], [NUMBER])
        self.live("fourth")
        self.world.run(1)
        self.assertEqual(len(self.line()), 2)
        self.assertIn("is left to live callers", str(self.world.story(1)))
        fifth = self.live("fifth")
        self.assertTrue(fifth.waiting)
        self.run_to(100)
        self.assertEqual(self.dispositions(), ["WITHDRAWN", "ANSWERED"])
        self.assertLess(self.order().index(NUMBER), self.order().index("fourth"))

    def test_client_for_whom_an_agent_rings_stays_in_a_line_that_becomes_full(
        self,
    ) -> None:
        self.support.maxlen = 3
        self.busy_agents(20, 20)
        for interface in (ALICE, BOB):
            self.asterisk.phone(interface).always(Answers(after_s=12))
        self.live("third")
        self.client_joins()
        self.assertEqual(self.line()[1:], [NUMBER])
        # Now an agent's phone rings for each of the two.
        self.run_to(28)
        self.assertEqual(self.line()[1:], [NUMBER])
        self.live("fourth")
        self.run_to(120)
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assertLess(self.order().index(NUMBER), self.order().index("fourth"))

    def test_queue_that_takes_nobody_is_tried_again_after_the_delay(self) -> None:
        self.busy_agents(20, 40, member_retry_delay="30s")
        self.support.turns_away = "JOINEMPTY"
        self.client.always(TALKS_5S)
        self.add()
        self.world.run(25)
        self.assertEqual(len(self.originates), 1)
        self.assertEqual(self.world.task().member_attempts, 0)
        self.assertIn("joinempty", str(self.world.story(1)))
        self.assert_warned("takes no caller now")
        self.support.turns_away = ""
        self.world.run(60)
        self.assertEqual(self.dispositions(), ["WITHDRAWN", "ANSWERED"])

    def test_reason_comes_after_the_response_to_the_originate(self) -> None:
        self.asterisk.responds_early = True
        self.busy_agents(20, 40, member_retry_delay="30s")
        self.support.turns_away = "JOINEMPTY"
        self.add()
        self.world.run(25)
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        self.assertEqual(self.world.task().member_attempts, 0)

    def test_queue_that_sends_all_away_counts_as_no_try(self) -> None:
        self.busy_agents(20, 40, member_retry_delay="30s")
        self.client_joins()
        self.assertEqual(self.line(), [NUMBER])
        self.support.send_away()
        self.world.run(1)
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        self.assertEqual(self.world.task().member_attempts, 0)
        self.world.run(60)
        self.assertEqual(self.dispositions(), ["WITHDRAWN", "ANSWERED"])


class RingsInAgainTests(PlaceTestCase):
    """The dialplan asks for the place of a client who calls in again."""

    def setUp(self) -> None:
        super().setUp()
        self.begin(with_places())
        self.live("first", talks_s=60)

    def again(self, name: str = "client", **more: Any) -> LiveCall:
        """The client calls in; the dialplan asks first."""
        more = {"talks_s": 10.0, **more}
        call = self.asterisk.call("support", NUMBER, asks_place=True, **more)
        self.callers[name] = call
        self.world.run(0.5)
        return call

    def test_client_gets_the_place_of_the_open_task(self) -> None:
        self.live("second")
        self.client_joins()
        self.live("third")
        self.again()
        self.run_to(120)
        self.assertEqual(self.order(), ["first", "second", "client", "third"])
        self.assert_status("served")

    def test_client_with_a_chosen_time_to_come_joins_at_the_end(self) -> None:
        self.world.ask("tasks.add", queue="support", number=NUMBER, at="+20m")
        self.again()
        other = "0305555555"
        self.client_joins(other)
        self.run_to(120)
        self.assertEqual(self.order(other), ["first", "client", other])
        self.assert_status("served")

    def test_placeholder_leaves_the_line_and_moves_nobody(self) -> None:
        self.client_joins()
        self.live("second")
        self.assertEqual(self.line()[0], NUMBER)
        self.assertEqual(len(self.originates), 1)
        call = self.again()
        self.assertEqual(call.positions, [1])
        self.assertEqual(self.line().count(NUMBER), 1)
        self.run_to(120)
        self.assertEqual(self.order(), ["first", "client", "second"])
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])

    def test_other_clients_are_put_in_line_behind_one_who_called_again(self) -> None:
        self.client_joins()
        self.live("second")
        other = "0305555555"
        self.client_joins(other)
        self.again()
        self.run_to(140)
        self.assertEqual(
            self.order(other), ["first", "client", "second", other], self.order(other)
        )

    def test_client_gets_the_priority_of_the_open_task(self) -> None:
        self.client_joins(priority="5")
        self.live("second", priority="5")
        call = self.again()
        self.assertEqual(call.positions, [1])
        self.assertEqual(call.channel.queue_priority, "5")

    def test_client_keeps_a_higher_priority(self) -> None:
        self.client_joins(priority="5")
        self.live("second", priority="7")
        call = self.again(priority="7")
        self.assertEqual(call.positions, [1])
        self.assertEqual(call.channel.queue_priority, "7")

    def test_stranger_joins_at_the_end(self) -> None:
        self.client_joins()
        self.live("second")
        call = self.asterisk.call("support", "0307777777", asks_place=True)
        self.world.run(0.5)
        self.assertEqual(call.position, len(self.line()))

    def test_client_of_another_queue_joins_at_the_end(self) -> None:
        self.asterisk.add_queue("sales", [BOB])
        self.world.processes[-1].service.settings.replace(
            settings(with_places(), with_places("sales"))
        )
        self.support.pause(ALICE)
        self.request(NUMBER, "sales")
        self.live("second")
        call = self.again()
        self.assertEqual(call.position, len(self.line()))

    def test_withheld_number_gets_no_place(self) -> None:
        self.client_joins()
        self.live("second")
        call = self.again(callingpres="32")
        self.assertEqual(call.position, len(self.line()))

    def test_caller_joins_at_the_end_when_the_service_is_down(self) -> None:
        self.client_joins()
        self.live("second")
        self.world.processes[-1].kill()
        call = self.again()
        self.world.run(2)
        self.assertTrue(call.waiting)
        self.assertEqual(call.position, len(self.line()))

    def test_caller_joins_after_a_second_when_the_service_hangs(self) -> None:
        self.client_joins()
        self.live("second")
        call = self.asterisk.call("support", NUMBER, asks_place=True)
        self.asterisk.agi_runs[-1].stall(3)
        self.world.run(2)
        self.assertTrue(call.waiting)
        self.assertEqual(call.position, len(self.line()))
        self.world.run(3)

    def test_nothing_is_promised_while_the_queue_is_not_known(self) -> None:
        self.client_joins()
        self.live("second")
        self.asterisk.cut_links()
        call = self.again()
        self.assertEqual(call.position, len(self.line()))


class TwoAgentsTests(TwoAgentsTestCase):
    """Two agents: up to two clients wait in line."""

    def test_clients_who_wait_together_are_called_in_the_order_of_joining(
        self,
    ) -> None:
        clients = ["0301111111", "0302222222", "0303333333"]
        self.busy_agents(30, 33)
        for number, client in enumerate(clients):
            self.client_joins(client)
            self.live(f"later {number}")
            self.world.run(1)
        self.assertEqual(self.line()[0], clients[0])
        self.assertEqual(len(self.originates), 1)
        self.run_to(200)
        self.assertEqual(
            self.order(*clients)[2:],
            [clients[0], "later 0", clients[1], "later 1", clients[2], "later 2"],
        )

    def test_no_more_clients_wait_in_line_than_there_are_agents(self) -> None:
        clients = [f"03011111{number:02}" for number in range(5)]
        self.busy_agents(30, 33)
        for client in clients:
            self.client_joins(client)
        self.assertEqual(self.line(), clients[:2])
        self.run_to(200)
        self.assertEqual(self.order(*clients)[2:], clients)


class SharedAgentTests(PlaceTestCase):
    """One agent takes the calls of two queues, and counts in each of them."""

    def setUp(self) -> None:
        super().setUp()
        self.sales = self.asterisk.add_queue("sales", [ALICE])
        self.other = "0305555555"
        self.asterisk.client(self.other).always(TALKS_5S)

    def live_in(self, queue: str, name: str) -> LiveCall:
        """Have somebody call in who waits in this queue."""
        number = f"03088{len(self.callers):05}"
        call = self.asterisk.call(queue, number, talks_s=10)
        self.callers[name] = call
        self.world.run(0.5)
        return call

    def test_clients_of_both_queues_are_called_in_the_order_of_their_line(
        self,
    ) -> None:
        """Either line may be served next, so a client of each has to be in it."""
        self.begin(with_places(), with_places("sales"))
        self.live("first", talks_s=30)
        self.client_joins()
        self.request(self.other, "sales")
        self.live("support")
        self.live_in("sales", "sales")
        self.request("0306666666", "sales")
        self.run_to(28)
        lines = [
            [visit.channel.number for visit in queue.visits]
            for queue in (self.support, self.sales)
        ]
        self.assertEqual(
            lines,
            [
                [NUMBER, self.callers["support"].number],
                [self.other, self.callers["sales"].number],
            ],
        )
        self.run_to(150)
        order = self.order(NUMBER, self.other, "0306666666")
        self.assertEqual(len(order), 5, order)
        self.assertLess(order.index(NUMBER), order.index("support"))
        self.assertLess(order.index(self.other), order.index("sales"))
        for task_id in (1, 2):
            self.assertEqual(self.dispositions(task_id), ["ANSWERED"])

    def test_client_in_line_takes_the_agent_from_a_queue_where_live_go_first(
        self,
    ) -> None:
        """No agent is promised to the callbacks of both queues."""
        self.begin(with_places(), queue_settings("sales", fairness=Fairness.LIVE_FIRST))
        self.live("first", talks_s=30)
        self.client_joins()
        self.request(self.other, "sales")
        self.run_to(28)
        self.assertEqual(len(self.originates), 1)
        self.run_to(100)
        self.assertEqual(self.order(NUMBER, self.other), ["first", NUMBER, self.other])
        self.assertEqual(self.dispositions(2), ["ANSWERED"])
