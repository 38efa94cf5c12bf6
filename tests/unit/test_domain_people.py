# SPDX-License-Identifier: MIT
"""Which channels a person may hold."""

from __future__ import annotations

import pytest

from fastagi.domain.people import (
    INTERNAL_TECHNOLOGIES,
    MACHINE_TECHNOLOGIES,
    PERSON_TECHNOLOGIES,
    is_machine,
    is_person,
)


@pytest.mark.parametrize("technology", PERSON_TECHNOLOGIES)
def test_telephones_and_lines_are_held_by_persons(technology: str) -> None:
    assert is_person(f"{technology}/101-00000001")


@pytest.mark.parametrize("technology", sorted(MACHINE_TECHNOLOGIES))
def test_bots_and_external_media_are_not(technology: str) -> None:
    assert not is_person(f"{technology}/127.0.0.1:9092-0000")
    assert is_machine(f"{technology}/127.0.0.1:9092")
    assert is_person(f"{technology}/1-1", (technology.upper(),))
    assert not is_machine(f"{technology}/1", (technology,))


@pytest.mark.parametrize("technology", sorted(INTERNAL_TECHNOLOGIES))
def test_what_asterisk_makes_for_itself_is_not(technology: str) -> None:
    assert not is_person(f"{technology}/x-1")


def test_technology_that_nobody_knows_is_no_persons() -> None:
    assert not is_person("HoloPhone/1-1")
    assert is_person("HoloPhone/1-1", ("PJSIP", "holophone"))


@pytest.mark.parametrize("agent", ["Ann", "Support/Ann", "Local/ann@agents", "PJSIP/1"])
def test_nothing_is_told_from_the_name_of_an_agent(agent: str) -> None:
    assert not is_machine(agent)
