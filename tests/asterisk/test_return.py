# SPDX-License-Identifier: MIT
"""Back in line with the options and the time-out of the caller's own Queue() line.

No service runs, so no request is taken and every caller who presses 1 is put back.
"""

from __future__ import annotations

import datetime
import re
from urllib.parse import quote

import pytest

from tests.asterisk.callback import QUICK, change_queue, joins, pause
from tests.lab.asterisk import REPOSITORY
from tests.lab.lab import Lab
from tests.lab.phones import Caller
from tests.lab.scenarios import Press
from tests.lab.witness import Seen, event

_NUMBER = "030111"
_INSTALL = REPOSITORY / "docs/install.md"


def _as_installed(arguments: str) -> str:
    """Return the lines that docs/install.md gives in place of Queue(arguments)."""
    text = _INSTALL.read_text("utf-8")
    (lines,) = re.findall(
        r"^ (same => n,Gosub\(callback-enter.*\n same => n,Queue\(.*)$", text, re.M
    )
    example = re.search(r"s,1\((.*)\)\)", lines)
    assert example is not None
    return f" {lines.replace(example[1], arguments)}\n"


def _install(lab: Lab, lines: str, more: str = "") -> None:
    lab.asterisk.set_dialplan(
        extra="[inbound]\nexten => 700,1,Answer()\n"
        f"{lines} same => n,UserEvent(Follows,Status: ${{QUEUESTATUS}})\n"
        f" same => n,Hangup()\n{more}"
    )
    pause(lab, "support")


def _queue_lines(lab: Lab, joined: Seen) -> list[Seen]:
    """Return each Queue() that this caller has executed."""
    lab.witness.fence()
    found: list[Seen] = []
    for one in lab.witness.events("Newexten", Uniqueid=joined["Uniqueid"]):
        # Asterisk repeats the event during an application, and for Queue() after the
        # caller has left it.
        if not found or _step(found[-1]) != _step(one):
            found.append(one)
    return [
        one
        for one in found
        if one["Application"] == "Queue" and one["Context"] != "callback-request"
    ]


def _step(step: Seen) -> tuple[str, ...]:
    return tuple(step[name] for name in ("Context", "Extension", "Priority", "AppData"))


def _complaints(lab: Lab) -> list[str]:
    """Return Asterisk's warnings, except that the service does not answer."""
    return [
        line
        for line in lab.asterisk.log.splitlines()
        if re.search("WARNING|ERROR", line) and "res_agi.c" not in line
    ]


def _seconds(begin: Seen, end: Seen) -> float:
    return (end.clock - begin.clock) / datetime.timedelta(seconds=1)


def _calls(lab: Lab, *steps: Press) -> tuple[Caller, Seen]:
    caller = lab.caller("700", *steps, number=_NUMBER)
    return caller, joins(lab, _NUMBER, 1)


def test_time_out_goes_on_options_are_kept_and_what_follows_the_queue_follows(
    lab: Lab,
) -> None:
    _install(lab, _as_installed("support,tc,,,8"))
    _, joined = _calls(lab, Press("1", after_ms=3500))

    back = joins(lab, _NUMBER, 2)
    follows = lab.witness.wait_for(event("UserEvent", UserEvent="Follows"), 15)

    assert follows["Status"] == "TIMEOUT"
    # The time-out of 8 s counts from the first join, not from the return.
    assert 7 < _seconds(joined, follows) < 10
    assert _seconds(back, follows) < 6
    first, second = _queue_lines(lab, joined)
    assert (second["Context"], second["Priority"]) == ("inbound", first["Priority"])
    assert first["AppData"].startswith("support,tc,,,8,")
    assert re.match(r"support,tc,,,[345],.*,1$", second["AppData"])
    assert _complaints(lab) == []


def test_queue_line_is_gone_and_its_arguments_are_kept(lab: Lab) -> None:
    _install(lab, _as_installed("support,tc,,,30"))
    caller, joined = _calls(lab)
    lab.asterisk.cli("dialplan remove extension 700@inbound")
    caller.press("1")
    joins(lab, _NUMBER, 2)

    first, second = _queue_lines(lab, joined)
    assert first["AppData"].startswith("support,tc,,,30,")
    assert second["Context"] == "callback-return"
    assert re.match(r"support,tc,,,(30|[12]\d),.*,1$", second["AppData"])
    complaints = _complaints(lab)
    assert any("is gone: inbound,700," in one for one in complaints), complaints


def test_each_key_leaves_less_of_the_time_out_and_one_second_at_least(
    lab: Lab,
) -> None:
    _install(lab, _as_installed("support,t,,,3"))
    caller, joined = _calls(lab)
    for count in (2, 3, 4):
        caller.press("1")
        joins(lab, _NUMBER, count)
    follows = lab.witness.wait_for(event("UserEvent", UserEvent="Follows"))

    assert follows["Status"] == "TIMEOUT"
    left = [int(one["AppData"].split(",")[4]) for one in _queue_lines(lab, joined)]
    assert left[0] == 3
    assert left == sorted(left, reverse=True)
    assert left[-1] == 1


def test_place_in_line_and_no_time_out_are_kept(lab: Lab) -> None:
    _install(lab, _as_installed("support"))
    lab.witness.originate("Local/700@inbound/n", caller_id="<4989000001>")
    joins(lab, "4989000001", 1)
    caller, joined = _calls(lab)
    assert joined["Position"] == "2"
    lab.witness.originate("Local/700@inbound/n", caller_id="<4989000003>")
    joins(lab, "4989000003", 1)
    caller.press("1")

    assert joins(lab, _NUMBER, 2)["Position"] == "2"
    assert _queue_lines(lab, joined)[-1]["AppData"].split(",")[4] == ""


def test_queue_line_in_a_subroutine_returns_from_it_as_before(lab: Lab) -> None:
    _install(
        lab,
        " same => n,Gosub(wait-in-line,s,1(tc,4))\n",
        "[wait-in-line]\nexten => s,1,NoOp()\n"
        + _as_installed("support,${ARG1},,,${ARG2}")
        + " same => n,Return()\n",
    )
    _, joined = _calls(lab, Press("1", after_ms=500))
    joins(lab, _NUMBER, 2)

    follows = lab.witness.wait_for(event("UserEvent", UserEvent="Follows"))
    assert follows["Status"] == "TIMEOUT"
    assert {one["Context"] for one in _queue_lines(lab, joined)} == {"wait-in-line"}


def test_key_in_another_queue_does_not_lead_back_to_the_first_one(lab: Lab) -> None:
    _install(
        lab,
        _as_installed("plain,t,,,1") + " same => n,Queue(support,tc,,,5)\n",
        "[callback-after-queue]\nexten => support,1,UserEvent(Behind)\n",
    )
    pause(lab, "plain")
    caller, _ = _calls(lab)
    assert joins(lab, _NUMBER, 2)["Queue"] == "support"
    caller.press("1")

    assert joins(lab, _NUMBER, 3)["Queue"] == "support"
    lab.witness.wait_for(event("UserEvent", UserEvent="Behind"))


def test_key_in_a_later_line_of_the_queue_does_not_lead_back_to_the_first_one(
    lab: Lab,
) -> None:
    _install(
        lab,
        _as_installed("support,t,,,1") + " same => n,Queue(support,tc,,,30)\n",
    )
    caller, joined = _calls(lab)
    joins(lab, _NUMBER, 2)
    caller.press("1")

    joins(lab, _NUMBER, 3)
    lab.witness.fence()
    (last,) = lab.witness.events("Newexten", Uniqueid=joined["Uniqueid"])[-1:]
    assert (last["Context"], last["Application"]) == ("callback-return", "Queue")
    assert re.match("support,tc,,,30,.*,1$", last["AppData"])


@pytest.mark.parametrize("cdrs", ["yes", "no"])
def test_line_without_callback_enter_keeps_its_limits_where_there_are_cdrs(
    lab: Lab, cdrs: str
) -> None:
    _install(
        lab,
        " same => n,Queue(support,tc,,,4)\n",
        "[callback-after-queue]\nexten => support,1,UserEvent(Behind,"
        "Status: ${QUEUESTATUS})\n same => n,Hangup()\n",
    )
    path = lab.asterisk.home / "etc/cdr.conf"
    given = path.read_text()
    path.write_text(given.replace("enable = yes", f"enable = {cdrs}"))
    try:
        lab.asterisk.cli("module reload cdr")
        _, joined = _calls(lab, Press("1", after_ms=500))
        back = joins(lab, _NUMBER, 2)
        if cdrs == "yes":
            behind = lab.witness.wait_for(event("UserEvent", UserEvent="Behind"))
            assert behind["Status"] == "TIMEOUT"
            assert 3 < _seconds(back, behind) < 6
            assert re.match(
                "support,tc,,,4,.*,1$", _queue_lines(lab, joined)[-1]["AppData"]
            )
        else:
            last = _queue_lines(lab, joined)[-1]["AppData"]
            assert re.match("support,,,,,.*,1$", last)
    finally:
        path.write_text(given)
        lab.asterisk.cli("module reload cdr")


def test_key_of_an_included_context_keeps_the_options_of_the_queue_line(
    lab: Lab,
) -> None:
    _install(
        lab,
        " same => n,Queue(support,tc,,,30)\n",
        "[support-keys]\ninclude => callback-request\ninclude => callback-key\n",
    )
    change_queue(lab, "support", context="support-keys")
    pause(lab, "support")
    caller, joined = _calls(lab)
    # The key 1 is that of callback-request, and no pattern of callback-key takes it.
    for count, key in enumerate("21*", 2):
        caller.press(key)
        joins(lab, _NUMBER, count)
        last = _queue_lines(lab, joined)[-1]
        assert (last["Context"], last["Application"]) == ("callback-return", "Queue")
        assert re.match("support,tc,,,30,.*,1$", last["AppData"])
    lab.witness.fence()
    assert [
        one["AppData"]
        for one in lab.witness.events("Newexten", Uniqueid=joined["Uniqueid"])
        if one["AppData"].startswith("CALLBACK_PRESSED=")
    ] == [f"CALLBACK_PRESSED={key}" for key in "21*"]


def test_number_in_an_address_does_not_become_another_number(lab: Lab) -> None:
    """Its digits alone are 03011110005, somebody else's number."""
    _install(lab, _as_installed("support,t,,,20"))
    service = lab.service(QUICK)
    caller = lab.caller("700", number=quote("030111@10.0.0.5", safe=""))
    lab.witness.wait_for(event("QueueCallerJoin", Queue="support"))

    caller.press("1")

    lab.witness.wait_for(event("QueueCallerJoin", Queue="support"), count=2)
    assert service.tasks() == []
