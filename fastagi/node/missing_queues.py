# SPDX-License-Identifier: MIT
"""Warns of queues of the settings that Asterisk does not have."""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.session import AmiSession
from fastagi.config.sections import Settings
from fastagi.domain.names import folded


class MissingQueues:
    """Asks Asterisk for each queue of the settings that it has not listed."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        settings: Callable[[], Settings],
        known: Callable[[], Collection[str]],
    ) -> None:
        self._manager = manager
        self._settings = settings
        #: The names of the queues that Asterisk listed.
        self._known = known

    async def warn(self) -> None:
        """Ask for the queues, and warn of each that is missing.

        Asterisk loads a queue that is kept in a database when it is asked for it, so
        only one is missing that is not there either.
        """
        for queue in self._settings().queues.values():
            for name in dict.fromkeys((queue.name, queue.target_queue or queue.name)):
                known = {folded(one): one for one in self._known()}
                if folded(name) in known:
                    continue
                try:
                    answer = await self._manager.send(
                        actions.get_var(f"QUEUE_EXISTS({name})")
                    )
                except (NotConnected, ActionFailed, ActionTimedOut):
                    # It is unknown; 'callback-queue check' looks closer.
                    continue
                if answer.get("Value") == "0":
                    self._warn(queue.name, name, known)

    def _warn(self, queue: str, name: str, known: dict[str, str]) -> None:
        near = get_close_matches(folded(name), known, n=1)
        self._log.warn(
            "Asterisk has no queue {name}{near}, so nobody is called back for"
            " queues.{queue} of the settings; correct the name and run 'sudo systemctl"
            " reload callback-queue', or add [{name}] to queues.conf and run:"
            " asterisk -rx 'module reload app_queue.so'",
            name=name,
            near=f" (but {known[near[0]]})" if near else "",
            queue=queue,
        )
