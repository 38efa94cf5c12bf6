# SPDX-License-Identifier: MIT
"""Every mistake in ``test_config_mistakes.txt`` is told as it says there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from fastagi.config.errors import ConfigErrors
from fastagi.config.load import parse_settings

_AMI = "ami:\n  secret: s3cret\n"
_QUEUE = "queues:\n  support:\n    outbound_channel: PJSIP/{number}@trunk\n"
_ENTRY = re.compile(r"^=== (?P<where>[a-z_ ]+): (?P<title>.+)\n", re.MULTILINE)


def _whole_file(where: str, text: str) -> str:
    match where:
        case "file":
            return text
        case "a queue":
            return _AMI + _QUEUE + textwrap.indent(text, "    ")
        case "ami":
            return _AMI + textwrap.indent(text, "  ") + _QUEUE
        case section:
            return f"{_AMI}{section}:\n" + textwrap.indent(text, "  ") + _QUEUE


def _mistakes() -> list[object]:
    source = Path(__file__).with_suffix(".txt").read_text("utf-8")
    _, *parts = _ENTRY.split(source)
    mistakes: list[object] = []
    for where, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        text, _, told = body.partition("-->\n")
        yaml = _whole_file(where, text).replace("<TAB>", "\t")
        mistakes.append(
            pytest.param(yaml, told.strip().split("\n"), id=f"{where}: {title}")
        )
    return mistakes


@pytest.mark.parametrize(("yaml", "told"), _mistakes())
def test_mistake_is_told_with_its_line(yaml: str, told: list[str]) -> None:
    with pytest.raises(ConfigErrors) as raised:
        parse_settings(yaml, file="cq.yaml", environ={})
    assert str(raised.value).split("\n") == [f"cq.yaml:{line}" for line in told]


def test_there_are_enough_mistakes_and_none_is_there_twice() -> None:
    ids = [mistake.id for mistake in _mistakes()]  # type: ignore[attr-defined]
    assert len(set(ids)) == len(ids) >= 190
