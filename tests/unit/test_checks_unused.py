# SPDX-License-Identifier: MIT
"""Findings of ``check`` about settings that have no effect."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fastagi.checks.finding import Notes
from fastagi.checks.hours import check_hours
from fastagi.checks.unused import note_unused
from tests.harness.checking import only, settings, told

_WEEK = {"opening_hours": {"monday": "09:00-17:00"}}


def _check(home: Path, defaults: dict[str, Any] | None = None, **queues: Any) -> Notes:
    notes = Notes("settings")
    given = settings(home, defaults=defaults or {}, queues={"support": {}, **queues})
    note_unused(given, notes)
    return notes


def test_built_in_settings_are_ok(tmp_path: Path) -> None:
    assert told(_check(tmp_path)) == ["ok"]


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (
            {"choices": {"times": True}},
            "choices.times: the queue has no opening hours, so callers may choose any"
            " hour of the night - write opening_hours; if any hour is meant, write"
            " there every day as monday: 00:00-24:00",
        ),
        (
            {"choices": {"queue_time_keys": "2"}},
            "choices.queue_time_keys: has no effect without times - write times: true"
            " under choices, or delete this setting",
        ),
        (
            {"choices": {"queue_soon_keys": "1"}},
            "choices.queue_soon_keys: has no effect without times - write times: true"
            " under choices, or delete this setting",
        ),
        (
            {"auto_agents": 5},
            "auto_agents: has no effect with first: agent - write first: auto, or"
            " delete auto_agents",
        ),
        (
            {"agent_keys": {"wait": "5s", "later": "4"}},
            "agent_keys: later and wait without enabled has no effect - write enabled:"
            " true beside it, or enabled: false if that is meant",
        ),
        (
            {"offers": {"after": "1m"}},
            "offers: after without enabled has no effect - write enabled: true beside"
            " it, or enabled: false if that is meant",
        ),
        (
            {"offers": {"enabled": True, "not_before": "5m", "after": "2m"}},
            "offers.after: nobody is offered a callback after 2m, as not_before is 5m"
            " - write a shorter not_before, or a longer after",
        ),
        (
            {"preferred_agent": {"enabled": True}, "target_extension": "PJSIP/101"},
            "preferred_agent: has no effect with target_extension: only that phone is"
            " rung - under this queue write preferred_agent: {enabled: false}, or write"
            " target_queue in place of target_extension",
        ),
    ],
)
def test_setting_without_effect(
    tmp_path: Path, queue: dict[str, Any], text: str
) -> None:
    assert only(_check(tmp_path, sales=queue)) == f"warning: queues.sales.{text}"


@pytest.mark.parametrize(
    "queue",
    [
        {"choices": {"times": True, "queue_time_keys": "2"}, **_WEEK},
        {"first": "auto", "auto_agents": 5},
        {"agent_keys": {"enabled": True, "wait": "5s"}},
        {"agent_keys": {"enabled": False, "wait": "5s"}},
        {"first": "client", "client_key": {"wait": "8s"}},
        {"offers": {"enabled": True, "not_before": "2m", "after": "2m"}},
        {"offers": {"enabled": True, "not_before": "2m", "after": 0}},
        {"preferred_agent": {"enabled": True}},
    ],
)
def test_setting_with_an_effect(tmp_path: Path, queue: dict[str, Any]) -> None:
    assert told(_check(tmp_path, sales=queue)) == ["ok"]


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, True),
        ({"at_closing": True}, True),
        ({"without_agents": True}, False),
        ({"after": "1m"}, False),
        ({"wait_over": "1m"}, False),
        ({"position_over": 3}, False),
    ],
)
def test_offers_without_any_reason(
    tmp_path: Path, more: dict[str, Any], warned: bool
) -> None:
    off = {"after": 0, "wait_over": 0, "position_over": 0}
    no = {"at_closing": False, "without_agents": False}
    offers = {"enabled": True, **off, **no, **more}
    text = only(_check(tmp_path, sales={"offers": offers}))
    if warned:
        assert text.startswith("warning: queues.sales.offers: no callback is ever")
    else:
        assert text == "ok"


def test_offers_at_closing_time_only(tmp_path: Path) -> None:
    off = {"after": 0, "wait_over": 0, "position_over": 0, "without_agents": False}
    sales = {"offers": {"enabled": True, **off}, **_WEEK}
    assert told(_check(tmp_path, sales=sales)) == ["ok"]


def test_setting_of_the_defaults_that_no_queue_uses_is_told_once(
    tmp_path: Path,
) -> None:
    defaults = {
        "auto_agents": 5,
        "agent_keys": {"wait": "5s"},
        "choices": {"queue_time_keys": "2"},
    }
    places = [text.split(":")[1] for text in told(_check(tmp_path, defaults, sales={}))]
    assert places == [
        " defaults.agent_keys",
        " defaults.choices.queue_time_keys",
        " defaults.auto_agents",
    ]


def test_setting_of_the_defaults_that_one_queue_uses(tmp_path: Path) -> None:
    defaults = {
        "auto_agents": 5,
        "client_key": {"wait": "8s"},
        "choices": {"queue_time_keys": "2"},
    }
    sales = {"first": "auto", "choices": {"times": True}, **_WEEK}
    assert told(_check(tmp_path, defaults, sales=sales)) == ["ok"]


@pytest.mark.parametrize(
    ("hours", "slot", "warned"),
    [
        ("09:00-09:45", "1h", True),
        ("09:10-09:50", "30m", True),
        ("09:00-09:45", "30m", False),
        ("09:00-10:00", "1h", False),
    ],
)
def test_hours_shorter_than_any_slot(
    tmp_path: Path, hours: str, slot: str, warned: bool
) -> None:
    given = settings(
        tmp_path,
        queues={
            "support": {
                "choices": {"times": True, "slot_length": slot},
                "request_expiry": "20d",
                "opening_hours": {"tuesday": hours, "time_zone": "Europe/Berlin"},
            }
        },
    )
    text = only(check_hours(given, datetime(2026, 3, 4, tzinfo=UTC)))
    if warned:
        assert text.startswith(
            "warning: queues.support.choices.slot_length: callers can choose no time:"
        )
        assert text.endswith("or longer opening_hours")
    else:
        assert text == "ok"
