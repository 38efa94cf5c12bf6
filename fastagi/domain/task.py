# SPDX-License-Identifier: MIT
"""The callback task: our durable promise to one caller, and where it may go.

Owns the words (kind, status, event) and the table of legal moves. Knows nothing
of SQL, Asterisk or the settings file; the time is always an argument.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import Attribute, field, frozen, validators

from fastagi.domain.reason import Code, Reason
from fastagi.errors import CallbackError


class Kind(StrEnum):
    """Why the task exists."""

    #: The caller pressed the key in the queue.
    REQUESTED = "requested"
    #: The caller was lost before any person answered.
    MISSED = "missed"
    #: An operator added it by hand.
    MANUAL = "manual"


class Status(StrEnum):
    """Where the task stands. The first two are open, the others are ends."""

    #: Waits until it is due and a member is free.
    PENDING = "pending"
    #: An attempt is under way.
    CALLING = "calling"
    #: Member and caller talked for at least the success duration.
    COMPLETED = "completed"
    #: The attempts are used up, or the number can not be called.
    FAILED = "failed"
    #: Too old before an attempt succeeded.
    EXPIRED = "expired"
    #: Ended by an operator.
    CANCELLED = "cancelled"
    #: The caller reached a person in another way.
    SERVED = "served"


OPEN: Final = frozenset({Status.PENDING, Status.CALLING})
ENDED: Final = frozenset(Status) - OPEN


class Move(StrEnum):
    """What can happen to a task; each is one row of its history."""

    CREATE = "create"
    #: Asked for again while open: the earlier place is kept.
    REPEAT = "repeat"
    BEGIN = "begin"
    #: A step of the attempt under way, told for the story's sake.
    PROGRESS = "progress"
    #: Due again later: after an attempt, or until the number may be called again.
    RETRY = "retry"
    COMPLETE = "complete"
    GIVE_UP = "give_up"
    EXPIRE = "expire"
    #: Asked to end while an attempt is under way; takes effect at its end.
    CANCEL_LATER = "cancel_later"
    CANCEL = "cancel"
    #: The caller was never told of the task and is back in line: it ends.
    TAKE_BACK = "take_back"
    #: The same while an attempt is under way; takes effect at its end.
    TAKE_BACK_LATER = "take_back_later"
    #: Reached a person in another way while an attempt is under way; likewise.
    SERVE_LATER = "serve_later"
    SERVE = "serve"
    #: Put back in line by an operator.
    REOPEN = "reopen"


#: The whole life of a task. What is not here can not happen.
TRANSITIONS: Final[dict[tuple[Status, Move], Status]] = {
    (Status.PENDING, Move.REPEAT): Status.PENDING,
    (Status.PENDING, Move.BEGIN): Status.CALLING,
    (Status.PENDING, Move.RETRY): Status.PENDING,
    (Status.PENDING, Move.GIVE_UP): Status.FAILED,
    (Status.PENDING, Move.EXPIRE): Status.EXPIRED,
    (Status.PENDING, Move.CANCEL): Status.CANCELLED,
    (Status.PENDING, Move.TAKE_BACK): Status.CANCELLED,
    (Status.PENDING, Move.SERVE): Status.SERVED,
    (Status.PENDING, Move.REOPEN): Status.PENDING,
    (Status.CALLING, Move.REPEAT): Status.CALLING,
    (Status.CALLING, Move.PROGRESS): Status.CALLING,
    (Status.CALLING, Move.RETRY): Status.PENDING,
    (Status.CALLING, Move.COMPLETE): Status.COMPLETED,
    (Status.CALLING, Move.GIVE_UP): Status.FAILED,
    (Status.CALLING, Move.EXPIRE): Status.EXPIRED,
    (Status.CALLING, Move.CANCEL_LATER): Status.CALLING,
    (Status.CALLING, Move.CANCEL): Status.CANCELLED,
    (Status.CALLING, Move.TAKE_BACK_LATER): Status.CALLING,
    (Status.CALLING, Move.TAKE_BACK): Status.CANCELLED,
    (Status.CALLING, Move.SERVE_LATER): Status.CALLING,
    (Status.CALLING, Move.SERVE): Status.SERVED,
    (Status.FAILED, Move.REOPEN): Status.PENDING,
    (Status.EXPIRED, Move.REOPEN): Status.PENDING,
    (Status.CANCELLED, Move.REOPEN): Status.PENDING,
}


#: Moves that an operator asks for, as said to the operator.
_SAID: Final = {
    Move.CANCEL: "be cancelled",
    Move.CANCEL_LATER: "be cancelled",
    Move.REOPEN: "be put back in line",
}


class IllegalMove(CallbackError):
    """The task can not do that from where it stands."""

    def __init__(self, status: Status, move: Move) -> None:
        what = _SAID.get(move, move.replace("_", " "))
        super().__init__(f"a task that is {status} can not {what}")
        self.status = status
        self.move = move


def after(status: Status, move: Move) -> Status:
    """Return the status that ``move`` leads to.

    Raises:
        IllegalMove: the table has no such arrow.
    """
    try:
        return TRANSITIONS[status, move]
    except KeyError:
        raise IllegalMove(status, move) from None


def _aware(_instance: object, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and value.utcoffset() is None:
        raise ValueError(f"{attribute.name}: a time without a zone")


@frozen(kw_only=True)
class NewTask:
    """What is known when a task is made. All times are aware UTC."""

    kind: Kind
    #: The number as it will be dialled: digits, perhaps a leading ``+``.
    number: str
    #: The same for every form of the number that means the same caller.
    number_key: str
    #: Name to show the member; may be empty.
    name: str = ""
    #: Asterisk's language of the caller's channel; may be empty.
    language: str = ""
    #: The queue the caller was in, as in queues.conf and our settings.
    queue: str
    #: Place in the line: when the caller joined it.
    joined_at: datetime = field(validator=_aware)
    due_at: datetime = field(validator=_aware)
    expires_at: datetime = field(validator=_aware)
    #: Linkedid of the call the task came from; empty for one made by hand.
    linkedid: str = ""
    #: How it came about, for the task's story.
    why: Reason


@frozen(kw_only=True)
class CallbackTask:
    """One stored task."""

    id: int
    kind: Kind
    status: Status
    number: str
    number_key: str
    name: str
    language: str
    queue: str
    linkedid: str
    joined_at: datetime = field(validator=_aware)
    created_at: datetime = field(validator=_aware)
    due_at: datetime = field(validator=_aware)
    expires_at: datetime = field(validator=_aware)
    ended_at: datetime | None = field(default=None, validator=_aware)
    #: Attempts that count: those in which the caller was dialled.
    attempts: int = field(default=0, validator=validators.ge(0))
    #: Attempts that cost the caller nothing: no member answered.
    member_attempts: int = field(default=0, validator=validators.ge(0))
    #: Why it stands where it stands.
    why: Reason
    #: An operator asked to end it while an attempt was under way.
    cancel_requested: bool = False
    #: The caller reached a person in another way while an attempt was under way.
    served: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the promise still stands."""
        return self.status in OPEN

    @property
    def reason(self) -> str:
        """Why it stands where it stands, in words."""
        return str(self.why)

    @property
    def was_taken_back(self) -> bool:
        """Whether it ended because its caller was never told of it."""
        return self.status is Status.CANCELLED and self.why.code is Code.TAKEN_BACK


@frozen(kw_only=True)
class TaskEvent:
    """One line of a task's story; never changed, never deleted by normal work."""

    task_id: int
    at: datetime = field(validator=_aware)
    move: Move
    #: Where the task stood after it.
    status: Status
    #: What happened and why.
    why: Reason
    attempt_id: int | None = None

    @property
    def text(self) -> str:
        """What happened and why, in words."""
        return str(self.why)
