# SPDX-License-Identifier: MIT
"""Percentiles, and the goals that some figures have."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: What was measured and is worse than its goal.
missed: list[str] = []


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so many of the values do not exceed, by nearest rank."""
    rank = math.ceil(share * len(values))
    return sorted(values)[max(rank, 1) - 1]


def at_most(what: str, value: float, most: float, unit: str) -> str:
    """Return a goal and whether it is reached, as text; remember what is missed."""
    reached = value <= most
    if not reached:
        missed.append(f"{what}: {value:.4g} {unit}, the goal is {most:g} {unit}")
    return f"goal {most:g} {unit}: {'reached' if reached else 'MISSED'}"


def is_so(what: str, condition: bool) -> str:
    """Return whether something is as it must be, as text; remember if it is not."""
    if not condition:
        missed.append(what)
    return f"{what}: {'yes' if condition else 'NO'}"
