# SPDX-License-Identifier: MIT
"""What Asterisk's ``queue_log`` is told of a task.

Owns the words and the order of the data; ``docs/reports.md`` explains them. Knows no
database and no manager. Each entry says itself when it happened: the time in front of
it is that of writing, which may be later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from attrs import field, frozen

from fastagi.domain.attempt import Disposition
from fastagi.domain.task import ENDED, Kind, Move, Status


class Word(StrEnum):
    """The events of ours in queue_log."""

    #: A caller asked to be called back, or an operator for him.
    REQUEST = "CALLBACKREQUEST"
    #: A call was missed.
    MISSED = "CALLBACKMISSED"
    #: An attempt has ended.
    ATTEMPT = "CALLBACKATTEMPT"
    #: The task has ended.
    DONE = "CALLBACKDONE"


#: What would be more than one field, or more than one header.
_UNSAFE: Final = re.compile(r"[|\x00-\x1f\x7f]")
#: What queue_log has for an agent where there is none.
NOBODY: Final = "NONE"


@frozen(kw_only=True)
class EventRow:
    """One event of a task, with what is to be known of the task and the attempt."""

    event_id: int
    at: datetime
    move: Move
    status: Status
    #: In what way it was asked for, if it was.
    asked: Kind | None = None
    task_id: int
    queue: str
    number: str
    #: Of the call that caused it, else of the one the task began with.
    linkedid: str = ""
    #: Of the attempt it belongs to; empty if it belongs to none.
    channel_id: str = ""
    disposition: Disposition | None = None
    member: str = ""
    talk_s: float = 0.0


@frozen(kw_only=True)
class Entry:
    """One line of queue_log."""

    queue: str
    word: Word
    #: Empty: none.
    uniqueid: str
    #: Interface of the agent who took the call; empty: nobody.
    interface: str
    data: tuple[str, ...] = field()

    def agent(self, names: Mapping[str, str]) -> str:
        """Return the field "agent" as Asterisk writes it in its own lines.

        Args:
            names: of members, by interface.
        """
        if not self.interface:
            return NOBODY
        return _UNSAFE.sub(" ", names.get(self.interface) or self.interface)

    @property
    def message(self) -> str:
        """The data as queue_log separates them."""
        return "|".join(self.data)


#: Ends of attempts: what else moves a task while one is under way, does not end it.
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


def entries(happening: EventRow) -> tuple[Entry, ...]:
    """Return what is to be written of an event, in order; mostly it is nothing."""
    written = []
    if happening.asked is not None:
        missed = happening.asked is Kind.MISSED
        word = Word.MISSED if missed else Word.REQUEST
        how = () if missed else (happening.asked.value,)
        written.append(_entry(happening, word, happening.linkedid, "", *how))
    elif happening.move is Move.REOPEN:
        written.append(
            _entry(happening, Word.REQUEST, happening.linkedid, "", "reopened")
        )
    if happening.channel_id and happening.move in _ATTEMPT_ENDS:
        result = happening.disposition.value if happening.disposition else "UNKNOWN"
        written.append(
            _entry(
                happening,
                Word.ATTEMPT,
                happening.channel_id,
                happening.member,
                result,
                f"{happening.talk_s:.0f}",
            )
        )
    if happening.status in ENDED:
        took = happening.member if happening.status is Status.COMPLETED else ""
        written.append(
            _entry(
                happening, Word.DONE, happening.linkedid, took, happening.status.value
            )
        )
    return tuple(written)


def _entry(
    happening: EventRow, word: Word, uniqueid: str, interface: str, *more: str
) -> Entry:
    return Entry(
        queue=_UNSAFE.sub(" ", happening.queue),
        word=word,
        uniqueid=_UNSAFE.sub(" ", uniqueid),
        interface=_UNSAFE.sub(" ", interface),
        data=(
            str(happening.task_id),
            happening.number,
            f"{happening.at.timestamp():.0f}",
            *more,
        ),
    )
