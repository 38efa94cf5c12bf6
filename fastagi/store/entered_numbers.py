# SPDX-License-Identifier: MIT
"""Counts the requests in which callers entered another number than their own.

The functions run inside a transaction. Only those of the last 24 hours are kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, func, insert, select

from fastagi.domain.limits import DAY
from fastagi.domain.reason import Reason
from fastagi.domain.task import Entered, entered_too_often
from fastagi.store import schema

_entered: Final = schema.entered_number
_COUNT: Final = (
    select(func.count())
    .select_from(_entered)
    .where(
        _entered.c.caller_key == bindparam("caller_key"),
        _entered.c.at > bindparam("after"),
    )
)
_NOTE: Final = insert(_entered)
_FORGET_OLD: Final = delete(_entered).where(_entered.c.at <= bindparam("after"))


def why_not(conn: sa.Connection, entered: Entered, now: datetime) -> Reason | None:
    """Return why a caller may not enter another number now; None if it is allowed."""
    count = conn.execute(
        _COUNT, {"caller_key": entered.caller_key, "after": (now - DAY).timestamp()}
    ).scalar_one()
    return None if count < entered.limit else entered_too_often(entered)


def note(conn: sa.Connection, entered: Entered, now: datetime) -> None:
    """Count a request that is stored in the same transaction."""
    conn.execute(_FORGET_OLD, {"after": (now - DAY).timestamp()})
    conn.execute(_NOTE, {"caller_key": entered.caller_key, "at": now.timestamp()})
