# SPDX-License-Identifier: MIT
"""Looks up all that decides whether a number may be called.

The functions run inside a transaction and only read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import select, text

from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.limits import DAY, HOUR, MINUTE, CallLimits
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.task import CallbackTask
from fastagi.store import guards, limits, schema
from fastagi.store.rows import task_of

_task: Final = schema.task
#: Number of digits at the end of a number that are the same in all its forms.
_LAST_DIGITS: Final = 5


@frozen(kw_only=True)
class CallsWithin:
    """The calls that count for one limit.

    Attributes:
        used: how many there are.
        free_at: when one more is allowed; None: now.
    """

    used: int
    free_at: datetime | None


@frozen(kw_only=True)
class NumberFacts:
    """What the database knows about a number.

    Attributes:
        blocked: the blocked number; None: it is not blocked.
        to_number: the calls to the number within a day.
        of_queue: the calls of the queue within an hour.
        of_all: all calls within a minute.
        open_task: the open task of the number.
        last_refusal: the latest request that was refused.
    """

    blocked: BlockedNumber | None
    to_number: CallsWithin
    of_queue: CallsWithin
    of_all: CallsWithin
    open_task: CallbackTask | None
    last_refusal: Refusal | None


def number_facts(
    conn: sa.Connection,
    number: str,
    plan: NumberPlan,
    queue: str,
    call_limits: CallLimits,
    now: datetime,
) -> NumberFacts:
    """Return what is known about a number, and how much of the limits is used."""
    key = plan.key(number)
    open_task = conn.execute(
        select(_task).where(_task.c.number_key == key, text(schema.OPEN_ONLY))
    ).first()
    return NumberFacts(
        blocked=guards.blocked(conn, key),
        to_number=CallsWithin(
            used=limits.count_within(conn, DAY, now, _task.c.number_key == key),
            free_at=limits.number_free_at(conn, key, call_limits.per_number, now),
        ),
        of_queue=CallsWithin(
            used=limits.count_within(conn, HOUR, now, limits.of_queue(queue)),
            free_at=limits.queue_free_at(conn, queue, call_limits, now),
        ),
        of_all=CallsWithin(
            used=limits.count_within(conn, MINUTE, now),
            free_at=limits.all_free_at(conn, call_limits, now),
        ),
        open_task=None if open_task is None else task_of(open_task),
        last_refusal=_last_refusal(conn, number, key, plan),
    )


def _last_refusal(
    conn: sa.Connection, number: str, key: str, plan: NumberPlan
) -> Refusal | None:
    """Return the latest refusal of a number, in whatever form it was shown."""
    ending = number[-_LAST_DIGITS:]
    for refusal in guards.refusals_ending_in(conn, ending):
        if plan.key(refusal.number) == key or refusal.number == number:
            return refusal
    return None
