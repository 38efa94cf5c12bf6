# SPDX-License-Identifier: MIT
"""The results of the store's operations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from fastagi.domain.agent_keys import AgentAnswer
from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.preferred_agent import PreferredAgent
from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask, Status
from fastagi.domain.why_not_yet import Held


@frozen
class Recorded:
    """A request that was stored."""

    task: CallbackTask
    #: False: the client already had an open task, which was renewed.
    created: bool
    #: A request of the same call was stored before, and nothing was changed.
    known: bool = False
    #: The id of the request if it was made while the client was being called.
    later_id: int | None = None
    #: The task before, if the request changed when it is due.
    former: CallbackTask | None = None


@frozen
class Refused:
    """A request that was refused; nothing was changed."""

    why: Reason


@frozen
class TaskAttempt:
    """A task with its attempt in progress."""

    task: CallbackTask
    attempt: Attempt
    #: How agents answered earlier attempts without accepting them, if that was asked.
    answers: tuple[AgentAnswer, ...] = ()
    #: The only agent who is asked; None: any agent.
    preferred: PreferredAgent | None = None
    #: Whether the database knows that the client was dialled, if that was asked.
    dialled: bool = False


@frozen
class Restored:
    """An attempt in progress that the database may have lost, as it is stored now."""

    attempt: Attempt
    #: Whether it had to be stored again.
    anew: bool


@frozen
class BeginResult:
    """The due tasks that were begun, and those that were not."""

    begun: list[TaskAttempt]
    #: Tasks that must not be called now: they have ended, or are due again when their
    #: numbers may be called.
    not_begun: list[CallbackTask]
    #: Tasks that were passed over, by id, such as those that wait for another agent
    #: than those who are free. Of those that are assigned to agents, perhaps only one.
    held: Mapping[int, Held] = field(factory=dict)
    #: When the first assignment ends of the tasks that wait for their agents; None:
    #: none does.
    assignment_ends: datetime | None = None
    #: Queues that a limit keeps from calls, by name, and until when.
    limited: Mapping[str, Held] = field(factory=dict)
    #: What was written to the history of tasks about the agent to ask, by task id.
    notes: Mapping[int, Reason] = field(factory=dict)
    #: Queues whose agents must be known before more is begun: the next task is assigned
    #: to one of them.
    unknown_agents: frozenset[str] = frozenset()
    #: Whether nothing was begun because another service was just beginning attempts,
    #: which may count for the limits.
    busy: bool = False

    @property
    def held_until(self) -> datetime | None:
        """When the first task that was passed over may be begun; None: none was."""
        moments = [held.until for held in self.held.values()]
        if self.assignment_ends is not None:
            moments.append(self.assignment_ends)
        return min(moments, default=None)


@frozen
class Blocked:
    """A number that was blocked."""

    number: BlockedNumber
    #: False: it was blocked before.
    created: bool
    #: Its open task, which ends; None if it had none.
    task: CallbackTask | None


@frozen
class Counts:
    """The number of tasks of each status, in one range of ids."""

    by_status: dict[Status, int]
    #: The last id of the range; None if there are no more tasks after it.
    more_after: int | None
