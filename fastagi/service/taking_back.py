# SPDX-License-Identifier: MIT
"""Requests that were taken back: the caller was never told and is in line again."""

from __future__ import annotations

from typing import Final

from fastagi.domain.task import Status
from fastagi.store.store import Recorded

#: The reason of a task that was cancelled because its caller is in line again.
TAKEN_BACK: Final = "the caller could not be told in time and is back in line"


def was_taken_back(recorded: Recorded) -> bool:
    """Whether a call is known by a task that was taken back, as nobody heard of it."""
    task = recorded.task
    return (
        not recorded.created
        and task.status is Status.CANCELLED
        # More words follow if it was being called just then.
        and task.reason.startswith(TAKEN_BACK)
    )
