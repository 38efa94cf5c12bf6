# SPDX-License-Identifier: MIT
"""The settings file as a file: who may read it. What it says is judged elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fastagi.checks.finding import Notes
from fastagi.checks.process import User
from fastagi.config.load import SECRET_VARIABLE
from fastagi.config.model import AmiSettings


def check_settings_file(config: str, ami: AmiSettings, user: User) -> Notes:
    """Look whether the service can read its settings, and others their secret."""
    notes = Notes("settings")
    group = user.owner.partition(":")[2] or user.owner
    for name in filter(None, (config, ami.secret_file)):
        if not user.may("r", Path(name)):
            notes.fault(
                name,
                f"{user.name} may not read it",
                f"chgrp {group} {name}; chmod 640 {name}; and let {user.name} pass to"
                " its directory",
            )
    holds_secret = ami.secret_file is None and not os.environ.get(SECRET_VARIABLE)
    if holds_secret and Path(config).stat().st_mode & stat.S_IROTH:
        notes.warn(
            config,
            "it holds the secret and every user of this machine may read it",
            f"chgrp {group} {config}; chmod 640 {config}",
        )
    return notes
