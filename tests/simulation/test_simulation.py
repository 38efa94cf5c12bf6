# SPDX-License-Identifier: MIT
"""Many random runs, and the proof that they find faults."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.batches import chunks, play
from tests.simulation.clusters import CLUSTERS_FROM
from tests.simulation.faults import FAULTS, Fault, search
from tests.simulation.links import LINKS_FROM
from tests.simulation.nodes import NODES_FROM
from tests.simulation.plan import (
    AUTO_FROM,
    CHOICES_FROM,
    CLIENT_FIRST_FROM,
    KEYS_FROM,
    LINES_FROM,
    MACHINES_FROM,
    OFFERS_FROM,
    PLACES_FROM,
    PREFERRED_FROM,
    SLOTS_FROM,
    STEERS_FROM,
    TIMES_FROM,
)
from tests.simulation.simulation import trace

_KEPT = Path(__file__).with_name("seeds.txt")
_ROOT = Path(__file__).parents[2]
#: The first seed and the number of seeds of each kind of run.
_PLAYED = (
    (0, 1000),
    (PLACES_FROM, 200),
    (LINES_FROM, 40),
    (KEYS_FROM, 100),
    (TIMES_FROM, 100),
    (CHOICES_FROM, 100),
    (OFFERS_FROM, 60),
    (MACHINES_FROM, 60),
    (PREFERRED_FROM, 40),
    (SLOTS_FROM, 140),
    (CLIENT_FIRST_FROM, 100),
    (AUTO_FROM, 60),
    (STEERS_FROM, 25),
    (NODES_FROM, 25),
    (CLUSTERS_FROM, 10),
    (LINKS_FROM, 10),
)


def kept_seeds() -> list[int]:
    """Return the seeds that once broke a rule."""
    lines = _KEPT.read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and line[0] != "#"]


@pytest.mark.parametrize(
    "seeds",
    [seeds for first, count in _PLAYED for seeds in chunks(first, count)],
    ids=str,
)
def test_no_rule_is_broken(seeds: range) -> None:
    failed = play(seeds)
    assert failed is None, str(failed)


@pytest.mark.parametrize("seed", kept_seeds())
def test_no_rule_is_broken_again(seed: int) -> None:
    failed = play([seed])
    assert failed is None, str(failed)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_put_in_on_purpose_is_found(fault: Fault) -> None:
    seeds, failed = search(fault)
    assert failed is not None, f"not found in {seeds} seeds"
    print(f"{fault.name}: found by seed {failed.seed}: {failed.rule}")


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """To the last event, for any order of Python's sets."""
    script = (
        "from tests.simulation.simulation import trace; from tests.harness import"
        " quiet_log; print(*map(trace, range(20)), sep='#')"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=300,
        ).stdout.split("#")
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    here = trace(1)
    assert here == trace(1) == runs[0][1].removesuffix("\n")
    assert len(here.splitlines()) > 100
    gc.collect()
