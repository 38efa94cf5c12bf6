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

import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from attrs import field, frozen

from fastagi.domain.attempt import Attempt, Stage
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.difference import Difference
from fastagi.domain.number_records import Erased, NumberRecords
from fastagi.domain.offers import OfferOutcome
from fastagi.domain.reason import Code, Reason, name_setting
from fastagi.domain.task import CallbackTask, Kind, Status, TaskEvent
from fastagi.errors import CallbackError, Problem

E = TypeVar("E", bound=StrEnum)

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
_LONGEST_NOTE: Final = 1000
_LONGEST_AGENT: Final = 200
_LONGEST_SEARCH: Final = 100
#: Maximum number of tasks that one bulk command changes.
MAX_BULK: Final = 1_000
#: Maximum length of a settings file, in bytes.
LONGEST_FILE: Final = 256 * 1024
#: Maximum length of a wrong value in an error message.
_LONGEST_SHOWN: Final = 60
#: An id in a text with commas.
_DIGITS: Final = re.compile(r" *[0-9]{1,12} *", re.ASCII)
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
    """The settings, or the rules of numbers, do not allow to call the number.

    Attributes:
        why: the reason.
    """

    code = "refused"

    def __init__(self, problem: str, why: Reason) -> None:
        super().__init__(f"{problem}{name_setting(why.code)}")
        self.why = why


class SelectionChanged(CallbackError):
    """Other tasks match now than those that a preview showed."""

    code = "selection-changed"


class NoSuchAgent(BadRequest):
    """The queue has no such agent, or several of that name."""

    code = "no-such-agent"


class Busy(CallbackError):
    """There is too much to do at the moment; nothing was done."""

    code = "busy"


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


def _id_or_none(value: object) -> int | None:
    return None if value is None else _id(value)


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


def _file_text(value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"text must be the contents of a file (got {shown(value)})")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadRequest("text is no UTF-8 text") from None
    if size > LONGEST_FILE:
        raise BadRequest(
            f"text has {size:,} bytes, more than the {LONGEST_FILE:,} that a settings"
            " file may have"
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


def _words(value: object, name: str) -> list[str]:
    """Return the words of a list, or of a text with commas."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [word.strip() for word in value.split(",")]
    if isinstance(value, list | tuple):
        return [text_of(word, name, _LONGEST_SEARCH) for word in value]
    raise BadRequest(f"{name} must be a list, or text with commas (got {shown(value)})")


def _members(kind: type[E], name: str) -> Any:
    """Return the field for any number of members of an enum."""

    def convert(value: object) -> tuple[E, ...]:
        found = []
        for word in _words(value, name):
            try:
                found.append(kind(word))
            except ValueError:
                known = ", ".join(kind)
                raise BadRequest(
                    f"no {name} {shown(word)} (there are: {known})"
                ) from None
        return tuple(dict.fromkeys(found))

    return field(default=(), converter=convert)


def _ids(value: object) -> tuple[int, ...]:
    words = value.split(",") if isinstance(value, str) and value else value or []
    if not isinstance(words, list | tuple):
        raise BadRequest(f"ids must be a list of ids (got {shown(value)})")
    found = []
    for word in words:
        is_number = isinstance(word, str) and _DIGITS.fullmatch(word)
        found.append(_id(int(word) if is_number else word))
    ids = tuple(dict.fromkeys(found))
    if len(ids) > MAX_BULK:
        raise BadRequest(
            f"there are {len(ids):,} ids, more than the {MAX_BULK:,} allowed at a time"
        )
    return ids


def _code_field(value: object) -> Code | None:
    text = text_of(value, "reason_code", _LONGEST_SEARCH)
    if not text:
        return None
    try:
        return Code(text)
    except ValueError:
        raise BadRequest(
            f"no reason code {shown(text)}; docs/reasons.md lists them"
        ) from None


def _action(value: object) -> BulkAction:
    try:
        return BulkAction(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(BulkAction)
        raise BadRequest(f"no action {shown(value)} (there are: {known})") from None


class BulkAction(StrEnum):
    """What a bulk command does to each of its tasks."""

    CANCEL = "cancel"
    RETRY = "retry"
    RESCHEDULE = "reschedule"
    #: To the front of its queue; of several tasks the oldest is called first.
    MOVE = "move"
    ASSIGN = "assign"
    RELEASE = "release"
    NOTE = "note"


def _block(value: object) -> str:
    if value in (None, "", "keep", "lift"):
        return str(value or "")
    raise BadRequest(f"block must be keep or lift (got {shown(value)})")


# -- the commands ----------------------------------------------------------


@frozen(kw_only=True)
class ShowStatus:
    """Show the state of the running service."""

    NAME: ClassVar = "status"


@frozen(kw_only=True)
class TaskFilter:
    """Which tasks are meant. All that is given must match."""

    all: bool = _flag("all")
    #: One of these; without any and without ``all``: the open ones.
    status: tuple[Status, ...] = _members(Status, "status")
    kind: tuple[Kind, ...] = _members(Kind, "kind")
    queue: str = _text("queue", _LONGEST_QUEUE)
    number: str = _text("number", _LONGEST_NUMBER)
    #: A part of the number or of the name.
    text: str = _text("text", _LONGEST_SEARCH)
    #: The code of the reason of its status.
    reason_code: Code | None = field(default=None, converter=_code_field)
    #: Created from this time on, and before that one: ISO 8601. A time without a zone,
    #: or a day, is one of the queue's time zone.
    created_from: str = _text("created_from", _LONGEST_TIME)
    created_to: str = _text("created_to", _LONGEST_TIME)


@frozen(kw_only=True)
class ListTasks(TaskFilter):
    """List tasks, the latest first; without ``all`` and ``status``, the open ones.

    To continue a list, set ``before_id`` to its last id. That neither skips nor repeats
    a task when tasks are added or changed meanwhile.
    """

    NAME: ClassVar = "tasks.list"
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
class ChangeWithNote:
    """A change of one task, with a note for its history.

    The two are stored together, or neither is.
    """

    note: str = _text("note", _LONGEST_NOTE)


@frozen(kw_only=True)
class RetryTask(ChangeWithNote):
    """Put a task back in line: due at once, with no attempts counted."""

    NAME: ClassVar = "tasks.retry"
    id: int = field(default=None, converter=_id)


@frozen(kw_only=True)
class RescheduleTask(ChangeWithNote):
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
class MoveTask(ChangeWithNote):
    """Give an open task another place in line.

    In front of its queue it is due at once, and its chosen time is forgotten.
    """

    NAME: ClassVar = "tasks.move"
    id: int = field(default=None, converter=_id)
    #: Whether it is called next.
    front: bool = _flag("front")
    #: The open task of the same queue behind which it is called, in place of that.
    behind: int | None = field(default=None, converter=_id_or_none)


@frozen(kw_only=True)
class AssignTask(ChangeWithNote):
    """Let only one agent be asked for an open task, or any agent again."""

    NAME: ClassVar = "tasks.assign"
    id: int = field(default=None, converter=_id)
    #: The agent's interface, or the name of the member in the queue.
    agent: str = _text("agent", _LONGEST_AGENT)
    #: For how long, such as ``30m``; empty: until it is released.
    duration: str = _text("duration", _LONGEST_TIME)
    #: Whether to ask any agent again.
    release: bool = _flag("release")


@frozen(kw_only=True)
class NoteTask:
    """Write a note to the history of a task, which may have ended."""

    NAME: ClassVar = "tasks.note"
    id: int = field(default=None, converter=_id)
    note: str = _text("note", _LONGEST_NOTE)


@frozen(kw_only=True)
class BulkTasks(TaskFilter):
    """Change many tasks in the same way, the oldest first.

    Each task is changed, or refused with a reason, as by the command for one task.
    """

    NAME: ClassVar = "tasks.bulk"
    action: BulkAction = field(default=None, converter=_action)
    #: The tasks, in place of a filter.
    ids: tuple[int, ...] = field(default=(), converter=_ids)
    #: Whether to say only what would happen.
    preview: bool = _flag("preview")
    #: The fingerprint of a preview: nothing is changed if other tasks match now.
    expect: str = _text("expect", _LONGEST_SEARCH)
    #: Of a cancellation.
    reason: str = _text("reason", _LONGEST_REASON)
    #: The time, or as soon as possible, to reschedule.
    at: str = _text("at", _LONGEST_TIME)
    now: bool = _flag("now")
    #: As in `AssignTask`.
    agent: str = _text("agent", _LONGEST_AGENT)
    duration: str = _text("duration", _LONGEST_TIME)
    #: As in `NoteTask`; of another action: as in `ChangeWithNote`.
    note: str = _text("note", _LONGEST_NOTE)


@frozen(kw_only=True)
class CheckNumber:
    """Tell whether a queue may call a number now, and why not."""

    NAME: ClassVar = "numbers.check"
    queue: str = _text("queue", _LONGEST_QUEUE)
    number: str = _text("number", _LONGEST_NUMBER)


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
    """List the blocked numbers, the latest first.

    To continue a list, set ``before`` to the last number in it.
    """

    NAME: ClassVar = "numbers.list"
    limit: int = field(default=100, converter=_limit)
    before: str = _text("before", _LONGEST_NUMBER)


@frozen(kw_only=True)
class ListRefused:
    """List the refusals, the latest first; ``before_id`` as for tasks."""

    NAME: ClassVar = "numbers.refused"
    queue: str = _text("queue", _LONGEST_QUEUE)
    limit: int = field(default=100, converter=_limit)
    before_id: int | None = field(default=None, converter=_before_id)


@frozen(kw_only=True)
class ShowSettings:
    """List the settings in force, or those of one queue."""

    NAME: ClassVar = "settings.show"
    queue: str = _text("queue", _LONGEST_QUEUE)


@frozen(kw_only=True)
class CheckSettings:
    """Try a changed settings file; nothing is changed."""

    NAME: ClassVar = "settings.check"
    #: The contents of the file.
    text: str = field(default="", converter=_file_text, repr=False)


@frozen(kw_only=True)
class RunCheck:
    """Run ``callback-queue check``, as the user of the service."""

    NAME: ClassVar = "check.run"


@frozen(kw_only=True)
class ExportNumber:
    """Return everything that is stored about a number."""

    NAME: ClassVar = "numbers.export"
    number: str = _text("number", _LONGEST_NUMBER)


@frozen(kw_only=True)
class EraseNumber:
    """Erase a number, and the names and calls that belong to it."""

    NAME: ClassVar = "numbers.erase"
    number: str = _text("number", _LONGEST_NUMBER)
    #: What becomes of a block: ``keep`` or ``lift``; empty: refuse if it is blocked.
    block: str = field(default="", converter=_block)


Command: TypeAlias = (
    ShowStatus
    | ListTasks
    | ShowTask
    | AddTask
    | CancelTask
    | RetryTask
    | RescheduleTask
    | MoveTask
    | AssignTask
    | NoteTask
    | BulkTasks
    | CheckNumber
    | BlockNumber
    | UnblockNumber
    | ListBlocked
    | ListRefused
    | ShowSettings
    | CheckSettings
    | RunCheck
    | ExportNumber
    | EraseNumber
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
        MoveTask,
        AssignTask,
        NoteTask,
        BulkTasks,
        CheckNumber,
        BlockNumber,
        UnblockNumber,
        ListBlocked,
        ListRefused,
        ShowSettings,
        CheckSettings,
        RunCheck,
        ExportNumber,
        EraseNumber,
    )
}


# -- the answers -----------------------------------------------------------


@frozen(kw_only=True)
class CallUnderWay:
    """The call of a task that is in progress.

    Attributes:
        stage: how far it is.
        since: since when it is at this stage, as far as the service saw it.
        agent: interface of the agent who has answered or whose phone rings; empty:
            none yet.
        agent_name: the agent's name in the queue; empty: none, or not known.
        client_dialled: whether the client is called, or was.
    """

    stage: Stage
    since: datetime
    agent: str = ""
    agent_name: str = ""
    client_dialled: bool = False


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
        call: its call in progress; None: there is none, or it was not looked for.
    """

    task: CallbackTask
    queue_closed: bool = False
    opens_at: datetime | None = None
    zone: str = "UTC"
    position: int | None = None
    expected_at: datetime | None = None
    why_not_yet: Reason | None = None
    call: CallUnderWay | None = None


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
class BulkResult:
    """What happened to one task, or would happen."""

    task_id: int
    #: Empty if there is no such task.
    number: str
    queue: str
    status: Status | None
    #: Why it is left as it is; empty: it is changed.
    refused: str


@frozen(kw_only=True)
class TasksChanged:
    """What happened to each task of a bulk command, or would happen."""

    action: BulkAction
    preview: bool
    #: Identifies the selected tasks; see ``BulkTasks.expect``.
    fingerprint: str
    results: tuple[BulkResult, ...]

    @property
    def changed(self) -> int:
        """How many tasks are changed."""
        return sum(not result.refused for result in self.results)


@frozen(kw_only=True)
class LimitUse:
    """How much of a limit is used."""

    #: Name of the setting.
    setting: str
    used: int
    #: Maximum number of calls; 0: there is no limit.
    allowed: int
    #: Length of the window in seconds.
    window_s: float
    #: When one more call is allowed; None: now.
    free_at: datetime | None


@frozen(kw_only=True)
class NumberChecked:
    """Whether a queue may call a number now, and what is known about it."""

    queue: str
    number: str
    #: The number as it is dialled by the rules; empty: it is never called.
    dialled: str
    #: Asterisk's dial string; empty: it is never called.
    dial_string: str
    #: Country of the number, such as ``DE``; empty: none, or unknown.
    region: str
    #: Each reason why it is not called now; none: it may be called.
    why_not: tuple[Reason, ...]
    #: What keeps every callback of the queue from beginning now, such as its opening
    #: hours; None: nothing.
    not_now: Reason | None
    blocked: BlockedNumber | None
    limits: tuple[LimitUse, ...]
    open_task: CallbackTask | None
    last_refusal: Refusal | None


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
class NumberData:
    """Everything that is stored about a number."""

    number: str
    records: NumberRecords


@frozen(kw_only=True)
class NumberErased:
    """How much was erased; the number itself is not repeated."""

    erased: Erased
    #: Whether the number is blocked still.
    blocked: bool


@frozen(kw_only=True)
class AsteriskStatus:
    """The link to Asterisk."""

    connected: bool
    version: str
    error: str


@frozen(kw_only=True)
class NodeStatus:
    """One Asterisk."""

    name: str
    asterisk: AsteriskStatus
    #: Number of attempts in progress there that do not only wait in line.
    calls_under_way: int


@frozen(kw_only=True)
class DatabaseHolder:
    """The process that runs the service on the database."""

    host: str
    pid: int
    since: datetime


@frozen(kw_only=True)
class InstanceStatus:
    """Another service on the same database."""

    name: str
    version: str
    #: The process, if it runs.
    process: DatabaseHolder | None
    #: When it certainly ran.
    seen_at: datetime
    #: The Asterisks that it holds, and since when.
    nodes: tuple[tuple[str, datetime], ...]
    #: Since when it has had no link to some of them.
    lost_links: Mapping[str, datetime]
    #: The settings that it has otherwise.
    differences: tuple[Difference, ...]

    @property
    def where(self) -> str:
        """Its name, in words."""
        where = f" ({self.process.host})" if self.process is not None else ""
        return f"instance {self.name}{where}"


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
    #: The PJSIP endpoint of outbound_channel that Asterisk does not have; empty: it
    #: has it, or that is unknown.
    missing_trunk: str = ""


@frozen(kw_only=True)
class ServiceStatus:
    """The state of the running service."""

    version: str
    started_at: datetime
    #: The only Asterisk, or the first one.
    asterisk: AsteriskStatus
    #: All of them.
    nodes: tuple[NodeStatus, ...]
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
    #: The name of this service; empty: it is not one of several.
    instance: str = ""
    #: The other services on the same database.
    others: tuple[InstanceStatus, ...] = ()


@frozen(kw_only=True)
class ShownSetting:
    """One setting.

    Attributes:
        name: with its section, such as ``queues.support.attempts``.
        value: as it is written in the file, a JSON value; None: there is none, or it is
            secret.
        default: what applies if it is nowhere in the file.
        origin: where the value is from: ``file``, ``defaults`` (of all queues),
            ``built_in``, ``environment``.
        line: its line in the file; None: it is not from the file.
        file: the included file that the line is in; empty: the settings file itself.
        is_secret: whether the value, or a part of it, is not shown.
        needs_restart: whether a change takes effect at the next start only, and not at
            a reload.
        waits_for_restart: whether the service still uses another value for that reason.
    """

    name: str
    value: Any
    default: Any
    origin: str
    line: int | None
    file: str
    is_secret: bool
    needs_restart: bool
    waits_for_restart: bool


@frozen(kw_only=True)
class SettingsShown:
    """The settings in force."""

    #: Path of the file they were loaded from.
    file: str
    loaded_at: datetime
    #: Each is made when it is read.
    settings: Iterable[ShownSetting]


@frozen(kw_only=True)
class SettingsChecked:
    """What a changed settings file would do, as in `fastagi.config.dry_run`."""

    found: Mapping[str, Any]


@frozen(kw_only=True)
class CheckFinding:
    """One finding of ``check``; without problem and remedy the whole area is good."""

    area: str
    #: ``ok``, ``warning`` or ``fault``.
    level: str
    where: str
    problem: str
    remedy: str
    #: False: it could not be checked.
    checked: bool = True


@frozen(kw_only=True)
class CheckDone:
    """The findings of ``check``, and when it ended."""

    at: datetime
    took_s: float
    findings: tuple[CheckFinding, ...]


Answer: TypeAlias = (
    ServiceStatus
    | TaskList
    | TaskStory
    | TaskAdded
    | TaskChanged
    | TasksChanged
    | NumberChecked
    | NumberBlocked
    | NumberUnblocked
    | BlockedNumbers
    | RefusedCallers
    | SettingsShown
    | SettingsChecked
    | CheckDone
    | NumberData
    | NumberErased
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
