# SPDX-License-Identifier: MIT
"""The settings and the files they name, as files: who may read them.

What stands in them is judged elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastagi.checks.finding import Notes
from fastagi.checks.process import User, note_missing_right
from fastagi.config.model import Settings
from fastagi.config.secrecy import open_doors


def check_settings_file(config: str, settings: Settings, user: User) -> Notes:
    """Look whether the service can read its files, and others their secrets."""
    notes = Notes("settings")
    group = user.owner.partition(":")[2] or user.owner
    secret = (
        config,
        settings.ami.secret_file,
        settings.history.queue_log_password_file,
        settings.history.cdr_password_file,
    )
    for name in filter(None, secret):
        if not user.may("r", Path(name)):
            note_missing_right(
                notes,
                user,
                name,
                "may not read it",
                f"chgrp {group} {name}; chmod 640 {name}; and let {user.name} pass to"
                " its directory",
            )
    tls = settings.ami.tls
    ca_file = tls.ca_file if tls.enabled else None
    # Where it is missing, that is told with the rest of the connection.
    if ca_file and os.path.exists(ca_file) and not user.may("r", Path(ca_file)):
        note_missing_right(
            notes,
            user,
            ca_file,
            "may not read it",
            f"chmod 644 {ca_file}; and let {user.name} pass to its directory",
        )
    for door in open_doors(config, settings, group, os.environ):
        notes.warn(config, door.problem, door.remedy)
    return notes
