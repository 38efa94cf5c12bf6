# SPDX-License-Identifier: MIT
"""The live state: one stream from the service for all browsers and clients.

Keeps the newest snapshot, connects again after a loss, and gives every change to all
subscribers. A subscriber that reads too slowly gets a new snapshot in place of the
changes that it missed, so nobody makes this process buffer much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

from fastagi.errors import CallbackError, Problem
from fastagi.web.service_client import LiveMessage, ServiceClient, ServiceProblem

#: Pauses before connecting again, in seconds; the last one is repeated.
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
#: Maximum number of changes that wait for one subscriber.
_MAX_WAITING: Final = 20
_MAX_SUBSCRIBERS: Final = 500
#: The parts of a snapshot that are no maps of entities.
_SCALARS: Final = frozenset({"id", "at", "service"})

_log = logging.getLogger(__name__)


class TooManySubscribers(CallbackError):
    """No more subscribers are admitted."""


class LiveView:
    """The newest state of the service, and its subscribers."""

    def __init__(
        self,
        client: ServiceClient,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pauses_s: tuple[float, ...] = _PAUSES_S,
        max_subscribers: int = _MAX_SUBSCRIBERS,
    ) -> None:
        """Prepare; `start` connects.

        Args:
            client: the connection to the service.
            now: the current time.
            pauses_s: pauses before connecting again; the last one is repeated.
            max_subscribers: maximum number of subscribers.
        """
        self._client = client
        self._now = now
        self._pauses_s = pauses_s
        self._max_subscribers = max_subscribers
        self._snapshot: Mapping[str, Any] | None = None
        self._down_since: datetime | None = now()
        self._problem: Problem | None = Problem("", "not connected to the service yet")
        # Weak: of a browser that goes away before its answer begins, nobody would end
        # the subscription.
        self._subscribers: WeakSet[Subscription] = WeakSet()
        self._running: asyncio.Task[None] | None = None

    @property
    def snapshot(self) -> Mapping[str, Any] | None:
        """The newest state; None while the service can not be reached.

        It is never changed: a change makes a new one.
        """
        return self._snapshot

    @property
    def down_since(self) -> datetime | None:
        """Since when the service can not be reached; None: it can."""
        return self._down_since

    @property
    def problem(self) -> Problem | None:
        """Why the service can not be reached; None: it can."""
        return self._problem

    @property
    def subscribers(self) -> int:
        """The number of subscribers."""
        return len(self._subscribers)

    def start(self) -> None:
        """Connect to the service, and stay connected until `close`."""
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="live view")

    async def close(self) -> None:
        """End the stream, and the changes of all subscribers."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        for subscriber in list(self._subscribers):
            subscriber.close()

    def subscribe(self) -> Subscription:
        """Return a subscription, which begins with the current state.

        Raises:
            TooManySubscribers: no more are admitted.
        """
        if len(self._subscribers) >= self._max_subscribers:
            raise TooManySubscribers(
                f"{self._max_subscribers} live streams are open already",
                "close some pages of the console",
            )
        subscription = Subscription(self)
        self._subscribers.add(subscription)
        return subscription

    async def changes(self) -> AsyncIterator[LiveMessage]:
        """Yield the current state, and then each change."""
        with self.subscribe() as subscription:
            while (message := await subscription.next()) is not None:
                yield message

    def current(self) -> LiveMessage:
        """Return the current state as a message."""
        if self._snapshot is not None:
            return LiveMessage("snapshot", self._snapshot)
        since, problem = self._down_since, self._problem
        assert since is not None and problem is not None
        return LiveMessage(
            "down",
            {"since": since.isoformat(timespec="milliseconds"), "reason": str(problem)},
        )

    def forget(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._subscribers.discard(subscription)

    # -- the stream --------------------------------------------------------

    async def _run(self) -> None:
        tries = 0
        while True:
            try:
                async for message in self._client.stream():
                    self._take(message)
                    tries = 0
            except CallbackError as error:
                self._went_down(error)
            except Exception:
                # A fault of this program must not end the live view for good.
                _log.exception("the live stream failed")
                self._went_down(CallbackError("the live stream failed; see the log"))
            await asyncio.sleep(self._pauses_s[min(tries, len(self._pauses_s) - 1)])
            tries += 1

    def _take(self, message: LiveMessage) -> None:
        if message.kind == "snapshot":
            self._snapshot = message.data
            if self._down_since is not None:
                _log.info("connected to the service")
            self._down_since = self._problem = None
        elif self._snapshot is None:
            return
        elif message.data["id"] != self._snapshot["id"] + 1:
            raise CallbackError("a change of the live state is missing")
        else:
            self._snapshot = changed(self._snapshot, message.data)
        for subscriber in list(self._subscribers):
            subscriber.put(message)

    def _went_down(self, error: CallbackError) -> None:
        problem = error.problem
        if isinstance(error, ServiceProblem) and error.status == 404:
            problem = Problem(
                "",
                "the service has no live state",
                "install the same version of the service and of the web process, and"
                " restart both",
            )
        if self._down_since is not None and problem == self._problem:
            return
        _log.warning("no live state: %s", problem)
        self._snapshot = None
        self._down_since = self._down_since or self._now()
        self._problem = problem
        for subscriber in list(self._subscribers):
            subscriber.put(self.current())


class Subscription:
    """The changes for one subscriber; a context manager, which ends it."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self._waiting: deque[LiveMessage] = deque([view.current()])
        self._arrived = asyncio.Event()
        self._arrived.set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription; `next` then returns None."""
        self._closed = True
        self._waiting.clear()
        self._arrived.set()
        self._view.forget(self)

    def put(self, message: LiveMessage) -> None:
        """Add a message; if too many wait, the newest state replaces them."""
        if message.kind != "change" or len(self._waiting) >= _MAX_WAITING:
            self._waiting.clear()
            message = self._view.current()
        self._waiting.append(message)
        self._arrived.set()

    async def next(self, within_s: float | None = None) -> LiveMessage | None:
        """Return the next message; None if there is none in time, or at the end."""
        if not self._waiting and not self._closed:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._arrived.wait()
        return self._waiting.popleft() if self._waiting else None

    @property
    def ended(self) -> bool:
        """Whether there are no more messages."""
        return self._closed


def changed(
    snapshot: Mapping[str, Any], change: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the snapshot after a change, without changing the one before."""
    after = {**snapshot, "id": change["id"], "at": change["at"]}
    for part, entities in change.get("set", {}).items():
        if part in _SCALARS:
            after[part] = entities
        else:
            after[part] = {**after.get(part, {}), **entities}
    for part, keys in change.get("remove", {}).items():
        gone = set(keys)
        left = after.get(part, {}).items()
        after[part] = {key: value for key, value in left if key not in gone}
    return after
