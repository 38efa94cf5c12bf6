# SPDX-License-Identifier: MIT
"""The leases on a database: which process runs the service, which holds an Asterisk.

There is one lease for the whole service, so only one process at a time may run it. If
the settings name the process (`instance.name`), it has a lease with that name instead,
and one for each Asterisk that it holds (:mod:`fastagi.store.node_leases`).

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
from fastagi.store.lease_rows import ALONE, INSTANCE, NODE, name_of_instance, rest
from fastagi.store.lease_rows import now as now
from fastagi.store.processes import Process

#: Duration of a lease after each renewal, and the interval of renewals, in seconds.
LENGTH_S: Final = 15.0
RENEW_S: Final = 4.0
#: A holder trusts its lease this much shorter, in seconds, so that a call that it has
#: just originated begins before another process can hold the lease.
_MARGIN_S: Final = 3.0
#: The same of the lease on an Asterisk: another instance is to take over soon.
NODE_LENGTH_S: Final = 6.0
NODE_RENEW_S: Final = 2.0
_NODE_MARGIN_S: Final = 2.0
#: How long ago the lease on an Asterisk that was released counts as having run out, in
#: seconds: longer than anybody waits before taking it.
RELEASED_S: Final = 60.0
#: How much longer than the lease to wait for its end, in seconds.
_PATIENCE_S: Final = 2.0
#: Interval of looks at a lease that is about to expire, in seconds.
_LOOK_S: Final = 0.25
#: How long to wait for the lock on the file, in seconds: ``check`` and ``status`` hold
#: it for a moment when they test it.
_MOMENT_S: Final = 1.0

_log = Logger()
_lease: Final = schema.lease
#: Columns that only services have which share the database.
_OF_SEVERAL: Final = frozenset({"system_name", "wanted_by", "link_lost_at"})
#: Who holds a lease. `db upgrade` asks this of a database of an older version, too.
_WHO: Final = select(*(one for one in _lease.c if one.name not in _OF_SEVERAL))
_ROW: Final = _WHO.where(_lease.c.name == bindparam("lease_name"))
_LOCK_ROW: Final = _ROW.with_for_update()
_INSTANCES: Final = _WHO.where(
    _lease.c.name.startswith(INSTANCE, autoescape=True), _lease.c.token != ""
).order_by(_lease.c.name)
_NODES_HELD: Final = select(_lease.c.name).where(
    _lease.c.name.startswith(NODE, autoescape=True),
    _lease.c.token != "",
    _lease.c.valid_until > bindparam("now"),
)
#: Ends the leases of all instances and on all Asterisks.
_END_OTHERS: Final = (
    update(_lease)
    .where(_lease.c.name != ALONE)
    .values(token="", epoch=_lease.c.epoch + 1, valid_until=0.0)
)
#: Finds the lease if this process holds it, and locks the row: another process can take
#: the lease only after this transaction.
_OURS: Final = (
    select(_lease.c.epoch, _lease.c.valid_until)
    .where(
        _lease.c.name == bindparam("lease_name"),
        _lease.c.token == bindparam("token"),
        _lease.c.epoch == bindparam("epoch"),
    )
    .with_for_update(read=True)
)
#: Extends the lease if this process holds it, also if it was taken again just now.
_EXTEND: Final = (
    update(_lease)
    .where(
        _lease.c.name == bindparam("lease_name"),
        _lease.c.token == bindparam("our_token"),
        _lease.c.epoch >= bindparam("our_epoch"),
    )
    .values(valid_until=bindparam("until"))
    .returning(_lease.c.epoch, _lease.c.wanted_by)
)
_INSERT: Final = insert(_lease)
#: What stays when another process takes the lease.
_STAYS: Final = frozenset({"name", "system_name"})
_TAKE: Final = (
    update(_lease)
    .where(_lease.c.name == bindparam("lease_name"))
    .values(
        {
            column.name: bindparam(f"new_{column.name}")
            for column in _lease.c
            if column.name not in _STAYS
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
    #: Of what: of the whole service, of one of several, or of an Asterisk.
    name: str = ALONE
    #: The token of the instance that asks for the Asterisk; empty: none does.
    wanted_by: str = ""
    #: Since when its holder has had no link to the Asterisk, if it has told that.
    link_lost_at: datetime | None = None

    @property
    def is_of_node(self) -> bool:
        """Whether it is the lease on one Asterisk."""
        return self.name.startswith(NODE)

    @property
    def instance(self) -> str:
        """The name of the instance; empty if it is not the lease of one."""
        return rest(self.name, INSTANCE)

    @property
    def node(self) -> str:
        """The name of the Asterisk; empty if it is not the lease on one."""
        return rest(self.name, NODE)

    @property
    def length_s(self) -> float:
        """How long it lasts after each renewal, in seconds."""
        return NODE_LENGTH_S if self.is_of_node else LENGTH_S

    @property
    def renew_s(self) -> float:
        """The interval of its renewals, in seconds."""
        return NODE_RENEW_S if self.is_of_node else RENEW_S

    @property
    def trusted_s(self) -> float:
        """How long its holder counts on it after each renewal, in seconds."""
        margin = _NODE_MARGIN_S if self.is_of_node else _MARGIN_S
        return self.length_s - margin

    def __str__(self) -> str:
        process = self.process
        since = local_time(self.since)
        return f"process {process.pid} on {process.host or 'a host'} since {since}"

    @property
    def as_json(self) -> dict[str, Any]:
        """Return the holder for ``status --json``."""
        return {
            "host": self.process.host,
            "pid": self.process.pid,
            "since": self.since.astimezone(UTC).isoformat(timespec="seconds"),
        }


def local_time(at: datetime) -> str:
    """Return a time in the zone of this machine, in words."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def read(conn: sa.Connection, name: str = ALONE) -> Held | None:
    """Return the holder in the row; None if there is none.

    With SQLite that process may have ended; only the lock on the file shows that.
    """
    row = conn.execute(_ROW, {"lease_name": name}).first()
    return None if row is None or not row.token else held_of(conn, row)


def held_of(conn: sa.Connection, row: sa.Row[Any]) -> Held:
    runs_out = row.valid_until is not None
    return Held(
        process=Process(
            row.host, row.boot_id, row.pid, row.pid_space, row.process_start
        ),
        token=row.token,
        epoch=row.epoch,
        since=datetime.fromtimestamp(row.since, UTC),
        runs_out=runs_out,
        left_s=row.valid_until - now(conn) if runs_out else 0.0,
        name=row.name,
    )


def nodes_held(conn: sa.Connection) -> list[str]:
    """Return the Asterisks on which one of several services has a lease now."""
    names = conn.scalars(_NODES_HELD, {"now": now(conn)})
    return [rest(name, NODE) for name in names]


def take(
    conn: sa.Connection,
    process: Process,
    token: str,
    runs_out: bool,
    instance: str = "",
) -> Held:
    """Take the lease if it is free; return its holder now, which may be another one.

    Whoever runs the service alone, and one of several, exclude each other.

    Args:
        conn: in a transaction.
        process: the process that takes the lease.
        token: a random text that identifies this run of the service.
        runs_out: whether the lease has to be renewed; otherwise the process holds the
            lock on the file.
        instance: the name of the process, if it is one of several; empty: it is alone.
    """
    service = conn.execute(_LOCK_ROW, {"lease_name": ALONE}).first()
    if not instance:
        if runs_out and (other := _running_instance(conn, process)) is not None:
            return other
        if service is not None and runs_out and not is_free(conn, service, process):
            other = held_of(conn, service)
            if other.token != token:
                return other
        if runs_out:
            conn.execute(_END_OTHERS)
        return write(conn, process, token, ALONE, service, runs_out)
    if service is None:
        # Its lock keeps out those that are not one of several.
        write(conn, process, "", ALONE, None, runs_out)
    elif service.token:
        if not is_free(conn, service, process):
            return held_of(conn, service)
        write(conn, process, "", ALONE, service, runs_out)
    name = name_of_instance(instance)
    row = conn.execute(_LOCK_ROW, {"lease_name": name}).first()
    if row is not None and row.token != token and not is_free(conn, row, process):
        return held_of(conn, row)
    return write(conn, process, token, name, row, runs_out)


def is_free(conn: sa.Connection, row: sa.Row[Any], process: Process) -> bool:
    """Whether a process may take a lease: it has run out, or its holder has ended."""
    if not row.token:
        return True
    held = held_of(conn, row)
    return (held.runs_out and held.left_s <= 0) or process.knows_ended(held.process)


def _running_instance(conn: sa.Connection, process: Process) -> Held | None:
    """Return one of the instances that run; None if there is none."""
    rows = conn.execute(_INSTANCES).all()
    running = (row for row in rows if not is_free(conn, row, process))
    row = next(running, None)
    return None if row is None else held_of(conn, row)


def write(
    conn: sa.Connection,
    process: Process,
    token: str,
    name: str,
    former: sa.Row[Any] | None,
    runs_out: bool,
) -> Held:
    """Write a lease that was found free; with an empty token nobody holds it.

    Args:
        conn: in a transaction, with the row locked.
        process: the process that takes it.
        token: the text that identifies this run.
        name: of the lease.
        former: the row as it was found; None if there is none.
        runs_out: whether the lease has to be renewed.
    """
    epoch = 1 if former is None else former.epoch + 1
    new = former is None
    return _write(conn, process, token, epoch, runs_out, new=new, name=name)


def _write(
    conn: sa.Connection,
    process: Process,
    token: str,
    epoch: int,
    runs_out: bool,
    *,
    new: bool,
    name: str,
) -> Held:
    at = now(conn)
    held = Held(
        process, token, epoch, datetime.fromtimestamp(at, UTC), runs_out, name=name
    )
    length_s = held.length_s if token else 0.0
    values = {
        "host": process.host,
        "boot_id": process.boot_id,
        "pid": process.pid,
        "pid_space": process.pid_space,
        "process_start": process.start,
        "token": token,
        "since": at,
        "epoch": epoch,
        "valid_until": at + length_s if runs_out else None,
        "wanted_by": None,
        "link_lost_at": None,
    }
    if new:
        try:
            conn.execute(_INSERT, {"name": name, "system_name": None, **values})
        except sa.exc.IntegrityError:
            raise TryAgain from None
    else:
        new_values = {f"new_{column}": value for column, value in values.items()}
        conn.execute(_TAKE, {"lease_name": name, **new_values})
    return evolve(held, left_s=length_s if runs_out else 0.0)


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
    row = conn.execute(_LOCK_ROW, {"lease_name": held.name}).first()
    if row is None:
        return _again(conn, held, new=True)
    if row.token == held.token and row.epoch >= held.epoch:
        # Of a later epoch if it was taken again just now.
        held = evolve(held, epoch=row.epoch)
        return (_extend(conn, held) if held.runs_out else None) or held
    other = held_of(conn, row)
    theirs = bool(row.token) and (not other.runs_out or other.left_s > 0)
    if row.epoch >= held.epoch or (theirs and held.runs_out):
        raise _lease_lost(held, other if row.token else None)
    return _again(conn, held, new=False)


def _again(conn: sa.Connection, held: Held, *, new: bool) -> Held:
    """Take a lease again that the database does not know any more."""
    epoch = held.epoch + 1
    return _write(
        conn, held.process, held.token, epoch, held.runs_out, new=new, name=held.name
    )


def _extend(conn: sa.Connection, held: Held) -> Held | None:
    """Extend a lease and return it; None if the row is not that of this process."""
    ours = {
        "lease_name": held.name,
        "our_token": held.token,
        "our_epoch": held.epoch,
        "until": now(conn) + held.length_s,
    }
    row = conn.execute(_EXTEND, ours).first()
    if row is None:
        return None
    return evolve(
        held, epoch=row.epoch, left_s=held.length_s, wanted_by=row.wanted_by or ""
    )


def release(conn: sa.Connection, held: Held) -> None:
    """Release the lease; do nothing if another process has taken it.

    That on an Asterisk ran out a while ago then: anybody may take it at once, and what
    belongs to it (who is in a call, the systemname) counts until somebody does.
    """
    if held.is_of_node and held.runs_out:
        until: float | None = now(conn) - RELEASED_S
    else:
        until = 0.0 if held.runs_out else None
    conn.execute(
        update(_lease)
        .where(_lease.c.name == held.name, _lease.c.token == held.token)
        .values(token="", valid_until=until)
    )


def assert_held(conn: sa.Connection, held: Held, *, valid: bool = False) -> None:
    """Check that the lease is still held, and lock it until the transaction ends.

    Args:
        conn: in a transaction.
        held: the lease.
        valid: whether it must not have run out either, although nobody else took it.

    Raises:
        LeaseLost: another process has taken it.
    """
    key = {"lease_name": held.name, "token": held.token, "epoch": held.epoch}
    row = conn.execute(_OURS, key).first()
    if row is None:
        raise _lease_lost(held, read(conn, held.name))
    if valid and held.runs_out and row.valid_until <= now(conn):
        raise LeaseLost("the lease of this process has run out")


def _lease_lost(held: Held, other: Held | None) -> LeaseLost:
    if held.is_of_node:
        what = f"this process does not hold the Asterisk {held.node}"
        by = f"it is held by {other}" if other else "another process has held it"
        return LeaseLost(f"{what}: {by}")
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
        return self.seconds() - self.taken_at < self.held.trusted_s

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
    def take(cls, url: str, process: Process | None = None, instance: str = "") -> Self:
        """Take the database; blocks until a lease of another machine has expired.

        Args:
            url: the URL of the database.
            process: the process that takes it; None: this one.
            instance: its name, if it is one of several; empty: it is alone.

        Raises:
            DatabaseHeld: another process runs the service on it.
            StoreUnavailable: the database cannot be used.
        """
        process = process or Process.this()
        backend = backend_for(url)
        lock = _lock(backend, url)
        try:
            lease = _take_lease(url, process, _runs_out(backend), instance)
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


def _take_lease(url: str, process: Process, runs_out: bool, instance: str) -> Lease:
    token = secrets.token_hex(8)
    give_up_at = time.monotonic() + LENGTH_S + _PATIENCE_S
    seen: Held | None = None
    while True:
        asked_at = steady_seconds()
        held: Held = _run_once(
            url, "take lease", take, process, token, runs_out, instance
        )
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
    remedy = (
        "stop that one ('systemctl stop callback-queue' on"
        f" {holder.process.host or 'its host'}), or give this one a database of its own"
        " (database.url in its settings)"
    )
    if holder.instance:
        remedy += (
            f", or, if several are wanted, another instance.name than {holder.instance}"
        )
    return DatabaseHeld(
        f"the service is run on this database already, by {holder}", remedy
    )


def holder(url: str, instance: str | None = None) -> Held | None:
    """Return the process that runs the service on a database; None if there is none.

    The database must have the current version.

    Args:
        url: the URL of the database.
        instance: of several services the one that is returned if it runs; None: any.

    Raises:
        StoreUnavailable: the database cannot be used.
    """
    backend = backend_for(url)
    found: Held | None = _run_once(
        url, "who holds the database", holder_in, backend, instance
    )
    return found


def holder_in(
    conn: sa.Connection, backend: Backend, instance: str | None = None
) -> Held | None:
    """Return the same as :func:`holder`, in a transaction."""
    if backend.lock_file is not None:
        held = read(conn)
        return held if held is not None and _is_locked(backend.lock_file) else None
    process = Process.this()
    for name in (ALONE, name_of_instance(instance or "")):
        row = conn.execute(_ROW, {"lease_name": name}).first()
        if row is not None and not is_free(conn, row, process):
            return held_of(conn, row)
    return _running_instance(conn, process)


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
