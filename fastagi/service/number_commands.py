# SPDX-License-Identifier: MIT
"""Carries out the commands about blocked numbers and refusals.

Like :mod:`fastagi.service.task_commands` it is used by the running service, and by the
command line if no service runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import Logger

from fastagi.config.sections import Settings
from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.numbers import NotCallable, plain_number
from fastagi.domain.reason import Reason
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    Actor,
    BadRequest,
    BlockedNumbers,
    BlockNumber,
    Command,
    Handler,
    ListBlocked,
    ListRefused,
    NumberBlocked,
    NumberUnblocked,
    RefusedCallers,
    UnblockNumber,
    WrongState,
    shown,
)
from fastagi.service.task_commands import queue_of
from fastagi.store.store import TaskStore

_LONGEST_REASON: Final = 200


class NumberCommands:
    """Blocks and unblocks numbers, lists them, and lists refusals."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        settings: Callable[[], Settings],
        tasks_changed: Callable[[], None],
        withdraw: Callable[[str, Reason], None],
    ) -> None:
        """Store the collaborators.

        Args:
            store: the database.
            clock: the time.
            settings: returns the settings in force.
            tasks_changed: called after a task has ended, or is going to end.
            withdraw: called with a client key and a reason; ends the attempt to reach
                that client, unless client and agent are talking.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._tasks_changed = tasks_changed
        self._withdraw = withdraw

    def handlers(self) -> Mapping[type[Command], Handler]:
        """Return the handler of each command."""
        return {
            BlockNumber: self.block,
            UnblockNumber: self.unblock,
            ListBlocked: self.blocked,
            ListRefused: self.refused,
        }

    async def block(self, command: BlockNumber, actor: Actor) -> NumberBlocked:
        """Block a number, and end its open task.

        Raises:
            BadRequest: it is not a number.
        """
        number, key = self._number(command.number)
        blocked = await self._store.block(
            BlockedNumber(
                number=number,
                number_key=key,
                reason=command.reason[:_LONGEST_REASON],
                at=self._clock.now(),
            ),
            self._settings().plan.region,
            actor.name,
        )
        self._log.info(
            "number {number} is blocked: {reason} ({actor})",
            number=number,
            reason=blocked.number.why,
            actor=actor,
        )
        if blocked.task is not None:
            self._withdraw(key, actor.named_in(blocked.number.why))
            self._tasks_changed()
        return NumberBlocked(
            created=blocked.created, number=blocked.number, task=blocked.task
        )

    async def unblock(self, command: UnblockNumber, actor: Actor) -> NumberUnblocked:
        """Unblock a number.

        Raises:
            BadRequest: it is not a number.
            WrongState: it is not blocked.
        """
        number, key = self._number(command.number)
        known = await self._store.unblock(key)
        if known is None:
            raise WrongState(f"{number} is not blocked; see 'numbers list'")
        self._log.info(
            "number {number} is no longer blocked ({actor})",
            number=number,
            actor=actor,
        )
        return NumberUnblocked(number=known)

    async def blocked(self, command: ListBlocked, actor: Actor) -> BlockedNumbers:
        """Return the blocked numbers, the latest first."""
        return BlockedNumbers(numbers=tuple(await self._store.blocked(command.limit)))

    async def refused(self, command: ListRefused, actor: Actor) -> RefusedCallers:
        """Return the refusals, the latest first."""
        queue = queue_of(command.queue, self._settings())
        found = await self._store.refusals(queue, command.limit, command.before_id)
        return RefusedCallers(refusals=tuple(found))

    def _number(self, raw: str) -> tuple[str, str]:
        try:
            number = plain_number(raw)
        except NotCallable as refusal:
            raise BadRequest(f"{shown(raw)} is no number: {refusal}") from None
        return number, self._settings().plan.key(number)
