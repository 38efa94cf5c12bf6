# SPDX-License-Identifier: MIT
"""The imports of the process that `tests.lab.program` forks, without a reactor."""

from __future__ import annotations

import gc

# A garbage collection would write to all of it, and written memory is copied.
gc.collect()
gc.freeze()
