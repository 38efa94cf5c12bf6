# SPDX-License-Identifier: MIT
"""What a script can do with the channel that called it.

Owns the verbs: how each is put into words, and what its result means. Must not know
sockets or timers, nor what the service uses a verb for.

The verbs are those that the scripts of a call centre are made of, and each is called
after its command, as in starpy: a script of another kind needs nothing below this. The
service's own script sets variables only, as each command costs a round trip.

Each verb waits for Asterisk's reply and raises

- `AgiHungUp` when the channel is gone (Asterisk then still runs the verbs about
  variables, the database and applications, which is why no verb is refused here),
- `AgiCommandFailed` when Asterisk refused or could not do it,
- `AgiTimedOut`, `AgiConnectionLost` when there is no session any more,
- `LocalProtocolError` when a word cannot be sent; then nothing was.
"""

from __future__ import annotations

import math
import re
from typing import Final, NoReturn, Protocol

import attrs

from twisted.internet.defer import Deferred

from fastagi.agi.errors import AgiCommandFailed, AgiHungUp
from fastagi.wire.agi import AgiReply, AgiRequest, encode_command
from fastagi.wire.errors import LocalProtocolError

#: For what lasts as long as a prompt or a person takes: the session's end is the limit.
_AS_LONG_AS_IT_TAKES: Final = math.inf

#: ``res_agi.c:handle_getvariable`` copies a value into 1024 bytes, the last one NUL.
_GET_VARIABLE_BYTES: Final = 1023

_DEAD_CHANNEL: Final = 511
_NO_SUCH_APPLICATION: Final = -2

_VARIABLE = re.compile(r"[A-Za-z0-9_]+(\(.*\))?")
_APPLICATION = re.compile(r"[A-Za-z0-9_]+")


class Link(Protocol):
    """What a session needs of its connection."""

    @property
    def hung_up(self) -> bool:
        """Did Asterisk say that the channel was hung up?"""

    def send_command(
        self, line: bytes, timeout_s: float | None = None
    ) -> Deferred[AgiReply]:
        """Send a line; the Deferred fires with its reply."""


@attrs.define(kw_only=True, eq=False)
class AgiSession:
    """One run of a script, for one channel."""

    #: What Asterisk said at the start.
    request: AgiRequest
    _link: Link
    #: How long the request lay unread, in seconds: Asterisk has waited that long.
    unread_s: float = 0.0

    @property
    def hung_up(self) -> bool:
        """Has the channel been hung up, as far as Asterisk has told us?"""
        return self._link.hung_up

    async def command(self, *words: str, timeout_s: float | None = None) -> AgiReply:
        """Send any command and return its reply, which has code 200."""
        reply = await self._link.send_command(encode_command(*words), timeout_s)
        if reply.ok:
            return reply
        if reply.code == _DEAD_CHANNEL:
            raise AgiHungUp
        raise AgiCommandFailed(" ".join(words[:2]), reply)

    # -- variables

    async def get_variable(self, name: str) -> str | None:
        """Return a channel variable, or what a function such as CALLERID(num) reads.

        None if it is not set. A value longer than GET VARIABLE can carry is asked for
        once more in the way that has no such limit.
        """
        _check(_VARIABLE, name, "a variable")
        reply = await self.command("GET", "VARIABLE", name)
        if reply.result != 1:
            return None
        if len(reply.value.encode()) >= _GET_VARIABLE_BYTES:
            return await self.get_full_variable(f"${{{name}}}")
        return reply.value

    async def get_full_variable(self, expression: str, channel: str = "") -> str | None:
        """Return what the dialplan would make of an expression such as ``${EXTEN}``.

        Asterisk evaluates it: no part of it may come from outside. None if there is no
        such channel.
        """
        words = ["GET", "FULL", "VARIABLE", expression]
        if channel:
            words.append(channel)
        reply = await self.command(*words)
        return reply.value if reply.result == 1 else None

    async def set_variable(self, name: str, value: str) -> None:
        """Set a channel variable, or write a function such as CALLERID(name)."""
        _check(_VARIABLE, name, "a variable")
        await self.command("SET", "VARIABLE", name, value)

    # -- the channel

    async def answer(self) -> None:
        """Answer the channel, unless it is up already."""
        reply = await self.command("ANSWER")
        if reply.result == -1:
            await self._explain("ANSWER", reply)

    async def hangup(self) -> None:
        """Hang the channel up. What needs a living channel raises `AgiHungUp` then."""
        await self.command("HANGUP")

    async def channel_status(self) -> int:
        """Return the channel's state, 6 being up."""
        reply = await self.command("CHANNEL", "STATUS")
        return -1 if reply.result is None else reply.result

    async def goto(self, context: str, extension: str, priority: str = "1") -> None:
        """Say where the dialplan goes on when the script has ended."""
        await self.command("SET", "CONTEXT", context)
        await self.command("SET", "EXTENSION", extension)
        await self.command("SET", "PRIORITY", priority)

    async def set_callerid(self, callerid: str) -> None:
        """Set the caller's number, or ``"name" <number>``."""
        await self.command("SET", "CALLERID", callerid)

    async def set_music(self, on: bool, music_class: str = "") -> None:
        """Start or stop music on hold."""
        words = ["SET", "MUSIC", "on" if on else "off"]
        if music_class:
            words.append(music_class)
        await self.command(*words)

    async def set_autohangup(self, after_s: int) -> None:
        """Have the channel hung up after so many seconds; 0 takes it back."""
        await self.command("SET", "AUTOHANGUP", str(after_s))

    # -- prompts and digits

    async def stream_file(
        self, name: str, *, escape_digits: str = "", offset_samples: int = 0
    ) -> str:
        """Play a prompt to its end, or until one of the digits is pressed.

        Returns:
            The digit that ended it, "" if none did.

        Raises:
            AgiCommandFailed: There is no such prompt. The session goes on, but
                Asterisk will set AGISTATUS to FAILURE when it ends.
        """
        words = ["STREAM", "FILE", name, escape_digits]
        if offset_samples:
            words.append(str(offset_samples))
        return await self._digit(*words)

    async def get_data(self, name: str, *, timeout_s: float, max_digits: int) -> str:
        """Play a prompt and return the digits pressed until # or the time is over.

        The time runs anew with each digit.
        """
        reply = await self.command(
            *("GET", "DATA", name, _milliseconds(timeout_s), str(max_digits)),
            timeout_s=_AS_LONG_AS_IT_TAKES,
        )
        if reply.result_text == "-1":
            await self._explain("GET DATA", reply)
        return reply.result_text

    async def wait_for_digit(self, timeout_s: float) -> str:
        """Return the digit pressed within that time, "" if none was."""
        return await self._digit("WAIT", "FOR", "DIGIT", _milliseconds(timeout_s))

    async def say_digits(self, digits: str, *, escape_digits: str = "") -> str:
        """Say digits one by one; returns the digit that ended it, "" if none did."""
        return await self._digit("SAY", "DIGITS", digits, escape_digits)

    async def say_number(self, number: int, *, escape_digits: str = "") -> str:
        """Say a number; returns the digit that ended it, "" if none did."""
        return await self._digit("SAY", "NUMBER", str(number), escape_digits)

    # -- applications, console

    async def exec(
        self, application: str, *args: str, timeout_s: float | None = None
    ) -> int:
        """Run a dialplan application and return its result.

        One that returns 1 is followed by a usage block that belongs to nothing
        (``res_agi.c`` takes the result for its own RESULT_SHOWUSAGE), which ends the
        session. Of Asterisk's own applications only StatsD is known to do so.

        Args:
            application: Its name.
            args: Its arguments. One that holds a comma would be two to Asterisk and is
                refused; pass two. Some applications give ``&``, ``|`` or parentheses a
                meaning as well: nothing from outside belongs here unchecked.
            timeout_s: How long it may take; None leaves that to the session.

        Raises:
            AgiCommandFailed: There is no such application.
        """
        _check(_APPLICATION, application, "an application")
        if any("," in arg for arg in args):
            raise LocalProtocolError("an application's argument holds a comma")
        words = ["EXEC", application]
        if args:
            words.append(",".join(args))
        if timeout_s is None:
            timeout_s = _AS_LONG_AS_IT_TAKES
        reply = await self.command(*words, timeout_s=timeout_s)
        if reply.result == _NO_SUCH_APPLICATION or reply.result is None:
            raise AgiCommandFailed(f"EXEC {application}", reply)
        return reply.result

    async def verbose(self, text: str, level: int = 1) -> None:
        """Write a line on Asterisk's console."""
        await self.command("VERBOSE", text, str(level))

    async def noop(self) -> None:
        """Do nothing, but find out whether Asterisk still listens."""
        await self.command("NOOP")

    # -- AstDB

    async def database_get(self, family: str, key: str) -> str | None:
        """Return a value from AstDB, None if there is none."""
        reply = await self.command("DATABASE", "GET", family, key)
        return reply.value if reply.result == 1 else None

    async def database_put(self, family: str, key: str, value: str) -> None:
        """Write a value into AstDB."""
        reply = await self.command("DATABASE", "PUT", family, key, value)
        if reply.result != 1:
            raise AgiCommandFailed("DATABASE PUT", reply)

    async def database_del(self, family: str, key: str) -> None:
        """Delete a value from AstDB; there need not be one."""
        await self.command("DATABASE", "DEL", family, key)

    async def database_deltree(self, family: str, keytree: str = "") -> None:
        """Delete a family from AstDB, or the keys below one of its keys."""
        words = ["DATABASE", "DELTREE", family]
        if keytree:
            words.append(keytree)
        await self.command(*words)

    # -- inside

    async def _digit(self, *words: str) -> str:
        reply = await self.command(*words, timeout_s=_AS_LONG_AS_IT_TAKES)
        if reply.result == -1 or reply.result is None:
            await self._explain(" ".join(words[:2]), reply)
        return chr(reply.result) if reply.result else ""

    async def _explain(self, command: str, reply: AgiReply) -> NoReturn:
        """Find out what -1 means: a missing prompt, or a caller who is gone.

        ``HANGUP`` comes only after such a reply, so ask for something that Asterisk
        answers on a living channel alone.
        """
        await self.command("CHANNEL", "STATUS")
        raise AgiCommandFailed(command, reply)


def _check(pattern: re.Pattern[str], name: str, what: str) -> None:
    if pattern.fullmatch(name) is None:
        raise LocalProtocolError(f"{name!r} is no name of {what}")


def _milliseconds(seconds: float) -> str:
    return str(max(0, round(seconds * 1000)))
