# SPDX-License-Identifier: MIT
"""Services on one PostgreSQL wake each other."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.store import notices
from fastagi.store.engine import Database
from fastagi.store.notices import Notices
from tests.store.harness import done

WITHIN_S = 20.0


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    made = Database(postgres_url, deliver=None)
    yield made
    done(made.close())


@contextmanager
def listening(url: str, name: str) -> Iterator[queue.Queue[str]]:
    """Yield what is heard, by the listener's name; the first one is of the connect."""
    heard: queue.Queue[str] = queue.Queue()

    def deliver(function: Callable[..., object], *args: Any) -> None:
        function(*args)

    listener = Notices(url, name=name, deliver=deliver, heard=lambda: heard.put(name))
    listener.start()
    heard.get(timeout=WITHIN_S)
    yield heard
    listener.stop()


def send(database: Database, sender: str) -> None:
    database.run_now("notify", notices.send, sender)


def test_others_are_woken_and_the_sender_is_not(
    database: Database, postgres_url: str
) -> None:
    with listening(postgres_url, "a") as a, listening(postgres_url, "b") as b:
        send(database, "a")
        assert b.get(timeout=WITHIN_S) == "b"
        send(database, "b")
        # The server keeps the order, so a's own notice would have come before.
        assert a.get(timeout=WITHIN_S) == "a"
        assert a.empty()


def test_lost_connection_is_made_again_and_that_wakes_too(
    database: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_RETRY_S", 0.05)
    end_all = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    )
    with listening(postgres_url, "a") as a:
        database.run_now("end", lambda conn: conn.execute(end_all).close())
        a.get(timeout=WITHIN_S)
        send(database, "b")
        a.get(timeout=WITHIN_S)
