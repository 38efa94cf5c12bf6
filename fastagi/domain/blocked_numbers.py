# SPDX-License-Identifier: MIT
"""Blocked numbers, and refusals of requests."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import Kind


@frozen(kw_only=True)
class BlockedNumber:
    """A number that is never called, in any of its forms."""

    number: str
    number_key: str
    #: The reason given by the operator who blocked it; may be empty.
    reason: str
    at: datetime

    @property
    def why(self) -> Reason:
        """The reason why a task of this number ends, or is refused."""
        if not self.reason:
            return because(Code.BLOCKED)
        return because(Code.BLOCKED, text=self.reason)


@frozen(kw_only=True)
class Refusal:
    """A request or missed call that is not called back."""

    at: datetime
    #: The kind of task that was requested.
    kind: Kind
    queue: str
    #: The caller ID, without unsafe characters; empty if it was withheld.
    number: str
    why: Reason
    #: Linkedid of the call.
    linkedid: str
    #: Id in the database; 0 before it is stored.
    id: int = field(default=0, eq=False)

    @property
    def reason(self) -> str:
        """The reason in words."""
        return str(self.why)
