# SPDX-License-Identifier: MIT
"""Checks that the service runs, in the installed version.

No other check needs the service to run, so a system without another fault may still
call nobody.
"""

from __future__ import annotations

from typing import Final

from fastagi import __version__
from fastagi.checks.finding import Notes
from fastagi.checks.process import Running

_WHERE: Final = "callback-queue.service"
_RESTART: Final = "sudo systemctl restart callback-queue"


def check_service(running: Running | None, *, control_refused: bool) -> Notes:
    """Check that the service runs, and its own status."""
    notes = Notes("service")
    if running is None:
        # The check of the control socket reports missing rights.
        if not control_refused:
            notes.warn(
                _WHERE,
                "the service is not running: nobody is called back",
                "sudo systemctl start callback-queue; if it does not stay up, its log"
                " tells"
                " why: journalctl -u callback-queue",
            )
        return notes
    if running.is_outdated:
        notes.warn(
            _WHERE,
            f"an earlier version is running, and {__version__} is installed",
            _RESTART,
        )
    if running.status is None:
        return notes
    version = running.status.get("version", __version__)
    if version != __version__:
        notes.warn(
            _WHERE,
            f"version {version} is running, and {__version__} is installed",
            _RESTART,
        )
    asterisk = running.status.get("asterisk", {})
    if not asterisk.get("connected", True):
        reason = asterisk.get("error") or "no attempt has succeeded yet"
        notes.fault(
            _WHERE,
            f"the service is not connected to Asterisk: {reason}",
            "put right what is found under manager; if nothing is, the service connects"
            " again within a minute; if it does not, it was started with other"
            f" settings: {_RESTART}",
        )
    database = running.status.get("database", "ok")
    if database != "ok":
        # A service of an earlier version sends problem and remedy in one text.
        problem = running.status.get("database_problem") or {"what": database}
        notes.fault(
            _WHERE,
            f"the service can not use its database: {problem['what']}",
            problem.get("remedy")
            or "put right what is found under database; if nothing is, see the log:"
            " journalctl -u callback-queue",
        )
    return notes
