# SPDX-License-Identifier: MIT
"""From the groups that another system knows to a role here."""

from __future__ import annotations

from collections.abc import Iterable

from fastagi.web.people.access import Role
from fastagi.web.settings import Groups, RoleOrNone


def role_of(groups: Iterable[str], settings: Groups) -> Role | None:
    """Return the highest role of somebody in these groups; None: no role."""
    found = set(groups)
    for role, names in (
        (Role.ADMIN, settings.admins),
        (Role.SUPERVISOR, settings.supervisors),
        (Role.VIEWER, settings.viewers),
    ):
        if found.intersection(names):
            return role
    default = settings.default_role
    return None if default is RoleOrNone.NONE else Role(default.value)


def texts(value: object) -> list[str]:
    """Return the texts of a claim or a header: a list, or one text with commas."""
    if isinstance(value, str):
        return [text for part in value.split(",") if (text := part.strip())]
    if isinstance(value, list):
        return [one for one in value if isinstance(one, str)]
    return []
