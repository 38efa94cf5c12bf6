# SPDX-License-Identifier: MIT
"""Finds the SQL statements of calls, so that they can be compiled before the first one.

SQLAlchemy compiles a statement when it is first executed. That takes up to some
milliseconds, so the first call after a start would wait for all of its statements. No
list of them is kept: every statement that is a constant of one of these modules counts.
A statement that a function builds is compiled with the first call that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Final, TypeGuard

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.sql import visitors

from fastagi.store import (
    attempts,
    entered_numbers,
    events,
    guards,
    later,
    leases,
    lifecycle,
    limits,
    marks,
    measured,
    new_tasks,
    offers,
    positions,
    preferred_agents,
    requests,
    rows,
    slots,
)

#: The modules whose statements are executed for calls, those of every call first.
_OF_CALLS: Final[tuple[ModuleType, ...]] = (
    *(guards, new_tasks, rows, requests, events, limits, attempts),
    *(preferred_agents, leases, lifecycle, later, positions),
    *(marks, measured, entered_numbers, slots, offers),
)


@frozen
class Execution:
    """How a statement is executed."""

    statement: sa.ClauseElement
    #: The names of its parameters.
    names: frozenset[str]
    #: Whether it is executed with several sets of parameters at once.
    several: bool = False


def of_calls(engine: str) -> Iterator[Execution]:
    """Yield every statement that a call may need, each once.

    Args:
        engine: SQLAlchemy's name of the engine; some statements differ between them.
    """
    found: set[int] = set()
    for module in _OF_CALLS:
        for value in vars(module).values():
            one = value.get(engine) if isinstance(value, Mapping) else value
            if _is_statement(one) and id(one) not in found:
                found.add(id(one))
                yield from _executions(one)


def _is_statement(value: object) -> TypeGuard[sa.ClauseElement]:
    # No text: it needs no compiling, and many are conditions.
    return isinstance(value, sa.SelectBase | sa.UpdateBase)


def _executions(statement: sa.ClauseElement) -> Iterator[Execution]:
    names = frozenset(
        part.key
        for part in visitors.iterate(statement)
        if isinstance(part, sa.BindParameter) and part.required
    )
    if isinstance(statement, sa.Insert) and not names:
        # A row has every column except an id that the database chooses.
        table = statement.table
        assert isinstance(table, sa.Table)
        chosen = table.autoincrement_column
        names = frozenset(one.key for one in table.columns if one is not chosen)
        yield Execution(statement, names, several=True)
    yield Execution(statement, names)
