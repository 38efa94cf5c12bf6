# SPDX-License-Identifier: MIT
"""The owner of coroutines that nobody awaits.

Each coroutine is held until it ends. Its errors are logged with a traceback. A service
that stops can end all pauses and wait for the coroutines.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.runtime.clock import Clock


class Stopping(Exception):
    """The service stops, so the work must end."""


class Background:
    """Runs coroutines and holds them until they end."""

    _log = Logger()

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: set[Deferred[Any]] = set()
        self._pauses: set[Deferred[None]] = set()
        self._stopping = False

    def start(self, what: str, work: Coroutine[Deferred[Any], Any, Any]) -> None:
        """Run ``work``; ``what`` is its name in the log if it fails."""
        running: Deferred[Any] = Deferred.fromCoroutine(work)
        self._running.add(running)

        def done(result: Any) -> None:
            self._running.discard(running)
            if isinstance(result, Failure) and not result.check(Stopping):
                self._log.failure("{what} failed", failure=result, what=what)

        _ = running.addBoth(done)

    async def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopping: :meth:`stop` was called during the wait, or before.
        """
        if self._stopping:
            raise Stopping
        pause: Deferred[None] = deferLater(self._clock.timers, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            raise Stopping from None
        finally:
            self._pauses.discard(pause)

    async def stop(self) -> None:
        """End all pauses and wait until nothing runs any more."""
        self._stopping = True
        for pause in list(self._pauses):
            pause.cancel()
        while self._running:
            await DeferredList([_end_of(running) for running in self._running])


def _end_of(running: Deferred[Any]) -> Deferred[None]:
    over: Deferred[None] = Deferred()
    _ = running.addBoth(lambda _: over.callback(None))
    return over
