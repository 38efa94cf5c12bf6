# SPDX-License-Identifier: MIT
"""Measure the upgrade of a large database of version 0.1.0.

    python -m tests.store.measure_upgrade [--tasks 100000] [--postgresql]

Each task has an attempt and seven events with sentences as 0.1.0 wrote them, of which
two are unique. Without an option: a SQLite file in the current directory,
removed afterwards; else a PostgreSQL server of its own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from fastagi.store import migrate
from fastagi.store.backends import backend_for
from tests.lab.databases import PostgreSQL
from tests.lab.install import install

#: The database version of 0.1.0.
_OF_0_1_0: Final = "0006"
_TALKED: Final = "'they talked for ' || (i % 3000) || '.' || (i % 10) || ' s'"
_CHANNEL: Final = "'callback-' || i || '-1'"
#: Move, status and text of each event of task ``i``.
_EVENTS: Final = (
    ("create", "pending", "'the client pressed the key in queue support'"),
    ("begin", "calling", f"'attempt 1 begins, channel id ' || {_CHANNEL}"),
    ("progress", "calling", "'PJSIP/' || (100 + i % 50) || ' rings'"),
    ("progress", "calling", "'PJSIP/' || (100 + i % 50) || ' answered'"),
    ("progress", "calling", "'dialling +' || (49301000000 + i)"),
    ("progress", "calling", "'agent and client are talking'"),
    ("complete", "completed", _TALKED),
)


def fill(url: str, tasks: int) -> None:
    """Put ended tasks into an empty database of version 0.1.0."""
    series = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <"
        f" {tasks})"
    )
    with backend_for(url).engine.connect() as conn:
        if conn.dialect.name == "postgresql":
            driver: Any = conn.connection.driver_connection
            driver.patience_s = None
            conn.exec_driver_sql("SET statement_timeout = 0")
        conn.execute(
            sa.text(
                "INSERT INTO task (id, kind, status, number, number_key, name,"
                " language, queue, linkedid, joined_at, created_at, due_at, expires_at,"
                " ended_at, attempts, member_attempts, reason, cancel_requested,"
                f" served) {series} SELECT i, 'requested', 'completed',"
                " '+' || (49301000000 + i), '' || (49301000000 + i), 'Ada', 'en',"
                " 'support', i || '.1', 1000 + i, 1000 + i, 1000 + i, 9000 + i,"
                f" 1060 + i, 1, 0, {_TALKED}, false, false FROM n"
            )
        )
        conn.execute(
            sa.text(
                "INSERT INTO attempt (id, task_id, channel_id, started_at, ended_at,"
                f" disposition, member, talk_s, reason) {series} SELECT i, i,"
                f" {_CHANNEL}, 1000 + i, 1060 + i, 'ANSWERED', 'PJSIP/100', 60,"
                f" {_TALKED} FROM n"
            )
        )
        for move, status, words in _EVENTS:
            conn.execute(
                sa.text(
                    "INSERT INTO task_event (task_id, attempt_id, at, move, status,"
                    f" text, linkedid) {series} SELECT i, i, 1000 + i, '{move}',"
                    f" '{status}', {words}, '' FROM n"
                )
            )
        conn.commit()


@contextmanager
def database(postgresql: bool) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if not postgresql:
        with tempfile.TemporaryDirectory(dir=".") as directory:
            yield f"sqlite:///{directory}/callbacks.db"
        return
    install(["databases"])
    server = PostgreSQL()
    try:
        server.start()
        with server.database() as url:
            yield url
    finally:
        server.close()


def main() -> None:
    """Read the arguments, fill a database and upgrade it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        database(options.postgresql) as url,
    ):
        older = Path(folder, "migrations")
        shutil.copytree(Path(migrate.__file__).parent / "migrations", older)
        for step in (older / "versions").glob("[0-9]*_*.py"):
            if step.name[:4] > _OF_0_1_0:
                step.unlink()
        migrate.upgrade(url, migrations=older)
        fill(url, options.tasks)
        began = time.perf_counter()
        print(migrate.upgrade(url))
        print(f"{options.tasks:,} tasks in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
