# SPDX-License-Identifier: MIT
"""Whose number it is, whether it may be dialled, and in what form."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.calls.numbers import (
    DialAs,
    NotCallable,
    NumberPlan,
    NumberRules,
    callable_number,
    display_name,
    is_withheld,
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


@pytest.mark.parametrize("region", REGIONS)
def test_in_every_country_the_forms_of_a_number_have_one_key(region: str) -> None:
    plan = NumberPlan(region)
    e164 = phonenumbers.format_number(
        a_number_of(region), phonenumbers.PhoneNumberFormat.E164
    )
    assert {plan.key(form) for form in plan.forms(e164)} == {e164.removeprefix("+")}


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
    """Else a task would lose its client when its key is worked out again."""
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
    rules = NumberRules(dial_as=form, plan=NumberPlan("DE"))
    assert callable_number("030 / 123 45 67", rules) == home
    assert callable_number("+33 6 12345678", rules) == abroad


def test_a_number_the_plan_does_not_know_is_dialled_as_it_came() -> None:
    rules = NumberRules(dial_as=DialAs.E164, plan=NumberPlan("DE"), min_digits=3)
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
