# SPDX-License-Identifier: MIT
"""A client's number: whose it is, and whether and in what form it may be dialled.

Strangers control the caller ID, so only plain numbers leave this module. The library
``phonenumbers`` knows the numbers of each country.
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

from fastagi.domain.not_callable import NotCallable
from fastagi.domain.reason import Code, Reason, because

#: The countries that the library knows, as two capital letters (ISO 3166-1).
REGIONS: Final = frozenset(phonenumbers.SUPPORTED_REGIONS)
#: The countries of each country calling code, the largest first.
REGIONS_OF_CODE: Final = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
_PLAIN: Final = re.compile(r"\+?[0-9]{1,32}", re.ASCII)
#: A pattern for one number.
_ONE_NUMBER: Final = re.compile(r"(\\\+|\[\+\])?([0-9]+)", re.ASCII)
#: Separators that make numbers readable.
_SEPARATORS: Final = str.maketrans("", "", " -./()")
#: Words of Asterisk and networks for "no number".
_NO_NUMBER: Final = frozenset(
    {"", "anonymous", "unknown", "unavailable", "restricted", "private", "withheld"}
)
#: Letters to the keys of a phone: some gateways write such words as digits, RESTRICTED
#: as 7378742833.
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
#: The word that looks like a number of North America, where such gateways are used.
_RESTRICTED: Final = "7378742833"
_NORTH_AMERICA: Final = 1
#: ``sip:+4930123456@example.com;user=phone`` and ``tel:+4930123456;cpc=ordinary``
#: (RFC 3261, RFC 3966). A SIP address without a user has an IP address in the place of
#: the number, so there separators are not allowed.
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
#: Digits between a country code and its mobile numbers that some networks leave out;
#: they do not change whose number it is. The library knows those in use; Mexico dropped
#: its digit in 2019.
_FORMER_MOBILE_TOKENS: Final = {52: "1"}
_WITH_TOKEN_DIGITS: Final = 11
#: Prefixes that were dialled within Mexico until 2019.
_FORMER_MEXICAN: Final = re.compile(r"(?:01|044|045)([0-9]{10})", re.ASCII)
#: Presentation bits of CALLERID(pres): restricted, or number not available
#: (``include/asterisk/callerid.h``, AST_PRES_RESTRICTION).
_PRES_RESTRICTION: Final = 0x60
_CONTROL: Final = re.compile(r"[^\w .,:+()/-]+")
#: Characters removed from a caller ID that is not a number.
_UNFIT: Final = re.compile(r"[^A-Za-z0-9+*#@._ -]")
_MAX_SHOWN: Final = 40

#: In a list of countries: all of them.
EVERYWHERE: Final = "all"
#: The library's region code for numbers that belong to no country, such as +870.
_WORLD: Final = "001"


class NumberKind(StrEnum):
    """The kind of a number, which affects the price of a call to it."""

    FIXED_LINE = "fixed_line"
    MOBILE = "mobile"
    VOIP = "voip"
    TOLL_FREE = "toll_free"
    SHARED_COST = "shared_cost"
    PREMIUM_RATE = "premium_rate"
    #: Follows a person from phone to phone, at the caller's expense.
    PERSONAL = "personal"
    PAGER = "pager"
    #: A company's number for the whole country, often at a special price.
    UAN = "uan"
    VOICEMAIL = "voicemail"
    #: Satellites, and other networks that belong to no country.
    SATELLITE = "satellite"
    #: Invented, internal, or in a range too new for the library.
    UNKNOWN = "unknown"


#: The kinds at which a person is reached at the usual price.
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
#: Kinds of worldwide numbers by country code (ITU-T E.164, list of assigned codes). The
#: library calls some of them mobile, for example, which would hide their price.
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
#: Maximum length of a number that is taken for an emergency number in any country.
_MAX_EMERGENCY_DIGITS: Final = 3


class DialAs(StrEnum):
    """The form in which a client's number is dialled."""

    AS_RECEIVED = "as_received"
    #: ``+4930123456``
    E164 = "e164"
    #: ``4930123456``
    DIGITS = "digits"
    #: ``030123456``; numbers abroad with the region's international prefix.
    NATIONAL = "national"


class OtherNumber(StrEnum):
    """Who may enter another number than the one that the network shows."""

    NEVER = "never"
    #: Callers whose number is shown, so that there is a limit for each of them.
    SHOWN = "shown"
    ANYBODY = "anybody"


@frozen
class NumberPlan:
    """How numbers are read in the country of this Asterisk.

    Attributes:
        region: the country, as two capital letters of ISO 3166-1. Empty if it is not
            known; then all forms of a number are different, except for a ``+``.
    """

    region: str = ""

    def key(self, number: str) -> str:
        """Return the number key: the same for all forms of one client's number.

        With a region it is the digits of the E.164 form, if there is one, without the 9
        of Argentine mobiles. The key of a key is the key itself.
        """
        digits = number.removeprefix("+")
        if not self.region:
            return digits
        # A number abroad that is written without "+" is recognised by its digits.
        parsed = _read(number, self.region) or _mobile_abroad(digits)
        if parsed is None:
            return digits
        return _without_mobile_token(_e164(parsed).removeprefix("+"), parsed)

    def has_area_code(self, number: str) -> bool:
        """Whether a number can not be a local one, as it is dialled within a town.

        The library reads a local number as another one, whose area code it begins with.
        """
        if not self.region or number.startswith(("+", "0")):
            return True
        # Where other numbers have a 0 in front, one without it is local, or abroad.
        prefix = phonenumbers.ndd_prefix_for_region(self.region, True)
        return prefix != "0" or self.key(number) == number

    def write(self, number: str, form: DialAs) -> str:
        """Return a number in another form; an invalid number is returned unchanged."""
        if form is DialAs.AS_RECEIVED or not self.region:
            return number
        return _write(number, form, self.region)

    def forms(self, number: str) -> set[str]:
        """Return all forms of a number, including the given one."""
        if not self.region:
            return {number}
        return {self.write(number, form) for form in DialAs}


@frozen(kw_only=True)
class NumberRules:
    """Which numbers may be dialled. A pattern must match the whole number.

    A number is denied, or allowed, if one of its forms is: if ``0900123456`` is denied,
    so is ``+49900123456``. A number must pass every rule.

    Without a region, kind and country are known only for numbers with ``+`` or ``00``;
    all other numbers pass these two rules.
    """

    min_digits: int = 5
    max_digits: int = 15
    allow: tuple[re.Pattern[str], ...] = field(default=())
    deny: tuple[re.Pattern[str], ...] = field(default=())
    #: The kinds of numbers that may be called.
    kinds: frozenset[NumberKind] = USUAL_KINDS
    #: Countries that may be called, besides the plan's region; or EVERYWHERE.
    allow_regions: frozenset[str] = frozenset()
    #: Countries that must not be called, even if another setting allows it.
    deny_regions: frozenset[str] = frozenset()
    #: This Asterisk's own numbers.
    own: tuple[re.Pattern[str], ...] = field(default=())
    #: Number keys of own numbers that are known as numbers.
    own_keys: frozenset[str] = frozenset()
    dial_as: DialAs = DialAs.AS_RECEIVED
    plan: NumberPlan = NumberPlan()


def is_withheld(callingpres: int) -> bool:
    """Whether the caller withheld the number (AGI ``agi_callingpres``)."""
    return bool(callingpres & _PRES_RESTRICTION)


def without_separators(raw: str) -> str:
    """Return a number without separators.

    From an address such as ``sip:`` and ``tel:``, return the number without parameters.
    """
    if _PLAIN.fullmatch(raw):
        return raw
    text = raw.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    parameters = ""
    if sip := _SIP.fullmatch(text):
        # "+" may be escaped as %2B.
        text = re.sub("^%2b", "+", sip[1] or sip[3], flags=re.IGNORECASE)
        parameters = sip[2] or sip[4] or ""
    elif tel := _TEL.match(text):
        text = text[tel.end() :]
    text, semicolon, rest = text.partition(";")
    parameters = f"{semicolon}{rest}{parameters}"
    if not _PARAMETERS.fullmatch(parameters):
        # Not a known form: cutting it might turn it into a number.
        return raw.strip()
    number = text.strip().translate(_SEPARATORS)
    context = _CONTEXT.search(parameters)
    if context and re.fullmatch("[0-9]+", number):
        return _in_context(number, context[1])
    return number


def _in_context(number: str, context: str) -> str:
    """Return a number with the international prefix of a ``phone-context``."""
    parsed = _parsed(f"{context}{number}", "")
    if parsed is not None and phonenumbers.is_valid_number(parsed):
        return _e164(parsed)
    return f"{context}{number}"


def plain_number(raw: str) -> str:
    """Return the number in a caller ID: digits, perhaps with a leading ``+``.

    Raises:
        NotCallable: it contains no number.
    """
    number = without_separators(raw)
    why_not = _why_not_plain(number)
    if why_not is not None:
        raise NotCallable(because(why_not))
    return number


def plain_number_in(raw: str) -> str | None:
    """Return the number in a caller ID, or in an extension; None: there is none."""
    number = without_separators(raw)
    return number if _why_not_plain(number) is None else None


def _why_not_plain(number: str) -> Code | None:
    if number.lower() in _NO_NUMBER:
        return Code.NO_NUMBER
    return None if _PLAIN.fullmatch(number) else Code.NOT_PLAIN


def callable_number(raw: str, rules: NumberRules) -> str:
    """Return the number to dial for a caller ID.

    Raises:
        NotCallable: the number must not be called.
    """
    number = plain_number(raw)
    if number.startswith("+0"):
        # Dialled without the "+" it could reach any number.
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
    """Return why the rules do not allow a stored number any more.

    Args:
        number: the number in the form in which it will be dialled.
        key: its number key.
        rules: the rules in force now.

    Returns:
        The reason; None if the number may be dialled.
    """
    # Without "+" a number abroad cannot be recognised as one, so "+" is added to both:
    # the key may lack a digit, and the number may not be a public one at all.
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


def region_of(number: str, home: str) -> str:
    """Return the country of a plain number; empty if it has none or is not known."""
    if not _PLAIN.fullmatch(number):
        return ""
    origin = _origin(number, home)
    return "" if origin is None or origin.region == _WORLD else origin.region


def shown_number(raw: str) -> str:
    """Return a caller ID that is safe to store and print.

    It is plain ASCII, and short, so that many callers cannot fill a disk.
    """
    shown = printable(raw.strip())
    if len(shown) > _MAX_SHOWN:
        return shown[: _MAX_SHOWN - 3] + "..."
    return shown


def printable(raw: str) -> str:
    """Return untrusted text as plain ASCII."""
    return _UNFIT.sub("?", raw)


def display_name(raw: str) -> str:
    """Return a caller's name for a header: letters, digits, plain punctuation."""
    name = _CONTROL.sub(" ", raw)
    name = " ".join(name.split())[:60]
    return "" if name.lower() in _NO_NUMBER else name


def number_of_pattern(pattern: re.Pattern[str]) -> str:
    """Return the number that a pattern names; empty if it may match several."""
    named = _ONE_NUMBER.fullmatch(pattern.pattern)
    return f"{'+' if named[1] else ''}{named[2]}" if named else ""


def _any_matches(patterns: tuple[re.Pattern[str], ...], forms: set[str]) -> bool:
    return any(pattern.fullmatch(form) for pattern in patterns for form in forms)


def _check_origin(number: str, rules: NumberRules) -> None:
    """Raise NotCallable if the kind or the country of a number is not allowed."""
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
        # These kinds exist only worldwide: who allows the kind allows the region.
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
    """The country and the kind of a number.

    Attributes:
        region: a country; _WORLD; or empty, if several countries share the code and the
            country is not known.
        kinds: one kind; two if fixed lines and mobiles cannot be told apart.
        shared_by: all countries to which the number may belong, such as those of North
            America for +1 800; empty if the country is known.
    """

    region: str
    kinds: frozenset[NumberKind]
    shared_by: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def _origin(number: str, home: str) -> _Origin | None:
    """Return the country and kind of a number; None if they cannot be known."""
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
        # Without a region, an invalid number proves nothing.
        return None
    shared_by = frozenset(
        one for one in regions if phonenumbers.is_valid_number_for_region(parsed, one)
    )
    if len(shared_by) < 2:
        shared_by = frozenset()
    return _Origin(region or "", frozenset(kinds), shared_by)


def _explicit(number: str, home: str) -> PhoneNumber | None:
    """Return a number with an international prefix, valid or not; otherwise None."""
    texts = [number] if home or number.startswith("+") else []
    if number.startswith("00"):
        # An extra 0 for an outside line may come first.
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
    """Whether a number may reach emergency or other short-number services."""
    digits = number.removeprefix("+")
    if len(digits) <= _MAX_EMERGENCY_DIGITS:
        return True
    if not home:
        return False
    parsed = _read(number, home)
    if parsed is not None and phonenumbers.is_valid_number(parsed):
        # In some countries subscribers' numbers begin with an emergency number.
        return False
    if shortnumberinfo.connects_to_emergency_number(digits, home):
        return True
    national = _parsed(number, home)
    if national is None:
        return False
    return len(
        str(national.national_number)
    ) <= _MAX_EMERGENCY_DIGITS or shortnumberinfo.is_valid_short_number(national)


@lru_cache(maxsize=4096)
def _read(number: str, region: str) -> PhoneNumber | None:
    """Return the parsed number; None if it is not a public number."""
    texts = [number]
    if number.startswith("00"):
        # 00 is the usual international prefix, also written where another one is used.
        texts.append(f"+{number.lstrip('0')}")
    elif region == "MX" and (former := _FORMER_MEXICAN.fullmatch(number)):
        texts.append(former[1])
    elif number.startswith(str(phonenumbers.country_code_for_region(region))):
        # Many networks send a number of this country with its code but without "+".
        texts.insert(0, f"+{number}")
    parsed = [one for text in texts if (one := _parsed(text, region)) is not None]
    for one in parsed:
        if phonenumbers.is_valid_number(one):
            return one
    for one in parsed:
        # Possible but not valid: perhaps in a range too new for the library. Without an
        # international prefix it is more likely an internal number.
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
    """Return the digits of an E.164 number without the mobile token."""
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
    """Return a number abroad that is recognised by its mobile token, or None."""
    parsed = _parsed(f"+{digits}", "")
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        return None
    return parsed if _without_mobile_token(digits, parsed) != digits else None


def _keypad_word(number: str, home: str) -> str:
    """Return the word that was sent as digits; empty if it is a number.

    It is a number if it is valid in this country, or has an international prefix. The
    number of a fixed line must begin with the country's national prefix, if there is
    one (0 in Germany). In North America RESTRICTED is always taken for the word.
    """
    digits = number.removeprefix("+")
    if digits not in _KEYPAD_WORDS and digits.removeprefix("1") != _RESTRICTED:
        return ""
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
    """Whether numbers in a country begin with a national prefix."""
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
