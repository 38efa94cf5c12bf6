# SPDX-License-Identifier: MIT
"""The dialplan's report on the client's leg is parsed, from any version."""

from __future__ import annotations

import pytest

from fastagi.ami.events import UserEvent
from fastagi.domain.attempt import Progress
from fastagi.node.dialplan_report import Outcome
from tests.harness.messages import message_of


def told(**headers: str) -> UserEvent:
    return UserEvent.parse(message_of(headers.items()))


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("ANSWER:8100:SUCCESS", ("ANSWER", 8.1, "SUCCESS", 0, ())),
        ("BUSY:0:SUCCESS:17:+486", ("BUSY", 0.0, "SUCCESS", 17, (486,))),
        ("ABORT:0:FAILED:16:+404+503", ("ABORT", 0, "FAILED", 16, (404, 503))),
        ("CHANUNAVAIL:0:SUCCESS:3:", ("CHANUNAVAIL", 0, "SUCCESS", 3, ())),
        ("::::", ("", 0, "", 0, ())),
        ("", ("", 0, "", 0, ())),
        ("DIALLING", ("DIALLING", 0, "", 0, ())),
        ("BUSY:-1:x:y:+4x4+:more", ("BUSY", 0, "x", 0, ())),
        (f"BUSY:{'9' * 5000}::{'1' * 5000}:", ("BUSY", 0, "", 0, ())),
    ],
)
def test_what_is_kept_in_astdb(value: str, outcome: tuple[object, ...]) -> None:
    read = Outcome.kept(value)

    assert (
        read.dialstatus,
        read.talk_s,
        read.alert_status,
        read.cause,
        read.sip,
    ) == outcome


@pytest.mark.parametrize(
    ("value", "forwarded"),
    [
        ("BUSY:0:SUCCESS:17:+302:1", True),
        ("BUSY:0:SUCCESS:17:+486:", False),
        ("BUSY:0:SUCCESS:17:+486", False),
        ("BUSY:0:SUCCESS:17:+486:1:of a newer version", True),
    ],
)
def test_a_phone_that_forwards_is_kept_in_astdb(value: str, forwarded: bool) -> None:
    progress = Progress()

    Outcome.kept(value).tell(progress, 1.0)

    assert progress.forwarded is forwarded


def test_the_event_says_the_same_as_what_is_kept() -> None:
    event = told(
        Event="UserEvent",
        DialStatus="CONGESTION",
        TalkMs="1500",
        AlertStatus="SUCCESS",
        Cause="16",
        SIP="+404+503",
        Forwarded="1",
    )

    kept = "CONGESTION:1500:SUCCESS:16:+404+503:1"
    assert Outcome.said(event) == Outcome.kept(kept)


def test_the_event_of_an_older_dialplan_tells_no_cause() -> None:
    event = told(DialStatus="BUSY", TalkMs="0", AlertStatus="SUCCESS")

    assert Outcome.said(event) == Outcome.kept("BUSY:0:SUCCESS")


def test_it_adds_to_what_is_known() -> None:
    progress = Progress()

    Outcome.kept("CHANUNAVAIL:0:SUCCESS:1:+404").tell(progress, 20.0)

    assert progress.caller_dialled_at == 20.0
    assert progress.reported_dialstatus == "CHANUNAVAIL"
    assert (progress.reported_cause, progress.reported_sip) == (1, {404})
