# SPDX-License-Identifier: MIT
"""A database of version 0.1.0 shows the same tasks after ``db upgrade`` as before.

``database_of_0_1_0.json`` has rows that 0.1.0 wrote in its own simulation, with each
kind of reason and each move that occurred in 200 runs, and the output of ``tasks show
--json`` of 0.1.0 for each task.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner

from fastagi.command import cli
from fastagi.domain.turns import ANY_TURN, Turn
from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import RULES, done, verdict
from tests.store.test_migrate import connect, everything, older, unmade_url

__all__ = ["older", "unmade_url"]

_WRITTEN: Final = json.loads(
    Path(__file__).with_name("database_of_0_1_0.json").read_text()
)
#: The database version of 0.1.0.
_ITS_VERSION: Final = "0006"
#: Texts without a code: an attempt withdrawn for the same reason as its task, and a
#: clock that was set back while a caller waited.
_TEXTS: Final = frozenset(
    {
        "the number is blocked; the number is blocked",
        "missed call: hung up after -25 s in queue support",
    }
)


class Commands:
    """The commands of this version on a database that 0.1.0 wrote."""

    def __init__(self, home: Path, url: str, **sections: Any) -> None:
        self.url = url
        self._config = home / "callback-queue.yaml"
        self._config.write_text(
            yaml.safe_dump(
                {
                    "ami": {"secret": "x"},
                    "database": {"url": url},
                    "control": {"socket": str(home / "control.sock")},
                    "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
                    "queues": {"support": {}},
                    **sections,
                }
            )
        )

    def run(self, *words: str, exit_code: int = 0) -> str:
        """Run a command and return its output."""
        done = CliRunner().invoke(cli.main, [*words, "--config", str(self._config)])
        assert done.exit_code == exit_code, done.output
        return done.stdout

    def json(self, *words: str) -> Any:
        """Run a command and return its answer."""
        return json.loads(self.run(*words, "--json"))


@pytest.fixture
def service(unmade_url: str, older: Callable[[str], Path], tmp_path: Path) -> Commands:
    migrate.upgrade(unmade_url, migrations=older(_ITS_VERSION))
    with connect(unmade_url).begin() as conn:
        for name, (columns, *rows) in _WRITTEN["rows"].items():
            table = sa.Table(name, sa.MetaData(), autoload_with=conn)
            # One of the migrations inserts a row into one of them.
            conn.execute(table.delete())
            flags = {one.name for one in table.c if isinstance(one.type, sa.Boolean)}
            for row in rows:
                values = dict(zip(columns, row, strict=True))
                for flag in flags & values.keys():
                    values[flag] = bool(values[flag])
                conn.execute(table.insert().values(values))
    return Commands(tmp_path, unmade_url)


def as_before(before: Any, now: Any) -> Any:
    """Return the current output without what 0.1.0 did not show."""
    if isinstance(before, dict):
        return {name: as_before(before[name], now[name]) for name in before}
    if isinstance(before, list):
        assert len(before) == len(now)
        return [as_before(*pair) for pair in zip(before, now, strict=True)]
    return now


def test_tasks_are_shown_after_the_upgradeas_before_it(service: Commands) -> None:
    said = service.run("db", "upgrade")

    assert f"from version {_ITS_VERSION} to {migrate.newest_version()}" in said
    shown = _WRITTEN["shown"]
    for before in shown:
        number = str(before["task"]["id"])
        now = service.json("tasks", "show", number)
        assert as_before(before, now) == before
        is_text = now["task"]["reason_code"] == "text"
        assert is_text == (now["task"]["reason"] in _TEXTS)
        words = service.run("tasks", "show", number)
        for event in before["history"]:
            assert event["text"] in words
    listed = service.json("tasks", "list", "--all")
    assert [one["id"] for one in listed] == sorted(
        (one["task"]["id"] for one in shown), reverse=True
    )
    by_id = {one["task"]["id"]: one["task"] for one in shown}
    for one in listed:
        assert as_before(by_id[one["id"]], one) == by_id[one["id"]]


def test_rows_without_a_reason_are_kept(service: Commands) -> None:
    before = everything(service.url)
    service.run("db", "upgrade")
    after = everything(service.url)
    for table in ("asked", "position", "mark"):
        assert after[table] == before[table]
    for table in ("task", "attempt", "task_event", "refusal", "blocked"):
        assert len(after[table]) == len(before[table]) > 0
    refused = service.json("numbers", "refused")
    columns, *rows = _WRITTEN["rows"]["refusal"]
    words = [dict(zip(columns, row, strict=True))["reason"] for row in rows]
    assert sorted(one["reason"] for one in refused) == sorted(words)


#: After every row of 0.1.0, in epoch seconds.
_LATER = 1_800_100_000.0


def _leave_open(url: str) -> None:
    """Add open tasks: two that wait, and one with an attempt."""
    with connect(url).begin() as conn:
        tables = sa.MetaData()
        task = sa.Table("task", tables, autoload_with=conn)
        attempt = sa.Table("attempt", tables, autoload_with=conn)
        for number, status, joined_s in (
            (101, "pending", 20.0),
            (102, "pending", 10.0),
            (103, "calling", 0.0),
        ):
            values = {
                "id": number,
                "kind": "requested",
                "status": status,
                "number": f"+49{number}",
                "number_key": f"49{number}",
                "name": "Jörg",
                "language": "en",
                "queue": "support",
                "linkedid": f"1.{number}",
                "joined_at": _LATER + joined_s,
                "created_at": _LATER + 30,
                "due_at": _LATER + 30,
                "expires_at": _LATER + 3600,
                "ended_at": None,
                "attempts": 1,
                "member_attempts": 2,
                "reason": "the client pressed the key in queue support",
                "cancel_requested": False,
                "served": False,
            }
            conn.execute(task.insert().values(values))
        under_way = {
            "id": 1003,
            "task_id": 103,
            "channel_id": "callback-under-way",
            "started_at": _LATER + 40,
            "ended_at": None,
            "disposition": None,
            "member": "",
            "talk_s": 0.0,
            "reason": "",
        }
        conn.execute(attempt.insert().values(under_way))
        if conn.dialect.name == "postgresql":
            # The rows were inserted with their ids, which a service never does.
            for name in ("task", "attempt", "task_event"):
                conn.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'),"
                    f" (SELECT max(id) FROM {name}))"
                )


def test_open_tasks_are_called_after_the_upgrade_in_their_order(
    service: Commands,
) -> None:
    _leave_open(service.url)

    service.run("db", "upgrade")

    now = datetime.fromtimestamp(_LATER + 60, UTC)
    database = Database(service.url, deliver=None)
    store = TaskStore(database)
    (under_way,) = done(store.open_attempts())
    assert under_way.attempt.channel_id == "callback-under-way"
    # The first task joined the line before a caller between the two.
    begun = []
    for last in (Turn(_LATER + 15), Turn(_LATER + 15), ANY_TURN):
        found = done(
            store.begin_attempts({"support"}, [f"c{len(begun)}"], now, last=last)
        )
        begun.append([one.task.id for one in found.begun])
    assert begun == [[102], [], [101]]
    ended = done(
        store.close_attempt("callback-under-way", verdict("ANSWERED"), RULES, now)
    )
    assert ended.status == "completed"
    for number in (101, 102, 103):
        task = done(store.find(number))
        assert task is not None
        assert (task.priority, task.chosen_at, task.call_by) == (0, None, None)
    done(database.close())
