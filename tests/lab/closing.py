# SPDX-License-Identifier: MIT
"""Base classes of what a ``with`` block starts and closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Closed at the end of its ``with`` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End it, in any state."""


class Starting(Closing):
    """Started at the beginning of its ``with`` block, too."""

    def __enter__(self) -> Self:
        self.start()
        return self

    @abstractmethod
    def start(self) -> None:
        """Start it; return when it is ready."""
