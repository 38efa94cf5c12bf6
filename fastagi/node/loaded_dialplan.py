# SPDX-License-Identifier: MIT
"""What the dialplan that Asterisk has loaded can do.

After an update of the service an older ``callback-queue.conf`` may still be loaded.
Then the service does what that file allows, and ``check`` says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings

_HAS_PLACES: Final = (
    f"DIALPLAN_EXISTS({dialplan.MEMBER_CONTEXT},{dialplan.PLACE_EXTEN},1)"
)


class LoadedDialplan:
    """Asks Asterisk what the loaded dialplan has."""

    _log = Logger()

    def __init__(
        self, *, manager: AmiSession, settings: Callable[[], Settings]
    ) -> None:
        self._manager = manager
        self._settings = settings
        #: Whether it can put an attempt in line, and whether that is needed.
        self.has_places = False

    async def learn(self) -> None:
        """Ask, if any queue needs it; without an answer the former one stands."""
        queues = self._settings().queues.values()
        if not any(queue.keeps_place for queue in queues):
            self.has_places = False
            return
        try:
            response = await self._manager.send(actions.get_var(_HAS_PLACES))
        except NotConnected:
            # The next connect asks again.
            return
        except (ActionFailed, ActionTimedOut) as error:
            if not self.has_places:
                self._log.warn(
                    "live callers go first, whatever 'fairness' says, until the next"
                    " connect or reload: Asterisk does not say whether its dialplan can"
                    " keep places: {error}",
                    error=error,
                )
            return
        self.has_places = response.get("Value") == "1"
        if not self.has_places:
            self._log.warn(
                "live callers go first, whatever 'fairness' says: the dialplan that"
                " Asterisk has loaded can not keep places; copy"
                " dialplan/callback-queue.conf of this version over it, run"
                " 'dialplan reload' in Asterisk, then reload this service",
            )
