# SPDX-License-Identifier: MIT
"""The help of the command groups, and what they say to a wrong command."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from fastagi.command import cli


def _told(*words: str) -> str:
    done = CliRunner().invoke(cli.main, words, prog_name="callback-queue")
    assert done.exit_code == 2
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("numbrs list", "numbers"),
        ("stat", "status"),
        ("blocklist", "numbers block' or 'callback-queue numbers unblock"),
        ("block +4930123456", "numbers block"),
        ("backup", "db backup' or 'callback-queue web backup"),
        ("tasks ls", "tasks list"),
        ("tasks lst", "tasks list"),
        ("tasks delete 17", "tasks cancel"),
        ("tasks block +4930123456", "numbers block"),
        ("web user delete ada", "web user remove"),
    ],
)
def test_wrong_command_suggests_the_nearest(words: str, meant: str) -> None:
    told = _told(*words.split())
    assert told.endswith(f" Did you mean 'callback-queue {meant}'?")


def test_wrong_command_without_a_near_one_suggests_nothing() -> None:
    assert _told("qwertz") == "Error: No such command 'qwertz'."


def _groups(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    yield above
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _groups(command, *above, name)


@pytest.mark.parametrize("words", [*_groups(cli.main)], ids=" ".join)
def test_help_of_a_group_has_each_summary_whole(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli.main, [*words, "--help"], terminal_width=80)
    summaries = done.output.partition("\nCommands:\n")[2].splitlines()
    assert summaries
    assert [line for line in summaries if line.endswith("...")] == []


def test_help_begins_with_what_is_used_most() -> None:
    shown = CliRunner().invoke(cli.main, ["--help"]).output
    names = [line.split()[0] for line in shown.partition("Commands:\n")[2].splitlines()]
    assert names[:5] == ["setup", "check", "status", "tasks", "numbers"]
    assert "Block and unblock numbers" in shown
