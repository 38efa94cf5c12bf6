# SPDX-License-Identifier: MIT
"""Alarms: values of the live state that are over a threshold.

An alarm begins as soon as its value reaches a threshold. It ends, or becomes yellow
again, when the value has been well below the threshold for a while, so that a value
around the threshold does not raise the alarm again and again. Each change is stored
before anybody is told; webhooks and mail follow the stored changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol, TypeAlias, TypeVar, TypeVarTuple

import sqlalchemy as sa
from attrs import evolve, frozen

from fastagi.doors.codec import all_work
from fastagi.errors import CallbackError
from fastagi.store.rows import moment
from fastagi.web.signals.feed import Changing
from fastagi.web.signals.settings import AlarmSettings, Level, limits_of
from fastagi.web.state.schema import ALARM_CHANGES, ALARMS

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: An alarm ends when its value is below this share of the threshold.
_WELL_BELOW: Final = 0.8
#: Time between two evaluations, in seconds: at least, and at most.
_AT_LEAST_S: Final = 1.0
_AT_MOST_S: Final = 5.0
#: How long changes are kept, for webhooks that do not answer for days.
_KEPT: Final = timedelta(days=14)

_log = logging.getLogger(__name__)


class AlarmKind(StrEnum):
    """What an alarm is about. The first ones are of one queue."""

    #: How long the oldest task of an open queue has waited.
    OLDEST_TASK = "oldest_task"
    #: How long a caller is expected to wait who joins now.
    EXPECTED_WAIT = "expected_wait"
    #: How many tasks failed or expired within the last hour.
    FAILURES = "failures"
    #: For how long an open queue has had no agent who is logged in and not paused.
    NO_AGENTS = "no_agents"
    #: For how long the service has had no link to Asterisk.
    LINK_DOWN = "link_down"
    #: For how long the service has not answered.
    SERVICE_DOWN = "service_down"

    @property
    def unit(self) -> str:
        """The unit of the value: ``seconds`` or ``count``."""
        return "count" if self is AlarmKind.FAILURES else "seconds"

    @property
    def is_of_queue(self) -> bool:
        """Whether each queue has an alarm of this kind."""
        return self not in (AlarmKind.LINK_DOWN, AlarmKind.SERVICE_DOWN)


#: The kinds whose value is how long something has been so, counted by this process.
_LASTING: Final = frozenset(
    {AlarmKind.NO_AGENTS, AlarmKind.LINK_DOWN, AlarmKind.SERVICE_DOWN}
)
#: The kind, and the name of the queue; empty: the whole service.
Key: TypeAlias = tuple[AlarmKind, str]


@frozen(kw_only=True)
class Alarm:
    """An alarm that is on."""

    kind: AlarmKind
    #: The name of the queue; empty: it concerns the whole service.
    queue: str
    level: Level
    #: Since when it is on, at any level.
    since: datetime
    #: The value when the level was reached; seconds or a count.
    value: float
    threshold: float | None

    @property
    def words(self) -> str:
        """The alarm as a sentence."""
        return words_of(self.kind, self.queue, self.value)


@frozen(kw_only=True)
class AlarmChange:
    """One change of an alarm."""

    id: int
    at: datetime
    kind: AlarmKind
    queue: str
    #: None: the alarm has ended.
    level: Level | None
    #: The level before; None: there was no alarm.
    before: Level | None
    since: datetime
    value: float
    threshold: float | None

    @property
    def words(self) -> str:
        """The change as a sentence."""
        if self.level is None:
            return _words_of_end(self.kind, self.queue)
        return words_of(self.kind, self.queue, self.value)


def _words_of_end(kind: AlarmKind, queue: str) -> str:
    """Return the end of an alarm as a sentence.

    Each is also true if the queue has closed, or is not in the settings any more.
    """
    match kind:
        case AlarmKind.OLDEST_TASK:
            return f"queue {queue}: callbacks no longer wait too long"
        case AlarmKind.EXPECTED_WAIT:
            return f"queue {queue}: callers are no longer expected to wait too long"
        case AlarmKind.FAILURES:
            return f"queue {queue}: no longer too many failed or expired callbacks"
        case AlarmKind.NO_AGENTS:
            return f"queue {queue}: no longer open without an available agent"
        case AlarmKind.LINK_DOWN:
            return "the service has a link to Asterisk again"
        case AlarmKind.SERVICE_DOWN:
            return "the service answers again"


def words_of(kind: AlarmKind, queue: str, value: float) -> str:
    """Return an alarm as a sentence, without names of people and without numbers."""
    length = _length(value)
    match kind:
        case AlarmKind.OLDEST_TASK:
            return f"queue {queue}: the oldest callback has waited for {length}"
        case AlarmKind.EXPECTED_WAIT:
            return f"queue {queue}: callers are expected to wait for {length}"
        case AlarmKind.FAILURES:
            return (
                f"queue {queue}: {value:.0f} callbacks failed or expired within an hour"
            )
        case AlarmKind.NO_AGENTS:
            return f"queue {queue}: no agent has been available for {length}"
        case AlarmKind.LINK_DOWN:
            return f"the service has had no link to Asterisk for {length}"
        case AlarmKind.SERVICE_DOWN:
            return f"the service has not answered for {length}"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class AlarmJudge:
    """Decides which alarms begin, change and end."""

    def __init__(self, settings: AlarmSettings, current: Sequence[Alarm] = ()) -> None:
        """Begin with the alarms that are on.

        Args:
            settings: the thresholds.
            current: the alarms that are on.
        """
        self._settings = settings
        self._on: dict[Key, Alarm] = {(one.kind, one.queue): one for one in current}
        #: Since when the value of an alarm has been well below its threshold.
        self._calm_since: dict[Key, datetime] = {}

    @property
    def current(self) -> tuple[Alarm, ...]:
        """The alarms that are on: red ones first, then by time."""
        return tuple(
            sorted(self._on.values(), key=lambda one: (-one.level.rank, one.since))
        )

    def judge(
        self, values: Mapping[Key, float | None], now: datetime
    ) -> list[AlarmChange]:
        """Return what changes, with the id 0; `take` makes it current.

        Args:
            values: a value of None is not known now, and changes nothing. An alarm
                without a value ends: its queue is not in the settings any more.
            now: the current time.
        """
        changes = []
        for key in {**values, **self._on}:
            value = values.get(key, 0.0)
            if value is None:
                continue
            kind, queue = key
            limits = limits_of(self._settings, kind.value, queue)
            on = self._on.get(key)
            level = limits.level(value)
            if on is not None and _rank(level) < _rank(on.level):
                held = limits.level(value / _WELL_BELOW)
                if _rank(held) >= _rank(on.level):
                    self._calm_since.pop(key, None)
                    continue
                since = self._calm_since.setdefault(key, now)
                if now - since < self._settings.calm:
                    continue
            self._calm_since.pop(key, None)
            before = None if on is None else on.level
            if level is before:
                continue
            changes.append(
                AlarmChange(
                    id=0,
                    at=now,
                    kind=kind,
                    queue=queue,
                    level=level,
                    before=before,
                    since=now if on is None else on.since,
                    value=value,
                    threshold=limits.of(
                        level or on.level if on else level or Level.RED
                    ),
                )
            )
        return changes

    def take(self, changes: Sequence[AlarmChange]) -> None:
        """Make changes current."""
        for change in changes:
            key = (change.kind, change.queue)
            if change.level is None:
                self._on.pop(key, None)
            else:
                self._on[key] = Alarm(
                    kind=change.kind,
                    queue=change.queue,
                    level=change.level,
                    since=change.since,
                    value=change.value,
                    threshold=change.threshold,
                )


def _rank(level: Level | None) -> int:
    return 0 if level is None else level.rank


def lacks_agents(queue: Mapping[str, Any]) -> bool:
    """Whether a queue is open without an agent who is logged in and not paused."""
    able = queue["agents"] - queue["paused"] - queue["unavailable"]
    return bool(queue["open"]) and able <= 0


class AlarmValues:
    """Takes the values of alarms from the live state."""

    def __init__(self) -> None:
        #: Since when there has been no agent, or no link.
        self._since: dict[Key, datetime] = {}

    def resume(self, alarms: Sequence[Alarm]) -> None:
        """Count on from when this process ended, so that what lasts has no new begin.

        Args:
            alarms: the alarms that are on.
        """
        for one in alarms:
            if one.kind in _LASTING:
                key = (one.kind, one.queue)
                self._since[key] = one.since - timedelta(seconds=one.value)

    def of(
        self,
        snapshot: Mapping[str, Any] | None,
        down_since: datetime | None,
        failures: Mapping[str, int] | None,
        now: datetime,
    ) -> dict[Key, float | None]:
        """Return the value of each alarm; None: not known now.

        Args:
            snapshot: the live state; None: the service does not answer.
            down_since: since when it does not answer; None: it does.
            failures: tasks that failed or expired within the last hour, by queue;
                None: not known.
            now: the current time.
        """
        down = (AlarmKind.SERVICE_DOWN, "")
        if down_since is None:
            self._since.pop(down, None)
        else:
            self._since[down] = min(down_since, self._since.get(down, down_since))
        values: dict[Key, float | None] = {
            down: self._lasts(down, down_since is not None, now)
        }
        if snapshot is None:
            return values
        linked = all_work(snapshot)
        link = (AlarmKind.LINK_DOWN, "")
        values[link] = self._lasts(link, not linked, now)
        for name, queue in snapshot["queues"].items():
            known = linked and bool(queue["known"])
            values |= self._of_queue(name, queue, known, now)
            values[AlarmKind.FAILURES, name] = (
                None if failures is None else float(failures.get(name, 0))
            )
        return values

    def _of_queue(
        self, name: str, queue: Mapping[str, Any], known: bool, now: datetime
    ) -> dict[Key, float | None]:
        is_open = bool(queue["open"])
        # A service of before an update does not send the second one.
        oldest, opened = queue["oldest_callback_since"], queue.get("open_since")
        oldest_s = 0.0
        if is_open and oldest is not None:
            # A night in which the queue is closed is no fault of anybody.
            since = max(map(datetime.fromisoformat, filter(None, (oldest, opened))))
            oldest_s = max((now - since).total_seconds(), 0.0)
        expected = queue["expected_wait_s"] if is_open else 0.0
        key = (AlarmKind.NO_AGENTS, name)
        return {
            (AlarmKind.OLDEST_TASK, name): oldest_s,
            (AlarmKind.EXPECTED_WAIT, name): expected,
            key: self._lasts(key, lacks_agents(queue), now) if known else None,
        }

    def _lasts(self, key: Key, is_so: bool, now: datetime) -> float:
        """Return for how many seconds something has been so; 0: it is not."""
        if not is_so:
            self._since.pop(key, None)
            return 0.0
        return max((now - self._since.setdefault(key, now)).total_seconds(), 0.0)


# -- in the web process's database ---------------------------------------------


def stored_alarms(conn: sa.Connection) -> list[Alarm]:
    """Return the alarms that are on; those of another version's kinds are left out."""
    known = ALARMS.c.kind.in_([kind.value for kind in AlarmKind])
    return [
        Alarm(
            kind=AlarmKind(row.kind),
            queue=row.queue,
            level=Level(row.level),
            since=moment(row.since),
            value=row.value,
            threshold=row.threshold,
        )
        for row in conn.execute(sa.select(ALARMS).where(known))
    ]


def store_changes(
    conn: sa.Connection, changes: Sequence[AlarmChange]
) -> list[AlarmChange]:
    """Store changes, and return them with their ids."""
    stored = []
    for change in changes:
        row = {
            "kind": change.kind.value,
            "queue": change.queue,
            "level": change.level and change.level.value,
            "since": change.since.timestamp(),
            "value": change.value,
            "threshold": change.threshold,
        }
        new_id = conn.execute(
            sa.insert(ALARM_CHANGES)
            .values(
                at=change.at.timestamp(),
                before=change.before and change.before.value,
                **row,
            )
            .returning(ALARM_CHANGES.c.id)
        ).scalar_one()
        conn.execute(
            sa.delete(ALARMS).where(
                ALARMS.c.kind == change.kind.value, ALARMS.c.queue == change.queue
            )
        )
        if change.level is not None:
            conn.execute(sa.insert(ALARMS).values(**row))
        stored.append(evolve(change, id=new_id))
    if stored:
        old = (stored[-1].at - _KEPT).timestamp()
        conn.execute(sa.delete(ALARM_CHANGES).where(ALARM_CHANGES.c.at < old))
    return stored


def changes_after(conn: sa.Connection, change_id: int, limit: int) -> list[AlarmChange]:
    """Return the changes after this one, at most ``limit``, in order.

    Those of another version's kinds are left out.
    """
    known = ALARM_CHANGES.c.kind.in_([kind.value for kind in AlarmKind])
    rows = conn.execute(
        sa.select(ALARM_CHANGES)
        .where(ALARM_CHANGES.c.id > change_id, known)
        .order_by(ALARM_CHANGES.c.id)
        .limit(limit)
    )
    return [
        AlarmChange(
            id=row.id,
            at=moment(row.at),
            kind=AlarmKind(row.kind),
            queue=row.queue,
            level=row.level and Level(row.level),
            before=row.before and Level(row.before),
            since=moment(row.since),
            value=row.value,
            threshold=row.threshold,
        )
        for row in rows
    ]


# -- running -------------------------------------------------------------------


class Storage(Protocol):
    """The part of `fastagi.web.state.state.State` that is needed here."""

    async def read(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function that only reads."""

    async def write(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function and commit."""


class Lease(Storage, Protocol):
    """The part of `fastagi.web.state.sending.SendingLease` that alarms need."""

    @property
    def is_held(self) -> bool:
        """Whether this process looks for alarms; otherwise another one does."""


class Live(Protocol):
    """The part of `fastagi.web.live.LiveView` that alarms need."""

    @property
    def snapshot(self) -> Mapping[str, Any] | None:
        """The newest state; None while the service can not be reached."""

    @property
    def down_since(self) -> datetime | None:
        """Since when the service can not be reached; None: it can."""

    def subscribe(self) -> Changing:
        """Return a subscription to changes."""


class Alarms:
    """The alarms that are on, and their changes.

    Of several processes on one database one evaluates, the one with the lease; the
    others show what it has stored.
    """

    def __init__(
        self,
        settings: AlarmSettings,
        *,
        lease: Lease,
        live: Live,
        failures: Callable[[datetime], Mapping[str, int] | None],
        now: Callable[[], datetime],
    ) -> None:
        """Prepare; `run` evaluates.

        Args:
            settings: the thresholds.
            lease: the web process's own database; written only with the lease.
            live: the live state.
            failures: tasks that failed or expired within the hour before a time, by
                queue; None: not known yet.
            now: the current time.
        """
        self._settings = settings
        self._lease = lease
        self._live = live
        self._failures = failures
        self._now = now
        self._values = AlarmValues()
        self._judge: AlarmJudge | None = None
        #: Whether another process evaluated at the last evaluation.
        self._follows = False
        self._changed = asyncio.Condition()
        self._version = 0

    def current(self) -> tuple[Alarm, ...]:
        """Return the alarms that are on: red ones first, then by time."""
        return () if self._judge is None else self._judge.current

    async def changes(self) -> AsyncIterator[tuple[Alarm, ...]]:
        """Yield the alarms that are on, now and after each change."""
        seen = -1
        while True:
            await self._other_than(seen)
            seen = self._version
            yield self.current()

    async def wait(self, within_s: float | None) -> None:
        """Wait for the next change, or for a time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._other_than(self._version)

    async def _other_than(self, version: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._version != version)

    async def run(self) -> None:
        """Evaluate whenever the live state changes, until it is cancelled."""
        if not self._settings.enabled:
            await asyncio.Event().wait()
        subscription = self._live.subscribe()
        problem = ""
        try:
            while True:
                try:
                    await self.evaluate()
                    problem = ""
                except CallbackError as error:
                    # The next evaluation finds the same changes.
                    if str(error) != problem:
                        _log.warning("alarms can not be read or stored: %s", error)
                    problem = str(error)
                await asyncio.sleep(_AT_LEAST_S)
                await subscription.next(_AT_MOST_S - _AT_LEAST_S)
        finally:
            subscription.close()

    async def evaluate(self) -> list[AlarmChange]:
        """Evaluate once; return the changes, which are stored.

        Raises:
            CallbackError: the database can not be used.
        """
        now = self._now()
        follows = not self._lease.is_held
        if self._judge is None or follows or self._follows:
            stored = await self._lease.read(stored_alarms)
            await self._begin_with(stored)
            # Also while another process evaluates: this one may go on for it.
            self._values.resume(stored)
        self._follows = follows
        values = self._values.of(
            self._live.snapshot, self._live.down_since, self._failures(now), now
        )
        if follows:
            return []
        assert self._judge is not None
        if self._live.snapshot is None:
            # Nothing is known of queues and link: their alarms stay as they are.
            values |= {
                (one.kind, one.queue): None
                for one in self._judge.current
                if one.kind is not AlarmKind.SERVICE_DOWN
            }
        found = self._judge.judge(values, now)
        if not found:
            return []
        changes = await self._lease.write(store_changes, found)
        self._judge.take(changes)
        for change in changes:
            level = change.level.value if change.level else "ended"
            log = _log.info if change.level is None else _log.warning
            log("alarm %s: %s", level, change.words)
        await self._tell()
        return changes

    async def _begin_with(self, stored: Sequence[Alarm]) -> None:
        """Take over the alarms that are stored."""
        before = self.current()
        self._judge = AlarmJudge(self._settings, stored)
        if self.current() != before:
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._version += 1
            self._changed.notify_all()
