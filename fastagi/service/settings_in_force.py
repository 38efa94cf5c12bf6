# SPDX-License-Identifier: MIT
"""The settings in force, and the listeners that are called when they change."""

from __future__ import annotations

from attrs import evolve

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

    def as_started(self, settings: Settings) -> Settings:
        """Return settings with the Asterisks with which the service started."""
        start = self._at_start
        if settings.nodes == start.nodes:
            return settings
        if settings.nodes and start.nodes:
            return evolve(settings, nodes=start.nodes)
        return evolve(
            settings,
            nodes=start.nodes,
            ami=start.ami,
            history=start.history,
            asterisk=start.asterisk,
        )

    def _without_channel(self, settings: Settings) -> list[tuple[str, str]]:
        """Return queues whose clients can not be called, each with its Asterisk."""
        if not (settings.nodes or self._at_start.nodes):
            return []
        here = self.as_started(settings)
        return [
            (queue.name, node.name)
            for node in here.all_nodes
            for queue in here.of_node(node).queues.values()
            if not queue.outbound_channel
        ]

    def replace(self, settings: Settings) -> None:
        """Put new settings in force; attempts in progress keep the old ones.

        Sections about sockets and the database take effect at the next start; if such a
        section has changed, this is logged. Settings by which a client can not be
        called from an Asterisk of the start are refused.
        """
        lacking = self._without_channel(settings)
        for queue, node in lacking:
            self._log.error(
                "settings: queue {queue} has no outbound_channel for the Asterisk"
                " {node}, as a change of 'nodes' takes effect at the next start: give"
                " the queue one, or restart the service",
                queue=queue,
                node=node,
            )
        if lacking:
            self._log.error("settings: the old ones stay in force")
            return
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
