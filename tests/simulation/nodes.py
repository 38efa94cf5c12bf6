# SPDX-License-Identifier: MIT
"""Random runs of one service with two Asterisks; each seed is one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import LogEvent, formatEvent

from tests.emulator.calls import FORGETS, LiveCall
from tests.emulator.phones import Ringing
from tests.harness.control_client import ControlClient
from tests.harness.world import ServiceProcess, settings
from tests.simulation.rules import BrokenRule
from tests.simulation.several import (
    ITS_NODE,
    QUEUES,
    SEES_S,
    STOPS,
    UNFORESEEN,
    Run,
    Side,
)
from tests.simulation.simulation import Failed, play

#: The first seed of such a run.
NODES_FROM: Final = 99_000_000
_AGENTS: Final = {
    "default": ("PJSIP/alice", "PJSIP/carol"),
    "berlin": ("PJSIP/bob", "PJSIP/dave"),
}
#: Trouble, in the order of the weights in `NodesRun._draw`.
_TROUBLE: Final = ("cut", "asterisk dies", "service dies", "service stops")


def simulate(seed: int) -> Failed | None:
    """Play a seed; return the broken rule, None if there is none."""
    return play(seed, NodesRun)


class NodesRun(Run):
    """One run."""

    def __init__(self, seed: int) -> None:
        self._reborn = False
        self._left = 0
        super().__init__(seed, _AGENTS)

    def _observe(self, event: LogEvent) -> None:
        if "log_failure" in event and not self._process.dead:
            words = formatEvent(event) + event["log_failure"].getTraceback()
            self._broken.append(BrokenRule(UNFORESEEN, words))

    # -- what is drawn from the seed ------------------------------------------

    def _build(self) -> None:
        dice = self._dice
        self._fairness = dice.choice(("place", "live_first"))
        # Sales may be on one only.
        self._nodes = {
            "support": ("default", "berlin"),
            "sales": dice.choice((("default", "berlin"), ("berlin",), ("default",))),
        }
        for side in self._sides:
            self._furnish(side)
        at = 1.0
        while at < self.ACTION_S:
            at += dice.expovariate(1 / 5)
            self._at(at, self._draw())
        self._draw_keys()

    def _draw(self) -> Callable[[], object]:
        """Return what happens at a moment."""
        dice = self._dice
        side = dice.choice(self._sides)
        agent = dice.choice(side.agents)
        number, queue = dice.choice(self.NUMBERS), dice.choice(QUEUES)
        kind = dice.choices(
            ("call", "busy", "free", "pause", "unpause", "add", "cancel", *_TROUBLE),
            weights=(30, 12, 14, 5, 8, 8, 3, 3, 2, 2, 2),
        )[0]
        match kind:
            case "call":
                presses = dice.choice((None, 2.0, 5.0))
                stays_s = dice.uniform(3, 40)
                return lambda: self._call(side, queue, number, presses, stays_s)
            case "busy" | "free":
                return lambda: side.pbx.phone(agent).busy(kind == "busy")
            case "pause" | "unpause":
                return lambda: self._pause(side, agent, kind == "pause")
            case "add":
                return lambda: self._ask("tasks.add", queue=queue, number=number)
            case "cancel":
                task_id = dice.randrange(1, 8)
                return lambda: self._ask("tasks.cancel", id=task_id)
            case "cut":
                down_s = dice.choice((0.0, 3.0, 15.0))
                return lambda: self._cut(side, down_s)
            case "asterisk dies":
                down_s = dice.uniform(2, 30)
                return lambda: self._die(side, down_s)
            case "service dies":
                count = dice.randrange(1, 12)
                return lambda: setattr(self, "_left", count)
            case _:
                return lambda: self._process.stop()

    # -- what happens -------------------------------------------------------------

    def _ask(self, command: str, **arguments: Any) -> None:
        self._tell(f"{command} {arguments}")
        client = ControlClient(command, arguments, hangs_up=True)
        _ = self._process.control.dial(client)

    def _cut(self, side: Side, down_s: float) -> None:
        self._tell(f"the link to {side.name} is cut for {down_s} s")
        side.pbx.cut_links()
        if side.pbx.manager.booted and down_s:
            side.pbx.manager.listening = False
            manager = side.pbx.manager
            self._world.clock.callLater(
                down_s, lambda: setattr(manager, "listening", True)
            )

    # -- the service ------------------------------------------------------------

    @property
    def _process(self) -> ServiceProcess:
        return self._world.processes[-1]

    def _begin_all(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._reborn = False
        names = [side.name for side in self._sides]
        self._world.launch(
            settings(*self._queues("10m"), nodes=names), kill_at=self._dies
        )

    def _dies(self, point: str) -> bool:
        if self._left and not self._ends:
            self._left -= 1
            if not self._left:
                self._tell(f"the service dies at {point}")
                return True
        return False

    def _look_after_the_service(self) -> None:
        """Do what systemd does."""
        process = self._process
        if (process.dead or process.stopped) and not self._reborn:
            self._reborn = True
            delay_s = 0.0 if self._ends else 2.0
            self._world.clock.callLater(delay_s, self._begin)

    def _stop_all(self) -> None:
        process = self._process
        process.stop()
        self._world.run(10)
        if process.stopped != [None] or process.open_wires:
            raise BrokenRule(STOPS, f"{process.stopped}")

    # -- the rules -------------------------------------------------------------------

    def _look(self) -> None:
        self._look_after_the_service()
        for side in self._sides:
            self._look_at_the_link(side)
        for side in self._sides:
            self._check_originates(side)
            self._check_rings(side)
        self._check_idle()
        if self._broken:
            raise self._broken[0]

    def _look_at_the_link(self, side: Side) -> None:
        process = self._process
        node = next(n for n in process.service.nodes.all if n.name == side.name)
        calm = (
            not process.dead
            and not process.stopped
            and side.pbx.manager.booted
            and node.manager.connected
            and node.queue_monitor.ready
        )
        if not calm:
            side.calm_since = float("inf")
        elif side.calm_since == float("inf"):
            side.calm_since = self._now

    def _check_originates(self, side: Side) -> None:
        actions = side.pbx.manager.actions
        for _, action in actions[side.actions :]:
            if action.name != "Originate" or action.get("Channel").startswith(FORGETS):
                continue
            base = action.get("ChannelId").removesuffix("-1")
            nodes = [
                attempt.node
                for task in self._world.tasks()
                for attempt in self._world.attempts(task.id)
                if attempt.channel_id == base
            ]
            self._tell(f"{base} is placed on {side.name}")
            if nodes != [side.name]:
                self._break(ITS_NODE, f"{base} of {nodes} on {side.name}")
        side.actions = len(actions)

    def _is_to_be_known(
        self, side: Side, other: Side, call: LiveCall, ring: Ringing
    ) -> bool:
        # In time to keep the call from being placed, or to end it. The rules about one
        # Asterisk are in `rules.py`.
        seen_at = max(call.joined_at, other.calm_since, side.calm_since) + SEES_S
        return other is not side and seen_at <= ring.at
