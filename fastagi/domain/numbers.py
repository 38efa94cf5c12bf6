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
    PhoneNumberType,
    ValidationResult,
    shortnumberinfo,
)

from fastagi.domain.reason import Code, Reason, because
from fastagi.errors import CallbackError

#: The countries there is knowledge of, as two capital letters (ISO 3166-1).
REGIONS: Final = frozenset(phonenumbers.SUPPORTED_REGIONS)
#: The countries of each country calling code, the largest first.
REGIONS_OF_CODE: Final = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
_PLAIN: Final = re.compile(r"\+?[0-9]{1,32}", re.ASCII)
#: Marks people and networks put into numbers to make them readable.
_SEPARATORS: Final = str.maketrans("", "", " -./()")
#: What Asterisk and networks write where there is no number.
_NO_NUMBER: Final = frozenset(
    {"", "anonymous", "unknown", "unavailable", "restricted", "private", "withheld"}
)
#: The same words as some gateways write them: each letter as its key of a phone, so
#: that RESTRICTED is 7378742833.
_KEYPAD: Final = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999", strict=True)
)
_KEYPAD_WORDS: Final = {
    "".join(_KEYPAD[letter] for letter in word): word
    for word in (
        *("anonymous", "unknown", "unavailable", "notavailable", "restricted"),
        *("private", "privatenumber", "withheld", "blocked", "outofarea"),
    )
}
#: The one that looks like a number of North America, where such gateways stand.
_RESTRICTED: Final = "7378742833"
_NORTH_AMERICA: Final = 1
#: ``sip:+4930123456@example.com;user=phone`` and ``tel:+4930123456;cpc=ordinary``
#: (RFC 3261, RFC 3966). Without a user a SIP address has an IP address where others
#: have the number, so there it must be written without separators.
_SIP: Final = re.compile(
    r"sips?:(?:([^@:;<>]+)((?:;[^@;<>]*)*)(?::[^@<>]*)?@[^@<>]*|(\+?[0-9]+)(;[^@<>]*)?)",
    re.ASCII | re.IGNORECASE,
)
_TEL: Final = re.compile(r"tel:", re.ASCII | re.IGNORECASE)
_PARAMETERS: Final = re.compile(
    r"(?:;[A-Za-z][A-Za-z0-9-]*(?:=[A-Za-z0-9_.!~*'()+%:/-]*)?)*", re.ASCII
)
_CONTEXT: Final = re.compile(
    r";phone-context=(\+[0-9]{1,7})(?:;|$)", re.ASCII | re.IGNORECASE
)
#: Digits between the code of a country and its mobile numbers, which some networks
#: leave out and others do not; without them the number is still that of one client.
#: The library knows those in use; Mexico gave its up in 2019.
_FORMER_MOBILE_TOKENS: Final = {52: "1"}
_WITH_TOKEN_DIGITS: Final = 11
#: Likewise what Mexicans dialled before their own numbers until then.
_FORMER_MEXICAN: Final = re.compile(r"(?:01|044|045)([0-9]{10})", re.ASCII)
#: Presentation bits of CALLERID(pres): restricted, or number not available
#: (``include/asterisk/callerid.h``, AST_PRES_RESTRICTION).
_PRES_RESTRICTION: Final = 0x60
_CONTROL: Final = re.compile(r"[^\w .,:+()/-]+")
#: All that is kept of what was shown as a number and is none.
_UNFIT: Final = re.compile(r"[^A-Za-z0-9+*#@._ -]")
_LONGEST_SHOWN: Final = 40

#: In a list of countries: each of them.
EVERYWHERE: Final = "all"
#: The library's word for numbers that belong to no country, such as +870.
_WORLD: Final = "001"


class NumberKind(StrEnum):
    """What a number is for, and so what a call to it may cost."""

    FIXED_LINE = "fixed_line"
    MOBILE = "mobile"
    VOIP = "voip"
    TOLL_FREE = "toll_free"
    SHARED_COST = "shared_cost"
    PREMIUM_RATE = "premium_rate"
    #: Follows a person from phone to phone, at the expense of who calls.
    PERSONAL = "personal"
    PAGER = "pager"
    #: One number of a firm for the whole country, often at a price of its own.
    UAN = "uan"
    VOICEMAIL = "voicemail"
    #: Satellites, and other networks that belong to no country.
    SATELLITE = "satellite"
    #: Invented, internal, or of a range too new for the library.
    UNKNOWN = "unknown"


#: Those at which a person is reached, at the usual price.
USUAL_KINDS: Final = frozenset(
    {
        NumberKind.FIXED_LINE,
        NumberKind.MOBILE,
        NumberKind.VOIP,
        NumberKind.TOLL_FREE,
    }
)
_KINDS: Final = {
    PhoneNumberType.FIXED_LINE: (NumberKind.FIXED_LINE,),
    PhoneNumberType.MOBILE: (NumberKind.MOBILE,),
    PhoneNumberType.FIXED_LINE_OR_MOBILE: (NumberKind.FIXED_LINE, NumberKind.MOBILE),
    PhoneNumberType.TOLL_FREE: (NumberKind.TOLL_FREE,),
    PhoneNumberType.PREMIUM_RATE: (NumberKind.PREMIUM_RATE,),
    PhoneNumberType.SHARED_COST: (NumberKind.SHARED_COST,),
    PhoneNumberType.VOIP: (NumberKind.VOIP,),
    PhoneNumberType.PERSONAL_NUMBER: (NumberKind.PERSONAL,),
    PhoneNumberType.PAGER: (NumberKind.PAGER,),
    PhoneNumberType.UAN: (NumberKind.UAN,),
    PhoneNumberType.VOICEMAIL: (NumberKind.VOICEMAIL,),
}
#: By the code that stands where a country's stands (ITU-T E.164, list of assigned
#: codes). What the library calls some of them, such as mobile, would hide the price.
_WORLD_KINDS: Final = {
    800: NumberKind.TOLL_FREE,
    808: NumberKind.SHARED_COST,
    870: NumberKind.SATELLITE,
    878: NumberKind.PERSONAL,
    881: NumberKind.SATELLITE,
    882: NumberKind.SATELLITE,
    883: NumberKind.SATELLITE,
    979: NumberKind.PREMIUM_RATE,
}
#: Emergency numbers, wherever they are, mostly have three digits; clients have more.
_MOST_EMERGENCY_DIGITS: Final = 3


class NotCallable(CallbackError):
    """The number can not be called back."""

    def __init__(self, why: Reason) -> None:
        super().__init__(str(why))
        self.why = why


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
        be one, without the 9 of Argentine mobiles. The key of a key is the key itself.
        """
        digits = number.removeprefix("+")
        if not self.region:
            return digits
        # A number abroad that was written as digits alone is known by its shape.
        parsed = _read(number, self.region) or _mobile_abroad(digits)
        if parsed is None:
            return digits
        return _without_mobile_token(_e164(parsed).removeprefix("+"), parsed)

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
    ``0900123456`` may not be called at ``+49900123456`` either. Every rule must let a
    number pass.

    Without a region, what a number is for and where it belongs is known of numbers
    with ``+`` or ``00`` alone; the others pass, and nothing is known to be abroad.
    """

    min_digits: int = 5
    max_digits: int = 15
    allow: tuple[re.Pattern[str], ...] = field(default=())
    deny: tuple[re.Pattern[str], ...] = field(default=())
    #: What may be called.
    kinds: frozenset[NumberKind] = USUAL_KINDS
    #: Countries that may be called besides the plan's region; or EVERYWHERE.
    allow_regions: frozenset[str] = frozenset()
    #: Countries that may not be called, whatever else allows it.
    deny_regions: frozenset[str] = frozenset()
    #: Numbers at which this Asterisk itself is reached.
    own: tuple[re.Pattern[str], ...] = field(default=())
    #: More of them, by their keys.
    own_keys: frozenset[str] = frozenset()
    dial_as: DialAs = DialAs.AS_RECEIVED
    plan: NumberPlan = NumberPlan()


def is_withheld(callingpres: int) -> bool:
    """Whether the caller asked not to show the number (AGI ``agi_callingpres``)."""
    return bool(callingpres & _PRES_RESTRICTION)


def without_separators(raw: str) -> str:
    """Return a number without the marks that make it readable.

    Of an address such as ``sip:`` and ``tel:`` the number in it, without parameters.
    """
    text = raw.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    parameters = ""
    if sip := _SIP.fullmatch(text):
        # A "+" may be escaped there.
        text = re.sub("^%2b", "+", sip[1] or sip[3], flags=re.IGNORECASE)
        parameters = sip[2] or sip[4] or ""
    elif tel := _TEL.match(text):
        text = text[tel.end() :]
    text, semicolon, rest = text.partition(";")
    parameters = f"{semicolon}{rest}{parameters}"
    if not _PARAMETERS.fullmatch(parameters):
        # Whatever this is, it must not become a number by being cut.
        return raw.strip()
    number = text.strip().translate(_SEPARATORS)
    context = _CONTEXT.search(parameters)
    if context and re.fullmatch("[0-9]+", number):
        return _in_context(number, context[1])
    return number


def _in_context(number: str, context: str) -> str:
    """Return a number of a country in its international form."""
    parsed = _parsed(f"{context}{number}", "")
    if parsed is not None and phonenumbers.is_valid_number(parsed):
        return _e164(parsed)
    return f"{context}{number}"


def plain_number(raw: str) -> str:
    """Return the number that the caller ID shows: digits, perhaps with a plus.

    Raises:
        NotCallable: it shows none.
    """
    number = without_separators(raw)
    if number.lower() in _NO_NUMBER:
        raise NotCallable(because(Code.NO_NUMBER))
    if not _PLAIN.fullmatch(number):
        raise NotCallable(because(Code.NOT_PLAIN))
    return number


def callable_number(raw: str, rules: NumberRules) -> str:
    """Return the number to dial for what the caller ID says.

    Raises:
        NotCallable: it may not be called.
    """
    number = plain_number(raw)
    if number.startswith("+0"):
        # Dialled without the plus it could lead anywhere.
        raise NotCallable(because(Code.BAD_COUNTRY_CODE))
    if word := _keypad_word(number, rules.plan.region):
        raise NotCallable(because(Code.KEYPAD_WORD, word=word))
    digits = len(number.removeprefix("+"))
    if digits < rules.min_digits:
        raise NotCallable(
            because(Code.TOO_FEW_DIGITS, digits=digits, limit=rules.min_digits)
        )
    if digits > rules.max_digits:
        raise NotCallable(
            because(Code.TOO_MANY_DIGITS, digits=digits, limit=rules.max_digits)
        )
    if _is_short(number, rules.plan.region):
        raise NotCallable(because(Code.SHORT_NUMBER))
    forms = rules.plan.forms(number)
    if _any_matches(rules.own, forms) or rules.plan.key(number) in rules.own_keys:
        raise NotCallable(because(Code.OWN_NUMBER))
    if _any_matches(rules.deny, forms):
        raise NotCallable(because(Code.DENIED))
    if rules.allow and not _any_matches(rules.allow, forms):
        raise NotCallable(because(Code.NOT_ALLOWED))
    _check_origin(number, rules)
    return rules.plan.write(number, rules.dial_as)


def why_not_any_more(number: str, key: str, rules: NumberRules) -> Reason | None:
    """Say why a number that was found callable may not be dialled any more.

    Args:
        number: as it will be dialled.
        key: of the same number.
        rules: those in force now.

    Returns:
        the reason; None if it may be dialled.
    """
    # Written as digits alone, a number abroad does not say any more that it is. Its key
    # may lack a digit of it. Or it was never one of the public network.
    for explicit in (f"+{key}", f"+{number.removeprefix('+')}"):
        if rules.plan.key(explicit) != key:
            continue
        try:
            if callable_number(explicit, rules) == number:
                return None
        except NotCallable:
            pass
    try:
        callable_number(number, rules)
    except NotCallable as refusal:
        return refusal.why
    return None


def shown_number(raw: str) -> str:
    """Return what was shown as a number, fit to be kept and printed.

    Nothing but plain ASCII remains, of a length that a flood of callers can not fill a
    disk with.
    """
    shown = printable(raw.strip())
    if len(shown) > _LONGEST_SHOWN:
        return shown[: _LONGEST_SHOWN - 3] + "..."
    return shown


def printable(raw: str) -> str:
    """Return what a stranger may have typed as plain ASCII."""
    return _UNFIT.sub("?", raw)


def display_name(raw: str) -> str:
    """Return a caller's name fit for a header: letters, digits, plain marks."""
    name = _CONTROL.sub(" ", raw)
    name = " ".join(name.split())[:60]
    return "" if name.lower() in _NO_NUMBER else name


def _any_matches(patterns: tuple[re.Pattern[str], ...], forms: set[str]) -> bool:
    return any(pattern.fullmatch(form) for pattern in patterns for form in forms)


def _check_origin(number: str, rules: NumberRules) -> None:
    """Raise NotCallable for a number of a kind or a country that is not called."""
    home = rules.plan.region
    origin = _origin(number, home)
    if origin is None:
        return
    if not origin.kinds & rules.kinds:
        kind = min(origin.kinds)
        raise NotCallable(because(Code.KIND_NOT_CALLED, kind=kind.value))
    region = origin.region
    if region in rules.deny_regions and home not in origin.shared_by:
        raise NotCallable(because(Code.REGION_DENIED, region=region))
    if home and (region == home or home in origin.shared_by):
        return
    if region == _WORLD and NumberKind.SATELLITE in origin.kinds:
        # Whoever allows the kind can mean no other numbers.
        return
    allowed = rules.allow_regions
    nothing_is_abroad = not home and not allowed
    among = origin.shared_by | {region}
    if not (nothing_is_abroad or EVERYWHERE in allowed or among & allowed):
        known = ", ".join(sorted(allowed | {home} - {""}))
        if region == _WORLD:
            raise NotCallable(because(Code.NO_REGION, allowed=known))
        if not region:
            raise NotCallable(because(Code.UNKNOWN_REGION, allowed=known))
        raise NotCallable(
            because(Code.REGION_NOT_ALLOWED, region=region, allowed=known)
        )


@frozen
class _Origin:
    """Where a number belongs and what it is for.

    Attributes:
        region: a country; _WORLD; or empty, if its code is shared by several and it
            can not be told.
        kinds: one; two where a country does not tell fixed lines from mobiles.
        shared_by: all countries whose number it may be, such as those of North America
            for +1 800; empty if it can be told.
    """

    region: str
    kinds: frozenset[NumberKind]
    shared_by: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def _origin(number: str, home: str) -> _Origin | None:
    """Return what is known of a number; None if nothing can be."""
    parsed = (home and _read(number, home)) or _explicit(number, home)
    if not parsed:
        unknown = frozenset({NumberKind.UNKNOWN})
        return _Origin(home, unknown) if home else None
    code = parsed.country_code or 0
    if code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        kind = _WORLD_KINDS.get(code, NumberKind.UNKNOWN)
        return _Origin(_WORLD, frozenset({kind}))
    regions = phonenumbers.region_codes_for_country_code(code)
    region = phonenumbers.region_code_for_number(parsed)
    if region is None and len(regions) == 1:
        region = regions[0]
    kinds = _KINDS.get(phonenumbers.number_type(parsed), (NumberKind.UNKNOWN,))
    if not home and NumberKind.UNKNOWN in kinds:
        # Where it is not known what numbers mean, this proves nothing.
        return None
    shared_by = frozenset(
        one for one in regions if phonenumbers.is_valid_number_for_region(parsed, one)
    )
    if len(shared_by) < 2:
        shared_by = frozenset()
    return _Origin(region or "", frozenset(kinds), shared_by)


def _explicit(number: str, home: str) -> PhoneNumber | None:
    """Return a number that says itself where it belongs, valid or not."""
    texts = [number] if home or number.startswith("+") else []
    if number.startswith("00"):
        # Perhaps behind a 0 that takes a line.
        texts.append(f"+{number.lstrip('0')}")
    for text in texts:
        parsed = _parsed(text, home)
        if (
            parsed is not None
            and parsed.country_code_source != CountryCodeSource.FROM_DEFAULT_COUNTRY
        ):
            return parsed
    return None


@lru_cache(maxsize=4096)
def _is_short(number: str, home: str) -> bool:
    """Tell whether a number may reach emergency or other services of a country."""
    digits = number.removeprefix("+")
    if len(digits) <= _MOST_EMERGENCY_DIGITS:
        return True
    if not home:
        return False
    parsed = _read(number, home)
    if parsed is not None and phonenumbers.is_valid_number(parsed):
        # In some countries those of subscribers begin like those of emergencies.
        return False
    if shortnumberinfo.connects_to_emergency_number(digits, home):
        return True
    national = _parsed(number, home)
    if national is None:
        return False
    return len(
        str(national.national_number)
    ) <= _MOST_EMERGENCY_DIGITS or shortnumberinfo.is_valid_short_number(national)


@lru_cache(maxsize=4096)
def _read(number: str, region: str) -> PhoneNumber | None:
    """Return the number that is meant; None if it is none of the public network."""
    texts = [number]
    if number.startswith("00"):
        # The prefix of most countries, and written so also in those with another.
        texts.append(f"+{number.lstrip('0')}")
    elif region == "MX" and (former := _FORMER_MEXICAN.fullmatch(number)):
        texts.append(former[1])
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
        parsed = phonenumbers.parse(text, region or None, keep_raw_input=True)
    except NumberParseException:
        return None
    national = str(parsed.national_number)
    former = _FORMER_MOBILE_TOKENS.get(parsed.country_code or 0)
    explicit = parsed.country_code_source != CountryCodeSource.FROM_DEFAULT_COUNTRY
    if (
        former
        and explicit
        and len(national) == _WITH_TOKEN_DIGITS
        and national.startswith(former)
    ):
        parsed.national_number = int(national[len(former) :])
    return parsed


def _without_mobile_token(digits: str, parsed: PhoneNumber) -> str:
    """Return the digits of an E.164 number without what only mobiles have."""
    code = str(parsed.country_code)
    token = phonenumbers.country_mobile_token(parsed.country_code or 0)
    national = digits.removeprefix(code)
    if (
        token
        and national.startswith(token)
        and len(national) == _WITH_TOKEN_DIGITS
        and phonenumbers.is_valid_number(parsed)
    ):
        return code + national.removeprefix(token)
    return digits


def _mobile_abroad(digits: str) -> PhoneNumber | None:
    """Return a number that is known only by its mobile token; None if it has none."""
    parsed = _parsed(f"+{digits}", "")
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        return None
    return parsed if _without_mobile_token(digits, parsed) != digits else None


def _keypad_word(number: str, home: str) -> str:
    """Return the word that stands in the place of a number; empty if it is one.

    What is a real number of this country, or says itself where it belongs, is one. A
    fixed line's begins with the prefix of its country, if it has one: 0 in Germany.
    RESTRICTED is taken for the word throughout North America.
    """
    digits = number.removeprefix("+")
    north_american = not home or (
        phonenumbers.country_code_for_region(home) == _NORTH_AMERICA
    )
    if digits.removeprefix("1") == _RESTRICTED and (
        north_american or digits != _RESTRICTED
    ):
        return _KEYPAD_WORDS[_RESTRICTED]
    word = _KEYPAD_WORDS.get(digits, "")
    if not word:
        return ""
    parsed = _read(number, home) if home else _explicit(number, home)
    if not parsed or not phonenumbers.is_valid_number(parsed):
        return word
    is_bare = parsed.country_code_source == CountryCodeSource.FROM_DEFAULT_COUNTRY
    kinds = _KINDS.get(phonenumbers.number_type(parsed), ())
    if is_bare and _has_prefix(home) and NumberKind.MOBILE not in kinds:
        return word
    return ""


def _has_prefix(region: str) -> bool:
    """Tell whether the numbers of a country begin with a prefix within it."""
    return bool(phonenumbers.ndd_prefix_for_region(region, True))


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
