# SPDX-License-Identifier: MIT
"""A live state for tests of the pages, with one of each thing that they show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fastagi.service.commands import Command
from fastagi.web.service_client import LiveMessage, ServiceClient

NOW = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)


def iso(minutes: float = 0, seconds: float = 0) -> str:
    """Return a time before NOW, as the service writes it."""
    at = NOW - timedelta(minutes=minutes, seconds=seconds)
    return at.isoformat(timespec="milliseconds")


def queue(**changes: object) -> dict[str, Any]:
    """Return a queue in which all is well."""
    return {
        "open": True,
        "until": iso(-210),
        "time_zone": "Europe/Berlin",
        "target": "support",
        "known": True,
        "waiting": 0,
        "waiting_since": None,
        "in_line": 0,
        "callbacks_waiting": 0,
        "callbacks_calling": 0,
        "oldest_callback_since": None,
        "next_due_at": None,
        "why_no_callback": None,
        "agents": 3,
        "free": 2,
        "ringing": 0,
        "busy": 1,
        "wrapping_up": 0,
        "paused": 0,
        "unavailable": 0,
        "expected_wait_s": 60.0,
        "expected_callback_at": None,
        "reached_today": 9,
        "not_reached_today": 1,
        "share_reached_today": 0.9,
        "median_time_to_reach_s": 480.0,
        **changes,
    }


def snapshot(**changes: object) -> dict[str, Any]:
    """Return a state with three queues: fine, in trouble, closed."""
    return {
        "id": 1,
        "at": iso(),
        "service": {
            "version": "0.2.0",
            "started_at": iso(600),
            "node": "default",
            "asterisk": {"connected": True, "version": "22.5.0", "error": ""},
            "queues_known": True,
            "holder": {"host": "pbx", "pid": 812, "since": iso(600)},
            "lease_held": True,
            "database_problem": None,
            "database_latency_s": 0.002,
            "events_waiting": 0,
            "events_waiting_since": None,
            "why_no_callbacks": None,
        },
        "queues": {
            "support": queue(
                waiting=2,
                waiting_since=iso(3, 12),
                in_line=1,
                callbacks_waiting=4,
                callbacks_calling=2,
                oldest_callback_since=iso(12),
                expected_callback_at=iso(-4),
            ),
            "sales": queue(
                callbacks_waiting=2,
                oldest_callback_since=iso(42),
                free=0,
                busy=0,
                paused=2,
                unavailable=1,
                expected_wait_s=None,
                why_no_callback={
                    "code": "no_agent_free",
                    "params": {},
                    "words": "no agent was free for the callback",
                },
            ),
            "night": queue(open=False, until=iso(-400), expected_wait_s=None),
        },
        "agents": {
            "PJSIP/alice": {
                "name": "Alice",
                "state": "talking",
                "since": iso(2),
                "queues": ["support"],
                "paused_in": [],
                "pause_reason": "",
            },
            "PJSIP/bob": {
                "name": "",
                "state": "paused",
                "since": iso(20),
                "queues": ["sales"],
                "paused_in": ["sales"],
                "pause_reason": "lunch",
            },
        },
        "callers": {
            "1.1": {
                "queue": "support",
                "number": "+4930123456",
                "name": "",
                "position": 1,
                "joined_at": iso(3, 12),
                "priority": 0,
                "task_id": None,
            }
        },
        "tasks": {},
        "attempts": {
            "40": {
                "task_id": 17,
                "queue": "support",
                "number": "+493055555",
                "name": "Ada",
                "stage": "client_rings",
                "since": iso(0, 8),
                "started_at": iso(0, 20),
                "agent": "PJSIP/alice",
                "client_first": False,
            }
        },
        **changes,
    }


class LiveService(ServiceClient):
    """A service whose live state a test sets, and that answers as a test says.

    Attributes:
        commands: each command that it got, with its actor.
        answer: returns the answer to a command, or raises.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state
        self.commands: list[tuple[Command, str]] = []
        self.answer: Callable[[Command], Any] = lambda _command: {}

    async def do(
        self, command: Command, actor: str, *, within_s: float | None = None
    ) -> Any:
        """Note the command, and answer."""
        self.commands.append((command, actor))
        return self.answer(command)

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def stream(self) -> AsyncIterator[LiveMessage]:
        """Yield the state once."""
        yield LiveMessage("snapshot", self.state)
