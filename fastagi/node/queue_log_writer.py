# SPDX-License-Identifier: MIT
"""Tells Asterisk's queue_log what happens to tasks, for the sake of reports.

It follows the table of events. The manager has no way to ask whether a line is written
already, so one must be lost or doubled if this process dies between two writes. A
report that counts a callback twice is worse than one that lacks a line: how far it has
come is committed before each line is sent. What surely was not sent is sent later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession
from fastagi.config.model import Settings
from fastagi.domain.queue_log_entries import Entry, entries
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.store.errors import StoreUnavailable
from fastagi.store.positions import Position
from fastagi.store.store import TaskStore

#: The reader's name in the table of positions.
READER: Final = "queue_log"
#: Events that are read at once.
_MOST: Final = 100
#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 5.0
#: Pause before the next try while Asterisk is shutting down, in seconds.
_SHUTDOWN_RETRY_S: Final = 15.0


class QueueLogWriter:
    """Writes entries one after another, as long as Asterisk is connected."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        store: TaskStore,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        member_names: Callable[[], Mapping[str, str]],
    ) -> None:
        self._manager = manager
        self._store = store
        self._settings = settings
        self._member_names = member_names
        self._stopped = False
        #: Asterisk does not let us; until the next connect it is not asked again.
        self._refused = False
        self._worker = Worker(
            self._catch_up,
            what="writing into queue_log",
            background=background,
            clock=clock,
            trouble="queue_log waits for the database",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def wake(self) -> None:
        """Something may have happened to a task, or Asterisk is connected."""
        self._worker.wake()

    def stop(self) -> None:
        """Write nothing any more; what is left out is written after the next start."""
        self._stopped = True
        self._worker.stop()

    def disconnected(self) -> None:
        """The next connect may be as a user who is allowed to write."""
        self._refused = False

    async def _catch_up(self) -> None:
        """Write what is not written yet; pass over it if nothing is to be written."""
        if not self._settings().reports.queue_log:
            await self._store.skip_events(READER)
        elif self._ready:
            await self._write_all()

    @property
    def _ready(self) -> bool:
        return self._manager.connected and not (self._refused or self._stopped)

    async def _write_all(self) -> None:
        """Write what has happened since the last time."""
        position = await self._store.position(READER)
        reached = position
        while happenings := await self._store.events_after(position.event_id, _MOST):
            for happening in happenings:
                due = entries(happening)
                for index, entry in enumerate(
                    due[position.entries :], position.entries
                ):
                    after = (
                        Position(happening.event_id)
                        if index + 1 == len(due)
                        else Position(position.event_id, index + 1)
                    )
                    if not (self._ready and self._settings().reports.queue_log):
                        await self._keep(reached, position)
                        return
                    await self._store.set_position(READER, after)
                    reached = after
                    if not await self._write(entry):
                        await self._store.set_position(READER, position)
                        return
                    position = after
                position = Position(happening.event_id)
        await self._keep(reached, position)

    async def _keep(self, stored: Position, position: Position) -> None:
        """Need not read again what nothing was to be written of."""
        if stored != position:
            await self._store.set_position(READER, position)

    async def _write(self, entry: Entry) -> bool:
        """Return False if the entry surely was not written."""
        try:
            await self._manager.send(
                actions.queue_log(
                    entry.queue,
                    entry.word.value,
                    uniqueid=entry.uniqueid or None,
                    interface=entry.agent(self._member_names()),
                    message=entry.message,
                )
            )
        except ActionFailed as error:
            if error.shutting_down:
                self._worker.wake_in(_SHUTDOWN_RETRY_S)
                return False
            self._refused = True
            self._log.warn(
                "nothing is written into queue_log until Asterisk is connected again:"
                " {error}; add 'agent' to 'write' of the manager user, or switch it off"
                " with 'queue_log' under 'reports' in the settings",
                error=error,
            )
            return False
        except NotConnected as error:
            return error.sent
        except ActionTimedOut:
            return True
        return True
