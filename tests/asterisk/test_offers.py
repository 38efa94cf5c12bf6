# SPDX-License-Identifier: MIT
"""A callback is offered to a caller who waits, on real Asterisk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fastagi.config.queue_layers import DAYS_OF_WEEK
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    change_queue,
    hung_up_by_asterisk,
    joins,
    only_task,
    pause,
    requested,
    settled,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.phones import Caller
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event

#: Further clients.
OTHERS = ("4930123001", "4930123002")
#: Each alone: the tests turn on the one reason that they are about.
NO_REASON: dict[str, Any] = {
    "enabled": True,
    "not_before": "0s",
    "after": "0",
    "wait_over": "0",
    "position_over": 0,
    "at_closing": False,
    "without_agents": False,
    "unless_within": "0s",
    "pause": "1h",
    "answer_time": "1s",
}
_LINES = (
    "[inbound]\nexten => 700,1,Answer()\n"
    " same => n,Gosub(callback-enter,s,1(support,t,,,{timeout}))\n"
    " same => n,Queue(${{CALLBACK_QUEUE_ARGS}})\n"
    " same => n,UserEvent(Follows,Status: ${{QUEUESTATUS}})\n"
    " same => n,Hangup()\n"
)


def offering(queue: dict[str, Any] | None = None, **offers: Any) -> dict[str, Any]:
    """Return settings that offer a callback for one reason."""
    return merged(
        QUICK,
        {
            "defaults": {
                "offers": {**NO_REASON, **offers},
                "sounds": {"offer": "beep"},
                **(queue or {}),
            }
        },
    )


def offered(service: Service, *, count: int = 1) -> None:
    """Wait until a caller is asked."""
    service.wait_for(says("a callback is offered to"), count=count)


def outcome(service: Service, words: str) -> None:
    """Wait until it is known what the caller did."""
    service.wait_for(says(f"^the callback offered to .*: {words}$"))


def closes_at_the_next_minute() -> dict[str, str]:
    """Return the opening hours of a queue that closes in 3 to 62 seconds.

    On other days it is open for long enough that a request does not expire first.
    """
    now = datetime.now(UTC)
    closing = now + timedelta(seconds=62)
    until = "24:00" if closing.date() > now.date() else f"{closing:%H:%M}"
    today = DAYS_OF_WEEK[now.weekday()]
    return {"time_zone": "UTC", "carry_over": "all", today: f"00:00-{until}"} | {
        day: "12:00-13:00" for day in DAYS_OF_WEEK if day != today
    }


def heard(lab: Lab, word: str) -> None:
    """Wait until Asterisk plays a prompt."""
    played = f"Playing 'callback-queue/{word}."
    wait_until(lambda: played in lab.asterisk.log, 15, played)


def someone_waits_first(lab: Lab, exten: str = "support") -> None:
    """Somebody whom no callback can be offered is the first in line."""
    lab.witness.originate(f"Local/{exten}@inbound/n", caller_id="<101>")
    joins(lab, "101", 1)


def calls(lab: Lab, exten: str = "support") -> tuple[Caller, Seen]:
    """Have the client call, and wait until the client is in the queue."""
    caller = lab.caller(exten, number=CLIENT)
    return caller, joins(lab, CLIENT, 1)


def test_caller_who_presses_no_key_keeps_the_place_and_the_rest_of_the_time_out(
    lab: Lab,
) -> None:
    lab.asterisk.set_dialplan(extra=_LINES.format(timeout=6))
    pause(lab, "support")
    service = lab.service(offering(after="1s"))
    someone_waits_first(lab)
    _, joined = calls(lab, "700")
    lab.witness.originate("Local/support@inbound/n", caller_id="<102>")
    joins(lab, "102", 1)

    offered(service)
    assert service.status()["queues"]["support"]["waiting"] == 3
    outcome(service, "timed out")

    assert joins(lab, CLIENT, 2)["Position"] == "2"
    follows = lab.witness.wait_for(event("UserEvent", UserEvent="Follows"), 15)
    assert follows["Status"] == "TIMEOUT"
    waited = (follows.clock - joined.clock).total_seconds()
    # Not 6 s from when the caller is back.
    assert 5 < waited < 8
    service.wait_for(says("missed call of", number=CLIENT))


def test_caller_who_presses_1_is_called_back_at_the_place_in_line(lab: Lab) -> None:
    lab.agent("alice")
    lab.agent("bob")
    lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    pause(lab, "support")
    service = lab.service(offering(after="1s", answer_time="20s"))
    caller, joined = calls(lab)
    offered(service)

    caller.press("1")

    requested(service)
    outcome(service, "accepted")
    hung_up_by_asterisk(caller)
    task = only_task(service)
    assert task["kind"] == "requested"
    since = datetime.fromisoformat(task["joined_at"]) - joined.clock
    assert abs(since.total_seconds()) < 1
    unpause(lab, "support")
    settled(service, "completed")


def test_another_key_declines_and_nothing_is_offered_again_within_the_pause(
    lab: Lab,
) -> None:
    pause(lab, "support")
    service = lab.service(offering(after="1s", answer_time="20s", pause="4s"))
    caller, _ = calls(lab)
    offered(service)
    caller.press("5")
    outcome(service, "declined")
    joins(lab, CLIENT, 2)

    offered(service, count=2)

    # The witness may hear of the key later than the service.
    first, second = (
        lab.witness.wait_for(event("DTMFEnd", Digit="D"), count=count)
        for count in (1, 2)
    )
    assert second.at - first.at > 3.9
    assert service.tasks() == []


def test_caller_who_hangs_up_while_being_asked_is_a_missed_call(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(offering(after="1s", answer_time="20s"))
    _, joined = calls(lab)
    offered(service)

    lab.witness.hang_up(joined["Channel"])

    outcome(service, "hung up")
    service.wait_for(says("missed call of", number=CLIENT))
    assert only_task(service)["kind"] == "missed"
    # By this context a call is counted of which only the CDR is known.
    wait_until(
        lambda: "callback-offer" in {row["dcontext"] for row in lab.asterisk.cdrs()},
        15,
        "the CDR of the caller",
    )


def test_caller_is_back_in_line_when_the_service_dies_during_the_offer(
    lab: Lab,
) -> None:
    pause(lab, "support")
    service = lab.service(offering(after="1s"))
    someone_waits_first(lab)
    calls(lab)
    offered(service)

    service.kill()

    assert joins(lab, CLIENT, 2)["Position"] == "2"


def test_caller_is_back_in_line_where_asterisk_can_not_read_a_key(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(offering(after="1s", answer_time="20s"))
    someone_waits_first(lab)
    lab.asterisk.cli("module unload app_read.so")
    try:
        calls(lab)
        assert joins(lab, CLIENT, 2)["Position"] == "2"
    finally:
        lab.asterisk.cli("module load app_read.so")
    outcome(service, "timed out")


def test_callback_is_offered_when_the_last_agent_leaves(lab: Lab) -> None:
    lab.agent("carol", Answer())
    settings = offering(without_agents=True, answer_time="20s")
    del settings["defaults"]["sounds"]["offer"]
    service = lab.service(settings)
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    caller, _ = calls(lab, "sales")

    pause(lab, "sales")

    offered(service)
    for word in ("all-away", "call-back-press", "number-1", "or-stay"):
        heard(lab, word)
    caller.press("0")
    joins(lab, CLIENT, 2)


def test_callback_is_offered_at_a_position_an_expected_wait_and_at_closing(
    lab: Lab,
) -> None:
    """In one queue for each reason; the queue sales closes at the next full minute."""
    lab.agent("dave", Answer())
    change_queue(lab, "plain", context="callback-request")
    settings = offering()
    del settings["defaults"]["sounds"]["offer"]
    service = lab.service(settings)
    pause(lab, "sales")
    pause(lab, "support")
    waits_at_closing = lab.caller("sales", number=OTHERS[0])
    joins(lab, OTHERS[0], 1)

    own = {
        "sales": {
            "opening_hours": closes_at_the_next_minute(),
            "offers": {"at_closing": True, "answer_time": "20s"},
        },
        "support": {"offers": {"position_over": 1}, "sounds": {"offer": "beep"}},
        "plain": {
            "handling_time": "10m",
            "offers": {"wait_over": "1m", "answer_time": "20s"},
        },
    }
    service.write_settings(merged(settings, {"queues": own}))
    service.reload()
    service.wait_for(says("settings loaded again"))

    # The caller at position 2 is asked, and stays there.
    someone_waits_first(lab)
    lab.caller("support", number=OTHERS[1])
    service.wait_for(says(f"offered to {OTHERS[1]} in queue support: position"))
    outcome(service, "timed out")
    assert joins(lab, OTHERS[1], 2)["Position"] == "2"

    # The only agent has just begun a call.
    lab.caller("plain", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="plain"))
    caller = lab.caller("plain", number=CLIENT)
    service.wait_for(says(f"offered to {CLIENT} in queue plain: expected wait"))
    for word in ("all-busy", "you-will-wait", "minutes", "call-back-press"):
        heard(lab, word)
    caller.press("1")
    outcome(service, "accepted")
    assert only_task(service)["queue"] == "plain"

    service.wait_for(says(f"offered to {OTHERS[0]} in queue sales: closed"), 75)
    heard(lab, "closing")
    waits_at_closing.press("5")
    outcome(service, "declined")
    assert joins(lab, OTHERS[0], 2)["Position"] == "1"


def test_key_at_the_moment_of_an_answer_does_not_end_the_talk(lab: Lab) -> None:
    agent = lab.agent("carol", Answer())
    caller, joined = calls(lab, "sales")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))

    lab.witness.action(
        "PlayDTMF", Channel=joined["Uniqueid"], Digit="D", Receive="true"
    )

    lab.witness.wait_for(event("DTMFEnd", Digit="D", Direction="Sent"))
    agent.wait_to_hear(caller)
    assert lab.witness.events("BridgeLeave") == []


def test_caller_who_pressed_the_key_of_the_service_is_back_in_line(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(offering(after="1h"))
    caller, _ = calls(lab)

    caller.press("D")

    assert joins(lab, CLIENT, 2)["Position"] == "1"
    assert service.tasks() == []
