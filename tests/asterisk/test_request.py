# SPDX-License-Identifier: MIT
"""Pressing 1: what the caller hears, what is stored, and who is put back in line."""

from __future__ import annotations

import datetime
import socket

import pytest

from tests.asterisk.callback import (
    CLIENT,
    LIVE_FIRST,
    QUICK,
    ask,
    change_queue,
    hung_up_by_asterisk,
    joins,
    only_task,
    originates,
    pause,
    requested,
    settled,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.phones import Caller
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event

TALK = Answer(steps=(HangUp(after_ms=1500),))
#: Time limit from the key to being back in the queue. A refused caller hears the reason
#: first.
LIMIT = datetime.timedelta(seconds=2)
LIMIT_WITH_REASON = datetime.timedelta(seconds=5.5)


def queue_of_three(lab: Lab, number: str = CLIENT, **more: bool) -> Caller:
    """Put the caller in the middle of a line of three; return the caller."""
    pause(lab, "support")
    lab.witness.originate("Local/support@inbound/n", caller_id="<4989000001>")
    joins(lab, "4989000001", 1)
    middle = lab.caller("support", number=number, keys_as_rtp=True, **more)
    lab.witness.wait_for(event("QueueCallerJoin", Position="2"))
    lab.witness.originate("Local/support@inbound/n", caller_id="<4989000003>")
    lab.witness.wait_for(event("QueueCallerJoin", Position="3"))
    return middle


def press_and_come_back(
    lab: Lab, caller: Caller, limit: datetime.timedelta = LIMIT
) -> Seen:
    """Press 1; return how the caller joins the queue again."""
    caller.press("1")
    return comes_back(lab, limit)


def comes_back(lab: Lab, limit: datetime.timedelta = LIMIT) -> Seen:
    """Return how the caller who left the queue joins it again."""
    left = lab.witness.wait_for(event("QueueCallerLeave"))
    back = lab.witness.wait_for(
        event("QueueCallerJoin", Uniqueid=left["Uniqueid"]), count=2
    )
    assert back.clock - left.clock < limit
    return back


def played(lab: Lab, sound: str) -> None:
    """Wait until Asterisk plays a sound file."""
    wait_until(lambda: f"Playing '{sound}." in lab.asterisk.log, 5, f"prompt {sound}")


def test_key_is_lost_while_the_position_is_told_and_works_during_the_offer(
    lab: Lab,
) -> None:
    service = lab.service()
    pause(lab, "support")
    sound = "callback-queue/offer"
    told = {"announce-frequency": "60", "queue-thereare": sound}
    change_queue(lab, "support", options=told)
    lab.witness.originate("Local/support@inbound/n", caller_id="<4989000001>")
    joins(lab, "4989000001", 1)
    second = lab.caller("support", number=CLIENT, keys_as_rtp=True)
    played(lab, sound)
    second.press("1")
    lab.witness.wait_for(event("DTMFEnd", Digit="1"))
    # Asterisk stops the announcement and keeps the caller.
    lab.witness.fence()
    assert service.tasks() == []
    second.press("1")
    again = lab.witness.wait_for(event("DTMFBegin", Digit="1"), count=2)
    requested(service)
    left = lab.witness.wait_for(event("QueueCallerLeave", CallerIDNum=CLIENT))
    assert again.clock < left.clock

    offered = {"periodic-announce": sound, "periodic-announce-frequency": "1"}
    change_queue(lab, "support", options=offered)
    third = lab.caller("support", number="4930222222", keys_as_rtp=True)
    wait_until(lambda: lab.asterisk.log.count(f"Playing '{sound}.") > 1, 10, sound)
    third.press("1")
    requested(service, "4930222222")


def test_caller_hears_that_the_request_is_accepted_and_the_call_ends(lab: Lab) -> None:
    service = lab.service()
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT, display_name="Ada")

    requested(service)
    played(lab, "callback-queue/accepted")
    hung_up_by_asterisk(caller, 20)

    task = only_task(service)
    assert (task["status"], task["number"], task["name"]) == ("pending", CLIENT, "Ada")
    assert task["kind"] == "requested"


def test_prompts_follow_the_language_of_the_channel(lab: Lab) -> None:
    service = lab.service()
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT, headers=["X-Language: ru"])

    requested(service)
    wait_until(
        lambda: any(
            "Playing 'callback-queue/accepted." in line and "(language 'ru')" in line
            for line in lab.asterisk.log.splitlines()
        ),
        5,
        "the accepted prompt in Russian",
    )
    assert only_task(service)["language"] == "ru"


def test_the_queue_asks_for_the_admins_own_recordings(lab: Lab) -> None:
    service = lab.service(merged(QUICK, {"defaults": {"sounds": {"accepted": "beep"}}}))
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    played(lab, "beep")
    hung_up_by_asterisk(caller)


def test_key_pressed_twice_makes_one_task(lab: Lab) -> None:
    service = lab.service()
    pause(lab, "support")
    caller = lab.caller("support", Press("11", after_ms=300), number=CLIENT)

    requested(service)
    hung_up_by_asterisk(caller, 20)

    assert only_task(service)["status"] == "pending"


def test_two_calls_with_one_number_make_one_task_with_the_earlier_place(
    lab: Lab,
) -> None:
    service = lab.service()
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    first = only_task(service)
    second = lab.caller("support", Press("1"), number=CLIENT)
    service.wait_for(says("asked for again", number=CLIENT))

    played(lab, "callback-queue/already-registered")
    hung_up_by_asterisk(second, 20)
    task = only_task(service)
    assert task["joined_at"] == first["joined_at"]


@pytest.mark.parametrize(
    ("number", "withheld"), [("anonymous", False), (CLIENT, True), ("", True)]
)
def test_caller_without_a_number_is_back_in_line_at_the_same_place(
    lab: Lab, number: str, withheld: bool
) -> None:
    service = lab.service()
    caller = queue_of_three(lab, number, withheld=withheld)

    back = press_and_come_back(lab, caller, LIMIT_WITH_REASON)

    assert back["Position"] == "2"
    service.wait_for(says("request of .+ in queue support refused"))
    played(lab, "callback-queue/cannot-call")
    assert service.tasks() == []
    assert not caller.got_bye


def test_service_is_stopped_while_the_key_is_pressed(lab: Lab) -> None:
    service = lab.service()
    caller = queue_of_three(lab)
    service.kill()

    back = press_and_come_back(lab, caller)

    assert back["Position"] == "2"
    played(lab, "callback-queue/hold-on")
    assert not caller.got_bye


def test_service_hangs_while_the_key_is_pressed(lab: Lab) -> None:
    service = lab.service()
    caller = queue_of_three(lab)
    service.freeze()

    caller.press("1")
    # It continues after Asterisk has given up, but early enough to store the request:
    # that is possible until 0.8 s after Asterisk sent it.
    played(lab, "callback-queue/hold-on")
    service.thaw()
    back = comes_back(lab)

    assert back["Position"] == "2"
    assert not caller.got_bye
    # The stored request is taken back: the caller is in line and was told nothing.
    service.wait_for(says("could not be told in time and is back in line"))
    assert only_task(service)["status"] == "cancelled"


def test_time_is_up_between_prompt_and_status_and_accepted_is_not_heard(
    lab: Lab,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        agi = f"agi://127.0.0.1:{server.getsockname()[1]}"
        lab.asterisk.set_dialplan(global_variables={"CALLBACK_AGI": agi})
        caller = queue_of_three(lab)
        caller.press("1")
        session, _ = server.accept()
        with session, session.makefile("rwb") as stream:
            while stream.readline().strip():
                pass
            stream.write(b'SET VARIABLE CALLBACK_PROMPT "callback-queue/accepted"\n')
            stream.flush()
            assert stream.readline() == b"200 result=1\n"
            # The status never comes.
            played(lab, "callback-queue/hold-on")

    back = joins(lab, CLIENT, 2)
    assert back["Position"] == "2"
    assert "Playing 'callback-queue/accepted" not in lab.asterisk.log


def test_those_ahead_are_answered_during_the_prompt_and_the_place_is_kept(
    lab: Lab,
) -> None:
    service = lab.service()
    caller = queue_of_three(lab, "anonymous")
    first = joins(lab, "4989000001", 1)
    caller.press("1")
    service.wait_for(says("refused"))
    # The caller ahead leaves while ours listens to the prompt.
    lab.witness.hang_up(first["Channel"])

    back = lab.witness.wait_for(event("QueueCallerJoin", Position="1"), count=2)

    assert back["Uniqueid"] not in {first["Uniqueid"]}


def test_after_the_return_the_callers_own_queue_line_goes_on(lab: Lab) -> None:
    lab.asterisk.set_dialplan(
        extra="""
[callback-after-queue]
exten => support,1,UserEvent(LabAfterQueue,Status: ${QUEUESTATUS})
 same => n,Hangup()
""",
        global_variables={"CALLBACK_QUEUE_TIMEOUT": "2"},
    )
    service = lab.service()
    caller = queue_of_three(lab, "anonymous")
    press_and_come_back(lab, caller, LIMIT_WITH_REASON)
    after = lab.witness.wait_for(event("UserEvent", UserEvent="LabAfterQueue"))
    assert after["Status"] == "TIMEOUT"
    assert service.running


def test_callback_is_served_after_live_callers(lab: Lab) -> None:
    alice = lab.agent("alice", TALK, Answer())
    lab.client(CLIENT, TALK)
    service = lab.service(merged(QUICK, LIVE_FIRST))
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    live = lab.caller("support", number="4989000002")
    joins(lab, "4989000002", 1)

    lab.asterisk.cli("queue unpause member PJSIP/alice queue support")
    alice.wait_for_call()
    # The only agent belongs to the live caller; the callback comes after.
    assert originates(lab) == []
    hung_up_by_asterisk(live)
    settled(service, "completed")


def test_request_made_just_before_the_service_stops_is_kept(lab: Lab) -> None:
    change_queue(lab, "support", members=("alice",))
    lab.agent("alice")
    lab.client(CLIENT, TALK)
    service: Service = lab.service(QUICK)
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    hung_up_by_asterisk(caller)
    service.kill()
    unpause(lab, "support")
    service.start()

    settled(service, "completed")


def test_name_of_any_bytes_harms_nobody(lab: Lab) -> None:
    alice = lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(QUICK)
    ask(lab, service, display_name='Zoë "; ${EXTEN} & <sip:x> | Ж,')
    settled(service, "completed")
    name, number = alice.invites[0].name_and_number()
    assert number == CLIENT
    assert "$" not in name
    assert "Zoë" in name
