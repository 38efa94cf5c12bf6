# SPDX-License-Identifier: MIT
"""The main job, for somebody to watch: ``python -m tests.lab.demo``.

A caller waits, hears the offer, presses 1 and hangs up; the agent, busy at first,
becomes free, rings, hears the alert; the client rings; they talk. One line for each
step, at the moment it happens. Exit code 0 only if the two really heard each other.
"""

from __future__ import annotations

import datetime
import sys
import time

from tests.lab.asterisk import Asterisk
from tests.lab.config import DEFAULT_QUEUES, Queue
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.phones import request, response
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import says
from tests.lab.witness import bridges_of_the_client_leg, event

CLIENT = "4930123456"
#: The original's: a callback succeeds when the two talked for five seconds.
_TALK_MS = 6000
#: From the agent's becoming free to the ring of the agent's phone.
_MOST_MS = 200

_SUPPORT = Queue(
    name="support",
    members=("alice",),
    options={
        "announce-to-first-user": "yes",
        "periodic-announce": "callback-queue/offer",
        "periodic-announce-frequency": "2",
    },
)


class Storyteller:
    """Prints what happens, with the time since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line, now."""
        print(f"{time.monotonic() - self._began:8.3f} s  {text}", flush=True)


def main() -> int:
    """Run the demonstration; return the exit code."""
    tell = Storyteller()
    asterisk: Asterisk | None = None
    try:
        tell.say("starting Asterisk 22 (its own files and ports, on 127.0.0.1)")
        queues = [_SUPPORT, *(q for q in DEFAULT_QUEUES if q.name != _SUPPORT.name)]
        asterisk = Asterisk(22, queues=queues)
        asterisk.start()
        lab = Lab(asterisk)
        try:
            return _callback(tell, asterisk, lab)
        finally:
            lab.close()
    except LabError as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    finally:
        if asterisk is not None:
            asterisk.close()


def _callback(tell: Storyteller, asterisk: Asterisk, lab: Lab) -> int:
    tell.say(f"Asterisk {asterisk.version} is up; starting the callback service")
    service = lab.service()
    tell.say("the service is connected and listens for FastAGI")

    alice = lab.agent("alice", Answer(ring_ms=300), Answer(ring_ms=1500))
    client = lab.client(
        CLIENT, Answer(ring_ms=1500, steps=(HangUp(after_ms=_TALK_MS),))
    )
    lab.caller("support", number="4989111111")
    lab.witness.wait_for(event("AgentConnect"))
    tell.say("agent Alice is busy: she talks to another caller")

    caller = lab.caller(
        "support", number=CLIENT, display_name="Ada Client", keys_as_rtp=True
    )
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=CLIENT))
    tell.say(f"caller {CLIENT} enters the queue and waits")
    wait_until(
        lambda: "Playing 'callback-queue/offer" in asterisk.log, 15, "the offer prompt"
    )
    tell.say('caller hears: "... to be called back ... press 1"')
    caller.press("1")
    tell.say("caller presses 1")
    requested = service.wait_for(says("requested in queue"))
    tell.say(f"task {requested['task_id']} is stored")
    wait_until(
        lambda: "Playing 'callback-queue/accepted" in asterisk.log,
        5,
        "the prompt that the request is accepted",
    )
    tell.say('caller hears: "Your request ... has been accepted"')
    caller.wait_for(request("BYE"), 20)
    tell.say("the call has ended; Alice still talks to the other caller")

    asterisk.cli(f"channel request hangup {_channel_of(lab, '4989111111')}")
    # Both moments as Alice's phone saw them.
    free = alice.wait_for(request("BYE"))
    ringing = alice.wait_for_call(count=2)
    tell.say("the other call ends: Alice is free ...")
    delay_ms = (ringing.at - free.at) / datetime.timedelta(milliseconds=1)
    tell.say(f"... and her phone rings, {delay_ms:.0f} ms later")
    name, number = ringing.name_and_number()
    tell.say(f"her phone shows: {name} <{number}>")
    alice.wait_for(response(200, "INVITE", sent=True), 10, count=2)
    tell.say("Alice answers")
    lab.witness.fence()
    wait_until(
        lambda: "Playing 'callback-queue/member-alert" in asterisk.log, 5, "the alert"
    )
    tell.say('Alice hears: "... you will be connected with the client"')
    client.wait_for_call(deadline_s=15)
    tell.say(f"the client's phone, {CLIENT}, rings")
    client.wait_for(response(200, "INVITE", sent=True))
    tell.say("the client answers")
    client.wait_to_hear(alice)
    alice.wait_to_hear(client)
    tell.say("they talk: each hears the other's voice")
    done = service.wait_for(says("talked", task_id=requested["task_id"]), 20)
    tell.say(f"the client hangs up; {done['message']}")

    print("\nThe task's story, as the database keeps it:\n")
    story = service.cli("tasks", "show", str(requested["task_id"]))
    print(story.out)
    return _verdict(lab, service.tasks(), delay_ms)


def _verdict(lab: Lab, tasks: list[dict[str, object]], delay_ms: float) -> int:
    faults = []
    if [task["status"] for task in tasks] != ["completed"]:
        faults.append(f"the task did not complete: {tasks}")
    if delay_ms >= _MOST_MS:
        faults.append(f"Alice's phone rang after {delay_ms:.0f} ms, not {_MOST_MS}")
    if not bridges_of_the_client_leg(lab.witness):
        faults.append("the witness saw no bridge with the client")
    for fault in faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    if not faults:
        print("The callback works: asked for, kept, rung, bridged, done.")
    return 1 if faults else 0


def _channel_of(lab: Lab, number: str) -> str:
    joined = lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=number))
    return joined["Channel"]


if __name__ == "__main__":
    sys.exit(main())
