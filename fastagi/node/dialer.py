# SPDX-License-Identifier: MIT
"""Carries out attempts: sends the Originate, follows both legs, stores the verdict.

Each attempt is committed to the store before it comes here. It is placed by one
Originate, which is never sent again. If the result is not certain, the attempt stays
open, and the reconciler asks Asterisk.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from attrs import define, evolve, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import (
    AgentCalled,
    AgentConnect,
    AgentRingNoAnswer,
    BridgeEnter,
    BridgeLeave,
    CoreShowChannel,
    DialBegin,
    DialEnd,
    Handler,
    Hangup,
    OriginateResponse,
    QueueCallerJoin,
    UserEvent,
    on,
)
from fastagi.ami.session import AmiSession
from fastagi.config.queue_layers import QueueSettings
from fastagi.dialplan import Variable
from fastagi.domain.agent_keys import NO_KEY, times_put_off
from fastagi.domain.attempt import (
    Attempt,
    Disposition,
    Progress,
    Stage,
    Verdict,
    attempt_of,
    created_no_channel,
    judge,
    may_be_shutdown,
)
from fastagi.domain.names import folded
from fastagi.domain.policy import First, dial_string
from fastagi.domain.preferred_agent import PreferredAgent
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.retry import is_called_again
from fastagi.domain.ring_time import RingTime
from fastagi.domain.task import CallbackTask, Kind
from fastagi.domain.turns import Turn
from fastagi.errors import CallbackError
from fastagi.node.dialplan_report import Outcome
from fastagi.node.hold import Hold, refuses_all
from fastagi.node.targets import target_key
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.runtime.waiters import Waiters, release
from fastagi.service.until_stored import until_stored
from fastagi.speech import agent, client
from fastagi.speech.channel_language import language_of
from fastagi.speech.prompts import Phrase, Words
from fastagi.store.errors import NoSuchTask, StaleTask, StoreUnavailable
from fastagi.store.store import TaskAttempt, TaskStore

#: Time that the Originate allows beyond the member's ring time, in seconds.
_ORIGINATE_MARGIN_S: Final = 5.0
#: Maximum time that AMD() listens, and that the words to a client take, in seconds.
_MAX_AMD_S: Final = 30.0
_MAX_WORDS_S: Final = 60.0
#: Maximum time that a placeholder waits in line, in seconds. The expiry of its task
#: ends it earlier, unless the service is down.
_PLACEHOLDER_WAIT_S: Final = 86_400.0
#: Number of quick tries to hang up an attempt whose channel may not exist yet, and the
#: pause between them in seconds.
_WITHDRAW_TRIES: Final = 10
_WITHDRAW_PAUSE_S: Final = 0.2
#: Pause between later tries, in seconds.
_WITHDRAW_AGAIN_S: Final = 2.0
#: Difference to the steady clock from which the machine's clock counts as set, in
#: seconds.
_CLOCK_SET_S: Final = 1.0
#: Pause before retrying to store the end of an attempt, in seconds.
_STORE_RETRY_S: Final = 2.0
#: Time limit for asking Asterisk whether it is shutting down, in seconds.
_PING_S: Final = 2.0
#: Maximum number of ended attempts whose verdict is remembered.
_MAX_VERDICTS: Final = 1000
#: Maximum number of attempts given up that are looked for after the next connect.
_MAX_GIVEN_UP: Final = 1000
#: Characters with a meaning to Asterisk, which a variable's value must not contain.
_UNSAFE_VALUE: Final = re.compile(r'[\x00-\x1f,;"\\|&$`]')
#: Why Queue() ended without an agent, by QUEUESTATUS.
_SENT_AWAY: Final = {
    "FULL": Code.LINE_FULL,
    "JOINEMPTY": Code.LINE_NOT_JOINED,
    "JOINUNAVAIL": Code.LINE_NOT_JOINED,
    "LEAVEEMPTY": Code.LINE_LEFT,
    "LEAVEUNAVAIL": Code.LINE_LEFT,
}
#: Highest position in line that is stored; Asterisk may report nonsense.
_MAX_POSITION: Final = 1_000_000
#: The option of Queue() that keeps it from ringing the agents in CALLBACK_SKIP.
_SKIP_OPTION: Final = f"b({dialplan.SKIP_CONTEXT}^s^1)"
#: The option of Queue() with which it rings only the agent in CALLBACK_ONLY.
_ONLY_OPTION: Final = f"b({dialplan.ONLY_CONTEXT}^s^1)"
#: The argument of an option of Queue(), in parentheses.
_OPTION_ARGUMENT: Final = re.compile(r"\([^)]*\)")
#: A language as Asterisk names it.
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9_-]{1,39}")
_CALLER_ID: Final = re.compile(r'\s*(?:"(?P<name>[^"]*)"\s*)?<?(?P<num>[^<>"]*)>?\s*')
#: The dial string of a forwarded call that the dialplan refuses.
_REFUSED_FORWARD: Final = re.compile(rf"[^/@]+@{dialplan.NO_FORWARD_CONTEXT}")

#: Why the database may lack an attempt that was committed.
_LOST_COMMITS: Final = (
    "the database was set back (a copy was restored, or a standby took over that"
    " lacked the last transactions), and requests of that time may be lost"
)

#: Returns whether it is too late to end an attempt.
TooLate = Callable[[Progress], bool]


@define(eq=False)
class RunningAttempt:
    """An attempt in progress, with the settings at its beginning."""

    task: CallbackTask
    attempt: Attempt
    settings: QueueSettings
    progress: Progress = field(factory=Progress)
    #: Whether it waits in line at the place of its task, or only rings free agents.
    is_placeholder: bool = False
    #: Whether it was seen to join the line.
    has_joined: bool = False
    #: How long agents' phones rang for it while it waited in line.
    ring_time: RingTime = field(factory=RingTime)
    #: Interfaces of the agents who are not rung for it. Unknown after a restart.
    skips: frozenset[str] = frozenset()
    #: The only agent who is rung for it; None: any agent.
    preferred: PreferredAgent | None = None
    #: How often agents put the task off before.
    times_put_off: int = 0
    #: Its task with the place to which an operator moved it; None: it was not moved.
    moved: CallbackTask | None = None
    #: Whether it has ended; its verdict may not be stored yet.
    closing: bool = False
    #: Whether the database was set back and lost the attempt for good.
    lost: bool = False
    #: Whether Asterisk was asked to end it, or is about to be asked.
    ending: bool = False
    #: When the service read that the client had answered.
    answered_at: datetime | None = None
    #: When the client answered, by the talk time in the dialplan's report.
    began_to_talk_at: datetime | None = None
    #: Machine's clock minus steady clock when the attempt was placed, in seconds.
    clock_offset_s: float | None = None
    #: The channel whose call was just answered with another destination, if any.
    forwarding: str = ""
    #: Uniqueid of the channel to the client; empty if it was not seen.
    client_uniqueid: str = ""
    #: How far it is, and since when, as far as it was seen.
    stage: Stage = Stage.STARTS
    stage_since: datetime | None = None
    #: Further reasons to end it, each with its `TooLate`. Asterisk has not been asked
    #: for these yet, or may not have received the action.
    to_end: dict[TooLate, Reason] = field(factory=dict)

    @property
    def target(self) -> str:
        """Name of its target in `LiveQueues`."""
        return target_key(self.settings)

    def note_stage(self, now: datetime) -> None:
        """Note since when it is at its present stage."""
        stage = self.progress.stage(in_line=self.has_joined)
        if self.closing:
            stage = Stage.ENDS
        if stage is not self.stage:
            self.stage, self.stage_since = stage, now

    @property
    def next_turn(self) -> Turn:
        """The place in line of its task, which it may still have to take."""
        return (self.moved or self.task).turn

    def may_ring(self, free: frozenset[str]) -> frozenset[str]:
        """Return which of the free agents may be rung for it."""
        if self.preferred is not None:
            return free & {self.preferred.interface}
        return free - self.skips

    @property
    def is_in_line(self) -> bool:
        """Whether it is a placeholder, and no agent has answered yet."""
        return (
            self.is_placeholder and not self.closing and not _is_answered(self.progress)
        )


class Dialer:
    """Carries out and follows all attempts in progress."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        store: TaskStore,
        clock: Clock,
        background: Background,
        hold: Hold,
        fence: Callable[[], Mapping[str, str]],
        dialplan_has_agent_keys: Callable[[], bool],
        dialplan_has_client_key: Callable[[], bool],
        dialplan_has_client_first: Callable[[], bool],
    ) -> None:
        self.running: dict[str, RunningAttempt] = {}
        self._manager = manager
        self._store = store
        self._clock = clock
        self._background = background
        self._hold = hold
        #: The variables by which Asterisk refuses a call that it reads too late.
        self._fence = fence
        #: Called after Asterisk has refused one.
        self.was_stale: Listeners[[]] = Listeners("a call that was read too late")
        #: Whether the dialplan that Asterisk has loaded can ask agents for a key.
        self._dialplan_has_agent_keys = dialplan_has_agent_keys
        #: The same for a key of the client, and for answering machines.
        self._dialplan_has_client_key = dialplan_has_client_key
        #: Whether it can call clients first.
        self._dialplan_has_client_first = dialplan_has_client_first
        #: Channel ids of ended attempts whose outcome AstDB still has to delete.
        self._kept_in_astdb: deque[str] = deque(maxlen=1000)
        #: Attempts that were given up while there was no link.
        self._given_up: deque[Attempt] = deque(maxlen=_MAX_GIVEN_UP)
        #: Verdicts on the latest attempts, by channel id.
        self._verdicts: dict[str, Verdict] = {}
        #: Called when the end of an attempt is stored.
        self.attempt_ended: Listeners[[]] = Listeners("the end of an attempt")
        #: Called with the name of a target that is an extension, and for how many
        #: seconds a callback kept it busy.
        self.extension_done: Listeners[[str, float]] = Listeners(
            "an extension that is done with a callback"
        )
        #: Called with a placeholder that its queue did not take, and why.
        self.sent_away: Listeners[[RunningAttempt, Reason]] = Listeners(
            "a callback that a queue sent away"
        )
        #: Called when Asterisk could not create the channel to a client.
        self.no_channel_to_client: Listeners[[]] = Listeners(
            "a client to whom no channel could be created"
        )
        #: Queues, with their outbound_channel, of which a warning said so.
        self._warned_of_channel: set[tuple[str, str]] = set()
        self._waiting_for_idle: Waiters[None] = Waiters()

    def handlers(self) -> Iterator[Handler]:
        """Yield the handler of each event that this tracker needs."""
        yield on(OriginateResponse, self._originate_response)
        yield on(QueueCallerJoin, self._joined_line)
        yield on(AgentCalled, self._agent_called)
        yield on(AgentRingNoAnswer, self._agent_ring_no_answer)
        yield on(AgentConnect, self._agent_connect)
        yield on(DialBegin, self._dial_begin)
        yield on(DialEnd, self._dial_end)
        yield on(BridgeEnter, self._bridge_enter)
        yield on(BridgeLeave, self._bridge_leave)
        yield on(UserEvent, self._user_event)
        yield on(Hangup, self._hangup)

    def idle(self) -> Deferred[None]:
        """Return a Deferred that fires when no call is in progress.

        Attempts that only wait in line are not waited for.
        """
        waiting = self._waiting_for_idle.add()
        self._fire_if_idle()
        return waiting

    def _fire_if_idle(self) -> None:
        if not self.calls:
            release(self._waiting_for_idle)

    @property
    def calls(self) -> int:
        """Number of attempts in progress that do not only wait in line."""
        return len(self.running) - len(self.placeholders())

    @property
    def is_quiet(self) -> bool:
        """Whether each attempt in progress only waits in line, or its two talk."""
        return all(
            (one.is_in_line and not one.ending and self.ring_time_left_s(one) is None)
            or (not one.closing and _is_talking(one.progress))
            for one in self.running.values()
        )

    def waiting_for_member(self) -> dict[str, list[RunningAttempt]]:
        """Return the attempts that need a free member of their target, by target.

        An attempt to an extension needs its only member from beginning to end.
        """
        found: dict[str, list[RunningAttempt]] = {}
        for running in self.running.values():
            if (
                running.progress.waits_for_member
                # Asterisk reports that the phone rings a while after it was dialled;
                # until then the phone looks free.
                or (running.settings.target_extension and not running.closing)
            ):
                found.setdefault(running.target, []).append(running)
        return found

    def busy_keys(self) -> set[str]:
        """Return the client keys of attempts in progress.

        If the database was set back, it may not have these attempts.
        """
        return {running.task.number_key for running in self.running.values()}

    def may_dial(self, number_key: str) -> bool:
        """Whether an attempt dials a client now, talks to, or is about to dial."""
        return any(
            running.progress.may_dial_client
            for running in self.running.values()
            if running.task.number_key == number_key
        )

    def is_member_leg(self, uniqueid: str, queue: str) -> bool:
        """Whether a channel is the member leg of an attempt that waits for an agent.

        After the agent's answer, or in another queue, the channel counts as a caller:
        the client was transferred.
        """
        running = self.running.get(attempt_of(uniqueid))
        return (
            running is not None
            and uniqueid == running.attempt.member_channel_id
            and folded(queue) == folded(running.target)
            and running.progress.member_answered_at is None
        )

    # -- placing -----------------------------------------------------------

    def place(
        self,
        begun: TaskAttempt,
        settings: QueueSettings,
        position: int | None = None,
        skips: frozenset[str] = frozenset(),
        *,
        client_first: bool = False,
    ) -> None:
        """Send the Originate of an attempt that has just been stored.

        Args:
            begun: the attempt.
            settings: the settings of its queue.
            position: the position in line of a placeholder, from 1; None: the call
                rings a free agent at once.
            skips: interfaces of the agents who are not rung for it.
            client_first: whether the client is dialled before an agent is rung. An
                older dialplan can not do that.
        """
        running = self._add(begun, settings)
        running.is_placeholder = position is not None
        # Only the agent is rung to whom the task is assigned, so that one is first.
        running.progress.client_first = (
            client_first
            and self._dialplan_has_client_first()
            and not (begun.preferred and begun.preferred.assigned)
        )
        # A client who is on the line takes any agent: whoever is free now may be gone
        # when the key is pressed, and nobody behind the client would be served.
        if not running.progress.client_first:
            running.skips = skips
            running.preferred = begun.preferred
        running.times_put_off = times_put_off(begun.answers)
        self._background.start("originate", self._originate(running, position))

    def withdraw(self, number_key: str, why: Reason) -> None:
        """End an attempt to reach this client, unless the client is on the line.

        That is, talks with an agent, or waits for one after pressing the key.
        """
        for running in list(self.running.values()):
            if running.task.number_key == number_key:
                self._withdraw_unless(running, why, _is_on_the_line)

    def withdraw_task(self, task_id: int, why: Reason) -> None:
        """End the attempt of a task, unless agent and client are talking already."""
        for running in list(self.running.values()):
            if running.task.id == task_id:
                self._withdraw_unless(running, why, _is_talking)

    def withdraw_unanswered(self, task_id: int, why: Reason) -> None:
        """End the attempt of a task, unless an agent has answered already."""
        for running in list(self.running.values()):
            if running.task.id == task_id:
                self._withdraw_unless(running, why, _is_answered)

    def rekey(self, key_of: Callable[[str], str]) -> None:
        """Renew the client keys of attempts in progress."""
        for running in self.running.values():
            task = running.task
            running.task = evolve(task, number_key=key_of(task.number))

    def end_ringing(self, is_open: Callable[[str], bool], why: Reason) -> None:
        """End attempts that no agent has answered yet, of queues that are not open."""
        for running in list(self.running.values()):
            if not is_open(running.task.queue):
                self._withdraw_unless(running, why, _is_answered)

    def placeholders(self) -> list[RunningAttempt]:
        """Return the attempts that wait in line for an agent."""
        return [running for running in self.running.values() if running.is_in_line]

    def placeholder_of(self, task_id: int) -> str:
        """Return the uniqueid of the channel that waits in line for a task, or ""."""
        for running in self.placeholders():
            if running.task.id == task_id:
                return running.attempt.member_channel_id
        return ""

    def task_moved(self, task: CallbackTask) -> bool:
        """Note that an operator moved a task; return whether it waits in line."""
        in_line = [one for one in self.placeholders() if one.task.id == task.id]
        for running in in_line:
            running.moved = task
        return bool(in_line)

    def waits_unrung(self, task_id: int) -> bool:
        """Whether a task waits in line, and no agent's phone has rung for it."""
        return any(
            running.task.id == task_id and not running.progress.rung
            for running in self.placeholders()
        )

    def asking_one_agent(self) -> list[RunningAttempt]:
        """Return the attempts for which one agent is asked who has not answered yet."""
        return [
            running
            for running in self.running.values()
            if running.preferred is not None
            and not running.closing
            and not _is_answered(running.progress)
        ]

    def withdraw_ringing(self, running: RunningAttempt, why: Reason) -> None:
        """Withdraw an attempt, unless an agent has answered by now."""
        self._withdraw_unless(running, why, _is_answered)

    def end_try(self, running: RunningAttempt) -> None:
        """End a placeholder that no agent answers, unless one has answered by now.

        It counts as a try to reach an agent, as if ``Queue()`` had timed out.
        """
        rung = ", ".join(running.progress.rung)
        self.withdraw_ringing(running, because(Code.NO_AGENT_ANSWERED, rung=rung))

    def ring_time_left_s(self, running: RunningAttempt) -> float | None:
        """Return for how many seconds more agents' phones may ring in this try.

        Returns None if none rings.
        """
        return running.ring_time.left_s(
            running.settings.member_ring_time_s, self._clock.steady()
        )

    def retry_endings(self) -> None:
        """Try again to end attempts for which the link was lost meanwhile."""
        for running in list(self.running.values()):
            if running.to_end and not (running.closing or running.ending):
                # `_end_for_other_reasons` checks whether it is too late.
                self._stop_ending(running)
                self._end_for_other_reasons(running)

    def drop(self, begun: TaskAttempt, settings: QueueSettings, why: Reason) -> None:
        """End an attempt that has just been stored, without a call."""
        running = self._add(begun, settings)
        running.progress.withdrawn = running.progress.refused = why
        self._close(running)

    def _withdraw_unless(
        self, running: RunningAttempt, why: Reason, too_late: TooLate
    ) -> None:
        if running.closing or too_late(running.progress):
            return
        waits = too_late in running.to_end and not self._manager.connected
        if running.ending or waits:
            running.to_end.setdefault(too_late, why)
            return
        running.ending = True
        running.progress.withdrawn = why
        self._note_step(running, why)
        self._background.start(
            "ending an attempt", self._hang_up(running, why, too_late)
        )

    async def _hang_up(
        self, running: RunningAttempt, why: Reason, too_late: TooLate
    ) -> None:
        tries = 0
        while not running.closing:
            if too_late(running.progress):
                self._stop_ending(running)
                self._end_for_other_reasons(running)
                return
            running.progress.withdrawn = why
            try:
                await self._manager.send(
                    actions.hangup(running.attempt.caller_channel_id)
                )
                if (
                    self._is_held(running)
                    and running.progress.caller_dialled_at is not None
                ):
                    # Dial() does not look at its own channel while the client is asked
                    # for the key. The end of this half ends that.
                    await self._manager.send(
                        actions.hangup(
                            running.client_uniqueid
                            if running.progress.client_first
                            else running.attempt.member_channel_id
                        )
                    )
                return
            except NotConnected as error:
                running.to_end[too_late] = why
                if error.sent:
                    # If Asterisk has received the action, this ends the attempt.
                    running.ending = False
                else:
                    self._stop_ending(running)
                return
            except (ActionFailed, ActionTimedOut) as error:
                # The Originate may not have created the channel yet.
                tries += 1
                if tries == _WITHDRAW_TRIES:
                    self._warn_not_ended(running, why, error)
            if tries < _WITHDRAW_TRIES:
                await self._background.pause(_WITHDRAW_PAUSE_S)
            else:
                # Asterisk keeps refusing the hangup. From here on judge the attempt
                # as if it had not been withdrawn.
                running.progress.withdrawn = None
                await self._background.pause(_WITHDRAW_AGAIN_S)

    def _warn_not_ended(
        self, running: RunningAttempt, why: Reason, error: Exception
    ) -> None:
        shutting_down = isinstance(error, ActionFailed) and error.shutting_down
        self._log.warn(
            "task {task_id}: {reason}, but the callback under way can not be ended:"
            " {error}{remedy}",
            remedy=""
            if shutting_down
            else "; does the manager user have 'call' among its write classes?",
            task_id=running.task.id,
            attempt_id=running.attempt.id,
            reason=why,
            error=error,
        )

    def _stop_ending(self, running: RunningAttempt) -> None:
        running.ending = False
        running.progress.withdrawn = None

    def _end_for_other_reasons(self, running: RunningAttempt) -> None:
        """End the attempt for its other reasons, if it is not too late for them."""
        to_end, running.to_end = running.to_end, {}
        for too_late, why in to_end.items():
            self._withdraw_unless(running, why, too_late)

    def follow(
        self,
        begun: TaskAttempt,
        settings: QueueSettings,
        progress: Progress,
        *,
        is_placeholder: bool,
        client_uniqueid: str = "",
    ) -> None:
        """Follow an attempt that is already in progress in Asterisk."""
        running = self._add(begun, settings)
        running.progress = progress
        running.client_uniqueid = client_uniqueid
        running.is_placeholder = is_placeholder
        if not progress.client_first:
            running.preferred = begun.preferred
        if begun.task.cancel_requested:
            # Asterisk may not have received the hangup yet.
            self._withdraw_unless(running, begun.task.why, _is_talking)

    def settle_as_before(self, begun: TaskAttempt, settings: QueueSettings) -> bool:
        """End an attempt again whose stored end the database has lost.

        Returns:
            Whether its verdict is remembered.
        """
        if begun.attempt.channel_id not in self._verdicts:
            return False
        self._close(self._add(begun, settings))
        return True

    def settle(
        self, begun: TaskAttempt, settings: QueueSettings, progress: Progress
    ) -> None:
        """Judge an attempt that has no channel in Asterisk any more."""
        running = self.running.get(begun.attempt.channel_id)
        if running is None:
            running = self._add(begun, settings)
            running.progress = progress
        self._close(running)

    def give_up(self, begun: TaskAttempt, settings: QueueSettings, why: Reason) -> None:
        """Judge an attempt whose Asterisk can not be asked any more.

        If its client was certainly not dialled, it is withdrawn.
        """
        running = self.running.get(begun.attempt.channel_id)
        if running is None:
            running = self._add(begun, settings)
            running.progress = Progress(member=begun.attempt.member)
        if running.closing:
            return
        progress = running.progress
        progress.end_unseen = True
        if begun.dialled:
            progress.caller_dialled(self._clock.steady())
        # Once an agent has answered, or if the client is called first, the client may
        # have been dialled after the link was lost.
        if _is_answered(progress) or progress.member or progress.client_first:
            progress.lost = True
        else:
            progress.withdrawn = progress.withdrawn or why
        self._given_up.append(begun.attempt)
        self._close(running)

    def were_given_up(self, attempts: Iterable[Attempt]) -> None:
        """Note attempts whose calls exist, but which another process gave up."""
        self._given_up.extend(attempts)

    def end_given_up(self, channels: Mapping[str, CoreShowChannel]) -> None:
        """Hang up the calls that were given up and exist all the same.

        A call in which two talk is left alone.

        Args:
            channels: all channels of Asterisk, by their ids.
        """
        given_up, self._given_up = list(self._given_up), deque(maxlen=_MAX_GIVEN_UP)
        for attempt in given_up:
            halves = (attempt.caller_channel_id, attempt.member_channel_id)
            found = [channels[half] for half in halves if half in channels]
            if found and not any(channel.bridge_id for channel in found):
                self._background.start(
                    "ending a call that was given up", self._end_call(attempt)
                )

    async def _end_call(self, attempt: Attempt) -> None:
        try:
            await self._manager.send(actions.hangup(attempt.caller_channel_id))
        except (NotConnected, ActionFailed, ActionTimedOut) as error:
            self._log.warn(
                "task {task_id}: its attempt was given up, but the call is there and"
                " can not be ended: {error}",
                task_id=attempt.task_id,
                attempt_id=attempt.id,
                error=error,
            )

    def _add(self, begun: TaskAttempt, settings: QueueSettings) -> RunningAttempt:
        running = RunningAttempt(begun.task, begun.attempt, settings)
        self.running[begun.attempt.channel_id] = running
        return running

    async def _originate(self, running: RunningAttempt, position: int | None) -> None:
        attempt, task = running.attempt, running.task
        self._log.info(
            "task {task_id}: calling an agent of {target} for {number}"
            if position is None
            else "task {task_id}: waiting in line of {target} for {number}",
            task_id=task.id,
            attempt_id=attempt.id,
            queue=task.queue,
            target=running.target,
            number=task.number,
        )
        try:
            action = self._action(running, position)
        except (ValueError, CallbackError) as error:
            self._log.failure(
                "task {task_id}: no call can be made of it", task_id=task.id
            )
            running.progress.refused = because(Code.ERROR, error=str(error))
            self._close(running)
            return
        running.progress.placed_at = self._clock.steady()
        running.clock_offset_s = self._clock.epoch_s() - self._clock.steady()
        self._hold.trying()
        try:
            await self._manager.send(action)
        except ActionFailed as error:
            running.progress.refused = because(Code.ERROR, error=str(error))
            if refuses_all(error):
                # Asterisk refuses every call, so the task loses no attempt.
                running.progress.withdrawn = running.progress.refused
                self._hold.refused(error)
            else:
                self._hold.taken()
            self._close(running)
        except NotConnected as error:
            if error.sent:
                self._warn_result_unknown(running, error)
            else:
                running.progress.refused = because(Code.ERROR, error=str(error))
                self._close(running)
        except ActionTimedOut as error:
            self._warn_result_unknown(running, error)
            self._hold.not_known()
        else:
            self._hold.taken()

    def _warn_result_unknown(self, running: RunningAttempt, error: Exception) -> None:
        self._log.warn(
            "task {task_id}: not known whether the call was placed, asking Asterisk"
            " before anything else: {error}",
            task_id=running.task.id,
            attempt_id=running.attempt.id,
            error=error,
        )

    def _action(self, running: RunningAttempt, position: int | None) -> actions.Action:
        settings, task, attempt = running.settings, running.task, running.attempt
        match = _CALLER_ID.fullmatch(settings.outbound_caller_id)
        caller_name, caller_num = (
            (match["name"] or "", match["num"].strip()) if match else ("", "")
        )
        # If no other attempt is open, no outcome in AstDB is needed any more.
        forget = "all" if len(self.running) == 1 else ""
        if not forget and self._kept_in_astdb:
            forget = self._kept_in_astdb.popleft()
        variables = {
            f"__{Variable.ID}": attempt.channel_id,
            f"__{Variable.TASK}": str(task.id),
            Variable.TARGET: settings.target_extension or settings.target_queue,
            Variable.QUEUE_OPTIONS: settings.queue_options,
            Variable.MEMBER_RING_TIME: f"{settings.member_ring_time_s:.0f}",
            Variable.CALLER_RING_TIME: f"{settings.caller_ring_time_s:.0f}",
            Variable.CHANNEL: dial_string(settings.outbound_channel, task.number),
            Variable.ALERT_LANGUAGE: settings.member_language,
            Variable.CALLERID_NAME: caller_name,
            Variable.CALLERID_NUM: caller_num,
            Variable.FORGET: forget,
            **self._fence(),
            **self._keys(running),
            **self._client_key(running),
        }
        exten, timeout_s = dialplan.QUEUE_EXTEN, settings.member_ring_time_s
        if settings.target_extension:
            exten = dialplan.EXTENSION_EXTEN
        elif position is not None:
            exten, timeout_s = dialplan.PLACE_EXTEN, _PLACEHOLDER_WAIT_S
            variables[Variable.POSITION] = str(position)
            variables[Variable.PRIORITY] = str(task.turn.priority)
            variables[Variable.QUEUE_OPTIONS] = _without_music(settings.queue_options)
        context, first, second = (
            dialplan.CALLER_CONTEXT,
            attempt.caller_channel_id,
            attempt.member_channel_id,
        )
        if running.progress.client_first:
            exten, context = dialplan.CLIENT_EXTEN, dialplan.LINE_CONTEXT
            # The half that dials the client is made second.
            first, second = second, first
            rules = settings.client_key
            question_s = rules.times * (_MAX_WORDS_S + rules.wait.total_seconds())
            timeout_s = settings.caller_ring_time_s + _MAX_AMD_S + question_s
            variables[f"_{Variable.FIRST}"] = First.CLIENT.value
            if self._is_called_again(running, timeout_s):
                variables[f"_{Variable.AGAIN}"] = Phrase.CALL_AGAIN
        alert = self._alert(running)
        to_client = self._words_to_client(running)
        values = [*variables.items()]
        values += ((Variable.ALERT, sound) for sound in alert)
        values += ((Variable.CLIENT_PROMPTS, sound) for sound in to_client)
        for name, value in values:
            if _UNSAFE_VALUE.search(value):
                raise ValueError(f"{name} can not be passed to Asterisk: {value!r}")
        variables[Variable.ALERT] = "&".join(alert)
        if to_client:
            variables[f"_{Variable.CLIENT_PROMPTS}"] = "&".join(to_client)
        # An older dialplan has no context for the option.
        only = _locations([running.preferred.interface] if running.preferred else [])
        skips = _locations(running.skips) if self._dialplan_has_agent_keys() else []
        if only:
            variables[Variable.QUEUE_OPTIONS] += _ONLY_OPTION
            variables[f"__{Variable.ONLY}"] = only[0]
        elif skips:
            variables[Variable.QUEUE_OPTIONS] += _SKIP_OPTION
            variables[f"__{Variable.SKIP}"] = "&".join(skips)
        name = f"{settings.display_prefix}{task.name}"
        return actions.originate(
            channel=f"Local/{exten}@{dialplan.MEMBER_CONTEXT}/n",
            context=context,
            exten=dialplan.CALLER_EXTEN,
            priority=1,
            caller_id=f'"{name}" <{task.number}>',
            channel_id=first,
            other_channel_id=second,
            variables=variables,
            timeout_s=timeout_s + _ORIGINATE_MARGIN_S,
        )

    def _is_called_again(self, running: RunningAttempt, asks_for_s: float) -> bool:
        """Whether a client who is given no agent is certainly called again.

        Args:
            running: an attempt whose client is dialled first.
            asks_for_s: maximum time until the client has pressed the key, in seconds.
        """
        settings = running.settings
        longest_s = asks_for_s + settings.member_ring_time_s + _ORIGINATE_MARGIN_S
        return is_called_again(
            running.task,
            Disposition.SHORT,
            settings.retry_rules,
            self._clock.now() + timedelta(seconds=longest_s),
        )

    def _asks_for_key(self, running: RunningAttempt) -> bool:
        """Whether the agent is to accept the attempt by a key."""
        return running.settings.agent_keys.enabled and self._dialplan_has_agent_keys()

    def _keys(self, running: RunningAttempt) -> dict[str, str]:
        """Return the variables that make the agent accept by a key, if that is wanted.

        When the task was put off as often as allowed, the key for "later" means
        "cannot".
        """
        if not self._asks_for_key(running):
            return {}
        keys = running.settings.agent_keys
        later, cannot = keys.later or NO_KEY, keys.cannot or NO_KEY
        if running.times_put_off < keys.later_times:
            meanings = f"{keys.accept}{later}{cannot}{NO_KEY}"
        else:
            meanings = f"{keys.accept}{NO_KEY}{cannot}{later}"
        return {
            Variable.AGENT_KEYS: meanings,
            Variable.AGENT_WAIT: f"{keys.wait.total_seconds():g}",
        }

    def _asks_client(self, running: RunningAttempt) -> bool:
        """Whether the client is to press a key before being connected."""
        return running.progress.client_first or (
            running.settings.client_key.enabled and self._dialplan_has_client_key()
        )

    def _listens_for_machine(self, running: RunningAttempt) -> bool:
        """Whether AMD() listens before the client is connected."""
        return running.settings.amd and self._dialplan_has_client_key()

    def _is_held(self, running: RunningAttempt) -> bool:
        """Whether the client who answers is not connected yet."""
        progress = running.progress
        return (
            (self._asks_client(running) or self._listens_for_machine(running))
            and not progress.client_confirmed
            and not progress.was_bridged
        )

    def _client_key(self, running: RunningAttempt) -> dict[str, str]:
        """Return the variables for what comes before the client is connected.

        The client's channel inherits them.
        """
        amd = {}
        if self._listens_for_machine(running):
            amd = {f"_{Variable.AMD}": "1"}
        if not self._asks_client(running):
            return amd
        rules, language = running.settings.client_key, running.task.language
        return {
            **amd,
            f"_{Variable.CLIENT_KEY}": rules.key,
            f"_{Variable.CLIENT_WAIT}": f"{rules.wait.total_seconds():g}",
            f"_{Variable.CLIENT_TIMES}": str(rules.times),
            f"_{Variable.CLIENT_LANGUAGE}": (
                language if _LANGUAGE.fullmatch(language) else ""
            ),
        }

    def _words_to_client(self, running: RunningAttempt) -> Words:
        """Return the sound files that the client hears before pressing a key."""
        if not self._asks_client(running):
            return ()
        rules, task = running.settings.client_key, running.task
        return client.confirm(
            language_of(task.language),
            rules.key,
            rules.who,
            asked=task.kind is Kind.REQUESTED,
        )

    def _alert(
        self, running: RunningAttempt, *, agent_rings: bool = False
    ) -> list[str]:
        """Return the sound files that the agent hears before the client is dialled.

        Args:
            running: the attempt.
            agent_rings: whether an agent is rung now, and does not wait in line.
        """
        settings, task = running.settings, running.task
        whisper, keys = settings.whisper, settings.agent_keys
        language = language_of(settings.member_language)
        asks_for_key = self._asks_for_key(running)
        words: list[str] = []
        if (asks_for_key or whisper.asked) and task.kind is not Kind.MANUAL:
            # One who waits in line may wait for long; see `_renew_alert`.
            ago = (
                max(timedelta(0), self._clock.now() - task.created_at)
                if whisper.asked and (agent_rings or not running.is_placeholder)
                else None
            )
            words += agent.asked(language, ago, missed=task.kind is Kind.MISSED)
        if whisper.attempt:
            words += agent.attempt(language, task.attempts + 1)
        if whisper.queue:
            words += agent.queue(whisper.queue)
        if asks_for_key:
            words += agent.keys(language, keys.accept, keys.later, keys.cannot)
        else:
            words.append(settings.sounds.member_alert)
        return words

    # -- following ---------------------------------------------------------

    def disconnected(self) -> None:
        """Remember that the events of attempts in progress are missed from now on."""
        # A ringing agent may be free before the link is back, and then the call takes
        # the next free agent. If Asterisk never comes back, a talk counts up to the
        # last received event.
        for running in self.running.values():
            running.progress.unwatched(self._manager.heard_at)
            self._update_ring_time(running)

    def _leg(self, uniqueid: str, half: str) -> RunningAttempt | None:
        if not uniqueid.endswith(half):
            return None
        return self.running.get(attempt_of(uniqueid))

    def _leg_that_talks(self, uniqueid: str) -> RunningAttempt | None:
        """Return the attempt of the half that is bridged when the talk begins."""
        running = self.running.get(attempt_of(uniqueid))
        if running is None:
            return None
        return self._leg(uniqueid, "-2" if running.progress.client_first else "-1")

    def _originate_response(self, event: OriginateResponse) -> None:
        # It may come before the event in which the dialplan says why the callback left
        # the line; Hangup comes after both.
        running = self._leg(event.uniqueid, "-1") or self._leg(event.uniqueid, "-2")
        if (
            running
            and event.response == "Failure"
            and not running.is_in_line
            and not (
                running.progress.client_first and running.progress.caller_dialled_at
            )
        ):
            self._close(running)

    def _joined_line(self, event: QueueCallerJoin) -> None:
        running = self._leg(event.uniqueid, "-2")
        if running and running.is_in_line and not running.has_joined:
            running.has_joined = True
            position = int(min(event.position, _MAX_POSITION))
            self._note_step(running, because(Code.WAITS_IN_LINE, position=position))

    def _agent_called(self, event: AgentCalled) -> None:
        if running := self._leg(event.uniqueid, "-2"):
            self._member_rings(running, event.interface)

    def _agent_ring_no_answer(self, event: AgentRingNoAnswer) -> None:
        if running := self._leg(event.uniqueid, "-2"):
            interface = event.interface
            news = running.progress.member_stops_ringing(interface)
            self._update_ring_time(running)
            if news:
                self._note_step(
                    running, because(Code.AGENT_DID_NOT_ANSWER, interface=interface)
                )

    def _agent_connect(self, event: AgentConnect) -> None:
        if running := self._leg(event.uniqueid, "-2"):
            self._member_answers(running, event.interface)

    def _check_forwarding(self, event: DialBegin | DialEnd) -> None:
        """End the attempt if the client's phone forwards the call and Asterisk follows.

        The dialplan prevents that, but not in every case: the Dial() of a route takes
        a destination with a slash as a channel, and an older dialplan prevents nothing.
        """
        running = self.running.get(attempt_of(event.linkedid))
        if running is None or running.progress.caller_dialled_at is None:
            # Before that, an agent's phone forwards, which is up to the queue.
            return
        if running.progress.client_first and (
            running.progress.client_confirmed or running.progress.rung
        ):
            # So it is after that, if the client is dialled first.
            return
        dialler, running.forwarding = running.forwarding, ""
        if isinstance(event, DialEnd):
            if event.forward:
                running.progress.forwarded = True
                running.forwarding = event.uniqueid
        elif dialler == event.uniqueid and not _REFUSED_FORWARD.fullmatch(
            event.dial_string
        ):
            running.progress.forward_followed = True
            self._withdraw_unless(running, because(Code.CALL_FORWARDED), _never)

    def _dial_begin(self, event: DialBegin) -> None:
        self._check_forwarding(event)
        uniqueid = event.uniqueid
        if (running := self._leg(uniqueid, "-2")) and running.settings.target_extension:
            self._member_rings(running, running.settings.target_extension)
        elif running := self._leg(uniqueid, "-1"):
            running.client_uniqueid = event.dest_uniqueid
            if running.progress.caller_dialled(self._clock.steady()):
                number = running.task.number
                self._note_step(running, because(Code.CLIENT_DIALLED, number=number))

    def _dial_end(self, event: DialEnd) -> None:
        self._check_forwarding(event)
        uniqueid, status = event.uniqueid, event.dial_status
        if (running := self._leg(uniqueid, "-2")) and running.settings.target_extension:
            if status == "ANSWER":
                self._member_answers(running, running.settings.target_extension)
            else:
                running.progress.member_stops_ringing(running.settings.target_extension)
        elif (running := self._leg(uniqueid, "-1")) is not None:
            running.progress.caller_dial_ended(status, self._clock.steady())
            if running.progress.caller_answered_at is not None:
                running.answered_at = running.answered_at or self._clock.now()

    def _bridge_enter(self, event: BridgeEnter) -> None:
        running = self._leg_that_talks(event.uniqueid)
        if running is None or (
            self._is_held(running) and not running.progress.client_first
        ):
            # If the client hangs up while being asked, Dial() enters a bridge for a
            # moment.
            return
        if running.progress.bridged(self._clock.steady()):
            running.answered_at = running.answered_at or self._clock.now()
            self._note_step(
                running,
                because(Code.TALK_BEGINS),
                answered_at=running.answered_at,
            )

    def _bridge_leave(self, event: BridgeLeave) -> None:
        if running := self._leg_that_talks(event.uniqueid):
            running.progress.unbridged(self._clock.steady())

    def _user_event(self, event: UserEvent) -> None:
        running = self.running.get(event.callback_id)
        if running is None:
            return
        if event.user_event == dialplan.OUTCOME_EVENT:
            self._take_outcome(running, Outcome.said(event))
        elif event.user_event == dialplan.STALE_EVENT:
            self._ended_as_stale(running)
        elif event.user_event == dialplan.LEFT_LINE_EVENT:
            self._sent_away(running, event.queue_status)
        elif event.user_event == dialplan.CONFIRMED_EVENT:
            self._client_confirmed(running)

    def _ended_as_stale(self, running: RunningAttempt) -> None:
        """Withdraw an attempt that the dialplan ended before any phone rang."""
        self._log.warn(
            "task {task_id}: Asterisk did not place its call, as it read it too late or"
            " another service had taken over",
            task_id=running.task.id,
            attempt_id=running.attempt.id,
        )
        running.ending = True
        running.progress.withdrawn = because(Code.ERROR, error="read too late")
        self.was_stale.call()

    def _client_confirmed(self, running: RunningAttempt) -> None:
        if not running.progress.client_confirmed:
            running.progress.client_confirmed = True
            if self._asks_client(running):
                self._note_step(running, because(Code.CLIENT_CONFIRMED))

    def _sent_away(self, running: RunningAttempt, queue_status: str) -> None:
        """Withdraw a placeholder that its queue did not take, or sent away."""
        why = _SENT_AWAY.get(queue_status)
        if why is not None and running.is_in_line and not running.ending:
            running.ending = True
            running.progress.withdrawn = because(why)
            self.sent_away.call(running, because(why))

    def _take_outcome(self, running: RunningAttempt, outcome: Outcome) -> None:
        """Add the dialplan's report on the caller leg to the progress."""
        outcome.tell(running.progress, self._clock.steady())
        if outcome.talk_s:
            began_at = self._clock.now() - timedelta(seconds=outcome.talk_s)
            running.began_to_talk_at = began_at
        if outcome.alert_status == "FAILED":
            self._log.warn(
                "task {task_id}: the alert {sound} could not be played to the agent:"
                " is the file in Asterisk's sounds directory, in the language of the"
                " agent?",
                task_id=running.task.id,
                sound="&".join(self._alert(running)),
            )

    def _hangup(self, event: Hangup) -> None:
        if running := self._leg(event.uniqueid, "-1"):
            running.progress.ended(self._clock.steady())
            self._close(running)

    def _member_rings(self, running: RunningAttempt, interface: str) -> None:
        news = running.progress.member_rings(interface)
        self._update_ring_time(running)
        if news:
            self._note_step(running, because(Code.AGENT_RINGS, interface=interface))
        if news and running.is_placeholder and running.settings.whisper.asked:
            self._background.start("renewing an alert", self._renew_alert(running))

    async def _renew_alert(self, running: RunningAttempt) -> None:
        """Have the agent who is rung hear how long ago the client asked.

        When the attempt joined the line it was not known when that would be. If
        Asterisk does not take it, the agent hears the other words.
        """
        alert = "&".join(self._alert(running, agent_rings=True))
        leg = running.attempt.caller_channel_id
        try:
            await self._manager.send(actions.set_var(leg, Variable.ALERT, alert))
        except (ActionFailed, NotConnected, ActionTimedOut) as error:
            self._log.debug(
                "task {task_id}: the agent does not hear how long ago the client asked:"
                " {error}",
                task_id=running.task.id,
                error=error,
            )

    def _member_answers(self, running: RunningAttempt, interface: str) -> None:
        if running.progress.member_answers(interface, self._clock.steady()):
            why = because(Code.AGENT_ANSWERED, interface=interface)
            self._note_step(running, why, member=interface)

    def _update_ring_time(self, running: RunningAttempt) -> None:
        running.ring_time.update(
            self._clock.steady(), rings=bool(running.progress.ringing)
        )

    def _note_step(
        self,
        running: RunningAttempt,
        why: Reason,
        member: str = "",
        answered_at: datetime | None = None,
    ) -> None:
        """Log a step of the attempt, and store it as an event of the task."""
        if running.closing:
            return
        running.note_stage(self._clock.now())
        self._log.info(
            "task {task_id}: {step}",
            step=why,
            task_id=running.task.id,
            attempt_id=running.attempt.id,
            queue=running.task.queue,
        )
        self._background.start(
            "writing a task's story",
            self._store_step(running, why, member, answered_at),
        )

    async def _store_step(
        self,
        running: RunningAttempt,
        why: Reason,
        member: str,
        answered_at: datetime | None,
    ) -> None:
        channel_id, now = running.attempt.channel_id, self._clock.now()
        story = partial(
            self._store.progress,
            channel_id,
            why,
            now,
            member=member,
            answered_at=answered_at,
        )
        try:
            try:
                await story()
            except NoSuchTask:
                if await self.restore(running):
                    await story()
        except StoreUnavailable as error:
            # Only the end of an attempt must not be lost; it is stored with retries.
            self._log.warn("a line of a task's story is lost: {error}", error=error)
        except (NoSuchTask, StaleTask) as error:
            self._log.warn(
                "task {task_id}: an event of its history is lost: {error}",
                task_id=running.task.id,
                error=error,
            )

    async def restore(self, running: RunningAttempt) -> bool:
        """Store an attempt in progress again that the database does not have any more.

        Returns:
            Whether the database has it now.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        if running.lost:
            return False
        begun = TaskAttempt(running.task, running.attempt)
        restored = await self._store.restore_attempt(begun, self._clock.now())
        task_id, channel_id = running.task.id, running.attempt.channel_id
        if restored is None:
            if not running.lost:
                self._log.warn(
                    "task {task_id}: its attempt under way (channel id {channel_id})"
                    " is not in the database any more, and the task is gone, has ended"
                    " or is called in another attempt: {why}; the call goes on",
                    task_id=task_id,
                    channel_id=channel_id,
                    why=_LOST_COMMITS,
                )
            running.lost = True
            return False
        running.attempt = restored.attempt
        if restored.anew:
            self._log.warn(
                "task {task_id}: its attempt under way (channel id {channel_id}) was"
                " not in the database any more and is stored again: {why}",
                task_id=task_id,
                channel_id=channel_id,
                why=_LOST_COMMITS,
            )
        return True

    # -- ending ------------------------------------------------------------

    def _close(self, running: RunningAttempt) -> None:
        if not running.closing:
            running.closing = True
            running.progress.ended(self._clock.steady())
            running.note_stage(self._clock.now())
            if running.clock_offset_s is not None:
                offset_s = self._clock.epoch_s() - self._clock.steady()
                set_by_s = offset_s - running.clock_offset_s
                running.progress.clock_was_set = abs(set_by_s) > _CLOCK_SET_S
            answered_at = running.progress.member_answered_at
            if running.settings.target_extension and answered_at is not None:
                talk_s = self._clock.steady() - answered_at
                self.extension_done.call(running.target, talk_s)
            self._background.start("ending an attempt", self._end(running))

    async def _end(self, running: RunningAttempt) -> None:
        channel_id = running.attempt.channel_id
        verdict = self._verdicts.get(channel_id) or await self._verdict_on(running)
        self._remember_verdict(channel_id, verdict)
        task: CallbackTask | None = None
        task_id, why = running.task.id, verdict.reason
        try:
            task = await until_stored(
                partial(self._store_end, running, verdict),
                f"task {task_id}: the end of the attempt ({why}) is not stored yet",
                self._background,
                pause_s=_STORE_RETRY_S,
                task_id=task_id,
                verdict=why,
            )
        except (NoSuchTask, StaleTask) as error:
            self._log.warn(
                "task {task_id}: the end of the attempt ({verdict}) is not stored:"
                " {error}",
                task_id=task_id,
                verdict=why,
                error=error,
            )
        self.running.pop(channel_id, None)
        self._kept_in_astdb.append(channel_id)
        if task is not None:
            self._log.info(
                "task {task_id}: {status}: {reason}",
                task_id=task.id,
                attempt_id=running.attempt.id,
                queue=task.queue,
                status=task.status.value,
                disposition=verdict.disposition.value,
                talk_s=round(verdict.talk_s, 1),
                reason=task.reason,
            )
            self._look_for_channel(running, verdict)
        self.attempt_ended.call()
        self._fire_if_idle()

    def _look_for_channel(self, running: RunningAttempt, verdict: Verdict) -> None:
        """Warn if Asterisk could not create the channel to the client."""
        if not created_no_channel(
            running.progress, verdict, client_channel=running.client_uniqueid
        ):
            if verdict.success:
                self._warned_of_channel.discard(_channel_of(running))
            return
        if _channel_of(running) not in self._warned_of_channel:
            self._warned_of_channel.add(_channel_of(running))
            self._log.warn(
                "task {task_id}: Asterisk could not create a channel to the client:"
                " {reason}. Is outbound_channel of queue {queue} right ({channel})?"
                " Run 'callback-queue check'",
                task_id=running.task.id,
                reason=verdict.reason,
                queue=running.task.queue,
                channel=running.settings.outbound_channel,
            )
        self.no_channel_to_client.call()

    async def _verdict_on(self, running: RunningAttempt) -> Verdict:
        """Return the verdict; withdraw an attempt that a shutdown of Asterisk ended."""
        progress = running.progress
        verdict = judge(progress, running.settings.success_duration_s)
        if not may_be_shutdown(progress, verdict) or not self._manager.connected:
            return verdict
        try:
            await self._manager.send(actions.ping(), _PING_S)
        except ActionFailed as error:
            if error.shutting_down:
                self._hold.refused(error)
                return evolve(
                    verdict,
                    disposition=Disposition.WITHDRAWN,
                    why=because(Code.ERROR, error=str(error)),
                )
        except (NotConnected, ActionTimedOut) as error:
            self._log.debug(
                "task {task_id}: not known whether Asterisk is shutting down: {error}",
                task_id=running.task.id,
                error=error,
            )
        return verdict

    def _remember_verdict(self, channel_id: str, verdict: Verdict) -> None:
        """Remember a verdict, as it is needed again if the database is set back."""
        self._verdicts[channel_id] = verdict
        while len(self._verdicts) > _MAX_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]

    async def _store_end(
        self, running: RunningAttempt, verdict: Verdict
    ) -> CallbackTask:
        """Store the end of an attempt, and the attempt itself if it was lost.

        Raises:
            NoSuchTask: the attempt was lost and can not be stored again.
            StaleTask: the attempt has already ended.
            StoreUnavailable: the database can not be used.
        """
        channel_id, rules = running.attempt.channel_id, running.settings.retry_rules
        close = partial(
            self._store.close_attempt, answered_at=_client_answered_at(running)
        )
        try:
            return await close(channel_id, verdict, rules, self._clock.now())
        except NoSuchTask:
            # The reason why it could not be stored again may be gone.
            running.lost = False
            if await self.restore(running):
                return await close(channel_id, verdict, rules, self._clock.now())
            if verdict.success:
                served = await self._store.serve(
                    running.task.number_key,
                    because(Code.REACHED_IN_LOST_ATTEMPT, cause=verdict.why),
                    self._clock.now(),
                    served_at=running.attempt.started_at,
                )
                if served is not None:
                    return served
            raise


def _channel_of(running: RunningAttempt) -> tuple[str, str]:
    return running.task.queue, running.settings.outbound_channel


def _client_answered_at(running: RunningAttempt) -> datetime | None:
    """Return when the client answered; None if that is unknown.

    The service may have read the answer late, or not at all before a restart. The
    dialplan reports the time by the clock of its own machine. The earliest time counts,
    so that an inexact time never loses a request.
    """
    known = [running.answered_at]
    if not running.progress.clock_was_set:
        known.append(running.began_to_talk_at)
        if reported := running.progress.reported_answered_at:
            known.append(datetime.fromtimestamp(reported, UTC))
    return min((at for at in known if at is not None), default=None)


def _locations(interfaces: Iterable[str]) -> list[str]:
    """Return interfaces as DIALEDPEERNUMBER has them, without their technology.

    An interface that can not be passed to Asterisk is left out: that agent may be rung.
    """
    locations = (interface.partition("/")[2] for interface in sorted(interfaces))
    return [one for one in locations if one and not _UNSAFE_VALUE.search(one)]


def can_be_asked_alone(interface: str) -> bool:
    """Whether the dialplan can be told to ring only this agent."""
    return bool(_locations([interface]))


def _without_music(options: str) -> str:
    """Return options of Queue() with which no music is made for the placeholder."""
    return options if "r" in _OPTION_ARGUMENT.sub("", options) else f"{options}r"


def _is_talking(progress: Progress) -> bool:
    """Whether agent and client were connected."""
    return progress.was_bridged


def _is_on_the_line(progress: Progress) -> bool:
    """Whether the client talks, or has pressed the key and waits for an agent."""
    return progress.was_bridged or (progress.client_first and progress.client_confirmed)


def _never(_progress: Progress) -> bool:
    """Return False: it is never too late."""
    return False


def _is_answered(progress: Progress) -> bool:
    """Whether an agent has answered, or the client is already being called."""
    return (
        progress.member_answered_at is not None
        or progress.caller_dialled_at is not None
    )
