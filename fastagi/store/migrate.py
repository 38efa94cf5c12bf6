# SPDX-License-Identifier: MIT
"""Brings a database to the version this service works with, and checks that it is.

The service itself only ever makes an empty database; anything else is left to the
operator's ``callback-queue db upgrade``, which copies a SQLite file aside first.

Alembic does what there is to do. Whether there is anything is asked without it: loading
it takes longer than all else that a command needs.
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
from fastagi.store.engine import Database
from fastagi.store.errors import (
    DatabaseHeld,
    ForeignDatabase,
    SchemaOutdated,
    SchemaTooNew,
)
from fastagi.store.schema import lease

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
#: Where Alembic keeps which steps were taken.
_VERSION_TABLE: Final = "alembic_version"
_VERSIONS_TAKEN: Final[sa.TextClause] = sa.text(
    f"SELECT version_num FROM {_VERSION_TABLE}"
)
#: How long to wait for others to let go of the database, and the pause between two
#: tries, in seconds.
_CONNECT_WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.01


@frozen
class Upgraded:
    """What :func:`upgrade` did. Versions are empty for an empty database."""

    before: str
    after: str
    #: Where the file as it was before was copied to, if there was anything in it.
    copy: Path | None

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return self.before != self.after

    def __str__(self) -> str:
        if not self.changed:
            return f"the database is of version {self.after} already"
        if not self.before:
            return f"the database was made, version {self.after}"
        text = f"the database was upgraded from version {self.before} to {self.after}"
        return f"{text}; as it was before: {self.copy}" if self.copy else text


def upgrade(url: str, *, migrations: Path = _MIGRATIONS) -> Upgraded:
    """Bring a database to the newest version, making it if there is none.

    All in one transaction: it is done, or the database is as it was.

    Args:
        url: of the database.
        migrations: Alembic's directory.

    Raises:
        SchemaTooNew: it is newer than this service.
        ForeignDatabase: it belongs to something else.
        DatabaseHeld: there is something to do, and a service runs on it.
        CopyFailed: the copy of it can not be made.
        StoreUnavailable: it can not be used.
    """
    backend = backend_for(url)
    backend.create()
    with _connected(backend) as conn:
        return _upgrade(conn, backend, migrations, only_empty=False)


def prepare(url: str, *, migrations: Path = _MIGRATIONS) -> Upgraded:
    """Make the database if there is none or it is empty, else check its version.

    Raises:
        SchemaOutdated: it has to be upgraded first.
        SchemaTooNew: it is newer than this service.
        ForeignDatabase: it belongs to something else.
        StoreUnavailable: it can not be used.
    """
    backend = backend_for(url)
    backend.create()
    with _connected(backend) as conn:
        return _upgrade(conn, backend, migrations, only_empty=True)


def check_current(url: str, *, migrations: Path = _MIGRATIONS) -> None:
    """Return if the database is of the version this service works with.

    Raises:
        SchemaOutdated: it has to be upgraded first.
        SchemaTooNew: it is newer than this service.
        ForeignDatabase: it belongs to something else.
        StoreUnavailable: it can not be used, or there is none.
    """
    backend = backend_for(url)
    with _connected(backend) as conn:
        version = _version(conn, migrations)
        if version != newest_version(migrations=migrations):
            raise _outdated(version, migrations)


def newest_version(*, migrations: Path = _MIGRATIONS) -> str:
    """Return the version of a database this service works with."""
    return max(_versions(migrations))


def in_memory() -> Database:
    """Return an empty database in memory, without a thread; it is for tests."""
    database = Database("sqlite://", deliver=None)
    database.run_now("make tables", _run_migrations, _MIGRATIONS)
    return database


def _upgrade(
    conn: sa.Connection, backend: Backend, migrations: Path, *, only_empty: bool
) -> Upgraded:
    if _has_work(backend, migrations):
        # Not under the lock, for which others do not wait long.
        _load_alembic()
    # Whoever else wants to upgrade waits here, and then finds nothing to do.
    backend.begin_migration(conn)
    before = _version(conn, migrations)
    head = newest_version(migrations=migrations)
    if before == head:
        if backend.look_at_rows(conn, again=False):
            conn.commit()
        return Upgraded(before, head, None)
    if before and only_empty:
        raise _outdated(before, migrations)
    if before:
        _refuse_while_held(conn, backend)
    copy = backend.copy(before) if before else None
    _run_migrations(conn, migrations)
    backend.check_migration(conn)
    backend.look_at_rows(conn, again=True)
    conn.commit()
    return Upgraded(before, head, copy)


def _refuse_while_held(conn: sa.Connection, backend: Backend) -> None:
    """Change no table under a running service.

    Raises:
        DatabaseHeld: one runs on this database.
    """
    if not sa.inspect(conn).has_table(lease.name):
        # Of a version that knows no lease.
        return
    if (held := leases.holder_in(conn, backend)) is not None:
        raise DatabaseHeld(
            f"the database is not upgraded while a service runs on it: {held}",
            "stop it ('systemctl stop callback-queue'), run 'callback-queue db upgrade'"
            " and start it again",
        )


@contextmanager
def _connected(backend: Backend) -> Iterator[sa.Connection]:
    """Connect, and tell the engine's errors in an operator's words."""
    try:
        with _connect(backend) as conn:
            yield conn
    except DBAPIError as error:
        explained = backend.explain(error)
        if explained is None:
            raise
        raise explained.as_error() from error


def _connect(backend: Backend) -> sa.Connection:
    """Connect; while somebody else holds the database, try again for some seconds.

    Two that open a new SQLite file at once both want to give it its write-ahead log:
    the one that is second is refused at once, whatever its busy timeout.

    Raises:
        DBAPIError: it can not be used, or is still held.
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


def _versions(migrations: Path) -> set[str]:
    """Return all versions there ever were: each file of a step begins with its own."""
    steps = (migrations / "versions").glob("[0-9]*_*.py")
    return {step.name.partition("_")[0] for step in steps}


def _has_work(backend: Backend, migrations: Path) -> bool:
    """Look whether there is anything to do, as far as can be seen without the lock."""
    try:
        with backend.engine.connect() as conn:
            versions = conn.scalars(_VERSIONS_TAKEN).all()
    except DBAPIError:
        return True
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


def _version(conn: sa.Connection, migrations: Path) -> str:
    """Return the database's version; empty if there is nothing in it.

    Raises:
        SchemaTooNew: it is not known here.
        ForeignDatabase: there is something in it, but no version.
    """
    tables = sa.inspect(conn).get_table_names()
    heads: list[str] = []
    if _VERSION_TABLE in tables:
        heads += conn.scalars(_VERSIONS_TAKEN)
    if not heads:
        if tables:
            raise ForeignDatabase(
                "the database belongs to something else: it has tables such as"
                f" {tables[0]}, but no version of this service",
                "use one of its own",
            )
        return ""
    known = _versions(migrations)
    if unknown := [head for head in heads if head not in known]:
        raise SchemaTooNew(
            f"the database is of version {unknown[0]}, this service knows only up to"
            f" {max(known)}",
            "install the newer service again, or put back the copy made before the"
            " upgrade",
        )
    return heads[0]


def _outdated(version: str, migrations: Path) -> SchemaOutdated:
    found = f"of version {version}" if version else "empty"
    needed = newest_version(migrations=migrations)
    return SchemaOutdated(
        f"the database is {found}, version {needed} is needed",
        "stop the service, run 'callback-queue db upgrade' and start it again",
    )
