# SPDX-License-Identifier: MIT
"""The lines about tasks in Asterisk's ``queue_log``.

Defines the event names and the order of the data; ``docs/reports.md`` explains them.
The data of each line contain the time of the event: Asterisk writes the line later, and
the time at its beginning is that of writing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Final

from attrs import field, frozen

from fastagi.domain.attempt import Disposition
from fastagi.domain.task import ENDED, STEERING, Kind, Move, Status


class Word(StrEnum):
    """The names of this service's events in queue_log."""

    #: A caller requested a callback, or an operator added one.
    REQUEST = "CALLBACKREQUEST"
    #: A call was missed.
    MISSED = "CALLBACKMISSED"
    #: An attempt has ended.
    ATTEMPT = "CALLBACKATTEMPT"
    #: The task has ended.
    DONE = "CALLBACKDONE"


#: Characters that would separate fields of queue_log or headers of the manager.
_UNSAFE: Final = re.compile(r"[|\x00-\x1f\x7f]")
#: The agent in a line of queue_log without an agent.
NOBODY: Final = "NONE"


@frozen(kw_only=True)
class EventRow:
    """One event of a task, with data of the task and the attempt."""

    event_id: int
    at: datetime
    move: Move
    status: Status
    #: The kind of request; None if the event is not a request.
    asked: Kind | None = None
    #: The time that was chosen for the call with this event, to the minute.
    chosen_at: datetime | None = None
    task_id: int
    queue: str
    number: str
    #: Linkedid of the call that caused the event, otherwise of the task's first call.
    linkedid: str = ""
    #: Channel id of the event's attempt, and the node on which it was made; empty if
    #: there is none.
    channel_id: str = ""
    node: str = ""
    disposition: Disposition | None = None
    member: str = ""
    talk_s: float = 0.0


@frozen(kw_only=True)
class Entry:
    """One line of queue_log."""

    queue: str
    word: Word
    #: May be empty.
    uniqueid: str
    #: Interface of the agent who took the call; empty if nobody did.
    interface: str
    data: tuple[str, ...] = field()

    def agent(self, name_of: Callable[[str], str]) -> str:
        """Return the field "agent" as Asterisk writes it in its own lines.

        Args:
            name_of: returns a member's name by the interface; empty if it has none.
        """
        if not self.interface:
            return NOBODY
        return _UNSAFE.sub(" ", name_of(self.interface) or self.interface)

    @property
    def message(self) -> str:
        """The data, separated by ``|`` as in queue_log."""
        return "|".join(self.data)


#: Moves that end an attempt.
_ATTEMPT_ENDS: Final = frozenset(
    {
        Move.RETRY,
        Move.COMPLETE,
        Move.GIVE_UP,
        Move.EXPIRE,
        Move.CANCEL,
        Move.TAKE_BACK,
        Move.SERVE,
    }
)


def entries(event: EventRow) -> tuple[Entry, ...]:
    """Return the lines for an event, in order; most events have none."""
    written = []
    at = event.chosen_at
    chosen = () if at is None else (f"{at.timestamp():.0f}",)
    if event.asked is Kind.MISSED:
        written.append(_entry(event, Word.MISSED, event.linkedid, ""))
    elif event.asked is not None or event.move is Move.REOPEN:
        how = "reopened" if event.asked is None else event.asked.value
        written.append(_entry(event, Word.REQUEST, event.linkedid, "", how, *chosen))
    if event.channel_id and event.move in _ATTEMPT_ENDS:
        result = event.disposition.value if event.disposition else "UNKNOWN"
        written.append(
            _entry(
                event,
                Word.ATTEMPT,
                event.channel_id,
                event.member,
                result,
                f"{event.talk_s:.0f}",
            )
        )
    if event.status in ENDED and event.move not in STEERING:
        took = event.member if event.status is Status.COMPLETED else ""
        written.append(
            _entry(event, Word.DONE, event.linkedid, took, event.status.value)
        )
    return tuple(written)


def _entry(
    event: EventRow, word: Word, uniqueid: str, interface: str, *more: str
) -> Entry:
    return Entry(
        queue=_UNSAFE.sub(" ", event.queue),
        word=word,
        uniqueid=_UNSAFE.sub(" ", uniqueid),
        interface=_UNSAFE.sub(" ", interface),
        data=(
            str(event.task_id),
            event.number,
            f"{event.at.timestamp():.0f}",
            *more,
        ),
    )
