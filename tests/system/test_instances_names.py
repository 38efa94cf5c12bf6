# SPDX-License-Identifier: MIT
"""Two Asterisks that different services hold have the same systemname, or none."""

from __future__ import annotations

from fastagi.domain.attempt import Disposition
from tests.emulator.scenarios import Answers
from tests.harness.world import ServiceProcess
from tests.system.harness import ALICE, BOB, TALKS_10S
from tests.system.two_instances import TwoInstances

TAKEN = "the Asterisk berlin has the same systemname as default"


class NamesTests(TwoInstances):
    def setUp(self) -> None:
        super().setUp()
        self.client.always(TALKS_10S)
        self.asterisk.system_name = self.berlin.system_name = ""

    def error(self, process: ServiceProcess, node: str) -> str:
        """Return what a service says of an Asterisk in its status."""
        self.ask_next(process)
        nodes = self.world.ask("status")["result"]["nodes"]
        (error,) = [one["error"] for one in nodes if one["name"] == node]
        return str(error)

    def test_second_one_places_no_call_until_the_first_has_its_own_name(self) -> None:
        self.support.remove(ALICE)
        a, b = self.both()
        self.add()
        self.world.run(30)
        self.assertEqual(self.world.attempts(), [])
        why = self.world.ask("tasks.show", id=1)["result"]["task"]["why_not_yet"]
        self.assertEqual(why["code"], "systemname_taken")
        self.assert_warned(TAKEN)
        self.assertIn(TAKEN, self.error(b, "berlin"))
        self.assertEqual(self.error(a, "default"), "")

        self.asterisk.system_name = "pbx1"
        self.asterisk.cut_links()
        self.world.run_until(lambda: self.berlin_client.rung, 60)
        self.world.run(30)
        self.assert_status("completed")
        self.assertEqual(self.error(b, "berlin"), "")
        self.assertEqual(self.error(a, "default"), "")

    def test_first_one_places_calls(self) -> None:
        self.berlin_support.remove(BOB)
        self.both()
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)

    def test_first_one_keeps_the_name_when_another_service_takes_it_over(self) -> None:
        a, b = self.both()
        a.kill()
        self.world.run_until(lambda: len(self.held(b)) == 2, 12)
        self.world.run(10)
        self.assertIn(TAKEN, self.error(b, "berlin"))
        self.assertEqual(self.error(b, "default"), "")
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)

    def test_first_one_keeps_the_name_when_it_is_passed_on(self) -> None:
        b = self.launch("b")
        self.world.run(3)
        self.assertIn(TAKEN, self.error(b, "berlin"))
        a = self.launch("a", ["default"])
        self.world.run_until(lambda: self.held(a) == ["default"], 80)
        self.world.run(30)
        self.assertIn(TAKEN, self.error(b, "berlin"))
        self.assertEqual(self.error(a, "default"), "")

    def test_second_one_places_calls_when_the_first_is_gone(self) -> None:
        self.support.remove(ALICE)
        a, b = self.both()
        self.asterisk.kill()
        self.add()
        self.world.run(290)
        self.assertFalse(self.bob.rung)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.error(b, "berlin"), "")
        # The other one is blocked when it is back.
        self.asterisk.start()
        self.world.run(60)
        self.assertIn("same systemname as berlin", self.error(a, "default"))
        self.assertEqual(self.error(b, "berlin"), "")

    def test_second_one_places_calls_when_nobody_holds_the_first_for_long(self) -> None:
        self.support.remove(ALICE)
        a = self.launch("a", ["default"], nodes=("default",))
        b = self.launch("b", ["berlin"], nodes=("berlin",))
        self.world.run(3)
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
        self.add()
        a.kill()
        self.world.run(290)
        self.assertFalse(self.bob.rung)
        self.world.run(80)
        self.assert_status("completed")

    def test_second_one_follows_its_own_calls(self) -> None:
        self.support.remove(ALICE)
        self.berlin.system_name = "berlin"
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        _a, b = self.both()
        self.add()
        self.world.run(20)
        self.berlin.system_name = ""
        self.berlin.cut_links()
        self.world.run(30)
        self.assertIn(TAKEN, self.error(b, "berlin"))
        self.assert_status("calling")
        self.world.run(90)
        (attempt,) = self.world.attempts()
        self.assertIs(attempt.disposition, Disposition.ANSWERED)
        self.assert_status("completed")

    def test_no_call_is_placed_before_the_database_has_told_the_name(self) -> None:
        self.berlin_support.remove(BOB)
        a = self.launch("a", ["default"])
        a.database.broken["claim a systemname"] = "away"
        self.world.run(3)
        self.add()
        self.world.run(30)
        self.assertEqual(self.world.attempts(), [])
        del a.database.broken["claim a systemname"]
        self.world.run(60)
        self.assert_status("completed")
        self.flushLoggedErrors()
