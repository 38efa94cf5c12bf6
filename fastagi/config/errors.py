# SPDX-License-Identifier: MIT
"""Errors of the settings, in words for the person who wrote them.

Has the errors of a single value and of a whole file. Independent of YAML, pydantic and
single settings.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastagi.errors import CallbackError, Problem

#: The text between a problem and its remedy, in all messages about settings.
BETWEEN = " - "

_SHOWN = 60


class BadValue(ValueError):
    """A value cannot be used.

    Attributes:
        problem: what is wrong, without a place. It begins with "must", "may", "is" or
            the like, so that it can follow the name of the setting.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.problem = Problem("", what, remedy)
        super().__init__(self.problem.on_one_line(BETWEEN))


class ConfigErrors(CallbackError):
    """The settings cannot be used.

    Attributes:
        problems: every one found, in the order of the lines of the file. The place is
            the file, its line if a line is meant, and the setting if one is meant:
            ``callback-queue.yaml:12: queues.support.attempts``.
        lines: the line of each; 0: the file as a whole.
    """

    def __init__(
        self, problems: Iterable[Problem], lines: Iterable[int] | None = None
    ) -> None:
        self.problems = tuple(problems)
        self.lines = (0,) * len(self.problems) if lines is None else tuple(lines)
        super().__init__("\n".join(one.on_one_line(BETWEEN) for one in self.problems))


def shown(value: object) -> str:
    """Return a value from the file for a message: on one line, and short."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            quote = "'" if '"' in value and "'" not in value else '"'
            return f"{quote}{_printable(value)}{quote}"
        case dict():
            return "a group of settings"
        case list() | tuple():
            return "a list"
        case _:
            return f'"{_printable(str(value))}"'


def _printable(text: str) -> str:
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in cut
    )
