# SPDX-License-Identifier: MIT
"""The exceptions of `fastagi.agi`, sorted by what a script can do about them."""

from __future__ import annotations

from fastagi.errors import CallbackError
from fastagi.wire.agi import AgiReply


class AgiError(CallbackError):
    """The AGI session can not continue. The subclasses say why."""


class AgiHungUp(AgiError):
    """The channel was hung up: the caller is gone."""


class AgiConnectionLost(AgiError):
    """The connection to Asterisk ended before the script did."""


class AgiMisunderstood(AgiConnectionLost):
    """Asterisk sent something that is not AGI, so the connection is closed."""


class AgiTimedOut(AgiError):
    """Asterisk took too long, so the connection is closed."""


class AgiCommandFailed(AgiError):
    """Asterisk refused a command, or it failed. The session continues."""

    def __init__(self, command: str, reply: AgiReply) -> None:
        answer = f"result={reply.result_text}" if reply.ok else reply.data
        super().__init__(f"{command}: {reply.code} {answer.partition(chr(10))[0]}")
        self.command = command
        self.reply = reply
