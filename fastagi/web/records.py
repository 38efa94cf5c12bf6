# SPDX-License-Identifier: MIT
"""Reads the service's database, and can never write to it.

Each of a few threads keeps one connection. A read is one short transaction with a time
limit, because on SQLite the log of writes (WAL) grows as long as somebody reads an old
state, and on PostgreSQL old rows are kept. Nothing is read from a database of another
version than this program knows.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from fastagi.errors import CallbackError
from fastagi.sqlite_uri import sqlite_uri
from fastagi.store import versions
from fastagi.store.backends import Backend, Explained, Trouble, backend_for
from fastagi.store.errors import SchemaMismatch, StoreUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Number of threads, and so of reads at the same time.
_THREADS: Final = 4
#: Maximum number of reads that wait for a thread.
_MAX_WAITING: Final = 200
#: Time limit of a read, in seconds; with the wait for a thread.
_WITHIN_S: Final = 5.0
#: How long a read waits for a lock of another process, in seconds. A writer of a SQLite
#: file with a write-ahead log blocks no reader; only a recovery does.
_LOCK_S: Final = 1.0
#: How many instructions SQLite executes between two checks of the time limit.
_CHECKED_EVERY: Final = 10_000


class RecordsUnavailable(CallbackError):
    """The service's database can not be read at the moment."""


class OtherVersion(RecordsUnavailable):
    """The service's database has another version than this program."""


class TooSlow(RecordsUnavailable):
    """The read was ended, because it took too long or too many others wait."""


class Records:
    """The service's database, read-only."""

    def __init__(
        self,
        url: str,
        *,
        threads: int = _THREADS,
        within_s: float = _WITHIN_S,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        """Prepare; connections are opened when they are needed.

        Args:
            url: the URL of the service's database.
            threads: number of threads, and so of reads at the same time.
            within_s: time limit of a read, in seconds.
            max_waiting: maximum number of reads that wait for a thread.

        Raises:
            RecordsUnavailable: the engine is not supported, or its driver is missing.
        """
        self._reader = _reader_for(url)
        self._version = versions.newest_version()
        self._within_s = within_s
        self._max_waiting = max_waiting
        self._waiting = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="records")
        self._connections = threading.local()
        #: The connections of all threads, to close them.
        self._opened: set[sa.Connection] = set()
        self._lock = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return isinstance(self._reader, _SqliteReader)

    async def read(
        self,
        function: Callable[[sa.Connection, *Ts], T],
        *args: *Ts,
        within_s: float | None = None,
    ) -> T:
        """Run ``function(conn, *args)`` in a thread, in a transaction that only reads.

        Args:
            function: reads; returns values, never rows or results. It may run twice.
            args: its further arguments.
            within_s: time limit in seconds; None: the usual one.

        Raises:
            OtherVersion: the database has another version.
            TooSlow: the time limit has passed, or too many other reads wait.
            RecordsUnavailable: the database can not be read.
        """
        if self._waiting >= self._max_waiting:
            raise TooSlow(
                f"{self._waiting} others read the database already", "try again later"
            )
        limit_s = self._within_s if within_s is None else within_s
        deadline = time.monotonic() + limit_s
        loop = asyncio.get_running_loop()
        self._waiting += 1
        work = loop.run_in_executor(
            self._pool, self._read_by, deadline, limit_s, function, args
        )
        work.add_done_callback(self._done)
        # The thread ends by itself: the engine has the same time limit.
        return await asyncio.shield(work)

    def close(self) -> None:
        """End the threads and close their connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            opened, self._opened = self._opened, set()
        for conn in opened:
            conn.close()

    def _done(self, work: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not work.cancelled():
            # Nobody may be waiting for the error any more.
            work.exception()

    # -- in a thread -------------------------------------------------------

    def _read_by(
        self,
        deadline: float,
        limit_s: float,
        function: Callable[..., T],
        args: tuple[Any, ...],
    ) -> T:
        too_slow = TooSlow(
            f"reading the database takes more than {limit_s:g} s",
            "ask for less: a shorter range, or fewer rows",
        )
        try:
            return self._read(deadline, function, args)
        except StoreUnavailable as error:
            raise RecordsUnavailable(error.problem) from error
        except SchemaMismatch as error:
            raise OtherVersion(error.problem) from error
        except DBAPIError as error:
            if self._reader.is_interrupt(error) or time.monotonic() > deadline:
                raise too_slow from error
            explained = self._reader.explain(error)
            if explained is None:
                raise
            raise RecordsUnavailable(explained.problem) from error
        except TimeoutError:
            raise too_slow from None

    def _read(
        self, deadline: float, function: Callable[..., T], args: tuple[Any, ...]
    ) -> T:
        kept = self._kept()
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            conn = kept or self._open()
            try:
                self._reader.limit(conn, left_s)
                self._check_version(conn)
                value = function(conn, *args)
                conn.rollback()
                return value
            except BaseException as error:
                self._drop(conn)
                # A server may have closed a connection that was not used for a while.
                if kept is None or not self._was_lost(error):
                    raise
                kept = None

    def _kept(self) -> sa.Connection | None:
        """Return the connection of this thread if it can still be used."""
        conn: sa.Connection | None = getattr(self._connections, "conn", None)
        if conn is not None and not self._reader.is_current(conn):
            self._drop(conn)
            return None
        return conn

    def _open(self) -> sa.Connection:
        conn = self._reader.connect()
        self._connections.conn = conn
        with self._lock:
            self._opened.add(conn)
        return conn

    def _drop(self, conn: sa.Connection) -> None:
        self._connections.conn = None
        with self._lock:
            self._opened.discard(conn)
        conn.invalidate()
        conn.close()

    def _was_lost(self, error: BaseException) -> bool:
        if not isinstance(error, DBAPIError) or self._reader.is_interrupt(error):
            return False
        explained = self._reader.explain(error)
        return explained is not None and explained.trouble is Trouble.LOST

    def _check_version(self, conn: sa.Connection) -> None:
        try:
            if conn.scalars(versions.VERSIONS_TAKEN).all() == [self._version]:
                return
        except (sa.exc.ProgrammingError, sa.exc.OperationalError):
            # There is no such table, or the connection is lost.
            conn.rollback()
        version = versions.version_of(conn)
        if version != self._version:
            raise versions.outdated(version, self._reader.before_upgrade)


# -- the engines -------------------------------------------------------------


class _Reader(Protocol):
    """What differs between the engines."""

    @property
    def before_upgrade(self) -> str:
        """What an administrator does before an upgrade."""

    def connect(self) -> sa.Connection:
        """Open a connection that can only read."""

    def is_current(self, conn: sa.Connection) -> bool:
        """Say whether a connection still leads to the database of the URL."""

    def limit(self, conn: sa.Connection, seconds: float) -> None:
        """Begin a transaction that is ended after so many seconds."""

    def is_interrupt(self, error: DBAPIError) -> bool:
        """Say whether the engine ended a statement because of the time limit."""

    def explain(self, error: BaseException) -> Explained | None:
        """Explain an error; None if it is a fault of this program."""


def _reader_for(url: str) -> _Reader:
    try:
        parsed = make_url(url)
        backend = backend_for(url)
    except StoreUnavailable as error:
        raise RecordsUnavailable(error.problem) from error
    except (ArgumentError, ValueError):
        # The URL may hold a password: it is not repeated.
        raise RecordsUnavailable("the database URL can not be read") from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise RecordsUnavailable("a database in memory can not be read from here")
        return _SqliteReader(Path(str(parsed.database)).absolute(), backend)
    return _PostgresReader(backend)


class _SqliteReader:
    def __init__(self, path: Path, backend: Backend) -> None:
        self._path = path
        self._backend = backend
        self._engine = sa.create_engine(
            URL.create("sqlite"),
            creator=self._open,
            poolclass=NullPool,
            hide_parameters=True,
        )

    @property
    def before_upgrade(self) -> str:
        return self._backend.before_upgrade

    def connect(self) -> sa.Connection:
        conn = self._engine.connect()
        # A file that is replaced (a copy was put back) has another inode.
        conn.info["file"] = self._identity()
        return conn

    def is_current(self, conn: sa.Connection) -> bool:
        return conn.info.get("file") == self._identity() is not None

    def limit(self, conn: sa.Connection, seconds: float) -> None:
        driver: Any = conn.connection.driver_connection
        end = time.monotonic() + seconds
        driver.set_progress_handler(lambda: time.monotonic() > end, _CHECKED_EVERY)
        # One state for all statements of a read.
        conn.exec_driver_sql("BEGIN")

    def is_interrupt(self, error: DBAPIError) -> bool:
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code == sqlite3.SQLITE_INTERRUPT

    def explain(self, error: BaseException) -> Explained | None:
        return self._backend.explain(error)

    def _open(self) -> sqlite3.Connection:
        if self._identity() is None:
            raise StoreUnavailable(
                f"{self._path} does not exist",
                "start the service, which makes it, or correct the setting with the"
                " database's URL",
            )
        conn = sqlite3.connect(
            sqlite_uri(self._path, "ro"),
            uri=True,
            timeout=_LOCK_S,
            isolation_level=None,
            # `Records.close` closes it in another thread.
            check_same_thread=False,
        )
        conn.execute("PRAGMA query_only=ON")
        return conn

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


class _PostgresReader:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        sa.event.listen(backend.engine, "connect", self._prepare)
        self._engine = backend.engine.execution_options(
            # One state for all statements of a read.
            isolation_level="REPEATABLE READ",
            postgresql_readonly=True,
        )

    @property
    def before_upgrade(self) -> str:
        return self._backend.before_upgrade

    @staticmethod
    def _prepare(connection: Any, _record: object) -> None:
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("SET application_name = 'callback-queue web'")
        connection.commit()

    def connect(self) -> sa.Connection:
        return self._engine.connect()

    def is_current(self, conn: sa.Connection) -> bool:
        return True

    def limit(self, conn: sa.Connection, seconds: float) -> None:
        conn.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000) + 1}")

    def is_interrupt(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", None) == "57014"

    def explain(self, error: BaseException) -> Explained | None:
        return self._backend.explain(error)
