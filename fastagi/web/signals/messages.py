# SPDX-License-Identifier: MIT
"""What webhooks send: the types of messages, and their JSON.

``docs/webhooks.md`` lists the types. A message always has ``version``: a field may be
added in a version, but none changes its meaning or disappears.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, TypeAlias

from attrs import frozen
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from fastagi.domain.names import folded
from fastagi.domain.reason import Reason, params_json
from fastagi.domain.task import Move
from fastagi.errors import CallbackError
from fastagi.store.story_events import StoryEvent
from fastagi.web.masking import mask, masked

#: The version of all messages.
VERSION: Final = 1

#: The type of the message for each move of a task.
TYPES: Final[Mapping[Move, str]] = {
    Move.CREATE: "task.created",
    Move.REPEAT: "task.repeated",
    Move.BEGIN: "task.attempt_started",
    Move.PROGRESS: "task.progress",
    Move.RETRY: "task.retry",
    Move.COMPLETE: "task.completed",
    Move.GIVE_UP: "task.failed",
    Move.EXPIRE: "task.expired",
    Move.CANCEL_LATER: "task.cancel_requested",
    Move.CANCEL: "task.cancelled",
    Move.TAKE_BACK: "task.taken_back",
    Move.TAKE_BACK_LATER: "task.take_back_requested",
    Move.SERVE_LATER: "task.serve_requested",
    Move.SERVE: "task.served",
    Move.REOPEN: "task.reopened",
    Move.MOVE: "task.moved",
    Move.ASSIGN: "task.assigned",
    Move.RELEASE: "task.released",
    Move.NOTE: "task.noted",
}
ALARM_RAISED: Final = "alarm.raised"
ALARM_CLEARED: Final = "alarm.cleared"
TEST: Final = "webhook.test"
#: All types that an endpoint may choose from.
CHOOSABLE: Final = (*dict.fromkeys(TYPES.values()), ALARM_RAISED, ALARM_CLEARED)

#: Moves with which the task has ended.
TASK_ENDS: Final = frozenset(
    {
        Move.COMPLETE,
        Move.GIVE_UP,
        Move.EXPIRE,
        Move.CANCEL,
        Move.TAKE_BACK,
        Move.SERVE,
    }
)
#: Moves with which the attempt of the event, if it has one, has ended.
ATTEMPT_ENDS: Final = TASK_ENDS | {Move.RETRY}


class Numbers(StrEnum):
    """Whether an endpoint gets clients' numbers and names."""

    FULL = "full"
    #: The last three digits of numbers are hidden, and names are left out.
    MASKED = "masked"


# -- the JSON ----------------------------------------------------------------


def iso(at: datetime) -> str:
    """Return a time in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time: TypeAlias = Annotated[datetime, PlainSerializer(iso, return_type=str)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskPart(_Part):
    """The task, as far as it never changes."""

    id: int
    queue: str
    kind: str = Field(description="requested, missed or manual")
    number: str
    name: str
    linkedid: str = Field(description="of the call that made the task; may be empty")
    created_at: Time


class AttemptPart(_Part):
    """The attempt that the event belongs to."""

    id: int
    channel_id: str
    started_at: Time
    dialled_at: Time | None = Field(description="null: not yet, or never")
    result: str | None = Field(description="null: the event does not end the attempt")
    agent: str | None = Field(description="interface of the agent; null: none yet")
    talk_s: float | None


class ReasonPart(_Part):
    """Why: docs/reasons.md lists the codes with their parameters."""

    code: str
    params: dict[str, Any]
    words: str = Field(description="in English, for people; it may change")


class TaskData(_Part):
    """One event of a task."""

    event_id: int
    status: str = Field(description="of the task, after the event")
    reason: ReasonPart
    task: TaskPart
    attempt: AttemptPart | None


class AlarmData(_Part):
    """The change of an alarm."""

    alarm: str = Field(description="such as oldest_task; docs/metrics.md lists them")
    queue: str | None = Field(description="null: it concerns the whole service")
    level: str | None = Field(description="yellow or red; null: the alarm has ended")
    before: str | None = Field(description="the level before; null: there was no alarm")
    value: float
    threshold: float | None
    unit: str = Field(description="seconds or count")
    since: Time = Field(description="since when the alarm is on, at any level")
    words: str


class TestData(_Part):
    """Sent by the test button, and by `callback-queue web webhook test`."""

    endpoint: str


class TaskMessage(_Part):
    """A message about a task."""

    version: Literal[1] = 1
    type: str
    timestamp: Time
    data: TaskData


class AlarmMessage(_Part):
    """A message about an alarm."""

    version: Literal[1] = 1
    type: Literal["alarm.raised", "alarm.cleared"]
    timestamp: Time
    data: AlarmData


class TestMessage(_Part):
    """A message that tests an endpoint."""

    version: Literal[1] = 1
    type: Literal["webhook.test"] = "webhook.test"
    timestamp: Time
    data: TestData


Message: TypeAlias = TaskMessage | AlarmMessage | TestMessage
MESSAGES: Final = (TaskMessage, AlarmMessage, TestMessage)


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a type of message."""
    if kind == TEST:
        schema = TestMessage.model_json_schema(mode="serialization")
    elif kind in (ALARM_RAISED, ALARM_CLEARED):
        schema = AlarmMessage.model_json_schema(mode="serialization")
    else:
        schema = TaskMessage.model_json_schema(mode="serialization")
    schema["properties"]["type"] = {"const": kind, "type": "string"}
    return schema


def task_message(event: StoryEvent, numbers: Numbers) -> TaskMessage:
    """Return the message for an event of a task."""
    hide = numbers is Numbers.MASKED
    attempt = event.attempt
    ended = event.move in ATTEMPT_ENDS
    return TaskMessage(
        type=TYPES[event.move],
        timestamp=event.at,
        data=TaskData(
            event_id=event.id,
            status=event.status.value,
            reason=_reason(event.why, hide=hide),
            task=TaskPart(
                id=event.task_id,
                queue=event.queue,
                kind=event.kind.value,
                number=mask(event.number) if hide else event.number,
                name="" if hide else event.name,
                linkedid=event.linkedid,
                created_at=event.created_at,
            ),
            attempt=None
            if attempt is None
            else AttemptPart(
                id=attempt.id,
                channel_id=attempt.channel_id,
                started_at=attempt.started_at,
                dialled_at=attempt.dialled_at if ended else None,
                result=attempt.disposition.value
                if ended and attempt.disposition
                else None,
                agent=(attempt.member or None) if ended else None,
                talk_s=attempt.talk_s if ended else None,
            ),
        ),
    )


def _reason(why: Reason, *, hide: bool) -> ReasonPart:
    params, words = params_json(why), str(why)
    return ReasonPart(
        code=why.code.value,
        params=masked(params) if hide else params,
        words=masked(words) if hide else words,
    )


def body_of(message: Message) -> str:
    """Return the body of a message, which is what is signed."""
    return json.dumps(
        message.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")
    )


def id_of(endpoint_id: int, event: StoryEvent) -> str:
    """Return the id of an event's message: always the same for one endpoint.

    After the database was restored from a copy, ids of events are used again; the
    message has another id then.
    """
    mark = f"{event.position.at!r} {event.task_id} {event.move}"
    return (
        f"msg_{endpoint_id}_{event.id}_{hashlib.sha256(mark.encode()).hexdigest()[:12]}"
    )


# -- what an endpoint wants ----------------------------------------------------


class BadFilter(CallbackError):
    """No message has this type."""


def check_types(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns, each once, such as ``task.completed`` or ``alarm.*``.

    Raises:
        BadFilter: a pattern matches no type.
    """
    checked = tuple(dict.fromkeys(patterns))
    for pattern in checked:
        if not any(fnmatchcase(kind, pattern) for kind in CHOOSABLE):
            raise BadFilter(
                f"no message has the type {pattern}",
                f"the types are {', '.join(CHOOSABLE)}, and task.* and alarm.*",
            )
    return checked


@frozen
class Filter:
    """Which messages an endpoint gets.

    Attributes:
        types: patterns of types; empty: all.
        queues: names of queues; empty: all.
    """

    types: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()

    def wants(self, kind: str, queue: str | None) -> bool:
        """Say whether a message of this type passes; no queue: it concerns all."""
        if self.types and not any(fnmatchcase(kind, one) for one in self.types):
            return False
        if not self.queues or queue is None:
            return True
        return folded(queue) in {folded(name) for name in self.queues}
