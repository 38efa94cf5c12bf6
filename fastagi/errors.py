# SPDX-License-Identifier: MIT
"""The form of a problem in an operator's words, and the base class of all errors.

The code that shows a problem chooses the text between its parts. No code splits a
message to get these parts back.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen


@frozen
class Problem:
    """What is wrong, where, and what to do about it.

    Attributes:
        where: the file with its line, the setting, the table or the address; empty if
            the code that shows the problem names the place.
        what: what is wrong there.
        remedy: what to type or to change; empty if there is nothing to do.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.on_one_line()

    @property
    def without_remedy(self) -> str:
        """The place, if there is one, and what is wrong."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def on_one_line(self, between: str = "; ") -> str:
        """Return the place, the problem and, after ``between``, the remedy."""
        words = self.without_remedy
        return f"{words}{between}{self.remedy}" if self.remedy else words


class CallbackError(Exception):
    """An error with a message for operators.

    Attributes:
        problem: the parts of the message.
    """

    #: The kind of the error, for programs. :data:`fastagi.doors.codec.STATUS` has the
    #: HTTP status of each.
    code: str = "failed"
    #: The text between the problem and the remedy in the message.
    between: ClassVar[str] = "; "

    def __init__(self, problem: str | Problem = "", remedy: str = "") -> None:
        """Build it from a problem, or from a sentence and perhaps a remedy."""
        if not isinstance(problem, Problem):
            what = problem or (self.__doc__ or "").strip().splitlines()[0]
            problem = Problem("", what, remedy)
        super().__init__(problem.on_one_line(self.between))
        self.problem = problem
