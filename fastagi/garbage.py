# SPDX-License-Identifier: MIT
"""Shorter garbage collections, since nothing else is done during one."""

from __future__ import annotations

import gc


def exclude_existing_objects() -> None:
    """Exclude all objects that exist now from garbage collections, for good.

    To be called once when a process is ready. A full collection then no longer visits
    every module, class and table, which takes up to 0.1 s.
    """
    gc.collect()
    gc.freeze()
