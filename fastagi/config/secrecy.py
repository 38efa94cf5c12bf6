# SPDX-License-Identifier: MIT
"""Who may look at the settings file, and whether there is a secret in it to see."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from fastagi.config.addresses import has_password
from fastagi.config.load import SECRET_VARIABLE
from fastagi.config.model import Settings
from fastagi.errors import Problem


def open_doors(
    config: str, settings: Settings, group: str, environ: Mapping[str, str]
) -> Iterator[Problem]:
    """Find what users of this machine may do with the settings, and should not.

    Args:
        config: path of the settings file.
        settings: what it says.
        group: the group of the service, for the remedy.
        environ: where the secret of the manager user may be instead.

    Raises:
        OSError: the file can not be looked at.
    """
    mode = os.stat(config).st_mode
    remedy = f"chgrp {group} {config}; chmod 640 {config}"
    if mode & stat.S_IWOTH:
        yield Problem(
            config,
            "every user of this machine may change it, and so decide whom the service"
            " calls and what it costs",
            remedy,
        )
    if mode & stat.S_IROTH and (what := _secret_in_it(settings, environ)):
        yield Problem(
            config,
            f"it holds {what} and every user of this machine may read it",
            remedy,
        )


def _secret_in_it(settings: Settings, environ: Mapping[str, str]) -> str:
    """Name the secret that stands in the file itself; "" if none does."""
    if settings.ami.secret_file is None and not environ.get(SECRET_VARIABLE):
        return "the secret"
    history = settings.history
    addresses = (
        settings.database.url,
        history.cdr_url or "",
        history.queue_log_url or "",
    )
    return "a password" if any(map(has_password, addresses)) else ""
