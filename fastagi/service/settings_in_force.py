# SPDX-License-Identifier: MIT
"""The settings in force, and the listeners that are called when they change."""

from __future__ import annotations

from twisted.logger import Logger

from fastagi.config.sections import FIXED_SECTIONS, Settings
from fastagi.runtime.listeners import Listeners


class SettingsInForce:
    """Returns the settings in force when called; parts ask each time they need them."""

    _log = Logger()

    def __init__(self, settings: Settings) -> None:
        self._current = settings
        self._at_start = settings
        #: Called with the former settings and the new ones.
        self.changed: Listeners[[Settings, Settings]] = Listeners(
            "a change of the settings"
        )

    @property
    def at_start(self) -> Settings:
        """The settings with which the service started."""
        return self._at_start

    def __call__(self) -> Settings:
        """Return the settings in force."""
        return self._current

    def replace(self, settings: Settings) -> None:
        """Put new settings in force; attempts in progress keep the old ones.

        Sections about sockets and the database take effect at the next start; if such a
        section has changed, this is logged.
        """
        former, self._current = self._current, settings
        for section in FIXED_SECTIONS:
            if section == "ami" and settings.nodes and self._at_start.nodes:
                # It is that of the first node.
                continue
            if getattr(self._at_start, section) != getattr(settings, section):
                self._log.warn(
                    "settings: a change of '{section}' takes effect at the next start",
                    section=section,
                )
        self._log.info("settings loaded again", queues=sorted(settings.queues))
        self.changed.call(former, settings)
