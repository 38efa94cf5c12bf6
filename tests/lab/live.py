# SPDX-License-Identifier: MIT
"""A supervisor's view: the live state that the service sends, followed by a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from tests.lab.errors import DeadlinePassed
from tests.lab.processes import pauses
from tests.lab.service import Service


class Supervisor:
    """Reads ``GET /v1/live`` until closed, and applies each change."""

    def __init__(self, service: Service) -> None:
        path = service.settings["control"]["socket"]
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=path), timeout=30.0
        )
        self._changed = threading.Condition()
        #: The snapshot with all changes so far.
        self._state: dict[str, Any] | None = None
        #: Each state that was seen, the latest last.
        self._seen: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._client.close()

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream"}
        with (
            suppress(httpx.HTTPError, OSError, RuntimeError, AttributeError),
            self._client.stream(
                "GET", "http://service/v1/live", headers=headers
            ) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    self._take(json.loads(line.removeprefix("data: ")))

    def _take(self, message: dict[str, Any]) -> None:
        with self._changed:
            if self._state is None:
                self._state = message
            else:
                state = dict(self._state)
                for kind, entities in message["set"].items():
                    state[kind] = {**state[kind], **entities}
                for kind, keys in message["remove"].items():
                    state[kind] = {
                        key: one for key, one in state[kind].items() if key not in keys
                    }
                self._state = state
            self._seen.append(self._state)
            self._changed.notify_all()

    def sees(
        self,
        what: str,
        condition: Callable[[dict[str, Any]], object],
        deadline_s: float = 20.0,
    ) -> dict[str, Any]:
        """Wait until a state is, or was since the last call, so; return it.

        Raises:
            DeadlinePassed: none was; the text holds the latest.
        """
        for _ in pauses(deadline_s):
            with self._changed:
                while self._seen:
                    state = self._seen.pop(0)
                    if condition(state):
                        # It may be so for the next condition, too.
                        self._seen.insert(0, state)
                        return state
        raise DeadlinePassed(f"not seen: {what}; at last: {self._state}")
