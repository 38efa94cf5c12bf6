# SPDX-License-Identifier: MIT
"""Finds out whether Asterisk has the PJSIP endpoints through which clients are called.

Without its endpoint, a callback would ring an agent and then fail at once, so none
begins. Asterisk is asked at each connect, after each reload (of the settings and of
Asterisk), when no channel to a client could be created, and once a minute while an
endpoint is missing. If it does not say that an endpoint is missing, callbacks begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed, ActionTimedOut, NotConnected
from fastagi.ami.events import Handler, Reload, on
from fastagi.ami.session import AmiSession
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.trunk import (
    UNKNOWN_DEVICE,
    device_state,
    endpoint_option,
    trunk_of,
)
from fastagi.runtime.background import Background
from fastagi.runtime.listeners import Listeners

#: Interval of asking while an endpoint is missing, in seconds.
_AGAIN_S: Final = 60.0


class Trunks:
    """Knows which endpoints of the settings Asterisk certainly does not have."""

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        background: Background,
        settings: Callable[[], Settings],
    ) -> None:
        self._manager = manager
        self._background = background
        self._settings = settings
        self._missing: frozenset[str] = frozenset()
        #: How often it was asked; only the newest answer counts.
        self._questions = 0
        self._asks_each_minute = False
        #: Called when callbacks may begin again, or may not any more.
        self.changed: Listeners[[]] = Listeners("a change of the trunks")

    def handlers(self) -> Iterator[Handler]:
        """Yield the handler of each event that this tracker needs."""
        yield on(Reload, self._reloaded)

    def missing_for(self, queue: QueueSettings) -> str:
        """Return the endpoint of a queue if Asterisk does not have it; otherwise ""."""
        if not self._missing:
            return ""
        trunk = trunk_of(queue.outbound_channel)
        return trunk if trunk in self._missing else ""

    def why_not(self, queue: QueueSettings) -> Reason | None:
        """Return why no callback of a queue can reach a client; None: it may."""
        trunk = self.missing_for(queue)
        return because(Code.NO_TRUNK, trunk=trunk) if trunk else None

    async def learn(self) -> None:
        """Ask for all endpoints, and warn of each that is missing."""
        await self._ask(frozenset())

    def ask_again(self) -> None:
        """Ask for all endpoints, and warn of those that were not missing before."""
        self._background.start("asking for the trunks", self._ask(self._missing))

    async def _ask(self, warned: frozenset[str]) -> None:
        self._questions += 1
        question = self._questions
        queues: dict[str, list[QueueSettings]] = {}
        for queue in self._settings().queues.values():
            if trunk := trunk_of(queue.outbound_channel):
                queues.setdefault(trunk, []).append(queue)
        missing: set[str] = set()
        found: set[str] = set()
        for trunk in queues:
            try:
                (missing if await self._is_missing(trunk) else found).add(trunk)
            except NotConnected:
                # The next connect asks again.
                return
            except (ActionFailed, ActionTimedOut) as error:
                if isinstance(error, ActionTimedOut) and trunk in self._missing:
                    missing.add(trunk)
                self._log.debug(
                    "not known whether Asterisk has the PJSIP endpoint {trunk}:"
                    " {error}",
                    trunk=trunk,
                    error=error,
                )
        if question != self._questions:
            return
        for trunk in sorted(missing - warned):
            self._warn(trunk, queues[trunk])
        for trunk in sorted(self._missing & found):
            self._log.info("Asterisk has the PJSIP endpoint {trunk} now", trunk=trunk)
        former, self._missing = self._missing, frozenset(missing)
        if missing and not self._asks_each_minute:
            self._asks_each_minute = True
            self._background.start("waiting for a trunk", self._ask_each_minute())
        if former != self._missing:
            self.changed.call()

    async def _is_missing(self, trunk: str) -> bool:
        """Whether Asterisk knows neither a state nor an option of an endpoint."""
        answer = await self._manager.send(actions.get_var(device_state(trunk)))
        if answer.get("Value") != UNKNOWN_DEVICE:
            return False
        try:
            # Every endpoint has a context.
            answer = await self._manager.send(
                actions.get_var(endpoint_option(trunk, "context"))
            )
        except ActionFailed:
            return True
        return not answer.get("Value")

    async def _ask_each_minute(self) -> None:
        """Ask until none is missing, over all links to Asterisk."""
        try:
            while self._missing:
                await self._background.pause(_AGAIN_S)
                await self._ask(self._missing)
        finally:
            self._asks_each_minute = False

    def _reloaded(self, event: Reload) -> None:
        if "pjsip" in event.module.lower() or event.module == "All":
            self.ask_again()

    def _warn(self, trunk: str, queues: list[QueueSettings]) -> None:
        self._log.warn(
            "clients can not be called, so no callback begins: Asterisk has no PJSIP"
            " endpoint {trunk}, which outbound_channel of {queues} names ({channel});"
            " correct outbound_channel in the settings and run 'sudo systemctl reload"
            " callback-queue', or add the endpoint to Asterisk; the names are in:"
            " asterisk -rx 'pjsip show endpoints'",
            trunk=trunk,
            queues=", ".join(f"queue {queue.name}" for queue in queues),
            channel=queues[0].outbound_channel,
        )
