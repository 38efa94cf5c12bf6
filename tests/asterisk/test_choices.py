# SPDX-License-Identifier: MIT
"""After the key a caller confirms the number, enters another one, or goes back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pytest

from tests.asterisk.brief_words import LANGUAGE, record_brief_words, said
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    hung_up_by_asterisk,
    joins,
    only_task,
    pause,
    requested,
)
from tests.asterisk.test_offers import NO_REASON
from tests.lab.lab import Lab
from tests.lab.phones import Caller
from tests.lab.scenarios import Press
from tests.lab.service import Service, merged, says

OTHER: Final = "4930222222"
KEYS: Final = (
    "[inbound]\nexten => 700,1,Answer()\n"
    " same => n,Gosub(callback-enter,s,1(support,t,,,60))\n"
    " same => n,Queue(${CALLBACK_QUEUE_ARGS})\n"
    "[callback-request](+)\n"
    "exten => _[2*],1,Goto(callback-key,${EXTEN},1)\n"
)
CHOICES: Final[Mapping[str, Any]] = merged(
    QUICK,
    {"defaults": {"choices": {"confirm_number": True, "other_number": "shown"}}},
)


@pytest.fixture(autouse=True)
def short_words(lab: Lab) -> None:
    """Play brief sounds in place of the words."""
    record_brief_words(lab)


def caller_is_asked(
    lab: Lab,
) -> tuple[Service, Caller]:
    """Let a caller behind another one press the key and hear the question."""
    service = lab.service(CHOICES)
    pause(lab, "support")
    lab.witness.originate("Local/support@inbound/n", caller_id="<4989000001>")
    joins(lab, "4989000001", 1)
    caller = lab.caller(
        "support",
        number=CLIENT,
        keys_as_rtp=True,
        headers=[f"X-Language: {LANGUAGE}"],
    )
    assert joins(lab, CLIENT, 1)["Position"] == "2"
    lab.witness.originate("Local/support@inbound/n", caller_id="<4989000003>")
    joins(lab, "4989000003", 1)
    caller.press("1")
    said(lab, "confirm-press")
    return service, caller


def test_another_number_is_entered_after_a_wrong_one_and_confirmed(lab: Lab) -> None:
    service, caller = caller_is_asked(lab)
    assert service.tasks() == []
    caller.press("2")
    said(lab, "enter-number")
    caller.press("12#")
    said(lab, "number-wrong")
    said(lab, "enter-number", 2)
    caller.press(f"{OTHER}#")
    said(lab, "confirm-press", 2)
    assert service.tasks() == []
    caller.press("1")
    requested(service, OTHER)
    hung_up_by_asterisk(caller, 20)
    task = only_task(service)
    assert (task["number"], task["kind"]) == (OTHER, "requested")


def test_key_for_the_queue_leads_back_to_the_same_place(lab: Lab) -> None:
    service, caller = caller_is_asked(lab)
    caller.press("3")
    back = joins(lab, CLIENT, 2)
    assert back["Position"] == "2"
    said(lab, "still-in-line")
    assert service.tasks() == []
    assert not caller.got_bye


def test_service_ends_while_it_asks_and_the_caller_is_back_in_line(lab: Lab) -> None:
    service, _ = caller_is_asked(lab)
    service.kill()
    assert joins(lab, CLIENT, 2)["Position"] == "2"
    said(lab, "hold-on")


def test_caller_hangs_up_while_asked_and_the_call_is_missed(lab: Lab) -> None:
    service, _ = caller_is_asked(lab)
    lab.witness.hang_up(joins(lab, CLIENT, 1)["Channel"])
    service.wait_for(says("missed call of", number=CLIENT))
    assert only_task(service)["kind"] == "missed"


def test_keys_by_sip_info_count_and_those_before_the_question_do_not(lab: Lab) -> None:
    service = lab.service(CHOICES)
    pause(lab, "support")
    caller = lab.caller(
        "support",
        *(Press("1", after_ms=400) for _ in range(40)),
        number=CLIENT,
        headers=[f"X-Language: {LANGUAGE}"],
    )
    requested(service)
    log = lab.asterisk.log
    number = log.index("Playing 'callback-queue/will-call-number.")
    # The caller pressed keys during the number.
    assert number < log.index("Playing 'callback-queue/number-6.", number)
    assert number < log.index("Playing 'callback-queue/confirm-press.")
    hung_up_by_asterisk(caller, 20)


def test_callers_choose_a_time_and_get_different_slots(lab: Lab) -> None:
    """The first presses keys as RTP events, the second by SIP INFO."""
    times = {"times": True, "per_slot": 1, "slot_length": "10m", "days_ahead": 2}
    choices = {"time_keys": "56", "confirm_number": False, "other_number": "never"}
    service = lab.service(
        merged(CHOICES, {"defaults": {"choices": {**times, **choices}}})
    )
    pause(lab, "support")
    language = [f"X-Language: {LANGUAGE}"]
    first = lab.caller("support", number=CLIENT, keys_as_rtp=True, headers=language)
    joins(lab, CLIENT, 1)
    first.press("1")
    said(lab, "choose-time-press")
    first.press("2")
    said(lab, "times-back-press")
    # The second day with free times, which is not today even at midnight.
    first.press("6")
    said(lab, "at")
    first.press("5")
    requested(service)
    hung_up_by_asterisk(first, 20)
    said(lab, "hang-up-now")
    second = lab.caller(
        "support",
        Press("1"),
        *(Press("2", after_ms=400) for _ in range(5)),
        *(Press("6", after_ms=400) for _ in range(30)),
        number=OTHER,
        headers=language,
    )
    requested(service, OTHER)
    hung_up_by_asterisk(second, 20)
    told = [
        datetime.fromisoformat(task["chosen_at"]).astimezone()
        for task in sorted(service.tasks(), key=lambda task: int(task["id"]))
    ]
    # The first slot of that day is taken: the key 6 is the third.
    assert [f"{at:%H:%M}" for at in told] == ["00:00", "00:20"]
    assert told[0].date() == told[1].date() > datetime.now().date()


def test_keys_in_the_queue_and_of_an_offer_say_when(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=KEYS)
    pause(lab, "support")
    choices = {"confirm_number": False, "other_number": "never", "times": True}
    keys = {"queue_soon_keys": "*", "queue_time_keys": "27", "slot_length": "10m"}
    offers = {**NO_REASON, "after": "1s", "accept_keys": "7"}
    service = lab.service(
        merged(
            CHOICES,
            {"defaults": {"choices": {**choices, **keys}, "offers": offers}},
        )
    )
    caller = lab.caller(
        "700", number=CLIENT, keys_as_rtp=True, headers=[f"X-Language: {LANGUAGE}"]
    )
    joins(lab, CLIENT, 1)
    said(lab, "or-stay")
    for time, key in enumerate("72", 1):
        caller.press(key)
        # No question comes before the times.
        said(lab, "times-back-press", time)
        assert lab.asterisk.log.count("Playing 'callback-queue/soon-press.") < time
        caller.press("9")
        said(lab, "soon-press", time)
        caller.press("3")
        assert joins(lab, CLIENT, time + 1)["Position"] == "1"
    service.wait_for(says("^the callback offered to .*: declined$"))
    assert service.tasks() == []

    caller.press("*")

    requested(service)
    hung_up_by_asterisk(caller, 20)
    assert only_task(service)["chosen_at"] is None


def test_caller_is_asked_in_the_language_of_the_channel(lab: Lab) -> None:
    service = lab.service(CHOICES)
    pause(lab, "support")
    lab.caller("support", Press("1"), number="49301", headers=["X-Language: ru"])
    said(lab, "number-4")
    assert service.tasks() == []
    lines = [one for one in lab.asterisk.log.splitlines() if "Playing 'callb" in one]
    assert lines
    assert all("(language 'ru')" in one for one in lines)
