# SPDX-License-Identifier: MIT
"""Reads call detail records: rows to facts about calls.

A row is a mapping of column names to values, from whatever table or file it comes; the
names are those of Asterisk's CDR properties and of FreePBX's table. One call may have
several rows: one for each phone that rang, and one for each half of a Local channel
(``main/cdr.c``). Knows no files and no databases.

Times have no time zone; they are local times of the machine or UTC. The uniqueid shows
which: it contains the second in which its channel was created.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from attrs import field, frozen

from fastagi.dialplan import OFFER_CONTEXT, REQUEST_CONTEXT
from fastagi.domain.counting import Place, Visit
from fastagi.domain.live_calls import interface_of, numbers_in
from fastagi.domain.people import PERSON_TECHNOLOGIES, is_person
from fastagi.history.facts import PastCall
from fastagi.history.text import decoded
from fastagi.history.times import BIRTH_S, epoch, read_time, utc

NAME: Final = "cdr"

#: Contexts of callers who have left a queue by a key, their own or the service's.
_AFTER_KEY: Final = frozenset({REQUEST_CONTEXT, OFFER_CONTEXT})
#: The first columns of ``cdr_csv``, in order (``cdr/cdr_csv.c``); the next ones depend
#: on the options loguniqueid, loguserfield and newcdrcolumns.
_MASTER: Final = (
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
)
_NEW_COLUMNS: Final = ("peeraccount", "linkedid", "sequence")
#: Other names of the same column.
_ALIASES: Final = {"calldate": "start", "num_pres": "presentation"}
#: Required columns.
NEEDED: Final = ("start", "src", "dst", "channel", "disposition", "uniqueid")
#: Columns that are read if they exist.
USEFUL: Final = [
    "answer",
    "end",
    "duration",
    "billsec",
    "dcontext",
    "clid",
    "dstchannel",
    "lastapp",
    "lastdata",
    "linkedid",
    "sequence",
    "did",
    "cnum",
    "cnam",
    # Not a property of a CDR; the dialplan may add CALLERID(num-pres).
    "presentation",
]
#: The dispositions in ``cdr_csv`` (``main/cdr.c``).
_DISPOSITIONS: Final = frozenset(
    {"NO ANSWER", "FAILED", "BUSY", "ANSWERED", "CONGESTION", "UNKNOWN"}
)
#: ``cdr_odbc`` may write the number of a disposition (``include/asterisk/cdr.h``).
_ANSWERED: Final = frozenset({"ANSWERED", "8"})
_EPOCH: Final = re.compile(r"(?:^|-)([0-9]{9,11})\.[0-9]+$", re.ASCII)
_CLID: Final = re.compile(r'^"?(.*?)"?\s*<([^<>]*)>\s*$', re.DOTALL)
#: The name of a queue as a dialplan may write it.
_QUOTED: Final = re.compile(r'\s*"([^"]*)"')
#: Time zones differ from UTC by multiples of this, in seconds.
_QUARTER_S: Final = 900
_LONGEST: Final = 16_384
#: Maximum size of a record of several lines, in bytes. ``cdr_csv`` writes up to 1,024.
_LONGEST_RECORD: Final = 4096


@lru_cache(maxsize=256)
def canonical(name: str) -> str:
    """Return this module's name of a column."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def by_name(values: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return the values of a row by this module's names of their columns.

    A table may have two columns of one meaning, such as ``calldate`` and ``start``, and
    one may be empty. Of the filled ones, the one with Asterisk's own name counts.
    """
    found: dict[str, tuple[bool, bool, object]] = {}
    for column, value in values:
        name = canonical(column)
        known = found.get(name)
        is_own = column.strip().lower() == name
        rank = (_is_filled(name, value), is_own)
        if known is None or rank > known[:2]:
            found[name] = (*rank, value)
    return {name: value for name, (_, _, value) in found.items()}


def _is_filled(name: str, value: object) -> bool:
    if name in {"start", "answer", "end"}:
        return read_time(value) is not None
    return value is not None and bool(str(value).strip())


def lacking_columns(names: Iterable[str]) -> list[str]:
    """Return the required columns that are missing."""
    known = {canonical(name) for name in names}
    return [name for name in NEEDED if name not in known]


# -- lines of a CSV file ---------------------------------------------------


def whole_records(lines: Iterable[bytes]) -> list[bytes]:
    """Join the lines of each record.

    A caller's number may contain line breaks, and the text after one may look like a
    record. Asterisk writes values in quotes and doubles quotes in them (``cdr_csv``,
    and ``CSV_QUOTE()`` in ``cdr_custom``), so a record has an even number of quotes.

    Args:
        lines: the lines in order, without line breaks.
    """
    records: list[bytes] = []
    waiting = deque(lines)
    while waiting:
        record = waiting.popleft()
        taken: list[bytes] = []
        size, is_open = len(record), record.count(b'"') % 2 == 1
        while is_open and waiting and size <= _LONGEST_RECORD:
            line = waiting.popleft()
            taken.append(line)
            size += len(line) + 1
            is_open = line.count(b'"') % 2 == 0
        if is_open:
            # The record is damaged; the ones after it are still used.
            waiting.extendleft(reversed(taken))
        else:
            record = b"\n".join([record, *taken])
        records.append(record)
    return records


def parse_csv(raw: bytes, columns: Sequence[str] = ()) -> dict[str, str] | None:
    """Split a line of a CSV file; return None if it is not a CDR.

    Args:
        raw: the line, with or without its line break.
        columns: its columns; those of ``cdr_csv`` if empty.
    """
    if len(raw) > _LONGEST:
        return None
    try:
        values = next(csv.reader([decoded(raw.strip(b"\0\r\n"))]), [])
    except csv.Error:
        return None
    names = list(columns) or _master_columns(values)
    if len(values) != len(names):
        return None
    named = by_name(zip(names, values, strict=True))
    row = {name: str(value) for name, value in named.items()}
    return row if read_time(row.get("start")) is not None else None


def is_custom(raw: bytes) -> bool:
    """Whether this is a line of CSV that ``cdr_csv`` did not write."""
    try:
        values = next(csv.reader([decoded(raw.strip(b"\0\r\n"))]), [])
    except csv.Error:
        return False
    has_all = len(values) >= len(NEEDED) and any(map(read_time, values))
    return has_all and len(_master_columns(values)) != len(values)


def _master_columns(values: Sequence[str]) -> list[str]:
    """Return the columns of a line of ``cdr_csv``; none if it is not one."""
    names = list(_MASTER)
    if len(values) < len(names) or values[14] not in _DISPOSITIONS:
        return []
    more = len(values) - len(names)
    new = list(_NEW_COLUMNS) if more >= len(_NEW_COLUMNS) else []
    match more - len(new):
        case 1 if _EPOCH.search(values[len(names)]):
            names.append("uniqueid")
        case 1:
            names.append("userfield")
        case 2:
            names += ["uniqueid", "userfield"]
    return names + new


def time_of_csv(raw: bytes, columns: Sequence[str] = ()) -> float | None:
    """Return approximately when a line was written; None if it is not a CDR."""
    row = parse_csv(raw, columns)
    if row is None:
        return None
    start = read_time(row.get("start"))
    moment = read_time(row.get("end")) or start
    if moment is None:
        return None
    born_at = _born_at(row.get("uniqueid", ""))
    if born_at is None or start is None:
        return epoch(moment, None)
    return born_at + max(0.0, (utc(moment) - utc(start)).total_seconds())


# -- rows ------------------------------------------------------------------


@frozen(kw_only=True)
class Row:
    """One CDR."""

    uniqueid: str
    linkedid: str
    number: str
    name: str
    place: Place
    did: str
    channel: str
    dstchannel: str
    lastapp: str
    lastdata: str
    start: float
    end: float
    billsec: float
    answered: bool
    withheld: bool
    #: Whether the channel, or the one it was connected to, may belong to a person.
    from_person: bool
    to_person: bool
    #: Names of the Local channels in it, without ``;1`` and ``;2``.
    locals: frozenset[str] = field(factory=frozenset)

    @property
    def reached(self) -> bool:
        """Whether somebody answered the call."""
        return self.answered and self.to_person

    @property
    def queue(self) -> str:
        """The queue in which the call ended; empty if it was in none."""
        if self.lastapp.lower() != "queue":
            return ""
        quoted = _QUOTED.match(self.lastdata)
        return quoted[1] if quoted else self.lastdata.partition(",")[0].strip()


@frozen
class Rows:
    """Rows of a history, with corrected times."""

    rows: list[Row]
    #: How many seconds their times were ahead of the uniqueids, before the correction.
    shift_s: float
    #: Numbers of rows that cannot be used, without a uniqueid or a readable time.
    without_uniqueid: int
    without_time: int


def read_rows(
    records: Iterable[Mapping[str, object]],
    technologies: Collection[str] = PERSON_TECHNOLOGIES,
) -> Rows:
    """Convert the records of a table or file to rows.

    Args:
        records: the records, in any order.
        technologies: the technologies of persons' channels.
    """
    usable: list[Mapping[str, object]] = []
    without_uniqueid = without_time = 0
    for record in records:
        values = by_name(record.items())
        if read_time(values.get("start")) is None:
            without_time += 1
        elif not _text(values, "uniqueid"):
            without_uniqueid += 1
        else:
            usable.append(values)
    shift_s = _shift_s(usable)
    rows = [_row(values, shift_s, technologies) for values in usable]
    return Rows(rows, shift_s, without_uniqueid, without_time)


def _shift_s(records: Iterable[Mapping[str, object]]) -> float:
    """Return how many seconds all times are ahead of those in the uniqueids."""
    first: dict[str, float] = {}
    for values in records:
        uniqueid = _text(values, "uniqueid")
        born_at, start = _born_at(uniqueid), read_time(values.get("start"))
        if born_at is not None and start is not None:
            ahead = epoch(start, born_at) - born_at
            first[uniqueid] = min(ahead, first.get(uniqueid, ahead))
    # Only a call's first row starts with its channel.
    shifts = Counter(
        shift
        for ahead in first.values()
        if abs(ahead - (shift := round(ahead / _QUARTER_S) * _QUARTER_S)) <= BIRTH_S
    )
    if not shifts or shifts[0]:
        return 0.0
    shift, count = shifts.most_common(1)[0]
    return float(shift) if count * 2 > len(first) else 0.0


def _row(
    values: Mapping[str, object], shift_s: float, technologies: Collection[str]
) -> Row:
    uniqueid = _text(values, "uniqueid")
    born_at = _born_at(uniqueid)
    start_said = read_time(values["start"])
    assert start_said is not None
    start = epoch(start_said, None if born_at is None else born_at + shift_s) - shift_s
    duration_s = _seconds(values, "duration")
    if duration_s is None:
        end_said = read_time(values.get("end")) or start_said
        duration_s = max(0.0, (utc(end_said) - utc(start_said)).total_seconds())
    said = _CLID.match(_text(values, "clid"))
    channel, dstchannel = _text(values, "channel"), _text(values, "dstchannel")
    return Row(
        uniqueid=uniqueid,
        linkedid=_text(values, "linkedid"),
        number=_text(values, "cnum")
        or _text(values, "src")
        or (said[2].strip() if said else ""),
        name=_text(values, "cnam") or (said[1].replace("\\", "") if said else ""),
        place=Place(context=_text(values, "dcontext"), exten=_text(values, "dst")),
        did=_text(values, "did"),
        channel=channel,
        dstchannel=dstchannel,
        lastapp=_text(values, "lastapp"),
        lastdata=_text(values, "lastdata"),
        start=start,
        end=start + duration_s,
        billsec=_seconds(values, "billsec") or 0.0,
        answered=_text(values, "disposition").upper() in _ANSWERED,
        withheld=_text(values, "presentation").lower().startswith("prohib"),
        from_person=is_person(channel, technologies),
        to_person=is_person(dstchannel, technologies),
        locals=frozenset(
            name.rpartition(";")[0]
            for name in (channel, dstchannel)
            if name.startswith("Local/") and name[-2:] in (";1", ";2")
        ),
    )


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value).strip()


def _seconds(values: Mapping[str, object], name: str) -> float | None:
    try:
        return max(0.0, float(_text(values, name)))
    except ValueError:
        return None


def _born_at(uniqueid: str) -> float | None:
    found = _EPOCH.search(uniqueid)
    return float(found[1]) if found else None


# -- calls -----------------------------------------------------------------


def past_calls(rows: Iterable[Row]) -> list[PastCall]:
    """Return the calls in rows."""
    return [_past(group) for group in _groups(list(rows))]


def _groups(rows: list[Row]) -> list[list[Row]]:
    """Group the rows by call."""
    root = list(range(len(rows)))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    by_name: dict[str, int] = {}
    by_local: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for name in filter(None, (row.linkedid, row.uniqueid)):
            root[find(index)] = find(by_name.setdefault(name, index))
        if not row.linkedid:
            for local in row.locals:
                for other in by_local.setdefault(local, []):
                    # Names of Local channels repeat after a restart of Asterisk.
                    if _overlap(row, rows[other]):
                        root[find(index)] = find(other)
                by_local[local].append(index)
    groups: dict[int, list[Row]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(find(index), []).append(row)
    return [
        sorted(group, key=lambda row: (row.start, row.end)) for group in groups.values()
    ]


def _overlap(one: Row, other: Row) -> bool:
    return one.start <= other.end + BIRTH_S and other.start <= one.end + BIRTH_S


def _past(rows: list[Row]) -> PastCall:
    first = _first(rows)
    own = [row for row in rows if row.uniqueid == first.uniqueid]
    reached = [row for row in rows if row.reached]
    dids = [Place(context="", exten=row.did) for row in own if row.did]
    last_app = own[-1].lastapp.lower()
    return PastCall(
        ids=frozenset(
            name for row in rows for name in (row.uniqueid, row.linkedid) if name
        ),
        uniqueid=first.uniqueid,
        caller=interface_of(first.channel),
        number=first.number,
        name=first.name,
        began_at=min(row.start for row in rows),
        ended_at=max(row.end for row in rows),
        places=tuple(dict.fromkeys([*(row.place for row in own), *dids])),
        visits=_visits(rows),
        who=interface_of(reached[0].dstchannel) if reached else "",
        answered_at=max(reached[0].start, reached[0].end - reached[0].billsec)
        if reached
        else None,
        talk_s=max((row.billsec for row in reached), default=0.0),
        dialled=tuple(
            dict.fromkeys(number for row in rows for number in _dialled(row))
        ),
        withheld=any(row.withheld for row in own),
        by_key=last_app != "queue"
        and any(row.place.context in _AFTER_KEY for row in own),
        answered_in=frozenset({NAME}) if reached else frozenset(),
        sources=frozenset({NAME}),
    )


def _first(rows: list[Row]) -> Row:
    """Return the row of the caller's channel."""
    for row in rows:
        if row.linkedid and row.uniqueid == row.linkedid:
            return row
    return next((row for row in rows if row.from_person), rows[0])


def _visits(rows: list[Row]) -> tuple[Visit, ...]:
    found: dict[tuple[str, str], Visit] = {}
    for row in rows:
        if not row.queue:
            continue
        known = found.get((row.uniqueid, row.queue))
        found[row.uniqueid, row.queue] = Visit(
            queue=row.queue,
            uniqueid=row.uniqueid,
            joined_at=row.start if known is None else known.joined_at,
            left_at=row.end if known is None else max(row.end, known.left_at),
            to_the_end=not any(
                other.uniqueid == row.uniqueid
                and (other.start, other.end) > (row.start, row.end)
                and not other.queue
                for other in rows
            ),
        )
    return tuple(found.values())


def _dialled(row: Row) -> list[str]:
    numbers = [row.place.exten]
    if row.lastapp.lower() == "dial":
        numbers += numbers_in(row.lastdata.partition(",")[0])
    return [number for number in numbers if number]
