# SPDX-License-Identifier: MIT
"""The whole service with its tasks in PostgreSQL: what matters most, once more."""

from __future__ import annotations

import pytest

from tests.harness import quiet_log as quiet_log
from tests.harness.tables import empty_tables
from tests.harness.world import World
from tests.system import test_callback as callback
from tests.system import test_missed as missed
from tests.system import test_request as request


class _OnPostgreSQL:
    """Has the tests it is mixed into use a real server."""

    _url: str

    @pytest.fixture(autouse=True)
    def _server(self, postgresql_with_tables: str) -> None:
        self._url = postgresql_with_tables

    def make_world(self) -> World:
        """Make a world of which the tasks are on the server."""
        empty_tables(self._url)
        return World(url=self._url)


class CallbackTests(_OnPostgreSQL, callback.CallbackTests): ...


class AcceptedTests(_OnPostgreSQL, request.AcceptedTests): ...


class FailedTests(_OnPostgreSQL, request.FailedTests): ...


class ServedTests(_OnPostgreSQL, missed.ServedTests): ...
