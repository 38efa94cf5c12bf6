# SPDX-License-Identifier: MIT
"""Builds the parts of the service, connects them, starts and stops them in order."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from attrs import frozen

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)

from fastagi.agi.server import FastAgiServer
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.doors.http_server import HttpServer
from fastagi.doors.internal_api import InternalApi
from fastagi.doors.live_stream import LivePage
from fastagi.node.holdings import Holdings, Listen, Made
from fastagi.node.live_nodes import LiveNodes
from fastagi.node.node import Node, credentials_of
from fastagi.node.nodes import Nodes
from fastagi.node.try_login import try_login
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.runtime.programs import Programs
from fastagi.runtime.threads import InThread
from fastagi.service.check_command import CheckCommand
from fastagi.service.chosen_times import ChosenTimes
from fastagi.service.commands import Dispatch, ShowStatus
from fastagi.service.expiry import Expiry
from fastagi.service.instances import Instances
from fastagi.service.live_state import LiveState
from fastagi.service.number_commands import NumberCommands
from fastagi.service.opening_state import OpeningState
from fastagi.service.owner import Owner
from fastagi.service.refusals import Refusals
from fastagi.service.requests import Requests
from fastagi.service.served import ServedClients
from fastagi.service.settings_commands import SettingsCommands, dry_run_by
from fastagi.service.settings_in_force import SettingsInForce
from fastagi.service.status import StatusCommand
from fastagi.service.stored_tasks import StoredTasks
from fastagi.service.task_commands import TaskCommands
from fastagi.service.task_states import TaskStates
from fastagi.service.upkeep import Upkeep
from fastagi.service.warm_up import WarmUp
from fastagi.service.whys_not_yet import WhysNotYet
from fastagi.store.engine import Database
from fastagi.store.leases import Lease
from fastagi.store.store import TaskStore


@frozen(kw_only=True)
class Endpoints:
    """Where the service connects and listens.

    Attributes:
        ami: the manager interface of each Asterisk, by the name of its node.
    """

    ami: Mapping[str, IStreamClientEndpoint]
    fastagi: IStreamServerEndpoint
    control: IStreamServerEndpoint


class CallbackService:
    """The whole service: FastAGI server, Asterisks, database and commands."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        endpoints: Endpoints,
        clock: Clock,
        in_thread: InThread,
        lease: Lease,
        programs: Programs,
        on_lease_lost: Callable[[str], None] = lambda _reason: None,
        new_token: Callable[[], str] = lambda: secrets.token_hex(4),
        files_left: Callable[[], int] | None = None,
        listen: Listen | None = None,
        in_a_moment: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        self.settings = SettingsInForce(settings)
        self._database = database
        self._programs = programs
        self._control_endpoint = endpoints.control
        self._control_port: IListeningPort | None = None
        self._running = False
        self._background = Background(clock)
        #: Called after a task was added, changed or ended.
        self._tasks_changed: Listeners[[]] = Listeners("a change of tasks")
        self._clock = clock
        self._on_lease_lost = on_lease_lost
        store = TaskStore(database, lease=lease)
        self._owner = Owner(
            store=store,
            lease=lease,
            background=self._background,
            on_lost=self._lease_lost,
        )
        opening_state = OpeningState(self.settings)
        self.nodes = nodes = Nodes(
            names=[node.name for node in settings.all_nodes],
            store=store,
            clock=clock,
            background=self._background,
            opening_state=opening_state,
            are_others=settings.instance.name is not None,
        )
        self.refusals = Refusals(store=store, clock=clock, background=self._background)
        requests = Requests(
            store=store,
            clock=clock,
            background=self._background,
            settings=self.settings,
            refusals=self.refusals,
            tasks_changed=self._tasks_changed.call,
        )
        self._expiry = Expiry(
            store=store,
            clock=clock,
            background=self._background,
            on_expired=self._tasks_changed.call,
        )
        self._chosen_times = ChosenTimes(
            store=store,
            clock=clock,
            background=self._background,
            opening_state=opening_state,
            is_connected=lambda: nodes.is_connected,
            why_no_trunk=nodes.why_no_trunk,
            waits_unrung=nodes.waits_unrung,
            is_wanted=self._does_what_is_of_no_node,
        )
        self._stored_tasks = StoredTasks(
            store=store,
            clock=clock,
            background=self._background,
            settings=self.settings,
            tasks_changed=self._tasks_changed.call,
        )
        self._upkeep = Upkeep(
            store=store,
            clock=clock,
            background=self._background,
            settings=self.settings,
            is_wanted=self._does_what_is_of_no_node,
        )
        self._warm_up = WarmUp(
            store=store, background=self._background, settings=self.settings
        )
        served = ServedClients(
            store=store,
            clock=clock,
            background=self._background,
            settings=self.settings,
            tasks_changed=self._tasks_changed.call,
        )
        node_settings = {one.name: one for one in settings.all_nodes}

        def new_node(
            name: str,
            store: TaskStore,
            owner: Owner,
            requests: Requests,
            served: ServedClients,
            background: Background,
        ) -> Node:
            return Node(
                node=node_settings[name],
                neighbours=nodes,
                endpoint=endpoints.ami[name],
                store=store,
                clock=clock,
                background=background,
                in_force=self.settings,
                opening_state=opening_state,
                owner=owner,
                requests=requests,
                served=served,
                in_thread=in_thread,
                tasks_changed=self._tasks_changed.call,
                use_number_plan=self._stored_tasks.use_number_plan,
                new_token=new_token,
                in_a_moment=in_a_moment,
                lasting=self._background,
            )

        def new_holding(
            name: str, held: Lease | None, on_lost: Callable[[str], None]
        ) -> Made:
            """Build a node whose parts end with the lease on its Asterisk."""
            background = Background(clock)
            of_node = TaskStore(
                database, lease=held or lease, node=name, of_process=lease
            )
            owner = self._owner
            if held is not None:
                owner = Owner(
                    store=of_node, lease=held, background=background, on_lost=on_lost
                )
                owner.start()
            node = new_node(
                name,
                of_node,
                owner,
                Requests(
                    store=of_node,
                    clock=clock,
                    background=background,
                    settings=self.settings,
                    refusals=self.refusals,
                    tasks_changed=self._tasks_changed.call,
                ),
                ServedClients(
                    store=of_node,
                    clock=clock,
                    background=background,
                    settings=self.settings,
                    tasks_changed=self._tasks_changed.call,
                ),
                background,
            )
            if held is not None:
                self._show(node)
            return Made(node, of_node, background)

        async def try_login_at(name: str) -> str:
            """Try whether the manager of an Asterisk can be reached from here."""
            ami = node_settings[name].ami
            session = AmiSession(
                endpoint=endpoints.ami[name],
                clock=clock.timers,
                credentials=credentials_of(ami),
                address=f"Asterisk {name} at {ami.host}:{ami.tcp_port}",
                action_timeout_s=ami.timeout_s,
                is_trial=True,
            )
            return await try_login(session, self._background)

        self._holdings: Holdings | None = None
        if settings.instance.name:
            self._holdings = Holdings(
                names=list(node_settings),
                preferred=settings.preferred_nodes,
                lease=lease,
                nodes=nodes,
                store=store,
                clock=clock,
                background=self._background,
                tasks_changed=self._tasks_changed.call,
                build=new_holding,
                try_login=try_login_at,
                named=settings.preferred_nodes if settings.instance.nodes else (),
                listen=listen,
            )
            self._holdings.make()
        else:
            for name in node_settings:
                of_node = TaskStore(database, lease=lease, node=name)
                nodes.add(
                    new_node(
                        name,
                        of_node,
                        self._owner,
                        requests,
                        served,
                        self._background,
                    )
                )
        self.agi = FastAgiServer(
            endpoint=endpoints.fastagi,
            scripts=nodes.scripts,
            remedy=nodes.remedy,
            clock=clock.timers,
            max_connections=settings.fastagi.max_connections,
            max_connections_per_peer=settings.fastagi.share_of_one_peer,
            max_rate_per_peer=settings.fastagi.max_rate_per_peer,
            allowed_peers=settings.fastagi.allowed_peers,
            files_left=files_left,
        )
        self._instances = Instances(
            name=settings.instance.name or "",
            store=store,
            clock=clock,
            background=self._background,
            settings=self.settings,
        )
        self._status = StatusCommand(
            store=store,
            owner=self._owner,
            clock=clock,
            settings=self.settings,
            nodes=nodes,
            instances=self._instances,
        )
        tasks = TaskCommands(
            store=store,
            requests=requests,
            clock=clock,
            settings=self.settings,
            opening_state=opening_state,
            tasks_changed=self._tasks_changed.call,
            withdraw=nodes.withdraw_task,
            withdraw_unanswered=nodes.withdraw_unanswered,
            position=nodes.task_position,
            line=nodes,
            expected_times=nodes.expected_times,
            whys_not_yet=WhysNotYet(store=store, outlook=nodes.outlook).of,
            calls=nodes.calls,
        )
        self.live = LiveState(
            store=store,
            clock=clock,
            background=self._background,
            settings=self.settings,
            owner=self._owner,
            nodes=LiveNodes(nodes),
            task_states=TaskStates(
                clock=clock, settings=self.settings, opening_state=opening_state
            ),
            outlook=nodes.outlook,
            sinks=[sink.name for node in nodes.all for sink in node.queue_log_sinks],
        )
        numbers = NumberCommands(
            store=store,
            clock=clock,
            settings=self.settings,
            tasks_changed=self._tasks_changed.call,
            withdraw=nodes.withdraw,
            why_not_queue=lambda queue: nodes.outlook().why_not_queue(queue),
        )
        settings_commands = SettingsCommands(
            settings=self.settings, clock=clock, dry_run=dry_run_by(programs)
        )
        check = CheckCommand(
            config=settings.loaded.path,
            programs=programs,
            clock=clock,
            background=self._background,
        )
        api = InternalApi(
            Dispatch(
                {ShowStatus: self._status.status},
                tasks.handlers(),
                numbers.handlers(),
                settings_commands.handlers(),
                check.handlers(),
            ),
            LivePage(self.live, self._background, clock),
        )
        self._control = HttpServer(api.answer, self._background, clock)
        # Listeners, in the order of their calls; those of a node are in Node._edges.
        self._tasks_changed.add(self._expiry.wake)
        self._tasks_changed.add(self._chosen_times.wake)
        self._tasks_changed.add(nodes.tasks_changed)
        self._tasks_changed.add(self.live.tasks_changed)
        if self._holdings is not None:
            self._tasks_changed.add(self._holdings.wake_others)
        for node in nodes.all:
            self._show(node)
        self._stored_tasks.rekeyed.add(nodes.rekey_attempts)
        self.settings.changed.add(nodes.settings_changed)
        self.settings.changed.add(self._stored_tasks.settings_changed)
        self.settings.changed.add(settings_commands.settings_changed)
        self.settings.changed.add(lambda _former, _new: self.live.settings_changed())
        self.settings.changed.add(self._upkeep.settings_changed)
        self.settings.changed.add(self._instances.settings_changed)
        # Last: these let calls be placed by the new settings.
        self.settings.changed.add(lambda _former, _new: nodes.release_holds())
        self.settings.changed.add(lambda _former, _new: self._tasks_changed.call())

    @property
    def node(self) -> Node:
        """The only Asterisk, or the first one."""
        return self.nodes.first

    def _does_what_is_of_no_node(self) -> bool:
        """Whether this process does what only one of several is to do."""
        return self._holdings is None or self.nodes.first.is_at_work

    def _show(self, node: Node) -> None:
        """Show in the live state what changes on an Asterisk."""
        node.events_stored.add(self.live.tasks_changed)
        node.changed.add(self.live.changed)

    async def start(self) -> None:
        """Listen on both sockets, begin to connect to Asterisk, and expire tasks.

        Returns when both sockets listen; it does not wait for Asterisk.

        Raises:
            CannotListenError: a socket is in use; the service is stopped again.
        """
        self._status.started_at = self.live.started_at = self._clock.now()
        self._control_port = await self._control_endpoint.listen(self._control)
        self._running = True
        self._owner.start()
        try:
            self.agi.startService()
        except CannotListenError:
            await self.stop()
            raise
        if self._holdings is None:
            self.nodes.start()
        else:
            self.nodes.look_for_gone()
            self._holdings.start()
        self._expiry.wake()
        self._chosen_times.start()
        self._stored_tasks.start()
        self._upkeep.start()
        self._instances.start()

    def warm_up(self) -> None:
        """Do in the background what otherwise the first call would wait for."""
        self._warm_up.start()

    async def stop(self) -> None:
        """Place no new calls, follow those in progress for a while, then stop.

        Requests are accepted until the calls in progress have ended, or
        `control.stop_timeout` is over.
        """
        if not self._running:
            return
        self._running = False
        if self._holdings is not None:
            self._holdings.take_no_more()
        limit = self.settings().control.stop_timeout
        await self.nodes.finish_calls(limit.total_seconds())
        if self._holdings is not None:
            self._holdings.look_no_more()
        await self.agi.stopService()
        if self._control_port is not None:
            await maybeDeferred(self._control_port.stopListening)
        self._expiry.stop()
        self._chosen_times.stop()
        self.live.stop()
        self._programs.stop()
        self._upkeep.stop()
        self._instances.stop()
        await self.nodes.stop()
        if self._holdings is not None:
            await self._holdings.stop()
        await self._background.stop()
        await self._database.close()

    def _lease_lost(self, reason: str) -> None:
        """Place no more calls: another process holds the database now."""
        self.nodes.disable()
        self._on_lease_lost(reason)
