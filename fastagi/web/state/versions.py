# SPDX-License-Identifier: MIT
"""Creates the tables of the web process, or brings them to the version of the program.

A new database gets the tables of ``schema`` at once. An older one is changed step by
step, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from fastagi.errors import CallbackError
from fastagi.store.backends import backend_for
from fastagi.web.state.schema import METADATA, SENDING, VERSION

#: The version of the tables in ``schema``.
LATEST: Final = 2


def _add_sending(conn: sa.Connection) -> None:
    SENDING.create(conn)


#: For each version its step from the version before it.
STEPS: Final[dict[int, Callable[[sa.Connection], None]]] = {2: _add_sending}


class NewerState(CallbackError):
    """The web process's database belongs to a later version of the program."""


def prepare(url: str) -> None:
    """Create the database and its tables, or upgrade them.

    Raises:
        NewerState: a later version of the program has upgraded it.
        StoreUnavailable: it cannot be used.
    """
    backend = backend_for(url)
    try:
        backend.create()
        with backend.engine.connect() as conn:
            backend.begin_migration(conn)
            _upgrade(conn)
            conn.commit()
    except sa.exc.SQLAlchemyError as error:
        explained = backend.explain(error)
        if explained is None:
            raise
        raise explained.as_error() from error
    finally:
        backend.engine.dispose()


def _upgrade(conn: sa.Connection) -> None:
    if not sa.inspect(conn).has_table(VERSION.name):
        METADATA.create_all(conn)
        conn.execute(VERSION.insert().values(version=LATEST))
        return
    found: int = conn.execute(sa.select(VERSION.c.version)).scalar_one()
    if found > LATEST:
        raise NewerState(
            f"the database of the web process has version {found}, and this program"
            f" knows versions up to {LATEST}",
            "install the later version of callback-queue again, or restore the copy of"
            " the database that was made before the update",
        )
    for version in range(found + 1, LATEST + 1):
        STEPS[version](conn)
    conn.execute(VERSION.update().values(version=LATEST))
