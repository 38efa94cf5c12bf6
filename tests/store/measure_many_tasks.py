# SPDX-License-Identifier: MIT
"""Measure what the service asks of a database that holds many ended tasks.

    python -m tests.store.measure_many_tasks [--tasks 1000000] [--unanalysed] [URL]

Without a URL: a SQLite file in the current directory, removed afterwards. PostgreSQL
must be empty. Prints how long each question takes, and how long the longest of its
transactions, which is what a caller who presses the key may have to wait for it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from fastagi.domain.limits import CallLimits
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Code
from fastagi.domain.task import OPEN, Kind, Status
from fastagi.store import migrate
from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.selection import Selection
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, done, new_task

_ENDS = ("completed", "completed", "completed", "served", "expired", "cancelled")


def fill(url: str, count: int) -> None:
    """Put ended tasks with an attempt and three events each into an empty database."""
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <"
        f" {count})"
    )
    ends = " ".join(f"WHEN {i} THEN '{end}'" for i, end in enumerate(_ENDS))
    with backend_for(url).engine.connect() as conn:
        if conn.dialect.name == "postgresql":
            driver: Any = conn.connection.driver_connection
            driver.patience_s = None
            conn.exec_driver_sql("SET statement_timeout = 0")
        conn.execute(
            sa.text(
                "INSERT INTO task (kind, status, number, number_key, name, language,"
                " queue, linkedid, joined_at, created_at, due_at, expires_at,"
                " ended_at, attempts,"
                f" member_attempts, reason_params, cancel_requested, served,"
                f" reason_code) {numbers}"
                f" SELECT 'requested', CASE i % 6 {ends} END, '+' || (490000000 + i),"
                " '' || (490000000 + i), 'Ada', 'en',"
                " CASE i % 1000 WHEN 0 THEN 'sales' ELSE 'support' END, i || '.1',"
                f" {NOW.timestamp()} - i, {NOW.timestamp()} - i, {NOW.timestamp()} - i,"
                f" {NOW.timestamp()}, {NOW.timestamp()}, 1, 0, :params,"
                " false, false, 'talked' FROM n"
            ),
            {"params": '{"talk_s":60.0}'},
        )
        conn.execute(
            sa.text(
                "INSERT INTO attempt (task_id, channel_id, started_at, ended_at,"
                " disposition, member, talk_s, reason_params, reason_code) SELECT id,"
                " 'callback-' || id, created_at, ended_at, 'ANSWERED', 'PJSIP/ada', 60,"
                " reason_params, reason_code FROM task"
            )
        )
        for move, status in (("create", "pending"), ("begin", "calling")):
            conn.execute(
                sa.text(
                    "INSERT INTO task_event (task_id, at, move, status,"
                    " reason_code, reason_params, linkedid)"
                    f" SELECT id, created_at, '{move}', '{status}', reason_code,"
                    " reason_params,"
                    f" CASE '{move}' WHEN 'create' THEN linkedid ELSE '' END FROM task"
                )
            )
        conn.commit()


def main() -> None:
    """Read the arguments, fill the database and ask."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--unanalysed", action="store_true")
    parser.add_argument("url", nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as directory:
        url = options.url or f"sqlite:///{directory}/callbacks.db"
        migrate.prepare(url)
        began = time.perf_counter()
        fill(url, options.tasks)
        if not options.unanalysed:
            # As at each start of the service.
            migrate.prepare(url)
        print(f"{options.tasks:,} tasks in {time.perf_counter() - began:.0f} s")
        measure(url)


def measure(url: str) -> None:
    """Ask each question a few times and print the times."""
    database = Database(url, deliver=None)
    store = TaskStore(database)
    longest = 0.0
    process = database._transactions.process

    def timed(group: list[Any]) -> None:
        nonlocal longest
        began = time.perf_counter()
        process(group)
        longest = max(longest, time.perf_counter() - began)

    database._transactions.process = timed  # type: ignore[method-assign]
    number = iter(range(1000))
    limits = CallLimits(per_minute=120, per_number=10, per_hour={})

    questions: dict[str, Callable[[], Awaitable[Any]]] = {
        "key press": lambda: store.add(
            new_task(f"{next(number)}", linkedid="new"), NOW, once=True, most_calls=10
        ),
        "counts": store.counts,
        "oldest open": lambda: store.oldest_open(NOW),
        "open by queue": store.open_by_queue,
        "open attempts": store.open_attempts,
        "next due": lambda: store.next_due(["support"], NOW, call_limits=limits),
        "next expiry": store.next_expiry,
        "list open": lambda: store.listing(OPEN),
        "list all, 500": lambda: store.listing(limit=500),
        "list one number": lambda: store.listing(number_key="490000007"),
        "list failed": lambda: store.listing([Status.FAILED]),
        "list queue sales": lambda: store.listing(queue="sales", limit=500),
        "list queue nowhere": lambda: store.listing(queue="nowhere", limit=500),
        "search a number": lambda: store.select(Selection(text="4711"), 100),
        "search nobody": lambda: store.select(Selection(text="nobody"), 100),
        "search a reason": lambda: store.select(
            Selection(reason_codes=[Code.BLOCKED]), 100
        ),
        "search a kind": lambda: store.select(Selection(kinds=[Kind.MANUAL]), 100),
        "search an old day": lambda: store.select(
            Selection(
                created_from=NOW - timedelta(seconds=900_000),
                created_to=NOW - timedelta(seconds=899_000),
            ),
            100,
        ),
        "one number's facts": lambda: store.number_facts(
            "+490000007", NumberPlan(), "support", limits, NOW
        ),
    }
    for name, ask in questions.items():
        done(ask())  # type: ignore[arg-type]
        times = []
        longest = 0.0
        for _ in range(5):
            began = time.perf_counter()
            done(ask())  # type: ignore[arg-type]
            times.append(time.perf_counter() - began)
        print(
            f"{name:20} {sorted(times)[2] * 1000:8.1f} ms,"
            f" longest transaction {longest * 1000:.1f} ms"
        )
    done(database.close())


if __name__ == "__main__":
    main()
