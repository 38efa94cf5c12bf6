# SPDX-License-Identifier: MIT
"""The FastAGI scripts that the dialplan calls.

All but ``choose`` only read the header block and set variables. The dialplan plays the
prompts, so a session lasts milliseconds, and a caller does not depend on this process
staying alive. ``choose`` speaks with the caller (`fastagi.node.choices`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from fastagi import dialplan
from fastagi.agi.session import AgiSession
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.dialplan import Variable
from fastagi.domain.names import folded
from fastagi.domain.numbers import is_withheld
from fastagi.domain.offers import Offer, OfferOutcome, Trigger
from fastagi.domain.reason import Code, Reason
from fastagi.domain.slots import Slot
from fastagi.domain.task import CallbackTask
from fastagi.domain.turns import Turn, parse_priority
from fastagi.node.call_tracker import client_key
from fastagi.node.choices import CallerChoices, tell
from fastagi.node.offers import Offers
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.runtime.clock import Clock
from fastagi.service.promises import Promises
from fastagi.service.requests import (
    KEY_PRESS,
    Accepted,
    Answer,
    CallbackRequest,
    Known,
    NotStored,
    Refused,
    Repeated,
)
from fastagi.speech.channel_language import language_of
from fastagi.speech.prompts import Phrase, Words
from fastagi.store.errors import StoreUnavailable
from fastagi.wire.agi import AgiRequest

#: Time limit for the COMMIT, in seconds: the dialplan waits one second (callback-ask).
_STORE_LIMIT_S: Final = 0.8
#: The first prompt of an offer, by its reason.
_WHY: Final = {
    Trigger.NO_AGENTS: Phrase.ALL_AWAY,
    Trigger.CLOSED: Phrase.CLOSING,
    Trigger.WAITED: Phrase.ALL_BUSY,
    Trigger.EXPECTED_WAIT: Phrase.ALL_BUSY,
    Trigger.POSITION: Phrase.ALL_BUSY,
}
#: Reasons of offers that also say the expected wait.
_WAIT_IS_SAID: Final = frozenset(
    trigger for trigger, phrase in _WHY.items() if phrase is Phrase.ALL_BUSY
)
#: The last variable that is set: the dialplan asks no other address then.
_DONE: Final = (Variable.STATUS, dialplan.Answer.DONE.value)
#: How long to look when a caller joined the queue of an Asterisk that another service
#: holds, in seconds.
_JOINED_LIMIT_S: Final = 0.2
#: READSTATUS of Read() if a key was pressed.
_READ_OK: Final = "OK"


class AgiScripts:
    """The FastAGI scripts, by the names in :class:`fastagi.dialplan.Path`."""

    _log = Logger()

    def __init__(
        self,
        *,
        promises: Promises,
        choices: CallerChoices,
        queue_monitor: QueueMonitor,
        offers: Offers,
        settings: Callable[[], Settings],
        task_of: Callable[[str, float], Coroutine[Any, Any, CallbackTask | None]],
        placeholder_of: Callable[[int], str],
        clock: Clock,
        joined_elsewhere: Callable[[str, str, float], Coroutine[Any, Any, float | None]]
        | None = None,
    ) -> None:
        #: Returns when a caller, by the uniqueid, joined a queue, within a time in
        #: seconds, if another service holds the Asterisk; None: this one does.
        self._joined_elsewhere = joined_elsewhere
        self._promises = promises
        #: Returns the open task of a client, by the number key, within a time in
        #: seconds.
        self._task_of = task_of
        #: Returns the uniqueid of the channel that waits in line for a task; or "".
        self._placeholder_of = placeholder_of
        self._clock = clock
        self._choices = choices
        self._queue_monitor = queue_monitor
        self._offers = offers
        self._settings = settings

    async def request(self, agi: AgiSession) -> None:
        """Store the request of a caller who pressed the key, and set the answer."""
        began_at = self._clock.steady()
        asked = await self._asked(agi.request)
        self._offers.key_pressed(asked.uniqueid)
        if _can_choose(agi.request) and self._choices.wanted(
            asked, _pressed(agi.request)
        ):
            if not asked.withheld:
                self._offers.asked_after_key(asked.queue, asked.number)
            await agi.set_variable(Variable.STATUS, dialplan.Answer.CHOOSE.value)
            return

        async def deliver(answer: Answer) -> None:
            await self._tell_answer(agi, asked, answer)

        spent_s = agi.unread_s + self._clock.steady() - began_at
        await self._promises.ask(asked, _STORE_LIMIT_S - spent_s, deliver)

    async def choose(self, agi: AgiSession) -> None:
        """Ask the caller, then store the request and set the answer."""
        asked = await self._asked(agi.request)
        status = await self._choices.ask(
            agi, asked, _pressed(agi.request), partial(self._tell_answer, agi)
        )
        if status is None:
            # After an answer the outcome is known.
            self._offers.ended(asked.uniqueid, OfferOutcome.REFUSED)
            return
        self._offer_ended(
            asked,
            OfferOutcome.DECLINED
            if status is dialplan.Answer.BACK
            else OfferOutcome.REFUSED,
        )

    async def _asked(self, request: AgiRequest) -> CallbackRequest:
        queue = request.args[0] if request.args else ""
        if self._joined_elsewhere is None:
            joined_at = self._joined_at(request, queue)
        else:
            joined_at = await self._ask_joined(request.uniqueid, queue)
        return CallbackRequest(
            source=KEY_PRESS,
            queue=queue,
            number=request.callerid,
            withheld=is_withheld(request.callingpres),
            name=request.calleridname,
            language=request.language,
            joined_at=datetime.fromtimestamp(joined_at, UTC) if joined_at else None,
            priority=_priority(request),
            uniqueid=request.uniqueid,
            linkedid=_linkedid(request),
        )

    async def _ask_joined(self, uniqueid: str, queue: str) -> float | None:
        """Return when a caller joined a queue, if the database tells it in time."""
        assert self._joined_elsewhere is not None
        asking = Deferred.fromCoroutine(
            self._joined_elsewhere(uniqueid, folded(queue), _JOINED_LIMIT_S)
        )
        try:
            return await asking.addTimeout(_JOINED_LIMIT_S, self._clock.timers)
        except TimeoutError:
            why = f"the database took more than {_JOINED_LIMIT_S:g} s"
        except StoreUnavailable as error:
            why = str(error)
        self._log.warn(
            "it is not known in time since when a caller waits in queue {queue}, so"
            " the place is at the end of the line: {error}",
            queue=queue,
            error=why,
            uniqueid=uniqueid,
        )
        return None

    async def _tell_answer(
        self, agi: AgiSession, request: CallbackRequest, answer: Answer
    ) -> None:
        """Tell the dialplan the answer to a request, and the prompt."""
        is_stored = isinstance(answer, Accepted | Repeated | Known)
        queue = self._settings().queues.get(request.queue)
        status, prompt = _dialplan_answer(answer, queue)
        if queue is not None and is_stored and request.slot is not None:
            now = self._clock.now()
            words = _at_a_time(request.slot, now, queue.zone, request.language)
            prompt = "&".join(words)
        await tell(agi, status, prompt)
        # Not before: a request whose answer is lost is taken back.
        self._offer_ended(
            request, OfferOutcome.ACCEPTED if is_stored else OfferOutcome.REFUSED
        )

    def _offer_ended(self, request: CallbackRequest, outcome: OfferOutcome) -> None:
        """Note what a caller did, if a callback was offered."""
        # A process that has not seen the caller wait did not make the offer.
        is_unseen = self._joined_elsewhere is not None or request.joined_at is None
        self._offers.ended(
            request.uniqueid, outcome, request.linkedid if is_unseen else ""
        )

    async def position(self, agi: AgiSession) -> None:
        """Set the position at which a caller who goes back in line belongs.

        If another service holds the Asterisk, the dialplan asks the next address.
        """
        if self._joined_elsewhere is not None:
            return
        args = agi.request.args
        joined_at = self._joined_at(agi.request, args[0]) if args else None
        if joined_at is None:
            await agi.set_variables(_DONE)
            return
        turn = Turn(joined_at, _priority(agi.request))
        place = self._queue_monitor.queues.position_of(turn, args[0])
        await agi.set_variables((Variable.POSITION, str(place)), _DONE)

    async def place(self, agi: AgiSession) -> None:
        """Set the place and the priority of a client who calls again.

        The client may have no open task in the queue, or one that waits for a chosen
        time, or withhold the number: then no place is set, and the caller joins at the
        end. If another service holds the Asterisk, the dialplan asks the next address.
        """
        if self._joined_elsewhere is not None:
            return
        queue = agi.request.args[0] if agi.request.args else ""
        task = await self._task_with_a_place(agi, queue)
        if task is None:
            await agi.set_variables(_DONE)
            return
        request = agi.request
        queues = self._queue_monitor.queues
        priority = max(task.turn.priority, _priority(request))
        turn = Turn(task.turn.joined_at, priority)
        place = queues.position_of(turn, queue, without=self._placeholder_of(task.id))
        await agi.set_variables(
            (Variable.PRIORITY, str(priority)),
            # After it: without the place the dialplan uses no priority.
            (Variable.PLACE, str(place)),
            _DONE,
        )
        queues.keep_place(queue, request.uniqueid, turn.joined_at)
        queues.caller_priority(queue, request.uniqueid, priority)
        self._log.info(
            "task {task_id}: {number} calls again in queue {queue} and gets position"
            " {position}",
            task_id=task.id,
            number=task.number,
            queue=queue,
            position=place,
            uniqueid=request.uniqueid,
        )

    async def _task_with_a_place(
        self, agi: AgiSession, queue: str
    ) -> CallbackTask | None:
        """Return the open task of the caller if its place is in the queue now."""
        request = agi.request
        key = client_key(self._settings(), request.callerid)
        limit_s = _STORE_LIMIT_S - agi.unread_s
        if not key or is_withheld(request.callingpres) or limit_s <= 0:
            return None
        asking = Deferred.fromCoroutine(self._task_of(key, limit_s))
        try:
            task = await asking.addTimeout(limit_s, self._clock.timers)
        except (StoreUnavailable, TimeoutError) as error:
            self._log.warn(
                "it is not known in time whether a caller has a place in queue {queue}:"
                " {error}",
                queue=queue,
                error=error or f"no answer of the database for {limit_s:.1f} s",
                uniqueid=request.uniqueid,
            )
            return None
        if task is None or folded(task.queue) != folded(queue):
            return None
        if task.waits_for_chosen_time(self._clock.now()):
            # The place of the task is at a time to come.
            return None
        return task if self._queue_monitor.ready else None

    async def offer(self, agi: AgiSession) -> None:
        """Set the prompts of the offer, if the caller is offered a callback.

        If another service holds the Asterisk, the dialplan asks the next address.
        """
        if self._joined_elsewhere is not None:
            return
        request = agi.request
        withheld = is_withheld(request.callingpres)
        offer = await self._offers.begin(
            request.uniqueid,
            "" if withheld else request.callerid,
            _linkedid(request),
            _STORE_LIMIT_S - agi.unread_s,
        )
        if offer is None:
            await agi.set_variables(_DONE)
            return
        queue = self._settings().queue(offer.queue)
        answer_s = math.ceil(queue.offers.answer_time.total_seconds())
        prompts = _offer_prompts(offer, queue, request.language)
        await agi.set_variables(
            (Variable.OFFER_TIME, str(answer_s)),
            (Variable.OFFER_KEYS, queue.offers.accept_keys),
            # After them: without the prompts the caller is not asked.
            (Variable.OFFER, "&".join(prompts)),
            _DONE,
        )

    async def offered(self, agi: AgiSession) -> None:
        """Note that a caller did not accept, and set the position to return to.

        If another service holds the Asterisk, the dialplan asks the next address.
        """
        args = agi.request.args
        timed_out = len(args) <= 4 or args[4] != _READ_OK
        is_unseen = self._joined_elsewhere is not None or (
            bool(args) and self._joined_at(agi.request, args[0]) is None
        )
        self._offers.ended(
            agi.request.uniqueid,
            OfferOutcome.TIMED_OUT if timed_out else OfferOutcome.DECLINED,
            _linkedid(agi.request) if is_unseen else "",
        )
        await self.position(agi)

    def _joined_at(self, request: AgiRequest, queue: str) -> float | None:
        return self._queue_monitor.queues.joined_at(queue, request.uniqueid)


def _dialplan_answer(
    answer: Answer, settings: QueueSettings | None
) -> tuple[dialplan.Answer, str]:
    """Return the answer to the dialplan, and the prompt to play."""
    if settings is None:
        return dialplan.Answer.ERROR, ""
    sounds = settings.sounds
    match answer:
        case Accepted():
            return dialplan.Answer.ACCEPTED, sounds.accepted
        case Repeated() | Known():
            return dialplan.Answer.ALREADY, sounds.already_registered
        case Refused(why=Reason(code=Code.CLOSED_TOO_LONG)):
            return dialplan.Answer.REFUSED, sounds.closed
        case Refused():
            return dialplan.Answer.REFUSED, sounds.cannot_call
        case NotStored():
            return dialplan.Answer.ERROR, sounds.hold_on


def _at_a_time(slot: Slot, now: datetime, zone: tzinfo, language: str) -> Words:
    """Return the words that a request is accepted, and when the call will be."""
    moment = language_of(language).moment(
        slot.begins_at.astimezone(zone), now.astimezone(zone)
    )
    return (Phrase.WILL_CALL_TIME, *moment, Phrase.HANG_UP_NOW)


def _can_choose(request: AgiRequest) -> bool:
    """Whether the dialplan can let the caller choose; since version 7 it says so."""
    return len(request.args) > 4 and request.args[4] == dialplan.CAN_CHOOSE


def _pressed(request: AgiRequest) -> str:
    """Return the key that the caller pressed; "" from dialplans before version 8."""
    return request.args[5] if len(request.args) > 5 else ""


def _offer_prompts(offer: Offer, queue: QueueSettings, language: str) -> Words:
    """Return the sound files by which a callback is offered."""
    if queue.sounds.offer is not None:
        return (queue.sounds.offer,)
    spoken = language_of(language)
    wait: Words = ()
    if offer.expected_wait_s is not None and offer.trigger in _WAIT_IS_SAID:
        wait = (
            Phrase.YOU_WILL_WAIT,
            *spoken.duration(timedelta(seconds=offer.expected_wait_s)),
        )
    return (
        _WHY[offer.trigger],
        *wait,
        Phrase.CALL_BACK_PRESS,
        *spoken.key(queue.offers.accept_keys[0]),
        Phrase.OR_STAY,
    )


def _linkedid(request: AgiRequest) -> str:
    """Return the third argument of the request; older dialplans pass only two."""
    return request.args[2][:150] if len(request.args) > 2 else request.uniqueid


def _priority(request: AgiRequest) -> int:
    """Return the caller's priority; dialplans before version 7 do not pass it."""
    return parse_priority(request.args[3]) if len(request.args) > 3 else 0
