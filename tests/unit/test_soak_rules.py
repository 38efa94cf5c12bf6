# SPDX-License-Identifier: MIT
"""The rules of the soak find broken promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.soak.plan import Trouble
from tests.soak.rules import Books, Disturbance, Limits, Verdict, read_sqlite
from tests.soak.town import Line

NUMBER = "493000010000"
LIMITS = Limits(attempts=2, success_s=2)
_TABLES = """
CREATE TABLE task (id, kind, status, number, number_key, joined_at, created_at,
                   due_at, expires_at, ended_at, attempts, reason_code, reason_params);
CREATE TABLE attempt (id, task_id, channel_id, disposition);
CREATE TABLE task_event (id INTEGER PRIMARY KEY, task_id, move, linkedid);
"""
TASK = {
    "id": 1,
    "kind": "requested",
    "status": "completed",
    "number": NUMBER,
    "number_key": NUMBER,
    "joined_at": 1.0,
    "created_at": 2.0,
    "due_at": 2.0,
    "expires_at": 99.0,
    "ended_at": 20.0,
    "attempts": 1,
    "reason_code": "talked",
    "reason_params": "{}",
}
#: A client asks, is rung once, and talks for three seconds.
SAW = (
    Line("in", 1.0, NUMBER, ()),
    Line("agent-answers", 9.0, NUMBER, ()),
    Line("rings", 10.0, NUMBER, ("a1",)),
    Line("answers", 11.0, NUMBER, ("a1",)),
    Line("gone", 14.0, NUMBER, ("a1",)),
)
PROMISED = (
    Line("arrives", 1.0, NUMBER, ("call1",)),
    Line("leaves", 3.0, NUMBER, ("call1", "ACCEPTED", "SUCCESS", "", "")),
)


class Story:
    """The recorded lines, to be changed by a test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tasks = [dict(TASK)]
        self.attempts = [(1, 1, "a1", "ANSWERED")]
        self.events = [(1, "create", "call1")]
        self.saw = list(SAW)
        self.promised = list(PROMISED)
        self.disturbances: list[Disturbance] = []

    def judge(self) -> Verdict:
        """Write the database and apply the rules."""
        with sqlite3.connect(self.path) as db:
            db.executescript(_TABLES)
            for task in self.tasks:
                marks = ", ".join(f":{name}" for name in task)
                db.execute(f"INSERT INTO task VALUES ({marks})", task)
            db.executemany("INSERT INTO attempt VALUES (?, ?, ?, ?)", self.attempts)
            db.executemany(
                "INSERT INTO task_event (task_id, move, linkedid) VALUES (?, ?, ?)",
                self.events,
            )
        db.close()
        tables = read_sqlite(self.path)
        books = Books(tables, self.saw, self.promised, self.disturbances)
        return books.judge(LIMITS, now=30.0)

    def broken(self) -> list[str]:
        """Return the names of the rules that are broken."""
        return [rule for rule, found in self.judge().faults.items() if found]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """Return a story in which all is well."""
    return Story(tmp_path / "soak.db")


def test_a_story_in_which_all_is_well_breaks_no_rule(story: Story) -> None:
    assert story.broken() == []


def again(channel_id: str, at: float) -> Sequence[Line]:
    return [Line("rings", at, NUMBER, (channel_id,))]


def test_promise_without_a_task(story: Story) -> None:
    story.promised.append(
        Line("leaves", 5.0, "4930222", ("call2", "ACCEPTED", "SUCCESS", "", ""))
    )
    assert story.broken() == ["lost: accepted, and no task"]


def test_promise_that_was_taken_back(story: Story) -> None:
    story.tasks[0]["status"] = "cancelled"
    story.tasks[0]["reason_code"] = "taken_back"
    assert story.broken() == ["lost: accepted, and no task"]


def test_kept_request_that_nobody_took_over(story: Story) -> None:
    note = Line("leaves", 5.0, "4930222", ("call2", "", "SUCCESS", "kept", ""))
    story.promised.append(note)
    assert story.broken() == ["lost: kept by Asterisk, and no task"]


def test_request_that_was_kept_right_before_asterisk_died_is_not_owed(
    story: Story,
) -> None:
    note = Line("leaves", 5.0, "4930222", ("call2", "", "SUCCESS", "kept", ""))
    story.promised.append(note)
    story.disturbances.append(Disturbance(Trouble.KILL_ASTERISK, 5.5, 9.0, 6.0))
    assert story.broken() == []


def missed(story: Story) -> None:
    story.promised += [
        Line("arrives", 22.0, "4930222", ("call2",)),
        Line("leaves", 24.0, "4930222", ("call2", "", "", "", "")),
    ]


def test_missed_call_without_a_task(story: Story) -> None:
    missed(story)
    assert story.broken() == ["lost: missed in calm, and no task"]


def test_call_missed_while_something_was_broken_is_not_owed(story: Story) -> None:
    missed(story)
    story.disturbances.append(Disturbance(Trouble.KILL_SERVICE, 23.0, 27.0))
    assert story.broken() == []


@pytest.mark.parametrize(
    ("status", "due_at", "expires_at", "broken"),
    [
        ("pending", 40.0, 99.0, False),
        ("pending", 20.0, 99.0, True),
        ("pending", 40.0, 25.0, True),
        ("calling", 20.0, 99.0, True),
    ],
)
def test_task_that_is_open_at_the_end_must_wait_for_something(
    story: Story, status: str, due_at: float, expires_at: float, broken: bool
) -> None:
    story.tasks[0] |= {
        "status": status,
        "due_at": due_at,
        "expires_at": expires_at,
        "ended_at": None,
    }
    assert story.broken() == ["open at the end, unexplained"] * broken


def test_task_that_disappeared(story: Story) -> None:
    story.tasks[0]["id"] = 2
    story.attempts = [(1, 2, "a1", "ANSWERED")]
    story.events = [(2, "create", "call1")]
    assert story.broken() == ["created, less ended and open"]


def test_client_who_is_rung_twice_for_one_attempt(story: Story) -> None:
    story.saw += again("a1", 15.0)
    assert "clients rung twice for one attempt" in story.broken()


def test_client_who_is_rung_during_a_callback(story: Story) -> None:
    story.attempts.append((2, 1, "a2", "BUSY"))
    story.saw.insert(4, again("a2", 12.0)[0])
    assert story.broken() == ["clients in two calls at once"]


def test_call_that_died_with_asterisk_is_over(story: Story) -> None:
    story.attempts.append((2, 1, "a2", "BUSY"))
    story.saw.insert(4, again("a2", 12.0)[0])
    story.disturbances.append(Disturbance(Trouble.KILL_ASTERISK, 11.0, 11.8, 11.5))
    assert story.broken() == []


def test_client_who_is_rung_while_calling_us(story: Story) -> None:
    story.promised.append(Line("arrives", 5.0, NUMBER, ("call2",)))
    assert story.broken() == ["clients rung while they were calling us"]


def test_number_with_two_open_tasks(story: Story) -> None:
    story.tasks.append(TASK | {"id": 2, "created_at": 15.0})
    story.events.append((2, "create", "call3"))
    assert story.broken() == ["numbers with two open tasks"]


def test_client_who_is_rung_without_a_stored_attempt(story: Story) -> None:
    story.saw += again("a9", 25.0)
    assert story.broken() == ["clients rung without a stored attempt"]


def test_client_who_is_rung_more_often_than_allowed(story: Story) -> None:
    for number in (2, 3):
        story.attempts.append((number, 1, f"a{number}", "BUSY"))
        story.saw += again(f"a{number}", 10.0 + 5 * number)
        story.saw.append(Line("gone", 11.0 + 5 * number, NUMBER, (f"a{number}",)))
    assert story.broken() == ["clients rung more often than allowed"]


def test_success_of_two_who_never_talked(story: Story) -> None:
    story.saw = [line for line in story.saw if line.word != "answers"]
    assert story.broken() == ["completed, and they never talked"]


def test_service_to_a_client_whom_nobody_answered(story: Story) -> None:
    story.tasks[0]["status"] = "served"
    assert story.broken() == []
    story.saw = [line for line in story.saw if line.word != "agent-answers"]
    story.path = story.path.with_name("second.db")
    assert story.broken() == ["served, and nobody had answered"]
