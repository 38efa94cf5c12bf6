# SPDX-License-Identifier: MIT
"""Several Asterisks in one service: one list of tasks, and nobody is called twice."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from fastagi.domain.turns import Fairness
from tests.emulator.scenarios import Answers
from tests.harness.world import settings
from tests.system.harness import ALICE, BOB, CAROL, TALKS_10S
from tests.system.two_nodes import TwoNodes

NAMES = ["default", "berlin"]


class NodesTests(TwoNodes):
    # -- the call is made where the free agent is ------------------------------

    def assert_called_from_berlin_only(self) -> None:
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["berlin"])
        self.assertEqual(len(self.berlin_client.rung), 1)
        self.assertFalse(self.client.rung)

    def test_request_here_is_called_where_the_agent_is(self) -> None:
        self.support.remove(ALICE)
        self.begin_both()
        self.request()
        self.world.run(60)
        self.assert_called_from_berlin_only()

    def test_agent_who_is_busy_here_leaves_the_task_to_a_free_one_there(self) -> None:
        self.begin_both()
        self.talk_to_alice()
        self.add()
        self.world.run(60)
        self.assert_called_from_berlin_only()
        # Nothing was put in line here meanwhile.
        self.assertEqual(len(self.world.attempts()), 1)

    def test_task_in_line_here_goes_to_an_agent_who_becomes_free_there(self) -> None:
        self.begin_both()
        self.talk_to_alice()
        other = self.call_in_berlin("0307654321", talks_s=30)
        self.add()
        self.world.run(10)
        self.assertEqual(len(self.nodes_of()), 1)
        self.world.run_until(lambda: other.gone, 120)
        self.world.run(40)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of()[-1], "berlin")
        self.assertEqual(len(self.berlin_client.rung), 1)
        self.assertFalse(self.client.rung)

    def test_task_that_the_free_agent_there_refused_waits_in_line_here(self) -> None:
        self.bob.always(Answers(after_s=2, key="3"))
        self.begin_both(agent_keys={"enabled": True, "cannot_pause": "10m"})
        self.call("0301112233", talks_s=100)
        self.world.run(5)
        self.add()
        self.world.run(15)
        self.assertEqual(self.nodes_of(), ["berlin", "default"])
        self.assertEqual(self.reasons(), ["agent_cannot", ""])
        # It stays there: bob is free, but not for this task.
        self.world.run(60)
        self.assertEqual(self.nodes_of(), ["berlin", "default"])
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)

    def test_one_free_agent_each_and_two_tasks_are_called_at_once(self) -> None:
        other = "0307654321"
        for pbx in (self.asterisk, self.berlin):
            pbx.client(other).always(TALKS_10S)
        for fairness in Fairness:
            with self.subTest(fairness=fairness):
                self.begin_both(fairness=fairness)
                self.add()
                self.add(other)
                self.world.run(60)
                self.assertEqual(
                    sorted(self.nodes_of(1) + self.nodes_of(2)), ["berlin", "default"]
                )
                self.again()
                for pbx in (self.asterisk, self.berlin):
                    pbx.client(other).always(TALKS_10S)

    def test_two_without_a_free_agent_leave_the_task_to_a_third_with_one(self) -> None:
        celle = self.world.add_asterisk("celle")
        celle.add_queue("support", [CAROL])
        celle.phone(CAROL).busy()
        self.bob.busy()
        process = self.world.begin(settings(nodes=[*NAMES, "celle"]))
        self.world.run(1)
        # The others wait for this COMMIT, and not for each other.
        process.database.takes_s = lambda name: 0.05
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["default"])

    def test_queue_of_one_node_is_not_called_from_the_other(self) -> None:
        self.begin_both(nodes=("default",))
        self.support.remove(ALICE)
        self.request()
        self.world.run(60)
        self.assert_status("pending")
        self.assertFalse(self.berlin_client.rung)
        self.support.add(ALICE)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["default"])

    def test_request_on_a_node_from_which_the_queue_is_not_called(self) -> None:
        self.begin_both(nodes=("default",))
        call = self.call_in_berlin()
        call.press()
        self.world.run(60)
        self.assertIn("callback-queue/accepted", call.heard)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["default"])

    # -- what a client does counts everywhere ----------------------------------

    def test_client_who_talks_here_is_not_called_from_there(self) -> None:
        self.bob_waits_for_the_client()
        # A request of another client is called at once, so berlin does place calls.
        self.berlin.client("0307654321").always(TALKS_10S)
        self.add("0307654321")
        self.world.run(60)
        self.assertEqual(self.nodes_of(2), ["berlin"])
        self.assertFalse(self.berlin_client.rung)

    def bob_waits_for_the_client(self) -> None:
        """The client waits in the queue here, where nobody is free."""
        self.support.remove(ALICE)
        self.begin_both()
        self.call(queue_timeout_s=200)
        self.add()
        self.world.run(30)
        self.assert_status("pending")
        why = self.world.ask("tasks.show", id=1)["result"]["task"]["why_not_yet"]
        self.assertEqual(why["code"], "client_in_a_call")

    def test_client_is_called_after_the_call_elsewhere_has_ended(self) -> None:
        self.support.remove(ALICE)
        self.begin_both()
        call = self.call()
        self.add()
        self.world.run(30)
        self.assertFalse(self.berlin_client.rung)
        call.hang_up()
        self.world.run(1)
        self.assertTrue(self.bob.rung)

    def test_client_who_rings_in_here_ends_the_call_from_there(self) -> None:
        self.support.remove(ALICE)
        self.bob.always(Answers(after_s=20))
        self.begin_both()
        self.add()
        self.world.run(5)
        self.assertEqual(self.nodes_of(), ["berlin"])
        self.call()
        self.world.run(60)
        self.assertFalse(self.berlin_client.rung)
        self.assertEqual(self.reasons(), ["client_rang_in"])

    def test_cancelled_task_is_not_called_from_there(self) -> None:
        self.support.remove(ALICE)
        self.bob.always(Answers(after_s=20))
        self.begin_both()
        self.add()
        self.world.run(5)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.world.run(60)
        self.assert_status("cancelled")
        self.assertFalse(self.berlin_client.rung)

    # -- what breaks -----------------------------------------------------------

    def test_one_asterisk_is_gone_and_the_other_goes_on(self) -> None:
        self.begin_both()
        self.asterisk.kill()
        self.world.run(5)
        self.add()
        self.world.run(60)
        self.assert_called_from_berlin_only()
        status = self.world.ask("status")["result"]
        self.assertEqual(
            [(node["name"], node["connected"]) for node in status["nodes"]],
            [("default", False), ("berlin", True)],
        )

    def test_calls_on_an_asterisk_that_is_gone_do_not_count_for_ever(self) -> None:
        self.support.remove(ALICE)
        self.begin_both()
        self.call(queue_timeout_s=None)
        self.add()
        self.world.run(5)
        self.asterisk.kill()
        self.world.run(100)
        self.assertFalse(self.berlin_client.rung)
        self.world.run(300)
        self.assertEqual(len(self.berlin_client.rung), 1)

    def test_attempts_are_looked_after_by_their_own_node(self) -> None:
        self.support.remove(ALICE)
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.asterisk.cut_links()
        self.world.run(30)
        self.assert_status("calling")
        self.world.processes[-1].kill()
        self.world.run(1)
        self.begin_both()
        self.world.run(120)
        self.assert_status("completed")
        self.assertEqual(len(self.berlin_client.rung), 1)

    def test_attempts_of_a_node_that_was_renamed_are_told(self) -> None:
        self.berlin_support.remove(BOB)
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.world.processes[-1].kill()
        self.world.begin(settings(nodes=("berlin",)))
        self.world.run(1)
        self.assert_warned("there are calls of the Asterisk default, which is not in")
        # Nobody ends an attempt of another Asterisk.
        self.world.run(60)
        self.assert_status("calling")

    # -- what each Asterisk writes and keeps -----------------------------------

    def test_each_queue_log_has_the_attempts_of_its_asterisk(self) -> None:
        self.support.remove(ALICE)
        self.begin_both()
        self.add()
        self.world.run(60)
        words = [line.split("|")[3] for line in self.asterisk.queue_log]
        self.assertEqual(words, ["CALLBACKREQUEST"])
        words = [line.split("|")[3] for line in self.berlin.queue_log]
        self.assertEqual(words, ["CALLBACKATTEMPT", "CALLBACKDONE"])

    def test_request_that_names_no_node_is_refused(self) -> None:
        self.begin_both()
        self.asterisk.agi_node = ""
        call = self.call()
        call.press()
        self.world.run(5)
        self.assertEqual(self.world.tasks(), [])
        self.assert_warned("CALLBACK_AGI = agi://ADDRESS:PORT/NODE")
        self.assert_warned("(default, berlin)")

    def test_second_asterisk_with_the_same_systemname_places_no_call(self) -> None:
        self.asterisk.system_name = "berlin"
        self.support.remove(ALICE)
        self.begin_both()
        self.add()
        self.world.run(60)
        self.assert_status("pending")
        self.assertFalse(self.berlin_client.rung)
        self.assert_warned("the Asterisk berlin has the same systemname as default")
        status = self.world.ask("status")["result"]
        self.assertIn("same systemname", status["nodes"][1]["error"])

    def test_events_wait_if_one_queue_log_can_not_be_written(self) -> None:
        self.support.remove(ALICE)
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        process = self.begin_both()
        self.add()
        self.world.run(20)
        self.berlin.kill()
        # The attempt is given up, and its line is for berlin.
        self.world.run(310)
        asked = Deferred.fromCoroutine(process.service.live.snapshot())
        self.world.run(5)
        service = self.successResultOf(asked).all.service
        self.assertGreater(service.events_waiting, 0)

    # -- what is shown -----------------------------------------------------------

    def test_task_is_assigned_to_an_agent_of_the_other_asterisk(self) -> None:
        self.begin_both()
        self.bob.busy(True)
        self.talk_to_alice()
        self.add()
        self.world.run(5)
        answer = self.world.ask("tasks.assign", id=1, agent=BOB)
        self.assertTrue(answer["ok"], answer)
        refused = self.world.ask("tasks.assign", id=1, agent="PJSIP/nobody")
        self.assertIn("has no agent", refused["error"])
        self.world.run(5)
        self.bob.busy(False)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.nodes_of()[-1], "berlin")
        self.assertFalse(self.client.rung)

    def test_live_state_has_everybody(self) -> None:
        process = self.begin_both()
        self.call("0301112233", talks_s=500)
        self.call_in_berlin("0304445566", talks_s=500)
        self.world.run(5)
        self.call("0307778899")
        asked = Deferred.fromCoroutine(process.service.live.snapshot())
        self.world.run(5)
        everything = self.successResultOf(asked).all
        self.assertEqual([n.name for n in everything.service.nodes], NAMES)
        self.assertEqual({*everything.agents}, {ALICE, BOB})
        queue = everything.queues["support"]
        self.assertEqual((queue.agents, queue.busy, queue.waiting), (2, 2, 1))
        (caller,) = everything.callers.values()
        self.assertEqual(caller.number, "0307778899")

    def test_agents_with_one_interface_on_both_are_two(self) -> None:
        self.berlin_support.add(ALICE)
        process = self.begin_both()
        asked = Deferred.fromCoroutine(process.service.live.snapshot())
        self.world.run(5)
        agents = self.successResultOf(asked).all.agents
        self.assertEqual({*agents}, {ALICE, BOB, f"{ALICE} (berlin)"})

    def test_status_has_the_agents_of_both(self) -> None:
        self.begin_both()
        self.world.run(1)
        queue = self.world.ask("status")["result"]["queues"]["support"]
        self.assertEqual(queue["members"], 2)
        self.assertEqual(queue["free"], [ALICE, BOB])
