# SPDX-License-Identifier: MIT
"""Browsers and programs at the web process: ``python -m tests.bench.web_load``.

Reads a JSON object from standard input: the port, the cookies of browsers and the
tokens of programs. A browser holds the stream of a page open and fetches the page again
when something has changed, as the console does. A program lists tasks and queues, reads
a task, and changes one now and then. Prints at the end how much was answered, and how
fast; runs until standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from typing import Any

#: What programs do in turn, twice a second each.
_READS = ("/api/v1/tasks?open=true&limit=50", "/api/v1/queues", "/api/v1/tasks/1")
_PAUSE_S = 0.5


class Load:
    """All browsers and programs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.statuses: Counter[str] = Counter()
        self.took_s: dict[str, list[float]] = {"page": [], "API": []}
        self.changes = 0

    async def request(
        self, kind: str, method: str, path: str, header: str, body: Any = None
    ) -> None:
        """Make one request, and read its whole answer."""
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            data = b"" if body is None else json.dumps(body).encode()
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{header}"
                f"\r\nConnection: close\r\nContent-Type: application/json\r\n"
                f"Accept: text/html, application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            answer = await reader.read()
            self.statuses[f"{kind} {answer[9:12].decode()}"] += 1
            self.took_s[kind].append(time.perf_counter() - began)
        finally:
            writer.close()

    async def browse(self, cookie: str) -> None:
        """Watch the page Live."""
        header = f"Cookie: {cookie}"
        await self.request("page", "GET", "/", header)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"GET /events?watch=live HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"{header}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        try:
            while line := await reader.readline():
                if line.startswith(b"event: changed"):
                    self.changes += 1
                    await self.request("page", "GET", "/", header)
        finally:
            writer.close()

    async def work(self, token: str, number: int) -> None:
        """Use the API, as a program."""
        header = f"Authorization: Bearer {token}"
        # They do not begin all at once.
        await asyncio.sleep(_PAUSE_S * number / 20)
        turn = number
        while True:
            turn += 1
            if turn % 10:
                path = _READS[turn % len(_READS)]
                await self.request("API", "GET", path, header)
            else:
                note = {"note": f"program {number}"}
                path = f"/api/v1/tasks/{1 + turn % 40}/note"
                await self.request("API", "POST", path, header, note)
            await asyncio.sleep(_PAUSE_S)


async def main() -> None:
    """Run until standard input is closed."""
    given = json.loads(sys.stdin.readline())
    load = Load(given["port"])
    running = [asyncio.create_task(load.browse(cookie)) for cookie in given["cookies"]]
    running += [
        asyncio.create_task(load.work(token, number))
        for number, token in enumerate(given["tokens"])
    ]
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.wait([closed, *running], return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        if task.done():
            # The first failure ends the measurement.
            task.result()
            raise SystemExit("a browser's stream has ended")
        task.cancel()
    print(
        json.dumps(
            {
                "statuses": load.statuses,
                "changes": load.changes,
                "took_s": {
                    kind: statistics.quantiles(took, n=100)[49:99:49]
                    for kind, took in load.took_s.items()
                    if len(took) > 1
                },
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
