# SPDX-License-Identifier: MIT
"""Opening hours: who is called when, and what waits for the morning."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastagi.config.queue_layers import QueueSettings
from tests.emulator.manager import error
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.harness.world import START
from tests.system.harness import (
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

BERLIN: Final = ZoneInfo("Europe/Berlin")
#: Closed for ten minutes in the evening: a night short enough for the tests.
BREAK: Final = "08:00-18:00, 18:10-22:00"
#: The night in which 02:00 comes twice in Berlin.
DOUBLED: Final = "2027-10-31"
#: The night in which 02:00 is skipped.
SKIPPED: Final = "2027-03-28"
_EVERY_DAY: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)


def daily(hours: str, **more: Any) -> dict[str, Any]:
    """Return opening hours that are the same each day, in Berlin."""
    return {"time_zone": "Europe/Berlin", **dict.fromkeys(_EVERY_DAY, hours), **more}


class HoursTestCase(ServiceTestCase):
    """A world that begins at a local time in Berlin."""

    def go_to(self, local: str, fold: int = 0) -> None:
        """Begin, or let time pass, until a moment."""
        moment = datetime.fromisoformat(local).replace(tzinfo=BERLIN, fold=fold)
        seconds = moment.timestamp() - self.world.clock.seconds()
        if self.world.processes:
            self.world.run(seconds)
        else:
            self.world.clock.rightNow = moment.timestamp()

    def local(self, t: float) -> str:
        """Return the local time of a moment given in seconds from the beginning."""
        moment = datetime.fromtimestamp(START + t, BERLIN)
        return moment.isoformat(" ", "seconds")[:19]

    def placed(self) -> list[str]:
        """Return when callbacks were placed."""
        return [self.local(t) for t in self.originates]

    def rung(self) -> list[str]:
        """Return when the client's phone rang."""
        return [self.local(t) for t in self.rung_at(self.client)]

    def open_support(self, hours: str = BREAK, **more: Any) -> QueueSettings:
        """Return the settings of a queue with these hours."""
        carry_over = more.pop("carry_over", "none")
        days = more.pop("days", {})
        return queue_settings(
            opening_hours=daily(hours, carry_over=carry_over, days=days), **more
        )


class NightTests(HoursTestCase):
    """Requests while the queue is closed; the night lasts ten minutes."""

    def test_a_request_waits_for_the_opening_if_it_lasts_so_long(self) -> None:
        self.go_to("2026-11-24 18:02")
        self.begin(self.open_support(request_expiry="9m"))
        self.request()
        self.go_to("2026-11-24 18:11")
        self.assertEqual(self.placed(), ["2026-11-24 18:10:00"])
        self.assert_status("completed")

    def test_a_request_that_would_be_too_old_is_not_promised_anything(self) -> None:
        self.alice.busy()
        self.go_to("2026-11-24 18:02")
        self.begin(self.open_support(request_expiry="8m"))
        call = self.request()
        self.assertEqual(call.heard[-1], "callback-queue/closed")
        self.world.run(5)
        self.assertFalse(call.gone)
        self.assertEqual(self.world.tasks(), [])

    @live_first
    def test_a_request_is_carried_over_if_all_is(self) -> None:
        self.alice.busy()
        self.go_to("2026-11-24 17:59")
        self.begin(self.open_support(request_expiry="3m", carry_over="all"))
        self.request()
        self.go_to("2026-11-24 18:11")
        self.assert_status("pending")
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.placed(), ["2026-11-24 18:11:00"])

    @live_first
    def test_what_is_carried_over_grows_old_while_the_queue_is_open(self) -> None:
        self.alice.busy()
        self.go_to("2026-11-24 17:59")
        self.begin(self.open_support(request_expiry="3m", carry_over="all"))
        self.add()
        self.go_to("2026-11-24 18:11:59")
        self.assert_status("pending")
        self.go_to("2026-11-24 18:12")
        self.assert_status("expired")

    def test_a_missed_call_of_the_night_is_not_called_back(self) -> None:
        self.alice.busy()
        self.go_to("2026-11-24 18:01")
        self.begin(self.open_support(missed_window="5m"))
        self.miss()
        self.alice.busy(False)
        self.go_to("2026-11-24 18:12")
        self.assertEqual(self.placed(), [])
        self.assert_status("expired", "it was never called")

    @live_first
    def test_a_missed_call_of_the_night_is_called_in_the_morning_if_set_so(
        self,
    ) -> None:
        self.alice.busy()
        self.go_to("2026-11-24 18:01")
        self.begin(self.open_support(missed_window="5m", carry_over="missed"))
        self.miss()
        self.go_to("2026-11-24 18:14")
        self.alice.busy(False)
        self.go_to("2026-11-24 18:15")
        self.assertEqual(self.placed(), ["2026-11-24 18:14:00"])
        self.assert_status("completed")

    @live_first
    def test_its_window_runs_from_the_opening(self) -> None:
        self.alice.busy()
        self.go_to("2026-11-24 18:01")
        self.begin(self.open_support(missed_window="5m", carry_over="missed"))
        self.miss()
        self.go_to("2026-11-24 18:14:59")
        self.assert_status("pending")
        self.go_to("2026-11-24 18:15")
        self.assert_status("expired")

    def test_what_is_added_by_hand_at_night_is_called_in_the_morning(self) -> None:
        self.go_to("2026-11-24 18:01")
        self.begin(self.open_support(request_expiry="1m"))
        self.add()
        self.go_to("2026-11-24 18:12")
        self.assertEqual(self.placed(), ["2026-11-24 18:10:00"])

    def test_a_retry_that_is_due_at_night_waits_for_the_morning(self) -> None:
        self.client.will(Refuses.BUSY)
        self.go_to("2026-11-24 17:59")
        self.begin(self.open_support(retry_delay="5m"))
        self.add()
        self.go_to("2026-11-24 18:12")
        self.assertEqual(self.placed(), ["2026-11-24 17:59:00", "2026-11-24 18:10:00"])

    def test_holidays_and_days_off_are_nights_too(self) -> None:
        days = {"12-24": "08:00-12:00", "12-25": "closed", "2026-12-26": "closed"}
        chosen = settings(
            self.open_support("08:00-18:00", days=days, request_expiry="4d")
        )
        self.go_to("2026-12-24 12:00")
        process = self.world.begin(chosen)
        self.add()
        # The service may be down while nothing happens.
        for day in ("2026-12-25", "2026-12-26"):
            process.stop()
            self.go_to(f"{day} 12:00")
            process = self.world.begin(chosen)
            self.world.run(60)
            self.assertEqual(self.placed(), [], day)
        process.stop()
        self.go_to("2026-12-27 07:59")
        self.world.begin(chosen)
        self.world.run(120)
        self.assertEqual(self.placed(), ["2026-12-27 08:00:00"])

    def test_at_the_opening_no_more_are_called_than_agents_are_free(self) -> None:
        other = self.asterisk.client("0302222222").always(TALKS_10S)
        self.go_to("2026-11-24 18:09")
        self.begin(self.open_support())
        self.add()
        self.world.run(1)
        self.add("0302222222")
        self.go_to("2026-11-24 18:11")
        self.assertEqual(self.rung(), ["2026-11-24 18:10:03"])
        # After the talk with the first.
        self.assertEqual(
            [self.local(t) for t in self.rung_at(other)], ["2026-11-24 18:10:19"]
        )


class ClosingTests(HoursTestCase):
    """Callbacks in progress when the queue closes."""

    def test_a_talk_is_not_cut(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.go_to("2026-11-24 17:59")
        self.begin(self.open_support())
        self.add()
        self.go_to("2026-11-24 18:02")
        self.assert_status("completed", "they talked for 100.0 s")

    def test_a_client_whose_phone_rings_is_not_cut_off(self) -> None:
        self.client.always(Answers(after_s=20, hangs_up_after_s=30))
        self.go_to("2026-11-24 17:59:50")
        self.begin(self.open_support())
        self.add()
        self.go_to("2026-11-24 18:02")
        self.assert_status("completed")

    def test_an_agent_who_has_not_answered_is_rung_no_longer(self) -> None:
        self.alice.always(NO_ANSWER)
        self.go_to("2026-11-24 17:59:50")
        self.begin(self.open_support())
        self.add()
        self.go_to("2026-11-24 18:00:01")
        (ring,) = self.alice.rung
        assert ring.ended_at is not None
        self.assertEqual(self.local(ring.ended_at - START), "2026-11-24 18:00:00")
        self.assert_status("pending", "the queue closed meanwhile")
        self.alice.always(Answers(after_s=2))
        self.go_to("2026-11-24 18:12")
        self.assertEqual(self.rung(), ["2026-11-24 18:10:03"])
        task = self.world.task()
        self.assertEqual((task.attempts, task.member_attempts), (1, 0))

    def test_closing_again_and_again_ends_no_task(self) -> None:
        """Nor is it ever reported as about to be called."""
        self.alice.always(NO_ANSWER)
        self.go_to("2026-11-24 17:59:50")
        self.begin(self.open_support(member_attempts=1))
        self.add()
        self.go_to("2026-11-24 18:00:01")
        self.assert_status("pending")
        self.assertEqual(self.world.task().reason, "the queue closed meanwhile")
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])

    def test_an_agent_answers_who_could_not_be_hung_up_on_at_once(self) -> None:
        """Then the call continues, although the hangup is tried again."""
        handlers = self.asterisk.manager.handlers
        hang_up = handlers["Hangup"]
        self.alice.always(Answers(after_s=10.5))
        self.go_to("2026-11-24 17:59:50")
        self.begin(self.open_support())
        handlers["Hangup"] = lambda action: error("No such channel")
        self.add()
        self.go_to("2026-11-24 18:00:00")
        self.assertEqual(self.world.story()[-1][2], "the queue closed meanwhile")
        self.world.run(0.6)
        handlers["Hangup"] = hang_up
        self.go_to("2026-11-24 18:02")
        self.assert_status("completed", "they talked for 10.0 s")

    def test_no_call_is_placed_that_was_stored_too_late(self) -> None:
        self.go_to("2026-11-24 17:59:59")
        process = self.begin(self.open_support())
        process.database.takes_s = lambda name: 2.0 if "begin" in name else 0.0
        self.add()
        self.go_to("2026-11-24 18:05")
        self.assertEqual(self.placed(), [])
        self.assert_status("pending", "the queue closed meanwhile")
        process.database.takes_s = lambda name: 0.0
        self.go_to("2026-11-24 18:11")
        self.assertEqual(self.placed(), ["2026-11-24 18:10:00"])


class QueuesTests(HoursTestCase):
    """Each queue has its own hours."""

    def test_two_queues_with_the_same_agent(self) -> None:
        self.asterisk.add_queue("sales", self.members)
        other = self.asterisk.client("0302222222").always(TALKS_10S)
        self.go_to("2026-11-24 06:59")
        self.begin(
            queue_settings("support", opening_hours=daily("07:05-18:00")),
            queue_settings("sales", opening_hours=daily("07:00-12:00")),
        )
        self.add()
        self.add("0302222222", "sales")
        self.go_to("2026-11-24 07:04")
        self.assertEqual(
            [self.local(t) for t in self.rung_at(other)], ["2026-11-24 07:00:03"]
        )
        self.assertEqual(self.rung(), [])
        self.go_to("2026-11-24 07:06")
        self.assertEqual(self.rung(), ["2026-11-24 07:05:03"])

    def test_a_task_at_the_head_of_a_closed_queue_keeps_nobody_waiting(self) -> None:
        self.asterisk.add_queue("sales", self.members)
        self.go_to("2026-11-24 06:00")
        self.begin(
            queue_settings("support"),
            queue_settings("sales", opening_hours=daily("08:00-18:00")),
        )
        self.add("0302222222", "sales")
        self.world.run(60)
        self.add()
        self.world.run(60)
        self.assertEqual(self.rung(), ["2026-11-24 06:01:03"])


class ReloadTests(HoursTestCase):
    """New hours apply from the moment at which they are loaded."""

    def test_longer_hours_open_the_queue_at_once(self) -> None:
        self.go_to("2026-11-24 20:00")
        process = self.begin(self.open_support("08:00-18:00"))
        self.add()
        self.go_to("2026-11-24 20:05")
        process.service.settings.replace(settings(self.open_support("08:00-22:00")))
        self.world.run(60)
        self.assertEqual(self.placed(), ["2026-11-24 20:05:00"])

    def test_shorter_hours_close_it_at_once(self) -> None:
        self.client.will(Refuses.BUSY)
        self.go_to("2026-11-24 16:00")
        process = self.begin(self.open_support("08:00-18:00", retry_delay="2m"))
        self.add()
        self.world.run(60)
        process.service.settings.replace(settings(self.open_support("08:00-16:00")))
        self.world.run(300)
        self.assertEqual(self.placed(), ["2026-11-24 16:00:00"])

    def test_another_time_zone(self) -> None:
        self.go_to("2026-11-24 07:30")
        process = self.begin(self.open_support("08:00-18:00"))
        self.add()
        hours = daily("08:00-18:00", time_zone="Europe/Moscow")
        process.service.settings.replace(settings(queue_settings(opening_hours=hours)))
        self.world.run(60)
        self.assertEqual(self.placed(), ["2026-11-24 07:30:00"])


class ClocksAreSetTests(HoursTestCase):
    """The nights in which clocks are changed."""

    def test_an_opening_in_the_skipped_hour(self) -> None:
        self.go_to(f"{SKIPPED} 01:55")
        self.begin(self.open_support("02:30-06:00"))
        self.add()
        self.go_to(f"{SKIPPED} 03:05")
        self.assertEqual(self.placed(), [f"{SKIPPED} 03:00:00"])

    def test_an_opening_in_the_doubled_hour(self) -> None:
        """It is open from 02:50 until clocks are set to 02:00, and from 02:50 again."""
        self.client.will(Refuses.BUSY, Refuses.BUSY)
        self.go_to(f"{DOUBLED} 02:49")
        self.begin(self.open_support("02:50-06:00", retry_delay="6m"))
        self.add()
        first = self.world.t + 60
        self.go_to(f"{DOUBLED} 02:51", fold=1)
        # The third is due at 02:02:06 of the second 02:00.
        self.assertEqual(self.originates, [first, first + 363, first + 3600])

    def test_delays_and_windows_are_real_time(self) -> None:
        """No setting of summer or winter time makes a delay longer or shorter."""
        for night, hour in ((SKIPPED, "01:59"), (DOUBLED, "02:59")):
            with self.subTest(night):
                self.client.will(Refuses.BUSY)
                self.go_to(f"{night} {hour}")
                self.begin(queue_settings(retry_delay="5m", missed_window="5m"))
                begins = self.world.t
                self.add()
                self.world.run(400)
                self.assertEqual(self.originates, [begins, begins + 303])
                self.alice.busy()
                self.miss("0302222222")
                missed_at = self.world.t
                self.world.run(400)
                self.assert_status("expired", task_id=2)
                self.assertEqual(self.world.story(2)[-1][0], missed_at + 300)
            self.again()


class TellingTests(HoursTestCase):
    """The output of status, list and show."""

    def test_status_says_whether_a_queue_is_open_and_until_when(self) -> None:
        self.asterisk.add_queue("sales", self.members)
        self.go_to("2026-11-24 17:59")
        self.begin(self.open_support("08:00-18:00"), queue_settings("sales"))
        queues = self.world.ask("status")["result"]["queues"]
        self.assertIs(queues["support"]["open"], True)
        self.assertEqual(queues["support"]["until"], "2026-11-24T17:00:00+00:00")
        self.assertEqual(
            (queues["sales"]["open"], queues["sales"]["until"]), (True, None)
        )
        self.go_to("2026-11-24 18:00")
        queue = self.world.ask("status")["result"]["queues"]["support"]
        self.assertIs(queue["open"], False)
        self.assertEqual(queue["until"], "2026-11-25T07:00:00+00:00")

    def test_a_task_says_that_it_waits_for_its_queue(self) -> None:
        self.go_to("2026-11-24 18:00")
        self.begin(self.open_support(request_expiry="20h"))
        self.add()
        (listed,) = self.world.ask("tasks.list")["result"]
        shown = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertEqual(listed, shown)
        self.assertIs(shown["queue_closed"], True)
        self.assertEqual(shown["opens_at"], "2026-11-24T17:10:00.000+00:00")
        self.go_to("2026-11-24 18:11")
        shown = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertEqual((shown["queue_closed"], shown["opens_at"]), (False, None))


class ClockJumpTests(HoursTestCase):
    """The machine's clock is set while tasks wait."""

    def test_forward_over_the_opening(self) -> None:
        self.go_to("2026-11-24 23:00")
        self.begin(self.open_support("08:00-18:00", request_expiry="20h"))
        self.add()
        self.world.run(60)
        before = self.world.t
        self.world.set_wall_clock(timedelta(hours=10).total_seconds())
        self.world.run(120)
        (placed,) = self.originates
        self.assertLessEqual(placed - before, 61)

    def test_forward_over_the_closing(self) -> None:
        self.client.will(Refuses.BUSY)
        self.go_to("2026-11-24 17:00")
        self.begin(self.open_support("08:00-18:00", request_expiry="20h"))
        self.add()
        self.world.run(10)
        self.world.set_wall_clock(timedelta(hours=2).total_seconds())
        self.world.run(300)
        self.assertEqual(len(self.originates), 1)
        self.assert_status("pending")
