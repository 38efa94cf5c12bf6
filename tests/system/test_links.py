# SPDX-License-Identifier: MIT
"""The manager link is lost, refused or frozen; events come late, twice or never."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs

from tests.emulator.manager import Told
from tests.emulator.scenarios import NO_ANSWER, Answers, Behaviour, Refuses
from tests.system.harness import (
    ALICE,
    ANSWERS,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
)


@attrs.frozen(kw_only=True)
class Story:
    """The course of a callback without trouble."""

    name: str
    agent: Behaviour = ANSWERS
    client: Behaviour = TALKS_10S
    #: The dispositions of its attempts, and how often the client's phone rings in all.
    dispositions: tuple[str, ...]
    rings: int
    status: str


STORIES = [
    Story(name="talk", dispositions=("ANSWERED",), rings=1, status="completed"),
    Story(
        name="agent hangs up",
        agent=Answers(after_s=2, hangs_up_after_s=12),
        client=Answers(after_s=3),
        dispositions=("ANSWERED",),
        rings=1,
        status="completed",
    ),
    Story(
        name="short talk",
        client=Answers(after_s=3, hangs_up_after_s=2),
        dispositions=("SHORT", "SHORT"),
        rings=2,
        status="failed",
    ),
    Story(
        name="busy",
        client=Refuses.BUSY,
        dispositions=("BUSY", "BUSY"),
        rings=2,
        status="failed",
    ),
    Story(
        name="agent leaves",
        agent=Answers(after_s=2, hangs_up_after_s=3),
        client=NO_ANSWER,
        dispositions=("CANCEL", "CANCEL"),
        rings=2,
        status="failed",
    ),
]


class _Link:
    """Cuts the link at one event, and restores it after a while."""

    def __init__(self, test: ServiceTestCase, at: int, down_s: float) -> None:
        self._asterisk = test.asterisk
        self._at = at
        self._down_s = down_s
        self._count = 0
        #: The event at which it was cut.
        self.event: Told | None = None

    def __call__(self, told: Told) -> Sequence[float]:
        if self.event is not None:
            return (0.0,)
        self._count += 1
        if self._count <= self._at:
            return (0.0,)
        self.event = told
        manager = self._asterisk.manager
        manager.deliver = lambda told: ()
        self._asterisk.later(0, self._cut)
        return (0.0,)

    def _cut(self) -> None:
        manager = self._asterisk.manager
        self._asterisk.cut_links()
        manager.listening = False
        manager.deliver = self
        self._asterisk.later(self._down_s, self._back)

    def _back(self) -> None:
        self._asterisk.manager.listening = True


class LostAtEveryMomentTests(ServiceTestCase):
    """Whenever and however long the link is lost, the callback ends in the same way."""

    def play(self, story: Story, disturb: Callable[[], object]) -> None:
        self.alice.always(story.agent)
        self.client.always(story.client)
        self.begin(queue_settings(attempts=2, retry_delay="1m"))
        disturb()
        self.add()
        for _ in range(60):
            self.world.run(15)
            if not self.world.task().is_open:
                break
        # Nothing may follow the end.
        self.world.run(100)

    def check(self, story: Story, message: str) -> None:
        self.assertEqual(self.world.task().status.value, story.status, message)
        self.assertEqual(len(self.client.rung), story.rings, message)
        # An Originate lost with the link is a separate attempt.
        known = [one for one in self.dispositions() if one != "UNKNOWN"]
        self.assertEqual(tuple(known), story.dispositions, message)

    def cut_at_every_event(self, story: Story) -> None:
        self.play(story, lambda: None)
        self.check(story, "undisturbed")
        events = len(self.asterisk.told)
        for at in range(events):
            for down_s in (0.0, 60.0):
                self.again()
                link = _Link(self, at, down_s)

                def disturb(link: _Link = link) -> None:
                    self.asterisk.manager.deliver = link

                self.play(story, disturb)
                self.check(
                    story,
                    f"cut for {down_s} s after event {at}, {link.event}:"
                    f" {self.world.story()}",
                )

    def test_talk(self) -> None:
        self.cut_at_every_event(STORIES[0])

    def test_agent_hangs_up(self) -> None:
        self.cut_at_every_event(STORIES[1])

    def test_short_talk(self) -> None:
        self.cut_at_every_event(STORIES[2])

    def test_busy(self) -> None:
        self.cut_at_every_event(STORIES[3])

    def test_agent_leaves(self) -> None:
        self.cut_at_every_event(STORIES[4])


class SlowLinkTests(ServiceTestCase):
    """Bytes are delayed while Asterisk continues."""

    def connect_slowly(self, busy_at: float) -> None:
        """Delay bytes by half a second; the agent's phone becomes busy at this time."""
        self.asterisk.latency_s = 0.5
        self.begin()
        self.asterisk.later(busy_at, self.alice.busy)
        self.add()
        self.run_to(30)

    @live_first
    def test_an_agent_who_turns_busy_while_the_state_is_asked_for(self) -> None:
        # At every half second, so that it falls into each request of the service.
        for step in range(20):
            with self.subTest(busy_at=step / 2):
                self.connect_slowly(step / 2 + 0.01)
                for at in self.originates:
                    # What was sent before the news arrived is correct.
                    self.assertLess(at, step / 2 + 0.01 + 1.0)
            self.again()

    @live_first
    def test_a_caller_who_joins_while_the_state_is_asked_for(self) -> None:
        """The only agent belongs to the live caller."""
        for step in range(20):
            with self.subTest(joins_at=step / 2):
                self.alice.plan.clear()
                self.support.notice_s = 1.0
                self.asterisk.latency_s = 0.5
                self.alice.busy()
                self.begin()
                self.add()
                self.asterisk.later(step / 2, lambda: self.asterisk.call("support"))
                self.run_to(15)
                self.alice.busy(False)
                self.run_to(16.5)
                self.assertEqual(self.originates, [])
                self.run_to(100)
            self.again()

    def test_a_whole_callback(self) -> None:
        self.asterisk.latency_s = 0.5
        self.begin()
        self.run_to(10)
        self.add()
        self.run_to(60)
        self.assert_status("completed", "they talked for 10.0 s")
        self.assertEqual(len(self.client.rung), 1)

    def test_every_message_in_small_pieces(self) -> None:
        self.world.net.piece = 7
        self.begin()
        self.add()
        self.run_to(60)
        self.assert_status("completed", "they talked for 10.0 s")


class BrokenLinkTests(ServiceTestCase):
    """Refused, frozen, restarted."""

    def test_refused_connects_are_tried_ever_more_slowly_and_for_ever(self) -> None:
        self.asterisk.manager.listening = False
        process = self.begin()
        self.add()
        self.run_to(600)
        early = process.ami.attempts
        self.assertLess(early, 40)
        self.run_to(3600)
        self.assertLess(process.ami.attempts, early + 150)
        self.asterisk.manager.listening = True
        self.run_to(3700)
        self.assert_status("completed")

    def test_a_refused_login_is_tried_again(self) -> None:
        user = self.asterisk.manager.user
        self.asterisk.manager.user = attrs.evolve(user, secret="another")
        process = self.begin()
        self.run_to(600)
        self.assertLess(process.ami.attempts, 40)
        status = self.world.ask("status")["result"]["asterisk"]
        self.assertFalse(status["connected"])
        self.assertIn("refused the login", status["error"])
        self.asterisk.manager.user = user
        self.add()
        self.run_to(700)
        self.assert_status("completed")

    def test_a_ring_that_ends_while_the_link_is_away_leaves_one_agent(self) -> None:
        """The callback waits for an agent again, and no second one takes the agent."""
        self.alice.always(NO_ANSWER)
        self.support.retry_s = 10
        self.begin()
        self.add("0301111111")
        self.add("0302222222")
        self.run_to(14.9)
        self.asterisk.manager.listening = False
        self.asterisk.cut_links()
        self.run_to(15.1)
        self.asterisk.manager.listening = True
        self.run_to(24)
        self.assertEqual(self.originates, [0])

    def test_what_was_asked_on_a_link_that_is_gone_is_no_leave_to_call(self) -> None:
        process = self.begin()
        connects: list[float] = []
        process.service.node.manager.on_connected(lambda: connects.append(self.world.t))
        process.database.takes_s = lambda name: 3.0 if name == "open attempts" else 0.0
        self.asterisk.cut_links()
        self.world.run_until(lambda: len(connects) == 2)
        self.asterisk.cut_links()
        self.world.run_until(lambda: len(connects) == 3)
        self.add()
        self.run_to(20)
        _, first, second = connects
        self.assertLess(second, first + 3, "the first was known before the second")
        self.assertEqual(
            [round(at, 6) for at in self.originates], [round(second + 3, 6)]
        )

    def test_a_short_freeze_is_waited_out(self) -> None:
        self.begin()
        self.asterisk.freeze()
        self.add()
        self.run_to(5)
        self.assertEqual(self.originates, [])
        self.asterisk.thaw()
        self.run_to(60)
        self.assertEqual(self.originates, [5])
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_a_short_talk_whose_end_is_read_late_is_tried_again(self) -> None:
        """The service is stopped for eight seconds during a talk of two."""
        self.client.always(Answers(after_s=3, hangs_up_after_s=2))
        self.begin(queue_settings(retry_delay="30s"))
        self.add()
        self.world.run_until(lambda: any(one.answered_at for one in self.client.rung))
        self.world.run(1)
        (wire,) = (wire for wire in self.asterisk.manager_wires if wire.open)
        wire.client.frozen = True
        self.world.run(8)
        wire.client.frozen = False
        self.world.run(1)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assertEqual(self.world.attempts()[0].talk_s, 2)
        self.assert_status("pending", "next try in 30 s")

    def test_a_talk_that_is_told_late_is_as_long_as_it_was(self) -> None:
        """The service's machine reads nothing for a while; the link stays up."""
        self.client.always(Answers(after_s=3, hangs_up_after_s=20))
        process = self.begin()
        self.add()
        self.world.run_until(lambda: self.client.rung)
        self.world.run(2)
        link = self.asterisk.manager_wires[-1].client
        link.frozen = True
        self.world.run(24)
        link.frozen = False
        self.world.run(60)
        self.assertTrue(process.service.node.manager.connected)
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assertEqual(self.world.attempts()[0].talk_s, 20)
        self.assertEqual(len(self.client.rung), 1)

    def test_a_reply_after_its_time_is_no_reason_to_call_again(self) -> None:
        self.begin()
        self.asterisk.freeze()
        self.add()
        self.run_to(12)
        self.assert_warned("not known whether the call was placed")
        self.asterisk.thaw()
        self.run_to(100)
        self.assertEqual(self.originates, [12])
        self.assertEqual(self.dispositions(), ["ANSWERED"])

    def test_a_refusal_after_its_time_does_not_hang_the_task(self) -> None:
        manager = self.asterisk.manager
        user = manager.user
        manager.user = attrs.evolve(user, denied=frozenset({"Originate"}))
        manager.answer_after = lambda action: (
            15.0 if action.name == "Originate" else 0.0
        )
        self.begin(queue_settings(retry_delay="1m"))
        self.add()
        self.run_to(20)
        self.assert_status("calling")
        manager.user = user
        manager.answer_after = lambda action: 0.0
        self.run_to(300)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])

    def frozen_for(self, seconds: float, old_after_s: float) -> None:
        """Freeze Asterisk just before it reads the Originate, until the link ends."""
        self.begin()
        self.asterisk.freeze()
        self.add()
        self.run_to(seconds)
        self.asterisk.thaw(old_after_s)
        self.run_to(seconds + 300)
        # Asterisk carried out the Originate of the dead connection after all.
        self.assertEqual(len(self.asterisk.told_of("Newchannel", "callback-")), 2)
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assertEqual(len(self.client.rung), 1)

    def test_a_long_freeze_places_the_call_late_and_once(self) -> None:
        self.frozen_for(60, 0)

    def test_what_was_sent_on_a_dead_link_may_be_read_after_the_new_login(self) -> None:
        self.frozen_for(60, 0.5)

    def test_asterisk_restarts_while_an_agent_rings(self) -> None:
        self.restarted_at(1)
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])

    def test_asterisk_restarts_in_the_talk(self) -> None:
        self.restarted_at(8)
        self.assertEqual(self.dispositions(), ["UNKNOWN", "ANSWERED"])
        self.assertIn("nobody watched how long", self.world.attempts()[0].reason)

    def test_asterisk_restarts_after_enough_talk_and_that_was_seen(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.restarted_at(60)
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assertEqual(len(self.client.rung), 1)
        # They talked for 54 s. Asterisk's last message, the response to a ping, came up
        # to 15 s before its end.
        (attempt,) = self.world.attempts()
        self.assertTrue(39 <= attempt.talk_s <= 54, attempt)
        self.assert_status("completed", "at least, until Asterisk ended")

    def test_asterisk_dies_after_a_silence_in_which_nothing_was_heard_of_the_talk(
        self,
    ) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin(queue_settings(retry_delay="1m"))
        self.add()
        self.run_to(8)
        for wire in self.asterisk.manager_wires:
            wire.dead = True
        self.run_to(20)
        self.asterisk.kill()
        self.asterisk.start()
        self.run_to(600)
        self.assertEqual(self.dispositions(), ["UNKNOWN", "ANSWERED"])

    def test_asterisk_dies_in_a_talk_that_the_service_took_up(self) -> None:
        """The time for which the service saw them talk counts."""
        self.client.always(Answers(after_s=3, hangs_up_after_s=300))
        process = self.begin(queue_settings(retry_delay="1m"))
        self.add()
        self.run_to(8)
        process.kill()
        self.run_to(30)
        self.restarted_at(60)
        (attempt,) = self.world.attempts()
        self.assertTrue(15 <= attempt.talk_s <= 30, attempt)

    def test_asterisk_is_restarted_in_peace_and_says_how_long_they_talked(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin()
        self.add()
        self.run_to(20)
        self.asterisk.shut_down()
        self.run_to(30)
        self.asterisk.start(boots_s=5)
        self.run_to(100)
        self.assert_status("completed", "they talked for 14.0 s")
        self.assertEqual(len(self.client.rung), 1)

    @live_first
    def test_a_member_who_is_taken_out_of_the_queue_without_a_word(self) -> None:
        """It is known at the latest when the queues are requested again."""
        self.alice.busy()
        self.begin()
        self.add()
        self.run_to(5)
        self.support.reload([])
        self.run_to(70)
        self.alice.busy(False)
        self.run_to(100)
        self.assertEqual(self.originates, [])
        self.support.reload([ALICE], told=True)
        self.run_to(130)
        self.assertEqual(self.originates, [100])
        self.assert_status("completed")

    def restarted_at(self, t: float) -> None:
        self.begin(queue_settings(retry_delay="1m"))
        if not self.world.tasks():
            self.add()
        self.run_to(t)
        self.asterisk.kill()
        self.run_to(t + 20)
        self.asterisk.start(boots_s=5)
        self.run_to(t + 600)
        self.assert_status("completed")

    def test_the_half_that_outlives_the_other_is_no_call_under_way(self) -> None:
        self.begin()
        self.add()
        self.run_to(15)
        self.asterisk.manager.listening = False
        self.asterisk.cut_links()
        # The talk ends at 16; Local;2 exists a moment longer than Local;1.
        self.run_to(17)
        (channel_id,) = (attempt.channel_id for attempt in self.world.attempts())
        rest = self.asterisk.new_channel("Local/x;2", uniqueid=f"{channel_id}-2")
        self.asterisk.manager.listening = True
        self.world.run_until(lambda: self.asterisk.manager.asked("DBGet"), 60)
        self.asterisk.hang_up(rest, 16)
        self.world.run(5)
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assertEqual(self.world.attempts()[0].talk_s, 10)

    def test_nothing_is_asked_of_an_asterisk_that_still_boots(self) -> None:
        self.asterisk.kill()
        self.begin()
        self.add()
        self.asterisk.start(boots_s=20)
        self.run_to(19)
        self.assertEqual(self.asterisk.manager.asked("QueueStatus"), [])
        self.run_to(80)
        self.assert_status("completed")


class WrongEventsTests(ServiceTestCase):
    """Events that come twice, late, or never."""

    def play(self, story: Story) -> None:
        self.alice.always(story.agent)
        self.client.always(story.client)
        self.begin(queue_settings(attempts=2, retry_delay="1m"))
        self.add()
        self.run_to(600)
        self.assertEqual(self.world.task().status.value, story.status)
        self.assertEqual(len(self.client.rung), story.rings)
        self.assertEqual(tuple(self.dispositions()), story.dispositions)
        # Each step of each attempt is an event of the task, once.
        steps = Counter(
            (event.attempt_id, event.text) for event in self.world.history()
        )
        self.assertEqual({step for step in steps if steps[step] > 1}, set())

    def test_twice(self) -> None:
        for story in STORIES:
            self.asterisk.manager.deliver = lambda told: (0.0, 0.0)
            self.play(story)
            self.again()

    def test_late(self) -> None:
        for story in STORIES:
            self.asterisk.manager.deliver = lambda told: (3.0,)
            self.play(story)
            self.again()

    def test_one_of_them_never(self) -> None:
        """Whichever is lost, the attempt comes to its end, and the client is not
        called while a call is up."""
        for story in (STORIES[0], STORIES[3]):
            self.play(story)
            events = len(self.asterisk.told)
            for lost in range(events):
                self.again()
                left = iter(range(lost))
                told_lost: list[Told] = []

                def deliver(
                    told: Told,
                    left: Iterator[int] = left,
                    told_lost: list[Told] = told_lost,
                ) -> tuple[float, ...]:
                    if told_lost or next(left, None) is not None:
                        return (0.0,)
                    told_lost.append(told)
                    return ()

                self.asterisk.manager.deliver = deliver
                self.alice.always(story.agent)
                self.client.always(story.client)
                self.begin(queue_settings(attempts=2, retry_delay="1m"))
                self.add()
                self.run_to(900)
                self.assertFalse(
                    self.world.task().is_open, f"{told_lost}: {self.world.story()}"
                )
            self.again()
