# SPDX-License-Identifier: MIT
"""What an operator can see of tasks and do to them.

The same commands serve the running service (through its control socket) and the
command line alone with the database; both speak in plain JSON values. Times are
ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from fastagi.calls.attempt import Attempt
from fastagi.calls.numbers import (
    NotCallable,
    callable_number,
    display_name,
    why_not_any_more,
    without_separators,
)
from fastagi.calls.task import OPEN, CallbackTask, Kind, NewTask, Status, TaskEvent
from fastagi.config.model import QueueSettings, Settings
from fastagi.errors import CallbackError
from fastagi.service.openings import Openings
from fastagi.store.errors import NoSuchTask
from fastagi.store.store import TaskStore

Json = dict[str, Any]

#: In one answer. It is built on the reactor's thread, where calls have to wait for it.
MOST_LISTED: Final = 10_000


class BadRequest(CallbackError):
    """The command's arguments make no sense."""


class TaskDesk:
    """Lists, shows and changes tasks."""

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: IReactorTime,
        settings: Callable[[], Settings],
        tasks_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._tasks_changed = tasks_changed
        self._openings = Openings(settings)

    def commands(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """Return the commands by name; each takes one JSON object."""
        return {
            "tasks.list": self.list,
            "tasks.show": self.show,
            "tasks.add": self.add,
            "tasks.cancel": self.cancel,
            "tasks.retry": self.retry,
        }

    async def list(self, request: Mapping[str, Any]) -> list[Json]:
        """Return tasks, the latest first: ``all``, ``queue``, ``number``, ``limit``.

        Raises:
            BadRequest: there is no such status, or the limit is none; or there is no
                such queue, and no task that it had before it left the settings.
        """
        statuses = None if request.get("all") else sorted(OPEN)
        if request.get("status"):
            statuses = [_status(request["status"])]
        number = request.get("number") or ""
        queue = queue_of(request, self._settings())
        tasks = await self._store.listing(
            statuses=statuses,
            queue=queue,
            number_key=self._settings().plan.key(without_separators(number)) or None,
            limit=limit_of(request),
        )
        if not tasks and queue is not None:
            self._queue(queue)
        return [self._json(task) for task in tasks]

    async def show(self, request: Mapping[str, Any]) -> Json:
        """Return one task with its attempts and its whole story: ``id``."""
        task = await self._find(request)
        return {
            "task": self._json(task),
            "attempts": [
                attempt_json(attempt) for attempt in await self._store.attempts(task.id)
            ],
            "history": [
                event_json(event) for event in await self._store.history(task.id)
            ],
        }

    async def add(self, request: Mapping[str, Any]) -> Json:
        """Add a task by hand: ``queue``, ``number`` and perhaps ``name``.

        Raises:
            BadRequest: there is no such queue, or the number can not be called.
        """
        name, raw = request.get("queue", ""), request.get("number", "")
        settings = self._queue(name)
        now = self._now()
        try:
            number = callable_number(raw, self._settings().number_rules(settings))
            recorded = await self._store.add(
                NewTask(
                    kind=Kind.MANUAL,
                    number=number,
                    number_key=self._settings().plan.key(number),
                    name=display_name(request.get("name", "")),
                    queue=settings.name,
                    joined_at=now,
                    due_at=now,
                    expires_at=settings.expires_at(Kind.MANUAL, now),
                    reason="added by hand",
                ),
                now,
                most_calls=self._settings().limits.calls_per_number,
            )
        except NotCallable as refusal:
            raise BadRequest(f"{raw!r} is no number to call: {refusal}") from None
        self._tasks_changed()
        return {"created": recorded.created, "task": self._json(recorded.task)}

    async def cancel(self, request: Mapping[str, Any]) -> Json:
        """End a task; one whose call is under way ends with that call: ``id``."""
        reason = request.get("reason") or "cancelled by hand"
        task = await self._store.cancel(_id(request), reason, self._now())
        self._tasks_changed()
        return {"task": self._json(task)}

    async def retry(self, request: Mapping[str, Any]) -> Json:
        """Put a task in line again, due at once, its attempts forgotten: ``id``."""
        now = self._now()
        task = await self._find(request)
        settings = self._queue(task.queue)
        rules = self._settings().number_rules(settings)
        if refusal := why_not_any_more(task.number, task.number_key, rules):
            raise BadRequest(f"{task.number} is not called any more: {refusal}")
        task = await self._store.retry(
            task.id,
            "put back in line by hand",
            now,
            settings.expires_at(Kind.MANUAL, now),
        )
        self._tasks_changed()
        return {"task": self._json(task)}

    def _json(self, task: CallbackTask) -> Json:
        """Return a task as plain values, and whether it waits for its queue to open."""
        closed, opens_at = False, None
        if task.status is Status.PENDING:
            standing = self._openings.standing(task.queue, self._clock.seconds())
            if not standing.is_open:
                closed, opens_at = True, standing.until
        return {**task_json(task), "queue_closed": closed, "opens_at": iso(opens_at)}

    async def _find(self, request: Mapping[str, Any]) -> CallbackTask:
        task = await self._store.find(_id(request))
        if task is None:
            raise NoSuchTask(f"there is no task {_id(request)}; see 'tasks list --all'")
        return task

    def _queue(self, name: str) -> QueueSettings:
        settings = self._settings().queues.get(name)
        if settings is None:
            known = ", ".join(sorted(self._settings().queues))
            raise BadRequest(f"no queue {name!r} in the settings (there are: {known})")
        return settings

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)


def task_json(task: CallbackTask) -> Json:
    """Return a task as plain values."""
    return {
        "id": task.id,
        "kind": task.kind.value,
        "status": task.status.value,
        "number": task.number,
        "name": task.name,
        "language": task.language,
        "queue": task.queue,
        "joined_at": iso(task.joined_at),
        "created_at": iso(task.created_at),
        "due_at": iso(task.due_at),
        "expires_at": iso(task.expires_at),
        "ended_at": iso(task.ended_at),
        "attempts": task.attempts,
        "member_attempts": task.member_attempts,
        "reason": task.reason,
        "cancel_requested": task.cancel_requested,
        "linkedid": task.linkedid,
    }


def attempt_json(attempt: Attempt) -> Json:
    """Return an attempt as plain values."""
    return {
        "id": attempt.id,
        "channel_id": attempt.channel_id,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "disposition": attempt.disposition.value if attempt.disposition else None,
        "member": attempt.member,
        "talk_s": round(attempt.talk_s, 3),
        "reason": attempt.reason,
    }


def event_json(event: TaskEvent) -> Json:
    """Return one line of a task's story as plain values."""
    return {
        "at": iso(event.at),
        "move": event.move.value,
        "status": event.status.value,
        "text": event.text,
        "attempt_id": event.attempt_id,
    }


def iso(at: datetime | None) -> str | None:
    """Return a moment as text."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None


def _id(request: Mapping[str, Any]) -> int:
    try:
        return int(request["id"])
    except (KeyError, TypeError, ValueError):
        raise BadRequest("a task's id is a number; see 'tasks list'") from None


def limit_of(request: Mapping[str, Any]) -> int:
    """Return how many are to be listed at most: ``limit``.

    Raises:
        BadRequest: so many can not be listed.
    """
    limit = request.get("limit", 100)
    # A bool is an int to Python.
    if type(limit) is not int or not 1 <= limit <= MOST_LISTED:
        raise BadRequest(
            f"{limit!r} can not be the limit, which is 1 to {MOST_LISTED:,}: list less"
            " with the other options (see --help); for all, make a copy with"
            " 'callback-queue db backup' and ask that"
        )
    return limit


def queue_of(request: Mapping[str, Any], settings: Settings) -> str | None:
    """Return the name of the queue that is asked for: ``queue``; None: of all.

    A queue that has left the settings may still have something to list.
    """
    name = request.get("queue") or None
    known = None if name is None else settings.queues.get(name)
    return name if known is None else known.name


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        known = ", ".join(Status)
        raise BadRequest(f"no status {text!r} (there are: {known})") from None
