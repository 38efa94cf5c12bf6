# SPDX-License-Identifier: MIT
"""Reads Asterisk's ``queue_log``: lines to facts about calls.

A line is ``time|callid|queue|agent|event|data1|data2...``: the time is in epoch
seconds, the callid is the uniqueid of the channel in the queue (``main/logger.c``,
``apps/app_queue.c``). Knows nothing of files: a line is bytes with any contents. In a
realtime table a row is a line: the data are in ``data1`` to ``data5``, or in ``data``
with ``|`` between them; the time is a text without a zone.

This history does not contain what happens to a call after its queue.

Asterisk (16.28 and 22.10) writes the caller's number into ENTERQUEUE unchanged, with
line breaks, so a caller can forge whole lines after that event. This module leaves out
lines that are certainly forged: dated after the reading, with other fields or another
kind of call id than Asterisk writes, or part of a broken ENTERQUEUE. A well forged line
is still believed, so this history alone never ends a request of a client
(:mod:`fastagi.history.judge`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from attrs import define, field, frozen

from fastagi.domain.counting import Visit
from fastagi.domain.people import PERSON_TECHNOLOGIES, is_machine
from fastagi.history.facts import PastCall
from fastagi.history.text import decoded
from fastagi.history.times import epoch, read_time

NAME: Final = "queue_log"

#: Events: the caller left the queue unanswered; the call may continue.
_LEFT: Final = frozenset({"EXITEMPTY", "EXITWITHKEY", "EXITWITHTIMEOUT", "WITHDRAW"})
#: Events: an agent answered. All except CONNECT follow a CONNECT, which may be missing
#: at the beginning of a file.
_ANSWERED: Final = frozenset(
    {
        "CONNECT",
        "COMPLETEAGENT",
        "COMPLETECALLER",
        "ATTENDEDTRANSFER",
        "BLINDTRANSFER",
        "TRANSFER",
    }
)
#: The other events about a call (``apps/app_queue.c`` of 16 and 22) are ignored:
#: RINGNOANSWER and RINGCANCELED are about an agent's phone, DID about the called one.
#: After AGENTDUMP (the agent hung up during the announcement for agents) and SYSCOMPAT
#: (the two channels are incompatible) the caller continues to wait, or ABANDON follows.


def _form(text: str) -> re.Pattern[str]:
    """Return a pattern for the data fields: ``n`` is a number, ``*`` is any text."""
    text = text.replace("|", r"\|").replace("*", "[^|]*").replace("n", "-?[0-9]+")
    return re.compile(text, re.DOTALL)


#: The data fields of each event about a call, as Asterisk 16 to 22 write them.
_FORMS: Final = {
    "ENTERQUEUE": _form("*|*|n(|*)?"),
    "ABANDON": _form("n|n|n"),
    "CONNECT": _form("n|*|n"),
    "COMPLETEAGENT": _form("n|n|n"),
    "COMPLETECALLER": _form("n|n|n"),
    "BLINDTRANSFER": _form("*|*|n|n(|n)?"),
    "ATTENDEDTRANSFER": _form("*|*(|*)?|n|n(|n)?"),
    # Until Asterisk 11.
    "TRANSFER": _form("*|*|n|n(|n)?"),
    "EXITEMPTY": _form("n|n|n"),
    "EXITWITHKEY": _form("*|n(|n)?(|n)?"),
    "EXITWITHTIMEOUT": _form("n(|n)?(|n)?"),
    "WITHDRAW": _form("n|n|n(|*)?"),
}
#: Events with NONE in the agent field.
_WITHOUT_AGENT: Final = _LEFT | {"ENTERQUEUE"}
#: Events that end a talk, with the index of the field with its seconds.
_TALKED: Final = {"COMPLETEAGENT": 1, "COMPLETECALLER": 1}
#: Event: Asterisk has started, so all earlier calls have ended.
_START: Final = "QUEUESTART"
#: Maximum length of a line, in bytes; Asterisk writes no longer ones.
_LONGEST: Final = 4096
#: Maximum number of bytes that Asterisk writes at once (``main/logger.c``).
_ONE_WRITE: Final = 8192
#: Maximum length of a broken ENTERQUEUE, in bytes. Channels store less than 256 bytes
#: of a number (chan_pjsip 80). Only a dialplan that sets it from a header exceeds this.
_LONGEST_ENTRY: Final = 512
#: A uniqueid of Asterisk: an optional system name, then the time of creation of the
#: channel. Programs that place calls (AMI, ARI) may choose other ids.
_UNIQUEID: Final = re.compile(r"(?:[^|\s]{1,80}-)?([0-9]{1,11})\.[0-9]{1,9}", re.ASCII)
_CHOSEN_ID: Final = re.compile(r"[^|\s]{1,150}")
#: Maximum duration of a call, in seconds.
_LONGEST_CALL_S: Final = 7 * 24 * 3600.0
#: Tolerance of times, for clocks and rounding, in seconds.
_SLACK_S: Final = 2.0
#: Maximum by which a clock is set back to correct it, in seconds.
_SET_BACK_S: Final = 60.0


#: Required columns of a table.
NEEDED: Final = ("time", "callid", "queuename", "agent", "event")
#: Columns with data: either data1 to data5, or data.
DATA: Final = ("data1", "data2", "data3", "data4", "data5", "data")
_ALIASES: Final = {"queue": "queuename"}
#: Time zones differ by multiples of this, in seconds.
_QUARTER_S: Final = 900


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
    """Split a line; return None if it is not a line of queue_log.

    Args:
        raw: the line, with or without its line break. If ``copytruncate`` rotates the
            file, it may begin with NULs.
    """
    if len(raw) > _LONGEST:
        return None
    fields = decoded(raw.strip(b"\0\r\n ")).split("|")
    if len(fields) < 5 or (at := _time(fields[0])) is None:
        return None
    callid, queue, agent, event = fields[1:5]
    return Line(at, callid, queue, agent, event, tuple(fields[5:]))


def time_of(raw: bytes) -> float | None:
    """Return when a line was written, in epoch seconds; None if it is not a line."""
    line = parse_line(raw)
    return None if line is None else line.at


def _time(text: str) -> float | None:
    if text.isascii() and text.isdecimal() and len(text) <= 11:
        return float(text)
    # A date as text: a realtime table that was written to a file.
    moment = read_time(text) if "-" in text else None
    return None if moment is None else epoch(moment, None)


def _has_form(line: Line) -> bool:
    """Whether the line has the fields that Asterisk writes for this event."""
    form = _FORMS.get(line.event)
    if form is None:
        return True
    if line.event in _WITHOUT_AGENT and line.agent != "NONE":
        return False
    return form.fullmatch("|".join(line.data).rstrip("|")) is not None


def _has_credible_id(line: Line) -> bool:
    callid = _UNIQUEID.fullmatch(line.callid)
    if callid is None:
        return _CHOSEN_ID.fullmatch(line.callid) is not None
    return -_SLACK_S <= line.at - float(callid[1]) <= _LONGEST_CALL_S


def _is_credible(line: Line, until: float) -> bool:
    """Whether Asterisk may have written this line before ``until``."""
    if not _has_form(line) or line.at > until + _SLACK_S:
        return False
    return line.event not in _FORMS or _has_credible_id(line)


@frozen
class Believed:
    """The lines that are believed, and the times of broken ones."""

    lines: list[Line]
    #: Times of broken ENTERQUEUE lines, for example by a number with a line break.
    broken_at: list[float]


def believed(lines: Iterable[bytes], until: float) -> Believed:
    """Leave out lines that a caller may have forged.

    - Lines dated after ``until``, or after a line within the next 8,192 bytes, the
      maximum that Asterisk writes at once.
    - Events with other fields, or another kind of call id, than Asterisk writes.
    - A broken ENTERQUEUE and the 512 bytes after it: where the number ends cannot be
      known, because a caller can forge any sign of it.

    Args:
        lines: the lines, in order.
        until: when they were read, in epoch seconds.
    """
    kept: list[tuple[int, Line]] = []
    broken_at: list[float] = []
    latest = float("-inf")
    begin = spoiled_until = 0
    for raw in lines:
        at_byte, begin = begin, begin + len(raw) + 1
        line = parse_line(raw)
        if line is None:
            continue
        has_form = _has_form(line)
        if line.event == "ENTERQUEUE" and not has_form:
            broken_at.append(line.at)
            spoiled_until = at_byte + len(raw) + _LONGEST_ENTRY
        if at_byte < spoiled_until or not _is_credible(line, until):
            continue
        if latest > line.at + _SET_BACK_S:
            _drop_dated_ahead(kept, at_byte, line.at)
            latest = kept[-1][1].at if kept else float("-inf")
        kept.append((at_byte, line))
        latest = max(latest, line.at)
    return Believed([line for _, line in kept], broken_at)


def _drop_dated_ahead(kept: list[tuple[int, Line]], at_byte: int, at: float) -> None:
    """Drop the last lines that are dated after the line that follows.

    If the line that follows is dated before earlier lines, too, it is wrong itself, or
    the clock was set back: then nothing is dropped.
    """
    first = len(kept)
    while first and kept[first - 1][0] > at_byte - _ONE_WRITE:
        first -= 1
    if first and kept[first - 1][1].at > at + _SET_BACK_S:
        return
    kept[first:] = [one for one in kept[first:] if one[1].at <= at + _SET_BACK_S]


@frozen
class Rows:
    """The rows of a table that are believed."""

    lines: list[Line]
    #: Number of rows without a readable time.
    without_time: int


def column(name: str) -> str:
    """Return this module's name of a column."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def lacking_columns(names: Iterable[str]) -> list[str]:
    """Return the required columns that are missing."""
    known = {column(name) for name in names}
    lacking = [name for name in NEEDED if name not in known]
    return lacking + ["data1"] * known.isdisjoint({"data", "data1"})


def by_name(values: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return the values of a row by this module's names of their columns."""
    return {column(name): value for name, value in values}


def believed_rows(rows: Iterable[Mapping[str, object]], until: float) -> Rows:
    """Convert the rows of a table to lines; leave out impossible ones.

    Asterisk writes each event as one row whatever its fields contain, so a caller
    cannot forge rows.

    Args:
        rows: the rows in order, by this module's names of the columns.
        until: when they were read, in epoch seconds.
    """
    read = [(read_time(values.get("time")), values) for values in rows]
    timed = [(moment, values) for moment, values in read if moment is not None]
    shift_s = _shift_s(timed)
    lines = [_line(values, moment, shift_s) for moment, values in timed]
    lines.sort(key=lambda line: line.at)
    return Rows(
        [line for line in lines if _is_credible(line, until)], len(read) - len(timed)
    )


def _line(values: Mapping[str, object], moment: datetime, shift_s: float) -> Line:
    callid, queue, agent, event = (
        _text_of(values, name) for name in ("callid", "queuename", "agent", "event")
    )
    data = [_text_of(values, name) for name in DATA[:-1]]
    if not any(data):
        data = _text_of(values, "data").split("|")
    while data and not data[-1]:
        data.pop()
    born_at = _born_at(callid)
    at = epoch(moment, None if born_at is None else born_at + shift_s) - shift_s
    return Line(at, callid, queue, agent, event, tuple(data))


def _text_of(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value).strip()


def _born_at(callid: str) -> float | None:
    found = _UNIQUEID.fullmatch(callid)
    return float(found[1]) if found else None


def _shift_s(rows: Iterable[tuple[datetime, Mapping[str, object]]]) -> float:
    """Return how many seconds times are ahead, as with ``queue_log_realtime_use_gmt``.

    The callid shows when a call began; most calls join their queue within minutes.
    """
    shifts: Counter[int] = Counter()
    for moment, values in rows:
        born_at = _born_at(_text_of(values, "callid"))
        if born_at is not None and _text_of(values, "event") == "ENTERQUEUE":
            ahead = epoch(moment, born_at) - born_at + _SLACK_S
            shifts[int(ahead // _QUARTER_S) * _QUARTER_S] += 1
    if not shifts or shifts[0]:
        return 0.0
    shift_s, count = shifts.most_common(1)[0]
    return float(shift_s) if count * 2 > shifts.total() else 0.0


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
    #: If Asterisk ended during the call: the last time at which the call existed.
    cut_off_after: float | None = None


def past_calls(lines: Iterable[bytes], until: float) -> list[PastCall]:
    """Return the calls in a part of a queue_log.

    Args:
        lines: the lines, in order. Calls that joined the queue before the first line
            have no number.
        until: when they were read, in epoch seconds; later lines are forged.
    """
    return calls_of(believed(lines, until).lines)


def calls_of(
    lines: Iterable[Line], technologies: Collection[str] = PERSON_TECHNOLOGIES
) -> list[PastCall]:
    """Return the calls in lines.

    Args:
        lines: the lines, in order.
        technologies: the technologies of persons' channels.
    """
    calls: dict[str, _Call] = {}
    #: The last time at which Asterisk is known to have run.
    alive_at = 0.0
    for line in lines:
        if line.event == _START:
            for call in calls.values():
                _cut_off(call, line.at, alive_at)
        elif line.callid != "NONE":
            _add_line(calls, line, technologies)
        alive_at = line.at
    return [_past(callid, call) for callid, call in calls.items()]


def _add_line(
    calls: dict[str, _Call], line: Line, technologies: Collection[str]
) -> None:
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
        call.cut_off_after = None
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
        by_machine = is_machine(line.agent, technologies)
        if call.answered_at is None and not by_machine:
            call.answered_at, call.who = line.at, line.agent
        # After CONNECT the talk continues until another event of _ANSWERED.
        call.over = line.event != "CONNECT"
        if line.event in _TALKED and not by_machine:
            call.talk_s = _number(_data(line, _TALKED[line.event]))


def _cut_off(call: _Call, at: float, alive_at: float) -> None:
    """Note that Asterisk ended during this call, unless the call had ended before.

    Args:
        call: the call.
        at: when Asterisk started again.
        alive_at: when Asterisk wrote its last line before that.
    """
    if call.over:
        return
    call.over = True
    if call.answered_at is None:
        call.cut_off_after = min(at, max(call.last_at, alive_at))
        call.stays[-1].left_at = call.last_at = at
        call.stays[-1].to_the_end = True


def _past(callid: str, call: _Call) -> PastCall:
    return PastCall(
        ids=frozenset({callid}),
        uniqueid=callid,
        number=call.number,
        began_at=call.began_at,
        ended_at=call.last_at if call.over else None,
        cut_off_after=call.cut_off_after,
        visits=tuple(
            Visit(
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
        answered_in=frozenset() if call.answered_at is None else frozenset({NAME}),
        talk_s=call.talk_s,
        sources=frozenset({NAME}),
    )


def _data(line: Line, index: int) -> str:
    return line.data[index] if index < len(line.data) else ""


def _number(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 0.0
