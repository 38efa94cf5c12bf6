# SPDX-License-Identifier: MIT
"""Follows all calls: makes tasks of missed ones and ends tasks of clients served.

Hands what the manager tells to :class:`LiveCalls` and carries out what follows
from it. It also knows which clients are in a call with us, so that nobody rings them
meanwhile. What happened while nobody listened is not its business.
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
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from attrs import define, evolve, field

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import (
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
from fastagi.config.model import Settings
from fastagi.domain.contacts import Contact, PastContact
from fastagi.domain.counting import Ended, Outcome, Place
from fastagi.domain.live_calls import LiveCalls, Meeting
from fastagi.domain.numbers import NotCallable, plain_number
from fastagi.domain.people import is_person
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.task import OPEN, CallbackTask
from fastagi.node.queue_monitor import OWN_CHANNEL
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.service.missed_calls import request_of
from fastagi.service.requests import Requests
from fastagi.service.served import ServedClients
from fastagi.service.until_stored import until_stored
from fastagi.store.store import TaskStore

#: After Asterisk or the store failed to answer, in seconds.
_RETRY_S: Final = 5.0
#: While client and agent do not hear each other, such as on hold, in seconds.
_ON_HOLD_S: Final = 0.5
#: A bridge in which nobody hears another: parking lots, waiting rooms.
_HOLDING: Final = "holding_bridge"
#: Applications that put a channel in such a bridge; CoreShowChannels tells no more.
_HOLDING_APPLICATIONS: Final = frozenset({"Park", "ParkAndAnnounce", "BridgeWait"})
#: How many ended calls, and talks, are remembered for who reads of them later.
_MOST_JUDGED: Final = 10_000
_MOST_CONTACTS: Final = 1000


#: A uniqueid ends so: the second in which the channel came into being, and a number.
_BORN: Final = re.compile(r"(?:^|-)([0-9]{9,11})\.[0-9]+$", re.ASCII)
#: By so many channels it is known how far Asterisk's clock is from ours.
_CLOCK_CHANNELS: Final = 20
#: A channel is not told later than that: a clock was set.
_MOST_LATE_S: Final = 120.0

Known = TypeVar("Known", Meeting, PastContact)


class BirthTimes:
    """When channels came into being, also if a service that was stopped reads it late.

    Asterisk's clock may differ from ours by any constant: only what is later than with
    other channels is late.
    """

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=_CLOCK_CHANNELS)

    def born_at(self, uniqueid: str, read_at: float) -> float:
        """Return when a channel began, at the latest, by our clock."""
        match = _BORN.search(uniqueid)
        if match is None:
            return read_at
        lag_s = read_at - (int(match[1]) + 1)
        late_s = lag_s - min(self._lags, default=lag_s)
        if abs(late_s) > _MOST_LATE_S:
            self._lags.clear()
            late_s = 0.0
        self._lags.append(lag_s)
        return read_at - max(0.0, late_s)


@define
class Meanwhile:
    """What was heard while a list of channels was on its way."""

    gone: set[str] = field(factory=set)
    #: The bridge that a channel entered last; empty if it left it.
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
        tasks_changed: Callable[[], None],
    ) -> None:
        self.calls = LiveCalls(
            client_key=lambda number: client_key(self._settings(), number),
            is_own=is_own,
            is_person=lambda channel: is_person(
                channel, self._settings().missed.technologies
            ),
        )
        self._manager = manager
        self._store = store
        self._requests = requests
        self._served = served
        self._clock = clock
        self._background = background
        self._settings = settings
        self._is_gone = is_gone
        self._tasks_changed = tasks_changed
        #: What was heard while the list of channels was on its way.
        self._meanwhile: Meanwhile | None = None
        #: Calls made by hand that are followed: channel and key of the client.
        self._followed: set[tuple[str, str]] = set()
        self._birth_times = BirthTimes()
        #: How long the talk on such a channel was when it was hung up.
        self._talked: dict[str, float] = {}
        #: Clients and people of ours who have spoken to each other.
        self.contacts: deque[PastContact] = deque(maxlen=_MOST_CONTACTS)
        #: Clients called by hand, by channel, until it is hung up.
        self._called: dict[str, dict[str, Meeting]] = {}
        #: Ids of calls that were judged, the oldest first.
        self._judged: dict[str, None] = {}
        #: Moments of which the store does not know yet what happened.
        self._unstored: Counter[float] = Counter()
        self._heard_at = 0.0
        #: A call is over, and whether it was seen from its beginning, or what it was is
        #: known all the same.
        self.call_ended: Listeners[[Ended, bool]] = Listeners("the end of a call")
        #: Key of a client who is in a call now, and why not to call back, in words.
        self.client_is_busy: Listeners[[str, Reason]] = Listeners("a client's call")

    def handlers(self) -> Iterator[Handler]:
        """Yield what takes in each event that this part needs."""
        yield on(Newchannel, self._new_channel)
        yield on(QueueCallerJoin, self._caller_joined)
        yield on(QueueCallerLeave, self._caller_left)
        yield on(DialBegin, self._dial_begin)
        yield on(BridgeEnter, self._bridge_enter)
        yield on(BridgeLeave, self._bridge_leave)
        yield on(Hangup, self._hangup)

    def disconnected(self) -> None:
        """From now on things happen that nobody hears."""
        self.calls.interrupted()

    @property
    def heard_until(self) -> float:
        """The moment before which all that happened is known to the store."""
        return min([self._heard_at, *self._unstored])

    def knows(self, ids: Iterable[str]) -> bool:
        """Whether a call, by its ids, is under way or was judged here."""
        return any(one in self.calls or one in self._judged for one in ids)

    def meet_again(self, asked_at: Mapping[str, datetime]) -> None:
        """End tasks of clients who talk with us now and asked for them before that.

        Args:
            asked_at: when calls asked for a callback, by their linkedids, where that
                is not when it was stored.
        """
        for meeting in self.calls.meetings():
            if meeting.contact is Contact.RANG:
                met_at = datetime.fromtimestamp(meeting.at, UTC)
                self._background.start(
                    "ending a task of a client served",
                    self._serve(_past(meeting), met_at, asked_at),
                )

    def busy(self) -> set[str]:
        """Return the keys of the clients who are in a call with us, or were served
        and the store does not know it yet.
        """
        return self.calls.clients() | set(self._served.unstored())

    def rekey(self) -> None:
        """Recognise clients by what their numbers mean now."""
        self.calls.rekey()
        self.contacts = deque(map(self._as_now, self.contacts), maxlen=_MOST_CONTACTS)
        self._called = {
            uniqueid: {one.key: one for one in map(self._as_now, meetings.values())}
            for uniqueid, meetings in self._called.items()
        }

    def _as_now(self, known: Known) -> Known:
        # The key of a key is the key itself.
        return evolve(known, key=self._settings().plan.key(known.key))

    def spare(self) -> None:
        """End the attempts under way to reach a client who is in a call with us."""
        self._rang(self.calls.clients())

    # -- learning ----------------------------------------------------------

    @contextmanager
    def noting(self) -> Iterator[Meanwhile]:
        """Note what is heard from now on: the list that is asked for is older."""
        self._meanwhile = heard = Meanwhile()
        try:
            yield heard
        finally:
            if self._meanwhile is heard:
                self._meanwhile = None

    async def learn(self, channels: list[CoreShowChannel], heard: Meanwhile) -> None:
        """Learn which calls are under way, after a connect.

        Args:
            channels: the list that has just come.
            heard: what was and is heard since it was asked for.
        """
        link = self._manager.link_number
        listed = {channel.uniqueid for channel in channels}
        # An entry of the list may be too hard to understand.
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
        # An event is never older than the list that comes after it.
        bridges = {
            uniqueid: channel.bridge_id
            for uniqueid, channel in alive.items()
            if channel.application not in _HOLDING_APPLICATIONS
        } | heard.bridges
        kept = {*alive, *unread} - heard.gone
        self.calls.keep(kept)
        self._forget_called(kept)
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
                whole=False,
            )
        for uniqueid, channel in alive.items():
            if uniqueid == channel.linkedid:
                # What it dials, or is connected to, is all that is known of the call.
                self.calls.dialled(
                    uniqueid,
                    uniqueid,
                    "",
                    (channel.exten, channel.connected_line_num),
                )
        self._meet(self.calls.bridges_are(bridges.items(), now))

    def _forget_called(self, alive: Container[str]) -> None:
        """Forget calls made by hand whose end nobody saw: the history may know it."""
        self._called = {
            uniqueid: called
            for uniqueid, called in self._called.items()
            if uniqueid in alive
        }
        for uniqueid, _ in self._followed:
            if uniqueid not in alive:
                self._talked.setdefault(uniqueid, 0.0)

    def channels_are(self, alive: Collection[str]) -> None:
        """Forget calls whose end was told so that nobody could understand it.

        Args:
            alive: the uniqueids of all channels there are.
        """
        for uniqueid in self.calls.missing_from(alive):
            self._background.start(
                "asking whether a channel is gone", self._forget_if_gone(uniqueid)
            )

    async def _forget_if_gone(self, uniqueid: str) -> None:
        # Its entry in the list may be as hard to understand as its Hangup.
        if not await self._is_gone(uniqueid):
            return
        before = self.calls.clients()
        self.calls.gone(uniqueid, self._clock.epoch_s())
        self._forget_called(self.calls)
        if before - self.calls.clients():
            self._tasks_changed()

    # -- hearing -----------------------------------------------------------

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
            at=self._birth_times.born_at(event.uniqueid, self._clock.epoch_s()),
        )
        self._rang(keys)
        if keys and self._settings().counting_rules.count_from(place):
            self._ask_presentation(event.uniqueid)

    def _caller_joined(self, event: QueueCallerJoin) -> None:
        self._rang(
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
        self._meet(
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
        freed = self.calls.clients_with(uniqueid)
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
                how=ended.how,
                linkedid=ended.uniqueid,
            )
            if ended.outcome is Outcome.MISSED:
                self._background.start("keeping a missed call", self._keep(ended))
            self._tell_ended(ended)
        if freed - self.calls.clients():
            # Their tasks need not wait any longer.
            self._tasks_changed()

    async def _keep(self, ended: Ended) -> None:
        with self._not_stored_yet(ended.ended_at):
            request = request_of(ended, self._settings())
            await self._requests.ask_until_stored(request)

    @contextmanager
    def _not_stored_yet(self, at: float) -> Iterator[None]:
        self._unstored[at] += 1
        try:
            yield
        finally:
            self._unstored -= Counter([at])

    def _tell_ended(self, ended: Ended) -> None:
        seen = ended.whole or ended.outcome in {Outcome.ANSWERED, Outcome.REQUESTED}
        if seen:
            self._judged |= dict.fromkeys((ended.uniqueid, ended.queue_uniqueid))
            while len(self._judged) > _MOST_JUDGED:
                del self._judged[next(iter(self._judged))]
        self.call_ended.call(ended, seen)

    def _ask_presentation(self, uniqueid: str) -> None:
        """Events show a withheld number like any other: ask what it is."""
        self._background.start(
            "asking whether a number is withheld", self._learn_presentation(uniqueid)
        )

    async def _learn_presentation(self, uniqueid: str) -> None:
        try:
            answer = await self._manager.send(
                actions.get_var("CALLERID(num-pres)", uniqueid)
            )
        except (NotConnected, ActionFailed, ActionTimedOut):
            # Most often the caller is gone already.
            return
        if answer.get("Value").startswith("prohib"):
            self.calls.number_withheld(uniqueid)

    def _rang(self, keys: set[str]) -> None:
        for key in keys:
            self.client_is_busy.call(key, because(Code.CLIENT_RANG_IN))

    # -- a client served ---------------------------------------------------

    def _meet(self, meetings: list[Meeting]) -> None:
        for meeting in meetings:
            if meeting.contact is Contact.CALLED:
                self._called.setdefault(meeting.uniqueid, {})[meeting.key] = meeting
            if meeting.contact is Contact.RANG:
                self._remember(meeting, 0.0)
                self._background.start(
                    "ending a task of a client served",
                    self._serve(_past(meeting)),
                )
            elif (meeting.uniqueid, meeting.key) not in self._followed:
                self._followed.add((meeting.uniqueid, meeting.key))
                self._background.start(
                    "following a call made by hand", self._follow(meeting)
                )

    def _remember(self, meeting: Meeting, talk_s: float) -> None:
        self.contacts.append(_past(meeting, talk_s))

    async def _follow(self, meeting: Meeting) -> None:
        """Wait until a client called by hand has talked for long enough."""
        uniqueid = meeting.uniqueid
        try:
            while task := await self._open_task(self._as_now(meeting).key):
                settings = self._settings().queue(task.queue)
                now = self._clock.epoch_s()
                final = self._talked.get(uniqueid)
                talk_s = self.calls.talk_s(uniqueid, now) if final is None else final
                contact = _past(evolve(meeting, key=task.number_key), talk_s)
                missing_s = contact.missing_s(settings.success_duration_s)
                if not missing_s:
                    await self._serve(contact)
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
        found = await until_stored(
            partial(self._store.listing, sorted(OPEN), number_key=key, limit=1),
            "whether a client who was called by hand has an open task is not known yet",
            self._background,
        )
        return found[0] if found else None

    async def _serve(
        self,
        contact: PastContact,
        served_at: datetime | None = None,
        asked_at: Mapping[str, datetime] | None = None,
    ) -> None:
        with self._not_stored_yet(self._clock.epoch_s()):
            await self._served.serve(contact, served_at=served_at, asked_at=asked_at)


def client_key(settings: Settings, number: str) -> str:
    """Return the key of a client's number; empty if it can not be a client's."""
    queues = settings.queues.values()
    least = min((queue.numbers.min_digits for queue in queues), default=1)
    try:
        plain = plain_number(number)
    except NotCallable:
        return ""
    if len(plain.removeprefix("+")) < least:
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


def is_own(uniqueid: str) -> bool:
    """Whether an id is that of a callback."""
    return OWN_CHANNEL.fullmatch(uniqueid) is not None


def _place(
    event: Newchannel | QueueCallerLeave | Hangup | CoreShowChannel,
) -> Place:
    return Place(context=event.context, exten=event.exten, priority=event.priority)
