# SPDX-License-Identifier: MIT
"""What a check can say: where, what is wrong, and what to type or change.

Owns the form of findings. Must not know any area.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import attrs


class Level(StrEnum):
    """How bad it is."""

    #: The area was looked at as a whole, and there is nothing to do.
    OK = "ok"
    #: It works, though perhaps not as meant; or it could not be looked at.
    WARNING = "warning"
    #: Something does not work.
    FAULT = "fault"


@attrs.frozen(kw_only=True)
class Finding:
    """One thing found.

    Attributes:
        area: what was looked at: settings, database, manager...
        where: the file with its line, the setting, the directory or the address.
        problem: what is wrong there.
        remedy: what to type or to change; empty where there is nothing to do.
        level: how bad it is.
    """

    area: str
    where: str
    problem: str
    remedy: str = ""
    level: Level = Level.FAULT

    @property
    def is_fault(self) -> bool:
        """Whether something does not work."""
        return self.level is Level.FAULT

    @property
    def is_ok(self) -> bool:
        """Whether there is nothing to say."""
        return self.level is Level.OK


class Notes:
    """Collects the findings of one area."""

    def __init__(self, area: str) -> None:
        self.area = area
        self._findings: list[Finding] = []

    def fault(self, where: object, problem: str, remedy: str) -> None:
        """Note something that does not work."""
        self._add(Level.FAULT, where, problem, remedy)

    def warn(self, where: object, problem: str, remedy: str) -> None:
        """Note a doubt, or something that could not be looked at."""
        self._add(Level.WARNING, where, problem, remedy)

    def _add(self, level: Level, where: object, problem: str, remedy: str) -> None:
        finding = Finding(
            area=self.area,
            where=str(where),
            problem=problem,
            remedy=remedy,
            level=level,
        )
        if finding not in self._findings:
            self._findings.append(finding)

    def __iter__(self) -> Iterator[Finding]:
        """Give what was found, faults first; a finding that says ok if nothing was."""
        if not self._findings:
            yield Finding(area=self.area, where="", problem="", level=Level.OK)
        yield from sorted(self._findings, key=lambda finding: not finding.is_fault)
