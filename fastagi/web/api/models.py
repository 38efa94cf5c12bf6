# SPDX-License-Identifier: MIT
"""The bodies of requests and answers, with their descriptions for the reference.

Answers have the same fields as the JSON of the command line. Later versions may add
fields and codes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from fastagi.domain.attempt import Disposition
from fastagi.domain.reason import Code
from fastagi.domain.task import Kind, Status
from fastagi.domain.task import Move as StoryMove
from fastagi.service.commands import HIGHEST_ID, MAX_BULK, BulkAction

T = TypeVar("T")

_TASK: Final[dict[str, Any]] = {
    "id": 17,
    "kind": "requested",
    "status": "pending",
    "number": "+49301234567",
    "name": "Jane Doe",
    "language": "en",
    "queue": "support",
    "joined_at": "2026-11-29T20:10:00.000+00:00",
    "priority": 0,
    "created_at": "2026-11-29T20:10:04.000+00:00",
    "due_at": "2026-11-29T20:10:04.000+00:00",
    "expires_at": "2026-11-29T22:10:04.000+00:00",
    "chosen_at": None,
    "ended_at": None,
    "attempts": 0,
    "member_attempts": 0,
    "reason": "the client pressed the key in queue support",
    "reason_code": "requested",
    "reason_params": {"queue": "support"},
    "cancel_requested": False,
    "moved": False,
    "assigned_to": None,
    "assigned_until": None,
    "linkedid": "1795378204.12",
    "position": None,
    "expected_at": None,
    "why_not_yet": {
        "code": "no_agent_free",
        "params": {},
        "words": "no agent was free for the callback",
    },
}

Number = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="A telephone number in any form: spaces, dashes and brackets do not"
        " count.",
        examples=["+49 30 1234567"],
    ),
]
QueueName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="The name of a queue, as in the settings.",
        examples=["support"],
    ),
]
Words = Annotated[
    str,
    Field(
        max_length=500,
        description="Why; it is shown in the story of the task.",
        examples=["asked by mail"],
    ),
]
Agent = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="The agent's interface, or the name of the member in the queue.",
        examples=["PJSIP/alice"],
    ),
]
Duration = Annotated[
    str,
    Field(
        max_length=100,
        description="For how long, such as `30m`; empty: until it is released.",
        examples=["30m"],
    ),
]
NoteText = Annotated[str, Field(min_length=1, max_length=1000)]
When = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="A time: ISO 8601 with or without a zone, or a time of day. Without"
        " a zone it is a time in the zone of the queue.",
        examples=["2026-12-01T10:30", "16:00"],
    ),
]


def _time(value: object) -> datetime:
    """Return a time from text, in UTC if it has no zone; no numbers of seconds."""
    if not isinstance(value, str) or "T" not in value:
        raise ValueError("a time is written as in 2026-12-01T10:30:00Z")
    at = datetime.fromisoformat(value)
    return at if at.utcoffset() is not None else at.replace(tzinfo=UTC)


Time = Annotated[
    datetime,
    PlainValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
TaskId = Annotated[int, Field(ge=1, le=HIGHEST_ID, examples=[17])]


class Body(BaseModel):
    """The body of a request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


# -- errors ------------------------------------------------------------------


class FieldError(BaseModel):
    """A field that is wrong."""

    in_: Literal["body", "query", "path", "header"] = Field(
        alias="in", description="The part of the request."
    )
    pointer: str = Field(
        description="JSON Pointer (RFC 6901) to the field.", examples=["/number"]
    )
    detail: str = Field(description="What is wrong with it.")


class ReasonObject(BaseModel):
    """A reason of the service: docs/reasons.md lists the codes."""

    code: str = Field(examples=["no_agent_free"])
    params: dict[str, Any] = Field(description="The parameters of the code.")
    words: str = Field(description="The reason in English.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(description="The phrase of the status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, and what to do, for people.")
    code: str = Field(description="What is wrong, for programs.")
    errors: list[FieldError] | None = Field(
        default=None, description="The fields that are wrong."
    )
    reason: ReasonObject | None = Field(
        default=None, description="Why the service refuses it, if it has a reason."
    )


# -- pages -------------------------------------------------------------------


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null: this is the last one."
    )


# -- tasks -------------------------------------------------------------------


class Task(BaseModel):
    """A callback: the promise to call one client back."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TASK]})

    id: int
    kind: Kind = Field(
        description="Why it exists: `requested` by the caller, a `missed` call, or"
        " `manual`: added by an operator or a program."
    )
    status: Status = Field(
        description="`pending` and `calling` are open. The others have ended;"
        " `failed`, `expired` and `cancelled` tasks can be put back in line."
    )
    number: str = Field(
        description="The client's number; the last digits are hidden from those who may"
        " not see it."
    )
    name: str = Field(description="The client's name; may be empty.")
    language: str
    queue: str
    joined_at: datetime = Field(description="The place in line.")
    priority: int = Field(description="Asterisk's priority; a higher one goes first.")
    created_at: datetime
    due_at: datetime = Field(description="When it may be called.")
    expires_at: datetime = Field(description="When it becomes too old to be called.")
    chosen_at: datetime | None = Field(
        description="The time that somebody chose; null: as soon as possible."
    )
    ended_at: datetime | None
    attempts: int = Field(description="How often the client was dialled.")
    member_attempts: int = Field(description="How often no agent answered.")
    reason: str = Field(description="Why it has its status, in English.")
    reason_code: str | None
    reason_params: dict[str, Any]
    cancel_requested: bool = Field(
        description="Whether it is cancelled as soon as the call under way ends."
    )
    moved: bool = Field(description="Whether an operator gave it another place.")
    assigned_to: str | None = Field(
        description="Interface of the only agent who is asked; null: any agent."
    )
    assigned_until: datetime | None = Field(
        description="Until when only this agent is asked; null: until it is released."
    )
    linkedid: str = Field(description="Asterisk's id of the caller's call.")
    position: int | None = Field(
        description="Position in Asterisk's queue, from 1; null: not in line there, or"
        " the service can not be reached."
    )
    expected_at: datetime | None = Field(
        description="When an agent is expected to take it; null: unknown."
    )
    why_not_yet: ReasonObject | None = Field(
        description="What keeps an open task from being called; null: nothing does, it"
        " has ended, or the service can not be reached."
    )


class Attempt(BaseModel):
    """One try to connect the client."""

    id: int
    channel_id: str
    node: str = Field(description="The name of the Asterisk that places the call.")
    started_at: datetime
    ended_at: datetime | None
    disposition: Disposition | None = Field(description="The result; null: under way.")
    member: str = Field(description="The agent's interface; may be empty.")
    talk_s: float
    reason: str
    reason_code: str | None
    reason_params: dict[str, Any]


class HistoryEvent(BaseModel):
    """One entry of a task's story."""

    at: datetime
    move: StoryMove
    status: Status = Field(description="The status after it.")
    text: str = Field(description="What happened and why, in English.")
    reason_code: str | None
    reason_params: dict[str, Any]
    attempt_id: int | None


class Story(BaseModel):
    """A task with everything that happened to it."""

    task: Task
    attempts: list[Attempt]
    history: list[HistoryEvent]


class CreateTask(Body):
    """A client who is to be called back."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"queue": "support", "number": "+49 30 1234567", "name": "Jane Doe"},
                {"queue": "support", "number": "030 1234567", "at": "2026-12-01T10:30"},
            ]
        }
    )

    queue: QueueName
    number: Number
    name: Annotated[
        str, Field(max_length=200, description="The name that the agent sees.")
    ] = ""
    at: When | None = None
    client_address: Annotated[
        str,
        Field(
            max_length=45,
            description="The IP address of the visitor of a web site, so that one"
            " visitor can not make many requests. It is not stored.",
            examples=["203.0.113.7"],
        ),
    ] = ""


class Created(BaseModel):
    """The answer to a new task."""

    created: bool = Field(
        description="False: the client had this open task already, and it keeps its"
        " place."
    )
    task: Task


class CreatedMinimal(BaseModel):
    """The answer with `Prefer: return=minimal`."""

    created: bool
    id: int


class Accepted(BaseModel):
    """The answer to a token that may create tasks and not read them.

    It does not tell whether the client has an open task, or is blocked.
    """

    accepted: Literal[True]


class Changed(BaseModel):
    """A task after a change."""

    task: Task


class Reasoned(Body):
    """A change with a reason."""

    reason: Words = ""


class Reschedule(Body):
    """Another time for a task."""

    at: When | None = Field(
        default=None, description="The new time; null: call as soon as possible."
    )


class Move(Body):
    """Another place in line: in front, or behind another task."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"front": True}, {"behind": 12}]}
    )

    front: bool = Field(default=False, description="Whether it is called next.")
    behind: TaskId | None = Field(
        default=None,
        description="The open task of the same queue after which it is called.",
    )


class Assign(Body):
    """The only agent who is asked for a task, or null: any agent again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"agent": "PJSIP/alice", "duration": "30m"}, {"agent": None}]
        }
    )

    agent: Agent | None
    duration: Duration = ""


class Note(Body):
    """A note for the story of a task."""

    note: NoteText


class BulkFilter(Body):
    """Which tasks are changed; all that is given must match."""

    queue: Annotated[str, Field(max_length=100)] = ""
    status: list[Status] = Field(
        default_factory=list, max_length=10, description="Without any: the open tasks."
    )
    all: bool = Field(
        default=False, description="Whether tasks of all statuses are meant."
    )
    kind: list[Kind] = Field(default_factory=list, max_length=10)
    text: Annotated[
        str, Field(max_length=100, description="A part of the number or of the name.")
    ] = ""
    reason_code: Code | None = None
    created_from: Annotated[str, Field(max_length=100)] = ""
    created_to: Annotated[str, Field(max_length=100)] = ""


class Bulk(Body):
    """The same change to many tasks, at most 1,000."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "action": "cancel",
                    "filter": {"queue": "support", "kind": ["missed"]},
                    "preview": True,
                },
                {"action": "note", "ids": [17, 18], "note": "asked by mail"},
            ]
        }
    )

    action: BulkAction = Field(
        description="`move`: to the front, the oldest first. `assign` needs `agent`,"
        " `note` needs `note`, `reschedule` takes `at` (null: as soon as possible)."
    )
    ids: list[TaskId] = Field(
        default_factory=list, max_length=MAX_BULK, description="The tasks."
    )
    filter: BulkFilter | None = Field(
        default=None, description="The tasks, in place of ids."
    )
    preview: bool = Field(
        default=False,
        description="Whether to tell only what would happen to which tasks.",
    )
    expect: Annotated[
        str,
        Field(
            max_length=100,
            description="`fingerprint` of a preview: nothing is changed if other tasks"
            " match now. Needed with a filter, unless it is a preview.",
        ),
    ] = ""
    reason: Words = ""
    at: When | None = None
    agent: Annotated[str, Field(max_length=200)] = ""
    duration: Duration = ""
    note: Annotated[str, Field(max_length=1000)] = ""


class BulkResult(BaseModel):
    """What happened to one task, or would happen."""

    id: int
    number: str = Field(description="Empty if there is no such task.")
    queue: str
    status: Status | None
    done: bool
    refused: str = Field(description="Why it is left as it is; empty: it is changed.")


class BulkAnswer(BaseModel):
    """What happened to each task, or would happen."""

    action: BulkAction
    preview: bool
    fingerprint: str
    selected: int
    changed: int
    results: list[BulkResult]


# -- queues ------------------------------------------------------------------


class Queue(BaseModel):
    """A queue of the settings, as it is now."""

    name: str
    open: bool
    open_since: datetime | None = Field(
        default=None,
        description="When it opened; null: it is closed, or has been open for longer"
        " than a week.",
    )
    until: datetime | None = Field(
        description="When it closes or opens next; null: never."
    )
    time_zone: str
    target: str = Field(description="The queue whose agents take the callbacks.")
    known: bool = Field(description="Whether Asterisk has the target.")
    waiting: int = Field(description="Live callers who wait.")
    waiting_since: datetime | None = Field(
        description="Since when the one who waits longest does."
    )
    in_line: int = Field(description="Callbacks in Asterisk's line.")
    callbacks_waiting: int
    callbacks_calling: int
    oldest_callback_since: datetime | None
    next_due_at: datetime | None
    why_no_callback: ReasonObject | None
    agents: int
    free: int
    ringing: int
    busy: int
    wrapping_up: int
    paused: int
    unavailable: int
    expected_wait_s: float | None = Field(
        description="How long a caller is expected to wait who joins now."
    )
    expected_callback_at: datetime | None
    reached_today: int | None
    not_reached_today: int | None
    share_reached_today: float | None
    median_time_to_reach_s: float | None


class Queues(BaseModel):
    """All queues, as they are now."""

    at: datetime = Field(description="The time of the values.")
    items: list[Queue]


# -- numbers -----------------------------------------------------------------


class Blocked(BaseModel):
    """A number that is never called."""

    number: str
    reason: str
    at: datetime


class BlockNumber(Body):
    """A number to block."""

    number: Number
    reason: Annotated[str, Field(max_length=200)] = ""


class OneNumber(Body):
    """A number."""

    number: Number


class NumberBlocked(BaseModel):
    """A number after it was blocked."""

    created: bool = Field(description="False: it was blocked already.")
    blocked: Blocked
    task_id: int | None = Field(
        description="The open task of the number, which ends; null: there is none, or"
        " it is of a queue of others."
    )


class NumberUnblocked(BaseModel):
    """A number after it was unblocked."""

    unblocked: Blocked


class Refusal(BaseModel):
    """A request or missed call that is not called back."""

    id: int
    at: datetime
    kind: Kind
    queue: str
    number: str
    reason: str
    reason_code: str | None
    reason_params: dict[str, Any]
    linkedid: str


class CheckNumber(Body):
    """A number, and the queue that would call it."""

    queue: QueueName
    number: Number


class WhyNot(BaseModel):
    """A reason why a number is not called."""

    reason: str
    reason_code: str
    reason_params: dict[str, Any]


class LimitUse(BaseModel):
    """How much of a limit is used."""

    setting: str = Field(description="The name of the setting.")
    used: int
    allowed: int = Field(description="Maximum number of calls; 0: no limit.")
    window_s: float
    free_at: datetime | None = Field(
        description="When one more call is allowed; null: now."
    )


class NumberChecked(BaseModel):
    """Whether a queue may call a number now, and what is known about it."""

    queue: str
    number: str
    may_be_called: bool
    why_not: list[WhyNot]
    not_now: ReasonObject | None = Field(
        default=None,
        description="What keeps every callback of the queue from beginning now, such as"
        " its opening hours; null: nothing.",
    )
    dialled: str = Field(description="The number as it is dialled; empty: never.")
    dial_string: str = Field(description="Asterisk's dial string; empty: never called.")
    region: str = Field(description="Country of the number; empty: none, or unknown.")
    blocked: Blocked | None
    limits: list[LimitUse]
    open_task: Task | None = Field(
        description="Null: there is none, or it is of a queue of others."
    )
    last_refusal: Refusal | None = Field(
        description="Null: there is none, or it is of a queue of others."
    )


class NumberTask(BaseModel):
    """A task of a number, with everything that is kept about it."""

    task: Task
    number_key: str = Field(description="The form in which numbers are compared.")
    linkedids: list[str] = Field(description="Asterisk's ids of the client's calls.")
    attempts: list[Attempt]
    history: list[HistoryEvent]


class NumberOffer(BaseModel):
    """A callback that was offered to a caller."""

    id: int
    at: datetime
    queue: str
    number: str
    position: int | None
    expected_wait_s: float | None
    reason: str
    outcome: str
    ended_at: datetime | None
    linkedid: str


class LastTalk(BaseModel):
    """The agent who talked to a client last."""

    member: str = Field(description="Interface of the agent.")
    at: datetime


class NumberExported(BaseModel):
    """Everything that is kept about a number."""

    number: str
    tasks: list[NumberTask]
    mentioned_in_tasks: list[int] = Field(
        description="Tasks of other numbers in whose story it occurs."
    )
    refusals: list[Refusal]
    offers: list[NumberOffer]
    blocked: Blocked | None
    last_talk: LastTalk | None
    entered_another_number_at: list[datetime] = Field(
        description="When a caller with this number entered another one."
    )


class EraseNumber(Body):
    """A number to erase."""

    number: Number
    block: Literal["keep", "lift"] | None = Field(
        default=None,
        description="What becomes of it if the number is blocked: `keep` it without its"
        " reason, or `lift` it. Needed if it is blocked.",
    )


class NumberErased(BaseModel):
    """How much was erased."""

    tasks: int = Field(description="Tasks without number, name and calls from now on.")
    others: int = Field(description="Refusals, offers and other entries.")
    mentions: int = Field(description="Entries in stories of tasks of other numbers.")
    blocked: bool = Field(description="Whether the number is blocked still.")


# -- the rest ----------------------------------------------------------------


class Me(BaseModel):
    """The one who asks."""

    name: str
    kind: Literal["person", "token", "wall"]
    rights: list[str] = Field(examples=[["tasks:read", "tasks:write"]])
    queues: list[str] | None = Field(description="Null: all queues.")
    sees_numbers: bool


class Part(BaseModel):
    """A part of the system, and whether it works."""

    ok: bool
    since: datetime | None = Field(default=None, description="Since when it does not.")
    problem: str | None = None
    remedy: str | None = None


class Sending(BaseModel):
    """The web process that looks for alarms and sends webhooks and mail."""

    here: bool = Field(description="Whether it is this process.")
    host: str | None = Field(description="Null: no process does it at the moment.")
    pid: int | None
    since: datetime | None


class HeldAsterisk(BaseModel):
    """An Asterisk that a service holds."""

    name: str
    since: datetime | None = Field(description="Null: since the service runs.")
    link_lost_since: datetime | None = Field(
        description="Since when the service has had no link to it, and another one that"
        " can log in there may have it. Null: it has one, or none for some seconds."
    )


class OtherSetting(BaseModel):
    """A setting that a service has otherwise than the one that is asked."""

    name: str = Field(description="As in the file: `queues.support.attempts`.")
    here: Any = Field(
        description="Its value at the service that is asked, as in the file; while that"
        " one does not answer, at the first one that runs."
    )
    there: Any = Field(description="Its value at this service.")
    more_queues: int = Field(description="In how many more queues it differs alike.")
    words: str


class OneService(BaseModel):
    """One of the services on the database."""

    name: str = Field(description="`instance.name`; empty: it has none.")
    version: str
    asked: bool = Field(description="Whether this web process asks it.")
    running: bool
    seen_at: datetime = Field(description="When it certainly ran.")
    host: str | None = Field(description="Null, like the next two: it does not run.")
    pid: int | None
    since: datetime | None
    asterisks: list[HeldAsterisk]
    differences: list[OtherSetting] = Field(
        description="All services should have the same settings. Write the same in the"
        " settings file of each, and reload it."
    )


class Health(BaseModel):
    """The state of the system."""

    version: str = Field(description="The version of the web process.")
    service_version: str | None
    service: Part
    asterisk: Part
    database: Part
    sending: Sending
    services: list[OneService] = Field(
        description="All services on the database that run, or ran within a day; empty"
        " if there is one service with one Asterisk."
    )
    asterisks_without_service: list[str] = Field(
        description="No callback is placed from these until a service holds them."
    )


class CheckFinding(BaseModel):
    """One finding; without problem and remedy the whole area is good."""

    area: str
    level: Literal["ok", "warning", "fault"]
    where: str
    problem: str
    remedy: str
    checked: bool = Field(description="False: it could not be checked.")


class CheckDone(BaseModel):
    """What `callback-queue check` has found."""

    at: datetime
    took_s: float
    findings: list[CheckFinding]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
