# SPDX-License-Identifier: MIT
"""Numbers that are not called because of the settings, the list or the limits."""

from __future__ import annotations

from typing import Any

from fastagi.config.sections import LimitSettings, NumberPlanSettings, Settings
from fastagi.domain.reason import said
from fastagi.domain.task import Kind
from fastagi.domain.turns import Fairness
from tests.emulator.calls import LiveCall
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.system.harness import (
    ANSWERS,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

ACCEPTED = "callback-queue/accepted"
CANNOT_CALL = "callback-queue/cannot-call"
PREMIUM = "09001234567"
ABROAD = "+18765551234"


def german(**queue: Any) -> Settings:
    """Return settings of an Asterisk in Germany."""
    return settings(
        queue_settings(**queue), number_plan=NumberPlanSettings(region="DE")
    )


def limited(**limits: int) -> Settings:
    """Return settings with limits of calls and a long expiry of requests."""
    return settings(
        queue_settings(attempts=9, retry_delay="5s", request_expiry="2h"),
        limits=LimitSettings(**limits),
    )


class GuardsTestCase(ServiceTestCase):
    """The one agent is busy, so callers wait."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.busy()

    def ask_for_callback(self, number: str = NUMBER, **more: Any) -> LiveCall:
        """Let somebody call in, press the key after a second and hear a prompt."""
        call = self.call(number, **more)
        self.world.run(1)
        call.press()
        self.world.run(5)
        return call

    def assert_refused(self, call: LiveCall, reason: str) -> None:
        """Check that the caller heard the reason and is in line, and that the admin can
        see it.
        """
        self.assertEqual(call.heard, [CANNOT_CALL])
        self.assertTrue(call.waiting)
        (latest, *_) = self.refusals()
        self.assertIn(reason, latest["reason"])
        self.assertEqual(latest["linkedid"], call.channel.uniqueid)

    def refusals(self, **arguments: Any) -> list[dict[str, Any]]:
        """Return the refused callers as the command line shows them."""
        answer = self.world.ask("numbers.refused", **arguments)
        self.assertTrue(answer["ok"], answer)
        found: list[dict[str, Any]] = answer["result"]
        return found

    def block(self, number: str = NUMBER, reason: str = "asked us to") -> Any:
        """Block a number as an operator would."""
        answer = self.world.ask("numbers.block", number=number, reason=reason)
        self.assertTrue(answer["ok"], answer)
        return answer["result"]


class RefusedTests(GuardsTestCase):
    """The settings do not allow the number."""

    def test_a_premium_number_is_back_in_line_and_known_to_the_admin(self) -> None:
        self.world.begin(german())
        call = self.ask_for_callback(PREMIUM)
        self.assert_refused(call, "premium-rate")
        (refusal,) = self.refusals()
        self.assertEqual(
            (refusal["queue"], refusal["kind"], refusal["number"]),
            ("support", "requested", PREMIUM),
        )
        self.assertEqual(self.world.tasks(), [])

    def test_a_missed_call_from_abroad_is_not_called_back(self) -> None:
        self.world.begin(german())
        call = self.call(ABROAD)
        self.world.run(5)
        call.hang_up()
        self.world.settle()
        self.assertEqual(self.world.tasks(), [])
        (refusal,) = self.refusals()
        self.assertEqual((refusal["kind"], refusal["number"]), ("missed", ABROAD))
        self.assertIn("a number of JM", refusal["reason"])

    def test_a_withheld_number_is_not_kept_of_who_is_refused(self) -> None:
        self.world.begin(german())
        call = self.ask_for_callback(callingpres="32")
        self.assert_refused(call, "withholds the number")
        self.assertEqual(self.refusals()[0]["number"], "")

    def test_what_was_shown_is_kept_in_a_safe_form(self) -> None:
        self.world.begin(german())
        self.ask_for_callback("0900\x1b[31m';--" + "9" * 100)
        (refusal,) = self.refusals(queue="SUPPORT")
        self.assertEqual(refusal["number"][:17], "0900??31m??--9999")
        self.assertEqual(len(refusal["number"]), 40)

    def test_the_id_of_a_call_is_kept_as_it_is(self) -> None:
        """With ``systemname`` in asterisk.conf the id may be long."""
        linkedid = f"pbx-{'a' * 60}.example.com-1800000000.17"
        process = self.world.begin(german())
        process.service.refusals.store(
            Kind.REQUESTED, "support", PREMIUM, said("no"), linkedid
        )
        self.world.settle()
        self.assertEqual(self.refusals()[0]["linkedid"], linkedid)

    def test_a_flood_of_refusals_waits_for_no_database(self) -> None:
        process = self.world.begin(german())
        process.database.takes_s = lambda name: 3600.0 if name == "refuse" else 0.0
        for _ in range(150):
            process.service.refusals.store(
                Kind.REQUESTED, "support", PREMIUM, said("no"), "1.1"
            )
        self.assertEqual(len(process.database._pending), 100)
        call = self.ask_for_callback()
        self.assertEqual(call.heard, [ACCEPTED])
        self.world.run(3600)
        self.assertEqual(len(self.refusals(limit=1000)), 100)

    def test_an_operator_is_told_why_a_number_is_not_called(self) -> None:
        self.world.begin(german())
        answer = self.world.ask("tasks.add", queue="support", number=PREMIUM)
        self.assertIn("premium-rate", answer["error"])


class DialTimeTests(GuardsTestCase):
    """The settings in force at the time of the dialling decide."""

    @live_first
    def test_a_number_that_is_no_longer_allowed_is_not_dialled(self) -> None:
        process = self.begin()
        self.ask_for_callback(PREMIUM)
        self.assert_status("pending")
        process.service.settings.replace(german())
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("failed", "it is a premium-rate number")
        self.assertEqual(self.world.attempts(), [])
        self.assertEqual(self.originates, [])

    def test_a_number_written_without_its_plus_is_still_the_same(self) -> None:
        """In Germany 33612345678 is no number, but +33612345678 is."""
        abroad = {"dial_as": "digits", "allow_regions": ["FR"]}
        self.world.begin(german(numbers=abroad))
        self.asterisk.client("33612345678").always(Answers(after_s=1))
        self.ask_for_callback("+33612345678")
        self.assertEqual(self.world.task().number, "33612345678")
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(len(self.originates), 1)

    def test_an_operator_can_not_put_it_back_in_line(self) -> None:
        process = self.begin()
        self.ask_for_callback(PREMIUM)
        self.world.ask("tasks.cancel", id=1)
        process.service.settings.replace(german())
        answer = self.world.ask("tasks.retry", id=1)
        self.assertEqual(
            answer["error"],
            f"{PREMIUM} is not called any more: it is a premium-rate number"
            " (setting numbers.kinds)",
        )
        self.assert_status("cancelled")


class BlockedTests(GuardsTestCase):
    """A client who does not want to be called."""

    def test_a_blocked_number_is_refused_in_each_form(self) -> None:
        self.world.begin(german())
        self.block("+49 30 1234567")
        for number in ("0301234567", "+49301234567", "0049301234567"):
            call = self.ask_for_callback(number)
            self.assert_refused(call, "the number is blocked: asked us to")
            call.hang_up()
            self.world.run(1)
        self.assertEqual(self.world.tasks(), [])
        # By the key, and by a missed call; both were refused.
        kinds = [refusal["kind"] for refusal in self.refusals()]
        self.assertEqual(kinds.count("requested"), 3)
        answer = self.world.ask("tasks.add", queue="support", number=NUMBER)
        self.assertIn("blocked", answer["error"])

    def test_the_list_is_durable_and_can_be_undone(self) -> None:
        process = self.begin()
        self.assertTrue(self.block()["created"])
        self.assertFalse(self.block()["created"])
        process.kill()
        self.begin()
        (blocked,) = self.world.ask("numbers.list")["result"]
        self.assertEqual(
            (blocked["number"], blocked["reason"]), (NUMBER, "asked us to")
        )
        self.assert_refused(self.ask_for_callback(), "blocked")
        self.assertTrue(self.world.ask("numbers.unblock", number=NUMBER)["ok"])
        again = self.world.ask("numbers.unblock", number=NUMBER)
        self.assertIn("is not blocked", again["error"])
        self.assertEqual(self.ask_for_callback().heard, [ACCEPTED])

    def test_what_is_no_number_can_not_be_blocked(self) -> None:
        self.begin()
        answer = self.world.ask("numbers.block", number="Ann\n")
        self.assertIn("no number", answer["error"])
        self.assertEqual(self.world.ask("numbers.list")["result"], [])

    @live_first
    def test_blocking_ends_the_task_at_once(self) -> None:
        self.begin()
        self.ask_for_callback()
        self.assertEqual(self.block()["task"]["status"], "cancelled")
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("cancelled", "the number is blocked: asked us to")
        self.assertEqual(self.originates, [])

    def test_blocking_while_the_agent_rings_spares_the_client(self) -> None:
        self.begin()
        self.ask_for_callback()
        self.alice.always(Answers(after_s=10)).busy(False)
        self.world.run(5)
        self.assertEqual(len(self.originates), 1)
        self.block()
        self.world.run(60)
        self.assert_status("cancelled", "the number is blocked: asked us to")
        # Logged once, though the attempt ended for the same reason.
        self.assertEqual(self.world.task().reason.count("asked us to"), 1)
        self.assertEqual(self.client.rung, [])

    def test_blocking_while_they_talk_lets_them_talk(self) -> None:
        self.begin(queue_settings(success_duration="1m"))
        self.ask_for_callback()
        self.alice.busy(False)
        self.world.run_until(
            lambda: self.client.rung and self.client.rung[0].answered_at
        )
        self.world.run(2)
        self.block()
        self.world.run(60)
        (ring,) = self.client.rung
        assert ring.ended_at is not None
        assert ring.answered_at is not None
        self.assertEqual(round(ring.ended_at - ring.answered_at), 10)
        self.assert_status("cancelled", "the number is blocked: asked us to")

    def test_a_request_that_asterisk_kept_is_refused(self) -> None:
        self.asterisk.keeps_requests = True
        process = self.begin()
        self.block()
        process.kill()
        self.ask_for_callback()
        self.begin()
        self.world.run(10)
        self.assertEqual(self.world.tasks(), [])
        (refusal,) = self.refusals()
        self.assertIn("blocked", refusal["reason"])
        self.assertEqual(self.asterisk.astdb, {})

    def test_a_number_blocked_before_the_region_was_known(self) -> None:
        process = self.begin()
        self.block("0301234567")
        process.service.settings.replace(german())
        self.world.settle()
        self.assert_refused(self.ask_for_callback("+49301234567"), "blocked")


class LimitTests(GuardsTestCase):
    """Limits of calls apply to any number of requests."""

    def test_one_number_is_called_no_more_often_in_a_day(self) -> None:
        self.world.begin(limited(calls_per_number=3))
        self.client.always(Refuses.BUSY)
        first = self.ask_for_callback()
        self.assertEqual(first.heard, [ACCEPTED])
        self.alice.busy(False)
        self.world.run(600)
        self.assertEqual(len(self.client.rung), 3)
        self.assert_status("failed", "called 3 times within 24 hours")
        self.assertIn("which is too late", self.world.task().reason)
        self.alice.busy()
        self.assert_refused(self.ask_for_callback(), "called 3 times within 24 hours")
        self.world.run(24 * 3600)
        self.assertEqual(self.ask_for_callback().heard, [ACCEPTED])

    def test_a_task_that_lives_long_enough_waits_until_the_number_is_free(self) -> None:
        self.world.begin(
            settings(
                queue_settings(attempts=9, retry_delay="5s", request_expiry="2d"),
                limits=LimitSettings(calls_per_number=2),
            )
        )
        self.client.always(Refuses.BUSY)
        self.ask_for_callback()
        self.alice.busy(False)
        self.world.run(3600)
        self.assert_status("pending", "called 2 times within 24 hours")
        self.assertEqual(len(self.client.rung), 2)
        self.world.run(24 * 3600)
        rings = self.rung_at(self.client)
        self.assertEqual(len(rings), 4)
        self.assertGreaterEqual(rings[2] - rings[0], 24 * 3600 - 5)

    def wait_for_number(self, **limits: int) -> Settings:
        """Let a task wait because its number was called once; return other settings."""
        queue = queue_settings(attempts=9, retry_delay="5s", request_expiry="3d")
        self.world.begin(settings(queue, limits=LimitSettings(calls_per_number=1)))
        self.client.will(Refuses.BUSY)
        self.ask_for_callback()
        self.alice.busy(False)
        self.world.run(600)
        self.assert_status("pending", "called once within 24 hours")
        return settings(queue, limits=LimitSettings(**limits))

    def test_a_limit_that_is_raised_lets_the_client_be_called_at_once(self) -> None:
        raised = self.wait_for_number(calls_per_number=2)
        self.world.processes[-1].service.settings.replace(raised)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 2)

    def test_a_limit_that_is_taken_away_while_the_service_is_down(self) -> None:
        without = self.wait_for_number(calls_per_number=0)
        self.world.processes[-1].kill()
        self.world.begin(without)
        self.world.run(60)
        self.assert_status("completed")

    def test_a_limit_that_still_holds_is_waited_for(self) -> None:
        same = self.wait_for_number(calls_per_number=1)
        before = self.world.story()
        self.world.processes[-1].kill()
        self.world.begin(same).service.settings.replace(same)
        self.world.run(60)
        self.assertEqual(self.world.story(), before)

    def test_a_delay_is_no_matter_of_limits(self) -> None:
        patient = settings(queue_settings(retry_delay="1h"))
        self.world.begin(patient)
        self.client.will(Refuses.BUSY)
        self.ask_for_callback()
        self.alice.busy(False)
        self.world.run(60)
        self.world.processes[-1].kill()
        self.world.begin(patient)
        self.world.run(60)
        self.assertEqual(len(self.client.rung), 1)

    def test_no_more_calls_begin_in_a_minute_and_none_is_slept_through(self) -> None:
        self.world.begin(limited(calls_per_minute=2))
        for n in range(5):
            number = f"03012345{n}0"
            self.asterisk.client(number).always(Answers(after_s=1, hangs_up_after_s=6))
            self.add(number)
        self.alice.busy(False)
        self.world.run(300)
        begun = self.originates
        self.assertEqual(len(begun), 5)
        for first, third in zip(begun, begun[2:], strict=False):
            self.assertGreaterEqual(third - first, 60)
            self.assertLess(third - first, 75)
        statuses = {task.status.value for task in self.world.tasks()}
        self.assertEqual(statuses, {"completed"})

    def test_no_more_clients_in_line_are_dialled_in_a_minute(self) -> None:
        """All agents become free at once, after clients have waited in line."""
        agents = [self.alice]
        for name in ("bob", "carol"):
            self.support.add(f"PJSIP/{name}")
            agents.append(self.asterisk.phone(f"PJSIP/{name}").always(ANSWERS))
        for agent in agents:
            agent.busy()
        self.world.begin(
            settings(
                queue_settings(fairness=Fairness.PLACE),
                limits=LimitSettings(calls_per_minute=1),
            )
        )
        clients = []
        for n in range(3):
            number = f"03012345{n}0"
            clients.append(self.asterisk.client(number).always(TALKS_10S))
            self.add(number)
        self.world.run(200)
        for agent in agents:
            agent.busy(False)
        self.world.run(300)
        first, second, third = sorted(self.rung_at(one)[0] for one in clients)
        self.assertGreaterEqual(second - first, 60)
        self.assertGreaterEqual(third - second, 60)
        self.assertLess(third, 400)

    def test_no_more_calls_for_a_queue_begin_in_an_hour(self) -> None:
        self.asterisk.add_queue("sales", ("PJSIP/alice",))
        self.world.begin(
            settings(
                queue_settings(calls_per_hour=1, request_expiry="5h"),
                queue_settings("sales"),
            )
        )
        for n, queue in enumerate(("support", "support", "sales", "support")):
            number = f"03012345{n}0"
            self.asterisk.client(number).always(Answers(after_s=1, hangs_up_after_s=6))
            self.add(number, queue)
        self.alice.busy(False)
        self.world.run(3 * 3600)
        begun = self.originates
        self.assertEqual(len(begun), 4)
        self.assertLess(begun[1], 60)
        dialled = sorted(
            at for one in self.asterisk.clients.values() for at in self.rung_at(one)
        )
        for at, since in ((2, 0), (3, 2)):
            self.assertGreaterEqual(begun[at] - dialled[since], 3600)
            self.assertLess(begun[at] - dialled[since], 3601)

    def test_while_a_limit_is_reached_nothing_is_asked_again_and_again(self) -> None:
        process = self.world.begin(limited(calls_per_minute=1))
        for n in range(2):
            number = f"03012345{n}0"
            self.asterisk.client(number).always(Answers(after_s=1, hangs_up_after_s=6))
            self.add(number)
        self.alice.busy(False)
        self.world.run(30)
        before = len(process.points)
        self.world.run(25)
        asked = [p for p in process.points[before:] if "COMMIT of begin" in p]
        self.assertEqual(asked, [])

    def test_a_try_that_no_agent_answered_makes_room(self) -> None:
        self.world.begin(
            settings(
                queue_settings(member_retry_delay="1s", member_ring_time="5s"),
                limits=LimitSettings(calls_per_minute=1),
            )
        )
        self.alice.will(NO_ANSWER)
        self.ask_for_callback()
        self.alice.busy(False)
        self.world.run(45)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])
