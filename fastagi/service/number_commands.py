# SPDX-License-Identifier: MIT
"""Carries out the commands about blocked numbers and refusals.

Like :mod:`fastagi.service.task_commands` it is used by the running service, and by the
command line if no service runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from twisted.logger import Logger

from fastagi.config.sections import Settings
from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.erasure import keys_of
from fastagi.domain.limits import DAY, HOUR, MINUTE, called_too_often
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import (
    callable_number,
    plain_number,
    region_of,
    without_separators,
)
from fastagi.domain.policy import dial_string
from fastagi.domain.reason import Code, Reason, because, utc_minute
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    Actor,
    BadRequest,
    BlockedNumbers,
    BlockNumber,
    CheckNumber,
    Command,
    EraseNumber,
    ExportNumber,
    Handler,
    LimitUse,
    ListBlocked,
    ListRefused,
    NoSuchQueue,
    NumberBlocked,
    NumberChecked,
    NumberData,
    NumberErased,
    NumberUnblocked,
    RefusedCallers,
    UnblockNumber,
    WrongState,
    shown,
)
from fastagi.service.task_commands import queue_of
from fastagi.store.number_facts import CallsWithin
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
        why_not_queue: Callable[[str], Reason | None],
    ) -> None:
        """Store the collaborators.

        Args:
            store: the database.
            clock: the time.
            settings: returns the settings in force.
            tasks_changed: called after a task has ended, or is going to end.
            withdraw: called with a client key and a reason; ends the attempt to reach
                that client, unless client and agent are talking.
            why_not_queue: returns what keeps every callback of a queue from beginning
                now; None: nothing.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._tasks_changed = tasks_changed
        self._withdraw = withdraw
        self._why_not_queue = why_not_queue

    def handlers(self) -> Mapping[type[Command], Handler]:
        """Return the handler of each command."""
        return {
            BlockNumber: self.block,
            UnblockNumber: self.unblock,
            ListBlocked: self.blocked,
            ListRefused: self.refused,
            CheckNumber: self.check,
            ExportNumber: self.export,
            EraseNumber: self.erase,
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
        """Return the blocked numbers, the latest first.

        Raises:
            BadRequest: ``before`` is not a number.
        """
        before = self._number(command.before)[1] if command.before else None
        found = await self._store.blocked(command.limit, before)
        return BlockedNumbers(numbers=tuple(found))

    async def check(self, command: CheckNumber, actor: Actor) -> NumberChecked:
        """Tell whether a queue may call a number now, and why not.

        Raises:
            NoSuchQueue: it is not in the settings.
        """
        settings, now = self._settings(), self._clock.now()
        queue = settings.queues.get(command.queue)
        if queue is None:
            known = ", ".join(sorted(settings.queues))
            raise NoSuchQueue(
                f"no queue {shown(command.queue)} in the settings (there are: {known})"
            )
        raw, plan, limits = command.number, settings.plan, settings.call_limits
        dialled, why_not = "", []
        try:
            dialled = callable_number(raw, settings.number_rules(queue))
        except NotCallable as refusal:
            why_not.append(refusal.why)
        number = without_separators(raw)
        facts = await self._store.number_facts(number, plan, queue.name, limits, now)
        if facts.blocked is not None:
            why_not.append(facts.blocked.why)
        if (again_at := facts.to_number.free_at) is not None:
            why_not.append(called_too_often(limits.per_number, again_at))
        uses = (
            _use("limits.calls_per_number", limits.per_number, DAY, facts.to_number),
            _use(
                "calls_per_hour",
                limits.per_hour.get(queue.name, 0),
                HOUR,
                facts.of_queue,
            ),
            _use("limits.calls_per_minute", limits.per_minute, MINUTE, facts.of_all),
        )
        for use in uses[1:]:
            if use.free_at is not None:
                why_not.append(
                    because(
                        Code.LIMIT_REACHED,
                        setting=use.setting,
                        limit=use.allowed,
                        again_at=utc_minute(use.free_at),
                    )
                )
        is_never_called = not dialled or facts.blocked is not None
        return NumberChecked(
            queue=queue.name,
            number=raw,
            dialled="" if is_never_called else dialled,
            dial_string=""
            if is_never_called
            else dial_string(queue.outbound_channel, dialled),
            region=region_of(number, plan.region),
            why_not=tuple(why_not),
            not_now=self._why_not_queue(queue.name),
            blocked=facts.blocked,
            limits=uses,
            open_task=facts.open_task,
            last_refusal=facts.last_refusal,
        )

    async def refused(self, command: ListRefused, actor: Actor) -> RefusedCallers:
        """Return the refusals, the latest first."""
        queue = queue_of(command.queue, self._settings())
        found = await self._store.refusals(queue, command.limit, command.before_id)
        return RefusedCallers(refusals=tuple(found))

    async def export(self, command: ExportNumber, actor: Actor) -> NumberData:
        """Return everything that is stored about a number.

        Raises:
            BadRequest: it is not a number.
        """
        number, _ = self._number(command.number)
        plan = self._settings().plan
        records = await self._store.records_of(keys_of(number, plan), plan)
        self._log.info(
            "what is kept about a number was exported ({actor})", actor=actor
        )
        return NumberData(number=number, records=records)

    async def erase(self, command: EraseNumber, actor: Actor) -> NumberErased:
        """Erase a number from everything that has ended.

        Raises:
            BadRequest: it is not a number.
            WrongState: it has an open task; or it is blocked and the command does not
                say what becomes of that.
        """
        number, _ = self._number(command.number)
        plan = self._settings().plan
        keys = keys_of(number, plan)
        records = await self._store.records_of(keys, plan)
        for record in records.tasks:
            if record.task.is_open:
                raise WrongState(
                    f"task {record.task.id} of this number is open - cancel it first:"
                    f" callback-queue tasks cancel {record.task.id}"
                )
        if open_ids := await self._store.open_among(records.mentioned_in):
            raise WrongState(
                f"task {open_ids[0]}, which is open, was requested from this number for"
                " another one - erase it when that task has ended"
            )
        if records.blocked is not None and not command.block:
            raise WrongState(
                "this number is blocked, so that it is never called - say whether to"
                " keep that (--keep-block: the number stays in the list, without the"
                " reason) or not (--lift-block)"
            )
        why = actor.named_in(because(Code.NUMBER_ERASED))
        erased = await self._store.erase_number(keys, plan, why, self._clock.now())
        if records.blocked is not None:
            if command.block == "lift":
                await self._store.unblock(records.blocked.number_key)
            else:
                await self._store.clear_block_reason(records.blocked.number_key)
        self._log.info(
            "a number was erased: {tasks} tasks, {others} other entries, mentioned in"
            " {mentions} ({actor})",
            tasks=erased.tasks,
            others=erased.others,
            mentions=erased.mentions,
            actor=actor,
        )
        return NumberErased(
            erased=erased,
            blocked=records.blocked is not None and command.block == "keep",
        )

    def _number(self, raw: str) -> tuple[str, str]:
        try:
            number = plain_number(raw)
        except NotCallable as refusal:
            raise BadRequest(f"{shown(raw)} is no number: {refusal}") from None
        return number, self._settings().plan.key(number)


def _use(setting: str, allowed: int, window: timedelta, calls: CallsWithin) -> LimitUse:
    return LimitUse(
        setting=setting,
        used=calls.used,
        allowed=allowed,
        window_s=window.total_seconds(),
        free_at=calls.free_at,
    )
