# SPDX-License-Identifier: MIT
"""The client is dialled first and waits at the head of the queue for an agent."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import QueueSettings
from tests.emulator.calls import FORGETS
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    queue_settings,
    settings,
)

#: Answers after three seconds and presses the key five seconds later.
CONFIRMS = Answers(after_s=3, key_after_s=5, hangs_up_after_s=30)
MAILBOX = Answers(after_s=3, key="", hangs_up_after_s=60)
OTHER = "0302222222"


def client_first(**values: Any) -> QueueSettings:
    """Return the settings of a queue whose clients are dialled first."""
    return queue_settings(first="client", **values)


class ClientFirstTests(ServiceTestCase):
    """One agent, one client."""

    def setUp(self) -> None:
        super().setUp()
        self.client.always(CONFIRMS)
        self.asterisk.client(OTHER).always(CONFIRMS)

    def test_agent_is_rung_after_the_key(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.client), [0])
        self.assertGreaterEqual(self.rung_at(self.alice)[0], 8)
        self.assert_status("completed")
        attempt = self.world.attempts()[0]
        self.assertEqual(attempt.member, "PJSIP/alice")
        # The agent answers two seconds after the key.
        self.assertLess(abs(attempt.talk_s - 23), 1.5)

    def test_client_goes_before_live_callers(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.alice.busy()
        live = self.asterisk.call("support", "0309999999")
        self.run_to(15)
        self.alice.busy(False)
        self.run_to(100)
        talked = self.client.rung[0].answered_at
        assert talked is not None and live.answered_at is not None
        self.assertLess(talked, live.answered_at)

    def test_client_hangs_up_before_an_agent_answers(self) -> None:
        self.client.will(Answers(after_s=3, key_after_s=2, hangs_up_after_s=10))
        self.begin(client_first())
        self.add()
        self.run_to(4)
        self.alice.busy()
        self.run_to(20)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assert_status("pending", "hung up before an agent answered")
        self.alice.busy(False)
        self.run_to(150)
        self.assert_status("completed")

    def test_mailbox_gets_no_agent(self) -> None:
        self.client.always(MAILBOX)
        self.begin(client_first(attempts=2))
        self.add()
        self.run_to(200)
        self.assertEqual(self.dispositions(), ["NOT CONFIRMED"] * 2)
        self.assertEqual(self.rung_at(self.alice), [])

    def test_client_who_is_not_reached_costs_no_agent(self) -> None:
        self.client.will(Refuses.BUSY, NO_ANSWER)
        self.begin(client_first())
        self.add()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["BUSY", "NO ANSWER", "ANSWERED"])
        self.assertEqual(len(self.alice.rung), 1)

    def test_no_more_clients_are_dialled_than_agents_are_free(self) -> None:
        self.begin(client_first())
        self.add()
        self.add(OTHER)
        self.run_to(10)
        self.assertEqual(len(self.originates), 1)
        self.alice.busy()
        self.run_to(20)
        self.assertEqual(len(self.originates), 1)

    def test_cancel_while_the_client_is_asked_ends_the_call_at_once(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.run_to(6)
        self.assert_status("cancelled")
        self.assertIsNotNone(self.client.rung[0].ended_at)

    def test_service_dies_at_each_stage(self) -> None:
        for stage, at in enumerate((2, 5, 9, 15)):
            with self.subTest(at):
                self.begin(client_first(retry_delay="10m"))
                self.add()
                self.run_to(at)
                self.restart(client_first(retry_delay="10m"))
                self.run_to(80)
                self.assert_status("completed")
                self.assertEqual(len(self.client.rung), 1)
            if stage < 3:
                self.again()

    def test_older_dialplan_calls_the_agent_first(self) -> None:
        self.asterisk.dialplan_has.remove("DIALPLAN_EXISTS(callback-member,client,1)")
        self.begin(client_first())
        self.add()
        self.run_to(60)
        self.assert_warned("agents are called first")
        self.assertEqual(self.rung_at(self.alice), [0])
        self.assert_status("completed")

    def _restart_at(self, t: float) -> None:
        self.run_to(t)
        self.restart(client_first(), down_s=0.2)

    def test_cancel_leaves_a_talk_that_began_after_a_restart(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.alice.busy()
        self._restart_at(9)
        self.run_to(12)
        self.alice.busy(False)
        self.run_to(16)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.run_to(25)
        self.assertIsNone(self.client.rung[0].ended_at)
        self.run_to(80)
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_cancel_after_a_restart_ends_the_question(self) -> None:
        self.client.always(Answers(after_s=3, key="", hangs_up_after_s=60))
        self.begin(client_first())
        self.add()
        self._restart_at(4)
        self.run_to(6)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.run_to(7)
        self.assertIsNotNone(self.client.rung[0].ended_at)
        self.assertEqual(self.warnings(), [])

    def test_agent_whose_phone_forwards_does_not_end_the_call(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.alice.always(NO_ANSWER)
        self.run_to(10)
        leg = f"{self.world.attempts()[0].channel_id}-2"
        head = (("Uniqueid", leg), ("Linkedid", leg), ("Channel", "Local/x;1"))
        forward = (("DialStatus", "CANCEL"), ("Forward", "0171@default"))
        dest = (("DestUniqueid", "x.1"), ("DestLinkedid", leg))
        self.asterisk.tell("DialEnd", "call", *head, *dest, *forward)
        again = ("DialString", "0171@default")
        self.asterisk.tell("DialBegin", "call", *head, *dest, again)
        self.run_to(14)
        self.assertIsNone(self.client.rung[0].ended_at)
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["SHORT"])

    def test_cancel_while_the_client_waits_for_an_agent(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.alice.busy()
        self.run_to(12)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.run_to(13)
        self.assertEqual(self.dispositions(), ["CANCEL"])
        self.assertEqual(self.world.attempts()[0].reason, "cancelled by hand")

    def test_other_call_of_the_client_leaves_the_waiting_client(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.alice.busy()
        self.run_to(12)
        other = self.call(NUMBER)
        self.run_to(14)
        self.assertIsNone(self.client.rung[0].ended_at)
        other.hang_up()
        self.alice.busy(False)
        self.run_to(80)
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_no_agent_while_the_service_is_down(self) -> None:
        self.begin(client_first())
        self.add()
        self.run_to(5)
        self.alice.busy()
        self.run_to(12)
        self.restart(client_first(), down_s=70)
        self.run_to(85)
        self.assert_status("pending", "who was dialled first")


class AutoTests(ServiceTestCase):
    """Two agents, and two of them have to be to spare for the client to be first."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.bob = self.asterisk.phone(BOB).always(Answers(after_s=2))
        self.client.always(CONFIRMS)
        self.asterisk.client(OTHER).always(CONFIRMS)

    def _begin(self, **values: Any) -> None:
        self.begin(queue_settings(first="auto", auto_agents=2, **values))

    def _is_first(self, number: int) -> bool:
        """Whether the client of an Originate is dialled before an agent is rung."""
        channels = [
            action.get("Channel")
            for action in self.asterisk.manager.asked("Originate")
            if not action.get("Channel").startswith(FORGETS)
        ]
        return channels[number].startswith("Local/client@")

    def test_client_is_first_while_enough_agents_are_free(self) -> None:
        for fairness in ("place", "live_first"):
            with self.subTest(fairness):
                self._begin(fairness=fairness)
                self.add()
                self.run_to(60)
                self.assertTrue(self._is_first(0))
                self.assertEqual(self.rung_at(self.client), [0])
                self.assertGreaterEqual(self.rung_at(self.alice)[0], 8)
                self.assert_status("completed")
            self.again()

    def test_agent_is_first_if_too_few_are_free(self) -> None:
        for fairness in ("place", "live_first"):
            with self.subTest(fairness):
                self.bob.busy()
                self._begin(fairness=fairness)
                self.add()
                self.run_to(60)
                self.assertFalse(self._is_first(0))
                self.assertEqual(self.rung_at(self.alice), [0])
                self.assert_status("completed")
            self.again()

    def test_second_client_waits_in_line_while_the_first_one_is_called(self) -> None:
        self._begin(fairness="place")
        self.add()
        self.add(OTHER)
        self.run_to(1)
        self.assertEqual(len(self.originates), 2)
        self.assertEqual([self._is_first(n) for n in (0, 1)], [True, False])
        self.run_to(100)
        for task_id in (1, 2):
            self.assertEqual(self.dispositions(task_id), ["ANSWERED"])

    def test_live_caller_takes_an_agent_to_spare(self) -> None:
        self.alice.busy()
        self.bob.busy()
        self._begin(fairness="live_first")
        live = self.asterisk.call("support", "0309999999")
        self.add()
        self.run_to(5)
        self.assertEqual(self.originates, [])
        self.alice.busy(False)
        self.bob.busy(False)
        self.run_to(60)
        self.assertIsNotNone(live.answered_at)
        self.assertFalse(self._is_first(0))
        self.assert_status("completed")

    def test_agents_who_become_free_make_the_client_first(self) -> None:
        self.alice.busy()
        self.bob.busy()
        self._begin(fairness="live_first")
        self.add()
        self.run_to(20)
        self.assertEqual(self.originates, [])
        self.alice.busy(False)
        self.bob.busy(False)
        self.run_to(80)
        self.assertTrue(self._is_first(0))
        self.assert_status("completed")


class PreferredTests(ServiceTestCase):
    """The agent who talked to the client last, and another one."""

    members = (ALICE, BOB)

    def test_client_on_the_line_takes_any_agent(self) -> None:
        self.client.always(CONFIRMS)
        self.asterisk.phone(BOB).always(Answers(after_s=2))
        self.begin(client_first(preferred_agent={"enabled": True}))
        self.alice.busy()
        self.asterisk.call("support", NUMBER, talks_s=5)
        self.run_to(10)
        self.alice.busy(False)
        self.add()
        self.run_to(12)
        self.assertIn("only PJSIP/bob is asked", str(self.world.story(1)))
        variables = str(
            [
                action.all("Variable")
                for action in self.asterisk.manager.asked("Originate")
            ]
        )
        self.assertNotIn("callback-only", variables)
        self.assertNotIn("callback-skip", variables)
        self.run_to(80)
        self.assertEqual(self.rung_at(self.alice), [18])


class ReloadTests(ServiceTestCase):
    """Settings that are loaded again while the dialplan is an older one."""

    def test_client_is_not_called_first_before_the_dialplan_is_known(self) -> None:
        self.asterisk.dialplan_has.remove("DIALPLAN_EXISTS(callback-member,client,1)")
        self.alice.busy()
        process = self.begin(queue_settings(fairness="live_first"))
        self.add()
        self.run_to(5)
        self.asterisk.manager.answer_after = lambda action: (
            0.3 if "DIALPLAN_EXISTS" in action.get("Variable") else 0.0
        )
        process.service.settings.replace(settings(client_first()))
        self.alice.busy(False)
        self.run_to(12)
        channels = [
            action.get("Channel") for action in self.asterisk.manager.asked("Originate")
        ]
        self.assertEqual(channels, ["Local/queue@callback-member/n"])
        self.run_to(60)
