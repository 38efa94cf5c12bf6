# SPDX-License-Identifier: MIT
"""After a start, the first call waits for nothing that is used for the first time."""

from __future__ import annotations

from typing import Any, Final
from unittest import mock

from fastagi.store import statements
from fastagi.store.engine import Database
from tests.emulator.scenarios import NO_ANSWER
from tests.harness.world import ServiceProcess
from tests.system.harness import (
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
)

#: How long the warm-up takes here, at most, in seconds.
_TAKES_S: Final = 3.0


class WarmUpTests(ServiceTestCase):
    """The statements that a process compiles, apart from those of other tests."""

    def setUp(self) -> None:
        super().setUp()
        self.compiled: dict[Any, Any] = {}

    def begin_cold(self, **values: Any) -> ServiceProcess:
        """Start a service that has compiled nothing yet."""
        with mock.patch("tests.harness.world._compiled", self.compiled):
            process = self.begin(queue_settings(**values))
        # Nobody waits for what this does.
        process.service._upkeep.stop()
        return process

    def begin_warm(self, **values: Any) -> ServiceProcess:
        """Start a service, and let it warm up."""
        process = self.begin_cold(**values)
        process.service.warm_up()
        self.world.run(_TAKES_S)
        return process

    def compiled_by_calls(self) -> list[str]:
        """Return the statements that many kinds of calls compile."""
        before = set(self.compiled)
        # Missed and called back; requested and not reached; requested and served.
        self.alice.busy()
        self.miss()
        self.alice.busy(False)
        self.world.run(60)
        self.client.will(NO_ANSWER)
        self.request()
        self.request("0307654321")
        self.world.run(60)
        self.alice.busy()
        self.request("0301111111")
        self.request("0301111111")
        self.alice.busy(False)
        self.call("0301111111")
        self.world.run(120)
        # Too old.
        self.alice.busy()
        self.miss("0302222222")
        self.world.run(6 * 3600)
        statuses = {task.status.value for task in self.world.tasks()}
        self.assertLessEqual({"completed", "expired"}, statuses)
        return [str(self.compiled[key]) for key in set(self.compiled) - before]

    def test_no_call_compiles_a_statement(self) -> None:
        self.begin_warm()
        self.assertEqual(self.compiled_by_calls(), [])

    @live_first
    def test_no_call_compiles_a_statement_with_live_first(self) -> None:
        self.begin_warm()
        self.assertEqual(self.compiled_by_calls(), [])

    def test_without_it_calls_compile_many(self) -> None:
        self.begin_cold()
        self.world.run(_TAKES_S)
        self.assertGreater(len(self.compiled_by_calls()), 10)

    def test_it_stores_nothing(self) -> None:
        process = self.begin_cold()
        self.world.run(_TAKES_S)
        process.points.clear()
        requests = self.world.requests
        process.service.warm_up()
        self.world.run(_TAKES_S)
        self.assertGreater(
            len(self.compiled), len(list(statements.of_calls("sqlite"))) / 2
        )
        self.assertEqual([one for one in process.points if "COMMIT" in one], [])
        self.assertEqual(self.world.requests, requests)

    def test_it_waits_while_requests_wait_for_the_database(self) -> None:
        process = self.begin_cold()
        self.world.run(_TAKES_S)
        before = len(self.compiled)
        with mock.patch.object(Database, "is_idle", new=False):
            process.service.warm_up()
            self.world.run(_TAKES_S)
            self.assertEqual(len(self.compiled), before)
        self.world.run(_TAKES_S)
        self.assertGreater(len(self.compiled), before)

    def test_it_ends_with_the_service(self) -> None:
        # `check_stops` finds what is left.
        process = self.begin_cold()
        process.service.warm_up()
        self.world.run(0.6)

    def test_calls_in_the_middle_of_it_are_as_ever(self) -> None:
        process = self.begin_cold()
        process.service.warm_up()
        self.client.always(TALKS_10S)
        self.alice.busy()
        self.miss()
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.world.task().number, NUMBER)
