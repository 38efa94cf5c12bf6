# SPDX-License-Identifier: MIT
"""What several Asterisks leave to each other, and what each knows of the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest import mock

import attrs

from fastagi.config.queue_layers import AgentKeys, PreferredAgent
from fastagi.config.sections import HistorySettings
from fastagi.domain.turns import Fairness
from fastagi.node.scheduler import Scheduler
from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.manager import Header
from tests.emulator.phones import Ringing
from tests.emulator.scenarios import Answers
from tests.harness.world import ServiceProcess, queue_settings, settings
from tests.system.harness import ALICE, ANSWERS, BOB, CAROL, NUMBER, TALKS_10S
from tests.system.two_nodes import TwoNodes

DAVE = "PJSIP/dave"
EVE = "PJSIP/eve"
KEYS = AgentKeys(enabled=True)
PREFERRED = PreferredAgent(enabled=True)
#: An agent who answers and cannot take the callback.
CANNOT = Answers(after_s=2, key="3")


class LeftToOthersTests(TwoNodes):
    """Tasks that one Asterisk leaves to another one with a free agent."""

    def count_passes(self) -> Counter[int]:
        """Count how often each scheduler looks for due tasks."""
        passes: Counter[int] = Counter()
        look = Scheduler._begin_due_tasks

        async def counted(scheduler: Scheduler) -> float | None:
            passes[id(scheduler)] += 1
            return await look(scheduler)

        patch = mock.patch.object(Scheduler, "_begin_due_tasks", counted)
        patch.start()
        self.addCleanup(patch.stop)
        return passes

    def test_two_nodes_do_not_leave_tasks_to_each_other_for_ever(self) -> None:
        numbers = {"q1": "0301111111", "q2": "0302222222"}
        for pbx in (self.asterisk, self.berlin):
            for number in numbers.values():
                pbx.client(number).always(TALKS_10S)
        self.alice.always(CANNOT)
        self.bob.always(CANNOT)
        self.asterisk.phone(CAROL).always(ANSWERS)
        self.berlin.phone(DAVE).always(ANSWERS)
        self.asterisk.add_queue("q1", [ALICE])
        self.asterisk.add_queue("q2", [CAROL])
        self.berlin.add_queue("q1", [DAVE])
        self.berlin.add_queue("q2", [BOB])
        queues = [queue_settings(name, agent_keys=KEYS) for name in numbers]
        process = self.world.begin(settings(*queues, nodes=("default", "berlin")))
        self.world.run(5)
        # Carol and dave talk; alice and bob are free, and refuse.
        self.asterisk.call("q2", "0301234001", talks_s=60)
        self.berlin.call("q1", "0301234002", talks_s=60)
        self.world.run(10)
        process.database.takes_s = lambda name: 0.002
        for name, number in numbers.items():
            self.add(number, name)
        passes = self.count_passes()
        self.world.run(10)
        self.assertLess(max(passes.values()), 50)
        # Each waits in line for the agent who did not refuse it.
        self.assertEqual(self.nodes_of(1), ["default", "berlin"])
        self.assertEqual(self.nodes_of(2), ["berlin", "default"])
        self.world.run(120)
        self.assert_status("completed", task_id=1)
        self.assert_status("completed", task_id=2)

    def test_agent_who_comes_is_asked_though_another_one_there_refused(self) -> None:
        self.bob.always(CANNOT)
        self.begin_both(agent_keys=KEYS)
        self.talk_to_alice()
        self.add()
        self.world.run(20)
        self.assertEqual(self.nodes_of(), ["berlin", "default"])
        self.berlin.phone(EVE).always(Answers(after_s=2, key="1"))
        self.berlin_support.add(EVE, dynamic=True)
        self.world.run(60)
        self.assertEqual(self.nodes_of(), ["berlin", "default", "berlin"])
        self.assert_status("completed")
        self.assertEqual(len(self.berlin_client.rung), 1)


class PreferredAgentTests(TwoNodes):
    """The agent who talked to the client last is a member on one Asterisk."""

    def talks_to_bob(self, fairness: Fairness) -> None:
        self.begin_both(preferred_agent=PREFERRED, fairness=fairness)
        self.call_in_berlin(talks_s=10)
        self.world.run(30)

    def test_agent_of_the_other_asterisk_is_asked_first(self) -> None:
        for fairness in Fairness:
            with self.subTest(fairness=fairness):
                self.talks_to_bob(fairness)
                self.add()
                self.world.run(60)
                self.assert_status("completed")
                self.assertEqual(self.nodes_of(), ["berlin"])
                self.assertFalse(self.client.rung)
                self.again()

    def test_agent_who_leaves_the_other_asterisk_is_not_waited_for(self) -> None:
        for fairness in Fairness:
            with self.subTest(fairness=fairness):
                self.talks_to_bob(fairness)
                self.call_in_berlin("0304445566", talks_s=500)
                self.world.run(5)
                self.add()
                self.world.run(5)
                # Alice is free, but the task waits for bob.
                self.assertNotIn("default", self.nodes_of())
                self.berlin_support.pause(BOB, True)
                self.world.run(60)
                self.assert_status("completed")
                self.assertEqual(self.nodes_of()[-1], "default")
                self.again()


class TrunkBetweenNodes(TwoNodes):
    """Clients are dialled from default through berlin, which has the provider."""

    def setUp(self) -> None:
        super().setUp()
        self.berlin_support.remove(BOB)
        #: The rings that berlin has told, with its two channels; None: hung up.
        self.told: list[tuple[Ringing, list[tuple[Header, ...]]]] = []

    def channel(
        self, name: str, uniqueid: str, linkedid: str, exten: str, number: str
    ) -> tuple[Header, ...]:
        return (
            ("Channel", name),
            ("Uniqueid", uniqueid),
            ("Linkedid", linkedid),
            ("Context", "from-default"),
            ("Exten", exten),
            ("Priority", "1"),
            ("CallerIDNum", number),
        )

    def dial_in_berlin(self, call: str) -> list[tuple[Header, ...]]:
        """Let a call in berlin dial the client through the provider."""
        whole = f"berlin-{call}.1"
        first = self.channel(
            "PJSIP/default-00000001", whole, whole, NUMBER, "+4930111222"
        )
        out = self.channel(
            "PJSIP/provider-00000002", f"berlin-{call}.2", whole, "", NUMBER
        )
        self.berlin.tell("Newchannel", "call", *first)
        self.berlin.tell("Newchannel", "call", *out)
        self.berlin.tell(
            "DialBegin",
            "call",
            *first,
            *((f"Dest{name}", value) for name, value in out),
            ("DialString", f"{NUMBER}@provider"),
        )
        return [out, first]

    def go_through_berlin(self) -> None:
        """Let berlin tell of each ring of the client."""
        known = [ring for ring, _ in self.told]
        for index, ring in enumerate(self.client.rung):
            if ring not in known:
                self.told.append((ring, self.dial_in_berlin(f"1700000000{index}")))
        for ring, channels in self.told:
            while ring.ended_at is not None and channels:
                cause = (("Cause", "16"), ("Cause-txt", "Normal Clearing"))
                self.berlin.tell("Hangup", "call", *channels.pop(0), *cause)


class TrunkBetweenNodesTests(TrunkBetweenNodes):
    def test_callback_through_the_other_asterisk_is_not_a_call_by_hand(self) -> None:
        self.client.always(Answers(after_s=8, hangs_up_after_s=20))
        self.begin_both()
        self.world.watchers.append(self.go_through_berlin)
        self.add()
        self.world.run(120)
        self.assertEqual(len(self.told), 1)
        self.assertEqual(self.reasons(), ["talked"])
        self.assert_status("completed")
        # It is over there, too: the next callback begins.
        self.add()
        self.world.run(120)
        self.assert_status("completed", task_id=2)
        self.assertEqual(len(self.client.rung), 2)

    def test_call_by_hand_in_berlin_ends_an_attempt_that_rings_an_agent(self) -> None:
        self.alice.always(Answers(after_s=20))
        self.begin_both()
        self.add()
        self.world.run(5)
        self.dial_in_berlin("17000000001")
        self.world.run(60)
        self.assertEqual(self.reasons(), ["client_called_by_hand_meanwhile"])
        self.assertFalse(self.client.rung)


class QueueLogTests(TwoNodes):
    """What belongs to no attempt is written once, in whichever order the nodes are."""

    def begin_in_order(self, *names: str) -> None:
        self.world.begin(settings(queue_settings(), nodes=names))

    def end(self) -> None:
        self.world.processes[-1].kill()
        self.world.run(1)

    def words(self, pbx: FakeAsterisk) -> list[str]:
        return [line.split("|")[3] for line in pbx.queue_log]

    def test_nothing_is_written_twice_when_the_nodes_change_places(self) -> None:
        self.support.remove(ALICE)
        self.begin_in_order("default", "berlin")
        self.add()
        self.world.run(60)
        self.end()
        # Berlin is taken out for a while, and comes back as the first one.
        self.asterisk.agi_node = ""
        self.support.add(ALICE)
        self.begin()
        other = "0307770000"
        self.asterisk.client(other).always(TALKS_10S)
        self.add(other)
        self.world.run(60)
        self.end()
        self.asterisk.agi_node = "default"
        self.begin_in_order("berlin", "default")
        self.world.run(10)
        attempt = ["CALLBACKATTEMPT", "CALLBACKDONE"]
        self.assertEqual(
            self.words(self.asterisk), ["CALLBACKREQUEST", "CALLBACKREQUEST", *attempt]
        )
        self.assertEqual(self.words(self.berlin), attempt)

    def test_nothing_is_lost_when_the_nodes_change_places(self) -> None:
        self.support.remove(ALICE)
        self.begin_in_order("default", "berlin")
        self.asterisk.kill()
        self.world.run(5)
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.end()
        self.begin_in_order("berlin", "default")
        self.world.run(10)
        self.assertEqual(
            sorted(self.words(self.berlin)),
            ["CALLBACKATTEMPT", "CALLBACKDONE", "CALLBACKREQUEST"],
        )

    def test_first_event_is_written_though_the_link_comes_after_it(self) -> None:
        self.berlin.freeze()
        self.begin_in_order("berlin", "default")
        self.add()
        self.world.run(2)
        self.berlin.thaw()
        self.world.run(100)
        self.assertIn("CALLBACKREQUEST", self.words(self.berlin))


class HistoriesTests(TwoNodes):
    """What clients did on both while the service was down."""

    def setUp(self) -> None:
        super().setUp()
        self.logs: dict[str, Path] = {}
        for pbx, name in ((self.asterisk, "default"), (self.berlin, "berlin")):
            pbx.queue_log_file = self.logs[name] = self.world.directory / name
            pbx.log_queue("NONE", "NONE", "NONE", "QUEUESTART", "")

    def begin_with_histories(self, *names: str) -> ServiceProcess:
        both = settings(queue_settings(), nodes=names)
        nodes = [
            node.model_copy(
                update={"history": HistorySettings(queue_log=str(self.logs[node.name]))}
            )
            for node in both.nodes
        ]
        return self.world.begin(attrs.evolve(both, nodes=tuple(nodes)))

    def test_client_missed_here_and_served_there_is_not_called(self) -> None:
        for names in (("default", "berlin"), ("berlin", "default")):
            with self.subTest(names=names):
                process = self.begin_with_histories(*names)
                self.world.run(5)
                process.stop()
                self.world.run_until(lambda: process.stopped)  # noqa: B023
                self.world.run(1)
                self.support.pause(ALICE, True)
                self.miss()
                self.miss("0305556666")
                self.world.run(3)
                self.call_in_berlin(talks_s=30)
                self.world.run(60)
                self.support.pause(ALICE, False)
                self.begin_with_histories(*names)
                self.world.run(60)
                # The other client was not served.
                (task,) = self.world.tasks()
                self.assertEqual(task.number, "0305556666")
                self.assertFalse(self.client.rung)
                self.again()


class ManyQueuesTests(TwoNodes):
    """Both have many queues in common, and agents of their own in each."""

    def test_work_for_an_event_does_not_grow_with_the_square_of_the_queues(
        self,
    ) -> None:
        names = [f"q{index}" for index in range(20)]
        for name in names:
            self.asterisk.add_queue(name, [f"PJSIP/here-{name}"])
            self.berlin.add_queue(name, [f"PJSIP/there-{name}"])
            self.asterisk.queues[name].pause(f"PJSIP/here-{name}", True)
        queues = [queue_settings(name) for name in names]
        self.world.begin(settings(*queues, nodes=("default", "berlin")))
        self.world.run(5)
        counted = mock.patch.object(
            Scheduler, "_capacity", autospec=True, side_effect=Scheduler._capacity
        )
        with counted as capacity:
            for index in range(20):
                paused = bool(index % 2)
                self.asterisk.queues["q1"].pause("PJSIP/here-q1", paused)
                self.world.settle()
        self.assertGreater(capacity.call_count, 20)
        self.assertLess(capacity.call_count, 20 * 12)

    def test_other_asterisk_does_not_look_again_if_no_agent_has_changed(self) -> None:
        self.begin_both()
        self.talk_to_alice()
        berlin = self.world.processes[-1].service.nodes.all[1].scheduler
        with mock.patch.object(berlin, "wake", wraps=berlin.wake) as wake:
            self.call("0305556666")
            self.world.settle()
            self.assertEqual(wake.call_count, 0)
            self.support.pause(ALICE, True)
            self.world.settle()
            self.assertGreater(wake.call_count, 0)
