# SPDX-License-Identifier: MIT
"""Follows all calls: makes tasks of missed calls, ends tasks of served clients.

It passes the manager's events to :class:`LiveCalls` and carries out what follows. It
also knows which clients are in a call with an agent or in a queue, so that they are not
called meanwhile. What happened while the link was down is found by
:mod:`fastagi.node.catch_up`.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from attrs import define, evolve, field

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import (
    AgentConnect,
    BridgeEnter,
    BridgeLeave,
    CoreShowChannel,
    DialBegin,
    Handler,
    Hangup,
    Newchannel,
    QueueCallerJoin,
    QueueCallerLeave,
    on,
)
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.domain.contacts import Contact, PastContact
from fastagi.domain.counting import Ended, Outcome, Place
from fastagi.domain.live_calls import LiveCalls, Meeting
from fastagi.domain.numbers import plain_number_in
from fastagi.domain.people import is_person
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import CallbackTask
from fastagi.node.queue_monitor import OWN_CHANNEL
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.service.missed_calls import request_of
from fastagi.service.requests import Requests
from fastagi.service.served import ServedClients
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Pause before retrying when Asterisk or the store did not answer, in seconds.
_RETRY_S: Final = 5.0
#: Pause before measuring the talk again while a client is on hold, in seconds.
_ON_HOLD_S: Final = 0.5
#: Technology of bridges in which channels do not hear each other (parking lots).
_HOLDING: Final = "holding_bridge"
#: Applications that put a channel into such a bridge, as CoreShowChannels does not show
#: the technology.
_HOLDING_APPLICATIONS: Final = frozenset({"Park", "ParkAndAnnounce", "BridgeWait"})
#: Maximum number of remembered ended calls and contacts, which the histories are
#: compared with.
_MAX_JUDGED: Final = 10_000
_MAX_CONTACTS: Final = 1000


#: The end of a uniqueid: the second in which the channel was created, and a number.
_CREATION_SECOND: Final = re.compile(r"(?:^|-)([0-9]{9,11})\.[0-9]+$", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2})", re.ASCII)
#: Number of channels from which the difference of the clocks is estimated.
_CLOCK_CHANNELS: Final = 20
#: Largest delay of an event, in seconds; a larger one means that a clock was set.
_MAX_LATE_S: Final = 120.0

Known = TypeVar("Known", Meeting, PastContact)


class CreationTimes:
    """Times at which channels were created, also if their events are read late.

    Asterisk's clock may differ from this machine's by a constant. So an event is late
    by how much its delay exceeds the smallest delay of recent channels.
    """

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=_CLOCK_CHANNELS)

    def created_at(self, uniqueid: str, read_at: float) -> float:
        """Return the latest time at which a channel can have been created.

        Args:
            uniqueid: the channel's.
            read_at: when its event was read, in epoch seconds of this machine's clock.
        """
        match = _CREATION_SECOND.search(uniqueid)
        if match is None:
            return read_at
        lag_s = read_at - (int(match[1]) + 1)
        late_s = lag_s - min(self._lags, default=lag_s)
        if abs(late_s) > _MAX_LATE_S:
            self._lags.clear()
            late_s = 0.0
        self._lags.append(lag_s)
        return read_at - max(0.0, late_s)


@define
class Meanwhile:
    """The events received while a list of channels was in transit."""

    gone: set[str] = field(factory=set)
    #: The bridge that each channel entered last; empty if the channel left it.
    bridges: dict[str, str] = field(factory=dict)


class CallTracker:
    """The live detection of missed calls and of clients served."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        store: TaskStore,
        requests: Requests,
        served: ServedClients,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        is_gone: Callable[[str], Awaitable[bool]],
        is_dialled_elsewhere: Callable[[str], bool] = lambda _key: False,
    ) -> None:
        self.calls = LiveCalls(
            client_key=lambda number: client_key(self._settings(), number),
            is_own=is_own,
            is_person=lambda channel: is_person(
                channel, self._settings().missed.technologies
            ),
            is_dialled_elsewhere=is_dialled_elsewhere,
        )
        self._manager = manager
        self._store = store
        self._requests = requests
        self._served = served
        self._clock = clock
        self._background = background
        self._settings = settings
        self._is_gone = is_gone
        #: Collects events while a list of channels is in transit.
        self._meanwhile: Meanwhile | None = None
        #: Calls made by hand that are followed: uniqueid and client key.
        self._followed: set[tuple[str, str]] = set()
        self._creation_times = CreationTimes()
        #: Talk time of such channels that were hung up, in seconds, by uniqueid.
        self._talked: dict[str, float] = {}
        #: Contacts between clients and persons, the oldest first.
        self.contacts: deque[PastContact] = deque(maxlen=_MAX_CONTACTS)
        #: Clients called by hand, by uniqueid and client key, until the hangup.
        self._called: dict[str, dict[str, Meeting]] = {}
        #: Ids of calls that were judged, the oldest first.
        self._judged: dict[str, None] = {}
        #: Times of events whose results are not stored yet.
        self._unstored: Counter[float] = Counter()
        #: Time of the last hangup, or of the last list of channels.
        self._heard_at = 0.0
        #: Called with a call that has ended, and whether its outcome is certain, for
        #: example because the call was seen from its beginning.
        self.call_ended: Listeners[[Ended, bool]] = Listeners("the end of a call")
        #: Called with the key of a client who is in a call now, and the reason not to
        #: call this client.
        self.client_is_busy: Listeners[[str, Reason]] = Listeners("a client's call")
        #: Called when clients may be called again, as their calls have ended.
        self.client_is_free: Listeners[[]] = Listeners("the end of a client's call")

    def handlers(self) -> Iterator[Handler]:
        """Yield the handler of each event that this tracker needs."""
        yield on(Newchannel, self._new_channel)
        yield on(QueueCallerJoin, self._caller_joined)
        yield on(QueueCallerLeave, self._caller_left)
        yield on(AgentConnect, self._agent_connect)
        yield on(DialBegin, self._dial_begin)
        yield on(BridgeEnter, self._bridge_enter)
        yield on(BridgeLeave, self._bridge_leave)
        yield on(Hangup, self._hangup)

    def disconnected(self) -> None:
        """Remember that events are missed from now on."""
        self.calls.interrupted()

    @property
    def heard_until(self) -> float:
        """The time before which the results of all calls are stored."""
        return min([self._heard_at, *self._unstored])

    def knows(self, ids: Iterable[str]) -> bool:
        """Whether a call with one of these ids is in progress, or was judged here."""
        return any(one in self.calls or one in self._judged for one in ids)

    def end_tasks_of_talking_clients(self, asked_at: Mapping[str, datetime]) -> None:
        """End tasks of clients who talk with a person now and asked before that.

        Args:
            asked_at: times of requests by the linkedids of their calls, if a request
                was made earlier than it was stored.
        """
        for meeting in self.calls.meetings():
            if meeting.contact is Contact.RANG:
                self._background.start(
                    "ending a task of a client served",
                    self._serve(_past(meeting), meeting.first_at, asked_at),
                )

    def busy(self) -> set[str]:
        """Return the keys of clients who must not be called now.

        They are in a call, or were served and that is not stored yet.
        """
        return self.calls.clients() | set(self._served.unstored())

    def _is_busy(self, key: str) -> bool:
        return self.calls.is_in_call(key) or key in self._served.unstored()

    def rekey(self) -> None:
        """Renew the client keys by the number plan in force."""
        self.calls.rekey()
        self.contacts = deque(
            map(self._with_current_key, self.contacts), maxlen=_MAX_CONTACTS
        )
        self._called = {
            uniqueid: {
                one.key: one for one in map(self._with_current_key, meetings.values())
            }
            for uniqueid, meetings in self._called.items()
        }

    def _with_current_key(self, known: Known) -> Known:
        # The new key can be made from the old one.
        return evolve(known, key=self._settings().plan.key(known.key))

    def withdraw_calls_to_busy_clients(self) -> None:
        """End attempts to reach clients who are in a call now."""
        self._clients_busy(self.calls.clients())

    # -- lists of channels -------------------------------------------------

    @contextmanager
    def noting(self) -> Iterator[Meanwhile]:
        """Collect events while a list of channels is in transit."""
        self._meanwhile = heard = Meanwhile()
        try:
            yield heard
        finally:
            if self._meanwhile is heard:
                self._meanwhile = None

    async def learn(self, channels: list[CoreShowChannel], heard: Meanwhile) -> None:
        """Update the calls in progress, after a connect.

        Args:
            channels: the list that was just received.
            heard: the events since the list was requested.
        """
        link = self._manager.link_number
        listed = {channel.uniqueid for channel in channels}
        # A doubtful entry of the list was dropped, so ask about missing channels.
        unread = {
            uniqueid
            for uniqueid in self.calls.unlisted(listed)
            if not await self._is_gone(uniqueid)
        }
        if self._manager.is_up(link):
            self._take_over(channels, heard, unread)

    def _take_over(
        self,
        channels: list[CoreShowChannel],
        heard: Meanwhile,
        unread: Collection[str],
    ) -> None:
        now = self._heard_at = self._clock.epoch_s()
        alive = {
            channel.uniqueid: channel
            for channel in channels
            if channel.uniqueid not in heard.gone
        }
        # Events received while the list was in transit are at least as new as the
        # list, so they win.
        bridges = {
            uniqueid: channel.bridge_id
            for uniqueid, channel in alive.items()
            if channel.application not in _HOLDING_APPLICATIONS
        } | heard.bridges
        kept = {*alive, *unread} - heard.gone
        self.calls.keep(kept)
        self._forget_calls_by_hand(kept)
        for uniqueid, channel in alive.items():
            self.calls.born(
                uniqueid,
                channel.linkedid,
                name=channel.channel,
                place=_place(channel),
                number=channel.caller_id_num,
                caller=channel.caller_id_name,
                language=channel.language,
                at=now,
                age_s=_seconds(channel.duration),
                whole=False,
            )
        for uniqueid, channel in alive.items():
            if uniqueid == channel.linkedid:
                # Nothing more is known of the call than what it dials or is connected
                # to.
                self.calls.dialled(
                    uniqueid,
                    uniqueid,
                    "",
                    (channel.exten, channel.connected_line_num),
                )
        self._take_meetings(self.calls.bridges_are(bridges.items(), now))

    def _forget_calls_by_hand(self, alive: Container[str]) -> None:
        """Forget calls made by hand whose end was not seen; a history may have it."""
        self._called = {
            uniqueid: called
            for uniqueid, called in self._called.items()
            if uniqueid in alive
        }
        for uniqueid, _ in self._followed:
            if uniqueid not in alive:
                self._talked.setdefault(uniqueid, 0.0)

    def channels_are(self, alive: Collection[str]) -> None:
        """Forget calls whose Hangup was dropped, as it was doubtful.

        Args:
            alive: the uniqueids of all channels.
        """
        for uniqueid in self.calls.missing_from(alive):
            self._background.start(
                "asking whether a channel is gone", self._forget_if_gone(uniqueid)
            )

    async def _forget_if_gone(self, uniqueid: str) -> None:
        # Its entry in the list may have been dropped, too, so ask.
        if not await self._is_gone(uniqueid):
            return
        clients = self.calls.clients_with(uniqueid)
        self.calls.gone(uniqueid, self._clock.epoch_s())
        self._forget_calls_by_hand(self.calls)
        self._report_free(clients)

    # -- events ------------------------------------------------------------

    def _new_channel(self, event: Newchannel) -> None:
        place = _place(event)
        keys = self.calls.born(
            event.uniqueid,
            event.linkedid,
            name=event.channel,
            place=place,
            number=event.caller_id_num,
            caller=event.caller_id_name,
            language=event.language,
            at=self._creation_times.created_at(event.uniqueid, self._clock.epoch_s()),
        )
        self._clients_busy(keys)
        if keys and self._settings().counting_rules.count_from(place):
            self._ask_presentation(event.uniqueid)

    def _caller_joined(self, event: QueueCallerJoin) -> None:
        self._clients_busy(
            self.calls.joined_queue(
                event.uniqueid,
                event.queue,
                number=event.caller_id_num,
                caller=event.caller_id_name,
                at=self._clock.epoch_s(),
            )
        )

        settings = self._settings().queues.get(event.queue)
        if (
            settings
            and settings.missed_calls
            and self.calls.clients_with(event.uniqueid)
        ):
            self._ask_presentation(event.uniqueid)

    def _caller_left(self, event: QueueCallerLeave) -> None:
        self.calls.left_queue(
            event.uniqueid, event.queue, _place(event), self._clock.epoch_s()
        )

    def _agent_connect(self, event: AgentConnect) -> None:
        key = self.calls.client_of(event.uniqueid)
        talked_within = [
            queue.preferred_agent.talked_within
            for queue in self._settings().queues.values()
            if queue.preferred_agent.enabled
        ]
        if key and talked_within:
            self._background.start(
                "storing who talks to a client",
                self._store_talk(key, event.interface, max(talked_within)),
            )

    async def _store_talk(self, key: str, member: str, kept_for: timedelta) -> None:
        now = self._clock.now()
        try:
            await self._store.note_talk(key, member, now, now - kept_for)
        except StoreUnavailable as error:
            # Then another agent is asked first, or none.
            self._log.warn("who talks to a client is not stored: {error}", error=error)

    def _dial_begin(self, event: DialBegin) -> None:
        for key in self.calls.dialled(
            event.uniqueid,
            event.linkedid,
            event.dial_string,
            (event.dest_caller_id_num,),
        ):
            self.client_is_busy.call(key, because(Code.CLIENT_CALLED_BY_HAND_MEANWHILE))

    def _bridge_enter(self, event: BridgeEnter) -> None:
        if event.bridge_technology == _HOLDING:
            return
        if self._meanwhile is not None:
            self._meanwhile.bridges[event.uniqueid] = event.bridge_uniqueid
        self._take_meetings(
            self.calls.entered_bridge(
                event.uniqueid,
                event.bridge_uniqueid,
                name=event.channel,
                linkedid=event.linkedid,
                at=self._clock.epoch_s(),
            )
        )

    def _bridge_leave(self, event: BridgeLeave) -> None:
        if self._meanwhile is not None:
            self._meanwhile.bridges[event.uniqueid] = ""
        self.calls.left_bridge(
            event.uniqueid, event.bridge_uniqueid, self._clock.epoch_s()
        )

    def _hangup(self, event: Hangup) -> None:
        uniqueid = event.uniqueid
        self._heard_at = self._clock.epoch_s()
        if self._meanwhile is not None:
            self._meanwhile.gone.add(uniqueid)
            self._meanwhile.bridges.pop(uniqueid, None)
        clients = self.calls.clients_with(uniqueid)
        talk_s = self.calls.talk_s(uniqueid, self._clock.epoch_s())
        if any(uniqueid == followed for followed, _ in self._followed):
            self._talked[uniqueid] = talk_s
        for meeting in self._called.pop(uniqueid, {}).values():
            self._remember(meeting, talk_s)
        ended = self.calls.hung_up(
            uniqueid,
            _place(event),
            self._settings().counting_rules,
            self._clock.epoch_s(),
        )
        if ended is not None:
            self._log.debug(
                "call of {number}: {outcome}: {how}",
                number=ended.number,
                outcome=ended.outcome.value,
                how=ended.why,
                linkedid=ended.uniqueid,
            )
            if ended.outcome is Outcome.MISSED:
                self._background.start(
                    "storing a missed call", self._store_missed(ended)
                )
            self._report_ended(ended)
        self._report_free(clients)

    def _report_free(self, clients: Iterable[str]) -> None:
        """Tell the listeners if one of these clients is in no call any more."""
        if not all(map(self.calls.is_in_call, clients)):
            self.client_is_free.call()

    async def _store_missed(self, ended: Ended) -> None:
        with self._not_stored_yet(ended.ended_at):
            request = request_of(ended, self._settings())
            await self._requests.ask_until_stored(request)

    @contextmanager
    def _not_stored_yet(self, at: float) -> Iterator[None]:
        self._unstored[at] += 1
        try:
            yield
        finally:
            # `-=` would look at all of them.
            self._unstored[at] -= 1
            if not self._unstored[at]:
                del self._unstored[at]

    def _report_ended(self, ended: Ended) -> None:
        seen = ended.whole or ended.outcome in {Outcome.ANSWERED, Outcome.REQUESTED}
        if seen:
            self._judged |= dict.fromkeys((ended.uniqueid, ended.queue_uniqueid))
            while len(self._judged) > _MAX_JUDGED:
                del self._judged[next(iter(self._judged))]
        self.call_ended.call(ended, seen)

    def _ask_presentation(self, uniqueid: str) -> None:
        """Ask whether the number is withheld, as events do not show that."""
        self._background.start(
            "asking whether a number is withheld", self._learn_presentation(uniqueid)
        )

    async def _learn_presentation(self, uniqueid: str) -> None:
        try:
            answer = await self._manager.send(
                actions.get_var("CALLERID(num-pres)", uniqueid)
            )
        except (NotConnected, ActionFailed, ActionTimedOut):
            # Usually the caller has hung up already.
            return
        if answer.get("Value").startswith("prohib"):
            self.calls.number_withheld(uniqueid)

    def _clients_busy(self, keys: set[str]) -> None:
        for key in keys:
            self.client_is_busy.call(key, because(Code.CLIENT_RANG_IN))

    # -- served clients ----------------------------------------------------

    def _take_meetings(self, meetings: list[Meeting]) -> None:
        for meeting in meetings:
            if meeting.contact is Contact.CALLED:
                self._called.setdefault(meeting.uniqueid, {})[meeting.key] = meeting
            if meeting.contact is Contact.RANG:
                self._remember(meeting, 0.0)
                self._background.start(
                    "ending a task of a client served",
                    self._serve(_past(meeting), meeting.first_at),
                )
            elif (meeting.uniqueid, meeting.key) not in self._followed:
                self._followed.add((meeting.uniqueid, meeting.key))
                self._background.start(
                    "following a call made by hand", self._follow(meeting)
                )

    def _remember(self, meeting: Meeting, talk_s: float) -> None:
        self.contacts.append(_past(meeting, talk_s))

    async def _follow(self, meeting: Meeting) -> None:
        """End the task of a client called by hand when the talk is long enough."""
        uniqueid = meeting.uniqueid
        try:
            while task := await self._open_task(self._with_current_key(meeting).key):
                settings = self._settings().queue(task.queue)
                now = self._clock.epoch_s()
                final = self._talked.get(uniqueid)
                talk_s = self.calls.talk_s(uniqueid, now) if final is None else final
                contact = _past(evolve(meeting, key=task.number_key), talk_s)
                missing_s = contact.missing_s(settings.success_duration_s)
                if not missing_s:
                    await self._serve(contact, meeting.first_at)
                    return
                if final is not None:
                    return
                if talk_s and not self.calls.talks(uniqueid):
                    missing_s = max(missing_s, _ON_HOLD_S)
                await self._background.pause(missing_s)
        finally:
            self._followed.discard((uniqueid, meeting.key))
            if not any(uniqueid == followed for followed, _ in self._followed):
                self._talked.pop(uniqueid, None)

    async def _open_task(self, key: str) -> CallbackTask | None:
        return await until_stored(
            partial(self._store.open_task, key),
            "whether a client who was called by hand has an open task is not known yet",
            self._background,
        )

    async def _serve(
        self,
        contact: PastContact,
        first_at: float,
        asked_at: Mapping[str, datetime] | None = None,
    ) -> None:
        """End the client's task, unless it was requested during the talk.

        Such a request is about the time after the talk.
        """
        served_at = datetime.fromtimestamp(first_at, UTC)
        with self._not_stored_yet(self._clock.epoch_s()):
            await self._served.serve(contact, served_at=served_at, asked_at=asked_at)
        if not self._is_busy(contact.key):
            # The call ended before this was stored: a task that did not end may be
            # called now.
            self.client_is_free.call()


def client_key(settings: Settings, number: str) -> str:
    """Return the client key of a number; empty if it can not be a client's number."""
    plain = plain_number_in(number)
    if plain is None or len(plain.removeprefix("+")) < settings.min_digits:
        return ""
    return settings.plan.key(plain)


def _past(meeting: Meeting, talk_s: float = 0.0) -> PastContact:
    return PastContact(
        contact=meeting.contact,
        key=meeting.key,
        who=meeting.who,
        at=meeting.at,
        talk_s=talk_s,
    )


def _seconds(duration: str) -> float:
    """Return the seconds of a duration such as 00:12:05; 0 if it is malformed."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        return 0.0
    hours, minutes, seconds = map(int, match.groups())
    return hours * 3600.0 + minutes * 60 + seconds


def is_own(uniqueid: str) -> bool:
    """Whether a uniqueid belongs to a callback of this service."""
    return OWN_CHANNEL.fullmatch(uniqueid) is not None


def _place(
    event: Newchannel | QueueCallerLeave | Hangup | CoreShowChannel,
) -> Place:
    return Place(context=event.context, exten=event.exten, priority=event.priority)
