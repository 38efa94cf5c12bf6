# SPDX-License-Identifier: MIT
"""What a reader of the live state knows: a snapshot, and all changes applied to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from fastagi.doors.live_json import message_pieces
from fastagi.service.live import Change, Snapshot, Subscription

KINDS: Final = ("queues", "agents", "callers", "tasks", "attempts")
#: Fields that depend on when somebody began to look, or that are only looked at every
#: ten seconds.
_ESTIMATES: Final = frozenset(
    {
        "expected_at",
        "expected_callback_at",
        "expected_wait_s",
        "database_latency_s",
        "events_waiting",
        "events_waiting_since",
    }
)


class LiveView:
    """Applies the messages of one subscription, as JSON."""

    def __init__(self, subscription: Subscription, now: Callable[[], float]) -> None:
        """Begin to read.

        Args:
            subscription: where the messages come from.
            now: returns the current time.
        """
        self._subscription = subscription
        self._now = now
        #: The snapshot with all changes; None before the snapshot.
        self.state: dict[str, Any] | None = None
        #: The times and messages, in order.
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.ended: Exception | None = None
        #: Whether messages are left lying.
        self.sleeps = False
        self._read()

    def _read(self) -> None:
        reading: Deferred[Snapshot | Change] = self._subscription.next()  # type: ignore[assignment]
        _ = reading.addCallbacks(self._take, self._end)

    def _end(self, failure: Any) -> None:
        self.ended = failure.value

    def _take(self, message: Snapshot | Change) -> None:
        said = json.loads(b"".join(message_pieces(message)))
        self.messages.append((self._now(), said))
        if isinstance(message, Snapshot):
            assert self.state is None
            self.state = said
        else:
            assert self.state is not None
            assert said["id"] == self.state["id"] + 1
            self.state |= {"id": said["id"], "at": said["at"]}
            self._apply(said)
        if not self.sleeps:
            self._read()

    def _apply(self, change: dict[str, Any]) -> None:
        assert self.state is not None
        for kind, entities in change["set"].items():
            if kind == "service":
                self.state["service"] = entities
                continue
            for key, entity in entities.items():
                assert self.state[kind].get(key) != entity, "nothing has changed"
                self.state[kind][key] = entity
        for kind, keys in change["remove"].items():
            for key in keys:
                del self.state[kind][key]

    def wakes(self) -> None:
        """Take the messages that lie there."""
        self.sleeps = False
        self._read()


def without_estimates(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what depends on when somebody began to look."""
    plain: dict[str, Any] = {
        kind: {key: _plain(entity) for key, entity in state[kind].items()}
        for kind in KINDS
    }
    return {**plain, "service": _plain(state["service"])}


def _plain(entity: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entity.items() if key not in _ESTIMATES}
