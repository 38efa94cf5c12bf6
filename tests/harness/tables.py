# SPDX-License-Identifier: MIT
"""Empties a database that many tests share, so that each finds it as new."""

from __future__ import annotations

from fastagi.store.backends import backend_for
from fastagi.store.schema import metadata


def empty_tables(url: str) -> None:
    """Empty every table of a PostgreSQL database, and restart its sequences at 1."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with backend_for(url).engine.begin() as conn:
        conn.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
