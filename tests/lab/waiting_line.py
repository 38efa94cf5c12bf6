# SPDX-License-Identifier: MIT
"""Measure what clients in line cost: ``python -m tests.lab.waiting_line``.

A hundred agents talk, and a hundred clients wait in line on a real Asterisk. Prints the
processor time of Asterisk and of the service while nobody waits, while the clients
wait, and while as many live callers wait who hear music.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

import attrs

from tests.lab.asterisk import Asterisk
from tests.lab.config import Queue
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.service import Service
from tests.lab.witness import Seen

_QUEUE: Final = "support"
_SETTLES_S: Final = 5.0
_JOIN_S: Final = 120.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Cost:
    """Processor time of each, in percent of one processor."""

    asterisk: float
    service: float

    def __str__(self) -> str:
        return f"Asterisk {self.asterisk:5.2f} %, service {self.service:5.2f} %"


@attrs.frozen
class Costs:
    """What was measured one after the other."""

    nobody: Cost
    clients: Cost
    callers: Cost


def queue(agents: int) -> Queue:
    """Return a queue with so many agents, whose phones are devices by name only."""
    members = tuple(
        f"Local/{number}@nowhere,0,Agent {number},Custom:agent{number}"
        for number in range(1, agents + 1)
    )
    return Queue(name=_QUEUE, members=members)


def measure(lab: Lab, clients: int, seconds: float) -> Costs:
    """Let clients and callers wait in the queue of :func:`queue`.

    Raises:
        LabError: they do not join.
    """
    for number in range(1, clients + 1):
        lab.asterisk.cli(f"devstate change Custom:agent{number} INUSE")
    service = lab.service({"defaults": {"fairness": "place"}})
    nobody = _cost(lab, service, seconds)
    for number in range(clients):
        service.ask("tasks.add", queue=_QUEUE, number=f"4930{number:06}")
    wait_until(lambda: _in_line(service) == clients, _JOIN_S, "all clients are in line")
    waiting = _cost(lab, service, seconds)
    assert _in_line(service) == clients
    for task in service.tasks():
        service.ask("tasks.cancel", id=task["id"])
    wait_until(lambda: not lab.asterisk.channels(), _JOIN_S, "all have left")
    for number in range(clients):
        lab.witness.originate(
            f"Local/{_QUEUE}@inbound/n", caller_id=f'"Live" <100{number:03}>'
        )
    lab.witness.wait_for(_joins_live, _JOIN_S, count=clients)
    return Costs(nobody, waiting, _cost(lab, service, seconds))


def _in_line(service: Service) -> int:
    return int(service.status()["queues"][_QUEUE]["in_line"])


def _joins_live(seen: Seen) -> bool:
    joined = seen.name == "QueueCallerJoin"
    return joined and not seen["Uniqueid"].startswith("callback-")


def _cost(lab: Lab, service: Service, seconds: float) -> Cost:
    time.sleep(_SETTLES_S)
    pids = (lab.asterisk.pid, service.pid)
    began_at, before = time.monotonic(), [_cpu_s(pid) for pid in pids]
    time.sleep(seconds)
    took_s = time.monotonic() - began_at
    return Cost(
        *(
            100 * (_cpu_s(pid) - used_s) / took_s
            for pid, used_s in zip(pids, before, strict=True)
        )
    )


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.waiting_line")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60, help="for each figure")
    parser.add_argument("--asterisk", type=int, default=22, help="major version")
    options = parser.parse_args()
    count = options.clients
    with Asterisk(options.asterisk, queues=[queue(count)]) as asterisk:
        print(f"Asterisk {asterisk.version}, {count} agents who talk", flush=True)
        lab = Lab(asterisk)
        try:
            costs = measure(lab, count, options.seconds)
        finally:
            lab.close()
    for who, cost in (
        ("nobody", costs.nobody),
        (f"{count} clients in line", costs.clients),
        (f"{count} live callers with music", costs.callers),
    ):
        print(f"{who:32} {cost}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
