# SPDX-License-Identifier: MIT
"""The real process, killed between a delivery and its commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fastagi.web.app import build_parts
from fastagi.web.settings import WebSettings, load
from tests.web.help import START_S, running
from tests.web.signals.harness import BY, Clock, Service


class Counting:
    """A real receiver: counts the messages by their id."""

    def __init__(self) -> None:
        self.ids: queue.Queue[str] = queue.Queue()
        #: Called with each id before it is answered.
        self.before_answer: Callable[[str], None] = lambda _id: None
        counting = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message_id = str(self.headers["webhook-id"])
                self.rfile.read(int(str(self.headers["content-length"])))
                counting.before_answer(message_id)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                counting.ids.put(message_id)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self) -> str:
        return self.ids.get(timeout=START_S)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def add_webhook(settings: WebSettings, url: str) -> None:
    async def add() -> None:
        parts = build_parts(settings)
        await parts.signals.webhooks.add("counter", url, by=BY)
        await parts.close()

    asyncio.run(add())


def test_kill_between_delivery_and_commit_repeats_the_id_and_loses_nothing(
    tmp_path: Path,
) -> None:
    service = Service(tmp_path / "callbacks.db", Clock())
    receiver = Counting()
    path = tmp_path / "web.yaml"
    path.write_text(
        f"web: {{socket: {tmp_path}/web.sock, public_url: 'http://web.test'}}\n"
        f"service: {{socket: {tmp_path}/none.sock,"
        f" database_url: 'sqlite:///{service.path}'}}\n"
        f"database: {{url: 'sqlite:///{tmp_path}/web.sqlite3'}}\n"
        "webhooks: {allowed_addresses: [127.0.0.1]}\n"
    )
    add_webhook(load(path), receiver.url)
    tasks = [service.ask() for _ in range(4)]
    with closing(
        sqlite3.connect(tmp_path / "web.sqlite3", check_same_thread=False)
    ) as own:
        own.isolation_level = None
        held = threading.Event()

        def hold_commits_at_the_third(message_id: str) -> None:
            if f"_{tasks[2]}_" in message_id and not held.is_set():
                # From now on the process can not commit.
                own.execute("BEGIN IMMEDIATE")
                held.set()

        receiver.before_answer = hold_commits_at_the_third
        with running(tmp_path, path) as process:
            first = [receiver.next() for _ in range(3)]
            assert held.is_set()
            process.kill()
            process.wait(START_S)
        own.execute("ROLLBACK")
    with running(tmp_path, path) as process:
        second = [receiver.next() for _ in range(2)]
        # It goes on with what comes now, after a restored database, too.
        copy = service.copy()
        service.ask()
        third = receiver.next()
        service.restore(copy)
        service.clock.advance(60)
        service.ask()
        fourth = receiver.next()
        process.terminate()
        process.wait(START_S)
    service.close()
    receiver.close()
    assert second[0] == first[2], "the message that was not committed is repeated"
    assert len({*first, *second, third, fourth}) == 6
    assert receiver.ids.empty()
