# SPDX-License-Identifier: MIT
"""An Asterisk of several dies, or is taken out of the settings, during callbacks."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from fastagi.domain.attempt import Disposition
from tests.emulator.scenarios import Answers
from tests.harness.world import settings
from tests.system.harness import ALICE, BOB, queue_settings
from tests.system.two_nodes import TwoNodes


class GoneNodesTests(TwoNodes):
    def task_in_line_here(self) -> None:
        """A task waits in line here, as bob talks too; bob is free a minute later."""
        self.begin_both()
        self.talk_to_alice()
        self.call_in_berlin("0301112244", talks_s=60)
        self.world.run(10)
        self.add()
        self.world.run(5)
        self.assertEqual(self.nodes_of(), ["default"])

    def test_task_in_line_on_a_dead_asterisk_is_called_elsewhere(self) -> None:
        self.task_in_line_here()
        self.asterisk.kill()
        self.world.run(200)
        # It may come back.
        self.assertEqual(self.nodes_of(), ["default"])
        self.world.run(160)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["default", "berlin"])
        self.assertEqual(self.reasons()[0], "asterisk_gone")
        self.assertEqual(self.world.task().attempts, 1)
        self.assertEqual(len(self.berlin_client.rung), 1)

    def test_gone_after_says_when_an_asterisk_is_gone(self) -> None:
        both = settings(queue_settings(), nodes=("default", "berlin"))
        nodes = [
            node.model_copy(update={"gone_after": timedelta(minutes=30)})
            for node in both.nodes
        ]
        self.world.begin(evolve(both, nodes=tuple(nodes)))
        self.talk_to_alice()
        self.call_in_berlin("0301112244", talks_s=60)
        self.world.run(10)
        self.add()
        self.world.run(5)
        self.asterisk.kill()
        self.world.run(1700)
        self.assertEqual(self.nodes_of(), ["default"])
        self.world.run(160)
        self.assertEqual(self.nodes_of(), ["default", "berlin"])

    def test_attempt_whose_client_was_dialled_counts(self) -> None:
        self.support.remove(ALICE)
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin_both()
        self.add()
        self.world.run(4)
        self.berlin.kill()
        self.world.run(310)
        self.assertEqual(self.world.task().attempts, 1)
        (attempt,) = self.world.attempts()
        self.assertIs(attempt.disposition, Disposition.UNKNOWN)
        self.assert_status("pending")

    def test_service_that_was_restarted_meanwhile_gives_up_too(self) -> None:
        self.support.remove(ALICE)
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.berlin.kill()
        self.world.run(10)
        self.stop_at_once()
        self.support.add(ALICE)
        self.begin_both()
        self.world.run(240)
        self.assert_status("calling")
        self.world.run(65)
        (attempt,) = self.world.attempts()
        self.assertIs(attempt.disposition, Disposition.UNKNOWN)

    def test_call_that_was_given_up_is_ended_when_its_asterisk_is_back(self) -> None:
        self.task_in_line_here()
        self.asterisk.freeze()
        self.world.run(400)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["default", "berlin"])
        self.asterisk.thaw()
        self.world.run(600)
        # Alice is free by now, and the client has been served.
        self.assertFalse(self.client.rung)
        (live_call,) = self.alice.rung
        self.assertEqual(live_call.number, "0301112233")

    def test_call_that_a_killed_process_gave_up_is_ended_too(self) -> None:
        self.task_in_line_here()
        self.asterisk.freeze()
        self.world.run(400)
        self.assert_status("completed")
        self.stop_at_once()
        self.begin_both()
        self.world.run(20)
        self.asterisk.thaw()
        # Alice is free by now.
        self.world.run(600)
        self.assertFalse(self.client.rung)
        self.assertEqual(len(self.alice.rung), 1)

    def test_talk_that_a_killed_process_gave_up_continues(self) -> None:
        self.berlin_support.remove(BOB)
        self.client.always(Answers(after_s=3, hangs_up_after_s=500))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.asterisk.freeze()
        self.world.run(350)
        (attempt, *_) = self.world.attempts()
        self.assertIs(attempt.disposition, Disposition.UNKNOWN)
        self.stop_at_once()
        self.begin_both()
        self.world.run(5)
        self.asterisk.thaw()
        self.world.run(30)
        (ring,) = self.client.rung
        self.assertIsNone(ring.ended_at)

    # -- an Asterisk that is not in the settings any more ------------------------

    def call_from_berlin_and_take_it_out(self) -> None:
        self.support.remove(ALICE)
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.berlin.kill()
        self.world.run(10)
        self.stop_at_once()
        self.support.add(ALICE)
        self.asterisk.agi_node = ""
        self.begin()

    def test_attempt_of_an_unknown_node_is_given_up(self) -> None:
        self.call_from_berlin_and_take_it_out()
        self.world.run(280)
        self.assert_status("calling")
        self.world.run(20)
        self.assert_status("pending")
        self.assertEqual(self.world.task().attempts, 1)
        self.world.run(3600)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)

    def test_task_of_an_unknown_node_can_be_cancelled(self) -> None:
        self.call_from_berlin_and_take_it_out()
        self.world.run(5)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.world.run(5)
        self.assert_status("cancelled")
        call = self.call()
        call.press()
        self.world.run(5)
        self.assertIn("callback-queue/accepted", call.heard)
        self.assertEqual(len(self.world.tasks()), 2)

    def test_task_in_line_on_an_unknown_node_is_called(self) -> None:
        self.asterisk.agi_node = ""
        self.begin()
        self.talk_to_alice()
        self.add()
        self.world.run(5)
        self.stop_at_once()
        self.berlin_support.remove(BOB)
        self.world.begin(settings(queue_settings(), nodes=("berlin",)))
        self.berlin_support.add(BOB)
        self.world.run(360)
        self.assertEqual(self.nodes_of(), ["default", "berlin"])
        self.assert_status("completed")
        self.assertEqual(self.reasons()[0], "asterisk_gone")
