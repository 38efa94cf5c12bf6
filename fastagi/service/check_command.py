# SPDX-License-Identifier: MIT
"""Carries out the command ``check.run``: runs ``callback-queue check`` and reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.programs import ProgramFailed, Programs
from fastagi.service.commands import (
    Actor,
    CheckDone,
    CheckFinding,
    Command,
    Handler,
    RunCheck,
)

#: Time limit for the check, in seconds.
_CHECK_S: Final = 60.0
#: For how long a result is used again, in seconds.
_FRESH_S: Final = 10.0


class CheckCommand:
    """Runs one check at a time; who asks meanwhile, or soon after, gets its result."""

    def __init__(
        self, *, config: str, programs: Programs, clock: Clock, background: Background
    ) -> None:
        """Store the parts.

        Args:
            config: the full path of the settings file.
            programs: runs the check.
            clock: the current time.
            background: owns the check that runs.
        """
        self._config = os.path.abspath(config)
        self._programs = programs
        self._clock = clock
        self._background = background
        self._waiting: list[Deferred[CheckDone]] = []
        self._last: CheckDone | None = None
        self._last_ended_s = 0.0

    def handlers(self) -> Mapping[type[Command], Handler]:
        """Return the handler of each command."""
        return {RunCheck: self.run}

    async def run(self, _command: RunCheck, _actor: Actor) -> CheckDone:
        """Return the findings.

        Raises:
            ProgramFailed: the check could not be run.
        """
        age_s = self._clock.steady() - self._last_ended_s
        if self._last is not None and age_s < _FRESH_S:
            return self._last
        waiting: Deferred[CheckDone] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self._background.start("the check", self._run())
        return await waiting

    async def _run(self) -> None:
        began = self._clock.steady()
        done: CheckDone | Failure
        try:
            output = await self._programs.run(
                "fastagi.command.cli",
                ("check", "--json", "--config", self._config),
                limit_s=_CHECK_S,
                codes=(0, 1),
            )
            self._last_ended_s = self._clock.steady()
            done = self._last = CheckDone(
                at=self._clock.now(),
                took_s=self._last_ended_s - began,
                findings=_findings(output),
            )
        except Exception:
            # Whatever it is, each request that waits gets it, and tells or logs it.
            done = Failure()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(done)


def _findings(output: bytes) -> tuple[CheckFinding, ...]:
    """Return the findings in the output of ``check --json``.

    Raises:
        ProgramFailed: it is something else.
    """
    try:
        rows: Any = json.loads(output)
        if not isinstance(rows, list):
            raise TypeError
        return tuple(CheckFinding(**row) for row in rows)
    except (ValueError, TypeError):
        raise ProgramFailed(
            "'callback-queue check --json' of another version answered",
            "restart the service: systemctl restart callback-queue",
        ) from None
