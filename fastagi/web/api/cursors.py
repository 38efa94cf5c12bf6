# SPDX-License-Identifier: MIT
"""Opaque cursors: where the next page of a list begins.

A cursor belongs to one list with its filters. It gives access to nothing, because every
page is read with the rights of the one who asks; so it is checked, and not signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastagi.web.api.problems import ApiProblem

_LONGEST: Final = 512
#: Numbers in cursors fit into both databases.
_HIGHEST: Final = 2**63 - 1
_REMEDY: Final = (
    "the cursor does not belong to this list: take next_cursor of the page before, with"
    " the same filters, or begin without a cursor"
)


def write_cursor(
    of: str, filters: Mapping[str, Any], position: Sequence[int | float | str]
) -> str:
    """Return the cursor of a position.

    Args:
        of: the name of the list.
        filters: its filters, which the next page has to repeat.
        position: where the next page begins.
    """
    text = json.dumps([_digest(of, filters), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(
    cursor: str | None,
    of: str,
    filters: Mapping[str, Any],
    *kinds: type,
    pointer: str = "cursor",
) -> list[Any] | None:
    """Return the position of a cursor; None if there is no cursor.

    Args:
        cursor: the cursor.
        of: the name of the list.
        filters: the filters of this request.
        kinds: the type of each value of the position.
        pointer: the parameter that has the cursor.

    Raises:
        ApiProblem: the cursor does not belong to this list.
    """
    if cursor is None:
        return None
    wrong = ApiProblem(400, "bad-cursor", _REMEDY, pointer=pointer, where="query")
    if not cursor or len(cursor) > _LONGEST or not cursor.isascii():
        raise wrong
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise wrong from None
    if not isinstance(values, list) or len(values) != 1 + len(kinds):
        raise wrong
    digest, *position = values
    if digest != _digest(of, filters):
        raise wrong
    for value, kind in zip(position, kinds, strict=True):
        if type(value) is not kind:
            raise wrong
        if isinstance(value, int | float) and not 0 <= value <= _HIGHEST:
            raise wrong
    return position


def _digest(of: str, filters: Mapping[str, Any]) -> str:
    given = sorted((name, str(value)) for name, value in filters.items() if value)
    text = json.dumps([of, given])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
