# SPDX-License-Identifier: MIT
"""What a supervisor sees of a caller, a task and its attempt, by live changes alone."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from tests.asterisk.callback import (
    CLIENT,
    LIVE_FIRST,
    QUICK,
    joins,
    pause,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.live import Supervisor
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import merged

State = dict[str, Any]


def stage(state: State) -> str:
    """Return the stage of the only attempt; empty: there is none."""
    return next((str(one["stage"]) for one in state["attempts"].values()), "")


def why(state: State) -> str:
    """Return what the only task waits for."""
    return str((state["tasks"]["1"]["why_not_yet"] or {}).get("code"))


def test_a_supervisor_sees_a_caller_become_a_task_and_a_talk(lab: Lab) -> None:
    lab.agent("alice", Answer(ring_ms=1500))
    lab.client(CLIENT, Answer(ring_ms=1500, steps=(HangUp(after_ms=3000),)))
    service = lab.service(merged(QUICK, LIVE_FIRST))
    pause(lab, "support")
    with closing(Supervisor(service)) as supervisor:
        state = supervisor.sees(
            "all agents are paused",
            lambda s: (
                s["agents"]
                and all(
                    "support" not in agent["queues"] or "support" in agent["paused_in"]
                    for agent in s["agents"].values()
                )
            ),
        )
        assert state["service"]["asterisk"]["connected"]
        assert state["callers"] == state["tasks"] == state["attempts"] == {}
        queue = state["queues"]["support"]
        assert (queue["paused"], queue["free"]) == (queue["agents"], 0)

        caller = lab.caller("support", number=CLIENT, display_name="Ada")
        joined = joins(lab, CLIENT, 1)
        state = supervisor.sees("the caller", lambda s: s["callers"])
        (waiting,) = state["callers"].items()
        assert waiting[0] == joined["Uniqueid"]
        seen = waiting[1]
        assert (seen["number"], seen["name"], seen["position"]) == (CLIENT, "Ada", 1)
        assert (seen["queue"], seen["task_id"]) == ("support", None)
        assert state["queues"]["support"]["waiting"] == 1

        caller.press("1")
        state = supervisor.sees(
            "the task, and the caller gone",
            lambda s: s["tasks"] and not s["callers"],
        )
        task = state["tasks"]["1"]
        assert (task["number"], task["name"]) == (CLIENT, "Ada")
        assert task["status"] == "pending"
        # The caller may still be hearing the prompt.
        state = supervisor.sees("why not yet", lambda s: why(s) == "agents_away")
        queue = state["queues"]["support"]
        assert (queue["callbacks_waiting"], queue["waiting"]) == (1, 0)
        assert queue["why_no_callback"]["code"] == "agents_away"

        unpause(lab, "support")
        state = supervisor.sees("the agent", lambda s: stage(s) == "agent_rings")
        assert state["attempts"]["1"]["agent"] == "PJSIP/alice"
        supervisor.sees("the client", lambda s: stage(s) == "client_rings")
        state = supervisor.sees("the talk", lambda s: stage(s) == "talk")
        assert state["tasks"]["1"]["status"] == "calling"
        assert state["tasks"]["1"]["why_not_yet"] is None
        state = supervisor.sees("the agent in a talk", lambda s: busy(s, "PJSIP/alice"))
        state = supervisor.sees(
            "the end", lambda s: not s["attempts"] and not s["tasks"], 30
        )
        assert state["queues"]["support"]["reached_today"] == 1


def busy(state: State, interface: str) -> bool:
    """Whether an agent is in a talk."""
    return bool(state["agents"][interface]["state"] == "talking")
