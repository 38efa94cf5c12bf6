# SPDX-License-Identifier: MIT
"""Calls and agents of measurements."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from attrs import field, frozen

from tests.bench.rig import Rig, pause
from tests.emulator.manager import Action, Answer, error
from tests.recordings.dialogue import read_dialogue

_QUEUES_OF_AN_AGENT: Final = 5
#: The end of the name of the bridge, which is another one in each call.
_BRIDGE: Final = b"794f33f23874"
_END: Final = b"\r\n\r\n"
#: With this event the end of a recorded call begins.
_ENDS: Final = b"Event: AgentComplete"


def recorded_call(
    number: int, queue: str, agent: str = "PJSIP/alice", *, stays_busy: bool = False
) -> tuple[bytes, bytes]:
    """Return the events of an answered call, as recorded from a real Asterisk.

    Args:
        number: the number of the call, which makes its names unique.
        queue: its queue.
        agent: the interface of the member who answers.
        stays_busy: whether the member has another call when this one ends.

    Returns:
        The events until they talk, and those of the end.
    """
    text = read_dialogue("live-22.10-answered").from_asterisk
    for old, new in (
        (b"1795379016.58", b"%d.1" % number),
        (b"1795379016.59", b"%d.2" % number),
        (_BRIDGE, b"%012x" % number),
        (b"trunk-0000001c", b"trunk-%08x" % number),
        (b"alice-0000001d", b"alice-%08x" % number),
        (b"5551002", b"4930%08d" % number),
        (b"support", queue.encode()),
        (b"PJSIP/alice", agent.encode()),
    ):
        text = text.replace(old, new)
    begin, ends, rest = text.partition(_ENDS)
    if stays_busy:
        rest = rest.replace(b"\r\nStatus: 1\r\n", b"\r\nStatus: 2\r\n")
    return begin, ends + rest


def count_events(text: bytes) -> int:
    """Return the number of events."""
    return text.count(_END)


def staff(rig: Rig, names: Sequence[str], agents: int) -> None:
    """Add agents, each in five queues, who have calls of their own."""
    for number in range(agents):
        phone = rig.asterisk.phone(f"PJSIP/{number}")
        phone.elsewhere = True
        phone.told = phone.state
        own = {(number + 7 * turn) % len(names) for turn in range(_QUEUES_OF_AN_AGENT)}
        for place in own:
            rig.asterisk.queues[names[place]].add(phone.interface, dynamic=False)


@frozen
class Freed:
    """How agents who became free were called."""

    #: Each time from the event to the Originate, in seconds.
    waits_s: list[float] = field(factory=list)
    #: The processor time, with the refusal and the agent's next call, in seconds.
    cpu_s: list[float] = field(factory=list)


async def agent_turns_free(rig: Rig, times: int) -> Freed:
    """Let one agent after the other become free, and busy again."""
    originated: list[float] = []
    wrap(
        rig,
        "Originate",
        lambda: originated.append(time.perf_counter()),
        # Asterisk refuses, so the next one finds everything unchanged.
        error("busy measuring"),
    )
    freed = Freed()
    for number in range(times):
        phone = rig.asterisk.phone(f"PJSIP/{number}")
        originated.clear()
        began, cpu_s = time.perf_counter(), rig.cpu_s
        phone.busy(False)
        await rig.until(is_true(originated), 30)
        phone.busy()
        await pause(0.3)
        freed.waits_s.append(originated[0] - began)
        freed.cpu_s.append(rig.cpu_s - cpu_s)
    return freed


def wrap(
    rig: Rig,
    action_name: str,
    then: Callable[[], object],
    answer: Answer | None = None,
) -> None:
    """Call a function at an action, which may give another answer."""
    handlers = rig.asterisk.manager.handlers
    before = handlers[action_name]

    def handle(action: Action) -> Answer:
        then()
        return answer or before(action)

    handlers[action_name] = handle


def is_true(found: Sequence[object]) -> Callable[[], Awaitable[bool]]:
    """Return the condition that a list is not empty."""

    async def is_so() -> bool:
        return bool(found)

    return is_so
