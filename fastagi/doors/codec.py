# SPDX-License-Identifier: MIT
"""Commands and answers as JSON, as the control socket carries them.

A request is one object: ``{"command": "tasks.show", "id": 5}``, optionally with the
name of the user (``actor``). An answer is ``{"ok": true, "result": …}`` or ``{"ok":
false, "error": "…"}``. Times are ISO 8601 in UTC. This module knows no socket and
carries out nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from attrs import frozen

from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.reason import Reason, params_json
from fastagi.domain.task import CallbackTask, Status, TaskEvent
from fastagi.service.commands import (
    COMMANDS,
    Actor,
    Answer,
    BadRequest,
    BlockedNumbers,
    Command,
    NumberBlocked,
    NumberUnblocked,
    QueueStatus,
    RefusedCallers,
    ServiceStatus,
    TaskAdded,
    TaskChanged,
    TaskList,
    TaskState,
    TaskStory,
    actor_of,
    shown,
)

Json = dict[str, Any]

#: Maximum length of a request without its newline, in bytes. A command has a few dozen,
#: at most a few thousand.
LONGEST_REQUEST: Final = 16_384
#: Maximum number of opening brackets: a request is one object without nested values.
_MAX_BRACKETS: Final = 1
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[{]")
_NOT_A_COMMAND: Final = "not a command of this service"
#: Rows of a list that are written at a time, which takes a few milliseconds.
_ROWS_AT_A_TIME: Final = 200


@frozen
class Request:
    """A command and its actor; the actor is empty if the request names none."""

    command: Command
    actor: Actor


# -- requests --------------------------------------------------------------


def read_request(line: bytes) -> Request:
    """Return the request in one line.

    Raises:
        BadRequest: it is not a valid request; the text says why.
    """
    if len(line) > LONGEST_REQUEST:
        raise too_long()
    return request_of(_object(line))


def too_long() -> BadRequest:
    """Return the error for a request that is too long."""
    return BadRequest(f"{_NOT_A_COMMAND}: it is longer than {LONGEST_REQUEST:,} bytes")


def request_of(said: Mapping[str, Any]) -> Request:
    """Return the request in a JSON object.

    Raises:
        BadRequest: it is not a valid request; the text says why.
    """
    fields = dict(said)
    name = fields.pop("command", None)
    kind = COMMANDS.get(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(COMMANDS)
        raise BadRequest(
            f"{_NOT_A_COMMAND}: {shown(name)} (there are: {known}); is the command line"
            " of another version than the service?"
        )
    actor = actor_of(fields.pop("actor", None))
    names = [field.name for field in attrs.fields(kind)]
    if unknown := [name for name in fields if name not in names]:
        known = ", ".join(names) or "none"
        raise BadRequest(
            f"{kind.NAME} has no field {shown(unknown[0])} (there are: {known})"
        )
    return Request(kind(**fields), actor)


def request_json(command: Command, actor: Actor) -> Json:
    """Return a command as a JSON object, which :func:`request_of` reads."""
    said: Json = {"command": command.NAME}
    if actor.name:
        said["actor"] = actor.name
    return said | attrs.asdict(command)


def write_request(command: Command, actor: Actor) -> bytes:
    """Return a command as one line of JSON."""
    return json.dumps(request_json(command, actor)).encode() + b"\n"


def _object(line: bytes) -> Json:
    # Check this before parsing: thousands of brackets would exhaust the parser's stack.
    if len(_BRACKET.findall(_STRING.sub(b"", line))) > _MAX_BRACKETS:
        raise BadRequest(f"{_NOT_A_COMMAND}: it contains a nested list or object")
    try:
        said = json.loads(line.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise BadRequest(f"{_NOT_A_COMMAND}: it is not UTF-8 text") from None
    except (ValueError, RecursionError):
        raise BadRequest(f"{_NOT_A_COMMAND}: it is not JSON") from None
    if not isinstance(said, dict):
        raise BadRequest(f"{_NOT_A_COMMAND}: it is not a JSON object")
    return said


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


# -- answers ---------------------------------------------------------------


def answer_json(answer: Answer) -> Any:
    """Return an answer as a JSON value: an object, or a list if the answer has rows."""
    rows = _rows(answer)
    if rows is not None:
        write, values = rows
        return [write(value) for value in values]
    return _object_of(answer)


def answer_pieces(answer: Answer) -> Iterator[bytes]:
    """Yield the line of an answer in pieces, each of which takes little time."""
    rows = _rows(answer)
    if rows is None:
        yield json.dumps({"ok": True, "result": _object_of(answer)}).encode() + b"\n"
        return
    write, values = rows
    yield b'{"ok": true, "result": ['
    for start in range(0, len(values), _ROWS_AT_A_TIME):
        page = [write(value) for value in values[start : start + _ROWS_AT_A_TIME]]
        text = json.dumps(page)[1:-1]
        yield (f", {text}" if start else text).encode()
    yield b"]}\n"


def error_line(error: str) -> bytes:
    """Return the line of the answer to a command that failed."""
    return json.dumps({"ok": False, "error": error}).encode() + b"\n"


def read_answer(line: bytes) -> Json:
    """Return the answer in one line.

    Raises:
        ValueError: it is not a valid answer.
    """
    answer = json.loads(line)
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise ValueError("this is not an answer of the service")
    return answer


def _rows(
    answer: Answer,
) -> tuple[Callable[[Any], Json], Sequence[object]] | None:
    match answer:
        case TaskList():
            return state_json, answer.tasks
        case BlockedNumbers():
            return blocked_json, answer.numbers
        case RefusedCallers():
            return refusal_json, answer.refusals
        case _:
            return None


def _object_of(answer: Answer) -> Json:
    match answer:
        case TaskStory():
            return {
                "task": state_json(answer.state),
                "attempts": [attempt_json(attempt) for attempt in answer.attempts],
                "history": [event_json(event) for event in answer.history],
            }
        case TaskAdded():
            return {"created": answer.created, "task": state_json(answer.state)}
        case TaskChanged():
            return {"task": state_json(answer.state)}
        case NumberBlocked():
            return {
                "created": answer.created,
                "blocked": blocked_json(answer.number),
                "task": None if answer.task is None else task_json(answer.task),
            }
        case NumberUnblocked():
            return {"unblocked": blocked_json(answer.number)}
        case ServiceStatus():
            return status_json(answer)
        case _:
            raise TypeError(f"no answer: {answer!r}")


def state_json(state: TaskState) -> Json:
    """Return a task, and what keeps it from being called, as JSON values.

    - ``queue_closed``, ``opens_at``: whether it waits for its queue to open, and when
      that is; ``time_zone``: the name of the queue's time zone.
    - ``position``: in Asterisk's queue, from 1; null: it does not wait in line there.
    - ``expected_at``: when an agent is expected to take the callback; null: not known.
    - ``why_not_yet``: what keeps it from being called, as a reason; null: nothing does,
      it is being called, it has ended, or no service runs.
    """
    return {
        **task_json(state.task),
        "queue_closed": state.queue_closed,
        "opens_at": iso(state.opens_at),
        "time_zone": state.zone,
        "position": state.position,
        "expected_at": iso(state.expected_at),
        "why_not_yet": why_json(state.why_not_yet),
    }


def task_json(task: CallbackTask) -> Json:
    """Return a task as JSON values."""
    return {
        "id": task.id,
        "kind": task.kind.value,
        "status": task.status.value,
        "number": task.number,
        "name": task.name,
        "language": task.language,
        "queue": task.queue,
        "joined_at": iso(task.joined_at),
        "priority": task.priority,
        "created_at": iso(task.created_at),
        "due_at": iso(task.due_at),
        "expires_at": iso(task.expires_at),
        "chosen_at": iso(task.chosen_at),
        "ended_at": iso(task.ended_at),
        "attempts": task.attempts,
        "member_attempts": task.member_attempts,
        **reason_json(task.why),
        "cancel_requested": task.cancel_requested,
        "linkedid": task.linkedid,
    }


def attempt_json(attempt: Attempt) -> Json:
    """Return an attempt as JSON values."""
    return {
        "id": attempt.id,
        "channel_id": attempt.channel_id,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "disposition": attempt.disposition.value if attempt.disposition else None,
        "member": attempt.member,
        "talk_s": round(attempt.talk_s, 3),
        **reason_json(attempt.why),
    }


def event_json(event: TaskEvent) -> Json:
    """Return one event of a task's history as JSON values."""
    return {
        "at": iso(event.at),
        "move": event.move.value,
        "status": event.status.value,
        **reason_json(event.why, "text"),
        "attempt_id": event.attempt_id,
    }


def reason_json(why: Reason | None, words: str = "reason") -> Json:
    """Return a reason in words, with its code and parameters, as JSON values.

    Args:
        why: the reason; None: there is none yet.
        words: the name of the field with the words.
    """
    if why is None:
        return {words: "", "reason_code": None, "reason_params": {}}
    return {
        words: str(why),
        "reason_code": why.code.value,
        "reason_params": params_json(why),
    }


def why_json(why: Reason | None) -> Json | None:
    """Return a reason as a JSON object: ``code``, ``params`` and ``words``."""
    if why is None:
        return None
    return {"code": why.code.value, "params": params_json(why), "words": str(why)}


def blocked_json(number: BlockedNumber) -> Json:
    """Return a blocked number as JSON values."""
    return {"number": number.number, "reason": number.reason, "at": iso(number.at)}


def refusal_json(refusal: Refusal) -> Json:
    """Return a refusal as JSON values."""
    return {
        "id": refusal.id,
        "at": iso(refusal.at),
        "kind": refusal.kind.value,
        "queue": refusal.queue,
        "number": refusal.number,
        **reason_json(refusal.why),
        "linkedid": refusal.linkedid,
    }


def status_json(status: ServiceStatus) -> Json:
    """Return the state of the running service as JSON values."""
    tasks, database = status.tasks, status.database_problem
    return {
        "version": status.version,
        "started_at": _to_the_second(status.started_at),
        "asterisk": attrs.asdict(status.asterisk),
        "database": "ok" if database is None else str(database),
        "database_problem": None if database is None else attrs.asdict(database),
        "holder": {
            "host": status.holder.host,
            "pid": status.holder.pid,
            "since": _to_the_second(status.holder.since),
        },
        "tasks": None
        if tasks is None
        else {status.value: tasks.get(status, 0) for status in Status},
        "oldest_task_since": _to_the_second(status.oldest_task_since),
        "calls_under_way": status.calls_under_way,
        "offers": None
        if status.offers is None
        else {outcome.value: count for outcome, count in status.offers.items()},
        "queues": {name: _queue_json(queue) for name, queue in status.queues.items()},
    }


def _queue_json(queue: QueueStatus) -> Json:
    return {
        "open": queue.open,
        "until": _to_the_second(queue.until),
        "target": queue.target,
        "known": queue.known,
        "members": queue.members,
        "free": list(queue.free),
        "waiting": queue.waiting,
        "in_line": queue.in_line,
        "oldest_task_since": _to_the_second(queue.oldest_task_since),
        "agents": queue.agents,
        "expected_wait_s": _tenths(queue.expected_wait_s),
        "expected_callback_s": _tenths(queue.expected_callback_s),
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def iso(at: datetime | None) -> str | None:
    """Return a time as text (ISO 8601, UTC, milliseconds)."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None


def _to_the_second(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
