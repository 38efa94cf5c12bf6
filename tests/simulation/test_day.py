# SPDX-License-Identifier: MIT
"""The expected wait is accurate enough, and the best of the compared estimates."""

from __future__ import annotations

from functools import cache

import pytest

from tests.simulation.day import CENTERS, CHOSEN, Errors, Person, compare, play

#: Bounds for the mean absolute error divided by the mean wait, with some room;
#: docs/expected-wait.md has the measured values.
BOUNDS = {
    "3 agents": 0.75,
    "12 agents": 0.45,
    "12 agents, too few": 0.4,
    "12 agents, calls alike": 0.45,
    "2 queues share 6 of 12 agents": 0.6,
}
_DAYS = 3


@cache
def people(name: str) -> list[Person]:
    """Return the people of some days of one centre."""
    center = next(center for center in CENTERS if center.name == name)
    return play(center, range(_DAYS))


def errors(name: str) -> dict[str, Errors]:
    """Return the errors of all estimates."""
    return compare(people(name))


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_expected_waits_come_near_the_real_ones(name: str, bound: float) -> None:
    found = errors(name)[CHOSEN]
    assert found.relative < bound
    # On average neither too long nor too short.
    assert abs(found.mean_s) < 0.2 * found.absolute_s / found.relative


@pytest.mark.parametrize("name", BOUNDS)
def test_waits_of_others_tell_less_than_the_line(name: str) -> None:
    found = errors(name)
    for other in ("QL", "LES", "HOL"):
        assert found[CHOSEN].absolute_s < found[other].absolute_s, other


def test_a_wait_is_expected_of_whoever_joins_while_an_agent_is_there() -> None:
    known = [p for p in people("12 agents") if p.expected_s]
    assert len(known) > 0.99 * len(people("12 agents"))
    assert all(p.expected_s[CHOSEN] >= 0 for p in known)


def test_callbacks_behind_all_callers_are_expected_soon_enough() -> None:
    found = errors("12 agents, callbacks wait")["behind callers"]
    assert found.relative < 1.1
