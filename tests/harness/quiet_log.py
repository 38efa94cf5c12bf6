# SPDX-License-Identifier: MIT
"""Importing this module discards Twisted's log; observers still receive all events.

Until an observer is started, Twisted keeps the last 65536 events and everything they
refer to: several hundred whole services.
"""

from __future__ import annotations

from twisted.logger import globalLogBeginner

globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
