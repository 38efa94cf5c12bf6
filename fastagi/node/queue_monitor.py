# SPDX-License-Identifier: MIT
"""Keeps the state of the queues the same as in Asterisk.

It asks Asterisk for the whole state at each connect, after each reload and once a
minute; in between, events update the state. It decides nothing: listeners are called
after a change, and read the state themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import (
    AgentCalled,
    AgentConnect,
    AgentRingNoAnswer,
    DeviceStateChange,
    ExtensionStatus,
    Handler,
    Hangup,
    MemberEvent,
    QueueCallerJoin,
    QueueCallerLeave,
    QueueEntry,
    QueueMember,
    QueueMemberAdded,
    QueueMemberPause,
    QueueMemberRemoved,
    QueueMemberStatus,
    QueueParams,
    Reload,
    on,
)
from fastagi.ami.session import AmiSession
from fastagi.domain.live_queues import DeviceState, LiveQueues, Member, WaitingCaller
from fastagi.domain.turns import parse_priority
from fastagi.node.targets import Target
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.wire.ami import AmiMessage

#: Uniqueids of the service's own channels. The name of a channel can not tell a
#: callback from a live caller: after a transfer it is a live caller.
OWN_CHANNEL: Final = re.compile(r"callback-\d+-[0-9a-f]+-[12]")

#: Interval of asking for the whole state, in seconds, as "queue reload" changes members
#: without an event (Asterisk 16 to 22).
_RESYNC_S: Final = 60.0
#: Prefix of a hint in place of a device in the settings: ``hint:EXTENSION@CONTEXT``.
_HINT: Final = "hint:"
#: Device states by the state of an extension (``include/asterisk/pbx.h``,
#: ast_extension_states). In every other state the phone can not be rung.
_EXTENSION_STATE: Final = {
    "0": DeviceState.NOT_INUSE,
    "1": DeviceState.INUSE,
    "2": DeviceState.BUSY,
    "4": DeviceState.UNAVAILABLE,
    "8": DeviceState.RINGING,
    "9": DeviceState.RINGINUSE,
    "16": DeviceState.ONHOLD,
}

#: The variable from which Queue() takes a caller's priority.
_PRIORITY: Final = "QUEUE_PRIO"
#: Asterisk's answer to Getvar if there is no such channel (16 to 22).
_NO_CHANNEL: Final = "No such channel"

#: Pause before asking again for the state after a failure, in seconds.
_RESYNC_DELAY_S: Final = 5.0


class QueueMonitor:
    """Updates :class:`LiveQueues` from manager events."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        clock: Clock,
        background: Background,
        targets: Callable[[], Collection[Target]],
        is_member_leg: Callable[[str, str], bool],
        keeps_places: Callable[[str], bool],
    ) -> None:
        self.queues = LiveQueues(is_member_leg=is_member_leg)
        #: Whether the whole state was received since the last connect.
        self.ready = False
        self._manager = manager
        self._clock = clock
        self._background = background
        self._targets = targets
        #: Whether a queue has tasks that wait in line among its callers.
        self._keeps_places = keeps_places
        #: The targets that are devices, by device in lower case, and of which targets.
        self._by_device: dict[str, list[Target]] = {}
        self._known_targets: Collection[Target] = ()
        #: Called after a change that may allow or prevent calls.
        self.changed: Listeners[[]] = Listeners("a change of the queues")
        #: Called with queue and uniqueid of each live caller who joined, and after a
        #: connect with those of each who is in a queue.
        self.caller_joined: Listeners[[str, str]] = Listeners("a caller who joined")
        #: Called with the uniqueid of a channel that was hung up, or of a caller's
        #: channel that a list of channels lacks.
        self.channel_gone: Listeners[[str]] = Listeners("a hangup")

    def handlers(self) -> Iterator[Handler]:
        """Yield the handler of each event that this tracker needs."""
        yield on(QueueMemberStatus, self._member_changed)
        yield on(QueueMemberAdded, self._member_changed)
        yield on(QueueMemberPause, self._member_changed)
        yield on(QueueMemberRemoved, self._member_removed)
        yield on(QueueCallerJoin, self._caller_joined)
        yield on(QueueCallerLeave, self._caller_left)
        yield on(AgentCalled, self._agent_called)
        yield on(AgentRingNoAnswer, self._agent_released)
        yield on(AgentConnect, self._agent_connected)
        yield on(DeviceStateChange, self._device_changed)
        yield on(ExtensionStatus, self._hint_changed)
        yield on(Hangup, self._channel_gone)
        yield on(Reload, self._reloaded)

    async def is_gone(self, uniqueid: str) -> bool:
        """Return whether a channel is certainly gone.

        After this, all events that Asterisk sent before its answer were received.
        Returns False without a link.
        """
        try:
            await self._manager.send(actions.get_var("CHANNEL(name)", uniqueid))
        except ActionFailed as error:
            return error.response.get("Message") == _NO_CHANNEL
        except (NotConnected, ActionTimedOut):
            return False
        return False

    def is_waiting(self, queue: str, uniqueid: str) -> bool:
        """Return whether a caller is known to wait in a queue now.

        Returns False without a link, as the state may be out of date.
        """
        return self.ready and self.queues.is_waiting(queue, uniqueid)

    def sync(self) -> None:
        """Ask Asterisk for the whole state."""
        self._background.start("learning the queues' state", self._sync())

    async def _sync(self) -> None:
        # Apply each answer as soon as it is complete. Later changes come as events,
        # which an older answer must not undo.
        send_list = self._manager.send_list
        try:
            self._apply_queue_status(await send_list(actions.queue_status()))
            for message in await send_list(actions.device_state_list()):
                self._set_device(DeviceStateChange.parse(message))
            for status in await self._ask_hints():
                self._set_hint(status)
        except NotConnected:
            return
        except (ActionFailed, ActionTimedOut) as error:
            if isinstance(error, ActionFailed) and error.shutting_down:
                # No call is placed meanwhile; "core abort shutdown" may end this.
                report = self._log.debug
            else:
                report = self._log.warn
            report(
                "can not learn the queues' state, trying again: {error}", error=error
            )
            await self._background.pause(_RESYNC_DELAY_S)
            if self._manager.connected:
                self.sync()
            return
        self._note_agents()
        self.ready = True
        self._report_change()

    def channels_are(self, alive: Collection[str]) -> None:
        """Forget the places and rings of channels that are gone.

        Args:
            alive: the uniqueids of all channels, as far as they could be read.
        """
        for uniqueid in self.queues.keep_channels(set(alive)):
            self.channel_gone.call(uniqueid)
        self._report_change()

    def _apply_queue_status(self, status: list[AmiMessage]) -> None:
        self.queues.clear()
        for message in status:
            match message.event:
                case QueueParams.__name__:
                    params = QueueParams.parse(message)
                    self.queues.add_queue(params.queue, params.max)
                case QueueMember.__name__:
                    member = QueueMember.parse(message)
                    self.queues.set_member(member.queue, _member(member))
                case QueueEntry.__name__:
                    entry = QueueEntry.parse(message)
                    self.queues.caller_priority(
                        entry.queue, entry.uniqueid, entry.priority
                    )
                    self._caller_in_queue(entry, entry.wait_s)

    def connected(self) -> None:
        """Ask for the whole state, and again each minute while this link lasts."""
        self.sync()
        self._background.start("keeping in step", self._sync_each_minute())

    async def _sync_each_minute(self) -> None:
        link = self._manager.link_number
        while True:
            await self._background.pause(_RESYNC_S)
            if not self._manager.is_up(link):
                return
            await self._sync()

    def disconnected(self) -> None:
        """Mark the state of the queues as out of date."""
        self.ready = False

    def _reloaded(self, event: Reload) -> None:
        if "queue" in event.module.lower() or event.module == "All":
            self.sync()

    def _member_changed(self, event: MemberEvent) -> None:
        self.queues.set_member(event.queue, _member(event))
        self._note_agents()
        self._report_change()

    def _member_removed(self, event: QueueMemberRemoved) -> None:
        self.queues.remove_member(event.queue, event.interface)
        self._note_agents()
        self._report_change()

    def _note_agents(self) -> None:
        """Note since when agents are in their present states."""
        self.queues.note_agents(self._clock.epoch_s())

    def _agent_called(self, event: AgentCalled) -> None:
        self.queues.rings_for(event.uniqueid, event.interface, event.dest_uniqueid)
        self.queues.member_called(event.interface, event.dest_uniqueid)
        self._note_agents()

    def _agent_released(self, event: AgentRingNoAnswer) -> None:
        self.queues.rang_in_vain(event.uniqueid, event.interface, event.dest_uniqueid)
        self.queues.member_released(event.interface, event.dest_uniqueid)
        self._note_agents()
        self._report_change()

    def _caller_joined(self, event: QueueCallerJoin) -> None:
        self._caller_in_queue(event, waited_s=0.0)
        is_live = not self.queues.is_member_leg(event.uniqueid, event.queue)
        if is_live and self._keeps_places(event.queue):
            self._background.start(
                "asking for a caller's priority",
                self._ask_priority(event.queue, event.uniqueid),
            )
        self._report_change()

    async def _ask_priority(self, queue: str, uniqueid: str) -> None:
        """Ask for the priority of a caller who has just joined: no event has it."""
        try:
            answer = await self._manager.send(actions.get_var(_PRIORITY, uniqueid))
        except (ActionFailed, NotConnected, ActionTimedOut):
            # The caller is gone, or the next list of the whole state has it.
            return
        if priority := parse_priority(answer.get("Value")):
            self.queues.caller_priority(queue, uniqueid, priority)
            self._report_change()

    def _caller_left(self, event: QueueCallerLeave) -> None:
        self.queues.caller_left(event.queue, event.uniqueid)
        self._report_change()

    def _agent_connected(self, event: AgentConnect) -> None:
        if self.queues.is_asked(event.uniqueid):
            # The agent answered before the priority was known.
            self.queues.not_asked(event.uniqueid)
            self._report_change()

    def _channel_gone(self, event: Hangup) -> None:
        had_any = self.queues.channel_gone(event.uniqueid)
        self.channel_gone.call(event.uniqueid)
        if had_any:
            self._report_change()

    def _device_changed(self, event: DeviceStateChange) -> None:
        if self._set_device(event):
            self._report_change()

    def _caller_in_queue(
        self, caller: QueueCallerJoin | QueueEntry, waited_s: float
    ) -> None:
        self.queues.caller_joined(
            caller.queue,
            WaitingCaller(
                uniqueid=caller.uniqueid,
                joined_at=self._clock.epoch_s() - waited_s,
                position=caller.position,
                number=caller.caller_id_num,
                name=caller.caller_id_name,
            ),
        )
        self.caller_joined.call(caller.queue, caller.uniqueid)

    async def _ask_hints(self) -> list[ExtensionStatus]:
        """Ask for the state of each hint that stands for a device."""
        answers = []
        for target in self._targets():
            if target.device.lower().startswith(_HINT):
                exten, _, context = target.device[len(_HINT) :].partition("@")
                action = actions.extension_state(exten, context)
                response = await self._manager.send(action)
                answers.append(ExtensionStatus.parse(response))
        return answers

    def _hint_changed(self, event: ExtensionStatus) -> None:
        if self._set_hint(event):
            self._report_change()

    def _set_hint(self, event: ExtensionStatus) -> bool:
        hint = f"{_HINT}{event.exten}@{event.context}".lower()
        state = _EXTENSION_STATE.get(event.status, DeviceState.INVALID)
        return self._set_state(hint, state)

    def _set_device(self, event: DeviceStateChange) -> bool:
        return self._set_state(event.device.lower(), DeviceState.parse(event.state))

    def _set_state(self, device: str, state: DeviceState) -> bool:
        """Set the state of a target that is a device; False if none is."""
        targets = self._targets()
        if targets is not self._known_targets:
            self._known_targets = targets
            self._by_device = {}
            for target in targets:
                if target.device:
                    self._by_device.setdefault(target.device.lower(), []).append(target)
        found = self._by_device.get(device, ())
        for target in found:
            self.queues.set_member(
                target.key, Member(interface=target.device, state=state)
            )
            self._note_agents()
        return bool(found)

    def _report_change(self) -> None:
        if self.ready:
            self.changed.call()


def _member(event: MemberEvent | QueueMember) -> Member:
    return Member(
        interface=event.interface,
        name=event.member_name,
        state=DeviceState.parse(event.status),
        paused=event.paused,
        pause_reason=event.paused_reason,
        last_pause=event.last_pause,
        in_call=event.in_call,
        last_call=event.last_call,
        wrapuptime_s=event.wrapuptime_s,
    )
