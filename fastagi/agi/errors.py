# SPDX-License-Identifier: MIT
"""How an AGI session can go wrong, by what a script can do about it.

Owns the exceptions of `fastagi.agi`. Must not know why a script asked for something.
"""

from __future__ import annotations

from fastagi.errors import CallbackError
from fastagi.wire.agi import AgiReply


class AgiError(CallbackError):
    """The AGI session cannot go on. See the subclasses for why."""


class AgiHungUp(AgiError):
    """The channel was hung up: nobody is there to hear or press anything."""


class AgiConnectionLost(AgiError):
    """The connection to Asterisk ended before the script did."""


class AgiMisunderstood(AgiConnectionLost):
    """Asterisk sent something that is not AGI, so the connection was given up."""


class AgiTimedOut(AgiError):
    """Asterisk took too long, so the connection was given up."""


class AgiCommandFailed(AgiError):
    """Asterisk refused a command, or could not do it. The session goes on."""

    def __init__(self, command: str, reply: AgiReply) -> None:
        answer = f"result={reply.result_text}" if reply.ok else reply.data
        super().__init__(f"{command}: {reply.code} {answer.partition(chr(10))[0]}")
        self.command = command
        self.reply = reply
