# SPDX-License-Identifier: MIT
"""Checks that no two agents of a queue have one interface on several Asterisks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastagi.checks.finding import Notes
from fastagi.checks.in_force import loaded_queues
from fastagi.checks.link import LinkFailed, ManagerLink, Refused
from fastagi.config.sections import Settings
from fastagi.domain.names import folded


def interfaces_of(link: ManagerLink, settings: Settings) -> dict[str, frozenset[str]]:
    """Return the members of each queue of the settings, as far as they are known."""
    try:
        loaded = loaded_queues(link)
    except (Refused, LinkFailed):
        return {}
    found: dict[str, frozenset[str]] = {}
    for name, queue in settings.queues.items():
        known = loaded.get(folded(queue.target_queue))
        if known is not None and not queue.target_extension:
            found[name] = frozenset(member.interface for member in known.members)
    return found


def check_interfaces(agents: Mapping[str, Mapping[str, Collection[str]]]) -> Notes:
    """Note members of a queue that have one interface on two nodes.

    Args:
        agents: the interfaces of the members of each queue, by node.
    """
    notes = Notes("nodes")
    first: dict[tuple[str, str], str] = {}
    for node, queues in agents.items():
        for queue, interfaces in sorted(queues.items()):
            alike: dict[str, list[str]] = {}
            for interface in sorted(interfaces):
                other = first.setdefault((queue, interface), node)
                if other != node:
                    alike.setdefault(other, []).append(interface)
            for other, names in alike.items():
                notes.warn(
                    f"queue {queue} of {node}",
                    f"members have the same interface as on {other}:"
                    f" {', '.join(names)}; 'assign', and the agent who talked to the"
                    f" client last, mean the one on {other}, and 'status' counts both"
                    " as one free agent",
                    f"give the phones of {node} names that no phone of {other} has",
                )
    return notes
