# SPDX-License-Identifier: MIT
"""Checks what several Asterisks of one service must not have in common."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from fastagi.ami import actions
from fastagi.checks.finding import Notes
from fastagi.checks.link import LinkFailed, ManagerLink, Refused


@frozen
class NotTold:
    """Why Asterisk does not tell its systemname, though the user has logged in."""

    why: str


def system_name(link: ManagerLink) -> str | NotTold:
    """Return ``systemname`` of asterisk.conf."""
    try:
        return link.ask(actions.core_settings()).get("SystemName")
    except (Refused, LinkFailed) as error:
        return NotTold(str(error))


def check_nodes(names: Mapping[str, str | NotTold | None]) -> Notes:
    """Check that each Asterisk has a systemname of its own.

    Args:
        names: the systemname of each node; None: nobody could log in there.
    """
    notes = Notes("nodes")
    found: dict[str, str] = {}
    for node, name in names.items():
        where = f"asterisk.conf of {node}"
        if name is None:
            notes.skip(
                where,
                "its systemname is not checked",
                "first put right what is said about the manager of this node",
            )
            continue
        if isinstance(name, NotTold):
            notes.fault(
                where,
                f"Asterisk does not tell its systemname: {name.why}; so nobody knows"
                " whether another one has the same",
                "in manager.conf, add 'reporting' to the line 'write' of the user; then"
                " run: sudo asterisk -rx 'manager reload'",
            )
            continue
        other = found.setdefault(name, node)
        if other != node:
            what = (
                f"the same systemname as {other}, {name}" if name else "no systemname"
            )
            like = "" if name else f", like {other}"
            notes.fault(
                where,
                f"it has {what}{like}: so no callback is placed from it",
                f"write there, below [options]: systemname = {node}; then run:"
                " sudo asterisk -rx 'core restart gracefully'",
            )
    return notes
