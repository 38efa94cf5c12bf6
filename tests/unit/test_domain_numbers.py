# SPDX-License-Identifier: MIT
"""Whose number it is, whether it may be dialled, and in what form."""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.not_callable import NotCallable
from fastagi.domain.numbers import (
    DialAs,
    NumberKind,
    NumberPlan,
    NumberRules,
    callable_number,
    display_name,
    is_withheld,
    plain_number,
    shown_number,
    why_not_any_more,
    without_separators,
)

NOWHERE = NumberPlan()
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


def a_number_of(region: str) -> phonenumbers.PhoneNumber:
    """Return a valid number of a country."""
    number = phonenumbers.example_number(region)
    assert number is not None
    return number


# -- whose it is -----------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "forms", "key"),
    [
        (
            "RU",
            "+79031234567 89031234567 0079031234567 79031234567 9031234567",
            "79031234567",
        ),
        ("RU", "+4930123456 8104930123456 004930123456", "4930123456"),
        ("DE", "+49301234567 0049301234567 0301234567 49301234567", "49301234567"),
        ("US", "+13035551234 13035551234 3035551234 01113035551234", "13035551234"),
        ("IT", "+390612345678 0612345678 00390612345678", "390612345678"),
        ("GB", "+442079460958 02079460958 00442079460958", "442079460958"),
    ],
)
def test_each_form_of_a_number_means_one_client(
    region: str, forms: str, key: str
) -> None:
    plan = NumberPlan(region)
    assert {plan.key(form) for form in forms.split()} == {key}


@pytest.mark.parametrize(
    ("region", "forms", "key"),
    [
        # A mobile is shown with the 9, without it, or with 15 behind the area code.
        (
            "AR",
            "+5491123456789 +541123456789 +54111523456789 01123456789 0111523456789"
            " 91123456789 1123456789 5491123456789 541123456789",
            "541123456789",
        ),
        ("DE", "+5491123456789 +541123456789 005491123456789", "541123456789"),
        # Digits alone are known abroad by the 9, where they are no number at home.
        ("FR", "+5491123456789 5491123456789", "541123456789"),
        ("US", "+5493515123456 +543515123456 011543515123456", "543515123456"),
        # Mexico gave up its 1, and what was dialled before its own numbers.
        (
            "MX",
            "+5215512345678 +525512345678 5215512345678 5512345678 015512345678"
            " 0445512345678 0455512345678",
            "525512345678",
        ),
        ("DE", "+5215512345678 +525512345678 005215512345678", "525512345678"),
        # Brazil's ninth digit belongs to the number.
        ("BR", "+5511987654321 011987654321", "5511987654321"),
        ("BR", "+551187654321", "551187654321"),
        ("DE", "00493012345678 000493012345678", "493012345678"),
    ],
)
def test_a_mobile_with_and_without_what_only_mobiles_have_is_one_client(
    region: str, forms: str, key: str
) -> None:
    plan = NumberPlan(region)
    assert {form: plan.key(form) for form in forms.split()} == dict.fromkeys(
        forms.split(), key
    )
    assert plan.key(f"+{key}") == key


def test_every_country_with_a_mobile_token_is_known() -> None:
    """A new one in the library must be looked at: its keys change."""
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    assert {code for code in codes if phonenumbers.country_mobile_token(code)} == {54}


@pytest.mark.parametrize("dial_as", DialAs)
@pytest.mark.parametrize("region", ["AR", "DE"])
@pytest.mark.parametrize("number", ["+5491123456789", "+5215512345678", "+33612345678"])
def test_a_number_that_was_callable_is_found_so_again(
    number: str, region: str, dial_as: DialAs
) -> None:
    """However it is dialled, and though its key lacks a digit."""
    plan = NumberPlan(region)
    rules = NumberRules(dial_as=dial_as, plan=plan, allow_regions=frozenset({"all"}))
    dialled = callable_number(number, rules)
    key = plan.key(number)
    assert why_not_any_more(dialled, key, rules) is None


@pytest.mark.parametrize("region", REGIONS)
def test_in_every_country_the_forms_of_a_number_have_one_key(region: str) -> None:
    plan = NumberPlan(region)
    e164 = phonenumbers.format_number(
        a_number_of(region), phonenumbers.PhoneNumberFormat.E164
    )
    assert {plan.key(form) for form in plan.forms(e164)} == {e164.removeprefix("+")}
    mobile = phonenumbers.example_number_for_type(
        region, phonenumbers.PhoneNumberType.MOBILE
    )
    if mobile is not None:
        e164 = phonenumbers.format_number(mobile, phonenumbers.PhoneNumberFormat.E164)
        assert len({plan.key(form) for form in plan.forms(e164)}) == 1


@pytest.mark.parametrize("number", ["101", "1234", "70123"])
@pytest.mark.parametrize("region", ["RU", "DE", "US", ""])
def test_an_internal_number_stays_what_it_is(region: str, number: str) -> None:
    plan = NumberPlan(region)
    assert plan.key(number) == number
    assert plan.forms(number) == {number}


def test_without_a_region_only_the_plus_is_no_part_of_a_number() -> None:
    assert NOWHERE.key("+79031234567") == NOWHERE.key("79031234567") == "79031234567"
    assert NOWHERE.key("89031234567") == "89031234567"


@given(st.from_regex(r"\+?[0-9]{1,32}", fullmatch=True), st.sampled_from(REGIONS))
def test_the_key_of_a_key_is_the_key(number: str, region: str) -> None:
    """Otherwise a task would lose its client when its key is renewed."""
    key = NumberPlan(region).key(number)
    assert NumberPlan(region).key(f"+{key}") == key
    assert NumberPlan().key(key) == key
    assert re.fullmatch(r"[0-9]{1,34}", key)


# -- how it is written -----------------------------------------------------


@pytest.mark.parametrize(
    ("form", "home", "abroad"),
    [
        (DialAs.AS_RECEIVED, "0301234567", "+33612345678"),
        (DialAs.E164, "+49301234567", "+33612345678"),
        (DialAs.DIGITS, "49301234567", "33612345678"),
        (DialAs.NATIONAL, "0301234567", "0033612345678"),
    ],
)
def test_a_number_is_dialled_in_the_form_that_is_set(
    form: DialAs, home: str, abroad: str
) -> None:
    rules = NumberRules(
        dial_as=form, plan=NumberPlan("DE"), allow_regions=frozenset({"FR"})
    )
    assert callable_number("030 / 123 45 67", rules) == home
    assert callable_number("+33 6 12345678", rules) == abroad


def test_a_number_the_plan_does_not_know_is_dialled_as_it_came() -> None:
    rules = NumberRules(
        dial_as=DialAs.E164,
        plan=NumberPlan("DE"),
        min_digits=3,
        kinds=frozenset({NumberKind.UNKNOWN}),
    )
    assert callable_number("1234", rules) == "1234"
    without_region = NumberRules(dial_as=DialAs.E164)
    assert callable_number("0301234567", without_region) == "0301234567"


# -- whether it may be dialled ---------------------------------------------


@pytest.mark.parametrize(
    "raw",
    ["", "anonymous", "Unavailable", " ", "abc", "1,2345", "123456&7", "+", "١٢٣٤٥"],
)
def test_what_is_no_plain_number_is_refused(raw: str) -> None:
    with pytest.raises(NotCallable):
        callable_number(raw, NumberRules())


def test_too_few_and_too_many_digits_are_refused() -> None:
    rules = NumberRules(min_digits=5, max_digits=7)
    assert callable_number("+12345", rules) == "+12345"
    with pytest.raises(NotCallable, match="4 digits, fewer than the 5"):
        callable_number("1234", rules)
    with pytest.raises(NotCallable, match="8 digits, more than the 7"):
        callable_number("12345678", rules)


@pytest.mark.parametrize("number", ["09001234567", "+499001234567", "00499001234567"])
def test_a_denied_number_is_denied_in_each_of_its_forms(number: str) -> None:
    rules = NumberRules(deny=(re.compile("0900[0-9]+"),), plan=NumberPlan("DE"))
    with pytest.raises(NotCallable, match="not to call"):
        callable_number(number, rules)


@pytest.mark.parametrize("number", ["0301234567", "+49301234567", "0049301234567"])
def test_an_allowed_number_is_allowed_in_each_of_its_forms(number: str) -> None:
    rules = NumberRules(allow=(re.compile(r"\+49[1-9]+[0-9]*"),), plan=NumberPlan("DE"))
    assert callable_number(number, rules) == number
    with pytest.raises(NotCallable, match="not among those allowed"):
        callable_number("+33612345678", rules)


@given(st.text(), st.sampled_from(["", "DE", "US"]), st.sampled_from(DialAs))
def test_nothing_but_a_plain_number_ever_comes_out(
    raw: str, region: str, form: DialAs
) -> None:
    try:
        number = callable_number(
            raw, NumberRules(dial_as=form, plan=NumberPlan(region))
        )
    except NotCallable:
        return
    assert re.fullmatch(r"\+?[0-9]{5,34}", number, re.ASCII)


# -- which kinds and which countries -----------------------------------------


def refusal(number: str, region: str = "", **rules: object) -> str:
    """Return why a number is not called; empty if it is."""
    try:
        callable_number(number, NumberRules(plan=NumberPlan(region), **rules))
    except NotCallable as why:
        return str(why)
    return ""


@pytest.mark.parametrize(
    ("region", "number", "what"),
    [
        ("DE", "09001234567", "premium-rate"),
        ("DE", "+499001234567", "premium-rate"),
        ("DE", "01801234567", "shared-cost"),
        ("GB", "07012345678", "personal"),
        ("GB", "03001234567", "universal access"),
        ("US", "19002345678", "premium-rate"),
        ("US", "9002345678", "premium-rate"),
        ("RU", "88091234567", "premium-rate"),
        ("DE", "+870773112345", "satellite"),
        ("DE", "00881612345678", "satellite"),
        ("DE", "+88213123456789", "satellite"),
        ("DE", "+883130012345", "satellite"),
        ("DE", "+979123456789", "premium-rate"),
        ("DE", "+33899123456", "premium-rate"),
        ("DE", "+493012", "no number that is known"),
        ("DE", "7012345", "no number that is known"),
        ("", "+870773112345", "satellite"),
        ("", "00870773112345", "satellite"),
        ("", "+499001234567", "premium-rate"),
        ("", "00499001234567", "premium-rate"),
        ("", "+33899123456", "premium-rate"),
    ],
)
def test_what_may_cost_money_is_refused(region: str, number: str, what: str) -> None:
    everywhere = frozenset({"all"})
    assert what in refusal(number, region, allow_regions=everywhere)
    # And it is for this reason alone.
    kinds = frozenset(NumberKind)
    assert refusal(number, region, allow_regions=everywhere, kinds=kinds) == ""


def examples(kind: str) -> Iterator[tuple[str, str]]:
    """Yield each country that has numbers of a kind, with one of them."""
    for region in REGIONS:
        number = phonenumbers.example_number_for_type(
            region, getattr(phonenumbers.PhoneNumberType, kind)
        )
        # Some small countries have theirs in common with a neighbour.
        if number and phonenumbers.region_code_for_number(number) == region:
            yield (
                region,
                phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
            )


@pytest.mark.parametrize("region", ["", "DE", "US"])
@pytest.mark.parametrize(
    "number", ["+00499001234567", "+0900123456", "000499001234567", "0000870773112345"]
)
def test_zeros_before_a_number_hide_nothing(number: str, region: str) -> None:
    everything = frozenset({"all"})
    kinds = frozenset(NumberKind) - {NumberKind.PREMIUM_RATE, NumberKind.SATELLITE}
    assert refusal(number, region, allow_regions=everything, kinds=kinds)


def test_a_number_behind_a_zero_that_takes_a_line_is_called() -> None:
    assert refusal("000493012345678") == ""
    assert refusal("000493012345678", "DE") == ""


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("7378742833", ""),
        ("7378742833", "US"),
        ("7378742833", "CA"),
        ("+17378742833", "US"),
        ("17378742833", "DE"),
        ("+7378742833", "RU"),
        ("266696687", ""),
        ("266696687", "US"),
        ("266696687", "RU"),
        ("86282452253", ""),
        ("86282452253", "US"),
        ("+86282452253", ""),
        ("8656696", ""),
        ("8656696", "US"),
        ("7748283", "GB"),
        ("94844353", "FR"),
        ("2562533", "ES"),
        ("688632732", "US"),
        # In these countries a number of a fixed line begins with 0.
        ("7378742833", "DE"),
        ("266696687", "DE"),
        ("266696687", "FR"),
        ("266696687", "CH"),
        ("86282452253", "DE"),
        ("7748283", "AT"),
        ("94844353", "BE"),
    ],
)
def test_a_word_on_the_keys_of_a_phone_is_no_number(number: str, region: str) -> None:
    kinds = frozenset(NumberKind)
    everywhere = frozenset({"all"})
    why = refusal(number, region, kinds=kinds, allow_regions=everywhere)
    assert "on a phone's keys" in why


@pytest.mark.parametrize(
    ("number", "region"),
    [
        # A mobile in India, a fixed line in Prague, a number of Copenhagen.
        ("7378742833", "IN"),
        ("266696687", "CZ"),
        ("94844353", "DK"),
        ("07378742833", "DE"),
        ("+497378742833", "DE"),
        ("0266696687", "FR"),
        ("+420266696687", ""),
        ("+917378742833", "IN"),
    ],
)
def test_a_real_number_that_spells_a_word_is_called(number: str, region: str) -> None:
    assert refusal(number, region) == ""


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("+4930123456;cpc=ordinary", "+4930123456"),
        ("tel:+49-30-123456", "+4930123456"),
        ("TEL:+4930123456;cpc=payphone;isub=1", "+4930123456"),
        ("tel:030123456;phone-context=+49", "+4930123456"),
        ("30123456;phone-context=+49", "+4930123456"),
        ("030123456;phone-context=example.com", "030123456"),
        ("+4930123456;phone-context=+33", "+4930123456"),
        ("sip:+4930123456@example.com;user=phone", "+4930123456"),
        ("sips:030123456;phone-context=+49@example.com", "+4930123456"),
        ("<sip:030123456:secret@10.0.0.1:5060;user=phone>", "030123456"),
        ("sip:+4930123456", "+4930123456"),
        ("sip:%2B4930123456;cpc=ordinary@example.com", "+4930123456"),
        ("tel:+4930123456;npdi;rn=+4930;cpc=ordinary", "+4930123456"),
        ("sip:030123456;phone-context=+49@gw.example.com;user=phone", "+4930123456"),
    ],
)
def test_a_number_in_an_address_is_found(raw: str, number: str) -> None:
    assert plain_number(raw) == number


@pytest.mark.parametrize(
    "raw",
    [
        "sip:10.0.0.1",
        "sip:10.0.0.1:5060",
        "sip:anonymous@anonymous.invalid",
        "sip:@example.com",
        "tel:",
        "123456;789",
        "123456;a=b,c",
        "123456;x=$(y)",
        "123456;;",
        "http:123456",
        "sip:1@2@3",
        "123456@example.com",
    ],
)
def test_an_address_without_a_plain_number_is_refused(raw: str) -> None:
    with pytest.raises(NotCallable):
        plain_number(raw)


@pytest.mark.parametrize(
    ("region", "number"),
    [
        ("CA", "+18005551234"),
        ("AX", "+358412345678"),
        ("CX", "+61412345678"),
        ("CC", "+61412345678"),
        ("SJ", "+4741234567"),
        ("VA", "+393123456789"),
        ("EH", "+212650123456"),
        ("BL", "+590690001234"),
        ("MF", "+590690001234"),
    ],
)
def test_a_number_of_a_range_that_several_countries_share_is_at_home(
    region: str, number: str
) -> None:
    assert refusal(number, region) == ""
    deny = frozenset({"US", "FI", "AU", "NO", "IT", "MA", "GP"})
    assert refusal(number, region, deny_regions=deny) == ""
    assert refusal(number, "DE", allow_regions=frozenset({region})) == ""
    assert "where nobody is called" in refusal(number, "DE", deny_regions=deny)


@pytest.mark.parametrize(
    ("region", "number"),
    [
        ("CA", "18885551234"),
        ("CA", "8005551234"),
        ("AX", "0412345678"),
        ("CX", "0412345678"),
        ("CC", "0412345678"),
        ("SJ", "91234567"),
        ("VA", "3123456789"),
        ("EH", "0650123456"),
        ("BL", "0690001234"),
        ("MF", "0690001234"),
        ("MX", "+5215512345678"),
        ("MX", "5215512345678"),
        ("MX", "0445512345678"),
    ],
)
def test_a_number_of_such_a_range_is_called_in_each_form_it_has_at_home(
    region: str, number: str
) -> None:
    assert refusal(number, region) == ""


@pytest.mark.parametrize("kind", ["PREMIUM_RATE", "SHARED_COST", "PERSONAL_NUMBER"])
def test_in_every_country_an_expensive_number_is_refused(kind: str) -> None:
    everywhere = frozenset({"all"})
    for region, number in examples(kind):
        assert refusal(number), number
        for form in NumberPlan(region).forms(number):
            assert refusal(form, region, allow_regions=everywhere), form


@pytest.mark.parametrize("kind", ["FIXED_LINE", "MOBILE", "VOIP"])
def test_in_every_country_a_usual_number_is_called(kind: str) -> None:
    for region, number in examples(kind):
        # In the smallest countries numbers are as short as internal ones elsewhere.
        assert refusal(number, min_digits=4) == ""
        for form in NumberPlan(region).forms(number):
            assert refusal(form, region, min_digits=4) == "", form


@pytest.mark.parametrize("number", ["08001234567", "+498001234567"])
def test_a_toll_free_number_is_called(number: str) -> None:
    assert refusal(number, "DE") == ""


@pytest.mark.parametrize(
    ("region", "number", "country"),
    [
        ("DE", "+33612345678", "FR"),
        ("DE", "0033612345678", "FR"),
        # One country code, many countries: what looks like a number next door.
        ("US", "8765551234", "JM"),
        ("US", "+18765551234", "JM"),
        ("US", "4165551234", "CA"),
        ("RU", "+77011234567", "KZ"),
        ("GB", "07781123456", "GG"),
        ("DE", "+80012345678", "no country"),
    ],
)
def test_a_number_abroad_is_refused_unless_its_country_is_allowed(
    region: str, number: str, country: str
) -> None:
    assert f"a number of {country}, and only" in refusal(number, region)
    assert refusal(number, region, allow_regions=frozenset({"all"})) == ""
    if country != "no country":
        allowed = frozenset({country})
        assert refusal(number, region, allow_regions=allowed) == ""
        denied = refusal(number, region, allow_regions=allowed, deny_regions=allowed)
        assert "where nobody is called" in denied


def test_without_a_region_nothing_is_abroad_unless_countries_are_named() -> None:
    assert refusal("+33612345678") == ""
    assert refusal("0612345678", allow_regions=frozenset({"DE"})) == ""
    assert "FR" in refusal("+33612345678", allow_regions=frozenset({"DE"}))
    assert "FR" in refusal("0033612345678", allow_regions=frozenset({"DE"}))
    assert "FR" in refusal("+33612345678", deny_regions=frozenset({"FR"}))


def test_without_a_region_a_number_nobody_knows_is_called() -> None:
    for number in ("0049123", "+12345", "12345", "09001234567", "+999123456"):
        assert refusal(number) == ""


def test_a_satellite_number_is_called_if_the_kind_is_allowed() -> None:
    kinds = frozenset({NumberKind.SATELLITE})
    assert refusal("+870773112345", "DE", kinds=kinds) == ""


@pytest.mark.parametrize(
    ("region", "number"),
    [
        ("DE", "112"),
        ("DE", "110"),
        ("DE", "911"),
        ("DE", "+49112"),
        ("DE", "112123456"),
        ("DE", "116117"),
        ("DE", "+49116117"),
        ("US", "911"),
        ("US", "9116661212"),
        ("RU", "101"),
        ("", "112"),
        ("", "911"),
        ("", "000"),
    ],
)
def test_no_setting_allows_an_emergency_or_short_number(
    region: str, number: str
) -> None:
    everything = {
        "min_digits": 1,
        "kinds": frozenset(NumberKind),
        "allow_regions": frozenset({"all"}),
        "allow": (re.compile(".*"),),
    }
    assert "emergency" in refusal(number, region, **everything)


def test_our_own_numbers_are_refused_in_each_of_their_forms() -> None:
    own = (re.compile(r"\+493012345[0-9]+"),)
    shown = frozenset({"4989999999"})
    for number in ("03012345678", "+493012345678", "089999999", "+4989999999"):
        assert "our own" in refusal(number, "DE", own=own, own_keys=shown), number
    assert refusal("03022345678", "DE", own=own, own_keys=shown) == ""


@given(st.text(), st.sampled_from(["", "DE", "US", "RU"]))
def test_any_rules_let_no_more_pass_than_the_plain_ones(raw: str, region: str) -> None:
    """Whatever is called is a plain number, in every form it may have."""
    try:
        number = plain_number(raw)
    except NotCallable:
        assert refusal(raw, region)
        return
    assert re.fullmatch(r"\+?[0-9]{1,32}", number, re.ASCII)


@given(st.text())
def test_what_was_shown_is_kept_in_a_safe_form(raw: str) -> None:
    shown = shown_number(raw)
    assert len(shown) <= 40
    assert re.fullmatch(r"[A-Za-z0-9+*#@._ ?-]*", shown)


def test_what_is_safe_of_what_was_shown_stays() -> None:
    assert shown_number(" +49 30-123456 ") == "+49 30-123456"
    assert shown_number("a\r\nb;c\x1b[31m") == "a??b?c??31m"


def test_marks_that_make_a_number_readable_are_no_part_of_it() -> None:
    assert without_separators(" +49 (30) 123-45.67/8 ") == "+493012345678"


@pytest.mark.parametrize(
    ("callingpres", "withheld"), [(0, False), (3, False), (35, True), (67, True)]
)
def test_a_number_that_is_withheld_is_known_as_such(
    callingpres: int, withheld: bool
) -> None:
    assert is_withheld(callingpres) is withheld


@given(st.text())
def test_a_name_is_fit_for_a_header(raw: str) -> None:
    name = display_name(raw)
    assert len(name) <= 60
    assert not re.search(r'[\x00-\x1f"\\;<>&|$`{}]', name)
