# SPDX-License-Identifier: MIT
"""The callback task: the stored promise to call one client back.

Defines its kinds, statuses and moves, and the table of allowed moves. Independent of
SQL, Asterisk or the settings; the time is always an argument.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import Attribute, field, frozen, validators

from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.slots import SlotLimit
from fastagi.domain.turns import Turn
from fastagi.errors import CallbackError


class Kind(StrEnum):
    """Why the task exists."""

    #: The caller pressed the key in the queue.
    REQUESTED = "requested"
    #: The call ended before a person answered.
    MISSED = "missed"
    #: An operator added it by hand.
    MANUAL = "manual"


class Status(StrEnum):
    """The status of a task. The first two are open; with the others it has ended."""

    #: Waits until it is due and an agent is free.
    PENDING = "pending"
    #: An attempt is in progress.
    CALLING = "calling"
    #: Agent and client talked for at least the success duration.
    COMPLETED = "completed"
    #: The attempts are used up, or the number cannot be called.
    FAILED = "failed"
    #: It expired before an attempt succeeded.
    EXPIRED = "expired"
    #: An operator ended it.
    CANCELLED = "cancelled"
    #: The client reached a person in another way.
    SERVED = "served"


OPEN: Final = frozenset({Status.PENDING, Status.CALLING})
ENDED: Final = frozenset(Status) - OPEN


class Move(StrEnum):
    """What can happen to a task; each move is one event of its history."""

    CREATE = "create"
    #: Requested again while open; it keeps its place in line.
    REPEAT = "repeat"
    BEGIN = "begin"
    #: A step of the attempt in progress, or what happened to a waiting task; for the
    #: history only.
    PROGRESS = "progress"
    #: Due again later: after an attempt, or until the number may be called again.
    RETRY = "retry"
    COMPLETE = "complete"
    GIVE_UP = "give_up"
    EXPIRE = "expire"
    #: Cancelled during an attempt; the task ends when the attempt ends.
    CANCEL_LATER = "cancel_later"
    CANCEL = "cancel"
    #: The caller was not told "accepted" and is back in line, so the task ends.
    TAKE_BACK = "take_back"
    #: Taken back during an attempt; the task ends when the attempt ends.
    TAKE_BACK_LATER = "take_back_later"
    #: The client was served during an attempt; the task ends when the attempt ends.
    SERVE_LATER = "serve_later"
    SERVE = "serve"
    #: Put back in line by an operator.
    REOPEN = "reopen"
    #: Put at another place in line by an operator.
    MOVE = "move"
    #: Assigned to one agent by an operator.
    ASSIGN = "assign"
    #: Assigned to nobody any more: any agent is asked.
    RELEASE = "release"
    #: An operator wrote a note; nothing else changes.
    NOTE = "note"


#: All allowed moves, and the status after each.
TRANSITIONS: Final[dict[tuple[Status, Move], Status]] = {
    (Status.PENDING, Move.REPEAT): Status.PENDING,
    (Status.PENDING, Move.BEGIN): Status.CALLING,
    (Status.PENDING, Move.PROGRESS): Status.PENDING,
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
    **{
        (status, move): status
        for status in sorted(OPEN)
        for move in (Move.MOVE, Move.ASSIGN, Move.RELEASE)
    },
    **{(status, Move.NOTE): status for status in Status},
}

#: Moves that never end a task or an attempt, whatever the status after them.
STEERING: Final = frozenset({Move.MOVE, Move.ASSIGN, Move.RELEASE, Move.NOTE})


#: Moves that an operator can request, in words for error messages.
_SAID: Final = {
    Move.CANCEL: "be cancelled",
    Move.CANCEL_LATER: "be cancelled",
    Move.REOPEN: "be put back in line",
    Move.MOVE: "be moved in line",
    Move.ASSIGN: "be assigned to an agent",
    Move.RELEASE: "be released",
}


class IllegalMove(CallbackError):
    """The move is not allowed from the task's status."""

    code = "illegal-move"

    def __init__(self, status: Status, move: Move) -> None:
        what = _SAID.get(move, move.replace("_", " "))
        super().__init__(f"a task that is {status} can not {what}")
        self.status = status
        self.move = move


def after(status: Status, move: Move) -> Status:
    """Return the status that ``move`` leads to.

    Raises:
        IllegalMove: the move is not allowed from this status.
    """
    try:
        return TRANSITIONS[status, move]
    except KeyError:
        raise IllegalMove(status, move) from None


def _aware(_instance: object, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and value.utcoffset() is None:
        raise ValueError(f"{attribute.name}: a time without a zone")


@frozen
class Entered:
    """The caller entered another number than the one that the network shows.

    Attributes:
        caller_key: number key of the caller's own number.
        limit: maximum number of such requests of one caller within 24 hours.
    """

    caller_key: str
    limit: int


def entered_too_often(entered: Entered) -> Reason:
    """Return the reason why a caller may not enter another number now."""
    return because(Code.ENTERED_TOO_OFTEN, limit=entered.limit)


@frozen(kw_only=True)
class NewTask:
    """A task that is to be stored. All times are aware UTC."""

    kind: Kind
    #: The number as it will be dialled: digits, perhaps with a leading ``+``.
    number: str
    #: The same for every form of the number.
    number_key: str
    #: The name that the agent sees; may be empty.
    name: str = ""
    #: Asterisk's language of the caller's channel; may be empty.
    language: str = ""
    #: The queue the caller was in, as spelled in the settings.
    queue: str
    #: The place in line: when the caller joined it, or the chosen time.
    joined_at: datetime = field(validator=_aware)
    #: Asterisk's priority of the caller in the queue; a higher one goes first.
    priority: int = 0
    due_at: datetime = field(validator=_aware)
    expires_at: datetime = field(validator=_aware)
    #: The time that somebody chose for the call; None: as soon as possible.
    chosen_at: datetime | None = field(default=None, validator=_aware)
    #: Until when the client must be dialled, so that the chosen time is kept.
    call_by: datetime | None = field(default=None, validator=_aware)
    #: The slot that a caller chose, which must not be full; None: no limit.
    slot: SlotLimit | None = None
    #: Linkedid of the call that made the request; empty for a task added by hand.
    linkedid: str = ""
    #: Set if the caller entered the number, and the caller's own number is known.
    entered: Entered | None = None
    #: Why the task exists, for its history.
    why: Reason
    #: The same if the client has an open task already; None: as ``why``.
    why_again: Reason | None = None


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
    #: Asterisk's priority of the caller in the queue; a higher one goes first.
    priority: int = 0
    created_at: datetime = field(validator=_aware)
    due_at: datetime = field(validator=_aware)
    expires_at: datetime = field(validator=_aware)
    #: The time that somebody chose for the call, which is its place in line, too;
    #: None: as soon as possible.
    chosen_at: datetime | None = field(default=None, validator=_aware)
    #: Until when the client must be dialled, so that the chosen time is kept; None once
    #: that is settled.
    call_by: datetime | None = field(default=None, validator=_aware)
    ended_at: datetime | None = field(default=None, validator=_aware)
    #: Number of attempts in which the client was dialled.
    attempts: int = field(default=0, validator=validators.ge(0))
    #: Number of attempts in which no agent answered.
    member_attempts: int = field(default=0, validator=validators.ge(0))
    #: The reason of its status.
    why: Reason
    #: Whether it was cancelled during the attempt in progress.
    cancel_requested: bool = False
    #: Whether the client was served in another way during the attempt in progress.
    served: bool = False
    #: The place in line that an operator gave it, with a priority; None: its own, which
    #: is `joined_at` with `priority`.
    place_at: datetime | None = field(default=None, validator=_aware)
    place_priority: int | None = None
    #: Whether it is called among tasks with a chosen time, which come first where
    #: nobody waits in line; None: if it has a chosen time.
    place_chosen: bool | None = None
    #: Interface of the only agent who is asked for it; None: any agent.
    assigned_to: str | None = None
    #: When it was assigned, and until when; None: until it is released.
    assigned_at: datetime | None = field(default=None, validator=_aware)
    assigned_until: datetime | None = field(default=None, validator=_aware)

    @property
    def turn(self) -> Turn:
        """Its place in line among live callers and other tasks."""
        at = self.joined_at if self.place_at is None else self.place_at
        priority = self.place_priority
        return Turn(at.timestamp(), self.priority if priority is None else priority)

    @property
    def is_among_chosen(self) -> bool:
        """Whether it is called among the tasks with a chosen time."""
        return (
            self.chosen_at is not None
            if self.place_chosen is None
            else self.place_chosen
        )

    @property
    def is_open(self) -> bool:
        """Whether the task is still to be called back."""
        return self.status in OPEN

    def waits_for_chosen_time(self, now: datetime) -> bool:
        """Whether the time that somebody chose for the call is still to come."""
        return self.chosen_at is not None and now < self.chosen_at

    @property
    def moved_place(self) -> tuple[datetime | None, int | None, bool | None]:
        """The place that an operator gave it, if one did."""
        return self.place_at, self.place_priority, self.place_chosen

    @property
    def reason(self) -> str:
        """The reason of its status, in words."""
        return str(self.why)

    @property
    def was_taken_back(self) -> bool:
        """Whether it ended because its caller could not be told "accepted"."""
        return self.status is Status.CANCELLED and self.why.code is Code.TAKEN_BACK


@frozen(kw_only=True)
class TaskEvent:
    """One event of a task's history; never changed."""

    task_id: int
    at: datetime = field(validator=_aware)
    move: Move
    #: The status after the move.
    status: Status
    #: What happened and why.
    why: Reason
    attempt_id: int | None = None

    @property
    def text(self) -> str:
        """What happened and why, in words."""
        return str(self.why)


@frozen(kw_only=True)
class WaitingTask:
    """The values that decide when a waiting task is called.

    ``due_at`` is in epoch seconds.
    """

    id: int
    queue: str
    #: Its place in line.
    turn: Turn
    due_at: float
