# SPDX-License-Identifier: MIT
"""Who is to take a callback: a queue's members, or one extension.

In the live picture an extension is a queue of its own with one member, so that
whoever counts free agents need not know the difference.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from fastagi.config.model import Settings
from fastagi.config.queue_layers import QueueSettings

_EXTENSION = "extension:"


@frozen(kw_only=True)
class Target:
    """One target and all queues whose callbacks go to it."""

    #: Name in the live picture.
    key: str
    #: The queues, as in the settings, whose callers it calls back.
    queues: frozenset[str]
    #: Seconds a member stays unavailable after a call.
    wrapuptime_s: float
    #: Device whose state tells whether an extension is free; empty for a queue.
    device: str = ""


def target_key(settings: QueueSettings) -> str:
    """Return the name of the queue's target in the live picture."""
    if settings.target_extension:
        return _EXTENSION + settings.target_extension
    return settings.target_queue


def targets(settings: Settings) -> list[Target]:
    """Return every target of the settings, each once."""
    by_key: dict[str, list[str]] = {}
    for name, queue in settings.queues.items():
        by_key.setdefault(target_key(queue), []).append(name)
    return [_target(settings, key, names) for key, names in by_key.items()]


def _target(settings: Settings, key: str, names: Iterable[str]) -> Target:
    queues = frozenset(names)
    # The wrap-up time is the target queue's own where we have settings for it.
    about = settings.queues.get(key) or settings.queues[min(queues)]
    return Target(
        key=key,
        queues=queues,
        wrapuptime_s=about.wrapuptime_s,
        device=about.state_interface if key.startswith(_EXTENSION) else "",
    )
