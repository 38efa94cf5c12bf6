# SPDX-License-Identifier: MIT
"""All Asterisks of one service: what one of them asks the others, and what all say.

There is one list of tasks. Each node begins those for which its own agents are free; a
claim is atomic in the database, so no two nodes begin the same one. Everything that a
client does counts on every node: nobody is called while in a call elsewhere.

With one Asterisk each question goes to that one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from attrs import evolve

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from fastagi.agi.server import LongScript, Script
from fastagi.agi.session import AgiSession
from fastagi.config.sections import Settings
from fastagi.domain.contacts import PastContact
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask, WaitingTask
from fastagi.domain.turns import Turn
from fastagi.domain.why_not_yet import Held, Outlook, QueueOutlook
from fastagi.node.dialer import RunningAttempt
from fastagi.node.elsewhere import Agents, AgentsElsewhere
from fastagi.node.gone_nodes import GoneNodes
from fastagi.node.node import Node
from fastagi.node.operators import interface_among
from fastagi.node.queue_log_sink import QueueLogSink
from fastagi.node.scheduler import Scheduler
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    AsteriskStatus,
    CallUnderWay,
    NodeStatus,
    NoSuchAgent,
    QueueStatus,
    WrongState,
)
from fastagi.service.opening_state import OpeningState
from fastagi.store.store import TaskStore

K = TypeVar("K", int, str)
#: Returns the other Asterisk that has the systemname of a node; empty: none.
ClaimName = Callable[[Node], Awaitable[str]]

#: How long after a start no call is placed as it is not known who is in a call on other
#: nodes, in seconds.
_LEARNING_S: Final = 10.0
#: How long a task stays in line that was left to another Asterisk and came back, in
#: seconds.
_STAYS_S: Final = 3.0


class Nodes:
    """All Asterisks of this service, in the order of the settings."""

    _log = Logger()

    def __init__(
        self,
        *,
        names: Sequence[str],
        store: TaskStore,
        clock: Clock,
        background: Background,
        opening_state: OpeningState,
        are_others: bool = False,
    ) -> None:
        """Prepare; :meth:`add` adds each node.

        Args:
            names: the names of all nodes.
            store: where the attempts of all nodes are.
            clock: the clocks.
            background: the owner of the work.
            opening_state: whether each queue is open.
            are_others: whether this is one of several services on the database.
        """
        self._names = tuple(names)
        self._store = store
        self._clock = clock
        self._background = background
        self._opening_state = opening_state
        self.all: list[Node] = []
        self._gone = GoneNodes(
            names=self._names,
            nodes=lambda: self.all,
            store=store,
            clock=clock,
            background=background,
            on_gone=self.names_may_have_changed,
            are_others=are_others,
        )
        #: Until when the calls on all nodes are waited for, by the steady clock.
        self._waits_until = 0.0
        #: The node that may place calls of those with one systemname, by that name.
        self._holders: dict[str, Node] = {}
        #: When tasks in line were left to another Asterisk, by id and the steady clock.
        self._left: dict[int, float] = {}
        #: What the others looked at last, by the name of the node.
        self._agents: dict[str, dict[str, Agents]] = {}
        #: Who holds the Asterisks that this process does not, in words.
        self.held_elsewhere: Mapping[str, str] = {}
        #: The keys of clients in a call on Asterisks that other services hold.
        self.busy_elsewhere: frozenset[str] = frozenset()
        #: Returns which other Asterisk of all services has the systemname of a node, or
        #: "", and stores the name if none has; None: there are no other services.
        self.claim_name: ClaimName | None = None
        #: What it returned last, by the name of the node.
        self._namesakes: dict[str, str] = {}
        #: Tasks in progress at other services for which no agent has answered yet, and
        #: the keys of clients of the others.
        self.unanswered_elsewhere: frozenset[int] = frozenset()
        self.dialled_elsewhere: frozenset[str] = frozenset()
        #: The agents on those Asterisks.
        self.agents_elsewhere = AgentsElsewhere(
            clock=clock, background=background, look_again=self._others_have_looked
        )

    def add(self, node: Node) -> None:
        """Add a node; the first one is that of what concerns no single node."""
        self.all.append(node)

    def replace(self, node: Node) -> None:
        """Put a node in the place of that of the same Asterisk."""
        self.all[self._names.index(node.name)] = node

    @property
    def are_several(self) -> bool:
        """Whether there is more than one."""
        return len(self._names) > 1

    @property
    def first(self) -> Node:
        """The first Asterisk of the settings, or the only one."""
        return self.all[0]

    def _of_queue(self, name: str) -> list[Node]:
        """Return the nodes from which clients of a queue are called."""
        return [node for node in self.all if node.places(name)]

    # -- what one node asks the others ---------------------------------------

    def busy(self) -> set[str]:
        """Return the keys of clients in a call on any Asterisk: nobody calls them."""
        found: set[str] = set(self.busy_elsewhere)
        for node in self.all:
            if not self.are_several or not node.is_gone:
                found |= node.call_tracker.busy()
        return found

    def being_called(self) -> set[str]:
        """Return the keys of clients whom attempts in progress are about."""
        return {key for node in self.all for key in node.dialer.busy_keys()}

    def is_dialled_elsewhere(self, node: Node, number_key: str) -> bool:
        """Whether a callback on another node dials a client now."""
        return number_key in self.dialled_elsewhere or any(
            other.dialer.may_dial(number_key) for other in self.all if other is not node
        )

    def histories_elsewhere(self, node: Node) -> list[Settings]:
        """Return the settings of other nodes that have a history."""
        others = [other.all_queues() for other in self.all if other is not node]
        return [settings for settings in others if settings.history.enabled]

    def contacts_elsewhere(self, node: Node) -> list[PastContact]:
        """Return the contacts that other nodes have seen."""
        return [
            contact
            for other in self.all
            if other is not node
            for contact in other.call_tracker.contacts
        ]

    def withdraw(self, number_key: str, why: Reason) -> None:
        """End attempts to reach a client, unless the client is on the line."""
        for node in self.all:
            node.dialer.withdraw(number_key, why)

    def withdraw_task(self, task_id: int, why: Reason) -> None:
        """End the attempt of a task, unless agent and client are talking already."""
        for node in self.all:
            node.dialer.withdraw_task(task_id, why)
        self._gone.wake()

    def withdraw_unanswered(self, task_id: int, why: Reason) -> None:
        """End the attempt of a task, unless an agent has answered already."""
        for node in self.all:
            node.dialer.withdraw_unanswered(task_id, why)

    def client_is_free(self) -> None:
        """Look for due tasks, as a client's call has ended."""
        self._look([node.scheduler for node in self.all])

    def events_stored(self) -> None:
        """Write events of tasks to queue_log."""
        for node in self.all:
            if node.is_at_work:
                node.events_are_stored()

    def agents_changed(self, node: Node) -> None:
        """The others may have to put in line what this one can not take any more.

        They need not look if nothing has changed that they look at.
        """
        agents = node.scheduler.agents_for_others()
        if self._agents.get(node.name) == agents:
            return
        self._agents[node.name] = agents
        for other in self.all:
            if other is not node:
                other.scheduler.wake()

    def has_looked(self, node: Node) -> None:
        """The others may take the due tasks that this one has left."""
        if node.scheduler.has_only_followed:
            return
        for other in self.all:
            if other is not node:
                other.scheduler.others_have_looked()

    def _others_have_looked(self) -> None:
        for node in self.all:
            node.scheduler.others_have_looked()

    def agents_elsewhere_changed(self) -> None:
        """Look for tasks that are called from Asterisks of other services now."""
        for node in self.all:
            node.scheduler.wake()

    def look_first(
        self, scheduler: Scheduler, queues: frozenset[str]
    ) -> frozenset[str]:
        """Return the queues for which another node has a free agent, and is to look."""
        here = frozenset[str]().union(
            *(
                other.scheduler.last_turns(queues)
                for other in self.all
                if other.scheduler is not scheduler and other.scheduler.is_about_to_look
            )
        )
        return here | self.agents_elsewhere.look_first(queues - here)

    def have_agent_for(self, scheduler: Scheduler, task: CallbackTask) -> bool:
        """Whether another node would begin a task at once, for a free agent.

        A task that has just been left to others stays where it is for a moment.
        """
        now = self._clock.steady()
        self._left = {i: at for i, at in self._left.items() if at + _STAYS_S > now}
        if task.id in self._left or not (
            any(
                other.scheduler.has_agent_for(task)
                for other in self._of_queue(task.queue)
                if other.scheduler is not scheduler
            )
            or self.agents_elsewhere.have_agent_for(task)
        ):
            return False
        self._left[task.id] = now
        return True

    def are_being_learned(self, node: Node) -> bool:
        """Whether it is not known yet who is in a call on the other nodes.

        A client in a call there must not be called from here. After a start that is
        waited for, but not for long, as an Asterisk may be down.
        """
        return (
            self.are_several
            and self._clock.steady() < self._waits_until
            and any(one.is_being_learned for one in self.all if one is not node)
        )

    def calls_learned(self) -> None:
        """It is known who is in a call on one more node: the others may go on."""
        if self.are_several:
            self.client_is_free()

    async def _wait_for_calls(self) -> None:
        """Let calls be placed though an Asterisk has not told who is in a call."""
        await self._background.pause(_LEARNING_S)
        if self._clock.steady() < self._waits_until:
            # Another Asterisk was taken since, which is waited for, too.
            return
        if missing := [one.name for one in self.all if one.is_being_learned]:
            self._log.warn(
                "callbacks are placed, though it is not known who is in a call on"
                " {names}",
                names=", ".join(missing),
            )
            self.client_is_free()

    def names_may_have_changed(self) -> None:
        """Find out anew which nodes have the same systemname.

        A node has connected, or is gone.
        """
        if self.are_several and self.claim_name is None:
            for node in self.all:
                node.look_at_name()

    async def learn_name(self, node: Node) -> None:
        """Find out whether an Asterisk of any service has the systemname of a node.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        if self.claim_name is not None:
            self._namesakes[node.name] = await self.claim_name(node)

    def logged_in_elsewhere(self, scheduler: Scheduler, queue: str) -> frozenset[str]:
        """Return the agents of a queue who are logged in and not paused there."""
        return self.agents_elsewhere.logged_in(queue).union(
            *(
                other.scheduler.who_is_logged_in(queue)
                for other in self._of_queue(queue)
                if other.scheduler is not scheduler
            )
        )

    def namesake(self, node: Node) -> str:
        """Return the name of another node that has the systemname; empty: none.

        Two Asterisks with one systemname may give two calls the same id; and two nodes
        may be the same Asterisk, whose agents both would ring. The first one keeps the
        name while its link is lost, until it is gone. Of several services the database
        knows which one that is.
        """
        if self.claim_name is not None:
            return self._namesakes.get(node.name, "")
        name = node.manager.system_name
        if name is None:
            return ""
        holder = self._holders.get(name, node)
        if holder is node or holder.is_gone or _has_other_name(holder, name):
            self._holders[name] = node
            return ""
        return holder.name

    def is_unknown(self, name: str) -> bool:
        """Whether events are of no node of the settings.

        They have no attempt (the name is empty), or the node was removed.
        """
        return name not in self._names

    def is_first(self, node: Node) -> bool:
        """Whether a node also writes the events of no node into its queue_log."""
        return node.name == self._names[0]

    async def share_events(self) -> None:
        """Let each node have its own position among the events, and one the rest.

        So the rest is written once, also if another node is the first one now.
        """
        parts = self._names if self.are_several else ()
        await self._store.share_events(QueueLogSink.name, parts)

    @staticmethod
    def _look(schedulers: Iterable[Scheduler]) -> None:
        """Look for due tasks, where agents are free first."""
        in_turn = list(schedulers)
        for scheduler in in_turn:
            scheduler.announce()
        for scheduler in in_turn:
            scheduler.tasks_changed()

    # -- start, stop, changes from outside -----------------------------------

    def start(self) -> None:
        """Begin to connect to each Asterisk."""
        for node in self.all:
            node.start()
            self.watch(node)
        self.look_for_gone()

    def watch(self, node: Node) -> None:
        """Notice when the link to an Asterisk is missing for long."""
        if self.are_several:
            node.manager.on_disconnected(self._gone.wake)

    def look_for_gone(self) -> None:
        """Give up attempts on Asterisks that are gone, from now on."""
        self._gone.start()
        if self.are_several:
            self._waits_until = self._clock.steady() + _LEARNING_S
            self._background.start("waiting for calls", self._wait_for_calls())

    async def finish_calls(self, limit_s: float) -> None:
        """Place no new calls, and follow those in progress for ``limit_s`` at most."""
        ends = [Deferred.fromCoroutine(one.finish_calls(limit_s)) for one in self.all]
        await DeferredList(ends, fireOnOneErrback=True)

    async def stop(self) -> None:
        """Stop all nodes."""
        self._gone.stop()
        for node in self.all:
            await node.stop()

    def disable(self) -> None:
        """Place no new calls; calls in progress continue."""
        for node in self.all:
            node.scheduler.disable()

    def release_holds(self) -> None:
        """Try again whether an Asterisk accepts calls."""
        for node in self.all:
            node.hold.release()

    def tasks_changed(self) -> None:
        """Write events to queue_log and look for due tasks: a task has changed."""
        at_work = [node for node in self.all if node.is_at_work]
        for node in at_work:
            node.scheduler.announce()
        for node in at_work:
            node.tasks_changed()

    def settings_changed(self, former: Settings, settings: Settings) -> None:
        """Apply new settings."""
        for node in self.all:
            node.settings_changed(former, settings)

    def rekey_attempts(self) -> None:
        """Renew the client keys of attempts in progress by the number plan in force."""
        for node in self.all:
            node.rekey_attempts()

    # -- FastAGI ---------------------------------------------------------------

    @property
    def scripts(self) -> dict[str, Script | LongScript]:
        """The FastAGI scripts by path.

        With several Asterisks a path begins with the name of the node, which the
        dialplan of each one has in CALLBACK_AGI.
        """
        found: dict[str, Script | LongScript] = {}
        for index, node in enumerate(self.all):
            for path, script in node.scripts.items():
                run = self._run_at(index, path, script)
                if not self.are_several:
                    found[path] = run
                if self.are_several or not node.is_default:
                    found[f"{node.name}/{path}"] = run
        return found

    def _run_at(
        self, index: int, path: str, script: Script | LongScript
    ) -> Script | LongScript:
        """Return a script that is run by the node that is there when it is asked."""

        async def run(session: AgiSession) -> None:
            now = self.all[index].scripts[path]
            await (now.run if isinstance(now, LongScript) else now)(session)

        return (
            LongScript(run, script.limit_s) if isinstance(script, LongScript) else run
        )

    @property
    def remedy(self) -> str:
        """What to do about a request that names no node."""
        if not self.are_several:
            return ""
        return (
            "; there are several Asterisks, so write below [globals] in extensions.conf"
            " of each one CALLBACK_AGI = agi://ADDRESS:PORT/NODE with the name of its"
            f" node ({', '.join(self._names)}), and run 'dialplan reload'"
        )

    # -- status ------------------------------------------------------------------

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of the link to the first Asterisk."""
        return self._asterisk_of(self.first)

    def _asterisk_of(self, node: Node) -> AsteriskStatus:
        found = node.asterisk
        if node.is_at_work or node.name not in self.held_elsewhere:
            return found
        return evolve(found, error=self.held_elsewhere[node.name])

    @property
    def states(self) -> tuple[NodeStatus, ...]:
        """The state of each Asterisk."""
        return tuple(
            NodeStatus(
                name=node.name,
                asterisk=self._asterisk_of(node),
                calls_under_way=node.calls_under_way,
            )
            for node in self.all
        )

    @property
    def is_connected(self) -> bool:
        """Whether there is a link to any Asterisk."""
        return any(node.manager.connected for node in self.all)

    @property
    def calls_under_way(self) -> int:
        """Number of attempts in progress that do not only wait in line."""
        return sum(node.calls_under_way for node in self.all)

    def first_callbacks_s(self, waiting: Sequence[WaitingTask]) -> Mapping[str, float]:
        """Return in how many seconds the next callback of each queue is expected.

        That is when the first node is expected to have an agent.
        """
        return least(node.first_callbacks_s(waiting) for node in self.all)

    def queue_status(
        self,
        name: str,
        now: float,
        oldest_task_since: datetime | None,
        expected_callback_s: float | None,
    ) -> QueueStatus:
        """Return the state of a queue of the settings, of all its nodes together."""
        found = [
            node.queue_status(name, now, oldest_task_since, expected_callback_s)
            for node in self._of_queue(name)
        ]
        if not found:
            # Its node takes effect at the next start.
            state = self._opening_state.state_at(name, now)
            return QueueStatus(
                open=state.is_open,
                until=state.until,
                target=name,
                known=False,
                members=0,
                free=(),
                waiting=0,
                in_line=0,
                oldest_task_since=oldest_task_since,
                agents=0,
                expected_wait_s=None,
                expected_callback_s=expected_callback_s,
            )
        waits = [
            one.expected_wait_s for one in found if one.expected_wait_s is not None
        ]
        if len(found) == 1:
            return found[0]
        trunks = [one.missing_trunk for one in found]
        return evolve(
            found[0],
            known=any(one.known for one in found),
            members=sum(one.members for one in found),
            free=tuple(sorted({agent for one in found for agent in one.free})),
            waiting=sum(one.waiting for one in found),
            in_line=sum(one.in_line for one in found),
            agents=sum(one.agents for one in found),
            # Nobody knows on which one the next caller joins.
            expected_wait_s=max(waits, default=None),
            missing_trunk=trunks[0] if all(trunks) else "",
        )

    # -- what keeps tasks from being called -----------------------------------

    def outlook(self) -> Outlook:
        """Return what keeps tasks from being called: on the node where least does."""
        if not self.are_several:
            return self.first.scheduler.outlook()
        found = {node.name: node.scheduler.outlook() for node in self.all}
        at_work = {name: one for name, one in found.items() if one.all_tasks is None}
        if not at_work:
            # What another service holds says nothing about this one.
            here = (node for node in self.all if node.is_at_work)
            return found[next(here, self.first).name]
        queues: dict[str, QueueOutlook] = {}
        for node in self.all:
            for name, queue in found[node.name].queues.items():
                one = queue if node.name in at_work else _closed_by(found[node.name])
                queues[name] = _better(queues[name], one) if name in queues else one
        for name in self.first.all_queues().queues:
            # A node that is new in the settings takes effect at the next start.
            queues.setdefault(name, QueueOutlook(closed=because(Code.NO_LINK)))
        return Outlook(
            now=max(one.now for one in found.values()),
            all_tasks=None,
            queues=queues,
            busy=frozenset[str]().union(*(one.busy for one in at_work.values())),
            held=self._held(at_work),
        )

    def _held(self, outlooks: Mapping[str, Outlook]) -> dict[int, Held]:
        """Return the tasks that every node of their queue passes over."""
        held: dict[int, Held] = {}
        ids = {task_id for one in outlooks.values() for task_id in one.held}
        for task_id in ids:
            of = [one.held.get(task_id) for one in outlooks.values()]
            known = [one for one in of if one is not None]
            placing = [
                node for node in self._of_queue(known[0].queue) if node.name in outlooks
            ]
            if len(known) >= len(placing):
                held[task_id] = min(known, key=lambda one: one.until)
        return held

    def why_no_trunk(self, queue: str) -> Reason | None:
        """Return why the clients of a queue can not be called; None: they can."""
        whys = [node.why_no_trunk(queue) for node in self._of_queue(queue)]
        return whys[0] if whys and all(whys) else None

    def waits_unrung(self, task_id: int) -> bool:
        """Whether a task waits in line, and no agent's phone has rung for it."""
        return any(node.dialer.waits_unrung(task_id) for node in self.all)

    # -- tasks in line, for commands ---------------------------------------------

    def task_position(self, task_id: int) -> int | None:
        """Return the position in Asterisk's queue at which a task waits, or None."""
        positions = (node.task_position(task_id) for node in self.all)
        return next((one for one in positions if one is not None), None)

    def live_turns(self, queue: str) -> list[Turn]:
        """Return the turns of live callers among whom tasks of a queue wait in line."""
        nodes = self._of_queue(queue)
        return sorted(t for one in nodes for t in one.operators_line.live_turns(queue))

    def waits_in_line(self, task_id: int) -> bool:
        """Return whether a task only waits in line in a queue of an Asterisk.

        Of a task that is in progress at another service it is known whether an agent
        has answered; that service finds out whether it still waits.
        """
        return task_id in self.unanswered_elsewhere or any(
            node.operators_line.waits_in_line(task_id) for node in self.all
        )

    def task_moved(self, task: CallbackTask) -> None:
        """Let a task take its new place in line."""
        if task.id in self.unanswered_elsewhere:
            return
        nodes = self._of_queue(task.queue)
        here = [one for one in nodes if one.operators_line.waits_in_line(task.id)]
        for node in here or nodes:
            node.operators_line.task_moved(task)

    def interface_of(self, queue: str, agent: str) -> str:
        """Return the interface of an agent, on the first node that has the agent.

        Raises:
            NoSuchAgent: no node has one, or the first one has several of this name.
            WrongState: the agents are not known, or none can be rung alone.
        """
        nodes = self._of_queue(queue) or self.all[:1]
        refusals: list[NoSuchAgent | WrongState] = []
        for node in nodes:
            try:
                return node.operators_line.interface_of(queue, agent)
            except (NoSuchAgent, WrongState) as refusal:
                refusals.append(refusal)
        if elsewhere := self.agents_elsewhere.named(queue):
            try:
                return interface_among(elsewhere, agent, queue)
            except (NoSuchAgent, WrongState) as refusal:
                # It names agents; those of an Asterisk without agents do not.
                refusals.insert(0, refusal)
        # A node that knows its agents says more than one without a link.
        refusals.sort(key=lambda one: not isinstance(one, NoSuchAgent))
        raise refusals[0]

    def task_changed_elsewhere(self, task: CallbackTask) -> None:
        """Apply to a task in progress here what another service has changed."""
        for node in self.all:
            for running in list(node.dialer.running.values()):
                if running.task.id == task.id:
                    self._apply(node, running, task)

    @staticmethod
    def _apply(node: Node, running: RunningAttempt, task: CallbackTask) -> None:
        if running.task.assigned_to != task.assigned_to:
            why = because(Code.ASSIGNMENT_CHANGED)
            node.dialer.withdraw_unanswered(task.id, why)
        elif running.is_in_line and (
            (running.moved or running.task).moved_place != task.moved_place
        ):
            node.operators_line.task_moved(task)
            node.scheduler.tasks_changed()

    async def expected_times(self) -> Mapping[int, datetime]:
        """Return when open tasks are expected to be called, by task id.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        times: dict[int, datetime] = {}
        for node in self.all:
            for task_id, at in (await node.expected_waits.expected_times()).items():
                times[task_id] = min(at, times.get(task_id, at))
        return times

    def calls(self) -> dict[int, CallUnderWay]:
        """Return how far the attempts in progress are, by task id."""
        return {
            task_id: call
            for node in self.all
            for task_id, call in node.live.calls().items()
        }


def _has_other_name(node: Node, name: str) -> bool:
    """Whether a node is known to have another systemname by now."""
    return node.manager.connected and node.manager.system_name != name


def least(found: Iterable[Mapping[K, float]]) -> dict[K, float]:
    """Return the least value of each key."""
    least: dict[K, float] = {}
    for one in found:
        for key, value in one.items():
            least[key] = min(value, least.get(key, value))
    return least


def _closed_by(outlook: Outlook) -> QueueOutlook:
    """Return what keeps a queue from being called that has a node without calls."""
    return QueueOutlook(closed=outlook.all_tasks)


def _better(one: QueueOutlook, other: QueueOutlook) -> QueueOutlook:
    """Return the outlook with less in the way of tasks, with the agents of both."""

    def in_the_way(queue: QueueOutlook) -> tuple[bool, bool]:
        return queue.closed is not None, queue.no_agent is not None

    if in_the_way(one) == in_the_way(other):
        better = max(one, other, key=lambda queue: queue.last)
    else:
        better = min(one, other, key=in_the_way)
    agents = [each.ask_alone for each in (one, other) if each.ask_alone is not None]
    alone = frozenset[str]().union(*agents) if agents else None
    return evolve(better, ask_alone=alone)
