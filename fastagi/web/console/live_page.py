# SPDX-License-Identifier: MIT
"""What the pages Live and Wall show of the live state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from fastagi.doors.codec import all_work
from fastagi.web.console.languages import N_
from fastagi.web.console.say import Say, as_time
from fastagi.web.signals.alarms import Alarm, AlarmKind, lacks_agents
from fastagi.web.signals.settings import Level

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
#: Alarms without figures, for those who listen: a figure would be read out each time
#: that it changes. The last one is of queues that Asterisk does not have.
_ALOUD: Final[Mapping[str, str]] = {
    AlarmKind.OLDEST_TASK: N_("The oldest callback waits too long"),
    AlarmKind.EXPECTED_WAIT: N_("The expected wait is too long"),
    AlarmKind.FAILURES: N_("Too many clients are not reached"),
    AlarmKind.NO_AGENTS: N_("No agent takes calls"),
    "": N_("Asterisk does not have this queue"),
}
_NO_AGENTS: Final = N_("No agent takes calls: log in or unpause somebody")
#: Calls of a queue that a card lists; the others are counted.
_CALLS: Final = 6


@frozen
class Notice:
    """An alarm as it is shown.

    Attributes:
        level: ``alarm`` or ``warning``, which is its icon, too.
        words: what is wrong, with the value and the threshold.
        aloud: the same without figures.
    """

    level: str
    words: str
    aloud: str


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
    alarms: Sequence[Notice]
    segments: Sequence[Segment]
    attempts: Sequence[Json]
    more_attempts: int
    callers: Sequence[Json]

    @property
    def level(self) -> str:
        """The most serious level of its alarms; empty: there are none."""
        return self.alarms[0].level if self.alarms else ""


def cards(
    snapshot: Json,
    visible: frozenset[str] | None,
    raised: Sequence[Alarm],
    say: Say,
) -> list[Card]:
    """Return a card for each queue that somebody may see.

    Args:
        snapshot: the live state.
        visible: the names of those queues; None: all.
        raised: the alarms that are on.
        say: how things are shown.
    """
    return [
        _card(snapshot, name, queue, raised, say)
        for name, queue in snapshot["queues"].items()
        if visible is None or name in visible
    ]


def _card(
    snapshot: Json, name: str, queue: Json, raised: Sequence[Alarm], say: Say
) -> Card:
    attempts = [
        attempt
        for attempt in snapshot["attempts"].values()
        if attempt["queue"] == name and attempt["stage"] != "waits_in_line"
    ]
    attempts.sort(key=lambda attempt: str(attempt["started_at"]))
    callers = [one for one in snapshot["callers"].values() if one["queue"] == name]
    callers.sort(key=lambda one: (one["position"] is None, one["position"] or 0))
    linked = all_work(snapshot)
    of_queue = [alarm for alarm in raised if alarm.queue == name]
    return Card(
        name=name,
        queue=queue,
        alarms=alarms_of(queue, of_queue, say.now, say, linked=linked),
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


def alarms_of(
    queue: Json, raised: Sequence[Alarm], now: datetime, say: Say, *, linked: bool
) -> list[Notice]:
    """Return the alarms of a queue in words, with what the values are now.

    Also a warning if somebody waits and nobody takes calls, before that is an alarm.

    Args:
        queue: its live state.
        raised: its alarms that are on.
        now: the current time.
        say: how things are shown.
        linked: whether the service has a link to Asterisk.
    """
    found = [_notice(queue, one, now, say) for one in raised]
    waits = queue["waiting"] or queue["callbacks_waiting"]
    lacks = linked and queue["known"] and lacks_agents(queue)
    if waits and lacks and all(one.kind is not AlarmKind.NO_AGENTS for one in raised):
        aloud = say.gettext(_ALOUD[AlarmKind.NO_AGENTS])
        found.append(Notice("warning", say.gettext(_NO_AGENTS), aloud))
    if not queue["known"]:
        words = say.gettext("Asterisk does not have this queue: see Health")
        found.append(Notice("alarm", words, say.gettext(_ALOUD[""])))
    return sorted(found, key=lambda notice: notice.level != "alarm")


def notice_of(snapshot: Json | None, alarm: Alarm, say: Say) -> Notice:
    """Return an alarm of a queue, or of the whole service, in words."""
    queue = snapshot["queues"].get(alarm.queue) if snapshot else None
    return _notice(queue or {}, alarm, say.now, say)


def _notice(queue: Json, alarm: Alarm, now: datetime, say: Say) -> Notice:
    match alarm.kind:
        case AlarmKind.OLDEST_TASK:
            since = as_time(queue.get("oldest_callback_since"))
            age_s = (now - since).total_seconds() if since else alarm.value
            words = say.gettext(
                "Oldest callback waits %(age)s (limit %(limit)s)",
                age=say.span(age_s),
                limit=say.span(alarm.threshold),
            )
        case AlarmKind.EXPECTED_WAIT:
            wait_s = queue.get("expected_wait_s")
            words = say.gettext(
                "Expected wait %(wait)s (limit %(limit)s)",
                wait=say.span(alarm.value if wait_s is None else wait_s),
                limit=say.span(alarm.threshold),
            )
        case AlarmKind.FAILURES:
            words = say.ngettext(
                "%(num)s client not reached within an hour (limit %(limit)s)",
                "%(num)s clients not reached within an hour (limit %(limit)s)",
                round(alarm.value),
                limit=say.whole(alarm.threshold),
            )
        case AlarmKind.NO_AGENTS:
            words = say.gettext(_NO_AGENTS)
        case AlarmKind.LINK_DOWN:
            words = say.gettext("The service has no connection to Asterisk")
        case _:
            words = say.gettext("The service does not answer")
    level = "alarm" if alarm.level is Level.RED else "warning"
    return Notice(level, words, say.gettext(_ALOUD.get(alarm.kind, words)))


def summary(found: Sequence[Card]) -> Mapping[str, int]:
    """Return numbers over all cards."""
    return {
        "queues": len(found),
        "alarms": sum(card.level == "alarm" for card in found),
        "warnings": sum(card.level == "warning" for card in found),
        "waiting": sum(card.queue["waiting"] for card in found),
        "callbacks": sum(card.queue["callbacks_waiting"] for card in found),
        "calling": sum(card.queue["callbacks_calling"] for card in found),
        "free": sum(card.queue["free"] for card in found),
    }
