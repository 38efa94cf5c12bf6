# SPDX-License-Identifier: MIT
"""Requests made from the API's own description, over a real service.

Whatever is sent, there is no fault of the program, and each answer is as described.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode

from fastagi.web.api import routes
from tests.web import live_state
from tests.web.api_rig import ApiRig

_SCHEMA = schemathesis.openapi.from_dict(routes.openapi())
_SCHEMA.config.generation.update(
    modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiRig]:
    """One service for all requests, with some tasks of each status."""
    rig = ApiRig(tmp_path_factory.mktemp("schema"))
    for count in range(4):
        rig.add(f"030123456{count}", ("support", "sales")[count % 2])
    rig.post("/tasks/1/cancel", {})
    rig.post("/numbers/block", {"number": "0309999999"})
    rig.live("snapshot", live_state.snapshot())
    yield rig
    rig.close()


# The check is a program, which needs real time: tests/process/test_web_api.py runs it.
@_SCHEMA.exclude(path=f"{routes.PREFIX}/health/check").parametrize()
@settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(rig: ApiRig, case: schemathesis.Case) -> None:
    sent = case.as_transport_kwargs(base_url=rig.settings.origin)
    sent.pop("cookies")
    if "data" in sent:
        sent["content"] = sent.pop("data")
    rig.parts.create_limits.by_token._times.clear()
    answer = rig.run(rig.send(**sent))
    assert answer.status_code != 500, answer.text
    case.validate_response(
        answer,
        excluded_checks=[
            # Everybody is the administrator here; test_api_rest.py has the rights.
            checks.CHECKS.get_one("ignored_auth"),
            # Numbers, times and cursors have rules that no description can have.
            checks.CHECKS.get_one("positive_data_acceptance"),
        ],
    )
