# SPDX-License-Identifier: MIT
"""SQLite and PostgreSQL: what differs between them.

Opens connections so that a commit survives a power failure, begins transactions, and
explains an engine's errors to an operator. Independent of tables, threads and Twisted.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from fastagi.errors import Problem
from fastagi.sqlite_uri import sqlite_uri
from fastagi.store.errors import CopyFailed, StoreUnavailable
from fastagi.store.sqlite_copy import code_of, copy_file, sync_directory

T = TypeVar("T")

#: Busy time-out of one try to lock a SQLite file, in seconds; the caller tries again.
_LOOK_S: Final = 0.1
#: How long the server keeps an idle transaction, in seconds: a frozen process must not
#: keep the lock on the lease until another one may take it.
_FROZEN_S: Final = 10.0
#: Lock time-out of a migration, in seconds.
_MIGRATION_WAIT_S: Final = 15.0
#: Free space that SQLite needs to open a file, in bytes.
_MIN_ROOM: Final = 64 * 1024
#: The first version with RETURNING.
_OLDEST_SQLITE: Final = (3, 35, 0)
_BEGIN: Final = "BEGIN IMMEDIATE"
_UPGRADE: Final = "run: callback-queue db upgrade"


class Trouble(Enum):
    """The kinds of an engine's errors, by what can be done next."""

    #: Another process holds a lock; waiting may help.
    LOCKED = auto()
    #: Two transactions conflicted; repeating the transaction may help.
    RACE = auto()
    #: The connection is lost; a new one may help.
    LOST = auto()
    #: Nothing helps until an administrator has done something.
    UNUSABLE = auto()


@frozen
class Explained:
    """An engine's error in an operator's words."""

    trouble: Trouble
    problem: Problem

    def as_error(self) -> StoreUnavailable:
        """Return the error that the store raises to its callers."""
        return StoreUnavailable(self.problem)


class Backend(Protocol):
    """What differs between the engines."""

    @property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine, without a connection pool."""

    @property
    def before_upgrade(self) -> str:
        """What an administrator does before an upgrade; empty, or ends with a comma."""

    @property
    def lock_file(self) -> Path | None:
        """The file that a running service locks; None if this engine uses none."""

    def create(self) -> None:
        """Create the database if it does not exist and this engine can create it.

        Raises:
            StoreUnavailable: it cannot be created.
        """

    def begin(self, conn: sa.Connection) -> None:
        """Begin a transaction that may write."""

    def begin_migration(self, conn: sa.Connection) -> None:
        """Begin a transaction that may change tables; one process at a time has one."""

    def check_migration(self, conn: sa.Connection) -> None:
        """Raise StoreUnavailable if a migration broke references between rows."""

    def collect_statistics(self, conn: sa.Connection, *, again: bool) -> bool:
        """Collect statistics on the tables, if the engine's query plans depend on them.

        Args:
            conn: in a transaction.
            again: collect even if there are statistics already.

        Returns:
            Whether statistics were collected.
        """

    def check_commit(self) -> None:
        """Raise StoreUnavailable if a commit now would be lost."""

    def has_written(self, conn: sa.Connection) -> bool:
        """Say whether the transaction has changed anything so far."""

    def empty_log(self, conn: sa.Connection) -> None:
        """Empty the log of writes, as far as others let it; outside a transaction."""

    def copy(self, version: str) -> Path | None:
        """Copy the database if it is a file; return the path of the copy, or None."""

    def back_up(
        self,
        given: str | None,
        now: datetime,
        look: Callable[[sqlite3.Connection], T],
    ) -> tuple[Path, T]:
        """Copy the database for an administrator, if it is a file.

        Args:
            given: a new file, or a folder; None: the folder of the database.
            now: the current time, for the name of the copy if none is given.
            look: called with a connection to the copy; raises if the copy is useless.

        Returns:
            The path of the copy, and what ``look`` returned.

        Raises:
            CopyFailed: no copy can be made; the text says what to do instead.
            StoreUnavailable: the database cannot be used.
        """

    def explain(self, error: BaseException) -> Explained | None:
        """Explain an error of the engine; None if it is a fault of this program."""


def backend_for(url: str) -> Backend:
    """Return the backend of a database URL.

    Raises:
        StoreUnavailable: no such engine, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The URL may hold a password: it is not repeated.
        raise StoreUnavailable("the database URL can not be read") from None
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteBackend(parsed.database or "")
        case "postgresql":
            return PostgresBackend(parsed)
        case other:
            raise StoreUnavailable(
                f"{other} is no database this service can use",
                "use sqlite or postgresql",
            )


class SqliteBackend:
    """One file with a write-ahead log, one writer at a time; each commit is synced."""

    def __init__(self, database: str) -> None:
        in_memory = database in {"", ":memory:"}
        self._path = None if in_memory else Path(database).absolute()
        #: The driver's count of changed rows when the transaction began.
        self._changes = 0
        #: Device and inode of the file that the connection has open.
        self._opened: tuple[int, int] | None = None
        self.engine = sa.create_engine(
            URL.create("sqlite"),
            creator=self._open,
            poolclass=NullPool,
            hide_parameters=True,
        )

    @property
    def before_upgrade(self) -> str:
        """Return nothing: `db upgrade` copies the file itself."""
        return ""

    @property
    def lock_file(self) -> Path | None:
        """A file beside the database, the same for every link that leads to it."""
        if self._path is None:
            return None
        path = self._path.resolve()
        return path.with_name(f"{path.name}-lock")

    def create(self) -> None:
        """Create the file, readable and writable by its owner only."""
        if self._path is None:
            return
        self._check_directory(self._path.parent)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        except OSError as error:
            remedy = f"let the user this service runs as write to {self._path.parent}"
            if isinstance(error, PermissionError):
                remedy = f"run the command with sudo, or {remedy}"
            raise StoreUnavailable(
                f"{self._path} can not be made: {error.strerror}", remedy
            ) from error
        if os.geteuid() == 0:
            # Run as root: give the file to the owner of the directory, the service.
            owner = self._path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.close(descriptor)
        sync_directory(self._path.parent)

    def begin(self, conn: sa.Connection) -> None:
        """Take the write lock at once: a lock taken later can fail half-way."""
        conn.begin()
        # By the driver: SQLAlchemy's own way takes several times as long as SQLite.
        driver: Any = conn.connection.driver_connection
        try:
            driver.execute(_BEGIN)
        except sqlite3.Error as error:
            raise OperationalError(_BEGIN, None, error) from error
        self._changes = driver.total_changes

    def begin_migration(self, conn: sa.Connection) -> None:
        """Begin with the settings that SQLite needs to recreate a table."""
        conn.exec_driver_sql("PRAGMA foreign_keys=OFF")
        conn.exec_driver_sql("PRAGMA legacy_alter_table=ON")
        conn.exec_driver_sql(f"PRAGMA busy_timeout={_MIGRATION_WAIT_S * 1000:.0f}")
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    def check_migration(self, conn: sa.Connection) -> None:
        """Look for foreign keys without a row."""
        broken = conn.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise StoreUnavailable(
                f"the upgrade would leave {len(broken)} rows without the row they"
                " belong to",
                f"{self._path} is left as it was",
            )

    def collect_statistics(self, conn: sa.Connection, *, again: bool) -> bool:
        """Do nothing: SQLite chooses the indexes without statistics."""
        return False

    def check_commit(self) -> None:
        """Raise if the open file was moved, deleted or replaced."""
        if self._path is not None and self._identity(self._path) != self._opened:
            raise StoreUnavailable(
                f"{self._path} was moved, deleted or replaced while in use",
                "put it back, or restart the service to begin with an empty one",
            )

    def has_written(self, conn: sa.Connection) -> bool:
        """Compare the driver's count of changed rows with that at the beginning."""
        return self._total_changes(conn) > self._changes

    def empty_log(self, conn: sa.Connection) -> None:
        """Write all pages to the file, and truncate the log."""
        with suppress(sa.exc.DBAPIError):
            conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.rollback()

    @staticmethod
    def _total_changes(conn: sa.Connection) -> int:
        driver: Any = conn.connection.driver_connection
        changes: int = driver.total_changes
        return changes

    def copy(self, version: str) -> Path | None:
        """Copy what is committed; a plain copy would lack the write-ahead log."""
        if self._path is None:
            return None
        target = self._free_name(f"{self._path.name}.backup-{version or 'empty'}")
        self._copy(self._path, target, lambda _copy: None)
        return target

    def back_up(
        self,
        given: str | None,
        now: datetime,
        look: Callable[[sqlite3.Connection], T],
    ) -> tuple[Path, T]:
        """Copy what is committed, without blocking writers."""
        if self._path is None:
            raise CopyFailed("a database in memory can not be copied; it ends with us")
        dated = f"{self._path.stem}-{now:%Y%m%dT%H%M%SZ}{self._path.suffix}"
        if given is None:
            target = self._path.with_name(dated)
        elif given.endswith("/") or os.path.isdir(given):
            target = Path(given, dated).absolute()
        else:
            target = Path(given).absolute()
        return target, self._copy(self._path, target, look)

    def _copy(
        self, path: Path, target: Path, look: Callable[[sqlite3.Connection], T]
    ) -> T:
        try:
            path.stat()
            return copy_file(path, target, look)
        except (FileNotFoundError, NotADirectoryError):
            raise StoreUnavailable(
                f"{path} does not exist, so there is nothing to copy",
                "see database.url in the settings",
            ) from None
        except OSError as error:
            raise _unreadable(path, error.strerror or "") from error
        except sqlite3.Error as error:
            if code_of(error) & 0xFF in {
                sqlite3.SQLITE_CANTOPEN,
                sqlite3.SQLITE_PERM,
                sqlite3.SQLITE_READONLY,
            }:
                raise _unreadable(path, str(error)) from error
            explained = self.explain(error)
            if explained is None:
                raise
            raise explained.as_error() from error

    def explain(self, error: BaseException) -> Explained | None:
        """Explain SQLite's result codes (https://sqlite.org/rescode.html)."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", None)
        if not isinstance(cause, sqlite3.Error) or code is None:
            return None
        where = self._path or "the database in memory"
        match code & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return Explained(
                    Trouble.LOCKED,
                    Problem(
                        "",
                        f"{where} is locked by another process",
                        f"find it with: fuser -v {where}",
                    ),
                )
            case sqlite3.SQLITE_FULL:
                what, remedy = f"no room left for {where}", "make room on its disk"
            case sqlite3.SQLITE_IOERR if self._path and not _has_room(self._path):
                # The file of shared memory (-shm) could not be created.
                what, remedy = f"no room left for {where}", "make room on its disk"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                what = f"{where} can not be written"
                remedy = (
                    "let the user this service runs as write to the file and to its"
                    " directory"
                )
            case sqlite3.SQLITE_CANTOPEN:
                what = f"{where} can not be opened"
                remedy = (
                    "let the user this service runs as read and write the file and its"
                    " directory"
                )
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                what = f"{where} is damaged or no database ({cause})"
                remedy = (
                    "stop the service, move the file away and put a copy back in its"
                    " place"
                )
            case sqlite3.SQLITE_IOERR:
                what = f"{where} can not be read or written ({cause})"
                remedy = "check its disk"
            case sqlite3.SQLITE_ERROR if "no such table" in str(cause):
                what = f"{where} does not have the tables of this service"
                remedy = _UPGRADE
            case sqlite3.SQLITE_ERROR | sqlite3.SQLITE_CONSTRAINT:
                return None
            case sqlite3.SQLITE_MISUSE | sqlite3.SQLITE_RANGE | sqlite3.SQLITE_MISMATCH:
                return None
            case _:
                what, remedy = f"{where} can not be used: {cause}", ""
        return Explained(Trouble.UNUSABLE, Problem("", what, remedy))

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old",
                "3.35 or newer is needed",
            )
        if self._path is not None:
            self._check_directory(self._path.parent)
            self._opened = self._identity(self._path)
            if self._opened is None:
                raise StoreUnavailable(
                    f"{self._path} does not exist",
                    f"put it back, or to begin with an empty one {_UPGRADE}",
                )
        conn = sqlite3.connect(
            # Without "rw" SQLite would create a missing file, readable by everybody.
            sqlite_uri(self._path, "rw") if self._path else "file::memory:",
            uri=True,
            timeout=_LOOK_S,
            # begin() begins transactions, not the driver.
            isolation_level=None,
        )
        try:
            mode = conn.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            # Each commit waits for the disk: a promise must survive a power failure.
            conn.execute("PRAGMA synchronous=FULL")
            conn.execute("PRAGMA foreign_keys=ON")
            # What is erased or deleted is overwritten with zeros.
            conn.execute("PRAGMA secure_delete=ON")
        except BaseException:
            conn.close()
            raise
        if self._path is not None and mode != "wal":
            conn.close()
            raise StoreUnavailable(
                f"{self._path} can not have a write-ahead log",
                "move it to a local disk",
            )
        return conn

    @staticmethod
    def _identity(path: Path) -> tuple[int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @staticmethod
    def _check_directory(directory: Path) -> None:
        if not directory.is_dir():
            raise StoreUnavailable(
                f"the directory {directory} does not exist",
                "make it, for the user this service runs as",
            )

    def _free_name(self, name: str) -> Path:
        assert self._path is not None
        target, count = self._path.with_name(name), 1
        while target.exists():
            count += 1
            target = self._path.with_name(f"{name}.{count}")
        return target


def _has_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free > _MIN_ROOM
    except OSError:
        return True


def _unreadable(path: Path, why: str) -> CopyFailed:
    return CopyFailed(
        f"{path} can not be read ({why})",
        "run this command as root or as the user of the service",
    )


#: SQLSTATEs with their meaning and remedy; two characters apply to a whole class.
_SQLSTATES: Final[dict[str, tuple[Trouble, str, str]]] = {
    "55P03": (Trouble.LOCKED, "its rows are locked by another session", ""),
    "57014": (Trouble.LOCKED, "it takes too long to answer", ""),
    "40": (Trouble.RACE, "another session was in the way", ""),
    "08": (Trouble.LOST, "the connection is lost", ""),
    "57P": (Trouble.LOST, "the server is shutting down or starting", ""),
    "53100": (Trouble.UNUSABLE, "its disk is full", "make room on the server"),
    "53": (Trouble.UNUSABLE, "the server has no resources left", ""),
    "25006": (Trouble.UNUSABLE, "it is read-only", "connect to the primary server"),
    "42P01": (
        Trouble.UNUSABLE,
        "it does not have the tables of this service",
        _UPGRADE,
    ),
    "42501": (Trouble.UNUSABLE, "its user lacks a right", "grant it"),
    "28": (
        Trouble.UNUSABLE,
        "it refuses user or password",
        "correct the database URL",
    ),
    "3D": (Trouble.UNUSABLE, "it does not exist", "make it with createdb"),
    "58": (Trouble.UNUSABLE, "the server can not read or write its files", ""),
    "XX": (Trouble.UNUSABLE, "its files are damaged", "see the server's log"),
}


#: Whether each of the tables that grow has statistics, or is empty.
_HAS_STATISTICS: Final = (
    "SELECT bool_and(EXISTS (SELECT 1 FROM pg_stats"
    " WHERE schemaname = n.nspname AND tablename = c.relname)"
    " OR pg_relation_size(c.oid) = 0)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid IN (to_regclass('task'), to_regclass('attempt'),"
    " to_regclass('task_event'), to_regclass('tally'), to_regclass('reached'))"
)
#: The tables that grow.
_ANALYSED: Final = ("task", "attempt", "task_event", "tally", "reached")


def _has_table(conn: sa.Connection, name: str) -> bool:
    asked = sa.text("SELECT to_regclass(:name) IS NOT NULL")
    return bool(conn.execute(asked, {"name": name}).scalar())


class PostgresBackend:
    """A PostgreSQL server. Its driver is an optional dependency."""

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql")
        self._name = self._url.set(query={}).render_as_string(hide_password=True)
        try:
            from psycopg import Error
            from psycopg.conninfo import make_conninfo

            from fastagi.patience import PatientConnection
        except ImportError:
            raise StoreUnavailable(
                "the driver for PostgreSQL is missing",
                f"install it: {sys.prefix}/bin/pip install 'psycopg[binary]'",
            ) from None
        url = url.set(drivername="postgresql+psycopg")
        try:
            self.engine = sa.create_engine(
                url,
                poolclass=NullPool,
                hide_parameters=True,
                isolation_level="READ COMMITTED",
                connect_args={
                    "connect_timeout": 2,
                    "client_encoding": "utf8",
                    "application_name": "callback-queue",
                    # A server that vanished without closing is noticed in seconds.
                    "tcp_user_timeout": 3000,
                    "keepalives_idle": 10,
                    "keepalives_interval": 3,
                    "keepalives_count": 3,
                },
            )
            _, options = self.engine.dialect.create_connect_args(url)
            # An argument of SQLAlchemy, not of the driver.
            options.pop("context", None)
            # Accept options of libpq only; refuse autocommit and the like.
            make_conninfo(**options)
        except (ArgumentError, ValueError, Error) as error:
            reason = str(error).strip().splitlines()[0]
            raise StoreUnavailable(
                Problem(
                    "",
                    f"the database {self._name}: {reason}",
                    "correct database.url in the settings",
                )
            ) from None

        def connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Any:
            return PatientConnection.connect(*args, **options)

        sa.event.listen(self.engine, "do_connect", connect)
        sa.event.listen(self.engine, "connect", self._prepare)

    @staticmethod
    def _prepare(connection: Any, _record: object) -> None:
        """Limit every wait, and make each commit wait for the server's disk."""
        connection.execute("SET lock_timeout = '2s'")
        # Shorter than PATIENCE_S of PatientConnection, which gives up the server.
        connection.execute("SET statement_timeout = '5s'")
        connection.execute(
            f"SET idle_in_transaction_session_timeout = '{_FROZEN_S * 1000:.0f}ms'"
        )
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.commit()

    @property
    def before_upgrade(self) -> str:
        """Say that the database is to be copied: `db upgrade` does not copy it."""
        return "copy the database ('callback-queue db backup' prints the command), "

    @property
    def lock_file(self) -> None:
        """None: on PostgreSQL the holder renews its lease instead."""
        return None

    def create(self) -> None:
        """Do nothing: the server's administrator creates the database."""

    def begin(self, conn: sa.Connection) -> None:
        """Begin in SQLAlchemy; the driver begins with the first statement."""
        conn.begin()

    def begin_migration(self, conn: sa.Connection) -> None:
        """Block other migrations until this one is committed."""
        driver: Any = conn.connection.driver_connection
        # No time-out: tables may be large, and the operator can press Ctrl-C.
        driver.patience_s = None
        for name in ("lock_timeout", "statement_timeout"):
            conn.exec_driver_sql(f"SET LOCAL {name} = '{_MIGRATION_WAIT_S:.0f}s'")
        conn.exec_driver_sql("SELECT pg_advisory_xact_lock(4573)")
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            conn.exec_driver_sql(f"SET LOCAL {name} = 0")

    def check_migration(self, conn: sa.Connection) -> None:
        """Do nothing: the server always checks foreign keys."""

    def collect_statistics(self, conn: sa.Connection, *, again: bool) -> bool:
        """Collect statistics; without them (after a restore) query plans are slow."""
        if not again and conn.exec_driver_sql(_HAS_STATISTICS).scalar():
            return False
        # The tables of the reports are new in 0.2.0.
        tables = [name for name in _ANALYSED if _has_table(conn, name)]
        conn.exec_driver_sql(f"ANALYZE {', '.join(tables)}")
        return True

    def check_commit(self) -> None:
        """Do nothing: the server guarantees its commits."""

    def has_written(self, conn: sa.Connection) -> bool:
        """Ask the server: a transaction gets an id when it first writes."""
        asked = "SELECT txid_current_if_assigned() IS NOT NULL"
        return bool(conn.exec_driver_sql(asked).scalar())

    def empty_log(self, conn: sa.Connection) -> None:
        """Do nothing: the server keeps its log as long as its administrator wants."""

    def copy(self, version: str) -> Path | None:
        """Return None: pg_dump copies a PostgreSQL database."""
        return None

    def back_up(
        self,
        given: str | None,
        now: datetime,
        look: Callable[[sqlite3.Connection], T],
    ) -> tuple[Path, T]:
        """Raise CopyFailed with the pg_dump command that makes the copy."""
        if given is None:
            given = f"callback-queue-{now:%Y%m%dT%H%M%SZ}.dump"
        shown = _without_password(self._url)
        raise CopyFailed(
            "a PostgreSQL database is copied with PostgreSQL's own program: pg_dump"
            f" --format=custom {shlex.quote(f'--file={given}')}"
            f" {shlex.quote(f'--dbname={shown}')} - it asks for the"
            " password, or finds it in ~/.pgpass as host:port:database:user:password"
        )

    def explain(self, error: BaseException) -> Explained | None:
        """Explain SQLSTATEs (appendix A of PostgreSQL's manual)."""
        if not isinstance(error, DBAPIError):
            return None
        state = getattr(error.orig, "sqlstate", None)
        for length in (5, 3, 2):
            if state and (known := _SQLSTATES.get(state[:length])):
                trouble, what, remedy = known
                what = f"the database {self._name}: {what}"
                return Explained(trouble, Problem("", what, remedy))
        if error.connection_invalidated or (
            state is None and isinstance(error, sa.exc.OperationalError)
        ):
            # Psycopg reports some errors, such as a wrong password, without a SQLSTATE.
            detail = str(error.orig).strip().splitlines()[0]
            return Explained(
                Trouble.LOST,
                Problem(
                    "",
                    f"the database {self._name}: {detail}",
                    "see whether its server runs, answers and takes this URL, and what"
                    " its log says",
                ),
            )
        return None


def _without_password(url: URL) -> str:
    """Return the URL for psql and pg_dump, without its password."""
    shown = URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={
            name: value for name, value in url.query.items() if "password" not in name
        },
    )
    return shown.render_as_string(hide_password=False)
