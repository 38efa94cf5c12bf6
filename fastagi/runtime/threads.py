# SPDX-License-Identifier: MIT
"""Runs blocking functions outside the reactor's thread.

Each function gets its own daemon thread, so a function that never returns (for example
on a disk that is gone) affects nothing else. Imports no reactor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class InThread(Protocol):
    """Runs a function in another thread."""

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        """Return a Deferred that fires with the result or the error of ``work``.

        Cancelling it does not stop ``work``.
        """


class OwnThread:
    """Runs each function in its own thread."""

    def __init__(self, deliver: Callable[..., object]) -> None:
        """Prepare.

        Args:
            deliver: schedules a function with its arguments on the reactor's thread,
                such as ``reactor.callFromThread``.
        """
        self._deliver = deliver

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        """Run a function."""
        done: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = work()
            except BaseException:
                self._deliver(done.errback, Failure())
            else:
                self._deliver(done.callback, result)

        threading.Thread(target=run, name="history", daemon=True).start()
        return done
