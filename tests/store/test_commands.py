# SPDX-License-Identifier: MIT
"""Commands on each database, without a service."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from fastagi.command import offline
from fastagi.config.sections import DatabaseSettings, Settings
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Code, said
from fastagi.domain.task import OPEN, Kind, Status
from fastagi.doors import codec
from fastagi.errors import CallbackError
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service.commands import (
    COMMANDS,
    HIGHEST_ID,
    Actor,
    AddTask,
    BulkAction,
    CancelTask,
    ListTasks,
    ShowStatus,
    ShowTask,
    TaskAdded,
    TaskList,
    TaskStory,
)
from fastagi.service.opening_state import OpeningState
from fastagi.service.refusals import Refusals
from fastagi.service.requests import Requests
from fastagi.service.task_changes import NoLine
from fastagi.service.task_commands import TaskCommands
from fastagi.store import migrate
from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.harness.world import settings
from tests.store.harness import NOW, done, new_task

ADA = Actor("ada")


@pytest.fixture
def given_settings(url: str) -> Settings:
    return attrs.evolve(settings(), database=DatabaseSettings(url=url))


_values = {
    "id": st.integers(1, HIGHEST_ID),
    "before_id": st.none() | st.integers(1, HIGHEST_ID),
    "limit": st.integers(1, 10_000),
    "all": st.booleans(),
    "status": st.none()
    | st.sampled_from(Status)
    | st.lists(st.sampled_from(Status), max_size=3),
    "kind": st.none() | st.sampled_from(Kind) | st.just("missed,manual"),
    "reason_code": st.none() | st.sampled_from(Code),
    "text": st.text(max_size=100),
    "created_from": st.just("") | st.just("2026-03-01") | st.text(max_size=100),
    "created_to": st.just("") | st.just("2026-03-01T12:00Z") | st.text(max_size=100),
    "front": st.booleans(),
    "behind": st.none() | st.integers(1, HIGHEST_ID),
    "agent": st.just("PJSIP/bob") | st.text(max_size=200),
    "duration": st.just("") | st.just("30m") | st.text(max_size=100),
    "release": st.booleans(),
    "note": st.text(max_size=1000),
    "action": st.sampled_from(BulkAction),
    "ids": st.none() | st.lists(st.integers(1, HIGHEST_ID), max_size=5),
    "preview": st.booleans(),
    "expect": st.just("") | st.text(max_size=100),
    "before": st.just("") | st.just("+4930123456") | st.text(max_size=100),
    "queue": st.just("support") | st.text(max_size=100),
    "number": st.just("+4930123456") | st.text(max_size=100),
    "name": st.text(max_size=200),
    "at": st.just("") | st.just("+2h") | st.text(max_size=100),
    "now": st.booleans(),
    "reason": st.text(max_size=500),
    "block": st.sampled_from(["", "keep", "lift"]),
}
_kinds = [kind for kind in COMMANDS.values() if kind is not ShowStatus]


def _commands(kind: Any) -> st.SearchStrategy[Any]:
    fields = {one.name: _values[one.name] for one in attrs.fields(kind)}
    made = st.fixed_dictionaries(fields)

    def make(values: dict[str, Any]) -> Any:
        try:
            return kind(**values)
        except CallbackError:
            return None

    return made.map(make).filter(lambda command: command is not None)


@given(command=st.one_of([_commands(kind) for kind in _kinds]))
@how(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_command_that_can_be_made_can_be_carried_out(
    given_settings: Settings, command: Any
) -> None:
    """Or refused with a message: no database fails on its contents."""
    try:
        answer = offline.do(given_settings, command, ADA)
    except CallbackError as error:
        assert str(error)
        assert "out of range" not in str(error)
        return
    assert json.loads(b"".join(codec.answer_pieces(answer))) is not None


def test_a_long_list_is_read_in_several_transactions(url: str) -> None:
    database = Database(url, deliver=None)
    store = TaskStore(database)
    for number in range(1200):
        done(store.add(new_task(f"{number}"), NOW))
    clock = MachineClock(cast(IReactorTime, Clock()), NOW.timestamp)
    background = Background(clock)
    requests = Requests(
        store=store,
        clock=clock,
        background=background,
        settings=settings,
        refusals=Refusals(store=store, clock=clock, background=background),
        tasks_changed=lambda: None,
    )
    desk = TaskCommands(
        store=store,
        requests=requests,
        clock=clock,
        settings=settings,
        opening_state=OpeningState(settings),
        tasks_changed=lambda: None,
        withdraw=lambda _task_id, _reason: None,
        withdraw_unanswered=lambda _task_id, _reason: None,
        position=lambda _task_id: None,
        line=NoLine(),
    )
    before = database.commits
    answer = done(desk.list(ListTasks(limit=1100), ADA))
    assert isinstance(answer, TaskList)
    assert [state.task.id for state in answer.tasks] == list(range(1200, 100, -1))
    assert database.commits - before == 3
    done(database.close())


def test_tasks_are_counted_in_slices(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastagi.store.store._COUNTED_AT_ONCE", 2)
    database = Database(url, deliver=None)
    store = TaskStore(database)
    assert sum(done(store.counts()).values()) == 0
    for number in range(5):
        done(store.add(new_task(f"{number}"), NOW))
    done(store.cancel(3, said("by hand"), NOW))
    before = database.commits
    counts = done(store.counts())
    assert (counts[Status.PENDING], counts[Status.CANCELLED]) == (4, 1)
    assert sum(counts.values()) == 5
    assert database.commits - before == 3
    done(database.close())


def test_few_open_tasks_are_found_without_a_look_at_those_that_ended(
    sqlite_url: str,
) -> None:
    """Queries that run often, or while callers press the key."""
    database = Database(sqlite_url, deliver=None)
    store = TaskStore(database)
    asked: list[tuple[str, Any]] = []
    engine = database._backend.engine

    def listen(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    sa.event.listen(engine, "before_cursor_execute", listen)
    for ask in (
        store.open_attempts,
        lambda: store.oldest_open(NOW),
        lambda: store.past_call_by(NOW),
        store.next_call_by,
        store.open_by_queue,
        store.waiting_tasks,
        lambda: store.waiting_tasks(["sales", "support"]),
        store.counts,
        lambda: store.listing(OPEN),
        lambda: store.listing([Status.FAILED], before_id=9),
        lambda: store.listing(queue="sales", limit=500),
    ):
        done(ask())  # type: ignore[arg-type]
    sa.event.remove(engine, "before_cursor_execute", listen)

    def plans(conn: sa.Connection) -> list[str]:
        return [
            row[3]
            for statement, values in asked
            if statement.startswith("SELECT")
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]

    for step in database.run_now("plans", plans):
        assert not re.match(
            r"SCAN (task|attempt)(?! USING INDEX (uq|ix)_\w*(open|"
            r"pending|under_way))(?! USING COVERING INDEX \w*open)",
            step,
        ), step
    done(database.close())


def test_a_restored_postgresql_database_gets_statistics_at_the_start(
    empty_postgres_url: str,
) -> None:
    migrate.upgrade(empty_postgres_url)
    database = Database(empty_postgres_url, deliver=None)
    done(TaskStore(database).add(new_task("1"), NOW))
    done(database.close())

    def analysed() -> int:
        with backend_for(empty_postgres_url).engine.connect() as conn:
            known = "SELECT count(DISTINCT tablename) FROM pg_stats WHERE tablename"
            return int(
                conn.exec_driver_sql(f"{known} IN ('task', 'task_event')").scalar_one()
            )

    # As after pg_restore: rows without statistics.
    assert analysed() == 0
    migrate.prepare(empty_postgres_url)
    assert analysed() == 2


@pytest.mark.parametrize("database_of", ["sqlite_path", "empty_postgres_url"])
def test_a_number_blocked_before_its_key_changed_is_found_after_the_upgrade(
    database_of: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = request.getfixturevalue(database_of)
    url = where if database_of == "empty_postgres_url" else f"sqlite:///{where}"
    before = tmp_path / "before"
    shutil.copytree(migrate.MIGRATIONS, before)
    for file in (before / "versions").glob("[0-9]*.py"):
        if file.name >= "0009":
            file.unlink()
    migrate.upgrade(url, migrations=before)
    with backend_for(url).engine.begin() as conn:
        conn.exec_driver_sql(
            "INSERT INTO blocked (number_key, number, region, reason, at) VALUES"
            " ('5491123456789', '+5491123456789', 'AR', 'asked us to', 1)"
        )
    migrate.upgrade(url)
    plan = NumberPlan("AR")
    database = Database(url, deliver=None)
    store = TaskStore(database)
    assert done(store.rekey_blocked(plan)) == 1
    assert done(store.rekey_blocked(plan)) == 0
    assert done(store.unblock(plan.key("+541123456789"))) is not None
    done(database.close())


def test_command_without_a_service_says_in_the_story_who_gave_it(
    given_settings: Settings,
) -> None:
    add = AddTask(queue="support", number="+4930123456")
    added = offline.do(given_settings, add, Actor())
    assert isinstance(added, TaskAdded)
    offline.do(given_settings, add, ADA)
    offline.do(given_settings, CancelTask(id=added.state.task.id), Actor("bob"))
    story = offline.do(given_settings, ShowTask(id=added.state.task.id), ADA)
    assert isinstance(story, TaskStory)
    assert [str(event.why) for event in story.history] == [
        "added by hand",
        "asked for again by hand (ada)",
        "cancelled by hand (bob)",
    ]
