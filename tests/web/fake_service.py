# SPDX-License-Identifier: MIT
"""A small service on a Unix socket that answers as a test says.

For what a real service does rarely: to send half a message, to be silent, to vanish.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self

from attrs import define, field


@define(eq=False)
class Exchange:
    """One request, and the connection for its answer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    writer: asyncio.StreamWriter

    def answer(
        self, status: int, value: Any, content: str = "application/json"
    ) -> None:
        """Send a whole answer."""
        body = json.dumps(value).encode()
        self.writer.write(
            f"HTTP/1.1 {status} x\r\nContent-Type: {content}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def begin_stream(self) -> None:
        """Begin a text/event-stream."""
        self.writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Connection: close\r\n\r\n"
        )

    def event(self, kind: str, value: Any) -> None:
        """Send an event."""
        self.writer.write(f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode())

    def hang_up(self) -> None:
        """Close the connection."""
        self.writer.close()


@define(eq=False)
class FakeService:
    """Answers each request by a function of the test; a context manager."""

    path: Path
    on_request: Callable[[Exchange], Awaitable[None]]
    requests: list[Exchange] = field(factory=list)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Vanish: end all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for exchange in self.requests:
                exchange.hang_up()
            self.path.unlink(missing_ok=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, path, _ = first.split()
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        exchange = Exchange(
            method, path, headers, json.loads(body) if body else None, writer
        )
        self.requests.append(exchange)
        await self.on_request(exchange)
