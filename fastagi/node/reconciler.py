# SPDX-License-Identifier: MIT
"""Settles attempts whose end nobody saw, by asking Asterisk.

Runs at start and after each loss of the manager link, before any new call is
placed. Until it has asked, an open attempt is unknown: neither ended nor retried.
From then on it asks now and then, so that none can hang for ever because one event or
reply was missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import CoreShowChannel, DBGetResponse
from fastagi.ami.session import AmiSession
from fastagi.config.model import Settings
from fastagi.domain.attempt import Progress
from fastagi.node.dialer import Dialer, RunningAttempt
from fastagi.node.dialplan_report import Outcome
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import Begun, TaskStore

#: Between two looks for a call that was not there.
_SETTLE_S: Final = 2.0
#: Between two looks at the calls under way.
_WATCH_S: Final = 60.0
#: After the store or Asterisk failed to answer, in seconds.
_RETRY_S: Final = 5.0


class Reconciler:
    """Compares the open attempts with the channels Asterisk has."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        store: TaskStore,
        dialer: Dialer,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
    ) -> None:
        self._manager = manager
        self._store = store
        self._dialer = dialer
        self._clock = clock
        self._background = background
        self._settings = settings
        #: Counts the links, so that the watch over an old one ends.
        self._link = 0

    async def run(self) -> bool:
        """Settle or take up every open attempt.

        Returns:
            True when all is known; False when the link was lost meanwhile, and
            the next connect has to begin again.
        """
        while self._manager.connected:
            try:
                await self._run()
            except NotConnected:
                return False
            except (ActionFailed, ActionTimedOut, StoreUnavailable) as error:
                self._log.error(
                    "no call is placed until it is known which are under way: {error}",
                    error=error,
                )
                await self._background.pause(_RETRY_S)
            else:
                return True
        return False

    async def watch(self) -> None:
        """Look after open attempts for as long as this link lasts."""
        self._link += 1
        link = self._link
        while True:
            await self._background.pause(_WATCH_S)
            if link != self._link or not self._manager.connected:
                return
            # Also if none is known here: nobody may have heard of its COMMIT.
            try:
                await self._run()
            except (
                ActionFailed,
                ActionTimedOut,
                NotConnected,
                StoreUnavailable,
            ) as error:
                self._log.debug("can not look after calls: {error}", error=error)

    async def _run(self) -> None:
        under_way = list(self._dialer.running.values())
        opened = await self._store.open_attempts()
        await self._restore(under_way, opened)
        missing = await self._look(opened)
        if not missing:
            return
        # What was sent on a connection that is gone may be read after the login on a
        # new one (tried by freezing Asterisk), so not to be there counts when it is
        # so twice.
        await self._background.pause(_SETTLE_S)
        ids = {begun.attempt.channel_id for begun in missing}
        opened = await self._store.open_attempts()
        missing = await self._look([b for b in opened if b.attempt.channel_id in ids])
        for begun in missing:
            self._end(begun)

    async def _restore(
        self, under_way: list[RunningAttempt], opened: list[Begun]
    ) -> None:
        """Store again what is under way and was lost when the database was set back.

        Args:
            under_way: the attempts that had been committed before the database was
                asked.
            opened: what it answered.
        """
        known = {begun.attempt.channel_id for begun in opened}
        for running in under_way:
            if not running.closing and running.attempt.channel_id not in known:
                await self._dialer.restore(running)

    async def _look(self, opened: list[Begun]) -> list[Begun]:
        """Follow what is under way and settle what left a record; return the rest."""
        if not opened:
            return []
        listed = await self._manager.send_list(actions.core_show_channels())
        channels = {
            channel.uniqueid: channel for channel in map(CoreShowChannel.parse, listed)
        }
        gone = []
        for begun in opened:
            known = self._dialer.running.get(begun.attempt.channel_id)
            # The other half may outlive this one for a moment; nothing follows it.
            caller_half = channels.get(begun.attempt.caller_channel_id)
            if caller_half is not None:
                self._follow(begun, known, caller_half)
            elif known is not None:
                if not known.closing:
                    gone.append(begun)
            elif self._settle_as_before(begun):
                continue
            else:
                gone.append(begun)
        # Only now: what is told while we ask is newer than the list.
        return [begun for begun in gone if not await self._recall(begun)]

    def _settle_as_before(self, begun: Begun) -> bool:
        """Settle an attempt whose end was lost when the database was set back."""
        settings = self._settings().queue(begun.task.queue)
        settled = self._dialer.settle_as_before(begun, settings)
        if settled:
            self._log.warn(
                "task {task_id}: the end of its attempt is not in the database any more"
                " and is stored again",
                task_id=begun.task.id,
                attempt_id=begun.attempt.id,
            )
        return settled

    def _follow(
        self, begun: Begun, known: RunningAttempt | None, caller_half: CoreShowChannel
    ) -> None:
        now = self._clock.steady()
        if known is None:
            self._log.info(
                "task {task_id}: its call is under way, following it",
                task_id=begun.task.id,
                attempt_id=begun.attempt.id,
            )
            progress = Progress(member=begun.attempt.member)
            # What was before is not known.
            progress.unwatched(now)
            _note(progress, caller_half, begun.attempt.member, now)
            settings = self._settings().queue(begun.task.queue)
            self._dialer.follow(begun, settings, progress)
        else:
            _note(known.progress, caller_half, "", now)

    async def _recall(self, begun: Begun) -> bool:
        """Settle an attempt by what the dialplan kept of its end, if it did."""
        try:
            kept = await self._manager.send_list(
                actions.db_get(dialplan.OUTCOME_FAMILY, begun.attempt.channel_id)
            )
        except ActionFailed as error:
            if error.shutting_down:
                raise
            # "Database entry not found": the dialplan makes one just before it dials
            # the client.
            self._log.debug(
                "task {task_id}: no record of its call: {error}",
                task_id=begun.task.id,
                error=error,
            )
            return False
        self._end(begun, [DBGetResponse.parse(message).val for message in kept])
        return True

    def _end(self, begun: Begun, kept: Sequence[str] = ()) -> None:
        attempt = begun.attempt
        known = self._dialer.running.get(attempt.channel_id)
        if known is not None and known.closing:
            return
        progress = known.progress if known else Progress(member=attempt.member)
        # Until when the two talked is known to the dialplan at most.
        progress.end_unseen = True
        # Without an entry the client was never dialled; unless that was seen, and
        # Asterisk was killed before its database had the entry.
        progress.lost = progress.caller_dialled_at is not None and not kept
        now = self._clock.steady()
        for value in kept:
            outcome = Outcome.kept(value)
            if outcome.dialstatus == dialplan.DIALLING:
                # Asterisk was killed in the middle of it.
                progress.caller_dialled(now)
                progress.reported_answered_at = outcome.answered_at
                progress.lost = True
            else:
                outcome.tell(progress, now)
        self._log.info(
            "task {task_id}: its call is over, judged by what Asterisk kept",
            task_id=begun.task.id,
            attempt_id=attempt.id,
        )
        self._dialer.settle(begun, self._settings().queue(begun.task.queue), progress)


def _note(
    progress: Progress, caller_half: CoreShowChannel, member: str, now: float
) -> None:
    """Note how far an attempt has come, by what CoreShowChannels tells of it."""
    if caller_half.channel_state_desc != "Up":
        return
    progress.member_answers(member, now)
    if caller_half.application == "Dial":
        progress.caller_dialled(now)
    if caller_half.bridge_id:
        progress.bridged(now)
