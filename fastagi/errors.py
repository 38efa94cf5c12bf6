# SPDX-License-Identifier: MIT
"""What can be wrong, in an operator's words, and the root of every error.

Owns the form of a problem. Whoever shows one chooses what stands between its parts;
nobody takes a message apart again.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen


@frozen
class Problem:
    """What is wrong, where, and what to do about it.

    Attributes:
        where: the file with its line, the setting, the table or the address; empty if
            the one who shows it names the place.
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
        """Return the place, the problem and, behind ``between``, the remedy."""
        words = self.without_remedy
        return f"{words}{between}{self.remedy}" if self.remedy else words


class CallbackError(Exception):
    """Something this service knows how to name.

    The text of each is a sentence an operator may read.

    Attributes:
        problem: what that sentence is made of.
    """

    #: What stands in the sentence between the problem and the remedy.
    between: ClassVar[str] = "; "

    def __init__(self, problem: str | Problem = "", remedy: str = "") -> None:
        """Make it of a problem, or of a sentence and perhaps what to do."""
        if not isinstance(problem, Problem):
            what = problem or (self.__doc__ or "").strip().splitlines()[0]
            problem = Problem("", what, remedy)
        super().__init__(problem.on_one_line(self.between))
        self.problem = problem
