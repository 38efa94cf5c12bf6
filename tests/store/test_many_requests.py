# SPDX-License-Identifier: MIT
"""Requests that share a transaction are decided as if each came alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import attrs
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.reason import said
from fastagi.domain.slots import Slot, SlotLimit
from fastagi.domain.task import Entered, Kind, NewTask, Status
from fastagi.store import guards, requests, schema
from fastagi.store.engine import Alone, Database
from fastagi.store.results import Recorded, Refused
from tests.store.harness import NOW, at, new_task

NUMBERS = tuple("123456")
SLOT = Slot(at(1800), at(2400))

#: The arguments of `requests.add`.
Asked = tuple[NewTask, Any, bool, tuple[str, ...], int]


@attrs.frozen
class Before:
    """What is known of a number before the requests."""

    number: str
    is_blocked: bool
    #: Whether it has an open task, and whether that is being called.
    status: Status | None
    #: Calls to it within the last day.
    calls: int


_BEFORE = st.builds(
    Before,
    number=st.sampled_from(NUMBERS),
    is_blocked=st.booleans(),
    status=st.sampled_from([None, None, Status.PENDING, Status.CALLING]),
    calls=st.sampled_from([0, 0, 1, 2]),
)


@st.composite
def _asked(draw: st.DrawFn) -> Asked:
    rare = st.integers(0, 5).map(lambda drawn: drawn == 0)
    number = draw(st.sampled_from(NUMBERS))
    chosen_at = draw(st.sampled_from([at(1900), at(3000)])) if draw(rare) else None
    slot = None
    if draw(rare):
        slot, chosen_at = SlotLimit(SLOT, per_slot=1), SLOT.begins_at
    new = new_task(
        number,
        kind=draw(st.sampled_from(Kind)),
        name=draw(st.sampled_from(["", "Ann", "J\xf6rg \ud800", "\x00"])),
        linkedid=draw(st.sampled_from(["", "1.1", "1.2", "1.3"])),
        priority=draw(st.integers(-1, 2)),
        joined_at=at(draw(st.integers(-60, 0))),
        expires_at=at(draw(st.sampled_from([3600, 90_000]))),
        chosen_at=chosen_at,
        call_by=None if chosen_at is None else chosen_at + timedelta(minutes=10),
        slot=slot,
        entered=Entered(draw(st.sampled_from("78")), 1) if draw(rare) else None,
        why=said(draw(st.sampled_from(["asked", "asked \x00"]))),
    )
    now = at(draw(st.integers(0, 3)))
    return new, now, draw(rare), (), draw(st.sampled_from([0, 0, 1, 2]))


def one_by_one(conn: sa.Connection, asked: Sequence[Asked]) -> list[Any]:
    return [requests.add(conn, *one) for one in asked]


def together(conn: sa.Connection, asked: Sequence[Asked]) -> list[Any]:
    found = requests.add_many(conn, asked)
    return [
        requests.add(conn, *arguments) if isinstance(one, Alone) else one
        for one, arguments in zip(found, asked, strict=True)
    ]


@contextmanager
def undone(conn: sa.Connection, name: str):  # type: ignore[no-untyped-def]
    conn.exec_driver_sql(f"SAVEPOINT {name}")
    yield
    conn.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {name}")


def prepare(conn: sa.Connection, before: Sequence[Before]) -> None:
    for index, one in enumerate(before):
        for call in range(one.calls):
            recorded = requests.add(conn, new_task(one.number), NOW, False)
            assert isinstance(recorded, Recorded)
            _insert_attempt(conn, recorded.task.id, f"{index}-{call}", "BUSY")
            conn.execute(
                sa.update(schema.task)
                .where(schema.task.c.id == recorded.task.id)
                .values(status=Status.FAILED.value, ended_at=at(-1).timestamp())
            )
        if one.status is not None:
            recorded = requests.add(conn, new_task(one.number), NOW, False)
            assert isinstance(recorded, Recorded)
            if one.status is Status.CALLING:
                _insert_attempt(conn, recorded.task.id, f"{index}-now", None)
                conn.execute(
                    sa.update(schema.task)
                    .where(schema.task.c.id == recorded.task.id)
                    .values(status=Status.CALLING.value)
                )
        if one.is_blocked:
            blocked = BlockedNumber(
                number=one.number, number_key=one.number, reason="", at=NOW
            )
            guards.put(conn, blocked, "")


def _insert_attempt(
    conn: sa.Connection, task_id: int, channel: str, result: str | None
) -> None:
    conn.execute(
        sa.insert(schema.attempt).values(
            task_id=task_id,
            channel_id=channel,
            started_at=at(-60).timestamp(),
            dialled_at=at(-50).timestamp(),
            ended_at=None if result is None else at(-40).timestamp(),
            disposition=result,
            member="",
            talk_s=0.0,
            reason_params="",
        )
    )


def outcome(conn: sa.Connection, results: Sequence[Any]) -> dict[str, Any]:
    """Return answers and tables; ids as the place of a task among its number's."""
    tasks = conn.execute(sa.select(schema.task).order_by(schema.task.c.id)).all()
    places: dict[int, tuple[str, int]] = {}
    for task in tasks:
        same = sum(key == task.number_key for key, _ in places.values())
        places[task.id] = (task.number_key, same)
    told: list[Any] = []
    for one in results:
        if isinstance(one, Refused):
            told.append(one)
            continue
        assert isinstance(one, Recorded)
        former = None if one.former is None else attrs.evolve(one.former, id=0)
        told.append(
            attrs.evolve(
                one,
                task=attrs.evolve(one.task, id=0),
                later_id=one.later_id is not None,
                former=former,
            )
        )
        told.append(places[one.task.id])
    event, asked = schema.task_event, schema.asked
    events = conn.execute(
        sa.select(event, asked.c.kind)
        .outerjoin(asked, asked.c.event_id == event.c.id)
        .order_by(event.c.task_id, event.c.id)
    )
    entered = sa.select(schema.entered_number.c.caller_key, schema.entered_number.c.at)
    return {
        "told": told,
        "tasks": sorted((places[row.id], tuple(row)[1:]) for row in tasks),
        "events": sorted(
            (places[row.task_id], number, str(tuple(row)[2:]))
            for number, row in _numbered(events.all())
        ),
        "entered": sorted(map(tuple, conn.execute(entered))),
    }


def _numbered(events: Sequence[sa.Row[Any]]) -> list[tuple[int, sa.Row[Any]]]:
    """Number the events of each task."""
    counts: dict[int, int] = {}
    numbered = []
    for row in events:
        counts[row.task_id] = counts.get(row.task_id, 0) + 1
        numbered.append((counts[row.task_id], row))
    return numbered


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before=st.lists(_BEFORE, max_size=4, unique_by=lambda one: one.number),
    asked=st.lists(_asked(), min_size=1, max_size=8),
)
def test_requests_are_decided_together_as_one_by_one(
    database: Database, before: list[Before], asked: list[Asked]
) -> None:
    found: list[dict[str, Any]] = []

    def compare(conn: sa.Connection) -> None:
        found.clear()
        with undone(conn, "everything"):
            prepare(conn, before)
            for way in (one_by_one, together):
                with undone(conn, "way"):
                    found.append(outcome(conn, way(conn, asked)))

    database.run_now("compare", compare)

    alone, shared = found
    assert shared == alone


def test_the_last_place_of_a_slot_is_for_who_asked_first(database: Database) -> None:
    first = new_task(
        "1", chosen_at=SLOT.begins_at, call_by=SLOT.ends_at, slot=SlotLimit(SLOT, 1)
    )
    # An operator chose a time in the slot just after that.
    second = new_task("2", chosen_at=at(1900), call_by=at(2500))
    asked: list[Asked] = [(first, NOW, False, (), 0), (second, NOW, False, (), 0)]

    found = database.run_now("add", together, asked)

    assert [isinstance(one, Recorded) for one in found] == [True, True]


def test_tasks_stored_together_have_the_ids_that_they_had_one_by_one(
    url: str, database: Database
) -> None:
    """And their events, in the order in which they were asked for."""
    ids: list[tuple[list[int], list[int]]] = []

    def number(conn: sa.Connection) -> None:
        asked = [(new_task(f"{n}"), NOW, False, (), 1) for n in (5, 3, 9, 1)]
        for way in (one_by_one, together):
            with undone(conn, "way"):
                tasks = [one.task.id for one in way(conn, asked)]
                events = conn.execute(
                    sa.select(schema.task_event.c.task_id).order_by(
                        schema.task_event.c.id
                    )
                )
                ids.append((tasks, list(events.scalars())))

    database.run_now("number", number)

    for tasks, tasks_of_events in ids:
        assert tasks == tasks_of_events == sorted(tasks)
    if url.startswith("sqlite"):
        # A sequence of PostgreSQL goes on when a transaction is rolled back.
        assert ids[0] == ids[1]
