# SPDX-License-Identifier: MIT
"""The consequences of an event wait until all trackers have processed it."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

from fastagi.ami.session import AmiSession
from fastagi.runtime.listeners import Afterwards
from tests.emulator.manager import Told
from tests.emulator.scenarios import NO_ANSWER
from tests.system.harness import NUMBER, ServiceTestCase, live_first

OTHER = "0307654321"


def _not_told(told: Told) -> tuple[float, ...]:
    return () if told.name == "QueueMemberStatus" else (0.0,)


def _at_once(session: AmiSession, callback: Callable[[], object]) -> None:
    callback()


class OrderTests(ServiceTestCase):
    """The state of the agent's phone is unknown to Asterisk.

    So AgentRingNoAnswer alone says two things: the agent is free, and the callback that
    rang the agent waits again. A part that knows only the first would begin a callback
    for the next client.
    """

    def play(self) -> int:
        """Return how many attempts begin for the second of two tasks.

        The agent does not answer, so the first task's callback waits all the time.
        """
        self.alice.always(NO_ANSWER)
        self.begin()
        self.world.run(1)
        self.asterisk.manager.deliver = _not_told
        self.add(NUMBER)
        self.add(OTHER)
        self.world.run(50)
        told = [one.name for one in self.asterisk.told]
        self.assertGreater(told.count("AgentRingNoAnswer"), 1)
        self.assertEqual(len(self.world.attempts(1)), 1)
        return len(self.world.attempts(2))

    def test_an_agent_whose_ring_ends_is_not_free_for_another_callback(self) -> None:
        self.assertEqual(self.play(), 0)

    def test_nor_is_he_if_each_event_is_read_alone(self) -> None:
        with mock.patch.object(AmiSession, "after_read", _at_once):
            self.assertEqual(self.play(), 0)

    @live_first
    def test_he_would_be_if_nothing_waited_for_the_last_tracker(self) -> None:
        """Without this order the tests above fail."""
        with (
            mock.patch.object(Afterwards, "wrap", lambda self, function: function),
            mock.patch.object(AmiSession, "after_read", _at_once),
        ):
            self.assertGreater(self.play(), 0)
