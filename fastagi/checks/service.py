# SPDX-License-Identifier: MIT
"""Checks that the service runs, in the installed version.

No other check needs the service to run, so a system without another fault may still
call nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
    if not asterisk.get("connected", True) and not _is_held_elsewhere(running.status):
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
    _check_instances(running.status, notes)
    return notes


def _is_held_elsewhere(status: Mapping[str, Any]) -> bool:
    """Whether another service holds the first Asterisk, so that there is no link."""
    first = [node["name"] for node in status.get("nodes", ())[:1]]
    held = {
        node["name"] for other in status.get("instances", ()) for node in other["nodes"]
    }
    return not held.isdisjoint(first)


def _check_instances(status: Mapping[str, Any], notes: Notes) -> None:
    """Check that others on the database have the same settings, and their links."""
    here = status.get("version", __version__)
    for other in status.get("instances", ()):
        where = f"instance {other['name']}"
        if other["running"] and other["version"] != here:
            notes.warn(
                where,
                f"it runs version {other['version']}, and this service {here}",
                "update one after the other: see docs/update.md",
            )
        for node in other["nodes"]:
            # A service of an earlier version does not tell it.
            if node.get("link_lost_since"):
                notes.fault(
                    where,
                    f"it holds the Asterisk {node['name']} and has no link to it, so"
                    " nobody places calls there",
                    "put right what is found under manager, here or on that machine:"
                    " the first service that can log in there gets it",
                )
        for difference in other["differences"]:
            notes.warn(
                where,
                f"all services on one database should have the same settings:"
                f" {difference['words']}",
                "make them alike and reload each service that was changed (sudo"
                " systemctl reload callback-queue)",
            )
