# SPDX-License-Identifier: MIT
"""The live picture of queues: who is free, and what a hang-up changes."""

from __future__ import annotations

import random

import pytest

from fastagi.domain.live_queues import DeviceState, LiveQueues, Member, WaitingCaller

QUEUE = "support"
WRAPUPTIME_S = 5.0
NOW = 100.0


def chosen(chance: random.Random) -> Member:
    """Return one of four members in some state."""
    return Member(
        interface=f"PJSIP/{chance.randrange(4)}",
        state=chance.choice(list(DeviceState)),
        paused=chance.random() < 0.2,
        in_call=chance.random() < 0.2,
        last_call=chance.choice((0.0, 50.0, 98.0)),
    )


@pytest.mark.parametrize("seed", range(20))
def test_those_are_free_of_whom_the_last_word_says_so(seed: int) -> None:
    chance = random.Random(seed)
    queues = LiveQueues()
    for _ in range(50):
        if chance.random() < 0.8:
            queues.set_member(QUEUE, chosen(chance))
        else:
            queues.remove_member(QUEUE, chosen(chance).interface)
        free_at = {
            member.interface: member.free_at(WRAPUPTIME_S)
            for member in queues.members(QUEUE)
        }
        now = {who for who, at in free_at.items() if at is not None and at <= NOW}
        later = [at for at in free_at.values() if at is not None and at > NOW]
        assert queues.free(QUEUE, WRAPUPTIME_S, NOW) == now
        assert queues.next_free_at(QUEUE, WRAPUPTIME_S, NOW) == min(later, default=None)


def test_only_the_end_of_a_channel_that_was_known_changes_anything() -> None:
    queues = LiveQueues()
    queues.set_member(QUEUE, Member(interface="PJSIP/1", state=DeviceState.NOT_INUSE))
    queues.caller_joined(QUEUE, WaitingCaller(uniqueid="1.1", joined_at=NOW))
    queues.member_called("PJSIP/1", "1.2")

    assert not queues.channel_gone("1.3")
    assert queues.channel_gone("1.1")
    assert queues.free(QUEUE, 0.0, NOW) == set()
    assert queues.channel_gone("1.2")
    assert queues.free(QUEUE, 0.0, NOW) == {"PJSIP/1"}
    assert not queues.channel_gone("1.2")
