# SPDX-License-Identifier: MIT
"""Russian: what is counted has three forms, and one and two have a gender."""

from __future__ import annotations

from datetime import date, time
from typing import Final

from fastagi.speech.language import LARGEST, Language, Unit
from fastagi.speech.prompts import Words, sound

#: After 1 (21, 31, ...), after 2 to 4 (22, ...), and after all other numbers.
_UNITS: Final = {
    Unit.MINUTE: ("minute", "minutes-2", "minutes"),
    Unit.HOUR: ("hour", "hours-2", "hours"),
    Unit.DAY: ("day", "days-2", "days"),
}
_FEMININE: Final = frozenset({Unit.MINUTE})


class Russian(Language):
    """Russian."""

    code = "ru"

    def count(self, number: int, unit: Unit) -> Words:
        """``одна минута``, ``две минуты``, ``пять минут``, ``двадцать один час``."""
        words = self.cardinal(number)
        last = _last(number)
        if unit in _FEMININE and last in (1, 2):
            words = (*words[:-1], sound(f"number-{last}-f"))
        return (*words, sound(_form(number, unit)))

    def count_past(self, number: int, unit: Unit) -> Words:
        """``одну минуту``; otherwise as when counting."""
        words = self.count(number, unit)
        if unit is Unit.MINUTE and _last(number) == 1:
            return (*words[:-2], sound("number-1-f-acc"), sound("minute-acc"))
        return words

    def clock(self, at: time) -> Words:
        """``девять часов пять минут``; minutes in the accusative, as after ``в``."""
        minutes = self.count_past(at.minute, Unit.MINUTE) if at.minute else ()
        return (*self.count(at.hour, Unit.HOUR), *minutes)

    def date(self, day: date) -> Words:
        """``двадцать первого декабря``."""
        return (*self._ordinal(day.day), sound(f"month-{day.month}"))


def _last(number: int) -> int:
    """Return the part of a number that decides on the form: its last word."""
    if number > LARGEST:
        return number % 10
    return number if number <= 20 else number % 10


def _form(number: int, unit: Unit) -> str:
    one, few, many = _UNITS[unit]
    match _last(number):
        case 1:
            return one
        case 2 | 3 | 4:
            return few
        case _:
            return many


LANGUAGE: Final = Russian()
