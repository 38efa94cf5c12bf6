# SPDX-License-Identifier: MIT
"""Real SIP phones: SIPp as callers, queue members and clients, each with a tone.

Owns the SIPp processes and their traces. A trace comes through a pipe and is read as it
is written, so a test can wait for a message rather than for a time. Independent of the
product and of AMI.
"""

from __future__ import annotations

import datetime
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from tests.lab import config
from tests.lab.asterisk import Asterisk
from tests.lab.closing import Closing
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.media import Media
from tests.lab.ports import PhoneSlot
from tests.lab.processes import LabProcess, pauses
from tests.lab.scenarios import (
    Answer,
    Behaviour,
    CallerId,
    Step,
    caller_scenario,
    phone_scenario,
)

_START_DEADLINE_S = 10.0
#: Maximum duration of a call in a test; SIPp then ends by itself.
LIFETIME_S = 300

#: Tones: multiples of 5 Hz, different from the music on hold.
_CALLER_HZ = 2000
_CLIENT_HZ = 1600
_AGENT_HZ = 700

_HEAD = re.compile(
    rb"-{20,} (\S+?)[ T](\S+?)Z?\n"
    rb"UDP message (received|sent) [\[(](\d+)\]? ?bytes\)? ?:\n\n"
)


@attrs.frozen(repr=False)
class SipMessage:
    """One message that a phone sent or received."""

    sent: bool
    at: datetime.datetime
    start_line: str
    #: The headers in order, with their names as written.
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def status(self) -> int | None:
        """The status code of a response, None for a request."""
        if self.start_line.startswith("SIP/2.0 "):
            return int(self.start_line.split()[1])
        return None

    @property
    def method(self) -> str:
        """The method of a request, or the one that a response answers."""
        if self.status is None:
            return self.start_line.split()[0]
        return self.get("CSeq").split()[-1]

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.get("Call-ID")

    def get(self, name: str) -> str:
        """Return the first value of a header, "" when there is none."""
        for header, value in self.headers:
            if header.lower() == name.lower():
                return value
        return ""

    def name_and_number(self, header: str = "From") -> tuple[str, str]:
        """Return the display name and the user part of an address header."""
        found = re.match(
            r'\s*(?:"((?:[^"\\]|\\.)*)"|([^<]*))\s*<sip:([^@>]*)', self.get(header)
        )
        if found is None:
            return "", ""
        quoted, plain, user = found.groups()
        name = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip()
        return name, user

    def __repr__(self) -> str:
        return f"<{self} {self.call_id}>"

    def __str__(self) -> str:
        arrow = ">" if self.sent else "<"
        return f"{self.at:%H:%M:%S.%f} {arrow} {self.start_line} ({self.get('CSeq')})"


SipPredicate = Callable[[SipMessage], object]


def request(method: str, *, sent: bool = False) -> SipPredicate:
    """Return a predicate: a request that the phone received, or sent."""
    return lambda one: one.status is None and one.method == method and one.sent is sent


def response(
    status: int, method: str = "INVITE", *, sent: bool = False
) -> SipPredicate:
    """Return a predicate: a response that the phone received, or sent."""
    return lambda one: (
        one.status == status and one.method == method and one.sent is sent
    )


class TraceParser:
    """Cuts SIPp's message trace into messages, however the trace is split."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> list[SipMessage]:
        """Take bytes; return the messages that they complete."""
        self._buffer += data
        messages = []
        while found := _HEAD.search(self._buffer):
            end = found.end() + int(found[4])
            if len(self._buffer) < end:
                break
            raw = self._buffer[found.end() : end]
            self._buffer = self._buffer[end:]
            at = datetime.datetime.fromisoformat(
                f"{found[1].decode()}T{found[2].decode()}"
            )
            messages.append(_parse_message(raw, found[3] == b"sent", at))
        return messages


def _parse_message(raw: bytes, sent: bool, at: datetime.datetime) -> SipMessage:
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    head, _, body = text.partition("\n\n")
    start_line, *lines = head.split("\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name.strip(), value.strip()))
    return SipMessage(
        sent, at.replace(tzinfo=datetime.UTC), start_line, tuple(headers), body
    )


def begins_to_speak(
    one: SipMessage, messages: Sequence[SipMessage]
) -> SipMessage | None:
    """Return the message that says where a phone speaks from now on.

    Not from its own 200 on: sound that Asterisk reads before that message is early
    media, which ends the ring tone of whoever waits for the answer.

    Args:
        one: what was sent or received now.
        messages: all of the phone, up to this one.

    Returns:
        None: the phone does not begin to speak.
    """
    if one.sent:
        return None
    if one.method == "INVITE" and one.status == 200:
        return one
    if one.method != "ACK":
        return None
    invites = [
        past
        for past in messages
        if past.call_id == one.call_id and past.method == "INVITE"
    ]
    # A refusal is acknowledged, too.
    if not any(past.sent and past.status == 200 for past in invites):
        return None
    return next(
        past for past in reversed(invites) if not past.sent and past.status is None
    )


class Phone(Closing):
    """One SIPp process and its trace."""

    def __init__(
        self,
        asterisk: Asterisk,
        name: str,
        scenario: str,
        *,
        slot: PhoneSlot,
        voice_hz: int,
        speaks: bool = True,
        lifetime_s: int = LIFETIME_S,
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.slot = slot
        self.media = Media(slot.host, slot.port + 6, voice_hz, speaks=speaks)
        self._messages: list[SipMessage] = []
        self._changed = threading.Condition()
        self._ended = False
        unique = f"{time.time_ns():x}"
        home = asterisk.home / "phones" / f"{name}-{unique}"
        home.mkdir()
        self._home = home
        (home / "scenario.xml").write_text(scenario)
        os.mkfifo(home / "trace")
        # Opened for reading without waiting; SIPp then opens it for writing at once.
        self._trace = os.open(home / "trace", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self._trace, True)
        # Kept open for writing, so that the reader sees no end before SIPp opens it.
        self._keep_open = os.open(home / "trace", os.O_WRONLY)
        self._process = LabProcess(
            asterisk.tree,
            [
                *("sipp", f"127.0.0.1:{asterisk.ports.sip}"),
                *("-sf", str(home / "scenario.xml")),
                *("-i", slot.host, "-p", str(slot.port), "-bind_local"),
                *("-key", "voice_port", str(slot.port + 6)),
                *("-key", "unique", unique, "-cid_str", f"{unique}-%u@%s"),
                *("-ci", slot.host, "-cp", str(slot.port + 1)),
                *("-mi", slot.host, "-mp", str(slot.port + 2)),
                *("-nostdin", "-aa", "-timeout", f"{lifetime_s}s"),
                *("-trace_msg", "-message_file", str(home / "trace")),
                *("-trace_err", "-error_file", str(home / "errors")),
                *arguments,
            ],
            output=home / "screen",
        )
        self._reader = threading.Thread(
            target=self._read, name=f"trace of {name}", daemon=True
        )
        self._reader.start()

    def _read(self) -> None:
        parser = TraceParser()
        while data := os.read(self._trace, 65536):
            if messages := parser.receive(data):
                with self._changed:
                    self._messages += messages
                    self._changed.notify_all()
                for one in messages:
                    self._speak_or_not(one)
        os.close(self._trace)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _speak_or_not(self, one: SipMessage) -> None:
        if one.method in ("BYE", "CANCEL") and one.status is None:
            self.media.be_silent()
        elif (described := begins_to_speak(one, self.messages)) is not None:
            self._speak_to(described)

    def _speak_to(self, described: SipMessage) -> None:
        host = re.search(r"^c=IN IP4 (\S+)", described.body, re.MULTILINE)
        port = re.search(r"^m=audio (\d+)", described.body, re.MULTILINE)
        if host and port:
            self.media.speak_to(host[1], int(port[1]))

    def close(self) -> None:
        """Kill the phone: it sends no BYE. Its trace stays readable."""
        try:
            self._process.kill()
        finally:
            self.media.close()
            self._let_trace_end()
            self._reader.join(5)

    def _let_trace_end(self) -> None:
        keep_open, self._keep_open = self._keep_open, -1
        if keep_open != -1:
            os.close(keep_open)

    def wait_until_listening(self) -> None:
        """Wait until the phone can be called.

        Raises:
            LabError: SIPp ended; the text holds what it said.
        """
        for _ in pauses(_START_DEADLINE_S):
            if self.slot in _bound_udp_ports():
                return
            if not self._process.running:
                break
        raise LabError(f"the phone {self.name} did not start:\n{self.report()}")

    # -- what happened

    @property
    def exit_code(self) -> int | None:
        """SIPp's exit code: 0 if the SIP dialogue was correct, None while it runs."""
        return self._process.exit_code

    def wait_for_end(self, deadline_s: float = 10.0) -> int:
        """Wait until SIPp has ended and the whole trace was read; return its code."""
        try:
            code = self._process.wait(deadline_s)
        except DeadlinePassed:
            raise DeadlinePassed(
                f"{self.name} did not finish within {deadline_s} s:\n{self.report()}"
            ) from None
        self._let_trace_end()
        self._reader.join(5)
        return code

    @property
    def messages(self) -> list[SipMessage]:
        """Everything sent and received so far, in order."""
        with self._changed:
            return list(self._messages)

    def matching(self, predicate: SipPredicate) -> list[SipMessage]:
        """Return the messages so far that match the predicate."""
        return [one for one in self.messages if predicate(one)]

    @property
    def invites(self) -> list[SipMessage]:
        """The INVITEs that began calls to this phone, without repeats."""
        first: dict[str, SipMessage] = {}
        for one in self.matching(request("INVITE")):
            first.setdefault(one.call_id, one)
        return list(first.values())

    def wait_for(
        self, predicate: SipPredicate, deadline_s: float = 10.0, *, count: int = 1
    ) -> SipMessage:
        """Wait for the count-th matching message, old or new, and return it.

        Raises:
            DeadlinePassed: no such message came; the text holds the trace.
        """
        found = self._look_until(
            lambda: [one for one in self._messages if predicate(one)], count, deadline_s
        )
        if len(found) >= count:
            return found[count - 1]
        raise DeadlinePassed(
            f"{self.name}: {len(found)} of {count} awaited messages within "
            f"{deadline_s} s:\n{self.report()}"
        )

    def _look_until(
        self, look: Callable[[], list[SipMessage]], count: int, deadline_s: float
    ) -> list[SipMessage]:
        """Check repeatedly, until so many are found or no more can come."""
        end = time.monotonic() + deadline_s
        with self._changed:
            while True:
                is_last_look = self._ended or time.monotonic() >= end
                found = look()
                if is_last_look or len(found) >= count:
                    return found
                if not self._process.running:
                    # SIPp has ended: let the reader reach the end of the trace.
                    self._let_trace_end()
                self._changed.wait(max(0.0, min(end - time.monotonic(), 0.2)))

    # -- sound

    @property
    def voice_hz(self) -> int:
        """The tone of this phone, in hertz."""
        return self.media.hertz

    def wait_to_hear(self, other: Phone, deadline_s: float = 5.0) -> None:
        """Wait until the other phone's voice is heard in this one.

        Raises:
            DeadlinePassed: it is not heard in time.
        """
        try:
            self.media.wait_to_hear(other.voice_hz, deadline_s)
        except DeadlinePassed as error:
            raise DeadlinePassed(
                f"{self.name} does not hear {other.name}: {error}\n{self.report()}"
            ) from None

    def report(self) -> str:
        """Return what the phone saw, and SIPp's complaints, as text for a person."""
        told = [f"-- {self.name} at {self.slot}, exit code {self.exit_code}"]
        told += [str(one) for one in self.messages]
        with suppress(FileNotFoundError):
            told.append((self._home / "errors").read_text(errors="replace"))
        if self.exit_code not in (None, 0):
            told.append(self._process.text()[-1500:])
        return "\n".join(told)


class Caller(Phone):
    """A person who calls in.

    Keys are pressed by the steps, as SIP INFO, or, with `keys_as_rtp`, by the test with
    :meth:`press`, as RFC 4733 events.
    """

    def __init__(
        self,
        asterisk: Asterisk,
        exten: str,
        *steps: Step,
        number: str = "+4930123456",
        display_name: str = "",
        withheld: bool = False,
        headers: Iterable[str] = (),
        keys_as_rtp: bool = False,
        speaks: bool = True,
    ) -> None:
        caller_id = CallerId(number=number, name=display_name, withheld=withheld)
        super().__init__(
            asterisk,
            f"caller-{number or 'unknown'}",
            caller_scenario(caller_id, steps, headers, keys_as_rtp=keys_as_rtp),
            slot=asterisk.ports.phone_slot(),
            voice_hz=_CALLER_HZ,
            speaks=speaks,
            arguments=["-s", exten, "-m", "1", "-recv_timeout", f"{LIFETIME_S}s"],
        )

    def press(self, digits: str) -> None:
        """Press keys now; needs `keys_as_rtp`."""
        self.media.press(digits)

    def wait_until_answered(self, deadline_s: float = 10.0) -> SipMessage:
        """Wait until Asterisk answered the call."""
        return self.wait_for(response(200), deadline_s)

    def wait_until_hung_up(self, deadline_s: float = 10.0) -> SipMessage:
        """Wait until Asterisk hung up (or the caller's own BYE was sent)."""
        return self.wait_for(
            lambda one: one.status is None and one.method == "BYE", deadline_s
        )

    @property
    def got_bye(self) -> bool:
        """Whether Asterisk, and not the caller, hung up."""
        return bool(self.matching(request("BYE")))


class CalledPhone(Phone):
    """A phone that is called; it follows its behaviours in order."""

    def __init__(
        self,
        asterisk: Asterisk,
        name: str,
        behaviours: Sequence[Behaviour],
        *,
        slot: PhoneSlot,
        voice_hz: int,
        speaks: bool,
        lifetime_s: int,
    ) -> None:
        super().__init__(
            asterisk,
            name,
            phone_scenario(behaviours or (Answer(),)),
            slot=slot,
            voice_hz=voice_hz,
            speaks=speaks,
            lifetime_s=lifetime_s,
        )
        try:
            self.wait_until_listening()
        except LabError:
            self.close()
            raise

    def press(self, digits: str) -> None:
        """Press keys now; needs an `Answer` with `keys_as_rtp`."""
        self.media.press(digits)

    def wait_for_call(self, deadline_s: float = 10.0, *, count: int = 1) -> SipMessage:
        """Wait for the count-th call and return its INVITE."""
        calls = self._look_until(lambda: self.invites, count, deadline_s)
        if len(calls) >= count:
            return calls[count - 1]
        raise DeadlinePassed(
            f"{self.name} was called {len(calls)} times, not {count}, within "
            f"{deadline_s} s:\n{self.report()}"
        )


class Agent(CalledPhone):
    """The phone of a queue member: alice, bob or another of `config.AGENTS`."""

    def __init__(
        self,
        asterisk: Asterisk,
        name: str,
        *behaviours: Behaviour,
        speaks: bool = True,
        lifetime_s: int = LIFETIME_S,
    ) -> None:
        super().__init__(
            asterisk,
            name,
            behaviours,
            slot=asterisk.agent_slots[name],
            voice_hz=_AGENT_HZ + 100 * config.AGENTS.index(name),
            speaks=speaks,
            lifetime_s=lifetime_s,
        )


class Client(CalledPhone):
    """The phone of a client: reached by its number through [outbound-routes]."""

    def __init__(
        self,
        asterisk: Asterisk,
        number: str,
        *behaviours: Behaviour,
        speaks: bool = True,
        lifetime_s: int = LIFETIME_S,
    ) -> None:
        self.number = number
        self._asterisk = asterisk
        slot = asterisk.ports.phone_slot()
        super().__init__(
            asterisk,
            f"client-{number}",
            behaviours,
            slot=slot,
            voice_hz=_CLIENT_HZ,
            speaks=speaks,
            lifetime_s=lifetime_s,
        )
        asterisk.cli(f"database put {config.ROUTE_FAMILY} {number} {slot}")

    def close(self) -> None:
        """Remove the number from the network and kill the phone."""
        with suppress(LabError):
            self._asterisk.cli(f"database del {config.ROUTE_FAMILY} {self.number}")
        super().close()


def _bound_udp_ports() -> set[PhoneSlot]:
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return {_address(line.split()[1]) for line in lines}


def _address(shown: str) -> PhoneSlot:
    """Read an address of /proc: hexadecimal, in the byte order of the machine."""
    host, _, port = shown.partition(":")
    number = int(host, 16).to_bytes(4, sys.byteorder)
    return PhoneSlot(socket.inet_ntoa(number), int(port, 16))
