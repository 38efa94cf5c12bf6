# SPDX-License-Identifier: MIT
"""The test case of the whole service: a world, and rules that always hold."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from twisted.trial.unittest import SynchronousTestCase

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.attempt import attempt_of
from tests.emulator.calls import FENCES, FORGETS, LiveCall
from tests.emulator.manager import Action, Answer
from tests.emulator.phones import Phone
from tests.emulator.scenarios import Answers
from tests.harness.world import (
    START,
    ServiceProcess,
    World,
    live_first,
    queue_settings,
    settings,
)

NUMBER: Final = "0301234567"
ALICE: Final = "PJSIP/alice"
BOB: Final = "PJSIP/bob"
CAROL: Final = "PJSIP/carol"

#: An agent who answers after two seconds and stays.
ANSWERS: Final = Answers(after_s=2)
#: A client who answers after three seconds and talks for ten.
TALKS_10S: Final = Answers(after_s=3, hangs_up_after_s=10)


class ServiceTestCase(SynchronousTestCase):
    """A world with the queue ``support`` and one agent in it."""

    members: tuple[str, ...] = (ALICE,)

    def setUp(self) -> None:
        self.world = self.make_world()
        self.addCleanup(self._close)
        self.asterisk = self.world.asterisk
        self.support = self.asterisk.add_queue("support", self.members)
        self.alice = self.asterisk.phone(ALICE).always(ANSWERS)
        self.client = self.asterisk.client(NUMBER).always(TALKS_10S)
        self.logged: list[LogEvent] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self._guard_originates()
        # Runs before the clean-ups above.
        self.addCleanup(self._check)

    def make_world(self) -> World:
        """Create the world of one test, with an empty database."""
        return World()

    def again(self) -> None:
        """End the world with all its checks, and begin a new one in the same test."""
        while self._cleanups:
            function, args, kwargs = self._cleanups.pop()
            function(*args, **kwargs)
        self.setUp()

    def _close(self) -> None:
        buries = any(process.dead for process in self.world.processes)
        self.world.close()
        if buries:
            # Errors of a killed process do not matter; some are only logged when its
            # objects are collected.
            del self.world, self.asterisk, self.support, self.alice, self.client
            self.logged.clear()
            gc.collect()
            # What is left stays: the next collection need not visit it.
            gc.freeze()
            self.flushLoggedErrors()

    def _check(self) -> None:
        self.check_rules()
        for process in self.world.processes:
            if not process.dead:
                self.check_stops(process)

    # -- actions -----------------------------------------------------------

    def begin(
        self, *queues: QueueSettings, kill_at: int | None = None, **sections: Any
    ) -> ServiceProcess:
        """Start the service with the settings of these queues."""
        return self.world.begin(settings(*queues, **sections), kill_at=kill_at)

    def restart(self, *queues: QueueSettings, down_s: float = 1) -> ServiceProcess:
        """Kill the service, and start it again after a while."""
        self.world.processes[-1].kill()
        self.world.run(down_s)
        return self.begin(*queues)

    def add(self, number: str = NUMBER, queue: str = "support") -> None:
        """Add a task as an operator would; this takes no time."""
        answer = self.world.ask("tasks.add", queue=queue, number=number)
        self.assertTrue(answer["ok"], answer)

    def call(
        self, number: str = NUMBER, queue: str = "support", **more: Any
    ) -> LiveCall:
        """Let somebody call in and wait."""
        call = self.asterisk.call(queue, number, **more)
        self.world.settle()
        return call

    def miss(
        self, number: str = NUMBER, queue: str = "support", **more: Any
    ) -> LiveCall:
        """Let somebody wait for five seconds and hang up."""
        call = self.call(number, queue, **more)
        self.world.run(5)
        call.hang_up()
        self.world.settle()
        return call

    def request(
        self, number: str = NUMBER, queue: str = "support", priority: str = ""
    ) -> LiveCall:
        """Let somebody call in, press 1 at once, hear the prompt and leave.

        This takes the two seconds of the prompt. A free agent's phone rings briefly.
        """
        call = self.call(number, queue, priority=priority)
        call.press()
        self.world.run(2)
        return call

    def run_to(self, t: float) -> None:
        """Let time pass until this many seconds after the beginning."""
        self.world.run(START + t - self.world.clock.seconds())

    # -- results -----------------------------------------------------------

    @property
    def originates(self) -> list[float]:
        """The times of the Originates."""
        return [at for at, _ in self.world.originates()]

    def rung_at(self, phone: Phone) -> list[float]:
        """Return the times at which a phone began to ring."""
        return [self.world.since(ring.at) for ring in phone.rung]

    def warnings(self) -> list[str]:
        """Return the log lines with level warning or higher."""
        grave = (LogLevel.warn, LogLevel.error, LogLevel.critical)
        return [
            formatEvent(event) for event in self.logged if event["log_level"] in grave
        ]

    def assert_warned(self, text: str) -> None:
        """Check that a warning contains this text."""
        self.assertTrue(
            any(text in warning for warning in self.warnings()), self.warnings()
        )

    def assert_status(self, status: str, reason: str = "", task_id: int = 1) -> None:
        """Check the status of a task, and its reason."""
        task = next(task for task in self.world.tasks() if task.id == task_id)
        self.assertEqual(task.status.value, status, self.world.story(task_id))
        self.assertIn(reason, task.reason)

    def dispositions(self, task_id: int = 1) -> list[str]:
        """Return the dispositions of a task's attempts."""
        return [
            attempt.disposition.value if attempt.disposition else "under way"
            for attempt in self.world.attempts(task_id)
        ]

    def reasons(self, task_id: int = 1) -> list[str]:
        """Return the codes of the reasons of a task's attempts; empty: under way."""
        return [
            attempt.why.code.value if attempt.why else ""
            for attempt in self.world.attempts(task_id)
        ]

    # -- rules -------------------------------------------------------------

    def _guard_originates(self) -> None:
        """Check that no call is placed before its attempt is in the database."""
        handlers = self.asterisk.manager.handlers
        originate: Callable[[Action], Answer] = handlers["Originate"]

        def guarded(action: Action) -> Answer:
            if action.get("Channel").startswith((FORGETS, FENCES)):
                # These delete a stored request, or store an epoch, and call nobody.
                return originate(action)
            channel_id = attempt_of(action.get("ChannelId"))
            stored = [
                attempt.channel_id
                for task in self.world.tasks()
                for attempt in self.world.attempts(task.id)
            ]
            self.assertIn(channel_id, stored, "placed before its COMMIT")
            sent = [name for _, name in self.world.originates()]
            self.assertEqual(sent.count(channel_id), 1, "an Originate was sent again")
            return originate(action)

        handlers["Originate"] = guarded

    def check_rules(self) -> None:
        """Check the rules that hold after every test."""
        for number, phone in self.asterisk.clients.items():
            end = 0.0
            for ring in phone.rung:
                self.assertLessEqual(end, ring.at, f"two calls to {number} at once")
                end = ring.ended_at or float("inf")
            by = [ring.by for ring in phone.rung]
            self.assertEqual(len(by), len(set(by)), f"{number} rung twice in one try")
        for task in self.world.tasks():
            self.assertTrue(task.reason)
            self.assertEqual(task.is_open, task.ended_at is None)
            self.assertFalse(self._doubled(), "written twice into queue_log")
            moves = [event.move.value for event in self.world.history(task.id)]
            self.assertEqual(moves[0], "create")

    def _doubled(self) -> list[str]:
        counts = Counter(self.asterisk.queue_log)
        return [line for line, count in counts.items() if count > 1]

    def check_stops(self, process: ServiceProcess) -> None:
        """Stop the service and check that it leaves nothing behind."""
        process.database.unavailable = ""
        process.database.broken.clear()
        process.database.unheard.clear()
        process.database.takes_s = lambda name: 0.0
        self.asterisk.thaw()
        if not process.stopped:
            process.stop()
        self.world.run(10)
        self.assertEqual(process.stopped, [None])
        self.assertEqual(process.clock.getDelayedCalls(), [])
        self.assertEqual(process.open_wires, 0)


def gaps(moments: list[float]) -> list[float]:
    """Return the times between successive moments."""
    return [round(b - a, 3) for a, b in itertools.pairwise(moments)]


__all__ = [
    "ALICE",
    "ANSWERS",
    "BOB",
    "CAROL",
    "NUMBER",
    "TALKS_10S",
    "ServiceTestCase",
    "Settings",
    "gaps",
    "live_first",
    "queue_settings",
    "settings",
]
