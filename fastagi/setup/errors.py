# SPDX-License-Identifier: MIT
"""Why nothing is installed: each obstacle says what to do by hand."""

from __future__ import annotations

from collections.abc import Iterable

from fastagi.errors import CallbackError, Problem


class Refused(CallbackError):
    """Something is not as setup needs it. Nothing was changed.

    Attributes:
        problems: everything that was found, each with its remedy.
    """

    between = " - "

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems[0])

    def __str__(self) -> str:
        return "\n".join(one.on_one_line(self.between) for one in self.problems)


class WrongAnswer(ValueError):
    """An answer can not be used. Who knows where it was given names the place.

    Attributes:
        what: what is wrong.
        remedy: what to answer.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(Problem("", what, remedy).on_one_line(" - "))


class SetupFailed(CallbackError):
    """Writing or taking back failed; the text says what is left."""

    between = " - "
