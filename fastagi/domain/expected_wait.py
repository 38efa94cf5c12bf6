# SPDX-License-Identifier: MIT
"""The expected wait of a place in a queue, and how it is put into words.

Research knows two families of estimates: by the length of the line (QL), and by the
waits of others (the last who got an agent, LES, or the first in line, HOL). Here the
length of the line counts, corrected for callers who give up before their turn; Ibrahim
and Whitt call that QLm ("Real-time delay estimation in overloaded multiserver queues
with abandonments", 2009). ``python -m tests.simulation.day`` compares these estimates
in simulated days, and is why this one was chosen.

What the estimate needs is measured in each queue (:class:`Measured`). What is left of a
call in progress is taken to be as long as a whole one: how long it has lasted tells
next to nothing, which was measured, too. What is left of a wrap-up time is known.

An agent of several queues counts in part: queues of the same weight compete for a free
agent, so each queue with waiting callers gets an equal share. Not considered are
penalties, weights of queues, and pauses and logins to come.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from attrs import evolve, field, frozen

#: Number of the latest calls that count, approximately; of callers for those who give
#: up.
_MEMORY: Final = 100.0
_MEMORY_CALLERS: Final = 200.0
#: How many measured calls the assumed values count for.
_PRIOR_CALLS: Final = 5.0
#: A call counts as at most this many times the average: a call that was forgotten, or
#: whose end Asterisk never saw, must not count for a whole day.
_LONGEST: Final = 5.0
#: Assumed time until an agent answers, in seconds, before it was measured.
_RING_S: Final = 5.0
#: Assumed average patience of callers, in seconds, and how many callers it counts for.
_PATIENCE_S: Final = 1200.0
_PRIOR_LEFT: Final = 3.0
#: Up to this many places are added one by one, the rest by an integral.
_EXACT: Final = 50
#: Half-life of the rate at which callers join, in seconds.
_ARRIVALS_S: Final = 900.0
#: Shortest time over which a rate is computed, in seconds.
_SHORTEST_S: Final = 300.0
#: Agents must be faster than the callers who join by this factor; otherwise the line
#: behind all callers counts as not moving.
_HEADWAY: Final = 1.05
#: Tolerance for rounding errors of shares.
_ROUNDING: Final = 1e-9

#: Up to this many minutes, every minute is announced exactly.
_EACH_MIN: Final = 10
#: Steps of longer announced waits in minutes, each with the longest wait that uses it.
_STEPS_MIN: Final = ((30, 5), (60, 10), (math.inf, 30))


# -- what is measured ----------------------------------------------------------


@frozen
class Average:
    """The mean of about the latest hundred values.

    Attributes:
        mean: 0 without values.
        weight: the number of values that it represents.
    """

    mean: float = 0.0
    weight: float = 0.0

    def with_value(self, value: float, most: float = math.inf) -> Average:
        """Return the mean with one more value, which counts as at most ``most``."""
        weight = min(self.weight + 1.0, _MEMORY)
        value = min(max(value, 0.0), most)
        return Average(self.mean + (value - self.mean) / weight, weight)

    def with_prior(self, prior: float) -> float:
        """Return the mean of the values and of some assumed ones."""
        known = self.mean * self.weight
        return (known + prior * _PRIOR_CALLS) / (self.weight + _PRIOR_CALLS)

    def merged(self, other: Average) -> Average:
        """Return the mean of the values of both."""
        weight = self.weight + other.weight
        if not weight:
            return self
        mean = (self.mean * self.weight + other.mean * other.weight) / weight
        return Average(mean, min(weight, _MEMORY))


@frozen(kw_only=True)
class Measured:
    """The measurements of one queue; each new call reduces the weight of old ones."""

    #: Talk and wrap-up time of an agent, in seconds.
    handling: Average = field(factory=Average)
    #: How long a phone rang until the agent answered, in seconds.
    ring: Average = field(factory=Average)
    #: Number of callers who left without an agent, and the total wait of all callers,
    #: in seconds.
    left: float = 0.0
    waited_s: float = 0.0

    def with_call(self, handling_s: float, prior_s: float) -> Measured:
        """Note the handling time of a call.

        Args:
            handling_s: its talk and wrap-up time, in seconds.
            prior_s: the assumed handling time, in seconds.
        """
        most = _LONGEST * self.handling.with_prior(prior_s)
        return evolve(self, handling=self.handling.with_value(handling_s, most))

    def with_answer(self, ring_s: float) -> Measured:
        """Note after how many seconds an agent answered."""
        most = _LONGEST * max(self.ring.with_prior(_RING_S), 1.0)
        return evolve(self, ring=self.ring.with_value(ring_s, most))

    def with_caller(self, waited_s: float, *, left: bool) -> Measured:
        """Note that a caller no longer waits.

        Args:
            waited_s: how long the caller has waited, in seconds.
            left: whether the caller left without an agent.
        """
        kept = 1.0 - 1.0 / _MEMORY_CALLERS
        return evolve(
            self,
            left=self.left * kept + left,
            waited_s=self.waited_s * kept + max(waited_s, 0.0),
        )

    def merged(self, other: Measured) -> Measured:
        """Return both together."""
        return Measured(
            handling=self.handling.merged(other.handling),
            ring=self.ring.merged(other.ring),
            left=self.left + other.left,
            waited_s=self.waited_s + other.waited_s,
        )

    def pace(self, prior_s: float, arriving_per_s: float = 0.0) -> Pace:
        """Return the pace of the queue.

        Args:
            prior_s: the assumed handling time until enough was measured, in seconds.
            arriving_per_s: number of callers per second who join and are served first.
        """
        left = self.left + _PRIOR_LEFT
        waited_s = self.waited_s + _PRIOR_LEFT * _PATIENCE_S
        return Pace(
            handling_s=self.handling.with_prior(prior_s),
            ring_s=self.ring.with_prior(_RING_S),
            leaving_per_s=left / waited_s,
            arriving_per_s=arriving_per_s,
        )


@frozen
class Arrivals:
    """The recent number of callers who join per second."""

    #: When counting began, and the last caller joined; seconds of a steady clock.
    since: float
    at: float
    count: float = 0.0

    def with_one(self, now: float) -> Arrivals:
        """Note that a caller joined."""
        return Arrivals(self.since, now, self._left_of_count(now) + 1.0)

    def per_s(self, now: float) -> float:
        """The current rate."""
        age_s = max(now - self.since, _SHORTEST_S)
        # The count at a rate of one per second.
        span_s = _ARRIVALS_S / math.log(2) * -math.expm1(-_decay(age_s))
        return self._left_of_count(now) / span_s

    def _left_of_count(self, now: float) -> float:
        return self.count * math.exp(-_decay(max(now - self.at, 0.0)))


def _decay(age_s: float) -> float:
    return age_s / _ARRIVALS_S * math.log(2)


# -- the estimate --------------------------------------------------------------


@frozen(kw_only=True)
class Agent:
    """An agent who takes calls of the queue: logged in and not paused."""

    #: Seconds until the agent is free: 0 now, or the rest of the wrap-up time; None:
    #: unknown, because the agent is in a call.
    free_in_s: float | None
    #: The queue's share of this agent, up to 1.
    share: float = 1.0


@frozen(kw_only=True)
class Pace:
    """How fast a line moves."""

    #: Mean talk and wrap-up time, in seconds.
    handling_s: float
    #: Mean time until an agent answers, in seconds.
    ring_s: float
    #: Rate at which each waiting caller gives up, per second.
    leaving_per_s: float = 0.0
    #: Number of callers per second who join later and are served earlier.
    arriving_per_s: float = 0.0


def expected_wait_s(ahead: int, agents: Collection[Agent], pace: Pace) -> float | None:
    """Return in how many seconds an agent is expected to answer.

    It never decreases with ``ahead``, and never increases with more agents.

    Args:
        ahead: how many are served before.
        agents: all agents who take calls of the queue now.
        pace: how fast the line moves.

    Returns:
        Seconds; None: unknown, as there is no agent, or the line does not move.
    """
    if not agents:
        return None
    free = sum(agent.share for agent in agents if agent.free_in_s == 0)
    turns = ahead + 1 - free
    if turns <= _ROUNDING:
        return pace.ring_s
    per_s = sum(a.share for a in agents) / max(pace.handling_s + pace.ring_s, 1.0)
    if pace.arriving_per_s:
        if per_s < pace.arriving_per_s * _HEADWAY:
            return None
        per_s -= pace.arriving_per_s
    wait_s = min(_until(turns, per_s, pace.leaving_per_s), _end_of_rests(turns, agents))
    return wait_s + pace.ring_s


def _until(turns: float, per_s: float, leaving_per_s: float) -> float:
    """Return in how many seconds ``turns`` others have had their turn.

    With k others in line, the line moves by one in 1 / (per_s + k * leaving_per_s).
    """
    whole = math.floor(turns)
    exact = min(whole, _EXACT)
    wait_s = sum(1.0 / (per_s + k * leaving_per_s) for k in range(exact))
    if whole == exact:
        return wait_s + (turns - whole) / (per_s + whole * leaving_per_s)
    first = per_s + (exact - 0.5) * leaving_per_s
    more = (turns - exact) * leaving_per_s / first
    if more < _ROUNDING:
        return wait_s + (turns - exact) / first
    return wait_s + math.log1p(more) / leaving_per_s


def _end_of_rests(turns: float, agents: Collection[Agent]) -> float:
    """Return when enough wrap-up times have ended; infinite if there are too few."""
    resting = [(a.free_in_s, a.share) for a in agents if a.free_in_s]
    for free_in_s, share in sorted(resting):
        turns -= share
        if turns <= _ROUNDING:
            return free_in_s
    return math.inf


# -- words ---------------------------------------------------------------------


def rounded_minutes(wait_s: float | None) -> int | None:
    """Return a wait as it is announced: "less than a minute", or "about N minutes".

    It is rounded up, because a caller minds a longer wait than announced, but not a
    shorter one. Longer waits are rounded more, as they are less certain: up to 10
    minutes to one minute, up to 30 to 5, up to 60 to 10, and then to 30.

    Args:
        wait_s: the wait in seconds; None: unknown.

    Returns:
        Minutes; 0 for less than a minute; None: unknown.
    """
    if wait_s is None:
        return None
    if wait_s < 60:
        return 0
    minutes = math.ceil(wait_s / 60)
    if minutes <= _EACH_MIN:
        return minutes
    step = next(step for longest, step in _STEPS_MIN if minutes <= longest)
    return math.ceil(minutes / step) * step
