# SPDX-License-Identifier: MIT
"""SQLite's URI for an existing file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

#: Whether the file is only read, or may be written.
Mode: TypeAlias = Literal["ro", "rw"]


def sqlite_uri(path: Path, mode: Mode) -> str:
    """Return the URI that opens an existing file and never creates one."""
    return f"file:{quote(str(path))}?mode={mode}"
