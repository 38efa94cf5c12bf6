# SPDX-License-Identifier: MIT
"""How the dialplan tells what became of the client's leg.

It says so in a user event and keeps the same in AstDB. Whatever is missing or makes no
sense counts as not told: an older dialplan may still be loaded, and what an older one
kept may be read after an update.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from fastagi.calls.attempt import Progress
from fastagi.wire.ami import AmiMessage

#: More digits than any of the numbers has.
_TOO_LONG: Final = 12


@frozen(kw_only=True)
class Outcome:
    """One report of the context ``callback-outcome``."""

    #: Empty: Dial() never ran.
    dialstatus: str
    talk_s: float
    #: PLAYBACKSTATUS of the alert.
    alert_status: str
    #: HANGUPCAUSE; 0 if none was told.
    cause: int
    #: SIP's answers to the calls that were tried.
    sip: tuple[int, ...]
    #: A phone answered with another destination, and nobody was called there.
    forwarded: bool

    @classmethod
    def said(cls, event: AmiMessage) -> Outcome:
        """Read the user event."""
        names = ("DialStatus", "TalkMs", "AlertStatus", "Cause", "SIP", "Forwarded")
        return cls._read(*map(event.get, names))

    @classmethod
    def kept(cls, value: str) -> Outcome:
        """Read the entry in AstDB; older versions of the dialplan end it earlier."""
        return cls._read(*(value.split(":") + [""] * 5)[:6])

    @classmethod
    def _read(
        cls,
        dialstatus: str,
        talk_ms: str,
        alert_status: str,
        cause: str,
        sip: str,
        forwarded: str,
    ) -> Outcome:
        return cls(
            dialstatus=dialstatus,
            talk_s=_number(talk_ms) / 1000,
            alert_status=alert_status,
            cause=_number(cause),
            sip=tuple(code for code in map(_number, sip.split("+")) if code),
            forwarded=forwarded == "1",
        )

    def tell(self, progress: Progress, at: float) -> None:
        """Add it to what is known of an attempt."""
        if self.forwarded:
            progress.forwarded = True
        progress.caller_reported(
            self.dialstatus, self.talk_s, at, cause=self.cause, sip=self.sip
        )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < _TOO_LONG else 0
