# SPDX-License-Identifier: MIT
"""The operations of ``/api/v1/webhooks``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from attrs import evolve

from fastagi.web.api.webhooks import router
from fastagi.web.people import audit
from fastagi.web.people.access import Principal
from fastagi.web.signals.messages import CHOOSABLE, TEST
from tests.web.api_rig import ADMIN, SITE, SUPERVISOR, VIEWER, WALL, ApiRig, problem
from tests.web.signals.test_crash import Counting

URL = "https://crm.example.org/hook"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiRig]:
    """The API with tasks of both queues, and this machine as an allowed receiver."""
    more = "webhooks: {allowed_addresses: [127.0.0.1]}\n"
    rig = ApiRig(tmp_path_factory.mktemp("webhooks"), sections=more)
    rig.add()
    yield rig
    rig.close()


def test_life_of_a_webhook(rig: ApiRig) -> None:
    receiver = Counting()
    body = {"name": "crm", "url": receiver.url, "events": ["task.*"]}
    answer = rig.post("/webhooks", body)
    assert answer.status_code == 201
    added = answer.json()
    assert added["secret"].startswith("whsec_")
    assert added["webhook"]["status"] == "working"
    assert added["webhook"]["numbers"] == "masked"
    problem(rig.post("/webhooks", body), 409, "webhook-exists")
    tested = rig.post("/webhooks/crm/test").json()
    assert (tested["delivered"], tested["status"]) == (True, 200)
    receiver.next()
    rig.add("0301112223", "sales")
    endpoint = rig.run(rig.parts.signals.webhooks.get("crm")).endpoint
    rig.run(rig.parts.signals.lease.look())
    assert rig.run(rig.parts.signals.webhooks.deliver(endpoint.id)) is None
    receiver.next()
    receiver.close()
    assert rig.post("/webhooks/crm/disable").json()["status"] == "disabled"
    last = endpoint.position.event_id + 1
    again = rig.post("/webhooks/crm/replay", {"since": last})
    assert again.json() == {"events": 1}
    since = {"since": "2099-01-01T00:00:00Z"}
    problem(rig.post("/webhooks/crm/replay", since), 409, "nothing-to-replay")
    shown = rig.get("/webhooks/crm").json()
    assert shown["replay"] == {"next": last, "last": last}
    assert "whsec_" not in rig.get("/webhooks").text
    enabled = rig.post("/webhooks/crm/enable", {"from_now": True}).json()
    assert (enabled["status"], enabled["replay"]) == ("working", None)
    assert rig.post("/webhooks/crm/rotate").json()["secret"] != added["secret"]
    assert rig.request("DELETE", "/webhooks/crm").status_code == 204
    assert rig.get("/webhooks").json() == {"items": []}
    noted = rig.run(rig.parts.state.read(audit.latest, 20))
    assert [(one.event, one.actor) for one in reversed(noted)][-6:] == [
        ("webhook-made", "anna"),
        ("webhook-disabled", "anna"),
        ("webhook-replayed", "anna"),
        ("webhook-enabled", "anna"),
        ("webhook-rotated", "anna"),
        ("webhook-removed", "anna"),
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "ftp://example.org/"}, "/url"),
        ({"url": "https://anna:secret@example.org/"}, "/url"),
        ({"name": "a/b"}, "/name"),
        ({"events": ["task.no"]}, "/events"),
        ({"numbers": "all"}, "/numbers"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_wrong_field_is_pointed_to(
    rig: ApiRig, body: dict[str, Any], pointer: str
) -> None:
    answer = rig.post("/webhooks", {"name": "x", "url": URL, **body})
    found = problem(answer, 422, "bad-request")
    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert "secret@" not in answer.text.partition("errors")[0]


OPERATIONS = [
    (method, route.path.removeprefix(router.prefix).replace("{name}", "crm"))
    for route in router.routes
    for method in sorted(getattr(route, "methods", ()))
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_only_an_administrator_of_all_queues_may_do_it(
    rig: ApiRig, method: str, path: str
) -> None:
    some = evolve(ADMIN, queues=frozenset({"support"}))
    everybody: list[tuple[Principal | None, int]] = [
        (None, 401),
        (VIEWER, 403),
        (SUPERVISOR, 403),
        (SITE, 403),
        (WALL, 403),
    ]
    if path != "/messages/schemas":
        everybody.append((some, 403))
    body = {"name": "crm", "url": URL, "since": 1}
    fields = {"": ("name", "url"), "/crm/replay": ("since",)}.get(path, ())
    for who, status in everybody:
        answer = rig.request(
            method, f"/webhooks{path}", who, json={name: body[name] for name in fields}
        )
        assert answer.status_code == status, (who, answer.text)
    if path and path != "/messages/schemas":
        more = {"json": {name: body[name] for name in fields}}
        unknown = rig.request(method, f"/webhooks{path}", **more)
        problem(unknown, 404, "no-such-webhook")


def test_schemas_and_description_have_each_type(rig: ApiRig) -> None:
    schemas = rig.get("/webhooks/messages/schemas").json()
    assert list(schemas) == [*CHOOSABLE, TEST]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)
    described = rig.get("/openapi.json").json()
    assert list(described["webhooks"]) == list(schemas)
    names = described["components"]["schemas"]
    for message in described["webhooks"].values():
        content = message["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"]["allOf"][0]["$ref"].rpartition("/")[2] in names
