# SPDX-License-Identifier: MIT
"""Lists of functions that are called when something happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, ParamSpec

from twisted.logger import Logger

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Functions to call, none of which can harm another or the caller.

    Args:
        what: the event, as the log names it: "a listener of {what} failed".
    """

    _log = Logger()

    def __init__(self, what: str) -> None:
        self._what = what
        self._entries: dict[object, Callable[P, object]] = {}

    def add(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Add one; the function returned removes it, and may be called again."""
        key = object()
        self._entries[key] = listener

        def remove() -> None:
            self._entries.pop(key, None)

        return remove

    def call(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call each in the order in which they were added.

        A listener that was removed by an earlier one is not called any more. What a
        listener raises is logged with its traceback.
        """
        for key, listener in list(self._entries.items()):
            if key in self._entries:
                try:
                    listener(*args, **kwargs)
                except Exception:
                    self._log.failure("a listener of {what} failed", what=self._what)


class Afterwards:
    """Holds calls back while an event is handed to everyone who has to know it.

    ``with afterwards:`` surrounds the handing out; what :meth:`wrap` returned is called
    at its end if it was to be called inside, else at once.

    Args:
        what: the event, as the log names it: "what follows from {what} failed".
    """

    _log = Logger()

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_holding = False
        self._held_back: deque[Callable[[], object]] = deque()

    def wrap(self, function: Callable[P, object]) -> Callable[P, None]:
        """Return the function in a form that waits for the end of the handing out."""

        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            if self._is_holding:
                self._held_back.append(partial(function, *args, **kwargs))
            else:
                function(*args, **kwargs)

        return call

    def __enter__(self) -> None:
        self._is_holding = True

    def __exit__(self, *_exc: object) -> None:
        """Call what was held back, in its order; what one raises is logged."""
        self._is_holding = False
        while self._held_back:
            function = self._held_back.popleft()
            try:
                function()
            except Exception:
                self._log.failure("what follows from {what} failed", what=self._what)
