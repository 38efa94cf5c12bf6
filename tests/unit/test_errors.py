# SPDX-License-Identifier: MIT
"""A problem and the errors that carry one."""

from __future__ import annotations

import pytest

from fastagi.ami.tls import TlsFailed
from fastagi.errors import CallbackError, Problem


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            Problem("cq.yaml:3", "is empty", "delete it"),
            "cq.yaml:3: is empty; delete it",
        ),
        (Problem("cq.yaml:3", "is empty"), "cq.yaml:3: is empty"),
        (Problem("", "is empty", "delete it"), "is empty; delete it"),
        (Problem("", "is empty"), "is empty"),
    ],
)
def test_a_problem_is_told_on_one_line(problem: Problem, words: str) -> None:
    assert str(problem) == words
    assert str(CallbackError(problem)) == words
    assert CallbackError(problem).problem is problem


def test_the_parts_of_an_error_may_hold_what_stands_between_them() -> None:
    error = TlsFailed("a - b: c; d", "e - f")
    assert str(error) == "a - b: c; d - e - f"
    assert error.problem == Problem("", "a - b: c; d", "e - f")


def test_an_error_without_words_says_what_it_is() -> None:
    class Lost(CallbackError):
        """The link is lost.

        Nothing was changed.
        """

    assert Lost().problem == Problem("", "The link is lost.")
    assert str(Lost()) == "The link is lost."
