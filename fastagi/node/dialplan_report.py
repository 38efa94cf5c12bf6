# SPDX-License-Identifier: MIT
"""The dialplan's report on the outcome of the client's leg.

The dialplan sends it in a user event and stores it in AstDB. Missing or malformed
fields count as not reported: an older dialplan may still be loaded, and an entry of an
older one may be read after an update.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from fastagi.ami.events import UserEvent
from fastagi.dialplan import AgentSaid, ClientSaid
from fastagi.domain.attempt import Progress
from fastagi.domain.reason import Code, because

#: Why an agent did not accept a callback, by what the agent said by a key.
_NOT_ACCEPTED: Final = {
    AgentSaid.LATER.value: Code.AGENT_LATER,
    AgentSaid.CANNOT.value: Code.AGENT_CANNOT,
    AgentSaid.NOTHING.value: Code.AGENT_PRESSED_NO_KEY,
}
#: Why a client who answered was not connected, by what came of asking for a key.
_NOT_CONNECTED: Final = {
    ClientSaid.NOTHING.value: Code.CLIENT_PRESSED_NO_KEY,
    ClientSaid.MACHINE.value: Code.CLIENT_IS_MACHINE,
    ClientSaid.GONE.value: Code.CLIENT_GONE_AT_ONCE,
    ClientSaid.AGENT_GONE.value: Code.AGENT_HUNG_UP_BEFORE_CONNECTING,
}
#: Number of digits from which a number is malformed.
_TOO_LONG: Final = 12
#: The same for a time in milliseconds.
_TOO_LATE: Final = 15


@frozen(kw_only=True)
class Outcome:
    """One report of the context ``callback-outcome``."""

    #: Empty: Dial() never ran.
    dialstatus: str
    talk_s: float
    #: PLAYBACKSTATUS of the alert.
    alert_status: str
    #: HANGUPCAUSE; 0 if not reported.
    cause: int
    #: SIP codes of the legs that were tried.
    sip: tuple[int, ...]
    #: Whether a phone answered with another destination, which was not called.
    forwarded: bool
    #: When the client answered, in epoch seconds of Asterisk's clock; 0 if not
    #: reported.
    answered_at: float = 0.0
    #: What the agent said by a key; empty if no key was asked for.
    agent_said: str = ""
    #: What came of asking the client for a key; empty if no key was asked for.
    client_said: str = ""

    @classmethod
    def said(cls, event: UserEvent) -> Outcome:
        """Return the outcome in a user event."""
        return cls._read(
            event.dial_status,
            event.talk_ms,
            event.alert_status,
            event.cause,
            event.sip,
            event.forwarded,
            event.answered_ms,
            event.agent_said,
            event.client_said,
        )

    @classmethod
    def kept(cls, value: str) -> Outcome:
        """Return the outcome in an AstDB entry; older dialplans write fewer fields."""
        return cls._read(*(value.split(":") + [""] * 8)[:9])

    @classmethod
    def _read(
        cls,
        dialstatus: str,
        talk_ms: str,
        alert_status: str,
        cause: str,
        sip: str,
        forwarded: str,
        answered_ms: str,
        agent_said: str,
        client_said: str,
    ) -> Outcome:
        return cls(
            dialstatus=dialstatus,
            talk_s=_number(talk_ms) / 1000,
            alert_status=alert_status,
            cause=_number(cause),
            sip=tuple(code for code in map(_number, sip.split("+")) if code),
            forwarded=forwarded == "1",
            answered_at=_number(answered_ms, _TOO_LATE) / 1000,
            agent_said=agent_said,
            client_said=client_said,
        )

    def tell(self, progress: Progress, at: float) -> None:
        """Add the outcome to the progress of an attempt."""
        if self.forwarded:
            progress.forwarded = True
        if self.agent_said in _NOT_ACCEPTED:
            progress.not_accepted = _NOT_ACCEPTED[self.agent_said]
        said, _, cause = self.client_said.partition("-")
        if said in _NOT_CONNECTED:
            more = {"amd_cause": cause} if cause else {}
            progress.not_connected = because(_NOT_CONNECTED[said], **more)
        if said == ClientSaid.CONFIRMED and not self.answered_at:
            # Whoever is dialled second talks at once.
            progress.client_first = True
        progress.caller_reported(
            self.dialstatus,
            self.talk_s,
            at,
            cause=self.cause,
            sip=self.sip,
            answered_at=self.answered_at,
        )


def _number(text: str, too_long: int = _TOO_LONG) -> int:
    return int(text) if text.isdecimal() and len(text) < too_long else 0
