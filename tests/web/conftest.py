# SPDX-License-Identifier: MIT
"""What tests of the web process share: an application on an empty database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fastagi.web.app import create_app
from fastagi.web.parts import WebParts, build_parts
from fastagi.web.settings import WebSettings
from tests.web.help import cheap_hashes, settings_in


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
