# SPDX-License-Identifier: MIT
r"""Asterisk's side of FastAGI, played from a dict of channel variables.

`AsteriskAgi` is the channel: bytes in, bytes out, no sockets. It keeps to what
``res/res_agi.c`` does and what was recorded from Asterisk 16.28 and 22.10: it reads one
line at a time into a buffer of limited size, does not notice a second line that came
along with the first, sends ``HANGUP`` when the channel dies and refuses from then on
what needs a living one, and sets AGISTATUS.

It is joined to a server in memory by `MemoryEndpoint`, or over TCP by
`AgiClientProtocol`::

    asterisk = AsteriskAgi(script="request", args=("support",), digits="1")
    endpoint = MemoryEndpoint()
    ... FastAgiServer(endpoint=endpoint, ...).startService()
    call = endpoint.call(asterisk)
    assert asterisk.agistatus == "SUCCESS"
    assert asterisk.variables["CALLBACK_STATUS"] == "ACCEPTED"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump
from zope.interface import implementer

from tests.emulator.wires import MemoryPort

#: AGI headers of the recorded channels.
HEADERS: Mapping[str, str] = {
    "agi_channel": "Local/9@callers-00000001;2",
    "agi_language": "en",
    "agi_type": "Local",
    "agi_uniqueid": "1795377942.1",
    "agi_version": "22.10.1",
    "agi_callerid": "2001",
    "agi_calleridname": "Alice",
    "agi_callingpres": "0",
    "agi_callingani2": "0",
    "agi_callington": "0",
    "agi_callingtns": "0",
    "agi_dnid": "unknown",
    "agi_rdnis": "unknown",
    "agi_context": "callback-request",
    "agi_extension": "1",
    "agi_priority": "1",
    "agi_enhanced": "0.0",
    "agi_accountcode": "",
    "agi_threadid": "140129050773184",
}

_UNKNOWN = b"510 Invalid or unknown command\n"
_DEAD = b"511 Command Not Permitted on a dead channel or intercept routine\n"
_USAGE = (
    b"520-Invalid command syntax.  Proper usage follows:\n"
    b"Does what its documentation says.\n"
    b"520 End of proper usage.\n"
)

_Words = tuple[str, ...]


#: In place of a prompt: the keys are pressed when nothing is played any more.
SILENCE = ""


class AsteriskAgi:
    """One channel in ``AGI(agi://HOST/SCRIPT,ARGS)``."""

    def __init__(
        self,
        script: str = "request",
        args: tuple[str, ...] = (),
        *,
        headers: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        database: Mapping[tuple[str, str], str] | None = None,
        sounds: frozenset[str] | None = None,
        missing_sounds: Collection[str] = (),
        digits: str = "",
        early: str = "",
        answers: Sequence[tuple[str, str]] = (),
        dead: bool = False,
        hang_up_during: _Words = (),
        silent_on: _Words = (),
        line_bytes: int = 2048,
    ) -> None:
        """Set the channel up.

        Args:
            script: Path in the address, with a query if wanted.
            args: Arguments after the address.
            headers: What differs from `HEADERS`.
            variables: Channel variables, and functions by how they are read
                (``"CALLERID(num)"``).
            database: AstDB by family and key.
            sounds: Prompts that exist; all do if None.
            missing_sounds: Prompts that do not exist.
            digits: What the caller will press, in this order, each when awaited.
            early: What the caller has pressed before.
            answers: Prompts and the keys that the caller presses when they begin, in
                this order.
            dead: Is this a hangup handler?
            hang_up_during: Verb during which the caller hangs up
                (``("STREAM", "FILE")``).
            silent_on: Verb that is never answered.
            line_bytes: ``AGI_BUF_LEN``; 8192 since the end of 2025.
        """
        self.script = script
        self.args = args
        self.headers = {**HEADERS, **(headers or {})}
        self.variables = dict(variables or {})
        self.database = dict(database or {})
        self.sounds = sounds
        self.missing_sounds = missing_sounds
        self.digits = digits
        #: Keys that were pressed and not read yet.
        self.pressed = early
        self.answers = list(answers)
        #: The answers that were given so far.
        self.given: list[tuple[str, str]] = []
        self.dead = dead
        #: Every command, as Asterisk split it.
        self.commands: list[_Words] = []
        #: Prompts played to their end or to a digit.
        self.played: list[str] = []
        #: Applications run, with their arguments in one string.
        self.executed: list[tuple[str, str]] = []
        #: What VERBOSE wrote.
        self.console: list[str] = []
        #: SUCCESS, FAILURE or HANGUP once the application has ended.
        self.agistatus = ""
        #: What the server did that would break a real Asterisk.
        self.faults: list[str] = []
        self._hang_up_during = hang_up_during
        self._silent_on = silent_on
        self._line_bytes = line_bytes
        self._unread = b""
        self._status = "SUCCESS"
        self._busy = False

    @property
    def ended(self) -> bool:
        """Whether the application and the connection have ended."""
        return bool(self.agistatus)

    # -- the connection

    def start(self) -> bytes:
        """Return the header block."""
        where = f"/{self.script}" if self.script else ""
        lines = ["agi_network: yes"]
        if self.script:
            lines.append(f"agi_network_script: {self.script}")
        lines.append(f"agi_request: agi://127.0.0.1:4573{where}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"agi_arg_{n}: {arg}" for n, arg in enumerate(self.args, 1)]
        return _bytes("\n".join(lines) + "\n\n")

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the server; return what Asterisk writes in answer."""
        if self.ended:
            return b""
        if self._busy:
            if data[:7].lower() == b"failure":
                # Data ends what is playing; the command is over without a reply.
                self._busy = False
            else:
                self.faults.append(f"sent while a command ran: {data[:40]!r}")
                self._unread += data
                return b""
        self._unread += data
        return self._read_line()

    def hang_up(self) -> bytes:
        """Let the caller hang up between two commands."""
        if self.ended or self.dead:
            return b""
        self.dead = True
        if self._status == "SUCCESS":
            self._status = "HANGUP"
        if self.variables.get("AGIEXITONHANGUP", "").lower() in ("yes", "true", "1"):
            return b"HANGUP\n" + self._end(self._status)
        return b"HANGUP\n"

    def connection_lost(self) -> None:
        """Handle the server's close: run the unread commands, then continue."""
        while self._unread and not self.ended:
            if b"\n" not in self._unread:
                self._unread += b"\n"
            self._read_line()
        if not self.ended:
            self._end(self._status)

    def _end(self, status: str) -> bytes:
        self.agistatus = status
        return b"HANGUP\n"

    def _read_line(self) -> bytes:
        end = self._unread.find(b"\n")
        if end < 0 and len(self._unread) < self._line_bytes - 1:
            return b""
        size = self._line_bytes - 1 if end < 0 else min(end + 1, self._line_bytes - 1)
        line, self._unread = self._unread[:size], self._unread[size:]
        if self._unread:
            self.faults.append(f"more than one line at once: {self._unread[:40]!r}")
        if line[:7].lower() == b"failure":
            return self._end("FAILURE")
        words = split_words(_str(line.removesuffix(b"\n")))
        self.commands.append(words)
        return self._run(words)

    # -- commands

    def _run(self, words: _Words) -> bytes:
        upper = tuple(word.upper() for word in words)
        for length in (3, 2, 1):
            verb = upper[:length]
            known = _COMMANDS.get(verb)
            if known is not None and len(verb) == length:
                break
        else:
            return _UNKNOWN
        handler, fewest, most, on_dead = known
        if self._silent_on and verb == self._silent_on:
            self._busy = True
            return b""
        if self.dead and not on_dead:
            return _DEAD
        rest = words[length:]
        if not fewest <= len(rest) <= most:
            return _USAGE
        if verb == self._hang_up_during:
            position = b" endpos=4000" if verb == ("STREAM", "FILE") else b""
            return b"200 result=-1" + position + b"\n" + self.hang_up()
        return handler(self, rest)

    def _answer(self, rest: _Words) -> bytes:
        return b"200 result=0\n"

    def _channel_status(self, rest: _Words) -> bytes:
        return b"200 result=6\n"

    def _get_variable(self, rest: _Words) -> bytes:
        value = self.variables.get(rest[0])
        if value is None:
            return b"200 result=0\n"
        return b"200 result=1 (" + _bytes(value)[:1023] + b")\n"

    def _get_full_variable(self, rest: _Words) -> bytes:
        if len(rest) == 2 and rest[1] != self.headers["agi_channel"]:
            return b"200 result=0\n"
        value = re.sub(
            r"\$\{([^}]*)\}", lambda m: self.variables.get(m[1], ""), rest[0]
        )
        return b"200 result=1 (" + _bytes(value) + b")\n"

    def _set_variable(self, rest: _Words) -> bytes:
        self.variables[rest[0]] = rest[1]
        return b"200 result=1\n"

    def _stream_file(self, rest: _Words) -> bytes:
        known = self.sounds is None or rest[0] in self.sounds
        if rest[0] in self.missing_sounds or not known:
            self._status = "FAILURE"
            return b"200 result=-1 endpos=0\n"
        self.played.append(rest[0])
        if self.answers and self.answers[0][0] == rest[0]:
            self.given.append(self.answers.pop(0))
            self.pressed += self.given[-1][1]
        # Asterisk reads all keys and drops those that do not end the prompt.
        while self.pressed and self.pressed[0] not in rest[1]:
            self.pressed = self.pressed[1:]
        return f"200 result={self._press(rest[1])} endpos=8000\n".encode()

    def _say(self, rest: _Words) -> bytes:
        return f"200 result={self._press(rest[1])}\n".encode()

    def _wait_for_digit(self, rest: _Words) -> bytes:
        if int(rest[0]) >= 1000 and self.answers and self.answers[0][0] == SILENCE:
            self.given.append(self.answers.pop(0))
            self.pressed += self.given[-1][1]
        return f"200 result={self._press('0123456789*#')}\n".encode()

    def _get_data(self, rest: _Words) -> bytes:
        self.played.append(rest[0])
        most = int(rest[2]) if len(rest) > 2 else 1024
        pressed, hash_key, left = self.digits.partition("#")
        if len(pressed) >= most:
            pressed, self.digits = self.digits[:most], self.digits[most:]
            return f"200 result={pressed}\n".encode()
        self.digits = left
        timeout = "" if hash_key else " (timeout)"
        return f"200 result={pressed}{timeout}\n".encode()

    def _press(self, among: str) -> int:
        if self.pressed and self.pressed[0] in among:
            digit, self.pressed = self.pressed[0], self.pressed[1:]
            return ord(digit)
        if not self.digits or self.digits[0] not in among:
            return 0
        digit, self.digits = self.digits[0], self.digits[1:]
        return ord(digit)

    def _exec(self, rest: _Words) -> bytes:
        if rest[0].lower().startswith("nosuch"):
            return b"200 result=-2\n"
        args = rest[1] if len(rest) > 1 else ""
        if rest[0].lower() == "mset":
            return self._set_many(args)
        self.executed.append((rest[0], args))
        return b"200 result=0\n"

    def _set_many(self, args: str) -> bytes:
        """Set variables as MSet() does: ``name1=value1,name2=value2``."""
        if re.search(r"[\"'\\()\[\]{}]", args):
            self.faults.append(f"MSet() does not take this as it is: {args!r}")
        for pair in args.split(",")[:24]:
            name, equals, value = pair.partition("=")
            if equals:
                self.variables[name] = value
        return b"200 result=0\n"

    def _hangup(self, rest: _Words) -> bytes:
        return b"200 result=1\n" + self.hang_up()

    def _verbose(self, rest: _Words) -> bytes:
        self.console.append(rest[0])
        return b"200 result=1\n"

    def _zero(self, rest: _Words) -> bytes:
        return b"200 result=0\n"

    def _database_get(self, rest: _Words) -> bytes:
        value = self.database.get((rest[0], rest[1]))
        if value is None:
            return b"200 result=0\n"
        return b"200 result=1 (" + _bytes(value) + b")\n"

    def _database_put(self, rest: _Words) -> bytes:
        self.database[rest[0], rest[1]] = rest[2]
        return b"200 result=1\n"

    def _database_del(self, rest: _Words) -> bytes:
        self.database.pop((rest[0], rest[1]), None)
        return b"200 result=1\n"

    def _database_deltree(self, rest: _Words) -> bytes:
        for family, key in list(self.database):
            if family == rest[0]:
                del self.database[family, key]
        return b"200 result=1\n"

    def _set_place(self, rest: _Words) -> bytes:
        return b"200 result=0\n"


# The handler of each command, its minimum and maximum number of words after the verb,
# and whether a dead channel may run it.
_Handler = Callable[[AsteriskAgi, _Words], bytes]
_COMMANDS: Mapping[_Words, tuple[_Handler, int, int, bool]] = {
    ("ANSWER",): (AsteriskAgi._answer, 0, 99, False),
    ("CHANNEL", "STATUS"): (AsteriskAgi._channel_status, 0, 1, False),
    ("DATABASE", "DEL"): (AsteriskAgi._database_del, 2, 2, True),
    ("DATABASE", "DELTREE"): (AsteriskAgi._database_deltree, 1, 2, True),
    ("DATABASE", "GET"): (AsteriskAgi._database_get, 2, 2, True),
    ("DATABASE", "PUT"): (AsteriskAgi._database_put, 3, 3, True),
    ("EXEC",): (AsteriskAgi._exec, 1, 99, True),
    ("GET", "DATA"): (AsteriskAgi._get_data, 1, 99, False),
    ("GET", "FULL", "VARIABLE"): (AsteriskAgi._get_full_variable, 1, 2, True),
    ("GET", "VARIABLE"): (AsteriskAgi._get_variable, 1, 1, True),
    ("HANGUP",): (AsteriskAgi._hangup, 0, 1, False),
    ("NOOP",): (AsteriskAgi._zero, 0, 99, True),
    ("SAY", "DIGITS"): (AsteriskAgi._say, 2, 2, False),
    ("SAY", "NUMBER"): (AsteriskAgi._say, 2, 3, False),
    ("SET", "AUTOHANGUP"): (AsteriskAgi._zero, 1, 1, False),
    ("SET", "CALLERID"): (AsteriskAgi._zero, 1, 1, False),
    ("SET", "CONTEXT"): (AsteriskAgi._set_place, 1, 1, False),
    ("SET", "EXTENSION"): (AsteriskAgi._set_place, 1, 1, False),
    ("SET", "MUSIC"): (AsteriskAgi._zero, 1, 2, False),
    ("SET", "PRIORITY"): (AsteriskAgi._set_place, 1, 1, False),
    ("SET", "VARIABLE"): (AsteriskAgi._set_variable, 2, 2, True),
    ("STREAM", "FILE"): (AsteriskAgi._stream_file, 2, 3, False),
    ("VERBOSE",): (AsteriskAgi._verbose, 1, 2, True),
    ("WAIT", "FOR", "DIGIT"): (AsteriskAgi._wait_for_digit, 1, 1, False),
}


def split_words(line: str) -> _Words:
    """Split a command as Asterisk does: quotes group, a backslash keeps what follows.

    Written from the behaviour of ``res_agi.c:parse_args`` and checked against the
    recorded dialogues.
    """
    words: list[str] = []
    word: str | None = None
    quoted = escaped = False
    for character in line:
        if escaped:
            word, escaped = (word or "") + character, False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
            word = word or ""
        elif character in " \t" and not quoted:
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    if word is not None:
        words.append(word)
    return tuple(words)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _str(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


#: Duration of each sound file in seconds, unless a key ends it.
_SOUND_S = 0.5
_KEY_S = 0.2


def lasts(command: _Words, reply: bytes) -> float:
    """Return how long a command that plays or waits keeps Asterisk busy, in seconds."""
    verb = tuple(word.upper() for word in command[:3])
    if verb[:2] != ("STREAM", "FILE") and verb != ("WAIT", "FOR", "DIGIT"):
        return 0.0
    if not reply.startswith(b"200 result=0"):
        return _KEY_S
    return _SOUND_S if verb[0] == "STREAM" else int(command[3]) / 1000


class AgiClientProtocol(Protocol):
    """Connects an `AsteriskAgi` to any Twisted transport."""

    def __init__(
        self,
        asterisk: AsteriskAgi,
        later: Callable[[float, Callable[[], object]], object] | None = None,
    ) -> None:
        """Take the channel.

        Args:
            asterisk: the channel.
            later: calls a function after some seconds, so that prompts and waiting for
                keys take time; None: they take none.
        """
        self.asterisk = asterisk
        self._later = later
        #: Fires with the channel when the application has ended.
        self.ended: Deferred[AsteriskAgi] = Deferred()

    def connectionMade(self) -> None:
        self._write(self.asterisk.start())

    def dataReceived(self, data: bytes) -> None:
        reply = self.asterisk.receive(data)
        lasts_s = 0.0
        if self._later is not None and not self.asterisk.ended and reply:
            lasts_s = lasts(self.asterisk.commands[-1], reply)
        if lasts_s:
            assert self._later is not None
            self._later(lasts_s, lambda: self._write_unless_ended(reply))
        else:
            self._write(reply)

    def _write_unless_ended(self, reply: bytes) -> None:
        if not self.asterisk.ended:
            self._write(reply)

    def hang_up(self) -> None:
        """Let the caller hang up now."""
        self._write(self.asterisk.hang_up())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.asterisk.connection_lost()
        self.ended.callback(self.asterisk)

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        if data:
            self.transport.write(data)
        if self.asterisk.ended:
            self.transport.loseConnection()


class MemoryCall:
    """A channel joined to a server in memory."""

    def __init__(self, client: Protocol, pump: IOPump | None) -> None:
        self.client = client
        self._pump = pump

    @property
    def answered(self) -> bool:
        """Whether the server accepted the connection."""
        return self._pump is not None

    def flush(self) -> None:
        """Transfer bytes in both directions until neither side has any left.

        Needed after anything that makes a side write: time, a store, `hang_up`.
        """
        if self._pump is not None:
            self._pump.flush()

    def hang_up(self) -> None:
        """Let the caller hang up now."""
        assert isinstance(self.client, AgiClientProtocol)
        self.client.hang_up()
        self.flush()

    def cut(self) -> None:
        """Break the connection: both sides lose it without a message."""
        if self._pump is None:
            return
        ends = (self._pump.serverIO, self._pump.clientIO)
        if any(end.disconnected for end in ends):
            return
        for end in ends:
            end.disconnecting = end.disconnected = True
            end.protocol.connectionLost(Failure(ConnectionLost()))


@implementer(IStreamServerEndpoint)
class MemoryEndpoint:
    """A server endpoint without a port: channels are joined by `call`."""

    def __init__(self) -> None:
        self.factory: IProtocolFactory | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Keep the factory."""
        self.factory = protocolFactory
        return succeed(MemoryPort(self))

    def call(self, asterisk: AsteriskAgi, host: str = "127.0.0.1") -> MemoryCall:
        """Let a channel run ``AGI()`` as far as possible without time passing."""
        return self.connect(AgiClientProtocol(asterisk), host)

    def connect(self, client: Protocol, host: str = "127.0.0.1") -> MemoryCall:
        """Join any client to the server."""
        address = IPv4Address("TCP", host, 40000)
        server = None if self.factory is None else self.factory.buildProtocol(address)
        if server is None:
            client.makeConnection(FakeTransport(client, isServer=False))
            client.connectionLost(Failure(ConnectionDone()))
            return MemoryCall(client, None)
        server_io = FakeTransport(server, isServer=True, peerAddress=address)
        client_io = FakeTransport(client, isServer=False)
        pump = IOPump(client, server, client_io, server_io, False)
        server.makeConnection(server_io)
        client.makeConnection(client_io)
        pump.flush()
        return MemoryCall(client, pump)
