# SPDX-License-Identifier: MIT
"""Asks a caller who pressed the key: which number, when, and whether to call at all.

The request is stored only after the caller has confirmed the number and chosen when to
be called. Whatever else happens, the caller is back in line: the dialplan does that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from fastagi import dialplan
from fastagi.agi.errors import AgiCommandFailed
from fastagi.agi.session import AgiSession
from fastagi.config.queue_layers import Choices, QueueSettings
from fastagi.config.sections import Settings
from fastagi.dialogue.dialogue import Dialogue, DialogueTimedOut, Option, Patience
from fastagi.dialplan import Variable
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import plain_number
from fastagi.domain.reason import Code, Reason
from fastagi.domain.slots import Slot
from fastagi.runtime.clock import Clock
from fastagi.service.promises import Promises
from fastagi.service.requests import (
    TIME_NOT_FREE,
    Answer,
    CallbackRequest,
    Refused,
    Requests,
)
from fastagi.speech.channel_language import language_of
from fastagi.speech.language import Language
from fastagi.speech.prompts import Phrase, Words
from fastagi.store.errors import StoreUnavailable

#: Time limits of the dialogue; the dialplan waits 270 s (callback-choose).
PATIENCE: Final = Patience(dialogue_s=120.0)
#: Where callers may choose a time, too.
_PATIENCE_WITH_TIMES: Final = Patience(dialogue_s=240.0)
#: Time limit of the session, in seconds: the last prompt and the COMMIT may follow.
SESSION_S: Final = 260.0
#: Time limit for the COMMIT, and for reading which times are free, in seconds.
_STORE_LIMIT_S: Final = 2.0
_ONE_DAY: Final = timedelta(days=1)
#: How often a caller may enter a number.
_MAX_ENTRIES: Final = 3
#: What a caller hears who entered a number that is not called.
_REFUSALS: Final = {
    Code.NO_NUMBER: Phrase.NO_NUMBER,
    Code.NOT_PLAIN: Phrase.NUMBER_WRONG,
    Code.BAD_COUNTRY_CODE: Phrase.NUMBER_WRONG,
    Code.TOO_FEW_DIGITS: Phrase.NUMBER_WRONG,
    Code.TOO_MANY_DIGITS: Phrase.NUMBER_WRONG,
    Code.SHORT_NUMBER: Phrase.NUMBER_WRONG,
    Code.CALLED_TOO_OFTEN: Phrase.NUMBER_TOO_OFTEN,
}
#: There is no number about which anything could be said.
_NOT_SHOWN: Final = frozenset({Code.NO_NUMBER, Code.NUMBER_WITHHELD})
#: Refusals for which another entry makes no sense.
_FINAL: Final = frozenset({Code.CLOSED_TOO_LONG, Code.ENTERED_TOO_OFTEN})


#: Tells the dialplan the answer to a request.
_TellAnswer: TypeAlias = Callable[[CallbackRequest, Answer], Awaitable[None]]


@frozen
class _Chosen:
    """A number to be confirmed, or the reason why there is none."""

    request: CallbackRequest
    refused: Reason | None


class _When(Enum):
    """When the caller wants to be called."""

    SOON = auto()
    AT_A_TIME = auto()


def _meaning(choices: Choices, pressed: str, may_be_soon: bool) -> _When | None:
    """Return when a caller wants to be called who pressed a key in the queue."""
    if not choices.times or (may_be_soon and choices.means_soon(pressed)):
        return _When.SOON
    return _When.AT_A_TIME if choices.means_a_time(pressed) else None


class _GoesBack(Exception):
    """The caller wants to go back to the queue, or answers nothing."""


class CallerChoices:
    """The dialogue with a caller who pressed the key."""

    _log = Logger()

    def __init__(
        self,
        *,
        promises: Promises,
        requests: Requests,
        settings: Callable[[], Settings],
        clock: Clock,
        chosen_times: Callable[
            [str, datetime, datetime, float], Coroutine[Any, Any, list[datetime]]
        ],
    ) -> None:
        self._promises = promises
        self._requests = requests
        self._settings = settings
        self._clock = clock
        #: Returns the times that clients of a queue have chosen, in order, within a
        #: time in seconds.
        self._chosen_times = chosen_times

    def wanted(self, request: CallbackRequest, pressed: str) -> bool:
        """Whether the caller is to be asked before the request is stored.

        Args:
            request: the request with the number that the network shows.
            pressed: the key that the caller pressed in the queue; "" if not known.
        """
        queue = self._settings().queues.get(request.queue)
        if queue is None or not (queue.choices.times or queue.choices.asks_number):
            return False
        if self._requests.is_closed_too_long(request):
            # Only a time after the opening can be promised, whatever key was pressed.
            if not queue.choices.times:
                return False
        elif not queue.choices.asks(pressed):
            return False
        return self._judged(request).refused is None or _may_enter(queue, request)

    async def ask(
        self,
        agi: AgiSession,
        request: CallbackRequest,
        pressed: str,
        tell_answer: _TellAnswer,
    ) -> dialplan.Answer | None:
        """Ask the caller, store the request, and tell the dialplan what to do.

        Args:
            agi: the session.
            request: the request with the number that the network shows.
            pressed: the key that the caller pressed in the queue; "" if not known.
            tell_answer: tells the dialplan the answer to a request; not called if the
                caller goes back without one.

        Returns:
            The status without an answer; None after one.
        """
        queue = self._settings().queues.get(request.queue)
        if queue is None:
            return None
        may_be_soon = not self._requests.is_closed_too_long(request)
        conversation = _Conversation(
            dialogue=Dialogue(
                agi,
                steady=self._clock.steady,
                patience=_PATIENCE_WITH_TIMES if queue.choices.times else PATIENCE,
            ),
            language=language_of(request.language),
            queue=queue,
            wants=_meaning(queue.choices, pressed, may_be_soon),
            judge=self._judged,
            store=partial(self._store, tell_answer),
            may_be_soon=may_be_soon,
            now=self._clock.now,
            free_slots=partial(self._free_slots, queue),
        )
        status, prompt = dialplan.Answer.BACK, str(Phrase.STILL_IN_LINE)
        try:
            await conversation.run(request)
            return None
        except (DialogueTimedOut, _GoesBack):
            pass
        except (StoreUnavailable, TimeoutError) as error:
            status, prompt = dialplan.Answer.ERROR, queue.sounds.hold_on
            self._log.error(
                "a caller in queue {queue} can not choose a time and is put back in"
                " line: it is not known which times are free: {error}",
                queue=queue.name,
                error=error or f"no answer of the database for {_STORE_LIMIT_S:g} s",
                uniqueid=request.uniqueid,
            )
        except AgiCommandFailed as error:
            status, prompt = dialplan.Answer.ERROR, queue.sounds.hold_on
            self._log.error(
                "a caller in queue {queue} could not be asked and is put back in line:"
                " {error} - 'callback-queue check' lists missing sound files",
                queue=queue.name,
                error=error,
                uniqueid=request.uniqueid,
            )
        await tell(agi, status, prompt)
        return status

    def _judged(self, request: CallbackRequest) -> _Chosen:
        if request.queue not in self._settings().queues:
            # The settings were loaded again while the caller was being asked.
            raise _GoesBack
        try:
            self._requests.check_number(request)
        except NotCallable as refusal:
            return _Chosen(request, refusal.why)
        return _Chosen(request, None)

    async def _free_slots(self, queue: QueueSettings) -> list[Slot]:
        now, rules = self._clock.now(), queue.slot_rules
        until = now + (rules.days_ahead + 2) * _ONE_DAY
        reading = Deferred.fromCoroutine(
            self._chosen_times(queue.name, now, until, _STORE_LIMIT_S)
        )
        chosen = await reading.addTimeout(_STORE_LIMIT_S, self._clock.timers)
        return rules.free(now, chosen)

    async def _store(
        self,
        tell_answer: _TellAnswer,
        request: CallbackRequest,
        may_enter: bool,
    ) -> Reason | None:
        """Store a confirmed request, and tell the dialplan.

        Returns:
            Why the number or the time is refused, if the caller may choose another one;
            then the dialplan was told nothing.
        """
        again: list[Reason] = []

        async def deliver(given: Answer) -> None:
            refused = given.why if isinstance(given, Refused) else None
            if refused is not None and (
                refused.code in TIME_NOT_FREE
                or (may_enter and refused.code not in _FINAL)
            ):
                again.append(refused)
                return
            await tell_answer(request, given)

        await self._promises.ask(request, _STORE_LIMIT_S, deliver)
        return again[0] if again else None


@frozen(kw_only=True)
class _Conversation:
    """One dialogue."""

    dialogue: Dialogue
    language: Language
    queue: QueueSettings
    #: What the key says that was pressed in the queue; None: the caller is asked.
    wants: _When | None
    judge: Callable[[CallbackRequest], _Chosen]
    #: Called with the request, and whether the caller may enter another number.
    store: Callable[[CallbackRequest, bool], Awaitable[Reason | None]]
    #: Whether the queue opens before a request for as soon as possible expires.
    may_be_soon: bool
    now: Callable[[], datetime]
    free_slots: Callable[[], Awaitable[list[Slot]]]

    @property
    def _choices(self) -> Choices:
        return self.queue.choices

    async def run(self, request: CallbackRequest) -> None:
        """Ask until the dialplan was told.

        Raises:
            _GoesBack: the dialplan was told nothing.
        """
        may_enter = _may_enter(self.queue, request)
        entries = _MAX_ENTRIES if may_enter else 0
        chosen = self.judge(request)
        while True:
            if chosen.refused is None and await self._agrees(
                chosen.request, entries > 0
            ):
                refused = await self._store_when(chosen.request, entries > 0)
                if refused is None:
                    return
                chosen = evolve(chosen, refused=refused)
            if chosen.refused is not None:
                await self.dialogue.say(_words(chosen))
            if not entries:
                raise _GoesBack
            entries -= 1
            entered = await self.dialogue.enter((Phrase.ENTER_NUMBER,))
            chosen = self.judge(
                evolve(
                    request,
                    number=entered,
                    withheld=False,
                    entered_by="" if request.withheld else request.number,
                )
            )

    # -- the number --------------------------------------------------------

    async def _agrees(self, request: CallbackRequest, may_enter: bool) -> bool:
        """Return whether the caller agrees to the number, or wants another one."""
        if not self._choices.asks_number:
            return True
        key = await self._confirm(request, may_enter)
        if key is None or key in self._choices.back_key:
            raise _GoesBack
        return key in self._choices.confirm_key

    async def _confirm(self, request: CallbackRequest, may_enter: bool) -> str | None:
        language, choices = self.language, self._choices
        number = language.number(request.number)
        before: Words = (
            (Phrase.WILL_CALL_NUMBER, *number)
            if number
            else (Phrase.WILL_CALL_THIS_NUMBER,)
        )
        keys = choices.confirm_key + choices.back_key
        question = self._press(Phrase.CONFIRM_PRESS, choices.confirm_key)
        if may_enter:
            keys += choices.other_number_key
            question += self._press(Phrase.OTHER_NUMBER_PRESS, choices.other_number_key)
        return await self.dialogue.ask(
            question + self._press(Phrase.BACK_PRESS, choices.back_key),
            keys,
            before=before,
            wrong_key=(Phrase.WRONG_KEY,),
        )

    def _press(self, phrase: Phrase, keys: str) -> Words:
        """Say what the first of some keys does; the others mean the same."""
        return (phrase, *self.language.key(keys[0]))

    def _option(self, phrase: Phrase, keys: str) -> Option:
        return Option(self._press(phrase, keys), keys)

    # -- the time ----------------------------------------------------------

    async def _store_when(
        self, request: CallbackRequest, may_enter: bool
    ) -> Reason | None:
        """Ask when to call, and store the request; return as ``store`` does."""
        wants = self.wants
        while wants is not _When.SOON:
            free = await self.free_slots()
            if not free and wants is _When.AT_A_TIME:
                await self.dialogue.say((Phrase.NO_TIME_FREE,))
            if not free and (wants is None or not self.may_be_soon):
                # There is nothing to choose.
                break
            if wants is None or not free:
                wants = await self._ask_when(bool(free))
                continue
            slot = await self._pick_slot(free)
            if slot is None:
                wants = None
                continue
            refused = await self.store(evolve(request, slot=slot), may_enter)
            if refused is None or refused.code not in TIME_NOT_FREE:
                return refused
            await self.dialogue.say((Phrase.TIME_NOT_FREE,))
        return await self.store(request, may_enter)

    async def _ask_when(self, is_time_free: bool) -> _When:
        choices = self._choices
        options = []
        if self.may_be_soon:
            options.append(self._option(Phrase.SOON_PRESS, choices.soon_key))
        if is_time_free:
            time = self._option(Phrase.CHOOSE_TIME_PRESS, choices.choose_time_key)
            options.append(time)
        key = await self._choose(
            options, [self._option(Phrase.BACK_PRESS, choices.back_key)]
        )
        if key in choices.back_key:
            raise _GoesBack
        return _When.SOON if key in choices.soon_key else _When.AT_A_TIME

    async def _pick_slot(self, free: list[Slot]) -> Slot | None:
        """Let the caller choose a day, then a time; return None to go back."""
        language, zone = self.language, self.queue.zone
        today = self.now().astimezone(zone).date()
        days = [
            (day, list(slots))
            for day, slots in groupby(
                free, lambda slot: slot.begins_at.astimezone(zone).date()
            )
        ]
        while True:
            number: int | None = 0
            if len(days) > 1:
                number = await self._pick([language.day(day, today) for day, _ in days])
            if number is None:
                return None
            slots = days[number][1]
            clocks = [slot.begins_at.astimezone(zone).time() for slot in slots]
            number = await self._pick([language.at(clock) for clock in clocks])
            if number is not None:
                return slots[number]
            if len(days) == 1:
                return None

    async def _pick(self, items: Sequence[Words]) -> int | None:
        """Say a few items at a time until one is chosen; return None to go back."""
        choices, first = self._choices, 0
        while True:
            shown = items[first : first + len(choices.time_keys)]
            options = [
                Option((*item, *self._press(Phrase.PRESS, key)), key)
                for item, key in zip(shown, choices.time_keys, strict=False)
            ]
            ways = [self._option(Phrase.TIMES_BACK_PRESS, choices.times_back_key)]
            if first:
                earlier = choices.earlier_times_key
                ways.insert(0, self._option(Phrase.EARLIER_TIMES_PRESS, earlier))
            if first + len(shown) < len(items):
                later = choices.later_times_key
                ways.insert(0, self._option(Phrase.MORE_TIMES_PRESS, later))
            key = await self._choose(options, ways)
            if key in choices.times_back_key:
                return None
            if key in choices.later_times_key:
                first += len(shown)
            elif key in choices.earlier_times_key:
                first -= len(choices.time_keys)
            else:
                return first + choices.time_keys.index(key)

    async def _choose(self, options: Sequence[Option], ways: Sequence[Option]) -> str:
        key = await self.dialogue.choose(options, ways, wrong_key=(Phrase.WRONG_KEY,))
        if key is None:
            raise _GoesBack
        return key


async def tell(agi: AgiSession, status: dialplan.Answer, prompt: str) -> None:
    """Tell the dialplan what to do with the caller.

    The status comes last: without it the dialplan assumes no answer.
    """
    await agi.set_variables((Variable.PROMPT, prompt), (Variable.STATUS, status.value))


def _words(chosen: _Chosen) -> Words:
    """Return what a caller hears whose number is refused."""
    assert chosen.refused is not None
    code = chosen.refused.code
    if chosen.request.entered_by is None and code in _NOT_SHOWN:
        return ()
    return (_REFUSALS.get(code, Phrase.NUMBER_NOT_CALLED),)


def _may_enter(queue: QueueSettings, request: CallbackRequest) -> bool:
    return queue.choices.may_enter(_shows_number(request))


def _shows_number(request: CallbackRequest) -> bool:
    """Whether the caller shows a number by which the requests can be counted.

    A call without a number may still count as one whose number is not withheld.
    """
    if request.withheld:
        return False
    try:
        plain_number(request.number)
    except NotCallable:
        return False
    return True
