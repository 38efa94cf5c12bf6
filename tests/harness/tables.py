# SPDX-License-Identifier: MIT
"""A database that many tests use, each as if it were new."""

from __future__ import annotations

from fastagi.store.backends import backend_for
from fastagi.store.schema import metadata


def empty_tables(url: str) -> None:
    """Empty every table of a PostgreSQL database, and count from 1 again."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with backend_for(url).engine.begin() as conn:
        conn.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
