# SPDX-License-Identifier: MIT
"""Builds the TLS settings of the manager link from the settings under ``ami.tls``."""

from __future__ import annotations

from fastagi.ami.tls import ManagerTls
from fastagi.config.sections import AmiSettings


def manager_tls(ami: AmiSettings) -> ManagerTls | None:
    """Return the TLS settings, with the certificates read; None if TLS is off.

    Raises:
        TlsMisconfigured: a file can not be used.
    """
    if not ami.tls.enabled:
        return None
    return ManagerTls(
        server_name=ami.tls.server_name or ami.host,
        ca_file=ami.tls.ca_file,
    )
