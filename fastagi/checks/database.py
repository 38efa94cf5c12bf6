# SPDX-License-Identifier: MIT
"""Checks the database: existence, access, damage, version and holder."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from fastagi.checks.finding import Notes
from fastagi.checks.process import Running, User, note_missing_right
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.sqlite_uri import sqlite_uri
from fastagi.store import attempts, leases, migrate
from fastagi.store.engine import Database
from fastagi.store.errors import SchemaMismatch, SchemaOutdated, StoreUnavailable

#: StateDirectory of the systemd unit; in copies of the unit the name is longer.
MADE_BY_SYSTEMD: Final = Path("/var/lib/callback-queue")
_UPGRADE: Final = (
    "systemctl stop callback-queue; callback-queue db upgrade;"
    " systemctl start callback-queue"
)
#: Time-out for checking every page of the database, in seconds.
_LONGEST_LOOK_S: Final = 10.0


def check_database(
    url: str,
    user: User,
    check_current: Callable[[str], None] = migrate.check_current,
    *,
    running: Running | None = None,
    nodes: Collection[str] | None = None,
    instance: str | None = None,
) -> Notes:
    """Check the database without changing anything in it.

    Args:
        url: the URL of the database.
        user: the user of the service.
        check_current: raises if the database does not have the service's version.
        running: the service on the control socket; None if there is none.
        nodes: the names of all Asterisks in the settings; None: not compared.
        instance: the name of this service, if it is one of several.
    """
    notes = Notes("database")
    file = _file(url)
    if file is None or _usable_file(file, user, notes):
        where = str(file or "database.url")
        if _check_contents(url, check_current, where, notes):
            _check_holder(url, running, where, notes, instance)
            if nodes is not None:
                _check_calls(url, nodes, where, notes)
    return notes


def _file(url: str) -> Path | None:
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(str(parsed.database)) if is_file else None


def _usable_file(file: Path, user: User, notes: Notes) -> bool:
    """Check access to a SQLite file; return whether its contents can be checked."""
    directory = file.parent
    own = f"chown {user.owner}"
    try:
        there = directory.is_dir()
    except PermissionError:
        note_missing_right(
            notes,
            user,
            directory,
            "may not pass to the directory of the database",
            "let all users pass (chmod o+x) through the directories above it",
        )
        return False
    if not there:
        make = f"install -d -m 750 -o {user.owner.replace(':', ' -g ')} {directory}"
        problem = "the directory of the database does not exist"
        if str(directory).startswith(str(MADE_BY_SYSTEMD)):
            start = f"the first 'systemctl start {directory.name}' makes it; or: "
            notes.warn(directory, f"{problem} yet", start + make)
        else:
            notes.fault(directory, problem, make)
        return False
    if not (user.may("w", directory) and user.may("x", directory)):
        note_missing_right(
            notes,
            user,
            directory,
            "may not write to the directory of the database",
            f"{own} {directory}; chmod 750 {directory}",
        )
        return False
    if not file.exists() or file.stat().st_size == 0:
        # The first start of the service creates it.
        return False
    usable = True
    # A log of another user, such as root, prevents the service from opening the file.
    beside = [Path(f"{file}{end}") for end in ("-wal", "-shm", "-lock")]
    for path in (file, *beside):
        if path.exists() and not (user.may("r", path) and user.may("w", path)):
            note_missing_right(
                notes, user, path, "may not read and write it", f"{own} {path}"
            )
            usable = False
    return usable and _is_whole(file, notes)


def _is_whole(file: Path, notes: Notes) -> bool:
    """Look for damage, without writing: it may be another program's database."""
    give_up_at = time.monotonic() + _LONGEST_LOOK_S
    try:
        with closing(sqlite3.connect(sqlite_uri(file, "ro"), uri=True)) as conn:
            conn.set_progress_handler(lambda: time.monotonic() > give_up_at, 10_000)
            (answer,) = conn.execute("PRAGMA quick_check(1)").fetchone()
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
            names = {name for (name,) in conn.execute(tables)}
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_INTERRUPT:
            notes.skip(
                file,
                f"not checked as a whole, it would take over {_LONGEST_LOOK_S:.0f} s",
                f"sqlite3 {file} 'PRAGMA quick_check'",
            )
            return True
        if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
            _locked(file, notes)
            return False
        answer, names = str(error), {""}
    if answer != "ok":
        notes.fault(
            file,
            f"it is damaged or no database: {answer}",
            "stop the service, move the file away and put a copy back in its place;"
            " a copy is beside it after each 'callback-queue db upgrade'",
        )
        return False
    if names and "alembic_version" not in names:
        notes.fault(
            file,
            f"it belongs to something else: it has a table {sorted(names)[0]}",
            "write the path of a file that does not exist yet as database.url",
        )
        return False
    # If there are no tables, the first start creates them.
    return bool(names)


def _locked(file: Path, notes: Notes) -> None:
    notes.fault(
        file, "it is locked by another process", f"find it with: fuser -v {file}"
    )


def _check_contents(
    url: str, check_current: Callable[[str], None], where: str, notes: Notes
) -> bool:
    try:
        check_current(url)
        database = Database(url, deliver=None)
        try:
            # An empty transaction, to check that one can be begun.
            database.run_now("check", lambda _conn: None)
        finally:
            _ = database.close()
    except SchemaOutdated as error:
        notes.fault(where, error.problem.what, _UPGRADE)
    except (SchemaMismatch, StoreUnavailable) as error:
        notes.fault(
            where,
            error.problem.what,
            error.problem.remedy or "see database.url in the settings",
        )
    else:
        return True
    return False


def _check_calls(url: str, nodes: Collection[str], where: str, notes: Notes) -> None:
    """Check that calls in progress belong to Asterisks that are in the settings."""
    database = Database(url, deliver=None)
    try:
        found = database.run_now("nodes", attempts.nodes_of_nobody)
    except StoreUnavailable as error:
        problem = error.problem
        notes.warn(where, problem.what, problem.remedy or "run this check as root")
        return
    finally:
        _ = database.close()
    for name in sorted(found - {*nodes}):
        notes.fault(
            where,
            f"callbacks are in progress on the Asterisk {name}, which is not in the"
            " settings, so nobody knows their results",
            f"give the Asterisk the name {name} under nodes, or write it under ami if"
            f" that is {DEFAULT_NODE}; otherwise the service gives them up five minutes"
            " after its start",
        )


def _check_holder(
    url: str,
    running: Running | None,
    where: str,
    notes: Notes,
    instance: str | None,
) -> None:
    """Check whether a service with other settings holds the database."""
    try:
        holder = leases.holder(url, instance)
    except StoreUnavailable as error:
        problem = error.problem
        notes.warn(where, problem.what, problem.remedy or "run this check as root")
        return
    if holder is None or (instance and holder.instance not in ("", instance)):
        # One of several services may run although this one does not.
        return
    status = running.status if running is not None else None
    if status is None or status.get("holder", holder.as_json) != holder.as_json:
        notes.warn(
            where,
            f"the service is run on this database by {holder}, and does not answer on"
            " the control socket of these settings",
            "stop that one, or give this one a database of its own (database.url)",
        )
