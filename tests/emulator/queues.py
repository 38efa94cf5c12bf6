# SPDX-License-Identifier: MIT
"""Queues of the model of Asterisk: members, and the visits of callers.

Follows what ``apps/app_queue.c`` was recorded to do with the strategies ringall and
linear. Independent of where a caller comes from or goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import attrs

from twisted.internet.interfaces import IDelayedCall

from tests.emulator.manager import Header
from tests.emulator.phones import (
    ANSWERED_ELSEWHERE,
    DEVICE_STATES,
    NO_CAUSE,
    REFUSALS,
    Channel,
    Phone,
    Ring,
)
from tests.emulator.scenarios import Refuses

if TYPE_CHECKING:
    from tests.emulator.asterisk import FakeAsterisk


@attrs.define(eq=False)
class Member:
    """A phone in one queue."""

    phone: Phone
    name: str
    paused: bool = False
    in_call: bool = False
    last_call: int = 0
    last_pause: int = 0
    pause_reason: str = ""
    calls_taken: int = 0
    wrapuptime_s: int = 0
    dynamic: bool = False

    @property
    def interface(self) -> str:
        """The interface that the queue rings."""
        return self.phone.interface

    def headers(self, queue: str) -> tuple[Header, ...]:
        """Return the headers of QueueMemberStatus and similar events."""
        return (
            ("Queue", queue),
            ("MemberName", self.name),
            ("Interface", self.interface),
            ("StateInterface", self.interface),
            ("Membership", "dynamic" if self.dynamic else "static"),
            ("Penalty", "0"),
            ("CallsTaken", str(self.calls_taken)),
            ("LastCall", str(self.last_call)),
            ("LastPause", str(self.last_pause)),
            ("LoginTime", "0"),
            ("InCall", str(int(self.in_call))),
            ("Status", str(DEVICE_STATES[self.phone.state])),
            ("Paused", str(int(self.paused))),
            ("PausedReason", self.pause_reason),
            ("Ringinuse", "0"),
            ("Wrapuptime", str(self.wrapuptime_s)),
        )


@attrs.define(eq=False, kw_only=True)
class Queue:
    """One queue of queues.conf."""

    pbx: FakeAsterisk
    name: str
    strategy: str = "ringall"
    timeout_s: float = 15.0
    retry_s: float = 1.0
    wrapuptime_s: float = 0.0
    #: Delay until a waiting caller gets a member that became free. app_queue checks
    #: once a second.
    notice_s: float = 0.0
    #: The context that key 1 leads to; empty: the key does nothing.
    context: str = "callback-request"
    #: ``maxlen``; 0: any number.
    maxlen: int = 0
    #: QUEUESTATUS of all who come, because of ``joinempty``; empty: they may join.
    turns_away: str = ""
    members: list[Member] = attrs.field(factory=list)
    visits: list[Visit] = attrs.field(factory=list)
    _look: IDelayedCall | None = None

    @property
    def refuses(self) -> str:
        """Return the QUEUESTATUS of a caller who may not join now; empty: may join."""
        if self.maxlen and len(self.visits) >= self.maxlen:
            return "FULL"
        return self.turns_away

    def send_away(self, status: str = "LEAVEEMPTY") -> None:
        """End all visits, because of ``leavewhenempty``."""
        for visit in list(self.visits):
            visit.send_away(status)

    def member(self, interface: str) -> Member:
        """Return one member by its interface."""
        return next(m for m in self.members if m.interface == interface)

    def add(self, interface: str, *, dynamic: bool = True) -> Member:
        """Add a phone as a member."""
        member = self._new_member(interface, dynamic=dynamic)
        self.members.append(member)
        if dynamic:
            self.pbx.tell("QueueMemberAdded", "agent", *member.headers(self.name))
        self.look()
        return member

    def remove(self, interface: str) -> None:
        """Remove a member."""
        member = self.member(interface)
        self.members.remove(member)
        self.pbx.tell("QueueMemberRemoved", "agent", *member.headers(self.name))

    def reload(self, interfaces: Sequence[str], *, told: bool = False) -> None:
        """Reload queues.conf with these static members.

        Only the Reload event is sent, no event for added or removed members.
        """
        stayed = {m.interface: m for m in self.members if not m.dynamic}
        dynamic = [member for member in self.members if member.dynamic]
        self.members = [
            *(stayed.get(one) or self._new_member(one) for one in interfaces),
            *dynamic,
        ]
        if told:
            facts = (("Module", "app_queue.so"), ("Status", "0"))
            self.pbx.tell("Reload", "system", *facts)
        self.look(self.notice_s)

    def _new_member(self, interface: str, *, dynamic: bool = False) -> Member:
        name = interface.rpartition("/")[2].capitalize()
        return Member(self.pbx.phone(interface), name, dynamic=dynamic)

    def pause(self, interface: str, paused: bool = True, reason: str = "") -> None:
        """Pause or unpause a member."""
        member = self.member(interface)
        member.paused, member.pause_reason = paused, reason if paused else ""
        if paused:
            member.last_pause = int(self.pbx.wall_clock)
        self.pbx.tell("QueueMemberPause", "agent", *member.headers(self.name))
        self.look(self.notice_s)

    def can_ring(self, member: Member) -> bool:
        """Whether app_queue would ring the member now."""
        return (
            member.phone.state == "NOT_INUSE"
            and self.is_ready(member)
            and not any(visit.rings(member) for visit in self.pbx.visits())
        )

    def is_ready(self, member: Member) -> bool:
        """Whether the member takes calls of this queue once its phone is idle."""
        wrapuptime_s = member.wrapuptime_s or self.wrapuptime_s
        rests = self.pbx.wall_clock - member.last_call < wrapuptime_s
        return (
            not member.paused
            and not member.in_call
            and not (member.last_call and wrapuptime_s and rests)
        )

    def rested_in(self) -> float | None:
        """Return the seconds until the next wrap-up time ends."""
        waits = [
            m.last_call
            + (m.wrapuptime_s or self.wrapuptime_s)
            - (self.pbx.now + self.pbx.skew_s)
            for m in self.members
            if m.last_call and (m.wrapuptime_s or self.wrapuptime_s)
        ]
        return min((wait for wait in waits if wait > 0), default=None)

    def look(self, after_s: float = 0.0) -> None:
        """Offer free members to waiting callers after a change."""
        if self._look is not None and self._look.active():
            if self._look.getTime() <= self.pbx.now + after_s:
                return
            self._look.cancel()
        self._look = self.pbx.later(after_s, self._give)

    def _give(self) -> None:
        self._look = None
        # As many callers may ring as members are free, whether they can use them or
        # not; callers between two rings count, too (is_our_turn).
        ahead = 0
        for visit in list(self.visits):
            if visit.idle:
                free = [member for member in self.members if self.can_ring(member)]
                if len(free) <= ahead:
                    break
                skipped = visit.skips()
                wanted = [m for m in free if m.interface not in skipped]
                if wanted:
                    visit.ring(wanted)
                else:
                    ahead += 1
            elif visit.rests:
                ahead += 1
        if any(visit.idle for visit in self.visits):
            rested_in = self.rested_in()
            if rested_in is not None:
                self.look(rested_in)


class Visit:
    """One channel's stay in one queue."""

    def __init__(
        self,
        queue: Queue,
        channel: Channel,
        *,
        answered: Callable[[Ring], object],
        left: Callable[[], object],
        timeout_s: float | None = None,
        position: int | None = None,
        skips: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.queue = queue
        #: Returns the interfaces of the members that may not be rung for it.
        self.skips = skips
        self.channel = channel
        self.over = False
        #: The final QUEUESTATUS.
        self.status = "TIMEOUT"
        self.joined_at = queue.pbx.now
        self._pbx = queue.pbx
        self._answered = answered
        self._left = left
        self._rings: dict[Ring, Member] = {}
        self._ring_began = 0.0
        self._tried: set[Member] = set()
        self._resting = False
        self._ring_timer: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self.member: Member | None = None
        self._ring: Ring | None = None
        self.priority = int(channel.queue_priority or 0)
        queue.visits.insert(self._place(position), self)
        self.original_position = self.position
        self._log("ENTERQUEUE", "", channel.number, str(self.position))
        self._tell("QueueCallerJoin", ("Position", str(self.position)), self._count())
        if timeout_s is not None:
            self._timer = self._pbx.later(timeout_s, self._time_is_over)
        queue.look()

    def _place(self, position: int | None) -> int:
        """Return the index at which app_queue inserts it, from 0 (join_queue)."""
        for place, other in enumerate(self.queue.visits):
            if self.priority > other.priority:
                return place
            if (
                position is not None
                and self.priority >= other.priority
                and position <= place + 1
            ):
                return place
        return len(self.queue.visits)

    @property
    def position(self) -> int:
        """Position in line, from 1."""
        return self.queue.visits.index(self) + 1

    @property
    def ringing_since(self) -> float | None:
        """When it began to ring members; None: it rings none."""
        return self._ring_began if self._rings else None

    @property
    def idle(self) -> bool:
        """Whether it waits for a member and rings none."""
        return not (self.over or self._rings or self._resting)

    @property
    def rests(self) -> bool:
        """Whether it pauses between two rings."""
        return self._resting and not self.over

    def rings(self, member: Member) -> bool:
        """Whether it rings this member's phone."""
        return any(ring.phone is member.phone for ring in self._rings)

    # -- ringing -----------------------------------------------------------

    def ring(self, free: list[Member]) -> None:
        """Ring free members."""
        if self.queue.strategy == "ringall":
            # The member added last is rung first.
            chosen = free[::-1]
        else:
            untried = [member for member in free if member not in self._tried]
            if not untried:
                self._tried.clear()
                untried = free
            chosen = untried[:1]
        self._tried.update(chosen)
        self._ring_began = self._pbx.now
        self._ring_timer = self._pbx.later(self.queue.timeout_s, self._no_answer)
        for member in chosen:
            self._ring_one(member)
        self._pbx.on_ring(self)

    def _ring_one(self, member: Member) -> None:
        ring = Ring(
            member.phone,
            self.channel,
            context="agents",
            application="AppQueue",
            answered=self._member_answers,
            refused=self._member_refuses,
        )
        self._rings[ring] = member
        self._tell_of(ring, "AgentCalled", *self._who(member))
        self._dial(ring, "DialBegin", ("DialString", member.phone.resource))
        ring.begin()

    def _member_answers(self, ring: Ring) -> None:
        member = self._rings.pop(ring)
        others, self._rings = list(self._rings), {}
        self._dial_end(ring, "ANSWER")
        for other in others:
            self._dial_end(other, "CANCEL")
            self._dial_end(other, "CANCEL")
        self.member, self._ring = member, ring
        member.in_call = True
        hold_s = int(self._pbx.now - self.joined_at)
        rung_s = int(self._pbx.now - self._ring_began)
        self._log(
            "CONNECT",
            str(hold_s),
            ring.channel.uniqueid,
            str(rung_s),
            agent=member.name,
        )
        self._leave()
        self._tell_of(
            ring,
            "AgentConnect",
            *self._who(member),
            ("HoldTime", str(hold_s)),
            ("RingTime", str(rung_s)),
        )
        for other in others:
            other.end(ANSWERED_ELSEWHERE)
        self._answered(ring)

    def _member_refuses(self, ring: Ring, how: Refuses) -> None:
        # app_queue always reports NOANSWER.
        self._dial_end(ring, "NOANSWER")
        self._rang_in_vain(ring)
        member = self._rings.pop(ring)
        ring.end(REFUSALS[how][2])
        if not self._rings:
            untried = any(
                m not in self._tried and self.queue.can_ring(m)
                for m in self.queue.members
                if m is not member
            )
            self._stop_ring_timer()
            self._rest(0.0 if untried else self.queue.retry_s)

    def _no_answer(self) -> None:
        for ring in list(self._rings):
            self._give_up(ring)
        self._rest(self.queue.retry_s)

    def _give_up(self, ring: Ring) -> None:
        self._rang_in_vain(ring)
        self._dial_end(ring, "NOANSWER")
        self._dial_end(ring, "CANCEL")
        del self._rings[ring]
        ring.end(NO_CAUSE)

    def _rang_in_vain(self, ring: Ring) -> None:
        rung_ms = round((self._pbx.now - self._ring_began) * 1000)
        self._tell_of(
            ring,
            "AgentRingNoAnswer",
            *self._who(self._rings[ring]),
            ("RingTime", str(rung_ms)),
        )

    def _rest(self, seconds: float) -> None:
        self._resting = True

        def go_on() -> None:
            self._resting = False
            if not self.over:
                self.queue.look()

        self._pbx.later(seconds, go_on)

    # -- leaving -----------------------------------------------------------

    def abandon(self) -> None:
        """The caller hangs up."""
        self._log_leaving("ABANDON")
        self._cancel_rings()
        self._abandoned()
        self._end_rings()

    def leave_by_key(self, key: str) -> int:
        """Leave by a key of the queue's context; return the position."""
        position = self.position
        self._log("EXITWITHKEY", key, str(position))
        self._cancel_rings()
        self._leave()
        self._end_rings()
        return position

    def _time_is_over(self) -> None:
        self._timer = None
        self._leave_alone("EXITWITHTIMEOUT")

    def send_away(self, status: str) -> None:
        """Leave because the queue ends the visit."""
        self.status = status
        self._leave_alone("EXITEMPTY")

    def _leave_alone(self, event: str) -> None:
        for ring in list(self._rings):
            self._give_up(ring)
        self._log_leaving(event)
        self._abandoned()
        self._left()

    def _cancel_rings(self) -> None:
        for ring in self._rings:
            self._dial_end(ring, "CANCEL")
            self._dial_end(ring, "CANCEL")

    def _end_rings(self) -> None:
        rings, self._rings = self._rings, {}
        for ring in rings:
            ring.end(NO_CAUSE)

    def _abandoned(self) -> None:
        self._tell(
            "QueueCallerAbandon",
            ("Position", str(self.position)),
            ("OriginalPosition", str(self.original_position)),
            ("HoldTime", str(int(self._pbx.now - self.joined_at))),
        )
        self._leave()

    def _leave(self) -> None:
        position = self.position
        self.over = True
        self.queue.visits.remove(self)
        self._stop_ring_timer()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._tell("QueueCallerLeave", ("Position", str(position)), self._count())
        self.queue.look()

    def _stop_ring_timer(self) -> None:
        if self._ring_timer is not None and self._ring_timer.active():
            self._ring_timer.cancel()
        self._ring_timer = None

    # -- after the answer --------------------------------------------------

    def complete(self, who: str) -> None:
        """End the call with the member; ``who`` ended it."""
        member, ring = self.member, self._ring
        assert member is not None and ring is not None
        answered_at = ring.fact.answered_at or 0.0
        member.in_call = False
        member.last_call = self._pbx.wall_clock
        member.calls_taken += 1
        hold_s = int(answered_at - self.joined_at)
        talk_s = int(self._pbx.now - answered_at)
        self._log(
            f"COMPLETE{who.upper()}",
            str(hold_s),
            str(talk_s),
            str(self.original_position),
            agent=member.name,
        )
        self._tell_of(
            ring,
            "AgentComplete",
            *self._who(member),
            ("HoldTime", str(hold_s)),
            ("TalkTime", str(talk_s)),
            ("Reason", who),
        )

    # -- events -------------------------------------------------------------

    def _log(self, event: str, *data: str, agent: str = "NONE") -> None:
        self._pbx.log_queue(self.channel.uniqueid, self.queue.name, agent, event, *data)

    def _log_leaving(self, event: str) -> None:
        waited_s = str(int(self._pbx.now - self.joined_at))
        self._log(event, str(self.position), str(self.original_position), waited_s)

    def _who(self, member: Member) -> tuple[Header, ...]:
        return (
            ("Queue", self.queue.name),
            ("Interface", member.interface),
            ("MemberName", member.name),
        )

    def _count(self) -> Header:
        return "Count", str(len(self.queue.visits))

    def _tell(self, name: str, *headers: Header) -> None:
        self._pbx.tell(
            name,
            "agent",
            *self.channel.headers(),
            ("Queue", self.queue.name),
            *headers,
        )

    def _tell_of(self, ring: Ring, name: str, *headers: Header) -> None:
        self._pbx.tell(
            name,
            "agent",
            *self.channel.headers(),
            *ring.channel.headers("Dest"),
            *headers,
        )

    def _dial(self, ring: Ring, name: str, *headers: Header) -> None:
        self._pbx.dial(self.channel, ring.channel, name, *headers)

    def _dial_end(self, ring: Ring, status: str) -> None:
        self._dial(ring, "DialEnd", ("DialStatus", status))
