# SPDX-License-Identifier: MIT
"""The live state as JSON, as ``GET /v1/live`` of the control socket sends it.

A snapshot is::

    {"id": 12, "at": TIME, "service": {...}, "queues": {name: {...}},
     "agents": {interface: {...}}, "callers": {uniqueid: {...}}, "tasks": {"17": {...}},
     "attempts": {"40": {...}}}

A change is::

    {"id": 13, "at": TIME, "set": {"tasks": {"17": {...}}, ...}, "remove": {"tasks":
     ["16"], ...}}

``set`` has whole entities, and perhaps ``service``; kinds without a change are left
out. The ``id`` of a change is one more than that of the message before. All keys are
texts. Times are ISO 8601 in UTC with milliseconds. Reasons have a code, parameters and
English words; ``docs/reasons.md`` lists the codes. Each function has its fields; those
of a task are those of :func:`fastagi.doors.codec.state_json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from fastagi.doors.codec import Json, iso, node_json, state_json, why_json
from fastagi.service.live import (
    Change,
    Entities,
    LiveAgent,
    LiveAttempt,
    LiveCaller,
    LiveQueue,
    LiveService,
    Snapshot,
)

#: Entities that are written at a time, which takes a few milliseconds.
_AT_A_TIME: Final = 200


def snapshot_json(snapshot: Snapshot) -> Json:
    """Return a snapshot as JSON values; every kind is there, even if it is empty."""
    assert snapshot.all.service is not None
    return {
        "id": snapshot.id,
        "at": iso(snapshot.at),
        "service": service_json(snapshot.all.service),
        **{
            kind: {str(key): write(value) for key, value in entities.items()}
            for kind, write, entities in _kinds(snapshot.all)
        },
    }


def change_json(change: Change) -> Json:
    """Return a change as JSON values."""
    entities: Json = {}
    if change.set.service is not None:
        entities["service"] = service_json(change.set.service)
    for kind, write, changed in _kinds(change.set):
        if changed:
            entities[kind] = {str(key): write(value) for key, value in changed.items()}
    gone = attrs.asdict(change.remove)
    return {
        "id": change.id,
        "at": iso(change.at),
        "set": entities,
        "remove": {
            kind: [str(key) for key in keys] for kind, keys in gone.items() if keys
        },
    }


def message_pieces(message: Snapshot | Change) -> Iterator[bytes]:
    """Yield a snapshot or a change as JSON text in pieces.

    Each piece takes little time, so the reactor can do other work in between. The text
    has no line breaks.
    """
    entities = message.all if isinstance(message, Snapshot) else message.set
    yield f'{{"id": {message.id}, "at": {json.dumps(iso(message.at))}'.encode()
    yield b"" if isinstance(message, Snapshot) else b', "set": {'
    comma = ", " if isinstance(message, Snapshot) else ""
    if entities.service is not None:
        yield f'{comma}"service": {json.dumps(service_json(entities.service))}'.encode()
        comma = ", "
    for kind, write, values in _kinds(entities):
        if values or isinstance(message, Snapshot):
            yield f'{comma}"{kind}": {{'.encode()
            yield from _pieces(write, values)
            yield b"}"
            comma = ", "
    if isinstance(message, Change):
        gone = {
            kind: [str(key) for key in keys]
            for kind, keys in attrs.asdict(message.remove).items()
            if keys
        }
        yield f'}}, "remove": {json.dumps(gone)}'.encode()
    yield b"}"


def _pieces(write: Callable[[Any], Json], values: Mapping[Any, Any]) -> Iterator[bytes]:
    items = list(values.items())
    for start in range(0, len(items), _AT_A_TIME):
        page = {str(k): write(v) for k, v in items[start : start + _AT_A_TIME]}
        text = json.dumps(page)[1:-1]
        yield (f", {text}" if start else text).encode()


def _kinds(
    entities: Entities,
) -> tuple[tuple[str, Callable[[Any], Json], Mapping[Any, Any]], ...]:
    return (
        ("queues", queue_json, entities.queues),
        ("agents", agent_json, entities.agents),
        ("callers", caller_json, entities.callers),
        ("tasks", state_json, entities.tasks),
        ("attempts", attempt_json, entities.attempts),
    )


def service_json(service: LiveService) -> Json:
    """Return the service as JSON values.

    - ``version``, ``started_at``: of the service.
    - ``node``: the name of the Asterisk, or of the first one.
    - ``asterisk``: ``connected``, ``version``, and ``error``, the last error of the
      link (empty: none).
    - ``nodes``: a list of all Asterisks, each with ``name``, ``connected``,
      ``version``, ``error`` and ``calls_under_way``, the attempts in progress there
      that do not only wait in line.
    - ``queues_known``: whether the state of the queues of every Asterisk is known; if
      not, queues, agents and callers are as they were when the link was lost.
    - ``holder``: ``host``, ``pid`` and ``since`` of the process that holds the lease on
      the database, which is this service; ``lease_held``: whether it certainly holds
      it. Without that no call is placed.
    - ``database_problem``: null if the database works; otherwise ``where``, ``what``
      and ``remedy``.
    - ``database_latency_s``: how long the last reading took, from the request to its
      result; null: not measured yet.
    - ``events_waiting``: how many events of tasks are not written to queue_log yet;
      null: not known, or queue_log is not written. ``events_waiting_since``: the time
      of the oldest one.
    - ``why_no_callbacks``: what keeps all tasks from being called, as a reason; null:
      nothing does.
    """
    problem = service.database_problem
    return {
        "version": service.version,
        "started_at": iso(service.started_at),
        "node": service.node,
        "asterisk": attrs.asdict(service.asterisk),
        "nodes": [node_json(node) for node in service.nodes],
        "queues_known": service.queues_known,
        "holder": {
            "host": service.holder.host,
            "pid": service.holder.pid,
            "since": iso(service.holder.since),
        },
        "lease_held": service.lease_held,
        "database_problem": None if problem is None else attrs.asdict(problem),
        "database_latency_s": service.database_latency_s,
        "events_waiting": service.events_waiting,
        "events_waiting_since": iso(service.events_waiting_since),
        "why_no_callbacks": why_json(service.why_no_callbacks),
    }


def queue_json(queue: LiveQueue) -> Json:
    """Return a queue of the settings as JSON values.

    - ``open``, ``until``: whether it is open, and when that changes; null: never.
    - ``open_since``: when it opened; null: it is closed, or has been open for longer
      than a week.
    - ``time_zone``: the name of its time zone.
    - ``target``: who takes its callbacks; ``known``: whether Asterisk has the target.
    - ``waiting``, ``waiting_since``: how many live callers wait, and since when the one
      who waits longest does.
    - ``in_line``: how many callbacks wait in Asterisk's line among them.
    - ``callbacks_waiting``, ``callbacks_calling``: tasks that wait, and those that are
      being called (with those in line).
    - ``oldest_callback_since``: since when the first task in line waits.
    - ``next_due_at``: when the next task is due that is not due yet.
    - ``why_no_callback``: what keeps the next task from being called, as a reason.
    - ``agents``: how many the target has; ``free``, ``ringing``, ``busy``,
      ``wrapping_up``, ``paused``, ``unavailable``: how many of them are so in this
      queue.
    - ``expected_wait_s``: how long a caller is expected to wait who joins now.
    - ``expected_callback_at``: when the next callback is expected to be placed.
    - ``reached_today``, ``not_reached_today``: tasks that ended since midnight in the
      queue's zone as reached, and as failed or expired; ``share_reached_today``: the
      share of the first, from 0 to 1; null: none ended.
    - ``median_time_to_reach_s``: the median of the times from the request (or the
      chosen time) to the talk, of those reached today.
    """
    return {
        "open": queue.open,
        "open_since": iso(queue.open_since),
        "until": iso(queue.until),
        "time_zone": queue.zone,
        "target": queue.target,
        "known": queue.known,
        "waiting": queue.waiting,
        "waiting_since": iso(queue.waiting_since),
        "in_line": queue.in_line,
        "callbacks_waiting": queue.callbacks_waiting,
        "callbacks_calling": queue.callbacks_calling,
        "oldest_callback_since": iso(queue.oldest_callback_since),
        "next_due_at": iso(queue.next_due_at),
        "why_no_callback": why_json(queue.why_no_callback),
        "agents": queue.agents,
        "free": queue.free,
        "ringing": queue.ringing,
        "busy": queue.busy,
        "wrapping_up": queue.wrapping_up,
        "paused": queue.paused,
        "unavailable": queue.unavailable,
        "expected_wait_s": queue.expected_wait_s,
        "expected_callback_at": iso(queue.expected_callback_at),
        "reached_today": queue.reached_today,
        "not_reached_today": queue.not_reached_today,
        "share_reached_today": queue.share_reached_today,
        "median_time_to_reach_s": queue.median_time_to_reach_s,
    }


def agent_json(agent: LiveAgent) -> Json:
    """Return an agent as JSON values.

    - ``name``: as Asterisk has it; may be empty.
    - ``state``: ``free``, ``ringing``, ``talking``, ``wrapping_up``, ``paused``,
      ``unavailable`` (the phone is not registered), ``logged_out`` (of no queue any
      more); ``since``: null if the service has not seen it begin.
    - ``queues``: the names of the agent's queues; ``paused_in``: those in which the
      agent is paused, which may be some of them only; ``pause_reason``: as given to
      Asterisk; may be empty.
    """
    return {
        "name": agent.name,
        "state": agent.state.value,
        "since": iso(agent.since),
        "queues": list(agent.queues),
        "paused_in": list(agent.paused_in),
        "pause_reason": agent.pause_reason,
    }


def caller_json(caller: LiveCaller) -> Json:
    """Return a waiting caller as JSON values.

    - ``queue``: its name; ``number``: empty if it is withheld; ``name``: may be empty.
    - ``position``: in Asterisk's queue, from 1; null: the caller is being asked
      something and will be back.
    - ``joined_at``: when the caller joined; ``priority``: a higher one goes first.
    - ``task_id``: null for a live caller; otherwise this is the callback of that task,
      which waits in line at its place, and number and name are the client's.
    """
    return {
        "queue": caller.queue,
        "number": caller.number,
        "name": caller.name,
        "position": caller.position,
        "joined_at": iso(caller.joined_at),
        "priority": caller.priority,
        "task_id": caller.task_id,
    }


def attempt_json(attempt: LiveAttempt) -> Json:
    """Return an attempt in progress as JSON values.

    - ``task_id``, ``queue``, ``number``, ``name``: of its task.
    - ``stage``: ``starts``, ``waits_in_line``, ``agent_rings``, ``alert`` (the agent
      has answered and hears it), ``client_rings`` (or is asked for the key), ``talk``,
      ``ends`` (the call has ended, and its verdict is being stored).
    - ``since``: since when it is at this stage; ``started_at``: when it began.
    - ``agent``: interface of the agent who has answered or whose phone rings; empty:
      none yet.
    - ``client_first``: whether the client is called before an agent.
    """
    return {
        "task_id": attempt.task_id,
        "queue": attempt.queue,
        "number": attempt.number,
        "name": attempt.name,
        "stage": attempt.stage.value,
        "since": iso(attempt.since),
        "started_at": iso(attempt.started_at),
        "agent": attempt.agent,
        "client_first": attempt.client_first,
    }
