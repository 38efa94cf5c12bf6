# SPDX-License-Identifier: MIT
"""A service that has no link to an Asterisk leaves it to one that can log in there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from fastagi.node.holdings import LINK_LOST_S, TRY_AGAIN_S, WELL_S
from fastagi.service import instances
from fastagi.store import leases
from tests.emulator.scenarios import Answers
from tests.emulator.wires import Route
from tests.harness.world import ServiceProcess
from tests.system.harness import BOB, NUMBER, TALKS_10S, live_first
from tests.system.two_instances import TwoInstances

#: From the end of :data:`LINK_LOST_S` until another service has a link, if it could log
#: in at once: each tells the other by the lease, and the holder tries once more.
PASSED_ON_S = leases.NODE_RENEW_S + 5
#: How long a link that says nothing is taken for one: two pings, and the time for an
#: answer.
SILENT_S = 2 * 15 + 10
#: What a look at all Asterisks takes at most.
LOOKS_S = 1.5
HAS_NO_LINK = "there has been no link to the Asterisk default for 20 s"
ASKED = "after COMMIT of ask for a node"


class LinkLostTests(TwoInstances):
    def launch(
        self, name: str, prefers: Sequence[str] = (), **more: Any
    ) -> ServiceProcess:
        process = self.world.launch(
            self.settings_of(name, prefers, **more), host=f"host of {name}"
        )
        for endpoint in process.amis.values():
            endpoint.route = Route(self.world.clock)
        self.world.settle()
        return process

    @staticmethod
    def route(process: ServiceProcess) -> Route:
        """Return the way from a service to the Asterisk ``default``."""
        route = process.ami.route
        assert route is not None
        return route

    def cut(self, *processes: ServiceProcess, resets: bool = True) -> None:
        for process in processes:
            self.route(process).cut(resets=resets)
        self.world.settle()

    def b_takes(self, b: ServiceProcess, within_s: float = PASSED_ON_S) -> None:
        self.world.run_until(lambda: "default" in self.held(b), within_s)

    def a_is_without(self) -> tuple[ServiceProcess, ServiceProcess]:
        """Let b get the Asterisk of a, whose link is cut."""
        a, b = self.both()
        self.cut(a)
        self.b_takes(b, LINK_LOST_S + PASSED_ON_S)
        return a, b

    def said(self, text: str) -> int:
        """Return how many lines of the log contain a text."""
        words = (one.get("log_format") or "" for one in self.logged)
        return sum(text in one for one in words)

    def epoch(self) -> int:
        with closing(sqlite3.connect(self.world.directory / "callback.db")) as db:
            name = ("node:default",)
            (epoch,) = db.execute("SELECT epoch FROM lease WHERE name = ?", name)
        return int(epoch[0])

    def only_berlin_has_no_agent(self, **client: Any) -> None:
        self.client.always(Answers(**client))
        self.berlin_support.remove(BOB)

    # -- only the holder has no link ------------------------------------------

    def test_other_one_has_it_after_a_while_and_callbacks_go_on(self) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        a, b = self.both()
        self.cut(a)
        self.add()
        self.world.run(LINK_LOST_S - 0.1)
        self.assertEqual((self.held(a), self.held(b)), ([], ["berlin"]))
        self.assertEqual(b.ami.attempts, 0)

        self.b_takes(b)
        self.world.run(30)
        self.assertEqual(self.held(b), ["default", "berlin"])
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assert_warned(HAS_NO_LINK)
        self.assertEqual(self.said("is asked for it: this one can log in"), 1)
        self.assertEqual(self.said("leaves the Asterisk {name} to the instance"), 1)
        epoch = self.asterisk.astdb["callback-fence", "epoch"]
        self.assertEqual(epoch, str(self.epoch()))

    def test_link_that_only_falls_silent_is_lost_too(self) -> None:
        a, b = self.both()
        self.cut(a, resets=False)
        self.b_takes(b, SILENT_S + LINK_LOST_S + PASSED_ON_S)
        self.assertEqual(self.held(a), [])

    def test_service_that_never_had_a_link_leaves_it(self) -> None:
        a = self.world.launch(self.settings_of("a", ["default"]), host="host of a")
        for endpoint in a.amis.values():
            endpoint.route = Route(self.world.clock)
        self.cut(a)
        self.world.run(3)
        b = self.launch("b", ["berlin"])
        self.b_takes(b, LINK_LOST_S + PASSED_ON_S)

    def test_services_whose_settings_both_name_it_pass_it_on(self) -> None:
        a = self.launch("a", ["default"])
        self.world.run(3)
        b = self.launch("b", ["default"])
        self.world.run(3)
        self.assertEqual((self.held(a), self.held(b)), (["default", "berlin"], []))
        self.cut(a)
        self.b_takes(b, LINK_LOST_S + PASSED_ON_S)
        self.route(a).mend()
        self.world.run(3 * WELL_S)
        self.assertEqual((self.held(a), self.held(b)), (["berlin"], ["default"]))

    def test_only_the_first_of_two_that_ask_gets_it(self) -> None:
        a, b = self.both()
        c = self.launch("c")
        self.world.run(3)
        self.cut(a)
        self.world.run_until(
            lambda: "default" in self.held(b) + self.held(c), LINK_LOST_S + PASSED_ON_S
        )
        self.world.run(10)
        self.assertEqual(sorted(self.held(b) + self.held(c)), ["berlin", "default"])
        self.assertEqual(self.said("is asked for it: this one can log in"), 1)

    def test_status_says_who_has_no_link(self) -> None:
        a, b = self.both()
        self.cut(a, b)
        self.world.run(LINK_LOST_S + LOOKS_S + instances.LOOK_S)
        self.ask_next(b)
        status = self.world.ask("status")["result"]
        ((node,),) = (other["nodes"] for other in status["instances"])
        self.assertEqual(node["name"], "default")
        self.assertTrue(node["link_lost_since"])
        self.assertFalse(status["nodes"][0]["connected"])
        error = status["nodes"][0]["error"]
        self.assertIn("held by the instance a: process", error)
        self.assertIn("; that one has no link to it since ", error)

        self.route(a).mend()
        self.world.run_until(lambda: self.held(a), 40)
        self.world.run(LOOKS_S + instances.LOOK_S)
        status = self.world.ask("status")["result"]
        ((node,),) = (other["nodes"] for other in status["instances"])
        self.assertIsNone(node["link_lost_since"])
        self.assertNotIn("no link", status["nodes"][0]["error"])

    # -- back to the service that names it ---------------------------------------

    def test_goes_back_when_the_service_could_log_in_for_a_minute(self) -> None:
        a, b = self.a_is_without()
        self.world.run(2 * WELL_S)
        self.route(a).mend()
        self.world.run(WELL_S - 1)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))
        self.world.run_until(
            lambda: self.held(a) == ["default"], TRY_AGAIN_S + PASSED_ON_S
        )
        self.world.run(30)
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
        self.assertEqual(self.said("stays with another instance, as this one"), 1)
        self.assertEqual(self.said("log in to the Asterisk {name} again, and asks"), 1)

    def test_service_that_can_log_in_now_and_then_does_not_get_it_back(self) -> None:
        a, b = self.a_is_without()
        for _ in range(6):
            self.route(a).mend()
            self.world.run(TRY_AGAIN_S + 5)
            self.cut(a)
            self.world.run(TRY_AGAIN_S + 5)
            self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))

    # -- nobody, or everybody, has one ---------------------------------------------

    def test_nothing_changes_as_long_as_nobody_can_log_in(self) -> None:
        a, b = self.both()
        epoch = self.epoch()
        self.cut(a, b)
        minutes = 20
        self.world.run(minutes * 60)
        self.assertEqual((self.held(a), self.held(b)), ([], ["berlin"]))
        self.assertEqual(self.epoch(), epoch)
        self.assertNotIn(ASKED, b.points)
        self.assertLessEqual(b.ami.attempts, minutes * 60 / TRY_AGAIN_S)
        self.assertEqual(self.said("can not log in there either"), 1)
        self.assertEqual(self.said("there has been no link to the Asterisk"), 1)

        # Who comes back first has it.
        self.route(a).mend()
        self.world.run_until(lambda: self.held(a) == ["default"], 40)
        self.world.run(2 * WELL_S)
        self.assertEqual(self.epoch(), epoch)
        self.assertEqual(self.said("it stays with this instance"), 1)

    def test_other_one_has_it_as_soon_as_it_can_log_in(self) -> None:
        a, b = self.both()
        self.cut(a, b)
        self.world.run(5 * 60)
        self.route(b).mend()
        self.b_takes(b, TRY_AGAIN_S + PASSED_ON_S)
        self.assertEqual(self.held(a), [])

    def test_link_that_is_lost_again_and_again_for_a_moment_stays(self) -> None:
        a, b = self.both()
        epoch = self.epoch()
        manager = a.service.nodes.first.manager
        self.patch(manager, "_backoff", lambda _failures: 1.0)
        for _ in range(10):
            self.cut(a)
            self.world.run(LINK_LOST_S - 2)
            self.route(a).mend()
            self.world.run_until(lambda: self.held(a) == ["default"], 2)
            self.world.run(1)
        self.assertEqual(self.epoch(), epoch)
        self.assertEqual(b.ami.attempts, 0)

    def test_asterisk_that_was_down_stays_where_it_was(self) -> None:
        a, b = self.both()
        epoch = self.epoch()
        # The holder pauses for long when Asterisk is back.
        manager = a.service.nodes.first.manager
        self.patch(manager, "_backoff", lambda _failures: 300.0)
        self.asterisk.kill()
        self.world.run(LINK_LOST_S + 10)
        self.asterisk.start()
        self.world.run_until(lambda: ASKED in b.points, TRY_AGAIN_S + 5)
        self.world.run_until(lambda: self.held(a) == ["default"], PASSED_ON_S)
        self.world.run(2 * WELL_S)
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
        self.assertEqual(self.epoch(), epoch)
        self.assertEqual(b.points.count(ASKED), 1)

    # -- what is in progress ---------------------------------------------------------

    def test_talk_goes_on_and_is_followed_by_the_new_holder(self) -> None:
        self.only_berlin_has_no_agent(after_s=3, hangs_up_after_s=100)
        a, b = self.both()
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        self.world.run(10)
        self.cut(a)
        self.b_takes(b, LINK_LOST_S + PASSED_ON_S)
        self.world.run(10)
        self.assertEqual(self.world.task().status.value, "calling")
        self.assertEqual(len(b.service.nodes.first.dialer.running), 1)
        self.assertEqual(a.service.nodes.first.dialer.running, {})
        self.world.run(100)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.world.attempts()), 1)

    def test_callback_between_its_beginning_and_the_talk_is_not_waited_for(
        self,
    ) -> None:
        self.only_berlin_has_no_agent(after_s=50, hangs_up_after_s=30)
        a = self.launch("a", ["default"], caller_ring_time="60s")
        b = self.launch("b", ["berlin"], caller_ring_time="60s")
        self.world.run(3)
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        self.cut(a)
        self.b_takes(b, LINK_LOST_S + PASSED_ON_S)
        self.assertEqual(self.world.task().status.value, "calling")
        self.world.run(100)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.alice.rung), 1)

    @live_first
    def test_client_in_a_call_there_is_not_called_meanwhile(self) -> None:
        self.support.remove(*self.members)
        a, b = self.both()
        call = self.asterisk.call("support", NUMBER, queue_timeout_s=None)
        self.world.run(2)
        self.add()
        self.cut(a)
        self.b_takes(b, LINK_LOST_S + PASSED_ON_S)
        self.world.run(30)
        self.assertEqual(self.world.attempts(), [])
        call.hang_up()
        self.world.run_until(lambda: self.berlin_client.rung, 10)
        self.assertEqual(self.rung(), 1)

    @live_first
    def test_call_that_was_on_its_way_when_the_link_was_cut_rings_nobody(self) -> None:
        self.only_berlin_has_no_agent(after_s=3, hangs_up_after_s=10)
        self.alice.busy()
        a, b = self.both()
        self.add()

        def cut(what: str, data: bytes) -> None:
            if what == "AMI" and b"callback-member" in data:
                self.world.listeners.remove(cut)
                self.route(a).cut(resets=False)

        self.world.listeners.append(cut)
        self.alice.busy(False)
        self.world.run_until(lambda: self.world.attempts(), 10)
        self.b_takes(b, SILENT_S + LINK_LOST_S + PASSED_ON_S)
        self.assertEqual(self.rung(), 0)
        self.world.run_until(lambda: self.client.rung, 70)
        self.assertEqual(len(self.asterisk.callbacks), 1)

        self.route(a).mend()
        self.world.run(30)
        self.assert_status("completed")
        self.assertEqual(len(self.asterisk.callbacks), 2)
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.alice.rung), 1)

    def test_task_cancelled_meanwhile_at_another_one_has_one_step_more(self) -> None:
        self.only_berlin_has_no_agent(after_s=50, hangs_up_after_s=30)
        a = self.launch("a", ["default"], caller_ring_time="60s")
        b = self.launch("b", ["berlin"], caller_ring_time="60s")
        self.world.run(3)
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        self.cut(a, b)
        self.ask_next(b)
        self.world.ask("tasks.cancel", id=1)
        before = len(self.world.history(1))
        self.world.run(15)
        self.assertEqual(len(self.world.history(1)), before + 1)

        self.route(a).mend()
        self.world.run(30)
        self.assert_status("cancelled")
        self.assertIsNone(self.client.rung[0].answered_at)

    # -- trouble in the middle of it -------------------------------------------------

    def test_link_that_is_back_in_the_middle_of_it_rings_nobody_twice(self) -> None:
        for step, keeps in (("who asks for a node", True), ("pass on a node", False)):
            with self.subTest(step):
                self.only_berlin_has_no_agent(after_s=3, hangs_up_after_s=60)
                a, b = self.both()
                manager = a.service.nodes.first.manager
                self.patch(manager, "_backoff", lambda _failures: 0.2)
                self.add()
                self.world.run_until(lambda: self.client.rung, 10)
                self.cut(a)
                begun: list[str] = []

                def takes_s(name: str, step: str = step, begun: Any = begun) -> float:
                    begun.append(name)
                    return 1.0 if name == step else 0.0

                a.database.takes_s = takes_s
                self.world.run_until(
                    lambda step=step, begun=begun: step in begun,
                    LINK_LOST_S + PASSED_ON_S,
                )
                self.route(a).mend()
                self.world.run(20)
                holder = (["default"], ["berlin"]) if keeps else ([], ["default"])
                self.assertEqual((self.held(a), self.held(b)[: len(holder[1])]), holder)
                self.world.run(80)
                self.assert_status("completed")
                self.assertEqual(self.rung(), 1)
                self.assertEqual(len(self.world.attempts()), 1)
                self.again()

    def test_service_that_ends_after_it_has_asked_is_not_waited_for(self) -> None:
        a, b = self.both()
        self.cut(a)
        self.world.run_until(lambda: ASKED in b.points, LINK_LOST_S + PASSED_ON_S)
        b.kill()
        c = self.launch("c")
        self.world.run_until(
            lambda: "default" in self.held(c),
            leases.LENGTH_S + PASSED_ON_S,
        )

    def test_holder_that_is_killed_meanwhile_rings_nobody_twice(self) -> None:
        for when in ("before", "after"):
            with self.subTest(when):
                self.only_berlin_has_no_agent(after_s=3, hangs_up_after_s=100)
                a, b = self.both()
                self.add()
                self.world.run_until(lambda: self.client.rung, 10)
                self.cut(a)
                a._kill_at = f"{when} COMMIT of pass on a node".__eq__
                self.b_takes(b, LINK_LOST_S + PASSED_ON_S + leases.NODE_LENGTH_S)
                self.assertTrue(a.dead)
                self.world.run(120)
                self.ask_next(b)
                self.assert_status("completed")
                self.assertEqual(self.rung(), 1)
                self.assertEqual(len(self.world.attempts()), 1)
                self.again()

    def test_database_that_is_away_for_a_moment_delays_it_only(self) -> None:
        a, b = self.both()
        self.cut(a)
        a.database.broken["tell of a link"] = "away"
        self.world.run(LINK_LOST_S + 30)
        self.assertEqual(self.held(b), ["berlin"])
        self.assertEqual(b.ami.attempts, 0)
        del a.database.broken["tell of a link"]
        self.b_takes(b)

    def test_service_that_stops_leaves_it_at_once_without_a_link(self) -> None:
        a, b = self.both()
        self.cut(a)
        self.world.run(LINK_LOST_S + LOOKS_S)
        a.stop()
        self.b_takes(b, 3)
        self.assertEqual(a.stopped, [None])
