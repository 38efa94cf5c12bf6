# SPDX-License-Identifier: MIT
"""Composition: builds the parts, wires them, starts and stops them in order."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from attrs import frozen

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    TimeoutError,
    maybeDeferred,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger

from fastagi import __version__
from fastagi.agi.server import FastAgiServer
from fastagi.ami.session import AmiSession, Credentials
from fastagi.config.model import Settings
from fastagi.dialplan import Path
from fastagi.domain.task import CallbackTask, Status
from fastagi.doors.control import ControlFactory
from fastagi.node.agi_scripts import AgiScripts
from fastagi.node.astdb_requests import AstDbRequests
from fastagi.node.call_tracker import CallTracker
from fastagi.node.catch_up import History
from fastagi.node.dialer import Dialer
from fastagi.node.hold import Hold
from fastagi.node.queue_log_writer import QueueLogWriter
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.reconciler import Reconciler
from fastagi.node.scheduler import Scheduler
from fastagi.node.targets import target_key, targets
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.runtime.threads import InThread
from fastagi.service.commands import (
    Actor,
    AsteriskStatus,
    DatabaseHolder,
    Dispatch,
    QueueStatus,
    ServiceStatus,
    ShowStatus,
)
from fastagi.service.expiry import Expiry
from fastagi.service.missed_tasks import MissedTasks
from fastagi.service.number_commands import NumberCommands
from fastagi.service.opening_state import OpeningState
from fastagi.service.owner import Owner
from fastagi.service.refusals import Refusals
from fastagi.service.task_commands import TaskCommands
from fastagi.store.engine import Database
from fastagi.store.errors import StoreUnavailable
from fastagi.store.leases import Lease
from fastagi.store.store import TaskStore

#: How long who asks for the status waits for the database, in seconds.
_DATABASE_S: Final = 3.0

#: After the store failed, in seconds.
_STORE_RETRY_S: Final = 5.0

#: The moment at which somebody last asked for the status.
_STATUS_MARK: Final = "status"


@frozen(kw_only=True)
class Endpoints:
    """Where the service connects and listens."""

    ami: IStreamClientEndpoint
    fastagi: IStreamServerEndpoint
    control: IStreamServerEndpoint


class CallbackService:
    """The whole service: FastAGI server, manager client, store and what moves them."""

    _log = Logger()

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        endpoints: Endpoints,
        clock: MachineClock,
        in_thread: InThread,
        lease: Lease,
        on_lease_lost: Callable[[str], None] = lambda _reason: None,
        new_token: Callable[[], str] = lambda: secrets.token_hex(4),
        files_left: Callable[[], int] | None = None,
    ) -> None:
        self._current = settings
        self._targets = targets(settings)
        #: As at the start: what can not change while the service runs is as it says.
        self._fixed = settings
        self._database = database
        self._endpoints = endpoints
        self._clock = clock
        self._new_token = new_token
        self._started_at = 0.0
        self._running = False
        #: Counts the connects.
        self._link = 0
        self._control_port: IListeningPort | None = None
        self._background = Background(clock)
        store = TaskStore(database, lease=lease)
        self._store = store
        self._on_lease_lost = on_lease_lost
        self._owner = Owner(
            store=store,
            lease=lease,
            background=self._background,
            on_lost=self._lease_lost,
        )
        self.manager = AmiSession(
            endpoint=endpoints.ami,
            clock=clock.steady,
            credentials=_credentials(settings),
            ping_interval_s=settings.ami.ping_interval_s,
            action_timeout_s=settings.ami.timeout_s,
        )
        self.queue_monitor = QueueMonitor(
            manager=self.manager,
            clock=clock,
            background=self._background,
            targets=lambda: self._targets,
            is_member_leg=lambda *where: self.dialer.is_member_leg(*where),
        )
        self._hold = Hold(manager=self.manager, background=self._background)
        self.dialer = Dialer(
            manager=self.manager,
            store=store,
            clock=clock,
            background=self._background,
            hold=self._hold,
        )
        self._opening_state = OpeningState(lambda: self._current)
        self._scheduler = Scheduler(
            store=store,
            queue_monitor=self.queue_monitor,
            dialer=self.dialer,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
            opening_state=self._opening_state,
            targets=lambda: self._targets,
            new_channel_id=self._new_channel_id,
            busy=lambda: self.missed.busy(),
            put_off=lambda: self._records.wake(),
            hold=self._hold,
            may_call=self._owner.may_call,
        )
        refusals = Refusals(store=store, clock=clock, background=self._background)
        self._records = QueueLogWriter(
            manager=self.manager,
            store=store,
            clock=clock,
            background=self._background,
            enabled=lambda: self._current.reports.queue_log,
        )
        self._expiry = Expiry(
            store=store,
            clock=clock,
            background=self._background,
            on_expired=self._records.wake,
        )
        self._reconciler = Reconciler(
            manager=self.manager,
            store=store,
            dialer=self.dialer,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
        )
        self.agi_scripts = AgiScripts(
            store=store,
            queue_monitor=self.queue_monitor,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
            refusals=refusals,
            tasks_changed=self._tasks_changed,
        )
        self.kept = AstDbRequests(
            manager=self.manager,
            store=store,
            agi_scripts=self.agi_scripts,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
            refusals=refusals,
            new_channel_id=self._new_channel_id,
            tasks_changed=self._tasks_changed,
        )
        missed_tasks = MissedTasks(
            store=store,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
            refusals=refusals,
            tasks_changed=self._tasks_changed,
        )
        self.missed = CallTracker(
            manager=self.manager,
            store=store,
            dialer=self.dialer,
            agi_scripts=self.agi_scripts,
            tasks=missed_tasks,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
            is_gone=self.queue_monitor.is_gone,
            tasks_changed=self._tasks_changed,
        )
        self.queue_monitor.on_channels(self.missed.channels_are)
        self._history = History(
            store=store,
            missed=self.missed,
            tasks=missed_tasks,
            clock=clock,
            background=self._background,
            settings=lambda: self._current,
            in_thread=in_thread,
            tasks_changed=self._tasks_changed,
        )
        self.agi = FastAgiServer(
            endpoint=endpoints.fastagi,
            scripts={
                Path.REQUEST: self.agi_scripts.request,
                Path.POSITION: self.agi_scripts.position,
            },
            clock=clock.steady,
            max_connections=settings.fastagi.max_connections,
            max_connections_per_peer=settings.fastagi.share_of_one_peer,
            max_rate_per_peer=settings.fastagi.max_rate_per_peer,
            allowed_peers=settings.fastagi.allowed_peers,
            files_left=files_left,
        )
        self._desk = TaskCommands(
            store=store,
            clock=clock,
            settings=lambda: self._current,
            tasks_changed=self._tasks_changed,
            withdraw=self.dialer.withdraw_task,
        )
        self._number_desk = NumberCommands(
            store=store,
            clock=clock,
            settings=lambda: self._current,
            tasks_changed=self._tasks_changed,
            withdraw=self.dialer.withdraw,
        )
        self.dialer.on_end(self._tasks_changed)
        self.manager.on_connected(self._connected)
        self.manager.on_disconnected(self._scheduler.disable)
        self.manager.on_disconnected(self._history.link_lost)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._current

    # -- start and stop ----------------------------------------------------

    async def start(self) -> None:
        """Start listening, connect to Asterisk and end what has expired.

        Returns when both sockets listen; the connection to Asterisk comes by itself.

        Raises:
            CannotListenError: a socket is taken; nothing is left running.
        """
        self._started_at = self._clock.seconds()
        dispatch = Dispatch(
            {ShowStatus: self._status},
            self._desk.handlers(),
            self._number_desk.handlers(),
        )
        factory = ControlFactory(dispatch, self._background, self._clock)
        self._control_port = await self._endpoints.control.listen(factory)
        self._running = True
        self._owner.start()
        try:
            self.agi.startService()
        except CannotListenError:
            await self.stop()
            raise
        self.manager.startService()
        self._expiry.wake()
        self._background.start("recognising clients", self._recognise_anew())
        self._background.start("using the limit of calls", self._use_limit())
        self._background.start("looking for orphans", self._look_for_orphans())

    async def stop(self) -> None:
        """Place no new calls, follow those under way for a while, and leave.

        What is under way then stays up: Asterisk carries it, and the next start asks
        what became of it. Until then requests are still taken.
        """
        if not self._running:
            return
        self._running = False
        self._scheduler.disable()
        await self._follow_to_the_end()
        await self.agi.stopService()
        if self._control_port is not None:
            await maybeDeferred(self._control_port.stopListening)
        self._expiry.stop()
        self._records.stop()
        self._history.stop()
        await self.manager.stopService()
        await self._background.stop()
        await self._database.close()

    def _lease_lost(self, reason: str) -> None:
        """Do nothing any more that the process that has the database now does."""
        self._scheduler.disable()
        self._on_lease_lost(reason)

    async def _follow_to_the_end(self) -> None:
        limit_s = self._current.control.stop_timeout.total_seconds()
        if not self.dialer.running or not limit_s or self._owner.is_lost:
            return
        self._log.info(
            "{count} calls are under way, following them for {limit_s:g} s at most",
            count=len(self.dialer.running),
            limit_s=limit_s,
        )
        with suppress(TimeoutError):
            await self.dialer.idle().addTimeout(limit_s, self._clock)

    def _connected(self) -> None:
        self._link += 1
        self._background.start("finding out which calls are under way", self._resume())

    async def _resume(self) -> None:
        link = self._link

        def goes_on() -> bool:
            return (
                self._running
                and not self._owner.is_lost
                and self.manager.connected
                and link == self._link
            )

        await self._use_number_plan()
        known = await self.missed.learn() and await self._reconciler.run()
        if not (known and goes_on()):
            return
        self.dialer.end_again()
        self._records.wake()
        # Until it is known who waits, and who was served meanwhile, nobody is called.
        asked_at = await self.kept.take_over()
        if not goes_on():
            return
        self.missed.meet_again(asked_at)
        await self._history.catch_up()
        if goes_on():
            self.missed.spare()
            self._scheduler.enable()
            await self._reconciler.watch()

    # -- settings ----------------------------------------------------------

    def use(self, settings: Settings) -> None:
        """Put new settings in force; attempts under way keep the old ones.

        What the sockets and the database are is fixed until the next start.
        """
        former, self._current = self._current, settings
        self._targets = targets(settings)
        if former.plan != settings.plan:
            self.missed.rekey()
            self.dialer.rekey(settings.plan.key)
        for section in ("ami", "fastagi", "database", "control"):
            if getattr(self._fixed, section) != getattr(settings, section):
                self._log.warn(
                    "settings: a change of '{section}' takes effect at the next start",
                    section=section,
                )
        self._log.info("settings loaded again", queues=sorted(settings.queues))
        self._hold.release()
        if self.manager.connected:
            self.queue_monitor.sync()
            self.kept.wake()
        self._background.start("recognising clients anew", self._recognise_anew())
        if former.limits.calls_per_number != settings.limits.calls_per_number:
            self._background.start("using the limit of calls", self._use_limit())
        self._tasks_changed()
        self._background.start("looking for orphans", self._look_for_orphans())

    async def _recognise_anew(self) -> None:
        while not await self._use_number_plan():
            await self._background.pause(_STORE_RETRY_S)
        # An attempt may have begun meanwhile, under an older key.
        self.dialer.rekey(self._current.plan.key)
        self._tasks_changed()

    async def _use_number_plan(self) -> bool:
        """Recognise the clients of open tasks by what numbers mean now.

        Returns:
            Whether that could be done; the log says why not.
        """
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        plan = self._current.plan
        # Both are in line before anything else may be done by the new plan.
        blocked = Deferred.fromCoroutine(self._store.rekey_blocked(plan))
        tasks = Deferred.fromCoroutine(self._store.rekey(plan.key, now))
        done: list[tuple[bool, Any]] = await DeferredList(
            [blocked, tasks], consumeErrors=True
        )
        for worked, result in done:
            if not worked:
                result.trap(StoreUnavailable)
                self._log.error(
                    "clients with open tasks may not be recognised in every form of"
                    " their number yet: {error}",
                    error=result.value,
                )
                return False
        for task in done[1][1]:
            self._log.info(
                "task {task_id}: {reason}", task_id=task.id, reason=task.reason
            )
        return True

    async def _use_limit(self) -> None:
        """Let nobody wait for what only the limit of former settings forbade."""
        earlier: list[CallbackTask] | None = None
        while earlier is None:
            most_calls = self._current.limits.calls_per_number
            now = datetime.fromtimestamp(self._clock.seconds(), UTC)
            try:
                earlier = await self._store.use_limit(most_calls, now)
            except StoreUnavailable as error:
                self._log.error(
                    "tasks may wait for a limit of calls that is not in force any"
                    " more, trying again: {error}",
                    error=error,
                )
                await self._background.pause(_STORE_RETRY_S)
        for task in earlier:
            self._log.info(
                "task {task_id}: due earlier: {reason}",
                task_id=task.id,
                reason=task.reason,
            )
        if earlier:
            self._tasks_changed()

    async def _look_for_orphans(self) -> None:
        """Give open tasks the queues of the settings, and say which wait in vain."""
        counts: dict[str, int] | None = None
        while counts is None:
            try:
                if await self._store.respell(self._current.queues.name_of):
                    self._tasks_changed()
                counts = await self._store.open_by_queue()
            except StoreUnavailable as error:
                self._log.error(
                    "tasks of a queue that is written otherwise now may have to wait,"
                    " trying again: {error}",
                    error=error,
                )
                await self._background.pause(_STORE_RETRY_S)
        for queue, count in counts.items():
            if queue not in self._current.queues:
                self._log.warn(
                    "{count} tasks wait for queue {queue}, which is not in the"
                    " settings: add it under 'queues', or they expire",
                    count=count,
                    queue=queue,
                )

    # -- the rest ----------------------------------------------------------

    def _tasks_changed(self) -> None:
        self._scheduler.tasks_changed()
        self._expiry.wake()
        self._records.wake()

    def _new_channel_id(self) -> str:
        return f"callback-{self._clock.seconds():.0f}-{self._new_token()}"

    async def _status(self, _command: ShowStatus, _actor: Actor) -> ServiceStatus:
        now = self._clock.seconds()
        tasks: dict[Status, int] | None = None
        oldest: dict[str, datetime] = {}
        # Reading alone would work on a full disk, where no request can be kept.
        asked_at = datetime.fromtimestamp(now, UTC)
        writing = Deferred.fromCoroutine(self._store.set_mark(_STATUS_MARK, asked_at))
        try:
            await writing.addTimeout(_DATABASE_S, self._clock)
            tasks = await self._store.counts()
            oldest = await self._store.oldest_open()
            database = "ok"
        except StoreUnavailable as error:
            database = str(error)
        except TimeoutError:
            database = f"it has not answered for {_DATABASE_S:g} s; see the log"
        holder = self._owner.lease.held
        return ServiceStatus(
            version=__version__,
            started_at=datetime.fromtimestamp(self._started_at, UTC),
            asterisk=AsteriskStatus(
                connected=self.manager.connected,
                version=self.manager.asterisk_version,
                error=self.manager.last_error,
            ),
            database=database,
            holder=DatabaseHolder(
                host=holder.process.host, pid=holder.process.pid, since=holder.since
            ),
            tasks=tasks,
            oldest_task_since=min(oldest.values(), default=None),
            calls_under_way=len(self.dialer.running),
            queues={
                name: self._queue_status(name, now, oldest.get(name))
                for name in self._current.queues
            },
        )

    def _queue_status(
        self, name: str, now: float, oldest_task_since: datetime | None
    ) -> QueueStatus:
        key = target_key(self._current.queues[name])
        live = self.queue_monitor.queues
        target = next(t for t in self._targets if t.key == key)
        standing = self._opening_state.standing(name, now)
        free = (
            live.free(key, target.wrapuptime_s, now) if self.queue_monitor.ready else ()
        )
        return QueueStatus(
            open=standing.is_open,
            until=standing.until,
            target=key,
            known=key in live,
            members=len(live.members(key)),
            free=tuple(sorted(free)),
            waiting=len(live.waiting(name)),
            oldest_task_since=oldest_task_since,
        )


def _credentials(settings: Settings) -> Credentials:
    return Credentials(
        username=settings.ami.username,
        secret=settings.ami.secret.get_secret_value(),
        auth=settings.ami.login.value,
    )
