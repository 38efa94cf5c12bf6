# SPDX-License-Identifier: MIT
"""Asterisk's own configuration files, read as Asterisk reads them (main/config.c).

Also finds where Asterisk stops reading: after a mistake in the file itself Asterisk
refuses the whole file; after a mistake in an included file it skips the rest of that
file, and only its log says so. ``tests/asterisk/test_conf.py`` compares this module
with the answers of running Asterisks to GetConfig. It does not interpret sections
or options.

To Asterisk a file is bytes. Here each byte is one character (Latin-1) until a name or a
value is returned.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final

import attrs

from fastagi.domain.names import folded
from fastagi.errors import CallbackError, Problem
from fastagi.plain_file import NoPlainFile, open_plain

#: MAX_INCLUDE_LEVEL plus one, for the file itself.
_DEEPEST_INCLUDE: Final = 11
#: MAX_NESTED_COMMENTS.
_DEEPEST_COMMENT: Final = 128
#: Maximum number of bytes that one fgets() reads.
_LINE_BYTES: Final = 8191
#: Maximum length of a section's name, without its closing NUL.
_NAME_BYTES: Final = 79
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LARGEST_BYTES: Final = 16 * 1024 * 1024
#: Characters that ast_strip() removes.
_BLANKS: Final = "".join(map(chr, range(33)))
_BRACES: Final = re.compile(r"\{([^{}]*)\}")


class ConfUnreadable(CallbackError):
    """A configuration file can not be read.

    Attributes:
        path: the path of the file.
        missing: True if it does not exist or is not a plain file; False if it must not
            be read.
    """

    def __init__(self, path: Path, problem: str, *, missing: bool = False) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
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
    """One ``[name]`` with its own options and those of its templates."""

    name: str
    where: str
    is_template: bool = False
    options: list[Option] = attrs.field(factory=list)

    def get(self, name: str) -> Option | None:
        """Return the option with this name; the last one if there are several."""
        return next(reversed(self.all(name)), None)

    def first(self, name: str) -> Option | None:
        """Return the option with this name; the first one if there are several."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[Option]:
        """Return every option of that name, in order."""
        return [one for one in self.options if folded(one.name) == folded(name)]


@attrs.frozen
class Stop:
    """A line at which Asterisk stops reading.

    Attributes:
        problem: the problem; its place is "FILE:LINE".
        whole: True if Asterisk refuses the whole file; False if it skips only the rest
            of the included file, and the following files of the same ``#include``.
    """

    problem: Problem
    whole: bool


@attrs.define
class Conf:
    """One configuration file with all files that it includes.

    Attributes:
        path: the path of the file.
        sections: all sections in order, with templates; empty if Asterisk refuses the
            file.
        gaps: parts that could not be read here, as "FILE:LINE: why".
        files: all files that were read.
        stops: the lines at which Asterisk stops reading.
    """

    path: Path
    sections: list[Section] = attrs.field(factory=list)
    gaps: list[str] = attrs.field(factory=list)
    files: list[Path] = attrs.field(factory=list)
    stops: list[Stop] = attrs.field(factory=list)

    def section(self, name: str) -> Section | None:
        """Return the first section with a name; like Asterisk, ignore case."""
        return next(
            (
                section
                for section in self.sections
                if folded(section.name) == folded(name) and not section.is_template
            ),
            None,
        )

    @property
    def refused(self) -> bool:
        """Whether Asterisk refuses the whole file."""
        return any(stop.whole for stop in self.stops)


def read_conf(
    directory: Path,
    name: str,
    *,
    changed: Mapping[Path, bytes] | None = None,
    root: Path = Path("/"),
) -> Conf:
    """Read a configuration file.

    Args:
        directory: Asterisk's directory for files and included files.
        name: the name of the file.
        changed: contents of files that are not written yet; they are read in place of
            the files.
        root: the root directory of Asterisk's machine: that of paths in ``#include``.

    Raises:
        ConfUnreadable: the file itself cannot be read. Unreadable included files are in
            ``gaps``.
    """
    conf = Conf(directory / name)
    reader = _Reader(directory, conf, changed or {}, root)
    reader.bytes_of(conf.path)
    if reader.load(str(conf.path)) is _Loaded.STOPPED:
        conf.stops[-1] = attrs.evolve(conf.stops[-1], whole=True)
        conf.sections.clear()
    return conf


def stripped_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the number of each line, and the line without comments and blanks.

    The text is Latin-1, one character for each byte.
    """
    comments = 0
    for number, line in _lines(data):
        text, comments = _without_comments(line, comments)
        yield number, text.strip(_BLANKS)


class _Loaded(Enum):
    """The result of loading the files with one name or pattern."""

    #: All of them were loaded.
    WHOLE = auto()
    #: There is no such file.
    NOTHING = auto()
    #: They were loaded up to a mistake.
    STOPPED = auto()


class _Mistake(CallbackError):
    """Asterisk stops at the current line; the problem does not contain its place."""


@attrs.define
class _Place:
    """The position of a load; it is kept from one file of a pattern to the next."""

    #: The section that gets the options; at first that of the including file.
    section: Section | None
    comments: int = 0
    where: str = ""


class _Reader:
    """Reads the files in Asterisk's order."""

    def __init__(
        self, directory: Path, conf: Conf, changed: Mapping[Path, bytes], root: Path
    ) -> None:
        self._directory = directory
        self._conf = conf
        self._changed = changed
        self._root = root
        #: The section that was begun or continued last, in any file.
        self._current: Section | None = None
        #: Depth of includes. Asterisk does not decrease it for a file in which it
        #: stopped.
        self._level = 0

    def bytes_of(self, path: Path) -> bytes:
        """Return the contents of a file, or those that it will have."""
        found = self._changed.get(path)
        return _bytes_of(path) if found is None else found

    def load(self, pattern: str, included_at: str = "") -> _Loaded:
        """Read each file that matches a pattern (config_text_file_load)."""
        if self._level == _DEEPEST_INCLUDE:
            return _Loaded.NOTHING
        self._level += 1
        found = False
        place = _Place(self._current)
        for path in _fitting(pattern, self._changed):
            try:
                data = self.bytes_of(path)
            except ConfUnreadable as unreadable:
                if not unreadable.missing:
                    self._conf.gaps.append(f"{included_at}: {unreadable}")
                    found = True
                continue
            if not found:
                # Asterisk removes it from the first file of a pattern only.
                data = data.removeprefix(_BYTE_ORDER_MARK)
            found = True
            self._conf.files.append(path)
            try:
                self._read(path, data, place)
            except _Mistake as mistake:
                problem = attrs.evolve(mistake.problem, where=place.where)
                self._conf.stops.append(Stop(problem, whole=False))
                return _Loaded.STOPPED
        self._level -= 1
        return _Loaded.WHOLE if found else _Loaded.NOTHING

    def _read(self, path: Path, data: bytes, place: _Place) -> None:
        for number, line in _lines(data):
            text, place.comments = _without_comments(line, place.comments)
            text = text.strip(_BLANKS)
            if not text:
                continue
            place.where = f"{path}:{number}"
            if text.startswith("["):
                self._begin(text, place)
            elif text.startswith("#"):
                self._obey(text, place)
            else:
                self._add(text, place)

    # -- [name](template,...)

    def _begin(self, text: str, place: _Place) -> None:
        name, closed, rest = text[1:].partition("]")
        if not closed:
            raise _Mistake(
                f"{_shown(text)} has no closing ]", "close the bracket behind the name"
            )
        name = name[:_NAME_BYTES]
        new = Section(_decoded(name), place.where)
        section, is_new = new, True
        if rest.startswith("("):
            marks, closed, _ = rest[1:].partition(")")
            if not closed:
                raise _Mistake(
                    f"[{_decoded(name)}] has no closing )",
                    "close the bracket behind the templates",
                )
            for mark in marks.split(","):
                if mark == "!":
                    section.is_template = True
                elif mark.startswith("+"):
                    section = self._continued(new, mark[1:], place)
                    if is_new and section is not new:
                        section.is_template |= new.is_template
                        section.options += new.options
                        self._current, is_new = section, False
                else:
                    section.options += self._template(mark, place)
        place.section = section
        if is_new:
            self._conf.sections.append(section)
            self._current = section

    def _continued(self, new: Section, mark: str, place: _Place) -> Section:
        name, condition = new.name, _decoded(mark)
        known = [one for one in self._conf.sections if _is_named(one, name)]
        for one in known:
            if _fits(one, condition):
                return one
        if self._conf.gaps:
            self._doubt(f"[{name}] is not found", place)
            return new
        if condition:
            problem = f"there is no section [{name}] with {condition} above"
        elif known:
            problem = f"[{name}] above is a template, and (+) adds to none"
        else:
            problem = f"there is no section [{name}] above to add to"
        raise _Mistake(
            problem,
            f"delete (+); or delete this section, if [{name}] is gone for good",
        )

    def _template(self, mark: str, place: _Place) -> list[Option]:
        name = _decoded(mark)
        found = self._find(name)
        if found is not None:
            return list(found.options)
        if self._find(stripped := name.strip(_BLANKS)):
            raise _Mistake(
                f"there is no section [{name}] above: the blank counts",
                f"write {stripped} without a blank before or behind it",
            )
        if self._conf.gaps:
            self._doubt(f"[{name}] is not found", place)
            return []
        raise _Mistake(
            f"there is no section [{name}] above to take options from",
            f"move [{name}] above this line, or delete {name} here",
        )

    def _find(self, name: str) -> Section | None:
        """Return the first section with a name, including templates."""
        return next((one for one in self._conf.sections if _is_named(one, name)), None)

    def _doubt(self, problem: str, place: _Place) -> None:
        # The missing section may be in a file that could not be read.
        self._conf.gaps.append(f"{place.where}: {problem}")

    # -- #include

    def _obey(self, text: str, place: _Place) -> None:
        word = re.match(r"[^\x00-\x20]*", text[1:])
        assert word is not None
        directive = folded(word[0])
        argument = text[1 + word.end() :].strip(_BLANKS)
        if directive not in ("include", "tryinclude", "exec") or not argument:
            # Asterisk warns of it and goes on.
            return
        quote = {'"': '"', "<": ">"}.get(argument[0])
        # A single quote character is both opening and closing quote.
        if quote is not None and argument[-1] == quote:
            argument = argument[1:-1] if len(argument) > 1 else ""
        if directive == "exec":
            if _may_execute(self._directory, self._conf.path):
                self._conf.gaps.append(
                    f"{place.where}: made by a program: {_decoded(argument)}"
                )
            return
        name = _decoded(argument)
        inside = os.path.isabs(name) and self._root != Path("/")
        base = f"{self._root}/" if inside else str(self._directory)
        pattern = os.path.join(base, name.lstrip("/") if inside else name)
        folder = os.path.dirname(pattern)
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
            self._conf.gaps.append(f"{place.where}: {folder} can not be read")
            return
        loaded = self.load(pattern, place.where)
        if loaded is _Loaded.NOTHING and directive == "include":
            if self._level == _DEEPEST_INCLUDE:
                raise _Mistake(
                    "files are included too deeply",
                    "let no file include itself, or one that includes it",
                )
            raise _Mistake(
                f"there is no file {pattern}",
                "correct the name, or write #tryinclude in place of #include",
            )

    # -- name = value

    def _add(self, text: str, place: _Place) -> None:
        section = place.section
        if section is None:
            raise _Mistake(
                f"{_shown(text)} stands before any section",
                "write a section such as [general] above it, or make it a comment",
            )
        escaped = text.startswith("\\")
        if escaped:
            text = text[1:]
            if not "\x20" < text[:1] < "\x80":
                raise _Mistake(
                    f"{_shown(text)}: a backslash escapes nothing here",
                    "delete the backslash at the beginning of the line",
                )
        equals = text.find("=", 1 if escaped else 0)
        if equals < 0:
            # Asterisk warns of it and goes on.
            return
        first = 1 if escaped else 0
        if equals > first and text[equals - 1] == "+":
            name = _decoded(text[: equals - 1].strip(_BLANKS))
            value = text[equals + 1 :]
            if self._append(section, name, value):
                return
        else:
            name = _decoded(text[:equals].strip(_BLANKS))
            value = text[equals + 1 :].removeprefix(">")
        if name:
            value = _decoded(value.strip(_BLANKS))
            section.options.append(Option(name, value, place.where))

    def _append(self, section: Section, name: str, value: str) -> bool:
        """Append to the value of an option; return False if there is no such option."""
        last = next(
            (one for one in reversed(section.options) if one.name == name), None
        )
        if last is None:
            return False
        whole = (last.value + _decoded(value)).strip(_BLANKS)
        for number, one in enumerate(section.options):
            # Like Asterisk: the first one that equals the last one.
            if folded(one.name) == folded(name) and (
                not last.value or folded(one.value) == folded(last.value)
            ):
                section.options[number] = attrs.evolve(one, name=last.name, value=whole)
                return True
        return True


# -- sections


def _is_named(section: Section, name: str) -> bool:
    """Whether a section has a name; an empty name matches all (does_category_match)."""
    return not name or folded(section.name) == folded(name)


def _fits(section: Section, condition: str) -> bool:
    """Whether a section matches the condition after ``(+`` (does_category_match)."""
    if not condition:
        return not section.is_template
    template_fits, found, asked = False, 0, 0
    for part in condition.split("&"):
        name, equals, value = (one.strip(_BLANKS) for one in part.partition("="))
        asked += 1
        if not equals:
            break
        if name == "TEMPLATES":
            wanted = folded(value)
            if wanted == "restrict" and not section.is_template:
                break
            if wanted in ("include", "restrict"):
                template_fits |= section.is_template
                found += 1
            continue
        try:
            found += any(
                re.search(name, one.name) and re.search(value, one.value)
                for one in section.options
            )
        except re.error:
            return False
    return found == asked and (template_fits or not section.is_template)


# -- files


def _bytes_of(path: Path) -> bytes:
    try:
        with open_plain(path) as file:
            data = file.read(_LARGEST_BYTES + 1)
    except NoPlainFile:
        raise ConfUnreadable(path, "is no plain file", missing=True) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ConfUnreadable(path, "does not exist", missing=True) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfUnreadable(path, f"can not be read: {reason}") from None
    except ValueError as error:
        raise ConfUnreadable(path, str(error), missing=True) from None
    if len(data) > _LARGEST_BYTES:
        raise ConfUnreadable(path, "is far too large")
    return data


def _fitting(pattern: str, changed: Mapping[Path, bytes]) -> Iterator[Path]:
    """Yield the files that match a pattern in glob()'s order, with GLOB_BRACE."""
    if (braces := _BRACES.search(pattern)) is not None:
        for one in braces[1].split(","):
            yield from _fitting(
                pattern[: braces.start()] + one + pattern[braces.end() :], changed
            )
    elif glob.has_magic(pattern):
        pattern = pattern.replace("[^", "[!")
        found = set(glob.glob(pattern))
        # Without "*" matching "/", which it does in fnmatch().
        found |= {
            str(path)
            for path in changed
            if str(path).count("/") == pattern.count("/")
            and fnmatch.fnmatchcase(str(path), pattern)
        }
        yield from map(Path, sorted(found))
    else:
        yield Path(pattern)


def _may_execute(directory: Path, path: Path) -> bool:
    """Whether Asterisk runs the programs of #exec; True if that is not known."""
    if path.name == "asterisk.conf":
        return False
    try:
        options = read_conf(directory, "asterisk.conf").section("options")
    except ConfUnreadable:
        return True
    option = options.get("execincludes") if options else None
    return option is not None and option.is_true


# -- lines


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, as fgets() with a buffer of 8 KiB reads them."""
    text, start, number = data.decode("latin-1"), 0, 0

    def get() -> str:
        nonlocal start
        end = text.find("\n", start, start + _LINE_BYTES)
        end = start + _LINE_BYTES if end < 0 else end + 1
        piece = text[start:end]
        start += len(piece)
        return piece

    def cut(piece: str) -> bool:
        return len(piece) == _LINE_BYTES and not piece.endswith("\n")

    while piece := get():
        number += 1
        if not cut(piece):
            # A NUL ends a string in C.
            yield number, piece.partition("\0")[0]
            continue
        # Too long: Asterisk warns of it and goes on with the next.
        while piece and cut(piece):
            piece = get()


def _without_comments(line: str, depth: int) -> tuple[str, int]:
    """Return a line without comments, and the number of comments open after it.

    This copies Asterisk exactly, including an oddity: ``--;`` outside of a comment
    makes the rest of the line a comment.
    """
    kept, rest = "", line
    inside = depth != 0
    at = 0
    while (found := rest.find(";", at)) >= 0:
        if found > at and rest[found - 1] == "\\":
            rest = rest[: found - 1] + rest[found:]
            at = found
        elif rest.startswith("--", found + 1) and rest[found + 3 : found + 4] != "-":
            if depth < _DEEPEST_COMMENT:
                if depth == 0 and not inside:
                    kept += rest[:found]
                    inside = True
                depth += 1
                rest, at = rest[found + 3 :], 0
            else:
                at = found + 1
        elif found >= at + 2 and rest[found - 2 : found] == "--":
            depth -= 1
            if depth == 0:
                rest, at, inside = rest[found + 1 :], 0, False
            else:
                at = found + 1
        elif depth == 0:
            rest = rest[:found]
            break
        else:
            at = found + 1
    return (kept if inside else kept + rest), depth


# -- text


def _decoded(text: str) -> str:
    data = text.encode("latin-1")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return text


def _shown(text: str) -> str:
    return _decoded(text if len(text) <= 60 else text[:60] + "...")
