# SPDX-License-Identifier: MIT
"""AGI as bytes: parses what Asterisk sends to a FastAGI server, and encodes commands.

Knows the header block that opens a session, replies, the ``HANGUP`` line, the usage
block of a 520, the quoting of commands, and all size limits. Independent of
transports, clocks, scripts, or which command a reply belongs to.

Text: Asterisk does not check the encoding of names and variables, so any byte may come.
Each header and each reply is decoded as UTF-8, or as Latin-1 if it is not UTF-8, as in
`fastagi.wire.ami`. So one caller has one name on both interfaces, every byte gives a
character, and no text breaks a database or a log later. Commands are encoded as UTF-8,
so a value set by this service is read back unchanged.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError

#: Longest command line, without its newline. ``res/res_agi.c:AGI_BUF_LEN`` was 2048
#: until the releases of October 2025 (20.16, 21.11, 22.6) and is 8192 since. A longer
#: line is not refused by Asterisk: it is cut, and the rest is run as another command.
MAX_COMMAND_BYTES: Final = 2046

#: Maximum number of words of one command. ``res_agi.c:parse_args`` writes into an array
#: of 128, and does not check its end when a word begins with a quote.
MAX_COMMAND_WORDS: Final = 120

#: Maximum number of headers: Asterisk sends 22, and at most 127 arguments.
MAX_HEADERS: Final = 160

#: Maximum length of a line: a header has at most 8 KiB (the arguments of an
#: application), but a value may be longer.
MAX_LINE_BYTES: Final = 16384

#: Maximum size of a header block, a value of several lines, or a usage block.
MAX_UNFINISHED_BYTES: Final = 65536

#: PRES_NUMBER_NOT_AVAILABLE, used for an unreadable presentation.
_PRESENTATION_UNAVAILABLE: Final = 67

_HEADER_NAME = re.compile(r"agi_[a-z0-9_]{1,60}")
_NO_HEADER: Final = "a line of the header block is no header"
_HEADER_START: Final = b"agi_"
_HANGUP: Final = b"HANGUP"
_REPLY = re.compile(rb"([1-9][0-9][0-9])([ -])(.*)", re.DOTALL)
# The value ends at the last parenthesis that is followed by a blank or by nothing:
# values hold parentheses of their own ("200 result=1 (SIP/a (b))").
_RESULT = re.compile(rb"result=([^ ]*)(?: \((.*)\))?(?: (.*))?", re.DOTALL)
_NUMBER = re.compile(rb"-?[0-9]{1,18}")
_BARE_WORD = re.compile(r"[A-Za-z0-9_./:@*#+,=&()-]+")
_VERB = re.compile(r"[A-Za-z]+")
_FORBIDDEN = re.compile("[\r\n\0]")


class NeedData(enum.Enum):
    """What `AgiParser.next_event` returns while no message is complete."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read_only(variables: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(variables)


@attrs.frozen(kw_only=True)
class AgiRequest:
    """The header block: which script is wanted, and for which channel."""

    #: Every header, spelled as Asterisk spells it (``agi_callerid``).
    variables: Mapping[str, str] = attrs.field(converter=_read_only)

    @property
    def script(self) -> str:
        """The path asked for, without leading slashes and without the query."""
        path = self.variables.get("agi_network_script", "").partition("?")[0]
        return path.lstrip("/")

    @functools.cached_property
    def query(self) -> Mapping[str, str]:
        """What follows ``?`` in the path, ``%XX`` decoded.

        A ``+`` stays a plus: Asterisk writes what the dialplan wrote, and a number
        begins with one. Of a repeated name the first counts. The dialplan does not
        escape what it puts here; hand over values from outside as arguments.
        """
        query = self.variables.get("agi_network_script", "").partition("?")[2]
        found: dict[str, str] = {}
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if name:
                found.setdefault(_unescaped(name), _unescaped(value))
        return MappingProxyType(found)

    @functools.cached_property
    def args(self) -> tuple[str, ...]:
        """The arguments of ``AGI()`` after the address, empty ones kept."""
        return tuple(
            value
            for name, value in self.variables.items()
            if name.startswith("agi_arg_")
        )

    @property
    def channel(self) -> str:
        """Name of the channel, such as ``PJSIP/trunk-00000007``."""
        return self.variables.get("agi_channel", "")

    @property
    def uniqueid(self) -> str:
        """Uniqueid of the channel."""
        return self.variables.get("agi_uniqueid", "")

    @property
    def language(self) -> str:
        """Language of the channel's prompts."""
        return self.variables.get("agi_language", "")

    @property
    def callerid(self) -> str:
        """Number of the caller, ``unknown`` where the network gave none."""
        return self.variables.get("agi_callerid", "")

    @property
    def calleridname(self) -> str:
        """Name of the caller, ``unknown`` where the network gave none."""
        return self.variables.get("agi_calleridname", "")

    @property
    def callingpres(self) -> int:
        """Presentation of the caller's number; 67 (not available) if unreadable."""
        text = self.variables.get("agi_callingpres", "")
        if re.fullmatch("[0-9]{1,4}", text) is None:
            return _PRESENTATION_UNAVAILABLE
        return int(text)

    @property
    def context(self) -> str:
        """Dialplan context of the channel."""
        return self.variables.get("agi_context", "")

    @property
    def extension(self) -> str:
        """Dialplan extension of the channel."""
        return self.variables.get("agi_extension", "")

    @property
    def version(self) -> str:
        """Version of Asterisk, such as ``22.10.1``."""
        return self.variables.get("agi_version", "")


def _unescaped(text: str) -> str:
    return _text(unquote_to_bytes(text))


@attrs.frozen(kw_only=True)
class AgiReply:
    """What Asterisk answered to one command."""

    #: 200 done, 510 unknown command, 511 not on a dead channel, 520 wrong usage.
    #: 100 says only that the real reply will follow.
    code: int
    #: The number after ``result=``; None where there is none.
    result: int | None = None
    #: What stood after ``result=``, letter by letter: digits keep leading zeros.
    result_text: str = ""
    #: The text in parentheses, "" if there is none.
    value: str = ""
    #: What follows, such as ``endpos=8000``; the whole text of an error.
    data: str = ""

    @property
    def ok(self) -> bool:
        """Whether Asterisk ran the command; `result` says how it ended."""
        return self.code == 200


@attrs.frozen(kw_only=True)
class AgiHangup:
    """The channel was hung up. This is not a reply: a pending reply still comes."""


_HANGUP_EVENT: Final = AgiHangup()

AgiEvent = AgiRequest | AgiReply | AgiHangup


@attrs.define(kw_only=True)
class AgiParser:
    """Reads what Asterisk sends in one session. No sockets, no clock, no callbacks.

    Rule 1. A session opens with one block of headers, ended by an empty line.
    Rule 2. After it come only replies and ``HANGUP`` lines, in any order.
    Rule 3. Each header comes once, what Asterisk always sends behind a caller's name
        is there, and the arguments come last, numbered from 1. A name with a newline
        in it breaks this rule, and the request is not believed.
    Rule 4. A value may hold newlines: it lasts until a line that ends with ``)``.

    `next_event` raises `RemoteProtocolError` and nothing else, and raises it again
    when asked again. Any other exception is a bug here.
    """

    max_line_bytes: int = MAX_LINE_BYTES
    max_headers: int = MAX_HEADERS
    max_unfinished_bytes: int = MAX_UNFINISHED_BYTES
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    # How far the buffer was searched, so that bytes arriving singly cost O(n) in all.
    _searched: int = attrs.field(default=0, init=False)
    _line_start: int = attrs.field(default=0, init=False)
    _header_count: int = attrs.field(default=0, init=False)
    _began: bool = attrs.field(default=False, init=False)
    _in_headers: bool = attrs.field(default=True, init=False)
    # Lines of an incomplete reply, and the beginning of its last line.
    _lines: list[bytes] = attrs.field(factory=list, init=False)
    _lines_bytes: int = attrs.field(default=0, init=False)
    _last_line_starts: bytes | None = attrs.field(default=None, init=False)
    _error: str = attrs.field(default="", init=False)

    def receive_data(self, data: bytes) -> None:
        """Store bytes; `next_event` looks at them. After an error they are dropped."""
        if not self._error:
            self._buffer += data

    @property
    def request_began(self) -> bool:
        """Whether the first bytes begin a header block: the peer is Asterisk."""
        return self._began

    @property
    def between_messages(self) -> bool:
        """Whether at most the beginning of a ``HANGUP`` line is left.

        Asterisk reads a command before it answers it. So bytes after a complete reply
        belong to no command: a value contained a newline.
        """
        if self._lines:
            return False
        return not self._buffer or b"HANGUP\n".startswith(bytes(self._buffer[:8]))

    def next_event(self) -> AgiEvent | NeedData:
        """Return the next complete message, or `NEED_DATA`.

        Raises:
            RemoteProtocolError: The bytes are not AGI, or a limit was passed.
        """
        if self._error:
            raise RemoteProtocolError(self._error)
        try:
            if self._in_headers:
                return self._next_request()
            return self._next_reply()
        except RemoteProtocolError as error:
            self._error = str(error)
            self._buffer.clear()
            self._lines.clear()
            raise

    # -- the header block

    def _next_request(self) -> AgiRequest | NeedData:
        buffer = self._buffer
        if not self._began:
            start = bytes(buffer[: len(_HEADER_START)])
            if not _HEADER_START.startswith(start):
                raise RemoteProtocolError(f"not AGI: the first bytes are {start!r}")
            self._began = start == _HEADER_START
        end = buffer.find(b"\n\n", max(0, self._searched - 1))
        if end < 0:
            self._check_unfinished_headers()
            return NEED_DATA
        if end > self.max_unfinished_bytes:
            raise RemoteProtocolError("the header block is too long")
        block = bytes(buffer[:end])
        del buffer[: end + 2]
        self._searched = 0
        self._in_headers = False
        return self._request(block)

    def _check_unfinished_headers(self) -> None:
        buffer = self._buffer
        self._header_count += buffer.count(b"\n", self._searched)
        newline = buffer.rfind(b"\n", self._searched)
        if newline >= 0:
            self._line_start = newline + 1
        self._searched = len(buffer)
        if len(buffer) - self._line_start > self.max_line_bytes:
            raise RemoteProtocolError("a header line is too long")
        if self._header_count > self.max_headers:
            raise RemoteProtocolError("too many headers")
        if len(buffer) > self.max_unfinished_bytes:
            raise RemoteProtocolError("the header block is too long")

    def _request(self, block: bytes) -> AgiRequest:
        if len(block) > self.max_line_bytes:
            longest = max(len(line) for line in block.split(b"\n"))
            if longest > self.max_line_bytes:
                raise RemoteProtocolError("a header line is too long")
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            text = "\n".join([_text(line) for line in block.split(b"\n")])
        if text.count("\n") >= self.max_headers:
            raise RemoteProtocolError("too many headers")
        parts = [line.partition(":") for line in text.split("\n")]
        names, colons, values = zip(*parts, strict=True)
        if "" in colons:
            raise RemoteProtocolError(_NO_HEADER)
        _check_names(names)
        stripped = [value.removeprefix(" ") for value in values]
        return AgiRequest(variables=dict(zip(names, stripped, strict=True)))

    # -- replies

    def _next_reply(self) -> AgiReply | AgiHangup | NeedData:
        while (line := self._take_line()) is not None:
            if self._lines:
                reply = self._continue(line)
                if reply is None:
                    continue
                return reply
            if line.startswith(_HANGUP):
                if line == _HANGUP:
                    return _HANGUP_EVENT
                # Old releases sent its newline as urgent data, out of the stream.
                if _REPLY.match(line, len(_HANGUP)):
                    self._buffer[:0] = line[len(_HANGUP) :] + b"\n"
                    return _HANGUP_EVENT
            match = _REPLY.fullmatch(line)
            if match is None:
                raise RemoteProtocolError(f"not a reply: {line[:40]!r}")
            code, mark, text = match.groups()
            if mark == b"-":
                self._begin(line, last_line_starts=code + b" ")
                continue
            reply = _reply(int(code), text)
            if reply is not None:
                return reply
            self._begin(line, last_line_starts=None)
        return NEED_DATA

    def _take_line(self) -> bytes | None:
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > self.max_line_bytes:
                raise RemoteProtocolError("a reply is too long")
            return None
        if end > self.max_line_bytes:
            raise RemoteProtocolError("a reply is too long")
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._searched = 0
        return line

    def _begin(self, line: bytes, *, last_line_starts: bytes | None) -> None:
        self._lines = [line]
        self._lines_bytes = len(line)
        self._last_line_starts = last_line_starts

    def _continue(self, line: bytes) -> AgiReply | None:
        self._lines.append(line)
        self._lines_bytes += len(line) + 1
        if self._lines_bytes > self.max_unfinished_bytes:
            raise RemoteProtocolError("a reply is too long")
        if self._last_line_starts is not None:
            if not line.startswith(self._last_line_starts):
                return None
            text = b"\n".join(self._lines)[4:]
            self._lines = []
            return AgiReply(code=int(self._last_line_starts), data=_text(text))
        if not line.endswith(b")"):
            return None
        whole = b"\n".join(self._lines)
        self._lines = []
        reply = _reply(int(whole[:3]), whole[4:])
        if reply is None:
            raise RemoteProtocolError(f"not a reply: {whole[:40]!r}")
        return reply


@functools.lru_cache(maxsize=64)
def _check_names(names: tuple[str, ...]) -> None:
    """Check the names of the headers in a block: they are the same in most blocks.

    Raises:
        RemoteProtocolError: Asterisk does not send such a block.
    """
    if not all(map(_HEADER_NAME.fullmatch, names)):
        raise RemoteProtocolError(_NO_HEADER)
    if len(set(names)) != len(names):
        raise RemoteProtocolError("a header came twice")
    args = tuple(name for name in names if name.startswith("agi_arg_"))
    if args and (
        args != names[-len(args) :]
        or args != tuple(f"agi_arg_{n}" for n in range(1, len(args) + 1))
    ):
        raise RemoteProtocolError("the arguments are not the last headers, in order")
    if "agi_calleridname" in names and "agi_priority" not in names:
        raise RemoteProtocolError("the header block ends too early")


def _reply(code: int, text: bytes) -> AgiReply | None:
    """Return the reply in a line; None if its value continues in the next line."""
    if text == b"result=1":
        return AgiReply(code=code, result=1, result_text="1")
    match = _RESULT.fullmatch(text)
    if match is None:
        return AgiReply(code=code, data=_text(text))
    result, value, data = match.groups(b"")
    if data.startswith(b"(") and not value:
        return None
    return AgiReply(
        code=code,
        result=int(result) if _NUMBER.fullmatch(result) else None,
        result_text=_text(result),
        value=_text(value),
        data=_text(data),
    )


def encode_command(*words: str) -> bytes:
    r"""Return one command as the line that Asterisk reads, with its newline.

    Words that are more than plain letters are quoted, with ``\`` before each quote and
    backslash in them, the one form that ``res_agi.c:parse_args`` reads back unchanged.
    An empty word is ``""``.

    Raises:
        LocalProtocolError: A word contains CR, LF or NUL, the line is longer than
            Asterisk reads in one piece, or there is no command. Nothing was encoded.
    """
    if not words or _VERB.fullmatch(words[0]) is None:
        raise LocalProtocolError("a command begins with a verb of letters")
    # Asterisk ends the script if a line begins with this word.
    if words[0].lower().startswith("failure"):
        raise LocalProtocolError("'failure' is no command")
    if len(words) > MAX_COMMAND_WORDS:
        raise LocalProtocolError(
            f"a command has at most {MAX_COMMAND_WORDS} words, not {len(words)}"
        )
    line = " ".join([_quoted(word) for word in words])
    if _FORBIDDEN.search(line):
        raise LocalProtocolError("a word of a command holds CR, LF or NUL")
    try:
        data = line.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError("a word of a command cannot be encoded") from None
    if len(data) > MAX_COMMAND_BYTES:
        raise LocalProtocolError(
            f"a command has at most {MAX_COMMAND_BYTES} bytes, not {len(data)}"
        )
    return data + b"\n"


def _quoted(word: str) -> str:
    if _BARE_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
