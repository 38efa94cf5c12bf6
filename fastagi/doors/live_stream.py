# SPDX-License-Identifier: MIT
"""``GET /v1/live``: the live state, once as JSON, or as a stream of its changes.

The stream is one of server-sent events: an event ``snapshot``, then an event ``change``
for each change, and a comment as a heartbeat in between. The data of each event are the
JSON of :mod:`fastagi.doors.live_json`, its id is that of the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twisted.internet.interfaces import IDelayedCall

from fastagi.doors.http_server import HttpRequest
from fastagi.doors.live_json import message_pieces
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock
from fastagi.service.commands import Busy
from fastagi.service.live import Change, LiveFeed, Snapshot, Subscription, TooSlow

#: Pause between two heartbeats, in seconds. A client that misses them knows that the
#: connection is dead.
HEARTBEAT_S: Final = 10.0
#: Maximum number of streams. Each computes the JSON of each change once more.
MAX_STREAMS: Final = 10
_STREAM: Final = b"text/event-stream"
_HEARTBEAT: Final = b": heartbeat\n\n"
#: Pieces are joined until they have this length, in bytes.
_LEAST_BYTES: Final = 8192


class LivePage:
    """Answers the requests for the live state."""

    def __init__(self, feed: LiveFeed, background: Background, clock: Clock) -> None:
        self._feed = feed
        self._background = background
        self._clock = clock
        self._streams = 0

    async def answer(self, request: HttpRequest) -> None:
        """Send the live state, or a stream if the client asks for one.

        Raises:
            Busy: there are too many streams.
            StoreUnavailable: the tasks can not be read.
        """
        if not request.accepts(_STREAM):
            snapshot = await self._feed.snapshot()
            await request.say(_together(message_pieces(snapshot)))
            return
        if self._streams >= MAX_STREAMS:
            raise Busy(f"{MAX_STREAMS} clients read the live state already - try again")
        self._streams += 1
        try:
            await self._stream(request)
        finally:
            self._streams -= 1

    async def _stream(self, request: HttpRequest) -> None:
        subscription = self._feed.subscribe()
        # Also ends the wait for the next message.
        request.on_end = subscription.close
        request.begin(_STREAM)
        heart = _Heart(request, self._clock)
        try:
            await self._pass_on(subscription, request, heart)
        except TooSlow:
            # The client gets a snapshot when it connects again.
            request.abort()
        except Stopping:
            # The client is gone, or the service stops.
            return
        finally:
            heart.stop()
            subscription.close()

    async def _pass_on(
        self, subscription: Subscription, request: HttpRequest, heart: _Heart
    ) -> None:
        while not request.is_gone:
            message = await subscription.next()
            heart.stop()
            for number, piece in enumerate(_together(_event(message))):
                if number:
                    await self._background.pause(0)
                await request.put(piece)
            heart.start()


class _Heart:
    """Sends heartbeats while no message is sent."""

    def __init__(self, request: HttpRequest, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self.start()

    def start(self) -> None:
        """Begin to beat, with a pause before the first time."""
        self._timer = self._clock.call_later(HEARTBEAT_S, self._beat)

    def stop(self) -> None:
        """Stop, as a message is sent or the stream ends."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _beat(self) -> None:
        # A client that does not read gets none; the time limit of its request runs.
        if not self._request.is_paused:
            self._request.write(_HEARTBEAT)
        self.start()


def _event(message: Snapshot | Change) -> Iterator[bytes]:
    """Yield one event in pieces, each of which takes little time."""
    name = "snapshot" if isinstance(message, Snapshot) else "change"
    yield f"event: {name}\nid: {message.id}\ndata: ".encode()
    yield from message_pieces(message)
    yield b"\n\n"


def _together(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, as each is written after a pause."""
    joined = bytearray()
    for piece in pieces:
        joined += piece
        if len(joined) >= _LEAST_BYTES:
            yield bytes(joined)
            joined.clear()
    if joined:
        yield bytes(joined)
