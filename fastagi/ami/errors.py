# SPDX-License-Identifier: MIT
"""How talking to the manager can fail, by what the caller can do about it.

Owns the exceptions of `fastagi.ami`. What must not be sent at all is refused earlier,
as `fastagi.wire.errors.LocalProtocolError`.
"""

from __future__ import annotations

from typing import Final

from fastagi.ami.actions import Action
from fastagi.errors import CallbackError
from fastagi.wire.ami import AmiMessage


class NotConnected(CallbackError):
    """There is no connection to the Asterisk manager.

    Attributes:
        sent: False when nothing was sent. True when the connection went while the
            action waited for its reply: Asterisk may or may not have carried it out,
            and must be asked before it is sent again.
    """

    def __init__(self, message: str = "", *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


#: What Asterisk answers to every action from ``core stop gracefully`` until it ends, or
#: until ``core abort shutdown``.
_SHUTTING_DOWN: Final = "Asterisk is shutting down"


class ActionFailed(CallbackError):
    """Asterisk read the action and refused it.

    Attributes:
        action: what was asked.
        response: what Asterisk answered.
    """

    def __init__(self, action: Action, response: AmiMessage, message: str = "") -> None:
        reason = message or response.get("Message") or "no reason given"
        super().__init__(f"Asterisk refused {action.name}: {reason}")
        self.action = action
        self.response = response

    @property
    def shutting_down(self) -> bool:
        """Whether Asterisk refuses every action, as it is shutting down.

        That says nothing of what was asked.
        """
        return self.response.get("Message").rstrip(".") == _SHUTTING_DOWN


class ActionTimedOut(CallbackError):
    """No reply came in time. Asterisk may have carried the action out, or still will.

    Attributes:
        action: what was asked.
        timeout_s: how long was waited.
    """

    def __init__(self, action: Action, timeout_s: float) -> None:
        super().__init__(f"Asterisk did not answer {action.name} in {timeout_s:g} s")
        self.action = action
        self.timeout_s = timeout_s


class LoginRefused(CallbackError):
    """Asterisk did not let us in as this manager user."""
