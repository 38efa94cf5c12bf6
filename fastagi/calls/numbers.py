# SPDX-License-Identifier: MIT
"""A caller's number: whether and in what form it may be dialled.

Caller ID is typed by strangers. Nothing that is not a plain number leaves this
module as one.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from fastagi.errors import CallbackError

_PLAIN: Final = re.compile(r"\+?[0-9]{1,32}", re.ASCII)
#: Marks people and networks put into numbers to make them readable.
_SEPARATORS: Final = str.maketrans("", "", " -./()")
#: What Asterisk and networks write where there is no number.
_NO_NUMBER: Final = frozenset(
    {"", "anonymous", "unknown", "unavailable", "restricted", "private", "withheld"}
)
#: Presentation bits of CALLERID(pres): restricted, or number not available
#: (``include/asterisk/callerid.h``, AST_PRES_RESTRICTION).
_PRES_RESTRICTION: Final = 0x60
_CONTROL: Final = re.compile(r"[^\w .,:+()/-]+")


class NotCallable(CallbackError):
    """The number can not be called back."""


@frozen(kw_only=True)
class NumberRules:
    """Which numbers may be dialled; the patterns must match in full."""

    min_digits: int = 5
    max_digits: int = 15
    allow: tuple[re.Pattern[str], ...] = field(default=())
    deny: tuple[re.Pattern[str], ...] = field(default=())


def is_withheld(callingpres: int) -> bool:
    """Whether the caller asked not to show the number (AGI ``agi_callingpres``)."""
    return bool(callingpres & _PRES_RESTRICTION)


def number_key(number: str) -> str:
    """Return what is the same for each form of a number that means one caller."""
    return number.removeprefix("+")


def callable_number(raw: str, rules: NumberRules) -> str:
    """Return the number to dial for what the caller ID says.

    Raises:
        NotCallable: with the reason in words.
    """
    number = raw.strip().translate(_SEPARATORS)
    if number.lower() in _NO_NUMBER:
        raise NotCallable("there is no number")
    if not _PLAIN.fullmatch(number):
        raise NotCallable("it is not a plain number")
    digits = len(number.removeprefix("+"))
    if digits < rules.min_digits:
        raise NotCallable(
            f"the number has {digits} digits, fewer than the {rules.min_digits} needed"
        )
    if digits > rules.max_digits:
        raise NotCallable(
            f"the number has {digits} digits, more than the {rules.max_digits} allowed"
        )
    if any(pattern.fullmatch(number) for pattern in rules.deny):
        raise NotCallable("the number is on the list of numbers not to call")
    if rules.allow and not any(pattern.fullmatch(number) for pattern in rules.allow):
        raise NotCallable("the number is not among those allowed")
    return number


def display_name(raw: str) -> str:
    """Return a caller's name fit for a header: letters, digits, plain marks."""
    name = _CONTROL.sub(" ", raw)
    name = " ".join(name.split())[:60]
    return "" if name.lower() in _NO_NUMBER else name
