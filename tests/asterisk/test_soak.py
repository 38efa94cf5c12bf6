# SPDX-License-Identifier: MIT
"""A short soak on a real Asterisk, so that the long one keeps working."""

from __future__ import annotations

import pytest

from tests.lab.install import install
from tests.soak.cluster import ClusterSoak
from tests.soak.plan import OF_TWO_SERVICES, Plan, Trouble
from tests.soak.soak import AnySoak, Pace, Soak

pytestmark = pytest.mark.crowd

#: A restart takes long and tests little more than a kill, as does a stop.
_TROUBLES = tuple(
    one for one in Trouble if one not in (Trouble.RESTART_ASTERISK, Trouble.HAND_OVER)
)


def test_callers_are_called_back_through_one_trouble_after_the_other() -> None:
    plan = Plan(
        seed=38,
        duration_s=9.0,
        calls_per_min=200,
        trouble_every_s=1.0,
        troubles=_TROUBLES,
        talk_s=1.3,
    )
    pace = Pace(retry_delay_s=1, success_s=1, attempts=2)
    with Soak(plan, pace, tell=lambda _: None) as soak:
        assert_good(soak, list(_TROUBLES))


def test_callers_of_two_asterisks_are_called_back_through_trouble_of_the_services() -> (
    None
):
    install(["databases"])
    plan = Plan(
        seed=5,
        duration_s=9.0,
        calls_per_min=150,
        trouble_every_s=1.0,
        troubles=tuple(OF_TWO_SERVICES),
        talk_s=1.3,
    )
    pace = Pace(retry_delay_s=1, success_s=1, attempts=2)
    with ClusterSoak(plan, pace, tell=lambda _: None) as soak:
        assert_good(soak, list(OF_TWO_SERVICES))
        assert soak.books is not None
        # Both Asterisks were called, and placed calls.
        assert {one["node"] for one in soak.books.attempts} == {"pbx-a", "pbx-b"}


def assert_good(soak: AnySoak, troubles: list[Trouble]) -> None:
    """Run a soak; no rule may be broken, and the troubles must have happened."""
    verdict = soak.run()

    told = "\n\n".join(service.report() for service in soak.services)
    assert verdict.good, f"\n{verdict}\n\n{told}"
    assert [one.trouble for one in soak.disturbances] == troubles
    assert soak.books is not None
    assert len(soak.books.tasks) >= 3, str(verdict)
    assert len(soak.books.attempts) >= 3, str(verdict)
