# SPDX-License-Identifier: MIT
"""A request made while its client is in a callback outlives that call."""

from __future__ import annotations

from tests.emulator.calls import LiveCall
from tests.emulator.scenarios import Answers
from tests.system.harness import (
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)

ALREADY = "callback-queue/already-registered"
NOTED = "callback-queue/noted"


class LaterTestCase(ServiceTestCase):
    """The only agent of the queue talks to the client for a minute.

    Bob is the only agent of another queue, and is paused at first.
    """

    @live_first
    def setUp(self) -> None:
        super().setUp()
        self.asterisk.add_queue("sales", (BOB,))
        self.bob = self.asterisk.phone(BOB).always(Answers(after_s=2))
        self.bob.busy()
        self.client.will(Answers(after_s=3, hangs_up_after_s=60))
        self.queues = (queue_settings(), queue_settings("sales"))

    def run_until_they_talk(self) -> None:
        """Let the client answer."""
        self.world.run_until(lambda: any(one.answered_at for one in self.client.rung))

    def begin_to_talk(self) -> None:
        """Start the service and have it call the client, who answers at six."""
        self.begin(*self.queues)
        self.add()
        self.run_until_they_talk()
        self.world.run(1)

    def ring_in(self) -> LiveCall:
        """Let a second phone with the client's number call the other queue."""
        call = self.asterisk.call("sales", NUMBER, name="Ann")
        self.world.run(5)
        return call

    def press(self) -> LiveCall:
        """Let somebody with the client's number press the key in the other queue."""
        call = self.ring_in()
        call.press()
        self.world.run(5)
        return call

    def statuses(self) -> list[str]:
        """Return the statuses of all tasks, the first one first."""
        tasks = sorted(self.world.tasks(), key=lambda task: task.id)
        return [task.status.value for task in tasks]

    def assert_called_again(self) -> None:
        """Check that the talk ends, and that the other queue calls the client once."""
        self.run_to(80)
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.statuses(), ["completed", "pending"])
        self.bob.busy(False)
        self.run_to(200)
        self.assertEqual(self.statuses(), ["completed", "completed"])
        self.assertEqual(len(self.client.rung), 2)
        self.assertEqual(len(self.bob.rung), 1)


class RequestInTheTalkTests(LaterTestCase):
    """Each way to ask."""

    def test_a_second_caller_with_the_number_is_called_after_the_talk(self) -> None:
        self.begin_to_talk()
        call = self.press()
        self.assertEqual(call.heard, [ALREADY])
        self.assert_called_again()
        task = next(task for task in self.world.tasks() if task.id == 2)
        self.assertEqual((task.queue, task.name), ("sales", "Ann"))
        self.assertEqual(task.joined_at.timestamp(), call.channel.since)

    def test_a_request_before_the_client_answers_is_fulfilled_by_that_call(
        self,
    ) -> None:
        self.client.plan.clear()
        self.client.will(Answers(after_s=30, hangs_up_after_s=60))
        self.begin(*self.queues)
        call = self.asterisk.call("sales", NUMBER)
        self.world.settle()
        self.add()
        call.press()
        self.bob.busy(False)
        self.run_to(200)
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.statuses(), ["completed"])

    def test_a_missed_call(self) -> None:
        self.begin_to_talk()
        call = self.ring_in()
        call.hang_up()
        self.assert_called_again()

    def test_one_that_is_added_by_hand(self) -> None:
        self.begin_to_talk()
        self.add(queue="sales")
        self.assert_called_again()

    def test_one_that_asterisk_keeps(self) -> None:
        self.asterisk.keeps_requests = True
        self.begin_to_talk()
        process = self.world.processes[-1]
        factory, process.agi.factory = process.agi.factory, None
        call = self.press()
        process.agi.factory = factory
        self.assertEqual(call.heard, [NOTED])
        self.assert_called_again()

    def test_a_short_talk_that_was_the_last_attempt(self) -> None:
        self.client.plan.clear()
        self.client.will(Answers(after_s=3, hangs_up_after_s=4))
        self.queues = (queue_settings(attempts=1), queue_settings("sales"))
        self.begin(*self.queues)
        self.add()
        self.run_until_they_talk()
        self.world.run(1)
        call = self.asterisk.call("sales", NUMBER)
        self.world.settle()
        call.press()
        self.run_to(60)
        self.bob.busy(False)
        self.run_to(200)
        self.assertEqual(self.statuses(), ["failed", "completed"])
        self.assertEqual(len(self.client.rung), 2)


class RestartInTheTalkTests(LaterTestCase):
    """The service is killed, and Asterisk stores the requests meanwhile."""

    def setUp(self) -> None:
        super().setUp()
        self.asterisk.keeps_requests = True

    def kill(self) -> None:
        """Kill the service."""
        self.world.processes[-1].kill()

    def start(self) -> None:
        """Start it again."""
        self.world.begin(settings(*self.queues))

    def test_before_the_request(self) -> None:
        self.begin_to_talk()
        self.kill()
        self.start()
        call = self.press()
        self.assertEqual(call.heard, [ALREADY])
        self.assert_called_again()

    def test_after_the_request(self) -> None:
        self.begin_to_talk()
        self.press()
        self.kill()
        self.run_to(30)
        self.start()
        self.assert_called_again()

    def test_until_after_the_talk(self) -> None:
        self.begin_to_talk()
        self.press()
        self.kill()
        self.run_to(75)
        self.start()
        self.assert_called_again()

    def test_while_the_client_answers_and_asks(self) -> None:
        self.begin(*self.queues)
        self.add()
        self.world.run_until(lambda: bool(self.client.rung))
        self.kill()
        self.run_until_they_talk()
        self.world.run(1)
        call = self.press()
        self.assertEqual(call.heard, [NOTED])
        self.start()
        self.assert_called_again()

    def test_while_the_client_is_asked_for_and_then_answers(self) -> None:
        self.client.plan.clear()
        self.client.will(Answers(after_s=30, hangs_up_after_s=40))
        self.begin(*self.queues)
        self.add()
        self.world.run_until(lambda: bool(self.client.rung))
        self.kill()
        call = self.asterisk.call("sales", NUMBER)
        self.world.run(2)
        call.press()
        self.run_until_they_talk()
        self.world.run(1)
        self.start()
        self.bob.busy(False)
        self.run_to(200)
        self.assertEqual(call.heard, [NOTED])
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.statuses(), ["completed"])


class WithdrawnTests(LaterTestCase):
    """The request ends before the talk does."""

    def assert_not_called_again(self) -> None:
        """Check that the talk ends, and that no call follows."""
        self.bob.busy(False)
        self.run_to(200)
        self.assertEqual(len(self.client.rung), 1)
        self.assertNotIn("pending", self.statuses())

    def test_a_caller_who_could_not_be_told_is_back_in_line(self) -> None:
        self.begin_to_talk()
        process = self.world.processes[-1]
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        call = self.press()
        self.assertTrue(call.waiting)
        texts = [text for _, _, text in self.world.story(1)]
        self.assertEqual(sum("back in line" in text for text in texts), 1, texts)
        self.run_to(80)
        self.assertEqual(self.statuses(), ["completed"])
        call.hang_up()
        self.bob.busy(False)
        self.run_to(200)
        # A caller who hangs up in line is missed, and called for that.
        self.assertEqual(self.statuses(), ["completed", "completed"])
        self.assertEqual(len(self.client.rung), 2)

    def test_the_caller_is_served_in_line(self) -> None:
        self.begin_to_talk()
        self.press()
        call = self.ring_in()
        self.bob.busy(False)
        self.world.run(10)
        self.assertTrue(call.talking)
        call.hang_up()
        self.assert_not_called_again()

    def test_the_number_is_blocked(self) -> None:
        self.begin_to_talk()
        self.press()
        self.world.ask("numbers.block", number=NUMBER)
        self.assert_not_called_again()

    def test_the_task_is_cancelled(self) -> None:
        self.begin_to_talk()
        self.press()
        self.world.ask("tasks.cancel", id=1)
        self.assert_not_called_again()
