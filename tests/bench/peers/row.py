# SPDX-License-Identifier: MIT
"""What each peer does in its handler: one row, committed to the disk."""

from __future__ import annotations

import sqlite3
import time


class Rows:
    """One table in a SQLite file, as durable as the service's own."""

    def __init__(self, path: str) -> None:
        self._conn = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.execute("PRAGMA synchronous=FULL")
        self._conn.execute(
            "CREATE TABLE request (id INTEGER PRIMARY KEY, number TEXT NOT NULL,"
            " queue TEXT NOT NULL, at REAL NOT NULL)"
        )

    def commit(self, number: str, queue: str) -> None:
        """Store a request; return after its COMMIT."""
        self._conn.execute(
            "INSERT INTO request (number, queue, at) VALUES (?, ?, ?)",
            (number, queue, time.time()),
        )
