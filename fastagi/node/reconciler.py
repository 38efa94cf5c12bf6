# SPDX-License-Identifier: MIT
"""Asks Asterisk for the results of attempts whose end was not seen.

It runs after each connect, before any new call is placed. Until it has asked, the
result of an open attempt is unknown: the attempt is neither ended nor retried. After
that it asks once a minute, so that a missed event or reply can not leave an attempt
open for ever.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import CoreShowChannel, DBGetResponse
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.domain.attempt import Progress, attempt_of
from fastagi.node.call_tracker import is_own
from fastagi.node.dialer import Dialer, RunningAttempt
from fastagi.node.dialplan_report import Outcome
from fastagi.node.until_known import until_known
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskAttempt, TaskStore

#: Pause before asking a second time for a missing channel, in seconds.
_SETTLE_S: Final = 2.0
#: Interval between two checks of open attempts, in seconds.
_WATCH_S: Final = 60.0


class Reconciler:
    """Compares the open attempts with Asterisk's channels."""

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
        #: Asks Asterisk for all channels, and passes them to every tracker.
        self._list_channels = list_channels
        #: The channel ids of calls of this service that were in the last list and are
        #: of no attempt that is followed.
        self._strangers: frozenset[str] = frozenset()

    async def open_attempts(self) -> list[TaskAttempt]:
        """Return the attempts whose end is not stored.

        Call this before asking for the channels: an attempt that begins after the list
        was made would be missing in it.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        under_way = list(self._dialer.running.values())
        opened = await self._store.open_attempts()
        await self._restore(under_way, opened)
        return opened

    def channels_are(self, listed: Iterable[CoreShowChannel]) -> frozenset[str]:
        """Update the progress of the followed attempts from the list of channels.

        Returns:
            The channel ids of attempts without a channel.
        """
        channels = {channel.uniqueid: channel for channel in listed}
        self._dialer.end_given_up(channels)
        own = {attempt_of(uniqueid) for uniqueid in channels if is_own(uniqueid)}
        self._strangers = frozenset(own - self._dialer.running.keys())
        absent = set()
        for channel_id, running in self._dialer.running.items():
            caller_half = channels.get(running.attempt.caller_channel_id)
            if caller_half is None:
                absent.add(channel_id)
            else:
                _update_progress(
                    running.progress,
                    caller_half,
                    channels.get(running.attempt.member_channel_id),
                    "",
                    self._clock.steady(),
                )
        return frozenset(absent)

    def compare(
        self, opened: list[TaskAttempt], listed: list[CoreShowChannel]
    ) -> list[TaskAttempt]:
        """Follow the open attempts in progress; return those without a channel.

        Call this as soon as the list is complete, as later events are newer.
        """
        channels = {channel.uniqueid: channel for channel in listed}
        gone = []
        for begun in opened:
            known = self._dialer.running.get(begun.attempt.channel_id)
            # Only this half counts: the other may exist a moment longer.
            caller_half = channels.get(begun.attempt.caller_channel_id)
            if caller_half is not None:
                member_half = channels.get(begun.attempt.member_channel_id)
                client = _client_of(begun, listed)
                self._follow(begun, known, caller_half, member_half, client)
            elif known is not None:
                if not known.closing:
                    gone.append(begun)
            elif self._settle_as_before(begun):
                continue
            else:
                gone.append(begun)
        return gone

    async def run(self, absent: frozenset[str] | None = None) -> bool:
        """Settle or follow every open attempt, after a connect.

        Args:
            absent: what :meth:`channels_are` returned since the connect; None if there
                was no list of channels.

        Returns:
            True if all results are known; False if the link was lost meanwhile: the
            next connect starts again.
        """
        link = self._manager.link_number

        async def settle() -> None:
            nonlocal absent
            # The list is used for one try only, as it becomes outdated.
            listed, absent = absent, None
            await self._settle(await self._missing(listed))
            await self._end_given_up()

        return await until_known(
            settle,
            "which are under way",
            manager=self._manager,
            link=link,
            background=self._background,
        )

    async def _end_given_up(self) -> None:
        """End calls whose attempts were given up by a process that has ended since.

        Otherwise an agent might be rung for such a call hours later, and its client.
        """
        strangers = self._strangers - self._dialer.running.keys()
        if not strangers:
            return
        given_up = await self._store.given_up(sorted(strangers))
        if given_up:
            self._dialer.were_given_up(given_up)
            # Only a list that is made after they were read tells who talks.
            listed = await self._list_channels()
            self._dialer.end_given_up({one.uniqueid: one for one in listed})

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
        # Attempts that are not followed need a list made after they were read.
        return self.compare(opened, await self._channels_for(opened))

    async def watch(self) -> None:
        """Check the open attempts regularly, as long as this link lasts."""
        link = self._manager.link_number
        while True:
            await self._background.pause(_WATCH_S)
            if not self._manager.is_up(link):
                return
            # Also if none is followed here, as the result of a COMMIT may be unknown.
            opened: list[TaskAttempt] | None = None
            try:
                opened = await self.open_attempts()
            except StoreUnavailable as error:
                self._log.debug("can not look after calls: {error}", error=error)
            try:
                # Also after an error, as the trackers need this list, too.
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
        """Return all channels; do not ask if there is no open attempt."""
        return await self._list_channels() if opened else []

    async def _settle(self, missing: list[TaskAttempt]) -> None:
        """End attempts that have a record in AstDB, or no channel in two lists."""
        missing = await self._without_record(missing)
        if not missing:
            return
        # Asterisk may read actions from a lost connection after the login on a new one
        # (tried by freezing Asterisk). So a channel counts as missing only if it is
        # missing twice.
        await self._background.pause(_SETTLE_S)
        ids = {begun.attempt.channel_id for begun in missing}
        opened = await self._store.open_attempts()
        opened = [begun for begun in opened if begun.attempt.channel_id in ids]
        missing = self.compare(opened, await self._channels_for(opened))
        for begun in await self._without_record(missing):
            self._settle_by_outcome(begun)

    async def _without_record(self, missing: list[TaskAttempt]) -> list[TaskAttempt]:
        """Settle the attempts that have a record in AstDB; return the others."""
        return [begun for begun in missing if not await self._settle_by_record(begun)]

    async def _restore(
        self, under_way: list[RunningAttempt], opened: list[TaskAttempt]
    ) -> None:
        """Store attempts in progress again that the database lost when it was set back.

        Args:
            under_way: attempts that were committed before the database was asked.
            opened: the open attempts in the database.
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
        member_half: CoreShowChannel | None,
        client_uniqueid: str,
    ) -> None:
        now = self._clock.steady()
        if known is None:
            self._log.info(
                "task {task_id}: its call is under way, following it",
                task_id=begun.task.id,
                attempt_id=begun.attempt.id,
            )
            progress = Progress(member=begun.attempt.member)
            # What happened before is unknown.
            progress.unwatched(now)
            # The half that dials the client is the second one then.
            progress.client_first = caller_half.channel.endswith(";2")
            _update_progress(
                progress, caller_half, member_half, begun.attempt.member, now
            )
            settings = self._settings().queue(begun.task.queue)
            # The settings may have changed since it was placed.
            is_placeholder = (
                member_half is not None
                and member_half.context == dialplan.MEMBER_CONTEXT
                and member_half.exten == dialplan.PLACE_EXTEN
            )
            self._dialer.follow(
                begun,
                settings,
                progress,
                is_placeholder=is_placeholder,
                client_uniqueid=client_uniqueid,
            )
        else:
            known.client_uniqueid = known.client_uniqueid or client_uniqueid
            _update_progress(known.progress, caller_half, member_half, "", now)

    async def _settle_by_record(self, begun: TaskAttempt) -> bool:
        """Settle an attempt by its record in AstDB; return whether there is one."""
        try:
            kept = await self._manager.send_list(
                actions.db_get(dialplan.OUTCOME_FAMILY, begun.attempt.channel_id)
            )
        except ActionFailed as error:
            if error.shutting_down:
                raise
            # "Database entry not found": the dialplan creates the entry just before it
            # dials the client.
            self._log.debug(
                "task {task_id}: no record of its call: {error}",
                task_id=begun.task.id,
                error=error,
            )
            return False
        self._settle_by_outcome(
            begun, [DBGetResponse.parse(message).val for message in kept]
        )
        return True

    def _settle_by_outcome(self, begun: TaskAttempt, kept: Sequence[str] = ()) -> None:
        attempt = begun.attempt
        known = self._dialer.running.get(attempt.channel_id)
        if known is not None and known.closing:
            return
        progress = known.progress if known else Progress(member=attempt.member)
        # Only the dialplan may know when the talk ended.
        progress.end_unseen = True
        # Without an entry the client was never dialled; except if dialling was seen:
        # then Asterisk was killed before AstDB had the entry.
        progress.lost = progress.caller_dialled_at is not None and not kept
        now = self._clock.steady()
        for value in kept:
            outcome = Outcome.kept(value)
            if outcome.dialstatus == dialplan.DIALLING:
                # Asterisk was killed during the call.
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


def _client_of(begun: TaskAttempt, listed: Iterable[CoreShowChannel]) -> str:
    """Return the uniqueid of the channel to a client who is dialled first.

    Of the channels of the call that is the first one besides the two halves: an agent
    is rung later. Empty if there is none.
    """
    halves = (begun.attempt.caller_channel_id, begun.attempt.member_channel_id)
    others = [
        channel.uniqueid
        for channel in listed
        if channel.linkedid in halves and channel.uniqueid not in halves
    ]
    return min(others, key=_by_creation, default="")


def _by_creation(uniqueid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", uniqueid)[-2:])


def _update_progress(
    progress: Progress,
    caller_half: CoreShowChannel,
    member_half: CoreShowChannel | None,
    member: str,
    now: float,
) -> None:
    """Update the progress of an attempt from an entry of CoreShowChannels."""
    if progress.client_first:
        if caller_half.application == "Dial":
            progress.caller_dialled(now)
        if member_half is not None and member_half.application == "Queue":
            # Only a client who has pressed the key comes that far.
            progress.client_confirmed = True
        if member_half is not None and member_half.bridge_id:
            progress.member_answers(member, now)
            progress.bridged(now)
        return
    if caller_half.channel_state_desc != "Up":
        return
    progress.member_answers(member, now)
    if caller_half.application == "Dial":
        progress.caller_dialled(now)
    if caller_half.bridge_id:
        progress.bridged(now)
