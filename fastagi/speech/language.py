# SPDX-License-Identifier: MIT
"""The base class of languages: what each must be able to say, and the common parts."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from datetime import date, datetime, time, timedelta
from enum import Enum, auto
from typing import ClassVar, Final

from fastagi.speech.prompts import Phrase, Words, sound

_SAID: Final = re.compile(r"\+?[0-9*#]+", re.ASCII)
_KEYS: Final = {"*": sound("star"), "#": sound("hash"), "+": sound("plus")}
#: The durations that are announced to callers, in minutes.
_ROUND_MINUTES: Final = (*range(1, 11), 15, 20, 25, 30, 40, 50)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
#: Up to this many hours a time ago is said in hours.
_MAX_HOURS: Final = 48
#: The largest number with words of its own; larger ones are said digit by digit.
LARGEST: Final = 99
_WEEK_DAYS: Final = 7


class Unit(Enum):
    """A unit that is counted."""

    MINUTE = auto()
    HOUR = auto()
    DAY = auto()


class Language(ABC):
    """One language. Every method returns the sound files to play.

    A new language is a module in `fastagi.speech.languages` with a subclass, and a file
    of texts in ``sounds/texts``.
    """

    #: As Asterisk names it, without a country: ``en`` for ``en_US``, too.
    code: ClassVar[str]

    def number(self, number: str) -> Words:
        """Say a phone number digit by digit, in groups.

        Returns nothing if it has other characters than a phone can dial.
        """
        if _SAID.fullmatch(number) is None:
            return ()
        plus = self.key("+") if number.startswith("+") else ()
        groups = [self._keys(group) for group in grouped(number.removeprefix("+"))]
        first, *others = groups
        return (*plus, *first, *(w for group in others for w in (Phrase.PAUSE, *group)))

    def key(self, key: str) -> Words:
        """Say the name of one key of a phone."""
        return (_KEYS[key] if key in _KEYS else self._word(int(key)),)

    def _keys(self, keys: str) -> Words:
        return tuple(word for key in keys for word in self.key(key))

    def cardinal(self, number: int) -> Words:
        """Say a number from 0 on."""
        if number > LARGEST:
            return self._keys(str(number))
        return self._up_to_99(number)

    def duration(self, duration: timedelta) -> Words:
        """Say about how long something will take, rounded up."""
        if duration < _MINUTE:
            return (sound("less-than-a-minute"),)
        for minutes in _ROUND_MINUTES:
            if duration <= minutes * _MINUTE:
                return (sound("about"), *self.count(minutes, Unit.MINUTE))
        if duration <= _HOUR:
            return (sound("about"), *self.count(1, Unit.HOUR))
        return (sound("more-than-an-hour"),)

    def ago(self, duration: timedelta) -> Words:
        """Say how long ago something was."""
        if duration < _MINUTE:
            past: Words = (sound("less-than-a-minute"),)
        elif duration < _HOUR:
            past = self.count_past(duration // _MINUTE, Unit.MINUTE)
        elif duration < _MAX_HOURS * _HOUR:
            past = self.count_past(duration // _HOUR, Unit.HOUR)
        else:
            past = self.count_past(min(duration // _DAY, LARGEST), Unit.DAY)
        return (*past, sound("ago"))

    def count_past(self, number: int, unit: Unit) -> Words:
        """Say a number of minutes, hours or days before ``ago``."""
        return self.count(number, unit)

    def day(self, day: date, today: date) -> Words:
        """Say on which day."""
        days = (day - today).days
        if days == 0:
            return (sound("today"),)
        if days == 1:
            return (sound("tomorrow"),)
        if 1 < days < _WEEK_DAYS:
            return (sound(f"weekday-{day.isoweekday()}"),)
        return self.date(day)

    def moment(self, at: datetime, now: datetime) -> Words:
        """Say day and time; both datetimes are in the listener's time zone."""
        return (*self.day(at.date(), now.date()), *self.at(at.time()))

    def at(self, clock: time) -> Words:
        """Say at which time of the day."""
        return (sound("at"), *self.clock(clock))

    @abstractmethod
    def count(self, number: int, unit: Unit) -> Words:
        """Say a number of minutes, hours or days."""

    @abstractmethod
    def clock(self, at: time) -> Words:
        """Say a time of day, as it follows ``at``."""

    @abstractmethod
    def date(self, day: date) -> Words:
        """Say a date without the year."""

    @staticmethod
    def _word(number: int) -> str:
        return sound(f"number-{number}")

    def _up_to_99(self, number: int) -> Words:
        """Say a number as tens and ones, if it has no word of its own."""
        if number <= 20 or number % 10 == 0:
            return (self._word(number),)
        return (self._word(number // 10 * 10), self._word(number % 10))

    def _ordinal(self, day: int) -> Words:
        """Say a day of the month; 21 to 29 and 31 end in a word from 1 to 9."""
        tens, ones = divmod(day, 10)
        if day <= 20 or not ones:
            return (sound(f"day-{day}"),)
        return (self._word(10 * tens), sound(f"day-{ones}"))


def grouped(digits: str) -> list[str]:
    """Split digits into groups of three, and the last ones into groups of two."""
    pairs = {0: 0, 1: 2, 2: 1}[len(digits) % 3]
    if len(digits) < 2 * pairs:
        return [digits]
    end = len(digits) - 2 * pairs
    starts = [*range(0, end, 3), *range(end, len(digits), 2)]
    return [
        digits[start:stop]
        for start, stop in zip(starts, [*starts[1:], len(digits)], strict=True)
    ]
