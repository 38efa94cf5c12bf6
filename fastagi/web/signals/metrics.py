# SPDX-License-Identifier: MIT
"""Metrics for Prometheus. ``docs/metrics.md`` explains each one.

The state comes from the live view, open tasks from the database, and what has happened
from the events of tasks. Labels are queues, services, codes and states: no numbers, no
names of people, and nothing that grows without limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

import sqlalchemy as sa
from attrs import frozen
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fastagi import __version__
from fastagi.doors.codec import out_of_work
from fastagi.errors import CallbackError
from fastagi.store import schema
from fastagi.store.story_events import StoryPosition, lag
from fastagi.web import services
from fastagi.web.services import Service
from fastagi.web.signals import endpoints
from fastagi.web.signals.addresses import OUTCOMES
from fastagi.web.signals.alarms import Alarm, AlarmKind, Lease, Live, Storage
from fastagi.web.signals.feed import Reading
from fastagi.web.signals.settings import Level
from fastagi.web.signals.tally import REACH_BOUNDS_S, Tally

#: Maximum number of values of the label ``queue``; further queues share one.
_MAX_QUEUES: Final = 200
_OTHER: Final = "other"
#: How long what was read from the databases is used again, in seconds.
_FRESH_S: Final = 2.0
_AGENT_STATES: Final = (
    "free",
    "ringing",
    "busy",
    "wrapping_up",
    "paused",
    "unavailable",
)


class Kind(StrEnum):
    """Prometheus's types of metrics."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@frozen
class Family:
    """One metric with its labels and what it means."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_G, _C = Kind.GAUGE, Kind.COUNTER
_Q: Final = ("queue",)
#: All metrics of this service. The names of counters are without ``_total``.
FAMILIES: Final = {
    family.name: family
    for family in (
        Family(
            "callback_build_info",
            _G,
            ("version", "service_version"),
            "Always 1; the versions of the web process and of the service.",
        ),
        Family("callback_service_up", _G, (), "1 if the service answers."),
        Family(
            "callback_link_up",
            _G,
            (),
            "1 if the service is connected to Asterisk. Missing while it does not"
            " answer.",
        ),
        Family(
            "callback_services",
            _G,
            ("state",),
            "Services with a name on this database: running, not_running (for a day)."
            " Missing if there is none.",
        ),
        Family(
            "callback_asterisks_held",
            _G,
            ("service",),
            "Asterisks that a service with a name holds.",
        ),
        Family(
            "callback_lease_held",
            _G,
            (),
            "1 if the service certainly holds the lease on the database.",
        ),
        Family(
            "callback_database_up", _G, (), "1 if the web process reads the database."
        ),
        Family(
            "callback_database_read_seconds",
            _G,
            (),
            "How long the web process's last reading for these metrics took.",
        ),
        Family(
            "callback_service_database_seconds",
            _G,
            (),
            "How long the service's last reading of the database took.",
        ),
        Family(
            "callback_open_tasks",
            _G,
            ("queue", "status", "reason"),
            "Open tasks by status and by the code of its reason.",
        ),
        Family(
            "callback_oldest_task_seconds",
            _G,
            _Q,
            "How long the oldest open task has waited since its place in line.",
        ),
        Family(
            "callback_tasks_new",
            _C,
            ("queue", "kind"),
            "Tasks that came about: requested, missed, manual.",
        ),
        Family(
            "callback_tasks_ended",
            _C,
            ("queue", "status", "reason"),
            "Tasks that ended, by status and by the code of the reason.",
        ),
        Family(
            "callback_attempts",
            _C,
            ("queue", "result"),
            "Attempts that ended, by result.",
        ),
        Family(
            "callback_time_to_reach_seconds",
            Kind.HISTOGRAM,
            _Q,
            "From the request, or the chosen time, to the talk.",
        ),
        Family("callback_queue_open", _G, _Q, "1 if the queue is open."),
        Family("callback_callers_waiting", _G, _Q, "Live callers who wait."),
        Family(
            "callback_longest_wait_seconds",
            _G,
            _Q,
            "How long the live caller has waited who waits longest.",
        ),
        Family(
            "callback_in_line",
            _G,
            _Q,
            "Callbacks that wait in Asterisk's line among the live callers.",
        ),
        Family("callback_tasks_waiting", _G, _Q, "Tasks that wait."),
        Family("callback_tasks_calling", _G, _Q, "Tasks that are being called."),
        Family(
            "callback_agents", _G, ("queue", "state"), "Agents of the queue by state."
        ),
        Family(
            "callback_expected_wait_seconds",
            _G,
            _Q,
            "How long a caller is expected to wait who joins now.",
        ),
        Family(
            "callback_event_lag",
            _G,
            ("reader",),
            "Events of tasks that a reader has not handled yet.",
        ),
        Family(
            "callback_event_lag_seconds",
            _G,
            ("reader",),
            "Age of the oldest event that a reader has not handled yet.",
        ),
        Family(
            "callback_sending",
            _G,
            (),
            "1 if this web process looks for alarms and sends webhooks and mail; 0 if"
            " another one does.",
        ),
        Family(
            "callback_webhooks",
            _G,
            ("state",),
            "Endpoints of webhooks: working, failing, disabled.",
        ),
        Family(
            "callback_webhook_deliveries", _C, ("outcome",), "Deliveries by outcome."
        ),
        Family("callback_mails", _C, ("outcome",), "Mails by outcome: sent, failed."),
        Family(
            "callback_alarm",
            _G,
            ("alarm", "queue", "level"),
            "1 if the alarm is on at this level; no queue: the whole service.",
        ),
    )
}


class Alarming(Protocol):
    """The part of `fastagi.web.signals.alarms.Alarms` that metrics need."""

    def current(self) -> tuple[Alarm, ...]:
        """Return the alarms that are on."""


@frozen(kw_only=True)
class _Read:
    """What was read from the databases for the metrics."""

    #: Open tasks by queue, status and reason code, and the oldest one of each queue.
    open_tasks: Mapping[tuple[str, str, str], int]
    oldest: Mapping[str, float]
    took_s: float
    #: By reader: how many events it has not handled, and the time of the oldest.
    lag: Mapping[str, tuple[int, float | None]]
    #: Endpoints of webhooks by state.
    webhooks: Mapping[str, int]
    #: Those that have a name.
    services: Sequence[Service]
    database_up: bool


class Metrics:
    """Collects the metrics, and writes them for Prometheus."""

    def __init__(
        self,
        *,
        live: Live,
        records: Reading,
        state: Storage,
        tally: Tally,
        alarms: Alarming,
        webhook_outcomes: Mapping[str, int],
        mail_outcomes: Mapping[str, int],
        lease: Lease,
        now: Callable[[], datetime],
    ) -> None:
        """Prepare.

        Args:
            live: the live state.
            records: the service's database.
            state: the web process's own database.
            tally: what has happened to tasks.
            alarms: the alarms that are on.
            webhook_outcomes: deliveries so far, by outcome.
            mail_outcomes: mails so far, by outcome.
            lease: the lease on sending.
            now: the current time.
        """
        self._live = live
        self._records = records
        self._state = state
        self._tally = tally
        self._alarms = alarms
        self._webhook_outcomes = webhook_outcomes
        self._mail_outcomes = mail_outcomes
        self._lease = lease
        self._now = now
        self._reading: asyncio.Lock = asyncio.Lock()
        self._read: _Read | None = None
        self._read_at = 0.0

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics as text, and the type of its contents.

        Args:
            accept: the header Accept of the request.
        """
        async with self._reading:
            # Many scrapers cost no more than one.
            if self._read is None or time.monotonic() - self._read_at > _FRESH_S:
                self._read = await self._read_databases()
                self._read_at = time.monotonic()
            read = self._read
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self._families(read)))
        ProcessCollector(registry=registry)
        encoder, content_type = choose_encoder(accept)
        return encoder(registry), content_type

    # -- the databases -----------------------------------------------------

    async def _read_databases(self) -> _Read:
        webhooks, positions = await self._read_webhooks()
        if self._tally.position is not None:
            positions["metrics"] = self._tally.position
        began = time.monotonic()
        try:
            tasks, oldest, lag, found = await self._records.read(_read_all, positions)
        except CallbackError:
            return _Read(
                open_tasks={},
                oldest={},
                took_s=time.monotonic() - began,
                lag={},
                webhooks=webhooks,
                services=(),
                database_up=False,
            )
        return _Read(
            open_tasks=tasks,
            oldest=oldest,
            took_s=time.monotonic() - began,
            lag=lag,
            webhooks=webhooks,
            services=found,
            database_up=True,
        )

    async def _read_webhooks(self) -> tuple[dict[str, int], dict[str, StoryPosition]]:
        """Return endpoints by state, and the position of the one that is last."""
        states = dict.fromkeys(("working", "failing", "disabled"), 0)
        try:
            found = await self._state.read(endpoints.all_of)
        except CallbackError:
            return {}, {}
        enabled = [one for one in found if one.disabled_why is None]
        failing = [one for one in enabled if one.failing_since is not None]
        states["failing"] = len(failing)
        states["working"] = len(enabled) - len(failing)
        states["disabled"] = len(found) - len(enabled)
        if not enabled:
            return states, {}
        last = min(enabled, key=lambda one: one.position.event_id)
        return states, {"webhooks": last.position}

    # -- the families ------------------------------------------------------

    def _families(self, read: _Read) -> list[Metric]:
        snapshot = self._live.snapshot
        queues: Mapping[str, Any] = snapshot["queues"] if snapshot is not None else {}
        names = _QueueNames(
            [*queues, *read.oldest, *(key[0] for key in self._tally.created)]
        )
        write = _Writer()
        self._add_process(write, snapshot, read)
        self._add_tasks(write, read, names)
        self._add_queues(write, queues, names)
        self._add_alarms(write, queues, names)
        for reader, (count, since) in read.lag.items():
            write.add("callback_event_lag", count, reader)
            write.add("callback_event_lag_seconds", self._age_s(since), reader)
        write.add("callback_sending", self._lease.is_held)
        for state, count in read.webhooks.items():
            write.add("callback_webhooks", count, state)
        for outcome in OUTCOMES:
            count = self._webhook_outcomes.get(outcome, 0)
            write.add("callback_webhook_deliveries", count, outcome)
        for outcome in ("sent", "failed"):
            write.add("callback_mails", self._mail_outcomes.get(outcome, 0), outcome)
        return write.families()

    def _add_process(
        self, write: _Writer, snapshot: Mapping[str, Any] | None, read: _Read
    ) -> None:
        service = {} if snapshot is None else snapshot["service"]
        write.add("callback_build_info", 1, __version__, service.get("version", ""))
        write.add("callback_service_up", snapshot is not None)
        write.add("callback_database_up", read.database_up)
        if read.services:
            running = [one for one in read.services if one.runs]
            write.add("callback_services", len(running), "running")
            gone = len(read.services) - len(running)
            write.add("callback_services", gone, "not_running")
            for one in read.services:
                write.add("callback_asterisks_held", len(one.asterisks), one.name)
        if read.database_up:
            write.add("callback_database_read_seconds", read.took_s)
        if not service:
            return
        write.add("callback_link_up", not out_of_work(service))
        write.add("callback_lease_held", bool(service["lease_held"]))
        if service["database_latency_s"] is not None:
            write.add(
                "callback_service_database_seconds", service["database_latency_s"]
            )
        if service["events_waiting"] is not None:
            since = _seconds(service["events_waiting_since"])
            write.add("callback_event_lag", service["events_waiting"], "queue_log")
            write.add("callback_event_lag_seconds", self._age_s(since), "queue_log")

    def _add_tasks(self, write: _Writer, read: _Read, names: _QueueNames) -> None:
        for (queue, status, reason), count in read.open_tasks.items():
            write.add("callback_open_tasks", count, names.of(queue), status, reason)
        for queue, since in read.oldest.items():
            age = self._age_s(since)
            write.add_highest("callback_oldest_task_seconds", age, names.of(queue))
        for (queue, kind), count in self._tally.created.items():
            write.add("callback_tasks_new", count, names.of(queue), kind)
        for (queue, status, reason), count in self._tally.ended.items():
            write.add("callback_tasks_ended", count, names.of(queue), status, reason)
        for (queue, result), count in self._tally.attempts.items():
            write.add("callback_attempts", count, names.of(queue), result)
        for queue, times in self._tally.reached.items():
            write.add_histogram(
                "callback_time_to_reach_seconds",
                times.counts,
                times.sum_s,
                names.of(queue),
            )

    def _add_queues(
        self, write: _Writer, queues: Mapping[str, Any], names: _QueueNames
    ) -> None:
        for queue, values in queues.items():
            name = names.of(queue)
            write.add("callback_queue_open", bool(values["open"]), name)
            write.add("callback_callers_waiting", values["waiting"], name)
            write.add_highest(
                "callback_longest_wait_seconds",
                self._age_s(_seconds(values["waiting_since"])),
                name,
            )
            write.add("callback_in_line", values["in_line"], name)
            write.add("callback_tasks_waiting", values["callbacks_waiting"], name)
            write.add("callback_tasks_calling", values["callbacks_calling"], name)
            for state in _AGENT_STATES:
                write.add("callback_agents", values[state], name, state)
            if values["expected_wait_s"] is not None:
                write.add_highest(
                    "callback_expected_wait_seconds", values["expected_wait_s"], name
                )

    def _add_alarms(
        self, write: _Writer, queues: Mapping[str, Any], names: _QueueNames
    ) -> None:
        levels = {(one.kind, one.queue): one.level for one in self._alarms.current()}
        keys = {
            (kind, queue)
            for kind in AlarmKind
            for queue in (queues if kind.is_of_queue else ("",))
        }
        for kind, queue in sorted(keys | set(levels)):
            for level in Level:
                on = levels.get((kind, queue)) is level
                write.add_highest(
                    "callback_alarm", on, kind.value, names.of(queue), level.value
                )

    def _age_s(self, since: float | None) -> float:
        """Return how many seconds ago a time was; 0: none, or it is to come."""
        return 0.0 if since is None else max(self._now().timestamp() - since, 0.0)


def _seconds(iso: str | None) -> float | None:
    return None if iso is None else datetime.fromisoformat(iso).timestamp()


class _QueueNames:
    """The values of the label ``queue``: the first ones, and one for all others."""

    def __init__(self, names: Iterable[str]) -> None:
        self._known = set(list(dict.fromkeys(names))[:_MAX_QUEUES])

    def of(self, queue: str) -> str:
        if not queue or queue in self._known:
            return queue
        if len(self._known) < _MAX_QUEUES:
            self._known.add(queue)
            return queue
        return _OTHER


class _Writer:
    """Collects samples; those of queues that share a label are added up."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], tuple[list[int], float]]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        samples = self._samples.setdefault(name, {})
        samples[labels] = samples.get(labels, 0.0) + value

    def add_highest(self, name: str, value: float, *labels: str) -> None:
        samples = self._samples.setdefault(name, {})
        samples[labels] = max(samples.get(labels, 0.0), value)

    def add_histogram(
        self, name: str, counts: list[int], total: float, *labels: str
    ) -> None:
        samples = self._histograms.setdefault(name, {})
        before, sum_before = samples.get(labels, ([0] * len(counts), 0.0))
        added = [a + b for a, b in zip(before, counts, strict=True)]
        samples[labels] = added, sum_before + total

    def families(self) -> list[Metric]:
        """Return every family, also those without a sample now."""
        return [self._family(family) for family in FAMILIES.values()]

    def _family(self, family: Family) -> Metric:
        if family.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(
                family.name, family.help, labels=family.labels
            )
            for labels, (counts, total) in self._histograms.get(
                family.name, {}
            ).items():
                histogram.add_metric(labels, list(_buckets(counts)), total)
            return histogram
        made: GaugeMetricFamily | CounterMetricFamily = (
            CounterMetricFamily(family.name, family.help, labels=family.labels)
            if family.kind is Kind.COUNTER
            else GaugeMetricFamily(family.name, family.help, labels=family.labels)
        )
        for labels, value in self._samples.get(family.name, {}).items():
            made.add_metric(labels, value)
        return made


def _buckets(counts: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*REACH_BOUNDS_S, None), counts, strict=True):
        total += count
        yield ("+Inf" if bound is None else f"{float(bound)}"), float(total)


class _Collector(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


# -- the service's database ------------------------------------------------------

_task: Final = schema.task
#: The open tasks, selected first by their own index, not among a million ended ones.
_OPEN: Final = (
    sa.select(_task.c.queue, _task.c.status, _task.c.reason_code, _task.c.joined_at)
    .where(sa.text(schema.OPEN_ONLY))
    .cte("open")
    .prefix_with("MATERIALIZED")
)
OPEN_TASKS: Final = sa.select(
    _OPEN.c.queue,
    _OPEN.c.status,
    _OPEN.c.reason_code,
    sa.func.count(),
    sa.func.min(_OPEN.c.joined_at),
).group_by(_OPEN.c.queue, _OPEN.c.status, _OPEN.c.reason_code)


def _read_all(
    conn: sa.Connection, positions: Mapping[str, StoryPosition]
) -> tuple[
    dict[tuple[str, str, str], int],
    dict[str, float],
    dict[str, tuple[int, float | None]],
    tuple[Service, ...],
]:
    tasks: dict[tuple[str, str, str], int] = {}
    oldest: dict[str, float] = {}
    for queue, status, reason, count, since in conn.execute(OPEN_TASKS):
        tasks[queue, status, reason] = count
        oldest[queue] = min(since, oldest.get(queue, since))
    behind = {reader: lag(conn, position) for reader, position in positions.items()}
    return tasks, oldest, behind, services.read(conn)
