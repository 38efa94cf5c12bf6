# SPDX-License-Identifier: MIT
"""Which talk between a client and a person of ours serves: one rule, live and past.

A client who rang us and reached a person is served. One whom we called by hand is
served by a talk that would make a callback a success. All times are epoch seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from attrs import frozen

from fastagi.domain.reason import Code, Reason, Value, because
from fastagi.domain.task import Kind


class Contact(Enum):
    """Who called whom."""

    #: The client called us and a person answered.
    RANG = "rang"
    #: We called the client, and somebody answered.
    CALLED = "called"


@frozen(kw_only=True)
class PastContact:
    """A client and a person of ours spoke to each other."""

    contact: Contact
    #: The client's.
    key: str
    who: str
    at: float
    talk_s: float
    #: Known by more than queue_log, into which a caller may be able to write.
    confirmed: bool = True

    @property
    def why(self) -> Reason:
        """How the client was served."""
        who: dict[str, Value] = {"who": self.who} if self.who else {}
        if self.contact is Contact.RANG:
            return because(Code.CLIENT_RANG_AGAIN, **who)
        return because(Code.CLIENT_CALLED_BY_HAND, talk_s=round(self.talk_s), **who)

    def missing_s(self, success_duration_s: float) -> float:
        """Return how much longer the talk must be to serve the client; 0 if it does.

        Args:
            success_duration_s: how long the talk of a callback must be.
        """
        if self.contact is Contact.RANG:
            return 0.0
        return max(0.0, success_duration_s - self.talk_s)

    def may_end(self, kind: Kind) -> bool:
        """Whether it is certain enough to end a task of that kind.

        A request is a promise: queue_log alone does not end it.
        """
        return self.confirmed or kind is Kind.MISSED


def served_after(
    at: float, contacts: Iterable[PastContact], success_duration_s: float
) -> PastContact | None:
    """Return the last contact that served a client since a moment; None if none did.

    Args:
        at: the moment, such as when a call of the client was missed.
        contacts: the client's.
        success_duration_s: how long the talk of a callback must be.
    """
    serving = [
        contact
        for contact in contacts
        if contact.at >= at and not contact.missing_s(success_duration_s)
    ]
    return max(serving, key=lambda contact: contact.at, default=None)
