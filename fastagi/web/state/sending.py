# SPDX-License-Identifier: MIT
"""The lease on sending: one of the web processes on a database has it.

Any number of processes may serve pages from one database. Only the one with the lease
looks for alarms, delivers webhooks and sends mail; the others take the lease when it is
released, or when its holder has ended.

The holder changes the row every few seconds. A row that has not changed for the length
of the lease, by the clock of the process that looks, may be taken. So the clocks of the
machines need not agree, and may be set.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa
from attrs import frozen

from fastagi.errors import CallbackError
from fastagi.store.errors import LeaseLost
from fastagi.store.processes import Process
from fastagi.store.rows import moment
from fastagi.web.state.schema import SENDING

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: How long the lease lasts after a renewal, and the interval of renewals, in seconds.
LENGTH_S: Final = 30.0
RENEW_S: Final = 5.0
#: A holder trusts its lease this much shorter, in seconds.
_MARGIN_S: Final = 5.0
#: How long the release at the end of the process may take, in seconds.
_RELEASE_S: Final = 2.0
#: The name of the only lease.
_NAME: Final = "sending"

_log = logging.getLogger(__name__)


class Storage(Protocol):
    """The part of `fastagi.web.state.state.State` that the lease needs."""

    async def read(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function that only reads."""

    async def write(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function and commit."""


@frozen(kw_only=True)
class Holder:
    """The process that has the lease, as it is stored."""

    process: Process
    token: str
    renewals: int
    since: datetime


def _steady_s() -> float:
    """Return the seconds since the machine started, including sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SendingLease:
    """The lease, as one process sees it.

    `read` and `write` are those of the database; `write` changes nothing unless this
    process has the lease at that moment.
    """

    def __init__(
        self,
        state: Storage,
        *,
        now: Callable[[], datetime],
        process: Process | None = None,
        steady_s: Callable[[], float] = _steady_s,
    ) -> None:
        """Prepare; `run` takes the lease and renews it.

        Args:
            state: the database.
            now: the current time.
            process: the current process.
            steady_s: returns the seconds of a clock that can not be set.
        """
        self._state = state
        self._now = now
        self._process = process or Process.this()
        self._steady_s = steady_s
        self._token = secrets.token_hex(8)
        #: Until when no other process can take the lease; None: it is not held.
        self._held_until_s: float | None = None
        self._expiry: asyncio.TimerHandle | None = None
        #: The row that was read last, and when it was read first.
        self._seen: Holder | None = None
        self._seen_at_s = 0.0
        self._held = asyncio.Event()
        self._lost = asyncio.Event()
        self._problem = ""

    @property
    def is_held(self) -> bool:
        """Whether this process certainly has the lease."""
        return self._held_until_s is not None and self._steady_s() < self._held_until_s

    @property
    def holder(self) -> Holder | None:
        """The process that has the lease, as far as this one knows; None: none."""
        seen = self._seen
        if seen is None or not seen.token:
            return None
        if self._is_stored:
            return seen if self.is_held else None
        return seen if self._steady_s() - self._seen_at_s < LENGTH_S else None

    async def read(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function that only reads."""
        return await self._state.read(function, *args)

    async def write(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function and commit, if this process has the lease.

        Raises:
            LeaseLost: it does not have it (any more); nothing is changed.
        """

        def guarded(conn: sa.Connection) -> T:
            _check(conn, self._token)
            return function(conn, *args)

        return await self._state.write(guarded)

    async def wait(self) -> None:
        """Wait until this process has the lease."""
        await self._held.wait()

    async def while_held(self, run: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run an endless coroutine as long as this process has the lease.

        It is cancelled when the lease is lost, and runs again when it is taken again.
        """
        while True:
            await self.wait()
            running = asyncio.create_task(run())
            lost = asyncio.create_task(self._lost.wait())
            try:
                await asyncio.wait({running, lost}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    await running
                    return
            finally:
                running.cancel()
                lost.cancel()
                await asyncio.wait({running, lost})

    async def run(self) -> None:
        """Take the lease when it is free and renew it, until this is cancelled."""
        try:
            while True:
                try:
                    await self.look()
                    self._problem = ""
                except CallbackError as error:
                    if str(error) != self._problem:
                        _log.warning("the lease on sending can not be used: %s", error)
                    self._problem = str(error)
                await asyncio.sleep(RENEW_S)
        finally:
            await self.release()

    async def look(self) -> None:
        """Renew the lease, or take it if it is free.

        Raises:
            CallbackError: the database can not be used.
        """
        asked_at_s = self._steady_s()
        if self._is_stored:
            if await self._state.write(_renew, self._token):
                self._keep(asked_at_s)
                return
            self._expire()
        found = await self._state.read(_read)
        if found is None or self._seen is None or not _is_same(found, self._seen):
            self._seen, self._seen_at_s = found, self._steady_s()
        if found is not None and not self._is_free(found):
            return
        asked_at_s = self._steady_s()
        now_s = self._now().timestamp()
        taken = await self._state.write(_take, found, self._process, self._token, now_s)
        if taken is None:
            # Another process was first; the next look shows which one.
            return
        self._seen = taken
        self._keep(asked_at_s)

    def _is_free(self, found: Holder) -> bool:
        return (
            not found.token
            or self._process.knows_ended(found.process)
            or self._steady_s() - self._seen_at_s >= LENGTH_S
        )

    def _keep(self, asked_at_s: float) -> None:
        """Note a renewal. It counts from the request: the answer may have been slow."""
        self._held_until_s = asked_at_s + LENGTH_S - _MARGIN_S
        if self._expiry is not None:
            self._expiry.cancel()
        left_s = max(self._held_until_s - self._steady_s(), 0.0)
        self._expiry = asyncio.get_running_loop().call_later(left_s, self._expire)
        if not self._held.is_set():
            _log.info("this process looks for alarms, and sends webhooks and mail")
        self._lost.clear()
        self._held.set()

    def _expire(self) -> None:
        """Note that another process may have the lease."""
        if self._held.is_set():
            _log.warning(
                "this process no longer looks for alarms, and sends no webhooks and no"
                " mail"
            )
        self._drop()

    def _drop(self) -> None:
        self._held_until_s = None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._held.clear()
        self._lost.set()

    @property
    def _is_stored(self) -> bool:
        """Whether the row named this process at the last look."""
        return self._seen is not None and self._seen.token == self._token

    async def release(self) -> None:
        """Let another process take the lease at once."""
        self._drop()
        if not self._is_stored:
            return
        # Otherwise another process takes the lease when it has expired.
        with suppress(CallbackError, TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._state.write(_free, self._token)


def _is_same(one: Holder, other: Holder) -> bool:
    return (one.token, one.renewals) == (other.token, other.renewals)


# -- in a transaction ------------------------------------------------------------


def _read(conn: sa.Connection) -> Holder | None:
    row = conn.execute(sa.select(SENDING).where(SENDING.c.name == _NAME)).first()
    if row is None:
        return None
    return Holder(
        process=Process(
            row.host, row.boot_id, row.pid, row.pid_space, row.process_start
        ),
        token=row.token,
        renewals=row.renewals,
        since=moment(row.since),
    )


def _take(
    conn: sa.Connection,
    found: Holder | None,
    process: Process,
    token: str,
    now_s: float,
) -> Holder | None:
    """Take the lease if the row is still as it was found; None: it is not."""
    renewals = 1 if found is None else found.renewals + 1
    values = {
        "token": token,
        "renewals": renewals,
        "since": now_s,
        "host": process.host,
        "boot_id": process.boot_id,
        "pid": process.pid,
        "pid_space": process.pid_space,
        "process_start": process.start,
    }
    if found is None:
        try:
            conn.execute(SENDING.insert().values(name=_NAME, **values))
        except sa.exc.IntegrityError:
            conn.rollback()
            return None
    else:
        taken = conn.execute(
            SENDING.update()
            .where(
                SENDING.c.name == _NAME,
                SENDING.c.token == found.token,
                SENDING.c.renewals == found.renewals,
            )
            .values(**values)
        )
        if not taken.rowcount:
            return None
    return Holder(process=process, token=token, renewals=renewals, since=moment(now_s))


def _renew(conn: sa.Connection, token: str) -> bool:
    renewed = conn.execute(
        SENDING.update()
        .where(SENDING.c.name == _NAME, SENDING.c.token == token)
        .values(renewals=SENDING.c.renewals + 1)
    )
    return renewed.rowcount == 1


def _free(conn: sa.Connection, token: str) -> None:
    conn.execute(
        SENDING.update()
        .where(SENDING.c.name == _NAME, SENDING.c.token == token)
        .values(token="")
    )


def _check(conn: sa.Connection, token: str) -> None:
    """Check that the lease is held, and keep it until the transaction ends.

    Raises:
        LeaseLost: another process has it.
    """
    held = (
        sa.select(SENDING.c.renewals)
        .where(SENDING.c.name == _NAME, SENDING.c.token == token)
        .with_for_update(read=True)
    )
    if conn.execute(held).first() is None:
        raise LeaseLost("another web process sends webhooks and mail now")
