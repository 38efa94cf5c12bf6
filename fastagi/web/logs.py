# SPDX-License-Identifier: MIT
"""The log of the web process: the same lines as those of the service.

Text for people, or one JSON object per line; to standard error, which systemd stores in
the journal.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from datetime import UTC, datetime
from typing import Final, TextIO

from fastagi.config.sections import LogFormat
from fastagi.masking import hide_in_log
from fastagi.web.settings import WebLogSettings

#: Levels of syslog(3).
_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
_NAMES: Final = {logging.WARNING: "warn"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Attributes of every record; all others are data of the message.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Lines(logging.Formatter):
    """Formats each record as one line."""

    def __init__(self, settings: WebLogSettings, *, to_journal: bool = False) -> None:
        super().__init__()
        self._settings = settings
        self._to_journal = to_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and for an error its traceback on further lines."""
        at = datetime.fromtimestamp(record.created, UTC)
        level = _NAMES.get(record.levelno, record.levelname.lower())
        message = self._masked(record.getMessage())
        trace = (
            self._masked(self.formatException(record.exc_info).rstrip())
            if record.exc_info
            else ""
        )
        if self._settings.format is LogFormat.JSON:
            data = {
                name: value if isinstance(value, int) else self._masked(str(value))
                for name, value in vars(record).items()
                if name not in _STANDARD
            }
            line = {
                "time": at.isoformat(timespec="milliseconds"),
                "level": level,
                "message": message,
                "logger": record.name,
                **data,
                **({"traceback": trace} if trace else {}),
            }
            return json.dumps(line)
        at = at.astimezone()
        text = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {level:8} "
        text += _CONTROL.sub(" ", message)
        for part in trace.split("\n") if trace else ():
            text += "\n    " + _CONTROL.sub(" ", part)
        if self._to_journal:
            prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
            text = prefix + text.replace("\n", f"\n{prefix}")
        return text

    def _masked(self, text: str) -> str:
        return hide_in_log(text) if self._settings.mask_numbers else text


def begin(settings: WebLogSettings, out: TextIO | None = None) -> None:
    """Write all records from now on; of the libraries only warnings."""
    out = out or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(Lines(settings, to_journal=_is_journal(out)))
    level = settings.level.value.upper().replace("WARN", "WARNING")
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("fastagi").setLevel(level)
    logging.captureWarnings(True)
    warnings.simplefilter("ignore", DeprecationWarning)


def _is_journal(out: TextIO) -> bool:
    """Whether a stream leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"
