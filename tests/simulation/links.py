# SPDX-License-Identifier: MIT
"""Random runs of several services in which links to Asterisks are cut for minutes.

Some time after the start the way from the holder of an Asterisk is cut, now and then
that from all of them. What happens besides, and the rules, are those of
:mod:`tests.simulation.clusters`; there is less other trouble.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

from tests.simulation.clusters import ClusterRun
from tests.simulation.simulation import Failed, play

#: The first seed of such a run.
LINKS_FROM: Final = 110_000_000


def simulate(seed: int) -> Failed | None:
    """Play a seed; return the broken rule, None if there is none."""
    return play(seed, LinkRun)


class LinkRun(ClusterRun):
    """One run."""

    ACTION_S: ClassVar = 150.0
    TROUBLE: ClassVar[Sequence[float]] = (0.0, 0.0, 0.0, 0.1)
    #: A task that one service leaves to another is due there later if its clock is
    #: behind, and then comes back.
    APART_S: ClassVar[Sequence[float]] = (0.0, 0.0, 0.0, 1.0)

    def _build(self) -> None:
        super()._build()
        dice = self._dice
        for side in dice.sample(self._sides, dice.randint(1, len(self._sides))):
            at, for_s = dice.uniform(8, 40), dice.uniform(60, 110)
            resets = dice.randrange(3) > 0
            everybody = dice.randrange(4) == 0
            cut = partial(
                self._cut_holder, side, for_s, resets=resets, everybody=everybody
            )
            self._at(at, cut)
