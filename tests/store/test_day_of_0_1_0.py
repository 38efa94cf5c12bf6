# SPDX-License-Identifier: MIT
"""A database that 0.1.0 wrote is upgraded, and the service goes on with its tasks.

The databases are recordings, tables and all: `tests.recordings.record_databases`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import sqlalchemy as sa

from fastagi.config.sections import NumberPlanSettings
from fastagi.store import migrate
from tests.emulator.scenarios import NO_ANSWER, Answers
from tests.harness import quiet_log as quiet_log
from tests.harness.world import World, queue_settings, settings
from tests.recordings.record_databases import DATABASES
from tests.store.test_upgrade_from_0_1_0 import Commands, as_before

ALICE, BOB, CAROL = "PJSIP/alice", "PJSIP/bob", "PJSIP/carol"
#: The client whose call the service was following when it was killed.
UNDER_WAY: Final = "03012345611"
#: Those who waited, in the order in which they joined the line of their queue.
WAITED: Final = ("03012345612", "03012345613", "03012345615")
MISSED: Final = "03012345614"
#: Was busy once, and waits for the second attempt.
BUSY_BEFORE: Final = "03012345610"


@attrs.frozen
class Recorded:
    """A database of 0.1.0, and what its commands answered."""

    url: str
    answers: dict[str, Any]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The tasks by number, each the latest."""
        return {task["number"]: task for task in reversed(self.answers["listed"])}


def _load(name: str, engine: str) -> tuple[str, dict[str, Any]]:
    dump = (DATABASES / f"{name}.{engine}.sql").read_text()
    return dump, json.loads((DATABASES / f"{name}.{engine}.json").read_text())


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Recorded:
    dump, answers = _load("0.1.0", "sqlite")
    path = tmp_path / "callback-queue.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(dump)
        conn.execute("PRAGMA journal_mode = WAL")
    path.chmod(0o600)
    return Recorded(f"sqlite:///{path}", answers)


@pytest.fixture
def on_postgresql(postgresql_url: str) -> Recorded:
    dump, answers = _load("0.1.0", "postgresql")
    driver = sa.make_url(postgresql_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(driver, poolclass=sa.NullPool)
    with closing(engine.raw_connection()) as conn:
        conn.driver_connection.execute(dump)
        conn.commit()
    return Recorded(postgresql_url, answers)


@pytest.fixture(params=["sqlite", "postgresql"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    found: Recorded = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture
def commands(recorded: Recorded, tmp_path: Path) -> Commands:
    return Commands(
        tmp_path,
        recorded.url,
        number_plan={"region": "DE"},
        queues={"support": {}, "sales": {}},
    )


def _of_database(commands: Commands) -> list[dict[str, Any]]:
    """Return what `check` finds in the database."""
    findings = json.loads(commands.run("check", "--json", exit_code=1))
    return [one for one in findings if one["area"] == "database"]


def test_upgraded_database_tells_the_same_of_the_day(
    recorded: Recorded, commands: Commands
) -> None:
    (outdated,) = _of_database(commands)
    assert outdated["level"] == "fault"
    assert "db upgrade" in outdated["remedy"]

    said = commands.run("db", "upgrade")

    newest = migrate.newest_version()
    assert f"from version {recorded.answers['database']} to {newest}" in said
    assert [one["level"] for one in _of_database(commands)] == ["ok"]
    listed = commands.json("tasks", "list", "--all")
    assert as_before(recorded.answers["listed"], listed) == recorded.answers["listed"]
    for before in recorded.answers["shown"]:
        task = before["task"]
        now = commands.json("tasks", "show", str(task["id"]))
        assert as_before(before, now) == before
        # A code was found for each sentence; an operator's words have none.
        assert (now["task"]["reason_code"] == "text") == (task["reason"] == "by e-mail")
        words = commands.run("tasks", "show", str(task["id"]))
        assert all(event["text"] in words for event in before["history"])
    for command in ("blocked", "refused"):
        before = recorded.answers[command]
        now = commands.json("numbers", {"blocked": "list"}.get(command, command))
        assert as_before(before, now) == before != []


def test_report_counts_the_tasks_of_an_upgraded_database(
    recorded: Recorded, commands: Commands
) -> None:
    commands.run("db", "upgrade")
    day = f"{datetime.fromtimestamp(recorded.answers['ended_at'], UTC):%Y-%m-%d}"

    found = commands.json("report", "--from", day, "--to", day)

    tasks = recorded.answers["listed"]
    totals = found["totals"]
    kinds = Counter(task["kind"] for task in tasks)
    assert {name: totals[name] for name in kinds} == kinds
    ends = Counter(task["status"] for task in tasks)
    renamed = {"completed": "reached", "pending": "open", "calling": "open"}
    expected: Counter[str] = Counter()
    for status, number in ends.items():
        expected[renamed.get(status, status)] += number
    assert totals["asked"] == len(tasks)
    assert {name: totals[name] for name in expected} == expected
    assert len(ends) == 7
    answered = [
        attempt
        for shown in recorded.answers["shown"]
        for attempt in shown["attempts"]
        if attempt["disposition"] == "ANSWERED"
    ]
    assert sum(one["reached"] for one in found["agents"]) == len(answered) > 1


def test_service_goes_on_where_0_1_0_was_killed(
    recorded: Recorded, commands: Commands
) -> None:
    commands.run("db", "upgrade")
    world = World(url=recorded.url)
    world.clock.rightNow = recorded.answers["ended_at"] + 60
    pbx = world.asterisk
    # Asterisk's own database has not changed, and its dialplan wrote it.
    for family, key, value in recorded.answers["astdb"]:
        pbx.astdb[family, key] = value
    pbx.add_queue("support", (ALICE, BOB))
    pbx.add_queue("sales", (CAROL,))
    for interface in (ALICE, BOB, CAROL):
        pbx.phone(interface).always(Answers(after_s=2)).busy(interface == BOB)
    (under_way,) = (
        attempt
        for shown in recorded.answers["shown"]
        for attempt in shown["attempts"]
        if attempt["ended_at"] is None
    )
    open_before = [one for one in recorded.answers["listed"] if one["ended_at"] is None]
    talks = Answers(after_s=3, hangs_up_after_s=20)
    for task in open_before:
        pbx.client(task["number"]).always(talks)
    # The most that one number may be called counts calls of before the upgrade, too.
    pbx.client(BUSY_BEFORE).always(NO_ANSWER)
    quick = {"attempts": 2, "retry_delay": "2m", "member_retry_delay": "30s"}
    try:
        world.begin(
            settings(
                queue_settings("support", **quick),
                queue_settings("sales", **quick),
                number_plan=NumberPlanSettings.model_validate({"region": "DE"}),
            )
        )
        caller = pbx.call("support", "03012345620", name="Nora")
        world.settle()
        pbx.client("03012345620").always(talks)
        caller.press()
        world.run(1200)

        assert caller.heard == ["callback-queue/accepted"]
        ends = {task.number: task for task in world.tasks()}
        reached = {UNDER_WAY, *WAITED, MISSED, "03012345620"}
        assert {ends[number].status.value for number in reached} == {"completed"}
        # Its first attempt was made by 0.1.0, and two are allowed.
        assert ends[BUSY_BEFORE].status.value == "failed"
        assert len(pbx.client(BUSY_BEFORE).rung) == 1
        rung = {number: pbx.client(number).rung for number in reached}
        assert {number: len(rings) for number, rings in rung.items()} == dict.fromkeys(
            reached, 1
        )
        # Whoever waited before the upgrade is called before who asked after it.
        order = sorted(
            reached - {MISSED, UNDER_WAY}, key=lambda number: rung[number][0].at
        )
        assert order == [*WAITED, "03012345620"]
        (lost, again) = world.attempts(ends[UNDER_WAY].id)
        assert lost.channel_id == under_way["channel_id"]
        assert (lost.disposition, again.disposition) == ("UNKNOWN", "ANSWERED")
    finally:
        world.close()
