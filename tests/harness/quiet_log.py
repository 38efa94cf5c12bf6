# SPDX-License-Identifier: MIT
"""Imported, it throws away what Twisted logs; observers see it all the same.

Until somebody begins to log, Twisted keeps the last 65536 events, and with them
whatever logged them: the whole service, some hundred times.
"""

from __future__ import annotations

from twisted.logger import globalLogBeginner

globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
