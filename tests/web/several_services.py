# SPDX-License-Identifier: MIT
"""Puts several services into a database, as they tell it of themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fastagi import __version__
from fastagi.config.agreement import Shared, digest_of
from fastagi.store import schema
from fastagi.store.backends import backend_for

#: The process that the live state of tests names as the holder of the lease.
HOST, PID = "pbx", 812


def add_services(url: str, now: float | None = None) -> None:
    """Let the services a, b and c share a database.

    ``a`` is the one that is asked; it holds pbx1, and pbx2 without a link. ``b`` has
    other settings and holds nothing. ``c`` ended two minutes ago. Nobody holds pbx3.
    """
    now = time.time() if now is None else now
    engine = backend_for(url).engine
    with engine.begin() as conn:
        _add(conn, "a", now, nodes=("pbx1", "pbx2"), host=HOST, pid=PID)
        _add(conn, "b", now, attempts=5, host="pbx-b", pid=77)
        _add(conn, "c", now, gone_s=120, version="0.1.9")
    engine.dispose()


def _add(
    conn: sa.Connection,
    name: str,
    now: float,
    *,
    nodes: Sequence[str] = (),
    attempts: int = 3,
    host: str = "",
    pid: int = 0,
    gone_s: float = 0.0,
    version: str = __version__,
) -> None:
    shared = Shared(
        {"nodes": ["pbx1", "pbx2", "pbx3"]},
        {queue: {"attempts": attempts} for queue in ("support", "sales")},
    ).as_json()
    row = {
        "name": name,
        "version": version,
        "settings": shared,
        "digest": digest_of(shared),
        "seen_at": now - (gone_s or 30.0),
    }
    conn.execute(schema.instance.insert(), row)
    lease: Mapping[str, Any] = {
        "host": host,
        "boot_id": "boot",
        "pid": pid,
        "pid_space": "pid:[1]",
        "process_start": "1",
        "token": f"token of {name}",
        "since": now - 3600,
        "epoch": 1,
        "valid_until": now - gone_s if gone_s else now + 600,
    }
    for of in (f"instance:{name}", *(f"node:{node}" for node in nodes)):
        lost_at = now - 60 if of == "node:pbx2" else None
        row = {**lease, "name": of, "link_lost_at": lost_at}
        conn.execute(schema.lease.insert(), row)
