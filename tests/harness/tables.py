# SPDX-License-Identifier: MIT
"""Empties a database that many tests share, so that each finds it as new."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

from fastagi.store.schema import metadata

# The names of the tables that have rows.
_FILLED = " UNION ALL ".join(
    f"(SELECT '{table.name}' FROM {table.name} LIMIT 1)"
    for table in metadata.sorted_tables
)
_RESTART = "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence"


def empty_tables(url: str) -> None:
    """Empty every table of a PostgreSQL database, and restart its sequences at 1.

    TRUNCATE writes new files for each table that it names, even for an empty one.
    """
    plain = sa.make_url(url).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False)) as conn:
        filled = [name for (name,) in conn.execute(_FILLED)]
        if filled:
            conn.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
        conn.execute(_RESTART)
