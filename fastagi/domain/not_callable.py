# SPDX-License-Identifier: MIT
"""The error for a number that must not be called.

It has a module of its own, because :mod:`fastagi.domain.numbers` takes long to import,
and the command line only needs the error.
"""

from __future__ import annotations

from fastagi.domain.reason import Reason
from fastagi.errors import CallbackError


class NotCallable(CallbackError):
    """The number cannot be called back."""

    code = "refused"

    def __init__(self, why: Reason) -> None:
        super().__init__(str(why))
        self.why = why
