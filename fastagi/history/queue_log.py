# SPDX-License-Identifier: MIT
"""Reads Asterisk's ``queue_log``: lines to facts about calls.

A line is ``time|callid|queue|agent|event|data1|data2...``: the time in epoch seconds,
the callid the uniqueid of the channel in the queue (``main/logger.c``,
``apps/app_queue.c``). Knows no files: a line is bytes, and may hold anything.

What happens to a call after its queue is not in this history.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from attrs import define, field, frozen

from fastagi.history.facts import PastCall, PastVisit

NAME: Final = "queue_log"

#: The caller is out of the queue and unanswered; the call may go on.
_LEFT: Final = frozenset({"EXITEMPTY", "EXITWITHKEY", "EXITWITHTIMEOUT", "WITHDRAW"})
#: An agent took the call. Those but CONNECT come after one, which may be missing
#: where the file begins.
_ANSWERED: Final = frozenset(
    {
        "CONNECT",
        "COMPLETEAGENT",
        "COMPLETECALLER",
        "ATTENDEDTRANSFER",
        "BLINDTRANSFER",
        "TRANSFER",
        "AGENTDUMP",
    }
)
#: Events that end a talk, with the field that holds its seconds.
_TALKED: Final = {"COMPLETEAGENT": 1, "COMPLETECALLER": 1}
#: Asterisk has started: what waited before is gone.
_START: Final = "QUEUESTART"
#: The longest line that is looked at, in bytes; longer ones are no lines of Asterisk.
_LONGEST: Final = 4096


@frozen
class Line:
    """One line."""

    at: float
    callid: str
    queue: str
    agent: str
    event: str
    data: tuple[str, ...] = ()


def parse_line(raw: bytes) -> Line | None:
    """Take a line apart; None if it is none.

    Args:
        raw: with or without its line break. Where ``copytruncate`` rotates the file
            it may begin with NULs.
    """
    if len(raw) > _LONGEST:
        return None
    text = raw.strip(b"\0\r\n ").decode("utf-8", "replace")
    fields = text.split("|")
    if len(fields) < 5 or (at := _time(fields[0])) is None:
        return None
    callid, queue, agent, event = fields[1:5]
    return Line(at, callid, queue, agent, event, tuple(fields[5:]))


def time_of(raw: bytes) -> float | None:
    """Return when a line was written, in epoch seconds; None if it is no line."""
    line = parse_line(raw)
    return None if line is None else line.at


def _time(text: str) -> float | None:
    if text.isascii() and text.isdecimal() and len(text) <= 11:
        return float(text)
    # As in tables of a realtime queue_log that were written to a file.
    try:
        return datetime.fromisoformat(text).timestamp() if "-" in text else None
    except (ValueError, OverflowError, OSError):
        return None


@define(eq=False)
class _Stay:
    queue: str
    joined_at: float
    left_at: float | None = None
    to_the_end: bool = False


@define(eq=False)
class _Call:
    began_at: float
    last_at: float
    number: str = ""
    stays: list[_Stay] = field(factory=list)
    who: str = ""
    answered_at: float | None = None
    talk_s: float = 0.0
    over: bool = False


def past_calls(lines: Iterable[bytes]) -> list[PastCall]:
    """Return the calls that a part of a queue_log tells of.

    Args:
        lines: in their order. Calls whose caller came into the queue before the
            first of them have no number.
    """
    calls: dict[str, _Call] = {}
    for raw in lines:
        line = parse_line(raw)
        if line is None:
            continue
        if line.event == _START:
            for call in calls.values():
                _cut_off(call, line.at)
        elif line.callid != "NONE":
            _tell(calls, line)
    return [_past(callid, call) for callid, call in calls.items()]


def _tell(calls: dict[str, _Call], line: Line) -> None:
    if not (
        line.event in _LEFT
        or line.event in _ANSWERED
        or line.event in {"ENTERQUEUE", "ABANDON"}
    ):
        return
    call = calls.setdefault(line.callid, _Call(line.at, line.at))
    call.last_at = max(call.last_at, line.at)
    if line.event == "ENTERQUEUE":
        call.over = False
        call.number = _data(line, 1) or call.number
        call.stays.append(_Stay(line.queue, line.at))
        return
    if not call.stays:
        call.stays.append(_Stay(line.queue, line.at))
    stay = call.stays[-1]
    stay.left_at = line.at
    call.over = True
    if line.event == "ABANDON":
        stay.to_the_end = True
    elif line.event in _ANSWERED:
        if call.answered_at is None:
            call.answered_at, call.who = line.at, line.agent
        # The talk goes on until one of the other lines.
        call.over = line.event != "CONNECT"
        if line.event in _TALKED:
            call.talk_s = _number(_data(line, _TALKED[line.event]))


def _cut_off(call: _Call, at: float) -> None:
    """Asterisk died and carried this call, unless it had ended before."""
    if call.over:
        return
    call.over = True
    if call.answered_at is None:
        call.stays[-1].left_at = call.last_at = at
        call.stays[-1].to_the_end = True


def _past(callid: str, call: _Call) -> PastCall:
    return PastCall(
        ids=frozenset({callid}),
        uniqueid=callid,
        number=call.number,
        began_at=call.began_at,
        ended_at=call.last_at if call.over else None,
        visits=tuple(
            PastVisit(
                queue=stay.queue,
                uniqueid=callid,
                joined_at=stay.joined_at,
                left_at=call.last_at if stay.left_at is None else stay.left_at,
                to_the_end=stay.to_the_end,
            )
            for stay in call.stays
        ),
        who=call.who,
        answered_at=call.answered_at,
        talk_s=call.talk_s,
        sources=frozenset({NAME}),
    )


def _data(line: Line, index: int) -> str:
    return line.data[index] if index < len(line.data) else ""


def _number(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 0.0
