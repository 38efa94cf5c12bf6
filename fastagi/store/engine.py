# SPDX-License-Identifier: MIT
"""Runs plain functions in database transactions, off the reactor's thread.

Owns the one worker thread, its connection and its queue. What waits in the queue when
the worker turns to it shares one transaction and so one wait for the disk (a group
commit). If a function fails, all run once more, each in a savepoint of its own, so
that the failure harms no other. No Deferred fires before the COMMIT. Knows no tables
and imports no reactor.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import GeneratorType
from typing import Any, Final, TypeVar, TypeVarTuple

import sqlalchemy as sa
from attrs import define, field

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from fastagi.store.backends import Backend, Explained, Trouble, backend_for
from fastagi.store.errors import CommitUnknown, StoreUnavailable

__all__ = ["Database", "Deliver", "StoreUnavailable", "TryAgain"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Runs a function with arguments on the reactor's thread, soon.
Deliver = Callable[..., object]

#: How often a function may run before it is given up.
_MOST_TRIES: Final = 4
#: Between two looks at a lock, in seconds; each look has its own wait.
_PAUSE_S: Final = 0.005
#: More in one transaction would make the first wait long for the last.
_LARGEST_GROUP: Final = 200


class TryAgain(Exception):
    """The function lost a race against another process: run it anew.

    Raised inside a function, never seen by who asked for it.
    """


class _Broken(Exception):
    """The whole transaction is beyond use."""

    def __init__(self, cause: Exception, explained: Explained | None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.explained = explained

    @property
    def trouble(self) -> Trouble | None:
        """What may be done about it; None if it is a fault of ours."""
        return self.explained.trouble if self.explained else None

    def as_error(self) -> Exception:
        """Return what the functions' callers are told."""
        return self.explained.as_error() if self.explained else self.cause


@define(eq=False)
class _Request:
    """A function on its way through the worker."""

    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    #: In :func:`time.monotonic` seconds: when to stop waiting for others.
    give_up_at: float
    deferred: Deferred[Any] = field(factory=Deferred)
    value: Any = None
    error: Exception | None = None
    #: Lost a race: to be run once more in the next transaction.
    again: bool = False
    tries: int = 0
    #: Its success says that the database can be used: something was written.
    proves: bool = False

    def run(self, conn: sa.Connection) -> None:
        """Call the function and keep what it returns."""
        self.value = self.error = None
        self.again = False
        self.tries += 1
        transaction = conn.get_transaction()
        value = self.fn(conn, *self.args)
        if transaction is None or conn.get_transaction() is not transaction:
            raise RuntimeError(f"{self.name} ended the transaction it ran in")
        _refuse_live(value)
        self.value = value

    @property
    def may_wait(self) -> bool:
        """Whether there is time for another try."""
        return time.monotonic() < self.give_up_at

    def settle(self) -> None:
        """Tell who waits for it."""
        # Twisted ignores it if its owner has cancelled it.
        if self.error is None:
            self.deferred.callback(self.value)
        else:
            self.deferred.errback(self.error)


class Database:
    """One database, one connection, one thread."""

    _log = Logger()

    def __init__(
        self,
        url: str,
        *,
        deliver: Deliver | None,
        most_waiting: int = 1000,
        lock_wait_s: float = 2.0,
    ) -> None:
        """Prepare; nothing is opened before the first request.

        Args:
            url: in SQLAlchemy's form.
            deliver: hands results to the reactor's thread, such as
                ``reactor.callFromThread``. None: there is no thread, and every request
                is carried out at once where it is made (tests, command line).
            most_waiting: requests beyond that are refused at once.
            lock_wait_s: how long a request may wait for other processes.

        Raises:
            StoreUnavailable: no database of ours, or its driver is missing.
        """
        self._backend = backend_for(url)
        self._transactions = _Transactions(self._backend)
        self._deliver = deliver
        self._most_waiting = most_waiting
        self._lock_wait_s = lock_wait_s
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._closed = False
        self._closers: list[Deferred[None]] = []
        #: Why the database can not be used, as last logged; empty while it can.
        self._trouble = ""

    @property
    def commits(self) -> int:
        """How many transactions were committed so far."""
        return self._transactions.commits

    def run(
        self, name: str, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts
    ) -> Deferred[T]:
        """Run ``fn(conn, *args)`` in a transaction.

        Args:
            name: for logs and errors.
            fn: a plain function. It may run more than once, so it must change nothing
                but the database; it returns values, never rows or results; it neither
                commits nor rolls back. An exception undoes what it did.
            args: for ``fn``.

        Returns:
            A Deferred that fires after the COMMIT with what ``fn`` returned. It fails
            with what ``fn`` raised, or with StoreUnavailable. Cancelling it does not
            undo anything: the work may still be done.
        """
        request = self._request(name, fn, args)
        if self._closing:
            return fail(StoreUnavailable(f"{name}: the database is closed"))
        if self._deliver is None:
            self._transactions.process([request])
            self._settle([request])
            return request.deferred
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                return fail(
                    StoreUnavailable(
                        f"{name}: {self._most_waiting} requests wait already for"
                        " the database"
                    )
                )
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="database", daemon=True
                )
                self._thread.start()
            self._waiting.append(request)
            self._changed.notify()
        return request.deferred

    def run_now(
        self, name: str, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts
    ) -> T:
        """Like :meth:`run`, but return when it is done; only without a thread."""
        if self._deliver is not None:
            raise RuntimeError("this would block the reactor's thread")
        if self._closing:
            raise StoreUnavailable(f"{name}: the database is closed")
        request = self._request(name, fn, args)
        self._transactions.process([request])
        if request.error is not None:
            raise request.error
        value: T = request.value
        return value

    def close(self) -> Deferred[None]:
        """Carry out what waits, then give the database up.

        Returns:
            A Deferred that fires when the connection is closed and the thread, if
            there was one, is over. Requests made from now on fail.
        """
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            self._transactions.disconnect()
            self._closed = True
        if self._closed:
            self._tell_closers()
        return closed

    def _request(
        self, name: str, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> _Request:
        return _Request(name, fn, args, time.monotonic() + self._lock_wait_s)

    # -- on the reactor's thread -------------------------------------------

    def _settle(self, requests: Iterable[_Request]) -> None:
        for request in requests:
            self._notice(request)
            request.settle()

    def _notice(self, request: _Request) -> None:
        """Log trouble when it begins, when it becomes another, and when it ends."""
        trouble = ""
        if isinstance(request.error, StoreUnavailable):
            # Without the name of the request, which differs from one to the next.
            trouble = str(request.error.__cause__ or request.error)
        if trouble and trouble != self._trouble:
            self._log.error(
                "{name}: the database can not be used: {error}",
                name=request.name,
                error=trouble,
            )
        elif self._trouble and request.proves:
            self._log.info("the database can be used again")
        if trouble or request.proves:
            self._trouble = trouble

    def _over(self) -> None:
        assert self._thread is not None
        self._thread.join()
        self._closed = True
        self._tell_closers()

    def _tell_closers(self) -> None:
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)

    # -- on the worker's thread --------------------------------------------

    def _work(self) -> None:
        assert self._deliver is not None
        while group := self._next_group():
            self._transactions.process(group)
            self._deliver(self._settle, group)
        self._transactions.disconnect()
        self._deliver(self._over)

    def _next_group(self) -> list[_Request]:
        """Wait for requests; return none when there will be no more."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            count = min(len(self._waiting), _LARGEST_GROUP)
            return [self._waiting.popleft() for _ in range(count)]


class _Transactions:
    """The connection, and how requests are carried out on it.

    Everything here happens on one thread: the worker's, or the caller's if there is
    none.
    """

    _log = Logger()

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._conn: sa.Connection | None = None
        #: Since the last success that proves otherwise, the database failed. On a full
        #: disk reading works.
        self._failed = False
        #: Transactions committed so far.
        self.commits = 0

    def process(self, group: list[_Request]) -> None:
        """Carry out requests; each has a value or an error afterwards."""
        requests, group = group, list(group)
        savepoints = False
        try:
            while group:
                group = self._together(group, savepoints=savepoints)
                # Savepoints cost as much as the work: they come when needed.
                savepoints = True
        except Exception as error:
            # A fault of ours: nobody may wait for ever because of it.
            self._log.failure("the database's worker failed")
            _fail(group, error)
            self.disconnect()
        if any(isinstance(request.error, StoreUnavailable) for request in requests):
            self._failed = True

    def disconnect(self) -> None:
        """Give the connection up; the next request opens a new one."""
        conn, self._conn = self._conn, None
        if conn is not None and not conn.closed:
            conn.invalidate()
            conn.close()

    def _together(self, group: list[_Request], *, savepoints: bool) -> list[_Request]:
        """Carry out requests in one transaction; return those to run once more."""
        conn = self._begin(group)
        if conn is None:
            return []
        try:
            for request in group:
                if savepoints:
                    self._in_savepoint(conn, request)
                elif not self._runs(conn, request):
                    self._roll_back(conn)
                    return [r for r in group if r.error is None]
        except _Broken as broken:
            self.disconnect()
            self._apart(group, broken)
            return []
        done = [r for r in group if r.error is None and not r.again]
        again = [r for r in group if r.again]
        if done:
            self._commit(conn, done)
        else:
            self._roll_back(conn)
        return again

    def _begin(self, group: list[_Request]) -> sa.Connection | None:
        """Begin a transaction, waiting for other processes as long as requests may.

        Those that may wait no longer are failed and taken out of ``group``.
        """
        while True:
            try:
                if self._conn is None or self._conn.closed:
                    self._conn = self._backend.engine.connect()
                self._backend.begin(self._conn)
                return self._conn
            except (sa.exc.DBAPIError, StoreUnavailable) as error:
                explained = self._backend.explain(error)
                trouble = explained.trouble if explained else None
                if trouble is Trouble.LOCKED:
                    if self._conn is not None:
                        self._roll_back(self._conn)
                    late = [request for request in group if not request.may_wait]
                    group[:] = [request for request in group if request.may_wait]
                    time.sleep(_PAUSE_S)
                else:
                    self.disconnect()
                    late, group[:] = list(group), []
                _fail(late, explained.as_error() if explained else error)
                if not group:
                    return None

    def _runs(self, conn: sa.Connection, request: _Request) -> bool:
        """Run one request; if it fails, the transaction has to be undone.

        Raises:
            _Broken: the connection is of no use any more.
        """
        try:
            request.run(conn)
        except Exception as error:
            explained = self._usable_after(error)
            if explained is not None and explained.trouble is Trouble.LOCKED:
                # It has waited as long as it may, and would again.
                _fail([request], explained.as_error())
            return False
        return True

    def _in_savepoint(self, conn: sa.Connection, request: _Request) -> None:
        """Run one request, undoing only what it did if it fails.

        Raises:
            _Broken: the transaction can not go on.
        """
        try:
            conn.exec_driver_sql("SAVEPOINT request")
        except sa.exc.DBAPIError as error:
            raise _Broken(error, self._backend.explain(error)) from error
        try:
            request.run(conn)
            conn.exec_driver_sql("RELEASE SAVEPOINT request")
        except Exception as error:
            explained = self._usable_after(error)
            lost_race = isinstance(error, TryAgain) or (
                explained is not None and explained.trouble is Trouble.RACE
            )
            if lost_race and request.tries < _MOST_TRIES and request.may_wait:
                request.again = True
            elif explained is not None:
                _fail([request], explained.as_error())
            elif lost_race:
                text = "other processes kept changing the same rows"
                _fail([request], StoreUnavailable(text))
            else:
                _fail([request], error)
            try:
                conn.exec_driver_sql("ROLLBACK TO SAVEPOINT request")
                conn.exec_driver_sql("RELEASE SAVEPOINT request")
            except sa.exc.SQLAlchemyError as worse:
                raise _Broken(error, self._backend.explain(worse)) from worse

    def _usable_after(self, error: Exception) -> Explained | None:
        """Explain a function's error.

        Raises:
            _Broken: it is one after which the connection is of no use.
        """
        explained = self._backend.explain(error)
        if explained and explained.trouble in {Trouble.UNUSABLE, Trouble.LOST}:
            raise _Broken(error, explained) from error
        return explained

    def _apart(self, group: list[_Request], broken: _Broken) -> None:
        """Carry out each request of a broken transaction alone.

        Nothing was committed, so all may run again; but one alone that broke a sound
        connection would do so again.
        """
        able = [r for r in group if r.tries < _MOST_TRIES and r.may_wait]
        if broken.trouble is not Trouble.LOST and len(group) == 1:
            able = []
        _fail([r for r in group if r not in able], broken.as_error())
        for request in able:
            self.process([request])

    def _commit(self, conn: sa.Connection, done: list[_Request]) -> None:
        failure: type[StoreUnavailable] = StoreUnavailable
        try:
            self._backend.check_commit()
            proves = not self._failed or self._backend.has_written(conn)
            failure = CommitUnknown
            conn.commit()
        except (sa.exc.DBAPIError, StoreUnavailable) as error:
            self.disconnect()
            explained = self._backend.explain(error)
            text = explained.text if explained else str(_origin(error))
            _fail(done, failure(f"it could not be committed: {text}"))
        else:
            self.commits += 1
            self._failed = self._failed and not proves
            for request in done:
                request.proves = proves

    def _roll_back(self, conn: sa.Connection) -> None:
        try:
            conn.rollback()
        except sa.exc.DBAPIError:
            self.disconnect()


def _fail(requests: Iterable[_Request], error: Exception) -> None:
    for request in requests:
        request.value = None
        request.again = False
        request.error = error
        if isinstance(error, StoreUnavailable):
            # Each is raised in a place of its own, so each gets its own.
            request.error = type(error)(f"{request.name}: {error}")
            request.error.__cause__ = error


def _origin(error: Exception) -> BaseException:
    """Return the driver's error without SQLAlchemy's additions."""
    wrapped = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    return wrapped or error


def _refuse_live(value: object) -> None:
    """Refuse what is of no use outside the transaction it came from."""
    sample = value[0] if isinstance(value, list) and value else value
    if isinstance(
        sample,
        sa.Result | sa.Row | sa.RowMapping | sa.Connection | GeneratorType,
    ):
        raise TypeError(f"a {type(sample).__name__} must not leave its transaction")
