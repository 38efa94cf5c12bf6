# SPDX-License-Identifier: MIT
"""The connection of the web process to the service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fastagi.service.commands import CancelTask, ListTasks
from fastagi.web.service_client import (
    LiveMessage,
    ServiceClient,
    ServiceDown,
    ServiceProblem,
)
from tests.web.fake_service import Exchange, FakeService

_CANCEL = CancelTask(id=5, reason="a mistake")


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    """The path of a socket, on which nobody listens yet."""
    return tmp_path / "control.sock"


def test_a_command_is_sent_with_its_fields_and_its_actor(socket: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.answer(200, [{"id": 5}])

    async def ask() -> None:
        client = ServiceClient(socket)
        async with FakeService(socket, answer) as service:
            command = ListTasks(queue="support", status="pending")
            assert await client.do(command, "anna") == [{"id": 5}]
            (request,) = service.requests
        await client.close()
        assert (request.method, request.path) == ("POST", "/v1/commands/tasks.list")
        assert request.body["actor"] == "anna"
        assert request.body["queue"] == "support"
        assert request.body["status"] == ["pending"]

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("status", "value", "code", "detail"),
    [
        (
            404,
            {"code": "no-such-task", "detail": "no task 5"},
            "no-such-task",
            "no task 5",
        ),
        (500, ["nonsense"], "failed", "the service failed"),
    ],
)
def test_a_problem_has_its_status_code_and_words(
    socket: Path, status: int, value: object, code: str, detail: str
) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.answer(status, value, "application/problem+json")

    async def ask() -> ServiceProblem:
        client = ServiceClient(socket)
        async with FakeService(socket, answer):
            with pytest.raises(ServiceProblem) as caught:
                await client.do(_CANCEL, "anna")
        await client.close()
        return caught.value

    problem = asyncio.run(ask())
    assert (problem.status, problem.code, problem.detail) == (status, code, detail)


def test_without_a_service_nothing_is_done_and_the_remedy_is_told(socket: Path) -> None:
    with pytest.raises(ServiceDown, match="systemctl start") as caught:
        asyncio.run(ServiceClient(socket).do(_CANCEL, "anna"))
    assert not caught.value.may_be_done


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_lost_answer_leaves_open_whether_the_command_was_carried_out(
    socket: Path, hangs_up: bool
) -> None:
    async def answer(exchange: Exchange) -> None:
        if hangs_up:
            exchange.hang_up()

    async def ask() -> ServiceDown:
        client = ServiceClient(socket, command_s=5.0 if hangs_up else 0.1)
        async with FakeService(socket, answer):
            with pytest.raises(ServiceDown) as caught:
                await client.do(_CANCEL, "anna")
        await client.close()
        return caught.value

    assert asyncio.run(ask()).may_be_done


def test_a_restarted_service_gets_the_next_command(socket: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.answer(200, {"task": {}})

    async def ask() -> None:
        client = ServiceClient(socket)
        for _life in range(2):
            async with FakeService(socket, answer):
                assert await client.do(_CANCEL, "anna") == {"task": {}}
        await client.close()

    asyncio.run(ask())


def test_messages_are_read_whatever_the_pieces_are(socket: Path) -> None:
    name = "a\u2028b\x85c"

    async def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        stream = (
            ": heartbeat\n\n"
            f'event: snapshot\ndata: {{"id": 1, "name": "{name}"}}\n\n'
            'id: 2\r\nevent: change\r\ndata: {"id":\r\ndata: 2}\r\n\r\n'
            "event: of-a-later-version\ndata: {}\n\n"
        ).encode()
        for at in range(len(stream)):
            exchange.writer.write(stream[at : at + 1])
            await exchange.writer.drain()
        exchange.hang_up()

    async def read() -> list[LiveMessage]:
        client = ServiceClient(socket)
        messages: list[LiveMessage] = []
        async with FakeService(socket, answer):
            with pytest.raises(ServiceDown, match=r"closed|lost"):
                messages += [message async for message in client.stream()]
            with pytest.raises(ServiceDown):
                async for message in client.stream():
                    messages.append(message)
        await client.close()
        return messages

    assert asyncio.run(read()) == [
        LiveMessage("snapshot", {"id": 1, "name": name}),
        LiveMessage("change", {"id": 2}),
    ]


def test_a_stream_without_heartbeat_is_given_up(socket: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.event("snapshot", {"id": 1})

    async def read() -> list[LiveMessage]:
        client = ServiceClient(socket, heartbeat_s=0.1)
        messages = []
        async with FakeService(socket, answer):
            with pytest.raises(ServiceDown, match="does not answer"):
                async for message in client.stream():
                    messages.append(message)
        await client.close()
        return messages

    assert asyncio.run(read()) == [LiveMessage("snapshot", {"id": 1})]
