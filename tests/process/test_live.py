# SPDX-License-Identifier: MIT
"""The live state of the real process, as the web process reads it."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from fastagi.service.commands import AddTask
from fastagi.web.service_client import LiveMessage, ServiceClient, ServiceDown
from tests.process.program import Program

_DEADLINE_S = 30.0


def test_web_process_sees_a_task_appear_and_the_service_stop(tmp_path: Path) -> None:
    async def watch(program: Program) -> list[LiveMessage]:
        client = ServiceClient(program.socket)
        seen: list[LiveMessage] = []
        with suppress(ServiceDown):
            async for message in client.stream():
                seen.append(message)
                if message.kind == "snapshot":
                    await client.do(AddTask(queue="support", number="030123456"), "ada")
                elif "tasks" in message.data["set"]:
                    # The service ends the stream, and does not wait for the client.
                    await asyncio.to_thread(program.end)
        await client.close()
        return seen

    with Program(tmp_path) as program:
        snapshot, *changes = asyncio.run(
            asyncio.wait_for(watch(program), timeout=_DEADLINE_S)
        )
    assert snapshot.kind == "snapshot"
    assert snapshot.data["tasks"] == {}
    with_task = [one.data for one in changes if "tasks" in one.data["set"]]
    assert with_task[0]["set"]["tasks"]["1"]["number"] == "030123456"
    ids = [message.data["id"] for message in (snapshot, *changes)]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert not re.search(r"^\S+ \S+ (error|critical) ", program.said, re.MULTILINE)
