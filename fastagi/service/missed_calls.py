# SPDX-License-Identifier: MIT
"""From a call that was missed to the request for its client, whoever found it missed.

Live detection and the history come here with the same facts, and so to the same task.
How a missed call is recognised is not known here.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fastagi.config.model import Settings
from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.counting import Ended
from fastagi.service.requests import MISSED_CALL, CallbackRequest


def queue_of(ended: Ended, settings: Settings) -> QueueSettings | None:
    """Return the queue whose agents call back; None if there is none."""
    return settings.queues.get(_queue_name(ended, settings))


def request_of(ended: Ended, settings: Settings) -> CallbackRequest:
    """Return the request that a missed call stands for.

    Args:
        ended: the call.
        settings: those in force.
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
