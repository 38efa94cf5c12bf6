# SPDX-License-Identifier: MIT
"""What the process that `tests.lab.program` forks has loaded: all but a reactor."""

from __future__ import annotations

import gc

import fastagi.ami.tls
import fastagi.app
import fastagi.checks.runner
import fastagi.cli
import fastagi.logs
import fastagi.offline
import fastagi.report
import fastagi.service.manager_tls  # noqa: F401

# A collection would write to all of it, and what is written to is copied.
gc.collect()
gc.freeze()
