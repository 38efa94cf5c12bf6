# SPDX-License-Identifier: MIT
"""A live state as the service sends it, for tests of what is made of it."""

from __future__ import annotations

import json
from typing import Any

from fastagi.doors import live_json
from fastagi.service.commands import AsteriskStatus, DatabaseHolder, NodeStatus
from fastagi.service.live import Entities, LiveQueue, LiveService, Snapshot
from tests.store.harness import NOW

_QUEUE: dict[str, Any] = {
    "open": True,
    "open_since": None,
    "until": None,
    "zone": "UTC",
    "known": True,
    "waiting": 0,
    "waiting_since": None,
    "in_line": 0,
    "callbacks_waiting": 0,
    "callbacks_calling": 0,
    "oldest_callback_since": None,
    "next_due_at": None,
    "why_no_callback": None,
    "agents": 2,
    "free": 2,
    "ringing": 0,
    "busy": 0,
    "wrapping_up": 0,
    "paused": 0,
    "unavailable": 0,
    "expected_wait_s": 12.5,
    "expected_callback_at": None,
    "reached_today": 0,
    "not_reached_today": 0,
    "median_time_to_reach_s": None,
}


def live_state(*, linked: bool = True, **queues: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot, written and read again as JSON."""
    service = LiveService(
        version="0.2.0",
        started_at=NOW,
        node="asterisk",
        asterisk=AsteriskStatus(connected=linked, version="22.10", error=""),
        nodes=(
            NodeStatus(
                name="asterisk",
                asterisk=AsteriskStatus(connected=linked, version="22.10", error=""),
                calls_under_way=0,
            ),
        ),
        queues_known=linked,
        holder=DatabaseHolder(host="pbx", pid=7, since=NOW),
        lease_held=True,
        database_problem=None,
        database_latency_s=0.001,
        events_waiting=0,
        events_waiting_since=None,
        why_no_callbacks=None,
    )
    entities = Entities(
        service=service,
        queues={
            name: LiveQueue(**{**_QUEUE, "target": name, **changes})
            for name, changes in queues.items()
        },
    )
    snapshot = Snapshot(id=1, at=NOW, all=entities)
    loaded: dict[str, Any] = json.loads(json.dumps(live_json.snapshot_json(snapshot)))
    return loaded
