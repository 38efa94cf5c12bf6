# SPDX-License-Identifier: MIT
"""Findings of ``check`` about expensive numbers that no setting refuses."""

from __future__ import annotations

from pathlib import Path

from fastagi.checks.numbers import check_numbers
from tests.harness.checking import only, settings, told

GUARDED = {
    "number_plan": {"region": "DE", "own_numbers": [r"\+4930123456"]},
}


def test_with_a_country_and_the_own_numbers_there_is_nothing_to_say(
    tmp_path: Path,
) -> None:
    assert told(check_numbers(settings(tmp_path, **GUARDED))) == ["ok"]


def test_without_a_country_it_is_said_what_is_not_guarded(tmp_path: Path) -> None:
    plan = {"own_numbers": [r"\+4930123456"]}
    text = only(check_numbers(settings(tmp_path, number_plan=plan)))
    assert text.startswith("warning: number_plan.region: it is not set: ")
    assert "of those only what is expensive is not called" in text
    assert text.endswith("write the two letters of your country there")
    some = {"numbers": {"allow_regions": ["DE"]}}
    text = only(check_numbers(settings(tmp_path, number_plan=plan, defaults=some)))
    assert "only what is expensive" not in text


def test_own_numbers_nobody_knows(tmp_path: Path) -> None:
    plan = {"region": "DE"}
    text = only(check_numbers(settings(tmp_path, number_plan=plan)))
    assert text.startswith("warning: number_plan.own_numbers: no number of your own")
    shown = {"outbound_caller_id": '"Support" <+4930123456>'}
    given = settings(tmp_path, number_plan=plan, defaults=shown)
    assert told(check_numbers(given)) == ["ok"]


def test_attempts_that_the_limit_leaves_out(tmp_path: Path) -> None:
    given = settings(
        tmp_path, **GUARDED, limits={"calls_per_number": 4}, queues={"sales": {}}
    )
    texts = told(check_numbers(given))
    assert sorted(text.split(":")[1] for text in texts) == [
        " queues.sales.attempts",
        " queues.support.attempts",
    ]
    assert "5 attempts are more than the 4 calls" in texts[0]
    none = settings(tmp_path, **GUARDED, limits={"calls_per_number": 0})
    assert told(check_numbers(none)) == ["ok"]
