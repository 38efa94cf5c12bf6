# SPDX-License-Identifier: MIT
"""The operations on tasks, over a real service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from attrs import evolve

from fastagi.web.people.access import Right
from fastagi.web.state.schema import IDEMPOTENCY
from tests.harness.world import START
from tests.web.api_rig import ADMIN, SITE, SUPERVISOR, VIEWER, ApiRig, problem


@pytest.fixture
def rig(tmp_path: Any) -> Iterator[ApiRig]:
    """The API over a service with the queues support and sales, and no agents."""
    rig = ApiRig(tmp_path)
    yield rig
    rig.close()


def _ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["items"]]


# -- creating ----------------------------------------------------------------


def test_a_task_is_created_and_its_story_names_who_did_it(rig: ApiRig) -> None:
    answer = rig.post("/tasks", {"queue": "support", "number": "030 1234567"})
    assert answer.status_code == 201
    task = answer.json()["task"]
    assert answer.json()["created"] is True
    assert (task["number"], task["queue"], task["kind"]) == (
        "0301234567",
        "support",
        "manual",
    )
    story = rig.get(f"/tasks/{task['id']}").json()
    assert story["history"][0]["reason_params"]["actor"] == "anna"
    assert story["task"]["status"] == "pending"


def test_a_client_with_an_open_task_keeps_it(rig: ApiRig) -> None:
    first = rig.add()
    answer = rig.post("/tasks", {"queue": "support", "number": "(030) 1234567"})
    assert answer.status_code == 200
    assert answer.json()["created"] is False
    assert answer.json()["task"]["id"] == first


def test_a_minimal_answer_has_only_the_id(rig: ApiRig) -> None:
    body = {"queue": "support", "number": "0301234567"}
    answer = rig.post("/tasks", body, Prefer="return=minimal")
    assert answer.json() == {"created": True, "id": 1}
    assert answer.headers["Preference-Applied"] == "return=minimal"


def test_a_time_is_kept(rig: ApiRig) -> None:
    body = {"queue": "support", "number": "0301234567", "at": "2027-01-16T10:00Z"}
    task = rig.post("/tasks", body).json()["task"]
    assert task["chosen_at"] == "2027-01-16T10:00:00.000+00:00"


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"queue": "support"}, 422, "bad-request", "/number"),
        ({"queue": "support", "number": ""}, 422, "bad-request", "/number"),
        (
            {"queue": "support", "number": "0301234567", "x": 1},
            422,
            "bad-request",
            "/x",
        ),
        (
            {"queue": "support", "number": "0301234567", "name": "a\u0007"},
            422,
            "bad-request",
            "/name",
        ),
        ({"queue": "support", "number": "hello"}, 422, "refused", "/number"),
        ({"queue": "nowhere", "number": "0301234567"}, 404, "no-such-queue", "/queue"),
        (
            {"queue": "support", "number": "0301234567", "at": "soon"},
            422,
            "bad-time",
            "/at",
        ),
        (
            {"queue": "support", "number": "0301234567", "at": "2020-01-01"},
            422,
            "bad-time",
            "/at",
        ),
    ],
)
def test_what_is_wrong_is_pointed_to(
    rig: ApiRig, body: Any, status: int, code: str, pointer: str
) -> None:
    found = problem(rig.post("/tasks", body), status, code)
    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert found["errors"][0]["in"] == "body"


def test_a_body_that_is_no_json_is_refused(rig: ApiRig) -> None:
    answer = rig.request(
        "POST", "/tasks", content=b"{", headers={"Content-Type": "application/json"}
    )
    problem(answer, 422, "bad-request")


def test_a_body_that_is_far_too_long_is_not_even_read(rig: ApiRig) -> None:
    """It is read before anybody is asked who they are."""
    kind = {"Content-Type": "application/json"}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1000

    for body in (b"x" * 70_000, pieces()):
        answer = rig.request("POST", "/tasks", None, content=body, headers=kind)
        problem(answer, 413, "too-long")


def test_a_replayed_request_does_not_count(tmp_path: Any) -> None:
    rig = ApiRig(tmp_path, create_per_token=1)
    try:
        body = {"queue": "support", "number": "0301234567"}
        for _ in range(3):
            answer = rig.post("/tasks", body, Idempotency_Key="k")
            assert answer.status_code == 201
        problem(rig.post("/tasks", body, Idempotency_Key="l"), 429, "too-often")
        rig.world.run(60)
        # It may be tried again with the same key.
        assert rig.post("/tasks", body, Idempotency_Key="l").status_code == 200
    finally:
        rig.close()


def test_too_many_creations_of_one_token_are_refused(tmp_path: Any) -> None:
    rig = ApiRig(tmp_path, create_per_token=2)
    try:
        for number in ("0301234567", "0301234568"):
            rig.add(number)
        body = {"queue": "support", "number": "0301234569"}
        answer = rig.post("/tasks", body)
        problem(answer, 429, "too-often")
        assert int(answer.headers["Retry-After"]) == 60
        rig.world.run(60)
        rig.add("0301234569")
    finally:
        rig.close()


# -- creating from a web site ------------------------------------------------


def test_a_web_site_learns_nothing_about_the_client(rig: ApiRig) -> None:
    """New, already open, open for another queue, blocked: all answers are the same."""
    rig.add("0301111111", "support")
    rig.add("0302222222", "sales")
    rig.post("/numbers/block", {"number": "0303333333"})
    answers = []
    for number in ("0300000000", "0301111111", "0302222222", "0303333333"):
        for at in (None, "2027-01-16T10:00Z"):
            body = {"queue": "support", "number": number, "at": at}
            answers.append(rig.post("/tasks", body, SITE))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.text for answer in answers} == {'{"accepted":true}'}
    # The one is called, the other is not.
    assert _ids(rig.get("/tasks", q="0300000000"))
    assert not _ids(rig.get("/tasks", q="0303333333"))


def test_a_web_site_is_told_what_its_visitor_typed_wrong(rig: ApiRig) -> None:
    wrong = {"queue": "support", "number": "12", "at": None}
    found = problem(rig.post("/tasks", wrong, SITE), 422, "refused")
    assert found["errors"][0]["pointer"] == "/number"
    late = {"queue": "support", "number": "0301234567", "at": "2020-01-01"}
    found = problem(rig.post("/tasks", late, SITE), 422, "bad-time")
    assert found["errors"][0]["pointer"] == "/at"
    problem(
        rig.post("/tasks", {"queue": "sales", "number": "0301234567"}, SITE),
        404,
        "no-such-queue",
    )


def test_a_web_site_can_read_nothing(rig: ApiRig) -> None:
    rig.add()
    for path in ("/tasks", "/tasks/1", "/queues", "/numbers/blocked", "/live"):
        problem(rig.get(path, SITE), 403, "forbidden")
    problem(rig.post("/tasks/1/cancel", {}, SITE), 403, "forbidden")


def test_one_visitor_or_one_number_can_not_ask_often(rig: ApiRig) -> None:
    def ask(number: str, address: str) -> httpx.Response:
        body = {"queue": "support", "number": number, "client_address": address}
        return rig.post("/tasks", body, SITE)

    for count in range(5):
        assert ask(f"030123450{count}", "203.0.113.7").status_code == 202
    problem(ask("0301234599", "203.0.113.7"), 429, "too-often")
    # The addresses of one network of IPv6 are one visitor.
    for count in range(5):
        assert ask(f"030123460{count}", f"2001:db8::{count}").status_code == 202
    problem(ask("0301234699", "2001:db8::ffff"), 429, "too-often")
    for count in range(3):
        # What a visitor typed wrong does not count.
        problem(ask("12", "203.0.113.8"), 422, "refused")
        assert ask("+49 30 77777", f"203.0.113.{count + 20}").status_code == 202
    problem(ask("+493077777", "203.0.113.99"), 429, "too-often")
    for count in range(5):
        assert ask(f"030123480{count}", "203.0.113.8").status_code == 202
    problem(ask("0301234700", "nowhere"), 422, "bad-request")


# -- reading -----------------------------------------------------------------


def test_pages_have_every_task_once_also_while_tasks_are_added(rig: ApiRig) -> None:
    ids = [rig.add(f"03012345{count}") for count in range(10, 17)]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = rig.get("/tasks", limit=3, **cursor)
        seen += _ids(answer)
        if answer.json()["next_cursor"] is None:
            break
        cursor = {"cursor": answer.json()["next_cursor"]}
        rig.add(f"03099{len(seen):05}")
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "W10", "4pyT", "Wzd9", "x" * 600, "[1]", "eyJhIjoxfQ"]
)
def test_a_cursor_that_was_made_up_is_refused(rig: ApiRig, cursor: str) -> None:
    problem(rig.get("/tasks", cursor=cursor), 400, "bad-cursor")


def test_a_cursor_of_another_list_is_refused(rig: ApiRig) -> None:
    for count in range(2):
        rig.add(f"030123456{count}")
    cursor = rig.get("/tasks", limit=1).json()["next_cursor"]
    assert _ids(rig.get("/tasks", limit=5, cursor=cursor)) == [1]
    problem(rig.get("/tasks", limit=1, cursor=cursor, q="x"), 400, "bad-cursor")
    problem(rig.get("/numbers/refusals", cursor=cursor), 400, "bad-cursor")


def test_filters_find_the_tasks(rig: ApiRig) -> None:
    first = rig.add("0301234567", name="Иван Петров")
    second = rig.add("0307654321", "sales", name="Jane Roe")
    rig.post(f"/tasks/{first}/cancel", {"reason": "a mistake"})
    rig.world.run(60)
    third = rig.add("+493099999")
    half_a_minute = datetime.fromtimestamp(START + 30, UTC).isoformat()
    for found, filters in (
        ([third, second, first], {}),
        ([second], {"queue": "sales"}),
        ([third, first], {"queue": ["support"]}),
        ([first], {"status": "cancelled"}),
        ([third, second, first], {"status": ["cancelled", "pending"]}),
        ([third, second], {"open": True}),
        ([third, second, first], {"kind": "manual"}),
        ([], {"kind": "missed"}),
        ([first], {"reason_code": "text"}),
        ([first], {"q": "иван"}),
        ([second], {"q": "JANE"}),
        ([], {"q": "J_ne"}),
        ([], {"q": "%"}),
        ([second], {"q": "030 765"}),
        ([third], {"q": "03099999"}),
        ([third], {"created_from": half_a_minute}),
        ([second, first], {"created_to": half_a_minute}),
        ([], {"queue": "nowhere"}),
    ):
        assert _ids(rig.get("/tasks", **filters)) == found, filters
    for wrong in (
        "1800000000",
        "yesterday",
        "2026-02-30T10:00",
    ):
        problem(rig.get("/tasks", created_from=wrong), 422, "bad-request")
    problem(rig.get("/tasks", status="lost"), 422, "bad-request")
    problem(rig.get("/tasks", q="\x00"), 422, "bad-request")
    problem(rig.get("/tasks", limit=0), 422, "bad-request")


def test_a_task_that_does_not_exist_is_not_found(rig: ApiRig) -> None:
    problem(rig.get("/tasks/99"), 404, "no-such-task")
    problem(rig.get("/tasks/0"), 422, "bad-request")
    problem(rig.post("/tasks/99/cancel", {}), 404, "no-such-task")


def test_the_live_state_says_why_a_task_is_not_called_yet(rig: ApiRig) -> None:
    task = rig.add()
    assert rig.get(f"/tasks/{task}").json()["task"]["why_not_yet"] is None
    why = {"code": "no_agent_free", "params": {}, "words": "no agent was free"}
    live = {"position": 2, "expected_at": None, "why_not_yet": why}
    rig.live("snapshot", {"id": 1, "at": "t", "queues": {}, "tasks": {str(task): live}})
    found = rig.get("/tasks").json()["items"][0]
    assert (found["position"], found["why_not_yet"]) == (2, why)


# -- changing ----------------------------------------------------------------


def test_a_task_is_cancelled_put_back_and_moved(rig: ApiRig) -> None:
    task = rig.add()
    answer = rig.post(f"/tasks/{task}/cancel", {"reason": "a mistake"})
    assert answer.json()["task"]["status"] == "cancelled"
    found = problem(rig.post(f"/tasks/{task}/cancel", {}), 409, "illegal-move")
    assert "cancelled already" in found["detail"]
    assert rig.post(f"/tasks/{task}/retry").json()["task"]["status"] == "pending"
    moved = rig.post(f"/tasks/{task}/reschedule", {"at": "2027-01-16T10:00Z"})
    assert moved.json()["task"]["chosen_at"] == "2027-01-16T10:00:00.000+00:00"
    now = rig.post(f"/tasks/{task}/reschedule", {})
    assert now.json()["task"]["chosen_at"] is None
    problem(rig.post(f"/tasks/{task}/reschedule", {"at": "never"}), 422, "bad-time")
    story = rig.get(f"/tasks/{task}").json()["history"]
    assert all("anna" in str(event["reason_params"]) for event in story)


def test_a_task_gets_another_place_an_agent_and_a_note(rig: ApiRig) -> None:
    first, second = rig.add("0301111111"), rig.add("0302222222")
    other = rig.add("0303333333", "sales")
    assert rig.post(f"/tasks/{second}/move", {"front": True}).json()["task"]["moved"]
    assert rig.post(f"/tasks/{second}/move", {"behind": first}).status_code == 200
    problem(rig.post(f"/tasks/{second}/move", {"behind": other}), 409, "illegal-move")
    problem(rig.post(f"/tasks/{second}/move", {}), 422, "bad-request")
    both = {"front": True, "behind": first}
    problem(rig.post(f"/tasks/{second}/move", both), 422, "bad-request")
    found = problem(
        rig.post(f"/tasks/{first}/assign", {"agent": "x"}), 404, "no-such-agent"
    )
    assert found["errors"][0]["pointer"] == "/agent"
    rig.world.asterisk.queues["support"].add("PJSIP/alice", dynamic=True)
    rig.world.settle()
    body = {"agent": "PJSIP/alice", "duration": "30m"}
    task = rig.post(f"/tasks/{first}/assign", body).json()["task"]
    assert (task["assigned_to"], task["assigned_until"] is None) == (
        "PJSIP/alice",
        False,
    )
    task = rig.post(f"/tasks/{first}/assign", {"agent": None}).json()["task"]
    assert task["assigned_to"] is None
    assert rig.post(f"/tasks/{first}/note", {"note": "wants Jane"}).status_code == 200
    assert "wants Jane" in rig.get(f"/tasks/{first}").text
    problem(rig.post(f"/tasks/{first}/note", {"note": ""}), 422, "bad-request")


def test_many_tasks_are_changed_as_the_preview_said(rig: ApiRig) -> None:
    for count in range(3):
        rig.add(f"030123450{count}")
    wanted: dict[str, Any] = {"action": "cancel", "filter": {"queue": "support"}}
    found = problem(rig.post("/tasks/bulk", wanted), 422, "bad-request")
    assert found["errors"][0]["pointer"] == "/expect"
    preview = rig.post("/tasks/bulk", {**wanted, "preview": True}).json()
    assert (preview["selected"], preview["changed"]) == (3, 3)
    assert _ids(rig.get("/tasks", open=True)) == [3, 2, 1]
    rig.add("0309999999")
    late = {**wanted, "expect": preview["fingerprint"]}
    problem(rig.post("/tasks/bulk", late), 409, "selection-changed")
    preview = rig.post("/tasks/bulk", {**wanted, "preview": True}).json()
    done = rig.post("/tasks/bulk", {**wanted, "expect": preview["fingerprint"]}).json()
    assert done["changed"] == 4
    assert {**done, "preview": True, "fingerprint": ""} == {
        **preview,
        "fingerprint": "",
    }
    assert _ids(rig.get("/tasks", open=True)) == []
    again = rig.post("/tasks/bulk", {"action": "retry", "ids": [1, 99]}).json()
    assert [result["done"] for result in again["results"]] == [True, False]
    for wrong in ({}, {"ids": [1], "filter": {}}, {"ids": [0]}):
        answer = rig.post("/tasks/bulk", {"action": "cancel", **wrong})
        problem(answer, 422, "bad-request")


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize(
    ("action", "fields", "code", "pointer"),
    [
        ("reschedule", {"at": "soon"}, "bad-time", "at"),
        ("assign", {}, "bad-request", "agent"),
        ("assign", {"agent": "x", "duration": "5 moons"}, "bad-request", "duration"),
        ("note", {}, "bad-request", "note"),
    ],
)
def test_bulk_change_with_a_wrong_field_is_refused_as_a_whole(
    rig: ApiRig,
    preview: bool,
    action: str,
    fields: dict[str, str],
    code: str,
    pointer: str,
) -> None:
    wanted = {"action": action, "ids": [1], "preview": preview, **fields}
    found = problem(rig.post("/tasks/bulk", wanted), 422, code)
    assert [one["pointer"] for one in found["errors"]] == [f"/{pointer}"]


def test_bulk_changes_reach_only_own_queues(rig: ApiRig) -> None:
    own, other = rig.add("0301111111"), rig.add("0302222222", "sales")
    body: dict[str, Any] = {"action": "cancel", "ids": [own, other]}
    problem(rig.post("/tasks/bulk", body, SUPERVISOR), 404, "no-such-task")
    anywhere = {"action": "cancel", "preview": True, "filter": {}}
    problem(rig.post("/tasks/bulk", anywhere, SUPERVISOR), 422, "bad-request")
    there = {**anywhere, "filter": {"queue": "sales"}}
    problem(rig.post("/tasks/bulk", there, SUPERVISOR), 404, "no-such-queue")
    here = {**anywhere, "filter": {"queue": "support"}}
    assert rig.post("/tasks/bulk", here, SUPERVISOR).json()["selected"] == 1
    assert _ids(rig.get("/tasks", open=True)) == [other, own]
    blind = evolve(VIEWER, rights=VIEWER.rights | {Right.TASKS_WRITE})
    answer = rig.post("/tasks/bulk", {**anywhere, "filter": {"queue": "sales"}}, blind)
    assert "2222222" not in answer.text
    probing = {**anywhere, "filter": {"text": "0302222222"}}
    problem(rig.post("/tasks/bulk", probing, blind), 422, "bad-request")


# -- idempotency -------------------------------------------------------------


def test_a_repeated_request_is_carried_out_once(rig: ApiRig) -> None:
    task = rig.add()
    first = rig.post(f"/tasks/{task}/retry", Idempotency_Key="a")
    again = rig.post(f"/tasks/{task}/retry", Idempotency_Key="a")
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    moves = [event["move"] for event in rig.get(f"/tasks/{task}").json()["history"]]
    assert moves == ["create", "reopen"]
    # Another key, or another person, is another request.
    rig.post(f"/tasks/{task}/retry", Idempotency_Key="b")
    rig.post(f"/tasks/{task}/retry", None, SUPERVISOR, Idempotency_Key="a")
    assert len(rig.get(f"/tasks/{task}").json()["history"]) == 4


def test_an_error_is_repeated_too(rig: ApiRig) -> None:
    task = rig.add()
    rig.post(f"/tasks/{task}/cancel", {})
    first = rig.post(f"/tasks/{task}/cancel", {}, Idempotency_Key="a")
    rig.post(f"/tasks/{task}/retry")
    again = rig.post(f"/tasks/{task}/cancel", {}, Idempotency_Key="a")
    assert problem(again, 409, "illegal-move") == first.json()
    assert rig.get(f"/tasks/{task}").json()["task"]["status"] == "pending"


def test_a_key_of_another_request_is_refused(rig: ApiRig) -> None:
    task = rig.add()
    rig.post(f"/tasks/{task}/cancel", {"reason": "a"}, Idempotency_Key="k")
    for path, body in (
        (f"/tasks/{task}/cancel", {"reason": "b"}),
        (f"/tasks/{task}/retry", None),
        ("/numbers/block", {"number": "0301234567"}),
    ):
        answer = rig.post(path, body, Idempotency_Key="k")
        problem(answer, 422, "idempotency-key-reused")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "\xe4"])
def test_a_key_that_can_not_be_used_is_refused(rig: ApiRig, key: str) -> None:
    task = rig.add()
    answer = rig.request(
        "POST",
        f"/tasks/{task}/retry",
        headers={"Idempotency-Key": key.encode("latin-1")},
    )
    problem(answer, 400, "idempotency-key-invalid")


def test_a_key_is_free_again_after_a_day(rig: ApiRig) -> None:
    task = rig.add()
    rig.post(f"/tasks/{task}/cancel", {}, Idempotency_Key="k")
    rig.world.set_wall_clock(24 * 3600 + 1)
    answer = rig.post(f"/tasks/{task}/retry", Idempotency_Key="k")
    assert answer.status_code == 200


def test_answers_with_numbers_go_after_a_day_even_if_no_request_comes(
    rig: ApiRig,
) -> None:
    def kept(conn: sa.Connection) -> list[str]:
        return list(conn.scalars(sa.select(IDEMPOTENCY.c.answer)))

    async def cleaned() -> None:
        (task,) = [one for one in rig.parts.background_tasks() if "answers" in one.name]
        running = asyncio.ensure_future(task.run())
        async with asyncio.timeout(20):
            while await rig.parts.state.read(kept):
                await asyncio.sleep(0.01)
        running.cancel()

    body = {"queue": "support", "number": "0301234567"}
    rig.post("/tasks", body, Idempotency_Key="k")
    (answer,) = rig.run(rig.parts.state.read(kept))
    assert "0301234567" in answer
    rig.world.set_wall_clock(24 * 3600 + 1)
    rig.run(cleaned())


def test_a_new_user_with_the_id_of_a_former_one_gets_no_answer_of_theirs(
    rig: ApiRig,
) -> None:
    task = rig.add()
    rig.post(f"/tasks/{task}/retry", None, SUPERVISOR, Idempotency_Key="k")
    other = evolve(SUPERVISOR, name="steve")
    answer = rig.post(f"/tasks/{task}/retry", None, other, Idempotency_Key="k")
    assert "Idempotency-Replayed" not in answer.headers


def test_while_the_first_request_is_under_way_the_second_one_waits(rig: ApiRig) -> None:
    task = rig.add()
    answers = []

    class InBetween(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answers.append(
                await rig._http.post(
                    f"/api/v1/tasks/{task}/retry", headers={"Idempotency-Key": "k"}
                )
            )
            return await rig.transport.handle_async_request(request)

    rig.parts.service._commands._transport = InBetween()
    first = rig.post(f"/tasks/{task}/retry", Idempotency_Key="k")
    assert first.status_code == 200
    problem(answers[0], 409, "idempotency-in-progress")
    assert answers[0].headers["Retry-After"] == "1"


def test_what_was_not_done_may_be_tried_again_with_the_same_key(rig: ApiRig) -> None:
    task = rig.add()
    rig.transport.trouble = httpx.ConnectError("no service")
    answer = rig.post(f"/tasks/{task}/retry", Idempotency_Key="k")
    problem(answer, 503, "service-down")
    assert answer.headers["Retry-After"]
    rig.transport.trouble = None
    assert rig.post(f"/tasks/{task}/retry", Idempotency_Key="k").status_code == 200


def test_what_may_have_been_done_is_not_done_again(rig: ApiRig) -> None:
    task = rig.add()
    rig.transport.trouble, rig.transport.after = httpx.ReadError("lost"), True
    answer = rig.post(f"/tasks/{task}/retry", Idempotency_Key="k")
    problem(answer, 504, "outcome-unknown")
    rig.transport.trouble = None
    again = rig.post(f"/tasks/{task}/retry", Idempotency_Key="k")
    problem(again, 504, "outcome-unknown")
    assert len(rig.get(f"/tasks/{task}").json()["history"]) == 2


# -- queues and numbers of others --------------------------------------------


def test_tasks_of_other_queues_do_not_exist(rig: ApiRig) -> None:
    own, other = rig.add("0301111111"), rig.add("0302222222", "sales")
    assert _ids(rig.get("/tasks", SUPERVISOR)) == [own]
    problem(rig.get("/tasks", SUPERVISOR, queue="sales"), 404, "no-such-queue")
    problem(rig.get(f"/tasks/{other}", SUPERVISOR), 404, "no-such-task")
    for change, body in (("cancel", {}), ("retry", None), ("reschedule", {})):
        answer = rig.post(f"/tasks/{other}/{change}", body, SUPERVISOR)
        problem(answer, 404, "no-such-task")
    body = {"queue": "sales", "number": "0303333333"}
    problem(rig.post("/tasks", body, SUPERVISOR), 404, "no-such-queue")
    # The open task of a queue of others is not shown either.
    answer = rig.post(
        "/tasks", {"queue": "support", "number": "0302222222"}, SUPERVISOR
    )
    assert (answer.status_code, answer.json()) == (202, {"accepted": True})
    assert rig.get(f"/tasks/{other}").json()["task"]["status"] == "pending"


def test_a_viewer_sees_no_whole_number_and_finds_none(rig: ApiRig) -> None:
    task = rig.add("0301234567", name="Jane 030 1234567")
    rig.post(f"/tasks/{task}/cancel", {"reason": "call 0301234567 never"})
    for path in ("/tasks", f"/tasks/{task}"):
        text = rig.get(path, VIEWER).text
        assert "1234567" not in text and "234567" not in text, text
        assert "0301234\u2022\u2022\u2022" in text
    assert _ids(rig.get("/tasks", VIEWER, q="0301234567")) == []
    assert _ids(rig.get("/tasks", VIEWER, q="jane")) == [task]
    problem(rig.post(f"/tasks/{task}/retry", None, VIEWER), 403, "forbidden")


def test_a_token_that_may_change_and_not_see_numbers_gets_masked_answers(
    rig: ApiRig,
) -> None:
    rights = frozenset({Right.TASKS_READ, Right.TASKS_WRITE, Right.TASKS_CREATE})
    who = evolve(VIEWER, rights=rights)
    body = {"queue": "support", "number": "0301234567"}
    assert "1234567" not in rig.post("/tasks", body, who).text
    assert "1234567" not in rig.post("/tasks/1/cancel", {}, who).text
    # The service's words of an error repeat the number.
    rig.post("/numbers/block", {"number": "0301234567"})
    refused = problem(rig.post("/tasks", body, who), 422, "refused")
    assert "1234567" not in str(refused), refused


def test_without_a_login_nothing_is_told(rig: ApiRig) -> None:
    rig.add()
    answer = rig.get("/tasks", None)
    problem(answer, 401, "not-logged-in")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


# -- trouble -----------------------------------------------------------------


def test_without_a_service_tasks_are_still_read(rig: ApiRig) -> None:
    task = rig.add()
    rig.transport.trouble = httpx.ConnectError("no service")
    assert _ids(rig.get("/tasks")) == [task]
    problem(rig.post(f"/tasks/{task}/cancel", {}), 503, "service-down")
    problem(rig.get("/queues"), 503, "service-down")


def test_a_database_of_another_version_is_no_fault(rig: ApiRig) -> None:
    import sqlite3
    from contextlib import closing

    path = rig.world.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.commit()
    found = problem(rig.get("/tasks"), 503, "other-version")
    assert "9999" in found["detail"]


def test_the_right_is_needed_for_each_operation(rig: ApiRig) -> None:
    who = evolve(ADMIN, rights=frozenset({Right.METRICS}))
    rig.add()
    for path in ("/tasks", "/tasks/1", "/queues", "/queues/support", "/live"):
        problem(rig.get(path, who), 403, "forbidden")
