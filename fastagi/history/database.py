# SPDX-License-Identifier: MIT
"""Reads call detail records from a database: SQLite, MariaDB or MySQL, PostgreSQL.

It only reads. The table is somebody else's: which columns it has is asked for each
time. Knows nothing of what the rows mean. Blocks while it reads; every wait is bounded.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fastagi.history.cdr import NEEDED, USEFUL, canonical, lacking_columns
from fastagi.history.errors import HistoryUnreadable

#: To connect, in seconds.
_CONNECT_S: Final = 5
#: For one answer, in seconds.
_ANSWER_S: Final = 20
#: Read at most, the newest: more than a busy machine writes in a day.
MOST_ROWS: Final = 100_000
#: For each kind of URL: SQLAlchemy's driver, its options, and the package it is in.
_DRIVERS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "mysql": (
        "mysql+pymysql",
        {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S},
        "pymysql",
    ),
    "postgresql": (
        "postgresql+psycopg",
        {
            "connect_timeout": _CONNECT_S,
            "options": f"-c statement_timeout={_ANSWER_S * 1000}",
        },
        "psycopg[binary]",
    ),
}
_DRIVERS["mariadb"] = ("mariadb+pymysql", *_DRIVERS["mysql"][1:])


class CdrTable:
    """A table of CDRs."""

    def __init__(self, url: str, table: str, password: str | None = None) -> None:
        """Prepare; nothing is opened before the first reading.

        Args:
            url: in SQLAlchemy's form.
            table: its name, with its schema before a dot if it needs one.
            password: of the user in ``url``, if it is not there.

        Raises:
            HistoryUnreadable: the driver is missing, or does not take the URL.
        """
        parsed = make_url(url)
        if password is not None:
            parsed = parsed.set(password=password)
        schema, _, name = table.rpartition(".")
        self._table, self._schema = name, schema or None
        self.name = f"{_shown(parsed)}, table {table}"
        self._engine = self._make_engine(parsed)

    def _make_engine(self, url: URL) -> sa.Engine:
        common: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
        if url.get_backend_name() == "sqlite":
            path = Path(str(url.database))
            return sa.create_engine(
                "sqlite://", creator=lambda: _open_sqlite(path), **common
            )
        driver, options, package = _DRIVERS[url.get_backend_name()]
        with self._trouble_in_words():
            try:
                return sa.create_engine(
                    url.set(drivername=driver), connect_args=options, **common
                )
            except ImportError:
                raise HistoryUnreadable(
                    self.name,
                    "its driver is missing",
                    f"install it: {sys.prefix}/bin/pip install '{package}'",
                ) from None

    def rows_since(self, since: datetime) -> list[Mapping[str, object]]:
        """Return the rows of CDRs that started since a time, ``MOST_ROWS`` at most.

        Args:
            since: without a zone, in that of the rows.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        with self._trouble_in_words(), self._engine.connect() as conn:
            columns = self._columns(conn)
            rows = conn.execute(_query(columns, since)).mappings()
            return [dict(row) for row in rows]

    def newest(self) -> Mapping[str, object] | None:
        """Return the row that started last; None if there is none.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        with self._trouble_in_words(), self._engine.connect() as conn:
            columns = self._columns(conn)
            newest = _chosen(columns).order_by(columns["start"].desc()).limit(1)
            row = conn.execute(newest).mappings().first()
        return None if row is None else dict(row)

    def _columns(self, conn: sa.Connection) -> dict[str, sa.ColumnElement[Any]]:
        table = sa.Table(
            self._table,
            sa.MetaData(schema=self._schema),
            autoload_with=conn,
            resolve_fks=False,
        )
        wanted = {*NEEDED, *USEFUL}
        # SQLite says of any text that it is a date.
        as_text = conn.dialect.name == "sqlite"
        found: dict[str, sa.ColumnElement[Any]] = {
            canonical(column.name): sa.type_coerce(column, sa.String)
            if as_text
            else column
            for column in table.columns
            if canonical(column.name) in wanted
        }
        lacking = lacking_columns(found)
        if lacking:
            raise HistoryUnreadable(
                self.name,
                f"it has no column {' and no column '.join(lacking)}",
                "name a table or view that has it in history.cdr_table",
            )
        return found

    @contextmanager
    def _trouble_in_words(self) -> Iterator[None]:
        try:
            yield
        except NoSuchTableError:
            raise HistoryUnreadable(
                self.name,
                "there is no such table",
                "correct history.cdr_table in the settings",
            ) from None
        except HistoryUnreadable:
            raise
        # Drivers raise anything at all for an option in the URL that they can not use.
        except Exception as error:
            cause = getattr(error, "orig", None) or error
            said = next(iter(str(cause).strip().splitlines()), "")
            if not isinstance(error, SQLAlchemyError | sqlite3.Error | OSError):
                said = f"{type(error).__name__}: {said}"
            raise HistoryUnreadable(
                self.name,
                f"it can not be read: {said or type(cause).__name__}",
                "correct history.cdr_url in the settings, or the rights of its user",
            ) from None


def _query(
    columns: Mapping[str, sa.ColumnElement[Any]], since: datetime
) -> sa.Select[tuple[Any, ...]]:
    start = columns["start"]
    bound: object = since
    if isinstance(start.type, sa.types.String):
        bound = since.isoformat(" ", "seconds")
    elif isinstance(start.type, sa.types.Numeric | sa.types.Integer):
        bound = since.timestamp()
    elif isinstance(start.type, sa.types.DateTime) and start.type.timezone:
        bound = since.astimezone()
    newest_first = _chosen(columns).where(start >= bound).order_by(start.desc())
    return newest_first.limit(MOST_ROWS)


def _chosen(
    columns: Mapping[str, sa.ColumnElement[Any]],
) -> sa.Select[tuple[Any, ...]]:
    return sa.select(*(column.label(name) for name, column in columns.items()))


def _shown(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def _open_sqlite(path: Path) -> sqlite3.Connection:
    # "ro": a file that is missing is not made, and nothing can be changed.
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_CONNECT_S
    )
