# SPDX-License-Identifier: MIT
"""Stores many new tasks at once, in as few round trips as the engine allows.

On PostgreSQL one statement looks up the numbers, and one stores tasks, events and kinds
of request. SQLite has no such statement and no round trips, but each row costs
SQLAlchemy several times as much as SQLite. So SQLite's driver gets all rows of a table
at once, with statements that SQLAlchemy has compiled before from the schema.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, column, func, insert, select, table, text, union_all
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from fastagi.domain.task import Move
from fastagi.store import limits, schema

_task: Final = schema.task
_event: Final = schema.task_event
_blocked: Final = schema.blocked
#: The number keys, for PostgreSQL.
_keys: Final[sa.BindParameter[Any]] = bindparam("number_keys", expanding=True)
#: The same for SQLite, as JSON, so that the statement is the same for any number.
_keys_in_json: Final = select(
    func.json_each(bindparam("number_keys")).table_valued("value").c.value
)


def _taken(keys: Any) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return the numbers with an open task, and the blocked numbers."""
    return (
        select(_task.c.number_key).where(
            _task.c.number_key.in_(keys), text(schema.OPEN_ONLY)
        ),
        select(_blocked.c.number_key).where(_blocked.c.number_key.in_(keys)),
    )


def _called(keys: Any) -> sa.Select[Any]:
    """Return the numbers that were called as often as given."""
    return (
        select(_task.c.number_key)
        .join_from(_task, schema.attempt)
        .where(_task.c.number_key.in_(keys), limits.counted_within())
        .group_by(_task.c.number_key)
        .having(func.count() >= bindparam("most"))
    )


_UNUSUAL: Final = union_all(*_taken(_keys))
_UNUSUAL_OR_CALLED: Final = union_all(*_taken(_keys), _called(_keys))


class _ForSqlite:
    """A statement for SQLite's driver, compiled once.

    Args:
        statement: the statement.
        parameters: the names of its parameters.
    """

    def __init__(
        self, statement: sa.sql.ClauseElement, parameters: Iterable[str] = ()
    ) -> None:
        compiled = statement.compile(dialect=sqlite.dialect())
        assert isinstance(compiled, SQLCompiler)
        if compiled.isinsert:
            names: Sequence[str] | None = compiled.positiontup
            self._text = str(compiled)
            self._fixed: Mapping[str, Any] = {}
        else:
            state = compiled.construct_expanded_state(dict.fromkeys(parameters))
            self._text, names = state.statement, state.positiontup
            #: The values that are part of the statement.
            self._fixed = dict(state.parameters)
        #: The names of the parameters, in the order of their places in the statement.
        self._names = tuple(names or ())

    def rows(
        self, conn: sa.Connection, given: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Carry it out, and return all rows."""
        all_given = {**self._fixed, **given}
        values = [all_given[name] for name in self._names]
        with self._errors_of_sqlalchemy():
            found: list[tuple[Any, ...]] = (
                _driver(conn).execute(self._text, values).fetchall()
            )
        return found

    def insert(self, conn: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Carry it out for each of these rows: the value of each column by its name."""
        in_order = itemgetter(*self._names)
        with self._errors_of_sqlalchemy():
            _driver(conn).executemany(self._text, map(in_order, rows))

    @contextmanager
    def _errors_of_sqlalchemy(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(
                self._text, None, error, sqlite3.Error, hide_parameters=True
            ) from error


def _driver(conn: sa.Connection) -> sqlite3.Connection:
    driver: Any = conn.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


_UNUSUAL_IN_SQLITE: Final = _ForSqlite(
    union_all(*_taken(_keys_in_json)), ("number_keys",)
)
_UNUSUAL_OR_CALLED_IN_SQLITE: Final = _ForSqlite(
    union_all(*_taken(_keys_in_json), _called(_keys_in_json)),
    ("number_keys", "most", "after", "before"),
)
_sequence: Final = table("sqlite_sequence", column("name"), column("seq"))


def _last_id(of: sa.Table) -> sa.ScalarSelect[Any]:
    """Return the highest id that a table has had (AUTOINCREMENT), as an expression."""
    known = select(_sequence.c.seq).where(
        _sequence.c.name == sa.literal_column(f"'{of.name}'")
    )
    nothing: sa.ColumnElement[int] = sa.literal_column("0")
    return select(
        func.max(
            func.coalesce(known.scalar_subquery(), nothing),
            func.coalesce(select(func.max(of.c.id)).scalar_subquery(), nothing),
        )
    ).scalar_subquery()


_LAST_IDS: Final = _ForSqlite(select(_last_id(_task), _last_id(_event)))
_INSERT_TASKS: Final = _ForSqlite(insert(_task).inline())
_INSERT_EVENTS: Final = _ForSqlite(insert(_event).inline())
_INSERT_ASKED: Final = _ForSqlite(insert(schema.asked).inline())
#: PostgreSQL's types of a task's columns, to read them from JSON.
_SQL_TYPES: Final = {
    sa.Text: "text",
    sa.Double: "double precision",
    sa.Integer: "integer",
    sa.Boolean: "boolean",
}
_COLUMNS: Final = [column for column in _task.c if column.name != "id"]
_NAMES: Final = ", ".join(column.name for column in _COLUMNS)
_TYPED: Final = ", ".join(
    f"{column.name} {_SQL_TYPES[type(column.type)]}" for column in _COLUMNS
)
_INSERT_ALL: Final = text(
    f"""
    WITH given AS (
        SELECT * FROM ROWS FROM (
            json_to_recordset(CAST(:tasks AS json)) AS ({_TYPED})
        ) WITH ORDINALITY AS given({_NAMES}, turn)
    ), made AS (
        INSERT INTO task ({_NAMES}) SELECT {_NAMES} FROM given ORDER BY turn
        RETURNING id, number_key
    ), told AS (
        INSERT INTO task_event
            (task_id, at, move, status, reason_code, reason_params, linkedid)
        SELECT made.id, created_at, '{Move.CREATE.value}', status, reason_code,
            reason_params, linkedid
        FROM made JOIN given USING (number_key) ORDER BY made.id
        RETURNING id, task_id
    ), wished AS (
        INSERT INTO asked (event_id, kind)
        SELECT told.id, kind
        FROM told JOIN made ON made.id = told.task_id JOIN given USING (number_key)
    )
    SELECT id, number_key FROM made
    """
)


def unusual(
    conn: sa.Connection, asked: Sequence[tuple[str, int, datetime]]
) -> set[str]:
    """Return the numbers that need a closer look before a task is stored.

    These have an open task, are blocked, or were called often.

    Args:
        conn: in a transaction.
        asked: for each number its key, the maximum number of calls to it within a day
            (0: no limit), and the current time.
    """
    keys = sorted({key for key, _, _ in asked})
    is_postgresql = conn.dialect.name == "postgresql"
    given: dict[str, Any] = {"number_keys": keys if is_postgresql else json.dumps(keys)}
    most = [most for _, most, _ in asked if most]
    if most:
        moments = [at for _, _, at in asked]
        given |= limits.day_around(min(moments), max(moments))
        given["most"] = min(most)
    if is_postgresql:
        statement = _UNUSUAL_OR_CALLED if most else _UNUSUAL
        return set(conn.execute(statement, given).scalars())
    in_sqlite = _UNUSUAL_OR_CALLED_IN_SQLITE if most else _UNUSUAL_IN_SQLITE
    return {key for (key,) in in_sqlite.rows(conn, given)}


def insert_all(
    conn: sa.Connection, tasks: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Store new tasks, each with its first event.

    Args:
        conn: in a transaction.
        tasks: for each task a value for each column except the id. The numbers differ.

    Returns:
        The id of each task, by its number key; they are in the order of the tasks.
    """
    if conn.dialect.name == "postgresql":
        rows = conn.execute(_INSERT_ALL, {"tasks": json.dumps(tasks)})
        return {row.number_key: row.id for row in rows}
    # Nobody else writes until the transaction ends.
    ((last_task, last_event),) = _LAST_IDS.rows(conn, {})
    ids = {task["number_key"]: id_ for id_, task in enumerate(tasks, last_task + 1)}
    _INSERT_TASKS.insert(
        conn, ({**task, "id": ids[task["number_key"]]} for task in tasks)
    )
    events = [
        _event_of(ids, task, event_id)
        for event_id, task in enumerate(tasks, last_event + 1)
    ]
    _INSERT_EVENTS.insert(conn, events)
    _INSERT_ASKED.insert(
        conn,
        (
            {"event_id": event["id"], "kind": task["kind"]}
            for event, task in zip(events, tasks, strict=True)
        ),
    )
    return ids


def _event_of(
    ids: Mapping[str, int], task: Mapping[str, Any], event_id: int
) -> dict[str, Any]:
    return {
        "id": event_id,
        "task_id": ids[task["number_key"]],
        "attempt_id": None,
        "at": task["created_at"],
        "move": Move.CREATE.value,
        "status": task["status"],
        "reason_code": task["reason_code"],
        "reason_params": task["reason_params"],
        "linkedid": task["linkedid"],
    }
