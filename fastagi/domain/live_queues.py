# SPDX-License-Identifier: MIT
"""The current state of Asterisk's queues: members, who is free, who waits.

After each gap in the events the state is cleared and read again. All times are epoch
seconds of one clock and are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from attrs import define, evolve, field, frozen

from fastagi.domain.agent_states import AgentState
from fastagi.domain.expected_wait import Agent
from fastagi.domain.names import folded
from fastagi.domain.turns import Turn


class DeviceState(IntEnum):
    """Asterisk's device states (``include/asterisk/devicestate.h``)."""

    UNKNOWN = 0
    NOT_INUSE = 1
    INUSE = 2
    BUSY = 3
    INVALID = 4
    UNAVAILABLE = 5
    RINGING = 6
    RINGINUSE = 7
    ONHOLD = 8

    @classmethod
    def parse(cls, text: str) -> DeviceState:
        """Parse a number, or a name such as ``NOT_INUSE``; otherwise UNKNOWN."""
        try:
            return cls(int(text)) if text.isdigit() else cls[text.upper()]
        except (KeyError, ValueError):
            return cls.UNKNOWN


_RINGABLE: Final = frozenset({DeviceState.NOT_INUSE, DeviceState.UNKNOWN})
_IN_USE: Final = frozenset(
    {
        DeviceState.INUSE,
        DeviceState.BUSY,
        DeviceState.RINGING,
        DeviceState.RINGINUSE,
        DeviceState.ONHOLD,
    }
)
#: Of phones that ring.
_RINGS: Final = frozenset({DeviceState.RINGING, DeviceState.RINGINUSE})
#: Of phones that are not registered, or do not exist.
_GONE: Final = frozenset({DeviceState.INVALID, DeviceState.UNAVAILABLE})


#: Number of agents from which those who have logged out are forgotten.
_MAX_AGENTS: Final = 5_000


@frozen(kw_only=True)
class Member:
    """One member of one queue, as Asterisk last described it."""

    interface: str
    name: str = ""
    state: DeviceState = DeviceState.UNKNOWN
    paused: bool = False
    #: Why the member is paused; may be empty.
    pause_reason: str = ""
    #: When the member was last paused, in epoch seconds; 0 if it never was.
    last_pause: float = 0.0
    in_call: bool = False
    #: When the member's last call ended, in epoch seconds; 0 if there was none.
    last_call: float = 0.0
    #: The member's own wrap-up time in seconds; 0: the queue's applies.
    wrapuptime_s: float = 0.0

    @property
    def takes_calls(self) -> bool:
        """Whether the member is logged in and not paused; it may be in a call."""
        return not self.paused and self.state not in _GONE

    @property
    def is_ringable(self) -> bool:
        """Whether the member is free, or will be after its wrap-up time."""
        return self.state in _RINGABLE and not (self.paused or self.in_call)

    def free_at(self, queue_wrapuptime_s: float) -> float | None:
        """Return when the member becomes free; None if it is in use or paused.

        "Free" means that Asterisk would ring it: not in use (or its device state is
        unknown), not paused, not in a call of the queue, and past its wrap-up time
        (``apps/app_queue.c:is_member_available``). Being registered is not enough.
        """
        if not self.is_ringable:
            return None
        wrapuptime_s = self.wrapuptime_s or queue_wrapuptime_s
        # Without a wrap-up time Asterisk ignores the last call.
        return self.last_call + wrapuptime_s if self.last_call and wrapuptime_s else 0.0


@frozen(kw_only=True)
class WaitingCaller:
    """A caller who waits in a queue."""

    uniqueid: str
    #: When the caller first joined this queue; kept after leaving and coming back.
    #: Earlier if the caller has the place of a task.
    joined_at: float
    #: The same, but never earlier than the call.
    waits_since: float = 0.0
    #: Where Asterisk put it in line when it joined, from 1; 0 if that is not known.
    position: float = 0.0
    #: Asterisk's priority: a higher one stands before all with a lower one. 0 until it
    #: is known.
    priority: int = 0
    number: str = ""
    name: str = ""

    @property
    def turn(self) -> Turn:
        """The place in line among callers and tasks."""
        return Turn(self.joined_at, self.priority)


@frozen(kw_only=True)
class AgentNow:
    """One agent, over all queues; times are epoch seconds."""

    name: str
    state: AgentState
    #: Since when; None: since before it was first looked.
    since: float | None
    #: The names of the agent's queues, and of those in which the agent is paused.
    queues: tuple[str, ...]
    paused_in: tuple[str, ...]
    pause_reason: str


@frozen
class _Free:
    """The members that are free, from one time until another."""

    since: float
    #: When the next wrap-up time ends; None: no member is in one.
    until: float | None
    interfaces: frozenset[str]

    def holds(self, now: float) -> bool:
        """Whether this is still so, as long as no member changes."""
        return self.since <= now and (self.until is None or now < self.until)


@define
class _Queue:
    name: str
    #: Maximum number of waiting callers; 0: no limit.
    max_callers: int = 0
    members: dict[str, Member] = field(factory=dict)
    #: The members that are free, or will be after their wrap-up time.
    ringable: dict[str, Member] = field(factory=dict)
    #: The members that are free, by the queue's wrap-up time; empty after a change.
    free: dict[float, _Free] = field(factory=dict)
    #: In Asterisk's order.
    callers: dict[str, WaitingCaller] = field(factory=dict)


_NOBODY: Final = _Free(since=0.0, until=None, interfaces=frozenset())


@define
class _Stay:
    """What is kept of a channel in a queue until the channel is gone."""

    #: The time of joining that is its place: when it first joined, or that of its task.
    first_joined: float | None = None
    #: When it really joined first.
    waits_since: float | None = None
    priority: int = 0


@define
class LiveQueues:
    """All known queues."""

    #: Whether a channel in a queue (uniqueid, name of the queue) belongs to a callback
    #: of this service, which waits there for an agent.
    is_member_leg: Callable[[str, str], bool] = field(default=lambda *_: False)
    #: By name in lower case, as Asterisk ignores case
    #: (``apps/app_queue.c:queue_cmp_cb``).
    _queues: dict[str, _Queue] = field(factory=dict, init=False)
    #: The queues of each member, by interface.
    _queues_of: dict[str, set[str]] = field(factory=dict, init=False)
    #: The name and the state of each agent who was ever seen, and since when.
    _agents: dict[str, tuple[str, AgentState, float | None]] = field(
        factory=dict, init=False
    )
    #: Agents whose state may be another one than noted, and those that may have changed
    #: since they were last looked at.
    _to_note: set[str] = field(factory=set, init=False)
    _touched: set[str] = field(factory=set, init=False)
    #: The agents as they were last looked at, and the wrap-up times by that.
    _looked_at: dict[str, AgentNow] = field(factory=dict, init=False)
    _wrapuptimes: Mapping[str, float] = field(factory=dict, init=False)
    #: Interfaces in use, and the queues that reported it. Asterisk reports a change for
    #: one queue after the other; an agent is not free until all have reported it.
    _in_use: dict[str, set[str]] = field(factory=dict, init=False)
    #: Interfaces that a queue is ringing and whose device state does not show it yet,
    #: with the channels that ring.
    _called: dict[str, set[str]] = field(factory=dict, init=False)
    #: The interface that each of these channels rings.
    _called_by: dict[str, str] = field(factory=dict, init=False)
    #: The stays of each channel, by queue, until the channel is gone.
    _stays: dict[str, dict[str, _Stay]] = field(factory=dict, init=False)
    #: The queues that each channel waits in now.
    _waits_in: dict[str, set[str]] = field(factory=dict, init=False)
    #: Uniqueids of our own channels that wait in line at the place of their task.
    _placeholders: set[str] = field(factory=set, init=False)
    #: Uniqueids of those that have left the line, until the channel is gone.
    _former_placeholders: set[str] = field(factory=set, init=False)
    #: Interfaces that ring for a caller, by the channel that rings.
    _ringing_for: dict[str, dict[str, str]] = field(factory=dict, init=False)
    #: The caller that each channel rings for.
    _rings_for: dict[str, str] = field(factory=dict, init=False)
    #: Interfaces that rang for a caller in vain.
    _rang_in_vain: dict[str, set[str]] = field(factory=dict, init=False)
    #: Callers who will leave a queue to be asked something, and come back.
    _to_be_asked: set[str] = field(factory=set, init=False)
    #: Callers who are being asked, and the queue that they have left for that.
    _asked: dict[str, tuple[str, WaitingCaller]] = field(factory=dict, init=False)

    # -- telling -----------------------------------------------------------

    def clear(self) -> None:
        """Forget all queues, but keep the places of callers, and ringing interfaces."""
        for interface in self._queues_of:
            self._touch(interface)
        self._queues.clear()
        self._queues_of.clear()
        self._waits_in.clear()
        self._in_use.clear()

    def add_queue(self, queue: str, max_callers: int = 0) -> None:
        """Add a queue, even if it has no members.

        Args:
            queue: its name.
            max_callers: the most callers that may wait (``maxlen``); 0: any number.
        """
        self._queue(queue).max_callers = max_callers

    def set_member(self, queue: str, member: Member) -> None:
        """Add or update a member."""
        known = self._queue(queue)
        known.members[member.interface] = member
        self._queues_of.setdefault(member.interface, set()).add(folded(queue))
        self._touch(member.interface)
        if member.is_ringable:
            known.ringable[member.interface] = member
        else:
            known.ringable.pop(member.interface, None)
        if member.in_call or member.state in _IN_USE:
            self._in_use.setdefault(member.interface, set()).add(folded(queue))
        else:
            self._not_in_use(queue, member.interface)
        if member.state not in _RINGABLE:
            # The device state shows the ringing now.
            self._called.pop(member.interface, None)

    def remove_member(self, queue: str, interface: str) -> None:
        """Remove a member from a queue."""
        known = self._queue(queue)
        known.members.pop(interface, None)
        known.ringable.pop(interface, None)
        self._not_in_use(queue, interface)
        self._touch(interface)
        self._queues_of.get(interface, set()).discard(folded(queue))

    def _touch(self, interface: str) -> None:
        """Note that an agent may have changed."""
        self._to_note.add(interface)
        self._touched.add(interface)
        for queue in self._queues_of.get(interface, ()):
            self._queues[queue].free.clear()

    def note_agents(self, now: float) -> None:
        """Note since when those agents are in their states who have changed."""
        to_note, self._to_note = self._to_note, set()
        for interface in to_note:
            state = self._agent_state(interface)
            name = next((m.name for m in self._as_members(interface)), "")
            known = self._agents.get(interface)
            if known is None:
                since = None
                if state is AgentState.PAUSED:
                    pauses = [m.last_pause for m in self._as_members(interface)]
                    since = max(pauses) or None
                if state is not AgentState.LOGGED_OUT:
                    self._agents[interface] = name, state, since
            elif state is not known[1]:
                self._agents[interface] = name or known[0], state, now
        if len(self._agents) > _MAX_AGENTS:
            for interface, (_, state, _) in list(self._agents.items()):
                if state is AgentState.LOGGED_OUT:
                    del self._agents[interface]

    def rings_for(self, caller: str, interface: str, uniqueid: str) -> None:
        """Note that the channel ``uniqueid`` rings a member for a caller."""
        self._ringing_for.setdefault(caller, {})[uniqueid] = interface
        self._rings_for[uniqueid] = caller

    def rang_in_vain(self, caller: str, interface: str, uniqueid: str) -> None:
        """Note that the member did not answer."""
        self._ring_ended(uniqueid)
        self._rang_in_vain.setdefault(caller, set()).add(interface)

    def member_called(self, interface: str, uniqueid: str) -> None:
        """Note that a queue rings a member for the caller ``uniqueid``."""
        if any(member.state in _RINGABLE for member in self._as_members(interface)):
            self._called.setdefault(interface, set()).add(uniqueid)
            self._called_by[uniqueid] = interface
            self._touch(interface)

    def member_released(self, interface: str, uniqueid: str) -> None:
        """Note that this ringing has ended, in any way."""
        self._called_by.pop(uniqueid, None)
        waiting = self._called.get(interface)
        if waiting is not None:
            waiting.discard(uniqueid)
            self._touch(interface)
            if not waiting:
                del self._called[interface]

    def caller_joined(self, queue: str, caller: WaitingCaller) -> None:
        """Add a caller, who may have come back to an old place."""
        self._asked.pop(caller.uniqueid, None)
        stay = self._stay(queue, caller.uniqueid)
        if stay.first_joined is None:
            stay.first_joined = caller.joined_at
        if stay.waits_since is None:
            stay.waits_since = caller.joined_at
        caller = evolve(
            caller,
            joined_at=stay.first_joined,
            waits_since=stay.waits_since,
            priority=stay.priority,
        )
        self._waits_in.setdefault(caller.uniqueid, set()).add(folded(queue))
        callers = self._queue(queue).callers
        callers.pop(caller.uniqueid, None)
        if not 0 < caller.position <= len(callers):
            callers[caller.uniqueid] = caller
            return
        line = list(callers.items())
        line.insert(int(caller.position) - 1, (caller.uniqueid, caller))
        callers.clear()
        callers.update(line)

    def keep_place(self, queue: str, uniqueid: str, joined_at: float) -> None:
        """Give a caller the place of somebody who joined at this time.

        It may be called at any time.
        """
        self._stay(queue, uniqueid).first_joined = joined_at
        found = self._queues.get(folded(queue))
        if found is not None and uniqueid in found.callers:
            caller = found.callers[uniqueid]
            found.callers[uniqueid] = evolve(caller, joined_at=joined_at)

    def placeholder(self, queue: str, uniqueid: str, turn: Turn) -> None:
        """Note that our own channel waits, or will wait, in line at its task's place.

        This changes nothing if it has left the line: AgentConnect, the event of the
        agent's answer, comes after that.
        """
        if uniqueid in self._former_placeholders:
            return
        self._placeholders.add(uniqueid)
        self.keep_place(queue, uniqueid, turn.joined_at)
        self.caller_priority(queue, uniqueid, turn.priority)

    def caller_priority(self, queue: str, uniqueid: str, priority: int) -> None:
        """Note the priority of a caller who waits in the queue."""
        self._stay(queue, uniqueid).priority = priority
        found = self._queues.get(folded(queue))
        if found is not None and uniqueid in found.callers:
            caller = found.callers[uniqueid]
            found.callers[uniqueid] = evolve(caller, priority=priority)

    def to_be_asked(self, uniqueid: str) -> None:
        """Note that a caller will leave the queue to be asked something.

        The caller keeps the place until :meth:`not_asked`, or until coming back.
        """
        self._to_be_asked.add(uniqueid)

    def not_asked(self, uniqueid: str) -> None:
        """Note that a caller is not asked any more, or will not be asked."""
        self._to_be_asked.discard(uniqueid)
        self._asked.pop(uniqueid, None)

    def caller_left(self, queue: str, uniqueid: str) -> None:
        """Remove a caller; the call may continue."""
        self._rings_ended(uniqueid)
        is_placeholder = uniqueid in self._placeholders
        if is_placeholder:
            self._placeholders.discard(uniqueid)
            self._former_placeholders.add(uniqueid)
        if is_placeholder or self.is_member_leg(uniqueid, queue):
            # If its client is sent to a queue later, that is another wait.
            self._forget(uniqueid, folded(queue))
        caller = self._take_caller(folded(queue), uniqueid)
        if caller is not None and uniqueid in self._to_be_asked:
            self._asked[uniqueid] = (folded(queue), caller)

    def channel_gone(self, uniqueid: str) -> bool:
        """Forget the places of a hung-up channel, and the interfaces it was ringing.

        Returns:
            Whether there were any.
        """
        had_any = uniqueid in self._asked
        self._placeholders.discard(uniqueid)
        self._former_placeholders.discard(uniqueid)
        self.not_asked(uniqueid)
        self._rings_ended(uniqueid)
        self._rang_in_vain.pop(uniqueid, None)
        self._ring_ended(uniqueid)
        for queue in tuple(self._waits_in.get(uniqueid, ())):
            self._take_caller(queue, uniqueid)
            had_any = True
        self._stays.pop(uniqueid, None)
        interface = self._called_by.get(uniqueid)
        if interface is not None:
            had_any |= uniqueid in self._called.get(interface, ())
            self.member_released(interface, uniqueid)
        return had_any

    def _take_caller(self, folded_queue: str, uniqueid: str) -> WaitingCaller | None:
        """Remove a caller from a queue, and return it; None: it was not there."""
        queues = self._waits_in.get(uniqueid)
        if queues is None or folded_queue not in queues:
            return None
        queues.discard(folded_queue)
        if not queues:
            del self._waits_in[uniqueid]
        return self._queues[folded_queue].callers.pop(uniqueid)

    def _ring_ended(self, uniqueid: str) -> None:
        """Note that a channel does not ring any more."""
        caller = self._rings_for.pop(uniqueid, None)
        if caller is not None:
            self._ringing_for.get(caller, {}).pop(uniqueid, None)

    def _rings_ended(self, caller: str) -> None:
        """Note that nothing rings for a caller any more."""
        for uniqueid in self._ringing_for.pop(caller, {}):
            self._rings_for.pop(uniqueid, None)

    def keep_channels(self, alive: set[str]) -> set[str]:
        """Forget channels that are not ``alive``; return those that had a place."""
        for interface, calls in list(self._called.items()):
            for uniqueid in calls - alive:
                self.member_released(interface, uniqueid)
        gone = self._stays.keys() - alive
        for uniqueid in gone:
            del self._stays[uniqueid]
        self._placeholders -= gone
        self._former_placeholders &= alive
        for uniqueid in {*self._asked, *self._to_be_asked} - alive:
            self.not_asked(uniqueid)
        for uniqueid in {*self._ringing_for, *self._rang_in_vain} - alive:
            self._rings_ended(uniqueid)
            self._rang_in_vain.pop(uniqueid, None)
        for ring in self._rings_for.keys() - alive:
            self._ring_ended(ring)
        return gone

    def _stay(self, queue: str, uniqueid: str) -> _Stay:
        return self._stays.setdefault(uniqueid, {}).setdefault(folded(queue), _Stay())

    def _forget(self, uniqueid: str, folded_queue: str) -> None:
        """Forget the stay of a channel in a queue."""
        stays = self._stays.get(uniqueid, {})
        stays.pop(folded_queue, None)
        if not stays:
            self._stays.pop(uniqueid, None)

    # -- asking ------------------------------------------------------------

    def __contains__(self, queue: str) -> bool:
        return folded(queue) in self._queues

    def names(self) -> list[str]:
        """Return the names of all queues, sorted."""
        return sorted(queue.name for queue in self._queues.values())

    def with_callers(self) -> list[str]:
        """Return the names of the queues that somebody has joined, sorted."""
        joined = {of for of, _ in self._asked.values()}
        joined.update(*self._waits_in.values())
        return sorted(self._queues[of].name for of in joined if of in self._queues)

    def members(self, queue: str) -> list[Member]:
        """Return the queue's members in Asterisk's order."""
        found = self._queues.get(folded(queue))
        return list(found.members.values()) if found else []

    def member_name(self, interface: str) -> str:
        """Return the name of a member; empty if it has none in any queue."""
        for queue in reversed(self._queues.values()):
            member = queue.members.get(interface)
            if member is not None and member.name:
                return member.name
        return ""

    def waiting(self, queue: str) -> list[WaitingCaller]:
        """Return the live callers of a queue, first in line first.

        Callers who have left it to be asked something and will come back are callers.
        """
        callers = [caller for of, caller in self._asked.values() if of == folded(queue)]
        found = self._queues.get(folded(queue))
        if found:
            callers += [
                caller
                for caller in found.callers.values()
                if not self.is_member_leg(caller.uniqueid, found.name)
            ]
        return sorted(callers, key=lambda caller: caller.joined_at)

    def is_asked(self, uniqueid: str) -> bool:
        """Return whether a caller has left a queue to be asked something."""
        return uniqueid in self._asked

    def line(self, queue: str) -> list[tuple[int, WaitingCaller]]:
        """Return the live callers who are in a queue now, with their positions from 1.

        Callers who are being asked and will be back count with their place.
        """
        found = self._queues.get(folded(queue))
        if not found:
            return []
        asked = [
            one.joined_at for of, one in self._asked.values() if of == folded(queue)
        ]
        return [
            (place + sum(at < caller.joined_at for at in asked), caller)
            for place, caller in enumerate(found.callers.values(), 1)
            if not self.is_member_leg(caller.uniqueid, found.name)
        ]

    def in_queue(self, queue: str) -> Iterator[tuple[int | None, WaitingCaller]]:
        """Yield those who wait in a queue, with their positions from 1.

        These are live callers and placeholders, but no attempt that only rings a free
        agent. A caller who is being asked something has no position.
        """
        found = self._queues.get(folded(queue))
        asked = [one for of, one in self._asked.values() if of == folded(queue)]
        for place, caller in enumerate(found.callers.values() if found else (), 1):
            is_ours = self.is_member_leg(caller.uniqueid, queue)
            if not is_ours or caller.uniqueid in self._placeholders:
                before = sum(one.joined_at < caller.joined_at for one in asked)
                yield place + before, caller
        for caller in asked:
            yield None, caller

    def is_ringing_for(self, uniqueid: str) -> bool:
        """Return whether an agent's phone rings for a caller."""
        return bool(self._ringing_for.get(uniqueid))

    def rang_in_vain_for(self, uniqueid: str) -> frozenset[str]:
        """Return the interfaces of agents who did not answer a caller."""
        return frozenset(self._rang_in_vain.get(uniqueid, ()))

    def is_waiting(self, queue: str, uniqueid: str) -> bool:
        """Return whether a live caller is in the queue now."""
        found = self._queues.get(folded(queue))
        return found is not None and uniqueid in found.callers

    def position(self, queue: str, uniqueid: str) -> int | None:
        """Return the position of a channel in a queue, from 1; None if not there."""
        found = self._queues.get(folded(queue))
        if found is None or uniqueid not in found.callers:
            return None
        return list(found.callers).index(uniqueid) + 1

    def joined_at(self, queue: str, uniqueid: str) -> float | None:
        """Return when a channel first joined the queue, also after it left."""
        stay = self._stays.get(uniqueid, {}).get(folded(queue))
        return None if stay is None else stay.first_joined

    def joined(self) -> dict[tuple[str, str], float]:
        """Return when each channel that is there joined each queue, folded."""
        return {
            (uniqueid, queue): stay.first_joined
            for uniqueid, stays in self._stays.items()
            for queue, stay in stays.items()
            if stay.first_joined is not None
        }

    def position_of(self, turn: Turn, queue: str, without: str = "") -> int:
        """Return the position, from 1, of somebody with this turn.

        That is the position after the last caller with an earlier turn. It is searched,
        not counted, as the priority of a caller who has just joined may be unknown. An
        attempt that only rings a free agent does not count.

        Args:
            turn: the turn.
            queue: name of the queue.
            without: uniqueid of a channel that already has this place.
        """
        found = self._queues.get(folded(queue))
        position = 1
        for number, caller in enumerate(found.callers.values() if found else (), 2):
            ours = self.is_member_leg(caller.uniqueid, queue)
            if ours and caller.uniqueid not in self._placeholders:
                continue
            if caller.uniqueid == without:
                continue
            if caller.turn <= turn:
                position = number
        return position

    def room(self, queue: str) -> int | None:
        """Return how many callers more may wait in a queue; None: any number.

        To Asterisk, callbacks in the queue are callers, too. Callers who are being
        asked something need a place when they come back.
        """
        found = self._queues.get(folded(queue))
        if found is None or found.max_callers <= 0:
            return None
        asked = sum(of == folded(queue) for of, _ in self._asked.values())
        return max(0, found.max_callers - len(found.callers) - asked)

    def logged_in(self, queue: str) -> int:
        """Return how many agents of a queue are logged in and not paused."""
        return len(self.who_is_logged_in(queue))

    def who_is_logged_in(self, queue: str) -> frozenset[str]:
        """Return the interfaces of agents who are logged in and not paused."""
        return frozenset(
            member.interface for member in self.members(queue) if member.takes_calls
        )

    def agents(self, queue: str, wrapuptime_s: float, now: float) -> list[Agent]:
        """Return the agents of a queue who are logged in and not paused.

        An agent of several queues is shared with those in which somebody waits.
        """
        others: list[set[str]] = [
            {m.interface for m in other.members.values() if not m.paused}
            for name, other in self._queues.items()
            if name != folded(queue) and other.callers
        ]
        free_at = dict(self._free_times(queue, wrapuptime_s))
        return [
            Agent(
                free_in_s=max(0.0, free_at[member.interface] - now)
                if member.interface in free_at
                else None,
                share=1 / (1 + sum(member.interface in other for other in others)),
            )
            for member in self.members(queue)
            if member.takes_calls
        ]

    def agents_now(
        self, queues: Mapping[str, float], now: float
    ) -> dict[str, AgentNow]:
        """Return the agents of some queues and those logged out of all, by interface.

        Args:
            queues: the names of the queues, and their wrap-up times in seconds.
            now: the current time.
        """
        self.note_agents(now)
        wrapuptimes = {folded(name): time_s for name, time_s in queues.items()}
        if wrapuptimes != self._wrapuptimes:
            self._wrapuptimes = wrapuptimes
            self._looked_at.clear()
        touched, self._touched = self._touched, set()
        for interface in touched | self._looked_at.keys() ^ self._agents.keys():
            self._looked_at.pop(interface, None)
        for interface in self._agents:
            known = self._looked_at.get(interface)
            if known is None or known.state is AgentState.WRAPPING_UP:
                self._looked_at[interface] = self._agent_now(interface, now)
        return {
            interface: agent
            for interface, agent in self._looked_at.items()
            if agent.queues or agent.state is AgentState.LOGGED_OUT
        }

    def _agent_now(self, interface: str, now: float) -> AgentNow:
        name, state, since = self._agents[interface]
        members = [
            (self._queues[of], self._queues[of].members[interface])
            for of in self._queues_of.get(interface, ())
            if of in self._wrapuptimes
        ]
        free_at = [
            member.free_at(self._wrapuptimes[folded(queue.name)])
            for queue, member in members
        ]
        ends = [at for at in free_at if at is not None]
        if state is AgentState.FREE and ends:
            if min(ends) > now:
                state = AgentState.WRAPPING_UP
            elif since is not None:
                since = max(since, min(ends))
        return AgentNow(
            name=name,
            state=state,
            since=since,
            queues=tuple(sorted(queue.name for queue, _ in members)),
            paused_in=tuple(sorted(q.name for q, m in members if m.paused)),
            pause_reason=next(
                (m.pause_reason for _, m in members if m.paused and m.pause_reason), ""
            ),
        )

    def _as_members(self, interface: str) -> list[Member]:
        """Return an agent as a member of each queue."""
        return [
            self._queues[of].members[interface]
            for of in self._queues_of.get(interface, ())
        ]

    def _agent_state(self, interface: str) -> AgentState:
        """Return the state of an agent, without the wrap-up time."""
        members = self._as_members(interface)
        if not members:
            return AgentState.LOGGED_OUT
        in_call = any(member.in_call for member in members)
        if in_call or any(
            m.state in _IN_USE and m.state not in _RINGS for m in members
        ):
            return AgentState.TALKING
        if interface in self._called or any(m.state in _RINGS for m in members):
            return AgentState.RINGING
        if all(member.state in _GONE for member in members):
            return AgentState.UNAVAILABLE
        if all(member.paused for member in members):
            return AgentState.PAUSED
        return AgentState.FREE

    def in_line(self, queue: str) -> int:
        """Return how many wait in line, with placeholders.

        An attempt that only rings a free agent is not in line.
        """
        found = self._queues.get(folded(queue))
        return sum(
            caller.uniqueid in self._placeholders
            or not self.is_member_leg(caller.uniqueid, queue)
            for caller in (found.callers.values() if found else ())
        )

    def turn_at(self, queue: str, position: int) -> Turn | None:
        """Return the turn of the caller at a position, from 1; None: no caller."""
        found = self._queues.get(folded(queue))
        callers = list(found.callers.values()) if found else []
        return callers[position - 1].turn if 0 < position <= len(callers) else None

    def free(self, queue: str, wrapuptime_s: float, now: float) -> frozenset[str]:
        """Return the interfaces that the queue could ring now."""
        return self._free(queue, wrapuptime_s, now).interfaces

    def next_free_at(self, queue: str, wrapuptime_s: float, now: float) -> float | None:
        """Return when the next wrap-up time ends, or None if none is running."""
        return self._free(queue, wrapuptime_s, now).until

    def _free(self, queue: str, wrapuptime_s: float, now: float) -> _Free:
        """Return who is free; the members are only looked at after a change."""
        found = self._queues.get(folded(queue))
        if found is None:
            return _NOBODY
        known = found.free.get(wrapuptime_s)
        if known is None or not known.holds(now):
            times = list(self._free_times(queue, wrapuptime_s))
            known = found.free[wrapuptime_s] = _Free(
                since=now,
                until=min((at for _, at in times if at > now), default=None),
                interfaces=frozenset(who for who, at in times if at <= now),
            )
        return known

    def _free_times(
        self, queue: str, wrapuptime_s: float
    ) -> Iterator[tuple[str, float]]:
        found = self._queues.get(folded(queue))
        for member in found.ringable.values() if found else ():
            free_at = member.free_at(wrapuptime_s)
            taken = member.interface in self._in_use or member.interface in self._called
            if free_at is not None and not taken:
                yield member.interface, free_at

    def _not_in_use(self, queue: str, interface: str) -> None:
        queues = self._in_use.get(interface)
        if queues is not None:
            queues.discard(folded(queue))
            if not queues:
                del self._in_use[interface]

    def _queue(self, queue: str) -> _Queue:
        key = folded(queue)
        found = self._queues.get(key)
        if found is None:
            found = self._queues[key] = _Queue(queue)
        return found
