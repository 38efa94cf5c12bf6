# SPDX-License-Identifier: MIT
"""When a phone of the laboratory begins to speak, and to whom."""

from __future__ import annotations

import datetime

from tests.lab.phones import SipMessage, begins_to_speak

_SENT, _RECEIVED = True, False


def message(sent: bool, start_line: str, method: str, call: str = "1") -> SipMessage:
    """Return a message of a call."""
    return SipMessage(
        sent=sent,
        at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        start_line=start_line,
        headers=(("Call-ID", call), ("CSeq", f"1 {method}")),
        body="",
    )


INVITE = message(_RECEIVED, "INVITE sip:phone SIP/2.0", "INVITE")
RINGING = message(_SENT, "SIP/2.0 180 Ringing", "INVITE")
OK = message(_SENT, "SIP/2.0 200 OK", "INVITE")
ACK = message(_RECEIVED, "ACK sip:phone SIP/2.0", "ACK")


def last_of(*messages: SipMessage) -> SipMessage | None:
    """Return what the last message changes."""
    return begins_to_speak(messages[-1], messages)


def test_phone_that_answers_speaks_once_its_answer_is_acknowledged() -> None:
    assert last_of(INVITE) is None
    assert last_of(INVITE, RINGING) is None
    assert last_of(INVITE, RINGING, OK) is None
    assert last_of(INVITE, RINGING, OK, ACK) is INVITE


def test_phone_that_refuses_or_whose_call_is_cancelled_does_not_speak() -> None:
    busy = message(_SENT, "SIP/2.0 486 Busy Here", "INVITE")
    cancel = message(_RECEIVED, "CANCEL sip:phone SIP/2.0", "CANCEL")
    cancelled = message(_SENT, "SIP/2.0 200 OK", "CANCEL")
    ended = message(_SENT, "SIP/2.0 487 Request Terminated", "INVITE")
    assert last_of(INVITE, busy, ACK) is None
    assert last_of(INVITE, RINGING, cancel, cancelled, ended, ACK) is None
    # Another call was answered before.
    other = message(_RECEIVED, "ACK sip:phone SIP/2.0", "ACK", call="2")
    assert last_of(INVITE, OK, ACK, other) is None


def test_caller_speaks_to_whom_the_answer_names() -> None:
    invite = message(_SENT, "INVITE sip:queue SIP/2.0", "INVITE")
    answer = message(_RECEIVED, "SIP/2.0 200 OK", "INVITE")
    again = message(_RECEIVED, "INVITE sip:phone SIP/2.0", "INVITE")
    assert last_of(invite, answer) is answer
    assert last_of(invite, answer, message(_SENT, "ACK sip:queue", "ACK")) is None
    # Asterisk changes the address during the call.
    assert last_of(invite, answer, again, OK) is None
    assert last_of(invite, answer, again, OK, ACK) is again
    assert last_of(INVITE, OK, ACK, again, OK, ACK) is again
