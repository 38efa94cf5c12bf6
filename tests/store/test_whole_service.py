# SPDX-License-Identifier: MIT
"""The most important tests of the whole service again, with tasks in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.harness import quiet_log as quiet_log
from tests.harness.tables import empty_tables
from tests.harness.world import World
from tests.system import test_callback as callback
from tests.system import test_missed as missed
from tests.system import test_request as request


class _OnPostgreSQL:
    """Makes the test class that it is mixed into use a real server."""

    _url: str

    @pytest.fixture(autouse=True)
    def _server(self, postgresql_with_tables: str) -> None:
        self._url = postgresql_with_tables

    def make_world(self) -> World:
        """Create a world whose tasks are on the server."""
        empty_tables(self._url)
        return World(url=self._url)


class CallbackTests(_OnPostgreSQL, callback.CallbackTests): ...


class AcceptedTests(_OnPostgreSQL, request.AcceptedTests): ...


class FailedTests(_OnPostgreSQL, request.FailedTests): ...


class ServedTests(_OnPostgreSQL, missed.ServedTests): ...
