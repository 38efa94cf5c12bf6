# SPDX-License-Identifier: MIT
"""Imports all of the product, for the process that `tests.lab.program` forks.

No module of the product imports a reactor, so each fork installs its own.
"""

from __future__ import annotations

import importlib
import pkgutil

import fastagi
from fastagi.garbage import exclude_existing_objects
from fastagi.store import migrations

for module in pkgutil.walk_packages(fastagi.__path__, "fastagi."):
    if not module.name.startswith(f"{migrations.__name__}."):
        importlib.import_module(module.name)

# A garbage collection would write to all of it, and written memory is copied.
exclude_existing_objects()
