# SPDX-License-Identifier: MIT
"""Changes Asterisk's files by lines, between two markers, and takes them out again.

Nothing else in a file is changed: comments, blanks and line ends stay as they are. A
line that is replaced stays as a comment behind ``WAS``, so that it can be put back.

A file is text in Latin-1: one character for each byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from fastagi.checks.conf import stripped_lines
from fastagi.domain.names import folded
from fastagi.errors import Problem

BEGIN: Final = "; callback-queue setup: begin"
END: Final = "; callback-queue setup: end"
#: Comes before a line that was replaced.
WAS: Final = "; was: "


class Misplaced(Exception):
    """The markers of a file do not belong together; the problem says where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what

    def problem(self, where: object) -> Problem:
        """Return the problem, for a file."""
        return Problem(
            f"{where}:{self.line}",
            self.what,
            f"delete the lines that callback-queue setup wrote, with their markers"
            f" ({BEGIN!r} and {END!r}), and put back the lines behind {WAS!r}",
        )


@attrs.frozen
class Insert:
    """New lines.

    Attributes:
        after: the number of the line behind which they go; 0: at the beginning.
        lines: the lines, without line ends.
    """

    after: int
    lines: tuple[str, ...]


@attrs.frozen
class Replace:
    """New lines in place of a line, which stays as a comment.

    Attributes:
        line: its number.
        lines: the new lines, without line ends.
    """

    line: int
    lines: tuple[str, ...]


Edit = Insert | Replace


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return a file with changes, each between the markers."""
    lines = _split(text)
    inserts: dict[int, list[str]] = {}
    replaces: dict[int, tuple[str, ...]] = {}
    for one in edits:
        if isinstance(one, Insert):
            inserts.setdefault(one.after, []).extend(one.lines)
        else:
            replaces[one.line] = one.lines
    made: list[str] = []
    if 0 in inserts:
        made += _block(inserts[0])
    for number, line in enumerate(lines, 1):
        if number in replaces:
            ended = line if line.endswith("\n") else f"{line}\n"
            made += _block([f"{WAS}{ended}", *replaces[number]])
        elif number in inserts and not line.endswith("\n"):
            made.append(f"{line}\n")
        else:
            made.append(line)
        if number in inserts:
            made += _block(inserts[number])
    return "".join(made)


def _block(lines: Iterable[str]) -> list[str]:
    return [
        f"{BEGIN}\n",
        *(line if line.endswith("\n") else f"{line}\n" for line in lines),
        f"{END}\n",
    ]


def without_ours(text: str) -> str:
    """Return a file without the lines between the markers, replaced lines put back.

    Raises:
        Misplaced: a marker has no other one.
    """
    kept: list[str] = []
    begun = 0
    for number, line in enumerate(_split(text), 1):
        marker = line.strip()
        if marker == BEGIN:
            if begun:
                raise Misplaced(begun, f"{BEGIN!r} has no {END!r}")
            begun = number
        elif marker == END:
            if not begun:
                raise Misplaced(number, f"{END!r} has no {BEGIN!r}")
            begun = 0
        elif not begun:
            kept.append(line)
        elif line.startswith(WAS):
            kept.append(line[len(WAS) :])
    if begun:
        raise Misplaced(begun, f"{BEGIN!r} has no {END!r}")
    return "".join(kept)


def has_ours(text: str) -> bool:
    """Whether a file has lines between the markers."""
    return any(line.strip() in (BEGIN, END) for line in _split(text))


def _split(text: str) -> list[str]:
    """Return the lines with their ends, as Asterisk's fgets() divides them."""
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


@attrs.frozen
class Header:
    """One ``[name]`` of a file.

    Attributes:
        line: its number.
        name: the name of the section.
        is_template: whether it is a template, so nothing but that.
        last: the number of its last line that is an option; its own if it has none.
    """

    line: int
    name: str
    is_template: bool
    last: int


def headers(text: str) -> list[Header]:
    """Return the headers of the sections in a file, in order."""
    found: list[Header] = []
    for number, line in stripped_lines(text.encode("latin-1")):
        if line.startswith("["):
            name, closed, rest = line[1:].partition("]")
            marks = rest.strip()
            is_template = marks.startswith("(") and "!" in marks.partition(")")[0]
            if closed:
                found.append(Header(number, name, is_template, number))
        elif found and line and not line.startswith("#"):
            found[-1] = attrs.evolve(found[-1], last=number)
    return found


def last_header(text: str, name: str) -> Header | None:
    """Return the last header of a section with this name that is no template."""
    wanted = folded(name)
    fitting = [
        one
        for one in headers(text)
        if folded(one.name) == wanted and not one.is_template
    ]
    return fitting[-1] if fitting else None


def raw_line(text: str, number: int) -> str:
    """Return a line without its end."""
    return _split(text)[number - 1].rstrip("\r\n")


def number_of_lines(text: str) -> int:
    """Return how many lines a file has."""
    return len(_split(text))


def at_the_end(text: str, lines: Sequence[str]) -> Insert:
    """Return the insertion behind the last line of a file."""
    return Insert(number_of_lines(text), tuple(lines))
