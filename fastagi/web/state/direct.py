# SPDX-License-Identifier: MIT
"""Access to the web process's own database without an event loop: the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from fastagi.store.backends import Backend, Trouble, backend_for

#: How long to wait for other processes, in seconds.
_WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.05


@contextmanager
def committed(url: str) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction, which is committed at the end.

    Raises:
        StoreUnavailable: the database cannot be used.
    """
    backend = backend_for(url)
    try:
        with backend.engine.connect() as conn:
            _begin(backend, conn)
            yield conn
            conn.commit()
    except sa.exc.SQLAlchemyError as error:
        explained = backend.explain(error)
        if explained is None:
            raise
        raise explained.as_error() from error


def _begin(backend: Backend, conn: sa.Connection) -> None:
    give_up_at = time.monotonic() + _WAIT_S
    while True:
        try:
            backend.begin(conn)
            return
        except sa.exc.DBAPIError as error:
            explained = backend.explain(error)
            locked = explained is not None and explained.trouble is Trouble.LOCKED
            if not locked or time.monotonic() > give_up_at:
                raise
            conn.rollback()
            time.sleep(_PAUSE_S)
