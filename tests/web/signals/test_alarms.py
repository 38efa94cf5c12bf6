# SPDX-License-Identifier: MIT
"""Alarms: when they begin, change and end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fastagi.config.errors import ConfigErrors
from fastagi.store.errors import StoreUnavailable
from fastagi.web.settings import parse
from fastagi.web.signals import alarms as alarms_module
from fastagi.web.signals.alarms import (
    AlarmJudge,
    AlarmKind,
    AlarmValues,
    Key,
    changes_after,
)
from fastagi.web.signals.settings import AlarmSettings, Level, limits_of
from fastagi.web.state.schema import ALARM_CHANGES, ALARMS
from fastagi.web.state.sending import SendingLease
from tests.store.harness import NOW, at
from tests.web.signals.harness import World, build_alarms, in_world
from tests.web.signals.live_state import live_state

OLDEST: Key = (AlarmKind.OLDEST_TASK, "support")
FAILURES: Key = (AlarmKind.FAILURES, "support")
YELLOW, RED = Level.YELLOW, Level.RED


def levels(steps: list[tuple[float, float | None]], key: Key = OLDEST) -> list[Any]:
    """Return the level after each step: seconds, and the value then."""
    judge = AlarmJudge(AlarmSettings())
    found = []
    for seconds, value in steps:
        judge.take(judge.judge({key: value}, at(seconds)))
        found.append(next((one.level for one in judge.current), None))
    return found


def test_alarm_begins_at_its_threshold_and_rises_at_once() -> None:
    steps = [(0, 1799.0), (1, 1800.0), (2, 3599.0), (3, 3600.0)]
    assert levels(steps) == [None, YELLOW, YELLOW, RED]


def test_alarm_ends_only_when_its_value_is_well_below_for_a_while() -> None:
    steps: list[tuple[float, float | None]] = [
        (0, 1800.0),
        (1, 1500.0),
        (100, 1500.0),
        (101, 1400.0),
        (160, 1400.0),
        (161, 1400.0),
    ]
    assert levels(steps) == [YELLOW] * 5 + [None]


def test_value_around_a_threshold_does_not_raise_the_alarm_again_and_again() -> None:
    steps = [(10.0 * n, 1801.0 if n % 2 else 1300.0) for n in range(1, 50)]
    assert set(levels(steps)) == {YELLOW}


def test_red_alarm_becomes_yellow_before_it_ends() -> None:
    steps: list[tuple[float, float | None]] = [
        (0, 3600.0),
        (1, 2000.0),
        (61, 2000.0),
        (62, 0.0),
        (122, 0.0),
    ]
    assert levels(steps) == [RED, RED, YELLOW, YELLOW, None]


def test_value_that_is_not_known_changes_nothing() -> None:
    steps: list[tuple[float, float | None]] = [(0, 3600.0), (1, None), (999, None)]
    assert levels(steps) == [RED] * 3


def test_alarm_of_a_queue_that_is_gone_ends() -> None:
    judge = AlarmJudge(AlarmSettings())
    judge.take(judge.judge({OLDEST: 9999.0}, NOW))
    judge.judge({}, at(1))
    (ended,) = judge.judge({}, at(61))
    assert (ended.level, ended.before) == (None, RED)


def test_a_few_failures_are_counted_down_too() -> None:
    steps = [(0.0, 5.0), (1.0, 4.0), (99.0, 4.0), (100.0, 3.0), (160.0, 3.0)]
    assert levels(list(steps), FAILURES) == [YELLOW] * 4 + [None]


def values_of(seconds: float, values: AlarmValues, **queue: Any) -> dict[Key, Any]:
    linked = queue.pop("linked", True)
    state = live_state(linked=linked, support=queue)
    return values.of(state, None, {"support": 2}, at(seconds))


def test_values_are_taken_from_the_live_state() -> None:
    values = AlarmValues()
    found = values_of(600, values, oldest_callback_since=NOW, expected_wait_s=90.0)
    assert found == {
        (AlarmKind.SERVICE_DOWN, ""): 0.0,
        (AlarmKind.LINK_DOWN, ""): 0.0,
        OLDEST: 600.0,
        (AlarmKind.EXPECTED_WAIT, "support"): 90.0,
        (AlarmKind.NO_AGENTS, "support"): 0.0,
        FAILURES: 2.0,
    }


def test_chosen_time_that_is_to_come_is_no_old_task() -> None:
    found = values_of(0, AlarmValues(), oldest_callback_since=at(7200))
    assert found[OLDEST] == 0


def test_expected_wait_that_is_not_known_is_no_short_one() -> None:
    key: Key = (AlarmKind.EXPECTED_WAIT, "support")
    assert values_of(0, AlarmValues(), expected_wait_s=None)[key] is None
    closed = values_of(0, AlarmValues(), open=False, expected_wait_s=None)
    assert closed[key] == 0


def test_night_in_which_a_queue_was_closed_does_not_count() -> None:
    values, old = AlarmValues(), {"oldest_callback_since": NOW, "expected_wait_s": 9e9}
    closed = values_of(30_000, values, open=False, free=0, agents=0, **old)
    assert {closed[key] for key in closed if key[1] and key != FAILURES} == {0.0}
    opened = {"open_since": at(36_000), **old}
    assert values_of(36_120, values, **opened)[OLDEST] == 120
    # After a start of this process, too.
    assert values_of(36_130, AlarmValues(), **opened)[OLDEST] == 130


def test_no_agents_are_counted_from_when_the_last_one_left() -> None:
    values, key = AlarmValues(), (AlarmKind.NO_AGENTS, "support")
    away = {"agents": 3, "paused": 2, "unavailable": 1, "free": 0}
    assert values_of(0, values, agents=3, busy=3, free=0)[key] == 0
    assert values_of(10, values, **away)[key] == 0
    assert values_of(75, values, **away)[key] == 65
    # Without the link nobody knows; the time goes on.
    assert values_of(80, values, linked=False, **away)[key] is None
    assert values_of(90, values, **away)[key] == 80
    assert values_of(91, values)[key] == 0


@pytest.mark.parametrize(
    ("text", "kind", "queue", "yellow", "red"),
    [
        ("", "oldest_task", "support", 1800, 3600),
        ("oldest_task: {red: 2h}", "oldest_task", "support", 1800, 7200),
        ("failures: {yellow: 0, red: 7}", "failures", "support", None, 7),
        ("queues: {SUPPORT: {failures: {red: 9}}}", "failures", "support", 5, 9),
        ("queues: {sales: {failures: {red: 9}}}", "failures", "support", 5, 15),
        ("link_down: {yellow: 1m}", "link_down", "", 60, 120),
    ],
)
def test_thresholds_of_the_queue_come_before_those_of_all(
    text: str, kind: str, queue: str, yellow: float | None, red: float | None
) -> None:
    limits = limits_of(parse(f"alarms: {{{text}}}").alarms, kind, queue)
    assert (limits.yellow, limits.red) == (yellow, red)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oldest_task: {yellow: 5}", "alarms.oldest_task.yellow: must be a time"),
        ("oldest_taks: {}", "alarms.oldest_taks: unknown setting - did you mean"),
        (
            "queues: {support: {failures: {red: many}}}",
            "alarms.queues: support.failures.red must be a whole number",
        ),
        (
            "queues: {support: {link_down: {red: 1m}}}",
            "alarms.queues: support.link_down is no setting of an alarm",
        ),
        ("queues: {support: {failures: 5}}", "alarms.queues: support.failures"),
        ("queues: [support]", "alarms.queues: must be a group of queues"),
        ("queues: {support: {failures: {red: -1}}}", "support.failures.red must be"),
    ],
)
def test_mistake_in_a_threshold_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(f"alarms: {{{text}}}")
    assert message in str(caught.value)


def test_changes_are_stored_and_a_restart_tells_nothing_twice(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        alarms = build_alarms(world)
        world.live.snapshot = live_state(support={"oldest_callback_since": NOW})
        assert await alarms.evaluate() == []
        world.clock.advance(2000)
        (raised,) = await alarms.evaluate()
        assert (raised.id, raised.level, raised.value) == (1, YELLOW, 2000.0)
        assert (
            raised.words == "queue support: the oldest callback has waited for 33 min"
        )
        assert await alarms.evaluate() == []
        again = build_alarms(world)
        assert again.current() == ()
        assert await again.evaluate() == []
        assert again.current() == alarms.current()
        world.live.snapshot = live_state(support={})
        await again.evaluate()
        world.clock.advance(60)
        (ended,) = await again.evaluate()
        assert (ended.level, ended.before, again.current()) == (None, YELLOW, ())
        assert ended.since == at(2000)
        stored = await world.state.read(changes_after, 0, 10)
        assert stored == [raised, ended]

    in_world(tmp_path, test)


def test_alarms_of_a_kind_that_this_version_does_not_know_are_passed_over(
    tmp_path: Path,
) -> None:
    def store(conn: sa.Connection) -> None:
        row = {"kind": "moon", "queue": "", "level": "red", "since": 1.0, "value": 1.0}
        conn.execute(sa.insert(ALARMS).values(**row))
        for _ in range(3):
            conn.execute(sa.insert(ALARM_CHANGES).values(at=1.0, **row))

    async def test(world: World) -> None:
        await world.state.write(store)
        alarms = build_alarms(world)
        world.live.snapshot = live_state(support={"oldest_callback_since": at(-4000)})
        (raised,) = await alarms.evaluate()
        assert await world.state.read(changes_after, 0, 2) == [raised]
        assert [one.kind for one in alarms.current()] == [AlarmKind.OLDEST_TASK]

    in_world(tmp_path, test)


def test_alarms_of_queues_stay_while_the_service_is_down(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        alarms = build_alarms(world)
        state = live_state(support={"oldest_callback_since": at(-4000)})
        world.live.snapshot = state
        await alarms.evaluate()
        world.live.snapshot, world.live.down_since = None, world.clock()
        world.clock.advance(300)
        (raised,) = await alarms.evaluate()
        assert (raised.kind, raised.level) == (AlarmKind.SERVICE_DOWN, RED)
        assert {one.kind for one in alarms.current()} == {
            AlarmKind.SERVICE_DOWN,
            AlarmKind.OLDEST_TASK,
        }
        world.live.snapshot, world.live.down_since = state, None
        await alarms.evaluate()
        world.clock.advance(60)
        await alarms.evaluate()
        assert [one.kind for one in alarms.current()] == [AlarmKind.OLDEST_TASK]

    in_world(tmp_path, test)


@pytest.mark.parametrize("kind", ["no_agents", "link_down", "service_down"])
def test_what_lasts_over_a_restart_of_this_process_stays_an_alarm(
    tmp_path: Path, kind: str
) -> None:
    async def test(world: World) -> None:
        live = world.live
        alarms = build_alarms(world)
        if kind == "service_down":
            live.snapshot, live.down_since = None, world.clock()
        elif kind == "link_down":
            live.snapshot = live_state(linked=False, support={})
        else:
            live.snapshot = live_state(support={"agents": 0, "free": 0})
        await alarms.evaluate()
        world.clock.advance(310)
        (raised,) = await alarms.evaluate()
        assert (raised.kind, raised.level) == (kind, RED)
        again = build_alarms(world)
        if live.down_since is not None:
            # The new process does not know since when.
            live.down_since = world.clock()
        for _ in range(20):
            assert await again.evaluate() == []
            world.clock.advance(10)
        live.snapshot, live.down_since = live_state(support={}), None
        await again.evaluate()
        world.clock.advance(60)
        (ended,) = await again.evaluate()
        assert (ended.kind, ended.level) == (kind, None)

    in_world(tmp_path, test)


def test_link_down_and_no_agents_are_alarms(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        alarms = build_alarms(world)
        world.live.snapshot = live_state(support={"agents": 0, "free": 0})
        await alarms.evaluate()
        world.clock.advance(300)
        (raised,) = await alarms.evaluate()
        assert raised.words == "queue support: no agent has been available for 5 min"
        world.live.snapshot = live_state(linked=False, support={"agents": 0})
        await alarms.evaluate()
        world.clock.advance(45)
        (raised,) = await alarms.evaluate()
        assert (raised.kind, raised.level) == (AlarmKind.LINK_DOWN, YELLOW)
        assert [one.level for one in alarms.current()] == [RED, YELLOW]

    in_world(tmp_path, test)


def test_pages_are_told_of_each_change(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        settings = AlarmSettings(calm=timedelta(0))
        alarms = build_alarms(world, settings)
        running = asyncio.create_task(alarms.run())
        changes = alarms.changes()
        assert await anext(changes) == ()
        world.live.snapshot = live_state(support={"oldest_callback_since": at(-4000)})
        world.live.changed.set()
        (one,) = await anext(changes)
        assert one.level is RED
        world.live.snapshot = live_state(support={})
        world.live.changed.set()
        assert await anext(changes) == ()
        running.cancel()
        await asyncio.wait([running])
        assert world.live.subscriptions == 0

    in_world(tmp_path, test)


def test_database_that_can_not_be_used_is_told_once_and_not_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks, repaired = 0, asyncio.Event()

    async def test(world: World) -> None:
        read = world.lease.read

        async def fail(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            world.live.changed.set()
            if looks in (4, 6):
                return await read(*args)
            if looks == 7:
                repaired.set()
            raise StoreUnavailable("no room left for web.sqlite3")

        monkeypatch.setattr(alarms_module, "_AT_LEAST_S", 0.0)
        monkeypatch.setattr(world.lease, "read", fail)
        # As of a process that follows another one: it reads at each look.
        monkeypatch.setattr(SendingLease, "is_held", False)
        running = asyncio.create_task(build_alarms(world).run())
        async with asyncio.timeout(60):
            await repaired.wait()
        running.cancel()
        await asyncio.wait([running])

    in_world(tmp_path, test)
    told = [one.getMessage() for one in caplog.records if "alarms can" in one.msg]
    assert (
        told == ["alarms can not be read or stored: no room left for web.sqlite3"] * 3
    )
