# SPDX-License-Identifier: MIT
"""The part of the live state that all Asterisks and their callbacks are together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve

from fastagi.domain.reason import Reason
from fastagi.domain.task import WaitingTask
from fastagi.node.live_node import LiveNode
from fastagi.node.nodes import Nodes, least
from fastagi.service.commands import AsteriskStatus, NodeStatus
from fastagi.service.live import LiveAgent, LiveAttempt, LiveCaller, LiveQueue
from fastagi.service.live_state import QueueTasks


class LiveNodes:
    """Puts the entities of the Asterisks together; see `live_state.Nodes`."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        #: The agents of each Asterisk, as they were last asked for.
        self._agents: dict[str, dict[str, LiveAgent]] = {}

    @property
    def _all(self) -> list[LiveNode]:
        return [node.live for node in self._nodes.all]

    @property
    def name(self) -> str:
        """The name of the first Asterisk, or of the only one."""
        return self._nodes.first.name

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of the link to the first Asterisk."""
        return self._nodes.asterisk

    @property
    def states(self) -> tuple[NodeStatus, ...]:
        """The state of each Asterisk."""
        return self._nodes.states

    @property
    def queues_known(self) -> bool:
        """Whether the state of the queues of every Asterisk is known."""
        return all(live.queues_known for live in self._all)

    def agents(self, now: float) -> dict[str, LiveAgent]:
        """Return the agents, by interface.

        Interfaces are names of one Asterisk. If a second one has the same, its agent
        gets the name of the node behind the interface.
        """
        self._agents = {live.name: live.agents(now) for live in self._all}
        found: dict[str, LiveAgent] = {}
        for name, agents in self._agents.items():
            for interface, agent in agents.items():
                is_known = interface in found
                found[f"{interface} ({name})" if is_known else interface] = agent
        return found

    def callers(self) -> dict[str, LiveCaller]:
        """Return those who wait in the queues, by uniqueid."""
        return {i: one for live in self._all for i, one in live.callers().items()}

    def attempts(self) -> dict[int, LiveAttempt]:
        """Return the attempts in progress, by id."""
        return {i: one for live in self._all for i, one in live.attempts().items()}

    def positions(self) -> dict[int, int]:
        """Return the positions of tasks that wait in a line, by task id."""
        return {i: one for live in self._all for i, one in live.positions().items()}

    def queues(
        self,
        now: float,
        agents: Mapping[str, LiveAgent],
        tasks: Mapping[str, QueueTasks],
        why_not: Callable[[str], Reason | None],
    ) -> dict[str, LiveQueue]:
        """Return the queues of the settings, by name, each of all its Asterisks."""
        found: dict[str, list[LiveQueue]] = {}
        for live in self._all:
            own = self._agents.get(live.name, agents)
            for name, queue in live.queues(now, own, tasks, why_not).items():
                found.setdefault(name, []).append(queue)
        return {name: _together(queues) for name, queues in found.items()}

    def callback_waits_s(self, waiting: Sequence[WaitingTask]) -> Mapping[int, float]:
        """Return in how many seconds tasks are expected to be called, by task id."""
        return least(live.callback_waits_s(waiting) for live in self._all)

    def next_change(self, now: float) -> float | None:
        """Return when the state changes although no event comes; None: it does not."""
        changes = [live.next_change(now) for live in self._all]
        return min((at for at in changes if at is not None), default=None)


def _together(queues: Sequence[LiveQueue]) -> LiveQueue:
    """Return one queue of several Asterisks."""
    if len(queues) == 1:
        return queues[0]
    since = [one.waiting_since for one in queues if one.waiting_since is not None]
    waits = [one.expected_wait_s for one in queues if one.expected_wait_s is not None]
    return evolve(
        queues[0],
        known=any(one.known for one in queues),
        waiting=sum(one.waiting for one in queues),
        waiting_since=min(since, default=None),
        in_line=sum(one.in_line for one in queues),
        agents=sum(one.agents for one in queues),
        free=sum(one.free for one in queues),
        ringing=sum(one.ringing for one in queues),
        busy=sum(one.busy for one in queues),
        wrapping_up=sum(one.wrapping_up for one in queues),
        paused=sum(one.paused for one in queues),
        unavailable=sum(one.unavailable for one in queues),
        # Nobody knows on which one the next caller joins.
        expected_wait_s=max(waits, default=None),
    )
