# SPDX-License-Identifier: MIT
"""The main job, for somebody to watch: ``python -m tests.lab.demo``.

First act: a caller waits, hears the offer, presses 1 and hangs up; the agent, busy at
first, becomes free, rings, hears the alert; the client rings; they talk.

Second act: a caller hangs up unanswered, rings again and is served, so there is no
callback; another one is busy at the first attempt and answers the second.

Third act: a caller is offered a callback with the expected wait, enters another number,
and keeps the place before a caller who comes later; the agent accepts by a key. An
answering machine answers, is recognised and not connected; the second attempt reaches
the client.

One line for each step, at the moment it happens. Exit code 0 only if all of it really
happened. A phone that rings late because the machine is busy is reported and is no
failure: the tests marked ``stopwatch`` measure this with nothing else running.
"""

from __future__ import annotations

import datetime
import sys
import time
from typing import Any

from attrs import evolve

from tests.lab.asterisk import Asterisk
from tests.lab.config import DEFAULT_QUEUES, Queue
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.phones import Agent, request, response
from tests.lab.processes import wait_until
from tests.lab.scenarios import BUSY, Answer, HangUp, NoAnswer
from tests.lab.service import Service, merged, says
from tests.lab.witness import bridges_of_the_client_leg, event

CLIENT = "4930123456"
#: Rings again after the missed call.
IMPATIENT = "4930222222"
#: Is on the phone when called back first.
BUSY_FIRST = "4930333333"
#: Wants to be called at another number.
AT_HOME = "4930444444"
MOBILE = "4930555555"
#: Extension of a colleague who calls the queue, and to whom no callback is offered.
COLLEAGUE = "101"
#: Longer than the success duration below.
_TALK_MS = 4000
#: From the agent's becoming free to the ring of the agent's phone, on an idle machine.
_MAX_MS = 200
#: From a missed caller's hang-up to the ring of a free agent's phone, on the same.
_MAX_MISSED_MS = 300
#: The same two times on a machine that does other things as well.
_MAX_BUSY_MS = 3000
_SETTINGS = {"defaults": {"retry_delay": "3s", "success_duration": "3s"}}
#: Of the third act.
_MORE_SETTINGS = {
    "queues": {
        "support": {
            "fairness": "place",
            "offers": {
                "enabled": True,
                "not_before": "2s",
                "after": "2s",
                "unless_within": "0s",
                "answer_time": "10s",
            },
            "choices": {"confirm_number": True, "other_number": "shown"},
            "agent_keys": {"enabled": True},
            "handling_time": "5m",
            "amd": True,
        }
    }
}

#: Alice's calls, in order.
_ALICE = (
    # The other caller, while the client waits.
    Answer(ring_ms=300),
    # The callback to the client.
    Answer(ring_ms=1500),
    # The impatient client, who rings again.
    Answer(ring_ms=700, steps=(HangUp(after_ms=2000),)),
    # The last client, who hangs up before she answers.
    NoAnswer(),
    # The two callbacks to that one.
    Answer(ring_ms=700),
    Answer(ring_ms=700),
    # The other caller of the third act, the callback, the colleague, the callback.
    Answer(ring_ms=300),
    Answer(ring_ms=1000, keys_as_rtp=True),
    Answer(ring_ms=700, steps=(HangUp(after_ms=1500),)),
    Answer(ring_ms=1000, keys_as_rtp=True),
)

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
        #: When the story began, by the steady clock.
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line, now."""
        print(f"{time.monotonic() - self.began:8.3f} s  {text}", flush=True)


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
            return _play(tell, asterisk, lab)
        finally:
            lab.close()
    except LabError as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    finally:
        if asterisk is not None:
            asterisk.close()


def _play(tell: Storyteller, asterisk: Asterisk, lab: Lab) -> int:
    tell.say(f"Asterisk {asterisk.version} is up; starting the callback service")
    service = lab.service(_SETTINGS)
    tell.say("the service is connected and listens for FastAGI")
    alice = lab.agent("alice", *_ALICE)
    print("\nFirst act: a caller asks to be called back\n")
    delay_ms = _asked_for(tell, asterisk, lab, service, alice)
    print("\nSecond act: two missed calls\n")
    _served(tell, asterisk, lab, service)
    missed_ms = _missed(tell, lab, service, alice)
    print("\nThird act: an offer, another number, a place in line, a key\n")
    _offered(tell, asterisk, lab, service, alice)
    _print_stories(service)
    return _verdict(lab, service.tasks(), delay_ms, missed_ms)


def _asked_for(
    tell: Storyteller, asterisk: Asterisk, lab: Lab, service: Service, alice: Agent
) -> float:
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
    tell.say('Alice hears: "... you will now be connected to the client"')
    client.wait_for_call(deadline_s=15)
    tell.say(f"the client's phone, {CLIENT}, rings")
    client.wait_for(response(200, "INVITE", sent=True))
    tell.say("the client answers")
    client.wait_to_hear(alice)
    alice.wait_to_hear(client)
    tell.say("they talk: each hears the other's voice")
    done = service.wait_for(says("talked", task_id=requested["task_id"]), 20)
    tell.say(f"the client hangs up; {done['message']}")

    return delay_ms


def _served(tell: Storyteller, asterisk: Asterisk, lab: Lab, service: Service) -> None:
    asterisk.cli("queue pause member PJSIP/alice queue support")
    tell.say("Alice takes a break")
    lab.caller("support", HangUp(after_ms=2000), number=IMPATIENT)
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=IMPATIENT))
    tell.say(f"caller {IMPATIENT} enters the queue and waits")
    task = service.wait_for(says("missed call", number=IMPATIENT))
    tell.say(f"the caller hangs up: {task['message']}")
    lab.caller("support", number=IMPATIENT)
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=IMPATIENT), count=2)
    tell.say("the same client rings again and waits")
    asterisk.cli("queue unpause member PJSIP/alice queue support")
    tell.say("Alice is back")
    served = service.wait_for(says("served", task_id=task["task_id"]), 20)
    tell.say(f"they talk; {served['message']}")
    ended = lab.witness.wait_for(event("QueueCallerLeave"), count=_leaves(lab))
    lab.witness.wait_for(event("Hangup", Uniqueid=ended["Uniqueid"]))
    tell.say("they hang up; nobody calls this client back")


def _leaves(lab: Lab) -> int:
    lab.witness.fence()
    return len(lab.witness.events("QueueCallerLeave"))


def _missed(tell: Storyteller, lab: Lab, service: Service, alice: Agent) -> float:
    client = lab.client(
        BUSY_FIRST, BUSY, Answer(ring_ms=1000, steps=(HangUp(after_ms=_TALK_MS),))
    )
    caller = lab.caller("support", HangUp(after_ms=2000), number=BUSY_FIRST)
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=BUSY_FIRST))
    tell.say(f"caller {BUSY_FIRST} enters the queue and waits")
    alice.wait_for_call(count=4)
    tell.say("Alice's phone rings, she does not answer")
    gone = caller.wait_for(request("BYE", sent=True))
    tell.say("the caller hangs up ...")
    # Both moments as the phones saw them.
    ringing = alice.wait_for_call(count=5)
    missed_ms = (ringing.at - gone.at) / datetime.timedelta(milliseconds=1)
    tell.say(f"missed caller's hang-up to agent's ring: {missed_ms:.0f} ms")
    task = service.wait_for(says("missed call", number=BUSY_FIRST))
    tell.say(task["message"])
    client.wait_for(response(486, "INVITE", sent=True), 20)
    tell.say("Alice answers, hears the alert; the client is dialled: busy")
    again = service.wait_for(says("next try", task_id=task["task_id"]))
    tell.say(again["message"])
    alice.wait_for_call(count=6)
    tell.say("Alice's phone rings again")
    client.wait_for(response(200, "INVITE", sent=True), 20)
    tell.say("this time the client answers")
    client.wait_to_hear(alice)
    alice.wait_to_hear(client)
    tell.say("they talk: each hears the other's voice")
    done = service.wait_for(says("talked", task_id=task["task_id"]), 20)
    tell.say(f"the client hangs up; {done['message']}")
    return missed_ms


def _offered(
    tell: Storyteller, asterisk: Asterisk, lab: Lab, service: Service, alice: Agent
) -> None:
    asterisk.set_queues(
        evolve(queue, options={}) if queue.name == _SUPPORT.name else queue
        for queue in asterisk.queues
    )
    client = lab.client(
        MOBILE,
        # An answering machine: it speaks without a pause.
        Answer(ring_ms=1000),
        # The client, after AMD() has listened.
        Answer(ring_ms=1000, steps=(HangUp(after_ms=2 * _TALK_MS),)),
    )
    channel = f"PJSIP/trunk/sip:{{number}}@{client.slot}"
    service.write_settings(
        merged(_MORE_SETTINGS, {"defaults": {"outbound_channel": channel}})
    )
    service.reload()
    service.wait_for(says("settings loaded again"))
    tell.say("new settings: offers, choices, places in line, keys of the agents, AMD()")
    lab.caller("support", number="4989333333")
    alice.wait_for(response(200, "INVITE", sent=True), 15, count=6)
    tell.say("Alice is busy: she talks to another caller")

    caller = lab.caller("support", number=AT_HOME, keys_as_rtp=True)
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=AT_HOME))
    tell.say(f"caller {AT_HOME} enters the queue and waits")
    offer = service.wait_for(says("a callback is offered to", number=AT_HOME), 20)
    tell.say(f"expected wait: {offer['expected_wait_s']:.0f} s; the service offers")
    _hears(asterisk, "you-will-wait")
    tell.say('caller hears: "All agents are busy. You will wait for about ..."')
    _hears(asterisk, "or-stay")
    tell.say('caller hears: "To be called back, press 1, or stay on the line"')
    caller.press("1")
    _hears(asterisk, "confirm-press")
    tell.say(f"caller presses 1, and hears the number that will be called, {AT_HOME}")
    caller.press("2")
    _hears(asterisk, "enter-number")
    tell.say("caller presses 2, for another number")
    caller.press(f"{MOBILE}#")
    _hears(asterisk, "confirm-press", 2)
    tell.say(f"caller enters {MOBILE}#, and hears this number")
    caller.press("1")
    task = service.wait_for(says("requested in queue", number=MOBILE))
    tell.say(f"caller presses 1: task {task['task_id']} is stored")
    caller.wait_for(request("BYE"), 20)
    tell.say('caller hears "... has been accepted", and the call ends')
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=MOBILE))
    (waits,) = (one for one in service.tasks() if one["number"] == MOBILE)
    tell.say(f"the callback waits in line at position {waits['position']}")
    lab.caller("support", HangUp(after_ms=60_000), number=COLLEAGUE)
    later = lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=COLLEAGUE))
    tell.say(f"a later caller, {COLLEAGUE}, waits at position {later['Position']}")

    asterisk.cli(f"channel request hangup {_channel_of(lab, '4989333333')}")
    ringing = alice.wait_for_call(20, count=8)
    tell.say(
        "the other call ends, and Alice's phone rings for the callback:"
        f" {ringing.name_and_number()[1]}"
    )
    _hears(asterisk, "accept-press")
    tell.say(
        'Alice hears: "The client asked for a callback. To accept it, press 1 ..."'
    )
    alice.press("1")
    client.wait_for(response(200, "INVITE", sent=True), 20)
    tell.say(f"Alice presses 1; the client's phone, {MOBILE}, rings: a machine answers")
    again = service.wait_for(says("next try", task_id=task["task_id"]), 20)
    tell.say(f"it is recognised, and not connected: {again['message']}")
    # Now a person: "Hello?", and then silence.
    client.media.words_s = 0.5
    served = alice.wait_for_call(20, count=9)
    tell.say(
        "Alice's phone rings for the later caller,"
        f" {served.name_and_number()[1]}: after the client's first call"
    )
    alice.wait_for_call(20, count=10)
    tell.say("they have talked, and Alice's phone rings for the callback again")
    _hears(asterisk, "accept-press", 2)
    alice.press("1")
    client.wait_for(response(200, "INVITE", sent=True), 20, count=2)
    tell.say('Alice presses 1; this time the client answers: "Hello?"')
    client.wait_to_hear(alice)
    tell.say("the client hears Alice's voice: they talk")
    done = service.wait_for(says("talked", task_id=task["task_id"]), 20)
    tell.say(f"the client hangs up; {done['message']}")


def _hears(asterisk: Asterisk, word: str, times: int = 1) -> None:
    """Wait until a prompt is played."""
    played = f"Playing 'callback-queue/{word}."
    wait_until(lambda: asterisk.log.count(played) >= times, 30, played)


def _print_stories(service: Service) -> None:
    print("\nThe tasks' stories, as the database keeps them:")
    for task_id in (1, 2, 3, 4):
        print()
        print(service.cli("tasks", "show", str(task_id)).out)


def _verdict(
    lab: Lab, tasks: list[dict[str, Any]], delay_ms: float, missed_ms: float
) -> int:
    ended = {task["number"]: (task["status"], task["attempts"]) for task in tasks}
    expected = {
        CLIENT: ("completed", 1),
        IMPATIENT: ("served", 0),
        BUSY_FIRST: ("completed", 2),
        MOBILE: ("completed", 2),
    }
    faults = []
    if ended != expected or len(tasks) != len(expected):
        faults.append(f"the tasks ended as {ended}, not as {expected}")
    late = []
    for measured_ms, most_ms, since in (
        (delay_ms, _MAX_MS, "she became free"),
        (missed_ms, _MAX_MISSED_MS, "the missed caller hung up"),
    ):
        told = f"Alice's phone rang {measured_ms:.0f} ms after {since}"
        if measured_ms >= _MAX_BUSY_MS:
            faults.append(f"{told}; the most is {_MAX_BUSY_MS} ms")
        elif measured_ms >= most_ms:
            late.append(f"{told}; on an idle machine it is less than {most_ms} ms")
    if len(bridges_of_the_client_leg(lab.witness)) < 3:
        faults.append("the witness did not see three bridges with a client")
    originates = [
        one
        for one in lab.witness.events("Newchannel")
        if one["Uniqueid"].startswith("callback-") and one["Uniqueid"].endswith("-1")
    ]
    if len(originates) != 5:
        faults.append(f"Asterisk placed {len(originates)} callbacks, not 5")
    for fault in faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    for note in late:
        print(f"Note: {note}.")
    if not faults:
        print(
            "Callbacks work: offered, asked for or missed, kept, rung, bridged, done."
        )
    return 1 if faults else 0


def _channel_of(lab: Lab, number: str) -> str:
    joined = lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=number))
    return joined["Channel"]


if __name__ == "__main__":
    sys.exit(main())
