# SPDX-License-Identifier: MIT
"""Reads from logrotate's settings how a log is rotated."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from fastagi.plain_file import open_plain

#: logrotate's main settings, which are defaults for all, and those of packages.
CONFIGURATION: Final = (Path("/etc/logrotate.conf"), Path("/etc/logrotate.d"))
_LARGEST_BYTES: Final = 1024 * 1024


@frozen
class Rotation:
    """The rotation of a log."""

    #: The place of the setting: file and line.
    where: str
    #: The folder that old files are moved into.
    into: Path


def rotations(path: Path) -> Iterator[Rotation]:
    """Yield the rotations of a log.

    Args:
        path: the path of the log.
    """
    files = [
        file
        for place in CONFIGURATION
        for file in (sorted(place.glob("*")) if place.is_dir() else [place])
    ]
    default: tuple[str, str] | None = None
    for file in files:
        for names, options, line in _blocks(file):
            said = options.get("olddir")
            olddir = (said, f"{file}:{line}") if said else None
            if not names:
                default = olddir or default
                continue
            # Unlike fnmatch's, an asterisk of logrotate stops at a slash.
            if not any(name and path.match(name) for name in names):
                continue
            chosen = olddir if olddir or "noolddir" in options else default
            if chosen is not None:
                yield Rotation(chosen[1], path.parent / chosen[0])


def _blocks(file: Path) -> Iterator[tuple[list[str], dict[str, str], int]]:
    """Yield the patterns, options and line of each block, and of the lines outside.

    A block without patterns has the options that apply to all later blocks.
    """
    try:
        with open_plain(file) as opened:
            text = opened.read(_LARGEST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return
    names: list[str] = []
    options: dict[str, str] = {}
    inside, line = False, 0
    for number, written in enumerate(text.splitlines(), 1):
        said = re.sub(r"(^|\s)#.*", "", written).strip()
        if inside and said.startswith("}"):
            yield names, options, line
            names, options, inside = [], {}, False
        elif inside:
            word, value = _option(said)
            options[word] = value
            if word == "olddir":
                line = number
        elif said.startswith(("/", '"', "{")):
            head, brace, _ = said.partition("{")
            names += _words(head)
            line, inside = number, bool(brace)
        elif _option(said)[0] == "olddir":
            yield [], {"olddir": _option(said)[1]}, number


def _option(said: str) -> tuple[str, str]:
    """Return the name and the value of an option; logrotate takes blanks and tabs."""
    word, *value = said.split(None, 1) or [""]
    return word, value[0].strip().strip('"') if value else ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []
