# SPDX-License-Identifier: MIT
"""Asks a caller who pressed the key: which number, and whether to call at all.

The request is stored only after the caller has confirmed the number. Whatever else
happens, the caller is back in line: the dialplan does that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from attrs import evolve, frozen

from twisted.logger import Logger

from fastagi import dialplan
from fastagi.agi.errors import AgiCommandFailed
from fastagi.agi.session import AgiSession
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.dialogue.dialogue import Dialogue, DialogueTimedOut, Patience
from fastagi.dialplan import Variable
from fastagi.domain.numbers import NotCallable, plain_number
from fastagi.domain.reason import Code, Reason
from fastagi.service.promises import Promises
from fastagi.service.requests import Answer, CallbackRequest, Refused, Requests
from fastagi.speech.choice import language_of
from fastagi.speech.language import Language
from fastagi.speech.prompts import Phrase, Words

#: Time limits of the dialogue; the dialplan waits 150 s (callback-choose).
PATIENCE: Final = Patience(dialogue_s=120.0)
#: Time limit of the session, in seconds: the last prompt and the COMMIT may follow.
SESSION_S: Final = 140.0
#: Time limit for the COMMIT, in seconds.
_STORE_LIMIT_S: Final = 2.0
#: How often a caller may enter a number.
_MOST_ENTRIES: Final = 3
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


@frozen
class _Chosen:
    """A number to be confirmed, or the reason why there is none."""

    request: CallbackRequest
    refused: Reason | None


class CallerChoices:
    """The dialogue with a caller who pressed the key."""

    _log = Logger()

    def __init__(
        self,
        *,
        promises: Promises,
        requests: Requests,
        settings: Callable[[], Settings],
        steady: Callable[[], float],
    ) -> None:
        self._promises = promises
        self._requests = requests
        self._settings = settings
        self._steady = steady

    def wanted(self, request: CallbackRequest) -> bool:
        """Whether the caller is to be asked before the request is stored."""
        queue = self._settings().queues.get(request.queue)
        if queue is None or not queue.choices.any:
            return False
        if self._requests.is_closed_too_long(request):
            return False
        return self._judged(request).refused is None or _may_enter(queue, request)

    async def ask(
        self,
        agi: AgiSession,
        request: CallbackRequest,
        answer: Callable[[Answer], tuple[dialplan.Answer, str]],
    ) -> dialplan.Answer | None:
        """Ask the caller, store the request, and tell the dialplan what to do.

        Args:
            agi: the session.
            request: the request with the number that the network shows.
            answer: returns the status and the prompt for an answer; not called if the
                caller goes back without one.

        Returns:
            The status without an answer; None after one.
        """
        queue = self._settings().queues.get(request.queue)
        if queue is None:
            return None
        conversation = _Conversation(
            dialogue=Dialogue(agi, steady=self._steady, patience=PATIENCE),
            language=language_of(request.language),
            queue=queue,
            judge=self._judged,
            store=partial(self._store, agi, answer),
        )
        status, prompt = dialplan.Answer.BACK, str(Phrase.STILL_IN_LINE)
        try:
            if await conversation.run(request):
                return None
        except DialogueTimedOut:
            pass
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
        try:
            self._requests.check_number(request)
        except NotCallable as refusal:
            return _Chosen(request, refusal.why)
        return _Chosen(request, None)

    async def _store(
        self,
        agi: AgiSession,
        answer: Callable[[Answer], tuple[dialplan.Answer, str]],
        request: CallbackRequest,
        may_enter: bool,
    ) -> Reason | None:
        """Store a confirmed request, and tell the dialplan.

        Returns:
            Why the number is refused, if the caller may enter another one; then the
            dialplan was told nothing.
        """
        again: list[Reason] = []

        async def deliver(given: Answer) -> None:
            refused = given.why if isinstance(given, Refused) else None
            if refused is not None and may_enter and refused.code not in _FINAL:
                again.append(refused)
                return
            await tell(agi, *answer(given))

        await self._promises.ask(request, _STORE_LIMIT_S, deliver)
        return again[0] if again else None


@frozen(kw_only=True)
class _Conversation:
    """One dialogue."""

    dialogue: Dialogue
    language: Language
    queue: QueueSettings
    judge: Callable[[CallbackRequest], _Chosen]
    #: Called with the request, and whether the caller may enter another number.
    store: Callable[[CallbackRequest, bool], Awaitable[Reason | None]]

    async def run(self, request: CallbackRequest) -> bool:
        """Return whether the dialplan was told; if not, the caller goes back."""
        choices = self.queue.choices
        may_enter = _may_enter(self.queue, request)
        entries = _MOST_ENTRIES if may_enter else 0
        chosen = self.judge(request)
        while True:
            if chosen.refused is None:
                key = await self._confirm(chosen.request, entries > 0)
                if key == choices.confirm_key:
                    refused = await self.store(chosen.request, entries > 0)
                    if refused is None:
                        return True
                    chosen = evolve(chosen, refused=refused)
                elif key != choices.other_number_key:
                    return False
            if chosen.refused is not None:
                await self.dialogue.say(_words(chosen))
            if not entries:
                return False
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

    async def _confirm(self, request: CallbackRequest, may_enter: bool) -> str | None:
        language, choices = self.language, self.queue.choices
        number = language.number(request.number)
        before: Words = (
            (Phrase.WILL_CALL_NUMBER, *number)
            if number
            else (Phrase.WILL_CALL_THIS_NUMBER,)
        )
        keys = choices.confirm_key + choices.back_key
        question: Words = (Phrase.CONFIRM_PRESS, *language.key(choices.confirm_key))
        if may_enter:
            keys += choices.other_number_key
            other = language.key(choices.other_number_key)
            question = (*question, Phrase.OTHER_NUMBER_PRESS, *other)
        back = language.key(choices.back_key)
        return await self.dialogue.ask(
            (*question, Phrase.BACK_PRESS, *back),
            keys,
            before=before,
            wrong_key=(Phrase.WRONG_KEY,),
        )


async def tell(agi: AgiSession, status: dialplan.Answer, prompt: str) -> None:
    """Tell the dialplan what to do with the caller.

    The status comes last: without it the dialplan assumes no answer.
    """
    await agi.set_variable(Variable.PROMPT, prompt)
    await agi.set_variable(Variable.STATUS, status.value)


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
