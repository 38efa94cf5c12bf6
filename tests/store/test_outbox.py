# SPDX-License-Identifier: MIT
"""Events go to each sink in order; the database has a position for each sink.

A new sink is one class, like the one below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import cast

import attrs
import pytest

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from fastagi.domain.queue_log_entries import EventRow
from fastagi.domain.task import Move
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service.outbox import NotDelivered, Outbox
from fastagi.store.store import TaskStore
from tests.store.harness import at, done, new_task


@attrs.define
class Diary:
    """A sink with two entries for each task created, and none for other events."""

    name: str = "diary"
    is_wanted: bool = True
    is_ready: bool = True
    written: list[str] = attrs.field(factory=list)
    #: Raised when the next entry is written.
    failure: Exception | None = None

    def entries(self, event: EventRow) -> Sequence[str]:
        if event.move is not Move.CREATE:
            return []
        return [f"{event.task_id} asked", f"{event.task_id} waits"]

    async def deliver(self, entry: str) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        self.written.append(entry)


class Outboxes:
    """Outboxes of one process."""

    def __init__(self, store: TaskStore) -> None:
        self.reactor = Clock()
        clock = MachineClock(cast(IReactorTime, self.reactor))
        self.background = Background(clock)
        self._store, self._clock = store, clock

    def begin(
        self,
        sink: Diary,
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> Outbox[str]:
        outbox = Outbox(
            sink,
            store=self._store,
            clock=self._clock,
            background=self.background,
            prepare=prepare,
        )
        outbox.wake()
        return outbox


@pytest.fixture
def outboxes(store: TaskStore) -> Iterator[Outboxes]:
    one = Outboxes(store)
    yield one
    done(one.background.stop())


def test_each_sink_gets_every_entry_once(store: TaskStore, outboxes: Outboxes) -> None:
    done(store.add(new_task("100"), at(0)))
    diary, log = Diary(), Diary("log")
    first, second = outboxes.begin(diary), outboxes.begin(log)
    assert diary.written == log.written == ["1 asked", "1 waits"]

    done(store.add(new_task("200"), at(1)))
    first.wake()
    first.wake()
    assert diary.written == ["1 asked", "1 waits", "2 asked", "2 waits"]
    assert log.written == ["1 asked", "1 waits"]
    second.wake()
    assert log.written == diary.written


def test_the_next_process_goes_on_in_the_middle_of_an_event(
    store: TaskStore, outboxes: Outboxes
) -> None:
    done(store.add(new_task("100"), at(0)))
    diary = Diary(is_ready=True)

    class OneEntry(Diary):
        async def deliver(self, entry: str) -> None:
            await super().deliver(entry)
            self.is_ready = False

    former = OneEntry()
    outboxes.begin(former)
    assert former.written == ["1 asked"]
    outboxes.begin(diary)
    assert diary.written == ["1 waits"]


def test_what_was_certainly_not_delivered_is_delivered_later(
    store: TaskStore, outboxes: Outboxes
) -> None:
    done(store.add(new_task("100"), at(0)))
    diary = Diary(failure=NotDelivered(retry_in_s=15))
    outboxes.begin(diary)
    assert diary.written == []
    outboxes.reactor.advance(14.9)
    assert diary.written == []
    outboxes.reactor.advance(0.2)
    assert diary.written == ["1 asked", "1 waits"]


def test_what_may_have_been_delivered_is_not_delivered_again(
    store: TaskStore, outboxes: Outboxes
) -> None:
    done(store.add(new_task("100"), at(0)))

    class DiesMeanwhile(Diary):
        async def deliver(self, entry: str) -> None:
            raise SystemError

    with pytest.raises(SystemError):
        done(_deliver_only(outboxes, store, DiesMeanwhile()))
    diary = Diary()
    outboxes.begin(diary)
    assert diary.written == ["1 waits"]


async def _deliver_only(outboxes: Outboxes, store: TaskStore, sink: Diary) -> None:
    """Deliver without the worker, which would log the error and retry."""
    outbox = Outbox(
        sink, store=store, clock=outboxes._clock, background=outboxes.background
    )
    await outbox._catch_up()


def test_events_of_a_sink_that_is_switched_off_are_passed_over(
    store: TaskStore, outboxes: Outboxes
) -> None:
    done(store.add(new_task("100"), at(0)))
    diary = Diary(is_wanted=False)
    outbox = outboxes.begin(diary)
    diary.is_wanted = True
    done(store.add(new_task("200"), at(1)))
    outbox.wake()
    assert diary.written == ["2 asked", "2 waits"]


def test_sink_of_a_part_begins_where_the_one_of_all_is(
    store: TaskStore, outboxes: Outboxes
) -> None:
    done(store.add(new_task("100"), at(0)))
    outboxes.begin(Diary())
    part = Diary()
    part.name = "diary:berlin"
    done(store.add(new_task("200"), at(1)))
    share = partial(store.share_events, "diary", ["berlin"])
    outboxes.begin(part, prepare=share)
    assert part.written == ["2 asked", "2 waits"]

    # It has its own position from now on.
    done(store.add(new_task("300"), at(2)))
    outboxes.begin(part, prepare=share)
    assert part.written == ["2 asked", "2 waits", "3 asked", "3 waits"]


def test_sink_of_a_part_that_was_away_begins_anew(
    store: TaskStore, outboxes: Outboxes
) -> None:
    part = Diary()
    part.name = "diary:berlin"
    outboxes.begin(part, prepare=partial(store.share_events, "diary", ["berlin"]))
    outboxes.begin(Diary(), prepare=partial(store.share_events, "diary", []))
    done(store.add(new_task("100"), at(0)))
    outboxes.begin(Diary())
    outboxes.begin(part, prepare=partial(store.share_events, "diary", ["berlin"]))
    assert part.written == []


def test_nothing_is_delivered_after_the_stop(
    store: TaskStore, outboxes: Outboxes
) -> None:
    diary = Diary()
    outbox = outboxes.begin(diary)
    outbox.stop()
    done(store.add(new_task("100"), at(0)))
    outbox.wake()
    assert diary.written == []
