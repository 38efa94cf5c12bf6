# SPDX-License-Identifier: MIT
"""The ``Queue()`` lines of a dialplan: which can be led through ``callback-enter``.

A new line moves the priorities behind it. So a line is left alone if its extension is
numbered by hand, or if something jumps to a number behind it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import attrs

from fastagi import dialplan
from fastagi.checks.conf import Section
from fastagi.domain.names import folded
from fastagi.errors import Problem

_PRIORITY: Final = re.compile(
    r"\s*(?P<number>n|\d+|hint)(?P<plus>\s*\+\s*\d+)?\s*"
    r"(?P<label>\([^()]*\))?\s*,\s*(?P<app>.*)",
    re.IGNORECASE | re.DOTALL,
)
_QUEUE: Final = re.compile(r"Queue\s*\((?P<args>.*)\)", re.IGNORECASE | re.DOTALL)
_QUEUE_SOMEWHERE: Final = re.compile(r"\bQueue\s*\(", re.IGNORECASE)
_ENTER: Final = f"Gosub({dialplan.ENTER_CONTEXT},s,1("
#: What becomes of the line of Queue().
_THEN: Final = "Queue(${CALLBACK_QUEUE_ARGS})"
#: Our own line: also if it was written by hand, as docs/install.md says.
_OURS: Final = re.compile(r"\$\{CALLBACK_\w+")
#: A priority that is so many lines before or behind that of the jump.
_RELATIVE: Final = re.compile(r"[+-]\s*(?:\d+|\$\{.*)", re.DOTALL)
_JUMPS: Final = re.compile(
    r"(?:goto|gotoif|gotoiftime|gosub|gosubif|execif|macro|macroif)\b", re.IGNORECASE
)
#: Beginning of a line of extensions.conf, up to the priority.
_HEAD: Final = re.compile(
    r"(?P<head>\s*(?:same\s*=>?\s*"
    r"|exten\s*=>?\s*(?:\[[^\]]*\]|[^,\[])+,\s*))"
    r"(?P<number>n|\d+)\s*(?P<label>\([^()]*\))?\s*,\s*Queue\s*\((?P<args>.*)\)\s*\Z",
    re.IGNORECASE | re.DOTALL,
)


@attrs.frozen
class Step:
    """One priority of an extension.

    Attributes:
        context: the name of its section.
        exten: its extension.
        number: its priority; 0 if it is not known.
        is_numbered: whether the file has its number, and not ``n``.
        application: the application with its arguments.
        where: "FILE:LINE".
    """

    context: str
    exten: str
    number: int
    is_numbered: bool
    application: str
    where: str


def steps(sections: Iterable[Section]) -> list[Step]:
    """Return every priority of a dialplan, in the order of the files."""
    return [step for section in sections for step in _steps_of(section)]


def _steps_of(section: Section) -> Iterator[Step]:
    exten, number = "", 0
    for option in section.options:
        keyword = folded(option.name)
        rest = option.value
        if keyword == "exten":
            exten, rest = _split_exten(option.value)
            number = number if rest.lstrip()[:1] in "nN" else 0
        elif keyword != "same":
            continue
        found = _PRIORITY.fullmatch(rest)
        if found is None:
            yield Step(section.name, exten, 0, True, rest, option.where)
            continue
        if found["number"].lower() == "hint":
            continue
        numbered = found["number"].lower() != "n"
        number = int(found["number"]) if numbered else number + 1
        if found["plus"]:
            number += int(re.sub(r"[\s+]", "", found["plus"]))
        yield Step(
            section.name, exten, number, numbered, found["app"].strip(), option.where
        )


def _split_exten(value: str) -> tuple[str, str]:
    """Return the extension, and the rest behind its comma."""
    depth = 0
    for at, char in enumerate(value):
        depth += (char == "[") - (char == "]")
        if char == "," and depth <= 0:
            return value[:at].strip(), value[at + 1 :]
    return value.strip(), ""


@attrs.frozen
class QueueLine:
    """A line through which callers enter one of the queues.

    Attributes:
        where: "FILE:LINE".
        queue: the name of the queue, as the line has it.
        by_hand: why it is not changed; None if it can be.
    """

    where: str
    queue: str
    by_hand: Problem | None = None


def queue_lines(all_steps: Sequence[Step], queues: Collection[str]) -> list[QueueLine]:
    """Return the lines that lead callers into the queues, but not through our dialplan.

    Args:
        all_steps: the whole dialplan.
        queues: the names of the queues with callbacks.
    """
    wanted = {folded(name) for name in queues}
    found: list[QueueLine] = []
    for step in all_steps:
        if _OURS.search(step.application):
            continue
        queue = _QUEUE.fullmatch(step.application)
        if queue is None:
            if _QUEUE_SOMEWHERE.search(step.application) and any(
                name in folded(step.application) for name in wanted
            ):
                found.append(_left(step, "", "Queue() runs within another application"))
            continue
        name = queue["args"].partition(",")[0].strip()
        if "${" in name:
            found.append(_left(step, name, "its queue is known only during a call"))
        elif folded(name) in wanted:
            why = _why_not(step, all_steps)
            found.append(_left(step, name, why) if why else QueueLine(step.where, name))
    # A template gives the same line to several sections, as does an #include. If it is
    # left in one of them, it is left.
    left_last = sorted(found, key=lambda one: one.by_hand is not None)
    chosen = {one.where: one for one in left_last}
    return [chosen[where] for where in dict.fromkeys(one.where for one in found)]


def _left(step: Step, name: str, why: str) -> QueueLine:
    shown = name or "QUEUE"
    return QueueLine(
        step.where,
        name,
        Problem(
            step.where,
            f"this line is left as it is: {why}. Callbacks work, but a caller who is"
            " put back in line gets the whole time-out again",
            f"write in its place: {_ENTER}{shown},...)) with its arguments, and then"
            f" {_THEN}",
        ),
    )


def _why_not(step: Step, all_steps: Sequence[Step]) -> str:
    """Return why a line is not to be changed; "" if it can be."""
    if step.number == 0:
        return "its priority is not understood"
    mine = [
        one
        for one in all_steps
        if folded(one.context) == folded(step.context) and one.exten == step.exten
    ]
    behind = [one for one in mine if one.number > step.number]
    if any(one.is_numbered for one in behind):
        return "the priorities behind it are numbered"
    if sum(one.number == step.number for one in mine) > 1:
        return "its extension is written twice"
    if any("${PRIORITY}" in one.application for one in mine):
        return "its extension computes with ${PRIORITY}"
    if any(_jumps_by_lines(one) for one in mine):
        return "its extension has a jump by a number of lines"
    if any(_jumps_behind(one, step) for one in all_steps):
        return "something jumps to a number behind it"
    return ""


def _jumps_by_lines(one: Step) -> bool:
    """Whether a step has a jump such as ``GotoIf($[...]?+2)``."""
    return _JUMPS.search(one.application) is not None and any(
        _RELATIVE.fullmatch(target.rpartition(",")[2].strip())
        for target in re.split(r"[?:()]", one.application)
    )


def _jumps_behind(one: Step, step: Step) -> bool:
    if not _JUMPS.search(one.application):
        return False
    here = folded(one.context) == folded(step.context)
    for target in re.split(r"[?:()]", one.application):
        parts = [part.strip() for part in target.split(",")]
        if not parts[-1].isdecimal() or int(parts[-1]) <= step.number:
            continue
        match parts[:-1]:
            case []:
                if here and one.exten == step.exten:
                    return True
            case [*_, context, exten] if folded(context) == folded(step.context):
                if exten == step.exten or "${" in exten:
                    return True
            case [*_, exten]:
                if here and exten == step.exten:
                    return True
    return False


def through_callback_enter(raw: str, stripped: str) -> tuple[str, ...] | None:
    """Return the two lines for a line with ``Queue()``; None if it is too unusual.

    Args:
        raw: the line of the file.
        stripped: the same without comments and blanks around it.
    """
    if ";--" in raw or "--;" in raw:
        return None
    found = _HEAD.fullmatch(stripped)
    if found is None:
        return None
    indent = raw[: len(raw) - len(raw.lstrip())]
    head, label = indent + found["head"], found["label"] or ""
    arguments = found["args"].replace(";", "\\;")
    return (
        f"{head}{found['number']}{label},{_ENTER}{arguments}))",
        f"{head}n,{_THEN}",
    )
