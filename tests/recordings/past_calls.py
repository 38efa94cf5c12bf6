# SPDX-License-Identifier: MIT
"""The recorded histories, and how each call in them ended.

``histories/`` has what Asterisk 22 and 16 wrote while these calls were made, one after
another, in this order: the first by 49301110001, the second by 49301110002. Every call
except those to ``internal`` contexts came in to the context ``inbound``.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen

from fastagi.domain.counting import CountingRules
from fastagi.history import cdr, queue_log
from fastagi.history.facts import PastCall
from fastagi.history.judge import Judged, judge
from tests.lab.config import FREEPBX_CDR

HISTORIES: Final = Path(__file__).with_name("histories")
VERSIONS: Final = ("22.10", "16.28")
#: A moment after all recorded and invented calls, in epoch seconds.
LATER: Final = 4e9

#: The columns of ``freepbx.csv``, which are those columns of FreePBX's table ``cdr``
#: that Asterisk fills.
FREEPBX: Final = list(FREEPBX_CDR)

QUEUES: Final = CountingRules(queues=frozenset({"support", "sales"}))
INBOUND: Final = CountingRules(queues=QUEUES.queues, contexts=frozenset({"inbound"}))


@frozen
class Made:
    """A recorded call, and its outcome in each history.

    Empty: the history lacks the call. The outcomes of the CDRs apply if every call from
    ``inbound`` counts.
    """

    what: str
    in_queue_log: str
    in_cdrs: str
    queue: str = "support"


MADE: Final = (
    Made("hangs up in the queue", "missed", "missed"),
    Made("queue times out", "missed", "missed"),
    Made("one queue after another", "missed", "missed", "sales"),
    Made("then an extension, which nobody answers", "missed", "missed"),
    # queue_log lacks what happens after the queue.
    Made("then an extension, which is answered", "missed", "answered"),
    Made("then voicemail", "missed", "missed"),
    Made("hangs up in a menu", "", "missed"),
    Made("an extension nobody answers", "", "missed"),
    Made("an extension is answered after a menu", "", "answered"),
    Made("one of two phones is answered", "", "answered"),
    Made("reaches the queue through a Local channel", "missed", "missed"),
    Made("is parked and nobody comes", "", "missed"),
    Made("is parked and fetched", "", "answered"),
    Made("key 1, back in line, hangs up", "missed", "missed"),
    Made("key 1, hangs up at once", "missed", "missed"),
    Made("answered", "answered", "answered"),
    Made("one agent is busy, the other answers", "answered", "answered"),
    Made("hangs up while an agent rings", "missed", "missed"),
    Made("answered, transferred, not answered", "answered", "answered"),
    Made("picked up by another", "answered", "answered"),
    Made("called by hand", "", "called"),
    Made("called by hand through a Local channel", "", "called"),
    Made("a Local caller hangs up", "missed", "missed"),
    Made("half of a Local channel hangs up", "missed", "missed"),
    Made("a member behind a Local channel answers", "answered", "answered"),
    Made("hangs up while such a member rings", "missed", "missed"),
    # No history shows that the number was withheld.
    Made("withholds the number, in a menu", "", "missed"),
    # The request is in the store, and the same call adds no second one.
    Made("key 1, is called back", "missed", "missed"),
    # A killed Asterisk writes no CDR.
    Made("waits while Asterisk is killed", "missed", ""),
)
NUMBERS: Final = [f"49301110{number:03}" for number in range(1, len(MADE) + 1)]


def client_key(number: str) -> str:
    """Return the number if it can be a client's."""
    return number if re.fullmatch(r"[0-9]{5,}", number) else ""


def judged(
    calls: Sequence[PastCall],
    rules: CountingRules = INBOUND,
) -> Judged:
    """Judge calls in the same way as the service."""
    return judge(
        calls,
        rules,
        client_key=client_key,
        is_own=lambda uniqueid: uniqueid.startswith("callback-"),
    )


def outcomes(found: Judged) -> dict[str, set[str]]:
    """Return the outcome of each client's calls."""
    outcomes: dict[str, set[str]] = {}
    for ended in found.known:
        if ended.key:
            outcomes.setdefault(ended.key, set()).add(ended.outcome.value)
    for contact in found.contacts:
        if contact.contact.value == "called":
            outcomes.setdefault(contact.key, set()).add("called")
    return outcomes


def lines(version: str, name: str) -> list[bytes]:
    """Return the lines of a recorded file."""
    return (HISTORIES / version / name).read_bytes().splitlines()


def from_queue_log(version: str) -> list[PastCall]:
    """Read the recorded queue_log."""
    return queue_log.past_calls(lines(version, "queue_log"), LATER)


def from_master_csv(version: str) -> list[PastCall]:
    """Read the recorded CDRs of ``cdr_csv``, which have no linkedid."""
    return _from_csv(version, "Master.csv")


def from_custom_csv(version: str) -> list[PastCall]:
    """Read the recorded CDRs of ``cdr_custom``."""
    return _from_csv(version, "freepbx.csv", FREEPBX)


def _from_csv(version: str, name: str, columns: Sequence[str] = ()) -> list[PastCall]:
    parsed = [cdr.parse_csv(line, columns) for line in lines(version, name)]
    rows = cdr.read_rows(row for row in parsed if row is not None)
    assert len(rows.rows) == len(parsed)
    return cdr.past_calls(rows.rows)


def make_cdr_table(
    path: Path, rows: Sequence[Sequence[object]], columns: Sequence[str] = FREEPBX
) -> None:
    """Create a table like FreePBX's, and fill it."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"CREATE TABLE cdr (calldate DATETIME, {', '.join(columns[1:])})")
        marks = ", ".join("?" * len(columns))
        conn.executemany(f"INSERT INTO cdr VALUES ({marks})", rows)


def freepbx_rows(version: str) -> list[list[str]]:
    """Return the recorded CDRs in the columns of FreePBX's table."""
    text = (HISTORIES / version / "freepbx.csv").read_text()
    return list(csv.reader(io.StringIO(text)))
