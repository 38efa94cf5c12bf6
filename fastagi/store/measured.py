# SPDX-License-Identifier: MIT
"""Stores the measurements of each queue, such as handling times.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, select, update

from fastagi.domain.expected_wait import Average, Measured
from fastagi.store import schema

_measured: Final = schema.measured
_GET: Final = select(_measured)
_MAKE: Final = insert(_measured)
_CHANGE: Final = (
    update(_measured)
    .where(_measured.c.queue == bindparam("of_queue"))
    .values(
        {
            column.name: bindparam(column.name)
            for column in _measured.columns
            if not column.primary_key
        }
    )
)


def get(conn: sa.Connection) -> dict[str, Measured]:
    """Return what was measured, by the name of the queue in lower case."""
    return {
        row.queue: Measured(
            handling=Average(row.handling_s, row.handling_weight),
            ring=Average(row.ring_s, row.ring_weight),
            left=row.callers_left,
            waited_s=row.waited_s,
        )
        for row in conn.execute(_GET)
    }


def put(conn: sa.Connection, by_queue: Mapping[str, Measured]) -> None:
    """Store what was measured, in place of what was stored for these queues."""
    for queue, known in by_queue.items():
        values = {
            "handling_s": known.handling.mean,
            "handling_weight": known.handling.weight,
            "ring_s": known.ring.mean,
            "ring_weight": known.ring.weight,
            "callers_left": known.left,
            "waited_s": known.waited_s,
        }
        if not conn.execute(_CHANGE, {"of_queue": queue, **values}).rowcount:
            conn.execute(_MAKE, {"queue": queue, **values})
