# SPDX-License-Identifier: MIT
"""What an administrator is asked, and the file that answers it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import yaml

from fastagi.errors import Problem
from fastagi.setup.errors import Refused

#: The prompt that tells waiting callers about the key.
DEFAULT_OFFER: Final = "callback-queue/offer"
#: In place of a prompt: nothing is said.
NO_OFFER: Final = "none"
#: A name without what has a meaning in Asterisk's files, or in patterns.
_SOUND: Final = r"[^\s,;&*?\[\]{}\"']+"
#: The names in the file, with what each must be.
_NAMES: Final = {
    "queues": "a list of queues",
    "outbound": "a channel such as PJSIP/{number}@trunk",
    "region": "a country such as DE",
    "own_numbers": "a list of numbers, each in quotes",
    "offer": "the name of a sound file, or none",
    "start": "true or false",
}
_LISTS: Final = ("queues", "own_numbers")


@attrs.frozen(kw_only=True)
class Given:
    """Answers that were given; None if the question is open."""

    queues: tuple[str, ...] | None = None
    outbound: str | None = None
    region: str | None = None
    own_numbers: tuple[str, ...] | None = None
    offer: str | None = None
    start: bool | None = None

    def or_else(self, other: Given) -> Given:
        """Return these answers, and where one is open that of the other."""
        mine = attrs.asdict(self, recurse=False)
        theirs = attrs.asdict(other, recurse=False)
        return Given(
            **{
                name: theirs[name] if value is None else value
                for name, value in mine.items()
            }
        )


@attrs.frozen(kw_only=True)
class Answers:
    """All answers.

    Attributes:
        queues: the queues that offer callbacks.
        outbound: the channel with which clients are dialled.
        region: the country, in two letters.
        own_numbers: the numbers of this Asterisk.
        offer: the prompt that tells callers about the key; "none" for no prompt.
        start: whether the service is started.
    """

    queues: tuple[str, ...]
    outbound: str
    region: str
    own_numbers: tuple[str, ...] = ()
    offer: str = DEFAULT_OFFER
    start: bool = True


def read_answers(text: str, file: str) -> Given:
    """Read a file of answers (YAML).

    Raises:
        Refused: it has mistakes.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        raise Refused(
            [Problem(where, "this is no YAML", "write lines such as region: DE")]
        ) from None
    if not isinstance(values, Mapping):
        values = {} if values is None else {"": values}
    given: dict[str, Any] = {}
    problems = []
    for name, value in values.items():
        right, taken = _taken(name, value)
        if right:
            given[name] = taken
        else:
            known = ", ".join(_NAMES)
            what = f"{name} must be {_NAMES[name]}" if name in _NAMES else ""
            problems.append(
                Problem(
                    file,
                    what or f"{name or 'this'} is no answer",
                    f"the answers are {known}; docs/setup.md has an example",
                )
            )
    if problems:
        raise Refused(problems)
    return Given(**given)


def _taken(name: Any, value: Any) -> tuple[bool, Any]:
    """Return whether a value is right, and the value of the answer."""
    if name in _LISTS:
        values = value if isinstance(value, list) else [value]
        right = bool(values) and all(isinstance(one, str) for one in values)
        return right, tuple(values)
    if name == "start":
        return isinstance(value, bool), value
    # YAML takes NO, the country, for false.
    if name == "region" and value is False:
        return True, "NO"
    if name == "offer" and value is None:
        return True, NO_OFFER
    return name in _NAMES and isinstance(value, str), value


def mistakes(answers: Answers) -> list[Problem]:
    """Return what is wrong with the answers in themselves."""
    found = []
    if answers.outbound.count("{number}") != 1:
        found.append(
            Problem(
                "--outbound",
                f"{answers.outbound} has no {{number}}, or several",
                "write {number} where the client's number goes, as in"
                " PJSIP/{number}@trunk",
            )
        )
    for number in answers.own_numbers:
        if not re.fullmatch(r"\+?[0-9]+", number):
            found.append(
                Problem(
                    "--own-number",
                    f"{number} is no telephone number",
                    "write it with digits only, such as +4930123456",
                )
            )
    if answers.offer != NO_OFFER and not re.fullmatch(_SOUND, answers.offer):
        found.append(
            Problem(
                "--offer-text",
                f"{answers.offer!r} is no name of a sound file",
                "write it as for Playback(), without extension, such as"
                " custom/press-1-for-a-callback",
            )
        )
    if any(set(char) & set("\r\n") for char in (*answers.queues, answers.outbound)):
        found.append(Problem("answers", "one has a line break", "write it on one line"))
    return found
