# SPDX-License-Identifier: MIT
"""Runs what blocks outside of the reactor's thread.

Each piece of work has a thread of its own that does not keep the process alive: work
that never ends, such as on a disk that is gone, harms nothing but itself. Imports no
reactor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class InThread(Protocol):
    """Runs a function elsewhere."""

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        """Return a Deferred that fires with what ``work`` returns or raises.

        Cancelling it ends the waiting, not the work.
        """


class OwnThread:
    """Runs functions, each in a thread of its own."""

    def __init__(self, deliver: Callable[..., object]) -> None:
        """Prepare.

        Args:
            deliver: runs a function with arguments on the reactor's thread, such as
                ``reactor.callFromThread``.
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
