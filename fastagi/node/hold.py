# SPDX-License-Identifier: MIT
"""Places no callbacks while Asterisk refuses every call.

If Asterisk refuses all calls, the attempt is withdrawn, so the task loses nothing, and
no other begins before Asterisk accepts calls again. Tries are made one at a time, after
growing pauses.
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

#: First pause before the next try, in seconds; each later pause is twice as long.
_FIRST_PAUSE_S: Final = 2.0
#: Longest pause between two tries, in seconds.
_LONGEST_PAUSE_S: Final = 60.0
#: Beginnings of refusals of an Originate that apply to every callback, as all are
#: placed through the same contexts of the dialplan (main/manager.c).
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
    """Whether the refusal of an Originate applies to every callback."""
    return error.response.get("Message").startswith(_OF_ALL_CALLS)


class Hold:
    """Decides whether callbacks may be placed now."""

    _log = Logger()

    def __init__(self, *, manager: AmiSession, background: Background) -> None:
        self._manager = manager
        self._background = background
        #: Called when callbacks may be placed, or tried, again.
        self.released: Listeners[[]] = Listeners("the end of a hold")
        #: Number of refusals since the last accepted call.
        self._refusals = 0
        #: Whether one call may be tried.
        self._may_try = False
        #: Number of the current pause, so that a pause that was ended early does
        #: nothing when it is over.
        self._pause = 0
        self._pausing = False

    def handlers(self) -> Iterator[Handler]:
        """Yield the handler of each event that this tracker needs."""
        yield on(Reload, self._reloaded)

    def holds(self) -> bool:
        """Return whether no call may be placed now."""
        return bool(self._refusals) and not self._may_try

    def trying(self) -> None:
        """Hold other calls until the result of the call being placed is known."""
        self._may_try = False

    def refused(self, error: ActionFailed) -> None:
        """Hold calls for a while: Asterisk refuses every call."""
        if self._pausing:
            # This refusal belongs to a call that was placed before the pause.
            return
        if not self._refusals:
            self._log.warn(
                "no callback is placed until Asterisk accepts calls again; the next try"
                " is in {pause_s:g} s, later ones after longer pauses: {error};"
                " {remedy}",
                pause_s=_FIRST_PAUSE_S,
                error=error,
                remedy="to abort the shutdown: asterisk -rx 'core abort shutdown'"
                if error.shutting_down
                else "run 'callback-queue check'",
            )
        self._wait_longer()

    def taken(self) -> None:
        """End the hold: Asterisk has accepted a call."""
        if self._refusals:
            self._log.info("Asterisk accepts calls again")
            self.release()

    def not_known(self) -> None:
        """Continue the hold: the result of a call is unknown."""
        if self._refusals and not self._pausing:
            self._wait_longer()

    def release(self) -> None:
        """End the hold: the reason for the refusals may be gone."""
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
            "waiting until Asterisk accepts calls", self._wait(self._pause)
        )

    async def _wait(self, pause: int) -> None:
        doublings = min(self._refusals - 1, 10)
        await self._background.pause(
            min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S)
        )
        if pause != self._pause:
            return
        try:
            # During a shutdown Asterisk refuses every action, so a ping is enough.
            await self._manager.send(actions.ping())
        except NotConnected:
            # The next connect ends the hold.
            return
        except (ActionFailed, ActionTimedOut):
            if pause == self._pause:
                self._wait_longer()
            return
        if pause == self._pause:
            self._pausing = False
            self._may_try = True
            self.released.call()
