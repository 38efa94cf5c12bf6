# SPDX-License-Identifier: MIT
"""Agents on Asterisks that other services on the database hold, as these tell them.

A task is called from where an agent is free: one that waits in line here is left to an
Asterisk of another service that has a free agent. That service cannot be asked whether
it will take the task, so each task is left once for what was told, and for a moment; if
it is still there then, it goes into the line here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Self

from attrs import frozen

from twisted.logger import Logger

from fastagi.domain.task import CallbackTask
from fastagi.domain.turns import Turn
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock

#: For how long tasks of a queue are left to another service, and the least pause before
#: that begins again for new tasks, in seconds.
_LEAVE_S: Final = 2.0
_PAUSE_S: Final = 5.0
#: Maximum number of remembered tasks that were left.
_MAX_LEFT: Final = 1000


@frozen
class NamedAgent:
    """An agent of a queue on another Asterisk, with the name of the member."""

    interface: str
    name: str


@frozen
class Agents:
    """The agents of one queue on one Asterisk."""

    #: The latest turn of a task that would be begun there now, for a free agent; None:
    #: no agent is free.
    last: Turn | None
    #: Who is free; others are told only whether one is, by ``last``.
    free: frozenset[str]
    #: Who is logged in and not paused.
    logged_in: frozenset[str]
    #: All of them, if one can be rung alone.
    named: tuple[NamedAgent, ...]

    def as_text(self) -> str:
        """Return it as JSON; the same text for the same agents."""
        last = self.last
        return json.dumps(
            {
                "last": None if last is None else [last.joined_at, last.priority],
                "logged_in": sorted(self.logged_in),
                "named": [[one.interface, one.name] for one in self.named],
            }
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what :meth:`as_text` wrote.

        Raises:
            ValueError, LookupError, TypeError: another version wrote it in another way.
        """
        told: dict[str, Any] = json.loads(text)
        last = told["last"]
        return cls(
            last=None if last is None else Turn(float(last[0]), int(last[1])),
            free=frozenset(),
            logged_in=frozenset(told["logged_in"]),
            named=tuple(NamedAgent(*one) for one in told["named"]),
        )


class AgentsElsewhere:
    """What other services tell of the agents of each queue."""

    _log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        background: Background,
        look_again: Callable[[], None],
    ) -> None:
        """Begin without any.

        Args:
            clock: the clocks.
            background: the owner of the work.
            look_again: called when tasks have been left to other services for long
                enough.
        """
        self._clock = clock
        self._background = background
        self._look_again = look_again
        self._texts: Mapping[str, tuple[str, ...]] = {}
        self._agents: dict[str, tuple[Agents, ...]] = {}
        #: Until when tasks of a queue are left, by the steady clock.
        self._left_until: dict[str, float] = {}
        #: What was told when a task in line was left, by task id.
        self._left: dict[int, tuple[str, ...]] = {}

    def are(self, told: Mapping[str, tuple[str, ...]]) -> bool:
        """Note what is told now; return whether it has changed."""
        if told == self._texts:
            return False
        self._texts = told
        self._agents = {
            queue: tuple(self._read(queue, texts)) for queue, texts in told.items()
        }
        return True

    def _read(self, queue: str, texts: Iterable[str]) -> Iterator[Agents]:
        for text in texts:
            try:
                yield Agents.read(text)
            except (ValueError, LookupError, TypeError) as error:
                # As if it had no agents: then tasks are called from here.
                self._log.warn(
                    "what another service tells of the agents of the queue {queue} is"
                    " left out, as this version does not understand it: {error!r}",
                    queue=queue,
                    error=error,
                )

    def logged_in(self, queue: str) -> frozenset[str]:
        """Return the agents of a queue who are logged in and not paused there."""
        found = self._agents.get(queue, ())
        return frozenset[str]().union(*(one.logged_in for one in found))

    def named(self, queue: str) -> list[NamedAgent]:
        """Return the agents of a queue who can be rung alone there."""
        return [agent for one in self._agents.get(queue, ()) for agent in one.named]

    def look_first(self, queues: Collection[str]) -> frozenset[str]:
        """Return the queues whose tasks are left to other services for a moment."""
        now = self._clock.steady()
        left = set()
        for queue in queues:
            if all(one.last is None for one in self._agents.get(queue, ())):
                continue
            until = self._left_until.get(queue)
            if until is None or now >= until + _PAUSE_S:
                self._leave(queue)
                left.add(queue)
            elif now < until:
                left.add(queue)
        return frozenset(left)

    def have_agent_for(self, task: CallbackTask) -> bool:
        """Whether a task that waits in line here is to be left to another service."""
        queue, now = task.queue, self._clock.steady()
        told = self._texts.get(queue, ())
        if (
            now < self._left_until.get(queue, 0.0)
            or self._left.get(task.id) == told
            or not any(
                one.last is not None and task.turn <= one.last
                for one in self._agents.get(queue, ())
            )
        ):
            return False
        self._left.pop(task.id, None)
        self._left[task.id] = told
        if len(self._left) > _MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._leave(queue)
        return True

    def _leave(self, queue: str) -> None:
        self._left_until[queue] = self._clock.steady() + _LEAVE_S
        self._background.start("leaving tasks to other services", self._wait())

    async def _wait(self) -> None:
        await self._background.pause(_LEAVE_S)
        self._look_again()
