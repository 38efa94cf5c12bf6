# SPDX-License-Identifier: MIT
"""The commands of operators and programs, and their answers, as frozen classes.

The constructor of a command checks its fields, so every instance is safe to carry out:
ids fit into the database, and texts contain nothing that the database, the log or a
terminal can not take. JSON and sockets are in :mod:`fastagi.doors`, the command line in
:mod:`fastagi.command`. Handlers carry out commands: see `Dispatch`.

These are attrs classes, not pydantic models, as pydantic takes half a second to load,
and the command line would load it for each command.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, TypeAlias

from attrs import field, frozen

from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.offers import OfferOutcome
from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask, Status, TaskEvent
from fastagi.errors import CallbackError, Problem

#: The largest id that both databases can hold.
HIGHEST_ID: Final = 2**31 - 1
#: Maximum number of rows in one answer. For more, ask a copy of the database.
MAX_LISTED: Final = 10_000
_LONGEST_NUMBER: Final = 100
_LONGEST_QUEUE: Final = 100
_LONGEST_NAME: Final = 200
_LONGEST_REASON: Final = 500
_LONGEST_ACTOR: Final = 100
_LONGEST_TIME: Final = 100
#: Maximum length of a wrong value in an error message.
_LONGEST_SHOWN: Final = 60
#: Control characters and lone surrogates, which databases and terminals do not take.
_UNFIT: Final = frozenset({"Cc", "Cs"})


class BadRequest(CallbackError):
    """A field of the command is wrong, or the command can not be carried out."""

    code = "bad-request"


class NoSuchQueue(BadRequest):
    """The queue is not in the settings."""

    code = "no-such-queue"


class WrongState(BadRequest):
    """The task, or the number, is in a state in which the command makes no sense."""

    code = "illegal-move"


class NumberRefused(BadRequest):
    """The settings, or the rules of numbers, do not allow to call the number."""

    code = "refused"


@frozen
class Actor:
    """Who gave a command.

    Attributes:
        name: the user on this machine; empty if unknown.
    """

    name: str = ""

    def __str__(self) -> str:
        return self.name or "an unknown user"

    def named_in(self, why: Reason) -> Reason:
        """Return a reason that says who gave the command, if that is known."""
        return why.with_params(actor=self.name) if self.name else why


# -- checks of fields ------------------------------------------------------


def shown(value: object) -> str:
    """Return a wrong value as plain ASCII, short enough for an error message."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):
        # An integer with thousands of digits, or lists nested too deeply.
        return f"a {type(value).__name__} that is too large"
    if len(text) > _LONGEST_SHOWN:
        return text[: _LONGEST_SHOWN - 3] + "..."
    return text


def text_of(value: object, name: str, longest: int) -> str:
    """Return the text of a field, on one line; empty for None.

    Raises:
        BadRequest: it is not text, is too long, or contains characters that can not be
            stored.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be text (got {shown(value)})")
    if len(value) > longest:
        raise BadRequest(
            f"{name} has {len(value):,} characters, more than the {longest} allowed:"
            " shorten it"
        )
    text = " ".join(value.split())
    if any(unicodedata.category(char) in _UNFIT for char in text):
        raise BadRequest(
            f"{name} holds a control character or is no UTF-8 text"
            f" (got {shown(value)}): type it anew"
        )
    return text


def _text(name: str, longest: int) -> Any:
    def convert(value: object) -> str:
        return text_of(value, name, longest)

    return field(default="", converter=convert)


def _id(value: object) -> int:
    # A bool is an int to Python.
    if type(value) is not int:
        raise BadRequest("a task's id is a number; see 'tasks list'")
    if not 1 <= value <= HIGHEST_ID:
        raise BadRequest(
            f"{shown(value)} can not be a task's id, which is 1 to {HIGHEST_ID:,}; see"
            " 'tasks list'"
        )
    return value


def _limit(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_LISTED:
        raise BadRequest(
            f"{shown(value)} can not be the limit, which is 1 to {MAX_LISTED:,}: list"
            " less with the other options (see --help); for all, make a copy with"
            " 'callback-queue db backup' and ask that"
        )
    return value


def _before_id(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= HIGHEST_ID:
        raise BadRequest(
            f"{shown(value)} can not be before_id, which is an id from 1 to"
            f" {HIGHEST_ID:,}: the last one of the list before"
        )
    return value


def _flag(name: str) -> Any:
    def convert(value: object) -> bool:
        if value is None:
            return False
        if not isinstance(value, bool):
            raise BadRequest(f"{name} must be true or false (got {shown(value)})")
        return value

    return field(default=False, converter=convert)


def _status(value: object) -> Status | None:
    if value is None or value == "":
        return None
    try:
        return Status(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(Status)
        raise BadRequest(f"no status {shown(value)} (there are: {known})") from None


# -- the commands ----------------------------------------------------------


@frozen(kw_only=True)
class ShowStatus:
    """Show the state of the running service."""

    NAME: ClassVar = "status"


@frozen(kw_only=True)
class ListTasks:
    """List tasks, the latest first; without ``all`` and ``status``, the open ones.

    To continue a list, set ``before_id`` to its last id.
    """

    NAME: ClassVar = "tasks.list"
    all: bool = _flag("all")
    status: Status | None = field(default=None, converter=_status)
    queue: str = _text("queue", _LONGEST_QUEUE)
    number: str = _text("number", _LONGEST_NUMBER)
    limit: int = field(default=100, converter=_limit)
    before_id: int | None = field(default=None, converter=_before_id)


@frozen(kw_only=True)
class ShowTask:
    """Show one task with its attempts and its history."""

    NAME: ClassVar = "tasks.show"
    id: int = field(default=None, converter=_id)


@frozen(kw_only=True)
class AddTask:
    """Add a task: the agents of a queue call back a number."""

    NAME: ClassVar = "tasks.add"
    queue: str = _text("queue", _LONGEST_QUEUE)
    number: str = _text("number", _LONGEST_NUMBER)
    #: The client's name, shown to the agent.
    name: str = _text("name", _LONGEST_NAME)
    #: When the client is called, as in `read_time`; empty: as soon as possible.
    at: str = _text("at", _LONGEST_TIME)


@frozen(kw_only=True)
class CancelTask:
    """Cancel a task. If a call is in progress, the task ends when that call ends."""

    NAME: ClassVar = "tasks.cancel"
    id: int = field(default=None, converter=_id)
    reason: str = _text("reason", _LONGEST_REASON)


@frozen(kw_only=True)
class RetryTask:
    """Put a task back in line: due at once, with no attempts counted."""

    NAME: ClassVar = "tasks.retry"
    id: int = field(default=None, converter=_id)


@frozen(kw_only=True)
class RescheduleTask:
    """Move a task to another time, or call its client as soon as possible.

    A task that has ended is put back in line, with no attempts counted.
    """

    NAME: ClassVar = "tasks.reschedule"
    id: int = field(default=None, converter=_id)
    #: The time, as in `read_time`.
    at: str = _text("at", _LONGEST_TIME)
    #: Whether to call as soon as possible, in place of a time.
    now: bool = _flag("now")


@frozen(kw_only=True)
class BlockNumber:
    """Block a number: it is never called, and its open task ends."""

    NAME: ClassVar = "numbers.block"
    number: str = _text("number", _LONGEST_NUMBER)
    reason: str = _text("reason", _LONGEST_REASON)


@frozen(kw_only=True)
class UnblockNumber:
    """Unblock a number, so that it may be called again."""

    NAME: ClassVar = "numbers.unblock"
    number: str = _text("number", _LONGEST_NUMBER)


@frozen(kw_only=True)
class ListBlocked:
    """List the blocked numbers, the latest first."""

    NAME: ClassVar = "numbers.list"
    limit: int = field(default=100, converter=_limit)


@frozen(kw_only=True)
class ListRefused:
    """List the refusals, the latest first; ``before_id`` as for tasks."""

    NAME: ClassVar = "numbers.refused"
    queue: str = _text("queue", _LONGEST_QUEUE)
    limit: int = field(default=100, converter=_limit)
    before_id: int | None = field(default=None, converter=_before_id)


Command: TypeAlias = (
    ShowStatus
    | ListTasks
    | ShowTask
    | AddTask
    | CancelTask
    | RetryTask
    | RescheduleTask
    | BlockNumber
    | UnblockNumber
    | ListBlocked
    | ListRefused
)

#: Every command, by its name in requests.
COMMANDS: Final[Mapping[str, type[Command]]] = {
    kind.NAME: kind
    for kind in (
        ShowStatus,
        ListTasks,
        ShowTask,
        AddTask,
        CancelTask,
        RetryTask,
        RescheduleTask,
        BlockNumber,
        UnblockNumber,
        ListBlocked,
        ListRefused,
    )
}


# -- the answers -----------------------------------------------------------


@frozen(kw_only=True)
class TaskState:
    """A task, and whether it waits for its queue to open.

    Attributes:
        task: the task.
        queue_closed: whether it waits because its queue is closed.
        opens_at: when the queue opens; None if the task does not wait for that, or if
            no opening is known.
        zone: the name of the queue's time zone.
        position: the position in Asterisk's queue, from 1; None if the task does not
            wait in line there.
        expected_at: when an agent is expected to take the callback; None: unknown.
        why_not_yet: what keeps it from being called; None: nothing does, it is being
            called, it has ended, or no service runs.
    """

    task: CallbackTask
    queue_closed: bool = False
    opens_at: datetime | None = None
    zone: str = "UTC"
    position: int | None = None
    expected_at: datetime | None = None
    why_not_yet: Reason | None = None


@frozen(kw_only=True)
class TaskList:
    """Some tasks."""

    tasks: tuple[TaskState, ...]


@frozen(kw_only=True)
class TaskStory:
    """One task, its attempts and its history."""

    state: TaskState
    attempts: tuple[Attempt, ...]
    history: tuple[TaskEvent, ...]


@frozen(kw_only=True)
class TaskAdded:
    """The task that was added, or the open task that the number had already."""

    created: bool
    state: TaskState


@frozen(kw_only=True)
class TaskChanged:
    """A task after a command has changed it."""

    state: TaskState


@frozen(kw_only=True)
class NumberBlocked:
    """A number that was blocked."""

    #: False: it was blocked already.
    created: bool
    number: BlockedNumber
    #: The open task of the number, which ends.
    task: CallbackTask | None


@frozen(kw_only=True)
class NumberUnblocked:
    """A number that was unblocked, as it was blocked before."""

    number: BlockedNumber


@frozen(kw_only=True)
class BlockedNumbers:
    """Some blocked numbers."""

    numbers: tuple[BlockedNumber, ...]


@frozen(kw_only=True)
class RefusedCallers:
    """Some refusals."""

    refusals: tuple[Refusal, ...]


@frozen(kw_only=True)
class AsteriskStatus:
    """The link to Asterisk."""

    connected: bool
    version: str
    error: str


@frozen(kw_only=True)
class DatabaseHolder:
    """The process that runs the service on the database."""

    host: str
    pid: int
    since: datetime


@frozen(kw_only=True)
class QueueStatus:
    """One queue of the settings."""

    open: bool
    #: When the queue opens or closes next; None: never.
    until: datetime | None
    target: str
    #: Whether Asterisk has the target.
    known: bool
    #: Number of members of the target.
    members: int
    #: Interfaces of the free members.
    free: tuple[str, ...]
    #: Number of waiting callers.
    waiting: int
    #: Number of callbacks that wait in line among them.
    in_line: int
    #: Since when the oldest open task of the queue waits; None if there is none, or the
    #: database can not be used.
    oldest_task_since: datetime | None
    #: Number of agents who take calls: logged in and not paused.
    agents: int
    #: How long a caller is expected to wait who joins now, and the task that is called
    #: next, in seconds; None: unknown, or there is no task.
    expected_wait_s: float | None
    expected_callback_s: float | None


@frozen(kw_only=True)
class ServiceStatus:
    """The state of the running service."""

    version: str
    started_at: datetime
    asterisk: AsteriskStatus
    #: The problem of the database; None: it works.
    database_problem: Problem | None
    #: The holder of the lease: this service.
    holder: DatabaseHolder
    #: Number of tasks by status; None: unknown.
    tasks: Mapping[Status, int] | None
    #: Since when the oldest open task of all queues waits; None if there is none.
    oldest_task_since: datetime | None
    calls_under_way: int
    queues: Mapping[str, QueueStatus]
    #: Number of offers of a callback in the last 24 hours, by what the callers did;
    #: None: no queue has offers, or the database can not be used.
    offers: Mapping[OfferOutcome, int] | None = None


Answer: TypeAlias = (
    ServiceStatus
    | TaskList
    | TaskStory
    | TaskAdded
    | TaskChanged
    | NumberBlocked
    | NumberUnblocked
    | BlockedNumbers
    | RefusedCallers
)

#: A function that carries out the commands of one class.
Handler: TypeAlias = Callable[[Any, Actor], Awaitable[Answer]]


class Dispatch:
    """Passes each command to its handler."""

    def __init__(self, *tables: Mapping[type[Command], Handler]) -> None:
        self._handlers = {kind: do for table in tables for kind, do in table.items()}

    async def do(self, command: Command, actor: Actor) -> Answer:
        """Carry out a command.

        Raises:
            CallbackError: the command can not be carried out; the text says why.
        """
        handler = self._handlers.get(type(command))
        if handler is None:
            raise BadRequest(
                f"{command.NAME} needs the running service - start it with"
                " 'systemctl start callback-queue'"
            )
        return await handler(command, actor)


def actor_of(value: object) -> Actor:
    """Return the actor of a command from the name in its request.

    Raises:
        BadRequest: the value can not be a name.
    """
    return Actor(text_of(value, "actor", _LONGEST_ACTOR))
