# SPDX-License-Identifier: MIT
"""The AGI commands that a script can send to the channel that called it.

This module writes each command and interprets its result. It does not know sockets or
timers, nor what the service uses a command for.

The methods cover the usual commands of call-centre scripts and are named after them,
as in starpy, so a new script needs nothing below this module. The service's own
scripts mostly set variables only, all in one command, as each costs a round trip.

Each method waits for Asterisk's reply and raises

- `AgiHungUp` if the channel is gone (Asterisk then still runs the commands about
  variables, the database and applications, so no command is refused here),
- `AgiCommandFailed` if Asterisk refused the command or it failed,
- `AgiTimedOut` or `AgiConnectionLost` if the session has ended,
- `LocalProtocolError` if an argument can not be sent; then nothing was sent.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Final, NoReturn, Protocol

import attrs

from twisted.internet.defer import Deferred

from fastagi.agi.errors import AgiCommandFailed, AgiHungUp
from fastagi.wire.agi import AgiReply, AgiRequest, encode_command
from fastagi.wire.errors import LocalProtocolError

#: Time-out of commands that wait for a prompt or a person: only the session's limit.
_UNTIL_SESSION_ENDS: Final = math.inf

#: ``res_agi.c:handle_getvariable`` copies a value into 1024 bytes, the last one NUL.
_GET_VARIABLE_BYTES: Final = 1023

_DEAD_CHANNEL: Final = 511
_NO_SUCH_APPLICATION: Final = -2

_VARIABLE = re.compile(r"[A-Za-z0-9_]+(\(.*\))?")
_APPLICATION = re.compile(r"[A-Za-z0-9_]+")
#: Names and values that MSet() sets unchanged; in others it may see a separator.
_SIMPLE_NAME = re.compile(r"[A-Za-z0-9_]+")
_SIMPLE_VALUE = re.compile(r"[A-Za-z0-9_./&:@*#+-]*")
#: Maximum number of variables of one MSet().
_MOST_AT_ONCE: Final = 24


class Link(Protocol):
    """The part of a connection that a session uses."""

    @property
    def hung_up(self) -> bool:
        """Whether Asterisk has reported that the channel was hung up."""

    def send_command(
        self, line: bytes, timeout_s: float | None = None
    ) -> Deferred[AgiReply]:
        """Send a line; return a Deferred of its reply."""


@attrs.define(kw_only=True, eq=False)
class AgiSession:
    """One run of a script, for one channel."""

    #: The header block.
    request: AgiRequest
    _link: Link
    #: Time that the request waited unread, in seconds; Asterisk waited as long.
    unread_s: float = 0.0

    @property
    def hung_up(self) -> bool:
        """Whether Asterisk has reported that the channel was hung up."""
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

        Returns None if it is not set. If the value is longer than GET VARIABLE can
        return, it is read again with GET FULL VARIABLE, which has no such limit.
        """
        _check(_VARIABLE, name, "a variable")
        reply = await self.command("GET", "VARIABLE", name)
        if reply.result != 1:
            return None
        if len(reply.value.encode()) >= _GET_VARIABLE_BYTES:
            return await self.get_full_variable(f"${{{name}}}")
        return reply.value

    async def get_full_variable(self, expression: str, channel: str = "") -> str | None:
        """Return the value of an expression such as ``${EXTEN}``.

        Asterisk evaluates the expression, so no part of it may come from outside.
        Returns None if there is no such channel.
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

    async def set_variables(self, *variables: tuple[str, str]) -> None:
        """Set channel variables in this order, in one round trip if possible.

        Asterisk answers one command before it reads the next, so each SET VARIABLE
        costs a round trip. The application MSet() sets several, but gives commas,
        quotes, parentheses and backslashes in a value a meaning. If there are any, each
        variable has its own command.
        """
        assigned = _assigned(variables)
        if assigned:
            await self.exec("MSet", *assigned)
            return
        for name, value in variables:
            await self.set_variable(name, value)

    # -- the channel

    async def answer(self) -> None:
        """Answer the channel, unless it is answered already."""
        reply = await self.command("ANSWER")
        if reply.result == -1:
            await self._explain("ANSWER", reply)

    async def hangup(self) -> None:
        """Hang up the channel. Commands that need it raise `AgiHungUp` from then on."""
        await self.command("HANGUP")

    async def channel_status(self) -> int:
        """Return the number of the channel's state (6 is up); -1 if there is none."""
        reply = await self.command("CHANNEL", "STATUS")
        return -1 if reply.result is None else reply.result

    async def goto(self, context: str, extension: str, priority: str = "1") -> None:
        """Set where the dialplan continues after the script."""
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
        """Hang up the channel after this many seconds; 0 cancels that."""
        await self.command("SET", "AUTOHANGUP", str(after_s))

    # -- prompts and digits

    async def stream_file(
        self, name: str, *, escape_digits: str = "", offset_samples: int = 0
    ) -> str:
        """Play a prompt to its end, or until one of the digits is pressed.

        Returns:
            The digit that was pressed; "" if none was.

        Raises:
            AgiCommandFailed: There is no such prompt. The session continues, but
                Asterisk sets AGISTATUS to FAILURE when it ends.
        """
        words = ["STREAM", "FILE", name, escape_digits]
        if offset_samples:
            words.append(str(offset_samples))
        return await self._digit(*words)

    async def get_data(self, name: str, *, timeout_s: float, max_digits: int) -> str:
        """Play a prompt; return the digits that are pressed before # or the time-out.

        The time-out starts again with each digit.
        """
        reply = await self.command(
            *("GET", "DATA", name, _milliseconds(timeout_s), str(max_digits)),
            timeout_s=_UNTIL_SESSION_ENDS,
        )
        if reply.result_text == "-1":
            await self._explain("GET DATA", reply)
        return reply.result_text

    async def wait_for_digit(self, timeout_s: float) -> str:
        """Wait for a digit and return it; "" if none is pressed in time."""
        return await self._digit("WAIT", "FOR", "DIGIT", _milliseconds(timeout_s))

    async def say_digits(self, digits: str, *, escape_digits: str = "") -> str:
        """Say digits one by one; return the escape digit that was pressed, or ""."""
        return await self._digit("SAY", "DIGITS", digits, escape_digits)

    async def say_number(self, number: int, *, escape_digits: str = "") -> str:
        """Say a number; return the escape digit that was pressed, or ""."""
        return await self._digit("SAY", "NUMBER", str(number), escape_digits)

    # -- applications, console

    async def exec(
        self, application: str, *args: str, timeout_s: float | None = None
    ) -> int:
        """Run a dialplan application and return its result.

        If an application returns 1, Asterisk sends a usage text after the reply
        (``res_agi.c`` confuses the result with its own RESULT_SHOWUSAGE), which ends
        the session. Of Asterisk's own applications only StatsD is known to do so.

        Args:
            application: The name of the application.
            args: Its arguments. An argument with a comma is refused, as Asterisk would
                split it: pass two. ``&``, ``|`` and parentheses have a meaning for some
                applications: check whatever comes from outside.
            timeout_s: Time limit in seconds; None for the session's limit only.

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
            timeout_s = _UNTIL_SESSION_ENDS
        reply = await self.command(*words, timeout_s=timeout_s)
        if reply.result == _NO_SUCH_APPLICATION or reply.result is None:
            raise AgiCommandFailed(f"EXEC {application}", reply)
        return reply.result

    async def verbose(self, text: str, level: int = 1) -> None:
        """Write a line on Asterisk's console."""
        await self.command("VERBOSE", text, str(level))

    async def noop(self) -> None:
        """Do nothing; this shows whether Asterisk still answers."""
        await self.command("NOOP")

    # -- AstDB

    async def database_get(self, family: str, key: str) -> str | None:
        """Return a value from AstDB; None if there is no such key."""
        reply = await self.command("DATABASE", "GET", family, key)
        return reply.value if reply.result == 1 else None

    async def database_put(self, family: str, key: str, value: str) -> None:
        """Write a value into AstDB."""
        reply = await self.command("DATABASE", "PUT", family, key, value)
        if reply.result != 1:
            raise AgiCommandFailed("DATABASE PUT", reply)

    async def database_del(self, family: str, key: str) -> None:
        """Delete a value from AstDB, if there is one."""
        await self.command("DATABASE", "DEL", family, key)

    async def database_deltree(self, family: str, keytree: str = "") -> None:
        """Delete a family from AstDB, or the keys below one of its keys."""
        words = ["DATABASE", "DELTREE", family]
        if keytree:
            words.append(keytree)
        await self.command(*words)

    # -- internals

    async def _digit(self, *words: str) -> str:
        reply = await self.command(*words, timeout_s=_UNTIL_SESSION_ENDS)
        if reply.result == -1 or reply.result is None:
            await self._explain(" ".join(words[:2]), reply)
        return chr(reply.result) if reply.result else ""

    async def _explain(self, command: str, reply: AgiReply) -> NoReturn:
        """Raise what a result of -1 means: a missing prompt, or a hang-up.

        ``HANGUP`` comes only after such a reply. So this sends a command that Asterisk
        carries out only if the channel is not hung up.
        """
        await self.command("CHANNEL", "STATUS")
        raise AgiCommandFailed(command, reply)


@lru_cache(maxsize=256)
def _assigned(variables: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return the arguments with which MSet() sets variables; none if it can not."""
    if not 1 < len(variables) <= _MOST_AT_ONCE:
        return ()
    if not all(
        _SIMPLE_NAME.fullmatch(name) and _SIMPLE_VALUE.fullmatch(value)
        for name, value in variables
    ):
        return ()
    return tuple(f"{name}={value}" for name, value in variables)


def _check(pattern: re.Pattern[str], name: str, what: str) -> None:
    if pattern.fullmatch(name) is None:
        raise LocalProtocolError(f"{name!r} is no name of {what}")


def _milliseconds(seconds: float) -> str:
    return str(max(0, round(seconds * 1000)))
