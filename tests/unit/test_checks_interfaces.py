# SPDX-License-Identifier: MIT
"""``check`` warns about two agents of a queue with one interface on two Asterisks."""

from __future__ import annotations

from fastagi.checks.interfaces import check_interfaces


def _told(agents: dict[str, dict[str, set[str]]]) -> list[str]:
    return [str(found) for found in check_interfaces(agents) if not found.is_ok]


def test_interfaces_that_differ_are_good() -> None:
    assert _told({"pbx1": {"support": {"PJSIP/1"}}, "pbx2": {"support": set()}}) == []


def test_one_interface_in_two_queues_is_good() -> None:
    assert (
        _told({"pbx1": {"support": {"PJSIP/1"}}, "pbx2": {"sales": {"PJSIP/1"}}}) == []
    )


def test_one_interface_on_two_nodes_in_one_queue_is_told() -> None:
    both = {"PJSIP/1", "PJSIP/2"}
    (text,) = _told(
        {"pbx1": {"support": both}, "pbx2": {"support": {*both, "PJSIP/3"}}}
    )
    assert text.startswith("queue support of pbx2: ")
    assert "the same interface as on pbx1: PJSIP/1, PJSIP/2;" in text
