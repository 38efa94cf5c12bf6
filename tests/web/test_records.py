# SPDX-License-Identifier: MIT
"""The read-only connection to the service's database."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.store import migrate, queries
from fastagi.store.engine import Database
from fastagi.store.requests import add
from fastagi.web.records import OtherVersion, Records, RecordsUnavailable, TooSlow
from tests.harness.tables import empty_tables
from tests.store.harness import NOW, new_task

_SLOW = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < 400000000) SELECT count(*) FROM n"
)


@pytest.fixture(scope="module")
def _file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "callbacks.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def path(_file: Path, tmp_path: Path) -> Path:
    """A SQLite file of the service, with all tables."""
    path = tmp_path / "callbacks.db"
    path.write_bytes(_file.read_bytes())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with all tables, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('path')}"
    url: str = request.getfixturevalue("postgresql_with_tables")
    empty_tables(url)
    return url


@pytest.fixture
def make() -> Iterator[Callable[..., Records]]:
    """Make records, which are closed after the test."""
    made = []

    def make(url: str, **more: Any) -> Records:
        made.append(Records(url, **more))
        return made[-1]

    yield make
    for records in made:
        records.close()


def _add(url: str, number: str = "100") -> None:
    database = Database(url, deliver=None)
    database.run_now("add", add, new_task(number), NOW, False)
    database.close()


def _count(conn: sa.Connection) -> int:
    return len(queries.listing(conn, None, None, None, 10))


def _delete(conn: sa.Connection) -> None:
    conn.exec_driver_sql("DELETE FROM mark")


def test_tasks_are_read(url: str, make: Callable[..., Records]) -> None:
    records = make(url)

    async def read() -> list[int]:
        counts = [await records.read(_count)]
        _add(url)
        return [*counts, await records.read(_count)]

    assert asyncio.run(read()) == [0, 1]


def test_nothing_can_be_written(url: str, make: Callable[..., Records]) -> None:
    with pytest.raises(RecordsUnavailable, match=r"read-only|can not be written"):
        asyncio.run(make(url).read(_delete))


def test_a_slow_read_is_ended(url: str, make: Callable[..., Records]) -> None:
    records = make(url, threads=1)

    async def read() -> int:
        with pytest.raises(TooSlow, match=r"more than 0\.2 s"):
            await records.read(lambda conn: conn.scalar(_SLOW), within_s=0.2)
        # Its thread is free again.
        return await records.read(_count)

    assert asyncio.run(read()) == 0


def test_a_read_that_waited_too_long_for_a_thread_does_not_begin(
    path: Path, make: Callable[..., Records]
) -> None:
    records = make(f"sqlite:///{path}", threads=1)
    free = threading.Event()
    begun: list[int] = []

    async def read() -> None:
        first = asyncio.create_task(records.read(lambda _: free.wait(20)))
        second = asyncio.create_task(
            records.read(lambda conn: begun.append(_count(conn)), within_s=0)
        )
        await asyncio.sleep(0)
        free.set()
        await first
        with pytest.raises(TooSlow):
            await second

    asyncio.run(read())
    assert begun == []


def test_too_many_waiting_reads_are_refused_at_once(
    path: Path, make: Callable[..., Records]
) -> None:
    records = make(f"sqlite:///{path}", threads=1, max_waiting=1)
    free = threading.Event()

    async def read() -> None:
        first = asyncio.create_task(records.read(lambda _: free.wait(20)))
        await asyncio.sleep(0)
        with pytest.raises(TooSlow, match="others read the database"):
            await records.read(_count)
        free.set()
        await first
        assert await records.read(_count) == 0

    asyncio.run(read())


def test_a_database_of_another_version_is_named(
    url: str, make: Callable[..., Records]
) -> None:
    engine = sa.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    newest = migrate.newest_version()
    records = make(url)
    try:
        for version, words in (("0001", f"version {newest} is needed"), ("9", "newer")):
            with engine.begin() as conn:
                conn.execute(
                    sa.text(f"UPDATE alembic_version SET version_num='{version}'")
                )
            with pytest.raises(OtherVersion, match=words):
                asyncio.run(records.read(_count))
    finally:
        _set_version(engine, newest)
    assert asyncio.run(records.read(_count)) == 0


def _set_version(engine: sa.Engine, version: str) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")


def test_a_database_without_tables_is_named(
    tmp_path: Path, make: Callable[..., Records]
) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(OtherVersion, match="the database is empty"):
        asyncio.run(make(f"sqlite:///{path}").read(_count))


def test_a_missing_file_is_named_and_not_made(
    tmp_path: Path, make: Callable[..., Records]
) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(RecordsUnavailable, match=f"{path} does not exist"):
        asyncio.run(make(f"sqlite:///{path}").read(_count))
    assert not path.exists()


def test_a_file_that_is_no_database_is_named(
    tmp_path: Path, make: Callable[..., Records]
) -> None:
    path = tmp_path / "text.db"
    path.write_text("a text and no database" * 100)
    with pytest.raises(RecordsUnavailable, match="no database"):
        asyncio.run(make(f"sqlite:///{path}").read(_count))


def test_the_url_with_its_password_is_not_shown() -> None:
    with pytest.raises(RecordsUnavailable) as caught:
        Records("postgresql://me:s3cret@nowhere:port/x")
    assert "s3cret" not in str(caught.value)


def test_a_copy_that_was_put_back_is_read(
    path: Path, make: Callable[..., Records]
) -> None:
    records = make(f"sqlite:///{path}", threads=1)
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    _add(f"sqlite:///{path}")

    async def read() -> list[int]:
        counts = [await records.read(_count)]
        copy.replace(path)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return [*counts, await records.read(_count)]

    assert asyncio.run(read()) == [1, 0]


def test_after_a_read_the_whole_write_ahead_log_can_be_reset(
    path: Path, make: Callable[..., Records]
) -> None:
    """An open connection must not make the service's log grow."""
    records = make(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("INSERT INTO mark VALUES ('x', 1)")
        assert asyncio.run(records.read(_count)) == 0
        writer.execute("INSERT INTO mark VALUES ('y', 1)")
        busy, *_ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0


def test_a_connection_that_the_server_closed_is_replaced(
    postgresql_with_tables: str, make: Callable[..., Records]
) -> None:
    empty_tables(postgresql_with_tables)
    records = make(postgresql_with_tables, threads=1)

    async def read() -> list[int]:
        pids = [await records.read(_backend)]
        _end_session(postgresql_with_tables, pids[0])
        return [*pids, await records.read(_backend)]

    before, after = asyncio.run(read())
    assert before != after


def _backend(conn: sa.Connection) -> int:
    return int(conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def _end_session(url: str, pid: int) -> None:
    engine = sa.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with engine.connect() as conn:
        conn.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
