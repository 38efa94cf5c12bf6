# SPDX-License-Identifier: MIT
"""Never more callbacks than free agents minus waiting callers, in any order."""

from __future__ import annotations

import attrs
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.emulator.free_agents import largest_matching, too_many
from tests.emulator.manager import Action, Answer
from tests.emulator.scenarios import Answers, Refuses
from tests.harness.world import ControlClient, World, a_world, queue_settings
from tests.harness.world import settings as service_settings
from tests.system.harness import ALICE, ServiceTestCase, live_first

AGENTS = (ALICE, "PJSIP/bob", "PJSIP/carol")
#: The last queue has no callbacks, as the settings do not name it.
QUEUES = ("support", "sales", "plain")
WITH_CALLBACKS = QUEUES[:2]


@attrs.frozen
class Event:
    """Something that happens ``after_s`` seconds after the previous event."""

    what: str
    after_s: int
    queue: str
    agent: str


events = st.builds(
    Event,
    what=st.sampled_from(
        ["live call"] * 3 + ["request"] * 4 + ["free"] * 3 + ["busy", "pause", "resume"]
    ),
    after_s=st.integers(0, 5),
    queue=st.sampled_from(QUEUES),
    agent=st.sampled_from(AGENTS),
)
members = st.fixed_dictionaries(
    {queue: st.sets(st.sampled_from(AGENTS), min_size=1) for queue in QUEUES}
)


def guard(world: World) -> list[str]:
    """Check each Originate at the moment at which Asterisk reads it.

    Returns:
        A list to which errors are added as they are found.
    """
    handlers = world.asterisk.manager.handlers
    originate = handlers["Originate"]
    targets: dict[str, str] = {}
    wrong: list[str] = []

    def guarded(action: Action) -> Answer:
        variables = dict(one.split("=", 1) for one in action.all("Variable"))
        channel_id = action.get("ChannelId").removesuffix("-1")
        targets[channel_id] = variables["CALLBACK_TARGET"]
        if broken := too_many(world.asterisk, targets):
            wrong.append(broken)
        return originate(action)

    handlers["Originate"] = guarded
    return wrong


def play(world: World, members: dict[str, set[str]], happening: list[Event]) -> None:
    """Run all events, no two at the same time."""
    asterisk = world.asterisk
    at_s = 0
    for number, event in enumerate(happening):
        at_s += event.after_s
        asterisk.later(
            at_s + (number + 1) / 1009,
            lambda event=event, number=number: happen(world, event, number),  # type: ignore[misc]
        )
    world.run(at_s + 1)


def happen(world: World, event: Event, number: int) -> None:
    """Run one event."""
    asterisk = world.asterisk
    caller = f"0300{number:06}"
    match event.what:
        case "live call":
            asterisk.call(event.queue, caller, talks_s=12)
        case "request":
            if event.queue in WITH_CALLBACKS:
                asterisk.client(caller).always(Answers(after_s=3, hangs_up_after_s=7))
                request(world, event.queue, caller)
        case "busy" | "free":
            asterisk.phone(event.agent).busy(event.what == "busy")
        case "pause" | "resume":
            queue = asterisk.queues[event.queue]
            if any(m.interface == event.agent for m in queue.members):
                queue.pause(event.agent, event.what == "pause")


def request(world: World, queue: str, number: str) -> None:
    """Request a callback without waiting for the answer."""
    client = ControlClient("tasks.add", {"queue": queue, "number": number})
    assert world.processes[-1].control.dial(client) is not None


@settings(max_examples=60, deadline=None)
@given(
    members=members,
    happening=st.lists(events, min_size=10, max_size=40),
    strategy=st.sampled_from(["ringall", "linear"]),
    notice_s=st.sampled_from([0.0, 1.0]),
    wrapuptime_s=st.sampled_from([0, 5]),
)
@live_first
def test_callbacks_take_only_what_live_callers_leave(
    members: dict[str, set[str]],
    happening: list[Event],
    strategy: str,
    notice_s: float,
    wrapuptime_s: int,
) -> None:
    """And every request is called back in the end."""
    with a_world() as world:
        asterisk = world.asterisk
        for name in QUEUES:
            asterisk.add_queue(
                name,
                sorted(members[name]),
                strategy=strategy,
                notice_s=notice_s,
                wrapuptime_s=wrapuptime_s,
            )
        for agent in AGENTS:
            asterisk.phone(agent).always(Answers(after_s=2)).busy()
        wrong = guard(world)
        queues = [
            queue_settings(name, wrapuptime=f"{wrapuptime_s}s")
            for name in WITH_CALLBACKS
        ]
        process = world.begin(service_settings(*queues))
        play(world, members, happening)
        for agent in AGENTS:
            for queue in asterisk.queues.values():
                if any(m.interface == agent for m in queue.members):
                    queue.pause(agent, False)
                    world.run(0.001)
            asterisk.phone(agent).busy(False)
            world.run(0.001)
        world.run(1500)
        assert wrong == []
        note(str([world.story(task.id) for task in world.tasks()]))
        assert {task.status.value for task in world.tasks()} <= {"completed"}
        assert all(len(world.attempts(t.id)) == 1 for t in world.tasks())
        process.stop()
        world.run(5)
        assert process.stopped == [None]


class SharedAgentTests(ServiceTestCase):
    """One agent in two queues."""

    def setUp(self) -> None:
        super().setUp()
        self.plain = self.asterisk.add_queue("plain", [ALICE])
        # app_queue checks once a second whether an agent has become free.
        self.plain.notice_s = self.support.notice_s = 1.0
        self.alice.busy()

    def free_alice(self) -> None:
        self.run_to(10)
        self.alice.busy(False)
        self.run_to(12)

    @live_first
    def test_a_caller_of_the_same_queue_comes_first(self) -> None:
        self.begin()
        self.add()
        live = self.asterisk.call("support", "0307654321", talks_s=20)
        self.free_alice()
        self.assertEqual(self.originates, [])
        self.run_to(100)
        self.assertEqual(self.originates, [self.world.since(live.ended_at or 0)])

    @live_first
    def test_a_caller_of_another_queue_with_callbacks_comes_first(self) -> None:
        self.begin(queue_settings("support"), queue_settings("plain"))
        self.add()
        self.asterisk.call("plain", "0307654321", talks_s=20)
        self.free_alice()
        self.assertEqual(self.originates, [])

    @live_first
    def test_a_caller_of_a_queue_without_callbacks_comes_first(self) -> None:
        self.begin(queue_settings("support"))
        self.add()
        self.asterisk.call("plain", "0307654321", talks_s=20)
        self.free_alice()
        self.assertEqual(self.originates, [])

    @live_first
    def test_a_callback_that_waits_for_an_agent_takes_the_next_one(self) -> None:
        """There are no two Originates for one agent."""
        self.begin()
        self.add("0301111111")
        self.add("0302222222")
        self.free_alice()
        self.assertEqual(self.originates, [10])

    @live_first
    def test_an_agent_in_two_queues_is_one_agent(self) -> None:
        self.begin(queue_settings("support"), queue_settings("plain"))
        self.add("0301111111", "support")
        self.add("0302222222", "plain")
        self.free_alice()
        self.assertEqual(self.originates, [10])

    @live_first
    def test_an_agent_who_declines_at_once_is_still_one_agent(self) -> None:
        """The callback keeps waiting for an agent, and no second one is placed."""
        self.alice.always(Refuses.DECLINE)
        self.begin()
        self.add("0301111111")
        self.add("0302222222")
        self.free_alice()
        self.assertEqual(self.originates, [10])

    @live_first
    def test_a_caller_who_takes_the_agent_during_the_commit_comes_first(self) -> None:
        process = self.begin(queue_settings(retry_delay="1m"))
        self.add()
        process.database.takes_s = lambda name: 2.0 if name == "begin attempts" else 0.0
        self.asterisk.later(
            11, lambda: self.asterisk.call("support", "0307654321", talks_s=20)
        )
        self.free_alice()
        self.assertEqual(self.originates, [])
        self.run_to(100)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["WITHDRAWN", "ANSWERED"])
        self.assertEqual(
            self.world.attempts()[0].reason, "the agent was taken meanwhile"
        )


def test_the_brute_force_is_right() -> None:
    """Cases in which a greedy choice is wrong."""
    a, b = {"x", "y"}, {"x"}
    assert largest_matching([a, b]) == 2
    assert largest_matching([b, b]) == 1
    assert largest_matching([a, b, set()]) == 2
    assert largest_matching([]) == 0
