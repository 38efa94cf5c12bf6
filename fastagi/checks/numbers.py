# SPDX-License-Identifier: MIT
"""Checks for unsafe numbers that no setting refuses; explicit permissions are fine."""

from __future__ import annotations

from fastagi.checks.finding import Level, Notes
from fastagi.config import number_plan
from fastagi.config.sections import Settings


def check_numbers(settings: Settings) -> Notes:
    """Look for numbers that would be called but should not be, and the reverse."""
    notes = Notes("numbers")
    for problem in number_plan.lacking(settings):
        notes.note(problem, Level.WARNING)
    most = settings.limits.calls_per_number
    for name, queue in settings.queues.items():
        if 0 < most < queue.attempts:
            notes.warn(
                f"queues.{name}.attempts",
                f"{queue.attempts} attempts are more than the {most} calls that one"
                " number gets within 24 hours (limits.calls_per_number): the last of"
                " them are never made",
                "lower the one or raise the other",
            )
    return notes
