# SPDX-License-Identifier: MIT
"""What several services on one database know of each other: settings and versions.

Each one stores its settings in force, and compares them with those of the others. It
logs one warning when they differ, and none again before that changes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from twisted.logger import Logger

from fastagi import __version__
from fastagi.config import agreement
from fastagi.config.agreement import Shared
from fastagi.config.sections import Settings
from fastagi.domain.difference import Difference
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.service.commands import DatabaseHolder, InstanceStatus
from fastagi.service.settings_in_force import SettingsInForce
from fastagi.store.errors import StoreUnavailable
from fastagi.store.instances import Seen, Told
from fastagi.store.lease_rows import COUNTS_S
from fastagi.store.store import TaskStore

#: Interval of looks at the others, in seconds.
LOOK_S: Final = 10.0
#: Interval at which it is stored that this service runs, in seconds.
_TELL_S: Final = 60.0
#: Number of differences that are logged.
_LOGGED: Final = 10
#: Number of queues whose settings are listed at a time, which takes a few milliseconds.
_QUEUES_AT_A_TIME: Final = 10


class Instances:
    """Tells the other services of this one, and compares its settings with theirs."""

    _log = Logger()

    def __init__(
        self,
        *,
        name: str,
        store: TaskStore,
        clock: Clock,
        background: Background,
        settings: SettingsInForce,
    ) -> None:
        """Prepare.

        Args:
            name: of this service; empty: it is not one of several, and nothing is done.
            store: what all services tell is there.
            clock: the clocks.
            background: the owner of the work.
            settings: those in force.
        """
        self.name = name
        self._store = store
        self._clock = clock
        self._background = background
        self._settings = settings
        self._told_at: float | None = None
        self._told_of: Settings | None = None
        self._shared: Shared | None = None
        self._digest = ""
        #: What the others had otherwise when it was looked last, by name; and by which
        #: settings of both that was found.
        self._differences: dict[str, tuple[Difference, ...]] = {}
        self._compared: dict[str, tuple[str, str]] = {}
        self._worker = Worker(
            self._look,
            what="comparing the settings of several services",
            background=background,
            clock=clock,
            retry_s=LOOK_S,
        )

    def start(self) -> None:
        """Tell the others, and look at them from now on."""
        if self.name:
            self._worker.wake()

    def settings_changed(self, _former: Settings, _new: Settings) -> None:
        """Tell the others of new settings, and compare them."""
        self.start()

    def stop(self) -> None:
        """Look no more."""
        self._worker.stop()

    async def _look(self) -> float:
        try:
            await self._look_at_others()
        except StoreUnavailable as error:
            # The lease of this process is watched elsewhere.
            self._log.debug("other services can not be looked at: {error}", error=error)
        return LOOK_S

    async def _look_at_others(self) -> None:
        await self._tell()
        seen = [one for one in await self._store.other_instances() if _counts(one)]
        for one in seen:
            await self._compare(one)
        for name in self._differences.keys() - {one.name for one in seen}:
            del self._differences[name]
            del self._compared[name]

    async def _tell(self) -> None:
        """Store the settings if they have changed, and that this service runs."""
        now, settings = self._clock.steady(), self._settings()
        if settings is not self._told_of:
            # A change of the Asterisks takes effect at the next start.
            shared = await self._shared_of(self._settings.as_started(settings))
            text = shared.as_json()
            digest = agreement.digest_of(text)
            await self._store.tell_others(
                Told(version=__version__, settings=text, digest=digest)
            )
            self._told_at, self._told_of = now, settings
            self._shared, self._digest = shared, digest
        elif self._told_at is None or now - self._told_at >= _TELL_S:
            await self._store.tell_others(None)
            self._told_at = now

    async def _shared_of(self, settings: Settings) -> Shared:
        queues = {}
        for index, name in enumerate(settings.queues, 1):
            queues[name] = agreement.of_queue(settings, name)
            if index % _QUEUES_AT_A_TIME == 0:
                await self._background.pause(0)
        return Shared(agreement.of_no_queue(settings), queues)

    async def _compare(self, other: Seen) -> None:
        digests = self._digest, other.digest
        if self._compared.get(other.name) == digests or self._shared is None:
            return
        found: tuple[Difference, ...] = ()
        if other.digest != self._digest:
            text = await self._store.settings_of(other)
            if text is None:
                # They have just changed: the next look compares the new ones.
                return
            found = tuple(agreement.compare(self._shared, Shared.from_json(text)))
        former = self._differences.get(other.name, ())
        self._differences[other.name] = found
        self._compared[other.name] = digests
        if found != former:
            self._report(_status(other, found, self._clock))

    def _report(self, other: InstanceStatus) -> None:
        found, where = other.differences, other.where
        if not found:
            self._log.info(
                "the settings agree with those of the {where} again", where=where
            )
            return
        words = "; ".join(one.words(where) for one in found[:_LOGGED])
        if (more := len(found) - _LOGGED) > 0:
            words += f"; and {more} more ('callback-queue status' shows them)"
        self._log.warn(
            "all services on one database should have the same settings: {differences}",
            differences=words,
        )

    async def others(self) -> tuple[InstanceStatus, ...]:
        """Return the other services, with what was found when it was looked last.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        if not self.name:
            return ()
        return tuple(
            _status(one, self._differences.get(one.name, ()), self._clock)
            for one in await self._store.other_instances()
        )


def _counts(seen: Seen) -> bool:
    """Whether the settings of a service are compared."""
    return seen.seen_s < COUNTS_S


def _status(
    seen: Seen, differences: tuple[Difference, ...], clock: Clock
) -> InstanceStatus:
    lease = seen.lease
    return InstanceStatus(
        name=seen.name,
        version=seen.version,
        process=None
        if lease is None
        else DatabaseHolder(
            host=lease.process.host, pid=lease.process.pid, since=lease.since
        ),
        seen_at=clock.now() - timedelta(seconds=seen.seen_s),
        nodes=seen.nodes,
        lost_links=seen.lost_links,
        differences=differences,
    )
