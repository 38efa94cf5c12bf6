# SPDX-License-Identifier: MIT
"""The service is stopped, or killed, at every moment, and started again.

No task may be lost, no promise broken, and no client rung twice for one attempt.
"""

from __future__ import annotations

from collections.abc import Callable

from fastagi.config.queue_layers import QueueSettings
from tests.emulator.calls import LiveCall
from tests.emulator.manager import Told
from tests.emulator.scenarios import Answers, Behaviour, Refuses
from tests.system.harness import (
    ANSWERS,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    queue_settings,
    settings,
)

ACCEPTED = "callback-queue/accepted"


class RestartTestCase(ServiceTestCase):
    """A caller presses the key at 5, the agent becomes free at 20."""

    def setUp(self) -> None:
        super().setUp()
        self._follows = False

    def play(
        self,
        client: Behaviour,
        down_s: float,
        *,
        kill_at: int | None = None,
        disturb: Callable[[], object] = lambda: None,
    ) -> LiveCall:
        """Run the scenario; a process that died is followed by another."""
        self.client.always(client)
        self.alice.always(ANSWERS)
        self.alice.busy()
        queue = queue_settings(attempts=2, retry_delay="1m")
        self.world.watchers.append(lambda: self._start_again(queue, down_s))
        self.begin(queue, kill_at=kill_at)
        disturb()
        call = self.asterisk.call("support", NUMBER, talks_s=20)
        self.run_to(5)
        call.press()
        self.run_to(20)
        self.alice.busy(False)
        for _ in range(60):
            self.world.run(15)
            if not any(task.is_open for task in self.world.tasks()):
                break
        self.world.run(100)
        return call

    def _start_again(self, queue: QueueSettings, down_s: float) -> None:
        first, *others = self.world.processes
        if (first.dead or first.stopped) and not (others or self._follows):
            self._follows = True
            self.asterisk.later(down_s, lambda: self.begin(queue))

    def check(self, call: LiveCall, status: str, message: str) -> None:
        """Check that no task was lost and nobody was called too often."""
        tasks = self.world.tasks()
        promised = ACCEPTED in call.heard
        if promised or call.answered_at is None:
            self.assertEqual(len(tasks), 1, message)
        self.assertEqual([task.status.value for task in tasks if task.is_open], [])
        ends = {status, "cancelled"}
        if call.answered_at is not None:
            # The caller was never told, and an agent answered in the queue.
            ends.add("served")
        for task in tasks:
            story = f"{message}: {self.world.story(task.id)}"
            self.assertIn(task.status.value, ends, story)
            talks = [one for one in self.dispositions(task.id) if one == "ANSWERED"]
            self.assertLessEqual(len(talks), 1, story)
            rung = self.client.rung
            counted = [
                one
                for one in self.world.attempts(task.id)
                if one.disposition
                not in ("MEMBER NO ANSWER", "NOT PLACED", "WITHDRAWN")
            ]
            self.assertLessEqual(len(rung), len(counted), story)


class StopTests(RestartTestCase):
    """The service is stopped by systemd, as for an upgrade."""

    def stop_at_every_event(self, client: Behaviour, status: str) -> None:
        call = self.play(client, 1)
        self.check(call, status, "undisturbed")
        rings = len(self.client.rung)
        for at in range(len(self.asterisk.told)):
            for down_s in (1.0, 60.0):
                self.again()
                stopper = _Stopper(self, at)

                def disturb(stopper: _Stopper = stopper) -> None:
                    self.asterisk.manager.deliver = stopper

                call = self.play(client, down_s, disturb=disturb)
                message = f"down for {down_s} s after event {at}, {stopper.event}"
                self.check(call, status, message)
                if ACCEPTED in call.heard:
                    # An orderly stop leaves no unknown result.
                    story = f"{message}: {self.world.story()}"
                    self.assertEqual(len(self.client.rung), rings, story)
                    self.assertNotIn("UNKNOWN", self.dispositions(), story)

    def test_a_talk(self) -> None:
        self.stop_at_every_event(TALKS_10S, "completed")

    def test_a_short_talk(self) -> None:
        self.stop_at_every_event(Answers(after_s=3, hangs_up_after_s=2), "failed")

    def test_calls_stay_up(self) -> None:
        self.client.always(TALKS_10S)
        process = self.begin()
        self.add()
        self.run_to(10)
        process.stop()
        self.run_to(20)
        self.assertEqual(process.stopped, [None])
        (ring,) = self.client.rung
        self.assertEqual(self.world.since(ring.ended_at or 0), 16)


class _Stopper:
    """Stops the service at one event."""

    def __init__(self, test: ServiceTestCase, at: int) -> None:
        self._test = test
        self._left = at
        self.event: Told | None = None

    def __call__(self, told: Told) -> tuple[float, ...]:
        self._left -= 1
        if self._left < 0 and self.event is None:
            self.event = told
            process = self._test.world.processes[-1]
            process.clock.callLater(0, process.stop)
        return (0.0,)


class KillTests(RestartTestCase):
    """Killed right before and right after each COMMIT and each write to a socket."""

    def kill_at_every_point(self, client: Behaviour, status: str) -> None:
        call = self.play(client, 1)
        self.check(call, status, "undisturbed")
        points = self.world.processes[0].points
        self.assertGreater(len(points), 70)
        for at in range(1, len(points) + 1):
            self.again()
            call = self.play(client, 60.0 if at % 2 else 1.0, kill_at=at)
            self.check(call, status, f"killed {points[at - 1]!r} ({at})")

    def test_a_talk(self) -> None:
        self.kill_at_every_point(TALKS_10S, "completed")

    def test_a_busy_client(self) -> None:
        self.kill_at_every_point(Refuses.BUSY, "failed")

    def test_killed_between_two_attempts_keeps_the_delay(self) -> None:
        self.client.will(Refuses.BUSY).always(TALKS_10S)
        process = self.begin(queue_settings(retry_delay="1m"))
        self.add()
        self.run_to(30)
        process.kill()
        self.run_to(40)
        self.begin(queue_settings(retry_delay="1m"))
        self.run_to(200)
        self.assertEqual(self.rung_at(self.client), [3, 66])

    def test_killed_while_the_network_says_that_there_is_no_such_number(self) -> None:
        self.client.always(Refuses.NOT_FOUND)
        process = self.begin()
        self.add()
        self.run_to(2.5)
        process.kill()
        self.run_to(40)
        self.assertEqual(len(self.client.rung), 1)
        self.begin()
        self.run_to(600)
        self.assert_status("failed", "there is no such number (SIP 404); not tried")
        self.assertEqual(len(self.originates), 1)

    def test_killed_while_an_older_dialplan_is_loaded(self) -> None:
        self.client.will(Refuses.NOT_FOUND).always(TALKS_10S)
        process = self.begin()
        self.add()
        self.run_to(2.5)
        process.kill()
        self.run_to(10)
        kept = self.asterisk.astdb
        (key,) = kept
        # Version 1 of the dialplan stored no cause.
        kept[key] = ":".join(kept[key].split(":")[:3])
        self.assertEqual(kept[key], "CHANUNAVAIL:0:SUCCESS")
        self.begin()
        self.run_to(600)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["UNAVAILABLE", "ANSWERED"])

    def test_what_expired_while_it_was_down_is_ended_at_the_start(self) -> None:
        self.alice.busy()
        process = self.begin(queue_settings(request_expiry="10m"))
        self.add()
        process.kill()
        self.run_to(700)
        self.begin(queue_settings(request_expiry="10m"))
        self.run_to(701)
        self.assert_status("expired")

    def test_twice_in_one_call(self) -> None:
        self.begin()
        self.add()
        for t in (1, 5, 9, 30):
            self.run_to(t)
            self.world.processes[-1].kill()
            self.begin()
        self.run_to(100)
        self.assert_status("completed", "they talked for 10.0 s")
        self.assertEqual(self.originates, [0])

    def test_a_queue_that_is_written_otherwise_now_keeps_its_tasks(self) -> None:
        self.alice.busy()
        process = self.begin()
        self.add()
        process.service.settings.replace(settings(queue_settings("Support")))
        self.run_to(5)
        self.assertEqual(self.world.task().queue, "Support")
        process.kill()
        self.begin(queue_settings("SUPPORT"))
        self.run_to(10)
        self.alice.busy(False)
        self.run_to(60)
        self.assert_status("completed")
        self.assertEqual(self.warnings(), [])

    def test_tasks_of_a_queue_that_has_left_the_settings_are_told_of(self) -> None:
        self.asterisk.add_queue("sales", self.members)
        self.alice.busy()
        process = self.begin(queue_settings(), queue_settings("sales"))
        for number, queue in ((NUMBER, "support"), ("111111", "sales")):
            self.add(number, queue)
        self.add("222222", "sales")
        process.kill()
        self.assertEqual(self.warnings(), [])
        self.begin()
        self.run_to(5)
        (warning,) = self.warnings()
        self.assertEqual(
            warning,
            "2 tasks wait for queue sales, which is not in the settings: add it under"
            " 'queues', or they expire",
        )
        listed = self.world.ask("tasks.list", queue="sales")["result"]
        self.assertEqual([task["number"] for task in listed], ["222222", "111111"])
        mistyped = self.world.ask("tasks.list", queue="slaes")
        self.assertFalse(mistyped["ok"])
        self.assertIn("no queue 'slaes' in the settings", mistyped["error"])
