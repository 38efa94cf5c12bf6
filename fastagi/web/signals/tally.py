# SPDX-License-Identifier: MIT
"""Counts the events of tasks, for metrics and for the alarm about failures.

A reader of the events with a stored position: what happened while the web process did
not run is counted after its start. Counters begin at zero with each start, as
Prometheus expects it.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from attrs import define, field

from fastagi.domain.task import Move
from fastagi.errors import CallbackError
from fastagi.store.story_events import (
    StoryEvent,
    StoryPosition,
    last_position,
    position_at,
)
from fastagi.web.signals.alarms import Storage
from fastagi.web.signals.feed import Reading
from fastagi.web.signals.messages import ATTEMPT_ENDS, TASK_ENDS
from fastagi.web.signals.webhooks import Feeding
from fastagi.web.state.schema import READERS

#: The reader's name in the table of positions.
_READER: Final = "metrics"
_AT_ONCE: Final = 500
#: Over which time failures count for the alarm.
_HOUR: Final = timedelta(hours=1)
#: Upper limits of the classes of the time to reach a client, in seconds.
REACH_BOUNDS_S: Final = (
    *(30, 60, 120, 300, 600, 900, 1200, 1800, 2700),
    *(3600, 7200, 14400, 28800, 86400),
)
_RETRY_S: Final = 5.0

_log = logging.getLogger(__name__)


@define
class ReachTimes:
    """A histogram of the time from the request to the talk."""

    #: How many are within each class; the last class has no limit.
    counts: list[int] = field(factory=lambda: [0] * (len(REACH_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one client who was reached."""
        self.counts[bisect_left(REACH_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Tally:
    """What has happened to tasks since the last start of this process."""

    def __init__(
        self,
        *,
        state: Storage,
        records: Reading,
        feed: Feeding,
        now: Callable[[], datetime],
    ) -> None:
        """Prepare; `run` counts.

        Args:
            state: the web process's own database.
            records: the service's database.
            feed: the events of tasks.
            now: the current time.
        """
        self._state = state
        self._records = records
        self._feed = feed
        self._now = now
        self._position: StoryPosition | None = None
        #: Tasks that came about, by queue and kind.
        self.created: Counter[tuple[str, str]] = Counter()
        #: Tasks that ended, by queue, status and reason code.
        self.ended: Counter[tuple[str, str, str]] = Counter()
        #: Attempts that ended, by queue and result.
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.reached: dict[str, ReachTimes] = defaultdict(ReachTimes)
        self._failed: deque[tuple[datetime, str]] = deque()

    @property
    def position(self) -> StoryPosition | None:
        """The last event that is counted; None: not known yet."""
        return self._position

    def failures(self, now: datetime) -> Mapping[str, int] | None:
        """Return the tasks that failed or expired within the last hour, by queue.

        None: the events of the last hour are not read yet.
        """
        if self._position is None:
            return None
        while self._failed and self._failed[0][0] <= now - _HOUR:
            self._failed.popleft()
        return Counter(queue for _, queue in self._failed)

    async def run(self) -> None:
        """Count until it is cancelled."""
        while True:
            seen = self._feed.last
            try:
                await self.catch_up()
            except CallbackError as error:
                _log.warning("events can not be counted now: %s", error)
                seen = self._feed.last
            await self._feed.wait(seen, _RETRY_S)

    async def catch_up(self) -> None:
        """Count all events that are not counted yet.

        Raises:
            CallbackError: a database can not be used at the moment.
        """
        if self._position is None:
            self._position = await self._start()
        while events := await self._feed.read(self._position, _AT_ONCE):
            for event in events:
                self._count(event)
            self._position = events[-1].position
            await self._state.write(set_position, _READER, self._position)

    async def _start(self) -> StoryPosition:
        """Return where counting begins; read the failures of the last hour before."""
        stored = await self._state.read(get_position, _READER)
        if stored is None:
            stored = await self._records.read(last_position)
            await self._state.write(set_position, _READER, stored)
        self._failed.clear()
        position = await self._records.read(position_at, self._now() - _HOUR)
        while events := await self._feed.read(position, _AT_ONCE):
            for event in events:
                if event.id > stored.event_id:
                    return stored
                self._note_failure(event)
            position = events[-1].position
        return stored

    def _count(self, event: StoryEvent) -> None:
        queue = event.queue
        if event.move is Move.CREATE:
            self.created[queue, event.kind.value] += 1
        attempt = event.attempt
        if attempt is not None and attempt.disposition and event.move in ATTEMPT_ENDS:
            self.attempts[queue, attempt.disposition.value] += 1
        if event.move in TASK_ENDS:
            self.ended[queue, event.status.value, event.why.code.value] += 1
        if event.move is Move.COMPLETE:
            talk_s = attempt.talk_s if attempt is not None else 0.0
            reached = (event.at - event.wanted_at).total_seconds() - talk_s
            self.reached[queue].add(max(reached, 0.0))
        self._note_failure(event)

    def _note_failure(self, event: StoryEvent) -> None:
        if event.move in (Move.GIVE_UP, Move.EXPIRE):
            self._failed.append((event.at, event.queue))


def get_position(conn: sa.Connection, name: str) -> StoryPosition | None:
    """Return the stored position of a reader; None: it has none yet."""
    row = conn.execute(sa.select(READERS).where(READERS.c.name == name)).first()
    return None if row is None else StoryPosition(row.event_id, row.at, row.task_id)


def set_position(conn: sa.Connection, name: str, position: StoryPosition) -> None:
    """Store the position of a reader."""
    values = {
        "event_id": position.event_id,
        "at": position.at,
        "task_id": position.task_id,
    }
    moved = conn.execute(
        sa.update(READERS).where(READERS.c.name == name).values(**values)
    )
    if not moved.rowcount:
        conn.execute(sa.insert(READERS).values(name=name, **values))
