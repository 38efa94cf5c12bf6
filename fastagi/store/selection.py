# SPDX-License-Identifier: MIT
"""Selects stored tasks by many properties, the newest first.

Ids grow with the time of creation and are never used again. So a list that continues
before the last id neither skips nor repeats a task, whatever was added or changed
meanwhile.

A list of several queues is merged from theirs: each has an index by id.

With SQLite, a part of a number or of a name is looked for in an index that holds both
(`_found`), a quarter of the size of the table. PostgreSQL reads the table with several
processes instead. There is no index for the reason or the kind: one would cost more at
each new task than it saves. One query over a million tasks takes about 0.2 s;
``tests/store/measure_many_tasks.py`` measures more. The service reads them in ranges of
ids (`page`), each in a transaction of its own, because callers wait for the end of it.
There the index of the time of creation is not used, as it does not have the order of
the ids. The web process reads all at once (`search`).

The functions run inside a transaction and only read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from string import ascii_letters
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy import any_, collate, false, func, or_, select, text
from sqlalchemy.dialects.postgresql import array

from fastagi.domain.reason import Code
from fastagi.domain.task import OPEN, CallbackTask, Kind, Status
from fastagi.store import schema
from fastagi.store.rows import seconds, storable, task_of

_task: Final = schema.task
#: The same task again, of which only columns of the index ``ix_task_text`` are used.
_found: Final = schema.task.alias("found")
_open: Final = text(schema.OPEN_ONLY)
_ended: Final = text(f"task.{schema.ENDED_ONLY}")
_LAST_ID: Final = select(func.max(_task.c.id))
#: Number of ids that are looked through in one transaction, in some milliseconds.
IDS_AT_ONCE: Final = 50_000
#: Digits after the leading zeros with which a number is searched without these.
_FEWEST_DIGITS: Final = 5


def _sorted(words: Any) -> Any:
    return None if words is None else tuple(sorted(words))


@frozen(kw_only=True)
class Selection:
    """Which tasks are meant; all that is given must match, and None means any."""

    statuses: Collection[Status] | None = field(default=None, converter=_sorted)
    kinds: Collection[Kind] | None = field(default=None, converter=_sorted)
    #: As spelled in the settings.
    queues: Collection[str] | None = field(default=None, converter=_sorted)
    number_key: str | None = None
    #: A part of the number or of the name, in lower or upper case.
    text: str = ""
    #: Whether the text is looked for in numbers, too.
    in_numbers: bool = True
    reason_codes: Collection[Code] | None = field(default=None, converter=_sorted)
    #: Created from this time on, and before that one.
    created_from: datetime | None = None
    created_to: datetime | None = None
    ids: Collection[int] | None = field(default=None, converter=_sorted)

    @property
    def only_open(self) -> bool:
        """Whether no ended task is meant."""
        return self.statuses is not None and OPEN.issuperset(self.statuses)

    @property
    def reads_all(self) -> bool:
        """Whether a database may have to look at every task."""
        return self.has_no_index or (
            not self._is_narrow
            and bool(
                self.created_from
                or self.created_to
                or (self.queues is not None and self.statuses is not None)
            )
        )

    @property
    def has_no_index(self) -> bool:
        """Whether no index helps to find tasks that are rare."""
        return not self._is_narrow and bool(
            self.kinds is not None or self.text or self.reason_codes is not None
        )

    @property
    def _is_narrow(self) -> bool:
        """Whether an index leaves few tasks to look at."""
        return self.only_open or self.number_key is not None or self.ids is not None


@frozen
class Page:
    """Some of the selected tasks."""

    tasks: list[CallbackTask]
    #: The id before which more tasks may be found; None: there are no more.
    more_before: int | None


def select_tasks(
    conn: sa.Connection,
    selection: Selection,
    limit: int,
    before_id: int | None = None,
    after_id: int | None = None,
) -> list[CallbackTask]:
    """Return at most ``limit`` tasks with ids between two others, the newest first."""
    found: list[CallbackTask] = []
    queues: Sequence[Collection[str] | None] = [selection.queues]
    if selection.queues is not None and not selection.has_no_index:
        queues = [[queue] for queue in selection.queues]
    for some in queues:
        wanted = _select(selection, some, before_id, after_id, conn.dialect.name)
        found += [task_of(row) for row in conn.execute(wanted.limit(limit))]
    return sorted(found, key=lambda task: -task.id)[:limit]


def search(
    conn: sa.Connection, selection: Selection, limit: int, before_id: int | None = None
) -> list[CallbackTask]:
    """Return at most ``limit`` tasks, the newest first, in one transaction.

    If all tasks may have to be read, the latest are read first, as they are wanted most
    often, and then all others at once.
    """
    if not selection.has_no_index:
        return select_tasks(conn, selection, limit, before_id)
    latest = page(conn, selection, limit, before_id)
    left = limit - len(latest.tasks)
    if latest.more_before is None or left == 0:
        return latest.tasks
    return latest.tasks + select_tasks(conn, selection, left, latest.more_before)


def _select(
    selection: Selection,
    queues: Collection[str] | None,
    before_id: int | None,
    after_id: int | None,
    dialect: str,
) -> sa.Select[Any]:
    wanted = select(_task)
    statuses = selection.statuses
    column: Any = _task.c.id
    status: sa.ColumnElement[str] = _task.c.status
    queue: sa.ColumnElement[str] = _task.c.queue
    searched: sa.FromClause = _task
    if selection.text and selection.has_no_index and dialect == "sqlite":
        wanted = wanted.join(_found, _found.c.id == _task.c.id)
        column, searched = _found.c.id, _found
        # Without the indexes that begin with these columns, and with their many rows.
        status, queue = status.concat(""), queue.concat("")
    if selection.only_open:
        # The same condition as in the index of open tasks; the sign "+" keeps databases
        # from scanning all tasks in the order of their ids instead.
        wanted = wanted.where(_open)
        column = sa.literal_column(f"+{column}")
    elif selection.has_no_index and after_id is None and dialect == "postgresql":
        # Without the order of the ids, PostgreSQL reads with several processes.
        column = sa.literal_column(f"+{column}")
    if statuses is not None and OPEN.isdisjoint(statuses) and searched is _task:
        wanted = wanted.where(_ended)
    wanted = wanted.order_by(column.desc())
    if statuses is not None and set(statuses) != OPEN:
        words = [status.value for status in statuses]
        wanted = wanted.where(status.in_(words))
    if queues is not None:
        wanted = wanted.where(queue.in_(queues))
    if before_id is not None:
        wanted = wanted.where(column < before_id)
    if after_id is not None:
        wanted = wanted.where(column > after_id)
    if selection.text:
        in_numbers = selection.in_numbers
        part = selection.text
        wanted = wanted.where(_contains(part, searched, dialect, in_numbers=in_numbers))
    return wanted.where(*_conditions(selection, in_range=after_id is not None))


def by_ids(conn: sa.Connection, ids: Sequence[int]) -> list[CallbackTask]:
    """Return the tasks that exist among these ids, at most a thousand."""
    rows = conn.execute(select(_task).where(_task.c.id.in_(ids)).order_by(_task.c.id))
    return [task_of(row) for row in rows]


def page(
    conn: sa.Connection, selection: Selection, limit: int, before_id: int | None
) -> Page:
    """Return the tasks in the latest range of ids, so that it does not take long."""
    if not selection.reads_all:
        tasks = select_tasks(conn, selection, limit, before_id)
        return Page(tasks, tasks[-1].id if len(tasks) == limit else None)
    if before_id is None:
        before_id = (conn.execute(_LAST_ID).scalar() or 0) + 1
    after_id = before_id - 1 - IDS_AT_ONCE
    tasks = select_tasks(conn, selection, limit, before_id, after_id)
    if len(tasks) == limit:
        return Page(tasks, tasks[-1].id)
    return Page(tasks, after_id + 1 if after_id > 0 else None)


def _conditions(
    selection: Selection, *, in_range: bool
) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if selection.number_key is not None:
        conditions.append(_task.c.number_key == selection.number_key)
    if selection.ids is not None:
        conditions.append(_task.c.id.in_(selection.ids))
    if selection.kinds is not None:
        conditions.append(_task.c.kind.in_([kind.value for kind in selection.kinds]))
    if selection.reason_codes is not None:
        codes = [code.value for code in selection.reason_codes]
        conditions.append(_task.c.reason_code.in_(codes))
    created_at: Any = _task.c.created_at
    if in_range or selection.only_open:
        # The index of this column must not replace a range of ids, or the open tasks.
        created_at = sa.literal_column("+task.created_at")
    if selection.created_from is not None:
        conditions.append(created_at >= seconds(selection.created_from))
    if selection.created_to is not None:
        conditions.append(created_at < seconds(selection.created_to))
    return conditions


def _contains(
    part: str, searched: sa.FromClause, dialect: str, *, in_numbers: bool
) -> sa.ColumnElement[bool]:
    """Return the condition for a part of the number or of the name.

    SQLite ignores the case of the letters A to Z only. So there, other letters are also
    searched as they usually stand in names.

    Args:
        part: the part.
        searched: the table or index with number and name.
        dialect: the name of the engine.
        in_numbers: whether to look for it in numbers, too. If not, a part with digits
            finds nothing: names may hold numbers, and whoever may not see those could
            find out each digit.
    """
    part = storable(part)
    if not in_numbers and any(char.isdigit() for char in part):
        return false()
    digits = "".join(char for char in part if char not in " -/().")
    found: list[sa.ColumnElement[bool]] = []
    if in_numbers and digits and digits.lstrip("+").isdigit():
        # A number is stored with or without the code of its country.
        core = digits.lstrip("+0")
        shown = core if len(core) >= _FEWEST_DIGITS else digits
        found.append(_has(searched.c.number, shown, dialect))
    found.append(_in_name(searched.c.name, part, dialect))
    return or_(*found)


def _in_name(
    name: sa.ColumnElement[Any], part: str, dialect: str
) -> sa.ColumnElement[bool]:
    """Return the condition that a name has a part, in capital or small letters.

    A part of ASCII letters is found in ASCII letters only.
    """
    if part.isascii():
        if dialect == "postgresql" and part.lower() != part.upper():
            # In this collation lower() changes only A to Z, and is faster.
            return func.strpos(func.lower(collate(name, "C")), part.lower()) > 0
        return _has(name, part, dialect)
    forms = dict.fromkeys([part, part.lower(), part.upper(), part.title()])
    if dialect == "postgresql" and part.lower() != part.upper():
        # Cheaper than ILIKE.
        return func.lower(name).like(any_(array(map(_pattern, forms))))
    return or_(*(_has(name, form, dialect) for form in forms))


def _pattern(part: str) -> sa.ColumnElement[str]:
    """Return the pattern of PostgreSQL for a part, in its own lower case."""
    return func.lower("%" + re.sub(r"([%_\\])", r"\\\1", part) + "%")


def _has(
    column: sa.ColumnElement[Any], part: str, dialect: str
) -> sa.ColumnElement[bool]:
    """Return the condition that a column has a part.

    With SQLite, the case of the letters A to Z is ignored.
    """
    if dialect == "postgresql":
        # Faster than LIKE.
        return func.strpos(column, part) > 0
    if not any(char in ascii_letters for char in part):
        # Faster than LIKE, which ignores the case of these letters.
        return func.instr(column, part) > 0
    return column.contains(part, autoescape=True)
