# SPDX-License-Identifier: MIT
"""Write the man pages of the command: ``python -m tools.man_pages DIRECTORY``.

One page for the command and one for each of its commands; a group and all commands in
it share a page. All text comes from the command line's own help.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from fastagi import __version__
from fastagi.command.cli import main

NAME: Final = "callback-queue"

_FILES: Final = {
    "/etc/callback-queue/callback-queue.yaml": "The settings of the service. The sample"
    " file in the directory etc of the documentation explains each of them.",
    "/etc/callback-queue/web.yaml": "The settings of the web process.",
    "/etc/default/callback-queue": "Environment variables of the service, such as"
    " CALLBACK_QUEUE_AMI_SECRET. It may be missing.",
    "/var/lib/callback-queue": "The databases.",
    "/run/callback-queue/control.sock": "The control socket, on which the running"
    " service takes commands.",
    "/usr/lib/callback-queue/share/callback-queue": "The dialplan, the prompts, sample"
    " files and the documentation.",
}
_EXIT_CODES: Final = {
    "0": "Success.",
    "1": "Failure; for check: at least one fault.",
    "2": "Invalid arguments or settings; for run also: the database needs db upgrade,"
    " or another service runs on it.",
}


def write_man_pages(directory: Path, epoch: int) -> list[Path]:
    """Write all pages; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in man_pages(epoch).items():
        path = directory / f"{name}.1"
        path.write_text(text)
        written.append(path)
    return written


def man_pages(epoch: int) -> dict[str, str]:
    """Return the text of each page by its name."""
    root = _context(main, NAME, None)
    pages = {NAME: _page(NAME, _summary(main), _overview(root), epoch)}
    for context in _below(root):
        name = context.command_path.replace(" ", "-")
        body = list(_described(context, section="SYNOPSIS"))
        pages[name] = _page(name, _summary(context.command), body, epoch)
    return pages


def _page(name: str, summary: str, body: list[str], epoch: int) -> str:
    date = datetime.fromtimestamp(epoch, UTC).date()
    head = [
        f'.TH {_quoted(name.upper())} 1 "{date}" {_quoted(f"{NAME} {__version__}")}',
        # Neither hyphens nor spaces that the text does not have.
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{_text(name)} \- {_text(summary)}",
    ]
    others = [] if name == NAME else [rf".BR {_text(NAME)} (1)"]
    tail = [
        ".SH SEE ALSO",
        *others,
        _text("/usr/lib/callback-queue/share/callback-queue/docs"),
    ]
    return "\n".join([*head, *body, *tail]) + "\n"


def _overview(root: click.Context) -> list[str]:
    lines = list(_described(root, section="SYNOPSIS"))
    lines.append(".SH COMMANDS")
    for context in _below(root):
        name = context.command_path.replace(" ", "-")
        lines += [".TP", rf".BR {_text(name)} (1)", _text(_summary(context.command))]
    for title, entries in (("EXIT STATUS", _EXIT_CODES), ("FILES", _FILES)):
        lines.append(f".SH {title}")
        for term, text in entries.items():
            lines += [".TP", rf".B {_text(term)}", _text(text)]
    return lines


def _described(context: click.Context, *, section: str) -> Iterator[str]:
    """Yield the usage, the help and the options of a command, then of those below."""
    command = context.command
    if section == "SYNOPSIS":
        yield f".SH {section}"
    pieces = " ".join(command.collect_usage_pieces(context))
    yield rf"\fB{_text(context.command_path)}\fR {_text(pieces)}"
    if section == "SYNOPSIS":
        yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    options = [
        record
        for parameter in command.params
        if (record := parameter.get_help_record(context)) and record[1]
    ]
    if options and section == "SYNOPSIS":
        yield ".SH OPTIONS"
    for term, text in options:
        yield ".TP"
        yield rf".B {_text(term)}"
        yield _text(text)
    if context.parent is not None:
        commands = list(_all_below(context))
        if commands:
            yield ".SH COMMANDS"
        for below in commands:
            yield f".SS {_quoted(below.command_path)}"
            yield from _described(below, section="")


def _context(
    command: click.Command, name: str, parent: click.Context | None
) -> click.Context:
    return click.Context(
        command, parent=parent, info_name=name, **command.context_settings
    )


def _below(context: click.Context) -> Iterator[click.Context]:
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield _context(found, name, context)


def _all_below(context: click.Context) -> Iterator[click.Context]:
    """Yield the commands of a group; in place of a group in it, its commands."""
    for below in _below(context):
        if isinstance(below.command, click.Group):
            yield from _all_below(below)
        else:
            yield below


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=200).rstrip(".")


def _paragraphs(text: str) -> Iterator[str]:
    """Yield help as paragraphs; lines after a backspace keep their ends."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        yield ".PP"
        if lines[0] == "\b":
            yield ".nf"
            yield from map(_text, lines[1:])
            yield ".fi"
        else:
            yield _text(" ".join(lines))


def _text(text: str) -> str:
    """Escape what roff would take for a command."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("\b", "")
    text = text.replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    return "\n".join(
        rf"\&{line}" if line.startswith(".") else line for line in text.splitlines()
    )


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', r"\(dq") + '"'


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.man_pages DIRECTORY")
    for page in write_man_pages(Path(sys.argv[1]), 0):
        print(page)
