# SPDX-License-Identifier: MIT
"""Each command has a man page with all its options."""

from __future__ import annotations

from collections.abc import Iterator

import click

from fastagi.command.cli import main
from tools.man_pages import man_pages


def _commands(
    command: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _commands(below, (*words, name))
    elif not command.hidden:
        yield words, command


def test_each_command_is_on_a_page_with_all_its_options() -> None:
    pages = man_pages(1_700_000_000)
    for (first, *rest), command in _commands(main, ()):
        page = pages[f"callback-queue-{first}"].replace("\\-", "-")
        path = " ".join(("callback-queue", first, *rest))
        assert f"\\fB{path}\\fR" in page
        part = page.partition(f"\\fB{path}\\fR")[2].partition("\n.SS")[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[0] in part, (path, parameter.opts)


def test_a_page_names_the_day_of_the_commit() -> None:
    for name, page in man_pages(1_700_000_000).items():
        first = page.partition("\n")[0].replace("\\-", "-")
        assert first.startswith(f'.TH "{name.upper()}" 1 "2023-11-14"'), first


def test_text_is_never_taken_for_a_command_of_the_formatter() -> None:
    for page in man_pages(0).values():
        for line in page.splitlines():
            if line.startswith("."):
                assert line.split()[0] in {
                    *(
                        ".nh",
                        ".ad",
                        ".TH",
                        ".SH",
                        ".SS",
                        ".TP",
                        ".PP",
                        ".B",
                        ".BR",
                        ".nf",
                        ".fi",
                    )
                }, line
            assert not line.startswith("'"), line
