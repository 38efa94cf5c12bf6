# SPDX-License-Identifier: MIT
"""Reports, and what is kept about a number, on the command line without a service."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from fastagi.command import cli
from fastagi.reports import DEFINITIONS
from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import RULES, done, verdict

NUMBER = "+493012345678"


class Shell:
    """The command line with a database of its own."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}/cq.db"
        self.config = path / "callback-queue.yaml"
        settings = {
            "ami": {"secret": "x"},
            "database": {"url": self.url},
            "control": {"socket": str(path / "control.sock")},
            "number_plan": {"region": "DE"},
            "defaults": {
                "outbound_channel": "PJSIP/{number}@trunk",
                "opening_hours": {"time_zone": "Europe/Berlin"},
            },
            "queues": {"support": {}, "sales": {}},
        }
        self.config.write_text(yaml.safe_dump(settings))
        migrate.upgrade(self.url)

    def run(self, *words: str) -> Result:
        """Run a command."""
        return CliRunner().invoke(cli.main, [*words, "--config", str(self.config)])

    def good(self, *words: str) -> str:
        """Run a command that must succeed; return what it prints."""
        found = self.run(*words)
        assert found.exit_code == 0, found.output
        return found.output

    def call(self) -> None:
        """Call the next task and reach the client."""
        database = Database(self.url, deliver=None)
        store, now = TaskStore(database), datetime.now(UTC)
        done(store.begin_attempts(["support", "sales"], ["callback-1"], now))
        ended = verdict("ANSWERED", member="PJSIP/ada")
        done(store.close_attempt("callback-1", ended, RULES, now))
        done(database.close())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A command line with an empty database."""
    return Shell(tmp_path)


def test_a_report_is_printed_as_text_json_and_csv(shell: Shell) -> None:
    shell.good("tasks", "add", "support", NUMBER)
    shell.call()
    shell.good("tasks", "add", "sales", "+493087654321")

    text = shell.good("report")
    assert "asked                           2  (0)" in text
    assert "share reached             100.0 %  (-)" in text
    assert "PJSIP/ada" in text
    explained = shell.good("report", "--explain", "--from", "all")
    assert "however often they were called" in explained.replace("\n    ", " ")

    found = json.loads(shell.good("report", "--json", "--queue", "SUPPORT"))
    assert found["queues"] == ["support"]
    assert found["zones"] == ["Europe/Berlin"]
    assert found["totals"]["reached"] == 1
    assert len(found["by_day"]) == 30
    assert set(found["definitions"]) == set(DEFINITIONS)

    days = ("--from", "yesterday", "--to", "today", "--goal", "10m")
    rows = list(csv.DictReader(io.StringIO(shell.good("report", "--csv", *days))))
    assert [row["asked"] for row in rows] == ["0", "2", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "monday"), "'monday' is no day: write it as 20"),
        (("--from", "2026-02-03", "--to", "2026-02-01"), "is after the last"),
        (("--goal", "31m"), "the goal can not be 1860 s; 1800 s can"),
        (("--goal", "soon"), "--goal must be a time such as 30s"),
        (("--csv", "--json"), "Give either --csv or --json"),
    ],
)
def test_a_wrong_argument_of_a_report_is_named(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    found = shell.run("report", *words)
    assert found.exit_code
    assert said in found.output


def test_what_is_kept_about_a_number_is_exported_and_erased(shell: Shell) -> None:
    shell.good("tasks", "add", "support", NUMBER, "--name", "Ada")
    found = shell.run("numbers", "erase", "030 12345678")
    assert found.exit_code == 1
    assert "cancel it first: callback-queue tasks cancel 1" in found.output
    shell.good("tasks", "cancel", "1")

    kept = json.loads(shell.good("numbers", "export", "030/12345678"))
    assert kept["tasks"][0]["task"]["name"] == "Ada"
    assert [event["move"] for event in kept["tasks"][0]["history"]] == [
        "create",
        "cancel",
    ]

    said = shell.good("numbers", "erase", NUMBER)
    assert said.startswith("erased from 1 tasks, 0 other entries")
    assert json.loads(shell.good("numbers", "export", NUMBER))["tasks"] == []
    story = shell.good("tasks", "show", "1")
    assert NUMBER not in story
    assert "Ada" not in story
    assert "its number was erased (" in story
    found = shell.run("tasks", "retry", "1")
    assert "the number of task 1 was erased - add a new task" in found.output


def test_of_a_blocked_number_the_operator_says_what_becomes_of_the_block(
    shell: Shell,
) -> None:
    shell.good("numbers", "block", NUMBER, "--reason", "asked by Ada")
    found = shell.run("numbers", "erase", NUMBER)
    assert found.exit_code == 1
    assert "--keep-block" in found.output
    assert "it stays blocked" in shell.good("numbers", "erase", NUMBER, "--keep-block")
    listed = shell.good("numbers", "list")
    assert NUMBER in listed
    assert "Ada" not in listed
    shell.good("numbers", "erase", NUMBER, "--lift-block")
    assert NUMBER not in shell.good("numbers", "list")
