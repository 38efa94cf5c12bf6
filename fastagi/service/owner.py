# SPDX-License-Identifier: MIT
"""Keeps the database held by this service, and notices when it is not any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from fastagi.runtime.background import Background
from fastagi.store.errors import LeaseLost, StoreUnavailable
from fastagi.store.leases import RENEW_S, Lease
from fastagi.store.store import TaskStore

#: Pause before asking again whether the lease is still ours, in seconds.
_RETRY_S: Final = 1.0


class Owner:
    """Renews the lease.

    While the lease can not be renewed in time, no call is placed; calls under way are
    followed. The database decides in the end: if nobody else has taken the lease
    meanwhile, the service goes on, else it must end.
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

    def start(self) -> None:
        """Renew from now on, if the lease runs out at all."""
        if self.lease.held.runs_out:
            self._background.start("renewing the lease", self._keep())

    async def may_call(self) -> bool:
        """Make sure that this service still holds the database.

        Returns at once while it is known. Else, as after the process was frozen or
        the database away, the database is asked until it answers.

        Returns:
            False if another process holds it: nothing may be done any more.
        """
        if not self.lease.is_sure and not self.is_lost:
            self._log.warn(
                "the lease of the database has run out; no call is placed until it is"
                " renewed"
            )
            while not (await self._renew() or self.is_lost):
                await self._background.pause(_RETRY_S)
        return not self.is_lost

    async def _keep(self) -> None:
        while not self.is_lost:
            await self._background.pause(RENEW_S)
            await self._renew()

    async def _renew(self) -> bool:
        try:
            await self._store.renew_lease()
        except LeaseLost as error:
            self._lose(str(error))
            return False
        except StoreUnavailable:
            # The log says so already, and why.
            return False
        # The answer may have taken longer than the lease lasts.
        return self.lease.is_sure

    def _lose(self, reason: str) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._on_lost(reason)
