# SPDX-License-Identifier: MIT
"""The live state: one snapshot, then changes, whatever happens."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from fastagi.domain.turns import Fairness
from fastagi.runtime.background import Stopping
from fastagi.service import live_state
from fastagi.service.live import TooSlow
from fastagi.store import writers
from tests.emulator.scenarios import NO_ANSWER, Answers
from tests.harness.live_view import LiveView, without_estimates
from tests.harness.world import START
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
)


class LiveTestCase(ServiceTestCase):
    """Somebody who looks on."""

    def look_on(self) -> LiveView:
        """Subscribe, and wait for the snapshot."""
        view = LiveView(self.live.subscribe(), lambda: self.world.t)
        self.world.run_until(lambda: view.state is not None, 10)
        return view

    @property
    def live(self) -> live_state.LiveState:
        """The live state of the running service."""
        return self.world.processes[-1].service.live

    def fresh(self) -> dict[str, Any]:
        """Return a snapshot as somebody gets it who was never here before."""
        service = self.world.processes[-1].service
        live = live_state.LiveState(
            store=service.live._store,
            clock=service.live._clock,
            background=service.live._background,
            settings=service.live._settings,
            owner=service.live._owner,
            nodes=service.live._nodes,
            task_states=service.live._task_states,
            outlook=service.live._outlook,
            sinks=service.live._sinks,
        )
        live.started_at = service.live.started_at
        view = LiveView(live.subscribe(), lambda: self.world.t)
        self.world.run_until(lambda: view.state is not None, 10)
        live.stop()
        assert view.state is not None
        return view.state

    def assert_view(self, view: LiveView) -> dict[str, Any]:
        """Check that a view is as a new snapshot once nothing happens any more."""
        self.world.run(1)
        assert view.state is not None
        self.assertEqual(without_estimates(view.state), without_estimates(self.fresh()))
        return view.state


class ViewTests(LiveTestCase):
    members = (ALICE, BOB)

    @live_first
    def test_a_view_follows_a_caller_a_task_and_its_attempt_to_the_end(self) -> None:
        self.asterisk.phone(BOB).always(NO_ANSWER)
        self.begin()
        self.alice.busy()
        self.support.pause(BOB)
        self.world.settle()
        view = self.look_on()
        state = self.assert_view(view)
        self.assertEqual(state["callers"], {})
        self.assertEqual(state["tasks"], {})
        queue = state["queues"]["support"]
        self.assertEqual(
            (queue["agents"], queue["busy"], queue["paused"], queue["free"]),
            (2, 1, 1, 0),
        )
        self.assertEqual(state["agents"][ALICE]["state"], "talking")
        self.assertEqual(state["agents"][BOB]["state"], "paused")
        self.assertEqual(state["agents"][BOB]["paused_in"], ["support"])

        call = self.call()
        state = self.assert_view(view)
        (caller,) = state["callers"].values()
        self.assertEqual(
            (caller["number"], caller["position"], caller["queue"], caller["task_id"]),
            (NUMBER, 1, "support", None),
        )
        self.assertEqual(state["queues"]["support"]["waiting"], 1)
        call.press()
        self.world.run(3)
        state = self.assert_view(view)
        self.assertEqual(state["callers"], {})
        task = state["tasks"]["1"]
        self.assertEqual(task["number"], NUMBER)
        self.assertEqual(task["why_not_yet"]["code"], "agents_busy")
        queue = state["queues"]["support"]
        self.assertEqual(queue["callbacks_waiting"], 1)
        self.assertEqual(queue["why_no_callback"]["code"], "agents_busy")

        self.alice.busy(False)
        self.world.run_until(
            lambda: self.world.tasks()[0].status.value == "completed", 60
        )
        stages = self.stages(view)
        self.assertEqual(stages, ["agent_rings", "client_rings", "talk"])
        self.world.run(2)
        state = self.assert_view(view)
        self.assertEqual((state["tasks"], state["attempts"]), ({}, {}))
        queue = state["queues"]["support"]
        self.assertEqual((queue["reached_today"], queue["not_reached_today"]), (1, 0))
        self.assertEqual(queue["share_reached_today"], 1.0)
        waited_s = queue["median_time_to_reach_s"]
        rung = self.client.rung[0]
        task_made_at = self.world.since(self.world.tasks()[0].created_at)
        assert rung.answered_at is not None
        reached_s = self.world.since(rung.answered_at) - task_made_at
        self.assertLess(abs(waited_s - (reached_s)), 0.5)

    def stages(self, view: LiveView) -> list[str]:
        """Return the stages of attempts that were seen, each once."""
        found: list[str] = []
        for _, message in view.messages[1:]:
            for attempt in message["set"].get("attempts", {}).values():
                if attempt["stage"] not in (*found[-1:], "starts", "alert", "ends"):
                    found.append(attempt["stage"])
        return found

    def test_a_callback_in_line_is_seen_among_the_callers(self) -> None:
        self.begin(queue_settings(fairness=Fairness.PLACE))
        self.alice.busy()
        self.asterisk.phone(BOB).busy()
        self.world.settle()
        view = self.look_on()
        self.asterisk.call("support", "03071", talks_s=30)
        self.world.run(0.5)
        self.add()
        self.world.run(2)
        state = self.assert_view(view)
        seen = sorted(
            (caller["position"], caller["number"], caller["task_id"])
            for caller in state["callers"].values()
        )
        self.assertEqual(seen, [(1, "03071", None), (2, NUMBER, 1)])
        self.assertEqual(state["tasks"]["1"]["position"], 2)
        self.assertEqual(state["tasks"]["1"]["why_not_yet"]["code"], "in_line")
        self.assertEqual(state["attempts"]["1"]["stage"], "waits_in_line")
        queue = state["queues"]["support"]
        self.assertEqual((queue["waiting"], queue["in_line"]), (1, 1))
        self.alice.busy(False)
        self.world.run(4)
        state = self.assert_view(view)
        self.assertEqual(state["tasks"]["1"]["position"], 1)

    @live_first
    def test_a_withheld_number_is_not_shown(self) -> None:
        self.begin()
        self.alice.busy()
        self.support.pause(BOB)
        view = self.look_on()
        self.call(callingpres="32")
        state = self.assert_view(view)
        (caller,) = state["callers"].values()
        self.assertEqual((caller["number"], caller["name"]), ("", ""))

    @live_first
    def test_agents_are_seen_in_their_states_and_since_when(self) -> None:
        self.support.wrapuptime_s = 20
        self.begin(queue_settings(wrapuptime="20s"))
        view = self.look_on()
        self.world.run(30)

        def agent() -> tuple[str, float | None]:
            state = self.assert_view(view)["agents"][ALICE]
            since = state["since"]
            return state["state"], since and self.world.since(_epoch_s(since))

        self.assertEqual(agent(), ("free", None))
        self.support.pause(BOB)
        self.alice.plan.clear()
        self.alice.always(Answers(after_s=5))
        call = self.call(talks_s=10)
        rings_at = self.world.t
        self.assertEqual(agent()[0], "ringing")
        self.world.run_until(lambda: call.talking, 20)
        state, since = agent()
        self.assertEqual(state, "talking")
        assert since is not None
        self.assertLess(abs(since - (rings_at + 5)), 0.5)
        self.world.run_until(lambda: call.gone, 60)
        ended_at = self.world.t
        self.assertEqual(agent()[0], "wrapping_up")
        self.world.run(20)
        state, since = agent()
        self.assertEqual(state, "free")
        assert since is not None
        self.assertLess(abs(since - (ended_at + 20)), 1.5)
        self.support.pause(ALICE, reason="lunch")
        paused_at = self.world.t
        state, since = agent()
        self.assertEqual(state, "paused")
        assert since is not None
        self.assertLess(abs(since - paused_at), 0.5)
        seen = self.assert_view(view)["agents"][ALICE]
        self.assertEqual(seen["pause_reason"], "lunch")
        self.support.remove(ALICE)
        self.assertEqual(agent()[0], "logged_out")

    @live_first
    def test_since_when_an_agent_is_paused_is_known_from_asterisk(self) -> None:
        self.support.pause(ALICE, reason="lunch")
        self.world.run(100)
        self.begin()
        agent = self.assert_view(self.look_on())["agents"][ALICE]
        self.assertEqual(self.world.since(_epoch_s(agent["since"])), 0)

    @live_first
    def test_a_view_survives_the_loss_of_the_link(self) -> None:
        self.begin()
        self.alice.busy()
        self.support.pause(BOB)
        self.add()
        view = self.look_on()
        self.asterisk.freeze()
        self.asterisk.cut_links()
        self.world.run(3)
        assert view.state is not None
        self.assertFalse(view.state["service"]["asterisk"]["connected"])
        self.assertEqual(view.state["tasks"]["1"]["why_not_yet"]["code"], "no_link")
        self.asterisk.thaw()
        self.world.run(30)
        state = self.assert_view(view)
        self.assertTrue(state["service"]["asterisk"]["connected"])
        self.assertEqual(state["tasks"]["1"]["why_not_yet"]["code"], "agents_busy")

    @live_first
    def test_a_view_survives_a_database_that_fails(self) -> None:
        process = self.begin()
        self.alice.busy()
        self.support.pause(BOB)
        self.add()
        process.database.unavailable = "the disk is gone"
        view = self.look_on()
        assert view.state is not None
        self.assertIn("disk", view.state["service"]["database_problem"]["what"])
        self.assertEqual(view.state["tasks"], {})
        process.database.unavailable = ""
        self.world.run(5)
        state = self.assert_view(view)
        self.assertIsNone(state["service"]["database_problem"])
        self.assertEqual(list(state["tasks"]), ["1"])

    @live_first
    def test_what_is_held_back_is_seen_soon_although_nothing_says_so(self) -> None:
        """Another service was storing an event that comes before."""
        self.begin()
        self.alice.busy()
        view = self.look_on()
        read = writers.read
        others_write = True

        def hold_back(*args: Any) -> Any:
            rows, _ = read(*args)
            return ([], bool(rows)) if others_write else (rows, False)

        self.patch(writers, "read", hold_back)
        self.add()
        self.world.run(3)
        assert view.state is not None
        self.assertEqual(view.state["tasks"], {})
        others_write = False
        self.world.run(1.5)
        self.assertEqual(list(view.state["tasks"]), ["1"])

    @live_first
    def test_a_task_that_becomes_due_says_so_without_an_event(self) -> None:
        self.begin()
        self.alice.busy()
        self.support.pause(BOB)
        self.world.ask(
            "tasks.add", queue="support", number=NUMBER, at="2027-01-15T08:10Z"
        )
        view = self.look_on()
        assert view.state is not None
        queue = view.state["queues"]["support"]
        self.assertEqual(queue["next_due_at"], "2027-01-15T08:10:00.000+00:00")
        self.run_to(602)
        state = self.assert_view(view)
        self.assertEqual(state["tasks"]["1"]["why_not_yet"]["code"], "agents_busy")
        self.assertIsNone(state["queues"]["support"]["next_due_at"])


class CostTests(LiveTestCase):
    @live_first
    def test_nothing_is_computed_or_read_while_nobody_looks(self) -> None:
        process = self.begin()
        reads = [name for name in process.points if "live" in name]
        with mock.patch.object(type(self.live._nodes), "agents") as agents:
            self.call(talks_s=5)
            self.world.run(60)
        self.assertEqual(agents.call_count, 0)
        self.assertEqual(reads, [])

    @live_first
    def test_changes_come_at_most_twice_a_second(self) -> None:
        self.begin()
        view = self.look_on()
        for number in range(40):
            self.call(f"0309{number:04}", talks_s=1)
            self.world.run(0.1)
        self.world.run(5)
        times = [at for at, _ in view.messages]
        self.assertGreater(len(times), 5)
        gaps = [after - before for before, after in pairwise(times)]
        self.assertGreaterEqual(min(gaps), 0.499)

    @live_first
    def test_nothing_is_sent_while_nothing_happens(self) -> None:
        self.begin()
        self.support.pause(ALICE)
        self.add()
        view = self.look_on()
        self.world.run(30)
        before = len(view.messages)
        self.world.run(300)
        self.assertEqual(len(view.messages), before, view.messages[before:])

    @live_first
    def test_while_nothing_happens_only_estimates_are_sent_and_seldom(self) -> None:
        self.begin()
        self.alice.busy()
        for number in range(150):
            self.add(f"0301000{number:03}")
        view = self.look_on()
        self.world.run(30)
        former = {key: dict(task) for key, task in (view.state or {})["tasks"].items()}
        before = len(view.messages)
        self.world.run(600)
        self.assertLess(len(view.messages) - before, 60)
        changed: set[str] = set()
        for _, message in view.messages[before:]:
            for key, task in message["set"].get("tasks", {}).items():
                changed |= {name for name in task if task[name] != former[key][name]}
            self.assertLessEqual(len(message["set"].get("tasks", {})), 100)
        self.assertEqual(changed, {"expected_at"})

    @live_first
    def test_one_caller_changes_only_what_the_next_tasks_say(self) -> None:
        self.begin()
        self.alice.busy()
        self.world.settle()
        for number in range(40):
            self.add(f"0301000{number:02}")
        view = self.look_on()
        self.world.run(30)
        before = len(view.messages)
        self.call()
        self.world.run(3)
        changed = set()
        for _, message in view.messages[before:]:
            changed |= message["set"].get("tasks", {}).keys()
        self.assertEqual(changed, {str(one) for one in range(1, 11)})
        self.assert_view(view)


class SubscriptionTests(LiveTestCase):
    @live_first
    def test_all_get_the_same_and_one_who_comes_later_a_snapshot(self) -> None:
        self.begin()
        self.alice.busy()
        first = self.look_on()
        self.add()
        self.world.run(2)
        second = self.look_on()
        self.add("030555")
        self.world.run(2)
        self.assertEqual(first.state, second.state)
        self.assertEqual(first.messages[-1], second.messages[-1])
        self.assert_view(first)

    @live_first
    def test_one_who_does_not_read_is_dropped_and_the_others_are_not(self) -> None:
        self.begin()
        self.alice.busy()
        good, lazy = self.look_on(), self.look_on()
        lazy.sleeps = True
        for number in range(30):
            self.add(f"0301000{number:02}")
            self.world.run(1)
        lazy.wakes()
        self.assertIsInstance(lazy.ended, TooSlow)
        self.assertIsNone(good.ended)
        self.assert_view(good)

    @live_first
    def test_after_the_last_one_has_left_nothing_goes_on(self) -> None:
        process = self.begin()
        self.alice.busy()
        subscription = self.live.subscribe()
        self.world.run(5)
        subscription.close()
        self.world.run(1)
        self.add()
        points = len(process.points)
        self.world.run(60)
        self.assertEqual(
            [name for name in process.points[points:] if "live" in name], []
        )
        view = self.look_on()
        self.assertEqual(list(self.assert_view(view)["tasks"]), ["1"])

    @live_first
    def test_one_who_leaves_while_the_tasks_are_read_does_not_spoil_them(self) -> None:
        process = self.begin()
        self.alice.busy()
        self.add()
        process.database.takes_s = lambda name: 0.2
        self.live.subscribe().close()
        subscription = self.live.subscribe()
        self.world.run(0.15)
        subscription.close()
        view = self.look_on()
        process.database.takes_s = lambda name: 0.0
        self.assert_view(view)

    @live_first
    def test_a_service_that_stops_ends_the_subscriptions(self) -> None:
        process = self.begin()
        view = self.look_on()
        process.stop()
        self.world.run(10)
        self.assertIsInstance(view.ended, Stopping)
        late = LiveView(self.live.subscribe(), lambda: self.world.t)
        self.assertIsInstance(late.ended, Stopping)

    @live_first
    def test_one_snapshot_can_be_had_without_changes(self) -> None:
        self.begin()
        self.alice.busy()
        self.add()
        found: list[Any] = []
        taking = Deferred.fromCoroutine(self.live.snapshot())
        _ = taking.addBoth(found.append)
        self.world.run(3)
        self.assertEqual(list(found[0].all.tasks), [1])
        self.assertEqual(found[0].at.timestamp() > START, True)


def _epoch_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
