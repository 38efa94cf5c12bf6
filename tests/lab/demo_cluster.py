# SPDX-License-Identifier: MIT
"""Two services, for somebody to watch: ``python -m tests.lab.demo_cluster``.

Two Asterisks, a service beside each of them, one PostgreSQL. First act: a caller
presses 1 on Asterisk A, whose only agent is busy. The agent on Asterisk B rings,
hears the alert, the client's phone rings, they talk.

Second act: the same, but while the client's phone rings, the service that holds
Asterisk B is killed. The client answers, they talk; the other service takes over
Asterisk B, follows the call and stores its end. The client's phone has rung once.

Third act: a caller presses 1 on Asterisk B, whose own service is dead. The other
service takes the request and calls back.

One line for each step, at the moment it happens, and a summary. Exit code 0 only if all
of it really happened. What is late because the machine is busy is reported and is no
failure.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Sequence

import attrs

from tests.lab.cluster import Cluster, Site, holds
from tests.lab.config import Queue
from tests.lab.demo import Storyteller
from tests.lab.errors import LabError
from tests.lab.phones import Agent, Client, Phone, request, response
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import says
from tests.lab.witness import event

_OTHER_CALLER = "4989111111"
FIRST, SECOND, THIRD = "4930111111", "4930222222", "4930333333"
#: Longer than the success duration below.
_TALK_MS = 4000
#: The same in packets of sound, of 20 ms each.
_TALK_PACKETS = _TALK_MS // 20
#: How long the second client's phone rings: the service is killed meanwhile.
_RINGS_MS = 3000
_SETTINGS = {"defaults": {"retry_delay": "3s", "success_duration": "3s"}}
#: Both prompts of the dialplan that callers hear.
_OFFER, _ACCEPTED = "callback-queue/offer", "callback-queue/accepted"
_ALERT = "callback-queue/member-alert"
#: From the end of the caller's call on one Asterisk to the ring on the other one, on an
#: idle machine, and on one that does other things as well.
_MAX_RING_S, _MAX_RING_BUSY_S = 0.3, 3.0
#: The same of the time until the other service holds the Asterisk.
_MAX_TAKE_OVER_S, _MAX_TAKE_OVER_BUSY_S = 12.0, 25.0


def _support(member: str) -> Sequence[Queue]:
    """Return the only queue of an Asterisk, with one agent."""
    options = {
        "announce-to-first-user": "yes",
        "periodic-announce": _OFFER,
        "periodic-announce-frequency": "2",
    }
    return [Queue(name="support", members=(member,), options=options)]


class Chronicle(Storyteller):
    """Prints what happens, and repeats the important lines in a summary."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[float, str]] = []

    def keep(self, text: str) -> float:
        """Print one line, and keep it for the summary; return the present time."""
        self.say(text)
        now = time.monotonic()
        self.kept.append((now - self.began, text))
        return now


@attrs.define
class Measured:
    """What was measured and counted, and what differs from the promise."""

    #: Times, each with what is expected on an idle machine.
    times: list[tuple[str, float, float | None]] = attrs.field(factory=list)
    #: What was found, and what was expected.
    counts: list[tuple[str, object, object]] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    late: list[str] = attrs.field(factory=list)

    def time(
        self,
        what: str,
        took_s: float,
        most_s: float | None = None,
        busy_s: float = float("inf"),
    ) -> None:
        """Note how long something took, and whether that is too long."""
        self.times.append((what, took_s, most_s))
        if took_s >= busy_s:
            self.faults.append(f"{what}: {took_s:.1f} s; the most is {busy_s:g} s")
        elif most_s is not None and took_s >= most_s:
            self.late.append(
                f"{what}: {took_s:.3f} s; on an idle machine it is less than"
                f" {most_s:g} s"
            )

    def count(self, what: str, found: object, expected: object) -> None:
        """Note what was found, and whether it is what was expected."""
        self.counts.append((what, found, expected))
        if found != expected:
            self.faults.append(f"{what}: {found}, not {expected}")


@attrs.frozen
class Asked:
    """A caller has pressed 1, and the call has ended."""

    number: str
    task_id: int
    #: When the key was pressed, by the steady clock.
    pressed_at: float
    #: When the caller's call ended, as the phone saw it.
    gone_at: datetime.datetime


@attrs.frozen
class Story:
    """One callback: the request, and the client's phone."""

    which: str
    asked: Asked
    client: Client


def main() -> int:
    """Run the demonstration; return the exit code."""
    tell = Chronicle()
    tell.say("starting PostgreSQL, two Asterisks, and a service beside each of them")
    try:
        queues = {"a": _support("alice"), "b": _support("bob")}
        with Cluster(queues, _SETTINGS) as cluster:
            try:
                return play(tell, cluster)
            except LabError as error:
                error.add_note(cluster.report())
                raise
    except LabError as error:
        told = "\n\n".join([*getattr(error, "__notes__", ()), f"{error}"])
        print(f"\n{told}\n\nThe demonstration failed", file=sys.stderr)
        return 1


def play(tell: Chronicle, cluster: Cluster) -> int:
    """Play the acts; return the exit code."""
    a, b = cluster.sites
    for site in cluster.sites:
        tell.say(
            f"service {site.name} (process {site.service.pid}) holds"
            f" {_where(site)} ({site.asterisk.version}; node {site.node})"
        )
    measured = Measured()
    alice = a.lab.agent("alice", Answer(ring_ms=300))
    bob = b.lab.agent("bob", Answer(ring_ms=1000))
    a.lab.caller("support", number=_OTHER_CALLER)
    a.lab.witness.wait_for(event("AgentConnect"))
    tell.say("Alice, the only agent on Asterisk A, is busy: she talks to a caller")
    tell.say("Bob, the only agent on Asterisk B, is free")
    print("\nFirst act: pressed on Asterisk A, called from Asterisk B\n")
    first = _called_from_the_other(tell, cluster, bob, measured)
    print("\nSecond act: the service that holds Asterisk B is killed in a callback\n")
    second = _taken_over(tell, cluster, bob, measured)
    print("\nThird act: one service for both Asterisks\n")
    _pause(a, alice)
    tell.say("Alice takes no more calls")
    third = _alone(tell, cluster, bob, measured)
    stories = (first, second, third)
    print("\nThe tasks' stories, as the database keeps them:")
    for story in stories:
        print(f"\n{a.service.cli('tasks', 'show', str(story.asked.task_id)).out}")
    _compare(cluster, alice, bob, stories, measured)
    _print_summary(tell, measured)
    return 1 if measured.faults else 0


# -- the acts --------------------------------------------------------------------


def _called_from_the_other(
    tell: Chronicle, cluster: Cluster, bob: Agent, measured: Measured
) -> Story:
    a, b = cluster.sites
    client = cluster.client(
        FIRST, Answer(ring_ms=1500, steps=(HangUp(after_ms=_TALK_MS),))
    )
    asked = _asks(tell, a, a, FIRST)
    _rings(tell, b, bob, asked, measured, "first act")
    _client_rings(tell, client)
    _client_answers(tell, client, bob)
    _ends(tell, b, asked, "the client hangs up")
    return Story("first act", asked, client)


def _taken_over(
    tell: Chronicle, cluster: Cluster, bob: Agent, measured: Measured
) -> Story:
    a, b = cluster.sites
    client = cluster.client(SECOND, Answer(ring_ms=_RINGS_MS))
    asked = _asks(tell, a, a, SECOND)
    _rings(tell, b, bob, asked, measured, "second act")
    _client_rings(tell, client)
    pid = b.service.pid
    b.service.kill()
    killed_at = tell.keep(
        f"service b (process {pid}) is killed (SIGKILL) while the phone rings"
    )
    _client_answers(tell, client, bob)
    a.service.wait_for(holds(b.node), 30)
    held_at = tell.keep("service a takes over: it holds Asterisk B now")
    follows = says("its call is under way, following it", task_id=asked.task_id)
    a.service.wait_for(follows, 30)
    followed_at = tell.keep(f"service a follows the call of task {asked.task_id}")
    _still_talk(client, bob)
    tell.say("they still talk: each hears the other's voice")
    measured.time(
        "second act: kill of service b to take-over by service a",
        held_at - killed_at,
        _MAX_TAKE_OVER_S,
        _MAX_TAKE_OVER_BUSY_S,
    )
    measured.time(
        "second act: kill of service b until service a follows the call",
        followed_at - killed_at,
        _MAX_TAKE_OVER_S,
        _MAX_TAKE_OVER_BUSY_S,
    )
    b.lab.witness.hang_up(_channel_to(b, SECOND))
    client.wait_for(request("BYE"))
    _ends(tell, a, asked, "the call to the client ends")
    return Story("second act", asked, client)


def _alone(tell: Chronicle, cluster: Cluster, bob: Agent, measured: Measured) -> Story:
    a, b = cluster.sites
    client = cluster.client(
        THIRD, Answer(ring_ms=700, steps=(HangUp(after_ms=_TALK_MS),))
    )
    _pause(b, bob)
    tell.say("Bob takes a break")
    tell.say("Asterisk B asks service b first, which is dead, then service a")
    asked = _asks(tell, b, a, THIRD)
    calls = len(bob.invites)
    b.asterisk.cli("queue unpause member PJSIP/bob queue support")
    back_at = tell.keep("Bob is back")
    ringing = bob.wait_for_call(20, count=calls + 1)
    at = tell.keep("Bob's phone on Asterisk B rings")
    measured.time(
        "third act: agent is back to agent's ring",
        at - back_at,
        _MAX_RING_S,
        _MAX_RING_BUSY_S,
    )
    _agent_answers(tell, b, bob, ringing.call_id)
    _client_rings(tell, client)
    _client_answers(tell, client, bob)
    _ends(tell, a, asked, "the client hangs up")
    return Story("third act", asked, client)


# -- their parts -----------------------------------------------------------------


def _asks(tell: Chronicle, site: Site, taken_by: Site, number: str) -> Asked:
    """Let a caller wait on an Asterisk, press 1, and be told that it is accepted."""
    offered, accepted = _times_played(site, _OFFER), _times_played(site, _ACCEPTED)
    caller = site.lab.caller("support", number=number, keys_as_rtp=True)
    site.lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=number))
    tell.say(f"caller {number} enters the queue on {_where(site)} and waits")
    _hears(site, _OFFER, offered)
    tell.say('caller hears: "... to be called back ... press 1"')
    caller.press("1")
    pressed_at = tell.keep(f"caller {number} presses 1 on {_where(site)}")
    requested = taken_by.service.wait_for(says("requested in queue", number=number))
    task_id = int(requested["task_id"])
    tell.say(f"service {taken_by.name} has stored task {task_id}")
    _hears(site, _ACCEPTED, accepted)
    tell.say('caller hears: "Your request ... has been accepted"')
    gone = caller.wait_for(request("BYE"), 20)
    tell.keep("the caller's call has ended")
    return Asked(number, task_id, pressed_at, gone.at)


def _rings(
    tell: Chronicle,
    site: Site,
    agent: Agent,
    asked: Asked,
    measured: Measured,
    which: str,
) -> None:
    """Wait until the free agent's phone rings for the callback, and is answered."""
    # One call is the callback: nobody calls in on this Asterisk.
    own = [one for one in agent.invites if one.at < asked.gone_at]
    ringing = agent.wait_for_call(20, count=len(own) + 1)
    at = tell.keep(f"{agent.name.capitalize()}'s phone on {_where(site)} rings")
    measured.time(f"{which}: key 1 to agent's ring", at - asked.pressed_at)
    # Both moments as the phones saw them.
    measured.time(
        f"{which}: end of the caller's call to agent's ring",
        (ringing.at - asked.gone_at).total_seconds(),
        _MAX_RING_S,
        _MAX_RING_BUSY_S,
    )
    _agent_answers(tell, site, agent, ringing.call_id)


def _agent_answers(tell: Chronicle, site: Site, agent: Agent, call_id: str) -> None:
    played = _times_played(site, _ALERT)
    answered = response(200, "INVITE", sent=True)
    agent.wait_for(lambda one: one.call_id == call_id and answered(one), 15)
    tell.say(f"{agent.name.capitalize()} answers")
    _hears(site, _ALERT, played)
    tell.say('the agent hears: "... you will now be connected to the client"')


def _client_rings(tell: Chronicle, client: Client) -> None:
    client.wait_for(response(180, "INVITE", sent=True), 20)
    tell.keep(f"the client's phone, {client.number}, rings")


def _client_answers(tell: Chronicle, client: Client, agent: Agent) -> None:
    client.wait_for(response(200, "INVITE", sent=True), 15)
    tell.keep("the client answers")
    client.wait_to_hear(agent, 10)
    agent.wait_to_hear(client, 10)
    tell.say("they talk: each hears the other's voice")


def _still_talk(one: Phone, other: Phone) -> None:
    """Wait until each hears the other in sound that comes from now on.

    It lasts for long enough to be a success, however early the take-over was.
    """
    ends = [each.media.packets_received + _TALK_PACKETS for each in (one, other)]
    for hearer, speaker, end in zip((one, other), (other, one), ends, strict=True):
        media = hearer.media
        wait_until(
            lambda media=media, end=end: media.packets_received >= end,
            10,
            f"sound at {hearer.name}",
        )
        hearer.wait_to_hear(speaker, 10)


def _ends(tell: Chronicle, site: Site, asked: Asked, how: str) -> None:
    """Wait until the service of a site stores that the task is completed."""
    done = site.service.wait_for(says("^task .*: completed", task_id=asked.task_id), 20)
    tell.keep(f"{how}; service {site.name} stores: {done['message']}")


def _pause(site: Site, agent: Agent) -> None:
    """Let an agent have a break."""
    interface = f"PJSIP/{agent.name}"
    site.asterisk.cli(f"queue pause member {interface} queue support")
    site.lab.witness.wait_for(
        event("QueueMemberPause", Interface=interface, Paused="1")
    )


def _where(site: Site) -> str:
    return f"Asterisk {site.name.upper()}"


def _times_played(site: Site, sound: str) -> int:
    return site.asterisk.log.count(f"Playing '{sound}")


def _hears(site: Site, sound: str, before: int) -> None:
    """Wait until a prompt is played once more than before."""
    wait_until(lambda: _times_played(site, sound) > before, 20, f"the prompt {sound}")


def _channel_to(site: Site, number: str) -> str:
    """Return the channel to a client who is being called."""
    (dialled,) = site.lab.witness.matching(
        lambda seen: (
            seen.name == "DialBegin"
            and number in seen["DialString"]
            and seen["DestChannel"].startswith("PJSIP/")
        )
    )
    return dialled["DestChannel"]


# -- the comparison --------------------------------------------------------------


def _compare(
    cluster: Cluster,
    alice: Agent,
    bob: Agent,
    stories: Sequence[Story],
    measured: Measured,
) -> None:
    """Compare what phones and Asterisks saw with the promise, and with the tasks."""
    a, b = cluster.sites
    count = measured.count
    count("tasks in the database", len(a.service.tasks()), len(stories))
    for story in stories:
        told = a.service.task(story.asked.task_id)
        which = f"{story.which}, task {story.asked.task_id}"
        count(f"{which}: status", told["task"]["status"], "completed")
        # A task that was put in line on the other Asterisk may have left it again.
        found = [
            f"{one['disposition']} from {one['node']}"
            for one in told["attempts"]
            if one["disposition"] != "WITHDRAWN"
        ]
        count(f"{which}: attempts", ", ".join(found), f"ANSWERED from {b.node}")
        rings = len(story.client.invites)
        count(f"{which}: rings of the client's phone", rings, 1)
    count("rings of Bob's phone", len(bob.invites), len(stories))
    count("rings of Alice's phone, for the caller", len(alice.invites), 1)


def _print_summary(tell: Chronicle, measured: Measured) -> None:
    print("What happened, and when:\n")
    for at_s, text in tell.kept:
        print(f"{at_s:8.1f} s  {text}")
    times = [
        (what, f"{took_s:.2f} s", f"< {most_s:g} s" if most_s else "")
        for what, took_s, most_s in measured.times
    ]
    _print_table(("time", "measured", "idle machine"), times)
    counts = [
        (what, f"{found}", f"{expected}") for what, found, expected in measured.counts
    ]
    _print_table(("compared", "found", "expected"), counts)
    print()
    for fault in measured.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    for note in measured.late:
        print(f"Note: {note}.")
    if not measured.faults:
        print(
            "Two services work: called from where an agent is free, taken over in a"
            " callback, each client's phone rang once."
        )


def _print_table(
    heading: tuple[str, str, str], rows: Sequence[tuple[str, str, str]]
) -> None:
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    print()
    for row in (heading, tuple("-" * width for width in widths), *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"  {'  '.join(cells)}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
