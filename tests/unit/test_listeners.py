# SPDX-License-Identifier: MIT
"""The consequences of an event wait until all listeners were called."""

from __future__ import annotations

from functools import partial

import pytest

from twisted.internet.task import Clock
from twisted.logger import LogEvent

from fastagi.runtime.listeners import Afterwards, Listeners, OnceForAll


def test_what_follows_is_called_at_the_end_in_its_order() -> None:
    done: list[str] = []
    afterwards = Afterwards("an event")
    follow = afterwards.wrap(done.append)
    with afterwards:
        follow("first to follow")
        done.append("told")
        follow("second to follow")
    follow("at once")
    assert done == ["told", "first to follow", "second to follow", "at once"]


def test_what_follows_may_have_consequences_of_its_own() -> None:
    done: list[str] = []
    afterwards = Afterwards("an event")
    follow = afterwards.wrap(done.append)

    def fact() -> None:
        follow("of the fact")
        done.append("fact")

    with afterwards:
        afterwards.wrap(fact)()
        follow("next")
    # Outside of an event nothing waits.
    assert done == ["of the fact", "fact", "next"]


def test_one_that_raises_stops_no_other(logged: list[LogEvent]) -> None:
    done: list[str] = []
    afterwards = Afterwards("an event")

    def fail() -> None:
        raise ValueError("never mind")

    with afterwards:
        afterwards.wrap(fail)()
        afterwards.wrap(done.append)("went on")
    assert done == ["went on"]
    (failure,) = [one for one in logged if "log_failure" in one]
    assert failure["what"] == "an event"


def test_a_failure_while_it_is_handed_out_loses_nothing() -> None:
    done: list[str] = []
    afterwards = Afterwards("an event")
    with pytest.raises(ValueError, match="never mind"), afterwards:
        afterwards.wrap(done.append)("follows")
        raise ValueError("never mind")
    assert done == ["follows"]


def test_a_listener_can_be_made_to_wait() -> None:
    done: list[int] = []
    happened: Listeners[[int]] = Listeners("something")
    afterwards = Afterwards("an event")
    happened.add(afterwards.wrap(done.append))
    with afterwards:
        happened.call(1)
        assert done == []
    assert done == [1]


def test_calls_within_a_moment_have_one_consequence() -> None:
    clock, done = Clock(), []
    once = OnceForAll(lambda: done.append(clock.seconds()), partial(clock.callLater, 1))
    once.call()
    once.call()
    assert not done
    clock.advance(1)
    # The second call came after the first had begun to wait.
    assert not done
    clock.advance(1)
    assert done == [2]
    once.call()
    clock.advance(1)
    assert done == [2, 3]
    clock.advance(100)
    assert done == [2, 3]


def test_calls_that_never_end_do_not_put_it_off_for_ever() -> None:
    clock, done = Clock(), []
    once = OnceForAll(lambda: done.append(clock.seconds()), partial(clock.callLater, 1))
    for _ in range(30):
        once.call()
        once.call()
        clock.advance(1)
    assert done == [10, 20, 30]


def test_without_a_clock_each_call_is_made_at_once() -> None:
    done: list[int] = []
    once = OnceForAll(lambda: done.append(1), None)
    once.call()
    once.call()
    assert done == [1, 1]
