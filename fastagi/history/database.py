# SPDX-License-Identifier: MIT
"""Reads Asterisk's records from a database: SQLite, MariaDB or MySQL, PostgreSQL.

It never writes. The administrator may change the table, so each reading finds out its
columns and the form of its times. It does not interpret the rows. It blocks
while it reads; every wait has a time-out.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from fastagi.history import queue_log
from fastagi.history.cdr import (
    NEEDED,
    USEFUL,
    by_name,
    canonical,
    lacking_columns,
)
from fastagi.history.errors import HistoryUnreadable
from fastagi.history.text import decoded
from fastagi.history.times import read_time
from fastagi.plain_file import NoPlainFile, open_plain
from fastagi.sqlite_uri import sqlite_uri

#: Time-out for connecting, in seconds.
_CONNECT_S: Final = 5
#: Time-out for one answer, in seconds.
_ANSWER_S: Final = 20
#: Time-out for one answer of PostgreSQL, in seconds; longer than the server's own.
_PATIENCE_S: Final = _ANSWER_S + 5.0
#: Maximum number of rows read, the newest ones; a busy machine writes fewer in a day.
MAX_ROWS: Final = 100_000
#: Maximum number up to which rows without a time are counted.
MAX_COUNTED: Final = 1000
#: The earliest time that is accepted as the time of a CDR.
_FIRST: Final = datetime(2001, 9, 10)
#: For each kind of URL: SQLAlchemy's driver, its options, and its package.
_DRIVERS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "mysql": (
        "mysql+pymysql",
        {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S},
        "pymysql[rsa]",
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


class HistoryTable:
    """A table that Asterisk fills."""

    #: Prefix of its settings: ``cdr`` for ``history.cdr_table``.
    _setting: str

    def __init__(self, url: str, table: str, password: str | None = None) -> None:
        """Prepare; the database is opened with the first reading.

        Args:
            url: the database URL, in SQLAlchemy's form.
            table: the name of the table, with its schema before a dot if needed.
            password: the password of the user in ``url``, if it is not in ``url``.

        Raises:
            HistoryUnreadable: the driver is missing, or does not accept the URL.
        """
        parsed = make_url(url)
        if password is not None:
            parsed = parsed.set(password=password)
        schema, _, name = table.rpartition(".")
        self._table, self._schema = name, schema or None
        self.name = f"{_shown(parsed)}, table {table}"
        self._server_remedy = (
            ""
            if parsed.get_backend_name() == "sqlite"
            else "see whether its server runs and answers; "
        )
        self._engine = self._make_engine(parsed)

    def _make_engine(self, url: URL) -> sa.Engine:
        common: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
        if url.get_backend_name() == "sqlite":
            path = Path(str(url.database))
            return sa.create_engine(
                "sqlite://", creator=lambda: _open_sqlite(path), **common
            )
        driver, options, package = _DRIVERS[url.get_backend_name()]
        with self._explained_errors():
            try:
                engine = sa.create_engine(
                    url.set(drivername=driver), connect_args=options, **common
                )
                if engine.dialect.name == "postgresql":
                    _limit_waits(engine)
                return engine
            except ImportError:
                raise HistoryUnreadable(
                    self.name,
                    "its driver is missing",
                    f"install it: {sys.prefix}/bin/pip install '{package}'",
                ) from None

    def _reflected(
        self, conn: sa.Connection, wanted: set[str], canonical: Callable[[str], str]
    ) -> list[sa.Column[Any]]:
        """Return the wanted columns of the table, with their types."""
        table = sa.Table(
            self._table,
            sa.MetaData(schema=self._schema),
            autoload_with=conn,
            resolve_fks=False,
        )
        if conn.dialect.name == "sqlite":
            # SQLite declares text as a date, which SQLAlchemy would fail to parse.
            for column in table.columns:
                column.type = sa.types.NullType()
        return [one for one in table.columns if canonical(one.name) in wanted]

    def _check(self, lacking: Sequence[str]) -> None:
        if lacking:
            raise HistoryUnreadable(
                self.name,
                f"it has no column {' and no column '.join(lacking)}",
                f"name a table or view that has it in history.{self._setting}_table",
            )

    def _times(
        self, conn: sa.Connection, columns: Sequence[sa.Column[Any]]
    ) -> list[_Time]:
        """Return the columns that contain times, the preferred one first.

        Raises:
            HistoryUnreadable: none of them contains times.
        """
        found, unreadable = [], None
        for column in columns:
            greatest = (
                sa.select(column)
                .where(column.is_not(None))
                .order_by(column.desc())
                .limit(1)
            )
            value = conn.execute(greatest).scalar()
            if isinstance(value, str) and read_time(value) is None:
                # A single row may be wrong.
                with_digit = greatest.where(column >= "0", column < ":")
                value = conn.execute(with_digit).scalar() or value
            if value is None or not str(value).strip("0-: "):
                # The column is empty.
                continue
            if read_time(value) is None:
                unreadable = f"column {column.name} holds {str(value)[:40]!r}"
                continue
            found.append(_Time(column, value))
        if unreadable is not None and not found:
            raise HistoryUnreadable(
                self.name,
                f"its times can not be read: {unreadable}",
                "name a view that shows them as 2026-01-31 12:00:00 in"
                f" history.{self._setting}_table",
            )
        return found

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        try:
            yield
        except NoSuchTableError:
            raise HistoryUnreadable(
                self.name,
                "there is no such table",
                f"correct history.{self._setting}_table in the settings",
            ) from None
        except HistoryUnreadable:
            raise
        # Drivers raise all kinds of errors for an unknown option in the URL.
        except Exception as error:
            cause = getattr(error, "orig", None) or error
            said = next(iter(str(cause).strip().splitlines()), "")
            if not isinstance(error, SQLAlchemyError | sqlite3.Error | OSError):
                said = f"{type(error).__name__}: {said}"
            raise HistoryUnreadable(
                self.name,
                f"it can not be read: {said or type(cause).__name__}",
                f"{self._server_remedy}correct history.{self._setting}_url in the"
                " settings, or the rights of its user",
            ) from None


class CdrTable(HistoryTable):
    """A table of CDRs."""

    _setting = "cdr"

    def rows_since(self, since: datetime) -> list[dict[str, object]]:
        """Return the rows of CDRs that started since a time, ``MAX_ROWS`` at most.

        Args:
            since: without a zone, in that of the rows.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        rows: list[dict[str, object]] = []
        with self._explained_errors(), self._engine.connect() as conn:
            columns = self._columns(conn)
            others: list[sa.ColumnElement[bool]] = []
            for time in self._times(conn, _columns_named(columns, "start")):
                newest_first = (
                    sa.select(*columns)
                    .where(time.column >= time.bound(since), *others)
                    .order_by(time.column.desc())
                    .limit(MAX_ROWS - len(rows))
                )
                rows += [by_name(row.items()) for row in _rows(conn, newest_first)]
                # Rows read by this column must not be read by the next one again.
                others.append(time.is_before(since))
        return rows

    def count_without_time(self, since: datetime) -> int:
        """Return how many CDRs have no time, up to ``MAX_COUNTED``.

        Counts those whose uniqueid is not older than ``since``.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        with self._explained_errors(), self._engine.connect() as conn:
            columns = self._columns(conn)
            born_since = [
                sa.cast(column, sa.String) >= f"{since.timestamp():.0f}"
                for column in _columns_named(columns, "uniqueid")
            ]
            unset = [
                time.is_before(_FIRST)
                for time in self._times(conn, _columns_named(columns, "start"))
            ]
            found = (
                sa.select(sa.literal(1))
                .select_from(*{column.table for column in columns})
                .where(sa.or_(*born_since), *unset)
                .limit(MAX_COUNTED)
            )
            return conn.execute(
                sa.select(sa.func.count()).select_from(found.subquery())
            ).scalar_one()

    def newest(self) -> dict[str, object] | None:
        """Return the row that started last; None if there is none.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        with self._explained_errors(), self._engine.connect() as conn:
            columns = self._columns(conn)
            times = self._times(conn, _columns_named(columns, "start"))
            found = [by_name(row.items()) for row in _greatest(conn, columns, times)]
        rows = [(at, row) for row in found if (at := read_time(row["start"]))]
        if not rows:
            return found[0] if found else None
        return max(rows, key=lambda one: one[0].timestamp())[1]

    def _columns(self, conn: sa.Connection) -> list[sa.Column[Any]]:
        columns = self._reflected(conn, {*NEEDED, *USEFUL}, canonical)
        self._check(lacking_columns(column.name for column in columns))
        return columns


class QueueLogTable(HistoryTable):
    """A table that Asterisk's realtime writes queue_log into."""

    _setting = "queue_log"

    def rows_since(self, since: datetime) -> list[dict[str, object]]:
        """Return the rows since a time, in their order, ``MAX_ROWS`` at most.

        Args:
            since: without a zone, in that of the rows.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        with self._explained_errors(), self._engine.connect() as conn:
            columns = self._columns(conn)
            for time in self._times(
                conn, _columns_named(columns, "time", queue_log.column)
            ):
                found = sa.select(*columns).where(time.column >= time.bound(since))
                key = [
                    column
                    for column in columns[0].table.primary_key.columns
                    if column is not time.column
                ]
                if not key:
                    # Rows of the same second keep the order in which they were written.
                    rows = _rows(conn, found.limit(MAX_ROWS + 1))
                    if len(rows) <= MAX_ROWS:
                        return [queue_log.by_name(row.items()) for row in rows]
                newest_first = found.order_by(
                    time.column.desc(), *(column.desc() for column in key)
                )
                rows = _rows(conn, newest_first.limit(MAX_ROWS))
                return [queue_log.by_name(row.items()) for row in reversed(rows)]
        return []

    def newest(self) -> dict[str, object] | None:
        """Return the row that was written last; None if there is none.

        Raises:
            HistoryUnreadable: the database or the table can not be used.
        """
        with self._explained_errors(), self._engine.connect() as conn:
            columns = self._columns(conn)
            times = self._times(conn, _columns_named(columns, "time", queue_log.column))
            for row in _greatest(conn, columns, times):
                return queue_log.by_name(row.items())
        return None

    def _columns(self, conn: sa.Connection) -> list[sa.Column[Any]]:
        columns = self._reflected(
            conn, {*queue_log.NEEDED, *queue_log.DATA}, queue_log.column
        )
        self._check(queue_log.lacking_columns(column.name for column in columns))
        return columns


@frozen
class _Time:
    """A column of times."""

    column: sa.Column[Any]
    #: One of its values, which shows their form.
    value: object

    def bound(self, moment: datetime) -> object:
        """Return a time in the form of the column.

        Args:
            moment: the time, without a zone, in the zone of the column.
        """
        if isinstance(self.value, datetime):
            return moment.astimezone() if self.value.tzinfo else moment
        if isinstance(self.value, str):
            if self.value.strip()[:9].isdecimal():
                return f"{moment.timestamp():.0f}"
            return moment.isoformat(" ", "seconds")
        return moment.timestamp()

    def is_before(self, moment: datetime) -> sa.ColumnElement[bool]:
        """Return the condition that the column is before a time, or empty."""
        return sa.or_(self.column.is_(None), self.column < self.bound(moment))


def _columns_named(
    columns: Iterable[sa.Column[Any]],
    name: str,
    meaning: Callable[[str], str] = canonical,
) -> list[sa.Column[Any]]:
    """Return the columns with one meaning, the one with Asterisk's own name first."""
    found = [column for column in columns if meaning(column.name) == name]
    return sorted(found, key=lambda column: column.name.lower() != name)


def _greatest(
    conn: sa.Connection, columns: Sequence[sa.Column[Any]], times: Iterable[_Time]
) -> Iterator[Mapping[str, object]]:
    """Yield for each column of times the row with the latest time."""
    for time in times:
        newest_first = (
            sa.select(*columns)
            .where(time.column.is_not(None))
            .order_by(time.column.desc())
            .limit(1)
        )
        yield from _rows(conn, newest_first)


def _rows(
    conn: sa.Connection, query: sa.Select[tuple[Any, ...]]
) -> Sequence[Mapping[str, object]]:
    return conn.execute(query).mappings().all()  # type: ignore[return-value]


def _shown(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def _limit_waits(engine: sa.Engine) -> None:
    """Give a PostgreSQL server up that does not answer; its own time-out cannot."""
    from fastagi.patience import PatientConnection

    class Connection(PatientConnection):
        patience_s = _PATIENCE_S

    def connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        return Connection.connect(*args, **options)

    sa.event.listen(engine, "do_connect", connect)


def _open_sqlite(path: Path) -> sqlite3.Connection:
    # SQLite would wait for ever at a FIFO. It reports all other problems itself.
    try:
        open_plain(path).close()
    except NoPlainFile as error:
        raise OSError(error.strerror) from None
    except OSError:
        pass
    # "ro": SQLite must not create a missing file, nor change anything.
    conn = sqlite3.connect(sqlite_uri(path, "ro"), uri=True, timeout=_CONNECT_S)
    # Otherwise one name in another character set would make all rows unreadable.
    conn.text_factory = decoded
    return conn
