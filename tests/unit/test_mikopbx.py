# SPDX-License-Identifier: MIT
"""docs/mikopbx.md cannot rot: settings, defaults, words and tests in it exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fastagi.config import queue_layers, sections
from fastagi.config.load import parse_settings
from fastagi.domain.task import ENDED, Kind, Status

_ROOT = Path(__file__).parents[2]
_TEXT = (_ROOT / "docs" / "mikopbx.md").read_text("utf-8")
_CODE = re.compile(r"`([^`]+)`")
#: What is no setting of ours, and where it is.
_ELSEWHERE = {"periodic-announce": "etc/asterisk/queues.conf"}
#: Defaults that are no value.
_IN_WORDS = ("none", "the queue the caller was in")


def _rows(title: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    part = _TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]
    ]


_SETTINGS = _rows("Each setting of the original")
_DIFFERENT = _rows("What is different, and why")


def _default(setting: str) -> Any:
    """Return what a setting is if nobody sets it; fails if there is no such one."""
    if setting in {field.name for field in sections.Settings.__attrs_attrs__}:
        return None
    value: Any = queue_layers.QueueLayer()
    for name in setting.split("."):
        assert name in type(value).model_fields, setting
        value = getattr(value, name)
    return value


def _tests() -> Iterator[str]:
    for row in (*_SETTINGS, *_DIFFERENT):
        (name,) = _CODE.findall(row[-1])
        yield name


def _defined(body: list[ast.stmt], names: list[str]) -> bool:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == names[0]:
            rest = names[1:]
            return not rest or _defined(node.body, rest)
    return False


def test_the_tables_are_there() -> None:
    assert len(_SETTINGS) == 11
    assert len(_DIFFERENT) >= 16
    assert all(len(row) == 5 for row in _SETTINGS)
    assert all(len(row) == 3 for row in _DIFFERENT)


@pytest.mark.parametrize("row", _SETTINGS, ids=lambda row: row[0])
def test_setting_exists_and_has_the_default_that_is_told(row: list[str]) -> None:
    setting, default = _CODE.findall(row[2])[0], row[3]
    if setting in _ELSEWHERE:
        assert f"{setting} = {default.strip('`')}\n" in (
            _ROOT / _ELSEWHERE[setting]
        ).read_text("utf-8")
    elif default in _IN_WORDS:
        assert _default(setting) is None
    else:
        # As the same text in the file of settings is read.
        group, _, name = setting.rpartition(".")
        built_in = _default(group) if group else queue_layers.QueueLayer()
        (text,) = _CODE.findall(default)
        value: Any = int(text) if text.isdigit() else text
        told = type(built_in).model_validate({name: value})
        assert getattr(told, name) == _default(setting)


@pytest.mark.parametrize("test", sorted(set(_tests())))
def test_test_that_is_named_exists(test: str) -> None:
    path, *names = test.split("::")
    tree = ast.parse((_ROOT / path).read_text("utf-8"))
    assert _defined(tree.body, names), test


def test_settings_that_are_named_in_the_text_exist() -> None:
    for row in _DIFFERENT:
        for name in _CODE.findall(row[1]):
            if name in set(Status):
                continue
            group, _, rest = name.partition(".")
            if rest and hasattr(sections.Settings, group):
                section = {
                    "number_plan": sections.NumberPlanSettings,
                    "missed": sections.MissedSettings,
                }[group]
                assert rest in section.model_fields
            else:
                _default(name)


def test_example_gives_the_values_of_the_original() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
    rest = "ami: {secret: s3cret}\nqueues:\n  a:\n    outbound_channel: A/{number}\n"
    queue = parse_settings(example + rest, environ={}).queue("a")
    there = {_CODE.findall(row[2])[0]: row[1] for row in _SETTINGS}
    named = set(re.findall(r"^  (\w+):", example, re.MULTILINE))
    assert named == {name for name, value in there.items() if value[0].isdigit()}
    for name in named:
        value = getattr(queue, name)
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        assert seconds == int(there[name].removesuffix(" s")), name


def test_every_end_and_every_kind_is_explained() -> None:
    words = {cell for row in _rows("Words") for cell in _CODE.findall(row[1])}
    assert {Kind.REQUESTED, Kind.MISSED} <= words
    ends = _TEXT.rpartition("Every task ends")[2]
    assert set(_CODE.findall(ends)) == set(ENDED)


def test_readme_leads_there() -> None:
    assert "(docs/mikopbx.md)" in (_ROOT / "README.md").read_text("utf-8")
