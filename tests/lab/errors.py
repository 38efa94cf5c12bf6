# SPDX-License-Identifier: MIT
"""Errors of the laboratory itself, never faults of the product."""

from __future__ import annotations


class LabError(Exception):
    """The laboratory cannot do what was asked. The text names the remedy."""


class DeadlinePassed(LabError, AssertionError):
    """What a test waited for did not happen in time.

    It is an AssertionError too, so that pytest shows it as a failed expectation.
    """
