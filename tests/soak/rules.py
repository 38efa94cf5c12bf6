# SPDX-License-Identifier: MIT
"""The book-keeper: what phones saw and callers were promised, against the database.

Must not share code with the product: the database is read with plain SQL.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa

from tests.soak.plan import Trouble
from tests.soak.town import (
    AGENT_ANSWERS,
    ARRIVES,
    CLIENT_ANSWERS,
    CLIENT_GONE,
    CLIENT_RINGS,
    LEAVES,
    Line,
)

_OPEN = ("pending", "calling")
#: Code of the reason of a task whose caller was put back in line: not promised.
_TAKEN_BACK = "taken_back"
#: AstDB is written to the disk once a second: what is younger goes with Asterisk.
_ASTDB_S = 3.0
#: From what happens to when the service must have acted on it.
_NOTICE_S = 2.0
#: What clocks of the dialplan and of the service may differ by.
_HAIR_S = 0.5


_QUERIES = {
    "tasks": "SELECT * FROM task ORDER BY id",
    "attempts": "SELECT * FROM attempt ORDER BY id",
    "events": "SELECT * FROM task_event ORDER BY id",
}
Row = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Tables:
    """The rows of a database."""

    tasks: Sequence[Row]
    attempts: Sequence[Row]
    events: Sequence[Row]
    #: Whether a transaction that was rolled back leaves no gap in the ids.
    without_gaps: bool


def read_sqlite(path: Path) -> Tables:
    """Read a SQLite file."""
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        found: dict[str, Any] = {
            name: [dict(row) for row in db.execute(query)]
            for name, query in _QUERIES.items()
        }
    db.close()
    return Tables(**found, without_gaps=True)


def read_postgresql(url: str) -> Tables:
    """Read a database on a PostgreSQL server."""
    engine = sa.create_engine(url)
    with engine.connect() as db:
        found: dict[str, Any] = {
            name: [dict(row) for row in db.execute(sa.text(query)).mappings()]
            for name, query in _QUERIES.items()
        }
    engine.dispose()
    return Tables(**found, without_gaps=False)


@attrs.frozen
class Disturbance:
    """Something broke, and from when until when nothing is asked of the service."""

    trouble: Trouble
    began: float
    over: float
    #: When the exchange died of it, and every call with it; None if it did not.
    died: float | None = None


@attrs.frozen(kw_only=True)
class Limits:
    """The settings that the rules are about."""

    attempts: int
    success_s: float


@attrs.define
class Verdict:
    """What came of it all."""

    figures: dict[str, str] = attrs.field(factory=dict)
    #: Broken rules, each with an example or more.
    faults: dict[str, list[str]] = attrs.field(factory=dict)

    def rule(self, name: str, breaches: Iterable[str]) -> None:
        """Note what breaks a rule, or that nothing does."""
        self.faults[name] = list(breaches)

    @property
    def good(self) -> bool:
        """Whether no rule is broken."""
        return not any(self.faults.values())

    def __str__(self) -> str:
        width = max(map(len, (*self.figures, *self.faults)))
        lines = [f"  {name:{width}}  {value}" for name, value in self.figures.items()]
        lines.append("")
        for name, found in self.faults.items():
            lines.append(f"  {name:{width}}  {len(found)}{' <-- FAULT' * bool(found)}")
            lines += [f"      {text}" for text in found[:5]]
        return "\n".join(lines)


class Books:
    """Everything that was written down in one run."""

    def __init__(
        self,
        tables: Tables,
        saw: Sequence[Line],
        promised: Sequence[Line],
        disturbances: Sequence[Disturbance],
    ) -> None:
        self.tasks = tables.tasks
        self.attempts = tables.attempts
        self.events = tables.events
        self._without_gaps = tables.without_gaps
        self.saw = saw
        self.promised = promised
        self.disturbances = disturbances
        self.deaths = [one.died for one in disturbances if one.died is not None]
        self._tasks_of_calls: dict[str, set[int]] = defaultdict(set)
        for event in self.events:
            self._tasks_of_calls[event["linkedid"]].add(event["task_id"])
        self._attempt = {one["channel_id"]: one for one in self.attempts}
        self._task = {one["id"]: one for one in self.tasks}

    def judge(self, limits: Limits, now: float) -> Verdict:
        """Apply every rule."""
        verdict = Verdict(self._figures())
        rule = verdict.rule
        rule("created, less ended and open", self._not_in_balance())
        rule("lost: accepted, and no task", self._broken_promises())
        rule("lost: kept by Asterisk, and no task", self._lost_notes())
        rule("lost: missed in calm, and no task", self._lost_missed())
        rule("open at the end, unexplained", self._unexplained(now))
        rule("clients rung twice for one attempt", self._rung_twice())
        rule("clients in two calls at once", self._two_calls())
        rule("clients rung while they were calling us", self._rung_while_calling())
        rule("numbers with two open tasks", self._two_tasks())
        rule("clients rung without a stored attempt", self._rung_unstored())
        rule("clients rung more often than allowed", self._rung_too_often(limits))
        rule("completed, and they never talked", self._false_successes(limits))
        rule("served, and nobody had answered", self._false_services())
        return verdict

    # -- figures

    def _figures(self) -> dict[str, str]:
        words = Counter(line.word for line in self.saw)
        told = Counter(
            line.rest[1] or line.rest[3] or "-"
            for line in self.promised
            if line.word == LEAVES
        )
        kinds = Counter(task["kind"] for task in self.tasks)
        ends = Counter(task["status"] for task in self.tasks)
        results = Counter(one["disposition"] or "under way" for one in self.attempts)
        open_ones = sum(ends[status] for status in _OPEN)
        return {
            "calls of clients": f"{words['in']}, {_count(told)}",
            "tasks created": f"{len(self.tasks)}, {_count(kinds)}",
            "tasks ended": f"{len(self.tasks) - open_ones}, {_count(ends)}",
            "tasks open": f"{open_ones}",
            "attempts": f"{len(self.attempts)}, {_count(results)}",
            "clients rung, answered": (
                f"{words[CLIENT_RINGS]}, {words[CLIENT_ANSWERS]}"
            ),
            "agents rung, answered": f"{words['agent-rings']}, {words[AGENT_ANSWERS]}",
            "troubles": _count(Counter(d.trouble.value for d in self.disturbances)),
        }

    # -- nothing is lost

    def _not_in_balance(self) -> Iterable[str]:
        created = Counter(
            event["task_id"] for event in self.events if event["move"] == "create"
        )
        last = self.tasks[-1]["id"] if self.tasks else 0
        if self._without_gaps and last != len(self.tasks):
            yield f"{len(self.tasks)} tasks, and the last is {last}"
        for task in self.tasks:
            if created[task["id"]] != 1:
                yield f"task {task['id']} was created {created[task['id']]} times"
            if (task["status"] in _OPEN) is not (task["ended_at"] is None):
                yield f"task {task['id']} is {task['status']}, ended or not"

    def _broken_promises(self) -> Iterable[str]:
        for line in self._left():
            if line.rest[1] not in ("ACCEPTED", "ALREADY"):
                continue
            tasks = [self._task[id_] for id_ in self._tasks_of_calls[line.rest[0]]]
            if not tasks or all(task["reason_code"] == _TAKEN_BACK for task in tasks):
                yield _told(line)

    def _lost_notes(self) -> Iterable[str]:
        for line in self._left():
            if line.rest[3] != "kept" or line.rest[1]:
                continue
            at_risk = any(0 <= death - line.at < _ASTDB_S for death in self.deaths)
            if not (at_risk or self._tasks_of_calls[line.rest[0]]):
                yield _told(line)

    def _lost_missed(self) -> Iterable[str]:
        arrived = {
            line.rest[0]: line.at for line in self.promised if line.word == ARRIVES
        }
        for line in self._left():
            linkedid, status, _heard, kept, answered_by = line.rest
            began = arrived.get(linkedid)
            if status or kept or answered_by or began is None:
                continue
            calm = self._calm(began - _NOTICE_S, line.at + _NOTICE_S)
            if calm and not self._tasks_of_calls[linkedid]:
                yield _told(line)

    def _unexplained(self, now: float) -> Iterable[str]:
        for task in self.tasks:
            if task["status"] == "calling":
                yield f"task {task['id']} is being called, and nobody is in a call"
            elif task["status"] == "pending" and task["expires_at"] < now - _NOTICE_S:
                yield f"task {task['id']} is too old and has not ended"
            elif task["status"] == "pending" and task["due_at"] < now - _NOTICE_S:
                yield f"task {task['id']} is due, agents are free: {_why(task)}"

    def _left(self) -> Iterable[Line]:
        return (line for line in self.promised if line.word == LEAVES)

    def _calm(self, since: float, until: float) -> bool:
        return not any(
            one.began < until and since < one.over for one in self.disturbances
        )

    # -- nothing is done twice

    def _rung_twice(self) -> Iterable[str]:
        rings = Counter(line.rest[0] for line in self.saw if line.word == CLIENT_RINGS)
        return (
            f"{attempt or 'no attempt'}: {n} rings"
            for attempt, n in rings.items()
            if n > 1
        )

    def _two_calls(self) -> Iterable[str]:
        by_number = defaultdict(list)
        for began, ended, line in self._client_calls():
            by_number[line.number].append((began, ended, line.rest[0]))
        for number, calls in by_number.items():
            for (_, ended, first), (began, _, second) in itertools.pairwise(calls):
                if began < ended:
                    yield f"{number}: {first} to {ended:.1f}, {second} at {began:.1f}"

    def _client_calls(self) -> Iterable[tuple[float, float, Line]]:
        """Yield when each call to a client began and ended, in order."""
        gone = {line.rest[0]: line.at for line in self.saw if line.word == CLIENT_GONE}
        for line in self.saw:
            if line.word == CLIENT_RINGS:
                ended = gone.get(line.rest[0], float("inf"))
                # The phone does not notice at once that the exchange is dead.
                died = (death for death in self.deaths if death > line.at)
                yield line.at, min(ended, *died, float("inf")), line

    def _rung_while_calling(self) -> Iterable[str]:
        left = {line.rest[0]: line.at for line in self._left()}
        calls = defaultdict(list)
        for line in self.promised:
            if line.word == ARRIVES:
                died = [death for death in self.deaths if death > line.at]
                ended = left.get(line.rest[0], float("inf"))
                calls[line.number].append((line.at, min(ended, *died, float("inf"))))
        for line in self.saw:
            if line.word != CLIENT_RINGS:
                continue
            for began, ended in calls[line.number]:
                inside = began + _NOTICE_S < line.at < ended - _HAIR_S
                if inside and self._calm(line.at - _NOTICE_S, line.at):
                    yield f"{line.number} at {line.at:.1f}, in a call since {began:.1f}"

    def _two_tasks(self) -> Iterable[str]:
        by_key = defaultdict(list)
        for task in self.tasks:
            by_key[task["number_key"]].append(task)
        for key, tasks in by_key.items():
            for first, second in itertools.pairwise(tasks):
                if first["ended_at"] is None or first["ended_at"] > (
                    second["created_at"] + _HAIR_S
                ):
                    yield f"{key}: tasks {first['id']} and {second['id']}"

    def _rung_unstored(self) -> Iterable[str]:
        for line in self.saw:
            if line.word == CLIENT_RINGS and line.rest[0] not in self._attempt:
                yield f"{line.number} at {line.at:.1f} for {line.rest[0]!r}"

    def _rung_too_often(self, limits: Limits) -> Iterable[str]:
        rings: Counter[int] = Counter()
        for began, ended, line in self._client_calls():
            attempt = self._attempt.get(line.rest[0])
            if attempt is not None and not any(
                began <= death <= ended + _ASTDB_S for death in self.deaths
            ):
                # In a call that died with Asterisk it may not be known that they rang.
                rings[attempt["task_id"]] += 1
        for task_id, count in rings.items():
            if count > limits.attempts:
                yield f"task {task_id}: {count} rings"
        for task in self.tasks:
            if task["attempts"] > limits.attempts:
                yield f"task {task['id']}: {task['attempts']} attempts"

    # -- nothing is made up

    def _false_successes(self, limits: Limits) -> Iterable[str]:
        talked: dict[str, float] = {}
        gone = {line.rest[0]: line.at for line in self.saw if line.word == CLIENT_GONE}
        for line in self.saw:
            if line.word == CLIENT_ANSWERS:
                talked[line.rest[0]] = gone.get(line.rest[0], float("inf")) - line.at
        for attempt in self.attempts:
            if attempt["disposition"] == "ANSWERED":
                seconds = talked.get(attempt["channel_id"], 0.0)
                if seconds < limits.success_s - _HAIR_S:
                    yield f"task {attempt['task_id']}: talked for {seconds:.1f} s"

    def _false_services(self) -> Iterable[str]:
        answered = defaultdict(list)
        for line in self.saw:
            if line.word == AGENT_ANSWERS:
                answered[line.number].append(line.at)
        for task in self.tasks:
            if task["status"] == "served" and not any(
                task["joined_at"] - _HAIR_S < at < task["ended_at"] + _HAIR_S
                for at in answered[task["number"]]
            ):
                yield f"task {task['id']}: {_why(task)}"


def _told(line: Line) -> str:
    return f"{line.number} at {line.at:.1f}: {', '.join(line.rest)}"


def _count(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def _why(task: Row) -> str:
    return f"{task['reason_code']} {task['reason_params']}"
