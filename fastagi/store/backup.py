# SPDX-License-Identifier: MIT
"""Copies the database for an administrator, also while the service runs."""

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
    """A copy of the database, and what it contains."""

    path: Path
    size_bytes: int
    #: The number of all tasks, ended ones included.
    tasks: int
    #: The version of the database.
    version: str
    #: The version of a database that this service works with.
    needed_version: str


def back_up(url: str, given: str | None, now: datetime) -> Backup:
    """Copy all that is committed when the copy begins.

    Args:
        url: the URL of the database.
        given: a new file, or an existing folder; None: the folder of the database. In
            a folder the name of the copy contains the date.
        now: the current time, for that name.

    Raises:
        CopyFailed: the copy cannot be made there, or not by this service.
        ForeignDatabase: the database belongs to another program.
        StoreUnavailable: the database cannot be used, or is damaged.
    """
    path, (version, tasks) = backend_for(url).back_up(given, now, _inspect)
    return Backup(path, path.stat().st_size, tasks, version, migrate.newest_version())


def _inspect(copy: sqlite3.Connection) -> tuple[str, int]:
    """Return the version of a copy and its number of tasks."""
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
