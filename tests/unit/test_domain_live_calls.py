# SPDX-License-Identifier: MIT
"""Outcomes of calls: facts go in, one outcome for each ended call comes out."""

from __future__ import annotations

import re

import pytest

from fastagi.domain import live_calls
from fastagi.domain.contacts import Contact
from fastagi.domain.counting import CountingRules, Ended, Outcome, Place
from fastagi.domain.live_calls import LiveCalls, Meeting

CLIENT = "4930123456"
RULES = CountingRules(queues={"support"})


def place(exten: str = "support", priority: int = 1, context: str = "inbound") -> Place:
    return Place(context=context, exten=exten, priority=str(priority))


class Calls:
    """Passes on events of one Asterisk, by default a second apart."""

    def __init__(self) -> None:
        self.calls = LiveCalls(
            client_key=lambda number: number if len(number) >= 5 else "",
            is_own=lambda uniqueid: uniqueid.startswith("callback-"),
        )
        self.now = 100.0
        self.met: list[Meeting] = []

    def born(
        self,
        uniqueid: str,
        linkedid: str = "",
        *,
        name: str = "",
        number: str = "",
        exten: str = "support",
        whole: bool = True,
        age_s: float = 0.0,
    ) -> set[str]:
        return self.calls.born(
            uniqueid,
            linkedid or uniqueid,
            name=name or f"PJSIP/{uniqueid}-1",
            place=place(exten),
            number=number,
            caller="Ada",
            language="en",
            at=self.now,
            age_s=age_s,
            whole=whole,
        )

    def caller(self, number: str = CLIENT, exten: str = "support") -> None:
        self.born("a", name="PJSIP/trunk-1", number=number, exten=exten)

    def join(self, uniqueid: str = "a", queue: str = "support") -> set[str]:
        self.now += 1
        return self.calls.joined_queue(
            uniqueid, queue, number=CLIENT, caller="Ada", at=self.now
        )

    def leave(self, uniqueid: str = "a", queue: str = "support") -> None:
        self.now += 10
        self.calls.left_queue(uniqueid, queue, place(priority=2), self.now)

    def bridge(self, bridge: str, *uniqueids: str) -> list[Meeting]:
        self.now += 1
        met: list[Meeting] = []
        for uniqueid in uniqueids:
            channel = self.calls._channels[uniqueid]
            met += self.calls.entered_bridge(
                uniqueid,
                bridge,
                name=channel.name,
                linkedid=channel.linkedid,
                at=self.now,
            )
        return met

    def hang_up(
        self, uniqueid: str = "a", priority: int = 2, rules: CountingRules = RULES
    ) -> Ended | None:
        self.now += 1
        return self.calls.hung_up(uniqueid, place(priority=priority), rules, self.now)

    def outcome(self, rules: CountingRules = RULES) -> Outcome:
        ended = self.hang_up(rules=rules)
        assert ended is not None
        return ended.outcome


@pytest.fixture
def calls() -> Calls:
    return Calls()


class TestMissed:
    def test_hung_up_while_waiting(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.leave()
        ended = calls.hang_up()
        assert ended is not None
        assert ended.outcome is Outcome.MISSED
        assert (ended.queue, ended.key, ended.name) == ("support", CLIENT, "Ada")
        assert (ended.since, ended.ended_at) == (101, 112)
        assert ended.how == "hung up after 10 s in queue support"

    def test_queue_was_left_and_the_call_went_on(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.leave()
        ended = calls.hang_up(priority=3)
        assert ended is not None
        assert ended.outcome is Outcome.MISSED
        assert ended.how == (
            "left queue support unanswered after 10 s and the call ended at"
            " support@inbound"
        )

    def test_last_queue_that_counts_has_the_task(self, calls: Calls) -> None:
        rules = CountingRules(queues={"support", "sales"})
        calls.caller()
        for queue in ("support", "Sales", "other"):
            calls.join(queue=queue)
            calls.leave(queue=queue)
        ended = calls.hang_up(rules=rules)
        assert ended is not None
        assert ended.queue == "Sales"
        # The place in line is that of the first.
        assert ended.since == 101
        assert "in queue other (before that in queue support, Sales)" in ended.how

    def test_leaving_a_queue_proves_nothing(self, calls: Calls) -> None:
        calls.caller()
        calls.born("b", "a", name="PJSIP/alice-1")
        calls.join()
        calls.leave()
        calls.bridge("x", "a", "b")
        assert calls.outcome() is Outcome.ANSWERED

    @pytest.mark.parametrize(
        ("rules", "outcome"),
        [
            (CountingRules(), Outcome.NOT_COUNTED),
            (CountingRules(contexts={"inbound"}), Outcome.MISSED),
            (CountingRules(contexts={"other"}), Outcome.NOT_COUNTED),
            (CountingRules(numbers=(re.compile("49.*"),)), Outcome.MISSED),
            (CountingRules(numbers=(re.compile("49"),)), Outcome.NOT_COUNTED),
        ],
    )
    def test_call_that_was_in_no_queue(
        self, calls: Calls, rules: CountingRules, outcome: Outcome
    ) -> None:
        calls.caller(exten="4930999")
        calls.now += 3
        ended = calls.hang_up(rules=rules)
        assert ended is not None
        assert (ended.outcome, ended.queue) == (outcome, "")
        assert ended.how == (
            "the call to 4930999 ended at support@inbound unanswered after 4 s"
        )

    def test_short_call(self, calls: Calls) -> None:
        rules = CountingRules(queues={"support"}, min_duration_s=3)
        calls.caller()
        calls.join()
        assert calls.outcome(rules) is Outcome.TOO_SHORT

    def test_clock_set_back_makes_no_call_short(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.now -= 3600
        assert calls.outcome() is Outcome.MISSED

    def test_internal_caller(self, calls: Calls) -> None:
        calls.caller("101")
        assert calls.outcome() is Outcome.INTERNAL

    def test_request(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.calls.requested("a", True)
        assert calls.outcome() is Outcome.REQUESTED

    def test_request_that_was_taken_back(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.calls.requested("a", True)
        calls.calls.requested("a", False)
        ended = calls.hang_up()
        assert ended is not None
        assert ended.outcome is Outcome.MISSED
        assert ended.taken_back

    def test_half_of_a_local_channel_waits_for_its_caller(self, calls: Calls) -> None:
        calls.caller()
        calls.born("l1", "a", name="Local/support@x-1;1")
        calls.born("l2", "a", name="Local/support@x-1;2")
        calls.join("l2")
        assert calls.hang_up("l2") is None
        assert calls.outcome() is Outcome.MISSED


class TestAnswered:
    def test_by_whom_when_and_for_how_long(self, calls: Calls) -> None:
        calls.caller()
        calls.born("b", "a", name="PJSIP/alice-00000001")
        calls.join()
        (meeting,) = calls.bridge("x", "a", "b")
        assert (meeting.contact, meeting.key) == (Contact.RANG, CLIENT)
        assert meeting.who == "PJSIP/alice"
        calls.now += 5
        calls.calls.left_bridge("b", "x", calls.now)
        calls.now += 100
        ended = calls.hang_up()
        assert ended is not None
        assert ended.outcome is Outcome.ANSWERED
        assert (ended.who, ended.answered_at, ended.talk_s) == ("PJSIP/alice", 102, 5)

    def test_over_a_local_channel_only_when_a_person_is_behind(
        self, calls: Calls
    ) -> None:
        calls.caller()
        calls.born("l1", "a", name="Local/101@x-1;1")
        calls.born("l2", "a", name="Local/101@x-1;2")
        assert calls.bridge("x", "a", "l1") == []
        calls.born("b", "a", name="PJSIP/alice-1")
        (meeting,) = calls.bridge("y", "l2", "b")
        assert meeting.who == "PJSIP/alice"
        assert calls.outcome() is Outcome.ANSWERED

    def test_voicemail_behind_a_local_channel_is_no_person(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.born("l1", "a", name="Local/vm@x-1;1")
        calls.born("l2", "a", name="Local/vm@x-1;2")
        calls.bridge("x", "a", "l1")
        assert calls.outcome() is Outcome.MISSED

    def test_alone_in_a_conference_with_its_announcer(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.born("ann", "a", name="CBAnn/1-1;2")
        calls.bridge("x", "a", "ann")
        assert calls.outcome() is Outcome.MISSED

    def test_transferred_and_then_hung_up_in_a_queue(self, calls: Calls) -> None:
        """Somebody we called was sent to a queue: spoken to, so not missed."""
        calls.born("agent", name="PJSIP/alice-1", number="101", exten=CLIENT)
        calls.born("c", "agent", name="PJSIP/trunk-2")
        calls.bridge("x", "agent", "c")
        calls.calls.left_bridge("c", "x", calls.now)
        first = calls.hang_up("agent")
        assert first is not None
        assert first.outcome is Outcome.INTERNAL
        calls.join("c")
        ended = calls.hang_up("c")
        assert ended is not None
        assert ended.outcome is Outcome.ANSWERED


class TestByHand:
    def test_client_is_busy_from_the_dialling_on(self, calls: Calls) -> None:
        calls.born("b", name="PJSIP/alice-1", number="101", exten=f"0{CLIENT}")
        assert calls.calls.clients() == set()
        fresh = calls.calls.dialled("b", "b", f"trunk/sip:{CLIENT}@10.0.0.1:5060")
        assert fresh == {CLIENT, f"0{CLIENT}"}
        assert calls.calls.clients() == fresh
        assert calls.calls.dialled("b", "b", f"{CLIENT}@trunk") == set()

    @pytest.mark.parametrize(
        "dialstring",
        [
            f"{CLIENT}@trunk",
            f"trunk/{CLIENT}",
            f"trunk/sip:{CLIENT}@10.0.0.1",
            f"trunk/sips:{CLIENT}@10.0.0.1:50600",
            f"{CLIENT}@outbound-routes/n",
            CLIENT,
        ],
    )
    def test_forms_of_what_is_dialled(self, calls: Calls, dialstring: str) -> None:
        calls.born("b", name="PJSIP/alice-1", exten="s")
        assert calls.calls.dialled("b", "b", dialstring) == {CLIENT}

    def test_who_talked_and_for_how_long(self, calls: Calls) -> None:
        calls.born("b", name="PJSIP/alice-1", number="101", exten="s")
        calls.born("c", "b", name="PJSIP/trunk-1", number=CLIENT)
        calls.calls.dialled("b", "b", f"{CLIENT}@trunk")
        (meeting,) = calls.bridge("x", "b", "c")
        assert (meeting.contact, meeting.key) == (Contact.CALLED, CLIENT)
        assert (meeting.who, meeting.uniqueid) == ("PJSIP/alice", "b")
        assert calls.calls.talk_s("b", calls.now + 7) == 7

    def test_client_is_busy_until_the_last_channel_is_gone(self, calls: Calls) -> None:
        calls.born("b", name="PJSIP/alice-1", number="101", exten="s")
        calls.born("c", "b", name="PJSIP/trunk-1")
        calls.calls.dialled("b", "b", f"{CLIENT}@trunk")
        calls.hang_up("b")
        assert calls.calls.clients() == {CLIENT}
        calls.hang_up("c")
        assert calls.calls.clients() == set()

    def test_our_own_callback_is_no_call_by_hand(self, calls: Calls) -> None:
        own = "callback-1-a-1"
        assert calls.born(own, name="Local/queue@x-1;1", number=CLIENT) == set()
        calls.born("callback-1-a-2", own, name="Local/queue@x-1;2", number=CLIENT)
        calls.born("b", own, name="PJSIP/alice-1")
        calls.born("c", own, name="PJSIP/trunk-1", number=CLIENT)
        assert calls.join("callback-1-a-2") == set()
        assert calls.calls.dialled(own, own, f"{CLIENT}@trunk") == set()
        assert calls.bridge("x", "callback-1-a-2", "b") == []
        assert calls.bridge("y", own, "c") == []
        assert calls.calls.clients() == set()
        assert calls.hang_up(own) is None


class TestGaps:
    def test_call_seen_in_part_is_not_judged_missed(self, calls: Calls) -> None:
        calls.caller()
        calls.join()
        calls.calls.interrupted()
        calls.calls.keep({"a"})
        assert calls.outcome() is Outcome.UNSEEN

    def test_client_of_a_call_seen_in_part_is_busy(self, calls: Calls) -> None:
        assert calls.born("a", number=CLIENT, whole=False) == {CLIENT}
        assert calls.calls.clients() == {CLIENT}

    def test_call_that_ended_unseen_is_forgotten(self, calls: Calls) -> None:
        calls.caller()
        calls.calls.interrupted()
        calls.born("new", number="4930555555")
        calls.calls.keep(set())
        assert calls.calls.clients() == {"4930555555"}
        assert len(calls.calls) == 1

    def test_call_that_two_lists_in_a_row_do_not_know_may_be_gone(
        self, calls: Calls
    ) -> None:
        calls.caller()
        calls.born("b", number="4930555555")
        for alive, missing in (
            ({"a", "b"}, set()),
            # It may have begun after the list.
            ({"b"}, set()),
            ({"a", "b"}, set()),
            ({"b"}, set()),
            ({"b"}, {"a"}),
        ):
            assert calls.calls.missing_from(alive) == missing
        assert calls.calls.clients() == {CLIENT, "4930555555"}
        calls.calls.gone("a", calls.now)
        assert calls.calls.clients() == {"4930555555"}

    def test_who_talked_to_a_channel_that_is_gone_talks_no_more(
        self, calls: Calls
    ) -> None:
        calls.caller()
        calls.born("b", "a", name="PJSIP/alice-1")
        calls.bridge("x", "a", "b")
        calls.calls.gone("b", calls.now + 10)
        assert not calls.calls.talks("a")
        assert calls.calls.talk_s("a", 1000) == 10

    def test_client_of_a_local_channel_that_was_optimised_away_is_still_there(
        self, calls: Calls
    ) -> None:
        """A program had the agent rung first, with the client's number shown."""
        calls.born("l", name="Local/support@x-1;1")
        calls.join("l")
        calls.born("b", "l", name="PJSIP/alice-1")
        calls.born("c", "l", name="PJSIP/trunk-1")
        calls.bridge("x", "b", "c")
        calls.hang_up("l")
        assert calls.calls.clients() == {CLIENT}

    def test_client_is_gone_though_the_call_goes_on(self, calls: Calls) -> None:
        """Asterisk gives all in a bridge the Linkedid of the oldest channel there."""
        calls.born("agent", number="101")
        calls.caller()
        calls.bridge("x", "agent", "a")
        calls.calls.entered_bridge(
            "a", "x", name="PJSIP/trunk-1", linkedid="agent", at=calls.now
        )
        assert calls.calls.clients() == {CLIENT}
        calls.hang_up("a")
        assert "agent" in calls.calls
        assert calls.calls.clients() == set()

    def test_client_was_answered_unseen(self, calls: Calls) -> None:
        calls.caller()
        calls.calls.interrupted()
        calls.calls.keep({"a", "b"})
        calls.born("b", "a", name="PJSIP/alice-1", whole=False)
        (meeting,) = calls.calls.bridges_are([("a", "x"), ("b", "x")], 200)
        assert (meeting.key, meeting.who) == (CLIENT, "PJSIP/alice")

    @pytest.mark.parametrize(
        ("ages", "met_at"),
        [((8,), 142), ((80,), 100), ((8, 30), 120), ((), None)],
    )
    def test_client_has_met_nobody_who_was_not_there_yet(
        self, calls: Calls, ages: tuple[float, ...], met_at: float | None
    ) -> None:
        calls.caller()
        calls.calls.interrupted()
        calls.now += 50
        people = [f"b{number}" for number in range(len(ages))]
        calls.calls.keep({"a", *people})
        for person, age_s in zip(people, ages, strict=True):
            calls.born(person, "a", name=f"PJSIP/{person}-1", whole=False, age_s=age_s)
        together = [(one, "x") for one in ("a", *people)]
        met = calls.calls.bridges_are(together, calls.now)
        first_at = {one.first_at for one in met if one.key == CLIENT}
        assert first_at == ({met_at} if met_at else set())

    def test_memory_is_bounded(
        self, calls: Calls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live_calls, "_MAX_CHANNELS", 3)
        for number in range(10):
            calls.born(f"u{number}", number=f"49301234{number}")
        assert len(calls.calls) == len(calls.calls.clients()) == 3

    def test_nothing_is_left_after_the_calls(self, calls: Calls) -> None:
        calls.caller()
        calls.born("l1", "a", name="Local/101@x-1;1")
        calls.born("l2", "a", name="Local/101@x-1;2")
        calls.born("b", "other", name="PJSIP/alice-1")
        calls.bridge("x", "a", "l1")
        calls.bridge("y", "l2", "b")
        for uniqueid in ("l1", "l2", "a", "b"):
            calls.hang_up(uniqueid)
        state = calls.calls
        assert (state._channels, state._calls) == ({}, {})
        assert (state._bridges, state._pairs) == ({}, {})
