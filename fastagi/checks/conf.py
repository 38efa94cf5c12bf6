# SPDX-License-Identifier: MIT
"""Asterisk's own configuration files, read as Asterisk reads them.

Each line is taken apart by pyst2's ``asterisk.config``. That reader knows one file and
plain sections only; what real files have beyond it is added here: ``#include`` with
patterns, templates, sections continued with ``(+)``, block comments and ``\\;``. Must
not know what any section or option is for.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
from asterisk.config import Item, ParseError

from fastagi.errors import CallbackError
from fastagi.plain_file import NoPlainFile, open_plain

#: main/config.c:MAX_INCLUDE_LEVEL
_DEEPEST_INCLUDE: Final = 10
_LARGEST_BYTES: Final = 16 * 1024 * 1024
_SECTION: Final = re.compile(r"\[([^\]]*)\](?:\s*\(([^)]*)\))?")
_DIRECTIVE: Final = re.compile(r"#\s*(include|tryinclude|exec)\s+(.*)", re.IGNORECASE)
#: What stands for an escaped semicolon, which pyst2 takes for a comment.
_SEMICOLON: Final = "\0"


class ConfUnreadable(CallbackError):
    """A configuration file can not be read.

    Attributes:
        path: which.
        missing: there is no such file; else it may not be read.
    """

    def __init__(self, path: Path, problem: str, *, missing: bool = False) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem
        self.missing = missing


@attrs.frozen
class Option:
    """One ``name = value``."""

    name: str
    value: str
    where: str

    @property
    def is_true(self) -> bool:
        """Whether Asterisk takes the value for true (main/utils.c:ast_true)."""
        return self.value.lower() in {"yes", "true", "y", "t", "1", "on"}


@attrs.define
class Section:
    """One ``[name]`` with what it has of its own and from its templates."""

    name: str
    where: str
    is_template: bool = False
    options: list[Option] = attrs.field(factory=list)

    def get(self, name: str) -> Option | None:
        """Return the option; the last one where it stands several times."""
        return next(reversed(self.all(name)), None)

    def all(self, name: str) -> list[Option]:
        """Return every option of that name, in order."""
        return [one for one in self.options if one.name.lower() == name.lower()]


@attrs.define
class Conf:
    """One configuration file with all it includes.

    Attributes:
        path: the file.
        sections: in order, templates too.
        gaps: what of it could not be read, as "FILE:LINE: why".
        files: every file that was read.
    """

    path: Path
    sections: list[Section] = attrs.field(factory=list)
    gaps: list[str] = attrs.field(factory=list)
    files: list[Path] = attrs.field(factory=list)

    def section(self, name: str) -> Section | None:
        """Return the first section of that name; Asterisk does not mind the case."""
        return next(
            (
                section
                for section in self.sections
                if section.name.lower() == name.lower() and not section.is_template
            ),
            None,
        )


def read_conf(directory: Path, name: str) -> Conf:
    """Read a configuration file.

    Args:
        directory: where Asterisk looks for its files, also for included ones.
        name: of the file.

    Raises:
        ConfUnreadable: the file itself can not be read. What it includes and can not
            be read is in ``gaps``.
    """
    conf = Conf(directory / name)
    reader = _Reader(directory, conf)
    reader.read(conf.path, depth=1)
    return conf


class _Reader:
    """Walks through the files in Asterisk's order."""

    def __init__(self, directory: Path, conf: Conf) -> None:
        self._directory = directory
        self._conf = conf
        self._section: Section | None = None

    def read(self, path: Path, depth: int) -> None:
        text = _text(path)
        self._conf.files.append(path)
        for number, line in _without_block_comments(text):
            where = f"{path}:{number}"
            if directive := _DIRECTIVE.fullmatch(line):
                self._obey(directive[1].lower(), directive[2], where, depth)
            elif line.startswith("["):
                self._begin(line, where)
            elif self._section is not None:
                self._add(line, number, where)

    def _obey(self, directive: str, argument: str, where: str, depth: int) -> None:
        name = argument.partition(";")[0].strip().strip("\"'<>")
        if directive == "exec":
            self._conf.gaps.append(f"{where}: made by a program: {name}")
            return
        if depth >= _DEEPEST_INCLUDE:
            self._conf.gaps.append(f"{where}: files are included too deeply")
            return
        pattern = str(self._directory / name)
        found = sorted(glob.glob(pattern))
        if not found and not glob.has_magic(pattern):
            found = [pattern]
        directory = os.path.dirname(pattern)
        if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.X_OK):
            self._conf.gaps.append(f"{where}: {directory} can not be read")
        for path in found:
            try:
                self.read(Path(path), depth + 1)
            except ConfUnreadable as unreadable:
                if not (unreadable.missing and directive == "tryinclude"):
                    self._conf.gaps.append(f"{where}: {unreadable}")

    def _begin(self, line: str, where: str) -> None:
        header = _SECTION.match(line)
        if header is None:
            return
        marks = [mark.strip() for mark in (header[2] or "").split(",")]
        name = header[1]
        if "+" in marks and (known := self._named(name)) is not None:
            self._section = known
            return
        self._section = Section(name, where, is_template="!" in marks)
        for mark in marks:
            if mark not in ("", "!", "+") and (template := self._named(mark)):
                self._section.options += template.options
        self._conf.sections.append(self._section)

    def _named(self, name: str) -> Section | None:
        return next(
            (one for one in self._conf.sections if one.name.lower() == name.lower()),
            None,
        )

    def _add(self, line: str, number: int, where: str) -> None:
        assert self._section is not None
        try:
            item = Item(line.replace("\\;", _SEMICOLON), number)
        except ParseError:
            # Asterisk warns of such a line and goes on with the next.
            return
        value = item.value.strip().replace(_SEMICOLON, ";")
        # "name += value" adds to what a template gave, as if written once more.
        name = item.name.removesuffix("+").strip()
        self._section.options.append(Option(name, value, where))


def _text(path: Path) -> str:
    try:
        with open_plain(path) as file:
            data = file.read(_LARGEST_BYTES + 1)
    except NoPlainFile:
        raise ConfUnreadable(path, "is no plain file") from None
    except FileNotFoundError:
        raise ConfUnreadable(path, "does not exist", missing=True) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfUnreadable(path, f"can not be read: {reason}") from None
    if len(data) > _LARGEST_BYTES:
        raise ConfUnreadable(path, "is far too large")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _without_block_comments(text: str) -> Iterator[tuple[int, str]]:
    """Give each line with something in it, and its number."""
    depth = 0
    for number, line in enumerate(text.split("\n"), start=1):
        kept = ""
        rest = line
        while rest:
            if depth:
                opened, closed = rest.find(";--"), rest.find("--;")
                if closed < 0 and opened < 0:
                    break
                if closed < 0 or 0 <= opened < closed:
                    depth, rest = depth + 1, rest[opened + 3 :]
                else:
                    depth, rest = depth - 1, rest[closed + 3 :]
                continue
            comment = re.search(r"(?<!\\);", rest)
            if comment is None:
                kept, rest = kept + rest, ""
            elif re.match(r";--(?!-)", rest[comment.start() :]):
                kept += rest[: comment.start()]
                depth, rest = 1, rest[comment.end() + 2 :]
            else:
                kept, rest = kept + rest[: comment.start()], ""
        if kept.strip():
            yield number, kept.strip()
