# SPDX-License-Identifier: MIT
"""Turns a missed call into a callback request.

Live detection and the histories both use this, so they create the same request for the
same call. Which calls are missed is decided in :mod:`fastagi.domain.counting`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.counting import Ended
from fastagi.service.requests import MISSED_CALL, CallbackRequest


def queue_of(ended: Ended, settings: Settings) -> QueueSettings | None:
    """Return the queue whose agents call back; None if it is not in the settings."""
    return settings.queues.get(_queue_name(ended, settings))


def request_of(ended: Ended, settings: Settings) -> CallbackRequest:
    """Return the callback request of a missed call.

    Args:
        ended: the call.
        settings: the settings in force.
    """
    return CallbackRequest(
        source=MISSED_CALL,
        queue=_queue_name(ended, settings),
        number=ended.number,
        name=ended.name,
        language=ended.language,
        asked_at=datetime.fromtimestamp(ended.ended_at, UTC),
        joined_at=datetime.fromtimestamp(ended.since, UTC),
        uniqueid=ended.uniqueid,
        linkedid=ended.queue_uniqueid,
        ids=ended.ids,
        taken_back=ended.taken_back,
        params={"cause": ended.why},
    )


def _queue_name(ended: Ended, settings: Settings) -> str:
    return ended.queue or settings.queue_for_others
