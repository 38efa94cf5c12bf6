# SPDX-License-Identifier: MIT
"""What can go wrong in the laboratory itself (never a fault of the product)."""

from __future__ import annotations


class LabError(Exception):
    """The laboratory cannot do what was asked. The text says what to do about it."""


class DeadlinePassed(LabError, AssertionError):
    """What a test waited for did not happen in time.

    It is an AssertionError too, so that pytest shows it as a failed expectation.
    """
