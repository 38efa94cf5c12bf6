# SPDX-License-Identifier: MIT
"""Checks for unsafe numbers that no setting refuses; explicit permissions are fine."""

from __future__ import annotations

from fastagi.checks.finding import Notes
from fastagi.config.sections import Settings


def check_numbers(settings: Settings) -> Notes:
    """Look for numbers that would be called but should not be, and the reverse."""
    notes = Notes("numbers")
    if settings.number_plan.region is None:
        notes.warn(
            "number_plan.region",
            "it is not set: what is expensive or abroad is known only of numbers that"
            " begin with + or 00, and of those only what is expensive is not called;"
            " a caller can show any other number and have it called"
            if not _names_countries(settings)
            else "it is not set: what is expensive or abroad is known only of numbers"
            " that begin with + or 00; a caller can show any other number and have it"
            " called",
            "write the two letters of your country there",
        )
    shown = any(queue.outbound_number for queue in settings.queues.values())
    if not (settings.number_plan.own_numbers or shown):
        notes.warn(
            "number_plan.own_numbers",
            "no number of your own is known: whoever shows one is called back, and the"
            " call comes to yourself",
            "list there the numbers at which you are called",
        )
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


def _names_countries(settings: Settings) -> bool:
    return all(queue.numbers.allow_regions for queue in settings.queues.values())
