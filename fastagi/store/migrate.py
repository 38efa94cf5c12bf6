# SPDX-License-Identifier: MIT
"""Upgrades a database to the version that this service works with, or checks it.

The service only creates the tables of an empty database. Any other upgrade is left to
``callback-queue db upgrade``, which copies a SQLite file first.

Alembic does the upgrade. Tables of an empty database are created, and whether an
upgrade is needed is found out, without Alembic, because loading it takes longer than
everything else in a command.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import DBAPIError

from fastagi.store import leases
from fastagi.store.backends import Backend, Trouble, backend_for
from fastagi.store.creation import create_tables
from fastagi.store.engine import Database
from fastagi.store.errors import DatabaseHeld
from fastagi.store.schema import lease
from fastagi.store.versions import (
    MIGRATIONS,
    VERSIONS_TAKEN,
    newest_version,
    outdated,
    version_of,
)

__all__ = [
    "MIGRATIONS",
    "Upgraded",
    "check_current",
    "in_memory",
    "newest_version",
    "prepare",
    "upgrade",
]

#: Time to wait for other processes to release the database, and the pause between two
#: tries, in seconds.
_CONNECT_WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.01


@frozen
class Upgraded:
    """The result of :func:`upgrade`. The version of an empty database is empty."""

    before: str
    after: str
    #: The copy of the file as it was before; None if it was empty.
    copy: Path | None

    @property
    def changed(self) -> bool:
        """Whether the database was created or upgraded."""
        return self.before != self.after

    def __str__(self) -> str:
        if not self.changed:
            return f"the database is of version {self.after} already"
        if not self.before:
            return f"the database was made, version {self.after}"
        text = f"the database was upgraded from version {self.before} to {self.after}"
        return f"{text}; as it was before: {self.copy}" if self.copy else text


def upgrade(url: str, *, migrations: Path = MIGRATIONS) -> Upgraded:
    """Upgrade a database to the newest version; create it if there is none.

    The upgrade is one transaction: if it fails, nothing is changed.

    Args:
        url: the URL of the database.
        migrations: Alembic's directory. Those of another directory are also run if
            the database is empty.

    Raises:
        SchemaTooNew: the database is newer than this service.
        ForeignDatabase: the database belongs to another program.
        DatabaseHeld: an upgrade is needed, but a service runs on the database.
        CopyFailed: the database cannot be copied.
        StoreUnavailable: the database cannot be used.
    """
    backend = backend_for(url)
    backend.create()
    with _connected(backend) as conn:
        return _upgrade(conn, backend, migrations, only_empty=False)


def prepare(url: str, *, migrations: Path = MIGRATIONS) -> Upgraded:
    """Create the database if there is none or it is empty; else check its version.

    Raises:
        SchemaOutdated: the database has to be upgraded first.
        SchemaTooNew: the database is newer than this service.
        ForeignDatabase: the database belongs to another program.
        StoreUnavailable: the database cannot be used.
    """
    backend = backend_for(url)
    backend.create()
    with _connected(backend) as conn:
        return _upgrade(conn, backend, migrations, only_empty=True)


def check_current(url: str, *, migrations: Path = MIGRATIONS) -> None:
    """Check that the database has the version that this service works with.

    Raises:
        SchemaOutdated: the database has to be upgraded first.
        SchemaTooNew: the database is newer than this service.
        ForeignDatabase: the database belongs to another program.
        StoreUnavailable: the database cannot be used, or does not exist.
    """
    backend = backend_for(url)
    with _connected(backend) as conn:
        version = version_of(conn, migrations)
        if version != newest_version(migrations=migrations):
            raise outdated(version, backend.before_upgrade, migrations)


def in_memory() -> Database:
    """Return an empty database in memory, without a thread, for tests."""
    database = Database("sqlite://", deliver=None)
    database.run_now("make tables", create_tables, newest_version())
    return database


def _upgrade(
    conn: sa.Connection, backend: Backend, migrations: Path, *, only_empty: bool
) -> Upgraded:
    if _runs_migrations(backend, migrations):
        # Load it before taking the lock, for which other processes do not wait long.
        _load_alembic()
    # A second upgrade waits here, and then finds nothing to do.
    backend.begin_migration(conn)
    before = version_of(conn, migrations)
    head = newest_version(migrations=migrations)
    if before == head:
        if backend.collect_statistics(conn, again=False):
            conn.commit()
        return Upgraded(before, head, None)
    if before and only_empty:
        raise outdated(before, backend.before_upgrade, migrations)
    if before:
        _refuse_while_held(conn, backend)
    copy = backend.copy(before) if before else None
    if not before and migrations == MIGRATIONS:
        create_tables(conn, head)
    else:
        _run_migrations(conn, migrations)
    backend.check_migration(conn)
    backend.collect_statistics(conn, again=True)
    conn.commit()
    return Upgraded(before, head, copy)


def _refuse_while_held(conn: sa.Connection, backend: Backend) -> None:
    """Refuse to change tables while a service runs on the database.

    Raises:
        DatabaseHeld: a service runs on it.
    """
    if not sa.inspect(conn).has_table(lease.name):
        # The version is from before there was a lease.
        return
    if (held := leases.holder_in(conn, backend)) is not None:
        raise DatabaseHeld(
            f"the database is not upgraded while a service runs on it: {held}",
            "stop it ('systemctl stop callback-queue'), run 'callback-queue db upgrade'"
            " and start it again",
        )


@contextmanager
def _connected(backend: Backend) -> Iterator[sa.Connection]:
    """Connect, and convert the engine's errors to StoreUnavailable."""
    try:
        with _connect(backend) as conn:
            yield conn
    except DBAPIError as error:
        explained = backend.explain(error)
        if explained is None:
            raise
        raise explained.as_error() from error


def _connect(backend: Backend) -> sa.Connection:
    """Connect; if the database is locked, try again for a few seconds.

    If two processes open a new SQLite file at the same time, both create its
    write-ahead log; the second one fails at once, whatever its busy timeout.

    Raises:
        DBAPIError: the database cannot be used, or is still locked.
    """
    end = time.monotonic() + _CONNECT_WAIT_S
    while True:
        try:
            return backend.engine.connect()
        except DBAPIError as error:
            explained = backend.explain(error)
            held = explained is not None and explained.trouble is Trouble.LOCKED
            if not held or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_S)


def _runs_migrations(backend: Backend, migrations: Path) -> bool:
    """Whether migrations seem to be needed; without the lock this may be outdated."""
    try:
        with backend.engine.connect() as conn:
            versions = conn.scalars(VERSIONS_TAKEN).all()
    except DBAPIError:
        # Most likely it is empty.
        return migrations != MIGRATIONS
    return versions != [newest_version(migrations=migrations)]


def _load_alembic() -> None:
    importlib.import_module("alembic.config")


def _run_migrations(conn: sa.Connection, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
