# SPDX-License-Identifier: MIT
"""What tests of signals share: both databases, a clock, a live state, a receiver."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field

from fastagi.domain.reason import Code, because
from fastagi.store import lifecycle, migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from fastagi.web.records import Records
from fastagi.web.signals.addresses import Answer
from fastagi.web.signals.alarms import Alarms
from fastagi.web.signals.feed import EventFeed
from fastagi.web.signals.messages import Numbers
from fastagi.web.signals.settings import AlarmSettings
from fastagi.web.signals.webhooks import By, Webhooks
from fastagi.web.state import versions
from fastagi.web.state.sending import SendingLease
from fastagi.web.state.state import State
from tests.store.harness import NOW, RULES, done, new_task, verdict

#: Longer than any step takes; reached only if something hangs.
PATIENCE_S = 20.0
BY = By("anna", "192.0.2.1")
GOOD = Answer(status=200, words="200", outcome="delivered")
BAD = Answer(status=500, words="500: out of order", outcome="refused")
GONE = Answer(status=410, words="410: gone", outcome="gone")
SILENT = Answer(status=None, words="no answer", outcome="no_answer")


@functools.cache
def _empty_service_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "callbacks.db")
        migrate.upgrade(f"sqlite:///{path}")
        return path.read_bytes()


@functools.cache
def _empty_state_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "web.sqlite3")
        versions.prepare(f"sqlite:///{path}")
        return path.read_bytes()


class Clock:
    """The time of a test."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Service:
    """The service's database, and what the service writes into it."""

    def __init__(self, path: Path, clock: Clock, url: str = "") -> None:
        """Make it in a file, unless there is a URL of one with tables."""
        self.path = path
        self.url = url or f"sqlite:///{path}"
        self.clock = clock
        self._made = 0
        if not url:
            path.write_bytes(_empty_service_file())
        self._open()

    def _open(self) -> None:
        self._database = Database(self.url, deliver=None)
        self.store = TaskStore(self._database)

    def close(self) -> None:
        self._database.close()

    def ask(self, number: str = "", **more: Any) -> int:
        """Store a request; return the id of its task."""
        self._made += 1
        now = self.clock()
        task = new_task(
            number or f"7495{self._made:07}",
            **{"joined_at": now, "due_at": now}
            | {"expires_at": now + timedelta(days=1)}
            | more,
        )
        recorded: Any = done(self.store.add(task, now, once=False))
        return int(recorded.task.id)

    def call(self, result: str = "ANSWERED", queue: str = "support") -> None:
        """Call the next client, with this result."""
        now = self.clock()
        channel = f"{now.timestamp()}-{self._made}"
        begun = done(self.store.begin_attempts([queue], [channel], now)).begun
        assert begun, "nothing is due"
        done(self.store.close_attempt(channel, verdict(result), RULES, now))

    def cancel(self, task_id: int) -> None:
        done(self.store.cancel(task_id, new_task().why, self.clock()))

    def note(self, task_id: int) -> None:
        why = because(Code.NOTE, text="the client will call again")
        self._database.run_now("note", lifecycle.note, task_id, why, self.clock())

    def copy(self) -> bytes:
        """Return a copy of the database."""
        with closing(sqlite3.connect(self.path)) as conn:
            return conn.serialize()

    def restore(self, copy: bytes) -> None:
        """Put a copy back in place."""
        self.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(copy)
        self._open()


@define
class Live:
    """A live state that a test sets."""

    snapshot: Mapping[str, Any] | None = None
    down_since: datetime | None = None
    changed: asyncio.Event = field(factory=asyncio.Event)
    subscriptions: int = 0

    def subscribe(self) -> Live:
        self.subscriptions += 1
        return self

    async def next(self, within_s: float | None = None) -> object | None:
        try:
            async with asyncio.timeout(within_s):
                await self.changed.wait()
        except TimeoutError:
            return None
        self.changed.clear()
        return object()

    def close(self) -> None:
        self.subscriptions -= 1


@define
class Post:
    """One message that a receiver got."""

    url: str
    headers: dict[str, str]
    body: bytes
    at: datetime


@define(slots=False)
class Receiver:
    """Answers messages as a test says, in place of a network."""

    now: Callable[[], datetime]
    answer: Answer | Callable[[Post], Answer] = GOOD
    posts: list[Post] = field(factory=list)

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        post = Post(url, headers, body, self.now())
        self.posts.append(post)
        return self.answer(post) if callable(self.answer) else self.answer

    @property
    def ids(self) -> list[str]:
        return [post.headers["webhook-id"] for post in self.posts]


@define
class World:
    """Both databases, and what follows the events."""

    clock: Clock
    service: Service
    records: Records
    state: State
    lease: SendingLease
    live: Live
    feed: EventFeed
    receiver: Receiver
    webhooks: Webhooks = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.webhooks = self.new_webhooks()

    def new_webhooks(self, lease: SendingLease | None = None) -> Webhooks:
        """Return webhooks, as after a start of the process."""
        return Webhooks(
            state=self.state,
            lease=lease or self.lease,
            records=self.records,
            feed=self.feed,
            sender=self.receiver,
            now=self.clock,
            jitter=lambda: 0.0,
        )

    async def add(self, name: str = "crm", **more: Any) -> str:
        return await self.webhooks.add(
            name,
            "https://crm.example.org/hook",
            **{"numbers": Numbers.FULL, "by": BY} | more,
        )

    async def deliver(self, name: str = "crm") -> float | None:
        endpoint = (await self.webhooks.get(name)).endpoint
        return await self.webhooks.deliver(endpoint.id)

    async def wait_and_deliver(self, pause_s: float) -> float | None:
        """Let time pass until the next try, and a little more; try."""
        self.clock.advance(pause_s + 0.001)
        return await self.deliver()


def build_alarms(
    world: World,
    settings: AlarmSettings | None = None,
    *,
    lease: SendingLease | None = None,
) -> Alarms:
    """Return alarms, as after a start of the process."""
    return Alarms(
        settings or AlarmSettings(),
        lease=lease or world.lease,
        live=world.live,
        failures=lambda _now: {},
        now=world.clock,
    )


def in_world(
    tmp_path: Path,
    test: Callable[[World], Awaitable[None]],
    *,
    service_url: str = "",
    state_url: str = "",
) -> None:
    """Run a test with everything, and close it afterwards.

    Both databases are new SQLite files, unless there are URLs.
    """

    async def run() -> None:
        clock = Clock()
        service = Service(tmp_path / "callbacks.db", clock, service_url)
        url = state_url or f"sqlite:///{tmp_path}/web.sqlite3"
        if state_url:
            versions.prepare(url)
        else:
            (tmp_path / "web.sqlite3").write_bytes(_empty_state_file())
        state, records = State(url), Records(service.url)
        live, lease = Live(), SendingLease(state, now=clock)
        feed, receiver = EventFeed(records, live.subscribe), Receiver(clock)
        world = World(clock, service, records, state, lease, live, feed, receiver)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await lease.look()
                await test(world)
        finally:
            service.close()
            records.close()
            state.close()

    asyncio.run(run())
