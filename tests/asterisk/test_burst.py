# SPDX-License-Identifier: MIT
"""Many callers who press 1 in the same moment, after an announcement that all hear."""

from __future__ import annotations

import pytest

from tests.asterisk.callback import QUICK, pause
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.service import says

CALLERS = 200
#: Where callers come from, and where they wait until all of them press.
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
 same => n(closed),GotoIf($["${{BURST}}" = "go"]?callback-request,1,1)
 same => n,Wait(0.02)
 same => n,Goto(closed)
"""


def asking(lab: Lab) -> int:
    """Return how many callers wait for the service's answer."""
    return lab.asterisk.cli("core show channels concise").count("!AGI!")


@pytest.mark.stopwatch
def test_callers_who_all_press_at_once_are_all_accepted(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=GATE, global_variables={"BURST": ""})
    service = lab.service(QUICK)
    pause(lab, "support")
    numbers = [f"493000{1000 + n}" for n in range(CALLERS)]
    lab.witness.originate("Local/s@burst-callers/n")
    wait_until(
        lambda: len(lab.asterisk.channels()) >= 2 * CALLERS,
        20.0,
        "the callers are there",
    )

    # While the service is busy with something else for a moment, the kernel holds them.
    service.freeze()
    lab.asterisk.cli("dialplan set global BURST go")
    wait_until(lambda: asking(lab) == CALLERS, 5.0, "all have pressed")
    service.thaw()

    service.wait_for(says("requested in queue"), 10.0, count=CALLERS)
    wait_until(lambda: not lab.asterisk.channels(), 20.0, "all were told, and left")
    # Nobody is back in line, and nothing was taken back.
    assert not lab.witness.events("QueueCallerJoin")
    tasks = service.tasks(limit=2 * CALLERS)
    assert {task["number"] for task in tasks} == set(numbers)
    assert {task["status"] for task in tasks} == {"pending"}
