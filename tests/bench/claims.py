# SPDX-License-Identifier: MIT
"""One of several instances that claim due tasks: ``python -m tests.bench.claims``.

It has the leases of a service, claims as a service does, and neither calls anybody nor
ends an attempt. It says ``ready``, waits for a line, and claims until no task is due.
Then it writes the ids of its tasks and how long that took, as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from datetime import UTC, datetime

from fastagi.store import leases, node_leases
from fastagi.store.engine import Database
from fastagi.store.leases import Lease, steady_seconds
from fastagi.store.processes import Process
from fastagi.store.store import TaskStore
from tests.store.harness import done

QUEUE = "support"


def main() -> int:
    """Claim the due tasks of a database."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.claims")
    parser.add_argument("url")
    parser.add_argument("name", help="of the instance, and of the Asterisk it holds")
    options = parser.parse_args()
    database = Database(options.url, deliver=None)
    name = options.name
    taken_at = steady_seconds()
    ours = database.run_now(
        "take lease", leases.take, Process.this(), f"token of {name}", True, name
    )
    found = database.run_now("take nodes", node_leases.take_free, ours, {name: 0.0})
    store = TaskStore(
        database,
        lease=Lease(found.taken[name], steady_seconds, taken_at),
        node=name,
        of_process=Lease(ours, steady_seconds, taken_at),
    )
    # What is compiled at the first use is not measured.
    done(store.begin_attempts({"no such queue"}, ["warm-up"], datetime.now(UTC)))
    print("ready", flush=True)
    sys.stdin.readline()

    claimed: list[int] = []
    began = renewed_at = time.monotonic()
    for number in itertools.count():
        channel_id = f"callback-{name}-{number}"
        now = datetime.now(UTC)
        begun = done(store.begin_attempts({QUEUE}, [channel_id], now)).begun
        if not begun:
            break
        claimed += (one.task.id for one in begun)
        if time.monotonic() - renewed_at > leases.NODE_RENEW_S:
            done(store.renew_lease())
            renewed_at = time.monotonic()
    took_s = time.monotonic() - began
    print(json.dumps({"claimed": claimed, "took_s": took_s}), flush=True)
    _ = database.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
