# SPDX-License-Identifier: MIT
"""Speaks to the person on a channel, and reads the keys that this person presses.

A dialogue is run by a script of the FastAGI server (`fastagi.agi.server.LongScript`).
It does not know what the questions mean. What ends it is an exception:

- the person hangs up, or the connection ends: an `AgiError` of the session; the server
  ends the script quietly;
- `DialogueTimedOut`: the time for the whole dialogue is over;
- `AgiCommandFailed`: a sound file is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from fastagi.agi.session import AgiSession
from fastagi.errors import CallbackError

#: All keys of a phone.
KEYS: Final = "0123456789*#"
#: Ends an entry of digits.
END_KEY: Final = "#"
#: How long to read the keys that were pressed before a question, in seconds.
_DROP_S: Final = 0.1
#: Maximum number of keys to drop before a question.
_MAX_DROPPED: Final = 50


class DialogueTimedOut(CallbackError):
    """The dialogue took too long."""


@frozen(kw_only=True)
class Patience:
    """How long to wait for the person, in seconds."""

    #: For the whole dialogue.
    dialogue_s: float = 120.0
    #: For a key, after the question.
    answer_s: float = 5.0
    #: For the next digit.
    digit_s: float = 4.0
    #: How often a question is asked.
    tries: int = 3


@frozen
class Option:
    """Something that a caller may choose: what is said, and the keys for it."""

    words: Sequence[str]
    keys: str


class Dialogue:
    """One conversation with the person on a channel.

    Args:
        agi: the session.
        steady: returns the seconds of a steady clock.
        patience: time limits.
    """

    def __init__(
        self,
        agi: AgiSession,
        *,
        steady: Callable[[], float],
        patience: Patience = Patience(),
    ) -> None:
        self._agi = agi
        self._steady = steady
        self._patience = patience
        self._ends_at = steady() + patience.dialogue_s

    async def say(self, words: Sequence[str], keys: str = "") -> str:
        """Play sound files, one after the other.

        Args:
            words: names of sound files.
            keys: keys that end this; other keys are dropped.

        Returns:
            The key that was pressed; "" if none was.
        """
        for word in words:
            self._time_left_s()
            key = await self._agi.stream_file(word, escape_digits=keys)
            if key:
                return key
        return ""

    async def ask(
        self,
        question: Sequence[str],
        keys: str,
        *,
        before: Sequence[str] = (),
        wrong_key: Sequence[str] = (),
    ) -> str | None:
        """Ask a question until one of the keys is pressed.

        Keys that were pressed before the question begins are dropped: nobody agrees to
        something that was not said yet.

        Args:
            question: is ended by any key.
            keys: keys that answer the question.
            before: what must be heard before the question; no key ends it.
            wrong_key: said after another key.

        Returns:
            The key; None if the question was asked in vain as often as `Patience` says.
        """
        for _ in range(self._patience.tries):
            await self.say(before)
            await self._drop_keys()
            key = await self.say(question, KEYS)
            key = key or await self._wait(self._patience.answer_s)
            if key and key in keys:
                return key
            if key:
                await self.say(wrong_key)
        return None

    async def choose(
        self,
        options: Sequence[Option],
        ways: Sequence[Option] = (),
        *,
        wrong_key: Sequence[str] = (),
    ) -> str | None:
        """Say options, each with its keys, until one is chosen.

        A key of an option counts only once the option is being said: nobody chooses
        what was not said yet. Keys that were pressed before are dropped.

        Args:
            options: what there is to choose.
            ways: what else the caller may do; these keys count from the beginning.
            wrong_key: said after another key, when everything was said.

        Returns:
            The key; None if the question was asked in vain as often as `Patience` says.
        """
        keys = "".join(way.keys for way in ways)
        spoken: list[tuple[Sequence[str], str]] = []
        for option in options:
            keys += option.keys
            spoken.append((option.words, keys))
        spoken += [(way.words, keys) for way in ways]
        for _ in range(self._patience.tries):
            await self._drop_keys()
            key = ""
            for words, until_now in spoken:
                key = key or await self.say(words, until_now)
            key = key or await self._wait(self._patience.answer_s)
            if key and key in keys:
                return key
            if key:
                await self.say(wrong_key)
        return None

    async def enter(self, prompt: Sequence[str], most: int = 32) -> str:
        """Have digits entered; ``#``, or no further key in time, ends them.

        Keys that were pressed before the prompt count, so that it needs not be heard.

        Args:
            prompt: is ended by the first key.
            most: maximum number of keys that are returned; further keys are dropped.

        Returns:
            What was entered, without ``#``; it may contain ``*``. "" if nothing was.
        """
        entered = ""
        key = await self.say(prompt, KEYS)
        key = key or await self._wait(self._patience.answer_s)
        while key and key != END_KEY:
            entered = (entered + key)[:most]
            key = await self._wait(self._patience.digit_s)
        return entered

    async def _drop_keys(self) -> None:
        for _ in range(_MAX_DROPPED):
            if not await self._wait(_DROP_S):
                return

    async def _wait(self, wait_s: float) -> str:
        return await self._agi.wait_for_digit(min(wait_s, self._time_left_s()))

    def _time_left_s(self) -> float:
        left_s = self._ends_at - self._steady()
        if left_s <= 0:
            raise DialogueTimedOut(
                f"the dialogue lasted over {self._patience.dialogue_s:g} s"
            )
        return left_s
