# SPDX-License-Identifier: MIT
"""What tests of the web process share: an application on an empty database."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from fastagi.web.app import create_app
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.settings import WebSettings
from tests.harness.ram import ram
from tests.web.help import cheap_hashes, settings_in


class _InMemory:
    """Makes directories in memory: a COMMIT on disk waits for the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mktemp(self, basename: str) -> Path:
        """Return a new directory."""
        return Path(tempfile.mkdtemp(prefix=f"{basename}-", dir=self._root))


@pytest.fixture(scope="package", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Compile each statement for SQLite once, not once for each engine of each test.

    A cache belongs to a dialect, so all engines get the same one.
    """
    create = sa.create_engine
    first, cache = create("sqlite://"), {}  # type: ignore[var-annotated]
    first.connect().close()

    def create_engine(*args: Any, **options: Any) -> sa.Engine:
        engine = create(*args, **options)
        if engine.dialect.name == "sqlite":
            engine.dialect = first.dialect
            engine.update_execution_options(compiled_cache=cache)
        return engine

    with mock.patch.object(sa, "create_engine", create_engine):
        yield
    first.dispose()


@pytest.fixture(scope="session")
def tmp_path_factory() -> Iterator[_InMemory]:
    """Makes directories for the tests of a file, in place of pytest's own."""
    root = Path(tempfile.mkdtemp(prefix="callback-web-", dir=ram()))
    yield _InMemory(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def tmp_path(tmp_path_factory: _InMemory) -> Iterator[Path]:
    """A directory for one test, in place of pytest's own."""
    directory = tmp_path_factory.mktemp("test")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def settings(tmp_path: Path) -> WebSettings:
    """Settings whose databases and sockets are in a new directory."""
    return settings_in(tmp_path)


@pytest.fixture
def parts(settings: WebSettings) -> Iterator[WebParts]:
    """All parts of the web process, with an empty database; no service runs."""
    parts = build_parts(settings, hashes=cheap_hashes())
    yield parts
    asyncio.run(parts.close())


@pytest.fixture
def client(parts: WebParts) -> Iterator[TestClient]:
    """A browser, or a program, that has not logged in."""
    with TestClient(
        create_app(parts), base_url=parts.settings.origin, follow_redirects=False
    ) as client:
        yield client
