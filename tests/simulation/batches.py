# SPDX-License-Identifier: MIT
"""Many seeds, in several processes."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Iterator, Sequence

from tests.harness import quiet_log as quiet_log
from tests.simulation import clusters, links, nodes, simulation
from tests.simulation.simulation import Failed

#: Seeds that one process plays between two reports.
_CHUNK = 25
#: For so many seeds there is one with several Asterisks, and one with several services;
#: in each fourth of the latter links are cut for minutes.
_SEVERAL_EACH = 40
_LINKS_EACH = 4
_TELL_EACH_S = 10.0


def simulate(seed: int) -> Failed | None:
    """Run a seed; return the broken rule, None if there is none."""
    if seed >= links.LINKS_FROM:
        return links.simulate(seed)
    if seed >= clusters.CLUSTERS_FROM:
        return clusters.simulate(seed)
    several = seed >= nodes.NODES_FROM
    return nodes.simulate(seed) if several else simulation.simulate(seed)


def with_several(first: int, count: int) -> Iterator[Sequence[int]]:
    """Yield batches of seeds, with some of several Asterisks and services among them.

    Such runs take ten times as long, so there is one of each kind for forty seeds.
    """
    for batch in chunks(first, count):
        others = [
            kind + seed // _SEVERAL_EACH
            for seed in batch
            if seed < nodes.NODES_FROM and seed % _SEVERAL_EACH == 0
            for kind in (nodes.NODES_FROM, _kind_of_services(seed // _SEVERAL_EACH))
        ]
        yield [*batch, *others]


def _kind_of_services(number: int) -> int:
    """Return the first seed of the runs with several services of which one comes."""
    is_about_links = number % _LINKS_EACH == _LINKS_EACH - 1
    return links.LINKS_FROM if is_about_links else clusters.CLUSTERS_FROM


def chunks(first: int, count: int) -> Iterator[range]:
    """Yield all seeds in batches."""
    for start in range(first, first + count, _CHUNK):
        yield range(start, min(start + _CHUNK, first + count))


def play(seeds: Sequence[int]) -> Failed | None:
    """Play some seeds, up to the first that breaks a rule."""
    return next(filter(None, map(play_one, seeds)), None)


def play_one(seed: int) -> Failed | None:
    """Play a seed, and collect its garbage at its end only.

    What killed services leave behind is one large reference cycle.
    """
    gc.disable()
    try:
        return simulate(seed)
    finally:
        gc.collect()
        # What is left stays, such as compiled statements: no need to visit it again.
        gc.freeze()
        gc.enable()


def play_all(first: int, count: int, jobs: int) -> Failed | None:
    """Play the seeds in several processes, and print the progress."""
    began = told = time.monotonic()
    done = 0
    # Modules are no garbage: no collection visits them.
    with multiprocessing.get_context("spawn").Pool(jobs, gc.freeze) as pool:
        for failed in pool.imap(play, with_several(first, count)):
            if failed is not None:
                return failed
            done = min(done + _CHUNK, count)
            now = time.monotonic()
            if now - told >= _TELL_EACH_S:
                told = now
                left_s = (now - began) / done * (count - done)
                print(f"{done} of {count} seeds, {left_s:.0f} s to go", flush=True)
    took_s = time.monotonic() - began
    print(f"{count} seeds from {first} in {took_s:.0f} s: no rule is broken")
    return None
