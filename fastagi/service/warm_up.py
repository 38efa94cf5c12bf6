# SPDX-License-Identifier: MIT
"""Does before the first call what otherwise its caller would wait for.

The first use of a SQL statement, and of a country's numbers, takes longer than each
later one. This does it soon after the start, in steps of some milliseconds, while
nothing waits for the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from fastagi.config.sections import Settings
from fastagi.domain.numbers import why_not_any_more
from fastagi.runtime.background import Background
from fastagi.store.store import TaskStore

#: A number that nobody has, in the form of most countries.
_A_NUMBER: Final = "0123456789"
#: From the start of the service to the first step, in seconds.
_FIRST_S: Final = 0.5
#: Pause between two steps, in which the service does all that has come, in seconds.
_PAUSE_S: Final = 0.01
#: Pause while requests wait for the database, in seconds.
_BUSY_S: Final = 0.1


class WarmUp:
    """Uses for the first time what calls need."""

    def __init__(
        self,
        *,
        store: TaskStore,
        background: Background,
        settings: Callable[[], Settings],
    ) -> None:
        self._store = store
        self._background = background
        self._settings = settings

    def start(self) -> None:
        """Begin in a while, and end by itself."""
        self._background.start("warming up", self._run())

    async def _run(self) -> None:
        await self._background.pause(_FIRST_S)
        for step in self._steps():
            while not self._store.is_idle:
                await self._background.pause(_BUSY_S)
            step()
            await self._background.pause(_PAUSE_S)

    def _steps(self) -> Iterator[Callable[[], object]]:
        settings = self._settings()
        for queue in list(settings.queues.values())[:1]:
            # Loads what is known of the numbers of the country.
            rules = settings.number_rules(queue)
            yield partial(why_not_any_more, _A_NUMBER, _A_NUMBER, rules)
        yield from self._store.first_uses()
