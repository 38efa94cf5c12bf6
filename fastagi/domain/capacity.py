# SPDX-License-Identifier: MIT
"""How many callbacks may start: free agents less waiting callers.

An agent may serve several queues, so counting per queue would spend one agent
twice. Callers and callbacks are matched to distinct agents instead (a maximum
bipartite matching by augmenting paths); live callers are matched first, and a
match once made is never taken back, only moved to another agent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Capacity:
    """What is left of the free agents; each granted callback takes one."""

    def __init__(
        self,
        free: Mapping[str, Collection[str]],
        claimed: Mapping[str, int],
    ) -> None:
        """Set the live callers and the running callbacks against the agents.

        Args:
            free: for each target (a queue, or an extension of its own) the
                interfaces that could be rung for it now.
            claimed: for each target how many live callers wait for it and how
                many callbacks are on their way to an agent of it.
        """
        self._free = {target: sorted(who) for target, who in free.items()}
        self._taken: dict[str, str] = {}
        for target, count in claimed.items():
            for _ in range(count):
                if not self._match(target, set()):
                    break

    def spare(self, target: str) -> bool:
        """Whether :meth:`take` would grant one more."""
        taken = dict(self._taken)
        granted = self._match(target, set())
        self._taken = taken
        return granted

    def take(self, target: str) -> bool:
        """Grant one more callback to ``target`` if an agent is left for it."""
        return self._match(target, set())

    def _match(self, target: str, seen: set[str]) -> bool:
        for interface in self._free.get(target, ()):
            if interface in seen:
                continue
            seen.add(interface)
            holder = self._taken.get(interface)
            if holder is None or self._match(holder, seen):
                self._taken[interface] = target
                return True
        return False
