# SPDX-License-Identifier: MIT
"""A caller's number: whose it is, and whether and in what form it may be dialled.

Caller ID is typed by strangers. Nothing that is not a plain number leaves this
module as one. What a number means in which country is the ``phonenumbers``
library's knowledge.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

import phonenumbers
from attrs import field, frozen
from phonenumbers import (
    CountryCodeSource,
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    ValidationResult,
)

from fastagi.errors import CallbackError

#: The countries there is knowledge of, as two capital letters (ISO 3166-1).
REGIONS: Final = frozenset(phonenumbers.SUPPORTED_REGIONS)
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


class DialAs(StrEnum):
    """How a client's number is written when it is dialled."""

    AS_RECEIVED = "as_received"
    #: ``+4930123456``
    E164 = "e164"
    #: ``4930123456``
    DIGITS = "digits"
    #: ``030123456``, and abroad with the region's prefix for that.
    NATIONAL = "national"


@frozen
class NumberPlan:
    """What numbers mean where this Asterisk is.

    Attributes:
        region: the country, as two capital letters of ISO 3166-1; empty if it is not
            known, and then only the ``+`` is not part of a number.
    """

    region: str = ""

    def key(self, number: str) -> str:
        """Return what is the same for each form of a number that means one caller.

        In a region these are the digits of the number's E.164 form, as far as it can
        be one. The key of a key is the key itself.
        """
        digits = number.removeprefix("+")
        if not self.region:
            return digits
        parsed = _read(number, self.region)
        if parsed is None:
            return digits
        return _e164(parsed).removeprefix("+")

    def write(self, number: str, form: DialAs) -> str:
        """Return a number in another form; one that is no valid number as it is."""
        if form is DialAs.AS_RECEIVED or not self.region:
            return number
        return _write(number, form, self.region)

    def forms(self, number: str) -> set[str]:
        """Return all forms of a number, as it is among them."""
        return {self.write(number, form) for form in DialAs}


@frozen(kw_only=True)
class NumberRules:
    """Which numbers may be dialled; the patterns must match in full.

    A number is denied, or allowed, if one of its forms is: who may not be called at
    ``0900123456`` may not be called at ``+49900123456`` either.
    """

    min_digits: int = 5
    max_digits: int = 15
    allow: tuple[re.Pattern[str], ...] = field(default=())
    deny: tuple[re.Pattern[str], ...] = field(default=())
    dial_as: DialAs = DialAs.AS_RECEIVED
    plan: NumberPlan = NumberPlan()


def is_withheld(callingpres: int) -> bool:
    """Whether the caller asked not to show the number (AGI ``agi_callingpres``)."""
    return bool(callingpres & _PRES_RESTRICTION)


def without_separators(raw: str) -> str:
    """Return a number without the marks that make it readable."""
    return raw.strip().translate(_SEPARATORS)


def callable_number(raw: str, rules: NumberRules) -> str:
    """Return the number to dial for what the caller ID says.

    Raises:
        NotCallable: with the reason in words.
    """
    number = without_separators(raw)
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
    forms = rules.plan.forms(number)
    if _any_matches(rules.deny, forms):
        raise NotCallable("the number is on the list of numbers not to call")
    if rules.allow and not _any_matches(rules.allow, forms):
        raise NotCallable("the number is not among those allowed")
    return rules.plan.write(number, rules.dial_as)


def display_name(raw: str) -> str:
    """Return a caller's name fit for a header: letters, digits, plain marks."""
    name = _CONTROL.sub(" ", raw)
    name = " ".join(name.split())[:60]
    return "" if name.lower() in _NO_NUMBER else name


def _any_matches(patterns: tuple[re.Pattern[str], ...], forms: set[str]) -> bool:
    return any(pattern.fullmatch(form) for pattern in patterns for form in forms)


@lru_cache(maxsize=4096)
def _read(number: str, region: str) -> PhoneNumber | None:
    """Return the number that is meant; None if it is none of the public network."""
    texts = [number]
    if number.startswith("00"):
        # The prefix of most countries, and written so also in those with another.
        texts.append(f"+{number[2:]}")
    elif number.startswith(str(phonenumbers.country_code_for_region(region))):
        # Complete but for the plus, as many networks send it. Abroad only the plus
        # would tell such a number from one of this country.
        texts.insert(0, f"+{number}")
    parsed = [one for text in texts if (one := _parsed(text, region)) is not None]
    for one in parsed:
        if phonenumbers.is_valid_number(one):
            return one
    for one in parsed:
        # A range too new for the library. Without a sign of where a number belongs it
        # is more likely an internal one.
        explicit = one.country_code_source != CountryCodeSource.FROM_DEFAULT_COUNTRY
        possible = phonenumbers.is_possible_number_with_reason(one)
        if explicit and possible == ValidationResult.IS_POSSIBLE:
            return one
    return None


def _parsed(text: str, region: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region, keep_raw_input=True)
    except NumberParseException:
        return None


def _e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


@lru_cache(maxsize=4096)
def _write(number: str, form: DialAs, region: str) -> str:
    parsed = _read(number, region)
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        return number
    match form:
        case DialAs.E164:
            return _e164(parsed)
        case DialAs.DIGITS:
            return _e164(parsed).removeprefix("+")
        case _:
            text = phonenumbers.format_out_of_country_calling_number(parsed, region)
            return re.sub(r"[^0-9]", "", text)
