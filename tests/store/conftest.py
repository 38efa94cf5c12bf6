# SPDX-License-Identifier: MIT
"""An empty database for each test that asks for one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.harness.tables import empty_tables
from tests.store.harness import Loop, done


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """The path of a test's SQLite file, which does not exist yet."""
    return tmp_path / "callbacks.db"


@pytest.fixture(scope="session")
def _sqlite_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "empty.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_sqlite_with_tables: Path, sqlite_path: Path) -> str:
    """The URL of a SQLite file that has all tables."""
    shutil.copy2(_sqlite_with_tables, sqlite_path)
    return f"sqlite:///{sqlite_path}"


@pytest.fixture
def empty_postgres_url(postgresql_url: str) -> str:
    """The URL of a PostgreSQL database without tables."""
    return postgresql_url


@pytest.fixture
def postgres_url(postgresql_with_tables: str) -> str:
    """The URL of a PostgreSQL database that has all tables and no rows."""
    empty_tables(postgresql_with_tables)
    return postgresql_with_tables


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_path')}"
    return request.getfixturevalue("empty_postgres_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with all tables and no rows, on each engine."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return request.getfixturevalue(name)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database without a thread: each request is done before `run` returns."""
    database = Database(url, deliver=None)
    yield database
    done(database.close())


@pytest.fixture
def store(database: Database) -> TaskStore:
    """A store on this database."""
    return TaskStore(database)


@pytest.fixture
def loop() -> Loop:
    """A replacement for the reactor."""
    return Loop()


@pytest.fixture
def threaded(url: str, loop: Loop) -> Iterator[Database]:
    """A database with its thread, as in the service."""
    database = Database(url, deliver=loop.deliver)
    yield database
    loop.wait(database.close())
