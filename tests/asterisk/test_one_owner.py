# SPDX-License-Identifier: MIT
"""A second service is started on the database of one whose client is talking."""

from __future__ import annotations

from typing import Any

import pytest

from tests.asterisk.callback import CLIENT, QUICK, ask, dispositions, settled
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import merged
from tests.lab.witness import event

#: Longer than the second service takes to start, and to look twice.
TALK_MS = 8000


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_client_is_not_rung_again_by_a_second_service(
    lab: Lab, request: pytest.FixtureRequest, engine: str
) -> None:
    alice = lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=TALK_MS),)))
    shared: dict[str, Any] = {}
    if engine == "postgresql":
        shared = {"database": {"url": request.getfixturevalue("postgresql_url")}}
    first = lab.service(merged(QUICK, shared))
    shared = {"database": first.settings["database"]}
    ask(lab, first)
    lab.witness.wait_for(event("DialEnd", DialStatus="ANSWER"), count=2)

    second = lab.service(merged(QUICK, shared), start=False)
    with pytest.raises(
        LabError, match=f"run on this database already, by process {first.pid}"
    ):
        second.start()

    settled(first, "completed")
    assert dispositions(first) == ["ANSWERED"]
    assert len(alice.invites) == 1
    assert len(client.invites) == 1
