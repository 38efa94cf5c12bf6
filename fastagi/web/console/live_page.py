# SPDX-License-Identifier: MIT
"""What the pages Live and Wall show of the live state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from fastagi.web.console.alarms import Alarm, Kind, Level, Thresholds, alarms_of
from fastagi.web.console.languages import N_
from fastagi.web.console.say import Say

Json = Mapping[str, Any]

#: The fields of a queue with numbers of agents, in the order of the bar.
STATE_WORDS: Final = {
    "free": N_("free"),
    "ringing": N_("ringing"),
    "busy": N_("on a call"),
    "wrapping_up": N_("wrapping up"),
    "paused": N_("paused"),
    "unavailable": N_("phone not connected"),
}
#: Calls of a queue that a card lists; the others are counted.
_CALLS: Final = 6


@frozen
class Segment:
    """A part of the bar of agents."""

    state: str
    count: int
    start: float
    width: float


@frozen(kw_only=True)
class Card:
    """One queue.

    Attributes:
        name: its name.
        queue: its live state.
        alarms: its alarms, the most serious first.
        segments: its agents by state; those with none are left out.
        attempts: its calls in progress, the oldest first.
        more_attempts: number of calls that are not among them.
        callers: the callers who wait, by position.
    """

    name: str
    queue: Json
    alarms: Sequence[Alarm]
    segments: Sequence[Segment]
    attempts: Sequence[Json]
    more_attempts: int
    callers: Sequence[Json]

    @property
    def level(self) -> str:
        """The most serious level of its alarms; empty: there are none."""
        return self.alarms[0].level.value if self.alarms else ""


def cards(
    snapshot: Json,
    now: datetime,
    visible: frozenset[str] | None,
    thresholds: Thresholds,
) -> list[Card]:
    """Return a card for each queue that somebody may see; None: all queues."""
    return [
        _card(snapshot, name, queue, now, thresholds)
        for name, queue in snapshot["queues"].items()
        if visible is None or name in visible
    ]


def _card(
    snapshot: Json, name: str, queue: Json, now: datetime, thresholds: Thresholds
) -> Card:
    attempts = [
        attempt
        for attempt in snapshot["attempts"].values()
        if attempt["queue"] == name and attempt["stage"] != "waits_in_line"
    ]
    attempts.sort(key=lambda attempt: str(attempt["started_at"]))
    callers = [one for one in snapshot["callers"].values() if one["queue"] == name]
    callers.sort(key=lambda one: (one["position"] is None, one["position"] or 0))
    return Card(
        name=name,
        queue=queue,
        alarms=alarms_of(queue, now, thresholds),
        segments=_segments(queue),
        attempts=attempts[:_CALLS],
        more_attempts=max(len(attempts) - _CALLS, 0),
        callers=callers,
    )


def _segments(queue: Json) -> list[Segment]:
    total = sum(queue[state] for state in STATE_WORDS)
    found, start = [], 0.0
    for state in STATE_WORDS:
        if count := queue[state]:
            width = 100.0 * count / total
            found.append(Segment(state, count, round(start, 2), round(width, 2)))
            start += width
    return found


def alarm_words(alarm: Alarm, say: Say) -> str:
    """Return an alarm in words, with its threshold."""
    match alarm.kind:
        case Kind.OLDEST_CALLBACK:
            return say.gettext(
                "Oldest callback waits %(age)s (limit %(limit)s)",
                age=say.span(alarm.value),
                limit=say.span(alarm.limit),
            )
        case Kind.EXPECTED_WAIT:
            return say.gettext(
                "Expected wait %(wait)s (limit %(limit)s)",
                wait=say.span(alarm.value),
                limit=say.span(alarm.limit),
            )
        case Kind.FAILURES:
            return say.gettext(
                "%(share)s of today's clients not reached (limit %(limit)s)",
                share=say.share(alarm.value),
                limit=say.share(alarm.limit),
            )
        case Kind.NO_AGENTS:
            return say.gettext("No agent takes calls: log in or unpause somebody")
        case Kind.NOT_IN_ASTERISK:
            return say.gettext("Asterisk does not have this queue: see Health")


def summary(found: Sequence[Card]) -> Mapping[str, int]:
    """Return numbers over all cards."""
    return {
        "queues": len(found),
        "alarms": sum(card.level == Level.ALARM for card in found),
        "warnings": sum(card.level == Level.WARNING for card in found),
        "waiting": sum(card.queue["waiting"] for card in found),
        "callbacks": sum(card.queue["callbacks_waiting"] for card in found),
        "calling": sum(card.queue["callbacks_calling"] for card in found),
        "free": sum(card.queue["free"] for card in found),
    }
