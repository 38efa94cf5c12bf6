# SPDX-License-Identifier: MIT
"""Open tasks for measurements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from fastagi.domain.reason import said
from fastagi.domain.task import Kind, NewTask
from fastagi.store.engine import Database
from fastagi.store.requests import add


def fill(url: str, queues: Sequence[str], count: int) -> None:
    """Store tasks that may be called now, in these queues in turn."""
    now = datetime.now(UTC)

    def store(conn: sa.Connection) -> None:
        for number in range(count):
            # Many queues have a task that could be called, so the queue varies.
            new = NewTask(
                kind=Kind.REQUESTED,
                number=f"4930{number:08}",
                number_key=f"4930{number:08}",
                queue=queues[number % len(queues)],
                joined_at=now + timedelta(microseconds=number),
                due_at=now,
                expires_at=now + timedelta(hours=4),
                why=said("to be measured"),
            )
            add(conn, new, now, False)

    database = Database(url, deliver=None)
    database.run_now("fill", store)
    _ = database.close()
