# SPDX-License-Identifier: MIT
"""Calls that are under way, and at the end of each the facts that decide what it was.

Holds what was told of channels, queues and bridges, and says who was ever connected
to a person. A call is counted (:mod:`fastagi.domain.counting`) when the caller's
channel is hung up and not before: a queue that was left proves nothing, the call may go
on. That a call was transferred, picked up or parked and fetched needs no rule, as each
ends in a bridge with a person.

Calls that were not seen from their beginning are never judged missed here; what
happened to them is known to the history alone. Who tells the facts is not this
module's business. All times are epoch seconds, passed in.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from attrs import define, field, frozen

from fastagi.domain.contacts import Contact
from fastagi.domain.counting import (
    CallFacts,
    CountingRules,
    Ended,
    Place,
    Visit,
    count,
)
from fastagi.domain.people import is_person

#: A number in what was dialled: ``4930123@trunk``, ``trunk/sip:+4930123@10.0.0.1``.
_DIALLED: Final = re.compile(r"(?:^|/|sips?:)(\+?[0-9]+)(?=[@/;,]|$)", re.ASCII)
#: More channels than one Asterisk carries: what is beyond was never hung up for us.
_MOST_CHANNELS: Final = 20_000
#: More of these in one call tell nothing new.
_MOST_VISITS: Final = 50
_MOST_DIALLED: Final = 20


def interface_of(name: str) -> str:
    """Return the interface of a channel, such as ``PJSIP/alice``."""
    return name.rpartition("-")[0] or name


def numbers_in(dialstring: str) -> list[str]:
    """Return the numbers in what was dialled."""
    return _DIALLED.findall(dialstring)


@frozen(kw_only=True)
class Meeting:
    """A client and a person of ours hear each other."""

    contact: Contact
    #: The client's.
    key: str
    #: Interface of the person.
    who: str
    at: float
    #: Channel to ask :meth:`LiveCalls.talk_s` for.
    uniqueid: str


@define(eq=False)
class _Visit:
    queue: str
    uniqueid: str
    joined_at: float
    left_at: float | None = None
    left_from: Place | None = None


@define(eq=False, kw_only=True)
class _Channel:
    uniqueid: str
    name: str
    #: Of the call it belongs to now.
    linkedid: str
    born_at: float
    born_in: Place
    number: str
    caller: str
    language: str
    #: Of the client it is, by the number shown last; empty if it is none.
    key: str = ""
    #: The numbers its caller has shown, by the keys of the clients they are.
    rang: dict[str, str] = field(factory=dict)
    #: It began a call, and was not called itself.
    is_first: bool
    #: Seen from its beginning without a gap.
    whole: bool = True
    #: A request of its caller is kept (True), or is not any more (False).
    requested: bool | None = None
    withheld: bool = False
    bridge: str = ""
    visits: list[_Visit] = field(factory=list)
    #: The first person it was connected to, and when.
    who: str = ""
    met_at: float | None = None
    together_since: float | None = None
    talked_s: float = 0.0

    @property
    def is_local(self) -> bool:
        return self.name.startswith("Local/")

    @property
    def pair(self) -> str:
        """What the two halves of a Local channel share; empty for others."""
        base, _, half = self.name.rpartition(";")
        return base if self.is_local and half in {"1", "2"} else ""

    @property
    def interface(self) -> str:
        return interface_of(self.name)


@define(eq=False)
class _Call:
    """Channels of one Linkedid, and the clients who take part."""

    linkedid: str
    channels: set[str] = field(factory=set)
    #: The numbers that were dialled in it, by their keys.
    dialled: dict[str, str] = field(factory=dict)

    def takes_dialled(self, numbers: Mapping[str, str]) -> None:
        """Note what was dialled, as far as there is room."""
        fresh = [key for key in sorted(numbers) if key not in self.dialled]
        for key in fresh[: _MOST_DIALLED - len(self.dialled)]:
            self.dialled[key] = numbers[key]


class LiveCalls:
    """All calls under way, inbound or not."""

    def __init__(
        self,
        *,
        client_key: Callable[[str], str],
        is_own: Callable[[str], bool],
        is_person: Callable[[str], bool] = is_person,
    ) -> None:
        """Follow no call yet.

        Args:
            client_key: gives the key of a client's number, or nothing if it can
                not be a client's.
            is_own: tells a uniqueid or linkedid of a callback from others; a
                callback is no call of its client's.
            is_person: tells by its name a channel that a person may hold.
        """
        self._is_person = is_person
        self._client_key = client_key
        self._is_own = is_own
        self._channels: dict[str, _Channel] = {}
        self._calls: dict[str, _Call] = {}
        self._bridges: dict[str, set[str]] = {}
        self._pairs: dict[str, set[str]] = {}
        #: Those that were not in the last list of all channels.
        self._absent: set[str] = set()

    def __len__(self) -> int:
        return len(self._channels)

    def __contains__(self, uniqueid: object) -> bool:
        """Whether a channel is there."""
        return uniqueid in self._channels

    # -- asking ------------------------------------------------------------

    def clients(self) -> set[str]:
        """Return the keys of the clients who are in a call with us now."""
        return {key for call in self._calls.values() for key in self._clients_of(call)}

    def clients_with(self, uniqueid: str) -> set[str]:
        """Return the keys of the clients in the call of a channel."""
        channel = self._channels.get(uniqueid)
        if channel is None:
            return set()
        return set(self._clients_of(self._calls[channel.linkedid]))

    def _clients_of(self, call: _Call) -> Iterator[str]:
        """Yield those who were dialled, and those who rang in and are still there."""
        yield from call.dialled
        for uniqueid in call.channels:
            yield from self._channels[uniqueid].rang

    def talk_s(self, uniqueid: str, now: float) -> float:
        """Return how long a channel has been connected to a person; 0 if gone."""
        channel = self._channels.get(uniqueid)
        return 0.0 if channel is None else _talk_s(channel, now)

    def talks(self, uniqueid: str) -> bool:
        """Return whether a channel is connected to a person now."""
        channel = self._channels.get(uniqueid)
        return channel is not None and channel.together_since is not None

    # -- telling -----------------------------------------------------------

    def born(
        self,
        uniqueid: str,
        linkedid: str,
        *,
        name: str,
        place: Place,
        number: str,
        caller: str,
        language: str,
        at: float,
        whole: bool = True,
    ) -> set[str]:
        """A channel came into being; return the keys of clients who ring in.

        Args:
            uniqueid: the channel's; empty, it is none.
            linkedid: of its call.
            name: the channel's, such as ``PJSIP/trunk-00000001``.
            place: where it begins: its exten is the number that was called.
            number: of the caller ID.
            caller: name of the caller ID.
            language: of the channel.
            at: when.
            whole: it has only just begun.
        """
        if not uniqueid or uniqueid in self._channels:
            return set()
        if len(self._channels) >= _MOST_CHANNELS:
            self._forget(self._channels[next(iter(self._channels))])
        channel = _Channel(
            uniqueid=uniqueid,
            name=name,
            linkedid=linkedid,
            born_at=at,
            born_in=place,
            number=number,
            caller=caller,
            language=language,
            is_first=uniqueid == linkedid and not self._is_own(uniqueid),
            whole=whole,
        )
        self._channels[uniqueid] = channel
        if channel.pair:
            self._pairs.setdefault(channel.pair, set()).add(uniqueid)
        call = self._calls.setdefault(linkedid, _Call(linkedid))
        call.channels.add(uniqueid)
        # A Local channel may be a program that shows a client's number to an agent;
        # it is a caller once it waits in a queue.
        if channel.is_first and not channel.is_local:
            return self._is_caller(channel, number)
        return set()

    def joined_queue(
        self, uniqueid: str, queue: str, *, number: str, caller: str, at: float
    ) -> set[str]:
        """A channel entered a queue; return the keys of clients who ring in.

        The client of a callback who is transferred there with a channel of its own is
        one of them. Our own channels are not, whatever they do: their client is busy as
        long as the attempt is under way.
        """
        channel = self._channels.get(uniqueid)
        if channel is None or self._is_own(uniqueid):
            return set()
        owner = self._caller_of(channel)
        owner.caller = caller or owner.caller
        if len(owner.visits) < _MOST_VISITS:
            owner.visits.append(_Visit(queue, uniqueid, at))
        return self._is_caller(owner, number)

    def left_queue(self, uniqueid: str, queue: str, place: Place, at: float) -> None:
        """A channel left a queue, for whatever reason."""
        channel = self._channels.get(uniqueid)
        if channel is None:
            return
        for visit in reversed(self._caller_of(channel).visits):
            if visit.uniqueid == uniqueid and visit.queue == queue:
                visit.left_at, visit.left_from = at, place
                return

    def requested(self, uniqueid: str, kept: bool) -> None:
        """A request of the channel's caller is kept, or is not any more."""
        channel = self._channels.get(uniqueid)
        if channel is not None:
            self._caller_of(channel).requested = kept

    def number_withheld(self, uniqueid: str) -> None:
        """The channel's caller asked the network not to show the number."""
        channel = self._channels.get(uniqueid)
        if channel is not None:
            self._caller_of(channel).withheld = True

    def dialled(
        self, uniqueid: str, linkedid: str, dialstring: str, numbers: Iterable[str] = ()
    ) -> set[str]:
        """A channel calls somebody; return the keys of clients who are called so.

        Args:
            uniqueid: of the channel that calls, empty if none does.
            linkedid: of its call.
            dialstring: what it calls.
            numbers: further forms of the number.
        """
        call = self._calls.get(linkedid)
        first = self._channels.get(linkedid)
        if call is None or self._is_own(linkedid) or not uniqueid:
            return set()
        found = [*numbers_in(dialstring), *numbers]
        if first is not None:
            found.append(first.born_in.exten)
        numbers = self._by_key(found)
        if first is not None:
            numbers.pop(first.key, None)
        before = set(call.dialled)
        call.takes_dialled(numbers)
        return call.dialled.keys() - before

    def entered_bridge(
        self, uniqueid: str, bridge: str, *, name: str, linkedid: str, at: float
    ) -> list[Meeting]:
        """A channel hears who else is in the bridge; return who meets whom.

        Bridges in which nobody hears another, such as those of parked calls, are not
        to be told.
        """
        channel = self._channels.get(uniqueid)
        if channel is None:
            return []
        channel.name = channel.name if channel.is_local else name
        self._belongs_to(channel, linkedid)
        self._take_out(channel)
        channel.bridge = bridge
        self._bridges.setdefault(bridge, set()).add(uniqueid)
        return self._look_at({uniqueid}, at)

    def left_bridge(self, uniqueid: str, bridge: str, at: float) -> None:
        """A channel hears the others of a bridge no more."""
        channel = self._channels.get(uniqueid)
        if channel is not None and channel.bridge == bridge:
            others = self._take_out(channel)
            self._look_at({uniqueid, *others}, at)

    def hung_up(
        self, uniqueid: str, place: Place, rules: CountingRules, at: float
    ) -> Ended | None:
        """A channel is gone; return what the call was if it was the caller's."""
        channel = self._channels.get(uniqueid)
        if channel is None:
            return None
        ended = None
        if channel.is_first or channel.visits:
            ended = count(_facts(channel, place, at), rules)
        others = self._forget(channel)
        self._look_at(others, at)
        return ended

    def rekey(self) -> None:
        """From now on keys are what they are now."""
        for channel in self._channels.values():
            if channel.key:
                channel.key = self._client_key(channel.number)
            channel.rang = self._by_key(channel.rang.values())
        for call in self._calls.values():
            call.dialled = self._by_key(call.dialled.values())

    # -- after a gap -------------------------------------------------------

    def interrupted(self) -> None:
        """From now on things may happen that are not told."""
        for channel in self._channels.values():
            channel.whole = False

    def keep(self, alive: Collection[str]) -> None:
        """Forget the channels that ended unseen; those begun since are known."""
        for channel in list(self._channels.values()):
            if not channel.whole and channel.uniqueid not in alive:
                self._forget(channel)

    def unlisted(self, listed: Collection[str]) -> list[str]:
        """Return the channels that may have ended unseen, as a list lacks them."""
        return [
            channel.uniqueid
            for channel in self._channels.values()
            if not channel.whole and channel.uniqueid not in listed
        ]

    def missing_from(self, alive: Collection[str]) -> set[str]:
        """Return the channels that are in no list of all channels any more.

        A channel may begin while such a list is on its way: only the second list in a
        row counts.
        """
        absent = self._channels.keys() - set(alive)
        twice, self._absent = absent & self._absent, absent
        return twice

    def gone(self, uniqueid: str, at: float) -> None:
        """A channel is gone, and how it ended is not known."""
        channel = self._channels.get(uniqueid)
        if channel is not None:
            self._look_at(self._forget(channel), at)

    def bridges_are(
        self, bridges: Iterable[tuple[str, str]], at: float
    ) -> list[Meeting]:
        """Take over which channel is in which bridge; return who meets whom."""
        for known in self._channels.values():
            if not known.whole:
                self._take_out(known)
        for uniqueid, bridge in bridges:
            if (channel := self._channels.get(uniqueid)) and bridge:
                self._take_out(channel)
                channel.bridge = bridge
                self._bridges.setdefault(bridge, set()).add(uniqueid)
        return self._look_at(set(self._channels), at)

    def meetings(self) -> list[Meeting]:
        """Return who hears whom now, and since when."""
        meetings: list[Meeting] = []
        for channel in self._channels.values():
            people = self._people(self._connected(channel.uniqueid))
            other = next((one for one in people if one is not channel), None)
            if other is not None and channel.together_since is not None:
                meetings += self._meetings(
                    channel, other, len(people), channel.together_since
                )
        return meetings

    # -- parts -------------------------------------------------------------

    def _by_key(self, numbers: Iterable[str]) -> dict[str, str]:
        keys = {self._client_key(number): number for number in numbers}
        keys.pop("", None)
        return keys

    def _is_caller(self, channel: _Channel, number: str) -> set[str]:
        key = self._client_key(number)
        channel.number = number or channel.number
        if not key or key == channel.key:
            return set()
        channel.key = key
        channel.rang[key] = channel.number
        return {key}

    def _caller_of(self, channel: _Channel) -> _Channel:
        """Return whom a channel stands for: half of a Local one for its caller."""
        first = self._channels.get(channel.linkedid)
        if channel.is_local and first is not None and first.is_first:
            return first
        return channel

    def _belongs_to(self, channel: _Channel, linkedid: str) -> None:
        """Note that calls became one, as after a transfer."""
        if not linkedid or linkedid == channel.linkedid:
            return
        old = self._calls[channel.linkedid]
        new = self._calls.setdefault(linkedid, _Call(linkedid))
        new.takes_dialled(old.dialled)
        self._leave_call(channel)
        channel.linkedid = linkedid
        new.channels.add(channel.uniqueid)

    def _leave_call(self, channel: _Channel) -> None:
        call = self._calls[channel.linkedid]
        call.channels.discard(channel.uniqueid)
        if not call.channels:
            del self._calls[channel.linkedid]

    def _take_out(self, channel: _Channel) -> set[str]:
        """Take a channel out of its bridge; return who is left there."""
        members = self._bridges.get(channel.bridge)
        if members is None:
            return set()
        members.discard(channel.uniqueid)
        if not members:
            del self._bridges[channel.bridge]
        channel.bridge = ""
        return set(members)

    def _forget(self, channel: _Channel) -> set[str]:
        """Forget a channel; return whom it was connected to."""
        others = self._take_out(channel)
        halves = self._pairs.get(channel.pair)
        if halves is not None:
            halves.discard(channel.uniqueid)
            others |= halves
            if not halves:
                del self._pairs[channel.pair]
        if channel.is_local:
            # The two talk on without it once Asterisk has optimised it away.
            self._calls[channel.linkedid].takes_dialled(channel.rang)
        self._leave_call(channel)
        del self._channels[channel.uniqueid]
        return others

    def _look_at(self, uniqueids: Iterable[str], at: float) -> list[Meeting]:
        """See who hears whom among these and all they are connected to."""
        meetings: list[Meeting] = []
        seen: set[str] = set()
        for uniqueid in uniqueids:
            if uniqueid in seen:
                continue
            group = self._connected(uniqueid)
            seen |= {channel.uniqueid for channel in group}
            people = self._people(group)
            for channel in group:
                other = next((one for one in people if one is not channel), None)
                if other is None:
                    channel.talked_s = _talk_s(channel, at)
                    channel.together_since = None
                elif channel.together_since is None:
                    channel.together_since = at
                    if channel.met_at is None:
                        channel.who, channel.met_at = other.interface, at
                    meetings += self._meetings(channel, other, len(people), at)
        return meetings

    def _meetings(
        self, channel: _Channel, other: _Channel, people: int, at: float
    ) -> Iterator[Meeting]:
        if channel.key:
            yield Meeting(
                contact=Contact.RANG,
                key=channel.key,
                who=other.interface,
                at=at,
                uniqueid=channel.uniqueid,
            )
        if self._is_own(channel.linkedid):
            return
        is_held = self._is_person(channel.name)
        if channel.is_first and (is_held or people > 1):
            for key in self._calls[channel.linkedid].dialled:
                yield Meeting(
                    contact=Contact.CALLED,
                    key=key,
                    who=channel.interface if is_held else other.interface,
                    at=at,
                    uniqueid=channel.uniqueid,
                )

    def _people(self, channels: Iterable[_Channel]) -> list[_Channel]:
        return [channel for channel in channels if self._is_person(channel.name)]

    def _connected(self, uniqueid: str) -> list[_Channel]:
        """Return a channel and all that are connected to it, over Local ones too."""
        found: dict[str, _Channel] = {}
        waiting = deque([uniqueid])
        while waiting:
            channel = self._channels.get(waiting.popleft())
            if channel is None or channel.uniqueid in found:
                continue
            found[channel.uniqueid] = channel
            waiting.extend(self._bridges.get(channel.bridge, ()))
            waiting.extend(self._pairs.get(channel.pair, ()))
        return list(found.values())


def _talk_s(channel: _Channel, now: float) -> float:
    since = channel.together_since
    return channel.talked_s + (0.0 if since is None else max(0.0, now - since))


def _facts(channel: _Channel, ended_in: Place, at: float) -> CallFacts:
    return CallFacts(
        uniqueid=channel.uniqueid,
        key=channel.key,
        number=channel.number,
        name=channel.caller,
        language=channel.language,
        began_at=channel.born_at,
        ended_at=at,
        places=(channel.born_in,),
        visits=tuple(
            Visit(
                queue=one.queue,
                uniqueid=one.uniqueid,
                joined_at=one.joined_at,
                left_at=at if one.left_at is None else one.left_at,
                to_the_end=one.left_at is None
                or one.left_from == ended_in
                or one.uniqueid != channel.uniqueid,
            )
            for one in channel.visits
        ),
        who=channel.who,
        answered_at=channel.met_at,
        talk_s=_talk_s(channel, at),
        requested=channel.requested,
        withheld=channel.withheld,
        whole=channel.whole,
        ended_in=ended_in,
    )
