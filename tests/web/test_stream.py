# SPDX-License-Identifier: MIT
"""The stream that tells a page that something on it has changed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fastagi.web.console import stream
from fastagi.web.live import LiveView
from fastagi.web.service_client import LiveMessage, ServiceClient
from tests.web.live_state import snapshot

_WITHIN_S = 5.0


class _Service(ServiceClient):
    """A service whose live messages a test sends."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[LiveMessage] = asyncio.Queue()

    async def stream(self) -> AsyncIterator[LiveMessage]:
        """Yield what the test sends."""
        yield LiveMessage("snapshot", snapshot())
        while True:
            yield await self.messages.get()


class _Alarms:
    """Alarms that a test raises."""

    def __init__(self) -> None:
        self.raised: tuple[str, ...] = ()
        self.changed = asyncio.Event()

    def current(self) -> tuple[str, ...]:
        """Return those that are on."""
        return self.raised

    async def wait(self, _within_s: float | None) -> None:
        """Wait for a change."""
        await self.changed.wait()


async def _always() -> bool:
    return True


def _change(number: int, **parts: Any) -> LiveMessage:
    return LiveMessage("change", {"id": number, "at": "", "set": parts, "remove": {}})


async def _told(
    watch: str,
    task: int,
    happens: Callable[[_Service, _Alarms], None],
    *,
    with_alarms: bool = False,
) -> list[bytes]:
    """Return what a page is told until the stream ends."""
    service, alarms, stopping = _Service(), _Alarms(), asyncio.Event()
    view = LiveView(service)
    view.start()
    async with asyncio.timeout(_WITHIN_S):
        async for _ in view.changes():
            if view.snapshot is not None:
                break
        told = []
        pieces = stream._pieces(
            view.subscribe(),
            alarms if with_alarms else None,  # type: ignore[arg-type]
            stopping,
            _always,
            stream._matters(watch, task),
            0.0,
        )
        async for piece in pieces:
            told.append(piece)
            if len(told) == 1:
                asyncio.get_running_loop().call_soon(happens, service, alarms)
            if piece.startswith(b"event: changed"):
                break
        await view.close()
    return told[1:]


_MESSAGES = (
    _change(2, queues={"support": {}}),
    _change(3, tasks={"16": {}}),
    _change(4, attempts={"40": {"task_id": 17}}),
)


def _happens(service: _Service, _alarms: _Alarms) -> None:
    for message in _MESSAGES:
        service.messages.put_nowait(message)


@pytest.mark.parametrize(
    ("watch", "matters"),
    [
        ("live", [True, True, True]),
        ("tasks", [False, True, False]),
        ("task", [False, False, True]),
    ],
)
def test_a_page_is_told_of_the_changes_that_it_shows(
    watch: str, matters: list[bool]
) -> None:
    told = asyncio.run(_told(watch, 17, _happens))
    assert told == [b"event: changed\ndata: 1\n\n"]
    judge = stream._matters(watch, 17)
    assert [judge(one.data) for one in _MESSAGES] == matters


def test_an_alarm_that_begins_when_nothing_else_happens_is_told() -> None:
    def happens(_service: _Service, alarms: _Alarms) -> None:
        alarms.raised = ("oldest",)
        alarms.changed.set()

    told = asyncio.run(_told("live", 0, happens, with_alarms=True))
    assert told == [b"event: changed\ndata: 1\n\n"]


def test_a_closed_stream_ends() -> None:
    async def run() -> None:
        view = LiveView(_Service())
        subscription = view.subscribe()
        pieces = stream._pieces(
            subscription,
            None,
            asyncio.Event(),
            _always,
            stream._matters("live", 0),
            0.0,
        )
        assert await anext(pieces)
        await view.close()
        assert [piece async for piece in pieces] == []

    asyncio.run(run())


def test_nothing_is_told_once_somebody_has_logged_out() -> None:
    async def run() -> list[bytes]:
        service = _Service()
        view = LiveView(service)
        view.start()
        logged_out = False

        async def still() -> bool:
            return not logged_out

        pieces = stream._pieces(
            view.subscribe(),
            None,
            asyncio.Event(),
            still,
            stream._matters("live", 0),
            0.0,
        )
        async with asyncio.timeout(_WITHIN_S):
            begin = [await anext(pieces), await anext(pieces)]
            assert begin[1].startswith(b"event: changed")
            logged_out = True
            service.messages.put_nowait(_MESSAGES[0])
            told = [piece async for piece in pieces]
        assert not view.subscribers
        await view.close()
        return told

    assert asyncio.run(run()) == []


def test_a_browser_that_goes_away_before_the_answer_begins_leaves_nothing() -> None:
    async def run() -> int:
        view = LiveView(_Service())
        pieces = stream._pieces(
            view.subscribe(),
            None,
            asyncio.Event(),
            _always,
            stream._matters("live", 0),
            0.0,
        )
        assert view.subscribers == 1
        del pieces
        gc.collect()
        return view.subscribers

    assert asyncio.run(run()) == 0
