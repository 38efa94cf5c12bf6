# SPDX-License-Identifier: MIT
"""The state of queues: who is free, and what a hangup changes."""

from __future__ import annotations

import random

import pytest

from fastagi.domain.live_queues import DeviceState, LiveQueues, Member, WaitingCaller
from fastagi.domain.turns import Turn

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


def line(queues: LiveQueues) -> list[str]:
    """Return who waits, in Asterisk's order."""
    return list(queues._queues[QUEUE].callers)


def join(queues: LiveQueues, name: str, at: float, position: int = 0) -> None:
    """Have a caller join at a position; 0: it is not known."""
    queues.caller_joined(
        QUEUE, WaitingCaller(uniqueid=name, joined_at=at, position=float(position))
    )


def test_callers_are_known_in_the_order_that_asterisk_has() -> None:
    queues = LiveQueues()
    join(queues, "a", 1, 1)
    join(queues, "b", 2, 2)
    join(queues, "very important", 3, 1)
    join(queues, "unknown", 4)
    join(queues, "far behind", 5, 99)
    assert line(queues) == ["very important", "a", "b", "unknown", "far behind"]
    # The same is told again: nobody stands there twice.
    join(queues, "b", 2, 3)
    assert line(queues) == ["very important", "a", "b", "unknown", "far behind"]


def test_position_is_behind_the_last_who_joined_earlier() -> None:
    queues = LiveQueues()
    join(queues, "a", 1, 1)
    join(queues, "b", 4, 2)
    join(queues, "very important", 5, 1)
    assert queues.position_of(Turn(0), QUEUE) == 1
    # Behind "a", although only one of those ahead joined earlier.
    assert queues.position_of(Turn(2), QUEUE) == 3
    assert queues.position_of(Turn(4), QUEUE) == 4
    assert queues.position_of(Turn(2), "unknown") == 1


def test_position_is_among_those_of_the_same_priority() -> None:
    queues = LiveQueues()
    join(queues, "early", 1, 1)
    join(queues, "important", 4, 1)
    join(queues, "more important", 6, 2)
    queues.caller_priority(QUEUE, "important", 5)
    queues.caller_priority(QUEUE, "more important", 5)
    assert queues.position_of(Turn(3, priority=5), QUEUE) == 1
    assert queues.position_of(Turn(5, priority=5), QUEUE) == 2
    assert queues.position_of(Turn(0), QUEUE) == 3
    assert queues.position_of(Turn(9), QUEUE) == 4
    assert queues.position_of(Turn(0, priority=9), QUEUE) == 1


def test_caller_who_comes_back_has_the_priority_of_before() -> None:
    queues = LiveQueues()
    join(queues, "a", 1, 1)
    queues.caller_priority(QUEUE, "a", 5)
    queues.caller_left(QUEUE, "a")
    join(queues, "a", 3, 1)
    (caller,) = queues.waiting(QUEUE)
    assert caller.turn == Turn(1, priority=5)
    queues.channel_gone("a")
    join(queues, "a", 4, 1)
    assert queues.waiting(QUEUE)[0].turn == Turn(4)


def test_placeholder_is_no_live_caller_and_has_the_place_of_its_task() -> None:
    queues = LiveQueues(is_member_leg=lambda uniqueid, _: uniqueid != "a")
    join(queues, "a", 5, 1)
    queues.placeholder(QUEUE, "ours", Turn(3))
    join(queues, "ours", 9, 1)
    join(queues, "rings a free agent", 2, 1)
    assert [caller.uniqueid for caller in queues.waiting(QUEUE)] == ["a"]
    assert line(queues) == ["rings a free agent", "ours", "a"]
    assert queues.position_of(Turn(4), QUEUE) == 3
    assert queues.position_of(Turn(2.5), QUEUE) == 1


def test_client_who_is_sent_to_the_queue_after_a_callback_joins_anew() -> None:
    queues = LiveQueues()
    queues.placeholder(QUEUE, "ours", Turn(3))
    join(queues, "ours", 9)
    queues.caller_left(QUEUE, "ours")
    join(queues, "ours", 20)
    assert queues.joined_at(QUEUE, "ours") == 20


def test_client_joins_anew_whatever_is_told_before_the_agents_answer_is_known() -> None:
    """QueueCallerLeave comes before AgentConnect, and the two may be read apart."""
    queues = LiveQueues()
    queues.placeholder(QUEUE, "ours", Turn(3, 5))
    join(queues, "ours", 9)
    queues.caller_left(QUEUE, "ours")
    queues.placeholder(QUEUE, "ours", Turn(3, 5))
    join(queues, "ours", 20)
    assert queues.waiting(QUEUE)[0].turn == Turn(20)


def test_client_joins_anew_after_a_callback_that_only_rang_a_free_agent() -> None:
    answered: set[str] = set()
    queues = LiveQueues(is_member_leg=lambda uniqueid, _: uniqueid not in answered)
    join(queues, "ours", 9)
    # The list of the whole state has the priority of each channel.
    queues.caller_priority(QUEUE, "ours", -(2**31))
    queues.caller_left(QUEUE, "ours")
    answered.add("ours")
    join(queues, "ours", 20)
    assert queues.waiting(QUEUE)[0].turn == Turn(20)


def test_caller_who_is_being_asked_has_a_place_in_a_queue_that_takes_few() -> None:
    queues = LiveQueues()
    queues.add_queue(QUEUE, max_callers=2)
    queues.add_queue("sales", max_callers=2)
    join(queues, "a", 1)
    queues.to_be_asked("a")
    queues.caller_left(QUEUE, "a")
    assert queues.room(QUEUE) == 1
    assert queues.room("sales") == 2
    join(queues, "b", 2)
    assert queues.room(QUEUE) == 0
    queues.not_asked("a")
    assert queues.room(QUEUE) == 1


def test_caller_who_is_being_asked_is_a_caller_of_the_queue() -> None:
    queues = LiveQueues()
    queues.add_queue(QUEUE)
    queues.add_queue("sales")
    assert queues.with_callers() == []
    join(queues, "a", 1)
    assert queues.with_callers() == [QUEUE]
    queues.to_be_asked("a")
    queues.caller_left(QUEUE, "a")
    assert queues.with_callers() == [QUEUE]
    assert [caller.uniqueid for caller in queues.waiting(QUEUE)] == ["a"]
    queues.not_asked("a")
    assert queues.with_callers() == []


@pytest.mark.parametrize("how", ["hung up", "missing in a list of channels"])
def test_nothing_is_remembered_of_a_placeholder_that_is_gone(how: str) -> None:
    queues = LiveQueues()
    before = repr(queues)
    queues.placeholder(QUEUE, "ours", Turn(3))
    join(queues, "ours", 9)
    queues.caller_left(QUEUE, "ours")
    if how == "hung up":
        queues.channel_gone("ours")
    else:
        queues.keep_channels(set())
    queues.clear()
    assert repr(queues) == before


def test_agents_who_are_paused_or_have_no_phone_are_not_logged_in() -> None:
    queues = LiveQueues()
    states = [*DeviceState]
    for state in states:
        queues.set_member(QUEUE, Member(interface=state.name, state=state))
    assert queues.logged_in(QUEUE) == len(states) - 2
    for state in states:
        member = Member(interface=state.name, state=state, paused=True)
        queues.set_member(QUEUE, member)
    assert queues.logged_in(QUEUE) == 0
