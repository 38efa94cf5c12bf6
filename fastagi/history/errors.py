# SPDX-License-Identifier: MIT
"""The error of a history that cannot be read."""

from __future__ import annotations

from fastagi.errors import CallbackError, Problem


class HistoryUnreadable(CallbackError):
    """A history can not be read; its problem names the file or the database."""

    def __init__(self, where: object, what: str, remedy: str) -> None:
        super().__init__(Problem(str(where), what, remedy))
