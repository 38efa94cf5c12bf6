# SPDX-License-Identifier: MIT
"""Reads all configured histories.

Each is a queue_log or the CDRs, in a file or in a table of a database. They complete
each other: queue_log contains the queues, the CDRs contain who answered after them.
Blocks while it reads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from attrs import field, frozen

from twisted.logger import Logger

from fastagi.domain.people import PERSON_TECHNOLOGIES
from fastagi.errors import Problem
from fastagi.history import cdr, queue_log
from fastagi.history.database import (
    MAX_COUNTED,
    MAX_ROWS,
    CdrTable,
    QueueLogTable,
)
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.facts import PastCall, together
from fastagi.history.files import lines_since
from fastagi.history.text import decoded
from fastagi.history.times import epoch, local_time, read_time
from fastagi.plain_file import open_plain

_log: Final = Logger()
#: Longest wait in a queue, in seconds, for which the caller's number is still read.
LONGEST_WAIT_S: Final = 4 * 3600.0
#: Maximum difference between two time zones, in seconds; CDRs may be in any zone.
_ZONES_S: Final = 15 * 3600.0
#: Number of bytes at the end of a file to inspect.
_SAMPLE_BYTES: Final = 65_536


@frozen
class Reading:
    """The calls of one history."""

    calls: list[PastCall]
    #: Remarks for the admin about it.
    remarks: tuple[Problem, ...] = ()


@frozen
class Past:
    """The calls of all histories."""

    calls: list[PastCall]
    remarks: list[Problem] = field(factory=list)
    #: The histories that could not be read.
    troubles: list[HistoryUnreadable] = field(factory=list)


class Source(Protocol):
    """One history."""

    def read(self, since: float, until: float) -> Reading:
        """Return the calls that ended since a time, and perhaps others.

        Args:
            since: the time, in epoch seconds.
            until: the current time, in epoch seconds.

        Raises:
            HistoryUnreadable: it cannot be read.
        """


@frozen
class QueueLog:
    """A queue_log."""

    path: Path
    #: Folders for rotated files, besides its own folder and those within it.
    folders: Sequence[str] = ()
    #: Of the channels that a person may hold.
    technologies: Sequence[str] = PERSON_TECHNOLOGIES

    def read(self, since: float, until: float) -> Reading:
        """Return the calls that ended since a time, and perhaps others."""
        earliest = since - LONGEST_WAIT_S
        log = lines_since(self.path, earliest, queue_log.time_of, folders=self.folders)
        believed = queue_log.believed(log.lines, until)
        remarks = list(log.remarks)
        broken = [at for at in believed.broken_at if at >= since]
        if broken:
            at = datetime.fromtimestamp(broken[0], UTC).astimezone()
            first = f"{at:%Y-%m-%d %H:%M:%S}"
            remarks.append(
                Problem(
                    str(self.path),
                    f"{len(broken)} lines ENTERQUEUE are broken, the first of {first},"
                    " as by callers whose number holds a line break; they and what"
                    " stands close behind them are not believed",
                    "filter the numbers before Queue(), as docs/history.md says",
                )
            )
        return Reading(
            queue_log.calls_of(believed.lines, self.technologies), tuple(remarks)
        )


@frozen
class CdrFile:
    """A CSV file of CDRs."""

    path: Path
    #: Its columns; empty: those of ``cdr_csv``.
    columns: Sequence[str] = ()
    #: Folders for rotated files, besides its own folder and those within it.
    folders: Sequence[str] = ()
    #: Of the channels that a person may hold.
    technologies: Sequence[str] = PERSON_TECHNOLOGIES

    def read(self, since: float, until: float) -> Reading:
        """Return the calls that ended since a time, and perhaps others."""
        if self.has_unnamed_columns():
            raise HistoryUnreadable(
                self.path,
                "its columns are not those of cdr_csv",
                "if cdr_custom writes it, name them in their order:"
                " history.cdr_columns",
            )
        time_of = partial(cdr.time_of_csv, columns=self.columns)
        earliest = since - LONGEST_WAIT_S
        log = lines_since(self.path, earliest, time_of, cdr.whole_records, self.folders)
        parsed = [cdr.parse_csv(line, self.columns) for line in log.lines]
        rows = cdr.read_rows(
            (row for row in parsed if row is not None), self.technologies
        )
        remarks = list(log.remarks)
        if rows.without_uniqueid:
            remarks.append(
                Problem(
                    str(self.path),
                    f"{rows.without_uniqueid} CDRs have no uniqueid and are of no use",
                    self._remedy_without_uniqueid,
                )
            )
        written = [
            (line, row)
            for line, row in zip(log.lines, parsed, strict=True)
            if line.strip(b"\0\r\n ")
        ]
        unreadable = [line for line, row in written if row is None]
        if written and len(unreadable) == len(written):
            remarks.append(
                Problem(
                    str(self.path),
                    "no line is a CDR with the columns expected",
                    "correct history.cdr_columns in the settings",
                )
            )
        elif unreadable:
            remarks.append(
                Problem(
                    str(self.path),
                    f"{len(unreadable)} of {len(written)} lines can not be read as"
                    " CDRs, and the calls in them are not known",
                    "if cdr_custom writes the file, have it write each field with"
                    f" CSV_QUOTE(); such a line: {decoded(unreadable[-1][:60])!a}",
                )
            )
        return Reading(cdr.past_calls(rows.rows), tuple(remarks))

    @property
    def _remedy_without_uniqueid(self) -> str:
        if self.columns:
            return (
                "history.cdr_columns names a column uniqueid that is empty: correct it,"
                " or have cdr_custom write ${CDR(uniqueid)} there"
            )
        return "write loguniqueid = yes under [csv] in cdr.conf"

    def has_unnamed_columns(self) -> bool:
        """Whether ``cdr_custom`` writes the file and its columns are not named."""
        if self.columns:
            return False
        try:
            with open_plain(self.path) as file:
                begin = max(0, file.seek(0, os.SEEK_END) - _SAMPLE_BYTES)
                file.seek(begin)
                lines = file.read(_SAMPLE_BYTES).split(b"\n")[bool(begin) : -1]
        except (OSError, ValueError):
            return False
        lines = cdr.whole_records(lines)
        return any(map(cdr.is_custom, lines)) and not any(map(cdr.parse_csv, lines))


@frozen
class CdrDatabase:
    """A table of CDRs."""

    url: str = field(repr=False)
    table: str
    password: str | None = field(default=None, repr=False)
    #: Of the channels that a person may hold.
    technologies: Sequence[str] = PERSON_TECHNOLOGIES

    def open(self) -> CdrTable:
        """Return the table.

        Raises:
            HistoryUnreadable: the driver is missing.
        """
        return CdrTable(self.url, self.table, self.password)

    def read(self, since: float, until: float) -> Reading:
        """Return the calls that ended since a time, and perhaps others."""
        table = self.open()
        earliest = local_time(since - LONGEST_WAIT_S - _ZONES_S)
        found = table.rows_since(earliest)
        rows = cdr.read_rows(found, self.technologies)
        calls = [
            call
            for call in cdr.past_calls(rows.rows)
            if call.ended_at is not None and call.ended_at >= since - LONGEST_WAIT_S
        ]
        remarks = []
        without_time = rows.without_time
        try:
            without_time += table.count_without_time(local_time(since - LONGEST_WAIT_S))
        except HistoryUnreadable as error:
            # The CDRs that were read count all the same.
            remarks.append(error.problem)
        if without_time:
            count = f"{without_time}{'+' * (without_time >= MAX_COUNTED)}"
            remarks.append(
                Problem(
                    table.name,
                    f"{count} CDRs have no time and are of no use",
                    "have Asterisk write the column calldate or start",
                )
            )
        if rows.without_uniqueid:
            remarks.append(
                Problem(
                    table.name,
                    f"{rows.without_uniqueid} CDRs have no uniqueid and are of no use",
                    "have Asterisk write it",
                )
            )
        if len(found) >= MAX_ROWS:
            remarks.append(
                Problem(
                    table.name,
                    f"no more than the newest {MAX_ROWS} CDRs are read, and those"
                    " before them are not known",
                    "make missed_window shorter",
                )
            )
        return Reading(calls, tuple(remarks))


@frozen
class QueueLogDatabase:
    """A table that Asterisk writes queue_log into."""

    url: str = field(repr=False)
    table: str
    password: str | None = field(default=None, repr=False)
    #: Of the channels that a person may hold.
    technologies: Sequence[str] = PERSON_TECHNOLOGIES

    def open(self) -> QueueLogTable:
        """Return the table.

        Raises:
            HistoryUnreadable: the driver is missing.
        """
        return QueueLogTable(self.url, self.table, self.password)

    def newest_at(self) -> float | None:
        """Return when the newest row was written, in epoch seconds; None if none was.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        row = self.open().newest()
        moment = None if row is None else read_time(row["time"])
        return None if moment is None else epoch(moment, None)

    def read(self, since: float, until: float) -> Reading:
        """Return the calls that ended since a time, and perhaps others."""
        table = self.open()
        found = table.rows_since(local_time(since - LONGEST_WAIT_S - _ZONES_S))
        rows = queue_log.believed_rows(found, until)
        calls = [
            call
            for call in queue_log.calls_of(rows.lines, self.technologies)
            if call.ended_at is None or call.ended_at >= since - LONGEST_WAIT_S
        ]
        remarks = []
        if rows.without_time:
            remarks.append(
                Problem(
                    table.name,
                    f"{rows.without_time} rows have no time that can be read and are of"
                    " no use",
                    "have the column time hold what Asterisk writes, such as 2026-01-31"
                    " 12:00:00.123456",
                )
            )
        if len(found) >= MAX_ROWS:
            remarks.append(
                Problem(
                    table.name,
                    f"no more than the newest {MAX_ROWS} rows are read, and those"
                    " before them are not known",
                    "make missed_window shorter",
                )
            )
        return Reading(calls, tuple(remarks))


def read_all(sources: Sequence[Source], since: float, until: float) -> Past:
    """Read all histories; if one fails, the others are still read.

    Args:
        sources: the histories; where they differ, the first one counts.
        since: the time to read from, in epoch seconds.
        until: the current time, in epoch seconds.
    """
    readings, troubles = [], []
    for source in sources:
        try:
            readings.append(source.read(since, until))
        except HistoryUnreadable as trouble:
            troubles.append(trouble)
        # Any error: the calls in the other histories are still called back.
        except Exception as error:
            _log.failure("a history can not be read: {source}", source=source)
            troubles.append(
                HistoryUnreadable(
                    source, type(error).__name__, "see the lines before this one"
                )
            )
    return Past(
        calls=together(*(reading.calls for reading in readings)),
        remarks=[remark for reading in readings for remark in reading.remarks],
        troubles=troubles,
    )
