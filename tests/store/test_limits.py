# SPDX-License-Identifier: MIT
"""How the calls that count for a limit are looked up."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from fastagi.domain.limits import CallLimits
from fastagi.domain.numbers import NumberPlan
from fastagi.store import limits
from fastagi.store.engine import Database
from fastagi.store.number_facts import number_facts
from tests.store.harness import NOW


def test_the_calls_of_a_queue_are_found_by_their_time_not_by_all_its_tasks(
    sqlite_url: str,
) -> None:
    """Without statistics, too: a queue may have a million ended tasks."""
    database = Database(sqlite_url, deliver=None)
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    def ask(conn: sa.Connection) -> None:
        few = CallLimits(per_hour={"sales": 5}, per_minute=5, per_number=5)
        sa.event.listen(conn, "before_cursor_execute", note)
        limits.limited(conn, ["sales"], few, NOW)
        number_facts(conn, "+493012345", NumberPlan(region="DE"), "sales", few, NOW)
        sa.event.remove(conn, "before_cursor_execute", note)

    def steps(conn: sa.Connection) -> list[str]:
        return [
            row.detail
            for statement, values in asked
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]

    database.run_now("ask", ask)
    found = database.run_now("explain", steps)

    assert any("ix_attempt_dialled_at" in step for step in found)
    assert not [step for step in found if "task" in step and "(queue=?" in step]
