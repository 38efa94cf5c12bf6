# SPDX-License-Identifier: MIT
"""The findings of checks: where, what is wrong, and what to type or change."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import attrs

from fastagi.errors import Problem


class Level(StrEnum):
    """The severity of a finding."""

    #: All of the area was checked, and there is nothing to do.
    OK = "ok"
    #: It works, but perhaps not as intended; or it could not be checked.
    WARNING = "warning"
    #: Something does not work.
    FAULT = "fault"


@attrs.frozen(kw_only=True)
class Finding(Problem):
    """A problem in one area; empty if the area has no problem.

    Attributes:
        area: the checked area: settings, database, manager...
        level: the severity.
        is_checked: whether it was looked at; False: it could not be checked, and
            nobody knows whether there is a problem.
    """

    area: str
    level: Level = Level.FAULT
    is_checked: bool = True

    @property
    def is_fault(self) -> bool:
        """Whether something does not work."""
        return self.level is Level.FAULT

    @property
    def is_ok(self) -> bool:
        """Whether there is no problem."""
        return self.level is Level.OK


class Notes:
    """Collects the findings of one area."""

    def __init__(self, area: str) -> None:
        self.area = area
        self._findings: list[Finding] = []

    def say_of(self, node: str) -> None:
        """Add the name of an Asterisk to the area."""
        self.area = f"{self.area} {node}"
        self._findings = [attrs.evolve(f, area=self.area) for f in self._findings]

    def fault(self, where: object, what: str, remedy: str) -> None:
        """Note something that does not work."""
        self.note(Problem(str(where), what, remedy))

    def warn(self, where: object, what: str, remedy: str) -> None:
        """Note something doubtful."""
        self.note(Problem(str(where), what, remedy), Level.WARNING)

    def skip(self, where: object, what: str, remedy: str) -> None:
        """Note something that could not be checked."""
        problem = Problem(str(where), what, remedy)
        self.note(problem, Level.WARNING, is_checked=False)

    def note(
        self, problem: Problem, level: Level = Level.FAULT, *, is_checked: bool = True
    ) -> None:
        """Note a problem that other code has described."""
        finding = Finding(
            problem.where,
            problem.what,
            problem.remedy,
            area=self.area,
            level=level,
            is_checked=is_checked,
        )
        if finding not in self._findings:
            self._findings.append(finding)

    def __iter__(self) -> Iterator[Finding]:
        """Yield the findings, faults first; if there are none, one that says "ok"."""
        if not self._findings:
            yield Finding("", "", area=self.area, level=Level.OK)
        yield from sorted(self._findings, key=lambda finding: not finding.is_fault)
