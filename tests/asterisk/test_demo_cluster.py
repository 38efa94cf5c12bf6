# SPDX-License-Identifier: MIT
"""``make demo-cluster`` shows what it says, and fails if anything differs."""

from __future__ import annotations

import pytest

from tests.lab import demo_cluster
from tests.lab.demo_cluster import Measured
from tests.lab.install import install


# Two Asterisks, two services and a database, which must answer within callers' seconds.
@pytest.mark.stopwatch
def test_demonstration_of_two_services_ends_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(["22", "databases"])

    code = demo_cluster.main()

    told, faults = capsys.readouterr()
    assert code == 0, f"{told}\n{faults}"
    assert "service a takes over: it holds Asterisk B now" in told
    assert told.rstrip().endswith("each client's phone rang once.")


def test_what_differs_is_a_fault_and_what_is_late_is_none() -> None:
    measured = Measured()
    measured.count("rings", 1, 1)
    measured.time("ring", 0.2, 0.3, 3.0)
    assert (measured.faults, measured.late) == ([], [])

    measured.time("ring", 0.4, 0.3, 3.0)
    assert not measured.faults
    assert measured.late == ["ring: 0.400 s; on an idle machine it is less than 0.3 s"]

    measured.count("rings", 2, 1)
    measured.time("ring", 3.0, 0.3, 3.0)
    assert measured.faults == ["rings: 2, not 1", "ring: 3.0 s; the most is 3 s"]
