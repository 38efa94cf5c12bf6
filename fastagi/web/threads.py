# SPDX-License-Identifier: MIT
"""Threads that run functions on a database, each with a connection of its own.

The event loop never waits for a database. A connection stays open between functions,
and is replaced after an error. The number of waiting functions is limited.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, TypeVarTuple

import sqlalchemy as sa
from attrs import define

from fastagi.store.backends import Backend, Trouble
from fastagi.store.errors import OutOfTime, StoreUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Maximum number of functions that wait for a thread.
_MOST_WAITING: Final = 500
#: Pause between two tries to get a lock, in seconds.
_PAUSE_S: Final = 0.01
_MAX_TRIES: Final = 3


@define(eq=False)
class _Job:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    #: When to give up, by :func:`time.monotonic`.
    give_up_at: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def settle(self, value: Any, error: BaseException | None) -> None:
        """Hand the result to the event loop, unless nobody waits for it any more."""

        def deliver() -> None:
            if self.future.done():
                return
            if error is None:
                self.future.set_result(value)
            else:
                self.future.set_exception(error)

        # The loop is closed if the process ends.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(deliver)


class DatabaseThreads:
    """A few threads with a connection each."""

    def __init__(
        self,
        backend: Backend,
        *,
        name: str,
        count: int,
        write: bool,
        time_limit_s: float = 10.0,
    ) -> None:
        """Start the threads; each connects with its first function.

        Args:
            backend: the database.
            name: what the threads are for.
            count: the number of threads.
            write: whether the transactions are committed, or rolled back.
            time_limit_s: how long a function may wait for a thread and for locks.
        """
        self._backend = backend
        self._write = write
        self._time_limit_s = time_limit_s
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MOST_WAITING)
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function in a transaction.

        Raises:
            StoreUnavailable: the database cannot be used, or too many functions wait.
        """
        loop = asyncio.get_running_loop()
        give_up_at = time.monotonic() + self._time_limit_s
        job = _Job(function, args, give_up_at, loop, loop.create_future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise StoreUnavailable("the database is busy", "try again") from None
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(self._time_limit_s)

    def _work(self) -> None:
        conn: sa.Connection | None = None
        while (job := self._jobs.get()) is not None:
            if job.future.cancelled():
                continue
            conn = self._do(job, conn)
        _close(conn)

    def _do(self, job: _Job, conn: sa.Connection | None) -> sa.Connection | None:
        """Do one job; return the connection if it can still be used."""
        for number in range(1, _MAX_TRIES + 1):
            try:
                conn = self._begin(job, conn)
                value = job.function(conn, *job.args)
                if self._write:
                    self._backend.check_commit()
                    conn.commit()
                else:
                    conn.rollback()
            except Exception as error:
                explained = self._backend.explain(error)
                if explained is None and not isinstance(error, sa.exc.DBAPIError):
                    # A fault or a refusal of the function: the connection is good.
                    conn = _rolled_back(conn)
                else:
                    _close(conn)
                    conn = None
                trouble = explained.trouble if explained else None
                if trouble in {Trouble.LOST, Trouble.RACE} and number < _MAX_TRIES:
                    continue
                job.settle(None, explained.as_error() if explained else error)
            else:
                job.settle(value, None)
            break
        return conn

    def _begin(self, job: _Job, conn: sa.Connection | None) -> sa.Connection:
        """Begin a transaction; wait for the lock of other processes."""
        if conn is None:
            conn = self._backend.engine.connect()
        while True:
            if time.monotonic() > job.give_up_at:
                raise OutOfTime("the database is busy: its time was over")
            try:
                if self._write:
                    self._backend.begin(conn)
                elif conn.dialect.name == "sqlite":
                    # The driver begins no transaction by itself.
                    conn.exec_driver_sql("BEGIN")
                else:
                    conn.begin()
                return conn
            except sa.exc.DBAPIError as error:
                explained = self._backend.explain(error)
                if explained is None or explained.trouble is not Trouble.LOCKED:
                    raise
                conn.rollback()
                time.sleep(_PAUSE_S)


def _rolled_back(conn: sa.Connection | None) -> sa.Connection | None:
    if conn is None:
        return None
    try:
        conn.rollback()
    except sa.exc.SQLAlchemyError:
        _close(conn)
        return None
    return conn


def _close(conn: sa.Connection | None) -> None:
    if conn is not None and not conn.closed:
        with suppress(sa.exc.SQLAlchemyError):
            conn.invalidate()
        with suppress(sa.exc.SQLAlchemyError):
            conn.close()
