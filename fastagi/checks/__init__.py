# SPDX-License-Identifier: MIT
"""The checks of ``callback-queue check``, one module for each area.

They only read; they change nothing on this machine or in Asterisk.
"""

from fastagi.checks.runner import run

__all__ = ["run"]
