# SPDX-License-Identifier: MIT
"""Callers who wait are offered a callback, and lose nothing by being asked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastagi.config.queue_layers import DAYS_OF_WEEK, QueueSettings
from fastagi.speech.prompts import Phrase
from tests.emulator.calls import LiveCall
from tests.emulator.scenarios import NO_ANSWER
from tests.harness.world import START
from tests.system.harness import (
    ALICE,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

ACCEPTED: Final = "callback-queue/accepted"
#: Each alone: a test turns on the reason that it is about.
NO_REASON: Final[dict[str, Any]] = {
    "enabled": True,
    "not_before": "0s",
    "after": "0",
    "wait_over": "0",
    "position_over": 0,
    "at_closing": False,
    "without_agents": False,
    "unless_within": "0s",
}


def offering(**values: Any) -> QueueSettings:
    """Return the settings of a queue that offers a callback for one reason."""
    more = values.pop("queue", {})
    return queue_settings(offers={**NO_REASON, **values}, **more)


def at_seven_tomorrow() -> datetime:
    """Return 07:00 UTC on the day after the world has begun."""
    begin = datetime.fromtimestamp(START, UTC)
    return begin.replace(hour=7, minute=0, second=0) + timedelta(days=1)


class OffersTestCase(ServiceTestCase):
    """The one agent is busy, so callers wait."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.busy()

    def offers(self) -> list[dict[str, Any]]:
        """Return the offers in the database."""
        path = self.world.directory / "callback.db"
        with closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute("SELECT * FROM offer ORDER BY id").fetchall()
        return [dict(row) for row in rows]

    def outcomes(self) -> list[str]:
        """Return what those did who were asked, as the database has it."""
        return [offer["outcome"] for offer in self.offers()]


class WhenTests(OffersTestCase):
    """When a caller is asked."""

    def offered_at(self, *calls: LiveCall) -> list[float]:
        return [self.world.since(at) for call in calls for at in call.offered_at]

    def test_after_a_time_of_waiting(self) -> None:
        self.begin(offering(after="30s"))
        call = self.call()
        self.run_to(29)
        self.assertEqual(call.offered_at, [])
        self.run_to(32)
        self.assertEqual(self.offered_at(call), [30])
        self.assertEqual(
            call.heard,
            [
                "callback-queue/all-busy",
                "callback-queue/you-will-wait",
                "callback-queue/about",
                "callback-queue/number-4",
                "callback-queue/minutes",
                "callback-queue/call-back-press",
                "callback-queue/number-1",
                "callback-queue/or-stay",
            ],
        )

    def test_client_who_calls_again_has_not_waited_since_the_request(self) -> None:
        """The place of the open task is older than the call."""
        self.begin(offering(after="30s", queue={"request_expiry": "1h"}))
        self.request(NUMBER)
        self.run_to(100)
        call = self.call(asks_place=True)
        self.run_to(160)
        self.assertEqual(self.offered_at(call), [130])

    def test_not_before_the_time_that_the_settings_say(self) -> None:
        self.begin(offering(position_over=1, not_before="20s"))
        self.call("0301111111")
        second = self.call()
        self.run_to(60)
        self.assertEqual(self.offered_at(second), [20])

    def test_at_a_position(self) -> None:
        self.begin(offering(position_over=2))
        calls = [self.call(f"030111111{n}") for n in range(3)]
        self.run_to(60)
        self.assertEqual([len(call.offered_at) for call in calls], [0, 0, 1])

    def test_when_the_last_agent_leaves(self) -> None:
        self.begin(offering(without_agents=True))
        call = self.call()
        self.run_to(30)
        self.support.pause(ALICE)
        self.run_to(33)
        self.assertEqual(self.offered_at(call), [30])
        self.assertEqual(call.heard[0], "callback-queue/all-away")

    def test_at_closing_time_those_who_joined_before_it(self) -> None:
        # The world begins at 08:00:00 UTC.
        hours = {
            "time_zone": "UTC",
            **dict.fromkeys(
                ("monday", "tuesday", "wednesday", "thursday", "friday"),
                "00:00-08:01, 09:00-24:00",
            ),
            "saturday": "00:00-24:00",
            "sunday": "00:00-24:00",
        }
        self.begin(offering(at_closing=True, queue={"opening_hours": hours}))
        before = self.call()
        self.run_to(59)
        self.assertEqual(before.offered_at, [])
        self.run_to(70)
        after = self.call("0302222222")
        self.run_to(120)
        self.assertEqual(self.offered_at(before, after), [60])
        self.assertEqual(before.heard[0], "callback-queue/closing")

    def closes_until_tomorrow(self, **choices: Any) -> LiveCall:
        """A caller waits when the queue closes; a request would expire meanwhile."""
        hours = {"time_zone": "UTC", **dict.fromkeys(DAYS_OF_WEEK, "07:00-08:01")}
        self.begin(
            offering(
                at_closing=True, queue={"opening_hours": hours, "choices": choices}
            )
        )
        call = self.call(
            answers_offer="1",
            answers=((Phrase.CHOOSE_TIME_PRESS, "2"), ("callback-queue/at", "1")),
        )
        self.run_to(100)
        return call

    def test_at_closing_time_nobody_who_could_not_be_called_back(self) -> None:
        call = self.closes_until_tomorrow()
        self.assertEqual(call.offered_at, [])

    def test_at_closing_time_those_who_may_choose_a_time(self) -> None:
        call = self.closes_until_tomorrow(times=True, days_ahead=1)
        self.assertEqual(self.offered_at(call), [60])
        self.assertNotIn(Phrase.SOON_PRESS, call.asked)
        self.assertEqual(self.world.task().chosen_at, at_seven_tomorrow())

    def test_at_closing_time_nobody_without_a_time_to_choose(self) -> None:
        call = self.closes_until_tomorrow(times=True, days_ahead=0)
        self.assertEqual(call.offered_at, [])

    def test_nobody_for_whom_an_agent_is_free(self) -> None:
        self.alice.busy(False).always(NO_ANSWER)
        self.begin(offering(after="1s"))
        call = self.call()
        # Her phone rings for the caller.
        self.run_to(10)
        self.assertEqual(call.offered_at, [])

    def test_nobody_for_whom_an_agent_is_about_to_be_free(self) -> None:
        self.support.wrapuptime_s = 10
        self.alice.busy(False)
        self.begin(
            offering(after="33s", unless_within="15s", queue={"wrapuptime": "10s"})
        )
        first = self.call("0301111111", talks_s=30)
        second = self.call()
        third = self.call("0303333333")
        # The agent is in wrap-up from the 32nd to the 42nd second.
        self.run_to(41)
        self.assertTrue(first.gone)
        self.assertEqual(second.offered_at, [])
        self.assertEqual(self.offered_at(third), [33])

    def test_agent_who_did_not_answer_keeps_nobody_from_being_asked(self) -> None:
        self.support.timeout_s = 5
        self.support.retry_s = 5
        self.alice.busy(False).always(NO_ANSWER)
        self.begin(offering(after="2s", unless_within="15s"))
        call = self.call()
        self.run_to(9)
        self.assertEqual(self.offered_at(call), [5])

    def test_again_only_after_the_pause_also_in_another_call_and_life(self) -> None:
        self.begin(offering(after="10s", pause="2m"))
        first = self.call()
        self.run_to(40)
        first.hang_up()
        self.world.processes[-1].stop()
        self.world.run(5)
        self.begin(offering(after="10s", pause="2m"))
        second = self.call()
        self.run_to(200)
        self.assertEqual(self.offered_at(first, second), [10, 130])

    def test_nobody_who_has_just_gone_back_from_the_questions_after_the_key(
        self,
    ) -> None:
        self.begin(
            offering(
                after="30s", pause="2m", queue={"choices": {"confirm_number": True}}
            )
        )
        call = self.call(answers=((Phrase.BACK_PRESS, "3"),))
        self.run_to(10)
        call.press()
        self.run_to(100)
        self.assertEqual(call.heard, [Phrase.STILL_IN_LINE])
        self.run_to(140)
        self.assertEqual(self.offered_at(call), [130])

    def test_nobody_who_could_not_be_called_back(self) -> None:
        self.begin(offering(after="5s"))
        withheld = self.call(callingpres="32")
        internal = self.call("101")
        self.world.ask("numbers.block", number="0305555555")
        blocked = self.call("0305555555")
        self.run_to(60)
        self.assertEqual(self.offered_at(withheld, internal, blocked), [])
        self.assertTrue(withheld.waiting and internal.waiting and blocked.waiting)
        self.assertEqual(withheld.positions, [1])
        self.assertEqual(blocked.positions, [3, 3])

    def test_nobody_where_it_is_not_switched_on(self) -> None:
        self.begin(queue_settings())
        call = self.call()
        self.run_to(600)
        self.assertEqual(call.offered_at, [])

    def test_nobody_with_an_older_dialplan(self) -> None:
        self.asterisk.dialplan_has.clear()
        self.begin(offering(after="5s"))
        call = self.call()
        self.run_to(60)
        self.assertEqual(call.offered_at, [])
        self.assertEqual(call.positions, [1])
        self.assert_warned("no callback is offered")

    def test_reload_switches_it_on(self) -> None:
        process = self.begin(queue_settings())
        call = self.call()
        self.run_to(30)
        process.service.settings.replace(settings(offering(after="5s")))
        self.run_to(35)
        self.assertEqual(len(call.offered_at), 1)


class HowItEndsTests(OffersTestCase):
    """What becomes of a caller who was asked."""

    def asked(self, **more: Any) -> LiveCall:
        """The second of three callers is asked after 30 seconds."""
        self.begin(offering(after="30s"))
        self.call("101")
        self.run_to(10)
        call = self.call(**more)
        self.run_to(20)
        self.call("102")
        self.run_to(41)
        self.assertTrue(call.is_asked)
        return call

    def test_no_key_and_the_place_is_kept(self) -> None:
        call = self.asked()
        self.assertEqual(
            self.world.ask("status")["result"]["queues"]["support"]["waiting"], 3
        )
        self.run_to(60)
        self.assertEqual(call.positions, [2, 2])
        self.assertEqual(self.outcomes(), ["timed out"])
        self.assertEqual(self.world.tasks(), [])

    def test_another_key_declines(self) -> None:
        call = self.asked(answers_offer="5")
        self.run_to(60)
        self.assertEqual(call.positions, [2, 2])
        self.assertEqual(self.outcomes(), ["declined"])
        offers = self.world.ask("status")["result"]["offers"]
        self.assertEqual({o: n for o, n in offers.items() if n}, {"declined": 1})

    def test_key_1_is_a_request_with_the_place_in_line(self) -> None:
        call = self.asked(answers_offer="1")
        self.run_to(60)
        self.assertEqual(call.heard[-1], ACCEPTED)
        self.assertTrue(call.gone)
        self.assertEqual(self.world.since(self.world.task().joined_at), 10)
        self.assertEqual(self.outcomes(), ["accepted"])
        (offer,) = self.offers()
        self.assertEqual(offer["number"], NUMBER)
        self.assertEqual(offer["queue"], "support")
        self.assertEqual(offer["position"], 2)
        self.assertEqual(offer["reason"], "waited")
        self.assertEqual(offer["linkedid"], call.channel.linkedid)

    def test_keys_that_accept_are_those_of_the_settings(self) -> None:
        self.begin(offering(after="30s", accept_keys="52"))
        accepts = self.call(answers_offer="2")
        declines = self.call("0305550001", answers_offer="1")
        self.run_to(60)
        self.assertIn("callback-queue/number-5", accepts.heard)
        self.assertEqual(accepts.heard[-1], ACCEPTED)
        self.assertEqual(sorted(self.outcomes()), ["accepted", "declined"])
        self.assertTrue(declines.waiting)

    def test_key_that_accepts_may_say_when(self) -> None:
        self.begin(
            offering(
                after="30s",
                accept_keys="12",
                queue={"choices": {"times": True, "queue_time_keys": "2"}},
            )
        )
        call = self.call(
            answers_offer="2",
            answers=(("callback-queue/today", "1"), ("callback-queue/at", "1")),
        )
        self.run_to(100)
        self.assertTrue(call.gone)
        self.assertIsNotNone(self.world.task().chosen_at)
        self.assertEqual(self.outcomes(), ["accepted"])

    def outcome_after_key(self, *answers: tuple[str, str], **queue: Any) -> str:
        """Return how an offer ends whose caller pressed the key, then the answers."""
        self.begin(
            offering(after="30s", queue={"choices": {"confirm_number": True}, **queue})
        )
        call = self.call(answers_offer="1", answers=answers)
        self.run_to(36)
        self.assertEqual(self.outcomes(), ["asked"])
        if not answers:
            call.hang_up()
        self.run_to(200)
        (outcome,) = self.outcomes()
        return outcome

    def test_offer_is_accepted_when_the_request_is_confirmed(self) -> None:
        outcome = self.outcome_after_key((Phrase.CONFIRM_PRESS, "1"))
        self.assertEqual(outcome, "accepted")

    def test_caller_who_goes_back_from_the_questions_declines(self) -> None:
        outcome = self.outcome_after_key((Phrase.BACK_PRESS, "3"))
        self.assertEqual(outcome, "declined")
        self.assertEqual(self.world.tasks(), [])

    def test_caller_who_hangs_up_during_the_questions_has_not_accepted(self) -> None:
        self.assertEqual(self.outcome_after_key(), "hung up")

    def test_hang_up_while_the_offer_is_being_stored(self) -> None:
        process = self.begin(offering(after="30s"))
        process.database.takes_s = lambda name: 0.3 if "offer" in name else 0.0
        call = self.call()
        self.run_to(30.1)
        call.hang_up()
        self.run_to(60)
        self.assertEqual(self.outcomes(), ["hung up"])

    def test_offer_is_not_accepted_if_the_answer_is_lost(self) -> None:
        process = self.begin(offering(after="30s"))
        self.call(answers_offer="1")
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        self.run_to(60)
        self.assertEqual(self.world.task().status.value, "cancelled")
        self.assertEqual(self.outcomes(), ["refused"])

    def test_offer_is_refused_if_the_request_is(self) -> None:
        self.begin(offering(after="30s"))
        self.call(answers_offer="1")
        self.run_to(30)
        self.world.ask("numbers.block", number=NUMBER)
        self.run_to(60)
        self.assertEqual(self.outcomes(), ["refused"])

    def test_caller_who_hangs_up_is_a_missed_call(self) -> None:
        call = self.asked()
        call.hang_up()
        self.run_to(60)
        self.assertEqual(self.outcomes(), ["hung up"])
        self.assertEqual(self.world.task().kind.value, "missed")

    def test_caller_ahead_who_leaves_moves_the_place_up(self) -> None:
        call = self.asked()
        self.support.visits[0].abandon()
        self.run_to(60)
        self.assertEqual(call.positions, [2, 1])

    def test_service_that_dies_leaves_the_caller_at_the_place(self) -> None:
        call = self.asked()
        self.world.processes[-1].kill()
        self.run_to(60)
        self.assertEqual(call.positions, [2, 2])
        self.begin(offering(after="30s"))
        self.run_to(200)
        # The pause goes on.
        self.assertEqual(len(call.offered_at), 1)
        self.assertEqual(self.outcomes(), ["asked"])

    def test_nobody_is_asked_while_the_database_fails(self) -> None:
        process = self.begin(offering(after="30s"))
        call = self.call()
        self.run_to(20)
        process.database.unavailable = "disk full"
        self.run_to(60)
        self.assertEqual(call.offered_at, [])
        self.assertTrue(call.waiting)

    @live_first
    def test_callback_does_not_take_the_agent_of_one_who_is_asked(self) -> None:
        self.begin(offering(after="30s"))
        call = self.call()
        self.add("0309999999")
        self.run_to(31)
        self.assertTrue(call.is_asked)
        self.alice.busy(False)
        self.run_to(60)
        self.assertEqual(self.asterisk.client("0309999999").rung, [])
        self.assertTrue(call.talking)

    def test_key_that_asterisk_loses_is_pressed_again(self) -> None:
        self.begin(offering(after="30s"))
        call = self.call()
        press = call.channel.key_pressed
        call.channel.key_pressed = lambda key: None
        self.run_to(35)
        call.channel.key_pressed = press
        self.run_to(45)
        self.assertEqual(len(call.offered_at), 1)

    def test_queue_that_takes_no_key_is_left_alone(self) -> None:
        self.support.context = ""
        self.begin(offering(after="30s"))
        self.call()
        self.run_to(200)
        self.assertEqual(len(self.asterisk.manager.asked("PlayDTMF")), 3)
        self.assert_warned("set 'context = callback-request'")
