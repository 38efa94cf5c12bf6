# SPDX-License-Identifier: MIT
"""The web process's own database: versions, reads, writes, locks, both engines."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fastagi.store.errors import StoreUnavailable
from fastagi.web.state import versions
from fastagi.web.state.schema import SECRETS, VERSION
from fastagi.web.state.state import State


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/web.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest) -> Iterator[State]:
    name = "url" if request.param == "sqlite" else "postgresql_url"
    address = request.getfixturevalue(name)
    versions.prepare(address)
    state = State(address)
    yield state
    state.close()


def _version(conn: sa.Connection) -> int:
    return conn.execute(sa.select(VERSION.c.version)).scalar_one()


def _set_version(conn: sa.Connection, version: int) -> int:
    conn.execute(VERSION.update().values(version=version))
    return _version(conn)


def test_the_file_is_only_for_its_owner(url: str, tmp_path: Path) -> None:
    versions.prepare(url)
    mode = (tmp_path / "web.sqlite3").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_what_is_deleted_is_overwritten_in_the_file(url: str, tmp_path: Path) -> None:
    versions.prepare(url)
    state = State(url)
    secret = b"number-to-be-overwritten"

    def add(conn: sa.Connection) -> None:
        conn.execute(SECRETS.insert().values(name="x", value=secret))

    def delete(conn: sa.Connection) -> None:
        conn.execute(SECRETS.delete())

    asyncio.run(state.write(add))
    asyncio.run(state.write(delete))
    # The log of writes goes into the file when the last connection is closed.
    state.close()
    assert secret not in (tmp_path / "web.sqlite3").read_bytes()


def test_what_a_write_returned_is_committed(state: State) -> None:
    async def main() -> None:
        assert await state.write(_set_version, 7) == 7
        assert await state.read(_version) == 7

    asyncio.run(main())


def test_a_read_changes_nothing(state: State) -> None:
    async def main() -> None:
        assert await state.read(_set_version, 7) == 7
        assert await state.read(_version) == versions.LATEST

    asyncio.run(main())


def test_a_write_that_fails_changes_nothing_and_the_next_one_works(
    state: State,
) -> None:
    def fails(conn: sa.Connection) -> None:
        _set_version(conn, 7)
        raise ValueError("refused")

    async def main() -> None:
        with pytest.raises(ValueError, match="refused"):
            await state.write(fails)
        assert await state.read(_version) == versions.LATEST
        assert await state.write(_set_version, 8) == 8

    asyncio.run(main())


def test_a_broken_statement_fails_and_the_next_one_works(state: State) -> None:
    def broken(conn: sa.Connection) -> None:
        conn.execute(sa.text("SELECT nothing FROM nowhere"))

    async def main() -> None:
        with pytest.raises((StoreUnavailable, sa.exc.DBAPIError)):
            await state.read(broken)
        assert await state.read(_version) == versions.LATEST

    asyncio.run(main())


def test_a_write_waits_for_another_process(url: str, tmp_path: Path) -> None:
    versions.prepare(url)
    state = State(url)
    other = sqlite3.connect(
        tmp_path / "web.sqlite3", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.rollback)
    timer.start()

    async def main() -> None:
        assert await state.write(_set_version, 7) == 7

    asyncio.run(main())
    timer.join()
    other.close()
    state.close()


def test_a_database_of_a_later_version_is_left_alone(url: str) -> None:
    versions.prepare(url)
    state = State(url)
    asyncio.run(state.write(_set_version, versions.LATEST + 1))
    state.close()
    with pytest.raises(versions.NewerState, match="install the later version"):
        versions.prepare(url)


def test_a_second_preparation_changes_nothing(url: str) -> None:
    versions.prepare(url)
    versions.prepare(url)
    state = State(url)
    assert asyncio.run(state.read(_version)) == versions.LATEST
    state.close()


def test_every_version_has_its_step() -> None:
    assert set(versions.STEPS) == set(range(2, versions.LATEST + 1))
