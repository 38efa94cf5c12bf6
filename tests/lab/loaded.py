# SPDX-License-Identifier: MIT
"""What the process that `tests.lab.program` forks has loaded: all but a reactor."""

from __future__ import annotations

import gc

# A collection would write to all of it, and what is written to is copied.
gc.collect()
gc.freeze()
