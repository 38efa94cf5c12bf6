# SPDX-License-Identifier: MIT
"""Offers a callback to callers who wait, by the rules in the settings.

``Queue()`` cannot be interrupted from the dialplan, so the service presses a key on
behalf of the caller (``PlayDTMF``): the caller leaves the queue as by a key of the
caller's own, and is asked by the context ``callback-offer``. If an agent answers at the
same moment, the key is harmless: the agent hears a tone. A ``Redirect`` at that moment
would end their talk.

An offer is stored before it is spoken, so that no number is asked twice within the
pause, and nobody is asked while a request could not be stored either.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import callable_number, shown_number
from fastagi.domain.offers import (
    Offer,
    OfferOutcome,
    Trigger,
    Waiting,
    may_be_asked,
    next_look_in_s,
    trigger_of,
)
from fastagi.domain.task import Kind
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import GatedWorker, Worker
from fastagi.service.opening_state import OpeningState
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 2.0
#: Interval of checks while an expected wait may change with time, in seconds.
_EXPECTED_WAIT_S: Final = 10.0
#: Asterisk loses a key while it plays a number. How long to wait for a caller to leave
#: the queue before the key is pressed again, in seconds, and how often that is done.
_LOST_AFTER_S: Final = 10.0
_MAX_LOST: Final = 3
#: Longest duration of the questions to a caller, including those after the key
#: (`callback-choose`), in seconds; after that the call has gone elsewhere.
_LONGEST_S: Final = 320.0
#: How long an offer is looked for that another service made; its machine's clock may
#: differ.
_LOOKED_FOR: Final = timedelta(days=1)
#: Maximum number of numbers and calls that are remembered.
_MAX_REMEMBERED: Final = 10_000


@frozen(kw_only=True)
class _Pressed:
    """A caller on whose behalf the key was pressed."""

    uniqueid: str
    queue: str
    key: str
    trigger: Trigger
    position: int
    expected_wait_s: float | None
    at: float


class Offers:
    """Decides who is offered a callback, and follows each offer to its end."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        store: TaskStore,
        queue_monitor: QueueMonitor,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        opening_state: OpeningState,
        is_withheld: Callable[[str], bool],
        expected_wait_s: Callable[[str, int], float | None],
        dialplan_has_offers: Callable[[], bool],
        may_call: Callable[[], bool],
        after_read: Callable[[Callable[[], object]], None],
    ) -> None:
        self._manager = manager
        self._store = store
        self._queue_monitor = queue_monitor
        self._clock = clock
        self._background = background
        self._settings = settings
        self._opening_state = opening_state
        #: Whether a caller is known to have withheld the number.
        self._is_withheld = is_withheld
        self._expected_wait_s = expected_wait_s
        self._dialplan_has_offers = dialplan_has_offers
        self._may_call = may_call
        #: By uniqueid.
        self._pressed: dict[str, _Pressed] = {}
        self._lost: dict[str, int] = {}
        #: The callers whose offer is being stored.
        self._beginning: set[str] = set()
        #: The offers whose end is not known yet, by uniqueid.
        self._open: dict[str, Offer] = {}
        #: When a number was last asked, by client key; epoch seconds. None: not read
        #: from the database yet.
        self._offered_at: dict[str, float] | None = None
        #: Client keys by queue and caller ID, by the settings in force.
        self._keys: dict[tuple[str, str], str] = {}
        self._keys_of: Settings | None = None
        self._worker = GatedWorker(
            Worker(
                self._look,
                what="offering callbacks",
                background=background,
                clock=clock,
                trouble="no callback can be offered",
                passing=StoreUnavailable,
                retry_s=_STORE_RETRY_S,
            ),
            is_ready=self._may_offer,
            after_read=after_read,
        )

    # -- when to look ------------------------------------------------------

    def enable(self) -> None:
        """Start offering callbacks."""
        self._worker.enable()

    def disable(self) -> None:
        """Offer no more callbacks; offers in progress continue."""
        self._worker.disable()

    def stop(self) -> None:
        """Offer no more callbacks until the process ends."""
        self._worker.stop()

    def wake(self) -> None:
        """Check whether to ask somebody, as something has changed."""
        self._worker.wake()

    def _may_offer(self) -> bool:
        """Whether any queue has offers, and it is known who waits."""
        return self._queue_monitor.ready and self._settings().has_offers

    async def _look(self) -> float | None:
        """Make all offers that are due; return in how many seconds to check again."""
        if not self._can_ask:
            return None
        if self._offered_at is None:
            await self._remember_latest()
            return 0.0
        self._look_for_lost_keys(self._clock.epoch_s())
        wanted, moments = self._wanted()
        if wanted and not self._may_call():
            return _STORE_RETRY_S
        for one in wanted:
            self._press(one)
        now = self._clock.epoch_s()
        moments += [one.at + _LOST_AFTER_S - now for one in self._pressed.values()]
        moments += [_LONGEST_S] * bool(self._open)
        return min(moments, default=None)

    @property
    def _can_ask(self) -> bool:
        return self._worker.ready and self._dialplan_has_offers()

    async def _remember_latest(self) -> None:
        """Read from the database who was asked before this process started."""
        longest = max(q.offers.pause for q in self._settings().queues.values())
        latest = await self._store.latest_offers(self._clock.now() - longest)
        key = self._settings().plan.key
        self._offered_at = {key(n): at.timestamp() for n, at in latest.items()}

    # -- deciding ----------------------------------------------------------

    def _wanted(self) -> tuple[list[_Pressed], list[float]]:
        """Return whom to ask, and in how many seconds to check again."""
        now = self._clock.epoch_s()
        wanted: list[_Pressed] = []
        moments: list[float] = []
        for queue in self._settings().queues.values():
            if queue.offers.enabled:
                self._look_at(queue, now, wanted, moments)
        return wanted, moments

    def _look_at(
        self,
        queue: QueueSettings,
        now: float,
        wanted: list[_Pressed],
        moments: list[float],
    ) -> None:
        queues, rules = self._queue_monitor.queues, queue.offers.rules
        line = queues.line(queue.name)
        if not line or not self._can_call_back(queue):
            return
        opening = self._opening_state.state_at(queue.name, now)
        if opening.until is not None:
            moments.append(max(0.0, opening.until.timestamp() - now))
        agents = queues.logged_in(queue.name)
        soon = queues.free(queue.name, queue.wrapuptime_s, now + rules.unless_within_s)
        for position, caller in line:
            uniqueid = caller.uniqueid
            key = self._key(queue, caller.number)
            if (
                not key
                or uniqueid in self._pressed
                or self._lost.get(uniqueid, 0) >= _MAX_LOST
                or self._is_withheld(uniqueid)
            ):
                continue
            in_vain = queues.rang_in_vain_for(uniqueid)
            facts = Waiting(
                # If the clock was set back, the time so far is unknown.
                waited_s=max(0.0, now - caller.waits_since),
                position=position,
                agents=agents,
                agents_soon=len(soon - in_vain),
                is_ringing=queues.is_ringing_for(uniqueid),
                is_open=opening.is_open,
                joined_open=opening.is_open or _was_open(queue, caller.waits_since),
                since_offer_s=self._since_offer_s(key, now),
            )
            # An estimate takes a while, so it is not made for everybody. It expects
            # agents to answer.
            if may_be_asked(rules, facts) and not in_vain:
                wait_s = self._expected_wait_s(queue.name, position)
                facts = evolve(facts, expected_wait_s=wait_s)
            trigger = trigger_of(rules, facts)
            if trigger is not None:
                # One number is asked once, also if it has called twice.
                if all(key != one.key for one in (*self._pressed.values(), *wanted)):
                    wanted.append(
                        _Pressed(
                            uniqueid=uniqueid,
                            queue=queue.name,
                            key=key,
                            trigger=trigger,
                            position=position,
                            expected_wait_s=facts.expected_wait_s,
                            at=now,
                        )
                    )
                continue
            at = next_look_in_s(rules, facts)
            if at is not None:
                moments.append(at)
            if facts.expected_wait_s is not None:
                moments.append(_EXPECTED_WAIT_S)

    def _since_offer_s(self, key: str, now: float) -> float | None:
        offered_at = (self._offered_at or {}).get(key)
        return None if offered_at is None else max(0.0, now - offered_at)

    def _can_call_back(self, queue: QueueSettings) -> bool:
        """Whether a request that is made now would not expire before it opens.

        If it would, callers may still be able to choose a time.
        """
        at = self._clock.now()
        expires_at = queue.expiry_rules.expires_at(Kind.REQUESTED, at)
        if queue.hours.opens_between(at, expires_at):
            return True
        return queue.choices.times and any(True for _ in queue.slot_rules.slots(at))

    def _key(self, queue: QueueSettings, number: str) -> str:
        """Return the client key of a caller ID; empty if it can not be called back."""
        settings = self._settings()
        if settings is not self._keys_of:
            self._keys_of = settings
            self._keys.clear()
        elif len(self._keys) > _MAX_REMEMBERED:
            self._keys.clear()
        known = self._keys.get((queue.name, number))
        if known is None:
            try:
                plain = callable_number(number, settings.number_rules(queue))
                known = settings.plan.key(plain)
            except NotCallable:
                known = ""
            self._keys[queue.name, number] = known
        return known

    # -- asking ------------------------------------------------------------

    def _press(self, pressed: _Pressed) -> None:
        self._pressed[pressed.uniqueid] = pressed
        self._queue_monitor.queues.to_be_asked(pressed.uniqueid)
        self._background.start(
            "offering a callback", self._send(pressed.uniqueid, pressed.queue)
        )

    async def _send(self, uniqueid: str, queue: str) -> None:
        action = actions.press_key(uniqueid, dialplan.OFFER_KEY)
        try:
            await self._manager.send(action)
        except (NotConnected, ActionTimedOut):
            # It may have been pressed: then the caller leaves, or the key counts as
            # lost.
            return
        except ActionFailed as error:
            if await self._queue_monitor.is_gone(uniqueid):
                self.channel_gone(uniqueid)
                return
            self._forget(uniqueid)
            self._lost[uniqueid] = _MAX_LOST
            self._log.warn(
                "a callback can not be offered to a caller in queue {queue}: Asterisk"
                " refuses PlayDTMF: {error}; load app_senddtmf.so, and give the manager"
                " user the class 'call' in its line 'write'",
                queue=queue,
                error=error,
                uniqueid=uniqueid,
            )

    def _look_for_lost_keys(self, now: float) -> None:
        """Forget keys that Asterisk has lost; they are pressed again."""
        for uniqueid, offer in list(self._open.items()):
            if now - offer.at.timestamp() > _LONGEST_S:
                self._queue_monitor.queues.not_asked(uniqueid)
                self.ended(uniqueid, OfferOutcome.ASKED)
        for uniqueid, pressed in list(self._pressed.items()):
            if now - pressed.at < _LOST_AFTER_S:
                continue
            self._forget(uniqueid)
            self._lost[uniqueid] = lost = self._lost.get(uniqueid, 0) + 1
            if lost == _MAX_LOST:
                self._log.warn(
                    "a caller in queue {queue} can not be asked: the queue takes no"
                    " key {key}; set 'context = {context}' for it in queues.conf, or"
                    " include that context in its own",
                    queue=pressed.queue,
                    key=dialplan.OFFER_KEY,
                    context=dialplan.REQUEST_CONTEXT,
                    uniqueid=uniqueid,
                )
        while len(self._lost) > _MAX_REMEMBERED:
            del self._lost[next(iter(self._lost))]

    def _forget(self, uniqueid: str) -> _Pressed | None:
        pressed = self._pressed.pop(uniqueid, None)
        if pressed is not None:
            self._queue_monitor.queues.not_asked(uniqueid)
        return pressed

    async def begin(
        self, uniqueid: str, number: str, linkedid: str, limit_s: float
    ) -> Offer | None:
        """Store the offer to a caller who has left the queue for it.

        Args:
            uniqueid: the caller's channel.
            number: the caller ID; empty if it is withheld.
            linkedid: of the call.
            limit_s: how long the caller waits for the COMMIT, in seconds.

        Returns:
            the offer; None: the caller is not asked, and goes back into the queue.
        """
        pressed = self._pressed.pop(uniqueid, None)
        if pressed is None:
            # Stored already if the dialplan asks again, because the answer was lost.
            return self._open.get(uniqueid)
        now = self._clock.now()
        self._remember(pressed.key, now.timestamp())
        queue = self._settings().queues.get(pressed.queue)
        if queue is None or self._key(queue, number) != pressed.key:
            return None
        offer = Offer(
            at=now,
            queue=pressed.queue,
            number=shown_number(number),
            position=pressed.position,
            expected_wait_s=pressed.expected_wait_s,
            trigger=pressed.trigger,
            linkedid=linkedid,
        )
        adding = Deferred.fromCoroutine(
            self._store.add_offer(
                offer,
                pressed.key,
                queue.expiry_rules.expires_at(Kind.REQUESTED, now),
                self._settings().limits.calls_per_number,
                max(0.0, limit_s),
            )
        )
        self._beginning.add(uniqueid)
        try:
            key = await adding.addTimeout(max(0.0, limit_s), self._clock.timers)
        except (StoreUnavailable, TimeoutError) as error:
            self._log.error(
                "no callback is offered to a caller in queue {queue}: the offer could"
                " not be stored: {error}",
                queue=pressed.queue,
                error=error,
                uniqueid=uniqueid,
            )
            self._beginning.discard(uniqueid)
            return None
        is_gone = uniqueid not in self._beginning
        self._beginning.discard(uniqueid)
        if key is None:
            # The number is blocked, or was called too often.
            return None
        offer = evolve(offer, id=key)
        self._open[uniqueid] = offer
        while len(self._open) > _MAX_REMEMBERED:
            del self._open[next(iter(self._open))]
        self._log.info(
            "a callback is offered to {number} in queue {queue}: {trigger}",
            number=offer.number,
            queue=offer.queue,
            trigger=offer.trigger.value,
            position=offer.position,
            expected_wait_s=offer.expected_wait_s,
            uniqueid=uniqueid,
            linkedid=linkedid,
        )
        if is_gone:
            self.ended(uniqueid, OfferOutcome.HUNG_UP)
            return None
        return offer

    def asked_after_key(self, queue: str, number: str) -> None:
        """Count the questions after the key as an offer to the number.

        A caller who goes back to the queue has just decided to wait.
        """
        settings = self._settings().queues.get(queue)
        if settings is None or not settings.offers.enabled or self._offered_at is None:
            return
        if key := self._key(settings, number):
            self._remember(key, self._clock.epoch_s())

    def _remember(self, key: str, at: float) -> None:
        offered_at = self._offered_at = self._offered_at or {}
        offered_at.pop(key, None)
        offered_at[key] = at
        while len(offered_at) > _MAX_REMEMBERED:
            del offered_at[next(iter(offered_at))]

    # -- how it ends -------------------------------------------------------

    def key_pressed(self, uniqueid: str) -> None:
        """A caller asks for a callback, perhaps after an offer; it is not stored yet.

        The caller leaves, or is put back in line by the request.
        """
        if uniqueid in self._open:
            self._queue_monitor.queues.not_asked(uniqueid)

    def request_changed(self, uniqueid: str, stays: bool) -> None:
        """A request of a caller was stored, or is taken back."""
        if not stays:
            self.ended(uniqueid, OfferOutcome.REFUSED)

    def ended(self, uniqueid: str, outcome: OfferOutcome, linkedid: str = "") -> None:
        """Store the outcome of the caller's offer, if there is one.

        Args:
            uniqueid: the caller's channel.
            outcome: what the caller did.
            linkedid: of a call in which another service, or a former process, may have
                made the offer; empty: only this process may have.
        """
        offer = self._open.pop(uniqueid, None)
        if offer is None:
            if linkedid and self._settings().has_offers:
                self._background.start(
                    "storing the end of an offer that another service made",
                    self._store_end_of_call(linkedid, outcome, self._clock.now()),
                )
            return
        self._log.info(
            "the callback offered to {number} in queue {queue}: {outcome}",
            number=offer.number,
            queue=offer.queue,
            outcome=outcome.value,
            uniqueid=uniqueid,
            linkedid=offer.linkedid,
        )
        if outcome is not OfferOutcome.ASKED:
            self._background.start(
                "storing the end of an offer",
                self._store_end(offer, outcome, self._clock.now()),
            )

    async def _store_end(
        self, offer: Offer, outcome: OfferOutcome, at: datetime
    ) -> None:
        await until_stored(
            lambda: self._store.end_offer(offer.id, outcome, at),
            "the end of an offer is not stored yet",
            self._background,
            too_late=lambda: self._clock.now() - at > timedelta(hours=1),
            linkedid=offer.linkedid,
        )

    async def _store_end_of_call(
        self, linkedid: str, outcome: OfferOutcome, at: datetime
    ) -> None:
        has_ended = await until_stored(
            lambda: self._store.end_offer_of_call(
                linkedid, at - _LOOKED_FOR, outcome, at
            ),
            "the end of an offer that another service made is not stored yet",
            self._background,
            too_late=lambda: self._clock.now() - at > timedelta(hours=1),
            linkedid=linkedid,
        )
        if has_ended:
            self._log.info(
                "the callback that another service offered: {outcome}",
                outcome=outcome.value,
                linkedid=linkedid,
            )

    def caller_joined(self, _queue: str, uniqueid: str) -> None:
        """A caller is in a queue: an outcome not reported by now stays unknown."""
        if uniqueid not in self._pressed:
            self._queue_monitor.queues.not_asked(uniqueid)
        self.ended(uniqueid, OfferOutcome.ASKED)

    def channel_gone(self, uniqueid: str) -> None:
        """A caller has hung up, perhaps while being asked."""
        self._forget(uniqueid)
        self._lost.pop(uniqueid, None)
        self._beginning.discard(uniqueid)
        self.ended(uniqueid, OfferOutcome.HUNG_UP)


def _was_open(queue: QueueSettings, at: float) -> bool:
    return queue.hours.state_at(datetime.fromtimestamp(at, UTC)).is_open
