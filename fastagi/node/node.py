# SPDX-License-Identifier: MIT
"""One Asterisk: its manager link, and all parts that depend on that link.

It builds the parts, connects them in one place (:meth:`Node._edges`), and resumes the
work after each connect in a fixed order (:meth:`Node._resume`). What does not depend on
Asterisk (requests, commands, expiry) is in :mod:`fastagi.service`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, ParamSpec, Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from fastagi.agi.server import LongScript, Script
from fastagi.ami.events import CoreShowChannel
from fastagi.ami.session import AmiSession, Credentials
from fastagi.config.sections import AmiSettings, NodeSettings, Settings
from fastagi.dialplan import Path
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.domain.contacts import PastContact
from fastagi.domain.names import folded
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import WaitingTask
from fastagi.node.agi_scripts import AgiScripts
from fastagi.node.astdb_requests import AstDbRequests
from fastagi.node.call_tracker import CallTracker, is_own
from fastagi.node.catch_up import CatchUp
from fastagi.node.choices import SESSION_S, CallerChoices
from fastagi.node.dialer import Dialer
from fastagi.node.expected_waits import ExpectedWaits
from fastagi.node.fence import Fence
from fastagi.node.hold import Hold
from fastagi.node.live_node import LiveNode
from fastagi.node.loaded_dialplan import LoadedDialplan
from fastagi.node.missing_queues import MissingQueues
from fastagi.node.offers import Offers
from fastagi.node.operators import OperatorsLine
from fastagi.node.queue_log_sink import QueueLogSink
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.reconciler import Reconciler
from fastagi.node.scheduler import Others, Scheduler
from fastagi.node.targets import Target, target_key, targets
from fastagi.node.trackers import Remove, Trackers
from fastagi.node.trunks import Trunks
from fastagi.node.until_known import until_known
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Afterwards, Listeners, OnceForAll
from fastagi.runtime.threads import InThread
from fastagi.service.commands import AsteriskStatus, QueueStatus
from fastagi.service.opening_state import OpeningState
from fastagi.service.outbox import Outbox
from fastagi.service.owner import Owner
from fastagi.service.promises import Promises
from fastagi.service.requests import Requests
from fastagi.service.served import ServedClients
from fastagi.service.settings_in_force import SettingsInForce
from fastagi.store.store import TaskAttempt, TaskStore
from fastagi.store.told import Key, What, caller

P = ParamSpec("P")


class Neighbours(Others, Protocol):
    """All Asterisks of this service, as one of them sees them."""

    @property
    def are_several(self) -> bool:
        """Whether there are others than this one."""

    def busy(self) -> set[str]:
        """Return the keys of clients in a call on any Asterisk: nobody calls them."""

    def being_called(self) -> set[str]:
        """Return the keys of clients whom attempts in progress are about."""

    def is_dialled_elsewhere(self, node: Node, number_key: str) -> bool:
        """Whether a callback on another node dials a client now."""

    def histories_elsewhere(self, node: Node) -> list[Settings]:
        """Return the settings of other nodes that have a history."""

    def contacts_elsewhere(self, node: Node) -> list[PastContact]:
        """Return the contacts that other nodes have seen."""

    def withdraw(self, number_key: str, why: Reason) -> None:
        """End attempts to reach a client, unless the client is on the line."""

    def withdraw_unanswered(self, task_id: int, why: Reason) -> None:
        """End the attempt of a task, unless an agent has answered already."""

    def client_is_free(self) -> None:
        """Look for due tasks, as a client's call has ended."""

    def events_stored(self) -> None:
        """Write events of tasks to queue_log."""

    def agents_changed(self, node: Node) -> None:
        """The others may have to put in line what this one can not take any more."""

    def has_looked(self, node: Node) -> None:
        """The others may take the due tasks that this one has left."""

    def are_being_learned(self, node: Node) -> bool:
        """Whether it is not known yet who is in a call on the others."""

    def calls_learned(self) -> None:
        """It is known who is in a call on one more node."""

    def names_may_have_changed(self) -> None:
        """Find out anew which nodes have the same systemname: one has connected."""

    async def learn_name(self, node: Node) -> None:
        """Ask the database, if several services share it, who has the systemname."""

    def namesake(self, node: Node) -> str:
        """Return the name of another node that has the systemname; empty: none."""

    def is_unknown(self, name: str) -> bool:
        """Whether events are of no node of the settings."""

    def is_first(self, node: Node) -> bool:
        """Whether a node also writes the events of no node into its queue_log."""

    async def share_events(self) -> None:
        """Let each node have its own position among the events, and one the rest."""


class OfNode:
    """Returns the settings in force as one Asterisk uses them."""

    def __init__(
        self, settings: Callable[[], Settings], view: Callable[[Settings], Settings]
    ) -> None:
        """Store the parts.

        Args:
            settings: the settings in force.
            view: what the Asterisk uses of them.
        """
        self._settings = settings
        self._view = view
        self._made_of: Settings | None = None
        self._made: Settings | None = None

    def __call__(self) -> Settings:
        """Return them; the same object as long as the settings stay in force."""
        current = self._settings()
        if self._made is None or current is not self._made_of:
            self._made_of, self._made = current, self._view(current)
        return self._made


class Node:
    """One Asterisk and the callbacks placed there."""

    _log = Logger()

    def __init__(
        self,
        *,
        node: NodeSettings,
        neighbours: Neighbours,
        endpoint: IStreamClientEndpoint,
        store: TaskStore,
        clock: Clock,
        background: Background,
        in_force: SettingsInForce,
        opening_state: OpeningState,
        owner: Owner,
        requests: Requests,
        served: ServedClients,
        in_thread: InThread,
        tasks_changed: Callable[[], None],
        use_number_plan: Callable[[], Coroutine[Deferred[Any], Any, None]],
        new_token: Callable[[], str] = lambda: secrets.token_hex(4),
        in_a_moment: Callable[[Callable[[], object]], object] | None = None,
        lasting: Background | None = None,
    ) -> None:
        """Build the parts; nothing listens or connects before :meth:`start`.

        Args:
            node: the settings of this Asterisk alone, at the start.
            neighbours: all Asterisks of the service, this one too.
            endpoint: of the manager interface.
            store: the store of the attempts on this Asterisk.
            in_force: the settings in force.
            owner: knows whether this process still holds the database.
            requests: decides on requests and stores them.
            served: ends tasks of clients who reached a person.
            tasks_changed: called when this node has changed a task.
            use_number_plan: renews the client keys in the database by the number plan
                in force.
            new_token: returns a random part for the ids of the service's channels.
            in_a_moment: calls a function after a moment. Then what follows from a
                caller's request, besides the answer, begins after that, and once for
                many callers. None: at once.
            lasting: the owner of work that does not end with this node; None: all of it
                is that of ``background``.
        """
        self.name = node.name
        self._clock = clock
        self._background = background
        self._neighbours = neighbours
        #: All queues of the settings: callers may ask for a callback of any.
        all_queues = OfNode(
            in_force, lambda current: in_force.as_started(current).at_node(node)
        )
        #: The queues whose clients are called from here.
        self._settings = OfNode(
            in_force, lambda current: in_force.as_started(current).of_node(node)
        )
        settings = self._settings
        self.all_queues = all_queues
        #: When the link was lost, or the node started, by the steady clock; None: there
        #: is one.
        self._link_lost_at: float | None = None
        #: How long calls count that were in progress when the link was lost.
        self._gone_after_s = node.gone_after.total_seconds()
        #: The other Asterisk with this one's systemname; empty: there is none.
        self._namesake = ""
        #: Whether the work was resumed after the last connect.
        self._has_resumed = False
        #: Whether it was known once since the start who is in a call here.
        self.has_learned_calls = False
        self._opening_state = opening_state
        self._owner = owner
        self._use_number_plan = use_number_plan
        self._new_token = new_token
        self._targets = targets(settings())
        #: The queues of Asterisk in whose lines tasks wait, folded.
        self._with_places = _with_places(settings())
        self._running = False
        #: Whether it was started: one that another process holds never is.
        self.is_at_work = False
        #: Whether Asterisk was asked for the dialplan since the last connect or reload.
        self._dialplan_is_known = False
        #: Delays the consequences of an event until all trackers have handled it.
        self._afterwards = Afterwards("an event")
        tasks_changed = self._afterwards.wrap(tasks_changed)
        ami = node.ami
        of_name = f"{node.name} " if neighbours.are_several else ""
        self.manager = AmiSession(
            endpoint=endpoint,
            clock=clock.timers,
            credentials=credentials_of(ami),
            address=f"Asterisk {of_name}at {ami.host}:{ami.tcp_port}",
            ping_interval_s=ami.ping_interval_s,
            action_timeout_s=ami.timeout_s,
        )
        self.queue_monitor = QueueMonitor(
            manager=self.manager,
            clock=clock,
            background=background,
            targets=self._current_targets,
            is_member_leg=self._is_member_leg,
            keeps_places=self._keeps_places,
        )
        self.dialplan = LoadedDialplan(manager=self.manager, settings=settings)
        self.fence = Fence(
            manager=self.manager,
            clock=clock,
            background=background,
            owner=owner,
            new_channel_id=self._new_channel_id,
        )
        self.trunks = Trunks(
            manager=self.manager, background=background, settings=settings
        )
        self._missing_queues = MissingQueues(
            manager=self.manager,
            settings=settings,
            known=self.queue_monitor.queues.names,
        )
        self.hold = Hold(manager=self.manager, background=background)
        self.dialer = Dialer(
            manager=self.manager,
            store=store,
            clock=clock,
            background=background,
            hold=self.hold,
            fence=self.fence.variables,
            dialplan_has_agent_keys=lambda: self.dialplan.has_agent_keys,
            dialplan_has_client_key=lambda: self.dialplan.has_client_key,
            dialplan_has_client_first=lambda: self.dialplan.has_client_first,
        )
        new_sink = partial(
            QueueLogSink,
            manager=self.manager,
            settings=settings,
            member_name=self.queue_monitor.queues.member_name,
        )
        #: Where events are written; those of no node last.
        self.queue_log_sinks = [new_sink()]
        if neighbours.are_several:
            name = node.name
            self.queue_log_sinks = [new_sink(part=name, takes=lambda of: of == name)]
            if neighbours.is_first(self):
                self.queue_log_sinks.append(new_sink(takes=neighbours.is_unknown))
        self._queue_logs = [
            Outbox(
                sink,
                store=store,
                clock=clock,
                background=background,
                prepare=neighbours.share_events,
            )
            for sink in self.queue_log_sinks
        ]
        self.reconciler = Reconciler(
            manager=self.manager,
            store=store,
            dialer=self.dialer,
            clock=clock,
            background=background,
            settings=settings,
            list_channels=self._list_channels,
        )
        self.promises = Promises(
            requests=requests,
            store=store,
            line=self.queue_monitor,
            clock=clock,
            background=lasting or background,
            tasks_changed=OnceForAll(tasks_changed, in_a_moment).call,
        )
        self.astdb_requests = AstDbRequests(
            manager=self.manager,
            requests=requests,
            promises=self.promises,
            clock=clock,
            background=background,
            settings=all_queues,
            new_channel_id=self._new_channel_id,
        )
        self.call_tracker = CallTracker(
            manager=self.manager,
            store=store,
            requests=requests,
            served=served,
            clock=clock,
            background=background,
            settings=all_queues,
            is_gone=self.queue_monitor.is_gone,
            is_dialled_elsewhere=partial(neighbours.is_dialled_elsewhere, self),
        )
        self.catch_up = CatchUp(
            store=store,
            call_tracker=self.call_tracker,
            requests=requests,
            served=served,
            clock=clock,
            background=background,
            settings=all_queues,
            in_thread=in_thread,
            node=node.name,
            histories_elsewhere=partial(neighbours.histories_elsewhere, self),
            contacts_elsewhere=partial(neighbours.contacts_elsewhere, self),
        )
        self.scheduler = Scheduler(
            store=store,
            queue_monitor=self.queue_monitor,
            dialer=self.dialer,
            clock=clock,
            background=background,
            settings=settings,
            opening_state=opening_state,
            targets=self._current_targets,
            new_channel_id=self._new_channel_id,
            busy=neighbours.busy,
            being_called=neighbours.being_called,
            why_not_here=self._why_no_call_now,
            others=neighbours if neighbours.are_several else None,
            events_stored=lambda: self.events_stored.call(),
            hold=self.hold,
            is_connected=lambda: self.manager.connected,
            may_call=lambda: self.fence.is_set and owner.may_call(),
            holds_lease=lambda: owner.holds_lease,
            dialplan_has_places=self._dialplan_has_places,
            dialplan_has_only=lambda: self.dialplan.has_only,
            why_no_trunk=self.trunks.why_not,
            after_read=self.manager.after_read,
        )
        self.operators_line = OperatorsLine(
            queue_monitor=self.queue_monitor,
            dialer=self.dialer,
            scheduler=self.scheduler,
            settings=settings,
            dialplan_has_only=lambda: self.dialplan.has_only,
        )
        self.expected_waits = ExpectedWaits(
            store=store,
            queue_monitor=self.queue_monitor,
            dialer=self.dialer,
            clock=clock,
            background=background,
            settings=settings,
            opening_state=opening_state,
            targets=self._current_targets,
        )
        self.offers = Offers(
            manager=self.manager,
            store=store,
            queue_monitor=self.queue_monitor,
            clock=clock,
            background=background,
            settings=settings,
            opening_state=opening_state,
            is_withheld=self.call_tracker.calls.is_withheld,
            expected_wait_s=self.expected_waits.expected_wait_s,
            dialplan_has_offers=lambda: self.dialplan.has_offers,
            may_call=owner.may_call,
            after_read=self.manager.after_read,
        )
        self.agi_scripts = AgiScripts(
            promises=self.promises,
            choices=CallerChoices(
                promises=self.promises,
                requests=requests,
                settings=all_queues,
                clock=clock,
                chosen_times=store.chosen_times,
            ),
            queue_monitor=self.queue_monitor,
            offers=self.offers,
            settings=all_queues,
            task_of=store.open_task,
            placeholder_of=self.dialer.placeholder_of,
            clock=clock,
            # The lease is that of this service, one of several: another one holds the
            # Asterisk, or none does.
            joined_elsewhere=store.joined_at if owner.lease.held.instance else None,
        )
        self.trackers = Trackers(
            manager=self.manager,
            background=background,
            afterwards=self._afterwards,
            queue_monitor=self.queue_monitor,
            hold=self.hold,
            trunks=self.trunks,
            dialer=self.dialer,
            astdb_requests=self.astdb_requests,
            call_tracker=self.call_tracker,
            expected_waits=self.expected_waits,
            reconciler=self.reconciler,
        )
        self.scripts: Final[dict[str, Script | LongScript]] = {
            Path.REQUEST: self.agi_scripts.request,
            Path.CHOOSE: LongScript(self.agi_scripts.choose, SESSION_S),
            Path.POSITION: self.agi_scripts.position,
            Path.PLACE: self.agi_scripts.place,
            Path.OFFER: self.agi_scripts.offer,
            Path.OFFERED: self.agi_scripts.offered,
        }
        self.live = LiveNode(
            asterisk=lambda: self.asterisk,
            queue_monitor=self.queue_monitor,
            dialer=self.dialer,
            call_tracker=self.call_tracker,
            expected_waits=self.expected_waits,
            opening_state=opening_state,
            clock=clock,
            settings=settings,
            targets=self._current_targets,
            name=node.name,
        )
        #: Called when tasks got an event in the database, but no attempt.
        self.events_stored: Listeners[[]] = Listeners("events of tasks")
        #: Called when anything may have changed that can be seen of this Asterisk.
        self.changed: Listeners[[]] = Listeners("a change of the node")
        self._tasks_changed = tasks_changed
        self._removers = list(self._edges())

    def _edges(self) -> Iterator[Remove]:
        """Connect the parts: which method is called by what, and in which order.

        An event goes to the trackers first, in the order of :class:`Trackers`.
        """
        yield from self.trackers.listen()

        manager = self.manager
        yield manager.on_connected(self._link_is_back)
        yield manager.on_connected(self.queue_monitor.connected)
        yield manager.on_connected(self.hold.release)
        yield manager.on_connected(self.fence.unset)
        yield manager.on_connected(self._connected)
        yield manager.on_disconnected(self._link_lost)
        yield manager.on_disconnected(self.queue_monitor.disconnected)
        yield manager.on_disconnected(self.dialer.disconnected)
        for sink in self.queue_log_sinks:
            yield manager.on_disconnected(sink.disconnected)
        yield manager.on_disconnected(self.call_tracker.disconnected)
        yield manager.on_disconnected(self.scheduler.disable)
        yield manager.on_disconnected(self.offers.disable)
        yield manager.on_disconnected(self.catch_up.disconnected)
        yield manager.on_disconnected(self.expected_waits.disconnected)

        monitor, tracker = self.queue_monitor, self.call_tracker
        yield self._then(monitor.changed, self.scheduler.wake)
        yield self._then(monitor.changed, self.offers.wake)
        yield self._then(self.hold.released, self.scheduler.tasks_changed)
        yield self._then(self.trunks.changed, self.scheduler.tasks_changed)
        yield self._then(self.dialer.no_channel_to_client, self.trunks.ask_again)
        yield self._then(monitor.caller_joined, self.promises.caller_joined)
        yield self._then(monitor.channel_gone, self.promises.channel_gone)
        yield self._then(monitor.caller_joined, self.offers.caller_joined)
        yield self._then(monitor.channel_gone, self.offers.channel_gone)
        yield self._then(self.promises.request_changed, tracker.calls.requested)
        yield self._then(self.promises.request_changed, self.offers.request_changed)
        yield self._then(
            self.promises.request_changed, self.expected_waits.request_changed
        )
        yield self._then(self.dialer.extension_done, self.expected_waits.extension_done)
        # The client's attempt may be one of another Asterisk.
        everywhere = self._neighbours
        yield self._then(self.promises.too_early, everywhere.withdraw_unanswered)
        yield self._then(tracker.client_is_busy, everywhere.withdraw)
        yield self._then(tracker.client_is_free, everywhere.client_is_free)
        yield self._then(tracker.call_ended, self.catch_up.call_ended)
        yield self._then(self.dialer.was_stale, self._was_stale)
        yield self._then(self.dialer.sent_away, self.scheduler.sent_away)
        yield self._then(self.dialer.attempt_ended, self._tasks_changed)
        yield self._then(self._owner.renewed, self.scheduler.wake)
        yield self.events_stored.add(everywhere.events_stored)
        if everywhere.are_several:
            yield self._then(monitor.changed, partial(everywhere.agents_changed, self))
            yield manager.on_disconnected(partial(everywhere.agents_changed, self))
            yield self.scheduler.outlook_changed.add(
                partial(everywhere.has_looked, self)
            )

        # What can be seen changes with any of these.
        yield self.trackers.event_handled.add(self.changed.call)
        yield manager.on_connected(self.changed.call)
        yield manager.on_disconnected(self.changed.call)
        yield monitor.changed.add(self.changed.call)
        yield self.scheduler.outlook_changed.add(self.changed.call)
        yield self.dialer.attempt_ended.add(self.changed.call)
        yield tracker.client_is_free.add(self.changed.call)
        yield self._owner.renewed.add(self.changed.call)

    def _then(self, happened: Listeners[P], follows: Callable[P, object]) -> Remove:
        """Connect two parts.

        If ``happened`` is called during an event, ``follows`` is called after all
        trackers have handled that event.
        """
        return happened.add(self._afterwards.wrap(follows))

    # -- start and stop ----------------------------------------------------

    def start(self) -> None:
        """Begin to connect to Asterisk; due tasks are called after the connect."""
        self._running = self.is_at_work = True
        self._link_lost_at = self._clock.steady()
        self.expected_waits.start()
        self.manager.startService()

    async def finish_calls(self, limit_s: float) -> None:
        """Place no new calls, and follow those in progress for ``limit_s`` at most.

        Calls that last longer continue in Asterisk; the next start asks for their
        results.
        """
        self._running = False
        self.scheduler.disable()
        self.offers.disable()
        if not self.dialer.calls or not limit_s or self._owner.is_lost:
            return
        self._log.info(
            "{count} calls are under way, following them for {limit_s:g} s at most",
            count=self.dialer.calls,
            limit_s=limit_s,
        )
        with suppress(TimeoutError):
            await self.dialer.idle().addTimeout(limit_s, self._clock.timers)

    async def stop(self) -> None:
        """Stop all parts, log off from Asterisk and remove the listeners."""
        self.scheduler.stop()
        self.offers.stop()
        for queue_log in self._queue_logs:
            queue_log.stop()
        self.astdb_requests.stop()
        self.catch_up.stop()
        await self.manager.stopService()
        for remove in self._removers:
            remove()
        await self.expected_waits.stop()

    # -- after a connect ---------------------------------------------------

    def _connected(self) -> None:
        self._background.start("finding out which calls are under way", self._resume())

    async def _resume(self) -> None:
        """Resume the work after a connect.

        No callback is placed before it is known which calls are in progress, who waits,
        and who was served meanwhile.
        """
        link = self.manager.link_number
        self._has_resumed = False
        self._neighbours.names_may_have_changed()

        def goes_on() -> bool:
            return (
                self._running and not self._owner.is_lost and self.manager.is_up(link)
            )

        # Before anything else: who held this Asterisk before places no more calls.
        if not await self._set_fence(link):
            return
        if not await self._learn_name(link):
            return
        # Start this first, so the client keys are renewed before other changes.
        in_line = Deferred.fromCoroutine(self._use_number_plan())
        known = await self.trackers.learn(link)
        if known and not self.has_learned_calls:
            self.has_learned_calls = True
            self._neighbours.calls_learned()
        await in_line
        if not (known and goes_on()):
            return
        self.dialer.retry_endings()
        self.events_are_stored()
        asked_at = await self.astdb_requests.take_over()
        if not goes_on():
            return
        self.call_tracker.end_tasks_of_talking_clients(asked_at)
        await self.catch_up.run()
        await self._learn_dialplan()
        if goes_on():
            self.call_tracker.withdraw_calls_to_busy_clients()
            # Attempts that are followed only now: a client may have come into a call on
            # another Asterisk meanwhile.
            for key in self._neighbours.busy() & self.dialer.busy_keys():
                self.dialer.withdraw(key, because(Code.CLIENT_RANG_IN))
            self._has_resumed = True
            # The scheduler asks :attr:`why_not_here` before each call.
            self.scheduler.enable()
            if self.why_not_here is None:
                self.offers.enable()
            await self.reconciler.watch()

    async def _learn_name(self, link: int) -> bool:
        """Find out whether an Asterisk of another service has this one's systemname."""
        if not self.fence.is_wanted:
            return True
        known = await until_known(
            lambda: self._neighbours.learn_name(self),
            "whether another Asterisk has the same systemname",
            manager=self.manager,
            link=link,
            background=self._background,
        )
        if known:
            self.look_at_name()
        return known

    def look_at_name(self) -> None:
        """Find out whether another Asterisk has the systemname of this one."""
        if not self.manager.connected:
            return
        if self.manager.system_name is None:
            self._log.warn(
                "the Asterisk {name} does not tell its systemname, so nobody knows"
                " whether another one has the same: run 'callback-queue check'",
                name=self.name,
            )
        self.name_may_be_taken()

    def name_may_be_taken(self) -> None:
        """Place no calls as long as another Asterisk has the systemname."""
        former, self._namesake = self._namesake, self._neighbours.namesake(self)
        if former == self._namesake:
            return
        if (why := self.why_not_here) is not None:
            self.offers.disable()
            self._log.error("no call is placed: {reason}", reason=why)
        else:
            self._log.info(
                "calls are placed on the Asterisk {name} again, as no other has its"
                " systemname now",
                name=self.name,
            )
            self.scheduler.tasks_changed()
            if self._has_resumed:
                self.offers.enable()
        self.changed.call()

    async def _set_fence(self, link: int) -> bool:
        if not self.fence.is_wanted:
            return True
        return await until_known(
            self.fence.set,
            "that no other service places calls here",
            manager=self.manager,
            link=link,
            background=self._background,
        )

    def _was_stale(self) -> None:
        """Read Asterisk's clock again, which may have been set."""
        self.fence.unset()
        self._background.start("reading Asterisk's clock", self._set_fence_again())

    async def _set_fence_again(self) -> None:
        if await self._set_fence(self.manager.link_number):
            self.scheduler.wake()

    # -- what changes from outside -----------------------------------------

    def events_are_stored(self) -> None:
        """Write events of tasks to queue_log."""
        for queue_log in self._queue_logs:
            queue_log.wake()

    def tasks_changed(self) -> None:
        """Write events to queue_log and look for due tasks: a task has changed."""
        self.events_are_stored()
        self.expected_waits.tasks_changed()
        # Last: it may begin an attempt at once.
        self.scheduler.tasks_changed()

    def settings_changed(self, former: Settings, settings: Settings) -> None:
        """Apply new settings."""
        self._targets = targets(self._settings())
        self._with_places = _with_places(self._settings())
        self.expected_waits.tasks_changed()
        if former.plan != settings.plan:
            self.call_tracker.rekey()
            self.rekey_attempts()
        if self.manager.connected:
            self._dialplan_is_known = False
            self._background.start("asking for the dialplan", self._learn_dialplan())
            self.queue_monitor.sync()
            self.astdb_requests.wake()

    async def _learn_dialplan(self) -> None:
        settings = self._settings()
        await self.trunks.learn()
        await self.dialplan.learn()
        # After another reload meanwhile, its own question decides.
        self._dialplan_is_known = settings is self._settings()
        self.scheduler.tasks_changed()
        self.offers.wake()
        self._background.start(
            "asking for the dialplan", self._learn_dialplan_for_operators()
        )

    async def _learn_dialplan_for_operators(self) -> None:
        await self.dialplan.learn_for_operators()
        self.scheduler.wake()
        await self._missing_queues.warn()

    def _dialplan_has_places(self) -> bool | None:
        return self.dialplan.has_places if self._dialplan_is_known else None

    def for_others(self) -> dict[Key, str]:
        """Return what other services on the database are told of this Asterisk."""
        told: dict[Key, str] = {
            (What.JOINED, caller(uniqueid, queue)): repr(joined_at)
            for (
                uniqueid,
                queue,
            ), joined_at in self.queue_monitor.queues.joined().items()
            if not is_own(uniqueid)
        }
        if self._neighbours.are_several:
            for name, agents in self.scheduler.agents_for_others().items():
                told[What.AGENTS, name] = agents.as_text()
        return told

    def rekey_attempts(self) -> None:
        """Renew the client keys of attempts in progress by the number plan in force."""
        self.dialer.rekey(self._settings().plan.key)

    # -- status ------------------------------------------------------------

    @property
    def is_default(self) -> bool:
        """Whether it is the node of a service with one Asterisk."""
        return self.name == DEFAULT_NODE

    def places(self, queue: str) -> bool:
        """Whether clients of a queue are called from this Asterisk."""
        return queue in self._settings().queues

    def why_no_trunk(self, queue: str) -> Reason | None:
        """Return why the clients of a queue can not be called; None: they can."""
        return self.trunks.why_not(self._settings().queue(queue))

    @property
    def gone_in_s(self) -> float | None:
        """In how many seconds its calls do not count any more; None: there is a link.

        Without a limit, clients in a call on an Asterisk that is gone were never
        called.
        """
        lost_at = self._link_lost_at
        if lost_at is None:
            return None
        return max(0.0, lost_at + self._gone_after_s - self._clock.steady())

    @property
    def link_lost_s(self) -> float | None:
        """For how many seconds there has been no link; None: there is one."""
        lost_at = self._link_lost_at
        return None if lost_at is None else self._clock.steady() - lost_at

    @property
    def is_gone(self) -> bool:
        """Whether the link has been missing for so long that its calls do not count."""
        return self.gone_in_s == 0

    @property
    def is_being_learned(self) -> bool:
        """Whether this process has yet to find out who is in a call here."""
        return self.is_at_work and not self.has_learned_calls

    def give_up(self, begun: TaskAttempt, why: Reason) -> None:
        """End an attempt whose result nobody can ask for.

        Args:
            begun: the attempt, as the database has it; it may be of another Asterisk.
            why: the reason, if its client was not dialled.
        """
        settings = self.all_queues().queue(begun.task.queue)
        self.dialer.give_up(begun, settings, why)

    def _link_lost(self) -> None:
        self._link_lost_at = self._clock.steady()

    def _link_is_back(self) -> None:
        self._link_lost_at = None

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of the link to this Asterisk."""
        why = self.why_not_here
        return AsteriskStatus(
            connected=self.manager.connected,
            version=self.manager.asterisk_version,
            error=self.manager.last_error or ("" if why is None else str(why)),
        )

    @property
    def why_not_here(self) -> Reason | None:
        """Why no call may be placed on this Asterisk; None: nothing keeps it."""
        if not self._namesake:
            return None
        return because(Code.SYSTEMNAME_TAKEN, node=self.name, other=self._namesake)

    def _why_no_call_now(self) -> Reason | None:
        """Return why no call may be placed here now, whatever the queues are like."""
        if (why := self.why_not_here) is not None:
            return why
        if self._neighbours.are_being_learned(self):
            return because(Code.CATCHES_UP)
        return None

    @property
    def calls_under_way(self) -> int:
        """Number of attempts in progress that do not only wait in line."""
        return self.dialer.calls

    @property
    def is_quiet(self) -> bool:
        """Whether no callback is between its beginning and the talk."""
        return not self.scheduler.is_placing and self.dialer.is_quiet

    def first_callbacks_s(self, waiting: Sequence[WaitingTask]) -> Mapping[str, float]:
        """Return in how many seconds the next callback of each queue is expected."""
        return self.expected_waits.first_callbacks_s(waiting)

    def queue_status(
        self,
        name: str,
        now: float,
        oldest_task_since: datetime | None,
        expected_callback_s: float | None,
    ) -> QueueStatus:
        """Return the state of a queue of the settings.

        Args:
            name: name of the queue, as in the settings.
            now: epoch seconds.
            oldest_task_since: since when the oldest open task waits; None if there is
                none.
            expected_callback_s: in how many seconds its next callback is expected;
                None if that is unknown.
        """
        key = target_key(self._settings().queues[name])
        live = self.queue_monitor.queues
        target = next(t for t in self._targets if t.key == key)
        state = self._opening_state.state_at(name, now)
        may_call = self.queue_monitor.ready and self.why_not_here is None
        free = live.free(key, target.wrapuptime_s, now) if may_call else ()
        return QueueStatus(
            open=state.is_open,
            until=state.until,
            target=key,
            known=key in live,
            members=len(live.members(key)),
            free=tuple(sorted(free)),
            waiting=len(live.waiting(name)),
            in_line=sum(
                running.task.queue == name for running in self.dialer.placeholders()
            ),
            oldest_task_since=oldest_task_since,
            agents=live.logged_in(key) if self.queue_monitor.ready else 0,
            expected_wait_s=self.expected_waits.next_caller_s(name),
            expected_callback_s=expected_callback_s,
            missing_trunk=self.trunks.missing_for(self._settings().queues[name]),
        )

    def task_position(self, task_id: int) -> int | None:
        """Return the position in Asterisk's queue at which a task waits, or None."""
        if not self.queue_monitor.ready:
            return None
        for running in self.dialer.placeholders():
            if running.task.id == task_id:
                return self.queue_monitor.queues.position(
                    running.target, running.attempt.member_channel_id
                )
        return None

    async def _list_channels(self) -> list[CoreShowChannel]:
        return await self.trackers.list_channels()

    def _is_member_leg(self, uniqueid: str, queue: str) -> bool:
        return self.dialer.is_member_leg(uniqueid, queue)

    def _keeps_places(self, queue: str) -> bool:
        """Whether tasks wait in line among the callers of a queue of Asterisk."""
        return self.dialplan.has_places and folded(queue) in self._with_places

    def _current_targets(self) -> list[Target]:
        return self._targets

    def _new_channel_id(self) -> str:
        return f"callback-{self._clock.epoch_s():.0f}-{self._new_token()}"


def _with_places(settings: Settings) -> frozenset[str]:
    queues = settings.queues.values()
    return frozenset(folded(one.target_queue) for one in queues if one.keeps_place)


def credentials_of(ami: AmiSettings) -> Credentials:
    """Return the credentials for the manager interface."""
    return Credentials(
        username=ami.username,
        secret=ami.secret.get_secret_value(),
        auth=ami.login.value,
    )
