# SPDX-License-Identifier: MIT
"""Counts by exhaustive search how many callbacks Asterisk has free agents for.

Checks :mod:`fastagi.domain.capacity` and shares no code with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.emulator.asterisk import FakeAsterisk


def largest_matching(wanted: Sequence[set[str]]) -> int:
    """Return how many can get an agent each, by exhaustive search.

    Args:
        wanted: the agents that each waiting call could get.
    """
    if not wanted:
        return 0
    first, *others = wanted
    best = largest_matching(others)
    for agent in first:
        best = max(best, 1 + largest_matching([rest - {agent} for rest in others]))
    return best


def too_many(
    asterisk: FakeAsterisk, targets: Mapping[str, str], agents: int = 1
) -> str:
    """Return why too few agents are free for the last callback; empty if enough are.

    Args:
        asterisk: the model.
        targets: the queue of each callback by its channel id; the last is the newest.
        agents: how many have to be free that nobody else needs.
    """
    visits = [visit for visit in asterisk.visits() if not visit.over]
    # Of the phones that one call rings at the same time only one will be answered.
    free = {
        name: {
            member.interface
            for member in queue.members
            if queue.can_ring(member)
            or (queue.is_ready(member) and any(v.rings(member) for v in visits))
        }
        for name, queue in asterisk.queues.items()
    }
    # A client who was transferred is a caller like any other.
    ours = {c.member_half.uniqueid for c in asterisk.callbacks if not c.transferred}
    served: list[set[str]] = []
    placed: list[set[str]] = []
    for visit in visits:
        rung = {m.interface for m in visit.queue.members if visit.rings(m)}
        mine = not rung and visit.channel.uniqueid in ours
        (placed if mine else served).append(rung or free[visit.queue.name])
    # A client who is dialled first comes to the queue later.
    begun = {
        callback.member_half.uniqueid
        for callback in asterisk.callbacks
        if not callback.is_before_queue
    }
    # The callers whom Asterisk does not ring agents for yet.
    placed += [free[q] for channel, q in targets.items() if f"{channel}-2" not in begun]
    # An earlier callback may wait in vain: its agent has taken another call since.
    others = [*served, *placed[:-1]]
    wanted = others + placed[-1:] * agents
    if not placed or largest_matching(wanted) >= largest_matching(others) + agents:
        return ""
    return f"at {asterisk.now}: {placed=} beside {served=}"
