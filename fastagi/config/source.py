# SPDX-License-Identifier: MIT
"""Reads a settings file as plain values, each with its line.

This module owns YAML: which parts of it are allowed, and the wording of its errors. It
does not know which settings exist.

It reads the events of PyYAML's parser and builds the values itself. So nothing is
constructed from a tag, no alias can grow or loop, and a key is always text (a queue may
be called 600). Only ``true``, ``false``, ``null`` and plain whole numbers are more than
text: ``10:00``, ``0123456``, ``+4930123456``, ``NO`` and ``1.10`` stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import TypeAlias

import attrs
import yaml

from fastagi.config.errors import shown
from fastagi.errors import Problem

Place: TypeAlias = tuple[str | int, ...]

LARGEST_BYTES = 256 * 1024
_SIMPLE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_DEEPEST = 16
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,30})")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MISSING_SPACE = re.compile(r" *[A-Za-z_]+:[^ ]")
#: What follows the colon if the key # is given without quotes.
_HASH = re.compile(r" +#[0-9*#]* *(?=[\r\n]|$)")
_HASH_IN_GROUP = re.compile(r"\{[^}]*: +#")
_SETTING = re.compile(r" *[A-Za-z0-9_-]+: *[^ #]")
_QUOTED_THEN_MORE = re.compile(r""": *"[^"]*" *<""")
#: Spaces, and what PyYAML takes for a comment.
_COMMENT = re.compile(" *(?:#[^\0\r\n\x85\u2028\u2029]*)?")


@attrs.frozen
class Fault:
    """A problem, and its place in the file.

    Attributes:
        line: counted from 1; 0: the file as a whole.
        place: the setting; empty if it is no single one.
        problem: what is wrong; its own place is empty, as the name of the file is not
            known here.
        file: the path of an included file; empty: the settings file itself.
    """

    line: int
    place: Place
    problem: Problem
    file: str = ""


def fault(line: int, place: Place, what: str, remedy: str = "") -> Fault:
    """Return a fault."""
    return Fault(line, place, Problem("", what, remedy))


class SourceFaults(Exception):
    """The text cannot be read at all.

    Attributes:
        faults: each reason.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__()
        self.faults = faults


@attrs.frozen
class Source:
    """The contents of a file.

    Attributes:
        value: dicts with text keys, lists, text, int, bool and None.
        lines: the line of each key and each item of a list.
        faults: keys that are given twice; the first of each is kept.
        hashes: settings without a value that have only # and keys of a telephone after
            the colon, which YAML takes for a comment.
        files: the path of the included file of each queue that is in one.
    """

    value: object
    lines: dict[Place, int]
    faults: list[Fault]
    hashes: frozenset[Place]
    files: Mapping[str, str] = attrs.field(factory=dict)

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest place around it."""
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)

    def file(self, place: Place) -> str:
        """Return the included file of a place; empty: the settings file itself."""
        if len(place) < 2 or place[0] != "queues":
            return ""
        return self.files.get(str(place[1]), "")


def dotted(place: Place) -> str:
    """Return a place with dots between names; items of lists have no name."""
    words = takewhile(lambda part: isinstance(part, str), place)
    return ".".join(
        word if _SIMPLE_NAME.fullmatch(word) else shown(word)
        for word in map(str, words)
    )


def read_source(data: bytes) -> Source:
    """Read a settings file.

    Raises:
        SourceFaults: it is no YAML, or contains a kind of YAML that is not allowed.
    """
    text = _decode(data)
    builder = _Builder(text)
    try:
        source = builder.build()
    except yaml.YAMLError as error:
        raise SourceFaults([_in_words(error, text)]) from None
    except (ValueError, OverflowError):
        # An escape of a character that does not exist, or a %YAML version with
        # thousands of digits: PyYAML passes on Python's own error.
        line = builder.line
        raise SourceFaults(
            [fault(line, (), "there is a number here that is far too large")]
        ) from None
    if builder.refused:
        raise SourceFaults(builder.refused)
    return source


class Loader(yaml.SafeLoader):
    """PyYAML's parser, with a faster reading of comments.

    The sample file consists mostly of comments, and PyYAML reads them sign by sign.
    """

    def scan_to_next_token(self) -> None:
        """Skip spaces, comments and line breaks."""
        if self.index == 0 and self.peek() == "\ufeff":
            self.forward()
        while True:
            skipped = _COMMENT.match(self.buffer, self.pointer)
            assert skipped is not None
            length = skipped.end() - self.pointer
            self.pointer += length
            self.index += length
            # PyYAML gives a byte order mark no column.
            self.column += length - skipped[0].count("\ufeff")
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True


class _Builder:
    """Builds values from the parser's events."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._events: Iterator[yaml.Event] = iter(())
        self._lines: dict[Place, int] = {}
        self._twice: list[Fault] = []
        self._hashes: set[Place] = set()
        self.refused: list[Fault] = []
        self.line = 1

    def build(self) -> Source:
        self._events = yaml.parse(self._text, Loader=Loader)
        value: object = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(
                        event,
                        "a second document starts here, and only one is read",
                        "delete the --- in this line",
                    )
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event, ())
                value = node if documents == 1 else value
        return Source(value, self._lines, self._twice, frozenset(self._hashes))

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self.line = _line_of(event)
        return event

    def _node(self, event: yaml.Event, place: Place) -> object:
        self.line = line = _line_of(event)
        self._lines.setdefault(place, line)
        if len(place) > _DEEPEST:
            raise SourceFaults([fault(line, (), "settings are nested too deeply here")])
        match event:
            case yaml.MappingStartEvent():
                self._check_marks(event, event.anchor, event.tag)
                return self._mapping(place)
            case yaml.SequenceStartEvent():
                self._check_marks(event, event.anchor, event.tag)
                return self._list(place)
            case yaml.ScalarEvent():
                self._check_marks(event, event.anchor, event.tag)
                is_empty = event.value == "" and event.style is None
                if is_empty and self._is_before_hash(event):
                    self._hashes.add(place)
                return self._scalar(event)
            case _:
                self._refuse_mark(event, "*", "an alias")
                return None

    def _mapping(self, place: Place) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = _line_of(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(
                    event,
                    "the name of a setting must be plain text",
                    "put a value that starts with { or [ in quotes",
                )
                self._node(event, (*place, "?"))
                self._node(self._next(), (*place, "?"))
                continue
            self._check_marks(event, event.anchor, event.tag)
            key: str = event.value
            inner = (*place, key)
            if key in values:
                first = self._lines[inner]
                self._twice.append(
                    fault(
                        line,
                        inner,
                        f"is given twice, here and in line {first}",
                        "delete one of the two",
                    )
                )
                # Its contents are read, in order to skip them, and not used.
                self._node(self._next(), inner)
                continue
            self._lines[inner] = line
            values[key] = self._node(self._next(), inner)
        return values

    def _list(self, place: Place) -> list[object]:
        values: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._node(event, (*place, len(values))))
        return values

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        text: str = event.value
        if any("\ud800" <= char <= "\udfff" for char in text):
            self._refuse(event, r"\u and what follows it make no character here")
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        return int(text) if _INT.fullmatch(text) else text

    def _is_before_hash(self, event: yaml.ScalarEvent) -> bool:
        mark = event.start_mark
        return mark is not None and _HASH.match(self._text, mark.index) is not None

    def _check_marks(
        self, event: yaml.Event, anchor: str | None, tag: str | None
    ) -> None:
        if anchor is not None:
            self._refuse_mark(event, "&", "an anchor")
        if tag is not None:
            self._refuse_mark(event, "!", "a tag")

    def _refuse(self, event: yaml.Event, message: str, remedy: str = "") -> None:
        self.refused.append(fault(_line_of(event), (), message, remedy))

    def _refuse_mark(self, event: yaml.Event, mark: str, what: str) -> None:
        self._refuse(
            event,
            f"text that starts with {mark} is taken for {what}, which is not used here",
            "put the text in quotes",
        )


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _decode(data: bytes) -> str:
    if len(data) > LARGEST_BYTES:
        raise SourceFaults([fault(0, (), "is far too large for a settings file")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceFaults(
            [
                fault(
                    line,
                    (),
                    f"the byte 0x{data[error.start]:02x} here is no UTF-8",
                    "save the file as UTF-8",
                )
            ]
        ) from None
    return text


def _in_words(error: yaml.YAMLError, text: str) -> Fault:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else 0
        return fault(
            line,
            (),
            f"there is a control character here (number {code})",
            "delete it",
        )
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return fault(1, (), "this is no YAML")
    line = error.problem_mark.line + 1
    column = error.problem_mark.column
    started = error.context_mark.line + 1 if error.context_mark else line
    here, above = _text_line(text, line), _text_line(text, line - 1)
    context, problem = error.context or "", error.problem or ""
    colon = "write a space after the colon: `name: value`"
    quotes = "put the text in quotes"

    if unclosed := _unclosed_quote(text, line):
        return _never_closed(unclosed)
    if "\t" in here[: column + 1]:
        return fault(
            line, (), "there is a tab here, and YAML allows only spaces", "use spaces"
        )
    first = min(started, line - 1)
    if "flow" in context and (hashed := _hash_in_group(text, first, line)):
        return fault(
            hashed,
            (),
            "# begins a comment here, so the { before it is not closed",
            'write "#" in quotes if this key is meant',
        )
    if "quoted scalar" in context:
        is_escape = "escape" in problem or "hexadecimal" in problem
        if is_escape and started == line:
            return fault(
                line,
                (),
                r"inside double quotes a \ has a meaning of its own",
                "use single quotes: 'text'",
            )
        return _never_closed(started)
    if "flow sequence" in context:
        return fault(
            started, (), "a list is opened here with [ and not closed well", "add ]"
        )
    if "flow mapping" in context:
        return fault(
            started,
            (),
            "a { is opened here and not closed well",
            "put text which starts with { in quotes",
        )
    if "simple key" in context:
        return fault(started, (), "there is no value here, or no colon", colon)
    if "mapping values" in problem:
        if _MISSING_SPACE.match(above) and ": " not in here[:column]:
            return fault(line - 1, (), "a space is missing after the colon", colon)
        if here[:column].count(": ") or here[:column].count(" :"):
            return fault(
                line,
                (),
                "there is a second colon here, which YAML takes for a new setting",
                quotes,
            )
        if outdented := _outdented(text, line):
            return _too_far_left(outdented, line)
        return fault(
            line,
            (),
            "this line is indented more than the one above",
            "begin settings of one group in the same column",
        )
    if "cannot start any token" in problem:
        return fault(
            line,
            (),
            f"text cannot start with {shown(here[column : column + 1])}",
            quotes,
        )
    if "alias" in context or "anchor" in context or "tag" in context:
        return fault(line, (), "text cannot start with *, & or !", quotes)
    if "node content" in problem and not here[column:].strip():
        return fault(line, (), "a { or [ is opened above and never closed", "close it")
    if "node content" in problem:
        return fault(
            line,
            (),
            f"text cannot start with {shown(here[column : column + 1])}",
            quotes,
        )
    if "block" in context and "block scalar" not in context:
        if _QUOTED_THEN_MORE.search(here):
            return fault(
                line,
                (),
                "there is text after a closing quote",
                """put the whole in single quotes: '"Name" <number>'""",
            )
        if "<scalar>" in problem:
            return fault(
                line,
                (),
                "there is text after a closing quote",
                "put the whole text in single quotes",
            )
        if outdented := _outdented(text, line):
            return _too_far_left(outdented, line)
        return fault(
            line,
            (),
            "this line does not begin in the same column as the others of its group",
            "correct the spaces before it",
        )
    if "block scalar" in context:
        return fault(line, (), "text cannot start with | or >", quotes)
    for number, content in enumerate(_text_lines(text), start=1):
        if content.startswith("..."):
            return fault(
                number,
                (),
                "... ends the settings, and there is more below",
                "delete it",
            )
        if content.startswith("%"):
            return fault(number, (), "a line cannot start with %", "delete the %")
    return fault(
        line, (), "this is no YAML", "write `name: value`, text with signs in quotes"
    )


def _never_closed(line: int) -> Fault:
    return fault(
        line,
        (),
        "a quote is opened here and never closed",
        "close it, or put the whole text in the other kind of quotes",
    )


def _unclosed_quote(text: str, line: int) -> int:
    """Return where a quote begins that ends, by mistake, in a later line; 0 if none.

    Such a quote ends at the next one, often at an apostrophe in a comment, where the
    parser complains of what follows.

    Args:
        text: the whole file.
        line: the line that the parser complains of.
    """
    begins = 0
    try:
        for token in yaml.scan(text, Loader=Loader):
            first, last = token.start_mark.line + 1, token.end_mark.line + 1
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                begins = first if first < last == line else begins
    except (yaml.YAMLError, ValueError, OverflowError):
        # The mistake itself, or another one below it.
        pass
    return begins


def _too_far_left(line: int, next_line: int) -> Fault:
    return fault(
        line,
        (),
        "this line begins further left than its group, which goes on in line"
        f" {next_line}",
        "correct the spaces before it",
    )


def _outdented(text: str, line: int) -> int:
    """Return the setting above a line that begins left of its group; 0 if none does.

    Such a setting ends its group, so that the next one of the group is in none.

    Args:
        text: the whole file.
        line: the line that the parser complains of.
    """
    here = _indent(_text_line(text, line))
    above = [
        (number, content)
        for number, content in enumerate(_text_lines(text)[: line - 1], start=1)
        if content.strip() and not content.lstrip().startswith("#")
    ]
    if not above or _indent(above[-1][1]) >= here:
        return 0
    number, setting = above.pop()
    if not _SETTING.match(setting):
        return 0
    # The group of this line, if it was still open before the setting.
    for _, content in reversed(above):
        if _indent(content) <= here:
            return number if _indent(content) == here else 0
    return 0


def _indent(content: str) -> int:
    return len(content) - len(content.lstrip(" "))


def _hash_in_group(text: str, first: int, last: int) -> int:
    """Return the line in which a group in braces ends with #; 0 if there is none."""
    lines = _text_lines(text)[:last]
    return next(
        (
            number
            for number, content in enumerate(lines, start=1)
            if number >= first and _HASH_IN_GROUP.search(content)
        ),
        0,
    )


def _text_line(text: str, line: int) -> str:
    lines = _text_lines(text)
    return lines[line - 1] if 0 < line <= len(lines) else ""


def _text_lines(text: str) -> list[str]:
    # PyYAML counts these as line ends.
    return re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
