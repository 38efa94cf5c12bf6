# SPDX-License-Identifier: MIT
"""Checks who may read or change the settings file, and whether it has a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from fastagi.config.addresses import has_password
from fastagi.config.load import SECRET_VARIABLE
from fastagi.config.sections import Settings
from fastagi.errors import Problem


def unsafe_rights(
    config: str, settings: Settings, group: str, environ: Mapping[str, str]
) -> Iterator[Problem]:
    """Return problems with the rights of other users to the settings file.

    Args:
        config: the path of the settings file.
        settings: its contents.
        group: the group of the service, for the remedy.
        environ: an environment that may have the secret of the manager user.

    Raises:
        OSError: the file cannot be inspected.
    """
    mode = os.stat(config).st_mode
    for path in (settings.include.queues, *settings.loaded.files.values()):
        if path and os.stat(path).st_mode & stat.S_IWOTH:
            yield Problem(
                path,
                "every user of this machine may change it, and so decide whom the"
                " service calls and what it costs",
                f"chmod o-w {path}",
            )
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
    """Return the name of a secret in the file itself; "" if it contains none."""
    from_environment = not settings.nodes and environ.get(SECRET_VARIABLE)
    nodes = settings.all_nodes
    if not from_environment and any(node.ami.secret_file is None for node in nodes):
        return "the secret"
    addresses = [settings.database.url]
    for node in nodes:
        addresses += [node.history.cdr_url or "", node.history.queue_log_url or ""]
    return "a password" if any(map(has_password, addresses)) else ""
