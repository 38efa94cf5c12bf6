# SPDX-License-Identifier: MIT
"""Selecting tasks by their properties, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.domain.task import OPEN, Status
from fastagi.store import selection as selection_module
from fastagi.store.engine import Database
from fastagi.store.requests import add
from fastagi.store.selection import Selection, by_ids, search, select_tasks
from tests.store.harness import NOW, new_task


@pytest.fixture
def ids(database: Database) -> list[int]:
    """The ids of tasks: in support, sales and support again, and one has ended."""

    def fill(conn: sa.Connection) -> list[int]:
        made = [
            add(conn, new_task(number, queue=queue, name=name), NOW, False).task.id
            for number, queue, name in (
                ("4930111111", "support", "Jane Roe"),
                ("4930222222", "sales", "Иван Петров"),
                ("4930333333", "support", "100% Ltd"),
                ("4930444444", "support", ""),
            )
        ]
        conn.exec_driver_sql(
            f"UPDATE task SET status = 'failed', ended_at = 1 WHERE id = {made[3]}"
        )
        return made

    return database.run_now("fill", fill)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"queues": {"support"}}, [3, 2, 0]),
        ({"queues": {"support", "sales"}}, [3, 2, 1, 0]),
        ({"queues": set()}, []),
        ({"statuses": OPEN}, [2, 1, 0]),
        ({"statuses": OPEN, "queues": {"sales", "support"}}, [2, 1, 0]),
        ({"statuses": {Status.FAILED}}, [3]),
        ({"statuses": {Status.PENDING}}, [2, 1, 0]),
        ({"statuses": {Status.CALLING}}, []),
        ({"statuses": set()}, []),
        ({"statuses": {Status.FAILED, Status.PENDING}}, [3, 2, 1, 0]),
        ({"text": "jANE"}, [0]),
        ({"text": "иван"}, [1]),
        ({"text": "%"}, [2]),
        ({"text": "_"}, []),
        ({"text": "100% lTD"}, [2]),
        ({"text": "100_ lTD"}, []),
        ({"text": "lTD\\"}, []),
        ({"text": "петров", "queues": {"sales"}}, [1]),
        ({"text": "jane", "statuses": {Status.FAILED}}, []),
        ({"text": "jane", "statuses": {Status.FAILED, Status.PENDING}}, [0]),
        ({"text": "030 222-222"}, [1]),
        ({"text": "30222222", "in_numbers": False}, []),
        ({"text": "jANE", "in_numbers": False}, [0]),
        ({"text": "100", "in_numbers": False}, []),
        ({"before": 2}, [1, 0]),
        ({"before": 2, "statuses": OPEN}, [1, 0]),
        ({"before": 2, "queues": {"support"}}, [0]),
    ],
)
def test_each_property_selects(
    database: Database,
    ids: list[int],
    wanted: dict[str, Any],
    found: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = dict(wanted)
    before_id = ids[wanted.pop("before")] if "before" in wanted else None
    selection = Selection(**wanted)
    got = database.run_now("select", select_tasks, selection, 10, before_id)
    assert [ids.index(task.id) for task in got] == found
    # However many of them are the latest, which are read first.
    for latest in (1, 2, 3):
        monkeypatch.setattr(selection_module, "IDS_AT_ONCE", latest)
        for limit in (1, 2, 10):
            got = database.run_now("search", search, selection, limit, before_id)
            assert [ids.index(task.id) for task in got] == found[:limit]


def test_no_more_are_returned_than_wanted(database: Database, ids: list[int]) -> None:
    for queues in (None, frozenset({"support", "sales"})):
        wanted = Selection(queues=queues)
        got = database.run_now("select", select_tasks, wanted, 2)
        assert [task.id for task in got] == ids[:1:-1]


def test_ids_that_do_not_exist_are_left_out(database: Database, ids: list[int]) -> None:
    got = database.run_now("by ids", by_ids, [ids[1], 9999, ids[0]])
    assert [task.id for task in got] == ids[:2]


@pytest.mark.parametrize(
    "wanted",
    [
        {"statuses": [Status.PENDING]},
        {"statuses": [Status.CALLING], "text": "jane"},
        {"statuses": OPEN, "created_from": NOW},
    ],
)
def test_waiting_tasks_are_selected_without_reading_those_that_ended(
    sqlite_url: str, wanted: dict[str, Any]
) -> None:
    """The service reads them in one transaction, and callers wait for its end."""
    selection = Selection(**wanted)
    assert not selection.reads_all
    database = Database(sqlite_url, deliver=None)
    plans: list[str] = []

    def plan(conn: sa.Connection) -> None:
        statements: list[tuple[str, Any]] = []

        def note(_conn, _cursor, statement, parameters, *_) -> None:
            statements.append((statement, parameters))

        sa.event.listen(conn, "before_cursor_execute", note)
        select_tasks(conn, selection, 10)
        sa.event.remove(conn, "before_cursor_execute", note)
        for statement, parameters in statements:
            rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row.detail for row in rows)

    database.run_now("plan", plan)
    database.close()

    assert any("USING INDEX ix_task_open_queue_joined_at" in one for one in plans), (
        plans
    )
