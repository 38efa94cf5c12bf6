# SPDX-License-Identifier: MIT
"""Finds out what the dialplan that Asterisk has loaded can do.

After an update of the service an older ``callback-queue.conf`` may still be loaded.
Then the service does what that file allows, and ``check`` names what is missing.
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
_HAS_AGENT_KEYS: Final = f"DIALPLAN_EXISTS({dialplan.AGENT_CONTEXT},s,1)"
_HAS_ONLY: Final = f"DIALPLAN_EXISTS({dialplan.ONLY_CONTEXT},s,1)"
_HAS_CLIENT_KEY: Final = f"DIALPLAN_EXISTS({dialplan.CONFIRM_CONTEXT},s,1)"
_HAS_CLIENT_FIRST: Final = (
    f"DIALPLAN_EXISTS({dialplan.MEMBER_CONTEXT},{dialplan.CLIENT_EXTEN},1)"
)
_HAS_OFFERS: Final = f"DIALPLAN_EXISTS({dialplan.OFFER_CONTEXT},s,1)"


class LoadedDialplan:
    """Asks Asterisk for the abilities of the loaded dialplan."""

    _log = Logger()

    def __init__(
        self, *, manager: AmiSession, settings: Callable[[], Settings]
    ) -> None:
        self._manager = manager
        self._settings = settings
        #: Whether it can put an attempt in line, and whether that is needed.
        self.has_places = False
        #: Whether it can ask a caller who waits, and whether that is needed.
        self.has_offers = False
        #: Whether it can have agents accept by a key. Yes, until Asterisk says no: an
        #: older dialplan ignores what it is told.
        self.has_agent_keys = True
        #: Whether it can ring one agent of a queue only.
        self.has_only = False
        #: The same for a key of the client, and for answering machines.
        self.has_client_key = True
        #: Whether it can call clients first, and whether that is needed. No, until
        #: Asterisk says yes: an older dialplan has no extension for it.
        self.has_client_first = False

    async def learn(self) -> None:
        """Ask for the abilities that any queue needs; no answer changes nothing."""
        queues = self._settings().queues.values()
        self.has_places = any(queue.keeps_place for queue in queues) and (
            await self._has(
                _HAS_PLACES,
                self.has_places,
                "live callers go first, whatever 'fairness' says",
                "keep places",
            )
        )
        self.has_offers = any(queue.offers.enabled for queue in queues) and (
            await self._has(
                _HAS_OFFERS,
                self.has_offers,
                "no callback is offered, whatever 'offers' says",
                "offer a callback",
            )
        )
        if any(queue.preferred_agent.enabled for queue in queues):
            self.has_only = await self._has(
                _HAS_ONLY,
                self.has_only,
                "any agent is asked, whatever 'preferred_agent' says",
                "ring one agent of a queue only",
            )
        if any(queue.agent_keys.enabled for queue in queues):
            self.has_agent_keys = await self._has(
                _HAS_AGENT_KEYS,
                self.has_agent_keys,
                "clients are called without a key of the agent, whatever 'agent_keys'"
                " says",
                "ask agents for a key",
            )
        if any(queue.client_key.enabled or queue.amd for queue in queues):
            self.has_client_key = await self._has(
                _HAS_CLIENT_KEY,
                self.has_client_key,
                "clients are connected at once, whatever 'client_key' and 'amd' say",
                "ask clients for a key, or recognise answering machines",
            )
        self.has_client_first = any(
            queue.may_call_client_first for queue in queues
        ) and (
            await self._has(
                _HAS_CLIENT_FIRST,
                self.has_client_first,
                "agents are called first, whatever 'first' says",
                "call clients first",
            )
        )

    async def learn_for_operators(self) -> None:
        """Ask for an ability that only tasks need which operators assign to an agent.

        Until the answer, such tasks wait.
        """
        queues = self._settings().queues.values()
        if not any(queue.preferred_agent.enabled for queue in queues):
            self.has_only = await self._has(
                _HAS_ONLY,
                self.has_only,
                "no task can be assigned to an agent",
                "ring one agent of a queue only",
            )

    async def _has(self, what: str, before: bool, instead: str, ability: str) -> bool:
        """Ask Asterisk for an ability of its dialplan.

        Args:
            what: the function that tells it.
            before: the former answer, which stands without a new one.
            instead: what happens without the ability, in words for the log.
            ability: the ability, in words for the log.
        """
        try:
            response = await self._manager.send(actions.get_var(what))
        except NotConnected:
            # The next connect asks again.
            return before
        except (ActionFailed, ActionTimedOut) as error:
            if not before:
                self._log.warn(
                    "{instead}, until the next connect or reload: Asterisk does not say"
                    " whether its dialplan can {ability}: {error}",
                    instead=instead,
                    ability=ability,
                    error=error,
                )
            return before
        if response.get("Value") == "1":
            return True
        self._log.warn(
            "{instead}: the dialplan that Asterisk has loaded can not {ability}; copy"
            " dialplan/callback-queue.conf of this version over it, run"
            " 'dialplan reload' in Asterisk, then reload this service",
            instead=instead,
            ability=ability,
        )
        return False
