# SPDX-License-Identifier: MIT
"""Calls in progress, and the facts about each call when it ends.

Follows channels, queues and bridges, and so knows which client was connected to a
person. A call is counted (:mod:`fastagi.domain.counting`) when the caller's channel is
hung up, not when it leaves a queue: the call may continue elsewhere. Transfers, pickup
and parking need no rules, because each ends in a bridge with a person.

A call that was not seen from its beginning never counts as missed here; only the
histories know what happened to it. All times are epoch seconds and are arguments.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from attrs import define, evolve, field, frozen

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

#: A number in a dial string: ``4930123@trunk``, ``trunk/sip:+4930123@10.0.0.1``.
_DIALLED: Final = re.compile(r"(?:^|/|sips?:)(\+?[0-9]+)(?=[@/;,]|$)", re.ASCII)
#: Maximum number of channels, more than one Asterisk carries. Beyond that, hangups must
#: have been missed.
_MAX_CHANNELS: Final = 20_000
#: Maximum numbers of queue visits and dialled numbers noted for one call.
_MAX_VISITS: Final = 50
_MAX_DIALLED: Final = 20


def interface_of(name: str) -> str:
    """Return the interface of a channel, such as ``PJSIP/alice``."""
    return name.rpartition("-")[0] or name


def numbers_in(dialstring: str) -> list[str]:
    """Return the numbers in a dial string."""
    return _DIALLED.findall(dialstring)


@frozen(kw_only=True)
class Meeting:
    """A client and a person at this Asterisk who hear each other."""

    contact: Contact
    #: The client key.
    key: str
    #: Interface of the person.
    who: str
    at: float
    #: When the two parties met for the first time in this call, as one may be put on
    #: hold or transferred. If that was not seen: the earliest possible time.
    first_at: float
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
    #: Linkedid of the call that the channel belongs to now.
    linkedid: str
    born_at: float
    #: When it was created; before ``born_at`` if that was not seen.
    created_at: float
    born_in: Place
    number: str
    caller: str
    language: str
    #: The client key of the last caller ID; empty if the caller is not a client.
    key: str = ""
    #: The caller IDs that it has shown, by client key.
    rang: dict[str, str] = field(factory=dict)
    #: Whether the channel began the call and was not called itself.
    is_first: bool
    #: Whether it was seen from its beginning without a gap.
    whole: bool = True
    #: As in :class:`CallFacts`.
    requested: bool | None = None
    withheld: bool = False
    bridge: str = ""
    visits: list[_Visit] = field(factory=list)
    #: The first person it was connected to, and when.
    who: str = ""
    met_at: float | None = None
    together_since: float | None = None
    talked_s: float = 0.0
    #: When a client, by key, first met a person in a call with this channel.
    first_met_at: dict[str, float] = field(factory=dict)

    @property
    def is_local(self) -> bool:
        return self.name.startswith("Local/")

    @property
    def pair(self) -> str:
        """The part of the name that both halves of a Local channel share, or empty."""
        base, _, half = self.name.rpartition(";")
        return base if self.is_local and half in {"1", "2"} else ""

    @property
    def interface(self) -> str:
        return interface_of(self.name)


@define(eq=False)
class _Call:
    """The channels with one linkedid, and the numbers dialled from them."""

    linkedid: str
    channels: set[str] = field(factory=set)
    #: The numbers that were dialled in the call, by client key.
    dialled: dict[str, str] = field(factory=dict)


@define(eq=False)
class _Clients:
    """The keys of clients in calls, with the number of reasons why each is in one.

    So what one event changes costs no look at all other calls.
    """

    reasons: dict[str, int] = field(factory=dict)

    def add(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.reasons[key] = self.reasons.get(key, 0) + 1

    def remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.reasons[key] -= 1
            if not self.reasons[key]:
                del self.reasons[key]


class LiveCalls:
    """All calls in progress, inbound or outbound."""

    def __init__(
        self,
        *,
        client_key: Callable[[str], str],
        is_own: Callable[[str], bool],
        is_person: Callable[[str], bool] = is_person,
        is_dialled_elsewhere: Callable[[str], bool] = lambda _key: False,
    ) -> None:
        """Begin with no calls.

        Args:
            client_key: returns the client key of a number, or "" if the number cannot
                be a client's.
            is_own: whether a uniqueid or linkedid belongs to a callback of this
                service; such a call was not made by its client.
            is_person: whether a person may be at the channel with this name.
            is_dialled_elsewhere: whether a callback on another Asterisk dials the
                client with this key now; a call to the client is that callback, on its
                way through a trunk between the two.
        """
        self._is_person = is_person
        self._is_dialled_elsewhere = is_dialled_elsewhere
        self._client_key = client_key
        self._is_own = is_own
        self._channels: dict[str, _Channel] = {}
        self._calls: dict[str, _Call] = {}
        self._bridges: dict[str, set[str]] = {}
        self._pairs: dict[str, set[str]] = {}
        #: One reason for each key in ``dialled`` of a call and ``rang`` of a channel.
        self._in_calls = _Clients()
        #: Channels that were missing in the last list of all channels.
        self._absent: set[str] = set()

    def __len__(self) -> int:
        return len(self._channels)

    def __contains__(self, uniqueid: object) -> bool:
        """Whether a channel with this uniqueid is known."""
        return uniqueid in self._channels

    # -- asking ------------------------------------------------------------

    def clients(self) -> set[str]:
        """Return the keys of the clients who are in a call now."""
        return set(self._in_calls.reasons)

    def is_in_call(self, key: str) -> bool:
        """Return whether a client is in a call now."""
        return key in self._in_calls.reasons

    def clients_with(self, uniqueid: str) -> set[str]:
        """Return the keys of the clients in the call of a channel."""
        channel = self._channels.get(uniqueid)
        if channel is None:
            return set()
        return set(self._clients_of(self._calls[channel.linkedid]))

    def _clients_of(self, call: _Call) -> Iterator[str]:
        """Yield the clients who were dialled, and those who called and are there."""
        yield from call.dialled
        for uniqueid in call.channels:
            yield from self._channels[uniqueid].rang

    def client_of(self, uniqueid: str) -> str:
        """Return the key of the client who calls on a channel, or an empty text."""
        channel = self._channels.get(uniqueid)
        if channel is None or self._is_own(uniqueid):
            return ""
        return self._caller_of(channel).key

    def is_withheld(self, uniqueid: str) -> bool:
        """Return whether a caller is known to have withheld the number."""
        channel = self._channels.get(uniqueid)
        return channel is not None and channel.withheld

    def talk_s(self, uniqueid: str, now: float) -> float:
        """Return how long a channel has talked to a person, in seconds; 0 if gone."""
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
        age_s: float = 0.0,
        whole: bool = True,
    ) -> set[str]:
        """Note a new channel; return the keys of clients who are calling in with it.

        Args:
            uniqueid: the uniqueid of the channel; ignored if empty.
            linkedid: the linkedid of its call.
            name: the name of the channel, such as ``PJSIP/trunk-00000001``.
            place: where it begins; the exten is the called number.
            number: the number of the caller ID.
            caller: the name of the caller ID.
            language: the language of the channel.
            at: the time.
            age_s: how long the channel has existed, in seconds.
            whole: whether the channel has only just begun.
        """
        if not uniqueid or uniqueid in self._channels:
            return set()
        if len(self._channels) >= _MAX_CHANNELS:
            self._forget(self._channels[next(iter(self._channels))])
        channel = _Channel(
            uniqueid=uniqueid,
            name=name,
            linkedid=linkedid,
            born_at=at,
            created_at=at - age_s,
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
        # A Local channel may only show a client's number to an agent. It is treated as
        # a caller when it joins a queue.
        if channel.is_first and not channel.is_local:
            return self._note_caller_id(channel, number)
        return set()

    def joined_queue(
        self, uniqueid: str, queue: str, *, number: str, caller: str, at: float
    ) -> set[str]:
        """Note that a channel joined a queue; return the keys of clients calling in.

        They include the client of a callback who is transferred to a queue on a channel
        of their own, but never the channels of an attempt: the client of an attempt is
        known to be busy while it is in progress.
        """
        channel = self._channels.get(uniqueid)
        if channel is None or self._is_own(uniqueid):
            return set()
        owner = self._caller_of(channel)
        owner.caller = caller or owner.caller
        if len(owner.visits) < _MAX_VISITS:
            owner.visits.append(_Visit(queue, uniqueid, at))
        return self._note_caller_id(owner, number)

    def left_queue(self, uniqueid: str, queue: str, place: Place, at: float) -> None:
        """Note that a channel left a queue, for any reason."""
        channel = self._channels.get(uniqueid)
        if channel is None:
            return
        for visit in reversed(self._caller_of(channel).visits):
            if visit.uniqueid == uniqueid and visit.queue == queue:
                visit.left_at, visit.left_from = at, place
                return

    def requested(self, uniqueid: str, kept: bool) -> None:
        """Note that the channel's caller made a request, or that it was taken back."""
        channel = self._channels.get(uniqueid)
        if channel is not None:
            self._caller_of(channel).requested = kept

    def number_withheld(self, uniqueid: str) -> None:
        """Note that the channel's caller withheld the number."""
        channel = self._channels.get(uniqueid)
        if channel is not None:
            self._caller_of(channel).withheld = True

    def dialled(
        self, uniqueid: str, linkedid: str, dialstring: str, numbers: Iterable[str] = ()
    ) -> set[str]:
        """Note a dialled number; return the keys of clients who are being called.

        Args:
            uniqueid: the uniqueid of the calling channel; empty if there is none.
            linkedid: the linkedid of its call.
            dialstring: the dial string.
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
        return self._note_dialled(
            call,
            {
                key: number
                for key, number in numbers.items()
                if not self._is_dialled_elsewhere(key)
            },
        )

    def entered_bridge(
        self, uniqueid: str, bridge: str, *, name: str, linkedid: str, at: float
    ) -> list[Meeting]:
        """Note that a channel entered a bridge; return who can now hear whom.

        Do not call it for bridges in which nobody hears another, such as the holding
        bridges of parked calls.
        """
        channel = self._channels.get(uniqueid)
        if channel is None:
            return []
        channel.name = channel.name if channel.is_local else name
        self._move_to_call(channel, linkedid)
        self._leave_bridge(channel)
        channel.bridge = bridge
        self._bridges.setdefault(bridge, set()).add(uniqueid)
        return self._update_talks({uniqueid}, at)

    def left_bridge(self, uniqueid: str, bridge: str, at: float) -> None:
        """Note that a channel left a bridge."""
        channel = self._channels.get(uniqueid)
        if channel is not None and channel.bridge == bridge:
            others = self._leave_bridge(channel)
            self._update_talks({uniqueid, *others}, at)

    def hung_up(
        self, uniqueid: str, place: Place, rules: CountingRules, at: float
    ) -> Ended | None:
        """Note a hangup; if it was the caller's channel, return the ended call."""
        channel = self._channels.get(uniqueid)
        if channel is None:
            return None
        ended = None
        if channel.is_first or channel.visits:
            ended = count(_facts(channel, place, at), rules)
        others = self._forget(channel)
        self._update_talks(others, at)
        return ended

    def rekey(self) -> None:
        """Update all client keys after a change of the number plan."""
        self._in_calls = _Clients()
        for channel in self._channels.values():
            if channel.key:
                channel.key = self._client_key(channel.number)
            channel.rang = self._by_key(channel.rang.values())
            self._in_calls.add(channel.rang)
        for call in self._calls.values():
            call.dialled = self._by_key(call.dialled.values())
            self._in_calls.add(call.dialled)

    # -- after a gap -------------------------------------------------------

    def interrupted(self) -> None:
        """Note the beginning of a gap in the events."""
        for channel in self._channels.values():
            channel.whole = False

    def keep(self, alive: Collection[str]) -> None:
        """Forget channels from before the gap that are not in ``alive``."""
        for channel in list(self._channels.values()):
            if not channel.whole and channel.uniqueid not in alive:
                self._forget(channel)

    def unlisted(self, listed: Collection[str]) -> list[str]:
        """Return the channels from before the gap that are not in ``listed``."""
        return [
            channel.uniqueid
            for channel in self._channels.values()
            if not channel.whole and channel.uniqueid not in listed
        ]

    def missing_from(self, alive: Collection[str]) -> set[str]:
        """Return the channels that are missing in two lists of all channels in a row.

        Missing in one list proves nothing: a channel may begin while the list is in
        transit.
        """
        absent = self._channels.keys() - set(alive)
        twice, self._absent = absent & self._absent, absent
        return twice

    def gone(self, uniqueid: str, at: float) -> None:
        """Forget a channel whose end was not seen."""
        channel = self._channels.get(uniqueid)
        if channel is not None:
            self._update_talks(self._forget(channel), at)

    def bridges_are(
        self, bridges: Iterable[tuple[str, str]], at: float
    ) -> list[Meeting]:
        """Replace all bridges by a list from Asterisk; return who can hear whom."""
        for known in self._channels.values():
            if not known.whole:
                self._leave_bridge(known)
        for uniqueid, bridge in bridges:
            if (channel := self._channels.get(uniqueid)) and bridge:
                self._leave_bridge(channel)
                channel.bridge = bridge
                self._bridges.setdefault(bridge, set()).add(uniqueid)
        return self._update_talks(set(self._channels), at, seen=False)

    def meetings(self) -> list[Meeting]:
        """Return who can hear whom now, and since when."""
        meetings: list[Meeting] = []
        for channel in self._channels.values():
            people = self._persons(self._connected(channel.uniqueid))
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

    def _note_caller_id(self, channel: _Channel, number: str) -> set[str]:
        key = self._client_key(number)
        channel.number = number or channel.number
        if not key or key == channel.key:
            return set()
        channel.key = key
        if key not in channel.rang:
            self._in_calls.add((key,))
        channel.rang[key] = channel.number
        return {key}

    def _note_dialled(self, call: _Call, numbers: Mapping[str, str]) -> set[str]:
        """Note dialled numbers, up to the maximum; return the new keys."""
        fresh = [key for key in sorted(numbers) if key not in call.dialled]
        fresh = fresh[: _MAX_DIALLED - len(call.dialled)]
        for key in fresh:
            call.dialled[key] = numbers[key]
        self._in_calls.add(fresh)
        return set(fresh)

    def _caller_of(self, channel: _Channel) -> _Channel:
        """Return the caller's channel; for half of a Local channel, the first one."""
        first = self._channels.get(channel.linkedid)
        if channel.is_local and first is not None and first.is_first:
            return first
        return channel

    def _move_to_call(self, channel: _Channel, linkedid: str) -> None:
        """Move a channel to another call, for example after a transfer."""
        if not linkedid or linkedid == channel.linkedid:
            return
        old = self._calls[channel.linkedid]
        new = self._calls.setdefault(linkedid, _Call(linkedid))
        self._note_dialled(new, old.dialled)
        self._leave_call(channel)
        channel.linkedid = linkedid
        new.channels.add(channel.uniqueid)

    def _leave_call(self, channel: _Channel) -> None:
        call = self._calls[channel.linkedid]
        call.channels.discard(channel.uniqueid)
        if not call.channels:
            self._in_calls.remove(call.dialled)
            del self._calls[channel.linkedid]

    def _leave_bridge(self, channel: _Channel) -> set[str]:
        """Remove a channel from its bridge; return the channels left in it."""
        members = self._bridges.get(channel.bridge)
        if members is None:
            return set()
        members.discard(channel.uniqueid)
        if not members:
            del self._bridges[channel.bridge]
        channel.bridge = ""
        return set(members)

    def _forget(self, channel: _Channel) -> set[str]:
        """Forget a channel; return the channels it was connected to."""
        others = self._leave_bridge(channel)
        halves = self._pairs.get(channel.pair)
        if halves is not None:
            halves.discard(channel.uniqueid)
            others |= halves
            if not halves:
                del self._pairs[channel.pair]
        if channel.is_local:
            # Asterisk may optimise the Local channel away while the talk continues.
            self._note_dialled(self._calls[channel.linkedid], channel.rang)
        self._in_calls.remove(channel.rang)
        self._leave_call(channel)
        del self._channels[channel.uniqueid]
        return others

    def _update_talks(
        self, uniqueids: Iterable[str], at: float, *, seen: bool = True
    ) -> list[Meeting]:
        """Update the talk times of channels and of all channels connected to them.

        Args:
            uniqueids: the channels.
            at: the time.
            seen: whether the change was seen to happen at that time.

        Returns:
            The meetings that have just begun.
        """
        meetings: list[Meeting] = []
        done: set[str] = set()
        for uniqueid in uniqueids:
            if uniqueid in done:
                continue
            group = self._connected(uniqueid)
            done |= {channel.uniqueid for channel in group}
            people = self._persons(group)
            for channel in group:
                other = next((one for one in people if one is not channel), None)
                if other is None:
                    channel.talked_s = _talk_s(channel, at)
                    channel.together_since = None
                elif channel.together_since is None:
                    channel.together_since = at
                    if channel.met_at is None:
                        channel.who, channel.met_at = other.interface, at
                    began_at = at if seen else _earliest_meeting(channel, people)
                    for meeting in self._meetings(channel, other, len(people), at):
                        known = channel.first_met_at
                        first_at = known.setdefault(meeting.key, began_at)
                        meetings.append(evolve(meeting, first_at=first_at))
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
                first_at=channel.first_met_at.get(channel.key, at),
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
                    first_at=channel.first_met_at.get(key, at),
                    uniqueid=channel.uniqueid,
                )

    def _persons(self, channels: Iterable[_Channel]) -> list[_Channel]:
        return [channel for channel in channels if self._is_person(channel.name)]

    def _connected(self, uniqueid: str) -> list[_Channel]:
        """Return a channel and all connected ones, also through Local channels."""
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


def _earliest_meeting(channel: _Channel, people: Iterable[_Channel]) -> float:
    """Return when a channel can have met one of these people at the earliest."""
    others = (one.created_at for one in people if one is not channel)
    return max(channel.created_at, min(others))


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
