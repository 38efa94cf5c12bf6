# SPDX-License-Identifier: MIT
"""Runs other programs for the service, without blocking the reactor.

Work that takes seconds of the processor is done in a process of its own: in a thread it
would hold up the reactor, and so the callers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import fastagi
from fastagi.errors import CallbackError
from fastagi.runtime.background import Stopping
from fastagi.runtime.clock import Clock

#: Maximum length of what a program writes, in bytes.
_LONGEST_OUTPUT: Final = 8_000_000


class ProgramFailed(CallbackError):
    """A program did not end as it should."""


class Programs(Protocol):
    """Runs modules of this package as programs."""

    def run(
        self,
        module: str,
        words: Sequence[str] = (),
        *,
        data: bytes = b"",
        limit_s: float,
        codes: Sequence[int] = (0,),
    ) -> Deferred[bytes]:
        """Run a module and return what it wrote to its standard output.

        Args:
            module: its name.
            words: its arguments.
            data: its standard input.
            limit_s: after this time it is killed, in seconds.
            codes: the exit codes with which it succeeds.

        Returns:
            A Deferred, which fails with ProgramFailed, or with Stopping if the service
            stops.
        """

    def stop(self) -> None:
        """Kill all programs, as the service stops."""


class ChildPrograms:
    """Runs programs as child processes of the service."""

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self._reactor = reactor
        self._clock = clock
        self._running: set[_Child] = set()

    def run(
        self,
        module: str,
        words: Sequence[str] = (),
        *,
        data: bytes = b"",
        limit_s: float,
        codes: Sequence[int] = (0,),
    ) -> Deferred[bytes]:
        """Run a module: see `Programs.run`."""
        child = _Child(module, data, codes)
        self._running.add(child)
        timer = self._clock.call_later(
            limit_s,
            child.give_up,
            ProgramFailed(f"{module} did not end within {limit_s:g} s"),
        )

        def ended(result: Any) -> Any:
            self._running.discard(child)
            if timer.active():
                timer.cancel()
            return result

        _ = child.ended.addBoth(ended)
        try:
            self._reactor.spawnProcess(
                child,
                sys.executable,
                [sys.executable, "-m", module, *words],
                env=dict(os.environ),
                # There Python finds this package, and not another one of its name.
                path=str(Path(fastagi.__file__).parents[1]),
            )
        except OSError as error:
            child.give_up(ProgramFailed(f"{module} can not be started: {error}"))
        return child.ended

    def stop(self) -> None:
        """Kill all programs, as the service stops."""
        for child in list(self._running):
            child.give_up(Stopping())


class _Child(ProcessProtocol):
    """One program that runs."""

    def __init__(self, module: str, data: bytes, codes: Sequence[int]) -> None:
        self.ended: Deferred[bytes] = Deferred()
        self._module = module
        self._data = data
        self._codes = codes
        self._output = bytearray()
        self._is_over = False

    def connectionMade(self) -> None:
        """Write its standard input."""
        self._process.write(self._data)
        self._process.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Collect its output."""
        self._output += data
        if len(self._output) > _LONGEST_OUTPUT:
            self.give_up(ProgramFailed(f"{self._module} writes far too much"))

    def errReceived(self, data: bytes) -> None:
        """Drop its error messages, which may contain a part of a password."""

    def processEnded(self, reason: Failure) -> None:
        """Report the end."""
        if self._is_over:
            return
        self._is_over = True
        error: Any = reason.value
        code = 0 if isinstance(error, ProcessDone) else error.exitCode
        if code in self._codes:
            self.ended.callback(bytes(self._output))
        else:
            # None: it was killed.
            how = "was killed" if code is None else f"ended with the exit code {code}"
            self.ended.errback(ProgramFailed(f"{self._module} {how}"))

    def give_up(self, error: Exception) -> None:
        """Kill it, and report an error."""
        if self._is_over:
            return
        self._is_over = True
        if self._process is not None and self._process.pid:
            self._process.signalProcess("KILL")
        self.ended.errback(error)

    @property
    def _process(self) -> Any:
        """The transport; Any, as Twisted declares it only as an ITransport."""
        return self.transport
