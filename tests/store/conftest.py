# SPDX-License-Identifier: MIT
"""A fresh database for each test that asks for one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.schema import metadata
from fastagi.store.store import TaskStore
from tests.store.harness import Loop, done

#: An empty PostgreSQL database that tests may make schemas in.
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "")


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where a test's SQLite file is to be; it does not exist yet."""
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


@contextmanager
def _postgres_schema() -> Iterator[str]:
    """Make a schema of its own and yield the URL that leads into it."""
    if not POSTGRES:
        pytest.skip("TEST_POSTGRES_URL is not set")
    schema = f"test_{uuid.uuid4().hex}"
    parsed = sa.make_url(POSTGRES).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(parsed, poolclass=sa.NullPool)
    with engine.begin() as conn:
        conn.exec_driver_sql(f"CREATE SCHEMA {schema}")
    url = parsed.set(drivername="postgresql").update_query_dict(
        {"options": f"-c search_path={schema}"}
    )
    yield url.render_as_string(hide_password=False)
    with engine.begin() as conn:
        conn.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def empty_postgres_url() -> Iterator[str]:
    """The URL of a schema with nothing in it."""
    with _postgres_schema() as url:
        yield url


@pytest.fixture(scope="session")
def _shared_postgres_url() -> Iterator[str]:
    with _postgres_schema() as url:
        migrate.upgrade(url)
        yield url


@pytest.fixture
def postgres_url(_shared_postgres_url: str) -> str:
    """The URL of a schema that has all tables and no rows."""
    database = Database(_shared_postgres_url, deliver=None)
    names = ", ".join(table.name for table in metadata.sorted_tables)
    database.run_now(
        "clear",
        lambda conn: (
            conn.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY").rowcount
        ),
    )
    done(database.close())
    return _shared_postgres_url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with nothing in it, on each engine."""
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
    """A database without a thread: all is done when it is asked for."""
    database = Database(url, deliver=None)
    yield database
    done(database.close())


@pytest.fixture
def store(database: Database) -> TaskStore:
    """A store on it."""
    return TaskStore(database)


@pytest.fixture
def loop() -> Loop:
    """What stands in for the reactor."""
    return Loop()


@pytest.fixture
def threaded(url: str, loop: Loop) -> Iterator[Database]:
    """A database with its thread, as in the service."""
    database = Database(url, deliver=loop.deliver)
    yield database
    loop.wait(database.close())
