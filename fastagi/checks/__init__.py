# SPDX-License-Identifier: MIT
"""What ``callback-queue check`` looks at: one module for each area.

Reads everything and changes nothing, neither here nor in Asterisk.
"""

from fastagi.checks.runner import run

__all__ = ["run"]
