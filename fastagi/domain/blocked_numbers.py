# SPDX-License-Identifier: MIT
"""What keeps a number from being called besides its form: blocked, or refused."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import Kind


@frozen(kw_only=True)
class BlockedNumber:
    """A number that is never called, in whatever form it is written."""

    number: str
    number_key: str
    #: Why, in the words of who blocked it; may be empty.
    reason: str
    at: datetime

    @property
    def why(self) -> Reason:
        """Why a task of this number ends, or is not made."""
        if not self.reason:
            return because(Code.BLOCKED)
        return because(Code.BLOCKED, text=self.reason)


@frozen(kw_only=True)
class Refusal:
    """Somebody who is not called back."""

    at: datetime
    #: In what way it was asked for.
    kind: Kind
    queue: str
    #: What was shown as caller ID, in a safe form; empty if it was withheld.
    number: str
    why: Reason
    #: Linkedid of the call.
    linkedid: str
    #: In the database; 0 before it is there.
    id: int = field(default=0, eq=False)

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.why)
