# SPDX-License-Identifier: MIT
"""The whole service in memory: one clock, one fake Asterisk, one database file.

`World` owns the time. `ServiceProcess` is one life of the service: it can be started,
stopped in peace, and killed at any of its *points*, which are the moments right before
and right after each COMMIT and each write to a socket. What a killed process still
does reaches nobody.
"""

from __future__ import annotations

import atexit
import functools
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast
from unittest import mock

import attrs
import sqlalchemy as sa

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.app import CallbackService, Endpoints
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import (
    AmiSettings,
    HistorySettings,
    NodeSettings,
    Settings,
)
from fastagi.domain.attempt import DEFAULT_NODE, Attempt, attempt_of
from fastagi.domain.task import CallbackTask, TaskEvent
from fastagi.domain.turns import Fairness
from fastagi.runtime.clock import MachineClock
from fastagi.runtime.programs import ChildPrograms
from fastagi.store import leases, migrate, queries
from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.errors import CommitUnknown, StoreUnavailable
from fastagi.store.processes import Process
from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.calls import FORGETS
from tests.emulator.wires import Net, ServerEndpoint
from tests.harness.control_client import ControlClient
from tests.harness.notices import FakeNotices
from tests.harness.ram import ram
from tests.harness.sorted_clock import SortedClock

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

#: What the names of requests begin with that read for the live state.
_LOOKS_ON: Final = "live: "
#: The time at which every test begins, in epoch seconds.
START: Final = 1_800_000_000.0
#: Maximum number of reactor turns at one instant; more mean an endless loop.
_MAX_TURNS: Final = 20_000
#: A process id above the largest that Linux assigns.
_NO_PID: Final = 2**22
#: The point at which a process is killed: its number, or a function that is called with
#: the name of each point.
KillAt = int | Callable[[str], bool] | None


# -- settings ------------------------------------------------------------------


#: Settings of all queues of a test, in place of the product's defaults.
_of_all_queues: dict[str, Any] = {}


def queue_settings(name: str = "support", **values: Any) -> QueueSettings:
    """Return the settings of a queue; other values are the product's defaults."""
    return QueueSettings(
        name=name,
        **{"outbound_channel": "PJSIP/{number}@trunk", **_of_all_queues, **values},
    )


def live_first(test: Callable[P, R]) -> Callable[P, R]:
    """Run a test with ``fairness: live_first``.

    For tests of that setting, and tests in which a task has to be pending while agents
    are logged in: with the default, ``place``, it would wait in line.
    """

    @functools.wraps(test)
    def run(*args: P.args, **more: P.kwargs) -> R:
        with mock.patch.dict(_of_all_queues, fairness=Fairness.LIVE_FIRST):
            return test(*args, **more)

    return run


def settings(
    *queues: QueueSettings, nodes: Collection[str] = (), **sections: Any
) -> Settings:
    """Return settings with these queues; with one queue if none is given.

    Args:
        queues: the queues.
        nodes: the names of all Asterisks, if they are under ``nodes``.
        sections: other sections.
    """
    chosen = queues or (queue_settings(),)
    history = sections.setdefault("history", HistorySettings(enabled=False))
    ami = AmiSettings.model_validate({"secret": "secret"})
    return Settings(
        ami=ami,
        nodes=tuple(NodeSettings(name=n, ami=ami, history=history) for n in nodes),
        queues={queue.name: queue for queue in chosen},
        **sections,
    )


# -- one life of the service ---------------------------------------------------


class ProcessClock(SortedClock):
    """The clock of one process, which the world drives as long as it is alive."""

    _log = Logger()

    def __init__(self, process: ServiceProcess) -> None:
        super().__init__()
        self._process = process

    @property
    def runs(self) -> bool:
        """Whether the process is neither dead nor frozen."""
        return not (self._process.dead or self._process.frozen)

    def callLater(  # type: ignore[override]
        self, when: float, what: Callable[..., object], *args: Any, **kw: Any
    ) -> IDelayedCall:
        """Run a function later; as in a reactor, what it raises is logged."""

        def run() -> None:
            try:
                what(*args, **kw)
            except Exception:
                self._log.failure("a timed call failed")

        call: IDelayedCall = super().callLater(when, run)
        return call


class PacedDatabase(Database):
    """The real database without its thread; a test can make it slow or broken.

    Every result comes in a later turn of the reactor, as from the real thread.
    """

    def __init__(
        self,
        url: str,
        thread_clock: IReactorTime,
        clock: IReactorTime,
        process: ServiceProcess,
    ) -> None:
        super().__init__(url, deliver=None)
        _share_statements(self._backend.engine)
        #: The true time: the thread is independent of the machine's clock.
        self._thread_clock = thread_clock
        self._paced_clock = clock
        self._process = process
        #: Duration of the COMMIT, in seconds.
        self.takes_s: Callable[[str], float] = lambda name: 0.0
        #: Names of requests that fail, with their error texts.
        self.broken: dict[str, str] = {}
        self.unavailable = ""
        #: Names of requests that are committed but whose answer is lost.
        self.unheard: set[str] = set()
        self._pending: list[Deferred[Any]] = []
        self._all_done: list[Deferred[None]] = []

    def run(  # type: ignore[override]
        self,
        name: str,
        fn: Callable[..., T],
        *args: Any,
        within_s: float | None = None,
        together: Any = None,
        empty_log: bool = False,
    ) -> Deferred[T]:
        """Run a request after its delay, and deliver the result later.

        The delay is that of the COMMIT, so no request is dropped because it began late.
        """
        result: Deferred[T] = Deferred()
        if self._process.dead:
            return fail(StoreUnavailable("the process is dead"))
        self._pending.append(result)
        # Who looks on changes nothing, neither the pace of the others nor when a
        # process may be killed.
        delay_s = 0.0 if name.startswith(_LOOKS_ON) else self.takes_s(name)
        self._thread_clock.callLater(
            delay_s, self._do, result, name, fn, args, together
        )
        return result

    def _do(
        self,
        result: Deferred[T],
        name: str,
        fn: Callable[..., T],
        args: Any,
        together: Any,
    ) -> None:
        process = self._process
        if process.dead:
            return
        if process.frozen:
            process.when_thawed(lambda: self._do(result, name, fn, args, together))
            return
        trouble = self.unavailable or self.broken.get(name)
        if trouble:
            done: Deferred[T] = fail(StoreUnavailable(trouble).in_step(name))
        else:
            looks_on = name.startswith(_LOOKS_ON)
            if not (looks_on or process.point(f"before COMMIT of {name}")):
                return
            done = super().run(name, fn, *args, together=together)
            process.world.requests += 1
            if not looks_on and not process.point(f"after COMMIT of {name}"):
                # The process is dead: drop the result, also a failure.
                _ = done.addErrback(lambda failure: None)
                return
            if name in self.unheard:
                error = CommitUnknown("the server does not answer").in_step(name)
                _ = done.addCallbacks(error.with_result, lambda failure: None)
                done = fail(error)
        _ = done.addBoth(self._deliver_later, result)

    def _deliver_later(self, value: Any, result: Deferred[Any]) -> None:
        self._paced_clock.callLater(0, self._tell, value, result)

    def _tell(self, value: Any, result: Deferred[Any]) -> None:
        if result not in self._pending:
            # The result has failed already, when the killed process was buried.
            return
        self._pending.remove(result)
        if isinstance(value, Failure):
            result.errback(value)
        else:
            result.callback(value)
        if not self._pending:
            waiting, self._all_done = self._all_done, []
            for one in waiting:
                one.callback(None)

    def is_used_by(self, conn: sa.Connection) -> bool:
        """Whether a connection is that of this process."""
        return conn.engine is self._backend.engine

    def bury(self) -> None:
        """Fail all waiting requests."""
        for result in list(self._pending):
            self._tell(Failure(StoreUnavailable("the process is dead")), result)

    def close(self) -> Deferred[None]:
        """Finish the waiting requests, then close."""
        if not self._pending:
            return super().close()
        done: Deferred[None] = Deferred()
        self._all_done.append(done)
        return done.addCallback(lambda _: super(PacedDatabase, self).close())


class ServiceProcess:
    """One process of the service, from its start until it stops or is killed."""

    _log = Logger()

    def __init__(
        self,
        world: World,
        settings: Settings,
        held: leases.Held,
        *,
        kill_at: KillAt = None,
        skew_s: float = 0.0,
    ) -> None:
        self.world = world
        #: The name of the instance, and what identifies this run in the leases.
        self.instance, self.token = settings.instance.name or "", held.token
        self._asterisk = world.asterisk
        self._kill_at = kill_at
        #: The names of the points passed so far, in order.
        self.points: list[str] = []
        self._at: dict[str, list[Callable[[], object]]] = {}
        self.dead = False
        #: Whether the process or its machine is stopped (SIGSTOP).
        self.frozen = False
        self._when_thawed: list[Callable[[], object]] = []
        #: Why it must end, once another process has taken the lease.
        self.lease_lost: list[str] = []
        #: Duration of reading the histories, in seconds.
        self.reading_takes_s = 0.0
        self.clock = ProcessClock(self)
        self.clock.rightNow = world.clock.seconds()
        self.database = PacedDatabase(world.url, world.clock, self.clock, self)
        net, asterisk = world.net, world.asterisk
        self.agi = ServerEndpoint(net, self._around("AGI"))
        self.control = ServerEndpoint(net, self._around("control"))
        self.ami = asterisk.manager_endpoint(self._around("AMI"))
        amis = {
            name: pbx.manager_endpoint(self._around("AMI"))
            for name, pbx in world.others.items()
        }
        #: The endpoint of each Asterisk.
        self.amis = {DEFAULT_NODE: self.ami, **amis}
        for pbx in (asterisk, *world.others.values()):
            pbx.agi = self.agi
        tokens = (f"{random.getrandbits(32):08x}" for _ in iter(int, 1))
        clock = MachineClock(
            cast(IReactorTime, self.clock),
            lambda: self.clock.seconds() + world.skew_s + skew_s,
        )
        self.service = CallbackService(
            settings=settings,
            database=self.database,
            endpoints=Endpoints(
                ami=self.amis,
                fastagi=self.agi,
                control=self.control,
            ),
            clock=clock,
            in_thread=self.in_thread,
            # No test in memory starts a program.
            programs=ChildPrograms(None, clock),
            lease=leases.Lease(held, world.clock.seconds, world.clock.seconds()),
            on_lease_lost=self.lease_lost.append,
            new_token=lambda: next(tokens),
            listen=None
            if world.notices is None
            else partial(world.notices.listen, self),
        )
        self.started: list[object] = []
        self.stopped: list[object] = []

    def in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        """Run a blocking function; deliver its result when the test says."""
        done: Deferred[T] = Deferred()

        def do() -> None:
            if not self.dead:
                try:
                    result: Any = work()
                except Exception:
                    result = Failure()
                self.clock.callLater(0, done.callback, result)

        self.world.clock.callLater(self.reading_takes_s, do)
        return done

    def start(self) -> None:
        """Start the service; errors go into ``started``."""
        starting = Deferred.fromCoroutine(self.service.start())
        _ = starting.addBoth(self.started.append)

    def stop(self) -> None:
        """Request the service to stop."""
        stopping = Deferred.fromCoroutine(self.service.stop())
        _ = stopping.addBoth(self.stopped.append)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self.dead = True
        self.agi.factory = self.control.factory = None
        for end in self._ends():
            end.vanish()

    def freeze(self, *, accepts: bool = False) -> None:
        """Freeze the process; its kernel still receives bytes for it.

        Args:
            accepts: whether the kernel also takes new connections.
        """
        self.frozen = True
        self._factories = self.agi.factory, self.control.factory
        if accepts:
            self.agi.frozen = self.control.frozen = True
        else:
            self.agi.factory = self.control.factory = None
        for end in self._ends():
            end.frozen = True

    def thaw(self) -> None:
        """Let a frozen process continue; its clock jumps to the current time."""
        if not self.frozen or self.dead:
            return
        self.frozen = False
        self.agi.factory, self.control.factory = self._factories
        self.agi.frozen = self.control.frozen = False
        for end in self._ends():
            end.frozen = False
        self.clock.rightNow = self.world.clock.seconds()
        waiting, self._when_thawed = self._when_thawed, []
        for function in waiting:
            self.world.clock.callLater(0, function)

    def when_thawed(self, function: Callable[[], object]) -> None:
        """Run a function when a frozen process continues."""
        self._when_thawed.append(function)

    def bury(self) -> None:
        """Release what a killed process has left, without any effect outside."""
        gone = Failure(ConnectionLost())
        for end in self._ends():
            with suppress(Exception):
                end.protocol.connectionLost(gone)
        self.database.bury()
        self.stop()
        for _ in range(30):
            self.database.bury()
            if self.stopped:
                break
            self.clock.advance(10)

    def _ends(self) -> Iterator[Any]:
        for pbx in (self._asterisk, *self.world.others.values()):
            for wire in pbx.manager_wires:
                if wire.client in self._clients:
                    yield wire.client
        for endpoint in (self.agi, self.control):
            for wire in endpoint.wires:
                yield wire.server

    @property
    def _clients(self) -> list[Any]:
        return [wire.client for ami in self.amis.values() for wire in ami.wires]

    @property
    def open_wires(self) -> int:
        """The number of open connections."""
        return sum(not end.closed for end in self._ends())

    def point(self, name: str) -> bool:
        """Pass a point at which the process may be killed; return False if it is dead.

        The code of a dead process has no effects: its sockets are closed, its database
        does not answer, and its clock stands still.
        """
        if self.dead:
            return False
        self.points.append(name)
        for function in self._at.pop(name, []):
            self.clock.callLater(0, function)
        at = self._kill_at
        if at(name) if callable(at) else len(self.points) == at:
            self.kill()
        return not self.dead

    def at(self, name: str, function: Callable[[], object]) -> None:
        """Run a function right after the next point of this name."""
        self._at.setdefault(name, []).append(function)

    def _around(self, what: str) -> Callable[[bytes, Callable[[], None]], None]:
        def around(data: bytes, send: Callable[[], None]) -> None:
            first = data.partition(b"\r\n")[0][:40].decode("utf-8", "replace")
            if self.point(f"before sending {what} {first.strip()}"):
                for listener in self.world.listeners:
                    listener(what, data)
                send()
                self.point(f"after sending {what} {first.strip()}")

        return around


# -- the world -----------------------------------------------------------------


_dialects: dict[str, sa.Dialect] = {}
_compiled: dict[Any, Any] = {}


def _share_statements(engine: sa.Engine) -> None:
    """Compile each SQL statement once for all processes of all worlds."""
    engine.dialect = _dialects.setdefault(engine.dialect.name, engine.dialect)
    engine.update_execution_options(compiled_cache=_compiled)


def database_without_thread(url: str) -> Database:
    """Return a database that carries out each request at once."""
    database = Database(url, deliver=None)
    _share_statements(database._backend.engine)
    return database


_template: list[Path] = []


def _empty_database() -> Path:
    """Return a database file with empty tables, created once for all tests."""
    if not _template:
        directory = Path(tempfile.mkdtemp(prefix="callback-template-", dir=ram()))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        path = directory / "empty.db"
        migrate.prepare(f"sqlite:///{path}")
        _template.append(path)
    return _template[0]


def _copy(source: Path, target: Path) -> None:
    """Copy the contents of a database file to another one."""
    with (
        closing(sqlite3.connect(source)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.backup(writing)


@attrs.define(eq=False)
class World:
    """The clock, Asterisk, the network, the database and all service processes."""

    version: str = "22.10.1"
    #: The database of every process, with empty tables; by default a file of its own.
    url: str = ""
    clock: SortedClock = attrs.field(factory=SortedClock)
    net: Net = attrs.field(factory=Net)
    asterisk: FakeAsterisk = attrs.field(init=False)
    #: Further Asterisks, by the name of the node; the one above is the default node.
    others: dict[str, FakeAsterisk] = attrs.field(factory=dict)
    directory: Path = attrs.field(init=False)
    processes: list[ServiceProcess] = attrs.field(factory=list)
    #: Called at each instant, after everything due has run.
    watchers: list[Callable[[], object]] = attrs.field(factory=list)
    #: Called before a service writes to a socket ("AMI", "AGI", "control"), with the
    #: bytes.
    listeners: list[Callable[[str, bytes], object]] = attrs.field(factory=list)
    #: How many seconds the machine's clock is ahead of the true time. Asterisk's timers
    #: and people follow the true time.
    skew_s: float = 0.0
    #: Whether leases run out, as on PostgreSQL; otherwise a held file lock is assumed.
    leases_run_out: bool = False
    #: Carries notices between several services; None: there are none.
    notices: FakeNotices | None = None
    #: How many requests the databases of all processes have carried out.
    requests: int = 0
    _reading: sa.Connection | None = None
    #: Takes the lease for processes that begin.
    _launching: Database | None = None

    def __attrs_post_init__(self) -> None:
        """Begin at the usual time with an empty database."""
        self.clock.rightNow = START
        self.asterisk = FakeAsterisk(self.clock, self.net, version=self.version)
        self.directory = Path(tempfile.mkdtemp(prefix="callback-world-", dir=ram()))
        if not self.url:
            file = self.directory / "callback.db"
            shutil.copy(_empty_database(), file)
            self.url = f"sqlite:///{file}"
        # The back-off after a lost link has jitter.
        random.seed(1)

    def add_asterisk(self, name: str) -> FakeAsterisk:
        """Add an Asterisk before the first process begins; its systemname is ``name``.

        The dialplan of each Asterisk then names its node.
        """
        pbx = FakeAsterisk(self.clock, self.net, version=self.version)
        pbx.system_name = pbx.agi_node = name
        self.asterisk.agi_node = DEFAULT_NODE
        self.others[name] = pbx
        return pbx

    # -- processes ---------------------------------------------------------

    def begin(self, settings: Settings, *, kill_at: KillAt = None) -> ServiceProcess:
        """Start a service and let it connect."""
        process = self.launch(settings, kill_at=kill_at)
        self.settle()
        return process

    def launch(
        self,
        settings: Settings,
        *,
        kill_at: KillAt = None,
        host: str = "pbx",
        skew_s: float = 0.0,
    ) -> ServiceProcess:
        """Start a service on a machine; it proceeds as time passes.

        Args:
            settings: its settings.
            kill_at: when to kill it.
            host: the name of the machine.
            skew_s: how many seconds its clock is ahead of the world's.

        Raises:
            DatabaseHeld: another service holds the database.
        """
        life = len(self.processes) + 1
        token = f"run {life}"
        # No process has this id, so the lease's last holder counts as ended.
        process_id = Process(host, "boot", _NO_PID + life, "pid", "0")
        if self._launching is None:
            self._launching = database_without_thread(self.url)
        held = self._launching.run_now(
            "take lease",
            leases.take,
            process_id,
            token,
            self.leases_run_out,
            settings.instance.name or "",
        )
        self.requests += 1
        if held.token != token:
            raise leases.held_error(held)
        process = ServiceProcess(self, settings, held, kill_at=kill_at, skew_s=skew_s)
        self.processes.append(process)
        process.start()
        return process

    def close(self) -> None:
        """Remove the files."""
        for process in self.processes:
            if not process.dead:
                process.kill()
            process.bury()
        self._disconnect()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _disconnect(self) -> None:
        """Close the connections that belong to no process."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        if self._launching is not None:
            self._launching.close()
            self._launching = None

    # -- restoring an old copy of the database -------------------------------

    @property
    def _file(self) -> Path:
        return self.directory / "callback.db"

    def copy_database(self) -> Path:
        """Copy the current database, to be restored later."""
        copy = self.directory / f"copy-{len(list(self.directory.iterdir()))}.db"
        _copy(self._file, copy)
        return copy

    def set_back_database(self, copy: Path) -> None:
        """Restore the copy of the database under a running service.

        Connections stay open, as when a standby takes over that lacks the last seconds.
        """
        _copy(copy, self._file)

    def replace_database(self, copy: Path) -> None:
        """Replace the database file by a copy, as an administrator does."""
        self._disconnect()
        shutil.copy(copy, f"{copy}.new")
        Path(f"{copy}.new").replace(self._file)

    # -- time --------------------------------------------------------------

    @property
    def t(self) -> float:
        """Seconds since the test began, to the millisecond."""
        return self.since(self.clock.seconds())

    @staticmethod
    def since(moment: float | datetime) -> float:
        """Return a moment as seconds since the test began."""
        if isinstance(moment, datetime):
            moment = moment.timestamp()
        return round(moment - START, 3)

    @property
    def wall_clock(self) -> float:
        """Return the time of the machine's clock."""
        return float(self.clock.seconds()) + self.skew_s

    def set_wall_clock(self, by_s: float) -> None:
        """Set the machine's clock forward or back."""
        self.skew_s += by_s
        for pbx in (self.asterisk, *self.others.values()):
            pbx.skew_s = self.skew_s

    def _clocks(self) -> list[SortedClock]:
        alive = [p.clock for p in self.processes if not (p.dead or p.frozen)]
        return [self.clock, *alive]

    def _next(self) -> float | None:
        """Return when the next timed call is due."""
        due = [clock.calls[0].time for clock in self._clocks() if clock.calls]
        # Time never runs backwards, not even by a rounding error.
        return max(min(due), self.clock.seconds()) if due else None

    def _set(self, moment: float) -> None:
        for clock in self._clocks():
            clock.rightNow = moment

    def settle(self) -> None:
        """Run everything that is due now."""
        for _ in range(_MAX_TURNS):
            moved = self.net.carry()
            if not (self._turn() or moved):
                break
        else:
            raise AssertionError(f"an endless loop at {self.t}")
        for watcher in self.watchers:
            watcher()

    def _turn(self) -> bool:
        """Run what is due now. Work that this makes due waits for the next turn."""
        due = [
            (clock, call)
            for clock in self._clocks()
            # Most clocks have no call that is due.
            if clock.calls and clock.calls[0].time <= clock.rightNow
            for call in clock.due()
        ]
        for clock, call in due:
            if call.active() and clock.runs:
                clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        return bool(due)

    def _step(self, end: float) -> bool:
        """Go to the next instant with due work, if it is before the end."""
        following = self._next()
        if following is None or following >= end:
            return False
        self._set(following)
        self.settle()
        return True

    def run(self, seconds: float) -> None:
        """Let time pass, and stop at each instant with due work."""
        end = self.clock.seconds() + seconds
        self.settle()
        while self._step(end):
            pass
        self._set(end)
        self.settle()

    def run_until(
        self, condition: Callable[[], object], most_s: float = 3600.0
    ) -> None:
        """Let time pass until the condition is true.

        Raises:
            AssertionError: it did not become true.
        """
        end = self.clock.seconds() + most_s
        self.settle()
        while not condition():
            if not self._step(end):
                raise AssertionError(f"it is not so after {most_s} s")

    # -- reading the results -------------------------------------------------

    def ask(self, command: str, **arguments: Any) -> Any:
        """Ask the running service through its control socket; return its answer."""
        client = ControlClient(command, arguments)
        wire = self.processes[-1].control.dial(client)
        assert wire is not None, "no service listens on the control socket"
        self.run_until(lambda: client.answer is not None, 60)
        client.close()
        self.settle()
        return client.answer

    def _read(self, fn: Callable[..., T], *args: Any) -> T:
        """Read the database over a separate connection."""
        if self._reading is None:
            engine = backend_for(self.url).engine
            _share_statements(engine)
            self._reading = engine.connect()
        with self._reading.begin():
            return fn(self._reading, *args)

    def tasks(self) -> list[CallbackTask]:
        """Return all tasks, the oldest first."""
        return list(reversed(self._read(queries.listing, None, None, None, 10_000)))

    def task(self) -> CallbackTask:
        """Return the only task."""
        (task,) = self.tasks()
        return task

    def attempts(self, task_id: int = 1) -> list[Attempt]:
        """Return the attempts of a task."""
        return self._read(queries.attempts, task_id)

    def history(self, task_id: int = 1) -> list[TaskEvent]:
        """Return the events of a task."""
        return self._read(queries.history, task_id)

    def story(self, task_id: int = 1) -> list[tuple[float, str, str]]:
        """Return the events of a task as time, move and words."""
        return [
            (self.since(event.at), event.move.value, event.text)
            for event in self.history(task_id)
        ]

    def originates(self) -> list[tuple[float, str]]:
        """Return the time and number of each Originate that Asterisk received."""
        return [
            (self.since(at), attempt_of(action.get("ChannelId")))
            for at, action in self.asterisk.manager.actions
            if action.name == "Originate"
            and not action.get("Channel").startswith(FORGETS)
        ]


def utc(seconds: float) -> datetime:
    """Return the moment so many seconds after a test began."""
    return datetime.fromtimestamp(START + seconds, UTC)


@contextmanager
def a_world(version: str = "22.10.1") -> Iterator[World]:
    """Yield a world; remove its files afterwards."""
    world = World(version)
    try:
        yield world
    finally:
        world.close()
