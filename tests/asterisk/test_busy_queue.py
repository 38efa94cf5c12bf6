# SPDX-License-Identifier: MIT
"""A short run of `make busy-queue`: a queue that never empties, on real Asterisk."""

from __future__ import annotations

import pytest

from tests.lab.busy_queue import FAIRNESS, QUEUE, Scale, play
from tests.lab.lab import Lab

#: The line is so long that even on a slow machine nobody reaches an agent before
#: pressing 1.
_SHORT = Scale(
    traffic_s=10.0,
    clients=3,
    talks_ms=(3000, 3500, 4000),
    presses_ms=(100, 300),
    waiting=8,
)


@pytest.mark.crowd
@pytest.mark.parametrize("fairness", FAIRNESS)
def test_clients_are_called_when_the_settings_say(lab: Lab, fairness: str) -> None:
    lab.asterisk.set_queues([QUEUE])
    story = play(lab, fairness, _SHORT)
    assert story.broken() == [], story.table()
    # Without waiting callers the run would prove nothing.
    assert min(one.agent_at - one.joined_at for one in story.served[3:]) > 0.5
