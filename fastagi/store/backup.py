# SPDX-License-Identifier: MIT
"""Makes a copy of the tasks for an administrator, also while the service runs."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

from attrs import frozen

from fastagi.store import migrate
from fastagi.store.backends import backend_for
from fastagi.store.errors import CopyFailed, ForeignDatabase
from fastagi.store.schema import metadata, task


@frozen
class Backup:
    """A copy, and what is in it."""

    path: Path
    size_bytes: int
    #: All tasks, those that have ended too.
    tasks: int
    #: Of the database.
    version: str
    #: The version of a database this service works with.
    needed_version: str


def back_up(url: str, given: str | None, now: datetime) -> Backup:
    """Copy all that was committed when this began.

    Args:
        url: of the database.
        given: a file that does not exist yet, or a folder that does; there, and beside
            the database if this is None, the copy gets a name with the date.
        now: for that name.

    Raises:
        CopyFailed: it can not be made there, or by the service at all.
        ForeignDatabase: it belongs to something else.
        StoreUnavailable: the database can not be used, or it is damaged.
    """
    path, (version, tasks) = backend_for(url).back_up(given, now, _look)
    return Backup(path, path.stat().st_size, tasks, version, migrate.newest_version())


def _look(copy: sqlite3.Connection) -> tuple[str, int]:
    """Return the version of a copy and how many tasks it has."""
    found = copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    tables = {name for (name,) in found}
    if not tables:
        raise CopyFailed(
            "there is nothing in the database to copy",
            "the first start of the service makes its tables",
        )
    if not {"alembic_version", task.name} <= tables:
        raise ForeignDatabase(
            "the database belongs to something else: it has tables such as"
            f" {min(tables)}, but not those of this service",
            "correct database.url",
        )
    versions = copy.execute("SELECT version_num FROM alembic_version").fetchall()
    (version,) = max(versions, default=("",))
    missing = {table.name for table in metadata.sorted_tables} - tables
    if version == migrate.newest_version() and missing:
        raise CopyFailed(
            f"the database has no table {min(missing)} any more, so a copy of it would"
            " be of no use",
            "stop the service and put an earlier copy back",
        )
    (tasks,) = copy.execute(f"SELECT count(*) FROM {task.name}").fetchone()
    return version, tasks
