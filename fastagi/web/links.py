# SPDX-License-Identifier: MIT
"""The links of the service to its Asterisks, as the live state tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def links(service: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return each Asterisk of a service, with its name, version and error.

    A service of an older version tells of one only.
    """
    found: Sequence[Mapping[str, Any]] = service.get("nodes", ())
    return found or [{"name": service.get("node", ""), **service["asterisk"]}]


def unlinked(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the Asterisks to which there is no link."""
    return [one for one in links(service) if not one["connected"]]


def is_linked(snapshot: Mapping[str, Any]) -> bool:
    """Whether there is a link to every Asterisk."""
    return not unlinked(snapshot["service"])
