# SPDX-License-Identifier: MIT
"""Names as Asterisk compares them."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=10_000)
def folded(name: str) -> str:
    """Return a key that is equal for all spellings that Asterisk treats as one name.

    Asterisk ignores the case of ASCII letters only in names of queues, devices and
    sections (``strcasecmp`` in the locale "C"): VERTRIEB is Vertrieb, but Ä is not ä.
    """
    if name.isascii():
        return name.lower()
    return "".join(char.lower() if char < "\x80" else char for char in name)
