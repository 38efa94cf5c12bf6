# SPDX-License-Identifier: MIT
"""Gives up attempts whose results no Asterisk will tell.

That is so if the link to their Asterisk has been missing for long while others work, or
if their Asterisk is not in the settings any more. An attempt whose client was not
dialled is withdrawn, so that the client is called again; the others are judged as if
their Asterisk had ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from twisted.logger import Logger

from fastagi.config.sections import NodeSection
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.domain.reason import Code, because
from fastagi.node.node import Node
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import MAX_SLEEP_S, Worker
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskAttempt, TaskStore

#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 5.0
#: For how long an attempt on an Asterisk counts that is not in the settings, in
#: seconds: after the start, or since no other service holds that Asterisk.
_UNKNOWN_COUNTS_S: Final = float(NodeSection().gone_after.total_seconds())


class GoneNodes:
    """Looks for attempts on Asterisks that are gone, and gives them up in time."""

    _log = Logger()

    def __init__(
        self,
        *,
        names: Sequence[str],
        nodes: Callable[[], Sequence[Node]],
        store: TaskStore,
        clock: Clock,
        background: Background,
        on_gone: Callable[[], None],
        are_others: bool = False,
    ) -> None:
        """Store the parts.

        Args:
            names: the names of all Asterisks in the settings.
            nodes: returns all of them; the first one ends attempts on unknown ones.
            store: where the attempts of all are.
            clock: the clocks.
            background: the owner of the work.
            on_gone: called as long as a link is missing for long.
            are_others: whether other services on the database may hold Asterisks that
                are not in these settings.
        """
        self._are_others = are_others
        self._names = tuple(names)
        self._nodes = nodes
        self._store = store
        self._clock = clock
        self._on_gone = on_gone
        self._started_at = 0.0
        #: Since when Asterisks that are not in the settings have attempts and no
        #: service, by the steady clock.
        self._unknown_since: dict[str, float] = {}
        self._worker = Worker(
            self._look,
            what="looking for attempts on Asterisks that are gone",
            background=background,
            clock=clock,
            trouble="it is not known whether there are attempts on Asterisks that are"
            " gone",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def start(self) -> None:
        """Begin to look; with one Asterisk a while after the start."""
        self._started_at = self._clock.steady()
        if self._names == (DEFAULT_NODE,):
            self._worker.wake_in(MAX_SLEEP_S)
        else:
            self._worker.wake()

    def stop(self) -> None:
        """Give up no more attempts."""
        self._worker.stop()

    def wake(self) -> None:
        """Look again: a link was lost, or a task was cancelled."""
        self._worker.wake()

    async def _look(self) -> float | None:
        """Give up what is due; return in how many seconds to look again."""
        # Those of other services are theirs.
        nodes = [node for node in self._nodes() if node.is_at_work]
        again_s: list[float | None] = []
        if self._nodes()[0].is_at_work:
            again_s.append(await self._look_at_unknown())
        if len(self._names) > 1:
            again_s += [await self._look_at(node) for node in nodes]
        return min((one for one in again_s if one is not None), default=None)

    async def _look_at_unknown(self) -> float | None:
        """Give up attempts on Asterisks that are not in the settings."""
        unknown = await self._store.nodes_of_nobody() - {*self._names}
        now = self._clock.steady()
        since = now if self._are_others else self._started_at
        logged, self._unknown_since = (
            {*self._unknown_since},
            {name: self._unknown_since.get(name, since) for name in unknown},
        )
        # Those of another service may be left alone at any time.
        again_s = [MAX_SLEEP_S] if self._are_others else []
        for name in sorted(unknown):
            left_s = self._unknown_since[name] + _UNKNOWN_COUNTS_S - now
            if left_s > 0:
                again_s.append(left_s)
            if name not in logged and left_s > 0:
                self._log.error(
                    "there are calls of the Asterisk {name}, which is not in the"
                    " settings, so nobody knows their results: give the Asterisk this"
                    " name under 'nodes', or the one under 'ami' if it is called"
                    " {default}, and restart the service. Otherwise they are given up"
                    " in {left_s:.0f} s",
                    name=name,
                    default=DEFAULT_NODE,
                    left_s=left_s,
                )
            found = await self._store.open_attempts_on(name)
            self._give_up(
                self._nodes()[0],
                name,
                (one for one in found if left_s <= 0 or one.task.cancel_requested),
            )
        return min(again_s, default=None)

    async def _look_at(self, node: Node) -> float | None:
        """Give up the attempts on an Asterisk whose link has been missing for long."""
        left_s = node.gone_in_s
        if left_s is None:
            return None
        if left_s > 0:
            return left_s
        self._on_gone()
        found = await self._store.open_attempts_on(node.name)
        if node.is_gone:
            self._give_up(node, node.name, found)
        return MAX_SLEEP_S

    def _give_up(self, node: Node, name: str, found: Iterable[TaskAttempt]) -> None:
        for one in found:
            self._log.warn(
                "task {task_id}: its attempt on the Asterisk {name} is given up, as"
                " nobody can ask for its result",
                task_id=one.task.id,
                attempt_id=one.attempt.id,
                name=name,
            )
            node.give_up(one, because(Code.ASTERISK_GONE, node=name))
