# SPDX-License-Identifier: MIT
"""Pauses the placing of calls while Asterisk refuses every one.

A refusal of the whole system is no fault of a task: the attempt is withdrawn, and no
other is begun before Asterisk takes calls again. One try is made at a time, after
pauses that grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import Handler, Reload, on
from fastagi.ami.session import AmiSession
from fastagi.runtime.background import Background
from fastagi.runtime.listeners import Listeners

#: First pause before the next try, in seconds; each further one is twice as long.
_FIRST_PAUSE_S: Final = 2.0
#: Longest pause between two tries, in seconds.
_LONGEST_PAUSE_S: Final = 60.0
#: Refusals of an Originate that do not depend on whom it is to call (main/manager.c):
#: every callback is placed in the same way, through the same contexts of the dialplan.
_OF_ALL_CALLS: Final = (
    "Asterisk is shutting down",
    "Permission denied",
    "Invalid/unknown command",
    "Originate Access Forbidden",
    "Originate failed",
    "Extension does not exist",
    "Internal Error",
)


def refuses_all(error: ActionFailed) -> bool:
    """Whether a refused Originate says that no callback can be placed."""
    return error.response.get("Message").startswith(_OF_ALL_CALLS)


class Hold:
    """Whether calls may be placed now."""

    _log = Logger()

    def __init__(self, *, manager: AmiSession, background: Background) -> None:
        self._manager = manager
        self._background = background
        #: A call may be placed, or tried, again.
        self.released: Listeners[[]] = Listeners("the end of a hold")
        #: Refusals since the last call that was placed.
        self._refusals = 0
        #: One call may be tried.
        self._may_try = False
        #: Counts the pauses; one that was ended early is not the latest any more.
        self._pause = 0
        self._pausing = False

    def handlers(self) -> Iterator[Handler]:
        """Yield what takes in each event that this part needs."""
        yield on(Reload, self._reloaded)

    def holds(self) -> bool:
        """Return whether no call may be placed now."""
        return bool(self._refusals) and not self._may_try

    def trying(self) -> None:
        """A call is being placed: no other until it is known what comes of it."""
        self._may_try = False

    def refused(self, error: ActionFailed) -> None:
        """Asterisk refuses every call: place none for a while."""
        if self._pausing:
            # Another one that was on its way.
            return
        if not self._refusals:
            self._log.warn(
                "no callback is placed until Asterisk takes calls again; it is asked"
                " again after {pause_s:g} s, then less and less often: {error};"
                " {remedy}",
                pause_s=_FIRST_PAUSE_S,
                error=error,
                remedy="to go on use 'core abort shutdown' in Asterisk's console"
                if error.shutting_down
                else "see what 'callback-queue check' says",
            )
        self._wait_longer()

    def taken(self) -> None:
        """Asterisk has taken a call."""
        if self._refusals:
            self._log.info("Asterisk takes calls again")
            self.release()

    def not_known(self) -> None:
        """It is not known what came of a call."""
        if self._refusals and not self._pausing:
            self._wait_longer()

    def release(self) -> None:
        """Place calls again: what was in the way of them may be gone."""
        was_held, self._refusals = bool(self._refusals), 0
        self._may_try = self._pausing = False
        self._pause += 1
        if was_held:
            self.released.call()

    def _reloaded(self, _event: Reload) -> None:
        self.release()

    def _wait_longer(self) -> None:
        self._refusals += 1
        self._may_try = False
        self._pausing = True
        self._pause += 1
        self._background.start(
            "waiting until Asterisk takes calls", self._wait(self._pause)
        )

    async def _wait(self, pause: int) -> None:
        doublings = min(self._refusals - 1, 10)
        await self._background.pause(
            min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S)
        )
        if pause != self._pause:
            return
        try:
            # While it shuts down Asterisk refuses everything: that needs no attempt.
            await self._manager.send(actions.ping())
        except NotConnected:
            # The next connect releases.
            return
        except (ActionFailed, ActionTimedOut):
            if pause == self._pause:
                self._wait_longer()
            return
        if pause == self._pause:
            self._pausing = False
            self._may_try = True
            self.released.call()
