# SPDX-License-Identifier: MIT
"""Writes log lines: text for people, or one JSON object per line for programs.

Both go to standard error, which systemd stores in the journal. For the journal, a line
of text begins with its level as in sd-daemon(3), such as ``<3>``, so that ``journalctl
-p err`` finds errors; the journal removes it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from fastagi.masking import hide_in_log

#: Twisted's own fields; all other fields of an event are data of the message.
_TWISTED: Final = frozenset(
    {"log_level", "log_format", "log_time", "log_namespace", "log_source"}
    | {
        "log_failure",
        "log_logger",
        "log_trace",
        "log_text",
        "log_system",
        "log_flattened",
    }
    | {"message", "time", "system", "format", "isError", "why", "failure"}
)
#: Fields with ids, whose digits are not hidden.
_IDS: Final = frozenset({"uniqueid", "linkedid", "channel_id"})
#: Types of values without a telephone number. They keep their type, because a message
#: may format them.
_HOLDS_NO_NUMBER: Final = (bool, int, float, date, timedelta)
_LEVELS: Final = list(LogLevel.iterconstants())
#: Levels of syslog(3).
_PRIORITIES: Final = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line."""

    def __init__(
        self,
        out: TextIO,
        *,
        as_json: bool,
        mask_numbers: bool,
        to_journal: bool = False,
    ) -> None:
        self._out = out
        self._to_journal = to_journal
        self.as_json = as_json
        self.mask_numbers = mask_numbers

    def __call__(self, event: LogEvent) -> None:
        """Write one event; an error in one event does not stop the others."""
        if self.mask_numbers:
            event = {name: _without_numbers(name, event[name]) for name in event}
        line = self._json(event) if self.as_json else self._text(event)
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # The reader of the log is gone; there is nowhere to report that.
            return

    def _trace(self, failure: Failure) -> str:
        trace: str = failure.getTraceback().rstrip()
        return hide_in_log(trace) if self.mask_numbers else trace

    def _message(self, event: LogEvent) -> str:
        text = formatEvent(event) or ""
        failure = event.get("log_failure")
        if failure is not None:
            what = failure.getErrorMessage()
            if self.mask_numbers:
                what = hide_in_log(what)
            text = f"{text}: {failure.type.__name__}: {what}"
        return text

    def _text(self, event: LogEvent) -> str:
        at = datetime.fromtimestamp(event["log_time"], UTC).astimezone()
        level = event["log_level"].name
        line = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {level:8} "
        line += _CONTROL.sub(" ", self._message(event))
        failure = event.get("log_failure")
        if failure is not None:
            for part in self._trace(failure).split("\n"):
                # It may contain a caller's text, with line breaks of any kind.
                line += "\n    " + _CONTROL.sub(" ", part)
        if self._to_journal:
            # Each line of a traceback becomes its own entry, with its own prefix.
            prefix = f"<{_PRIORITIES[event['log_level']]}>"
            line = prefix + line.replace("\n", f"\n{prefix}")
        return line

    def _json(self, event: LogEvent) -> str:
        at = datetime.fromtimestamp(event["log_time"], UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": event["log_level"].name,
            "message": self._message(event),
            "logger": event.get("log_namespace", ""),
        }
        for name, value in event.items():
            if name not in _TWISTED and name not in line:
                line[name] = _plain(value)
        failure = event.get("log_failure")
        if failure is not None:
            line["traceback"] = self._trace(failure)
        return json.dumps(line)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value)


def _without_numbers(name: str, value: Any) -> Any:
    if name in _TWISTED or name in _IDS or isinstance(value, _HOLDS_NO_NUMBER):
        return value
    if isinstance(value, (list, tuple)):
        return [_without_numbers(name, one) for one in value]
    return value if value is None else hide_in_log(str(value))


def is_journal(out: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


class Logs:
    """The log of the process; its format and level can be changed."""

    def __init__(self, out: TextIO | None = None) -> None:
        out = out or sys.stderr
        self._observer = LineObserver(
            out,
            as_json=False,
            mask_numbers=False,
            to_journal=is_journal(out, os.environ),
        )
        self._predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)

    def begin(self) -> None:
        """Write all events from now on to the stream."""
        globalLogBeginner.beginLoggingTo(
            [FilteringLogObserver(self._observer, [self._predicate])],
            redirectStandardIO=False,
        )

    def use(self, *, level: str, as_json: bool, mask_numbers: bool) -> None:
        """Change the level and the format.

        Args:
            level: debug, info, warn or error; events of this level and above are
                written, but of Twisted's own (ports opened and closed) only warnings.
            as_json: write one JSON object per line instead of text.
            mask_numbers: hide all but the first three digits of telephone numbers.
        """
        self._observer.as_json = as_json
        self._observer.mask_numbers = mask_numbers
        wanted = LogLevel.levelWithName(level)
        self._predicate.setLogLevelForNamespace("", wanted)
        for namespace in ("twisted", "log_legacy", "__main__"):
            self._predicate.setLogLevelForNamespace(
                namespace, max(wanted, LogLevel.warn, key=_LEVELS.index)
            )
