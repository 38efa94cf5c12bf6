# SPDX-License-Identifier: MIT
"""Runs plain functions in database transactions, off the reactor's thread.

Owns the one worker thread, its connection and its queue. All requests that wait when
the worker is free share one transaction, and so one wait for the disk (a group commit).
If a function fails, all run once more, each in a savepoint of its own, so that the
failure does not affect the others. No Deferred fires before the COMMIT. Knows nothing
of tables and imports no reactor.

A request may have a deadline. If it has not begun by then, it is dropped. If the first
deadline of a group would pass before all of the group is done, what is done is
committed, and the rest runs in the next transaction. Requests with a deadline go before
those without, which have transactions of their own, and also let one go first that may
come in this moment. Of those that have waited for a second, one runs before others.

Requests that are made in one turn of the reactor begin together. Consecutive requests
of one kind may be carried out by one function, which needs fewer round trips to the
server.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import GeneratorType
from typing import Any, Final, TypeVar, TypeVarTuple

import sqlalchemy as sa
from attrs import define, evolve, field
from sqlalchemy.sql.compiler import WARN_LINTING

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from fastagi.errors import Problem
from fastagi.store.backends import Backend, Explained, Trouble, backend_for
from fastagi.store.errors import CommitUnknown, OutOfTime, StoreUnavailable, TryAgain

__all__ = ["ALONE", "Alone", "Database", "Deliver", "StoreUnavailable"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Schedules a function with its arguments on the reactor's thread.
Deliver = Callable[..., object]
#: Calls a function at the end of the reactor's turn.
AtTurnEnd = Callable[[Callable[[], object]], object]

#: Maximum number of times a function runs before its request fails.
_MAX_TRIES: Final = 4
#: Pause between two tries to get a lock, in seconds; each try has its own time-out.
_PAUSE_S: Final = 0.005
#: Maximum number of requests in one transaction: the first waits for the last.
_LARGEST_GROUP: Final = 200
#: How long requests are gathered at most, while more arrive in each turn of the
#: reactor, in seconds.
_GATHERED_S: Final = 0.01
#: How long a request without a deadline lets others go first, in seconds. The lease of
#: the database has to be renewed in time, however many callers press a key.
_LETS_OTHERS_GO_FIRST_S: Final = 1.0
#: How long requests without a deadline wait after one with a deadline, in seconds: the
#: next caller often comes at once, and would have to wait for their COMMIT.
_QUIET_S: Final = 0.005
#: Factor by which an expected duration shrinks with each shorter one.
_FADING: Final = 0.9
#: Factor on expected durations, for safety.
_SAFETY_FACTOR: Final = 2.0


class Alone:
    """A result of a function for several requests: this request has to run alone."""


ALONE: Final = Alone()


class _Broken(Exception):
    """The transaction cannot continue; all of its requests have to run again."""

    def __init__(self, cause: Exception, explained: Explained | None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.explained = explained

    @property
    def trouble(self) -> Trouble | None:
        """The kind of the engine's error; None if it is a fault of this program."""
        return self.explained.trouble if self.explained else None

    def as_error(self) -> Exception:
        """Return the error with which the requests fail."""
        return self.explained.as_error() if self.explained else self.cause


@define(eq=False)
class _Request:
    """A function that the worker is to run, or has run."""

    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    #: When it was made, by :func:`time.monotonic`.
    made_at: float
    #: When to stop waiting for other processes, by :func:`time.monotonic`.
    give_up_at: float
    #: When the caller stops waiting for the result, by :func:`time.monotonic`.
    deadline: float = math.inf
    #: Carries out several requests of this kind, given the arguments of each.
    together: Callable[[sa.Connection, Sequence[Any]], Sequence[Any]] | None = None
    #: Whether the engine's log of writes is emptied after its COMMIT.
    empties_log: bool = False
    deferred: Deferred[Any] = field(factory=Deferred)
    value: Any = None
    error: Exception | None = None
    #: Whether it lost a race and has to run again in the next transaction.
    again: bool = False
    tries: int = 0
    #: Whether its success proves that the database can be used again.
    proves_usable: bool = False

    @property
    def may_wait(self) -> bool:
        """Whether there is time left for another try."""
        return time.monotonic() < self.give_up_at

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return time.monotonic() >= self.deadline

    @property
    def has_deadline(self) -> bool:
        """Whether a caller waits for the result."""
        return self.deadline < math.inf

    @property
    def lets_others_go_first(self) -> bool:
        """Whether requests with a deadline that were made later run before it."""
        made_s_ago = time.monotonic() - self.made_at
        return not self.has_deadline and made_s_ago < _LETS_OTHERS_GO_FIRST_S

    def settle(self) -> None:
        """Fire its Deferred."""
        # If the owner has cancelled the Deferred, Twisted ignores this.
        if self.error is None:
            self.deferred.callback(self.value)
        else:
            self.deferred.errback(self.error)


@define(eq=False)
class _Step:
    """One call of a function: for one request, or for several of one kind."""

    requests: list[_Request]
    #: Carries out all of them; None if there is only one, with its own function.
    together: Callable[[sa.Connection, Sequence[Any]], Sequence[Any]] | None = None

    @property
    def name(self) -> str:
        """The name of its requests; all have the same one."""
        return self.requests[0].name

    def yields(self, *, is_first: bool) -> bool:
        """Whether waiting requests with a deadline run before it.

        Args:
            is_first: whether it is the first step of its transaction. That one runs if
                it has waited for long, so that nothing waits for ever.
        """
        if is_first:
            return all(request.lets_others_go_first for request in self.requests)
        return not any(request.has_deadline for request in self.requests)

    def run(self, conn: sa.Connection) -> list[_Request]:
        """Call the function and store its results in the requests.

        Returns:
            The requests that have to run alone after it.
        """
        for request in self.requests:
            request.value = request.error = None
            request.again = False
            request.tries += 1
        transaction = conn.get_transaction()
        if self.together is None:
            (request,) = self.requests
            values: Sequence[Any] = [request.fn(conn, *request.args)]
        else:
            values = self.together(conn, [request.args for request in self.requests])
        if transaction is None or conn.get_transaction() is not transaction:
            raise RuntimeError(f"{self.name} ended the transaction it ran in")
        alone = []
        for request, value in zip(self.requests, values, strict=True):
            if value is ALONE:
                request.tries -= 1
                request.together = None
                alone.append(request)
            else:
                _refuse_live(value)
                request.value = value
        return alone

    def run_alone_next_time(self) -> None:
        """Make each of several requests run alone the next time."""
        if self.together is not None:
            for request in self.requests:
                request.together = None


def _steps(group: Iterable[_Request]) -> deque[_Step]:
    """Combine consecutive requests of one kind into one step."""
    steps: deque[_Step] = deque()
    for request in group:
        if steps and request.together and steps[-1].together == request.together:
            steps[-1].requests.append(request)
        else:
            steps.append(_Step([request], request.together))
    return steps


class _Pace:
    """Recent durations of the steps of a transaction, in seconds."""

    def __init__(self) -> None:
        self._took: dict[str, float] = {}

    def note(self, what: str, took_s: float) -> None:
        """Note a duration; a longer one counts at once, a shorter one gradually."""
        self._took[what] = max(took_s, _FADING * self._took.get(what, 0.0))

    def expects(self, *what: str) -> float:
        """Return how long these steps may take, one after the other."""
        return _SAFETY_FACTOR * sum(self._took.get(one, 0.0) for one in what)


class Database:
    """One database, one connection, one thread."""

    _log = Logger()

    def __init__(
        self,
        url: str,
        *,
        deliver: Deliver | None,
        at_turn_end: AtTurnEnd | None = None,
        most_waiting: int = 2000,
        lock_wait_s: float = 2.0,
    ) -> None:
        """Prepare; the connection is opened with the first request.

        Args:
            url: the database URL, in SQLAlchemy's form.
            deliver: schedules a function on the reactor's thread, such as
                ``reactor.callFromThread``. None: there is no thread, and every request
                is carried out at once where it is made (tests, command line).
            at_turn_end: calls a function when the reactor has handled all events that
                it knows of. Then requests of one turn begin together, in as few
                transactions as possible. None: each may begin at once.
            most_waiting: maximum number of waiting requests; more are refused at once.
            lock_wait_s: how long a request may wait for other processes, in seconds.

        Raises:
            StoreUnavailable: the engine is not supported, or its driver is missing.
        """
        self._backend = backend_for(url)
        self._transactions = _Transactions(self._backend, self._has_deadlines)
        self._deliver = deliver
        self._at_turn_end = at_turn_end
        self._most_waiting = most_waiting
        self._lock_wait_s = lock_wait_s
        #: Requests of this turn, which the worker does not see yet.
        self._arriving: list[_Request] = []
        self._waiting: deque[_Request] = deque()
        #: From when on requests without a deadline may begin, by `time.monotonic`; or
        #: infinite while a request with a deadline is carried out.
        self._quiet_at = -math.inf
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._closed = False
        self._closers: list[Deferred[None]] = []
        #: Why the database cannot be used, as last logged; empty while it can be.
        self._trouble = ""

    @property
    def commits(self) -> int:
        """The number of transactions committed so far."""
        return self._transactions.commits

    def run(
        self,
        name: str,
        fn: Callable[[sa.Connection, *Ts], T],
        *args: *Ts,
        within_s: float | None = None,
        together: Callable[[sa.Connection, Sequence[tuple[*Ts]]], Sequence[T | Alone]]
        | None = None,
        empty_log: bool = False,
    ) -> Deferred[T]:
        """Run ``fn(conn, *args)`` in a transaction.

        Args:
            name: the name of the request in logs and errors.
            fn: a plain function. It may run more than once, so it must change nothing
                but the database; it returns values, never rows or results; it neither
                commits nor rolls back. An exception undoes what it did.
            args: the arguments of ``fn``.
            within_s: how long the caller waits for the result, in seconds; None: for
                ever.
            together: does the same for several requests that wait at the same time,
                given the ``args`` of each. It returns a list with one result for each,
                which is ALONE for a request that ``fn`` has to carry out afterwards.
            empty_log: whether to empty the engine's log of writes after the COMMIT,
                so that nothing of what was erased remains in it. That takes a while.

        Returns:
            A Deferred that fires after the COMMIT with what ``fn`` returned. It fails
            with what ``fn`` raised, with StoreUnavailable, or with OutOfTime if
            ``within_s`` had passed before ``fn`` or the COMMIT began. Cancelling it
            does not undo anything: the work may still be done.
        """
        request = self._request(name, fn, args)
        request.together = together
        request.empties_log = empty_log
        if within_s is not None:
            request.deadline = time.monotonic() + within_s
            request.give_up_at = min(request.give_up_at, request.deadline)
        if self._closing:
            return fail(StoreUnavailable("the database is closed").in_step(name))
        if self._deliver is None:
            self._process_all([request])
            self._settle([request])
            return request.deferred
        if len(self._waiting) + len(self._arriving) >= self._most_waiting:
            return fail(
                StoreUnavailable(
                    f"{self._most_waiting} requests are already waiting for the"
                    " database"
                ).in_step(name)
            )
        self._arriving.append(request)
        if self._at_turn_end is None:
            self._begin_waiting()
        elif len(self._arriving) == 1:
            self._at_turn_end(partial(self._gather, 0))
        return request.deferred

    def _gather(self, known: int) -> None:
        """At the end of a turn: begin, unless more requests are just arriving.

        While each turn brings more, the processor is busy with them, and each COMMIT
        less leaves it more time.

        Args:
            known: how many had arrived at the end of the turn before.
        """
        count = len(self._arriving)
        if not count:
            return
        waited_s = time.monotonic() - self._arriving[0].made_at
        is_last = count in {1, known}
        if is_last or count >= _LARGEST_GROUP or waited_s >= _GATHERED_S:
            self._begin_waiting()
        else:
            assert self._at_turn_end is not None
            self._at_turn_end(partial(self._gather, count))

    def _begin_waiting(self) -> None:
        """Let the worker begin the requests of this turn."""
        if not self._arriving:
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="database", daemon=True
            )
            self._thread.start()
        with self._changed:
            self._waiting.extend(self._arriving)
            self._arriving.clear()
            self._changed.notify()

    def run_now(
        self, name: str, fn: Callable[[sa.Connection, *Ts], T], *args: *Ts
    ) -> T:
        """Run like :meth:`run` and return the result; only without a thread."""
        if self._deliver is not None:
            raise RuntimeError("this would block the reactor's thread")
        if self._closing:
            raise StoreUnavailable("the database is closed").in_step(name)
        request = self._request(name, fn, args)
        self._process_all([request])
        if request.error is not None:
            raise request.error
        value: T = request.value
        return value

    @property
    def is_idle(self) -> bool:
        """Whether it has been used, and no request waits for it to begin."""
        return self.commits > 0 and not self._waiting

    @property
    def engine(self) -> str:
        """SQLAlchemy's name of the engine."""
        return self._backend.engine.dialect.name

    def compile(
        self, statement: sa.ClauseElement, names: Iterable[str], *, several: bool
    ) -> None:
        """Compile a statement, and keep the result for its executions.

        Nothing is executed. Only once the database has been used, since the engine's
        dialect depends on the server's version.

        Args:
            statement: the statement.
            names: the parameters that it is executed with.
            several: whether it is executed with several sets of parameters at once.
        """
        engine = self._backend.engine
        # What Connection.execute() does first; SQLAlchemy has no public way to do only
        # that. A test finds whether the result is used.
        statement._compile_w_cache(
            engine.dialect,
            compiled_cache=engine.get_execution_options().get(
                "compiled_cache", engine._compiled_cache
            ),
            column_keys=sorted(names),
            for_executemany=several,
            linting=engine.dialect.compiler_linting | WARN_LINTING,
        )

    def close(self) -> Deferred[None]:
        """Carry out the waiting requests, then close the database.

        Requests made from now on fail.

        Returns:
            A Deferred that fires when the connection is closed and the thread, if
            there was one, has ended.
        """
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        self._begin_waiting()
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            self._transactions.disconnect()
            self._closed = True
        if self._closed:
            self._fire_closers()
        return closed

    def _request(
        self, name: str, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> _Request:
        now = time.monotonic()
        return _Request(name, fn, args, now, now + self._lock_wait_s)

    def _process_all(self, group: list[_Request]) -> None:
        while group:
            group = self._transactions.process(group)

    # -- on the reactor's thread -------------------------------------------

    def _settle(self, requests: Iterable[_Request]) -> None:
        for request in requests:
            self._log_trouble(request)
            request.settle()

    def _log_trouble(self, request: _Request) -> None:
        """Log when the database becomes unusable, why, and when it is usable again."""
        trouble = ""
        error = request.error
        if error is not None and _means_unusable(error):
            # Compare without the name of the request, which is in str(error).
            trouble = str(error.__cause__ or error)
        if trouble and trouble != self._trouble:
            self._log.error(
                "{name}: the database can not be used: {error}",
                name=request.name,
                error=trouble,
            )
        elif self._trouble and request.proves_usable:
            self._log.info("the database can be used again")
        if trouble or request.proves_usable:
            self._trouble = trouble

    def _on_thread_ended(self) -> None:
        assert self._thread is not None
        self._thread.join()
        self._closed = True
        self._fire_closers()

    def _fire_closers(self) -> None:
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)

    # -- on the worker's thread --------------------------------------------

    def _work(self) -> None:
        assert self._deliver is not None
        while group := self._next_group():
            left = self._transactions.process(group)
            done = [request for request in group if request not in left]
            self._deliver(self._settle, done)
            self._note_end()
            with self._changed:
                self._waiting.extendleft(reversed(left))
        self._transactions.disconnect()
        self._deliver(self._on_thread_ended)

    def _next_group(self) -> list[_Request]:
        """Wait for requests; return an empty list after :meth:`Database.close`."""
        with self._changed:
            while True:
                waiting = list(self._waiting)
                urgent = [r for r in waiting if r.has_deadline]
                group = [
                    r for r in waiting if not (r.has_deadline or r.lets_others_go_first)
                ]
                if urgent:
                    # Callers wait for one request at most that has waited for long.
                    group = group[:1] + urgent
                quiet_s = self._quiet_at - time.monotonic()
                if not group and (quiet_s <= 0 or self._closing):
                    group = waiting
                if group or self._closing:
                    break
                self._changed.wait(quiet_s if waiting else None)
            if urgent:
                self._quiet_at = math.inf
            group = group[:_LARGEST_GROUP]
            if len(group) == len(waiting):
                self._waiting.clear()
            else:
                begun = set(group)
                self._waiting = deque(r for r in waiting if r not in begun)
            return group

    def _note_end(self) -> None:
        """After a group: let others go first who may come in this moment."""
        if self._quiet_at == math.inf:
            self._quiet_at = time.monotonic() + _QUIET_S

    def _has_deadlines(self) -> bool:
        """Whether a request that has not begun has a deadline."""
        if not self._waiting:
            return False
        with self._changed:
            return any(request.has_deadline for request in self._waiting)


class _Transactions:
    """The connection, and the transactions on it.

    Used by one thread only: the worker, or the caller if there is no worker.
    """

    _log = Logger()

    def __init__(self, backend: Backend, has_deadlines: Callable[[], bool]) -> None:
        """Prepare.

        Args:
            backend: the kind of database.
            has_deadlines: whether requests with a deadline wait for this transaction
                to end.
        """
        self._backend = backend
        self._has_deadlines = has_deadlines
        self._conn: sa.Connection | None = None
        self._pace = _Pace()
        #: Whether the database failed and nothing was written since. A successful read
        #: proves nothing: it works on a full disk too.
        self._failed = False
        #: The number of transactions committed so far.
        self.commits = 0

    def process(self, group: list[_Request]) -> list[_Request]:
        """Carry out requests; each has a value or an error afterwards.

        Returns:
            The requests that were not begun, so that the others commit in time.
        """
        requests, group = group, list(group)
        left: list[_Request] = []
        savepoints = False
        try:
            while group:
                group, rest = self._process_in_one(group, savepoints=savepoints)
                left = rest + left
                # Savepoints double the cost, so they are used after a failure only.
                savepoints = True
        except Exception as error:
            # A fault of this program must not leave anybody waiting.
            self._log.failure("the database's worker failed")
            _fail(group, error)
            self.disconnect()
        if any(_means_unusable(request.error) for request in requests):
            self._failed = True
        return left

    def disconnect(self) -> None:
        """Close the connection; the next request opens a new one."""
        conn, self._conn = self._conn, None
        if conn is not None and not conn.closed:
            conn.invalidate()
            conn.close()

    def _process_in_one(
        self, group: list[_Request], *, savepoints: bool
    ) -> tuple[list[_Request], list[_Request]]:
        """Carry out requests in one transaction.

        Returns:
            The requests to run once more, and those that were not begun.
        """
        conn = self._begin(group)
        if conn is None:
            return [], []
        steps = _steps(group)
        #: All requests that have run or failed in this transaction.
        begun: list[_Request] = []
        try:
            while steps:
                step = steps.popleft()
                late = [request for request in step.requests if request.is_late]
                if late:
                    _fail(late, OutOfTime("its time was over before it began"))
                    begun += late
                    step.requests = [r for r in step.requests if r not in late]
                    if not step.requests:
                        continue
                if (begun and self._must_commit(begun, step)) or (
                    step.yields(is_first=not begun) and self._has_deadlines()
                ):
                    steps.appendleft(step)
                    break
                began = time.monotonic()
                if savepoints:
                    alone = self._in_savepoint(conn, step)
                else:
                    found = self._run_step(conn, step)
                    if found is None:
                        self._roll_back(conn)
                        return [r for r in group if r.error is None], []
                    alone = found
                self._pace.note(step.name, time.monotonic() - began)
                begun += [r for r in step.requests if r not in alone]
                steps.extendleft(_Step([request]) for request in reversed(alone))
        except _Broken as broken:
            self.disconnect()
            able = [r for r in group if r.error is None]
            return [], self._process_each_alone(able, broken)
        done = [r for r in begun if r.error is None and not r.again]
        again = [r for r in begun if r.again]
        if done and all(request.is_late for request in done):
            # No caller waits for the results any more, so nothing is stored.
            self._roll_back(conn)
            _fail(done, OutOfTime("its time was over before it could be committed"))
        elif done:
            self._commit(conn, done)
        else:
            self._roll_back(conn)
        return again, [request for step in steps for request in step.requests]

    def _must_commit(self, begun: Iterable[_Request], step: _Step) -> bool:
        """Whether a deadline would pass if the step ran before the COMMIT."""
        first = min(
            (r.deadline for r in begun if r.error is None and not r.again),
            default=math.inf,
        )
        ends = time.monotonic() + self._pace.expects(step.name, "COMMIT")
        return ends > first

    def _begin(self, group: list[_Request]) -> sa.Connection | None:
        """Begin a transaction; wait for other processes as long as the requests may.

        Requests that may not wait any longer fail and are removed from ``group``.

        Returns:
            The connection; None if no request is left.
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

    def _run_step(self, conn: sa.Connection, step: _Step) -> list[_Request] | None:
        """Run one step.

        Returns:
            The requests to run alone after it; None if the step failed, and the
            transaction has to be rolled back.

        Raises:
            _Broken: the connection cannot be used any more.
        """
        try:
            return step.run(conn)
        except Exception as error:
            explained = self._usable_after(error)
            if step.together is not None:
                step.run_alone_next_time()
            elif explained is not None and explained.trouble is Trouble.LOCKED:
                # It has waited for the lock as long as it may.
                _fail(step.requests, explained.as_error())
            return None

    def _in_savepoint(self, conn: sa.Connection, step: _Step) -> list[_Request]:
        """Run one step in a savepoint; roll back to it if the step fails.

        Returns:
            The requests to run alone after it.

        Raises:
            _Broken: the transaction cannot continue.
        """
        try:
            conn.exec_driver_sql("SAVEPOINT request")
        except sa.exc.DBAPIError as error:
            raise _Broken(error, self._backend.explain(error)) from error
        try:
            alone = step.run(conn)
            conn.exec_driver_sql("RELEASE SAVEPOINT request")
        except Exception as error:
            explained = self._usable_after(error)
            if step.together is not None:
                step.run_alone_next_time()
                alone = list(step.requests)
                for request in alone:
                    request.tries -= 1
            else:
                alone = []
                self._fail_or_repeat(step.requests[0], error, explained)
            try:
                conn.exec_driver_sql("ROLLBACK TO SAVEPOINT request")
                conn.exec_driver_sql("RELEASE SAVEPOINT request")
            except sa.exc.SQLAlchemyError as worse:
                raise _Broken(error, self._backend.explain(worse)) from worse
        return alone

    @staticmethod
    def _fail_or_repeat(
        request: _Request, error: Exception, explained: Explained | None
    ) -> None:
        """After the function of one request failed: fail the request, or repeat it."""
        lost_race = isinstance(error, TryAgain) or (
            explained is not None and explained.trouble is Trouble.RACE
        )
        if lost_race and request.tries < _MAX_TRIES and request.may_wait:
            request.again = True
        elif explained is not None:
            _fail([request], explained.as_error())
        elif lost_race:
            text = "other processes kept changing the same rows"
            _fail([request], StoreUnavailable(text))
        else:
            _fail([request], error)

    def _usable_after(self, error: Exception) -> Explained | None:
        """Explain an error after which the connection can still be used.

        Raises:
            _Broken: the connection cannot be used after this error.
        """
        explained = self._backend.explain(error)
        if explained and explained.trouble in {Trouble.UNUSABLE, Trouble.LOST}:
            raise _Broken(error, explained) from error
        return explained

    def _process_each_alone(
        self, group: list[_Request], broken: _Broken
    ) -> list[_Request]:
        """Carry out each request of a broken transaction alone.

        Nothing was committed, so all may run again. But a request that was alone in its
        transaction would break the next one, too, unless the connection was lost.

        Returns:
            The requests that were not begun, as others go first.
        """
        able = [r for r in group if r.tries < _MAX_TRIES and r.may_wait]
        if broken.trouble is not Trouble.LOST and len(group) == 1:
            able = []
        _fail([r for r in group if r not in able], broken.as_error())
        return [left for request in able for left in self.process([request])]

    def _commit(self, conn: sa.Connection, done: list[_Request]) -> None:
        failure: type[StoreUnavailable] = StoreUnavailable
        try:
            self._backend.check_commit()
            proves_usable = not self._failed or self._backend.has_written(conn)
            failure = CommitUnknown
            began = time.monotonic()
            conn.commit()
            self._pace.note("COMMIT", time.monotonic() - began)
        except (sa.exc.DBAPIError, StoreUnavailable) as error:
            self.disconnect()
            explained = self._backend.explain(error)
            problem = (
                explained.problem if explained else Problem("", str(_origin(error)))
            )
            what = f"it could not be committed: {problem.what}"
            values = [request.value for request in done]
            _fail(done, failure(evolve(problem, what=what)))
            for request, value in zip(done, values, strict=True):
                if isinstance(request.error, CommitUnknown):
                    request.error = request.error.with_result(value)
        else:
            self.commits += 1
            if any(request.empties_log for request in done):
                self._backend.empty_log(conn)
            self._failed = self._failed and not proves_usable
            for request in done:
                request.proves_usable = proves_usable

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
            # Each request gets its own copy, because each copy gets its own traceback.
            request.error = error.in_step(request.name)
            request.error.__cause__ = error


def _means_unusable(error: Exception | None) -> bool:
    return isinstance(error, StoreUnavailable) and not isinstance(error, OutOfTime)


def _origin(error: Exception) -> BaseException:
    """Return the driver's error, without SQLAlchemy's wrapper."""
    wrapped = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    return wrapped or error


def _refuse_live(value: object) -> None:
    """Raise TypeError for a value that cannot be used outside its transaction."""
    sample = value[0] if isinstance(value, list) and value else value
    if isinstance(
        sample,
        sa.Result | sa.Row | sa.RowMapping | sa.Connection | GeneratorType,
    ):
        raise TypeError(f"a {type(sample).__name__} must not leave its transaction")
