# SPDX-License-Identifier: MIT
"""The commands of an operator, and their answers, as frozen classes.

Each command checks its own fields when it is made, so a command that exists can be
carried out safely: ids fit into the database, texts hold nothing that the database, the
log or a terminal can not take. Knows no JSON, no socket and no command line: those are
edges (:mod:`fastagi.doors.codec`). What carries a command out is a desk.

They are attrs classes, not pydantic models: the command line makes one for each call,
and pydantic takes half a second to load.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, TypeAlias

from attrs import field, frozen

from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.task import CallbackTask, Status, TaskEvent
from fastagi.errors import CallbackError, Problem

#: The largest id that both databases can hold.
HIGHEST_ID: Final = 2**31 - 1
#: In one answer; larger ones belong into a copy of the database.
MOST_LISTED: Final = 10_000
_LONGEST_NUMBER: Final = 100
_LONGEST_QUEUE: Final = 100
_LONGEST_NAME: Final = 200
_LONGEST_REASON: Final = 500
_LONGEST_ACTOR: Final = 100
#: How much of a wrong value an error repeats.
_LONGEST_SHOWN: Final = 60
#: Control characters and lone surrogates: neither databases nor terminals take them.
_UNFIT: Final = frozenset({"Cc", "Cs"})


class BadRequest(CallbackError):
    """The command's arguments make no sense."""


@frozen
class Actor:
    """Who gave a command.

    Attributes:
        name: the user at this machine; empty if that is not known.
    """

    name: str = ""

    def __str__(self) -> str:
        return self.name or "an unknown user"


# -- what a field may hold -------------------------------------------------


def shown(value: object) -> str:
    """Return a wrong value as plain ASCII, short enough for an error message."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):
        # An integer with thousands of digits, or something nested too deeply.
        return f"a {type(value).__name__} that is too large"
    if len(text) > _LONGEST_SHOWN:
        return text[: _LONGEST_SHOWN - 3] + "..."
    return text


def text_of(value: object, name: str, longest: int) -> str:
    """Return the text of a field, on one line; empty for None.

    Raises:
        BadRequest: it is no text, too long, or holds what can not be stored.
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
    if type(value) is not int or not 1 <= value <= MOST_LISTED:
        raise BadRequest(
            f"{shown(value)} can not be the limit, which is 1 to {MOST_LISTED:,}: list"
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


def _flag(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadRequest(f"all must be true or false (got {shown(value)})")
    return value


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
    """Tell what the running service sees."""

    NAME: ClassVar = "status"


@frozen(kw_only=True)
class ListTasks:
    """List tasks, the latest first; without ``all`` and ``status``, the open ones.

    ``before_id`` continues a list: the last id of the one before.
    """

    NAME: ClassVar = "tasks.list"
    all: bool = field(default=False, converter=_flag)
    status: Status | None = field(default=None, converter=_status)
    queue: str = _text("queue", _LONGEST_QUEUE)
    number: str = _text("number", _LONGEST_NUMBER)
    limit: int = field(default=100, converter=_limit)
    before_id: int | None = field(default=None, converter=_before_id)


@frozen(kw_only=True)
class ShowTask:
    """Tell the whole story of one task."""

    NAME: ClassVar = "tasks.show"
    id: int = field(default=None, converter=_id)


@frozen(kw_only=True)
class AddTask:
    """Have a number called back by a queue."""

    NAME: ClassVar = "tasks.add"
    queue: str = _text("queue", _LONGEST_QUEUE)
    number: str = _text("number", _LONGEST_NUMBER)
    #: To show the agent.
    name: str = _text("name", _LONGEST_NAME)


@frozen(kw_only=True)
class CancelTask:
    """End a task; one whose call is under way ends with that call."""

    NAME: ClassVar = "tasks.cancel"
    id: int = field(default=None, converter=_id)
    reason: str = _text("reason", _LONGEST_REASON)


@frozen(kw_only=True)
class RetryTask:
    """Put a task in line again, due at once, its attempts forgotten."""

    NAME: ClassVar = "tasks.retry"
    id: int = field(default=None, converter=_id)


@frozen(kw_only=True)
class BlockNumber:
    """Have a number never called again; its open task ends."""

    NAME: ClassVar = "numbers.block"
    number: str = _text("number", _LONGEST_NUMBER)
    reason: str = _text("reason", _LONGEST_REASON)


@frozen(kw_only=True)
class UnblockNumber:
    """Let a number be called again."""

    NAME: ClassVar = "numbers.unblock"
    number: str = _text("number", _LONGEST_NUMBER)


@frozen(kw_only=True)
class ListBlocked:
    """List the numbers that are never called, the latest first."""

    NAME: ClassVar = "numbers.list"
    limit: int = field(default=100, converter=_limit)


@frozen(kw_only=True)
class ListRefused:
    """List who was not called back, the latest first; ``before_id`` as for tasks."""

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
    | BlockNumber
    | UnblockNumber
    | ListBlocked
    | ListRefused
)

#: Every command there is, by the name it has outside.
COMMANDS: Final[Mapping[str, type[Command]]] = {
    kind.NAME: kind
    for kind in (
        ShowStatus,
        ListTasks,
        ShowTask,
        AddTask,
        CancelTask,
        RetryTask,
        BlockNumber,
        UnblockNumber,
        ListBlocked,
        ListRefused,
    )
}


# -- the answers -----------------------------------------------------------


@frozen(kw_only=True)
class TaskState:
    """A task, and whether it waits for its queue to open."""

    task: CallbackTask
    queue_closed: bool = False
    opens_at: datetime | None = None


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
    """A task that was added, or the open one that the number had already."""

    created: bool
    state: TaskState


@frozen(kw_only=True)
class TaskChanged:
    """A task as it is after a command."""

    state: TaskState


@frozen(kw_only=True)
class NumberBlocked:
    """A number that is never called."""

    #: False: it was blocked before.
    created: bool
    number: BlockedNumber
    #: Its open task, which ends.
    task: CallbackTask | None


@frozen(kw_only=True)
class NumberUnblocked:
    """A number that may be called again, and what was known of it."""

    number: BlockedNumber


@frozen(kw_only=True)
class BlockedNumbers:
    """Some numbers that are never called."""

    numbers: tuple[BlockedNumber, ...]


@frozen(kw_only=True)
class RefusedCallers:
    """Some callers who were not called back."""

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
    #: When it opens or closes next; None: never.
    until: datetime | None
    target: str
    #: Whether Asterisk has it.
    known: bool
    members: int
    free: tuple[str, ...]
    waiting: int
    #: Of its open tasks, since when the first in line waits; None if it has none, or
    #: the database can not be used.
    oldest_task_since: datetime | None


@frozen(kw_only=True)
class ServiceStatus:
    """What the running service sees."""

    version: str
    started_at: datetime
    asterisk: AsteriskStatus
    #: What is wrong with the database, if anything is.
    database_problem: Problem | None
    #: This service, as it stands in the database for others to see.
    holder: DatabaseHolder
    #: By status; None: not known.
    tasks: Mapping[Status, int] | None
    #: Of all open tasks, whatever their queue.
    oldest_task_since: datetime | None
    calls_under_way: int
    queues: Mapping[str, QueueStatus]


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

#: Carries out commands of one class.
Handler: TypeAlias = Callable[[Any, Actor], Awaitable[Answer]]


class Dispatch:
    """Hands each command to what carries it out."""

    def __init__(self, *tables: Mapping[type[Command], Handler]) -> None:
        self._handlers = {kind: do for table in tables for kind, do in table.items()}

    async def do(self, command: Command, actor: Actor) -> Answer:
        """Carry out a command.

        Raises:
            CallbackError: it can not be done; the text says why.
        """
        handler = self._handlers.get(type(command))
        if handler is None:
            raise BadRequest(
                f"{command.NAME} needs the running service - start it with"
                " 'systemctl start callback-queue'"
            )
        return await handler(command, actor)


def actor_of(value: object) -> Actor:
    """Return who gave a command, as the command line says.

    Raises:
        BadRequest: it is no name.
    """
    return Actor(text_of(value, "actor", _LONGEST_ACTOR))
