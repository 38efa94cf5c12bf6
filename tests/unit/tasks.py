# SPDX-License-Identifier: MIT
"""A task for tests of the domain, which need no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

from fastagi.domain.reason import said
from fastagi.domain.task import CallbackTask, Kind, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_task(**changes: object) -> CallbackTask:
    """Return a task that waits, with other values in some fields."""
    task = CallbackTask(
        id=1,
        kind=Kind.REQUESTED,
        status=Status.PENDING,
        number="+4930123456",
        number_key="4930123456",
        name="",
        language="",
        queue="support",
        linkedid="",
        joined_at=NOW,
        created_at=NOW,
        due_at=NOW,
        expires_at=NOW + timedelta(hours=4),
        why=said("asked for"),
    )
    return attrs.evolve(task, **changes)
