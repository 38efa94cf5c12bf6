# SPDX-License-Identifier: MIT
"""Callbacks at a chosen time."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.reason import Code
from fastagi.domain.turns import Fairness
from tests.emulator.scenarios import NO_ANSWER
from tests.system.harness import NUMBER, TALKS_10S, queue_settings
from tests.system.test_hours import HoursTestCase, daily

OTHER = "0305556677"


class ChosenTimeTestCase(HoursTestCase):
    """An operator who adds and moves tasks."""

    def choose(self, at: str, number: str = NUMBER) -> dict[str, Any]:
        """Add a task for a chosen time; return it."""
        answer = self.world.ask("tasks.add", queue="support", number=number, at=at)
        self.assertTrue(answer["ok"], answer)
        task: dict[str, Any] = answer["result"]["task"]
        return task

    def refused(self, at: str) -> str:
        """Return why a task for this time is refused."""
        answer = self.world.ask("tasks.add", queue="support", number=NUMBER, at=at)
        self.assertFalse(answer["ok"], answer)
        self.assertEqual(self.world.tasks(), [])
        error: str = answer["error"]
        return error

    def move(self, **how: Any) -> Any:
        """Reschedule task 1."""
        return self.world.ask("tasks.reschedule", id=1, actor="olga", **how)

    def codes(self, task_id: int = 1) -> list[Code]:
        """Return the reason codes of a task's events."""
        return [event.why.code for event in self.world.history(task_id)]

    def missed_because(self) -> Code:
        """Return why the chosen time of task 1 was missed."""
        (missed,) = (
            event.why
            for event in self.world.history()
            if event.why.code is Code.CHOSEN_TIME_MISSED
        )
        cause = missed.params["cause"]
        assert not isinstance(cause, str | int | float)
        return cause.code


def office(**more: Any) -> QueueSettings:
    """Return the settings of a queue that is open from 09:00 to 18:00 in Berlin."""
    return queue_settings(opening_hours=daily("09:00-18:00"), **more)


class OperatorTests(ChosenTimeTestCase):
    """Tasks that an operator adds for a time, and moves."""

    def test_client_is_called_at_the_chosen_time_and_not_before(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        task = self.choose("10:10")
        self.assertEqual(task["chosen_at"], "2026-11-24T09:10:00.000+00:00")
        self.assertEqual(task["reason_code"], "waits_for_chosen_time")
        self.assertEqual(task["reason_params"]["cause"]["code"], "added_by_hand")
        self.go_to("2026-11-24 10:30")
        self.assertEqual(self.placed(), ["2026-11-24 10:10:00"])
        self.assert_status("completed")
        self.assertNotIn(Code.CHOSEN_TIME_MISSED, self.codes())

    def test_it_expires_by_the_chosen_time(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office(request_expiry="30m"))
        self.choose("tomorrow 14:30")
        self.assertEqual(
            self.local(self.world.since(self.world.task().expires_at)),
            "2026-11-25 15:00:00",
        )

    def test_times_that_can_not_be_kept_are_refused_with_the_remedy(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office(chosen_time={"days_ahead": 3}))
        self.assertIn("'soon' is no time: write 14:30,", self.refused("soon"))
        self.assertIn("such as Wednesday 2026-11-25 09:30", self.refused("9:30"))
        self.assertIn("opens at Wednesday 2026-11-25 09:00", self.refused("18:00"))
        self.assertIn("times until 2026-11-27", self.refused("2026-11-28 12:00"))

    def test_moved_task_is_called_at_the_new_time(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.choose("10:10")
        self.assertTrue(self.move(at="10:50")["ok"])
        event = self.world.history()[-1]
        self.assertEqual(
            event.text,
            "moved to 2026-11-24 09:50 UTC by hand (olga); waits for the chosen time,"
            " 2026-11-24 09:50 UTC",
        )
        self.go_to("2026-11-24 11:00")
        self.assertEqual(self.placed(), ["2026-11-24 10:50:00"])

    def test_moved_task_is_called_at_once(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.choose("10:10")
        self.world.run(60)
        self.assertTrue(self.move(now=True)["ok"])
        self.world.run(60)
        self.assertEqual(self.placed(), ["2026-11-24 10:01:00"])
        self.assertEqual(
            [event.text for event in self.world.history()][1],
            "to be called as soon as possible, by hand (olga)",
        )

    def test_task_that_has_ended_is_put_back_in_line_for_a_time(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.choose("10:10")
        self.world.ask("tasks.cancel", id=1)
        self.assertTrue(self.move(at="10:30")["ok"])
        self.go_to("2026-11-24 10:40")
        self.assertEqual(self.placed(), ["2026-11-24 10:30:00"])

    def test_client_who_is_being_called_is_not_moved(self) -> None:
        self.alice.always(NO_ANSWER)
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.add()
        self.world.run(5)
        self.assertIn("task 1 has a call under way", self.move(at="10:30")["error"])

    def test_move_needs_either_a_time_or_now(self) -> None:
        self.begin()
        for how in ({}, {"at": "10:30", "now": True}):
            self.assertIn("give either at", self.move(**how)["error"])

    def test_second_task_for_the_same_client_moves_the_first(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.choose("10:10")
        self.world.run(1)
        self.choose("10:40")
        self.go_to("2026-11-24 10:50")
        self.assertEqual(self.placed(), ["2026-11-24 10:40:00"])

    def test_time_for_another_queue_than_the_open_task_is_refused(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(
            office(),
            queue_settings("sales", opening_hours=daily("00:00-24:00")),
        )
        self.choose("10:10")
        answer = self.world.ask("tasks.add", queue="sales", number=NUMBER, at="23:00")
        self.assertIn("by queue support already", answer["error"])
        self.assertIn("'callback-queue tasks reschedule 1 --at 23:00'", answer["error"])
        self.go_to("2026-11-24 10:20")
        self.assertEqual(self.placed(), ["2026-11-24 10:10:00"])

    def test_client_in_line_who_is_given_a_time_is_not_called_before(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office(fairness=Fairness.PLACE))
        self.add()
        self.world.run(5)
        self.assert_status("calling")
        self.choose("10:10")
        self.world.run(5)
        self.assert_status("pending", "waits for the chosen time")
        self.alice.busy(False)
        self.go_to("2026-11-24 10:09")
        self.assertEqual(self.client.rung, [])
        self.go_to("2026-11-24 10:20")
        self.assertEqual(len(self.client.rung), 1)
        self.assert_status("completed")

    def test_client_for_whom_a_phone_rings_is_called_at_the_time_instead(self) -> None:
        self.alice.will(NO_ANSWER)
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.add()
        self.world.run(5)
        self.choose("10:10")
        self.world.run(5)
        self.assert_status("pending", "waits for the chosen time")
        self.go_to("2026-11-24 10:20")
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.placed()[1:], ["2026-11-24 10:10:00"])


class OrderTests(ChosenTimeTestCase):
    """Who is called first when the chosen time has come."""

    def order_of_two(self, fairness: Fairness) -> list[str]:
        """Let two tasks be due, and one agent be free; return who is called first."""
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office(fairness=fairness))
        self.add(OTHER)
        self.choose("10:10")
        self.go_to("2026-11-24 10:11")
        self.alice.busy(False)
        self.asterisk.client(OTHER).always(TALKS_10S)
        self.world.run(120)
        rung = {number: self.asterisk.client(number).rung for number in (NUMBER, OTHER)}
        self.assertEqual([len(rings) for rings in rung.values()], [1, 1])
        return sorted(rung, key=lambda number: rung[number][0].at)

    def test_it_is_the_first_task_where_live_callers_go_first(self) -> None:
        self.assertEqual(self.order_of_two(Fairness.LIVE_FIRST), [NUMBER, OTHER])

    def test_it_has_the_place_of_its_time_where_everybody_keeps_the_place(self) -> None:
        self.assertEqual(self.order_of_two(Fairness.PLACE), [OTHER, NUMBER])

    def test_live_caller_who_joined_after_the_chosen_time_waits_behind_it(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office(fairness=Fairness.PLACE))
        self.choose("10:10")
        self.go_to("2026-11-24 10:09")
        before = self.asterisk.call("support", "0309991111", talks_s=5)
        self.go_to("2026-11-24 10:11")
        after = self.asterisk.call("support", "0309992222", talks_s=5)
        self.alice.busy(False)
        self.world.run(120)
        called = self.client.rung[0].answered_at
        assert before.answered_at and called and after.answered_at
        self.assertLess(before.answered_at, called)
        self.assertLess(called, after.answered_at)


class MissedTimeTests(ChosenTimeTestCase):
    """Chosen times that are not kept: the history says why."""

    def test_service_that_did_not_run_calls_as_soon_as_it_runs(self) -> None:
        self.go_to("2026-11-24 10:00")
        process = self.begin(office())
        self.choose("10:10")
        process.kill()
        self.go_to("2026-11-24 10:30")
        self.begin(office())
        self.world.run(60)
        self.assertEqual(self.placed(), ["2026-11-24 10:30:00"])
        self.assertIs(self.missed_because(), Code.SERVICE_NOT_RUNNING)
        self.assert_warned("the service did not run")
        self.assert_status("completed")

    def test_service_that_runs_again_within_the_slack_misses_nothing(self) -> None:
        self.go_to("2026-11-24 10:00")
        process = self.begin(office())
        self.choose("10:10")
        process.kill()
        self.go_to("2026-11-24 10:20")
        self.begin(office())
        self.go_to("2026-11-24 10:30")
        self.assertEqual(self.placed(), ["2026-11-24 10:20:00"])
        self.assertNotIn(Code.CHOSEN_TIME_MISSED, self.codes())

    def test_asterisk_does_not_have_the_trunk(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.asterisk.missing_endpoints.add("trunk")
        self.begin(office(chosen_time={"slack": "5m"}))
        self.choose("10:10")
        self.go_to("2026-11-24 10:15:01")
        self.assertIs(self.missed_because(), Code.NO_TRUNK)
        self.asterisk.missing_endpoints.clear()

    def test_no_agent_is_free(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office(chosen_time={"slack": "5m"}))
        self.choose("10:10")
        self.go_to("2026-11-24 10:14:59")
        self.assertNotIn(Code.CHOSEN_TIME_MISSED, self.codes())
        self.go_to("2026-11-24 10:15:01")
        self.assertIs(self.missed_because(), Code.NO_AGENT_FREE)
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")

    def test_no_agent_is_free_for_a_client_in_line(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office(chosen_time={"slack": "5m"}, fairness=Fairness.PLACE))
        self.choose("10:10")
        self.go_to("2026-11-24 10:14:59")
        self.assert_status("calling")
        self.go_to("2026-11-24 10:15:01")
        self.assertIs(self.missed_because(), Code.NO_AGENT_FREE)

    def test_no_agent_answers(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.always(NO_ANSWER)
        self.begin(office(chosen_time={"slack": "1m"}, member_retry_delay="5m"))
        self.choose("10:10")
        self.go_to("2026-11-24 10:20")
        self.assertIn(self.missed_because(), (Code.RETRY, Code.CLIENT_NOT_DIALLED_YET))

    def test_link_to_asterisk_is_lost(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.choose("10:10")
        self.asterisk.kill()
        self.go_to("2026-11-24 10:26")
        self.assertIs(self.missed_because(), Code.ASTERISK_NOT_CONNECTED)

    def test_queue_is_closed_by_new_hours(self) -> None:
        self.go_to("2026-11-24 10:00")
        process = self.begin(office())
        self.choose("10:10")
        process.stop()
        self.begin(
            queue_settings(
                opening_hours=daily("09:00-18:00", days={"2026-11-24": "10:40-12:00"})
            )
        )
        shown = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertTrue(shown["queue_closed"])
        self.go_to("2026-11-24 10:30")
        self.assertIs(self.missed_because(), Code.QUEUE_IS_CLOSED)
        self.go_to("2026-11-24 10:50")
        self.assertEqual(self.placed(), ["2026-11-24 10:40:00"])


class ClientTests(ChosenTimeTestCase):
    """Clients who call in before the chosen time."""

    def test_client_who_is_served_before_is_not_called(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.begin(office())
        self.choose("10:10")
        self.asterisk.call("support", NUMBER, talks_s=20)
        self.world.run(60)
        self.assert_status("served")
        self.go_to("2026-11-24 10:30")
        self.assertEqual(self.placed(), [])

    def test_client_who_presses_the_key_is_called_as_soon_as_possible(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office())
        self.choose("10:10")
        self.request()
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.placed(), ["2026-11-24 10:00:02"])

    def test_missed_call_of_the_client_leaves_the_chosen_time(self) -> None:
        self.go_to("2026-11-24 10:00")
        self.alice.busy()
        self.begin(office())
        self.choose("10:10")
        self.miss()
        self.alice.busy(False)
        self.go_to("2026-11-24 10:30")
        self.assertEqual(self.placed(), ["2026-11-24 10:10:00"])


class ClockTests(ChosenTimeTestCase):
    """Nights in which clocks are changed."""

    def test_time_after_the_change_is_kept_by_the_clock_on_the_wall(self) -> None:
        self.go_to("2027-03-28 01:50")
        self.begin(queue_settings(opening_hours=daily("00:00-24:00")))
        self.choose("03:05")
        self.go_to("2027-03-28 03:10")
        self.assertEqual(self.placed(), ["2027-03-28 03:05:00"])

    def test_time_that_comes_twice_is_kept_at_the_one_that_was_named(self) -> None:
        self.go_to("2027-10-31 02:10")
        self.begin(queue_settings(opening_hours=daily("00:00-24:00")))
        self.choose("2027-10-31T02:20+01:00")
        self.go_to("2027-10-31 02:30")
        self.assertEqual(self.placed(), [])
        self.go_to("2027-10-31 02:30", fold=1)
        self.assertEqual(self.placed(), ["2027-10-31 02:20:00"])
