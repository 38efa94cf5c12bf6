# SPDX-License-Identifier: MIT
"""What a check can say: where, what is wrong, and what to type or change.

Owns the form of findings. Must not know any area.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import attrs

from fastagi.errors import Problem


class Level(StrEnum):
    """How bad it is."""

    #: The area was looked at as a whole, and there is nothing to do.
    OK = "ok"
    #: It works, though perhaps not as meant; or it could not be looked at.
    WARNING = "warning"
    #: Something does not work.
    FAULT = "fault"


@attrs.frozen(kw_only=True)
class Finding(Problem):
    """A problem in one area; an empty one if there is nothing to say of the area.

    Attributes:
        area: what was looked at: settings, database, manager...
        level: how bad it is.
    """

    area: str
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

    def fault(self, where: object, what: str, remedy: str) -> None:
        """Note something that does not work."""
        self.note(Problem(str(where), what, remedy))

    def warn(self, where: object, what: str, remedy: str) -> None:
        """Note a doubt, or something that could not be looked at."""
        self.note(Problem(str(where), what, remedy), Level.WARNING)

    def note(self, problem: Problem, level: Level = Level.FAULT) -> None:
        """Note a problem that others have put into words."""
        finding = Finding(
            problem.where, problem.what, problem.remedy, area=self.area, level=level
        )
        if finding not in self._findings:
            self._findings.append(finding)

    def __iter__(self) -> Iterator[Finding]:
        """Give what was found, faults first; a finding that says ok if nothing was."""
        if not self._findings:
            yield Finding("", "", area=self.area, level=Level.OK)
        yield from sorted(self._findings, key=lambda finding: not finding.is_fault)
