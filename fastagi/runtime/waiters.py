# SPDX-License-Identifier: MIT
"""Deferreds of several who wait for one event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Waiters(Generic[T]):
    """Deferreds that wait for the same event, one for each who waits.

    So cancelling one, or changing its result, does not affect the others.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def add(self) -> Deferred[T]:
        """Return a new Deferred; cancelling it removes it."""
        waiter: Deferred[T] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def fire_all(self, fire: Callable[[Deferred[T]], None]) -> None:
        """Call ``fire`` with each Deferred, except those cancelled meanwhile."""
        for waiter in list(self._waiting):
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                fire(waiter)

    def _forget(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)


def release(waiters: Waiters[None]) -> None:
    """Fire all Deferreds that have no result."""
    waiters.fire_all(lambda waiter: waiter.callback(None))
