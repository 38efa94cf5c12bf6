# SPDX-License-Identifier: MIT
"""Access to the web process's own database, off the event loop.

``read`` and ``write`` run plain functions whose first argument is a connection, each in
a transaction of its own. What ``write`` returns is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import sqlalchemy as sa

from fastagi.store.backends import backend_for
from fastagi.web.threads import DatabaseThreads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class State:
    """The database of the web process; its tables must exist (see ``versions``)."""

    def __init__(self, url: str) -> None:
        self._readers = DatabaseThreads(
            backend_for(url), name="state-read", count=2, write=False
        )
        self._writer = DatabaseThreads(
            backend_for(url), name="state-write", count=1, write=True
        )

    async def read(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function that only reads."""
        return await self._readers.run(function, *args)

    async def write(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run a function and commit."""
        return await self._writer.run(function, *args)

    def close(self) -> None:
        """Finish what waits, and disconnect."""
        self._writer.close()
        self._readers.close()
