# SPDX-License-Identifier: MIT
"""A short run of the fuzzer, the same each time; ``make fuzz`` runs longer."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds_of

_DEADLINE_S = 400.0


@pytest.mark.parametrize("name", TARGETS)
def test_each_seed_is_read(name: str) -> None:
    seeds = list(seeds_of(name))
    assert seeds
    for seed in seeds:
        TARGETS[name].run(seed)


# As in setup.cfg. In other environments a missing fuzzer is an error, not a skip.
@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.version_info >= (3, 15),
    reason="atheris, the fuzzer, is not made for this Python or this machine",
)
def test_fuzzer_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", "--short", "--into", str(tmp_path)),
            *("-seed=1", "-timeout=60", "-print_final_stats=1"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
        timeout=_DEADLINE_S,
        check=False,
    )
    told = []
    for name in TARGETS:
        log = tmp_path / f"{name}.log"
        output = log.read_text(errors="replace") if log.exists() else ""
        if "number_of_executed_units" not in output:
            told.append(f"{name}:\n{output[-4000:]}")
    for path in sorted(tmp_path.glob("*-*")):
        told.append(f"{path.name}: {path.read_bytes()!r}")
    assert done.returncode == 0 and not told, "\n".join([f"{done.stdout!r}", *told])
