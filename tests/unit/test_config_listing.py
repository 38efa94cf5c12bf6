# SPDX-License-Identifier: MIT
"""The list of settings: every one, with its place, and without a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastagi.config import dry_run
from fastagi.config.addresses import has_password, without_password
from fastagi.config.listing import ListedSetting, Origin, listed
from fastagi.config.load import parse_settings
from fastagi.config.queue_layers import DAYS_OF_WEEK, QueueLayer
from fastagi.config.sections import SECTIONS, Settings
from fastagi.config.values import Section

_SECRET = "5eb6c1d9"
_RICH = f"""\
ami:
  secret: {_SECRET}
  tls: {{enabled: true}}
fastagi:
  allowed_peers: [10.0.0.0/8, "::1"]
database:
  url: postgresql://u:{_SECRET}@db/callback?sslpassword={_SECRET}
log: {{level: debug}}
number_plan:
  region: DE
  own_numbers: ["0301234.*"]
missed: {{contexts: [from-trunk], min_duration: 90s}}
history:
  queue_log_url: mysql://u@db/asterisk?password={_SECRET}
  cdr_url: mysql://u:{_SECRET}@db/asterisk
defaults:
  outbound_channel: PJSIP/{{number}}@trunk
  target_queue: everybody
  attempts: 3
  retry:
    busy: {{delay: 1m}}
  opening_hours:
    time_zone: Europe/Berlin
    monday: 09:00-12:00, 13:00-17:00
    days: {{12-24: closed}}
queues:
  support:
    attempts: 4
    retry:
      busy: {{attempts: 2}}
    opening_hours:
      days: {{2026-12-31: 09:00-12:00}}
  sales:
    target_extension: PJSIP/101
  600: {{}}
"""


def _settings(text: str = _RICH) -> Settings:
    return parse_settings(text, environ={})


def _by_name(settings: Settings, queue: str = "") -> dict[str, ListedSetting]:
    return {setting.name: setting for setting in listed(settings, queue)}


def _names(kind: type[Section], before: str) -> list[str]:
    """Return the full names of all settings of a section."""
    names = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            names += _names(inner, f"{before}.{name}")
        else:
            names.append(f"{before}.{name}")
    return names


def test_every_setting_is_listed_once() -> None:
    expected = [
        name for section, kind in SECTIONS.items() for name in _names(kind, section)
    ]
    for queue in ("support", "sales", "600"):
        expected += _names(QueueLayer, f"queues.{queue}")
    assert [setting.name for setting in listed(_settings())] == expected


def test_settings_of_one_queue_are_listed_alone() -> None:
    names = set(_by_name(_settings(), "SALES"))
    assert names == set(_names(QueueLayer, "queues.sales"))


def _tree(rows: list[ListedSetting]) -> dict[str, Any]:
    """Return listed settings as the file that would have them all."""
    tree: dict[str, Any] = {}
    for row in rows:
        *above, name = row.name.split(".")
        group = tree
        for part in above:
            group = group.setdefault(part, {})
        group[name] = row.value
    return tree


def test_values_can_be_written_into_a_file_as_they_are_listed() -> None:
    """What is listed of the settings means these settings."""
    settings = _settings()
    rows = [
        row
        for row in listed(settings)
        if row.value not in (None, "", [], {})
        and not row.is_secret
        # The first is written as the queue itself by default.
        and row.name not in {"queues.sales.state_interface"}
    ]
    tree = _tree(rows)
    tree["ami"]["secret"] = _SECRET
    for section, name in (("database", "url"), ("history", "cdr_url")):
        tree.setdefault(section, {})[name] = getattr(getattr(settings, section), name)
    tree["history"]["queue_log_url"] = settings.history.queue_log_url
    again = parse_settings(yaml.safe_dump(tree), environ={})
    assert again.queues == settings.queues
    for section in SECTIONS:
        if section != "defaults":
            assert getattr(again, section) == getattr(settings, section)


@pytest.mark.parametrize(
    ("name", "value", "default", "origin", "text"),
    [
        ("ami.tls.enabled", True, False, Origin.FILE, "tls: {enabled: true}"),
        ("ami.timeout", "10s", "10s", Origin.BUILT_IN, ""),
        ("missed.min_duration", "1m30s", "0", Origin.FILE, "missed: "),
        ("number_plan.own_numbers", ["0301234.*"], [], Origin.FILE, "own_numbers"),
        ("queues.support.attempts", 4, 5, Origin.FILE, "    attempts: 4"),
        ("queues.sales.attempts", 3, 5, Origin.DEFAULTS, "  attempts: 3"),
        ("queues.support.retry.busy.attempts", 2, None, Origin.FILE, "attempts: 2"),
        ("queues.support.retry.busy.delay", "1m", None, Origin.DEFAULTS, "delay: 1m"),
        (
            "queues.support.opening_hours.monday",
            "09:00-12:00, 13:00-17:00",
            None,
            Origin.DEFAULTS,
            "monday",
        ),
        (
            "queues.support.opening_hours.days",
            {"12-24": "closed", "2026-12-31": "09:00-12:00"},
            {},
            Origin.FILE,
            "2026-12-31",
        ),
        ("queues.600.target_queue", "everybody", "600", Origin.DEFAULTS, "everybody"),
        # Its own target replaces the one under defaults.
        ("queues.sales.target_queue", "", "sales", Origin.BUILT_IN, ""),
        ("queues.sales.target_extension", "PJSIP/101", None, Origin.FILE, "PJSIP/101"),
    ],
)
def test_each_value_has_its_line_and_default(
    name: str, value: object, default: object, origin: Origin, text: str
) -> None:
    row = _by_name(_settings())[name]
    assert (row.value, row.default, row.origin) == (value, default, origin)
    lines = _RICH.splitlines()
    assert (row.line is None) is (not text)
    assert row.line is None or text in lines[row.line - 1]


def test_no_secret_is_listed(tmp_path: Path) -> None:
    rows = [row for row in listed(_settings()) if row.is_secret]
    assert {row.name: row.value for row in rows} == {
        "ami.secret": None,
        "database.url": "postgresql://u:***@db/callback?sslpassword=***",
        "history.queue_log_url": "mysql://u@db/asterisk?password=***",
        "history.cdr_url": "mysql://u:***@db/asterisk",
    }
    assert _SECRET not in repr(list(listed(_settings())))
    file = tmp_path / "secret"
    file.write_text(_SECRET)
    file.chmod(0o600)
    text = _RICH.replace(f"secret: {_SECRET}", f"secret_file: {file}")
    row = _by_name(_settings(text))["ami.secret"]
    assert (row.origin, row.line, row.value) == (Origin.FILE, 2, None)
    in_environment = parse_settings(
        _RICH.replace(f"  secret: {_SECRET}\n", ""),
        environ={"CALLBACK_QUEUE_AMI_SECRET": _SECRET},
    )
    row = _by_name(in_environment)["ami.secret"]
    assert (row.origin, row.line, row.value) == (Origin.ENVIRONMENT, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@db/x",
        "postgresql://:pass@db/x?a=b",
        "postgresql://u@db/x?a=b&pass%77ord=pass&c=d",
        "postgresql:///x?password=pass",
        "mysql://u@[2001:db8::1]:3306/x?passwd=pass&passwd=pass",
    ],
)
def test_url_without_its_password_has_all_else(url: str) -> None:
    hidden = without_password(url)
    assert has_password(url)
    assert "pass@" not in hidden
    assert "=pass" not in hidden
    assert "p%40ss" not in hidden
    assert hidden.count("***") == max(url.count("pass@") + url.count("=pass"), 1)
    assert (
        hidden.partition("/x")[0].rpartition("@")[2]
        == (url.partition("/x")[0].rpartition("@")[2])
    )


@pytest.mark.parametrize("url", ["sqlite:////var/a.db", "mysql://u@h/x?a=b&c", "x"])
def test_url_without_a_password_stays_as_it_is(url: str) -> None:
    assert without_password(url) == url


# -- a changed file --------------------------------------------------------


def _dry_run(after: str, before: str = _RICH) -> dict[str, Any]:
    given = {"file": "/etc/cq.yaml", "before": before, "after": after}
    found: dict[str, Any] = json.loads(dry_run.answer(json.dumps(given).encode()))
    assert _SECRET not in json.dumps(found)
    return found


def test_mistakes_of_a_changed_file_have_their_lines() -> None:
    found = _dry_run(_RICH.replace("    attempts: 4", "    atempts: 4"))
    (problem,) = found["problems"]
    line = _RICH.splitlines().index("    attempts: 4") + 1
    assert problem == {
        "line": line,
        "where": f"/etc/cq.yaml:{line}: queues.support.atempts",
        "problem": "unknown setting",
        "remedy": "did you mean attempts?",
    }
    assert not (found["changes"] or found["queues_added"] or found["queues_removed"])
    assert _dry_run("")["problems"][0]["problem"] == "the file holds no settings"
    assert _dry_run(f"ami: {{secret: [{_SECRET}]}}")["problems"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  secret: ", "  secret:"),
        ("  secret: ", "  secret: ["),
        ("  secret: ", "  secrets: "),
        ("  secret: ", "  secret: &"),
        ("postgresql://", "postgresql:/"),
        ("url: postgresql", "url: x postgresql"),
        ("@db/", "@@db/"),
        ("mysql://u:", "mysql://u/"),
        ("?password=", "#password="),
    ],
)
def test_mistake_in_the_line_of_a_secret_does_not_show_it(old: str, new: str) -> None:
    assert old in _RICH
    # That the secret is in no answer is asserted for each of them.
    assert _dry_run(_RICH.replace(old, new))["problems"]


def test_nothing_changes_with_the_same_settings_in_another_form() -> None:
    assert not any(_dry_run(_RICH).values())
    again = _RICH.replace("min_duration: 90s", "min_duration: 1m30s")
    assert not any(_dry_run(again).values())


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("level: debug", "level: warn", [("log.level", "debug", "warn", False)]),
        # It is told once, and not for each queue that has it.
        ("  attempts: 3", "  attempts: 6", [("defaults.attempts", 3, 6, False)]),
        ("    attempts: 4\n", "", [("queues.support.attempts", 4, 3, False)]),
        (
            "fastagi:\n",
            "fastagi:\n  port: 4000\n",
            [("fastagi.port", 4573, 4000, True)],
        ),
        ("    target_extension: PJSIP/101", "    target_queue: sales", None),
    ],
)
def test_changes_of_settings_are_told(
    old: str, new: str, changes: list[tuple[str, object, object, bool]] | None
) -> None:
    after = _RICH.replace(old, new, 1)
    found = _dry_run(after)
    rows = [
        (row["name"], row["before"], row["after"], row["needs_restart"])
        for row in found["changes"]
    ]
    if changes is None:
        # What follows from another setting is not told.
        changes = [
            ("queues.sales.target_queue", "", "sales", False),
            ("queues.sales.target_extension", "PJSIP/101", "", False),
        ]
    assert rows == changes
    for row in found["changes"]:
        name = row["name"].rpartition(".")[2]
        assert row["line"] is None or name in after.splitlines()[row["line"] - 1]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("    days: {12-24: closed}\n", "defaults"),
        ("      days: {2026-12-31: 09:00-12:00}\n", "queues.support"),
    ],
)
def test_days_that_are_closed_because_others_have_hours_are_told(
    place: str, name: str
) -> None:
    always = _RICH.replace("    monday: 09:00-12:00, 13:00-17:00\n", "")
    blanks = place[: len(place) - len(place.lstrip())]
    given = f"{blanks}tuesday: 09:00-17:00\n{blanks}friday: 09:00-12:00\n"
    some_days = always.replace(place, place + given)
    hours = dict.fromkeys(DAYS_OF_WEEK, "closed")
    hours |= {"tuesday": "09:00-17:00", "friday": "09:00-12:00"}
    for before, after in ((always, some_days), (some_days, always)):
        changes = _dry_run(after, before)["changes"]
        assert [(row["name"], row["before"], row["after"]) for row in changes] == [
            (
                f"{name}.opening_hours.{day}",
                hours[day] if before is some_days else None,
                hours[day] if after is some_days else None,
            )
            for day in DAYS_OF_WEEK
        ]
    # A day more takes nothing from the others.
    more = some_days.replace(given, f"{given}{blanks}sunday: 10:00-12:00\n")
    (change,) = _dry_run(more, some_days)["changes"]
    assert (change["before"], change["after"]) == ("closed", "10:00-12:00")


def test_changes_of_secrets_are_told_without_them() -> None:
    found = _dry_run(_RICH.replace(_SECRET, "0ther"))
    assert "0ther" not in json.dumps(found)
    assert {row["name"]: row["secret"] for row in found["changes"]} == dict.fromkeys(
        ("ami.secret", "database.url", "history.queue_log_url", "history.cdr_url"),
        True,
    )


def test_queues_that_come_and_go_are_told() -> None:
    found = _dry_run(_RICH.replace("  600: {}", "  SALES2: {}"))
    assert (found["queues_added"], found["queues_removed"]) == (["SALES2"], ["600"])
    assert found["changes"] == []
