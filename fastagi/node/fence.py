# SPDX-License-Identifier: MIT
"""Keeps Asterisk from placing calls of a process that does not hold it any more.

A process may be frozen between its last look at its lease and the moment at which
Asterisk reads its Originate. So whoever takes an Asterisk first stores the epoch of the
lease in AstDB, and each Originate says the epoch and until when it counts, by
Asterisk's clock: the dialplan ends a callback of an older epoch, or one that was read
too late, before anybody's phone rings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import Logger

from fastagi import dialplan
from fastagi.ami import actions
from fastagi.ami.errors import ActionFailed
from fastagi.ami.events import DBGetResponse
from fastagi.ami.session import AmiSession
from fastagi.dialplan import Variable
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.owner import Owner
from fastagi.store.errors import StoreUnavailable

#: How long after it was sent Asterisk may read an Originate, in seconds.
_COUNTS_S: Final = 15.0
_EXISTS: Final = f"DIALPLAN_EXISTS({dialplan.FENCE_CONTEXT},s,1)"
#: Time limit of the channel that stores the epoch, in seconds.
_STORING_S: Final = 5.0
#: Interval and number of looks whether AstDB has it.
_LOOK_S: Final = 0.1
_LOOKS: Final = 30


class Fence:
    """The epoch in Asterisk, and what each Originate says.

    A service that is the only one on its database has none.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        manager: AmiSession,
        clock: Clock,
        background: Background,
        owner: Owner,
        new_channel_id: Callable[[], str],
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._background = background
        self._owner = owner
        self._new_channel_id = new_channel_id
        #: Whether the dialplan has the context.
        self._has_context = False
        #: Asterisk's time less the steady clock, in seconds; None: Asterisk does not
        #: know the epoch.
        self._ahead_s: float | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether another process may take this Asterisk."""
        return self._owner.lease.held.is_of_node

    @property
    def is_set(self) -> bool:
        """Whether Asterisk keeps out those who held it before."""
        return self._ahead_s is not None or not self.is_wanted

    def unset(self) -> None:
        """Forget Asterisk's time: it is another one, or was set."""
        self._ahead_s = None

    async def set(self) -> None:
        """Store the epoch in Asterisk, and read its clock.

        Raises:
            ActionFailed: Asterisk refuses it.
            ActionTimedOut: Asterisk does not answer.
            NotConnected: there is no link.
            StoreUnavailable: it is not sure that this process holds the Asterisk, or
                that Asterisk knows it.
        """
        if not self.is_wanted:
            return
        if not self._owner.may_call():
            raise StoreUnavailable("the lease of the Asterisk has run out")
        if await self._ask_for_context():
            await self._store_epoch(str(self._owner.lease.held.epoch))
        asked_at = self._clock.steady()
        answer = await self._manager.send(actions.get_var("EPOCH"))
        value = answer.get("Value")
        if not value.isdecimal():
            raise StoreUnavailable(f"Asterisk does not tell its time, but {value!r}")
        self._ahead_s = float(value) - asked_at

    async def _ask_for_context(self) -> bool:
        """Return whether the dialplan that Asterisk has loaded has the context."""
        answer = await self._manager.send(actions.get_var(_EXISTS))
        self._has_context = answer.get("Value") == "1"
        if not self._has_context:
            self._log.warn(
                "a service that was frozen may place a call after another one has taken"
                " over: the dialplan that Asterisk has loaded has no context {context};"
                " copy dialplan/callback-queue.conf of this version over it, run"
                " 'dialplan reload' in Asterisk, then restart this service",
                context=dialplan.FENCE_CONTEXT,
            )
        return self._has_context

    async def _store_epoch(self, epoch: str) -> None:
        """Let the dialplan store the epoch, as the manager may not write to AstDB."""
        channel_id = self._new_channel_id()
        await self._manager.send(
            actions.originate(
                channel=f"Local/{dialplan.FENCE_SET_EXTEN}@{dialplan.FENCE_CONTEXT}/n",
                application="Hangup",
                channel_id=f"{channel_id}-1",
                other_channel_id=f"{channel_id}-2",
                variables={Variable.EPOCH: epoch},
                timeout_s=_STORING_S,
            )
        )
        for _ in range(_LOOKS):
            if await self._stored() == epoch:
                return
            await self._background.pause(_LOOK_S)
        raise StoreUnavailable(
            "Asterisk has not stored the epoch of the lease in AstDB"
        )

    async def _stored(self) -> str:
        """Return the epoch in AstDB; empty if there is none."""
        try:
            found = await self._manager.send_list(
                actions.db_get(dialplan.FENCE_FAMILY, dialplan.FENCE_KEY)
            )
        except ActionFailed as error:
            if error.shutting_down:
                raise
            return ""
        return "".join(DBGetResponse.parse(message).val for message in found)

    def variables(self) -> Mapping[str, str]:
        """Return the variables of an Originate that is sent now."""
        if not (self.is_wanted and self._has_context) or self._ahead_s is None:
            return {}
        until = self._clock.steady() + self._ahead_s + _COUNTS_S
        return {
            Variable.EPOCH: str(self._owner.lease.held.epoch),
            Variable.NOT_AFTER: f"{until:.0f}",
        }
