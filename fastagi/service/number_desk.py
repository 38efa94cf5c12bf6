# SPDX-License-Identifier: MIT
"""What an operator can see of the guards of numbers, and do to them.

Like :mod:`fastagi.service.desk` it serves the running service and the command line
alone with the database, in plain JSON values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fastagi.calls.guards import BlockedNumber, Refusal
from fastagi.calls.numbers import NotCallable, plain_number
from fastagi.config.model import Settings
from fastagi.service.desk import BadRequest, Json, iso, limit_of, queue_of, task_json
from fastagi.store.store import TaskStore

_LONGEST_REASON: Final = 200


class NumberDesk:
    """Blocks numbers, lists them, and lists who was refused."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: IReactorTime,
        settings: Callable[[], Settings],
        tasks_changed: Callable[[], None],
        withdraw: Callable[[str, str], None],
    ) -> None:
        """Prepare.

        Args:
            store: of the tasks.
            clock: the time.
            settings: those in force.
            tasks_changed: called after a task has ended, or will.
            withdraw: ends a call under way to reach the client with this key, with a
                reason, unless the two are talking.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._tasks_changed = tasks_changed
        self._withdraw = withdraw

    def commands(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """Return the commands by name; each takes one JSON object."""
        return {
            "numbers.block": self.block,
            "numbers.unblock": self.unblock,
            "numbers.list": self.blocked,
            "numbers.refused": self.refused,
        }

    async def block(self, request: Mapping[str, Any]) -> Json:
        """Have a number never called again: ``number`` and perhaps ``reason``.

        Raises:
            BadRequest: it is no number.
        """
        number, key = self._number(request)
        reason = " ".join(str(request.get("reason") or "").split())
        blocked = await self._store.block(
            BlockedNumber(
                number=number,
                number_key=key,
                reason=reason[:_LONGEST_REASON],
                at=datetime.fromtimestamp(self._clock.seconds(), UTC),
            ),
            self._settings().plan.region,
        )
        self._log.info(
            "number {number} is never called: {reason}",
            number=number,
            reason=blocked.number.words,
        )
        if blocked.task is not None:
            self._withdraw(key, blocked.number.words)
            self._tasks_changed()
        return {
            "created": blocked.created,
            "blocked": blocked_json(blocked.number),
            "task": None if blocked.task is None else task_json(blocked.task),
        }

    async def unblock(self, request: Mapping[str, Any]) -> Json:
        """Let a number be called again: ``number``.

        Raises:
            BadRequest: it is no number, or it is not blocked.
        """
        number, key = self._number(request)
        known = await self._store.unblock(key)
        if known is None:
            raise BadRequest(f"{number} is not blocked; see 'numbers list'")
        self._log.info("number {number} may be called again", number=number)
        return {"unblocked": blocked_json(known)}

    async def blocked(self, request: Mapping[str, Any]) -> list[Json]:
        """Return the numbers that are never called, the latest first: ``limit``.

        Raises:
            BadRequest: the limit is none.
        """
        return [
            blocked_json(number)
            for number in await self._store.blocked(limit_of(request))
        ]

    async def refused(self, request: Mapping[str, Any]) -> list[Json]:
        """Return who was not called back, the latest first: ``queue``, ``limit``.

        Raises:
            BadRequest: the limit is none.
        """
        queue = queue_of(request, self._settings())
        found = await self._store.refusals(queue, limit_of(request))
        return [refusal_json(refusal) for refusal in found]

    def _number(self, request: Mapping[str, Any]) -> tuple[str, str]:
        raw = str(request.get("number", ""))
        try:
            number = plain_number(raw)
        except NotCallable as refusal:
            raise BadRequest(f"{raw!r} is no number: {refusal}") from None
        return number, self._settings().plan.key(number)


def blocked_json(number: BlockedNumber) -> Json:
    """Return a blocked number as plain values."""
    return {"number": number.number, "reason": number.reason, "at": iso(number.at)}


def refusal_json(refusal: Refusal) -> Json:
    """Return a refusal as plain values."""
    return {
        "at": iso(refusal.at),
        "kind": refusal.kind.value,
        "queue": refusal.queue,
        "number": refusal.number,
        "reason": refusal.reason,
        "linkedid": refusal.linkedid,
    }
