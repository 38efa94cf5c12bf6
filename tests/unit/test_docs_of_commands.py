# SPDX-License-Identifier: MIT
"""The commands in README and docs/ exist, with their options and arguments."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from fastagi.command import cli

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^ *```(?:sh)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
#: A line that is one command of ours.
_COMMAND = re.compile(r"(?:sudo )?(?:/opt/callback-queue/bin/)?callback-queue (.*)")


def _commands() -> list[str]:
    lines = [
        f"{page.name}: {found[1].strip()}"
        for page in _PAGES
        for block in _BLOCK.findall(page.read_text("utf-8"))
        for line in block.replace("\\\n", " ").splitlines()
        if (found := _COMMAND.fullmatch(line.partition(" #")[0].strip()))
    ]
    return list(dict.fromkeys(lines))


def test_commands_are_found() -> None:
    pages = {line.partition(":")[0] for line in _commands()}
    assert pages >= {
        "install.md",
        "operators.md",
        "privacy.md",
        "web.md",
        "webhooks.md",
    }


@pytest.mark.parametrize("line", _commands())
def test_command_of_the_docs_exists(line: str) -> None:
    words = shlex.split(line.partition(": ")[2])
    command: click.Command = cli.main
    context = click.Context(command)
    while isinstance(command, click.Group):
        _name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    # Raises UsageError for an unknown option, and for arguments too few or too many.
    words = [__file__ if word == "FILE" else word for word in words]
    with context:
        command.parse_args(context, words)
