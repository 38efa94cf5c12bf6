# SPDX-License-Identifier: MIT
"""Which queues need somebody: oldest callback, expected wait, failures, no agents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import frozen


class Level(StrEnum):
    """How serious an alarm is."""

    WARNING = "warning"
    ALARM = "alarm"


class Kind(StrEnum):
    """What an alarm is about."""

    OLDEST_CALLBACK = "oldest_callback"
    EXPECTED_WAIT = "expected_wait"
    FAILURES = "failures"
    NO_AGENTS = "no_agents"
    NOT_IN_ASTERISK = "not_in_asterisk"


@frozen(kw_only=True)
class Thresholds:
    """From which value on there is a warning, and an alarm.

    Attributes:
        oldest_callback_s: how long the oldest callback may wait, in seconds.
        expected_wait_s: how long a caller who joins now may be expected to wait.
        failures: which share of today's tasks may end without reaching the client.
        failures_from: number of ended tasks from which that share means something.
    """

    oldest_callback_s: tuple[float, float] = (1800.0, 3600.0)
    expected_wait_s: tuple[float, float] = (300.0, 900.0)
    failures: tuple[float, float] = (0.3, 0.5)
    failures_from: int = 5


@frozen(kw_only=True)
class Alarm:
    """One alarm of a queue.

    Attributes:
        kind: what it is about.
        level: how serious it is.
        value: the value that is too high; None: there is none.
        limit: the threshold that it has reached.
        since: since when the oldest callback waits.
    """

    kind: Kind
    level: Level
    value: float | None = None
    limit: float | None = None
    since: datetime | None = None


DEFAULTS: Final = Thresholds()


def alarms_of(
    queue: Mapping[str, Any], now: datetime, thresholds: Thresholds = DEFAULTS
) -> list[Alarm]:
    """Return the alarms of a queue of the live state, the most serious first."""
    found = []
    if not queue["known"]:
        found.append(Alarm(kind=Kind.NOT_IN_ASTERISK, level=Level.ALARM))
    elif queue["open"] and not _working(queue):
        waits = queue["waiting"] or queue["callbacks_waiting"]
        level = Level.ALARM if waits else Level.WARNING
        found.append(Alarm(kind=Kind.NO_AGENTS, level=level))
    since = queue["oldest_callback_since"]
    if since is not None:
        at = datetime.fromisoformat(since)
        age_s = (now - at).total_seconds()
        found += _beyond(Kind.OLDEST_CALLBACK, age_s, thresholds.oldest_callback_s, at)
    if (wait_s := queue["expected_wait_s"]) is not None and queue["open"]:
        found += _beyond(Kind.EXPECTED_WAIT, wait_s, thresholds.expected_wait_s)
    failed = queue["not_reached_today"]
    ended = failed + queue["reached_today"]
    if ended >= thresholds.failures_from:
        found += _beyond(Kind.FAILURES, failed / ended, thresholds.failures)
    return sorted(found, key=lambda alarm: alarm.level is Level.WARNING)


def _working(queue: Mapping[str, Any]) -> int:
    away = queue["paused"] + queue["unavailable"]
    return int(queue["agents"] - away)


def _beyond(
    kind: Kind,
    value: float,
    limits: tuple[float, float],
    since: datetime | None = None,
) -> list[Alarm]:
    warning, alarm = limits
    if value < warning:
        return []
    level, limit = (Level.ALARM, alarm) if value >= alarm else (Level.WARNING, warning)
    return [Alarm(kind=kind, level=level, value=value, limit=limit, since=since)]
