# SPDX-License-Identifier: MIT
"""What can go wrong with a history."""

from __future__ import annotations

from fastagi.errors import CallbackError


class HistoryUnreadable(CallbackError):
    """A history can not be read.

    Attributes:
        where: the file or the database.
        problem: what is wrong.
        remedy: what to do about it.
    """

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}; {remedy}")
        self.where = str(where)
        self.problem = problem
        self.remedy = remedy
