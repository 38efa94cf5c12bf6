# SPDX-License-Identifier: MIT
"""Tests of the laboratory itself, on which the other tests depend.

Every test runs on each Asterisk version.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.lab.asterisk import MUSIC_HZ, REPOSITORY, Asterisk
from tests.lab.config import Queue
from tests.lab.errors import DeadlinePassed
from tests.lab.lab import Lab
from tests.lab.phones import request, response
from tests.lab.processes import wait_until
from tests.lab.scenarios import (
    BUSY,
    CONGESTION,
    DECLINE,
    Answer,
    HangUp,
    NoAnswer,
    Press,
    Refuse,
)
from tests.lab.service import says
from tests.lab.witness import event

CLIENT = "+4930555123"


def test_it_is_the_version_it_says(asterisk: Asterisk) -> None:
    assert asterisk.cli("core show version").startswith(f"Asterisk {asterisk.version}")
    assert asterisk.version.split(".")[0] == str(asterisk.major)


def test_nothing_is_missing_at_boot(asterisk: Asterisk) -> None:
    boot = (asterisk.home / "log/full").read_text()
    complaints = [line for line in boot.splitlines() if "WARNING[1]" in line]
    # Asterisk 16 warns that 21 will lack app_macro.
    assert [line for line in complaints if "app_macro" not in line] == []
    assert "ERROR[1]" not in boot


def test_a_caller_and_an_agent_are_bridged(lab: Lab) -> None:
    alice = lab.agent("alice", Answer(ring_ms=200))
    caller = lab.caller("support", HangUp(1500), number="030111", display_name="Zoé")

    caller.wait_until_answered()
    assert alice.wait_for_call().name_and_number() == ("Zoé", "030111")
    lab.witness.wait_for(event("BridgeEnter"), count=2)
    bridges = {one["BridgeUniqueid"] for one in lab.witness.events("BridgeEnter")}
    assert len(bridges) == 1

    alice.wait_for(request("BYE"))
    assert caller.wait_for_end() == 0
    lab.witness.wait_for(event("AgentComplete"))
    assert [row.event for row in lab.asterisk.queue_log()] == [
        "ENTERQUEUE",
        "CONNECT",
        "COMPLETECALLER",
    ]
    wait_until(lab.asterisk.cdrs, 5, "the CDR")
    assert lab.asterisk.cdrs()[-1]["disposition"] == "ANSWERED"


def test_a_caller_and_an_agent_hear_each_other(lab: Lab) -> None:
    alice = lab.agent("alice")
    caller = lab.caller("support")

    alice.wait_to_hear(caller)
    caller.wait_to_hear(alice)
    with pytest.raises(DeadlinePassed, match="no 800 Hz"):
        caller.media.wait_to_hear(800, 0.3)


def test_a_waiting_caller_hears_music(lab: Lab) -> None:
    caller = lab.caller("support")
    caller.media.wait_to_hear(MUSIC_HZ, 5)


def test_keys_may_be_pressed_in_the_media_too(lab: Lab) -> None:
    caller = lab.caller("plain", keys_as_rtp=True)
    lab.witness.wait_for(event("QueueCallerJoin"))
    caller.press("1")
    lab.witness.wait_for(event("UserEvent", UserEvent="LabExit"))


def test_members_are_seen_ringing_and_in_use(lab: Lab) -> None:
    lab.agent("alice", Answer(ring_ms=400))
    lab.caller("support", HangUp(1500))

    states = [
        lab.witness.wait_for(
            event("QueueMemberStatus", Interface="PJSIP/alice", Status=status)
        ).at
        for status in ("6", "2", "1")
    ]
    assert states == sorted(states)


def test_a_caller_who_presses_1_leaves_the_queue(lab: Lab) -> None:
    lab.agent("dave", NoAnswer())
    caller = lab.caller("plain", Press("1", 300))

    left = lab.witness.wait_for(event("UserEvent", UserEvent="LabExit"))
    assert (left["Queue"], left["Position"]) == ("plain", "1")
    caller.wait_until_hung_up()
    assert caller.got_bye
    assert caller.wait_for_end() == 0
    assert [row.event for row in lab.asterisk.queue_log()][-1] == "EXITWITHKEY"


def test_an_agent_who_does_not_answer_is_followed_by_the_next(lab: Lab) -> None:
    queue = Queue(name="support", members=("alice", "bob"), timeout_s=1)
    lab.asterisk.set_queues([queue])
    alice = lab.agent("alice", NoAnswer())
    bob = lab.agent("bob", Answer())
    caller = lab.caller("support", HangUp(5000))

    alice.wait_for(request("CANCEL"))
    bob.wait_for(response(200, sent=True))
    assert len(alice.invites) == 1
    assert caller.messages[-1].status != 486


def test_a_phone_behaves_in_turn(lab: Lab) -> None:
    queue = Queue(name="support", members=("alice",), timeout_s=5)
    lab.asterisk.set_queues([queue])
    alice = lab.agent("alice", BUSY, DECLINE, Answer(steps=(HangUp(200),)))
    lab.caller("support")

    alice.wait_for(request("BYE", sent=True), 15)
    answers = [
        one.status
        for one in alice.messages
        if one.sent and one.method == "INVITE" and (one.status or 0) >= 200
    ]
    assert answers == [486, 603, 200]
    assert len(alice.invites) == 3


@pytest.mark.parametrize(
    ("behaviour", "cause"), [(BUSY, "17"), (CONGESTION, "34"), (DECLINE, "21")]
)
def test_a_client_is_reached_by_number(lab: Lab, behaviour: Refuse, cause: str) -> None:
    client = lab.client(CLIENT, behaviour)
    call = lab.witness.originate(
        f"Local/{CLIENT}@outbound-routes/n", caller_id='"Sales" <0309>'
    )

    assert client.wait_for_call().name_and_number() == ("Sales", "0309")
    assert lab.witness.wait_for(event("Hangup", Uniqueid=call))["Cause"] == cause


def test_a_client_answers_and_hangs_up(lab: Lab) -> None:
    client = lab.client(CLIENT, Answer(ring_ms=300, steps=(HangUp(500),)))
    lab.witness.originate(f"Local/{CLIENT}@outbound-routes/n")

    ringing = client.wait_for(response(180, sent=True))
    answered = client.wait_for(response(200, sent=True))
    hung_up = client.wait_for(request("BYE", sent=True))
    # SIPp's timers and its log differ by a millisecond or two. On a busy machine a step
    # comes late, but in its order.
    assert 0.28 <= (answered.at - ringing.at).total_seconds() < 2.0
    assert 0.48 <= (hung_up.at - answered.at).total_seconds() < 2.0


def test_a_number_without_a_phone_is_no_number(lab: Lab) -> None:
    call = lab.witness.originate("Local/0000@outbound-routes/n")
    assert lab.witness.wait_for(event("Hangup", Uniqueid=call))["Cause"] == "1"


def test_a_withheld_number_is_asserted_but_not_shown(lab: Lab) -> None:
    alice = lab.agent("alice", Answer())
    caller = lab.caller(
        "support", HangUp(1000), number="030222", display_name="Ann", withheld=True
    )

    alice.wait_for_call()
    sent = caller.matching(request("INVITE", sent=True))[0]
    assert sent.name_and_number() == ("Anonymous", "anonymous")
    joined = lab.witness.wait_for(event("QueueCallerJoin"))
    assert joined["CallerIDNum"] == "030222"
    asked = alice.invites[0]
    assert "030222" not in asked.get("From")


def test_local_channels_are_callers_too(lab: Lab) -> None:
    alice = lab.agent("alice", Answer())
    lab.witness.originate("Local/support@inbound/n", caller_id='"Eve" <030333>')

    assert alice.wait_for_call().name_and_number() == ("Eve", "030333")
    lab.witness.wait_for(event("AgentConnect"))


def test_a_caller_chooses_language_and_patience(lab: Lab) -> None:
    lab.agent("alice", NoAnswer())
    caller = lab.caller(
        "support", headers=["X-Language: de", "X-Queue-Timeout: 1"], number="030444"
    )

    assert lab.witness.wait_for(event("QueueCallerJoin"))["Language"] == "de"
    left = lab.witness.wait_for(event("UserEvent", UserEvent="LabQueueLeft"))
    assert left["Status"] == "TIMEOUT"
    assert caller.wait_for_end() == 0


def test_what_one_test_leaves_behind_the_next_does_not_see(lab: Lab) -> None:
    asterisk = lab.asterisk
    lab.agent("alice", NoAnswer())
    lab.caller("support")
    lab.witness.wait_for(event("AgentCalled"))
    asterisk.cli("database put some thing 1")
    asterisk.cli("queue pause member PJSIP/bob queue support")

    asterisk.reset()

    assert asterisk.channels() == []
    assert "0 results" in asterisk.cli("database show")
    assert asterisk.cli("queue show support").count("(Not in use)") == 2
    assert "paused" not in asterisk.cli("queue show support")
    assert (asterisk.log, asterisk.queue_log(), asterisk.cdrs()) == ("", [], [])


def test_a_restart_keeps_the_database(lab: Lab) -> None:
    lab.asterisk.cli("database put some thing 1")
    before = lab.asterisk.pid

    lab.asterisk.restart()

    assert lab.asterisk.pid != before
    assert "Value: 1" in lab.asterisk.cli("database get some thing")
    assert not lab.witness.connected


def test_a_killed_asterisk_starts_again(lab: Lab) -> None:
    lab.asterisk.kill()
    assert not lab.asterisk.running
    lab.asterisk.start()
    lab.witness.close()
    lab.witness.connect()
    lab.witness.fence()


def test_a_frozen_asterisk_answers_nothing(lab: Lab) -> None:
    lab.asterisk.freeze()
    with pytest.raises(DeadlinePassed):
        lab.asterisk.cli("core show version", deadline_s=0.3)
    lab.asterisk.thaw()
    assert lab.asterisk.cli("core show version")


def test_the_witness_misses_nothing(lab: Lab) -> None:
    for number in range(300):
        lab.witness.action("UserEvent", UserEvent="Count", Number=str(number))
    lab.witness.fence()
    seen = [one["Number"] for one in lab.witness.events("UserEvent", UserEvent="Count")]
    assert seen == [str(number) for number in range(300)]


_PARENT = """
import sys, time
from tests.lab.asterisk import Asterisk
asterisk = Asterisk(int(sys.argv[1]))
asterisk.start()
print(asterisk.pid, asterisk.home, flush=True)
time.sleep(60)
"""


def test_asterisk_dies_with_the_test_process(asterisk: Asterisk) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(asterisk.major)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid, home = parent.stdout.readline().split()
    os.kill(int(pid), 0)

    parent.send_signal(signal.SIGKILL)
    parent.wait(10)

    wait_until(lambda: not _is_alive(int(pid)), 5, "the end of Asterisk")
    # The next laboratory with the same ports removes it as well.
    shutil.rmtree(home)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_service_runs_beside_it(lab: Lab) -> None:
    service = lab.service()
    status = service.status()
    assert status["asterisk"]["connected"]
    assert status["asterisk"]["version"].startswith(lab.asterisk.version)
    assert sorted(status["queues"]) == ["sales", "support"]

    service.freeze()
    service.thaw()
    service.reload()
    service.wait_for(says("settings"))
    service.kill()
    service.start()
    assert service.stop() == 0
    assert not service.running
