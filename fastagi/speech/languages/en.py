# SPDX-License-Identifier: MIT
"""English."""

from __future__ import annotations

from datetime import date, time
from typing import Final

from fastagi.speech.language import Language, Unit
from fastagi.speech.prompts import Words, sound

_UNITS: Final = {Unit.MINUTE: "minute", Unit.HOUR: "hour", Unit.DAY: "day"}
_NOON: Final = 12


class English(Language):
    """English as in the United States: hours up to twelve."""

    code = "en"

    def count(self, number: int, unit: Unit) -> Words:
        """``one minute``, ``two minutes``."""
        plural = "" if number == 1 else "s"
        return (*self.cardinal(number), sound(f"{_UNITS[unit]}{plural}"))

    def clock(self, at: time) -> Words:
        """``nine oh five a m``."""
        minutes: Words = ()
        if at.minute:
            minutes = self.cardinal(at.minute)
            if at.minute < 10:
                minutes = (sound("oh"), *minutes)
        half = sound("am" if at.hour < _NOON else "pm")
        return (*self.cardinal(at.hour % _NOON or _NOON), *minutes, half)

    def date(self, day: date) -> Words:
        """``December twenty first``."""
        return (sound(f"month-{day.month}"), *self._ordinal(day.day))


LANGUAGE: Final = English()
