# SPDX-License-Identifier: MIT
"""The settings in force, and who is told when others take their place."""

from __future__ import annotations

from twisted.logger import Logger

from fastagi.config.model import FIXED_SECTIONS, Settings
from fastagi.runtime.listeners import Listeners


class SettingsInForce:
    """Returns the settings in force when called; parts ask each time they need them."""

    _log = Logger()

    def __init__(self, settings: Settings) -> None:
        self._current = settings
        self._at_start = settings
        #: The former settings and those that took their place.
        self.changed: Listeners[[Settings, Settings]] = Listeners(
            "a change of the settings"
        )

    def __call__(self) -> Settings:
        """Return the settings in force."""
        return self._current

    def replace(self, settings: Settings) -> None:
        """Put new settings in force; attempts under way keep the old ones.

        What the sockets and the database are is fixed until the next start; the log
        says so if such a section differs.
        """
        former, self._current = self._current, settings
        for section in FIXED_SECTIONS:
            if getattr(self._at_start, section) != getattr(settings, section):
                self._log.warn(
                    "settings: a change of '{section}' takes effect at the next start",
                    section=section,
                )
        self._log.info("settings loaded again", queues=sorted(settings.queues))
        self.changed.call(former, settings)
