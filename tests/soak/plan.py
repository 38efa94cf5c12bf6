# SPDX-License-Identifier: MIT
"""What people do and what breaks, drawn from one seed.

Owns: chance. The same seed gives the same callers with the same intentions and the
same trouble at the same moments; what Asterisk, the machine and the service make of it
differs a little each time. Must not know: processes, Asterisk, the product.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

import attrs

#: Beginning of every client's number.
PREFIX = "4930"
#: Then a number of its own, then what the phone does at its first, second, ... ring.
_OWN_DIGITS = 4
RINGS = 4
#: What a client's phone may do, and how likely it is.
CLIENTS = {
    "0": 40,  # answers and talks
    "1": 8,  # answers and waits for the agent to hang up
    "2": 12,  # is busy
    "3": 14,  # does not answer
    "4": 12,  # hangs up too early
    "5": 8,  # declines
    "6": 6,  # fails in the network
}
#: What an agent's phone may do.
AGENTS = {
    "0": 70,  # answers
    "1": 10,  # answers late
    "2": 8,  # does not answer
    "3": 6,  # declines
    "4": 6,  # answers and hangs up soon
}
#: How much of what agents do is drawn; then it begins anew.
AGENT_ACTS = 400


class Trouble(Enum):
    """What may break."""

    KILL_SERVICE = "kill of the service"
    FREEZE_SERVICE = "frozen service"
    RELOAD = "SIGHUP"
    CUT = "cut link"
    FREEZE_ASTERISK = "frozen Asterisk"
    KILL_ASTERISK = "kill of Asterisk"
    RESTART_ASTERISK = "restart of Asterisk"
    HAND_OVER = "stop of the service"


#: How likely each is.
_TROUBLE = {
    Trouble.KILL_SERVICE: 30,
    Trouble.FREEZE_SERVICE: 10,
    Trouble.RELOAD: 10,
    Trouble.CUT: 20,
    Trouble.FREEZE_ASTERISK: 12,
    Trouble.KILL_ASTERISK: 12,
    Trouble.RESTART_ASTERISK: 6,
}
#: The same with two services.
OF_TWO_SERVICES = {
    Trouble.KILL_SERVICE: 40,
    Trouble.FREEZE_SERVICE: 35,
    Trouble.HAND_OVER: 25,
}


@attrs.frozen(kw_only=True)
class Call:
    """Somebody calls a queue."""

    at_s: float
    number: str
    queue: str
    #: Presses 1 after so long, or never.
    key_after_s: float | None
    #: Hangs up after so long, whatever happens.
    patience_s: float


@attrs.frozen(kw_only=True)
class Break:
    """Something breaks."""

    at_s: float
    trouble: Trouble
    #: How long it stays so, where that can be chosen.
    for_s: float


Event = Call | Break


@attrs.frozen(kw_only=True)
class Plan:
    """A whole run."""

    seed: int
    duration_s: float
    calls_per_min: float
    #: Between two troubles, on the average.
    trouble_every_s: float
    queues: Sequence[str] = ("support", "sales")
    #: One of these after the other, evenly over the run, instead of what chance
    #: brings.
    troubles: Sequence[Trouble] = ()
    #: What chance brings, with how likely each is.
    likely: Mapping[Trouble, int] = attrs.field(factory=lambda: _TROUBLE)
    #: How long it stays so at most.
    longest_s: float = 6.0
    #: How long people talk.
    talk_s: float = 3.0

    def agent_acts(self) -> str:
        """Return what agents' phones do, one digit for each ring."""
        return _draw(random.Random(f"{self.seed} agents"), AGENTS, AGENT_ACTS)

    def events(self) -> Iterator[Event]:
        """Return all that happens, in order."""
        return heapq.merge(
            self._calls(random.Random(f"{self.seed} calls")),
            self._troubles(random.Random(f"{self.seed} trouble")),
            key=lambda event: event.at_s,
        )

    def _calls(self, chance: random.Random) -> Iterator[Call]:
        known: list[str] = []
        at_s = 0.0
        while True:
            at_s += chance.expovariate(self.calls_per_min / 60)
            if at_s >= self.duration_s:
                return
            if known and chance.random() < 0.35:
                # Rings again, most often somebody who rang not long ago.
                number = chance.choice(known[-25:])
            else:
                own = f"{len(known) + 1:0{_OWN_DIGITS}}"
                number = PREFIX + own + _draw(chance, CLIENTS, RINGS)
                known.append(number)
            key_after_s: float | None = None
            patience_s = 45.0
            intent = chance.random()
            if intent < 0.5:
                key_after_s = chance.choice((0.5, 0.5, 1.0, 2.0, 4.0))
                if chance.random() < 0.1:
                    # Does not wait for the prompt.
                    patience_s = key_after_s + chance.uniform(0.1, 0.8)
            elif intent < 0.75:
                patience_s = chance.uniform(0.5, 6.0)
            yield Call(
                at_s=at_s,
                number=number,
                queue=chance.choice(self.queues),
                key_after_s=key_after_s,
                patience_s=patience_s,
            )

    def _troubles(self, chance: random.Random) -> Iterator[Break]:
        longest_s = 1.0 if self.troubles else self.longest_s
        if self.troubles:
            kinds = list(self.troubles)
            moments = [
                self.duration_s * (number + 1) / (len(kinds) + 1)
                for number in range(len(kinds))
            ]
        else:
            kinds, moments = [], []
            at_s = 0.0
            while True:
                # Never two at once: what each does must be seen.
                at_s += 8 + chance.expovariate(1 / max(1, self.trouble_every_s - 8))
                if at_s >= self.duration_s:
                    break
                kinds += chance.choices(list(self.likely), list(self.likely.values()))
                moments.append(at_s)
        for at_s, trouble in zip(moments, kinds, strict=True):
            yield Break(
                at_s=at_s, trouble=trouble, for_s=chance.uniform(0.2, longest_s)
            )


def _draw(chance: random.Random, weights: dict[str, int], count: int) -> str:
    return "".join(chance.choices(list(weights), list(weights.values()), k=count))
