# SPDX-License-Identifier: MIT
"""A setting that two services on one database have otherwise."""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import frozen

#: Longest value in words.
_LONGEST: Final = 60


@frozen
class Difference:
    """A setting that another service has otherwise.

    Attributes:
        name: as in the file, such as ``queues.support.attempts``.
        here: its value here, as written in the file: JSON.
        there: its value there.
        more: of how many more queues the same setting differs in the same way.
    """

    name: str
    here: Any
    there: Any
    more: int = 0

    def words(self, where: str) -> str:
        """Return it in words; ``where`` is the name of the other service."""
        more = ""
        if self.more:
            queues = "queue" if self.more == 1 else "queues"
            more = f" (and of {self.more} more {queues})"
        here, there = _words(self.here), _words(self.there)
        return f"{self.name}{more} is {here} here and {there} at {where}"


def _words(value: object) -> str:
    """Return a value on one line, cut if it is long."""
    if value is None:
        return "not set"
    words = value if isinstance(value, str) and value else json.dumps(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
