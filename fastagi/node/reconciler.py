# SPDX-License-Identifier: MIT
"""Settles attempts whose end nobody saw, by asking Asterisk.

Runs at start and after each loss of the manager link, before any new call is
placed. Until it has asked, an open attempt is unknown: neither ended nor retried.
From then on it asks now and then, so that none can hang for ever because one event or
reply was missed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
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
from fastagi.node.until_known import until_known
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskAttempt, TaskStore

#: Between two looks for a call that was not there.
_SETTLE_S: Final = 2.0
#: Between two looks at the calls under way.
_WATCH_S: Final = 60.0


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
        list_channels: Callable[[], Awaitable[list[CoreShowChannel]]],
    ) -> None:
        self._manager = manager
        self._store = store
        self._dialer = dialer
        self._clock = clock
        self._background = background
        self._settings = settings
        #: Asks Asterisk for all channels, and tells every tracker of them.
        self._list_channels = list_channels

    async def open_attempts(self) -> list[TaskAttempt]:
        """Return the attempts whose end is not stored; to be asked before the channels.

        An attempt that begins after the list of channels was made would not be in it.

        Raises:
            StoreUnavailable: nobody knows.
        """
        under_way = list(self._dialer.running.values())
        opened = await self._store.open_attempts()
        await self._restore(under_way, opened)
        return opened

    def channels_are(self, listed: Iterable[CoreShowChannel]) -> frozenset[str]:
        """Note how far the attempts followed here have come, by all channels there are.

        Returns:
            The channel ids of those that have no channel.
        """
        channels = {channel.uniqueid: channel for channel in listed}
        absent = set()
        for channel_id, running in self._dialer.running.items():
            caller_half = channels.get(running.attempt.caller_channel_id)
            if caller_half is None:
                absent.add(channel_id)
            else:
                _note(running.progress, caller_half, "", self._clock.steady())
        return frozenset(absent)

    def compare(
        self, opened: list[TaskAttempt], listed: list[CoreShowChannel]
    ) -> list[TaskAttempt]:
        """Follow the open attempts that are under way; return those without a channel.

        To be called in the moment the list has come: what is told later is newer.
        """
        channels = {channel.uniqueid: channel for channel in listed}
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
        return gone

    async def run(self, absent: frozenset[str] | None = None) -> bool:
        """Settle or take up every open attempt, after a connect.

        Args:
            absent: what :meth:`channels_are` returned since the connect; None if there
                was no list of channels.

        Returns:
            True when all is known; False when the link was lost meanwhile, and
            the next connect has to begin again.
        """
        link = self._manager.link_number

        async def settle() -> None:
            nonlocal absent
            # The list is of use for one try; it grows old.
            listed, absent = absent, None
            await self._settle(await self._missing(listed))

        return await until_known(
            settle,
            "which are under way",
            manager=self._manager,
            link=link,
            background=self._background,
        )

    async def _missing(self, absent: frozenset[str] | None) -> list[TaskAttempt]:
        """Return the open attempts that have no channel; follow the others."""
        opened = await self.open_attempts()
        running = self._dialer.running
        if absent is not None and all(b.attempt.channel_id in running for b in opened):
            return [
                begun
                for begun in opened
                if begun.attempt.channel_id in absent
                and not running[begun.attempt.channel_id].closing
            ]
        # Nobody has followed the others since that list was made.
        return self.compare(opened, await self._channels_for(opened))

    async def watch(self) -> None:
        """Look after open attempts for as long as this link lasts."""
        link = self._manager.link_number
        while True:
            await self._background.pause(_WATCH_S)
            if not self._manager.is_up(link):
                return
            # Also if none is known here: nobody may have heard of its COMMIT.
            opened: list[TaskAttempt] | None = None
            try:
                opened = await self.open_attempts()
            except StoreUnavailable as error:
                self._log.debug("can not look after calls: {error}", error=error)
            try:
                # Even so: others need this list, too.
                listed = await self._list_channels()
                if opened is not None:
                    await self._settle(self.compare(opened, listed))
            except (
                ActionFailed,
                ActionTimedOut,
                NotConnected,
                StoreUnavailable,
            ) as error:
                self._log.debug("can not look after calls: {error}", error=error)

    async def _channels_for(self, opened: list[TaskAttempt]) -> list[CoreShowChannel]:
        """Ask for the channels, if there is an attempt to look for among them."""
        return await self._list_channels() if opened else []

    async def _settle(self, missing: list[TaskAttempt]) -> None:
        """End attempts by the dialplan's records; or if they have no channel twice."""
        missing = await self._without_record(missing)
        if not missing:
            return
        # What was sent on a connection that is gone may be read after the login on a
        # new one (tried by freezing Asterisk), so not to be there counts when it is
        # so twice.
        await self._background.pause(_SETTLE_S)
        ids = {begun.attempt.channel_id for begun in missing}
        opened = await self._store.open_attempts()
        opened = [begun for begun in opened if begun.attempt.channel_id in ids]
        missing = self.compare(opened, await self._channels_for(opened))
        for begun in await self._without_record(missing):
            self._end(begun)

    async def _without_record(self, missing: list[TaskAttempt]) -> list[TaskAttempt]:
        """Settle what the dialplan kept a record of; return the rest."""
        return [begun for begun in missing if not await self._recall(begun)]

    async def _restore(
        self, under_way: list[RunningAttempt], opened: list[TaskAttempt]
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

    def _settle_as_before(self, begun: TaskAttempt) -> bool:
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
        self,
        begun: TaskAttempt,
        known: RunningAttempt | None,
        caller_half: CoreShowChannel,
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

    async def _recall(self, begun: TaskAttempt) -> bool:
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

    def _end(self, begun: TaskAttempt, kept: Sequence[str] = ()) -> None:
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
