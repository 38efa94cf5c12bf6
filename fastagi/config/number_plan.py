# SPDX-License-Identifier: MIT
"""What is not refused because the number plan in the settings is not complete."""

from __future__ import annotations

from collections.abc import Iterator

from fastagi.config.sections import Settings
from fastagi.errors import Problem


def lacking(settings: Settings) -> Iterator[Problem]:
    """Yield each setting of ``number_plan`` that is missing, and what that means."""
    queues = settings.queues.values()
    if settings.number_plan.region is None:
        known = (
            "it is not set: what is expensive or abroad is known only of numbers that"
            " begin with + or 00"
        )
        if not all(queue.numbers.allow_regions for queue in queues):
            known += ", and of those only what is expensive is not called"
        yield Problem(
            "number_plan.region",
            f"{known}; a caller can show any other number and have it called",
            "write the two letters of your country there",
        )
    if not settings.number_plan.own_numbers and not any(
        queue.outbound_number for queue in queues
    ):
        yield Problem(
            "number_plan.own_numbers",
            "no number of your own is known: whoever shows one is called back, and the"
            " call comes to yourself",
            "list there the numbers at which you are called",
        )
