# SPDX-License-Identifier: MIT
"""Measure reports and the lists of the console with a million ended tasks.

    python -m tests.store.measure_reports [--tasks 1000000] [--open 10000] [URL ...]

Without a URL: a SQLite file in build/, and a PostgreSQL server of the tests; both are
removed afterwards. A given database that has tasks is used as it is.
Prints for each question the median and the 95th percentile of the time to answer it,
and the mean of this process's processor time (with SQLite all of it).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from fastagi.domain.task import OPEN, Kind, Status
from fastagi.garbage import exclude_existing_objects
from fastagi.node.queue_log_sink import QueueLogSink
from fastagi.reports import ReportQuery, report
from fastagi.store import migrate, positions, queries, tallies
from fastagi.store.backends import backend_for
from fastagi.store.sums import Sums
from tests.lab.databases import PostgreSQL

QUEUES: Final = (
    *("support", "support", "support", "sales", "sales", "orders", "billing"),
    *("returns", "spares", "dealers", "vip"),
)
_BUILD: Final = Path(__file__).parents[2] / "build"
#: Three years.
_DAYS: Final = 1095
ZONE: Final = ZoneInfo("Europe/Berlin")
_RESULTS: Final = (
    *("ANSWERED", "ANSWERED", "ANSWERED", "BUSY", "NO ANSWER", "NO ANSWER", "MACHINE"),
    *("MEMBER NO ANSWER", "SHORT", "UNAVAILABLE"),
)
_ENDS: Final = (
    *("completed", "completed", "completed", "completed", "completed", "completed"),
    *("served", "expired", "cancelled", "failed"),
)
_LAST: Final = date(2026, 11, 28)


def _one_of(words: tuple[str, ...], number: str) -> str:
    cases = " ".join(f"WHEN {i} THEN '{word}'" for i, word in enumerate(words))
    return f"CASE {number} % {len(words)} {cases} END"


def _run(conn: sa.Connection, statement: str) -> None:
    # Unlike exec_driver_sql(), text() lets a "%" be one with every driver.
    conn.execute(sa.text(statement))


def fill(conn: sa.Connection, tasks: int, still_open: int, now: float) -> None:
    """Store ended tasks of three years, and open tasks of the last two hours."""
    per_day = max(1, tasks // _DAYS)
    # The latest task has ended by now.
    latest = now - 700
    first = latest - (_DAYS - 1) * 86400 - 36000
    columns = (
        "kind, status, number, number_key, name, language, queue, linkedid, joined_at,"
        " created_at, due_at, expires_at, ended_at, attempts, member_attempts,"
        " reason_params, cancel_requested, served, reason_code"
    )

    def numbers(count: int) -> str:
        return (
            "WITH RECURSIVE n(i) AS (SELECT CAST(0 AS BIGINT) UNION ALL"
            f" SELECT i + 1 FROM n WHERE i < {count - 1})"
        )

    def insert(count: int, base: int, status: str, created: str, ended: str) -> None:
        kinds = _one_of(("requested", "requested", "missed"), "(i * 7)")
        conn.execute(
            sa.text(
                f"INSERT INTO task ({columns}) {numbers(count)} SELECT {kinds},"
                f" {status}, '+' || ({base} + i), '' || ({base} + i), 'Ada', 'en',"
                f" {_one_of(QUEUES, '(i * 13)')}, i || '.1', {created}, {created},"
                f" {created}, {created} + 14400, {ended}, 1, 0, :params, false, false,"
                " 'talked' FROM n"
            ),
            {"params": '{"talk_s":60.0}'},
        )

    # In ten hours of each day, in order.
    created = (
        f"({first} + (i / {per_day}) * 86400.0 + (i % {per_day}) * {36000 / per_day})"
    )
    ended = f"({created} + 40 + (i * 7919) % 600)"
    insert(tasks, 490_000_000, _one_of(_ENDS, "(i / 3)"), created, ended)
    created = f"({latest - 7200} + i * {7200 / max(still_open, 1)})"
    insert(still_open, 390_000_000, "'pending'", created, "NULL")
    for number, share in ((1, 1), (2, 2)):
        # The last attempt of a completed task is answered.
        result = _one_of(_RESULTS[3:], f"(id / {share} + {number})")
        if number == 1:
            result = f"CASE status WHEN 'completed' THEN 'ANSWERED' ELSE {result} END"
        _run(
            conn,
            "INSERT INTO attempt (task_id, channel_id, started_at, ended_at,"
            " disposition, member, talk_s, reason_params, reason_code, dialled_at)"
            f" SELECT id, 'callback-{number}-' || id, ended_at - 60 * {number},"
            f" ended_at, {result}, 'PJSIP/' || (id % 40), 30, '{{}}',"
            f" 'talked', ended_at - 30 FROM task WHERE id % {share} = 0"
            " AND ended_at IS NOT NULL",
        )
    _run(
        conn,
        "INSERT INTO reached (task_id, talk_at, net_wait_s) SELECT id, ended_at - 30,"
        " ended_at - 30 - created_at FROM task WHERE status = 'completed'",
    )
    moves = {
        "create": ("pending", ""),
        "begin": ("calling", "WHERE ended_at IS NOT NULL"),
        "progress": ("calling", "WHERE ended_at IS NOT NULL"),
        "repeat": ("pending", "WHERE id % 20 = 0"),
    }
    for move, (status, where) in moves.items():
        _run(
            conn,
            "INSERT INTO task_event (task_id, at, move, status, reason_code,"
            f" reason_params, linkedid) SELECT id, created_at, '{move}', '{status}',"
            " reason_code, reason_params, CASE "
            f"'{move}' WHEN 'create' THEN linkedid ELSE '' END FROM task {where}",
        )


def store_counts(conn: sa.Connection, now: float) -> None:
    """Store the counts of all past days and months, as the service does in time."""
    names = dict.fromkeys(QUEUES, ZONE.key)
    tallies.set_zones(conn, names)
    for day, queues in tallies.not_stored(conn, now, 10_000).items():
        tallies.store_day(conn, queues, day)
    tallies.store_longer(conn, 10_000)


def questions(conn: sa.Connection) -> dict[str, Callable[[], object]]:
    """Return what reports and console ask."""
    month, year = _LAST - timedelta(days=29), _LAST - timedelta(days=364)

    def ask(first: date | None, **more: Any) -> Callable[[], object]:
        query = ReportQuery(first=first, last=_LAST, **more)
        return lambda: report(conn, query)

    def tasks(*args: Any) -> Callable[[], object]:
        return lambda: queries.listing(conn, *args)

    last = conn.execute(sa.text("SELECT max(id) FROM task")).scalar_one()
    ended = sorted(frozenset(Status) - OPEN)
    return {
        "report: today": ask(_LAST),
        "report: month": ask(month),
        "report: month, a queue": ask(month, queues=("returns",)),
        "report: year": ask(year),
        "report: year, a kind": ask(year, kind=Kind.MISSED),
        "report: all": ask(None),
        "report: all, a queue": ask(None, queues=("support",)),
        "tasks: open": tasks(sorted(OPEN), None, None, 250),
        "tasks: open of a queue": tasks(sorted(OPEN), "sales", None, 250),
        "tasks: open, page 20": tasks(sorted(OPEN), None, None, 250, last - 5000),
        "tasks: all": tasks(None, None, None, 250),
        "tasks: ended": tasks(ended, None, None, 250),
        "tasks: failed": tasks([Status.FAILED], None, None, 250),
        "tasks: failed of a queue": tasks([Status.FAILED], "vip", None, 250),
        "tasks: a number": tasks(None, None, "490500000", 250),
        "story": lambda: (
            queries.history(conn, last // 2),
            queries.attempts(conn, last // 2),
        ),
        "open by queue": lambda: queries.open_by_queue(conn),
    }


def measure(url: str, tasks: int, still_open: int, times: int) -> None:
    """Fill a database if it is empty, ask each question, and print the times."""
    now = datetime.combine(_LAST, datetime.min.time(), ZONE).timestamp() + 68_000
    prepare(url, tasks, still_open, now)
    exclude_existing_objects()
    with backend_for(url).engine.connect() as conn:
        print(conn.dialect.name)
        # Each report is measured as the first one of its range.
        tallies._SUMS = Sums(0)
        for name, ask in questions(conn).items():
            took, cpu_s = [], time.process_time()
            for _ in range(times):
                began = time.perf_counter()
                ask()
                conn.rollback()
                took.append(1000 * (time.perf_counter() - began))
            cpu_ms = 1000 * (time.process_time() - cpu_s) / times
            took.sort()
            p50, p95 = took[len(took) // 2], took[int(0.95 * (len(took) - 1))]
            late = "  TOO SLOW" if p95 > 300 else ""
            wall = f"p50 {p50:7.1f} ms   p95 {p95:7.1f} ms"
            print(f"  {name:25} {wall}   processor {cpu_ms:6.1f} ms{late}", flush=True)


def prepare(url: str, tasks: int, still_open: int, now: float) -> None:
    """Create a database and fill it if it is empty; store the counts of past days."""
    migrate.prepare(url)
    backend = backend_for(url)
    with backend.engine.connect() as conn:
        if conn.dialect.name == "postgresql":
            driver: Any = conn.connection.driver_connection
            driver.patience_s = None
            conn.exec_driver_sql("SET statement_timeout = 0")
            conn.commit()
        if conn.execute(sa.text("SELECT max(id) FROM task")).scalar() is None:
            fill(conn, tasks, still_open, now)
            # The entries of queue_log are written, as in a service that always ran.
            positions.put_last(conn, QueueLogSink.name)
            conn.commit()
        began = time.perf_counter()
        if conn.dialect.name == "sqlite":
            backend.begin(conn)
        store_counts(conn, now)
        conn.commit()
        if conn.dialect.name == "postgresql":
            # As the server does by itself after a while.
            conn.exec_driver_sql("ANALYZE")
            conn.commit()
        print(f"  counts of past days stored in {time.perf_counter() - began:.0f} s")


def day_of(at: float) -> date:
    """Return the day at a time (epoch seconds) in the zone of the queues."""
    return datetime.fromtimestamp(at, ZONE).date()


@contextmanager
def databases(urls: list[str]) -> Iterator[list[str]]:
    """Yield the databases to measure, without any a new one of each kind."""
    if urls:
        yield urls
        return
    _BUILD.mkdir(exist_ok=True)
    with (
        # Not in memory, as a directory for temporary files may be.
        tempfile.TemporaryDirectory(dir=_BUILD) as directory,
        # PostgreSQL's own default.
        PostgreSQL("128MB") as server,
        server.database() as url,
    ):
        yield [f"sqlite:///{directory}/callbacks.db", url]


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=10_000, dest="still_open")
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("urls", nargs="*", metavar="URL")
    options = parser.parse_args()
    print(f"{options.tasks:,} ended tasks, {options.still_open:,} open ones")
    with databases(options.urls) as urls:
        for url in urls:
            measure(url, options.tasks, options.still_open, options.times)


if __name__ == "__main__":
    main()
