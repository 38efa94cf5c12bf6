# SPDX-License-Identifier: MIT
"""Following the events of tasks, also past a restored database."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastagi.domain.task import Move
from fastagi.store.story_events import StoryPosition, last_position, position_at
from tests.store.harness import at
from tests.web.signals.harness import World, in_world


def test_events_come_in_order_after_a_position(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.service.ask("74951234567")
        world.service.call("BUSY")
        events = await world.feed.read(StoryPosition(), 100)
        assert [event.move for event in events] == [Move.CREATE, Move.BEGIN, Move.RETRY]
        assert events[2].attempt and events[2].attempt.disposition == "BUSY"
        assert events[0].number == "+74951234567"
        assert await world.feed.read(events[1].position, 100) == events[2:]
        assert await world.feed.read(StoryPosition(), 1) == events[:1]

    in_world(tmp_path, test)


def test_reader_waits_until_the_live_state_changes(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        running = asyncio.create_task(world.feed.run())
        await world.feed.wait(None, 10)
        seen = world.feed.last
        waiting = asyncio.create_task(world.feed.wait(seen, 10))
        world.service.ask()
        world.live.changed.set()
        await waiting
        assert world.feed.last != seen
        running.cancel()
        await asyncio.wait([running])
        assert world.live.subscriptions == 0

    in_world(tmp_path, test)


def test_nothing_is_lost_when_the_database_is_restored_and_ids_are_used_again(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        world.service.ask()
        copy = world.service.copy()
        for _ in range(3):
            world.clock.advance(1)
            world.service.ask()
        position = (await world.feed.read(StoryPosition(), 100))[-1].position
        world.service.restore(copy)
        # Nothing new yet: the position is in the future.
        assert await world.feed.read(position, 100) == []
        tasks = []
        for _ in range(5):
            world.clock.advance(1)
            tasks.append(world.service.ask())
        assert tasks[0] == 2, "the ids are not used again"
        events = await world.feed.read(position, 100)
        assert [event.task_id for event in events] == tasks

    in_world(tmp_path, test)


def test_position_before_all_events_of_another_database_begins_at_its_first(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        world.service.ask()
        older = StoryPosition(500, at(-3600).timestamp(), 77)
        assert len(await world.feed.read(older, 100)) == 1
        newer = StoryPosition(500, at(3600).timestamp(), 77)
        assert await world.feed.read(newer, 100) == []

    in_world(tmp_path, test)


def test_position_at_a_time_is_after_the_last_older_event(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await world.records.read(last_position) == StoryPosition()
        for _ in range(3):
            world.service.ask()
            world.clock.advance(10)
        for seconds, event_id in [(0, 0), (5, 1), (10, 1), (11, 2), (99, 3)]:
            found = await world.records.read(position_at, at(seconds))
            assert found.event_id == event_id, seconds

    in_world(tmp_path, test)


def test_reader_goes_on_when_the_database_can_be_read_again(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        copy = world.service.copy()
        world.service.path.unlink()
        await world.feed.look()
        assert world.feed.last is None
        world.service.restore(copy)
        world.service.ask()
        await world.feed.look()
        assert world.feed.last and world.feed.last.event_id == 1

    in_world(tmp_path, test)
