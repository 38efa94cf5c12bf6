# SPDX-License-Identifier: MIT
"""A service whose transaction is still open, so that another one acts meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, cast

from twisted.internet.defer import Deferred, fail, succeed

from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore


class OpenTransaction:
    """In place of a `Database`: all requests are in one transaction, until its end."""

    def __init__(self, url: str) -> None:
        self._engine = backend_for(url).engine
        self.conn = self._engine.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.conn.close()
        self._engine.dispose()

    def run(
        self, name: str, fn: Callable[..., Any], *args: Any, **_more: Any
    ) -> Deferred[Any]:
        """Run ``fn(conn, *args)``; what it changes is not committed yet."""
        try:
            return succeed(fn(self.conn, *args))
        except Exception:
            return fail()

    def commit(self) -> None:
        self.conn.commit()

    def roll_back(self) -> None:
        self.conn.rollback()

    def store(self, **of: Any) -> TaskStore:
        """Return a store whose requests are in the transaction."""
        return TaskStore(cast(Database, self), **of)
