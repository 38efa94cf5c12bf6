# SPDX-License-Identifier: MIT
"""Keeps Asterisk from placing calls of a process that does not hold it any more.

A process may be frozen between its last look at its lease and the moment at which
Asterisk reads its Originate. So whoever takes an Asterisk first stores the epoch of the
lease in AstDB, and each Originate says the epoch and until when it counts, by
Asterisk's clock: the dialplan ends a callback of an older epoch, or one that was read
too late, before anybody's phone rings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twisted.logger import Logger

from fastagi.ami import actions
from fastagi.ami.session import AmiSession
from fastagi.dialplan import EPOCH_IN_ASTDB, Variable
from fastagi.runtime.clock import Clock
from fastagi.service.owner import Owner
from fastagi.store.errors import StoreUnavailable

#: How long after it was sent Asterisk may read an Originate, in seconds.
_COUNTS_S: Final = 15.0


class Fence:
    """The epoch in Asterisk, and what each Originate says.

    A service that is the only one on its database has none.
    """

    _log = Logger()

    def __init__(self, *, manager: AmiSession, clock: Clock, owner: Owner) -> None:
        self._manager = manager
        self._clock = clock
        self._owner = owner
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
            StoreUnavailable: it is not sure that this process holds the Asterisk.
        """
        if not self.is_wanted:
            return
        if not self._owner.may_call():
            raise StoreUnavailable("the lease of the Asterisk has run out")
        epoch = str(self._owner.lease.held.epoch)
        await self._manager.send(actions.set_global(EPOCH_IN_ASTDB, epoch))
        asked_at = self._clock.steady()
        answer = await self._manager.send(actions.get_var("EPOCH"))
        self._ahead_s = float(answer.get("Value") or 0) - asked_at

    def variables(self) -> Mapping[str, str]:
        """Return the variables of an Originate that is sent now."""
        if not self.is_wanted or self._ahead_s is None:
            return {}
        until = self._clock.steady() + self._ahead_s + _COUNTS_S
        return {
            Variable.EPOCH: str(self._owner.lease.held.epoch),
            Variable.NOT_AFTER: f"{until:.0f}",
        }
