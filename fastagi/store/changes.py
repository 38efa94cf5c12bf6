# SPDX-License-Identifier: MIT
"""Carries out several changes of tasks in one transaction, each on its own.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import sqlalchemy as sa

from fastagi.domain.not_callable import NotCallable
from fastagi.domain.task import CallbackTask
from fastagi.errors import CallbackError
from fastagi.store.errors import StoreUnavailable
from fastagi.store.results import Refused

#: Changes one task. If that is refused, it raises a CallbackError, which undoes what it
#: did, or returns Refused and has done nothing.
Change: TypeAlias = Callable[[sa.Connection], CallbackTask | Refused]


def carry_out(
    conn: sa.Connection, changes: Sequence[Change], preview: bool
) -> list[CallbackTask | CallbackError]:
    """Carry out changes; a change that is refused does not affect the others.

    Args:
        conn: in a transaction.
        changes: the changes.
        preview: whether to undo them all, and only return what they would lead to.

    Returns:
        For each change its task, or why it was refused.
    """
    if not preview:
        return [_carry_out(conn, change) for change in changes]
    with conn.begin_nested() as nested:
        results = [_carry_out(conn, change) for change in changes]
        nested.rollback()
    return results


def _carry_out(conn: sa.Connection, change: Change) -> CallbackTask | CallbackError:
    try:
        with conn.begin_nested():
            done = change(conn)
    except StoreUnavailable:
        raise
    except CallbackError as error:
        return error
    return NotCallable(done.why) if isinstance(done, Refused) else done
