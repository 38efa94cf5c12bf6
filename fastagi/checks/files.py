# SPDX-License-Identifier: MIT
"""The settings file as a file: who may read it. What it says is judged elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from fastagi.checks.finding import Notes
from fastagi.checks.process import User
from fastagi.config.model import Settings
from fastagi.config.secrecy import open_doors


def check_settings_file(config: str, settings: Settings, user: User) -> Notes:
    """Look whether the service can read its settings, and others their secret."""
    notes = Notes("settings")
    group = user.owner.partition(":")[2] or user.owner
    for name in filter(None, (config, settings.ami.secret_file)):
        if not user.may("r", Path(name)):
            notes.fault(
                name,
                f"{user.name} may not read it",
                f"chgrp {group} {name}; chmod 640 {name}; and let {user.name} pass to"
                " its directory",
            )
    for door in open_doors(config, settings, group, os.environ):
        notes.warn(config, door.problem, door.remedy)
    return notes
