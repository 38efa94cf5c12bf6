# SPDX-License-Identifier: MIT
"""The exceptions of `fastagi.ami`, sorted by what the calling code can do about them.

An action that must not be sent raises `fastagi.wire.errors.LocalProtocolError` earlier.
"""

from __future__ import annotations

from typing import Final

from fastagi.ami.actions import Action
from fastagi.errors import CallbackError
from fastagi.wire.ami import AmiMessage


class NotConnected(CallbackError):
    """There is no connection to the Asterisk manager.

    Attributes:
        sent: False if nothing was sent. True if the connection was lost while the
            action waited for its reply: it is unknown whether Asterisk carried it out,
            so ask Asterisk before sending the action again.
    """

    def __init__(self, message: str = "", *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


#: Asterisk's answer to every action between ``core stop gracefully`` and its end (or
#: ``core abort shutdown``).
_SHUTTING_DOWN: Final = "Asterisk is shutting down"


class ActionFailed(CallbackError):
    """Asterisk read the action and refused it.

    Attributes:
        action: the refused action.
        response: Asterisk's response.
    """

    def __init__(self, action: Action, response: AmiMessage, message: str = "") -> None:
        reason = message or response.get("Message") or "no reason given"
        super().__init__(f"Asterisk refused {action.name}: {reason}")
        self.action = action
        self.response = response

    @property
    def shutting_down(self) -> bool:
        """Whether Asterisk refuses every action because it is shutting down.

        Then the refusal says nothing about this action.
        """
        return self.response.get("Message").rstrip(".") == _SHUTTING_DOWN


class ActionTimedOut(CallbackError):
    """No reply came in time. Asterisk may have carried out the action, or still will.

    Attributes:
        action: the action without a reply.
        timeout_s: the time-out, in seconds.
    """

    def __init__(self, action: Action, timeout_s: float) -> None:
        super().__init__(f"Asterisk did not answer {action.name} in {timeout_s:g} s")
        self.action = action
        self.timeout_s = timeout_s


class LoginRefused(CallbackError):
    """Asterisk refused the login of the manager user."""
