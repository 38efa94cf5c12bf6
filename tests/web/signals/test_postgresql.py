# SPDX-License-Identifier: MIT
"""Events, webhooks, alarms and metrics with both databases on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from fastagi.store.story_events import StoryPosition, last_position, position_at
from fastagi.web.signals.alarms import Alarms
from fastagi.web.signals.settings import AlarmSettings
from tests.harness.tables import empty_tables
from tests.lab.databases import PostgreSQL
from tests.store.harness import NOW, at, done, new_task
from tests.store.open_transaction import OpenTransaction
from tests.web.signals.harness import BAD, BY, GOOD, World, in_world
from tests.web.signals.live_state import live_state
from tests.web.signals.test_metrics import build_tally, parsed, rendered, value


def test_everything_works_on_postgresql(
    tmp_path: Path, postgresql: PostgreSQL, postgresql_with_tables: str
) -> None:
    async def test(world: World) -> None:
        tally = build_tally(world)
        await tally.catch_up()
        await world.add()
        for _ in range(3):
            world.service.ask()
            world.clock.advance(10)
        world.service.call("BUSY")
        events = await world.feed.read(StoryPosition(), 100)
        assert len(events) == 5
        found = await world.records.read(position_at, at(15))
        assert found == events[1].position
        # As after a restored copy: the last event that was read is another one.
        lost = StoryPosition(events[2].id, at(12).timestamp(), 999)
        assert await world.feed.read(lost, 100) == events[2:]

        world.receiver.answer = BAD
        pause_s = await world.deliver()
        assert pause_s is not None
        world.receiver.answer = GOOD
        assert await world.wait_and_deliver(pause_s) is None
        assert len(set(world.receiver.ids)) == 5
        await world.webhooks.rotate("crm", by=BY)
        assert await world.webhooks.replay("crm", events[0].id, by=BY) >= 5
        assert await world.deliver() is None
        assert len(set(world.receiver.ids)) == 5

        world.live.snapshot = live_state(support={"oldest_callback_since": at(-4000)})
        alarms = Alarms(
            AlarmSettings(),
            lease=world.lease,
            live=world.live,
            failures=tally.failures,
            now=world.clock,
        )
        assert len(await alarms.evaluate()) == 1
        await tally.catch_up()
        metrics = parsed(await rendered(world, tally))
        labels = {"queue": "support", "alarm": "oldest_task", "level": "red"}
        assert value(metrics, "callback_alarm", **labels) == 1
        assert value(metrics, "callback_attempts_total", result="BUSY") == 1
        assert value(metrics, "callback_event_lag", reader="webhooks") == 0
        await world.webhooks.remove("crm", by=BY)

    empty_tables(postgresql_with_tables)
    with postgresql.database() as state_url:
        in_world(
            tmp_path, test, service_url=postgresql_with_tables, state_url=state_url
        )


def test_event_that_another_service_commits_later_is_sent_once_and_in_order(
    tmp_path: Path, postgresql: PostgreSQL, postgresql_with_tables: str
) -> None:
    """A second service has stored a task, and not committed it yet."""

    async def test(world: World) -> None:
        tally = build_tally(world)
        await tally.catch_up()
        await world.add()
        world.service.ask()
        await world.feed.look()
        assert await world.deliver() is None
        with OpenTransaction(postgresql_with_tables) as other:
            done(other.store().add(new_task("74957654321"), NOW))
            world.service.ask()
            # One that is added now gets what is committed from now on.
            await world.add("later")
            before = await world.records.read(last_position)
            await world.feed.look()
            assert world.feed.last == before
            assert await world.deliver() is None
            await tally.catch_up()
            assert (len(world.receiver.ids), tally.created.total()) == (1, 1)
            waits = asyncio.create_task(world.feed.wait(before, 10))
            other.commit()
        await world.feed.look()
        await waits
        for name in ("crm", "later"):
            assert await world.deliver(name) is None
            assert await world.deliver(name) is None
        await tally.catch_up()
        assert tally.created.total() == 3
        sent = [
            json.loads(one.body)["data"]["event_id"] for one in world.receiver.posts
        ]
        events = await world.feed.read(StoryPosition(), 100)
        first, *others = [event.id for event in events]
        assert sent == [first, *others, *others]

    empty_tables(postgresql_with_tables)
    with postgresql.database() as state_url:
        in_world(
            tmp_path, test, service_url=postgresql_with_tables, state_url=state_url
        )


def test_feed_looks_again_soon_for_what_is_held_back(
    tmp_path: Path, postgresql: PostgreSQL, postgresql_with_tables: str
) -> None:
    async def test(world: World) -> None:
        with OpenTransaction(postgresql_with_tables) as other:
            done(other.store().add(new_task("74957654321"), NOW))
            world.service.ask()
            running = asyncio.create_task(world.feed.run())
            await world.feed.wait(None, 10)
            seen = world.feed.last
            assert seen == StoryPosition()
            other.commit()
        # The live state says nothing.
        began = time.monotonic()
        await world.feed.wait(seen, 10)
        assert world.feed.last and world.feed.last.event_id == 2
        assert time.monotonic() - began < 4
        running.cancel()
        await asyncio.wait([running])

    empty_tables(postgresql_with_tables)
    with postgresql.database() as state_url:
        in_world(
            tmp_path, test, service_url=postgresql_with_tables, state_url=state_url
        )
