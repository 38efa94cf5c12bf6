# SPDX-License-Identifier: MIT
"""Log lines: as systemd's journal reads them, and whatever a caller typed in them."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from fastagi.runtime.logs import LineObserver, is_journal

#: All characters that end a line in some program.
_BREAKS = [
    *("\n", "\r", "\r\n", "\x0b", "\x0c"),
    *("\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"),
]
_FORGED = "2026-11-29 07:00:00.000 error    callback of 030123456 is given up"


def written(level: str, *, as_json: bool = False, failure: bool = False) -> list[str]:
    """Return the lines that one event becomes in the journal."""
    out = io.StringIO()
    observer = LineObserver(out, as_json=as_json, mask_numbers=False, to_journal=True)
    log = Logger(observer=observer)
    if failure:
        log.failure("it failed", Failure(ValueError("x")))
    else:
        log.emit(LogLevel.levelWithName(level), "it is so")
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2)],
)
def test_journal_is_told_the_level_of_each_line(level: str, priority: int) -> None:
    (line,) = written(level)
    assert line.startswith(f"<{priority}>2")
    assert line.endswith(f"{level:8} it is so")


def test_journal_is_told_the_level_of_each_line_of_a_traceback() -> None:
    lines = written("critical", failure=True)
    assert len(lines) > 1
    assert all(line.startswith("<2>") for line in lines)


def test_lines_for_programs_are_json_and_nothing_else() -> None:
    (line,) = written("error", as_json=True)
    assert line.startswith("{")


def test_journal_is_known_by_its_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as out:
        found = os.fstat(out.fileno())
        here = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_journal(out, here)
        # Redirected since systemd set it, or not started by systemd.
        assert not is_journal(out, {"JOURNAL_STREAM": f"{found.st_dev}:1"})
        assert not is_journal(out, {})
    assert not is_journal(io.StringIO(), here)


def _write(typed: str, *, as_json: bool) -> str:
    out = io.StringIO()
    observer = LineObserver(out, as_json=as_json, mask_numbers=False)
    try:
        raise ValueError(typed)
    except ValueError:
        failure = Failure()
    observer(
        {
            "log_time": time.time(),
            "log_level": LogLevel.error,
            "log_format": "a call of {number} failed",
            "log_failure": failure,
            "number": typed,
            "how": [typed],
        }
    )
    return out.getvalue()


@pytest.mark.parametrize("line_break", _BREAKS)
def test_text_a_caller_typed_begins_no_line_of_the_log(line_break: str) -> None:
    first, *others = _write(f"x{line_break}{_FORGED}", as_json=False).splitlines()
    assert _FORGED in first
    assert all(line.startswith("    ") for line in others)


@pytest.mark.parametrize("line_break", _BREAKS)
def test_text_a_caller_typed_begins_no_line_of_the_log_as_json(line_break: str) -> None:
    (line,) = _write(f"x{line_break}{_FORGED}", as_json=True).splitlines()
    assert json.loads(line)["number"] == f"x{line_break}{_FORGED}"


def test_text_a_caller_typed_does_not_reach_a_terminal_as_command() -> None:
    assert "\x1b" not in _write("\x1b[2J", as_json=False)
