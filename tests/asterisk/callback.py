# SPDX-License-Identifier: MIT
"""Steps and checks that the tests of callbacks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tests.lab.config import interface_of
from tests.lab.lab import Lab
from tests.lab.phones import Caller, request
from tests.lab.scenarios import Press
from tests.lab.service import LogLine, Service, says
from tests.lab.witness import Seen, event

CLIENT = "4930123456"

#: Delays that are short enough for a test, but long enough to be distinguished.
QUICK: Mapping[str, Any] = {
    "defaults": {
        "success_duration": "1s",
        "retry_delay": "1s",
        "member_retry_delay": "1s",
        "member_ring_time": "10s",
        "caller_ring_time": "5s",
        "attempts": 3,
        "sounds": {"accepted": "beep", "member_alert": "beep"},
    }
}

#: Live callers before callbacks, whoever joined earlier.
LIVE_FIRST: Mapping[str, Any] = {"defaults": {"fairness": "live_first"}}


def change_queue(lab: Lab, name: str, **changes: Any) -> None:
    """Change one queue of queues.conf for the rest of the test."""
    lab.asterisk.set_queues(
        attrs.evolve(queue, **changes) if queue.name == name else queue
        for queue in lab.asterisk.queues
    )


def pause(lab: Lab, queue: str) -> None:
    """Pause all agents of a queue."""
    for interface in _interfaces(lab, queue):
        lab.asterisk.cli(f"queue pause member {interface} queue {queue}")


def unpause(lab: Lab, queue: str) -> None:
    """Unpause all agents of a queue."""
    for interface in _interfaces(lab, queue):
        lab.asterisk.cli(f"queue unpause member {interface} queue {queue}")


def _interfaces(lab: Lab, queue: str) -> list[str]:
    (members,) = (one.members for one in lab.asterisk.queues if one.name == queue)
    return [interface_of(member) for member in members]


def ask(
    lab: Lab,
    service: Service,
    queue: str = "support",
    number: str = CLIENT,
    **more: Any,
) -> Caller:
    """Let a caller press 1 while all agents are paused; then unpause the agents."""
    pause(lab, queue)
    caller = lab.caller(queue, Press("1"), number=number, **more)
    requested(service, number)
    unpause(lab, queue)
    return caller


def requested(service: Service, number: str = CLIENT, *, count: int = 1) -> LogLine:
    """Wait until the service has taken a request of this number."""
    return service.wait_for(
        says("requested in queue|asked for again", number=number), count=count
    )


def settled(service: Service, status: str, deadline_s: float = 20.0) -> LogLine:
    """Wait until a task has this status."""
    return service.wait_for(says(rf"^task \d+: {status}", status=status), deadline_s)


def only_task(service: Service) -> dict[str, Any]:
    """Return the only task."""
    tasks = service.tasks()
    assert len(tasks) == 1, tasks
    return dict(tasks[0])


def story(service: Service, task_id: int = 1) -> dict[str, Any]:
    """Return the output of ``tasks show`` for a task."""
    return dict(service.task(task_id))


def dispositions(service: Service, task_id: int = 1) -> list[str]:
    """Return the dispositions of the attempts of a task, in order."""
    return [attempt["disposition"] for attempt in story(service, task_id)["attempts"]]


def originates(lab: Lab) -> list[Seen]:
    """Return the first halves of the callbacks in Asterisk."""
    lab.witness.fence()
    return [
        one
        for one in lab.witness.events("Newchannel")
        if one["Uniqueid"].startswith("callback-") and one["Uniqueid"].endswith("-1")
    ]


def hung_up_by_asterisk(caller: Caller, deadline_s: float = 10.0) -> None:
    """Wait until Asterisk ends the caller's call."""
    caller.wait_for(request("BYE"), deadline_s)


def joins(lab: Lab, number: str, count: int) -> Seen:
    """Wait until a caller has entered a queue for the count-th time."""
    return lab.witness.wait_for(
        event("QueueCallerJoin", CallerIDNum=number), count=count
    )


def stories(service: Service) -> dict[str, dict[str, Any]]:
    """Return the output of ``tasks show`` for each task, by the client's number."""
    found = {}
    for task in service.tasks():
        assert task["number"] not in found, f"two tasks for {task['number']}"
        found[task["number"]] = service.task(task["id"])
    return found
