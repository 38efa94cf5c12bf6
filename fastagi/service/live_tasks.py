# SPDX-License-Identifier: MIT
"""The open tasks in memory, so that a change of one does not cost a look at all.

For each queue it keeps the due tasks in the order in which they are called, and the
others by the time at which they are due. It knows no database and no clock.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from attrs import define, field

from fastagi.domain.task import CallbackTask, Status, WaitingTask
from fastagi.domain.turns import Turn
from fastagi.domain.why_not_yet import NEXT, Outlook, order

Key = tuple[bool, Turn, int]


@define
class _Line:
    """The tasks of one queue."""

    #: Whether tasks with a chosen time come before all others.
    chosen_first: bool = False
    #: The pending tasks that are due, in order.
    due: list[Key] = field(factory=list)
    #: The ids of all pending tasks, and of those that are being called.
    pending: set[int] = field(factory=set)
    calling: set[int] = field(factory=set)
    #: The ids of the pending tasks that are assigned to an agent.
    assigned: set[int] = field(factory=set)
    #: When each open task joined the line, in epoch seconds.
    joined: dict[int, float] = field(factory=dict)


class OpenTasks:
    """All open tasks."""

    def __init__(self) -> None:
        self._tasks: dict[int, CallbackTask] = {}
        self._keys: dict[int, Key] = {}
        self._lines: dict[str, _Line] = {}
        self._by_key: dict[str, int] = {}
        #: When tasks are due that are not due yet, and their ids. Entries of tasks that
        #: have changed meanwhile are left in it.
        self._later: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._tasks

    def __getitem__(self, task_id: int) -> CallbackTask:
        return self._tasks[task_id]

    def ids(self) -> set[int]:
        """Return the ids of all tasks."""
        return set(self._tasks)

    def clear(self) -> None:
        """Forget all tasks."""
        self._tasks.clear()
        self._keys.clear()
        self._lines.clear()
        self._by_key.clear()
        self._later.clear()

    def put(self, task: CallbackTask, now: float) -> None:
        """Add a task, or replace it."""
        self.remove(task.id)
        self._tasks[task.id] = task
        self._by_key[task.number_key] = task.id
        line = self._lines.setdefault(task.queue, _Line())
        line.joined[task.id] = task.joined_at.timestamp()
        if task.status is Status.CALLING:
            line.calling.add(task.id)
            return
        line.pending.add(task.id)
        if task.assigned_to:
            line.assigned.add(task.id)
        due_at = task.due_at.timestamp()
        if due_at > now:
            heapq.heappush(self._later, (due_at, task.id))
        else:
            self._insert(task, line)

    def _insert(self, task: CallbackTask, line: _Line) -> None:
        key = order(task, chosen_first=line.chosen_first)
        self._keys[task.id] = key
        bisect.insort(line.due, key)

    def remove(self, task_id: int) -> None:
        """Forget a task, if it is known."""
        task = self._tasks.pop(task_id, None)
        if task is None:
            return
        if self._by_key.get(task.number_key) == task_id:
            del self._by_key[task.number_key]
        line = self._lines[task.queue]
        line.pending.discard(task_id)
        line.calling.discard(task_id)
        line.assigned.discard(task_id)
        line.joined.pop(task_id, None)
        key = self._keys.pop(task_id, None)
        if key is not None:
            del line.due[bisect.bisect_left(line.due, key)]

    def become_due(self, now: float) -> list[int]:
        """Move the tasks that are due now into their lines; return their ids."""
        found = []
        while self._later and self._later[0][0] <= now:
            due_at, task_id = heapq.heappop(self._later)
            task = self._tasks.get(task_id)
            if (
                task is not None
                and task.status is Status.PENDING
                and task_id not in self._keys
                and task.due_at.timestamp() == due_at
            ):
                self._insert(task, self._lines[task.queue])
                found.append(task_id)
        return found

    def next_due(self) -> float | None:
        """Return when the next task is due that is not due yet; None: there is none."""
        while self._later:
            due_at, task_id = self._later[0]
            task = self._tasks.get(task_id)
            if (
                task is not None
                and task.status is Status.PENDING
                and task_id not in self._keys
                and task.due_at.timestamp() == due_at
            ):
                return due_at
            heapq.heappop(self._later)
        return None

    def next_due_of(self, queue: str) -> datetime | None:
        """Return when the next task of a queue is due that is not due yet."""
        line = self._lines.get(queue)
        later = (
            self._tasks[task_id].due_at
            for task_id in (line.pending if line else ())
            if task_id not in self._keys
        )
        return min(later, default=None)

    def first(self, outlook: Outlook) -> set[int]:
        """Return the ids of the tasks that are the next of their queues."""
        found: set[int] = set()
        for queue, line in self._lines.items():
            chosen_first = outlook.of_queue(queue).chosen_first
            if chosen_first != line.chosen_first:
                self._sort_again(line, chosen_first=chosen_first)
            count = 0
            for _, _, task_id in line.due:
                if outlook.is_in_line(self._tasks[task_id]):
                    found.add(task_id)
                    count += 1
                    if count == NEXT:
                        break
        return found

    def _sort_again(self, line: _Line, *, chosen_first: bool) -> None:
        line.chosen_first = chosen_first
        for _, _, task_id in line.due:
            task = self._tasks[task_id]
            self._keys[task_id] = order(task, chosen_first=chosen_first)
        line.due = sorted(self._keys[task_id] for _, _, task_id in line.due)

    def with_keys(self, number_keys: Collection[str]) -> Iterator[int]:
        """Yield the ids of the tasks of clients."""
        for key in number_keys:
            task_id = self._by_key.get(key)
            if task_id is not None:
                yield task_id

    def of_queue(self, queue: str) -> set[int]:
        """Return the ids of the pending tasks of a queue."""
        line = self._lines.get(queue)
        return set(line.pending) if line else set()

    def assigned(self, queue: str) -> set[int]:
        """Return the ids of the pending tasks of a queue that are assigned."""
        line = self._lines.get(queue)
        return set(line.assigned) if line else set()

    def calling(self) -> set[int]:
        """Return the ids of all tasks that are being called."""
        return {task_id for line in self._lines.values() for task_id in line.calling}

    def queues(self) -> list[str]:
        """Return the names of the queues that have or had tasks."""
        return list(self._lines)

    def count(self, queue: str) -> tuple[int, int]:
        """Return how many tasks of a queue are pending, and are being called."""
        line = self._lines.get(queue)
        return (len(line.pending), len(line.calling)) if line else (0, 0)

    def is_any_due(self, queue: str) -> bool:
        """Whether a pending task of a queue is due."""
        line = self._lines.get(queue)
        return line is not None and bool(line.due)

    def oldest_since(self, queue: str, now: float) -> datetime | None:
        """Return since when the first in line of a queue waits; None: none waits.

        A task whose chosen time is still to come is not in line yet.
        """
        line = self._lines.get(queue)
        joined = line.joined.values() if line else ()
        at = min((one for one in joined if one <= now), default=None)
        return None if at is None else datetime.fromtimestamp(at, UTC)

    def waiting(self, most: int) -> list[WaitingTask]:
        """Return the first due tasks of each queue, at most so many of all."""
        share = max(1, most // max(1, len(self._lines)))
        return [
            WaitingTask(
                id=task.id,
                queue=task.queue,
                turn=task.turn,
                due_at=task.due_at.timestamp(),
            )
            for line in self._lines.values()
            for task in (self._tasks[task_id] for _, _, task_id in line.due[:share])
        ]
