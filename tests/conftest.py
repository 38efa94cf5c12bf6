# SPDX-License-Identifier: MIT
"""What holds wherever the tests are started from: hooks, and hypothesis' profile.

Hypothesis looks at the same examples in every run, so that who changes something else
is not stopped by an old fault; ``HYPOTHESIS_PROFILE=explore`` looks for new ones. There
is no deadline for a single example: how fast the machine is says nothing of the code.
"""

from __future__ import annotations

import os

from hypothesis import settings

from tests.lab.summary import pytest_terminal_summary

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

__all__ = ["pytest_terminal_summary"]
