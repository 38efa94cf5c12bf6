# SPDX-License-Identifier: MIT
"""A callback is withdrawn, and the link breaks at that moment."""

from __future__ import annotations

from fastagi.domain.reason import said
from tests.emulator.manager import Action, Answer, error
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.harness.world import ControlClient
from tests.system.harness import (
    BOB,
    NUMBER,
    ServiceTestCase,
    queue_settings,
    settings,
)


class LostHangupTests(ServiceTestCase):
    """The link breaks when the Hangup is written, before Asterisk has read it."""

    #: Answers late, so that the link is back while the phone rings.
    SLOW = Answers(after_s=12)

    def setUp(self) -> None:
        super().setUp()
        self.lost: list[float] = []
        self.world.listeners.append(self._lose)

    def _lose(self, kind: str, data: bytes) -> None:
        if kind == "AMI" and data.startswith(b"Action: Hangup") and not self.lost:
            self.lost.append(self.world.t)
            self.asterisk.manager_wires[-1].server.frozen = True
            self.asterisk.later(0, self.asterisk.cut_links)

    def check_withdrawn(self, at: float) -> None:
        """Check that the Hangup was lost at this time and sent again."""
        self.assertEqual(self.lost, [at])
        self.assertEqual(len(self.asterisk.manager.asked("Hangup")), 1)
        self.assertEqual(self.client.rung, [])
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])

    def test_client_rings_in_meanwhile(self) -> None:
        self.asterisk.phone(BOB).always(self.SLOW)
        self.alice.busy()
        self.begin(queue_settings(target_extension=BOB))
        self.run_to(10)
        self.add()
        self.run_to(11)
        call = self.asterisk.call("support", NUMBER)
        self.run_to(60)
        self.assertTrue(call.waiting)
        self.check_withdrawn(at=11)
        self.assert_status("pending")

    def test_number_is_blocked_meanwhile(self) -> None:
        self.alice.always(self.SLOW)
        self.begin()
        self.add()
        self.run_to(2)
        self.world.ask("numbers.block", number=NUMBER, reason="asked us to")
        self.run_to(60)
        self.check_withdrawn(at=2)
        self.assert_status("cancelled", "the number is blocked: asked us to")

    def test_talk_that_began_meanwhile_goes_on(self) -> None:
        self.alice.always(Answers(after_s=3))
        self.client.always(Answers(after_s=2, hangs_up_after_s=60))
        self.begin()
        self.add()
        self.run_to(2)
        self.asterisk.manager.listening = False
        self.world.ask("numbers.block", number=NUMBER, reason="asked us to")
        self.run_to(20)
        self.assertEqual(self.lost, [2])
        self.asterisk.manager.listening = True
        self.run_to(200)
        (ring,) = self.client.rung
        assert ring.answered_at is not None
        self.assertEqual(ring.ended_at, ring.answered_at + 60)
        self.assert_status("completed", "they talked for")

    def test_reason_is_not_given_when_it_was_too_late(self) -> None:
        self.alice.always(Answers(after_s=4, hangs_up_after_s=12))
        self.client.always(Answers(after_s=25))
        process = self.begin()
        self.add()
        self.run_to(2)
        self.asterisk.manager.listening = False
        dialer = process.service.node.dialer
        dialer.end_ringing(lambda queue: False, said("the queue closed"))
        self.run_to(8)
        self.assertEqual(self.lost, [2])
        self.asterisk.manager.listening = True
        self.run_to(20)
        (attempt, *_) = self.world.attempts()
        self.assertEqual(
            attempt.reason, "the agent hung up while the client's phone rang"
        )


class CancelledTests(ServiceTestCase):
    """An operator cancels a task whose attempt is in progress."""

    def cancel(self) -> None:
        self.world.ask("tasks.cancel", id=1, reason="not wanted any more")

    def check_client_was_spared(self) -> None:
        self.assertEqual(self.client.rung, [])
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        # Only once, though task and attempt have the same reason.
        self.assertEqual(self.world.task().reason, "not wanted any more")
        self.assert_status("cancelled")

    def test_while_an_agent_rings(self) -> None:
        self.alice.always(Answers(after_s=12))
        self.begin()
        self.add()
        self.run_to(2)
        self.cancel()
        self.run_to(3)
        self.check_client_was_spared()
        self.run_to(300)
        self.check_client_was_spared()

    def test_while_the_attempt_waits_for_an_agent(self) -> None:
        self.alice.will(Refuses.DECLINE).always(Answers(after_s=1))
        self.begin()
        self.add()
        # The queue pauses for a second before it rings her again.
        self.run_to(0.5)
        self.assertIsNotNone(self.alice.rung[0].ended_at)
        self.cancel()
        self.run_to(300)
        self.assertEqual(len(self.alice.rung), 1)
        self.check_client_was_spared()

    def test_while_the_alert_is_played_to_the_agent(self) -> None:
        self.asterisk.alert_s = 5.0
        self.begin()
        self.add()
        self.run_to(3)
        self.cancel()
        self.run_to(300)
        self.check_client_was_spared()

    def test_while_the_clients_phone_rings(self) -> None:
        self.client.always(NO_ANSWER)
        self.begin()
        self.add()
        self.run_to(5)
        (ring,) = self.client.rung
        self.assertIsNone(ring.ended_at)
        self.cancel()
        self.run_to(6)
        self.assertIsNotNone(ring.ended_at)
        self.assert_status("cancelled", "not wanted any more")

    def test_while_they_talk(self) -> None:
        self.client.always(Answers(after_s=1, hangs_up_after_s=60))
        self.begin()
        self.add()
        self.run_to(20)
        (ring,) = self.client.rung
        self.cancel()
        self.run_to(200)
        assert ring.answered_at is not None
        self.assertEqual(ring.ended_at, ring.answered_at + 60)
        self.assert_status("completed", "they talked for")

    def test_and_the_service_is_killed_before_asterisk_is_told(self) -> None:
        self.alice.always(Answers(after_s=12))
        self.world.begin(
            settings(queue_settings()),
            kill_at=lambda point: "Action: Hangup" in point,
        )
        self.add()
        self.run_to(2)
        client = ControlClient("tasks.cancel", {"id": 1}, hangs_up=True)
        _ = self.world.processes[-1].control.dial(client)
        self.run_to(3)
        self.assertTrue(self.world.processes[-1].dead)
        self.begin()
        self.run_to(300)
        self.assertEqual(self.client.rung, [])
        self.assert_status("cancelled", "cancelled by hand")


class RefusedHangupTests(ServiceTestCase):
    """Asterisk refuses to hang up the attempt."""

    def refuse_until(self, t: float) -> None:
        """Let Asterisk refuse each Hangup before this time."""
        handlers = self.asterisk.manager.handlers
        hang_up = handlers["Hangup"]

        def refuse(action: Action) -> Answer:
            return error("No such channel") if self.world.t < t else hang_up(action)

        handlers["Hangup"] = refuse

    def begin_to_ring(self) -> None:
        """Let a phone ring for a client who calls in at 12."""
        self.asterisk.phone(BOB).always(Answers(after_s=40))
        self.alice.busy()
        self.begin(queue_settings(target_extension=BOB, member_ring_time="1m"))
        self.run_to(10)
        self.add()
        self.run_to(12)
        self.asterisk.call("support", NUMBER)

    def test_it_is_asked_until_it_does(self) -> None:
        self.refuse_until(30)
        self.begin_to_ring()
        self.run_to(100)
        self.assertEqual(self.client.rung, [])
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])

    def test_it_is_said_once(self) -> None:
        self.refuse_until(1000)
        self.begin_to_ring()
        process = self.world.processes[-1]
        for t in range(13, 50):
            self.run_to(t)
            process.service.node.dialer.end_ringing(lambda queue: False, "it closed")
        self.assertEqual(len(self.warnings()), 1)
        self.assertLess(len(self.asterisk.manager.asked("Hangup")), 40)
        texts = [text for _, _, text in self.world.story()]
        self.assertEqual(texts.count("the client rang in meanwhile"), 1)
        self.assertEqual(texts.count("it closed"), 0)


class TalkInAGapTests(ServiceTestCase):
    """The two began to talk while the link was down."""

    def test_a_number_that_is_blocked_then_does_not_cut_them_off(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=60))
        process = self.begin()
        self.add()
        self.run_to(1)
        self.asterisk.manager.listening = False
        self.asterisk.cut_links()
        self.run_to(11)
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.world.run(10)
        self.world.ask("numbers.block", number=NUMBER, reason="asked us to")
        self.run_to(120)
        (ring,) = self.client.rung
        assert ring.answered_at is not None
        self.assertEqual(ring.ended_at, ring.answered_at + 60)
