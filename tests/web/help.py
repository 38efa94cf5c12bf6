# SPDX-License-Identifier: MIT
"""Settings for tests of the web process."""

from __future__ import annotations

from pathlib import Path

from fastagi.web.settings import WebSettings, parse


def settings_in(directory: Path, more: str = "") -> WebSettings:
    """Return settings whose databases and sockets are in a directory."""
    return parse(
        f"service:\n"
        f"  socket: {directory}/control.sock\n"
        f"  database_url: sqlite:///{directory}/callback-queue.db\n"
        f"database:\n"
        f"  url: sqlite:///{directory}/web.sqlite3\n" + more
    )
