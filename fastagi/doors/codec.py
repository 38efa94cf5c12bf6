# SPDX-License-Identifier: MIT
"""Commands, answers and errors as JSON, as the control socket carries them.

The body of a request is an object of the command's fields, ``{"id": 5}``, optionally
with the name of the user (``actor``). The body of an answer is the answer itself, or an
error (:func:`problem_json`). Times are ISO 8601 in UTC. This module knows no socket and
carries out nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

import attrs
from attrs import frozen

from fastagi.domain.attempt import Attempt
from fastagi.domain.blocked_numbers import BlockedNumber, Refusal
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.offers import Offer
from fastagi.domain.reason import Reason, params_json
from fastagi.domain.task import CallbackTask, Status, TaskEvent
from fastagi.errors import CallbackError
from fastagi.service.commands import (
    COMMANDS,
    Actor,
    Answer,
    BadRequest,
    BlockedNumbers,
    CheckDone,
    CheckSettings,
    Command,
    InstanceStatus,
    NodeStatus,
    NumberBlocked,
    NumberChecked,
    NumberData,
    NumberErased,
    NumberRefused,
    NumberUnblocked,
    QueueStatus,
    RefusedCallers,
    ServiceStatus,
    SettingsChecked,
    SettingsShown,
    ShownSetting,
    TaskAdded,
    TaskChanged,
    TaskList,
    TasksChanged,
    TaskState,
    TaskStory,
    actor_of,
    shown,
)

Json = dict[str, Any]

#: Maximum length of a request, in bytes. A command has a few dozen; with a thousand ids
#: and a long note, in escaped characters, less than this.
LONGEST_REQUEST: Final = 32_768
#: The same for any request.
LONGEST_BODY: Final = 1_048_576
#: The same for commands that need more. A character of a file may take six bytes.
_LONGEST: Final[Mapping[str, int]] = {CheckSettings.NAME: LONGEST_BODY}
#: The HTTP status for each kind of error (`CallbackError.code`).
STATUS: Final[Mapping[str, int]] = {
    "bad-request": 400,
    "no-such-agent": 404,
    "no-such-command": 404,
    "no-such-page": 404,
    "no-such-queue": 404,
    "no-such-task": 404,
    "wrong-method": 405,
    "too-slow": 408,
    "illegal-move": 409,
    "selection-changed": 409,
    "too-long": 413,
    "bad-time": 422,
    "refused": 422,
    "busy": 429,
    "failed": 500,
    "database": 503,
    "stopping": 503,
}
#: How deep lists and objects may be nested. Thousands would exhaust the parser's stack.
_DEEPEST: Final = 4
#: A string, or the beginning of one that has no end. It never backtracks, so that each
#: byte is looked at once.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_NOT_A_COMMAND: Final = "not a command of this service"
#: Rows of a list that are written at a time, which takes a few milliseconds.
_ROWS_AT_A_TIME: Final = 200


@frozen
class Request:
    """A command and its actor; the actor is empty if the request names none."""

    command: Command
    actor: Actor


class NoSuchCommand(BadRequest):
    """No command has this name."""

    code = "no-such-command"


class TooLong(BadRequest):
    """The request is longer than any command."""

    code = "too-long"


# -- requests --------------------------------------------------------------


def read_request(name: str, body: bytes) -> Request:
    """Return the command of a request.

    Args:
        name: the name of the command.
        body: a JSON object of its fields, perhaps with ``actor``; empty: no fields.

    Raises:
        BadRequest: it is not a valid request; the text says why.
    """
    kind = COMMANDS.get(name)
    if kind is None:
        known = ", ".join(COMMANDS)
        raise NoSuchCommand(
            f"{_NOT_A_COMMAND}: {shown(name)} (there are: {known}); is the command line"
            " of another version than the service?"
        )
    limit = _LONGEST.get(name, LONGEST_REQUEST)
    if len(body) > limit:
        raise too_long(limit)
    fields = _object(body) if body else {}
    actor = actor_of(fields.pop("actor", None))
    names = [field.name for field in attrs.fields(kind)]
    if unknown := [name for name in fields if name not in names]:
        known = ", ".join(names) or "none"
        raise BadRequest(
            f"{kind.NAME} has no field {shown(unknown[0])} (there are: {known})"
        )
    return Request(kind(**fields), actor)


def too_long(limit: int) -> TooLong:
    """Return the error for a request that is longer than ``limit`` bytes."""
    return TooLong(f"{_NOT_A_COMMAND}: it is longer than {limit:,} bytes")


def body_json(command: Command, actor: Actor) -> Json:
    """Return the fields of a command, with its actor, as a JSON object."""
    said: Json = {"actor": actor.name} if actor.name else {}
    return said | attrs.asdict(command)


def write_body(command: Command, actor: Actor) -> bytes:
    """Return the body of a request, which :func:`read_request` reads."""
    return json.dumps(body_json(command, actor)).encode()


def _object(body: bytes) -> Json:
    depth = 0
    # Check this before parsing.
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEEPEST:
            raise BadRequest(f"{_NOT_A_COMMAND}: it is nested too deeply")
    try:
        said = json.loads(body.decode("utf-8"), parse_constant=_no_number)
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
    return json.loads(b"".join(answer_pieces(answer)))


def answer_pieces(answer: Answer) -> Iterator[bytes]:
    """Yield the JSON text of an answer in pieces, each of which takes little time."""
    match answer:
        case TaskList():
            yield from _list_pieces("[", told_json, answer.tasks, "]")
        case BlockedNumbers():
            yield from _list_pieces("[", blocked_json, answer.numbers, "]")
        case RefusedCallers():
            yield from _list_pieces("[", refusal_json, answer.refusals, "]")
        case SettingsShown():
            head = {"file": answer.file, "loaded_at": iso(answer.loaded_at)}
            before = json.dumps(head)[:-1] + ', "settings": ['
            yield from _list_pieces(before, setting_json, answer.settings, "]}")
        case _:
            yield json.dumps(_object_of(answer)).encode()


def _list_pieces(
    before: str, write: Callable[[Any], Json], values: Iterable[object], after: str
) -> Iterator[bytes]:
    rest = iter(values)
    page = list(islice(rest, _ROWS_AT_A_TIME))
    while True:
        following = list(islice(rest, _ROWS_AT_A_TIME))
        text = json.dumps([write(value) for value in page])[1:-1]
        yield f"{before}{text}{', ' if following else after}".encode()
        if not following:
            return
        before, page = "", following


def problem_json(error: CallbackError) -> Json:
    """Return an error as the answer to a command (RFC 9457).

    - ``title``: the name of the status; ``status``: the HTTP status.
    - ``detail``: the error in words, as the command line prints it.
    - ``code``: the kind of the error, one of :data:`STATUS`.
    - ``reason``: why a number may not be called; only there if that is the error.
    """
    status = STATUS.get(error.code, 500)
    problem: Json = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(error),
        "code": error.code,
    }
    if isinstance(error, NotCallable | NumberRefused):
        problem["reason"] = why_json(error.why)
    return problem


def _object_of(answer: Answer) -> Json:
    match answer:
        case TaskStory():
            return {
                "task": told_json(answer.state),
                "attempts": [attempt_json(attempt) for attempt in answer.attempts],
                "history": [event_json(event) for event in answer.history],
            }
        case TaskAdded():
            return {"created": answer.created, "task": state_json(answer.state)}
        case TaskChanged():
            return {"task": state_json(answer.state)}
        case TasksChanged():
            return bulk_json(answer)
        case NumberChecked():
            return checked_json(answer)
        case NumberBlocked():
            return {
                "created": answer.created,
                "blocked": blocked_json(answer.number),
                "task": None if answer.task is None else task_json(answer.task),
            }
        case NumberUnblocked():
            return {"unblocked": blocked_json(answer.number)}
        case NumberData():
            return records_json(answer)
        case NumberErased():
            return {**attrs.asdict(answer.erased), "blocked": answer.blocked}
        case ServiceStatus():
            return status_json(answer)
        case SettingsChecked():
            return dict(answer.found)
        case CheckDone():
            return {
                "at": iso(answer.at),
                "took_s": round(answer.took_s, 1),
                "findings": [attrs.asdict(finding) for finding in answer.findings],
            }
        case _:
            raise TypeError(f"no answer: {answer!r}")


def bulk_json(answer: TasksChanged) -> Json:
    """Return what happened to many tasks, or would happen, as JSON values."""
    return {
        "action": answer.action.value,
        "preview": answer.preview,
        "fingerprint": answer.fingerprint,
        "selected": len(answer.results),
        "changed": answer.changed,
        "results": [
            {
                "id": result.task_id,
                "number": result.number,
                "queue": result.queue,
                "status": None if result.status is None else result.status.value,
                "done": not result.refused,
                "refused": result.refused,
            }
            for result in answer.results
        ],
    }


def checked_json(answer: NumberChecked) -> Json:
    """Return whether a number may be called as JSON values."""
    return {
        "queue": answer.queue,
        "number": answer.number,
        "may_be_called": not answer.why_not,
        "why_not": [reason_json(why) for why in answer.why_not],
        "not_now": why_json(answer.not_now),
        "dialled": answer.dialled,
        "dial_string": answer.dial_string,
        "region": answer.region,
        "blocked": None if answer.blocked is None else blocked_json(answer.blocked),
        "limits": [
            {
                "setting": use.setting,
                "used": use.used,
                "allowed": use.allowed,
                "window_s": use.window_s,
                "free_at": iso(use.free_at),
            }
            for use in answer.limits
        ],
        "open_task": None if answer.open_task is None else task_json(answer.open_task),
        "last_refusal": None
        if answer.last_refusal is None
        else refusal_json(answer.last_refusal),
    }


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


def told_json(state: TaskState) -> Json:
    """Return a task with its call in progress, for `tasks.list` and `tasks.show`.

    ``call`` is null if there is none, or if no service runs. Otherwise:

    - ``stage``, ``since``, ``agent``: as in :func:`live_json.attempt_json`.
    - ``agent_name``: the agent's name in the queue; empty: none, or not known.
    - ``client_dialled``: whether the client is called, or was.
    """
    call = state.call
    return {
        **state_json(state),
        "call": call
        and {
            "stage": call.stage.value,
            "since": iso(call.since),
            "agent": call.agent,
            "agent_name": call.agent_name,
            "client_dialled": call.client_dialled,
        },
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
        "moved": task.place_at is not None,
        "assigned_to": task.assigned_to,
        "assigned_until": iso(task.assigned_until),
        "linkedid": task.linkedid,
    }


def attempt_json(attempt: Attempt) -> Json:
    """Return an attempt as JSON values."""
    return {
        "id": attempt.id,
        "channel_id": attempt.channel_id,
        "node": attempt.node,
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


def setting_json(setting: ShownSetting) -> Json:
    """Return a setting as JSON values.

    - ``name``: with its section, such as ``queues.support.attempts``.
    - ``value``: as it is written in the file; null: there is none, or it is secret.
      ``secret``: whether the value, or a part of it (then ``***``), is not told.
    - ``default``: what applies if it is nowhere in the file.
    - ``origin``: ``file``, ``defaults`` (of all queues), ``built_in``,
      ``environment``; ``line``: its line in the file, or null; ``file``: the included
      file that the line is in, or "".
    - ``needs_restart``: whether a change takes effect at the next start only;
      ``waits_for_restart``: whether the service still uses another value.
    """
    said = attrs.asdict(setting)
    said["secret"] = said.pop("is_secret")
    return said


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


def records_json(data: NumberData) -> Json:
    """Return everything that is stored about a number as JSON values."""
    records = data.records
    return {
        "number": data.number,
        "tasks": [
            {
                "task": task_json(record.task),
                "number_key": record.task.number_key,
                "linkedids": list(record.linkedids),
                "attempts": [attempt_json(attempt) for attempt in record.attempts],
                "history": [event_json(event) for event in record.history],
            }
            for record in records.tasks
        ],
        "mentioned_in_tasks": list(records.mentioned_in),
        "refusals": [refusal_json(refusal) for refusal in records.refusals],
        "offers": [_offer_json(offer) for offer in records.offers],
        "blocked": blocked_json(records.blocked) if records.blocked else None,
        "last_talk": None
        if records.last_talk is None
        else {
            "member": records.last_talk[0],
            "at": iso(datetime.fromtimestamp(records.last_talk[1], UTC)),
        },
        "entered_another_number_at": [
            iso(datetime.fromtimestamp(at, UTC)) for at in records.entered_at
        ],
    }


def _offer_json(offer: Offer) -> Json:
    return {
        "id": offer.id,
        "at": iso(offer.at),
        "queue": offer.queue,
        "number": offer.number,
        "position": offer.position,
        "expected_wait_s": offer.expected_wait_s,
        "reason": offer.trigger.value,
        "outcome": offer.outcome.value,
        "ended_at": iso(offer.ended_at),
        "linkedid": offer.linkedid,
    }


def status_json(status: ServiceStatus) -> Json:
    """Return the state of the running service as JSON values."""
    tasks, database = status.tasks, status.database_problem
    return {
        "version": status.version,
        "started_at": _to_the_second(status.started_at),
        "asterisk": attrs.asdict(status.asterisk),
        "nodes": [node_json(node) for node in status.nodes],
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
        "instance": status.instance,
        "instances": [_instance_json(other) for other in status.others],
    }


def _instance_json(other: InstanceStatus) -> Json:
    process = other.process
    return {
        "name": other.name,
        "version": other.version,
        "running": process is not None,
        "host": None if process is None else process.host,
        "pid": None if process is None else process.pid,
        "since": None if process is None else _to_the_second(process.since),
        "seen_at": _to_the_second(other.seen_at),
        "nodes": [
            {
                "name": name,
                "since": _to_the_second(since),
                "link_lost_since": _to_the_second(other.lost_links.get(name)),
            }
            for name, since in other.nodes
        ],
        "differences": [
            {
                "name": one.name,
                "here": one.here,
                "there": one.there,
                "more_queues": one.more,
                "words": one.words(other.where),
            }
            for one in other.differences
        ],
    }


def node_json(node: NodeStatus) -> Json:
    """Return the state of an Asterisk as JSON values."""
    return {
        "name": node.name,
        **attrs.asdict(node.asterisk),
        "calls_under_way": node.calls_under_way,
    }


def links(service: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return each Asterisk of a service, with its name, version and error.

    A service of an older version tells of one only.
    """
    found: Sequence[Mapping[str, Any]] = service.get("nodes", ())
    return found or [{"name": service.get("node", ""), **service["asterisk"]}]


def works(link: Mapping[str, Any]) -> bool:
    """Whether calls may be placed on an Asterisk.

    An error beside a link says why none may be, as another has its systemname.
    """
    return bool(link["connected"]) and not link["error"]


def out_of_work(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the Asterisks on which no call may be placed."""
    return [one for one in links(service) if not works(one)]


def all_work(snapshot: Mapping[str, Any]) -> bool:
    """Whether calls may be placed on every Asterisk."""
    return not out_of_work(snapshot["service"])


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
        "missing_trunk": queue.missing_trunk,
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def iso(at: datetime | None) -> str | None:
    """Return a time as text (ISO 8601, UTC, milliseconds)."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None


def _to_the_second(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
