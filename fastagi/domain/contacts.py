# SPDX-License-Identifier: MIT
"""Which talks count as "served": one rule for live calls and histories.

A client who called and reached a person is served. A client whom a person called by
hand is served if the talk is long enough for a successful callback. All times are epoch
seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from attrs import frozen

from fastagi.domain.reason import Code, Reason, Value, because
from fastagi.domain.task import Kind


class Contact(Enum):
    """Who called whom."""

    #: The client called, and a person answered.
    RANG = "rang"
    #: A person called the client, and somebody answered.
    CALLED = "called"


@frozen(kw_only=True)
class PastContact:
    """A past talk between a client and a person at this Asterisk."""

    contact: Contact
    #: The client key.
    key: str
    #: The name or interface of the person; may be empty.
    who: str
    at: float
    talk_s: float
    #: Whether other records than queue_log show it; a caller may be able to forge lines
    #: of queue_log.
    confirmed: bool = True

    @property
    def why(self) -> Reason:
        """The reason that says how the client was served."""
        who: dict[str, Value] = {"who": self.who} if self.who else {}
        if self.contact is Contact.RANG:
            return because(Code.CLIENT_RANG_AGAIN, **who)
        return because(Code.CLIENT_CALLED_BY_HAND, talk_s=round(self.talk_s), **who)

    def missing_s(self, success_duration_s: float) -> float:
        """Return how many seconds the talk is too short to serve the client, or 0.

        Args:
            success_duration_s: minimum talk time of a successful callback.
        """
        if self.contact is Contact.RANG:
            return 0.0
        return max(0.0, success_duration_s - self.talk_s)

    def may_end(self, kind: Kind) -> bool:
        """Whether it is certain enough to end a task of this kind.

        A request is a promise, so queue_log alone does not end it.
        """
        return self.confirmed or kind is Kind.MISSED


def served_after(
    at: float, contacts: Iterable[PastContact], success_duration_s: float
) -> PastContact | None:
    """Return the last contact that served a client after a time; None if none did.

    Args:
        at: the time, such as when a call of the client was missed.
        contacts: the contacts of the client.
        success_duration_s: minimum talk time of a successful callback.
    """
    serving = [
        contact
        for contact in contacts
        if contact.at >= at and not contact.missing_s(success_duration_s)
    ]
    return max(serving, key=lambda contact: contact.at, default=None)
