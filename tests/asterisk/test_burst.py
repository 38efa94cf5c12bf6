# SPDX-License-Identifier: MIT
"""Many callers who press 1 in the same moment, after an announcement that all hear."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.asterisk.callback import QUICK, pause
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.service import says

CALLERS = 200
#: State of a listening socket in /proc/net/tcp.
_LISTEN = "0A"
#: The dialplan of the callers: they wait here until all of them press 1 together.
GATE = f"""
[burst-callers]
exten => s,1,Answer()
 same => n,Set(N=0)
 same => n(next),Originate(Local/493000$[1000 + ${{N}}]@burst/n,app,Wait,60,,30,a)
 same => n,Set(N=$[${{N}} + 1])
 same => n,GotoIf($[${{N}} < {CALLERS}]?next)
 same => n,Hangup()

[burst]
exten => _X.,1,Answer()
 same => n,Set(CALLERID(num)=${{EXTEN}})
 same => n,Set(CALLERID(num-pres)=allowed)
 same => n,Set(QUEUENAME=support)
 same => n,Set(QUEUEPOSITION=1)
 same => n(closed),GotoIf($["${{BURST_AT}}" != ""]?soon)
 same => n,Wait(0.5)
 same => n,Goto(closed)
 same => n(soon),Wait(${{MATH(${{BURST_AT}}-${{STRFTIME(,,%s.%3q)}},f)}})
 same => n,Goto(callback-request,1,1)
"""
#: Time from the test's signal until they press, in seconds: all must have heard it.
SOON_S = 2.0


def asking(lab: Lab) -> int:
    """Return how many connections wait in the kernel until the service accepts them.

    Asterisk is not asked for the number, as it is busy at that moment.
    """
    address = f"0100007F:{lab.asterisk.ports.agi:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if local == address and state == _LISTEN:
            return int(queues.partition(":")[2], 16)
    return 0


@pytest.mark.stopwatch
def test_callers_who_all_press_at_once_are_all_accepted(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=GATE, global_variables={"BURST_AT": ""})
    service = lab.service(QUICK)
    pause(lab, "support")
    numbers = [f"493000{1000 + n}" for n in range(CALLERS)]
    lab.witness.originate("Local/s@burst-callers/n")
    wait_until(
        lambda: len(lab.asterisk.channels()) >= 2 * CALLERS,
        20.0,
        "the callers are there",
    )

    # The witness needs no event for each step: reading these costs as much as all the
    # rest.
    lab.witness.action("Filter", Operation="Add", Filter="!Event: (Newexten|VarSet)")
    # While the service is busy for a moment, the kernel holds the connections.
    service.freeze()
    lab.asterisk.cli(f"dialplan set global BURST_AT {time.time() + SOON_S:.3f}")
    wait_until(lambda: asking(lab) == CALLERS, SOON_S + 5.0, "all have pressed")
    service.thaw()

    service.wait_for(says("requested in queue"), 10.0, count=CALLERS)
    wait_until(lambda: not lab.asterisk.channels(), 20.0, "all were told, and left")
    # Nobody was put back in line, and no request was taken back.
    assert not lab.witness.events("QueueCallerJoin")
    tasks = service.tasks(limit=2 * CALLERS)
    assert {task["number"] for task in tasks} == set(numbers)
    assert {task["status"] for task in tasks} == {"pending"}
