# SPDX-License-Identifier: MIT
"""Hooks, database servers and the profile of hypothesis, for all tests.

A database server is installed if it is missing. The first test in each process that
asks for one starts it. Where that is not possible the test fails, it is not skipped.

Hypothesis tries the same examples in every run, so that an old fault stops nobody who
changes something else; ``HYPOTHESIS_PROFILE=explore`` searches for new ones. A single
example has no deadline, as the machine's speed says nothing about the code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest
from hypothesis import settings

from fastagi.garbage import exclude_existing_objects
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
    """Register the mark that tests of all folders use."""
    config.addinivalue_line("markers", "stopwatch: milliseconds count; runs alone")


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collections.

    A collection would visit twelve thousand tests, and Python would leave garbage of a
    quarter of their size uncollected.
    """
    exclude_existing_objects()


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Give each test the usual umask, whatever a command has set."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server. A test that stops or freezes it must start it again."""
    yield from _started(PostgreSQL)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server. A test that stops or freezes it must start it again."""
    yield from _started(MariaDB)


def _started(kind: type[S]) -> Iterator[S]:
    try:
        # Another process may be installing them, or has done so.
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
    """The URL of an empty PostgreSQL database, dropped after the test."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_with_tables(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of a PostgreSQL database with the service's tables, shared by tests."""
    with postgresql.database() as url:
        migrate.upgrade(url)
        yield url


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """The URL of an empty MariaDB database, dropped after the test."""
    with mariadb.database() as url:
        yield url
