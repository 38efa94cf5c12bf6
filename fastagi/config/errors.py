# SPDX-License-Identifier: MIT
"""What can be wrong with the settings, in words for the person who wrote them.

This module owns the form of a fault and of the list of faults. It must not know
YAML, pydantic or any single setting.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from fastagi.errors import CallbackError

_SHOWN = 60


class BadValue(ValueError):
    """A value cannot be used.

    Attributes:
        message: what is wrong, beginning with "must", "may", "is" or the like, so
            that it can follow the name of the setting.
        remedy: what to do about it, or nothing.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} - {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


@attrs.frozen(kw_only=True)
class ConfigError:
    """One fault in one place of the settings file.

    Attributes:
        file: the file's name as it was given.
        line: counted from 1; 0 if the fault is with the file as a whole.
        path: the setting with dots, such as ``queues.support.attempts``; empty if
            no single setting is meant.
        message: what is wrong.
        remedy: what to do about it, or nothing.
    """

    file: str
    line: int
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        words = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{words} - {self.remedy}" if self.remedy else words


class ConfigErrors(CallbackError):
    """The settings cannot be used.

    Attributes:
        errors: every fault found, in the order of the lines of the file.
    """

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(
            sorted(set(errors), key=lambda e: (e.line, e.path, e.message, e.remedy))
        )
        super().__init__("\n".join(str(error) for error in self.errors))


def shown(value: object) -> str:
    """Show a value from the file inside a message: on one line, and short."""
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
