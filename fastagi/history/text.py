# SPDX-License-Identifier: MIT
"""Bytes that Asterisk wrote, as text."""

from __future__ import annotations


def decoded(data: bytes) -> str:
    """Return UTF-8 as text; what is none is taken for Latin-1.

    AGI and the manager interface are read in the same way.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
