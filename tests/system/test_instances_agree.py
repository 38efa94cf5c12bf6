# SPDX-License-Identifier: MIT
"""Several services tell each other their settings, and warn if they differ."""

from __future__ import annotations

from typing import Any

import attrs

from fastagi import __version__
from fastagi.config.sections import LimitSettings, LogLevel, LogSettings
from fastagi.service import instances
from fastagi.store import lease_rows
from tests.harness.world import ServiceProcess, queue_settings
from tests.system.two_instances import TwoInstances

DIFFER = "all services on one database should have the same settings"


class AgreeTests(TwoInstances):
    def differing(self) -> list[str]:
        return [warning for warning in self.warnings() if DIFFER in warning]

    def status(self, process: ServiceProcess) -> Any:
        self.ask_next(process)
        return self.world.ask("status")["result"]

    def other(self, process: ServiceProcess) -> Any:
        (other,) = self.status(process)["instances"]
        return other

    def test_difference_is_warned_of_once_and_shown_until_they_agree(self) -> None:
        a = self.launch("a", ["default"], attempts=5)
        b = self.launch("b", ["berlin"], attempts=3)
        self.world.run(2 * instances.LOOK_S)
        there = "queues.support.attempts is 5 here and 3 at instance b (host of b)"
        here = "queues.support.attempts is 3 here and 5 at instance a (host of a)"
        self.assertEqual(self.differing(), [f"{DIFFER}: {here}", f"{DIFFER}: {there}"])
        self.world.run(300)
        self.assertEqual(len(self.differing()), 2)
        self.assertEqual(
            self.other(a)["differences"],
            [
                {
                    "name": "queues.support.attempts",
                    "here": 5,
                    "there": 3,
                    "more_queues": 0,
                    "words": there,
                }
            ],
        )

        b.service.settings.replace(self.settings_of("b", ["berlin"], attempts=5))
        self.world.run(2 * instances.LOOK_S)
        for process in (a, b):
            self.assertEqual(self.other(process)["differences"], [])
        self.assertEqual(len(self.differing()), 2)

        b.service.settings.replace(self.settings_of("b", ["berlin"], attempts=4))
        self.world.run(2 * instances.LOOK_S)
        self.assertEqual(len(self.differing()), 4)

    def test_what_depends_on_the_machine_may_differ(self) -> None:
        self.launch("a", ["default"])
        own = attrs.evolve(
            self.settings_of("b", ["berlin"]), log=LogSettings(level=LogLevel.DEBUG)
        )
        self.world.launch(own, host="host of b")
        self.world.run(60)
        self.assertEqual(self.differing(), [])

    def test_several_are_told_in_one_line(self) -> None:
        self.launch("a", ["default"])
        other = attrs.evolve(
            self.settings_of("b", ["berlin"], nodes=["berlin", "default"]),
            limits=LimitSettings(calls_per_number=7),
        )
        self.world.launch(other, host="host of b")
        self.world.run(60)
        said = self.differing()
        self.assertEqual(len(said), 2, said)
        self.assertIn(
            'nodes is ["berlin", "default"] here and ["default", "berlin"] at'
            " instance a (host of a); limits.calls_per_number is 7 here and 10 at",
            said[0],
        )

    def test_difference_of_all_queues_is_told_once(self) -> None:
        names = [f"q{index}" for index in range(25)]
        for name, attempts in (("a", 5), ("b", 3)):
            own = attrs.evolve(
                self.settings_of(name),
                queues={one: queue_settings(one, attempts=attempts) for one in names},
            )
            self.world.launch(own, host=f"host of {name}")
        self.world.run(2 * instances.LOOK_S)
        words = "queues.q0.attempts (and of 24 more queues) is"
        self.assertEqual(
            sorted(self.differing()),
            [
                f"{DIFFER}: {words} 3 here and 5 at instance a (host of a)",
                f"{DIFFER}: {words} 5 here and 3 at instance b (host of b)",
            ],
        )

    def test_settings_of_one_that_has_stopped_for_long_do_not_count(self) -> None:
        a = self.launch("a", ["default"], attempts=5)
        b = self.launch("b", ["berlin"], attempts=3)
        self.world.run(2 * instances.LOOK_S)
        b.kill()
        self.world.run(60)
        self.assertEqual(len(self.other(a)["differences"]), 1)
        self.world.run(lease_rows.COUNTS_S + 60)
        other = self.other(a)
        self.assertEqual(other["differences"], [])
        self.assertEqual(
            (other["running"], other["host"], other["since"], other["nodes"]),
            (False, None, None, []),
        )
        self.assertEqual(len(self.differing()), 2)

    def test_status_shows_which_asterisks_the_others_hold(self) -> None:
        a, b = self.both()
        self.world.run(instances.LOOK_S)
        status = self.status(a)
        self.assertEqual(status["instance"], "a")
        (other,) = status["instances"]
        self.assertEqual(other["name"], "b")
        self.assertEqual(other["version"], __version__)
        self.assertEqual(other["host"], "host of b")
        self.assertTrue(other["running"])
        self.assertEqual([one["name"] for one in other["nodes"]], ["berlin"])
        b.kill()
        self.world.run(60)
        other = self.other(a)
        self.assertEqual((other["running"], other["nodes"]), (False, []))

    def test_database_that_fails_for_a_while_hides_no_difference(self) -> None:
        self.launch("a", ["default"], attempts=5)
        b = self.world.launch(self.settings_of("b", ["berlin"], attempts=3), host="b")
        b.database.broken["tell others"] = "away"
        self.world.run(30)
        self.assertEqual(self.differing(), [])
        del b.database.broken["tell others"]
        self.world.run(30)
        self.assertEqual(len(self.differing()), 2)
        self.flushLoggedErrors()

    def test_service_that_is_alone_tells_nobody(self) -> None:
        process = self.begin()
        self.world.run(60)
        status = self.status(process)
        self.assertEqual((status["instance"], status["instances"]), ("", []))
        self.assertNotIn("after COMMIT of tell others", process.points)
