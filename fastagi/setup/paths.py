# SPDX-License-Identifier: MIT
"""Paths of a machine whose root directory may be a directory of this one."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Final

import attrs

#: Maximum number of symbolic links on the way to a file, as in Linux.
_MOST_LINKS: Final = 40


@attrs.frozen
class Root:
    """The root directory of Asterisk's machine.

    Attributes:
        directory: ``/``, or where that machine's files are.
    """

    directory: Path = Path("/")

    @property
    def is_this_machine(self) -> bool:
        """Whether it is this machine itself."""
        return self.directory == Path("/")

    def inside(self, path: Path) -> Path:
        """Return where a path of that machine is on this one.

        Symbolic links are followed as on that machine, so that an absolute one does not
        lead out of the directory. What does not exist has no links.
        """
        parts = deque(path.parts[1:] if path.is_absolute() else path.parts)
        done = self.directory
        links = 0
        while parts:
            part = parts.popleft()
            if part == "..":
                done = done if done == self.directory else done.parent
                continue
            step = done / part
            if not step.is_symlink() or links == _MOST_LINKS:
                done = step
                continue
            links += 1
            target = Path(os.readlink(step))
            if target.is_absolute():
                done = self.directory
                parts.extendleft(reversed(target.parts[1:]))
            else:
                parts.extendleft(reversed(target.parts))
        return done

    def user(self, name: str) -> tuple[int, int] | None:
        """Return the numbers of a user and of the user's group; None if unknown."""
        for fields in self._entries("etc/passwd"):
            if len(fields) > 3 and fields[0] == name:
                return int(fields[2]), int(fields[3])
        return None

    def user_name(self, uid: int) -> str:
        """Return the name of a user; its number if it has none."""
        for fields in self._entries("etc/passwd"):
            if len(fields) > 2 and fields[2] == str(uid):
                return fields[0]
        return str(uid)

    def group_name(self, gid: int) -> str:
        """Return the name of a group; its number if it has none."""
        for fields in self._entries("etc/group"):
            if len(fields) > 2 and fields[2] == str(gid):
                return fields[0]
        return str(gid)

    def members(self, group: str) -> list[str]:
        """Return the users whom a group lists."""
        for fields in self._entries("etc/group"):
            if len(fields) > 3 and fields[0] == group:
                return fields[3].split(",")
        return []

    def _entries(self, name: str) -> list[list[str]]:
        try:
            text = self.inside(Path("/", name)).read_text("utf-8", "replace")
        except OSError:
            return []
        return [line.split(":") for line in text.splitlines()]
