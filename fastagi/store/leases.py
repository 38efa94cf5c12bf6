# SPDX-License-Identifier: MIT
"""The lease on a database: only one service at a time may run on it.

With SQLite the service holds a lock on a file beside the database as long as it lives;
the row only says who holds it. On PostgreSQL a lock would end with a lost connection,
so there the row is a lease: its holder renews it, and it expires by the database's
clock.
Each time the lease is taken, its epoch grows. Changes that only the holder may make
compare the epoch in their own transaction. So a holder that was frozen while another
process took the lease changes nothing when it wakes up.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from attrs import define, evolve, frozen
from sqlalchemy import bindparam, insert, select, update

from twisted.logger import Logger

from fastagi.runtime.file_lock import FileLock, is_locked
from fastagi.store import schema
from fastagi.store.backends import Backend, backend_for
from fastagi.store.engine import Database
from fastagi.store.errors import DatabaseHeld, LeaseLost, StoreUnavailable, TryAgain
from fastagi.store.processes import Process

#: Duration of a lease after each renewal, and the interval of renewals, in seconds.
LENGTH_S: Final = 15.0
RENEW_S: Final = 4.0
#: A holder trusts its lease this much shorter, in seconds, so that a call that it has
#: just originated begins before another process can hold the lease.
_MARGIN_S: Final = 3.0
#: How much longer than the lease to wait for its end, in seconds.
_PATIENCE_S: Final = 2.0
#: Interval of looks at a lease that is about to expire, in seconds.
_LOOK_S: Final = 0.25
#: How long to wait for the lock on the file, in seconds: ``check`` and ``status`` hold
#: it for a moment when they test it.
_MOMENT_S: Final = 1.0

#: The name of the only lease.
_NAME: Final = "service"

_log = Logger()
_lease: Final = schema.lease
_ROW: Final = select(_lease).where(_lease.c.name == _NAME)
_LOCK_ROW: Final = _ROW.with_for_update()
#: Finds the lease if this process holds it, and locks the row: another process can take
#: the lease only after this transaction.
_OURS: Final = (
    select(_lease.c.epoch)
    .where(
        _lease.c.name == _NAME,
        _lease.c.token == bindparam("token"),
        _lease.c.epoch == bindparam("epoch"),
    )
    .with_for_update(read=True)
)
#: Extends the lease if this process holds it, also if it was taken again just now.
_EXTEND: Final = (
    update(_lease)
    .where(
        _lease.c.name == _NAME,
        _lease.c.token == bindparam("our_token"),
        _lease.c.epoch >= bindparam("our_epoch"),
    )
    .values(valid_until=bindparam("until"))
    .returning(_lease.c.epoch)
)
_INSERT: Final = insert(_lease)
_TAKE: Final = (
    update(_lease)
    .where(_lease.c.name == _NAME)
    .values(
        {
            column.name: bindparam(f"new_{column.name}")
            for column in _lease.c
            if column.name != "name"
        }
    )
)


# -- the row ---------------------------------------------------------------------


@frozen
class Held:
    """The lease of one holder, as it is stored in the database."""

    process: Process
    token: str
    epoch: int
    since: datetime
    #: Whether it expires unless it is renewed (PostgreSQL).
    runs_out: bool
    #: Time until it expires, if it does.
    left_s: float = 0.0

    def __str__(self) -> str:
        process = self.process
        since = f"{self.since.astimezone():%Y-%m-%d %H:%M:%S}"
        return f"process {process.pid} on {process.host or 'a host'} since {since}"

    @property
    def as_json(self) -> dict[str, Any]:
        """Return the holder for ``status --json``."""
        return {
            "host": self.process.host,
            "pid": self.process.pid,
            "since": self.since.astimezone(UTC).isoformat(timespec="seconds"),
        }


def read(conn: sa.Connection) -> Held | None:
    """Return the holder in the row; None if there is none.

    With SQLite that process may have ended; only the lock on the file shows that.
    """
    row = conn.execute(_ROW).first()
    return None if row is None or not row.token else _held(conn, row)


def _held(conn: sa.Connection, row: sa.Row[Any]) -> Held:
    runs_out = row.valid_until is not None
    return Held(
        process=Process(
            row.host, row.boot_id, row.pid, row.pid_space, row.process_start
        ),
        token=row.token,
        epoch=row.epoch,
        since=datetime.fromtimestamp(row.since, UTC),
        runs_out=runs_out,
        left_s=row.valid_until - _now(conn) if runs_out else 0.0,
    )


def _now(conn: sa.Connection) -> float:
    """Return the database's time, which is the same for all of its clients."""
    if conn.dialect.name == "postgresql":
        # Not now(), the start of the transaction, which may have waited for a lock.
        asked = "SELECT extract(epoch FROM clock_timestamp())"
        return float(conn.exec_driver_sql(asked).scalar_one())
    # A SQLite database is on this machine.
    return time.time()


def take(conn: sa.Connection, process: Process, token: str, runs_out: bool) -> Held:
    """Take the lease if it is free; return its holder now, which may be another one.

    Args:
        conn: in a transaction.
        process: the process that takes the lease.
        token: a random text that identifies this run of the service.
        runs_out: whether the lease has to be renewed; otherwise the process holds the
            lock on the file.
    """
    row = conn.execute(_LOCK_ROW).first()
    epoch = 0
    if row is not None:
        epoch = row.epoch
        if row.token and row.token != token and runs_out:
            other = _held(conn, row)
            free = other.runs_out and other.left_s <= 0
            if not free and not process.knows_ended(other.process):
                return other
    return _write(conn, process, token, epoch + 1, runs_out, new=row is None)


def _write(
    conn: sa.Connection,
    process: Process,
    token: str,
    epoch: int,
    runs_out: bool,
    *,
    new: bool,
) -> Held:
    now = _now(conn)
    values = {
        "host": process.host,
        "boot_id": process.boot_id,
        "pid": process.pid,
        "pid_space": process.pid_space,
        "process_start": process.start,
        "token": token,
        "since": now,
        "epoch": epoch,
        "valid_until": now + LENGTH_S if runs_out else None,
    }
    if new:
        try:
            conn.execute(_INSERT, {"name": _NAME, **values})
        except sa.exc.IntegrityError:
            raise TryAgain from None
    else:
        conn.execute(_TAKE, {f"new_{name}": value for name, value in values.items()})
    since = datetime.fromtimestamp(now, UTC)
    return Held(process, token, epoch, since, runs_out, LENGTH_S if runs_out else 0.0)


def renew(conn: sa.Connection, held: Held) -> Held:
    """Renew a lease and return it.

    A database that went back to an earlier state (a standby that lacks the last
    seconds, or a restored copy) has an older epoch. Then the lease is taken again if
    nobody else holds it.

    Raises:
        LeaseLost: another process holds the lease, or has held it since.
    """
    # In one round trip, unless the row is another one.
    if held.runs_out and (extended := _extend(conn, held)) is not None:
        return extended
    row = conn.execute(_LOCK_ROW).first()
    if row is None:
        return _write(
            conn, held.process, held.token, held.epoch + 1, held.runs_out, new=True
        )
    if row.token == held.token and row.epoch >= held.epoch:
        # Of a later epoch if it was taken again just now.
        held = evolve(held, epoch=row.epoch)
        return (_extend(conn, held) if held.runs_out else None) or held
    other = _held(conn, row)
    theirs = bool(row.token) and (not other.runs_out or other.left_s > 0)
    if row.epoch >= held.epoch or (theirs and held.runs_out):
        raise _lease_lost(other if row.token else None)
    return _write(
        conn, held.process, held.token, held.epoch + 1, held.runs_out, new=False
    )


def _extend(conn: sa.Connection, held: Held) -> Held | None:
    """Extend a lease and return it; None if the row is not that of this process."""
    ours = {
        "our_token": held.token,
        "our_epoch": held.epoch,
        "until": _now(conn) + LENGTH_S,
    }
    epoch = conn.execute(_EXTEND, ours).scalar()
    return None if epoch is None else evolve(held, epoch=epoch, left_s=LENGTH_S)


def release(conn: sa.Connection, held: Held) -> None:
    """Release the lease; do nothing if another process has taken it."""
    conn.execute(
        update(_lease)
        .where(_lease.c.name == _NAME, _lease.c.token == held.token)
        .values(token="", valid_until=0.0 if held.runs_out else None)
    )


def assert_held(conn: sa.Connection, held: Held) -> None:
    """Check that the lease is still held, and lock it until the transaction ends.

    Raises:
        LeaseLost: another process has taken it.
    """
    key = {"token": held.token, "epoch": held.epoch}
    if conn.execute(_OURS, key).first() is None:
        raise _lease_lost(read(conn))


def _lease_lost(other: Held | None) -> LeaseLost:
    by = f"it is run by {other}" if other else "another process has run it meanwhile"
    return LeaseLost(f"this process does not run the service on the database: {by}")


# -- the holder ------------------------------------------------------------------


@define(eq=False)
class Lease:
    """The lease of the running service, as this process knows it.

    Args:
        held: the lease as it was taken.
        seconds: a clock that cannot be set and that runs while the machine sleeps.
        taken_at: a time by that clock, not later than when the lease was taken.
    """

    held: Held
    seconds: Callable[[], float]
    taken_at: float

    @property
    def is_sure(self) -> bool:
        """Whether certainly no other process holds the lease now."""
        if not self.held.runs_out:
            return True
        return self.seconds() - self.taken_at < LENGTH_S - _MARGIN_S

    def renewed(self, held: Held, asked_at: float) -> None:
        """Note a renewal. It counts from the request: the answer may have been slow."""
        if self.held.epoch != held.epoch:
            _log.warn(
                "the database was set back to an earlier state; its lease is taken"
                " again"
            )
        self.held = held
        self.taken_at = asked_at


class Ownership:
    """This process's hold on the database, from its start to its end."""

    def __init__(self, url: str, lease: Lease, lock: FileLock | None) -> None:
        self._url = url
        self.lease = lease
        self._lock = lock

    @classmethod
    def take(cls, url: str, process: Process | None = None) -> Self:
        """Take the database; blocks until a lease of another machine has expired.

        Raises:
            DatabaseHeld: another process runs the service on it.
            StoreUnavailable: the database cannot be used.
        """
        process = process or Process.this()
        backend = backend_for(url)
        lock = _lock(backend, url)
        try:
            lease = _take_lease(url, process, runs_out=_runs_out(backend))
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return cls(url, lease, lock)

    def release(self) -> None:
        """Release the database, so that another process can take it at once."""
        try:
            _run_once(self._url, "release lease", release, self.lease.held)
        except StoreUnavailable as error:
            _log.warn("the lease on the database is not released: {error}", error=error)
        if self._lock is not None:
            self._lock.release()


def _take_lease(url: str, process: Process, *, runs_out: bool) -> Lease:
    token = secrets.token_hex(8)
    give_up_at = time.monotonic() + LENGTH_S + _PATIENCE_S
    seen: Held | None = None
    while True:
        asked_at = steady_seconds()
        held: Held = _run_once(url, "take lease", take, process, token, runs_out)
        if held.token == token:
            return Lease(held, steady_seconds, asked_at)
        if held.process.host == process.host and held.process.boot_id == (
            process.boot_id
        ):
            same_space = held.process.pid_space == process.pid_space
        else:
            same_space = False
        # Renewed since the last look: its holder is alive.
        alive = seen is not None and (
            held.token != seen.token or held.left_s > seen.left_s
        )
        if same_space or alive or time.monotonic() > give_up_at:
            raise held_error(held)
        if seen is None:
            _log.info(
                "the service is run by {holder}; if that has ended, this one takes"
                " over in {seconds:.0f} s",
                holder=str(held),
                seconds=max(held.left_s, 1),
            )
        seen = held
        time.sleep(_LOOK_S)


def held_error(holder: Held | None) -> DatabaseHeld:
    """Return the error for a process that may not have the database."""
    if holder is None:
        return DatabaseHeld(
            "another process runs the service on this database",
            "find it with 'pgrep -af callback-queue' and stop it",
        )
    return DatabaseHeld(
        f"the service is run on this database already, by {holder}",
        "stop that one ('systemctl stop callback-queue' on"
        f" {holder.process.host or 'its host'}), or give this one a database of its own"
        " (database.url in its settings)",
    )


def holder(url: str) -> Held | None:
    """Return the process that runs the service on a database; None if there is none.

    The database must have the current version.

    Raises:
        StoreUnavailable: the database cannot be used.
    """
    backend = backend_for(url)
    found: Held | None = _run_once(url, "who holds the database", holder_in, backend)
    return found


def holder_in(conn: sa.Connection, backend: Backend) -> Held | None:
    """Return the same as :func:`holder`, in a transaction."""
    held = read(conn)
    if held is None:
        return None
    if backend.lock_file is not None:
        return held if _is_locked(backend.lock_file) else None
    free = held.runs_out and held.left_s <= 0
    return None if free or Process.this().knows_ended(held.process) else held


def steady_seconds() -> float:
    """Return the seconds since the machine started, including sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _runs_out(backend: Backend) -> bool:
    return backend.engine.dialect.name == "postgresql"


def _run_once(url: str, name: str, fn: Callable[..., Any], *args: Any) -> Any:
    database = Database(url, deliver=None)
    try:
        return database.run_now(name, fn, *args)
    finally:
        _ = database.close()


def _lock(backend: Backend, url: str) -> FileLock | None:
    path = backend.lock_file
    if path is None:
        return None
    end = time.monotonic() + _MOMENT_S
    try:
        while (lock := FileLock.take(path)) is None:
            if time.monotonic() > end:
                raise held_error(_run_once(url, "who holds the database", read))
            time.sleep(_LOOK_S / 10)
    except OSError as error:
        raise StoreUnavailable(
            f"{path} can not be locked: {error.strerror}",
            "let the user this service runs as read and write it",
        ) from error
    return lock


def _is_locked(path: Path) -> bool:
    try:
        return is_locked(path)
    except OSError as error:
        raise StoreUnavailable(
            f"{path} can not be read: {error.strerror}",
            "run this command as root or as the user of the service",
        ) from error
