# SPDX-License-Identifier: MIT
"""The navigation: which pages there are, and who may see them."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from fastagi.web.console.languages import N_
from fastagi.web.people.access import Kind, Principal, Right


@frozen
class Entry:
    """One page in the navigation."""

    path: str
    name: str
    icon: str
    right: Right


PAGES: Final = (
    Entry("/", N_("Live"), "live", Right.TASKS_READ),
    Entry("/tasks", N_("Tasks"), "tasks", Right.TASKS_READ),
    Entry("/reports", N_("Reports"), "reports", Right.REPORTS_READ),
    Entry("/numbers", N_("Numbers"), "numbers", Right.NUMBERS_READ),
    Entry("/health", N_("Health"), "health", Right.HEALTH_READ),
    Entry("/settings", N_("Settings"), "settings", Right.SETTINGS_READ),
    Entry("/access", N_("Access"), "agent", Right.ADMIN),
)


def pages_of(principal: Principal | None) -> tuple[Entry, ...]:
    """Return the pages that somebody may see; none for a wall, or for nobody."""
    if principal is None or principal.kind is Kind.WALL:
        return ()
    return tuple(one for one in PAGES if principal.may(one.right))
