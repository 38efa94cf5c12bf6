# SPDX-License-Identifier: MIT
"""Carries out the commands about tasks.

It is used by the running service (through the control socket), and by the command line
if no service runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from attrs import evolve

from twisted.logger import Logger

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.chosen_time import BadTime, read_time, waits_for, why_not_at
from fastagi.domain.numbers import why_not_any_more, without_separators
from fastagi.domain.reason import Code, Reason, because, said, utc_minute
from fastagi.domain.task import OPEN, CallbackTask, IllegalMove, Kind, Status
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    Actor,
    AddTask,
    BadRequest,
    CancelTask,
    Command,
    Handler,
    ListTasks,
    NoSuchQueue,
    NumberRefused,
    RescheduleTask,
    RetryTask,
    ShowTask,
    TaskAdded,
    TaskChanged,
    TaskList,
    TaskState,
    TaskStory,
    WrongState,
    shown,
)
from fastagi.service.opening_state import OpeningState
from fastagi.service.requests import (
    OPERATOR,
    Accepted,
    CallbackRequest,
    Refused,
    Requests,
)
from fastagi.service.task_states import TaskStates
from fastagi.store.errors import NoSuchTask
from fastagi.store.store import TaskStore

#: Returns when open tasks are expected to be called, by task id.
ExpectedTimes: TypeAlias = Callable[[], Awaitable[Mapping[int, datetime]]]
#: Returns what keeps pending tasks from being called, by task id.
WhysNotYetOf: TypeAlias = Callable[
    [Sequence[CallbackTask]], Awaitable[Mapping[int, Reason]]
]

#: Maximum number of tasks read in one transaction, so that a caller who presses the key
#: does not have to wait long for the database.
_ROWS_AT_A_TIME: Final = 500


class TaskCommands:
    """Lists, shows and changes tasks."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        requests: Requests,
        clock: Clock,
        settings: Callable[[], Settings],
        opening_state: OpeningState,
        tasks_changed: Callable[[], None],
        withdraw: Callable[[int, Reason], None],
        withdraw_unanswered: Callable[[int, Reason], None],
        position: Callable[[int], int | None],
        expected_times: ExpectedTimes | None = None,
        whys_not_yet: WhysNotYetOf | None = None,
    ) -> None:
        """Store the parts.

        Args:
            store: where the tasks are.
            requests: stores a task that is added.
            clock: the current time.
            settings: the settings in force.
            opening_state: whether each queue is open.
            tasks_changed: called after a change of a task.
            withdraw: ends the attempt of a task, by its id and with a reason.
            withdraw_unanswered: does the same unless an agent has answered.
            position: returns the position of a task in Asterisk's queue, by its id.
            expected_times: tells when open tasks are expected to be called; None: no
                service runs.
            whys_not_yet: tells what keeps tasks from being called; None: no service
                runs.
        """
        self._store = store
        self._requests = requests
        self._clock = clock
        self._settings = settings
        self._tasks_changed = tasks_changed
        #: Returns the position at which a task, by its id, waits in Asterisk's queue.
        self._position = position
        self._withdraw = withdraw
        self._withdraw_unanswered = withdraw_unanswered
        self._task_states = TaskStates(
            clock=clock, settings=settings, opening_state=opening_state
        )
        self._expected_times = expected_times
        self._whys_not_yet = whys_not_yet

    def handlers(self) -> Mapping[type[Command], Handler]:
        """Return the handler of each command."""
        return {
            ListTasks: self.list,
            ShowTask: self.show,
            AddTask: self.add,
            CancelTask: self.cancel,
            RetryTask: self.retry,
            RescheduleTask: self.reschedule,
        }

    async def list(self, command: ListTasks, actor: Actor) -> TaskList:
        """Return tasks, the latest first.

        Raises:
            NoSuchQueue: the queue is not in the settings, and there is no task of it.
        """
        statuses = None if command.all else sorted(OPEN)
        if command.status is not None:
            statuses = [command.status]
        queue = queue_of(command.queue, self._settings())
        number = without_separators(command.number)
        found: list[TaskState] = []
        before_id = command.before_id
        while (left := command.limit - len(found)) > 0:
            tasks = await self._store.listing(
                statuses=statuses,
                queue=queue,
                number_key=self._settings().plan.key(number) or None,
                limit=min(left, _ROWS_AT_A_TIME),
                before_id=before_id,
            )
            found += await self._states(tasks)
            if len(tasks) < min(left, _ROWS_AT_A_TIME):
                break
            before_id = tasks[-1].id
        if not found and queue is not None:
            self._queue(queue)
        return TaskList(tasks=tuple(found))

    async def show(self, command: ShowTask, actor: Actor) -> TaskStory:
        """Return one task with its attempts and its history."""
        task = await self._find(command.id)
        (state,) = await self._states([task])
        return TaskStory(
            state=state,
            attempts=tuple(await self._store.attempts(task.id)),
            history=tuple(await self._store.history(task.id)),
        )

    async def add(self, command: AddTask, actor: Actor) -> TaskAdded:
        """Add a task by hand.

        Raises:
            NoSuchQueue: the queue is not in the settings.
            NumberRefused: the number can not be called.
            WrongState: a time was chosen for a client who waits for another queue.
            BadTime: the time can not be chosen.
        """
        queue = self._queue(command.queue)
        chosen_at = self._chosen_at(command.at, queue)
        if chosen_at is not None:
            await self._check_no_other_queue(command, queue)
        answer = await self._requests.ask(
            CallbackRequest(
                source=OPERATOR,
                queue=queue.name,
                number=command.number,
                name=command.name,
                chosen_at=chosen_at,
                actor=actor,
            )
        )
        if isinstance(answer, Refused):
            raise NumberRefused(
                f"{shown(command.number)} is no number to call: {answer.reason}"
            )
        if chosen_at is not None and answer.task.status is Status.CALLING:
            # It waits in line, or an agent's phone rings: that would be too early.
            self._withdraw_unanswered(answer.task.id, _moved_to(chosen_at))
        return TaskAdded(
            created=isinstance(answer, Accepted), state=self._state(answer.task)
        )

    async def _check_no_other_queue(
        self, command: AddTask, queue: QueueSettings
    ) -> None:
        """Check that no task of another queue would be moved.

        The time was judged by the opening hours of ``queue``.

        Raises:
            WrongState: the client waits for another queue.
        """
        key = self._settings().plan.key(without_separators(command.number))
        task = await self._store.open_task(key) if key else None
        if task and task.status is Status.PENDING and task.queue != queue.name:
            raise WrongState(
                f"{shown(command.number)} is to be called back by queue {task.queue}"
                f" already - move that task with 'callback-queue tasks reschedule"
                f" {task.id} --at {shlex.quote(command.at)}'"
            )

    async def cancel(self, command: CancelTask, actor: Actor) -> TaskChanged:
        """Cancel a task, and end its attempt unless client and agent are talking.

        Raises:
            WrongState: the task is cancelled already.
            IllegalMove: the task has ended in another way.
        """
        why = because(Code.CANCELLED_BY_HAND)
        if command.reason:
            why = said(command.reason)
        try:
            task = await self._store.cancel(
                command.id, actor.named_in(why), self._clock.now()
            )
        except IllegalMove as error:
            if error.status is Status.CANCELLED:
                raise WrongState(f"task {command.id} is cancelled already") from error
            raise
        self._log_change(task, why, actor)
        if task.cancel_requested:
            self._withdraw(task.id, task.why)
        self._tasks_changed()
        return TaskChanged(state=self._state(task))

    async def retry(self, command: RetryTask, actor: Actor) -> TaskChanged:
        """Put a task back in line: due at once, with no attempts counted.

        Raises:
            WrongState: the client is being called, or was reached already.
            NumberRefused: the settings do not allow the number any more.
            NoSuchTask: there is no such task.
        """
        return await self._put_back(command.id, because(Code.REOPENED_BY_HAND), actor)

    async def reschedule(self, command: RescheduleTask, actor: Actor) -> TaskChanged:
        """Move a task to another time, or make it due at once.

        Raises:
            BadRequest: there is neither a time nor ``now``, or both.
            WrongState: the client is being called, or was reached already.
            NumberRefused: the settings do not allow the number any more.
            BadTime: the time can not be chosen.
            NoSuchTask: there is no such task.
        """
        if bool(command.at) == command.now:
            raise BadRequest("give either at, with a time, or now")
        task = await self._find(command.id)
        chosen_at = self._chosen_at(command.at, self._queue(task.queue))
        why = _moved_to(chosen_at)
        return await self._put_back(command.id, why, actor, chosen_at)

    async def _put_back(
        self,
        task_id: int,
        why: Reason,
        actor: Actor,
        chosen_at: datetime | None = None,
    ) -> TaskChanged:
        """Put a task in line, at a chosen time or now."""
        now = self._clock.now()
        task = await self._find(task_id)
        if task.status is Status.CALLING:
            raise WrongState(
                f"task {task_id} has a call under way - wait for its end, or end the"
                f" call with 'callback-queue tasks cancel {task_id}'"
            )
        if task.status in {Status.COMPLETED, Status.SERVED}:
            raise WrongState(
                f"a task that is {task.status} can not be put back in line: the client"
                " was reached - for one more call, give 'callback-queue tasks add"
                f" {shlex.quote(task.queue)} {task.number}'"
            )
        settings = self._queue(task.queue)
        rules = self._settings().number_rules(settings)
        if refusal := why_not_any_more(task.number, task.number_key, rules):
            raise NumberRefused(f"{task.number} is not called any more: {refusal}")
        story = actor.named_in(why)
        task = await self._store.retry(
            task.id,
            story if chosen_at is None else waits_for(chosen_at, story),
            now,
            settings.expiry_rules.expires_at(Kind.MANUAL, chosen_at or now),
            chosen_at=chosen_at,
            call_by=settings.chosen_time.call_by(chosen_at),
        )
        self._log_change(task, why, actor)
        self._tasks_changed()
        return TaskChanged(state=self._state(task))

    def _log_change(self, task: CallbackTask, what: Reason, actor: Actor) -> None:
        self._log.info(
            "task {task_id}: {what} ({actor})", task_id=task.id, what=what, actor=actor
        )

    def _chosen_at(self, text: str, queue: QueueSettings) -> datetime | None:
        """Return the time that an operator chose; None: as soon as possible.

        Raises:
            BadTime: it is no time, or no callback can be placed then.
        """
        if not text:
            return None
        now = self._clock.now()
        at = read_time(text, now, queue.zone)
        if why_not := why_not_at(
            at, now, queue.hours, queue.zone, queue.chosen_time.days_ahead
        ):
            raise BadTime(why_not)
        return at

    def _state(self, task: CallbackTask) -> TaskState:
        """Return a task, and whether it waits for its queue to open, or in line."""
        position = self._position(task.id) if task.status is Status.CALLING else None
        return self._task_states.of(task, position)

    async def _states(self, tasks: Sequence[CallbackTask]) -> Sequence[TaskState]:
        """Return tasks with when they are expected to be called, and why not yet."""
        states = [self._state(task) for task in tasks]
        if self._expected_times is None or not any(task.is_open for task in tasks):
            return states
        times = await self._expected_times()
        whys = {} if self._whys_not_yet is None else await self._whys_not_yet(tasks)
        return [
            evolve(
                state,
                expected_at=times.get(state.task.id),
                why_not_yet=_why_in_line(state) or whys.get(state.task.id),
            )
            if state.task.is_open
            else state
            for state in states
        ]

    async def _find(self, task_id: int) -> CallbackTask:
        task = await self._store.find(task_id)
        if task is None:
            raise NoSuchTask(f"there is no task {task_id}; see 'tasks list --all'")
        return task

    def _queue(self, name: str) -> QueueSettings:
        settings = self._settings().queues.get(name)
        if settings is None:
            known = ", ".join(sorted(self._settings().queues))
            raise NoSuchQueue(
                f"no queue {shown(name)} in the settings (there are: {known})"
            )
        return settings


def _why_in_line(state: TaskState) -> Reason | None:
    """Return the reason of a task that waits in Asterisk's line; None: it does not."""
    if state.position is None:
        return None
    return because(Code.IN_LINE, position=state.position)


def _moved_to(chosen_at: datetime | None) -> Reason:
    why = because(Code.RESCHEDULED_BY_HAND)
    if chosen_at is None:
        return why
    return why.with_params(chosen_at=utc_minute(chosen_at))


def queue_of(name: str, settings: Settings) -> str | None:
    """Return a queue's name as in the settings; None if ``name`` is empty.

    A queue that is not in the settings is returned as it is: it may still have tasks.
    """
    known = settings.queues.get(name) if name else None
    return known.name if known is not None else name or None
