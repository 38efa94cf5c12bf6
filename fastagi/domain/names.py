# SPDX-License-Identifier: MIT
"""Names as Asterisk compares them."""

from __future__ import annotations


def folded(name: str) -> str:
    """Return what is the same for each spelling of a name that Asterisk takes for one.

    Asterisk compares names of queues, devices and sections by the case of ASCII letters
    only (``strcasecmp`` in the locale "C"): VERTRIEB is Vertrieb, but Ä is not ä.
    """
    return "".join(char.lower() if char < "\x80" else char for char in name)
