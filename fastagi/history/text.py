# SPDX-License-Identifier: MIT
"""Decodes text of Asterisk."""

from __future__ import annotations


def decoded(data: bytes) -> str:
    """Decode bytes as UTF-8, or as Latin-1 if they are not UTF-8.

    AGI and the manager interface are decoded in the same way.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
