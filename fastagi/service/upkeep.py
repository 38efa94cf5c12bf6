# SPDX-License-Identifier: MIT
"""Stores the counts of past days, and erases and deletes what is too old.

The work is done in small transactions with pauses between them, so that no caller waits
for it. All of it is found again by looking at the database, so a restart loses nothing.
:mod:`fastagi.domain.retention` says by which time something is old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from twisted.logger import Logger

from fastagi.config.sections import Settings
from fastagi.domain.retention import advanced
from fastagi.domain.tally import LocalDay
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 30.0
#: From the start of the service to the first look, in seconds.
_FIRST_LOOK_S: Final = 20.0
#: From one look for something to do to the next, in seconds.
_LOOK_S: Final = 600.0
#: When to ask again whether it is done by this process, in seconds.
_LOOK_AGAIN_S: Final = 60.0
#: Pause between two transactions, which take some milliseconds each, in seconds.
_PAUSE_S: Final = 0.2
#: Maximum number of weeks, months and years that are counted in one transaction.
_MAX_LONGER: Final = 10
#: Maximum number of days of each queue that are found in one look.
_MAX_DAYS: Final = 50
#: The name of the stored time by which something is old.
_MARK: Final = "retention"
#: How far the clock may be ahead of that time without a warning.
_FAR_AHEAD: Final = timedelta(days=1)


class Upkeep:
    """Keeps the counts of the reports, and removes what is too old."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Prepare.

        Args:
            store: has the tasks.
            clock: the clocks.
            background: the owner of the work.
            settings: the settings in force.
            is_wanted: whether it is done here; of several processes one does it.
        """
        self._is_wanted = is_wanted
        self._store = store
        self._clock = clock
        self._settings = settings
        #: Whether the zones of the settings in force are stored.
        self._zones_stored = False
        #: When to look again, by the steady clock.
        self._look_at = 0.0
        #: The time by which something is old in this look; None: no look is under way.
        self._retention_at: datetime | None = None
        #: When the stored time was last advanced, by the steady clock.
        self._advanced_at = 0.0
        self._warned = False
        #: When to look again for days to be counted, by the steady clock: that takes
        #: some time, and erasing may take thousands of steps.
        self._find_days_at = 0.0
        #: Past days to be counted, each with its queues.
        self._days: deque[tuple[LocalDay, list[str]]] = deque()
        #: Whether weeks, months and years may have to be counted.
        self._longer_left = True
        self._erased = 0
        self._deleted = 0
        self._worker = Worker(
            self._work,
            what="upkeep",
            background=background,
            clock=clock,
            trouble="counts of past days are not stored, and nothing old is erased",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def start(self) -> None:
        """Begin in a while: after a start there is more important work."""
        self._advanced_at = self._clock.steady()
        self._look_at = self._advanced_at + _FIRST_LOOK_S
        self._worker.wake_in(_FIRST_LOOK_S)

    def settings_changed(self, _former: Settings, _new: Settings) -> None:
        """Use other zones or times."""
        self._zones_stored = False
        self._days.clear()
        self._look_at = self._find_days_at = self._clock.steady()
        self._worker.wake_in(_PAUSE_S)

    def stop(self) -> None:
        """Begin no more work."""
        self._worker.stop()

    async def _work(self) -> float:
        """Do one step; return the seconds until the next one."""
        left_s = self._look_at - self._clock.steady()
        if left_s > 0:
            return left_s
        if not self._is_wanted():
            return _LOOK_AGAIN_S
        if self._retention_at is None:
            self._retention_at = await self._advance()
        if await self._step(self._retention_at):
            return _PAUSE_S
        self._retention_at = None
        if self._erased or self._deleted:
            await self._store.leave_nothing_erased()
        self._report()
        self._look_at = self._clock.steady() + _LOOK_S
        return _LOOK_S

    async def _advance(self) -> datetime:
        """Advance the stored time; return it, or the clock's if that is earlier."""
        now, steady_s = self._clock.now(), self._clock.steady()
        known = await self._store.mark(_MARK)
        if known is None and (known := await self._store.last_stored_at()) is None:
            # Nothing can be old.
            return now
        ran_for = timedelta(seconds=steady_s - self._advanced_at)
        at = advanced(known, now, ran_for)
        await self._store.set_mark(_MARK, at)
        self._advanced_at = steady_s
        is_far_ahead = now - at > _FAR_AHEAD
        if is_far_ahead and not self._warned:
            self._log.warn(
                "the machine's clock is {days:.0f} days ahead of the last time that"
                " this service has stored ({at:%Y-%m-%d %H:%M} UTC): what is old is"
                " erased by that time, which now passes a day in an hour - if the clock"
                " is wrong, set it",
                days=(now - at) / timedelta(days=1),
                at=at,
            )
        self._warned = is_far_ahead
        return min(now, at)

    async def _step(self, retention_at: datetime) -> bool:
        """Do the first thing that there is to do; False: there is nothing.

        Args:
            retention_at: the time by which something is old.
        """
        if not self._zones_stored:
            await self._store.set_zones(self._zones())
            self._zones_stored = True
            await self._store.recount_tasks_set_back()
        retention = self._settings().retention
        if await self._count_day(self._clock.now()):
            return True
        if retention.keep_numbers is not None and (
            changed := await self._store.erase_old(
                retention_at - retention.keep_numbers
            )
        ):
            self._erased += changed
            return True
        if retention.keep_tasks is not None and (
            deleted := await self._store.delete_old(retention_at - retention.keep_tasks)
        ):
            self._deleted += deleted
            return True
        return False

    async def _count_day(self, now: datetime) -> bool:
        if not self._days and self._clock.steady() >= self._find_days_at:
            found = await self._store.days_not_counted(now, _MAX_DAYS)
            self._days.extend(found.items())
            if not found:
                self._find_days_at = self._clock.steady() + _LOOK_S
        if not self._days:
            if self._longer_left:
                stored = await self._store.count_longer(_MAX_LONGER)
                self._longer_left = stored == _MAX_LONGER
            return self._longer_left
        day, queues = self._days[0]
        await self._store.count_day(queues, day)
        self._days.popleft()
        self._longer_left = True
        return True

    def _zones(self) -> dict[str, str]:
        zones = {}
        for name, queue in self._settings().queues.items():
            zone = queue.zone
            zones[name] = zone.key if isinstance(zone, ZoneInfo) else "UTC"
        return zones

    def _report(self) -> None:
        if self._erased:
            self._log.info(
                "erased numbers and names of {rows} old tasks, refusals and offers"
                " (retention.keep_numbers)",
                rows=self._erased,
            )
        if self._deleted:
            self._log.info(
                "deleted {tasks} old tasks (retention.keep_tasks)", tasks=self._deleted
            )
        self._erased = self._deleted = 0
