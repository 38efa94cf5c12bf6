# SPDX-License-Identifier: MIT
"""SIPp scenarios, made from what a person does with a phone.

Translates :class:`Ring`, :class:`Press` and similar steps into SIPp's XML. Independent
of processes, ports in use and Asterisk. All waiting is inside SIPp. A pause is written
as "wait for BYE, at most so long", because a person notices at once when the other side
hangs up, and SIPp reports a BYE during ``<pause>`` as a fault.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import quoteattr

import attrs

from tests.lab.errors import LabError

# -- what a person does


@attrs.frozen
class Press:
    """Press keys, one after another, by SIP INFO."""

    digits: str
    after_ms: int = 300


@attrs.frozen
class HangUp:
    """Hang up."""

    after_ms: int = 300


Step = Press | HangUp


@attrs.frozen
class Answer:
    """Ring, answer, take the steps, then stay until the other side hangs up."""

    ring_ms: int = 100
    steps: tuple[Step, ...] = ()
    #: Whether it sends 180; else it sends nothing before the answer.
    tells: bool = True
    #: Whether the test presses keys, as RFC 4733 events.
    keys_as_rtp: bool = False


@attrs.frozen
class NoAnswer:
    """Ring until the other side gives up."""


@attrs.frozen
class Refuse:
    """Answer with a final response at once, or after ringing."""

    status: int
    reason: str
    ring_ms: int = 0


@attrs.frozen
class Forward:
    """Answers 302: the call is to go to `user`, as the user part of a SIP URI."""

    user: str


BUSY = Refuse(486, "Busy Here")
DECLINE = Refuse(603, "Decline")
CONGESTION = Refuse(503, "Service Unavailable")
NOT_FOUND = Refuse(404, "Not Found")
TEMPORARILY_UNAVAILABLE = Refuse(480, "Temporarily Unavailable")
INCOMPLETE = Refuse(484, "Address Incomplete")

Behaviour = Answer | NoAnswer | Refuse | Forward


@attrs.frozen(kw_only=True)
class CallerId:
    """What a caller's INVITE says about the caller."""

    number: str
    name: str = ""
    #: Ask the network to withhold the number (RFC 3323); it is then only asserted.
    withheld: bool = False

    def headers(self, tag: str) -> str:
        """Return the From header, and what belongs to it, as SIPp text."""
        shown = f"{_display(self.name)}<sip:{self.number}@[local_ip]:[local_port]>"
        if not self.withheld:
            return f"From: {shown};tag={tag}"
        anonymous = '"Anonymous" <sip:anonymous@anonymous.invalid>'
        headers = [f"From: {anonymous};tag={tag}", "Privacy: id"]
        if self.number:
            headers.append(f"P-Asserted-Identity: {shown}")
        return "\n".join(headers)


def _display(name: str) -> str:
    if not name:
        return ""
    if set(name) & set("[]\r\n"):
        raise LabError(f"SIPp would read {name!r} as a keyword or a new line")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" '


# -- SIPp's XML

# The sound does not come from SIPp: see tests.lab.media.
_SDP = """\
v=0
o=phone 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[local_ip_type] [local_ip]
t=0 0
m=audio [voice_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=ptime:20
a=sendrecv"""
_SDP_WITH_EVENTS = _SDP.replace("AVP 0", "AVP 0 101").replace(
    "a=ptime", "a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime"
)

_CONTACT = "Contact: <sip:phone@[local_ip]:[local_port]>"
# SIPp's [branch] and [pid] are the same in every first process of a namespace, and
# Asterisk would take a new BYE for one that it has answered already.
_OWN_TAG = "[unique]-[call_number]"


class _Script:
    """Collects the elements of one scenario."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._labels = itertools.count(1)
        # INVITE is 1; each request of our own takes the next one.
        self._cseq = itertools.count(2)
        self._branches = itertools.count(1)

    def new_label(self) -> str:
        return str(next(self._labels))

    def label(self, label: str) -> None:
        self._parts.append(f'<label id="{label}"/>')

    def element(self, text: str) -> None:
        self._parts.append(text)

    def send(self, lines: Iterable[str], *, body: str = "", **options: str) -> None:
        # SIPp works out [len]; without a body it must be a plain zero.
        length = "Content-Length: [len]" if body else "Content-Length: 0"
        text = "\n".join([*lines, length, "", body])
        self._parts.append(f"<send{_attributes(options)}><![CDATA[\n{text}\n]]></send>")

    def receive(self, **options: str) -> None:
        self._parts.append(f"<recv{_attributes(options)}/>")

    def jump(self, label: str) -> None:
        self._parts.append(f'<nop next="{label}"/>')

    def next_cseq(self) -> int:
        return next(self._cseq)

    def via(self) -> str:
        branch = f"z9hG4bK-{_OWN_TAG}-{next(self._branches)}"
        return f"Via: SIP/2.0/UDP [local_ip]:[local_port];branch={branch}"

    def text(self, name: str) -> str:
        body = "\n".join(self._parts)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<scenario name="{name}">\n{body}\n</scenario>\n'
        )


def _attributes(options: dict[str, str]) -> str:
    return "".join(f" {key}={quoteattr(value)}" for key, value in options.items())


@attrs.frozen
class _Dialog:
    """The headers of a request that we send inside the call."""

    ours: str
    theirs: str

    def request(self, script: _Script, method: str, extra: Sequence[str]) -> list[str]:
        return [
            f"{method} [next_url] SIP/2.0",
            script.via(),
            "Max-Forwards: 70",
            self.ours,
            self.theirs,
            "Call-ID: [call_id]",
            f"CSeq: {script.next_cseq()} {method}",
            _CONTACT,
            *extra,
        ]


def _reply(status: int, reason: str, *extra: str) -> list[str]:
    return [
        f"SIP/2.0 {status} {reason}",
        "[last_Via:]",
        "[last_Record-Route:]",
        "[last_From:]",
        f"[last_To:];tag={_OWN_TAG}",
        "[last_Call-ID:]",
        "[last_CSeq:]",
        _CONTACT,
        *extra,
    ]


def _reply_in_dialog(status: int, reason: str) -> list[str]:
    return [
        f"SIP/2.0 {status} {reason}",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:]",
        "[last_Call-ID:]",
        "[last_CSeq:]",
    ]


def _talk(script: _Script, dialog: _Dialog, steps: Iterable[Step], end: str) -> None:
    """Take the steps of an answered call, then wait for the other side's BYE."""
    got_bye = script.new_label()
    for step in steps:
        match step:
            case Press(digits, after_ms):
                for digit in digits:
                    _wait_for_bye(script, got_bye, after_ms)
                    lines = dialog.request(
                        script, "INFO", ["Content-Type: application/dtmf-relay"]
                    )
                    body = f"Signal={digit}\nDuration=160"
                    script.send(lines, body=body, retrans="500")
                    script.receive(request="BYE", optional="true", next=got_bye)
                    script.receive(response="200")
            case HangUp(after_ms):
                _wait_for_bye(script, got_bye, after_ms)
                script.send(dialog.request(script, "BYE", []), retrans="500")
                # Both sides may hang up at the same moment.
                script.receive(request="BYE", optional="true", next=got_bye)
                script.receive(response="481", optional="true", next=end)
                script.receive(response="200", next=end)
    script.receive(request="BYE", next=got_bye)
    script.label(got_bye)
    script.send(_reply_in_dialog(200, "OK"), next=end)


def _wait_for_bye(script: _Script, got_bye: str, most_ms: int) -> None:
    go_on = script.new_label()
    script.receive(
        request="BYE", timeout=str(max(most_ms, 1)), ontimeout=go_on, next=got_bye
    )
    script.label(go_on)


def caller_scenario(
    caller_id: CallerId,
    steps: Iterable[Step],
    headers: Iterable[str],
    *,
    keys_as_rtp: bool,
) -> str:
    """Return the scenario of somebody who calls, and does the steps when answered.

    A call that is refused ends without a fault; SIPp's exit code tells only of what
    SIP does not allow.
    """
    script = _Script()
    end = script.new_label()
    refused = script.new_label()
    ours = caller_id.headers(_OWN_TAG)
    to = "To: <sip:[service]@[remote_ip]:[remote_port]>"
    uri = "sip:[service]@[remote_ip]:[remote_port]"
    start = [script.via(), "Max-Forwards: 70", ours]
    call = ["Call-ID: [call_id]", "CSeq: 1 INVITE", _CONTACT, *headers]
    script.send(
        [
            f"INVITE {uri} SIP/2.0",
            *start,
            to,
            *call,
            "Content-Type: application/sdp",
        ],
        body=_SDP_WITH_EVENTS if keys_as_rtp else _SDP,
        retrans="500",
    )
    for status in ("100", "180", "181", "183"):
        script.receive(response=status, optional="true")
    for status in (
        "403",
        "404",
        "408",
        "480",
        "484",
        "486",
        "488",
        "500",
        "503",
        "603",
    ):
        script.receive(response=status, optional="true", next=refused)
    script.receive(response="200", rrs="true")
    # The plain From: an ACK carries no privacy headers.
    from_header = ours.splitlines()[0]
    ack = ["Max-Forwards: 70", from_header, "[last_To:]", "Call-ID: [call_id]"]
    script.send(["ACK [next_url] SIP/2.0", script.via(), *ack, "CSeq: 1 ACK"])
    dialog = _Dialog(from_header, f"{to}[peer_tag_param]")
    _talk(script, dialog, steps, end)
    script.label(refused)
    script.send([f"ACK {uri} SIP/2.0", "[last_Via:]", *ack, "CSeq: 1 ACK"])
    script.label(end)
    script.element("<nop/>")
    return script.text("caller")


def phone_scenario(behaviours: Sequence[Behaviour]) -> str:
    """Return the scenario of a phone that is called.

    The first call meets the first behaviour, and so on; the last one is for all
    calls that follow.
    """
    if not behaviours:
        raise LabError("a phone needs at least one behaviour")
    script = _Script()
    end = script.new_label()
    script.element(
        '<recv request="INVITE" rrs="true"><action>'
        '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="caller"/>'
        '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="own"/>'
        '<assignstr assign_to="text" value="[call_number]"/>'
        '<todouble assign_to="number" variable="text"/>'
        "</action></recv>"
    )
    script.element('<Reference variables="caller,own,number"/>')
    labels = [script.new_label() for _ in behaviours]
    for number, label in enumerate(labels[:-1], start=1):
        script.element(
            f'<nop><action><test assign_to="is{number}" variable="number" '
            f'compare="equal" value="{number}"/></action></nop>'
        )
        script.element(f'<nop next="{label}" test="is{number}"/>')
    script.jump(labels[-1])
    for label, behaviour in zip(labels, behaviours, strict=True):
        script.label(label)
        _behave(script, behaviour, end)
    script.label(end)
    script.element("<nop/>")
    return script.text("phone")


def _behave(script: _Script, behaviour: Behaviour, end: str) -> None:
    cancelled = script.new_label()
    match behaviour:
        case NoAnswer():
            script.send(_reply(180, "Ringing"))
            script.receive(request="CANCEL", next=cancelled)
        case Refuse(status, reason, ring_ms):
            if ring_ms:
                _ring(script, ring_ms, cancelled)
            script.send(_reply(status, reason), retrans="500")
            script.receive(request="ACK", next=end)
        case Forward(user):
            moved = _reply(302, "Moved Temporarily")
            moved[moved.index(_CONTACT)] = f"Contact: <sip:{user}@127.0.0.1>"
            script.send(moved, retrans="500")
            script.receive(request="ACK", next=end)
        case Answer(ring_ms, steps, tells, keys_as_rtp):
            _ring(script, ring_ms, cancelled, tells=tells)
            script.send(
                _reply(200, "OK", "Content-Type: application/sdp"),
                body=_SDP_WITH_EVENTS if keys_as_rtp else _SDP,
                retrans="500",
            )
            # A CANCEL that crossed the answer is answered and has no effect.
            crossed = script.new_label()
            acked = script.new_label()
            script.receive(request="CANCEL", optional="true", next=crossed)
            script.receive(request="ACK", next=acked)
            script.label(crossed)
            script.send(_reply_in_dialog(200, "OK"))
            script.receive(request="ACK")
            script.label(acked)
            dialog = _Dialog(f"From:[$own];tag={_OWN_TAG}", "To:[$caller]")
            _talk(script, dialog, steps, end)
    script.label(cancelled)
    script.send(_reply(200, "OK"))
    terminated = _reply(487, "Request Terminated")
    terminated[6] = "CSeq: [last_cseq_number] INVITE"
    script.send(terminated, retrans="500")
    script.receive(request="ACK", next=end)


def _ring(script: _Script, ring_ms: int, cancelled: str, *, tells: bool = True) -> None:
    done = script.new_label()
    script.send(_reply(180, "Ringing") if tells else _reply(100, "Trying"))
    script.receive(
        request="CANCEL", timeout=str(max(ring_ms, 1)), ontimeout=done, next=cancelled
    )
    script.label(done)
