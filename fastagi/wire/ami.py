# SPDX-License-Identifier: MIT
"""The Asterisk Manager Interface as bytes: messages in, actions out.

Owns the grammar: the banner, messages that end with a blank line, headers in order
including repeated ones, and what Asterisk refuses to read. Independent of sockets,
clocks, logging, and the meaning of actions and events.

Text: Asterisk passes on the bytes that it was given, and a caller's name may not be
UTF-8. A message is decoded as UTF-8; if that fails, each header that is not UTF-8 is
decoded as Latin-1, the usual encoding of such names. So every byte gives a character,
no character is a lone surrogate (which a database or a log would refuse later), and one
bad name does not affect other headers. Actions are encoded as UTF-8.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError

#: main/manager.c:get_input: a line of 1023 bytes before its CRLF is refused as "line
#: too long", and what follows it is then read as a message of its own.
MAX_LINE_BYTES: Final = 1022
#: AST_MAX_MANHEADERS: with one more, Asterisk refuses the whole message without reading
#: its ActionID.
MAX_HEADERS: Final = 128
#: A reply to Command has its whole output in one message. Some megabytes are more than
#: any command prints, and small enough to hold in memory.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
#: "Asterisk Call Manager/11.0.0" has 28.
MAX_BANNER_BYTES: Final = 256

_EOL: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
#: Between the name and the value of a header.
_SEPARATOR: Final = ": "
_BANNER: Final = b"Asterisk Call Manager"
_EVENT: Final = b"Event: "
_RESPONSE: Final = b"Response: "
_ACTION_ID: Final = b"\r\nActionID: "

#: Beginnings of the names of headers that an event may have more than once.
_REPEATED: Final = ("chanvariable", "destchanvariable", "variable", "output")

_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_FORBIDDEN: Final = re.compile(r"[\r\n\0]")


class NeedData(enum.Enum):
    """What `AmiParser.next_event` returns while no message is complete."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA

Header = tuple[str, str]
Kind = Literal["event", "response", "other"]


@attrs.frozen
class Banner:
    """The first line that Asterisk sends."""

    text: str

    @property
    def ami_version(self) -> str:
        """Return the version of the interface (not of Asterisk), such as 11.0.0."""
        return self.text.partition("/")[2]


@attrs.define(repr=False)
class AmiMessage:
    """One received message: an event, or the response to an action.

    Only the bytes are kept. Headers are parsed when they are first read, so the many
    events without a listener cost next to nothing.
    """

    #: The message without the blank line that ends it.
    raw: bytes
    #: The first value of each header, by its name in lower case; None until a header is
    #: read.
    _first: dict[str, str] | None = attrs.field(default=None, init=False, eq=False)
    #: The number of headers, repeated ones too; 0 until one is read.
    _count: int = attrs.field(default=0, init=False, eq=False)

    @property
    def kind(self) -> Kind:
        """Return its kind: a message with an Event header is an event.

        OriginateResponse is an event that has a Response header as well.
        """
        if self.raw.startswith(_EVENT):
            return "event"
        if self.raw.startswith(_RESPONSE):
            return "response"
        if "event" in self.first:
            return "event"
        return "response" if "response" in self.first else "other"

    @property
    def event(self) -> str:
        """Return the event's name, or "" for anything else."""
        # Asterisk writes this header first, so the rest need not be parsed.
        if self.raw.startswith(_EVENT):
            end = self.raw.find(_EOL)
            name = self.raw[len(_EVENT) : end if end >= 0 else None]
            return _decode(name)
        if self.raw.startswith(_RESPONSE):
            return ""
        return self.get("Event")

    @property
    def action_id(self) -> str:
        """Return the id of the action this answers, or ""."""
        start = self.raw.find(_ACTION_ID)
        if start >= 0:
            start += len(_ACTION_ID)
            end = self.raw.find(_EOL, start)
            return _decode(self.raw[start : end if end >= 0 else None])
        # Asterisk spells it like this and never puts it first; other programs may
        # differ.
        return "" if self.raw.startswith(_EVENT) else self.get("ActionID")

    @property
    def headers(self) -> tuple[Header, ...]:
        """All headers in order, repeated ones too.

        A line without a colon is kept as a header with the name "".
        """
        return tuple(map(_split_header, self._lines()))

    @property
    def first(self) -> Mapping[str, str]:
        """The first value of each header, by its name in lower case."""
        return self._first or self._parse()

    @property
    def is_doubtful(self) -> bool:
        """Whether a header that Asterisk writes only once comes twice.

        Asterisk writes a caller's number unchanged, even with CR and LF, so a caller
        may have forged the second one.
        """
        if len(self.first) == self._count:
            return False
        names = [
            name.lower()
            for name, _ in self.headers
            if not name.lower().startswith(_REPEATED)
        ]
        return len(set(names)) < len(names)

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a header, whatever the case of its name."""
        return self.first.get(name.lower(), default)

    def all(self, name: str) -> list[str]:
        """Return every value of a header in order (Output, ChanVariable)."""
        wanted = name.lower()
        return [value for header, value in self.headers if header.lower() == wanted]

    def _lines(self) -> list[str]:
        try:
            return self.raw.decode("utf-8").split("\r\n")
        except UnicodeDecodeError:
            return [_decode(line) for line in self.raw.split(_EOL)]

    def _parse(self) -> dict[str, str]:
        lines = self._lines()
        self._count = len(lines)
        # In reverse order, so that the first of several headers with one name counts.
        lines.reverse()
        try:
            # This runs for every header of every event, so the usual form comes first.
            pairs = [line.split(_SEPARATOR, 1) for line in lines]
            first = {name.lower(): value for name, value in pairs}
        except ValueError:
            first = {":": ""}
        if ":" in "".join(first):
            first = {name.lower(): text for name, text in map(_split_header, lines)}
        self._first = first
        return first

    def __repr__(self) -> str:
        # Names only: values may be secrets, and callers' numbers.
        what = self.event or self.get("Response") or self.get("Action")
        names = ascii(", ".join(name for name, _ in self.headers))[1:-1]
        return f"<AmiMessage {self.kind} {what!a} with {names}>"


class AmiParser:
    """Splits a stream of bytes into messages. No socket, no clock, no callback.

    `receive_data` only stores; `next_event` returns the next whole message. The
    messages do not depend on how the stream was split, and each byte is read a fixed
    number of times, however slowly it arrives.

    Args:
        expect_banner: False to parse what a client sends, as a stand-in for Asterisk.
        max_message_bytes: a longer message counts as a fault of the peer.
    """

    def __init__(
        self,
        *,
        expect_banner: bool = True,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._expect_banner = expect_banner
        self._max_message_bytes = max_message_bytes
        self._banner: Banner | None = None
        self._whole: deque[bytes] = deque()
        self._rest = bytearray()
        self._searched = 0
        self._failure = ""

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream; never raises."""
        if self._failure:
            return
        rest = self._rest
        if self._expect_banner:
            rest += data
            end = rest.find(_EOL, 0, MAX_BANNER_BYTES + len(_EOL))
            if end < 0:
                return
            self._expect_banner = False
            if not self._take_banner(bytes(rest[:end])):
                return
            data = bytes(rest[end + len(_EOL) :])
            rest.clear()
        elif rest:
            rest += data
            if rest.find(_END, self._searched) < 0:
                self._searched = max(0, len(rest) - len(_END) + 1)
                return
            data = bytes(rest)
        *whole, last = data.split(_END)
        self._whole.extend(whole)
        self._rest = bytearray(last)
        self._searched = max(0, len(last) - len(_END) + 1)

    def next_event(self) -> Banner | AmiMessage | NeedData:
        """Return the next message or the banner, or NEED_DATA.

        Raises:
            RemoteProtocolError: the peer is no Asterisk manager, or a message has no
        end.
                Nothing more can be read; each further call raises it again.
        """
        if self._banner is not None:
            banner, self._banner = self._banner, None
            return banner
        while self._whole:
            raw = self._whole.popleft()
            if len(raw) > self._max_message_bytes:
                self._fail_too_long()
                break
            while raw.startswith(_EOL):
                # Some actions print one blank line too many.
                raw = raw[len(_EOL) :]
            if raw:
                return AmiMessage(raw)
        if self._expect_banner:
            if len(self._rest) >= MAX_BANNER_BYTES + len(_EOL):
                self._fail_no_manager(bytes(self._rest))
        # Up to three bytes of the rest may belong to the end of the message.
        elif len(self._rest) > self._max_message_bytes + len(_END) - 1:
            self._fail_too_long()
        if self._failure:
            raise RemoteProtocolError(self._failure)
        return NEED_DATA

    def _take_banner(self, line: bytes) -> bool:
        if line.startswith(_BANNER):
            self._banner = Banner(_decode(line))
            return True
        self._fail_no_manager(line)
        return False

    def _fail_no_manager(self, line: bytes) -> None:
        said = ascii(_decode(line[:60]))
        self._fail(f"this is no Asterisk manager, its first words are {said}")

    def _fail_too_long(self) -> None:
        self._fail(
            f"a message of more than {self._max_message_bytes} bytes without an end"
        )

    def _fail(self, message: str) -> None:
        self._failure = message
        self._whole.clear()
        self._rest = bytearray()


def encode_action(name: str, headers: Iterable[Header], action_id: str) -> bytes:
    """Return an action as bytes, with its ActionID right after its name.

    Raises:
        LocalProtocolError: Asterisk would misread it: CR, LF or NUL anywhere, a line
            over 1022 bytes, more than 128 headers, a header name or an action name that
            is no plain word, or text that is not Unicode.
    """
    if not _TOKEN.fullmatch(name):
        raise LocalProtocolError(f"{name!a} is no name of an action")
    if not action_id:
        raise LocalProtocolError(f"{name} has no ActionID, its reply would be lost")
    lines = [_encode_header("Action", name), _encode_header("ActionID", action_id)]
    for header, value in headers:
        if header.lower() in ("action", "actionid"):
            raise LocalProtocolError(f"{name} has a second {header} header")
        lines.append(_encode_header(header, value))
    if len(lines) > MAX_HEADERS:
        raise LocalProtocolError(
            f"{name} has {len(lines)} headers, Asterisk reads {MAX_HEADERS} at most"
        )
    return _EOL.join(lines) + _END


def _encode_header(name: str, value: str) -> bytes:
    # These errors name the header, never its value, which may be a secret.
    if not _TOKEN.fullmatch(name):
        raise LocalProtocolError(f"{name!a} is no name of a header")
    if _FORBIDDEN.search(value):
        raise LocalProtocolError(f"the value of {name} has a CR, LF or NUL in it")
    try:
        line = f"{name}: {value}".encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"the value of {name} is not Unicode") from None
    if len(line) > MAX_LINE_BYTES:
        raise LocalProtocolError(
            f"the line of {name} has {len(line)} bytes,"
            f" Asterisk reads {MAX_LINE_BYTES} at most"
        )
    return line


def _split_header(line: str) -> Header:
    name, colon, value = line.partition(":")
    if not colon:
        return "", line
    # One blank belongs to the grammar, further ones to the value, as in
    # "Output:    Members: ".
    return name, value.removeprefix(" ")


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
