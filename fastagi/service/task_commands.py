# SPDX-License-Identifier: MIT
"""Carries out the commands about tasks.

It is used by the running service (through the control socket), and by the command line
if no service runs.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeAlias

from attrs import evolve, fields

from twisted.logger import Logger

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.chosen_time import BadTime
from fastagi.domain.numbers import without_separators
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import OPEN, CallbackTask, IllegalMove, Status
from fastagi.errors import CallbackError
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    MAX_BULK,
    Actor,
    AddTask,
    AssignTask,
    BadRequest,
    BulkAction,
    BulkResult,
    BulkTasks,
    CallUnderWay,
    CancelTask,
    Command,
    Handler,
    ListTasks,
    MoveTask,
    NoteTask,
    NumberRefused,
    RescheduleTask,
    RetryTask,
    SelectionChanged,
    ShowTask,
    TaskAdded,
    TaskChanged,
    TaskFilter,
    TaskList,
    TasksChanged,
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
from fastagi.service.task_changes import Line, OperatorChange, TaskChanges, moved_to
from fastagi.service.task_states import TaskStates
from fastagi.store.errors import NoSuchTask
from fastagi.store.selection import Selection
from fastagi.store.store import TaskStore

#: Returns when open tasks are expected to be called, by task id.
ExpectedTimes: TypeAlias = Callable[[], Awaitable[Mapping[int, datetime]]]
#: Returns the calls in progress, by task id.
CallsUnderWay: TypeAlias = Callable[[], Mapping[int, CallUnderWay]]
#: Returns what keeps pending tasks from being called, by task id.
WhysNotYetOf: TypeAlias = Callable[
    [Sequence[CallbackTask]], Awaitable[Mapping[int, Reason]]
]

_WithNote: TypeAlias = RetryTask | RescheduleTask | MoveTask | AssignTask

#: Maximum number of tasks read in one transaction, so that a caller who presses the key
#: does not have to wait long for the database.
_ROWS_AT_A_TIME: Final = 500
#: The same for tasks that are changed, and how long such a transaction may take, in
#: seconds; with a distant database fewer are changed at a time.
_CHANGES_AT_A_TIME: Final = 25
_CHANGES_TAKE_S: Final = 0.2


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
        line: Line,
        expected_times: ExpectedTimes | None = None,
        whys_not_yet: WhysNotYetOf | None = None,
        calls: CallsUnderWay = dict,
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
            line: the lines in Asterisk's queues, and the agents there.
            expected_times: tells when open tasks are expected to be called; None: no
                service runs.
            whys_not_yet: tells what keeps tasks from being called; None: no service
                runs.
            calls: returns the calls in progress; without a service: none.
        """
        self._store = store
        self._requests = requests
        self._clock = clock
        self._settings = settings
        self._tasks_changed = tasks_changed
        #: Returns the position at which a task, by its id, waits in Asterisk's queue.
        self._position = position
        self._withdraw_unanswered = withdraw_unanswered
        self._task_states = TaskStates(
            clock=clock, settings=settings, opening_state=opening_state
        )
        self._changes = TaskChanges(
            clock=clock,
            settings=settings,
            withdraw=withdraw,
            withdraw_unanswered=withdraw_unanswered,
            line=line,
        )
        self._expected_times = expected_times
        self._whys_not_yet = whys_not_yet
        self._calls = calls

    def handlers(self) -> Mapping[type[Command], Handler]:
        """Return the handler of each command."""
        return {
            ListTasks: self.list,
            ShowTask: self.show,
            AddTask: self.add,
            CancelTask: self.cancel,
            RetryTask: self.retry,
            RescheduleTask: self.reschedule,
            MoveTask: self.move,
            AssignTask: self.assign,
            NoteTask: self.note,
            BulkTasks: self.bulk,
        }

    async def list(self, command: ListTasks, actor: Actor) -> TaskList:
        """Return tasks, the latest first.

        Raises:
            NoSuchQueue: the queue is not in the settings, and there is no task of it.
        """
        selection = self._selection(command)
        queue = queue_of(command.queue, self._settings())
        found: list[TaskState] = []
        before_id = command.before_id
        while (left := command.limit - len(found)) > 0:
            most = min(left, _ROWS_AT_A_TIME)
            tasks = await self._store.select(selection, most, before_id)
            found += await self._states(tasks)
            if len(tasks) < most:
                break
            before_id = tasks[-1].id
        if not found and queue is not None:
            self._changes.queue(queue)
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
        queue = self._changes.queue(command.queue)
        chosen_at = self._changes.chosen_at(command.at, queue)
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
                f"{shown(command.number)} is no number to call: {answer.reason}",
                answer.why,
            )
        if chosen_at is not None and answer.task.status is Status.CALLING:
            # It waits in line, or an agent's phone rings: that would be too early.
            self._withdraw_unanswered(answer.task.id, moved_to(chosen_at))
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
        change = self._changes.cancel(command.id, command.reason, actor)
        try:
            return await self._change(change, actor)
        except IllegalMove as error:
            if error.status is Status.CANCELLED:
                raise WrongState(f"task {command.id} is cancelled already") from error
            raise

    async def retry(self, command: RetryTask, actor: Actor) -> TaskChanged:
        """Put a task back in line: due at once, with no attempts counted.

        Raises:
            WrongState: the client is being called, or was reached already.
            NumberRefused: the settings do not allow the number any more.
            NoSuchTask: there is no such task.
        """
        task = await self._find(command.id)
        change = self._changes.retry(task, actor)
        return await self._change_with_note(command, change, actor)

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
        change = self._changes.reschedule(task, command.at, command.now, actor)
        return await self._change_with_note(command, change, actor)

    async def move(self, command: MoveTask, actor: Actor) -> TaskChanged:
        """Give a task another place in line.

        Raises:
            BadRequest: a call is under way, or the fields do not say where.
            IllegalMove: the task has ended.
            NotInLine: there is no such place behind another task.
            NoSuchTask: there is no such task.
        """
        task = await self._find(command.id)
        change = self._changes.move(task, command.front, command.behind, actor)
        return await self._change_with_note(command, change, actor)

    async def assign(self, command: AssignTask, actor: Actor) -> TaskChanged:
        """Let only one agent be asked for a task, or any agent again.

        Raises:
            BadRequest: there is no such agent, or the fields are wrong.
            IllegalMove: the task has ended.
            NotAssigned: it is to be released, and is assigned to nobody.
            NoSuchTask: there is no such task.
        """
        if command.release:
            if command.agent or command.duration:
                raise BadRequest("give either an agent or release")
            change = self._changes.release(command.id, actor)
        else:
            task = await self._find(command.id)
            change = self._changes.assign(task, command.agent, command.duration, actor)
        return await self._change_with_note(command, change, actor)

    async def note(self, command: NoteTask, actor: Actor) -> TaskChanged:
        """Write a note to the history of a task.

        Raises:
            BadRequest: the note is empty.
            NoSuchTask: there is no such task.
        """
        change = self._changes.note(command.id, command.note, actor)
        return await self._change(change, actor)

    async def _change_with_note(
        self, command: _WithNote, change: OperatorChange, actor: Actor
    ) -> TaskChanged:
        noted = self._changes.with_note(change, command.id, command.note, actor)
        return await self._change(noted, actor)

    async def _change(self, change: OperatorChange, actor: Actor) -> TaskChanged:
        (task,) = await self._store.carry_out([change.apply])
        if isinstance(task, CallbackError):
            raise task
        self._changed(task, change, actor)
        self._tasks_changed()
        return TaskChanged(state=self._state(task))

    def _changed(
        self, task: CallbackTask, change: OperatorChange, actor: Actor
    ) -> None:
        self._log_change(task, change.what, actor)
        change.afterwards(task)

    # -- many tasks --------------------------------------------------------

    async def bulk(self, command: BulkTasks, actor: Actor) -> TasksChanged:
        """Change many tasks in the same way, or say only what would happen.

        Raises:
            BadRequest: no tasks are selected, or too many; or a field is wrong.
            BadTime: a time is no time.
            SelectionChanged: other tasks are selected than expected.
        """
        self._changes.check_fields(command)
        found = await self._selected(command)
        fingerprint = _fingerprint(found)
        if command.expect and command.expect != fingerprint:
            raise SelectionChanged(
                f"other tasks match now ({fingerprint}) than in the preview"
                f" ({shown(command.expect)}): nothing was changed - look at a new"
                " preview"
            )
        results: dict[int, BulkResult] = {}
        order = sorted(found)
        if command.action is BulkAction.MOVE:
            # The oldest one is moved to the front last, so it is called first.
            order.reverse()
        start, size = 0, 1
        try:
            while start < len(order):
                some = {i: found[i] for i in order[start : start + size]}
                began = self._clock.steady()
                for result in await self._change_some(command, some, actor):
                    results[result.task_id] = result
                start += size
                size = _next_size(size, self._clock.steady() - began)
        finally:
            # Also if the database fails before the last one.
            if not command.preview and results:
                self._tasks_changed()
        return TasksChanged(
            action=command.action,
            preview=command.preview,
            fingerprint=fingerprint,
            results=tuple(results[task_id] for task_id in sorted(results)),
        )

    async def _selected(self, command: BulkTasks) -> dict[int, CallbackTask | None]:
        """Return the selected tasks by id; None for an id that no task has."""
        given = [
            name
            for name in (field.name for field in fields(TaskFilter))
            if getattr(command, name)
        ]
        if command.ids:
            if given:
                raise BadRequest(f"give either ids or a filter ({given[0]})")
            some = await self._store.select(Selection(ids=command.ids), MAX_BULK)
            tasks = {task.id: task for task in some}
            return {task_id: tasks.get(task_id) for task_id in command.ids}
        if not given:
            raise BadRequest(
                "give ids or a filter: queue, status, kind, number, text, reason_code,"
                " created_from, created_to or all"
            )
        some = await self._store.select(self._selection(command), MAX_BULK + 1)
        if len(some) > MAX_BULK:
            raise BadRequest(
                f"more than {MAX_BULK:,} tasks match, the most that is changed at a"
                " time: select fewer"
            )
        return {task.id: task for task in some}

    async def _change_some(
        self,
        command: BulkTasks,
        tasks: Mapping[int, CallbackTask | None],
        actor: Actor,
    ) -> tuple[BulkResult, ...]:
        """Change some tasks in one transaction."""
        changes: dict[int, OperatorChange] = {}
        refused: dict[int, CallbackError] = {}
        for task_id, task in tasks.items():
            try:
                change = self._bulk_change(command, task_id, task, actor)
                if command.action is not BulkAction.NOTE:
                    note = command.note
                    change = self._changes.with_note(change, task_id, note, actor)
                changes[task_id] = change
            except CallbackError as error:
                refused[task_id] = error
        done = await self._store.carry_out(
            [change.apply for change in changes.values()], preview=command.preview
        )
        after: dict[int, CallbackTask] = {}
        for (task_id, change), result in zip(changes.items(), done, strict=True):
            if isinstance(result, CallbackError):
                refused[task_id] = result
                continue
            after[task_id] = result
            if not command.preview:
                self._changed(result, change, actor)
        return tuple(
            _result_of(task_id, after.get(task_id) or tasks[task_id], refused)
            for task_id in tasks
        )

    def _bulk_change(
        self, command: BulkTasks, task_id: int, task: CallbackTask | None, actor: Actor
    ) -> OperatorChange:
        changes = self._changes
        if task is None:
            raise _no_such_task(task_id)
        match command.action:
            case BulkAction.CANCEL:
                return changes.cancel(task_id, command.reason, actor)
            case BulkAction.RETRY:
                return changes.retry(task, actor)
            case BulkAction.RESCHEDULE:
                return changes.reschedule(task, command.at, command.now, actor)
            case BulkAction.MOVE:
                return changes.move(task, True, None, actor)
            case BulkAction.ASSIGN:
                return changes.assign(task, command.agent, command.duration, actor)
            case BulkAction.RELEASE:
                return changes.release(task_id, actor)
            case BulkAction.NOTE:
                return changes.note(task_id, command.note, actor)

    def _selection(self, command: TaskFilter) -> Selection:
        """Return the tasks that a filter means.

        Raises:
            BadTime: a time is wrong.
        """
        settings = self._settings()
        statuses: Sequence[Status] | None = None if command.all else sorted(OPEN)
        if command.status:
            statuses = command.status
        number = without_separators(command.number)
        known = settings.queues.get(command.queue) if command.queue else None
        queue = queue_of(command.queue, settings)
        zone = (known or settings.queue("all")).zone
        return Selection(
            statuses=statuses,
            kinds=command.kind or None,
            queues=None if queue is None else [queue],
            number_key=settings.plan.key(number) or None,
            text=command.text,
            reason_codes=None if command.reason_code is None else [command.reason_code],
            created_from=_moment(command.created_from, zone, "created_from"),
            created_to=_moment(command.created_to, zone, "created_to"),
        )

    def _log_change(self, task: CallbackTask, what: Reason, actor: Actor) -> None:
        self._log.info(
            "task {task_id}: {what} ({actor})", task_id=task.id, what=what, actor=actor
        )

    def _state(self, task: CallbackTask) -> TaskState:
        """Return a task, and whether it waits for its queue to open, or in line."""
        position = self._position(task.id) if task.status is Status.CALLING else None
        return self._task_states.of(task, position)

    async def _states(self, tasks: Sequence[CallbackTask]) -> Sequence[TaskState]:
        """Return tasks with what the service knows: their calls, when, why not yet."""
        states = [self._state(task) for task in tasks]
        if self._expected_times is None or not any(task.is_open for task in tasks):
            return states
        times = await self._expected_times()
        whys = {} if self._whys_not_yet is None else await self._whys_not_yet(tasks)
        calls = self._calls()
        return [
            evolve(
                state,
                expected_at=times.get(state.task.id),
                why_not_yet=_why_in_line(state) or whys.get(state.task.id),
                call=calls.get(state.task.id)
                if state.task.status is Status.CALLING
                else None,
            )
            if state.task.is_open
            else state
            for state in states
        ]

    async def _find(self, task_id: int) -> CallbackTask:
        task = await self._store.find(task_id)
        if task is None:
            raise _no_such_task(task_id)
        return task


def _result_of(
    task_id: int, task: CallbackTask | None, refused: Mapping[int, CallbackError]
) -> BulkResult:
    """Return what happened to a task; None: there is none with this id."""
    why = refused.get(task_id)
    return BulkResult(
        task_id=task_id,
        number="" if task is None else task.number,
        queue="" if task is None else task.queue,
        status=None if task is None else task.status,
        refused="" if why is None else str(why),
    )


def _why_in_line(state: TaskState) -> Reason | None:
    """Return the reason of a task that waits in Asterisk's line; None: it does not."""
    if state.position is None:
        return None
    return because(Code.IN_LINE, position=state.position)


def _next_size(size: int, took_s: float) -> int:
    """Return how many tasks to change in the next transaction.

    Args:
        size: how many the last one changed.
        took_s: how long that took, with the time until it began.
    """
    fits = _CHANGES_AT_A_TIME
    if took_s > 0:
        fits = min(fits, int(size * _CHANGES_TAKE_S / took_s))
    return max(1, fits)


def _fingerprint(ids: Iterable[int]) -> str:
    """Return a text that is another one for other tasks: their count, and a hash."""
    chosen = sorted(ids)
    digest = hashlib.sha256(",".join(map(str, chosen)).encode()).hexdigest()
    return f"{len(chosen)}-{digest[:16]}"


def _moment(text: str, zone: tzinfo, name: str) -> datetime | None:
    """Return the time that a field of a filter means.

    Raises:
        BadTime: it is not a time.
    """
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.utcoffset() is None:
            at = at.replace(tzinfo=zone)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadTime(
            f"{name} is no time (got {shown(text)}): write 2026-12-01,"
            " '2026-12-01 14:30' or 2026-12-01T14:30+01:00"
        ) from None


def _no_such_task(task_id: int) -> NoSuchTask:
    return NoSuchTask(f"there is no task {task_id}; see 'tasks list --all'")


def queue_of(name: str, settings: Settings) -> str | None:
    """Return a queue's name as in the settings; None if ``name`` is empty.

    A queue that is not in the settings is returned as it is: it may still have tasks.
    """
    known = settings.queues.get(name) if name else None
    return known.name if known is not None else name or None
