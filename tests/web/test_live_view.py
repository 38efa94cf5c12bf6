# SPDX-License-Identifier: MIT
"""The live state in the web process, from a service that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastagi.web.live import LiveView, Subscription, TooManySubscribers, changed
from fastagi.web.service_client import LiveMessage, ServiceClient
from tests.web.fake_service import Exchange, FakeService

_DEADLINE_S = 20.0


def _snapshot(number: int, **tasks: Any) -> dict[str, Any]:
    return {"id": number, "at": "t", "service": {}, "queues": {}, "tasks": tasks}


@asynccontextmanager
async def _view(socket: Path, **more: Any) -> AsyncIterator[LiveView]:
    client = ServiceClient(socket)
    view = LiveView(client, pauses_s=(0.01,), **more)
    view.start()
    try:
        yield view
    finally:
        await view.close()
        await client.close()


async def _next(subscription: Subscription, kind: str) -> Mapping[str, Any]:
    """Return the next message of one kind."""
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            message = await subscription.next()
            assert message is not None
            if message.kind == kind:
                return message.data


def _streams(*events: tuple[str, Any]) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        for kind, value in events:
            exchange.event(kind, value)

    return answer


def test_changes_are_applied_to_the_snapshot(tmp_path: Path) -> None:
    answer = _streams(
        ("snapshot", _snapshot(1, **{"16": {"n": 1}, "17": {"n": 1}})),
        (
            "change",
            {
                "id": 2,
                "at": "u",
                "set": {"tasks": {"17": {"n": 2}}, "service": {"version": "x"}},
                "remove": {"tasks": ["16", "99"]},
            },
        ),
    )

    async def run() -> None:
        async with FakeService(tmp_path / "s", answer), _view(tmp_path / "s") as view:
            with view.subscribe() as subscription:
                first = await _next(subscription, "snapshot")
                await _next(subscription, "change")
                assert view.snapshot is not None
                assert view.snapshot["tasks"] == {"17": {"n": 2}}
                assert view.snapshot["service"] == {"version": "x"}
                assert view.snapshot["id"] == 2
                assert view.down_since is None
                # Whoever holds the state before does not see it change.
                assert set(first["tasks"]) == {"16", "17"}

    asyncio.run(run())


def test_a_service_that_is_down_is_told_and_found_again(tmp_path: Path) -> None:
    socket = tmp_path / "s"

    async def run() -> None:
        service = FakeService(socket, _streams(("snapshot", _snapshot(1))))
        async with _view(socket) as view:
            assert view.snapshot is None
            since = view.down_since
            with view.subscribe() as subscription:
                down = await _next(subscription, "down")
                assert down["since"] == since.isoformat(timespec="milliseconds")
                await service.start()
                await _next(subscription, "snapshot")
                await service.stop()
                down = await _next(subscription, "down")
                assert view.snapshot is None
                assert view.down_since > since
                await service.start()
                await _next(subscription, "snapshot")
                assert view.down_since is None
                await service.stop()

    asyncio.run(run())


def test_a_message_that_makes_no_sense_leads_to_a_new_snapshot(tmp_path: Path) -> None:
    streams = iter(
        [
            _streams(("snapshot", _snapshot(1)), ("change", {"set": 5})),
            _streams(("snapshot", _snapshot(2)), ("change", {"id": 4, "at": "t"})),
            _streams(("snapshot", _snapshot(7))),
        ]
    )

    async def run() -> None:
        async def answer(exchange: Exchange) -> None:
            await next(streams)(exchange)

        async with FakeService(tmp_path / "s", answer), _view(tmp_path / "s") as view:
            with view.subscribe() as subscription:
                while (await _next(subscription, "snapshot"))["id"] != 7:
                    pass

    asyncio.run(run())


def test_a_slow_subscriber_gets_the_newest_state_in_place_of_old_changes(
    tmp_path: Path,
) -> None:
    change = {"at": "t", "set": {"tasks": {"1": {}}}, "remove": {}}
    answer = _streams(
        ("snapshot", _snapshot(0)),
        *(("change", {**change, "id": number}) for number in range(1, 101)),
    )

    async def run() -> None:
        async with FakeService(tmp_path / "s", answer), _view(tmp_path / "s") as view:
            with view.subscribe() as slow, view.subscribe() as watch:
                while (await watch.next(_DEADLINE_S)).data.get("id") != 100:
                    pass
                seen = []
                while not seen or seen[-1].data["id"] != 100:
                    seen.append(await slow.next(1))
                assert len(seen) <= 21
                assert seen[0].kind == "snapshot"
                numbers = [message.data["id"] for message in seen]
                first = numbers[0]
                assert first > 0 and numbers == list(range(first, 101))

    asyncio.run(run())


def test_a_subscriber_that_left_is_forgotten_and_too_many_are_refused(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with _view(tmp_path / "s", max_subscribers=2) as view:
            with (
                view.subscribe(),
                view.subscribe(),
                pytest.raises(TooManySubscribers),
            ):
                view.subscribe()
            assert view.subscribers == 0

    asyncio.run(run())


def test_at_the_end_every_subscriber_ends(tmp_path: Path) -> None:
    async def run() -> list[LiveMessage]:
        async with _view(tmp_path / "s") as view:
            reading = asyncio.create_task(_all(view))
            while not view.subscribers:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        async with asyncio.timeout(_DEADLINE_S):
            return await reading

    async def _all(view: LiveView) -> list[LiveMessage]:
        return [message async for message in view.changes()]

    assert {message.kind for message in asyncio.run(run())} <= {"down"}


def test_without_a_message_in_time_the_subscriber_may_send_a_heartbeat(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        view = LiveView(ServiceClient(tmp_path / "s"))
        with view.subscribe() as subscription:
            assert (await subscription.next()).kind == "down"
            assert await subscription.next(within_s=0.01) is None
            assert not subscription.ended

    asyncio.run(run())


def test_parts_of_a_later_version_are_kept() -> None:
    after = changed(
        {"id": 1, "at": "t"}, {"id": 2, "at": "u", "set": {"new": {"a": {}}}}
    )
    assert after == {"id": 2, "at": "u", "new": {"a": {}}}
