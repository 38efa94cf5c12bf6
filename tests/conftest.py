# SPDX-License-Identifier: MIT
"""What holds wherever the tests are started from: hooks, servers, hypothesis' profile.

A database server is installed, if it is missing, and started by the first test that
asks for one, once in each process that runs tests; where that is not possible it is an
error and not a skip.

Hypothesis looks at the same examples in every run, so that who changes something else
is not stopped by an old fault; ``HYPOTHESIS_PROFILE=explore`` looks for new ones. There
is no deadline for a single example: how fast the machine is says nothing of the code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest
from hypothesis import settings

from fastagi.store import migrate
from tests.lab.databases import DatabaseServer, MariaDB, PostgreSQL
from tests.lab.errors import LabError
from tests.lab.install import install
from tests.lab.summary import pytest_terminal_summary

S = TypeVar("S", bound=DatabaseServer)

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

__all__ = ["pytest_terminal_summary"]


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means that tests in every folder have."""
    config.addinivalue_line("markers", "stopwatch: milliseconds count; runs alone")


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Give each test the usual umask, whatever a command has made of it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server; whoever stops or freezes it starts it again."""
    yield from _started(PostgreSQL)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server; whoever stops or freezes it starts it again."""
    yield from _started(MariaDB)


def _started(kind: type[S]) -> Iterator[S]:
    try:
        # Others may be at it, or done.
        install(["databases"])
        server = kind()
    except LabError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, gone after the test."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_with_tables(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of a PostgreSQL database with our tables, which tests share."""
    with postgresql.database() as url:
        migrate.upgrade(url)
        yield url


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """The URL of an empty MariaDB database, gone after the test."""
    with mariadb.database() as url:
        yield url
