# SPDX-License-Identifier: MIT
"""Renews the lease of this service on the database, and notices when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from fastagi.runtime.background import Background
from fastagi.runtime.listeners import Listeners
from fastagi.store.errors import LeaseLost, StoreUnavailable
from fastagi.store.leases import Lease
from fastagi.store.store import TaskStore

#: Pause between two tries to renew a lease that has run out, in seconds.
_RETRY_S: Final = 1.0


class Owner:
    """Renews the lease.

    If the lease can not be renewed in time, no call is placed until it is; calls in
    progress are followed. The database decides: if no other process has taken the lease
    meanwhile, the service continues; otherwise it must end.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        lease: Lease,
        background: Background,
        on_lost: Callable[[str], None],
    ) -> None:
        self._store = store
        self.lease = lease
        self._background = background
        self._on_lost = on_lost
        self.is_lost = False
        node = lease.held.node
        #: What the lease is for, for the log.
        self._what = f"the Asterisk {node}" if node else "the database"
        #: Called when a lease that had run out is renewed: calls may be placed again.
        self.renewed: Listeners[[]] = Listeners("a renewal of the lease")
        self._is_renewing = False

    def start(self) -> None:
        """Start to renew the lease, if it can run out."""
        if self.lease.held.runs_out:
            self._background.start("renewing the lease", self._renew_regularly())

    @property
    def holds_lease(self) -> bool:
        """Whether this service certainly holds the database."""
        return not self.is_lost and self.lease.is_sure

    def may_call(self) -> bool:
        """Return whether this service certainly holds the database.

        It does while the lease is valid by the steady clock. If the lease has run out,
        for example because the process was frozen or the database was down, it is
        renewed as soon as the database answers; then `renewed` is called.
        """
        if self.is_lost or self.holds_lease:
            return self.holds_lease
        if not self._is_renewing:
            self._is_renewing = True
            self._log.warn(
                "the lease of {what} has run out; no call is placed until it is"
                " renewed",
                what=self._what,
            )
            self._background.start("renewing the lease", self._renew_at_once())
        return False

    async def _renew_at_once(self) -> None:
        while not (await self._renew() or self.is_lost):
            await self._background.pause(_RETRY_S)
        self._is_renewing = False
        if not self.is_lost:
            self.renewed.call()

    async def _renew_regularly(self) -> None:
        while not self.is_lost:
            await self._background.pause(self.lease.held.renew_s)
            await self._renew()

    async def _renew(self) -> bool:
        try:
            await self._store.renew_lease()
        except LeaseLost as error:
            self._lease_lost(str(error))
            return False
        except StoreUnavailable:
            # The store has logged this.
            return False
        # The lease may have run out again before the answer came.
        return self.lease.is_sure

    def _lease_lost(self, reason: str) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._on_lost(reason)
