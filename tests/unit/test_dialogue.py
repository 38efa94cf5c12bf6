# SPDX-License-Identifier: MIT
"""A dialogue with a caller: prompts, keys, digits, and all ways to end it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fastagi.agi.errors import AgiCommandFailed
from fastagi.agi.server import FastAgiServer, LongScript, Script
from fastagi.agi.session import AgiSession
from fastagi.dialogue.dialogue import Dialogue, DialogueTimedOut, Option, Patience
from tests.emulator.agi_client import SILENCE, AsteriskAgi, MemoryCall, MemoryEndpoint

LIMIT_S = 200.0
USUAL = Patience()
_Talk = Callable[[Dialogue], Awaitable[object]]


class DialogueTestCase(SynchronousTestCase):
    """A server in memory with one long script, ``ask``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint()
        #: What the dialogue returned or raised.
        self.ended: list[object] = []

    def serve(self, talk: _Talk, patience: Patience, **settings: Any) -> None:
        async def script(agi: AgiSession) -> None:
            try:
                self.ended.append(
                    await talk(
                        Dialogue(agi, steady=self.clock.seconds, patience=patience)
                    )
                )
            except BaseException as error:
                self.ended.append(type(error))
                raise

        self.serve_scripts({"ask": LongScript(script, LIMIT_S)}, **settings)

    def serve_scripts(
        self, scripts: dict[str, Script | LongScript], **settings: Any
    ) -> None:
        self.server = FastAgiServer(
            endpoint=self.endpoint, scripts=scripts, clock=self.clock, **settings
        )
        self.server.startService()
        self.addCleanup(self.leaves_nothing)

    def leaves_nothing(self) -> None:
        stopping = self.server.stopService()
        self.clock.pump([1.0] * 10)
        self.successResultOf(stopping)
        self.assertEqual(self.server.active, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def talk(
        self, talk: _Talk, asterisk: AsteriskAgi, patience: Patience = USUAL
    ) -> MemoryCall:
        asterisk.script = "ask"
        self.serve(talk, patience)
        call = self.endpoint.call(asterisk)
        self.assertEqual(asterisk.faults, [])
        return call


async def confirm(dialogue: Dialogue) -> str | None:
    """Ask for 1 or 2."""
    return await dialogue.ask(
        ("press-one", "or-two"), "12", before=("the-number",), wrong_key=("wrong",)
    )


class TestAsking(DialogueTestCase):
    def test_key_answers_while_the_question_is_said(self) -> None:
        asterisk = AsteriskAgi(answers=[("press-one", "2")])
        self.talk(confirm, asterisk)
        self.assertEqual(self.ended, ["2"])
        self.assertEqual(asterisk.played, ["the-number", "press-one"])
        self.assertEqual(asterisk.agistatus, "SUCCESS")

    def test_key_pressed_before_the_question_is_no_answer(self) -> None:
        asterisk = AsteriskAgi(early="11", answers=[("the-number", "1")])
        self.talk(confirm, asterisk)
        self.assertEqual(self.ended, [None])

    def test_key_that_waits_when_a_question_begins_is_no_answer(self) -> None:
        async def ask(dialogue: Dialogue) -> str | None:
            return await dialogue.ask(("press-one",), "1")

        self.talk(ask, AsteriskAgi(early="111"))
        self.assertEqual(self.ended, [None])

    def test_other_key_is_told_and_the_question_is_asked_again(self) -> None:
        asterisk = AsteriskAgi(answers=[("press-one", "7"), ("or-two", "1")])
        self.talk(confirm, asterisk)
        self.assertEqual(self.ended, ["1"])
        self.assertEqual(
            asterisk.played,
            [
                *("the-number", "press-one", "wrong"),
                *("the-number", "press-one", "or-two"),
            ],
        )

    def test_silence_ends_it_after_three_times(self) -> None:
        asterisk = AsteriskAgi()
        self.talk(confirm, asterisk)
        self.assertEqual(self.ended, [None])
        self.assertEqual(asterisk.played, 3 * ["the-number", "press-one", "or-two"])

    def test_key_is_not_lost_between_two_sound_files(self) -> None:
        asterisk = AsteriskAgi(answers=[("or-two", "1")])
        self.talk(confirm, asterisk)
        self.assertEqual(self.ended, ["1"])


async def pick(dialogue: Dialogue) -> str | None:
    """Offer two times and the way back."""
    return await dialogue.choose(
        [Option(("nine", "press-1"), "1"), Option(("ten", "press-2"), "2")],
        [Option(("back",), "9")],
        wrong_key=("wrong",),
    )


class TestChoosing(DialogueTestCase):
    def picked(self, *answers: tuple[str, str], early: str = "") -> object:
        self.asterisk = AsteriskAgi(early=early, answers=list(answers))
        self.talk(pick, self.asterisk)
        (picked,) = self.ended
        return picked

    def test_key_of_an_option_that_was_said_or_is_being_said(self) -> None:
        self.assertEqual(self.picked(("nine", "1")), "1")
        self.assertEqual(self.asterisk.played, ["nine"])

    def test_key_of_an_earlier_option(self) -> None:
        self.assertEqual(self.picked(("press-2", "1")), "1")

    def test_key_of_an_option_that_was_not_said_yet_chooses_nothing(self) -> None:
        self.assertEqual(self.picked(("press-1", "2")), None)
        self.assertEqual(
            self.asterisk.played, 3 * ["nine", "press-1", "ten", "press-2", "back"]
        )

    def test_keys_before_the_first_option_choose_nothing(self) -> None:
        self.assertEqual(self.picked(early="1"), None)

    def test_way_back_counts_at_any_time(self) -> None:
        self.assertEqual(self.picked(("nine", "9")), "9")

    def test_key_without_a_meaning_is_told_at_the_end(self) -> None:
        self.assertEqual(self.picked((SILENCE, "7"), ("ten", "2")), "2")
        once = ["nine", "press-1", "ten", "press-2", "back", "wrong"]
        self.assertEqual(self.asterisk.played, [*once, "nine", "press-1", "ten"])

    def test_key_without_a_meaning_during_the_words_is_lost(self) -> None:
        self.assertEqual(self.picked(("back", "7"), ("ten", "2")), "2")
        self.assertNotIn("wrong", self.asterisk.played)


class TestEntering(DialogueTestCase):
    @staticmethod
    async def enter(dialogue: Dialogue) -> str:
        return await dialogue.enter(("enter",), most=6)

    def entered(self, keys: str) -> object:
        self.talk(self.enter, AsteriskAgi(answers=[("enter", keys)]))
        (entered,) = self.ended
        return entered

    def test_hash_ends_it(self) -> None:
        self.assertEqual(self.entered("0301#99"), "0301")

    def test_no_further_key_ends_it(self) -> None:
        self.assertEqual(self.entered("0301"), "0301")

    def test_nothing_is_entered(self) -> None:
        self.assertEqual(self.entered(""), "")

    def test_only_hash(self) -> None:
        self.assertEqual(self.entered("#"), "")

    def test_star_is_given_back(self) -> None:
        self.assertEqual(self.entered("0*1#"), "0*1")

    def test_more_keys_than_wanted_are_dropped_and_the_last_is_not_left(self) -> None:
        asterisk = AsteriskAgi(answers=[("enter", "123456789#")])
        self.talk(self.enter, asterisk)
        self.assertEqual(self.ended, ["123456"])
        self.assertEqual(asterisk.pressed, "")

    def test_digits_typed_ahead_count(self) -> None:
        self.talk(self.enter, AsteriskAgi(early="0301#"))
        self.assertEqual(self.ended, ["0301"])


class TestEnding(DialogueTestCase):
    def test_hang_up_during_a_prompt(self) -> None:
        asterisk = AsteriskAgi(
            hang_up_during=("STREAM", "FILE"), variables={"AGIEXITONHANGUP": "yes"}
        )
        self.talk(confirm, asterisk)
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(asterisk.agistatus, "HANGUP")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_hang_up_while_waiting_for_a_key(self) -> None:
        asterisk = AsteriskAgi(hang_up_during=("WAIT", "FOR", "DIGIT"))
        self.talk(confirm, asterisk)
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_connection_breaks(self) -> None:
        asterisk = AsteriskAgi(silent_on=("WAIT", "FOR", "DIGIT"))
        call = self.talk(confirm, asterisk)
        self.assertEqual(self.ended, [])
        call.cut()
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(self.server.active, 0)

    def test_time_for_the_dialogue_is_up(self) -> None:
        async def ask_for_ever(dialogue: Dialogue) -> None:
            while True:
                self.clock.advance(3)
                await dialogue.ask(("press-one",), "1")

        self.talk(ask_for_ever, AsteriskAgi(), Patience(dialogue_s=50.0))
        self.assertEqual(self.ended, [DialogueTimedOut])
        self.assertLess(self.clock.seconds(), 55)
        self.flushLoggedErrors(DialogueTimedOut)

    def test_missing_sound_file(self) -> None:
        asterisk = AsteriskAgi(sounds=frozenset({"the-number"}))
        self.talk(confirm, asterisk)
        self.assertEqual(self.ended, [AgiCommandFailed])
        self.flushLoggedErrors(AgiCommandFailed)


class TestLongSessions(DialogueTestCase):
    @staticmethod
    async def wait(dialogue: Dialogue) -> None:
        await dialogue.ask(("press-one",), "1")

    def waiting(self) -> AsteriskAgi:
        return AsteriskAgi("ask", silent_on=("STREAM", "FILE"))

    def test_usual_limit_does_not_cut_a_dialogue_and_its_own_limit_does(self) -> None:
        asterisk = self.waiting()
        call = self.talk(self.wait, asterisk)
        self.clock.pump([1.0] * int(LIMIT_S - 5))
        call.flush()
        self.assertEqual((self.ended, asterisk.agistatus), ([], ""))
        self.clock.pump([1.0] * 6)
        call.flush()
        self.assertEqual((len(self.ended), asterisk.agistatus), (1, "FAILURE"))

    def test_one_shot_script_keeps_its_limit(self) -> None:
        async def slow(agi: AgiSession) -> None:
            await agi.stream_file("anything")

        self.serve_scripts({"request": slow, "ask": LongScript(slow, LIMIT_S)})
        asterisk = AsteriskAgi(silent_on=("STREAM", "FILE"))
        call = self.endpoint.call(asterisk)
        self.clock.pump([1.0] * 31)
        call.flush()
        self.assertEqual(asterisk.agistatus, "FAILURE")

    def test_dialogues_leave_half_of_the_connections_for_requests(self) -> None:
        self.check_that_half_are_left(max_connections=4)

    def test_dialogues_leave_half_of_the_connections_of_a_peer(self) -> None:
        self.check_that_half_are_left(max_connections=100, max_connections_per_peer=4)

    def check_that_half_are_left(self, **limits: int) -> None:
        async def quick(agi: AgiSession) -> None:
            await agi.set_variable("CALLBACK_STATUS", "ACCEPTED")

        async def long(agi: AgiSession) -> None:
            await agi.stream_file("anything")

        self.serve_scripts(
            {"request": quick, "ask": LongScript(long, LIMIT_S)}, **limits
        )
        asked = [self.waiting() for _ in range(6)]
        calls = [self.endpoint.call(asterisk) for asterisk in asked]
        self.assertEqual(
            [asterisk.agistatus for asterisk in asked], ["", ""] + 4 * ["FAILURE"]
        )
        request = AsteriskAgi()
        self.endpoint.call(request)
        self.assertEqual(request.variables["CALLBACK_STATUS"], "ACCEPTED")
        # The place of one who hangs up is free again.
        calls[0].cut()
        again = self.waiting()
        calls.append(self.endpoint.call(again))
        self.assertEqual(again.agistatus, "")
        for call in calls:
            call.cut()
