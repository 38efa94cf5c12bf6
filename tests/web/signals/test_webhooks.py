# SPDX-License-Identifier: MIT
"""Delivering events to the endpoints of webhooks, with a controlled clock."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import standardwebhooks
from attrs import evolve

from fastagi.domain.task import Move
from fastagi.store.errors import StoreUnavailable
from fastagi.web.people import audit
from fastagi.web.signals import endpoints
from fastagi.web.signals.addresses import Answer, BadUrl
from fastagi.web.signals.alarms import AlarmChange, AlarmKind, store_changes
from fastagi.web.signals.endpoints import NoSuchWebhook, WebhookExists
from fastagi.web.signals.messages import CHOOSABLE, TYPES, BadFilter, Numbers
from fastagi.web.signals.settings import Level
from fastagi.web.signals.webhooks import NothingToReplay
from fastagi.web.state.schema import SENDING
from fastagi.web.state.sending import SendingLease
from tests.store.harness import NOW, at
from tests.web.signals.harness import (
    BAD,
    BY,
    GONE,
    GOOD,
    PATIENCE_S,
    SILENT,
    Post,
    World,
    build_alarms,
    in_world,
)
from tests.web.signals.live_state import live_state

DAY_S = 86_400


def types(world: World) -> list[str]:
    return [json.loads(post.body)["type"] for post in world.receiver.posts]


def datas(world: World) -> list[dict[str, Any]]:
    return [json.loads(post.body)["data"] for post in world.receiver.posts]


def verified(secret: str, post: Post) -> dict[str, Any]:
    """Verify as a receiver does with the library, but at the time of the test."""
    webhook = standardwebhooks.Webhook(secret)
    post_id, body = post.headers["webhook-id"], post.body.decode()
    signature = webhook.sign(post_id, post.at, body)
    assert signature in post.headers["webhook-signature"].split(" ")
    assert post.headers["webhook-timestamp"] == str(int(post.at.timestamp()))
    message: dict[str, Any] = json.loads(body)
    return message


def test_each_event_is_delivered_once_in_order_and_signed(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.service.ask("74950000000")
        secret = await world.add()
        world.service.ask("74951234567")
        world.clock.advance(1)
        world.service.call("BUSY")
        assert await world.deliver() is None
        assert await world.deliver() is None
        messages = [verified(secret, post) for post in world.receiver.posts]
        # The first task was there before the endpoint was; only its call is new.
        assert [one["type"] for one in messages] == [
            "task.created",
            "task.attempt_started",
            "task.retry",
        ]
        assert messages[0]["version"] == 1
        assert messages[0]["data"]["task"]["number"] == "+74951234567"
        assert messages[0]["data"]["attempt"] is None
        assert messages[1]["data"]["attempt"]["result"] is None
        assert messages[2]["data"]["attempt"]["result"] == "BUSY"
        assert messages[2]["data"]["reason"]["code"] == "retry"
        assert len(set(world.receiver.ids)) == 3
        state = await world.webhooks.get("crm")
        assert (state.waiting, state.endpoint.delivered) == (0, 3)
        assert state.endpoint.answer_status == 200

    in_world(tmp_path, test)


def test_failed_message_is_sent_again_with_the_same_id_and_holds_up_the_next(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        await world.add()
        world.service.ask()
        world.service.ask()
        world.receiver.answer = BAD
        pauses: list[float] = []
        pause = await world.deliver()
        for _ in range(8):
            assert pause is not None
            pauses.append(round(pause, 2))
            assert await world.deliver() == pause, "it is sent before its time"
            pause = await world.wait_and_deliver(pause)
        assert pauses == [5, 15, 60, 300, 900, 1800, 3600, 3600]
        assert len(set(world.receiver.ids)) == 1
        assert (
            len({post.headers["webhook-signature"] for post in world.receiver.posts})
            > 1
        )
        state = await world.webhooks.get("crm")
        assert state.waiting == 2
        assert state.endpoint.failures == 9
        assert state.endpoint.answer == "500: out of order"
        world.receiver.answer = GOOD
        assert pause is not None
        assert await world.wait_and_deliver(pause) is None
        assert len(set(world.receiver.ids)) == 2
        endpoint = (await world.webhooks.get("crm")).endpoint
        assert (endpoint.failures, endpoint.failing_since) == (0, None)

    in_world(tmp_path, test)


def test_message_behind_a_delivered_one_does_not_bring_it_back(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        for _ in range(3):
            world.service.ask()
        world.receiver.answer = lambda post: (
            BAD if len(world.receiver.posts) == 2 else GOOD
        )
        pause = await world.deliver()
        assert pause is not None
        assert await world.wait_and_deliver(pause) is None
        first, second, again, third = world.receiver.ids
        assert second == again
        assert len({first, second, third}) == 3

    in_world(tmp_path, test)


def test_nothing_is_lost_while_the_receiver_is_down_for_hours(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        world.receiver.answer = SILENT
        asked = [world.service.ask()]
        pause = await world.deliver()
        for hour in range(1, 31):
            while world.clock() < at(hour * 3600):
                assert pause is not None
                # The process is started again each time.
                world.webhooks = world.new_webhooks()
                pause = await world.wait_and_deliver(pause)
            asked.append(world.service.ask())
        tries = len(world.receiver.posts)
        assert 30 < tries < 50, "it is tried too often or too seldom"
        world.receiver.posts.clear()
        world.receiver.answer = GOOD
        assert pause is not None
        assert await world.wait_and_deliver(pause) is None
        assert [data["task"]["id"] for data in datas(world)] == asked

    in_world(tmp_path, test)


@pytest.mark.parametrize("answer", [GOOD, BAD])
def test_message_is_not_repeated_while_its_result_can_not_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    async def no_room(*_: object) -> None:
        raise StoreUnavailable("no room left for web.sqlite3", "make room on its disk")

    async def test(world: World) -> None:
        await world.add()
        world.service.ask()
        world.receiver.answer = answer
        monkeypatch.setattr(world.state, "write", no_room)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await world.deliver()
        assert len(world.receiver.posts) == 1
        monkeypatch.undo()
        assert await world.deliver() == (5 if answer is BAD else None)
        assert len(world.receiver.posts) == 1
        endpoint = (await world.webhooks.get("crm")).endpoint
        assert (endpoint.delivered, endpoint.failures) == (
            (0, 1) if answer is BAD else (1, 0)
        )

    in_world(tmp_path, test)


def test_endpoint_is_disabled_after_three_days_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        await world.add()
        first = world.service.ask()
        world.receiver.answer = BAD
        pause = await world.deliver()
        while pause is not None:
            pause = await world.wait_and_deliver(pause)
        assert 3 * DAY_S <= (world.clock() - NOW).total_seconds() < 3 * DAY_S + 10
        endpoint = (await world.webhooks.get("crm")).endpoint
        assert "three days; the last answer: 500" in str(endpoint.disabled_why)
        assert await world.state.read(endpoints.revisions) == {}
        second = world.service.ask()
        world.receiver.posts.clear()
        world.receiver.answer = GOOD
        assert await world.deliver() is None
        assert not world.receiver.posts
        await world.webhooks.enable("crm", by=BY)
        assert await world.deliver() is None
        assert [data["task"]["id"] for data in datas(world)] == [first, second]

    in_world(tmp_path, test)


def test_receiver_that_is_gone_gets_nothing_more(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        world.service.ask()
        world.receiver.answer = GONE
        assert await world.deliver() is None
        world.service.ask()
        assert await world.deliver() is None
        assert len(world.receiver.posts) == 1
        endpoint = (await world.webhooks.get("crm")).endpoint
        assert "410" in str(endpoint.disabled_why)
        # Whoever enables it may have it begin anew.
        await world.webhooks.enable("crm", from_now=True, by=BY)
        world.receiver.answer = GOOD
        assert await world.deliver() is None
        assert len(world.receiver.posts) == 1

    in_world(tmp_path, test)


def test_pause_that_the_receiver_asks_for_is_kept(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        world.service.ask()
        world.receiver.answer = evolve(BAD, status=503, retry_after_s=7200.0)
        assert await world.deliver() == 7200
        world.receiver.answer = evolve(BAD, status=503, retry_after_s=1.0)
        assert await world.wait_and_deliver(7200) == 15

    in_world(tmp_path, test)


def test_endpoint_gets_only_the_events_and_queues_it_wants(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add("ended", types=["task.completed", "task.failed"])
        await world.add("sales", queues=["SALES"])
        sold = world.service.ask(queue="sales")
        world.service.ask(queue="support")
        world.service.call("ANSWERED", "sales")
        await world.deliver("ended")
        assert types(world) == ["task.completed"]
        world.receiver.posts.clear()
        await world.deliver("sales")
        assert {data["task"]["id"] for data in datas(world)} == {sold}
        assert len(types(world)) == 3
        # What is not wanted is passed over for good.
        assert (await world.webhooks.get("ended")).waiting == 0
        with pytest.raises(BadFilter, match=r"task\.complete;? "):
            await world.add("typo", types=["task.complete"])

    in_world(tmp_path, test)


def test_masked_endpoint_gets_no_full_number_and_no_name(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add(numbers=Numbers.MASKED)
        world.service.ask("74951234567", name="Anna Client")
        await world.deliver()
        body = world.receiver.posts[0].body.decode()
        assert "74951234567" not in body and "Anna" not in body
        assert datas(world)[0]["task"]["number"] == "+74951234•••"
        # The number of a telephone of the house.
        world.service.ask("1234")
        await world.deliver()
        assert datas(world)[-1]["task"]["number"] == "+1•••"

    in_world(tmp_path, test)


def test_both_secrets_are_valid_for_a_while_after_a_rotation(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        old = await world.add()
        new = await world.webhooks.rotate("crm", by=BY)
        assert old != new and new.startswith("whsec_")
        world.service.ask()
        await world.deliver()
        for secret in (old, new):
            verified(secret, world.receiver.posts[0])
        # A second rotation ends the first secret at once: two are valid at a time.
        newest = await world.webhooks.rotate("crm", by=BY)
        world.service.ask()
        await world.deliver()
        verified(newest, world.receiver.posts[1])
        with pytest.raises(AssertionError):
            verified(old, world.receiver.posts[1])
        world.clock.advance(DAY_S + 1)
        world.service.ask()
        await world.deliver()
        assert " " not in world.receiver.posts[2].headers["webhook-signature"]

    in_world(tmp_path, test)


def test_range_is_sent_again_with_the_same_ids_after_what_waits(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        for _ in range(120):
            world.clock.advance(60)
            world.service.ask()
        await world.deliver()
        ids = list(world.receiver.ids)
        world.receiver.posts.clear()
        assert await world.webhooks.replay("crm", 3, 110, by=BY) == 108
        new = world.service.ask()
        await world.deliver()
        assert datas(world)[0]["task"]["id"] == new
        assert world.receiver.ids[1:] == ids[2:110]
        assert (await world.webhooks.get("crm")).endpoint.replay is None
        # By time: an event at either end is within.
        world.receiver.posts.clear()
        assert await world.webhooks.replay("crm", at(60 * 5), at(60 * 8), by=BY) == 4
        await world.deliver()
        assert world.receiver.ids == ids[4:8]
        with pytest.raises(NothingToReplay):
            await world.webhooks.replay("crm", at(10 * DAY_S), by=BY)

    in_world(tmp_path, test)


def test_replay_goes_on_after_a_failure_and_a_restart(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        for _ in range(3):
            world.service.ask()
        await world.deliver()
        ids = list(world.receiver.ids)
        world.receiver.posts.clear()
        await world.webhooks.replay("crm", 1, by=BY)
        world.receiver.answer = lambda post: (
            BAD if len(world.receiver.posts) == 2 else GOOD
        )
        pause = await world.deliver()
        assert pause is not None
        world.webhooks = world.new_webhooks()
        assert await world.wait_and_deliver(pause) is None
        assert world.receiver.ids == [ids[0], ids[1], ids[1], ids[2]]

    in_world(tmp_path, test)


def test_test_message_is_sent_at_once_and_changes_nothing(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        secret = await world.add()
        await world.webhooks.disable("crm", by=BY)
        before = (await world.webhooks.get("crm")).endpoint
        answer = await world.webhooks.test("crm")
        assert answer.is_success
        message = verified(secret, world.receiver.posts[0])
        assert message["type"] == "webhook.test"
        assert message["data"] == {"endpoint": "crm"}
        assert (await world.webhooks.get("crm")).endpoint == before

    in_world(tmp_path, test)


def test_alarms_are_delivered(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add(queues=["support"])
        raised = AlarmChange(
            id=0,
            at=NOW,
            kind=AlarmKind.LINK_DOWN,
            queue="",
            level=Level.RED,
            before=Level.YELLOW,
            since=NOW,
            value=130.0,
            threshold=120.0,
        )
        of_sales = evolve(raised, kind=AlarmKind.NO_AGENTS, queue="sales")
        cleared = evolve(raised, level=None, before=Level.RED, value=0.0)
        await world.state.write(store_changes, [raised, of_sales, cleared])
        await world.deliver()
        assert types(world) == ["alarm.raised", "alarm.cleared"]
        assert datas(world)[0] == {
            "alarm": "link_down",
            "queue": None,
            "level": "red",
            "before": "yellow",
            "value": 130.0,
            "threshold": 120.0,
            "unit": "seconds",
            "since": "2026-03-01T12:00:00.000Z",
            "words": "the service has had no link to Asterisk for 2 min",
        }

    in_world(tmp_path, test)


def test_events_of_a_restored_database_have_other_ids(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        world.service.ask()
        copy = world.service.copy()
        world.service.ask()
        await world.deliver()
        world.service.restore(copy)
        world.clock.advance(60)
        again = world.service.ask()
        await world.deliver()
        assert [data["task"]["id"] for data in datas(world)] == [1, 2, again]
        assert again == 2
        assert len(set(world.receiver.ids)) == 3

    in_world(tmp_path, test)


def test_running_webhooks_follow_changes_of_endpoints(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        got = asyncio.Event()

        def answer(post: Post) -> Answer:
            got.set()
            return GOOD

        world.receiver.answer = answer
        running = [
            asyncio.create_task(world.webhooks.run()),
            asyncio.create_task(world.feed.run()),
        ]
        await world.feed.wait(None, 10)
        await world.add()
        world.service.ask()
        world.live.changed.set()
        await got.wait()
        await world.webhooks.remove("crm", by=BY)
        await world.add("other", types=["task.cancelled"])
        got.clear()
        task = world.service.ask()
        world.service.cancel(task)
        world.live.changed.set()
        await got.wait()
        assert types(world) == ["task.created", "task.cancelled"]
        for task_ in running:
            task_.cancel()
        await asyncio.wait(running)

    in_world(tmp_path, test)


def test_change_by_an_administrator_during_a_delivery_is_kept(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        for _ in range(2):
            world.service.ask()
        answered, go_on = asyncio.Event(), asyncio.Event()
        post = world.receiver.post

        async def slow(url: str, headers: dict[str, str], body: bytes) -> Answer:
            answered.set()
            await go_on.wait()
            return await post(url, headers, body)

        world.receiver.post = slow  # type: ignore[method-assign]
        delivering = asyncio.create_task(world.deliver())
        await answered.wait()
        await world.webhooks.enable("crm", from_now=True, by=BY)
        go_on.set()
        await delivering
        # The delivery that was under way does not set the position back.
        assert len(world.receiver.posts) == 1
        assert (await world.webhooks.get("crm")).waiting == 0

    in_world(tmp_path, test)


def test_wrong_endpoints_are_refused(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.add()
        with pytest.raises(WebhookExists):
            await world.add()
        with pytest.raises(BadUrl):
            await world.webhooks.add("ftp", "ftp://crm.example.org/", by=BY)
        with pytest.raises(NoSuchWebhook):
            await world.webhooks.test("nobody")
        for work in (
            world.webhooks.enable,
            world.webhooks.rotate,
            world.webhooks.remove,
        ):
            with pytest.raises(NoSuchWebhook):
                await work("nobody", by=BY)
        await world.webhooks.remove("crm", by=BY)
        assert await world.webhooks.all() == []
        # Only what was really changed is in the audit.
        noted = await world.state.read(audit.latest, 10)
        assert [(one.event, one.actor, one.subject) for one in reversed(noted)] == [
            ("webhook-made", "anna", "crm"),
            ("webhook-removed", "anna", "crm"),
        ]

    in_world(tmp_path, test)


def test_every_move_of_a_task_has_a_type() -> None:
    assert set(TYPES) == set(Move)
    assert len(set(TYPES.values())) == len(Move)
    assert set(TYPES.values()) < set(CHOOSABLE)


async def delivered(world: World, count: int) -> None:
    """Wait until it is stored that so many messages were delivered."""
    async with asyncio.timeout(PATIENCE_S):
        while sum(one.endpoint.delivered for one in await world.webhooks.all()) < count:
            await asyncio.sleep(0.01)


def test_two_processes_on_one_database_send_each_message_once(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        other = SendingLease(world.state, now=world.clock)
        await other.look()
        webhooks = [world.webhooks, world.new_webhooks(lease=other)]
        alarms = [build_alarms(world), build_alarms(world, lease=other)]
        await world.add()
        await world.add("alarms", types=["alarm.*"])
        old = world.clock() - timedelta(hours=2)
        world.live.snapshot = live_state(support={"oldest_callback_since": old})
        for _ in range(2):
            for one in alarms:
                await one.evaluate()
        assert len(alarms[0].current()) == 1
        assert alarms[1].current() == alarms[0].current()
        world.service.ask()
        await world.feed.look()
        running = [
            asyncio.create_task(lease.while_held(one.run))
            for lease, one in zip((world.lease, other), webhooks, strict=True)
        ]
        await delivered(world, 3)
        assert len(world.receiver.posts) == 3
        # The first process has ended.
        running[0].cancel()
        await world.state.write(_free_lease)
        await other.look()
        world.service.ask()
        await world.feed.look()
        await delivered(world, 4)
        assert len(set(world.receiver.ids)) == len(world.receiver.ids) == 4
        assert (webhooks[0].outcomes, webhooks[1].outcomes) == (
            {"delivered": 3},
            {"delivered": 1},
        )
        assert await alarms[1].evaluate() == []
        assert len(alarms[1].current()) == 1
        for task in running:
            task.cancel()
        await asyncio.wait(running)

    in_world(tmp_path, test)


def _free_lease(conn: sa.Connection) -> None:
    conn.execute(SENDING.update().values(token=""))
