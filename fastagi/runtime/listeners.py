# SPDX-License-Identifier: MIT
"""Lists of functions that are called when something happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, ParamSpec

from twisted.logger import Logger

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Functions to call at an event; an error in one does not affect the others.

    Args:
        what: the name of the event in the log: "a listener of {what} failed".
    """

    _log = Logger()

    def __init__(self, what: str) -> None:
        self._what = what
        self._entries: dict[object, Callable[P, object]] = {}
        #: The same, as a copy that does not change while it is called.
        self._in_order: tuple[tuple[object, Callable[P, object]], ...] = ()

    def add(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Add a listener; return a function that removes it, even if called twice."""
        key = object()
        self._entries[key] = listener
        self._in_order = tuple(self._entries.items())

        def remove() -> None:
            self._entries.pop(key, None)
            self._in_order = tuple(self._entries.items())

        return remove

    def call(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all listeners in the order in which they were added.

        A listener that an earlier one removed is not called. Errors are logged with a
        traceback.
        """
        for key, listener in self._in_order:
            if key in self._entries:
                try:
                    listener(*args, **kwargs)
                except Exception:
                    self._log.failure("a listener of {what} failed", what=self._what)


class OnceForAll:
    """Calls a function once for calls that come shortly one after the other.

    Args:
        function: the function. It is called when no call has come for a moment, or
            after `_MOST_MOMENTS`.
        in_a_moment: calls a function after a moment; None: each call is made at once.
    """

    _MOST_MOMENTS: Final = 10

    def __init__(
        self,
        function: Callable[[], object],
        in_a_moment: Callable[[Callable[[], object]], object] | None,
    ) -> None:
        self._function = function
        self._in_a_moment = in_a_moment
        #: Calls since the function was called, and of those the ones that came before
        #: this moment; and the number of moments since the first of them.
        self._calls = 0
        self._seen = 0
        self._moments = 0

    def call(self) -> None:
        """Call the function soon."""
        self._calls += 1
        if self._in_a_moment is None:
            self._call()
        elif self._calls == 1:
            self._wait(self._in_a_moment)

    def _wait(self, in_a_moment: Callable[[Callable[[], object]], object]) -> None:
        self._seen = self._calls
        self._moments += 1
        in_a_moment(self._after_a_moment)

    def _after_a_moment(self) -> None:
        assert self._in_a_moment is not None
        if self._calls == self._seen or self._moments >= self._MOST_MOMENTS:
            self._call()
        else:
            self._wait(self._in_a_moment)

    def _call(self) -> None:
        self._calls = self._seen = self._moments = 0
        self._function()


class Afterwards:
    """Delays calls until an event has been passed to all trackers.

    Calls of wrapped functions (:meth:`wrap`) inside ``with afterwards:`` run at the end
    of that block; calls outside of it run at once.

    Args:
        what: the name of the event in the log: "what follows from {what} failed".
    """

    _log = Logger()

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_holding = False
        self._held_back: deque[Callable[[], object]] = deque()

    def wrap(self, function: Callable[P, object]) -> Callable[P, None]:
        """Return a function that runs ``function`` at the end of the block."""

        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            if self._is_holding:
                self._held_back.append(partial(function, *args, **kwargs))
            else:
                function(*args, **kwargs)

        return call

    def __enter__(self) -> None:
        self._is_holding = True

    def __exit__(self, *_exc: object) -> None:
        """Run the delayed calls in order; errors are logged."""
        self._is_holding = False
        while self._held_back:
            function = self._held_back.popleft()
            try:
                function()
            except Exception:
                self._log.failure("what follows from {what} failed", what=self._what)
