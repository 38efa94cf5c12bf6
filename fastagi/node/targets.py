# SPDX-License-Identifier: MIT
"""The targets of callbacks: the members of a queue, or one extension.

In `LiveQueues` an extension is a queue with one member, so that code that counts free
agents does not have to know the difference.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings

_EXTENSION = "extension:"


@frozen(kw_only=True)
class Target:
    """One target, and all queues whose callbacks go to it."""

    #: Its name in `LiveQueues`.
    key: str
    #: Names of these queues, as in the settings.
    queues: frozenset[str]
    #: How long a member is not free after a call, in seconds.
    wrapuptime_s: float
    #: Device whose state shows whether an extension is free; empty for a queue.
    device: str = ""


def target_key(settings: QueueSettings) -> str:
    """Return the name of the queue's target in `LiveQueues`."""
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
    # The wrap-up time is that of the target queue, if it is in the settings.
    about = settings.queues.get(key) or settings.queues[min(queues)]
    return Target(
        key=key,
        queues=queues,
        wrapuptime_s=about.wrapuptime_s,
        device=about.state_interface if key.startswith(_EXTENSION) else "",
    )
