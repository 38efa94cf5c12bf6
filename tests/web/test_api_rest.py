# SPDX-License-Identifier: MIT
"""Queues, numbers, the live state and health in the API, over a real service."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from attrs import evolve
from starlette.requests import Request

from fastagi.domain.blocked_numbers import Refusal
from fastagi.domain.reason import Code, because
from fastagi.domain.task import Kind
from fastagi.doors import live_json
from fastagi.store import guards
from fastagi.store.engine import Database
from fastagi.web.api import events, live, models
from fastagi.web.live import Subscription
from fastagi.web.people import tokens
from fastagi.web.people.access import Principal, Right
from fastagi.web.people.still import StillAllowed, still_allowed
from fastagi.web.service_client import LiveMessage
from fastagi.web.state.sending import SendingLease
from tests.harness.world import START
from tests.web import live_state
from tests.web.api_rig import ADMIN, SITE, SUPERVISOR, VIEWER, WALL, ApiRig, problem
from tests.web.several_services import HOST, PID, add_services


@pytest.fixture
def rig(tmp_path: Any) -> Iterator[ApiRig]:
    """The API over a service with the queues support and sales, and no agents."""
    rig = ApiRig(tmp_path)
    yield rig
    rig.close()


_SERVICE = {
    "version": "0.2.0",
    "asterisk": {"connected": True, "version": "22.10.1", "error": ""},
    "holder": {"host": "pbx", "pid": 7, "since": "t"},
    "database_problem": None,
}
_NUMBER = "0301234567"


def _snapshot(**kinds: Any) -> dict[str, Any]:
    return {"id": 1, "at": "t", "service": _SERVICE, **_EMPTY, **kinds}


_EMPTY: Mapping[str, Any] = {
    kind: {} for kind in ("queues", "agents", "callers", "tasks", "attempts")
}
_TWO_QUEUES = {
    "queues": {"support": {"open": True}, "sales": {"open": False}},
    "agents": {
        "PJSIP/1": {"queues": ["support", "sales"], "paused_in": ["sales"]},
        "PJSIP/2": {"queues": ["sales"], "paused_in": []},
    },
    "callers": {
        "1.1": {"queue": "support", "number": _NUMBER},
        "1.2": {"queue": "sales", "number": _NUMBER},
    },
    "tasks": {"1": {"queue": "sales"}, "2": {"queue": "support", "number": _NUMBER}},
    "attempts": {"5": {"queue": "sales", "task_id": 1}},
}


# -- queues ------------------------------------------------------------------


def test_queues_have_their_live_values(rig: ApiRig) -> None:
    problem(rig.get("/queues"), 503, "service-down")
    rig.live("snapshot", _snapshot(**_TWO_QUEUES))
    items = rig.get("/queues").json()["items"]
    assert items == [
        {"name": "sales", "open": False},
        {"name": "support", "open": True},
    ]
    assert [
        queue["name"] for queue in rig.get("/queues", SUPERVISOR).json()["items"]
    ] == ["support"]
    assert rig.get("/queues/sales").json()["name"] == "sales"
    problem(rig.get("/queues/sales", SUPERVISOR), 404, "no-such-queue")
    problem(rig.get("/queues/none"), 404, "no-such-queue")


# -- numbers -----------------------------------------------------------------


def test_a_number_is_blocked_and_unblocked(rig: ApiRig) -> None:
    task = rig.add()
    answer = rig.post("/numbers/block", {"number": "030 1234567", "reason": "asked"})
    assert answer.json()["created"] is True
    assert answer.json()["task_id"] == task
    assert answer.json()["blocked"]["number"] == _NUMBER
    found = problem(
        rig.post("/tasks", {"queue": "support", "number": _NUMBER}), 422, "refused"
    )
    assert found["reason"]["code"] == "blocked"
    assert rig.post("/numbers/block", {"number": _NUMBER}).json()["created"] is False
    assert rig.post("/numbers/unblock", {"number": _NUMBER}).status_code == 200
    problem(rig.post("/numbers/unblock", {"number": _NUMBER}), 409, "illegal-move")
    assert rig.post("/numbers/block", {"number": "hello"}).status_code == 422


def test_the_task_of_another_queue_is_not_told(rig: ApiRig) -> None:
    rig.add(_NUMBER, "sales")
    # With this right alone nobody reads tasks.
    writer = evolve(SUPERVISOR, queues=None, rights=frozenset({Right.NUMBERS_WRITE}))
    answer = rig.post("/numbers/block", {"number": _NUMBER}, writer)
    assert answer.json()["task_id"] is None


def test_who_has_some_queues_only_blocks_no_number(rig: ApiRig) -> None:
    for operation in ("block", "unblock"):
        answer = rig.post(f"/numbers/{operation}", {"number": _NUMBER}, SUPERVISOR)
        assert "all queues" in problem(answer, 403, "forbidden")["detail"]
    assert rig.get("/numbers/blocked").json()["items"] == []
    assert "numbers:write" not in rig.get("/me", SUPERVISOR).json()["rights"]
    everywhere = evolve(SUPERVISOR, queues=None)
    answer = rig.post("/numbers/block", {"number": _NUMBER}, everywhere)
    assert answer.status_code == 200


def test_what_is_kept_about_a_number_is_read_and_erased(rig: ApiRig) -> None:
    task = rig.add(_NUMBER, name="Ann")
    body = {"number": "030 1234567"}
    found = rig.post("/numbers/export", body).json()
    (record,) = found["tasks"]
    assert (record["task"]["id"], record["task"]["name"]) == (task, "Ann")
    assert record["history"][0]["move"] == "create"
    problem(rig.post("/numbers/erase", body), 409, "illegal-move")
    rig.post(f"/tasks/{task}/cancel", {})
    rig.post("/numbers/block", {**body, "reason": "asked"})
    problem(rig.post("/numbers/erase", body), 409, "illegal-move")
    done = rig.post("/numbers/erase", {**body, "block": "keep"}).json()
    assert (done["tasks"], done["blocked"]) == (1, True)
    again = rig.post("/numbers/erase", {**body, "block": "lift"}).json()
    assert (again["tasks"], again["blocked"]) == (0, False)
    assert rig.post("/numbers/export", body).json()["tasks"] == []
    assert rig.get(f"/tasks/{task}").json()["task"]["name"] == ""
    assert rig.post("/numbers/export", {"number": "hello"}).status_code == 422
    everything = evolve(SUPERVISOR, queues=None)
    for operation in ("export", "erase"):
        answer = rig.post(f"/numbers/{operation}", body, everything)
        problem(answer, 403, "forbidden")


def test_one_learns_whether_a_number_may_be_called(rig: ApiRig) -> None:
    rig.add(_NUMBER, "sales")
    body = {"queue": "support", "number": _NUMBER}
    found = rig.post("/numbers/check", body).json()
    assert found["dialled"] == _NUMBER
    assert found["open_task"]["queue"] == "sales"
    assert rig.post("/numbers/check", body, SUPERVISOR).json()["open_task"] is None
    rig.post("/numbers/block", {"number": _NUMBER})
    found = rig.post("/numbers/check", body).json()
    assert not found["may_be_called"]
    assert "blocked" in [why["reason_code"] for why in found["why_not"]]
    elsewhere = {**body, "queue": "sales"}
    problem(rig.post("/numbers/check", elsewhere, SUPERVISOR), 404, "no-such-queue")
    problem(rig.post("/numbers/check", {**body, "queue": "x"}), 404, "no-such-queue")


def test_blocked_numbers_come_in_pages(rig: ApiRig) -> None:
    for count in range(5):
        rig.post("/numbers/block", {"number": f"030123450{count}"})
        rig.world.run(1 if count % 2 else 0)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = rig.get("/numbers/blocked", limit=2, **cursor).json()
        seen += [number["number"] for number in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert page["next_cursor"] is None
    assert sorted(seen) == [f"030123450{count}" for count in range(5)]


def test_refusals_are_those_of_own_queues(rig: ApiRig) -> None:
    database = Database(rig.world.url, deliver=None)
    for queue, number in (("support", "12"), ("sales", "13"), ("support", "14")):
        refusal = Refusal(
            at=datetime.fromtimestamp(START, UTC),
            kind=Kind.MISSED,
            queue=queue,
            number=number,
            why=because(Code.TOO_FEW_DIGITS),
            linkedid="1.1",
        )
        database.run_now("refuse", guards.refuse, refusal)
    database.close()
    items = rig.get("/numbers/refusals").json()["items"]
    assert [one["number"] for one in items] == ["14", "13", "12"]
    page = rig.get("/numbers/refusals", limit=2).json()
    rest = rig.get("/numbers/refusals", limit=2, cursor=page["next_cursor"]).json()
    assert rest["items"] == items[2:]
    own = rig.get("/numbers/refusals", SUPERVISOR).json()["items"]
    assert [one["queue"] for one in own] == ["support", "support"]
    problem(rig.get("/numbers/refusals", VIEWER), 403, "forbidden")


# -- reports -----------------------------------------------------------------


def test_a_report_counts_the_clients_of_own_queues(rig: ApiRig) -> None:
    rig.add("0301111111")
    rig.add("0302222222", "sales")
    day = datetime.fromtimestamp(START, UTC).date()
    report = rig.get("/reports", **{"from": str(day), "to": str(day)}).json()
    assert report["totals"]["asked"] == 2
    assert report["totals"]["open"] == 2
    assert report["definitions"]["asked"]
    assert rig.get("/reports", SUPERVISOR).json()["totals"]["asked"] == 1
    assert rig.get("/reports", queue="sales").json()["totals"]["asked"] == 1
    csv = rig.request("GET", "/reports", headers={"Accept": "text/csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.text.splitlines()[-1].split(",")[3] == "2"
    problem(rig.get("/reports", SUPERVISOR, queue="sales"), 404, "no-such-queue")
    nobody = evolve(SUPERVISOR, queues=frozenset())
    problem(rig.get("/reports", nobody), 404, "no-such-queue")
    for wrong in ({"from": "2026-02-30"}, {"goal_s": 7}, {"from": "0001-01-01"}):
        problem(rig.get("/reports", **wrong), 422, "bad-request")
    found = problem(rig.get("/reports", **{"from": "2199-01-01"}), 422, "bad-request")
    assert found["errors"][0]["pointer"] == "/from"


# -- live --------------------------------------------------------------------


def _events(pieces: list[bytes]) -> list[tuple[str, Any]]:
    found = []
    for piece in pieces:
        lines = dict(
            line.split(": ", 1) for line in piece.decode().splitlines() if ": " in line
        )
        if "data" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def _always() -> bool:
    return True


def _follow(rig: ApiRig, who: Principal, *messages: LiveMessage) -> list[Any]:
    """Return what a reader of the stream gets of these messages."""

    async def read() -> list[bytes]:
        stopping = asyncio.Event()
        subscription = rig.parts.live.subscribe()
        stream = live.events(subscription, who, stopping, _always, heartbeat_s=0)
        pieces = [await anext(stream), await anext(stream)]
        for message in messages:
            rig.parts.live._take(message)
            pieces.append(await anext(stream))
        stopping.set()
        pieces += [piece async for piece in stream]
        return pieces

    return _events(rig.run(read()))


def test_one_snapshot_has_what_one_may_see(rig: ApiRig) -> None:
    rig.live("snapshot", _snapshot(**_TWO_QUEUES))
    whole = rig.request("GET", "/live").json()
    assert whole == _snapshot(**_TWO_QUEUES)
    own = rig.request("GET", "/live", SUPERVISOR).json()
    assert set(own["queues"]) == {"support"}
    assert own["agents"] == {"PJSIP/1": {"queues": ["support"], "paused_in": []}}
    assert set(own["callers"]) == {"1.1"}
    assert set(own["tasks"]) == {"2"}
    assert own["attempts"] == {}
    assert "holder" not in own["service"]
    seen = rig.request("GET", "/live", VIEWER)
    assert _NUMBER not in seen.text
    assert seen.json()["tasks"]["2"]["number"] == "0301234•••"


def test_changes_of_other_queues_are_not_sent(rig: ApiRig) -> None:
    rig.live("snapshot", _snapshot(**_TWO_QUEUES))

    def change(number: int, set_: Any, remove: Any) -> LiveMessage:
        data = {"id": number, "at": "t", "set": set_, "remove": remove}
        return LiveMessage("change", data)

    messages = (
        change(2, {"tasks": {"1": {"queue": "sales"}}}, {"callers": ["1.2"]}),
        # A task comes to the queue, and another one goes to a queue of others.
        change(3, {"tasks": {"1": {"queue": "support"}, "2": {"queue": "sales"}}}, {}),
        change(4, {}, {"tasks": ["1", "2"], "callers": ["1.1", "1.2"]}),
    )
    own = _follow(rig, SUPERVISOR, *messages)
    assert [kind for kind, _ in own] == ["snapshot", "change", "change"]
    assert own[1][1]["set"] == {"tasks": {"1": {"queue": "support"}}}
    assert own[1][1]["remove"] == {"tasks": ["2"]}
    assert own[2][1]["remove"] == {"callers": ["1.1"], "tasks": ["1"]}


def test_a_stream_tells_when_the_service_is_down(rig: ApiRig) -> None:
    ((kind, data),) = _follow(rig, ADMIN)
    assert kind == "down"
    assert data["since"] and data["reason"]


def test_a_stream_ends_with_the_process_and_after_its_time(rig: ApiRig) -> None:
    async def read(longest_s: float) -> list[bytes]:
        stream = live.events(
            rig.parts.live.subscribe(),
            ADMIN,
            asyncio.Event(),
            _always,
            longest_s=longest_s,
        )
        return [piece async for piece in stream]

    async def closed() -> list[bytes]:
        reading = asyncio.create_task(read(900))
        while not rig.parts.live.subscribers:
            await asyncio.sleep(0)
        await rig.parts.live.close()
        return await reading

    assert len(rig.run(read(0))) == 1
    rig.run(closed())
    assert rig.parts.live.subscribers == 0


def test_a_stream_sends_nothing_once_a_right_is_gone(rig: ApiRig) -> None:
    allowed = True

    async def still() -> bool:
        return allowed

    async def read() -> list[bytes]:
        nonlocal allowed
        subscription = rig.parts.live.subscribe()
        stream = live.events(
            subscription, SUPERVISOR, asyncio.Event(), still, heartbeat_s=0
        )
        assert b"snapshot" in [await anext(stream), await anext(stream)][1]
        allowed = False
        data = {"id": 2, "at": "t", "set": {"tasks": {"1": {"queue": "support"}}}}
        rig.parts.live._take(LiveMessage("change", data))
        return [piece async for piece in stream]

    rig.live("snapshot", _snapshot(**_TWO_QUEUES))
    assert rig.run(read()) == []
    assert rig.parts.live.subscribers == 0


def test_too_many_streams_are_refused(rig: ApiRig) -> None:
    held: list[Subscription] = []

    async def fill() -> None:
        held.extend(rig.parts.live.subscribe() for _ in range(500))

    rig.run(fill())
    answer = rig.request("GET", "/live", headers={"Accept": "text/event-stream"})
    problem(answer, 503, "busy")


def test_every_kind_of_the_live_state_is_filtered() -> None:
    """A new kind in the service's JSON must not pass by the filter unseen."""
    from fastagi.service.live import Entities

    kinds = {kind for kind, _, _ in live_json._kinds(Entities())}
    assert kinds == set(live._KINDS)


# -- events ------------------------------------------------------------------


def test_events_are_followed_without_loss_or_repetition(rig: ApiRig) -> None:
    first, second = rig.add("0301111111"), rig.add("0302222222", "sales")
    rig.post(f"/tasks/{first}/cancel", {})

    def follow(who: Principal = ADMIN, **more: Any) -> list[tuple[str, int]]:
        seen, after = [], {}
        while True:
            page = rig.get("/events", who, **after, **more).json()
            if not page["items"]:
                return seen
            for event in page["items"]:
                seen.append((event["type"], event["data"]["task"]["id"]))
            after = {"after": page["next"]}

    whole = [
        ("task.created", first),
        ("task.created", second),
        ("task.cancelled", first),
    ]
    assert follow() == follow(limit=1) == whole
    assert follow(SUPERVISOR, limit=1) == [whole[0], whole[2]]
    assert follow(queue="sales") == [whole[1]]
    text = rig.get("/events", VIEWER).text
    assert "1111111" not in text and "0301111" in text
    after = rig.get("/events").json()["next"]
    assert rig.get("/events", after=after).json() == {"items": [], "next": after}
    problem(rig.get("/events", after="x"), 400, "bad-cursor")
    both = {"after": after, "from": "2026-01-01T00:00:00Z"}
    problem(rig.get("/events", **both), 422, "bad-request")
    later = {"from": "2099-01-01T00:00:00Z"}
    assert rig.get("/events", **later).json()["next"] == after


async def _until_a_reader_waits(rig: ApiRig) -> None:
    # The reader has seen the last event, so it waits for the next one.
    await rig.parts.signals.feed.look()
    async with asyncio.timeout(10):
        while not rig.parts.signals.feed._moved._waiters:
            await asyncio.sleep(0)


def test_a_reader_waits_for_the_next_event(rig: ApiRig) -> None:
    after = rig.get("/events").json()["next"]

    async def wait() -> httpx.Response:
        path = "/api/v1/events"
        waiting = asyncio.create_task(
            rig._http.get(path, params={"after": after, "wait_s": 20})
        )
        await _until_a_reader_waits(rig)
        body = {"queue": "support", "number": _NUMBER}
        await rig._http.post("/api/v1/tasks", json=body)
        await rig.parts.signals.feed.look()
        return await waiting

    (event,) = rig.run(wait()).json()["items"]
    assert event["type"] == "task.created"


@pytest.mark.parametrize("revoked", [False, True])
def test_a_reader_whose_token_ends_while_it_waits_gets_no_event(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch, revoked: bool
) -> None:
    def asks_each_time(request: Request, who: Principal) -> StillAllowed:
        allowed = still_allowed(request, who)
        allowed._every_s = 0
        return allowed

    monkeypatch.setattr(events, "still_allowed", asks_each_time, raising=False)
    after = rig.get("/events").json()["next"]
    now_s = rig.parts.now().timestamp()

    def make(conn: sa.Connection) -> tuple[tokens.Token, str]:
        return tokens.make(
            conn,
            now_s,
            name="crm",
            rights=[Right.TASKS_READ],
            queues=None,
            expires_at=None,
            by="anna",
        )

    async def wait() -> Any:
        token, text = await rig.parts.state.write(make)
        rig.who = token.principal
        waiting = asyncio.create_task(
            rig._http.get(
                "/api/v1/events",
                params={"after": after, "wait_s": 20},
                headers={"Authorization": f"Bearer {text}"},
            )
        )
        await _until_a_reader_waits(rig)
        if revoked:
            await rig.parts.state.write(tokens.revoke, now_s, "crm")
        body = {"queue": "support", "number": _NUMBER}
        await rig.send(method="POST", url="/api/v1/tasks", json=body)
        await rig.parts.signals.feed.look()
        return (await waiting).json()

    answer = rig.run(wait())
    if revoked:
        assert answer == {"items": [], "next": after}
    else:
        assert [event["type"] for event in answer["items"]] == ["task.created"]


# -- health ------------------------------------------------------------------


def test_health_names_the_part_that_does_not_work(rig: ApiRig) -> None:
    assert rig.get("/alive", None).json() == {"status": "ok"}
    problem(rig.get("/ready", None), 503, "service-down")
    health = rig.get("/health").json()
    assert health["database"]["ok"]
    assert not health["service"]["ok"] and health["service"]["since"]
    broken = {
        **_SERVICE,
        "asterisk": {"connected": False, "version": "", "error": "refused"},
        "database_problem": {"where": "", "what": "no room", "remedy": "make room"},
    }
    rig.live("snapshot", _snapshot(service=broken))
    assert rig.get("/ready", None).status_code == 200
    health = rig.get("/health").json()
    assert health["service"]["ok"]
    assert health["asterisk"]["problem"] == "refused"
    assert health["database"]["remedy"] == "make room"
    problem(rig.get("/health", VIEWER), 403, "forbidden")


def test_health_names_the_process_that_sends(rig: ApiRig) -> None:
    nobody = {"here": False, "host": None, "pid": None, "since": None}
    assert rig.get("/health").json()["sending"] == nobody
    other = SendingLease(rig.parts.state, now=rig.parts.now)
    rig.run(other.look())
    rig.run(rig.parts.signals.lease.look())
    found = rig.get("/health").json()["sending"]
    assert (found["here"], found["pid"]) == (False, os.getpid())
    rig.run(other.release())
    rig.run(rig.parts.signals.lease.look())
    assert rig.get("/health").json()["sending"]["here"]


def test_health_names_the_services_on_the_database(rig: ApiRig) -> None:
    health = rig.get("/health").json()
    assert (health["services"], health["asterisks_without_service"]) == ([], [])
    add_services(rig.world.url)
    holder = {"host": HOST, "pid": PID, "since": "t"}
    rig.live("snapshot", _snapshot(service={**_SERVICE, "holder": holder}))
    health = rig.get("/health").json()
    a, b, c = health["services"]
    assert [one["name"] for one in (a, b, c)] == ["a", "b", "c"]
    assert [one["asked"] for one in (a, b, c)] == [True, False, False]
    assert [one["running"] for one in (a, b, c)] == [True, True, False]
    assert [one["name"] for one in a["asterisks"]] == ["pbx1", "pbx2"]
    assert a["asterisks"][0]["since"] == a["since"]
    assert [one["link_lost_since"] is None for one in a["asterisks"]] == [True, False]
    assert (b["host"], b["pid"], b["asterisks"]) == ("pbx-b", 77, [])
    (difference,) = b["differences"]
    assert difference == {
        "name": "queues.sales.attempts",
        "here": 3,
        "there": 5,
        "more_queues": 1,
        "words": "queues.sales.attempts (and of 1 more queue) is 3 here and 5 at"
        " instance b (pbx-b)",
    }
    assert (c["host"], c["pid"], c["since"], c["version"]) == (
        None,
        None,
        None,
        "0.1.9",
    )
    assert c["seen_at"] < b["seen_at"]
    assert health["asterisks_without_service"] == ["pbx3"]
    models.Health.model_validate(health)


def test_one_learns_who_one_is(rig: ApiRig) -> None:
    me = rig.get("/me", SITE).json()
    assert (me["name"], me["kind"]) == ("site", "token")
    assert (me["rights"], me["queues"]) == (["tasks:create"], ["support"])
    problem(rig.get("/me", None), 401, "not-logged-in")
    problem(rig.get("/me", WALL), 403, "forbidden")


# -- the description ---------------------------------------------------------


def test_every_operation_is_described(rig: ApiRig) -> None:
    value = rig.get("/openapi.json", None).json()
    assert value["openapi"].startswith("3.1")
    ids = []
    for path, methods in value["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation["summary"] and operation["description"], where
            for status, answer in operation["responses"].items():
                assert answer["description"], where
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (
                        where
                    )
            if {"token": []} != operation["security"] != []:
                assert {"401", "403"} <= set(operation["responses"]), where
    assert len(ids) == len(set(ids))


def test_no_route_lacks_a_right(rig: ApiRig) -> None:
    """An operation without ``require`` would be open to everybody."""
    value = rig.get("/openapi.json", None).json()
    open_to_all = {
        path
        for path, methods in value["paths"].items()
        for operation in methods.values()
        if not operation["security"]
    }
    assert open_to_all == {"/api/v1/alive", "/api/v1/ready", "/api/v1/me"}
    who = evolve(ADMIN, rights=frozenset({Right.METRICS}))
    for path, methods in value["paths"].items():
        if path in open_to_all:
            continue
        for method in methods:
            short = path.removeprefix("/api/v1").replace("{task_id}", "1")
            short = short.replace("{name}", "support")
            body = {"json": {}} if method == "post" else {}
            answer = rig.request(method.upper(), short, who, **body)
            assert answer.status_code == 403, f"{method} {path}: {answer.text}"
            answer = rig.request(method.upper(), short, None, **body)
            assert answer.status_code == 401, f"{method} {path}: {answer.text}"


def _reads(rig: ApiRig) -> list[str]:
    """Return the path of every operation that reads, with ids that exist."""
    paths = rig.get("/openapi.json", None).json()["paths"]
    return [
        path.removeprefix("/api/v1")
        .replace("{task_id}", "2")
        .replace("{name}", "sales")
        for path, methods in paths.items()
        if "get" in methods
    ]


def test_no_operation_shows_what_belongs_to_others(rig: ApiRig) -> None:
    """A new operation that forgets the queues, or the numbers, fails here."""
    rig.add("0301111111", name="Ann")
    rig.add("0302222222", "sales", name="Zebra")
    state = live_state.snapshot()
    state["queues"]["sales"] = live_state.queue()
    state["callers"]["7.7"] = {
        **next(iter(state["callers"].values())),
        "queue": "sales",
        "number": "0302222222",
        "name": "Zebra",
    }
    rig.live("snapshot", state)
    reads = _reads(rig)
    assert {"/tasks", "/tasks/2", "/live", "/events", "/reports"} <= set(reads)
    for path in reads:
        own = rig.get(path, SUPERVISOR).text
        assert "Zebra" not in own and "2222222" not in own, path
        assert '"sales"' not in own, path
        seen = rig.get(path, VIEWER).text
        assert not re.search(r"0301111111|0302222222", seen), path
        for caller in state["callers"].values():
            assert not caller["number"] or caller["number"] not in seen, path
    # All of that is there for the administrator.
    assert all("Zebra" in rig.get(p).text for p in ("/tasks", "/tasks/2", "/live"))


# -- scripts of other sites --------------------------------------------------


def _preflight(rig: ApiRig, origin: str) -> httpx.Response:
    return rig.request(
        "OPTIONS",
        "/tasks",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key",
        },
    )


def test_scripts_of_other_sites_are_admitted_only_if_named(
    rig: ApiRig, tmp_path: Any
) -> None:
    assert (
        "access-control-allow-origin"
        not in _preflight(rig, "https://shop.example").headers
    )
    (tmp_path / "two").mkdir()
    named = ApiRig(tmp_path / "two", cors_origins=["https://shop.example"])
    try:
        headers = _preflight(named, "https://shop.example").headers
        assert headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-credentials" not in headers
        other = _preflight(named, "https://evil.example").headers
        assert "access-control-allow-origin" not in other
    finally:
        named.close()
