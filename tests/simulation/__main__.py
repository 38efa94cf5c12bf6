# SPDX-License-Identifier: MIT
"""Play any number of seeds: ``python -m tests.simulation --seeds 20000``."""

from __future__ import annotations

import argparse
import os
import sys

from tests.simulation.batches import play_all, simulate
from tests.simulation.faults import FAULTS, search


def show_faults() -> int:
    """Plant each fault and print after how many seeds it was found."""
    missed = 0
    for fault in FAULTS:
        seeds, failed = search(fault)
        missed += failed is None
        found = f"found by seed {failed.seed}: {failed.rule}" if failed else "NOT FOUND"
        print(f"{fault.name}: {found} ({seeds} seeds)", flush=True)
    return 1 if missed else 0


def main() -> int:
    """Run the command; return 1 if a rule was broken or a fault was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--seed", type=int, help="play this one and tell its story")
    parser.add_argument(
        "--faults", action="store_true", help="prove that faults are found"
    )
    options = parser.parse_args()
    if options.faults:
        return show_faults()
    if options.seed is not None:
        failed = simulate(options.seed)
        print(failed or f"seed {options.seed}: no rule broken")
    else:
        failed = play_all(options.first, options.seeds, options.jobs)
        if failed is not None:
            print(f"\n{failed}\n\nAgain: make simulate SEED={failed.seed}")
            print("Mend it, and keep the seed in tests/simulation/seeds.txt.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
