# SPDX-License-Identifier: MIT
"""Counts tasks for the reports, and stores the counts of past days.

A report reads the stored counts of whole years, months, weeks and days, and counts the
rest from the tasks themselves: today, days with open tasks, days that are not stored
yet. Both come from one function (:func:`fastagi.domain.tally.tally_of`), so the figures
do not depend on what is stored. A day is stored when it has been over for a while and
has no open task: from then on only an operator can change it, by putting a task back in
line, which deletes its counts (:func:`forget`). So no request of a caller and no end of
a task costs more because of the reports.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy import bindparam, case, delete, func, insert, select, text, update

from fastagi.domain.tally import (
    QUARTER_S,
    CountedAttempt,
    CountedTask,
    LocalDay,
    Tally,
    add,
    day_of,
    local_day,
    local_days,
    tally_of,
)
from fastagi.domain.task import Kind, Status
from fastagi.store import schema
from fastagi.store.schema import Span
from fastagi.store.sums import Sums

#: A range of time in epoch seconds; the end does not belong to it.
Range = tuple[float, float]

_ONE_DAY: Final = timedelta(days=1)
#: How long a day has been over when it is stored. If a clock is set back by less, no
#: task is stored on such a day.
SETTLED: Final = timedelta(hours=6)
#: The zone of a queue that the service has not named yet.
NO_ZONE: Final = "UTC"
#: The kind in rows about what does not depend on tasks.
NO_KIND: Final = ""
#: The columns of a row that are numbers of its tally, too.
COUNTS: Final = ("asked", "reached", "failed", "expired", "cancelled", "served")

_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_reached: Final = schema.reached
_offer: Final = schema.offer
_tally: Final = schema.tally
_zone: Final = schema.queue_zone

_TASKS: Final = select(
    _task.c.id,
    _task.c.queue,
    _task.c.kind,
    _task.c.status,
    _task.c.reason_code,
    _task.c.created_at,
).where(
    _task.c.created_at >= bindparam("begins_at"),
    _task.c.created_at < bindparam("ends_at"),
    text(schema.ENDED_ONLY),
)
_OPEN_IN_RANGE: Final = (
    text(f"task.{schema.OPEN_ONLY}"),
    _task.c.created_at >= bindparam("begins_at"),
    _task.c.created_at < bindparam("ends_at"),
)
#: Quarters of an hour as whole numbers. SQLite truncates, and may have no floor().
_QUARTERS: Final = {
    "sqlite": sa.cast(_task.c.created_at / QUARTER_S, sa.Integer),
    "postgresql": sa.cast(func.floor(_task.c.created_at / QUARTER_S), sa.Integer),
}
_OPEN_TASKS: Final = {
    dialect: select(
        _task.c.queue,
        _task.c.kind,
        quarter.label("quarter"),
        func.count().label("number"),
        func.min(_task.c.id).label("low"),
        func.max(_task.c.id).label("high"),
    )
    .where(*_OPEN_IN_RANGE)
    # PostgreSQL sorts numbers in half the time that it needs for texts.
    .group_by(quarter, _task.c.kind, _task.c.queue)
    for dialect, quarter in _QUARTERS.items()
}
_OPEN_ATTEMPTS: Final = (
    select(
        _task.c.queue,
        _task.c.kind,
        _task.c.created_at,
        _attempt.c.disposition,
        _attempt.c.member,
        _attempt.c.talk_s,
    )
    .join(_attempt, _attempt.c.task_id == _task.c.id)
    .where(
        *_OPEN_IN_RANGE,
        # Few open tasks have had an attempt: PostgreSQL begins with the attempts.
        _attempt.c.task_id.between(bindparam("low"), bindparam("high")),
        _attempt.c.disposition.is_not(None),
    )
)
_OPEN_REPEATS: Final = (
    select(_task.c.queue, _task.c.kind, _task.c.created_at)
    .join(_event, _event.c.task_id == _task.c.id)
    .where(
        *_OPEN_IN_RANGE,
        _event.c.task_id.between(bindparam("low"), bindparam("high")),
        text(f"task_event.{schema.REPEATED}"),
    )
)
_ATTEMPTS: Final = (
    select(
        _attempt.c.task_id,
        _attempt.c.disposition,
        _attempt.c.member,
        _attempt.c.talk_s,
    )
    .where(
        _attempt.c.task_id.between(bindparam("low"), bindparam("high")),
        _attempt.c.disposition.is_not(None),
    )
    .order_by(_attempt.c.task_id)
)
_REACHED: Final = select(
    _reached.c.task_id, _reached.c.talk_at, _reached.c.net_wait_s
).where(_reached.c.task_id.between(bindparam("low"), bindparam("high")))
_REPEATS: Final = (
    select(_event.c.task_id, func.count().label("times"))
    .where(
        text(schema.REPEATED),
        _event.c.task_id.between(bindparam("low"), bindparam("high")),
    )
    .group_by(_event.c.task_id)
)
_OFFERS: Final = (
    select(_offer.c.queue, _offer.c.at, _offer.c.outcome)
    .where(_offer.c.at >= bindparam("begins_at"), _offer.c.at < bindparam("ends_at"))
    .order_by(_offer.c.at)
)
#: The names of all queues with tasks, by an index that has them in order.
_QUEUES_OF_TASKS: Final = text(
    "WITH RECURSIVE named(queue) AS (SELECT min(queue) FROM task UNION ALL"
    " SELECT (SELECT min(task.queue) FROM task WHERE task.queue > named.queue)"
    " FROM named WHERE named.queue IS NOT NULL)"
    " SELECT queue FROM named WHERE queue IS NOT NULL"
)
#: The same of stored counts, to be continued.
_NAMED_STORED: Final = (
    "WITH RECURSIVE named(queue) AS (SELECT min(queue) FROM tally UNION ALL"
    " SELECT (SELECT min(tally.queue) FROM tally WHERE tally.queue > named.queue)"
    " FROM named WHERE named.queue IS NOT NULL)"
)
_QUEUES_STORED: Final = text(
    f"{_NAMED_STORED} SELECT queue FROM named WHERE queue IS NOT NULL"
)
_OLDEST: Final = select(func.min(_task.c.created_at))
_LAST_TASK: Final = select(func.max(_task.c.id))
#: Only the first range of each queue is read.
_OLDEST_STORED: Final = text(
    f"{_NAMED_STORED} SELECT min((SELECT min(tally.begins_at) FROM tally"
    " WHERE tally.queue = named.queue)) FROM named"
)
#: The first open task of a queue in a range of time; there are few open tasks.
_HAS_OPEN: Final = text(
    f"SELECT 1 FROM task WHERE {schema.OPEN_ONLY} AND task.queue = :queue"
    " AND task.created_at >= :begins_at AND task.created_at < :ends_at LIMIT 1"
)
_STORED: Final = (
    select(_tally.c.queue, _tally.c.begins_at, _tally.c.ends_at)
    .where(
        _tally.c.span == bindparam("span"),
        _tally.c.kind == NO_KIND,
        _tally.c.begins_at >= bindparam("begins_at"),
        _tally.c.begins_at < bindparam("ends_at"),
    )
    .order_by(_tally.c.begins_at)
)
_NUMBERS: Final = select(
    _tally.c.queue, _tally.c.begins_at, _tally.c.kind, _tally.c.numbers
).where(
    _tally.c.span == bindparam("span"),
    # All kinds are named, so that an index is used.
    _tally.c.kind.in_([NO_KIND, *(kind.value for kind in Kind)]),
    _tally.c.begins_at.in_(bindparam("all_begin_at", expanding=True)),
)
_BY_DAY: Final = (
    select(
        _tally.c.begins_at,
        *(func.sum(_tally.c[name]) for name in COUNTS),
        *(
            func.sum(case((_tally.c.kind == kind.value, _tally.c.asked), else_=0))
            for kind in Kind
        ),
    )
    .where(
        _tally.c.span == Span.DAY.value,
        _tally.c.kind.in_(bindparam("kinds", expanding=True)),
        _tally.c.queue.in_(bindparam("queues", expanding=True)),
        _tally.c.begins_at >= bindparam("begins_at"),
        _tally.c.ends_at <= bindparam("ends_at"),
    )
    .group_by(_tally.c.begins_at)
)
_STORE: Final = insert(_tally)
_OF_SPAN: Final = (
    _tally.c.span == bindparam("of_span"),
    _tally.c.queue == bindparam("of_queue"),
    _tally.c.begins_at == bindparam("of_begin"),
)
_REMOVE: Final = delete(_tally).where(*_OF_SPAN)
_AROUND: Final = (
    _tally.c.queue == bindparam("of_queue"),
    _tally.c.begins_at <= bindparam("of_at"),
    _tally.c.ends_at > bindparam("of_at"),
)
_FORGET: Final = delete(_tally).where(*_AROUND)
_IS_FINAL: Final = (
    select(_tally.c.queue)
    .where(*_AROUND, _tally.c.span == Span.DAY.value, _tally.c.final)
    .limit(1)
)
_FORGET_QUEUE: Final = delete(_tally).where(
    _tally.c.queue == bindparam("of_queue"), ~_tally.c.final
)
#: The ranges of a span that are stored for a queue.
_RANGES: Final = select(_tally.c.begins_at, _tally.c.ends_at).where(
    _tally.c.queue == bindparam("queue"),
    _tally.c.span == bindparam("span"),
    _tally.c.kind == NO_KIND,
)
_LAST_COUNTED: Final = select(func.max(_tally.c.last_task))
_QUEUES_OF_OFFERS: Final = select(_offer.c.queue).distinct()
_ZONES: Final = select(_zone.c.queue, _zone.c.zone)
_SET_ZONE: Final = (
    update(_zone)
    .where(_zone.c.queue == bindparam("of_queue"))
    .values(zone=bindparam("new_zone"))
)
_ADD_ZONE: Final = insert(_zone)
#: From the first day of a week, month or year into the next one.
_NEXT: Final = {
    Span.WEEK: timedelta(days=7),
    Span.MONTH: timedelta(days=32),
    Span.YEAR: timedelta(days=366),
}
#: What the counts of a week, month or year are added up from.
_PARTS: Final = {Span.WEEK: Span.DAY, Span.MONTH: Span.DAY, Span.YEAR: Span.MONTH}
#: Later than every task, in epoch seconds.
_FAR_FUTURE_S: Final = 1e12
#: Maximum number of values in one list of a statement.
_MAX_LISTED: Final = 500
#: A report needs at most 32: two ranges, four spans, and three kinds and none.
_SUMS: Final = Sums(256)


@frozen(kw_only=True)
class Counted:
    """What was counted for a report."""

    #: The sum over the whole range, by the kind of the tasks.
    total: Mapping[str, Tally]
    #: Of the wanted kinds, by day: only the numbers of COUNTS, ``open``, and, with the
    #: keys of :func:`asked_of`, how many were asked for of each kind.
    by_day: Mapping[date, Tally]


@frozen
class _Cover:
    """How the range of one queue is covered."""

    used: dict[Span, list[Range]] = field(factory=dict)
    #: What is to be counted from the tasks.
    gaps: list[Range] = field(factory=list)


def asked_of(kind: Kind) -> str:
    """Return the key under which a day has the number of tasks of one kind."""
    return f"asked:{kind.value}"


_OF_DAY: Final = (*COUNTS, *map(asked_of, Kind))


# -- reading ---------------------------------------------------------------


def zones(
    conn: sa.Connection, otherwise: Mapping[str, str] | None = None
) -> dict[str, ZoneInfo]:
    """Return the time zone of every queue that has had tasks, offers or counts.

    Args:
        conn: in a transaction.
        otherwise: zones of queues that the service has not named yet.
    """
    names = _zone_names(conn)
    known = set(names)
    known.update(conn.execute(_QUEUES_OF_TASKS).scalars())
    known.update(conn.execute(_QUEUES_STORED).scalars())
    known.update(conn.execute(_QUEUES_OF_OFFERS).scalars())
    return {
        queue: _zone_of(names.get(queue) or (otherwise or {}).get(queue, NO_ZONE))
        for queue in sorted(known)
    }


def _zone_names(conn: sa.Connection) -> dict[str, str]:
    return {row.queue: row.zone for row in conn.execute(_ZONES)}


def _zone_of(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(NO_ZONE)


def oldest(conn: sa.Connection) -> float | None:
    """Return when the oldest task was asked for that counts; None: there is none."""
    moments = (conn.execute(one).scalar() for one in (_OLDEST, _OLDEST_STORED))
    return min((at for at in moments if at is not None), default=None)


def count(
    conn: sa.Connection,
    of_queues: Mapping[str, ZoneInfo],
    first: date,
    last: date,
    *,
    each_day_of: Collection[Kind] = (),
) -> Counted:
    """Count the tasks of some queues that were asked for on some days.

    Args:
        conn: in a transaction.
        of_queues: the queues, each with its time zone.
        first: the first day.
        last: the last day.
        each_day_of: the kinds that are counted by day, too.
    """
    total: dict[str, Tally] = defaultdict(Counter)
    by_day: dict[date, Tally] = defaultdict(Counter)
    kinds_by_day = [kind.value for kind in each_day_of]
    ranges = {
        queue: (local_day(first, zone).begins_at, local_day(last, zone).ends_at)
        for queue, zone in of_queues.items()
    }
    covers = _covers(conn, ranges)
    for span in Span:
        used = {
            (queue, begins_at)
            for queue, cover in covers.items()
            for begins_at, _ in cover.used[span]
        }
        for kind, rows in _stored_numbers(conn, span, used).items():
            add(total[kind], _SUMS.of(rows))
    for zone in set(of_queues.values()) if each_day_of else ():
        given = {
            "kinds": kinds_by_day,
            "queues": [queue for queue, its in of_queues.items() if its == zone],
            "begins_at": local_day(first, zone).begins_at,
            "ends_at": local_day(last, zone).ends_at,
        }
        for at, *figures in conn.execute(_BY_DAY, given).all():
            add(by_day[day_of(at, zone)], dict(zip(_OF_DAY, figures, strict=True)))
    gaps = {queue: cover.gaps for queue, cover in covers.items()}
    for (_, day), kinds in count_tasks(conn, gaps, of_queues).items():
        for kind, tally in kinds.items():
            add(total[kind], tally)
            if kind in kinds_by_day:
                names = (name for name in (*COUNTS, "open") if name in tally)
                add(by_day[day.day], {name: tally[name] for name in names})
                by_day[day.day][asked_of(Kind(kind))] += tally["asked"]
    return Counted(total=total, by_day=by_day)


def count_tasks(
    conn: sa.Connection,
    gaps: Mapping[str, Sequence[Range]],
    of_queues: Mapping[str, ZoneInfo],
) -> dict[tuple[str, LocalDay], dict[str, Tally]]:
    """Count from the tasks themselves, in some ranges of time of each queue.

    Args:
        conn: in a transaction.
        gaps: the ranges of each queue, in order and without overlaps.
        of_queues: the queues, each with its time zone.
    """
    found: dict[tuple[str, LocalDay], list[CountedTask]] = defaultdict(list)
    offered: dict[tuple[str, LocalDay], Tally] = defaultdict(Counter)
    begins = {queue: [begin for begin, _ in ranges] for queue, ranges in gaps.items()}

    def place(queue: str, at: float) -> tuple[str, LocalDay] | None:
        number = bisect_right(begins.get(queue, ()), at) - 1
        if number < 0 or at >= gaps[queue][number][1]:
            return None
        zone = of_queues[queue]
        return queue, local_day(day_of(at, zone), zone)

    for begins_at, ends_at in _union(gaps.values()):
        for queue, task in _tasks(conn, begins_at, ends_at, begins.keys()):
            if (where := place(queue, task.asked_at)) is not None:
                found[where].append(task)
        given = {"begins_at": begins_at, "ends_at": ends_at}
        for offer in conn.execute(_OFFERS, given).all():
            if (where := place(offer.queue, offer.at)) is not None:
                offered[where][f"offer:{offer.outcome}"] += 1
    counted = {where: tally_of(tasks, where[1]) for where, tasks in found.items()}
    for where, tally in offered.items():
        counted.setdefault(where, {})[NO_KIND] = tally
    return counted


def _tasks(
    conn: sa.Connection, begins_at: float, ends_at: float, queues: Collection[str]
) -> Iterable[tuple[str, CountedTask]]:
    given = {"begins_at": begins_at, "ends_at": ends_at}
    yield from _open_tasks(conn, given, queues)
    yield from _ended_tasks(conn, given, queues)


def _open_tasks(
    conn: sa.Connection, given: Mapping[str, float], queues: Collection[str]
) -> Iterable[tuple[str, CountedTask]]:
    """Yield open tasks, which may be many; most of them have had no attempt."""
    groups = conn.execute(_OPEN_TASKS[conn.dialect.name], given).all()
    if not groups:
        return
    for group in groups:
        if group.queue in queues:
            asked_at = group.quarter * QUARTER_S
            yield group.queue, _open_task(group.kind, asked_at, number=group.number)
    low, high = min(group.low for group in groups), max(group.high for group in groups)
    between = {**given, "low": low, "high": high}
    for row in conn.execute(_OPEN_ATTEMPTS, between).all():
        if row.queue in queues:
            attempt = CountedAttempt(row.disposition, row.member, row.talk_s)
            task = _open_task(row.kind, row.created_at, attempts=(attempt,))
            yield row.queue, task
    for queue, kind, asked_at in conn.execute(_OPEN_REPEATS, between).all():
        if queue in queues:
            yield queue, _open_task(kind, asked_at, repeats=1)


def _open_task(kind: str, asked_at: float, **more: Any) -> CountedTask:
    """Return open tasks, or what counts of one besides itself."""
    return CountedTask(
        **{"number": 0, **more},
        kind=kind,
        status=Status.PENDING.value,
        reason_code="",
        asked_at=asked_at,
    )


def _ended_tasks(
    conn: sa.Connection, given: Mapping[str, float], queues: Collection[str]
) -> Iterable[tuple[str, CountedTask]]:
    rows = [row for row in conn.execute(_TASKS, given).all() if row.queue in queues]
    if not rows:
        return
    ids = [row.id for row in rows]
    between = {"low": min(ids), "high": max(ids)}
    attempts: dict[int, list[CountedAttempt]] = defaultdict(list)
    for task_id, *attempt in conn.execute(_ATTEMPTS, between).all():
        attempts[task_id].append(CountedAttempt(*attempt))
    reached = {
        task_id: (talk_at, net_wait_s)
        for task_id, talk_at, net_wait_s in conn.execute(_REACHED, between).all()
    }
    repeats = {row.task_id: row.times for row in conn.execute(_REPEATS, between).all()}
    for task_id, queue, kind, status, reason_code, asked_at in rows:
        talk_at, net_wait_s = reached.get(task_id, (None, None))
        yield (
            queue,
            CountedTask(
                kind=kind,
                status=status,
                reason_code=reason_code,
                asked_at=asked_at,
                repeats=repeats.get(task_id, 0),
                attempts=attempts.get(task_id, ()),
                talk_at=talk_at,
                net_wait_s=net_wait_s,
            ),
        )


def _union(ranges: Iterable[Sequence[Range]]) -> list[Range]:
    """Return ranges that cover the same time, without overlaps."""
    merged: list[Range] = []
    for begins_at, ends_at in sorted(one for some in ranges for one in some):
        if merged and begins_at <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ends_at))
        else:
            merged.append((begins_at, ends_at))
    return merged


def _covers(conn: sa.Connection, ranges: Mapping[str, Range]) -> dict[str, _Cover]:
    """Cover the range of each queue with what is stored, longest first, and gaps."""
    covers = {queue: _Cover(gaps=[whole]) for queue, whole in ranges.items()}
    for span in (Span.YEAR, Span.MONTH, Span.WEEK, Span.DAY):
        gaps = _union(cover.gaps for cover in covers.values())
        stored = _stored(conn, span, gaps)
        for queue, cover in covers.items():
            used, left = _fill(cover.gaps, stored.get(queue, []))
            cover.used[span] = used
            cover.gaps[:] = left
    return covers


def _stored(
    conn: sa.Connection, span: Span, ranges: Iterable[Range]
) -> dict[str, list[Range]]:
    """Return the spans of one length that are stored for each queue, in order."""
    stored: dict[str, list[Range]] = defaultdict(list)
    for begins_at, ends_at in ranges:
        given = {"span": span.value, "begins_at": begins_at, "ends_at": ends_at}
        for row in conn.execute(_STORED, given).all():
            stored[row.queue].append((row.begins_at, row.ends_at))
    return stored


def _fill(
    wholes: Iterable[Range], parts: Sequence[Range]
) -> tuple[list[Range], list[Range]]:
    """Return the parts that lie within the wholes, and the gaps between them."""
    used: list[Range] = []
    gaps: list[Range] = []
    for begins_at, ends_at in wholes:
        at = begins_at
        for part in parts:
            if at <= part[0] and part[1] <= ends_at:
                if at < part[0]:
                    gaps.append((at, part[0]))
                used.append(part)
                at = part[1]
        if at < ends_at:
            gaps.append((at, ends_at))
    return used, gaps


def _stored_numbers(
    conn: sa.Connection, span: Span, used: Collection[tuple[str, float]]
) -> dict[str, list[str]]:
    """Return the numbers of the spans used, by the kind of the tasks."""
    found: dict[str, list[str]] = defaultdict(list)
    moments = sorted({begins_at for _, begins_at in used})
    for number in range(0, len(moments), _MAX_LISTED):
        some = moments[number : number + _MAX_LISTED]
        given = {"span": span.value, "all_begin_at": some}
        for queue, begins_at, kind, numbers in conn.execute(_NUMBERS, given).all():
            if (queue, begins_at) in used:
                found[kind].append(numbers)
    return found


# -- storing ---------------------------------------------------------------


def set_zones(conn: sa.Connection, new: Mapping[str, str]) -> None:
    """Store the time zones of queues; the days of a queue whose zone changes are lost.

    They are counted and stored again. Days whose tasks were deleted keep their counts:
    they become the days with the same dates in the new zone.
    """
    known = _zone_names(conn)
    for queue, zone in new.items():
        if queue not in known:
            conn.execute(_ADD_ZONE, {"queue": queue, "zone": zone})
        elif known[queue] != zone:
            conn.execute(_SET_ZONE, {"of_queue": queue, "new_zone": zone})
        former = known.get(queue, NO_ZONE)
        if former != zone:
            conn.execute(_FORGET_QUEUE, {"of_queue": queue})
            _keep_dates(conn, queue, _zone_of(former), _zone_of(zone))


def _keep_dates(
    conn: sa.Connection, queue: str, former: ZoneInfo, zone: ZoneInfo
) -> None:
    """Let the days that can not be counted again begin and end in another zone."""
    stored = _tally.c.queue == queue
    rows = [dict(row) for row in conn.execute(select(_tally).where(stored)).mappings()]
    conn.execute(delete(_tally).where(stored))
    for row in rows:
        day = local_day(day_of(row["begins_at"], former), zone)
        row |= {"begins_at": day.begins_at, "ends_at": day.ends_at}
    if rows:
        conn.execute(_STORE, rows)


def not_stored(conn: sa.Connection, now: float, most: int) -> dict[LocalDay, list[str]]:
    """Return past days that can be stored now, the oldest first, each with its queues.

    Args:
        conn: in a transaction.
        now: the current time.
        most: maximum number of days of each queue.
    """
    settled = now - SETTLED.total_seconds()
    begins_at = oldest(conn)
    missing: dict[LocalDay, list[str]] = defaultdict(list)
    if begins_at is None or begins_at >= settled:
        return missing
    waiting = _open_moments(conn)
    for queue, zone in zones(conn).items():
        has_open = {day_of(at, zone) for at in waiting.get(queue, ())}
        first, last = day_of(begins_at, zone), day_of(settled, zone) - _ONE_DAY
        stored = {begins for begins, _ in _stored_of(conn, queue, Span.DAY)}
        days = (
            day
            for day in local_days(first, last, zone)
            if day.begins_at not in stored and day.day not in has_open
        )
        for day in islice(days, most):
            missing[day].append(queue)
    return dict(sorted(missing.items(), key=lambda item: item[0].begins_at))


def store_longer(conn: sa.Connection, most: int) -> int:
    """Store weeks, months and years whose parts are all stored.

    Args:
        conn: in a transaction.
        most: maximum number of weeks, months and years, as callers wait meanwhile.

    Returns:
        How many were stored; less than ``most``: no more are left.
    """
    stored = 0
    for queue, zone in zones(conn).items():
        for span in _PARTS:
            found = _not_stored(conn, queue, zone, span)
            for first, last in found[: most - stored]:
                _store_longer(conn, span, queue, first, last)
                stored += 1
            if stored == most:
                return stored
    return stored


def _not_stored(
    conn: sa.Connection, queue: str, zone: ZoneInfo, span: Span
) -> list[tuple[LocalDay, LocalDay]]:
    """Return the first and last day of what can be stored and is not yet.

    Args:
        conn: in a transaction.
        queue: the queue.
        zone: its time zone.
        span: weeks, months or years.
    """
    parts = {begins for begins, _ in _stored_of(conn, queue, _PARTS[span])}
    known = {begins for begins, _ in _stored_of(conn, queue, span)}
    found = []
    for first in sorted({_first_day(span, day_of(begins, zone)) for begins in parts}):
        last = _first_day(span, first + _NEXT[span]) - _ONE_DAY
        days = list(local_days(first, last, zone))
        if days[0].begins_at not in known and all(
            day.begins_at in parts
            for day in days
            if day.begins_at < day.ends_at and _begins(_PARTS[span], day.day)
        ):
            found.append((days[0], days[-1]))
    return found


def _begins(span: Span, day: date) -> bool:
    """Whether a day, week, month or year begins with a day."""
    return _first_day(span, day) == day


def _first_day(span: Span, day: date) -> date:
    match span:
        case Span.YEAR:
            return day.replace(month=1, day=1)
        case Span.MONTH:
            return day.replace(day=1)
        case Span.WEEK:
            return day - day.weekday() * _ONE_DAY
        case Span.DAY:
            return day


def store_day(conn: sa.Connection, queues: Iterable[str], day: LocalDay) -> int:
    """Count the tasks of a day and store that, except for queues with an open task.

    Args:
        conn: in a transaction.
        queues: queues in the time zone of the day.
        day: a past day.

    Returns:
        For how many queues it was stored.
    """
    ended = [queue for queue in queues if not _has_open(conn, queue, day)]
    whole = {queue: [(day.begins_at, day.ends_at)] for queue in ended}
    counted = count_tasks(conn, whole, dict.fromkeys(ended, day.zone))
    for queue in ended:
        kinds = counted.get((queue, day))
        _put(conn, Span.DAY, queue, day.begins_at, day.ends_at, kinds)
    return len(ended)


def _store_longer(
    conn: sa.Connection, span: Span, queue: str, first: LocalDay, last: LocalDay
) -> None:
    """Add up the stored parts of a week, month or year and store that."""
    rows = conn.execute(
        select(_tally.c.kind, _tally.c.numbers).where(
            _tally.c.span == _PARTS[span].value,
            _tally.c.queue == queue,
            _tally.c.begins_at >= first.begins_at,
            _tally.c.ends_at <= last.ends_at,
        )
    )
    kinds: dict[str, Tally] = defaultdict(Counter)
    for kind, numbers in rows:
        add(kinds[kind], json.loads(numbers))
    _put(conn, span, queue, first.begins_at, last.ends_at, kinds)


def forget_if_set_back(conn: sa.Connection) -> None:
    """Delete the counts of days to which tasks were added after they were stored.

    That happens if a clock was set back by more than :data:`SETTLED`.
    """
    last = conn.execute(_LAST_COUNTED).scalar()
    if last is None:
        return
    newer = select(_task.c.queue, func.min(_task.c.created_at)).where(_task.c.id > last)
    for queue, at in conn.execute(newer.group_by(_task.c.queue)).all():
        later = delete(_tally).where(
            _tally.c.queue == queue, _tally.c.ends_at > at, ~_tally.c.final
        )
        conn.execute(later)


def forget(conn: sa.Connection, queue: str, at: float) -> bool:
    """Delete the stored counts of the day, week, month and year around a time.

    Returns:
        False if they can not be counted again; nothing was changed.
    """
    where = {"of_queue": queue, "of_at": at}
    if conn.execute(_IS_FINAL, where).first() is not None:
        return False
    conn.execute(_FORGET, where)
    return True


def _put(
    conn: sa.Connection,
    span: Span,
    queue: str,
    begins_at: float,
    ends_at: float,
    kinds: Mapping[str, Tally] | None,
) -> None:
    conn.execute(
        _REMOVE, {"of_span": span.value, "of_queue": queue, "of_begin": begins_at}
    )
    kinds = {NO_KIND: Counter(), **(kinds or {})}
    last_task = conn.execute(_LAST_TASK).scalar() or 0
    conn.execute(
        _STORE,
        [
            {
                "span": span.value,
                "queue": queue,
                "begins_at": begins_at,
                "ends_at": ends_at,
                "kind": kind,
                **{name: tally[name] for name in COUNTS},
                "numbers": json.dumps(tally, separators=(",", ":"), sort_keys=True),
                "final": False,
                "last_task": last_task,
            }
            for kind, tally in kinds.items()
        ],
    )


def _stored_of(conn: sa.Connection, queue: str, span: Span) -> list[Range]:
    stored = conn.execute(_RANGES, {"queue": queue, "span": span.value})
    return [(begins_at, ends_at) for begins_at, ends_at in stored]


def _open_moments(conn: sa.Connection) -> dict[str, list[float]]:
    """Return when open tasks were asked for, to a quarter of an hour, by queue."""
    found: dict[str, list[float]] = defaultdict(list)
    ever = {"begins_at": 0.0, "ends_at": _FAR_FUTURE_S}
    for row in conn.execute(_OPEN_TASKS[conn.dialect.name], ever):
        found[row.queue].append(row.quarter * QUARTER_S)
    return found


def _has_open(conn: sa.Connection, queue: str, day: LocalDay) -> bool:
    given = {"queue": queue, "begins_at": day.begins_at, "ends_at": day.ends_at}
    return conn.execute(_HAS_OPEN, given).first() is not None
