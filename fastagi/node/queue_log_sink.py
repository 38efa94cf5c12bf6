# SPDX-License-Identifier: MIT
"""Writes the events of tasks into Asterisk's queue_log, for reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.domain.queue_log_entries import Entry, EventRow, entries
from fastagi.service.outbox import NotDelivered
from fastagi.store.positions import part_of

#: Pause before the next try while Asterisk is shutting down, in seconds.
_SHUTDOWN_RETRY_S: Final = 15.0


class QueueLogSink:
    """The sink of an outbox: one manager action for each entry."""

    name = "queue_log"
    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        settings: Callable[[], Settings],
        member_name: Callable[[str], str],
        part: str = "",
        takes: Callable[[str], bool] = lambda _node: True,
    ) -> None:
        """Store the parts.

        Args:
            manager: the link to Asterisk.
            settings: the settings in force.
            member_name: returns the name of an agent, by the interface.
            part: the name of the node whose attempts are all that is written; empty:
                what is left.
            takes: whether events of attempts on a node (empty: without an attempt) are
                written here.
        """
        if part:
            self.name = part_of(self.name, part)
        self._takes = takes
        self._manager = manager
        self._settings = settings
        self._member_name = member_name
        #: Whether Asterisk refused a line; then none is sent before the next connect.
        self._is_forbidden = False

    @property
    def is_wanted(self) -> bool:
        """Whether queue_log is switched on in the settings."""
        return self._settings().reports.queue_log

    @property
    def is_ready(self) -> bool:
        """Whether Asterisk is connected and has not refused a line."""
        return self._manager.connected and not self._is_forbidden

    def disconnected(self) -> None:
        """Try again after the next connect: the user's rights may have changed."""
        self._is_forbidden = False

    def entries(self, event: EventRow) -> Sequence[Entry]:
        """Return the lines of queue_log for an event."""
        return entries(event) if self._takes(event.node) else ()

    async def deliver(self, entry: Entry) -> None:
        """Write one line.

        Raises:
            NotDelivered: the line was certainly not written.
        """
        try:
            await self._manager.send(
                actions.queue_log(
                    entry.queue,
                    entry.word.value,
                    uniqueid=entry.uniqueid or None,
                    interface=entry.agent(self._member_name),
                    message=entry.message,
                )
            )
        except ActionFailed as error:
            if error.shutting_down:
                raise NotDelivered(_SHUTDOWN_RETRY_S) from error
            self._is_forbidden = True
            self._log.warn(
                "nothing is written into queue_log until Asterisk is connected again:"
                " {error}; add 'agent' to 'write' of the manager user, or switch it off"
                " with 'queue_log' under 'reports' in the settings",
                error=error,
            )
            raise NotDelivered from error
        except NotConnected as error:
            if not error.sent:
                raise NotDelivered from error
        except ActionTimedOut:
            pass
