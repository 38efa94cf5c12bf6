# SPDX-License-Identifier: MIT
"""``check`` with several Asterisks: each is looked at, and no two may be alike."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fastagi.checks.finding import Notes
from fastagi.checks.nodes import NotTold, check_nodes


def _told(names: Mapping[str, str | NotTold | None]) -> list[str]:
    return [str(found) for found in check_nodes(names) if not found.is_ok]


def test_different_names_are_good() -> None:
    assert _told({"pbx1": "pbx1", "pbx2": "", "pbx3": "PBX1"}) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one", "it has the same systemname as pbx1, one: so no callback is placed"),
        ("", "it has no systemname, like pbx1: so no callback is placed from it"),
    ],
)
def test_second_one_with_a_name_is_told_what_to_write(name: str, words: str) -> None:
    (text,) = _told({"pbx1": name, "pbx2": name, "pbx3": "three"})
    assert text.startswith("asterisk.conf of pbx2: ")
    assert words in text
    assert "systemname = pbx2" in text


def test_name_that_is_not_known_is_not_compared() -> None:
    first, second = _told({"pbx1": None, "pbx2": None})
    assert "asterisk.conf of pbx1: its systemname is not checked" in first
    assert "asterisk.conf of pbx2: its systemname is not checked" in second


def test_name_that_asterisk_does_not_tell_is_a_fault() -> None:
    notes = check_nodes({"pbx1": NotTold("Permission denied"), "pbx2": "two"})
    (found,) = (one for one in notes if not one.is_ok)
    assert found.is_fault
    assert "does not tell its systemname: Permission denied" in str(found)
    assert "add 'reporting'" in str(found)


def test_findings_say_of_which_node_they_are() -> None:
    notes = Notes("manager")
    notes.fault("here", "it is wrong", "change it")
    notes.say_of("pbx2")
    notes.warn("there", "it is doubtful", "look at it")
    assert [found.area for found in notes] == ["manager pbx2"] * 2
