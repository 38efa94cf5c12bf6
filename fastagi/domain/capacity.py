# SPDX-License-Identifier: MIT
"""How many callbacks may start: free agents minus waiting callers.

An agent may serve several queues, so counting per queue would count one agent twice.
Instead, callers and callbacks are matched to different agents (a maximum bipartite
matching by augmenting paths). Waiting callers are matched first. A match is never
dropped, only moved to another agent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Capacity:
    """The free agents that are left; each granted callback takes one."""

    def __init__(
        self,
        free: Mapping[str, Collection[str]],
        claimed: Mapping[str, int],
    ) -> None:
        """Match waiting callers and callbacks in progress to agents.

        Args:
            free: for each target (a queue, or an extension) the interfaces that could
                be rung for it now.
            claimed: for each target the number of waiting callers plus the number of
                callbacks that have no agent yet.
        """
        self._free = free
        #: The same in order, of the targets that somebody was matched to.
        self._in_order: dict[str, list[str]] = {}
        self._taken: dict[str, str] = {}
        for target, count in claimed.items():
            for _ in range(count):
                if not self._match(target, set()):
                    break

    def can_take(self, target: str) -> bool:
        """Whether :meth:`take` would grant one more callback."""
        if not self._ordered(target):
            return False
        taken = dict(self._taken)
        granted = self._match(target, set())
        self._taken = taken
        return granted

    def count(self, target: str) -> int:
        """Return how many more callbacks to ``target`` :meth:`take` would grant."""
        taken = dict(self._taken)
        count = 0
        while self._match(target, set()):
            count += 1
        self._taken = taken
        return count

    def spare(self, target: str) -> frozenset[str]:
        """Return the agents whom one more callback to ``target`` could get."""
        free = self._ordered(target)
        taken = dict(self._taken)
        found = set()
        for interface in free:
            if self.take(target, without=[one for one in free if one != interface]):
                found.add(interface)
            self._taken = dict(taken)
        return frozenset(found)

    def take(self, target: str, without: Collection[str] = ()) -> bool:
        """Grant one more callback to ``target``; return False if no agent is left.

        Args:
            target: who takes the callback.
            without: agents who are not rung for it.
        """
        if without:
            allowed = [one for one in self._ordered(target) if one not in without]
            # It can be moved to these agents only, so it is a target of its own.
            target = f"{target}, only {', '.join(allowed)}"
            self._in_order[target] = allowed
        return self._match(target, set())

    def _ordered(self, target: str) -> list[str]:
        if target not in self._in_order:
            self._in_order[target] = sorted(self._free.get(target, ()))
        return self._in_order[target]

    def _match(self, target: str, seen: set[str]) -> bool:
        for interface in self._ordered(target):
            if interface in seen:
                continue
            seen.add(interface)
            holder = self._taken.get(interface)
            if holder is None or self._match(holder, seen):
                self._taken[interface] = target
                return True
        return False
