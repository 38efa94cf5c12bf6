# SPDX-License-Identifier: MIT
"""The links of the service to its Asterisks, as status and the live state tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def links(service: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return each Asterisk of a service, with its name, version and error.

    A service of an older version tells of one only.
    """
    found: Sequence[Mapping[str, Any]] = service.get("nodes", ())
    return found or [{"name": service.get("node", ""), **service["asterisk"]}]


def works(link: Mapping[str, Any]) -> bool:
    """Whether calls may be placed on an Asterisk.

    An error beside a link says why none may be, as another has its systemname.
    """
    return bool(link["connected"]) and not link["error"]


def out_of_work(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the Asterisks on which no call may be placed."""
    return [one for one in links(service) if not works(one)]


def all_work(snapshot: Mapping[str, Any]) -> bool:
    """Whether calls may be placed on every Asterisk."""
    return not out_of_work(snapshot["service"])
