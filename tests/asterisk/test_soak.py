# SPDX-License-Identifier: MIT
"""A short soak on a real Asterisk, so that the long one keeps working."""

from __future__ import annotations

import pytest

from tests.soak.plan import Plan, Trouble
from tests.soak.soak import Pace, Soak

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
        verdict = soak.run()

    assert verdict.good, f"\n{verdict}\n\n{soak.service.report()}"
    # Trouble did happen in it.
    assert [one.trouble for one in soak.disturbances] == list(_TROUBLES)
    assert soak.books is not None
    assert len(soak.books.tasks) >= 3, str(verdict)
    assert len(soak.books.attempts) >= 3, str(verdict)
