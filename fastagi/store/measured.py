# SPDX-License-Identifier: MIT
"""Stores the measurements of each queue, such as handling times.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, insert, select, update

from fastagi.domain.attempt import DEFAULT_NODE
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


#: Stands between the name of a node and that of a queue, which has no such sign.
_MARK: Final = "|"


def _prefix(node: str) -> str:
    return "" if node == DEFAULT_NODE else f"{node}{_MARK}"


def get(conn: sa.Connection, node: str) -> dict[str, Measured]:
    """Return what was measured on a node, by the name of the queue in lower case."""
    prefix = _prefix(node)
    return {
        row.queue.removeprefix(prefix): Measured(
            handling=Average(row.handling_s, row.handling_weight),
            ring=Average(row.ring_s, row.ring_weight),
            left=row.callers_left,
            waited_s=row.waited_s,
        )
        for row in conn.execute(_GET)
        if row.queue.startswith(prefix) and _MARK not in row.queue.removeprefix(prefix)
    }


def put(conn: sa.Connection, by_queue: Mapping[str, Measured], node: str) -> None:
    """Store what was measured on a node, in place of what was stored for it."""
    for name, known in by_queue.items():
        queue = f"{_prefix(node)}{name}"
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
