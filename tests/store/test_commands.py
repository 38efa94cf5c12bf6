# SPDX-License-Identifier: MIT
"""Commands on each database, without a service."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from fastagi import offline
from fastagi.calls.task import Status
from fastagi.config.model import DatabaseSettings, Settings
from fastagi.errors import CallbackError
from fastagi.service import codec
from fastagi.service.commands import (
    COMMANDS,
    HIGHEST_ID,
    Actor,
    ListTasks,
    ShowStatus,
    TaskList,
)
from fastagi.service.desk import TaskDesk
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, done, new_task
from tests.support.world import settings

ADA = Actor("ada")


@pytest.fixture
def given_settings(url: str) -> Settings:
    return attrs.evolve(settings(), database=DatabaseSettings(url=url))


_values = {
    "id": st.integers(1, HIGHEST_ID),
    "before_id": st.none() | st.integers(1, HIGHEST_ID),
    "limit": st.integers(1, 10_000),
    "all": st.booleans(),
    "status": st.none() | st.sampled_from(Status),
    "queue": st.just("support") | st.text(max_size=100),
    "number": st.just("+4930123456") | st.text(max_size=100),
    "name": st.text(max_size=200),
    "reason": st.text(max_size=500),
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
    """Or says in words why not: no database refuses what is in it."""
    try:
        answer = offline.do(given_settings, command, ADA)
    except CallbackError as error:
        assert str(error)
        assert "out of range" not in str(error)
        return
    assert b"".join(codec.answer_pieces(answer)).endswith(b"\n")


def test_a_long_list_is_read_in_several_transactions(url: str) -> None:
    database = Database(url, deliver=None)
    store = TaskStore(database)
    for number in range(1200):
        done(store.add(new_task(f"{number}"), NOW))
    desk = TaskDesk(
        store=store,
        clock=_Clock(),
        settings=settings,
        tasks_changed=lambda: None,
    )
    before = database.commits
    answer = done(desk.list(ListTasks(limit=1100), ADA))
    assert isinstance(answer, TaskList)
    assert [state.task.id for state in answer.tasks] == list(range(1200, 100, -1))
    assert database.commits - before == 3
    done(database.close())


class _Clock:
    def seconds(self) -> float:
        """Return the time of the tests."""
        return NOW.timestamp()
