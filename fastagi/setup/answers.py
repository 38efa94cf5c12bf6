# SPDX-License-Identifier: MIT
"""What an administrator is asked, the file that answers it, and what is wrong there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
import phonenumbers
import yaml

from fastagi.config.errors import BadValue
from fastagi.config.fields import parse_channel_template
from fastagi.domain.names import folded
from fastagi.domain.numbers import DialAs, NumberPlan
from fastagi.domain.trunk import trunk_of
from fastagi.errors import Problem
from fastagi.setup.countries import country
from fastagi.setup.errors import Refused, WrongAnswer
from fastagi.setup.found import Found
from fastagi.setup.material import page

#: The prompt that tells waiting callers about the key.
DEFAULT_OFFER: Final = "callback-queue/offer"
#: In place of a prompt: nothing is said.
NO_OFFER: Final = "none"
#: In place of own numbers: there are none.
NO_NUMBERS: Final = "none"
#: A name without what has a meaning in Asterisk's files, or in patterns.
_SOUND: Final = r"[^\s,;&*?\[\]{}\"']+"
#: Where each answer is given, if nothing else gives it.
OPTIONS: Final = {
    "queues": "--queue",
    "outbound": "--outbound",
    "region": "--region",
    "own_numbers": "--own-number",
    "offer": "--offer-text",
    "start": "--start",
}
_EXAMPLE: Final = "+4930123456"
#: A wrong number with at most so many digits is too short.
_TOO_SHORT: Final = 4
_NOT_WHOLE: Final = "is no whole telephone number"
#: What is wrong with a number, by what the library says of its length.
_LENGTHS: Final = {
    phonenumbers.ValidationResult.TOO_SHORT: "is too short for a telephone number",
    phonenumbers.ValidationResult.TOO_LONG: "is too long for a telephone number",
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "has no area code",
}
#: The names in the file, with what each must be.
_NAMES: Final = {
    "queues": "a list of queues",
    "outbound": "a channel such as PJSIP/{number}@trunk",
    "region": "a country such as DE",
    "own_numbers": "a list of numbers, each in quotes, or none",
    "offer": "the name of a sound file, or none",
    "start": "true or false",
}
_LISTS: Final = ("queues", "own_numbers")


@attrs.frozen(kw_only=True)
class Given:
    """Answers that were given; None if the question is open.

    Attributes:
        places: where an answer was given, for messages; an option if it is not listed.
    """

    queues: tuple[str, ...] | None = None
    outbound: str | None = None
    region: str | None = None
    own_numbers: tuple[str, ...] | None = None
    offer: str | None = None
    start: bool | None = None
    places: Mapping[str, str] = attrs.field(factory=dict, eq=False)

    def or_else(self, other: Given) -> Given:
        """Return these answers, and where one is open that of the other."""
        open_ones = [name for name in OPTIONS if getattr(self, name) is None]
        return attrs.evolve(
            self,
            **{name: getattr(other, name) for name in open_ones},
            places={
                **self.places,
                **{name: other.place(name) for name in open_ones},
            },
        )

    def place(self, name: str) -> str:
        """Return where an answer was given, or can be."""
        return self.places.get(name, OPTIONS[name])


@attrs.frozen(kw_only=True)
class Answers:
    """All answers.

    Attributes:
        queues: the queues that offer callbacks.
        outbound: the channel with which clients are dialled.
        region: the country, in two letters.
        own_numbers: the numbers of this Asterisk; clients see the first one if the
            trunk shows none.
        offer: the prompt that tells callers about the key; "none" for no prompt.
        start: whether the service is started.
        places: where an answer was given, as in Given.
    """

    queues: tuple[str, ...]
    outbound: str
    region: str
    own_numbers: tuple[str, ...] = ()
    offer: str = DEFAULT_OFFER
    start: bool = True
    places: Mapping[str, str] = attrs.field(factory=dict, eq=False)


def read_answers(text: str, file: str) -> Given:
    """Read a file of answers (YAML).

    Raises:
        Refused: it has mistakes.
    """
    try:
        values = yaml.safe_load(text)
        nodes = _nodes(text)
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
    places = {name: f"{file}:{line}" for name, (line, _) in nodes.items()}
    for name, value in values.items():
        _, written = nodes.get(name, (0, ""))
        # YAML takes NO, the country, for false, and 0041 for another number.
        right, taken = _taken(name, written if name == "region" else value)
        if right:
            given[name] = taken
        else:
            known = ", ".join(_NAMES)
            what = f"{name} must be {_NAMES[name]}" if name in _NAMES else ""
            problems.append(
                Problem(
                    places.get(name, file),
                    what or f"{name or 'this'} is no answer",
                    f"the answers are {known}; {page('setup.md')} has an example",
                )
            )
    if problems:
        raise Refused(problems)
    named = {name: f"{place}, {name}" for name, place in places.items()}
    return Given(**given, places=named)


def _nodes(text: str) -> dict[str, tuple[int, str | None]]:
    """Return the line of each name in a file of answers, and its value as written.

    None: the value is a list or a mapping.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {
        str(key.value): (
            key.start_mark.line + 1,
            value.value if isinstance(value, yaml.ScalarNode) else None,
        )
        for key, value in node.value
    }


def _taken(name: Any, value: Any) -> tuple[bool, Any]:
    """Return whether a value is right, and the value of the answer."""
    if name in _LISTS:
        values = value if isinstance(value, list) else [value]
        right = bool(values) and all(isinstance(one, str) for one in values)
        return right, tuple(values)
    if name == "start":
        return isinstance(value, bool), value
    if name == "offer" and value is None:
        return True, NO_OFFER
    return name in _NAMES and isinstance(value, str), value


# -- what is wrong with an answer


def checked(
    given: Given, found: Found | None, known: Sequence[str] = ()
) -> tuple[Given, list[Problem]]:
    """Check the answers that are given.

    Args:
        given: the answers.
        found: the Asterisk; None if nothing is known of it.
        known: the own numbers of existing settings, which stay as they are.

    Returns:
        The answers in the form in which they are written, and what is wrong.
    """
    good: dict[str, Any] = {}
    problems = []

    def check(name: str, read: Callable[[Any], Any]) -> None:
        value = getattr(given, name)
        if value is None:
            return
        try:
            good[name] = read(value)
        except WrongAnswer as wrong:
            problems.append(Problem(given.place(name), wrong.what, wrong.remedy))

    check("queues", lambda names: check_queues(names, found))
    check("outbound", check_outbound)
    check("region", country)
    region = good.get("region", "")
    check("own_numbers", lambda numbers: check_own_numbers(numbers, region, known))
    check("offer", check_offer)
    return attrs.evolve(given, **good), problems


def all_checked(
    answers: Answers, found: Found | None, known: Sequence[str] = ()
) -> Answers:
    """Return all answers in the form in which they are written; see `checked`.

    Raises:
        Refused: at least one is wrong; the problems name where each was given.
    """
    values = attrs.asdict(answers, recurse=False)
    given, problems = checked(Given(**values), found, known)
    if problems:
        raise Refused(problems)
    return Answers(**attrs.asdict(given, recurse=False))


def check_queues(names: Sequence[str], found: Found | None) -> tuple[str, ...]:
    """Return the queues.

    Raises:
        WrongAnswer: there is no such queue, or none is named.
    """
    known = [one.name for one in found.queues] if found else []
    listed = ", ".join(known)
    if not names or not all(names):
        raise WrongAnswer(
            "a queue is needed",
            f"name one of: {listed}" if listed else "name one, such as support",
        )
    # Asterisk knows queues in a database only while it runs. If there is none at all,
    # the plan says why.
    is_complete = found is not None and not (found.realtime and not found.runs)
    for name in names:
        if set(name) & set("\r\n"):
            raise WrongAnswer(f"{name!r} has a line break", "write it on one line")
        if known and is_complete and folded(name) not in map(folded, known):
            assert found is not None
            raise WrongAnswer(
                f"there is no queue {name}; the queues are: {listed}",
                f"name one of them, or write [{name}] with its members into"
                f" {found.config_dir / 'queues.conf'} first",
            )
    # Asterisk ignores the case of the names.
    return tuple({folded(name): name for name in reversed(names)}.values())[::-1]


def check_outbound(channel: str) -> str:
    """Return the channel with which clients are dialled.

    Raises:
        WrongAnswer: it can not be dialled.
    """
    trunk = channel if re.fullmatch(r"[\w.-]+", channel) else "trunk"
    example = f"PJSIP/{{number}}@{trunk}"
    if not channel:
        raise WrongAnswer("a way outside is needed", f"write it such as {example}")
    if channel.count("{number}") != 1:
        raise WrongAnswer(
            f"{channel} has no {{number}}, or several",
            f"write {{number}} where the client's number goes, as in {example}",
        )
    try:
        return parse_channel_template(channel)
    except BadValue as bad:
        raise WrongAnswer(
            f"it {bad.problem.what}",
            bad.problem.remedy or f"write it such as {example}",
        ) from None


def doubt_outbound(channel: str, found: Found | None) -> Problem | None:
    """Return why a way outside probably leads nowhere; None if it may be right."""
    name = found.lacks_endpoint(channel) if found else ""
    if not name:
        return None
    assert found is not None
    there = ", ".join(filter(None, map(trunk_of, found.trunks)))
    return Problem(
        "",
        f"Asterisk has no endpoint {name}" + (f"; there is: {there}" if there else ""),
        "correct the name, or add the endpoint to pjsip.conf and run setup again, which"
        " then sees whether its calls show a number",
    )


def check_own_numbers(
    numbers: Sequence[str], region: str, known: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return own numbers, with the country code.

    Args:
        numbers: as somebody has written them.
        region: the country; empty if it is not known.
        known: numbers that stay as they are.

    Raises:
        WrongAnswer: one is no telephone number of a public network.
    """
    if [one.casefold() for one in numbers] == [NO_NUMBERS]:
        return ()
    if NO_NUMBERS in map(str.casefold, numbers):
        raise WrongAnswer(
            f"{NO_NUMBERS} is given together with numbers",
            f"give the numbers, or {NO_NUMBERS} alone",
        )
    return tuple(
        dict.fromkeys(
            one if one in known else _own_number(one, region) for one in numbers
        )
    )


def split_numbers(text: str, region: str) -> list[str]:
    """Return the numbers of an answer: with commas between them, or blanks.

    Without a comma, the whole text is one number if it can be one.
    """
    if "," not in text:
        with suppress(WrongAnswer):
            return [_own_number(text, region)]
    parts = text.split(",") if "," in text else text.split()
    return [one.strip() for one in parts if one.strip()]


def _own_number(text: str, region: str) -> str:
    number = re.sub(r"[-\s./()]", "", text)
    if not re.fullmatch(r"\+?[0-9]+", number, re.ASCII):
        raise WrongAnswer(
            f"{text} is no telephone number",
            "write its digits, with + and the country code in front, such as"
            f" {example_number(region)}",
        )
    if number.startswith("+0"):
        raise WrongAnswer(
            f"{text} has no country code after the +",
            f"write it such as {example_number(region)}",
        )
    if not region:
        return number
    written = _with_country_code(number, region)
    if not written:
        raise WrongAnswer(
            f"{text} {_why_no_number(number, region)}",
            "write each number with + and the country code, such as"
            f" {example_number(region)}; internal numbers need not be written",
        )
    return written


def _why_no_number(number: str, region: str) -> str:
    """Return what is wrong with digits that are no number of a country."""
    if len(number.removeprefix("+")) <= _TOO_SHORT:
        return "is too short for a telephone number"
    with suppress(phonenumbers.NumberParseException):
        parsed = phonenumbers.parse(number, region)
        return _LENGTHS.get(
            phonenumbers.is_possible_number_with_reason(parsed), _NOT_WHOLE
        )
    return _NOT_WHOLE


def _with_country_code(number: str, region: str) -> str:
    """Return a number in the form E.164; "" if it is no whole number of a country."""
    plan = NumberPlan(region)
    written = plan.write(number, DialAs.E164)
    if written.startswith("+") and not number.startswith("+"):
        return written if plan.has_area_code(number) else ""
    if not number.startswith(("+", "0")):
        return ""
    # It may be of a range that the library does not know yet.
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return ""
    why = phonenumbers.is_possible_number_with_reason(parsed)
    is_possible = why is phonenumbers.ValidationResult.IS_POSSIBLE
    if not is_possible or not parsed.national_number:
        return ""
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def example_number(region: str) -> str:
    """Return a number of a country."""
    number = phonenumbers.example_number(region) if region else None
    if number is None:
        return _EXAMPLE
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def check_offer(name: str) -> str:
    """Return the name of the prompt that tells callers about the key.

    Raises:
        WrongAnswer: it is none.
    """
    if name != NO_OFFER and not re.fullmatch(_SOUND, name):
        raise WrongAnswer(
            f"{name!r} is no name of a sound file",
            "write it as for Playback(), without extension, such as"
            " custom/press-1-for-a-callback",
        )
    return name
