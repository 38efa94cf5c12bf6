# SPDX-License-Identifier: MIT
"""The live state as JSON: each field is documented, and both ways to write it agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve

from fastagi.domain.agent_states import AgentState
from fastagi.domain.attempt import Stage
from fastagi.domain.reason import Code, because
from fastagi.domain.task import CallbackTask, Kind, Status
from fastagi.doors import codec, live_json
from fastagi.errors import Problem
from fastagi.service.commands import (
    AsteriskStatus,
    DatabaseHolder,
    NodeStatus,
    TaskState,
)
from fastagi.service.live import (
    Change,
    Entities,
    LiveAgent,
    LiveAttempt,
    LiveCaller,
    LiveQueue,
    LiveService,
    Removed,
    Snapshot,
)

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
WHY = because(Code.NO_AGENT_LOGGED_IN)
SERVICE = LiveService(
    version="0.2.0",
    started_at=AT,
    node="default",
    asterisk=AsteriskStatus(connected=True, version="22.10.0", error=""),
    nodes=(
        NodeStatus(
            name="default",
            asterisk=AsteriskStatus(connected=True, version="22.10.0", error=""),
            calls_under_way=1,
        ),
    ),
    queues_known=True,
    holder=DatabaseHolder(host="pbx", pid=7, since=AT),
    lease_held=True,
    database_problem=Problem("callback.db", "the disk is full", "make room"),
    database_latency_s=0.004,
    events_waiting=2,
    events_waiting_since=AT,
    why_no_callbacks=None,
)
QUEUE = LiveQueue(
    open=True,
    open_since=AT,
    until=None,
    zone="Europe/Berlin",
    target="sales",
    known=True,
    waiting=1,
    waiting_since=AT,
    in_line=0,
    callbacks_waiting=3,
    callbacks_calling=1,
    oldest_callback_since=AT,
    next_due_at=None,
    why_no_callback=WHY,
    agents=6,
    free=1,
    ringing=1,
    busy=1,
    wrapping_up=1,
    paused=1,
    unavailable=1,
    expected_wait_s=30.0,
    expected_callback_at=AT,
    reached_today=3,
    not_reached_today=1,
    median_time_to_reach_s=600.0,
)
AGENT = LiveAgent(
    name="Ada",
    state=AgentState.PAUSED,
    since=AT,
    queues=("sales",),
    paused_in=("sales",),
    pause_reason="lunch",
)
CALLER = LiveCaller(
    queue="sales",
    number="4930123",
    name="Bob",
    position=1,
    joined_at=AT,
    priority=0,
    task_id=None,
)
ATTEMPT = LiveAttempt(
    task_id=17,
    queue="sales",
    number="4930123",
    name="Bob",
    stage=Stage.CLIENT_RINGS,
    since=AT,
    started_at=AT,
    agent="PJSIP/ada",
    client_first=False,
)
TASK = TaskState(
    task=CallbackTask(
        id=17,
        kind=Kind.REQUESTED,
        status=Status.PENDING,
        number="4930123",
        number_key="+4930123",
        name='Bob "x" <b>',
        language="en",
        queue="sales",
        linkedid="1.1",
        joined_at=AT,
        created_at=AT,
        due_at=AT,
        expires_at=AT,
        why=because(Code.REQUESTED, queue="sales"),
    ),
    why_not_yet=WHY,
)
ALL = Entities(
    service=SERVICE,
    queues={"sales": QUEUE, "support": evolve(QUEUE, until=AT)},
    agents={"PJSIP/ada": AGENT},
    callers={"1.1": CALLER},
    tasks=dict.fromkeys(range(1, 500), TASK),
    attempts={40: ATTEMPT},
)
REMOVED = Removed(tasks=(16, 18), callers=("1.2",))
MESSAGES = [
    (Snapshot(id=12, at=AT, all=ALL), live_json.snapshot_json),
    (Snapshot(id=0, at=AT, all=Entities(service=SERVICE)), live_json.snapshot_json),
    (Change(id=13, at=AT, set=ALL, remove=REMOVED), live_json.change_json),
    (
        Change(id=14, at=AT, set=Entities(queues={"q": QUEUE}), remove=Removed()),
        live_json.change_json,
    ),
    (Change(id=15, at=AT, set=Entities(), remove=REMOVED), live_json.change_json),
]


@pytest.mark.parametrize(("message", "write"), MESSAGES)
def test_a_message_in_pieces_is_the_same_text(
    message: Any, write: Callable[[Any], Any]
) -> None:
    text = b"".join(live_json.message_pieces(message))
    assert json.loads(text) == write(message)
    assert b"\n" not in text


def test_a_change_names_what_is_gone_as_text() -> None:
    change = Change(id=15, at=AT, set=Entities(), remove=REMOVED)
    assert live_json.change_json(change) == {
        "id": 15,
        "at": "2026-03-02T09:30:00.000+00:00",
        "set": {},
        "remove": {"tasks": ["16", "18"], "callers": ["1.2"]},
    }


def test_the_share_of_clients_reached_is_of_those_whose_task_ended_by_calls() -> None:
    assert live_json.queue_json(QUEUE)["share_reached_today"] == 0.75
    none_ended = evolve(QUEUE, reached_today=0, not_reached_today=0)
    assert live_json.queue_json(none_ended)["share_reached_today"] is None


@pytest.mark.parametrize(
    ("write", "entity"),
    [
        (live_json.service_json, SERVICE),
        (live_json.queue_json, QUEUE),
        (live_json.agent_json, AGENT),
        (live_json.caller_json, CALLER),
        (live_json.attempt_json, ATTEMPT),
    ],
)
def test_each_field_of_the_live_state_is_documented(
    write: Callable[[Any], dict[str, Any]], entity: object
) -> None:
    documented = set(re.findall(r"``(\w+)``", write.__doc__ or ""))
    assert set(write(entity)) - documented == set()


def test_a_task_says_why_it_is_not_called_yet() -> None:
    assert codec.state_json(TASK)["why_not_yet"] == {
        "code": "no_agent_logged_in",
        "params": {},
        "words": str(WHY),
    }
    assert codec.state_json(evolve(TASK, why_not_yet=None))["why_not_yet"] is None
