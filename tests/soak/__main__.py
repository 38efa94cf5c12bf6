# SPDX-License-Identifier: MIT
"""Run the service under trouble: ``python -m tests.soak --minutes 30``."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import attrs

from tests.lab.errors import LabError
from tests.soak.cluster import LONGEST_S, ClusterSoak
from tests.soak.plan import OF_TWO_SERVICES, Plan
from tests.soak.soak import AnySoak, Soak


def main() -> int:
    """Run the soak and print the result; return 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, help="people and trouble of a run before")
    parser.add_argument("--calls", type=float, default=60, help="of clients a minute")
    parser.add_argument(
        "--two-services",
        action="store_true",
        help="two services on one PostgreSQL, each beside an Asterisk",
    )
    parser.add_argument("--trouble-every", type=float, default=30, help="seconds")
    options = parser.parse_args()
    seed = random.randrange(10_000) if options.seed is None else options.seed
    plan = Plan(
        seed=seed,
        duration_s=options.minutes * 60,
        calls_per_min=options.calls,
        trouble_every_s=options.trouble_every,
    )
    kind: type[Soak | ClusterSoak] = Soak
    if options.two_services:
        kind = ClusterSoak
        plan = attrs.evolve(plan, likely=OF_TWO_SERVICES, longest_s=LONGEST_S)
    print(
        f"soak of {options.minutes:g} min, seed {seed}: {options.calls:g} calls of"
        f" clients a minute, trouble every {options.trouble_every:g} s",
        flush=True,
    )
    try:
        with kind(plan, tell=lambda text: print(text, flush=True)) as soak:
            verdict = soak.run()
            logs = "" if verdict.good else _keep_logs(soak)
    except LabError as error:
        print(f"the soak could not be done: {error}", file=sys.stderr)
        return 2
    print(f"\n{verdict}\n")
    if logs:
        print(f"what the services said is in {logs}")
    print("nothing lost, nothing done twice" if verdict.good else "RULES WERE BROKEN")
    return 0 if verdict.good else 1


def _keep_logs(soak: AnySoak) -> str:
    """Write what each service said; return the directory."""
    directory = Path(tempfile.mkdtemp(prefix="callback-queue-soak-"))
    for number, service in enumerate(soak.services, 1):
        (directory / f"service-{number}.log").write_text(service.report())
    return str(directory)


if __name__ == "__main__":
    sys.exit(main())
