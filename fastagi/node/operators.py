# SPDX-License-Identifier: MIT
"""What operators' commands need to know of one Asterisk: its lines, and its agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fastagi.config.sections import Settings
from fastagi.domain.names import folded
from fastagi.domain.task import CallbackTask
from fastagi.domain.turns import Turn
from fastagi.node.dialer import Dialer, can_be_asked_alone
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.scheduler import Scheduler
from fastagi.node.targets import target_key
from fastagi.service.commands import NoSuchAgent, WrongState, shown

#: Maximum number of agents that an error message names.
_MAX_NAMED = 20


class Named(Protocol):
    """An agent of a queue."""

    @property
    def interface(self) -> str:
        """The interface, such as PJSIP/101."""

    @property
    def name(self) -> str:
        """The name of the member; it may be empty."""


class OperatorsLine:
    """The lines in Asterisk's queues; see `fastagi.service.task_changes.Line`."""

    def __init__(
        self,
        *,
        queue_monitor: QueueMonitor,
        dialer: Dialer,
        scheduler: Scheduler,
        settings: Callable[[], Settings],
        dialplan_has_only: Callable[[], bool],
    ) -> None:
        self._queue_monitor = queue_monitor
        self._dialer = dialer
        self._scheduler = scheduler
        self._settings = settings
        self._dialplan_has_only = dialplan_has_only

    def live_turns(self, queue: str) -> list[Turn]:
        """Return the turns of live callers among whom tasks of a queue wait in line."""
        settings = self._settings().queue(queue)
        if not settings.keeps_place:
            return []
        callers = self._queue_monitor.queues.waiting(target_key(settings))
        return [caller.turn for caller in callers]

    def waits_in_line(self, task_id: int) -> bool:
        """Return whether a task only waits in line in Asterisk's queue."""
        return bool(self._dialer.placeholder_of(task_id))

    def task_moved(self, task: CallbackTask) -> None:
        """Let a task take its new place in line."""
        self._scheduler.task_moved(task)

    def interface_of(self, queue: str, agent: str) -> str:
        """Return the interface of an agent, from it or from the name of the member.

        Raises:
            NoSuchAgent: there is none, or several have this name.
            WrongState: the agents are not known, or none can be rung alone.
        """
        settings = self._settings().queue(queue)
        if settings.target_extension:
            raise WrongState(
                f"callbacks of queue {queue} go to one phone"
                f" ({settings.target_extension}), not to the agents of a queue"
            )
        if not self._queue_monitor.ready:
            raise WrongState(
                "the agents are not known, as Asterisk is not connected; see"
                " 'callback-queue status'"
            )
        if not self._dialplan_has_only():
            raise WrongState(
                "the dialplan that Asterisk has loaded can not ring one agent alone:"
                " copy dialplan/callback-queue.conf of this version over it, run"
                " 'dialplan reload' in Asterisk, then reload this service"
            )
        members = self._queue_monitor.queues.members(target_key(settings))
        return interface_among(members, agent, settings.target_queue)


def interface_among(members: Sequence[Named], agent: str, queue: str) -> str:
    """Return the interface of an agent, from it or from the name of the member.

    Args:
        members: the agents of the queue.
        agent: who is meant.
        queue: the name of the queue in Asterisk.

    Raises:
        NoSuchAgent: there is none, or several have this name.
        WrongState: the agent can not be rung alone.
    """
    found = [one for one in members if folded(one.interface) == folded(agent)]
    if not found:
        named = agent.casefold()
        found = [one for one in members if one.name.casefold() == named]
    if not found:
        # 101 for PJSIP/101, if there is only one.
        named = folded(f"/{agent}")
        found = [one for one in members if folded(one.interface).endswith(named)]
    if not found:
        known = [
            f"{one.name} ({one.interface})"
            if one.name and one.name != one.interface
            else one.interface
            for one in members[:_MAX_NAMED]
        ]
        raise NoSuchAgent(
            f"queue {queue} has no agent {shown(agent)} (there are:"
            f" {', '.join(known) or 'none'})"
        )
    if len(found) > 1:
        raise NoSuchAgent(
            f"several agents have the name {shown(agent)}: give one of"
            f" {', '.join(one.interface for one in found)}"
        )
    interface = found[0].interface
    if not can_be_asked_alone(interface):
        raise WrongState(
            f"{shown(interface)} can not be passed to the dialplan, so it can not"
            " be rung alone"
        )
    return interface
