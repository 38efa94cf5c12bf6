# SPDX-License-Identifier: MIT
"""Requests from every source are treated alike."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pytest

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.reason import Code, because, said
from fastagi.domain.task import Kind, Status
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service.promises import Promises
from fastagi.service.refusals import Refusals
from fastagi.service.requests import (
    KEPT_BY_ASTERISK,
    KEY_PRESS,
    MISSED_CALL,
    OPERATOR,
    Accepted,
    Answer,
    CallbackRequest,
    Known,
    Refused,
    Repeated,
    Requests,
    Source,
)
from fastagi.store.errors import CommitUnknown
from fastagi.store.store import Recorded, TaskStore
from tests.harness.world import settings
from tests.store.harness import NOW, at, done

NUMBER = "+49301234567"
SOURCES = {
    "key press": KEY_PRESS,
    "kept by Asterisk": KEPT_BY_ASTERISK,
    "missed call": MISSED_CALL,
    "operator": OPERATOR,
}

every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))


class Line:
    """The queues of an Asterisk: who has hung up, and who waits."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.waiting: set[str] = set()

    async def is_gone(self, uniqueid: str) -> bool:
        return uniqueid in self.gone

    def is_waiting(self, queue: str, uniqueid: str) -> bool:
        return uniqueid in self.waiting


class Service:
    """Requests and promises on a database without a thread."""

    def __init__(self, store: TaskStore) -> None:
        self.store = store
        self.changes = 0
        self.line = Line()
        clock = MachineClock(cast(IReactorTime, Clock()), NOW.timestamp)
        background = Background(clock)
        self.requests = Requests(
            store=store,
            clock=clock,
            background=background,
            settings=settings,
            refusals=Refusals(store=store, clock=clock, background=background),
            tasks_changed=self.changed,
        )
        self.promises = Promises(
            requests=self.requests,
            store=store,
            line=self.line,
            clock=clock,
            background=background,
            tasks_changed=self.changed,
        )

    def changed(self) -> None:
        self.changes += 1

    def ask(self, request: CallbackRequest) -> tuple[Answer, list[str]]:
        """Ask; return the answer and the lines of the log."""
        with capturedLogs() as events:
            answer = done(self.requests.ask(request))
        return answer, [formatEvent(event) for event in events]

    def promise(self, request: CallbackRequest, error: Exception | None = None) -> None:
        """Ask for a waiting caller, who can or cannot be told the answer."""

        async def tell(_answer: Answer) -> None:
            if error is not None:
                raise error

        done(self.promises.ask(request, 0.8, tell))

    def task(self) -> tuple[Status, str]:
        (task,) = done(self.store.listing(limit=10))
        return task.status, task.reason


@pytest.fixture
def service(store: TaskStore) -> Service:
    return Service(store)


def request(source: Source, number: str = NUMBER, **more: Any) -> CallbackRequest:
    return CallbackRequest(
        source=source,
        number=number,
        **{"queue": "SUPPORT", "uniqueid": "1.1", "linkedid": "1.1", **more},
    )


@every_source
def test_each_way_to_ask_makes_the_same_task(service: Service, source: Source) -> None:
    asked = request(source, "0049 (30) 123-4567", name="Ann\x07", language="en")
    answer, log = service.ask(asked)
    assert isinstance(answer, Accepted)
    task = answer.task
    assert (task.number, task.queue, task.name) == ("0049301234567", "support", "Ann")
    assert (task.kind, task.language, task.linkedid) == (source.kind, "en", "1.1")
    assert (task.joined_at, task.due_at) == (NOW, NOW)
    assert task.expires_at > NOW
    assert len(log) == 1
    assert log[0].startswith("task 1: ")
    assert service.changes == 1


@every_source
@pytest.mark.parametrize("again", SOURCES.values(), ids=list(SOURCES))
def test_whoever_asks_again_repeats_the_open_task(
    service: Service, source: Source, again: Source
) -> None:
    service.ask(request(source))
    asked = request(again, "49 30 1234567", linkedid="2.1", asked_at=at(-60))
    answer, _ = service.ask(asked)
    assert isinstance(answer, Repeated)
    assert (answer.task.id, answer.task.due_at) == (1, NOW)


@every_source
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"number": "anonymous"}, "no number"),
        ({"number": "12"}, "2 digits"),
        ({"withheld": True}, "withholds"),
        ({"number": "030555555"}, "is blocked: rude"),
    ],
)
def test_each_way_to_ask_is_refused_for_the_same_reasons(
    service: Service, source: Source, more: dict[str, Any], why: str
) -> None:
    key = settings().plan.key("030555555")
    rude = BlockedNumber(number="030555555", number_key=key, reason="rude", at=NOW)
    done(service.store.block(rude, "ZZ"))
    answer, log = service.ask(attrs.evolve(request(source), **more))
    assert isinstance(answer, Refused)
    assert why in answer.reason
    assert service.changes == 0
    kept = done(service.store.refusals(None, 10))
    if source is OPERATOR:
        # The operator gets the answer directly.
        assert (kept, log) == ([], [])
    else:
        assert [(one.kind, one.reason) for one in kept] == [
            (source.kind, answer.reason)
        ]
        assert answer.reason in log[0]
        if more.get("withheld"):
            assert kept[0].number == ""
            assert " of a number that is not shown " in log[0]
        else:
            assert f" of {more['number']} " in log[0]


@every_source
def test_a_queue_that_is_not_in_the_settings(service: Service, source: Source) -> None:
    answer, _ = service.ask(request(source, queue="sales"))
    assert isinstance(answer, Refused)
    assert answer.why.code is Code.QUEUE_NOT_IN_SETTINGS
    assert done(service.store.listing(limit=10)) == []


@pytest.mark.parametrize("source", [KEPT_BY_ASTERISK, MISSED_CALL])
def test_one_call_that_comes_twice_changes_nothing(
    service: Service, source: Source
) -> None:
    service.ask(request(source))
    answer, _ = service.ask(request(source, linkedid="9.9", ids=frozenset({"1.1"})))
    assert isinstance(answer, Known)
    assert service.changes == 1


@pytest.mark.parametrize("source", [KEPT_BY_ASTERISK, MISSED_CALL, OPERATOR])
def test_what_may_be_stored_is_looked_for(
    service: Service, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = service.store.add

    async def stored_but_not_heard_of(*args: Any, **more: Any) -> Recorded:
        await add(*args, **more)
        raise CommitUnknown("the connection was lost")

    monkeypatch.setattr(service.store, "add", stored_but_not_heard_of)
    with pytest.raises(CommitUnknown):
        done(service.requests.ask(request(source)))
    monkeypatch.undo()

    assert service.changes == 1
    assert service.task()[0] is Status.PENDING


def test_a_missed_call_of_a_week_ago_is_not_stored(service: Service) -> None:
    answer, log = service.ask(
        request(
            MISSED_CALL,
            asked_at=at(-7 * 86400),
            params={"cause": said("hung up after 5 s")},
        )
    )
    assert isinstance(answer, Refused)
    assert answer.why.code is Code.TOO_LONG_AGO
    assert "too long ago (hung up after 5 s)" in log[0]


def test_a_new_way_to_ask_is_a_source_and_a_request(service: Service) -> None:
    website = Source(
        what="a request of the website",
        kind=Kind.REQUESTED,
        story=Code.TEXT,
        created="task {task_id}: {number} asked on the website for queue {queue}",
        repeated="task {task_id}: {number} asked on the website again",
        refused="the website's request for queue {queue} is refused: {reason}",
    )
    story = "the client asked on the website, page /contact"
    answer, log = service.ask(request(website, params={"text": story}))
    assert isinstance(answer, Accepted)
    assert answer.task.reason == story
    assert log == [f"task 1: {NUMBER} asked on the website for queue support"]
    refused, log = service.ask(request(website, number="anonymous"))
    assert isinstance(refused, Refused)
    assert log[0].startswith("the website's request for queue support is refused: ")


# -- told, or taken back ---------------------------------------------------


def test_a_caller_who_is_told_has_a_task(service: Service) -> None:
    service.promise(request(KEY_PRESS))
    assert service.task()[0] is Status.PENDING


@pytest.mark.parametrize("error", [ConnectionError(), ValueError("not a prompt")])
def test_whatever_went_wrong_a_caller_who_waits_again_was_not_told(
    service: Service, error: Exception
) -> None:
    service.line.waiting.add("1.1")
    with pytest.raises(type(error)):
        service.promise(request(KEY_PRESS), error)
    assert service.task() == (Status.CANCELLED, str(because(Code.TAKEN_BACK)))


def test_a_caller_who_joins_later_was_not_told(service: Service) -> None:
    with pytest.raises(ConnectionError):
        service.promise(request(KEY_PRESS), ConnectionError())
    assert service.task()[0] is Status.PENDING
    service.promises.caller_joined("support", "1.1")
    assert service.task() == (Status.CANCELLED, str(because(Code.TAKEN_BACK)))


def test_a_caller_who_has_hung_up_wants_the_callback(service: Service) -> None:
    service.line.gone.add("1.1")
    with pytest.raises(ConnectionError):
        service.promise(request(KEY_PRESS), ConnectionError())
    service.promises.caller_joined("support", "1.1")
    assert service.task()[0] is Status.PENDING


def test_a_caller_who_was_told_by_asterisk_wants_the_callback(service: Service) -> None:
    with pytest.raises(ConnectionError):
        service.promise(request(KEY_PRESS), ConnectionError())
    service.promises.kept_by_asterisk("1.1", "1.1")
    service.promises.caller_joined("support", "1.1")
    assert service.task()[0] is Status.PENDING


def test_what_was_taken_back_and_then_missed_is_called_back(service: Service) -> None:
    service.line.waiting.add("1.1")
    with pytest.raises(ConnectionError):
        service.promise(request(KEY_PRESS), ConnectionError())
    for source in (MISSED_CALL, KEPT_BY_ASTERISK):
        answer, _ = service.ask(request(source, ids=frozenset({"1.1"})))
        assert isinstance(answer, Accepted | Repeated), source
    assert answer.task.kind is Kind.REQUESTED


def test_a_promise_counts_more_than_the_same_call_found_missed(
    service: Service,
) -> None:
    service.ask(request(MISSED_CALL))
    answer, _ = service.ask(request(KEPT_BY_ASTERISK))
    assert isinstance(answer, Repeated)
    assert answer.task.kind is Kind.REQUESTED
