# SPDX-License-Identifier: MIT
"""Brings a database to the version this service works with, and checks that it is.

The service itself only ever makes an empty database; anything else is left to the
operator's ``callback-queue db upgrade``, which copies a SQLite file aside first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from attrs import frozen
from sqlalchemy.exc import DBAPIError

from fastagi.store.backends import Backend, backend_for
from fastagi.store.engine import Database
from fastagi.store.errors import ForeignDatabase, SchemaOutdated, SchemaTooNew

_MIGRATIONS: Final = Path(__file__).with_name("migrations")


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
        script = _script(migrations)
        version = _version(conn, script)
        if version != script.get_current_head():
            raise _outdated(version, script)


def newest_version(*, migrations: Path = _MIGRATIONS) -> str:
    """Return the version of a database this service works with."""
    return _script(migrations).get_current_head() or ""


def in_memory() -> Database:
    """Return an empty database in memory, without a thread; it is for tests."""
    database = Database("sqlite://", deliver=None)
    database.run_now("make tables", _run_migrations, _config(_MIGRATIONS))
    return database


def _upgrade(
    conn: sa.Connection, backend: Backend, migrations: Path, *, only_empty: bool
) -> Upgraded:
    script = _script(migrations)
    # Whoever else wants to upgrade waits here, and then finds nothing to do.
    backend.begin_migration(conn)
    before = _version(conn, script)
    head = script.get_current_head() or ""
    if before == head:
        return Upgraded(before, head, None)
    if before and only_empty:
        raise _outdated(before, script)
    copy = backend.copy(before) if before else None
    _run_migrations(conn, _config(migrations))
    backend.check_migration(conn)
    conn.commit()
    return Upgraded(before, head, copy)


@contextmanager
def _connected(backend: Backend) -> Iterator[sa.Connection]:
    """Connect, and tell the engine's errors in an operator's words."""
    try:
        with backend.engine.connect() as conn:
            yield conn
    except DBAPIError as error:
        explained = backend.explain(error)
        if explained is None:
            raise
        raise explained.as_error() from error


def _config(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config


def _script(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(migrations))


def _run_migrations(conn: sa.Connection, config: Config) -> None:
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _version(conn: sa.Connection, script: ScriptDirectory) -> str:
    """Return the database's version; empty if there is nothing in it.

    Raises:
        SchemaTooNew: it is not known here.
        ForeignDatabase: there is something in it, but no version.
    """
    heads = MigrationContext.configure(conn).get_current_heads()
    if not heads:
        if tables := sa.inspect(conn).get_table_names():
            raise ForeignDatabase(
                "the database belongs to something else: it has tables such as"
                f" {tables[0]}, but no version of this service; use one of its own"
            )
        return ""
    known = {revision.revision for revision in script.walk_revisions()}
    if unknown := [head for head in heads if head not in known]:
        raise SchemaTooNew(
            f"the database is of version {unknown[0]}, this service knows only up to"
            f" {script.get_current_head()}; install the newer service again, or put"
            " back the copy made before the upgrade"
        )
    return heads[0]


def _outdated(version: str, script: ScriptDirectory) -> SchemaOutdated:
    found = f"of version {version}" if version else "empty"
    return SchemaOutdated(
        f"the database is {found}, version {script.get_current_head()} is needed;"
        " stop the service, run 'callback-queue db upgrade' and start it again"
    )
