# SPDX-License-Identifier: MIT
"""Faults planted in the service, to prove that the simulation finds them.

Each is a mistake that a developer could make. The simulation must report one of its
rules as broken within its number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

import attrs
import sqlalchemy as sa

from fastagi import app
from fastagi.config import sections
from fastagi.dialogue.dialogue import Dialogue
from fastagi.domain import retry
from fastagi.domain.attempt import Progress, Verdict
from fastagi.domain.expected_wait import Measured
from fastagi.domain.live_queues import LiveQueues
from fastagi.domain.offers import OfferOutcome
from fastagi.domain.policy import First
from fastagi.domain.reason import Code, because
from fastagi.domain.slots import SlotRules
from fastagi.domain.task import CallbackTask, NewTask, Status
from fastagi.domain.turns import ANY_TURN, Turn
from fastagi.node import agi_scripts, dialer, dialplan_report, scheduler
from fastagi.node.agi_scripts import AgiScripts
from fastagi.node.astdb_requests import AstDbRequests
from fastagi.node.call_tracker import CallTracker
from fastagi.node.dialer import Dialer
from fastagi.node.fence import Fence
from fastagi.node.holdings import Holdings
from fastagi.node.nodes import Nodes
from fastagi.node.offers import Offers
from fastagi.node.reconciler import Reconciler
from fastagi.node.scheduler import Scheduler
from fastagi.service import live_state, promises
from fastagi.service.chosen_times import ChosenTimes
from fastagi.service.live_state import LiveState
from fastagi.service.opening_state import OpeningState
from fastagi.service.requests import Requests
from fastagi.service.task_commands import TaskCommands
from fastagi.speech.language import Language
from fastagi.store import (
    guards,
    leases,
    limits,
    places,
    preferred_agents,
    requests,
    schema,
    together,
)
from fastagi.store.errors import StaleTask
from fastagi.store.later import LaterRequest
from fastagi.store.store import Recorded, TaskStore
from tests.emulator import calls
from tests.simulation import clusters, links, nodes, several
from tests.simulation.batches import play_one
from tests.simulation.clusters import ClusterRun
from tests.simulation.looker import CALLED, HOLDS, IS_SO, SAME, SAYS
from tests.simulation.plan import (
    AUTO_FROM,
    CHOICES_FROM,
    CLIENT_FIRST_FROM,
    KEYS_FROM,
    LINES_FROM,
    LOOKED_AT,
    LOOKED_AT_FROM,
    MACHINES_FROM,
    OFFERS_FROM,
    PLACES_FROM,
    PREFERRED_FROM,
    SLOTS_FROM,
    STEERS_FROM,
    TIMES_FROM,
)
from tests.simulation.simulation import Failed


@attrs.frozen
class Fault:
    """A planted fault."""

    name: str
    #: The rules that it may break.
    rules: frozenset[str]
    #: Returns a context manager; the fault is present inside it.
    put_in: Callable[[], Any]
    #: Maximum number of seeds until it is found.
    within_seeds: int = 400
    #: The seed to begin with, which saves time for a fault that is rarely found.
    first_seed: int = 0
    #: From one seed to the next: the live state is followed in some runs only.
    step: int = 1


FAULTS: list[Fault] = []


def _fault(
    name: str, *rules: str, first_seed: int = 0, step: int = 1
) -> Callable[[Callable[[], Iterator[None]]], None]:
    def keep(function: Callable[[], Iterator[None]]) -> None:
        put_in = contextmanager(function)
        fault = Fault(name, frozenset(rules), put_in, first_seed=first_seed, step=step)
        FAULTS.append(fault)

    return keep


@_fault("the promise comes before the COMMIT", "no promise before its COMMIT")
def _promise_first() -> Iterator[None]:
    async def stored(self: Any) -> Recorded:
        names = {one.name for one in attrs.fields(CallbackTask)}
        given = attrs.asdict(self.new, recurse=False)
        known = {name: value for name, value in given.items() if name in names}
        task = CallbackTask(
            id=0,
            status=Status.PENDING,
            created_at=self.at,
            **known,
        )
        return Recorded(task, created=True)

    with mock.patch.object(promises._Asked, "stored", stored):
        yield


@_fault(
    "the Originate is sent again when the link is back",
    "an Originate is never sent again",
    "no call before its COMMIT",
    first_seed=62,
)
def _send_again() -> Iterator[None]:
    warn_result_unknown = Dialer._warn_result_unknown

    def again(self: Any, running: Any, error: Exception) -> None:
        warn_result_unknown(self, running, error)
        sent: list[Any] = []

        def send() -> None:
            if not sent:
                sent.append(running)
                self._background.start("x", self._originate(running, None))

        self._manager.on_connected(send)

    with mock.patch.object(Dialer, "_warn_result_unknown", again):
        yield


@_fault(
    "an attempt with an unknown result is ended without asking Asterisk",
    "each call to the client counts",
    "never two calls to one client",
    "no client is rung for an attempt that has ended",
    "no attempt comes sooner than the delay",
    "talk is success",
)
def _ask_nobody() -> Iterator[None]:
    def compare(self: Any, opened: list[Any], listed: list[Any]) -> list[Any]:
        return opened

    async def without_record(self: Any, missing: list[Any]) -> list[Any]:
        return missing

    with (
        mock.patch.object(Reconciler, "compare", compare),
        mock.patch.object(Reconciler, "_without_record", without_record),
    ):
        yield


@_fault(
    "every client is put in line at once",
    "no more callbacks wait in line than there are agents",
    first_seed=PLACES_FROM,
)
def _all_in_line() -> Iterator[None]:
    def now(live: Any, placeholders: int, agents: int) -> Turn | None:
        return ANY_TURN if agents else None

    with mock.patch.object(scheduler, "turn_of", now):
        yield


@_fault(
    "clients are put at the end of the line",
    "who keeps a place is given an agent in the order of joining",
    first_seed=LINES_FROM + 10,
)
def _behind_all() -> Iterator[None]:
    with mock.patch.object(LiveQueues, "position_of", lambda *_, **__: 99):
        yield


@_fault(
    "no turn is near while a live caller waits",
    "who keeps a place is given an agent in the order of joining",
    first_seed=LINES_FROM + 19,
)
def _never_near() -> Iterator[None]:
    turn_of = scheduler.turn_of

    def none_of_them(live: Any, placeholders: int, agents: int) -> Turn | None:
        return None if live else turn_of(live, placeholders, agents)

    with mock.patch.object(scheduler, "turn_of", none_of_them):
        yield


@_fault(
    "a callback in line is taken for a live caller",
    "a callback in line is not counted as a live caller",
    first_seed=LINES_FROM,
)
def _counted_as_live() -> Iterator[None]:
    with mock.patch.object(Dialer, "is_member_leg", lambda *_: False):
        yield


@_fault(
    "a client who calls in again joins at the end of the line",
    "a client who calls in again gets the place of the open task",
    first_seed=LINES_FROM + 17,
)
def _no_own_place() -> Iterator[None]:
    async def place(self: Any, agi: Any) -> None:
        await agi.set_variable("CALLBACK_PLACE", "")

    with mock.patch.object(AgiScripts, "place", place):
        yield


@_fault(
    "maxlen of a queue is not heeded",
    "a client who is not the next leaves the last place to live callers",
    first_seed=LINES_FROM + 183,
)
def _endless_room() -> Iterator[None]:
    with mock.patch.object(LiveQueues, "room", lambda self, queue: None):
        yield


@_fault(
    "the priority of a caller is forgotten",
    "a task has the priority of its caller",
    first_seed=LINES_FROM,
)
def _no_priority() -> Iterator[None]:
    with mock.patch.object(agi_scripts, "parse_priority", lambda text: 0):
        yield


@_fault(
    "agents are not asked for a key",
    "no client is dialled before an agent has accepted",
    first_seed=KEYS_FROM,
)
def _no_keys() -> Iterator[None]:
    with mock.patch.object(Dialer, "_keys", lambda self, running: {}):
        yield


@_fault(
    "a task is put off for so long as the settings say, whenever it expires",
    "a task that was put off comes again",
    first_seed=KEYS_FROM + 25,
)
def _put_off_for_ever() -> Iterator[None]:
    def later(task: Any, rules: Any, now: Any) -> Any:
        return rules.later_delay

    with mock.patch.object(retry, "_later", later):
        yield


@_fault(
    "an agent who can not is asked again at once",
    "an agent who can not take a callback is not asked again at once",
    first_seed=KEYS_FROM + 49,
)
def _insists() -> Iterator[None]:
    with mock.patch.object(Scheduler, "_skips", lambda self, begun: frozenset()):
        yield


@_fault(
    "any agent is rung for a callback that waits for one",
    "only the agent who talked last is rung while a callback waits for him",
    first_seed=PREFERRED_FROM + 26,
)
def _rings_any() -> Iterator[None]:
    with mock.patch.object(dialer, "_ONLY_OPTION", ""):
        yield


@_fault(
    "a callback waits for one agent for ever",
    "a callback waits for one agent no longer than the settings say",
    first_seed=PREFERRED_FROM + 7,
)
def _waits_for_ever() -> Iterator[None]:
    def never_over(*_: Any, **__: Any) -> None:
        return None

    with mock.patch.object(preferred_agents, "why_over", never_over):
        yield


@_fault(
    "clients are connected at once, whatever the settings say",
    "a machine is never a success",
    first_seed=MACHINES_FROM + 5,
)
def _connects_machines() -> Iterator[None]:
    with mock.patch.object(Dialer, "_client_key", lambda self, running: {}):
        yield


@_fault(
    "agents are called first, whatever the settings say",
    "no agent is rung for a client who has not pressed the key",
    first_seed=CLIENT_FIRST_FROM,
)
def _agents_first() -> Iterator[None]:
    with mock.patch.object(scheduler, "_calls_client_first", lambda *_: False):
        yield


@_fault(
    "clients are called first, however few agents are free",
    "a client is called first only while enough agents are free",
    first_seed=AUTO_FROM,
)
def _always_client_first() -> Iterator[None]:
    def first(queue: Any, agents: Any) -> bool:
        return queue.first is not First.AGENT

    with mock.patch.object(scheduler, "_calls_client_first", first):
        yield


@_fault(
    "clients who are dialled first claim no agent",
    "callbacks take only agents to spare",
    first_seed=CLIENT_FIRST_FROM + 93,
)
def _clients_without_end() -> Iterator[None]:
    with mock.patch.object(Dialer, "waiting_for_member", lambda self: {}):
        yield


@_fault(
    "what came of asking a client is not read",
    "who is not connected has a result of its own",
    first_seed=MACHINES_FROM + 48,
)
def _not_connected_is_not_read() -> Iterator[None]:
    with mock.patch.object(dialplan_report, "_NOT_CONNECTED", {}):
        yield


@_fault(
    "silence is taken for a yes",
    "no request without the caller's yes",
    first_seed=CHOICES_FROM + 5,
)
def _silence_is_yes() -> Iterator[None]:
    ask = Dialogue.ask

    async def agreed(self: Any, question: Any, keys: str, **more: Any) -> str:
        return await ask(self, question, keys, **more) or keys[0]

    with mock.patch.object(Dialogue, "ask", agreed):
        yield


@_fault(
    "an entered number is not judged",
    "no number that the rules refuse is kept",
    first_seed=CHOICES_FROM + 4,
)
def _any_number() -> Iterator[None]:
    number = Requests._number

    def unless_entered(self: Any, request: Any, queue: Any, settings: Any) -> str:
        if request.entered_by is not None:
            return str(request.number)
        return number(self, request, queue, settings)

    with mock.patch.object(Requests, "_number", unless_entered):
        yield


@_fault(
    "a caller who goes back joins at the end",
    "who goes back to the queue keeps the place",
    first_seed=CHOICES_FROM + 27,
)
def _at_the_end() -> Iterator[None]:
    with mock.patch.object(LiveQueues, "position_of", lambda self, turn, queue: 99):
        yield


@_fault(
    "the dialplan gives a callback the priority of a live caller",
    "no callback is given an agent before a live caller who waited when the ring began",
    first_seed=84,
)
def _first_come() -> Iterator[None]:
    with mock.patch.object(calls, "LOWEST_PRIORITY", ""):
        yield


@_fault(
    "waiting callers are not counted",
    "callbacks take only agents to spare",
    first_seed=32,
)
def _no_callers() -> Iterator[None]:
    capacity = Scheduler._capacity

    def blind(self: Any, wanted: Any, now: float) -> Any:
        with mock.patch.object(LiveQueues, "waiting", lambda self, queue: []):
            return capacity(self, wanted, now)

    with mock.patch.object(Scheduler, "_capacity", blind):
        yield


@_fault(
    "a client who was transferred is taken for a callback that waits",
    "callbacks take only agents to spare",
    first_seed=32,
)
def _member_leg_by_name() -> Iterator[None]:
    def by_name(self: Any, uniqueid: str, queue: str) -> bool:
        return uniqueid.startswith("callback-")

    with mock.patch.object(Dialer, "is_member_leg", by_name):
        yield


@_fault(
    "the attempt of a cancelled task goes on",
    "no client is rung for a task that was cancelled",
    first_seed=54,
)
def _cancel_does_not_withdraw() -> Iterator[None]:
    with mock.patch.object(Dialer, "withdraw_task", lambda self, task_id, reason: None):
        yield


@_fault("each call makes a task of its own", "one open task per client")
def _task_per_call() -> Iterator[None]:
    add = TaskStore.add

    async def of_its_own(self: Any, new: NewTask, *args: Any, **more: Any) -> Recorded:
        key = f"{new.number_key}-{new.linkedid}"
        return await add(self, attrs.evolve(new, number_key=key), *args, **more)

    async def no_rekey(self: Any, plan: Any, now: Any) -> list[Any]:
        return []

    with (
        mock.patch.object(TaskStore, "add", of_its_own),
        mock.patch.object(TaskStore, "rekey", no_rekey),
    ):
        yield


@_fault("the delay is forgotten", "no attempt comes sooner than the delay")
def _no_delay() -> Iterator[None]:
    again = retry._retry

    def at_once(verdict: Any, delay: Any, now: Any) -> Any:
        return attrs.evolve(again(verdict, delay, now), due_at=now)

    with mock.patch.object(retry, "_retry", at_once):
        yield


@_fault(
    "one attempt more than the limit",
    "attempts never exceed the limit",
    first_seed=7,
)
def _one_more() -> Iterator[None]:
    decide = retry._after_call

    def more(task: Any, verdict: Any, rules: Any, *rest: Any) -> Any:
        rules = attrs.evolve(rules, attempts=rules.attempts + 1)
        return decide(task, verdict, rules, *rest)

    with mock.patch.object(retry, "_after_call", more):
        yield


@_fault(
    "an agent who does not answer costs an attempt",
    "an agent who does not answer costs no attempt",
    first_seed=34,
)
def _agents_cost_attempts() -> Iterator[None]:
    with mock.patch.object(Verdict, "counts", property(lambda self: True)):
        yield


@_fault(
    "the end of each fifth attempt is not stored and not reconciled",
    "every task ends",
    first_seed=9,
)
def _forgotten() -> Iterator[None]:
    close_attempt = TaskStore.close_attempt

    async def forgetful(
        self: Any, channel_id: str, *args: Any, **more: Any
    ) -> CallbackTask:
        if int(channel_id.rpartition("-")[2], 16) % 5 == 0:
            raise StaleTask("never mind")
        return await close_attempt(self, channel_id, *args, **more)

    async def never(self: Any) -> None:
        return

    with (
        mock.patch.object(TaskStore, "close_attempt", forgetful),
        mock.patch.object(Reconciler, "watch", never),
    ):
        yield


@_fault(
    "clients who are in a call with us are called",
    "no client is called who is in a call with us",
    first_seed=27,
)
def _call_busy_clients() -> Iterator[None]:
    def nobody(self: Any) -> set[str]:
        return set()

    with (
        mock.patch.object(CallTracker, "busy", nobody),
        mock.patch.object(Dialer, "withdraw", lambda self, key, reason: None),
    ):
        yield


@_fault(
    "a kept request is forgotten before its COMMIT",
    "a kept request is forgotten after its COMMIT",
    first_seed=32,
)
def _delete_entry_first() -> Iterator[None]:
    take = AstDbRequests._store_entry

    async def early(self: Any, key: str) -> bool:
        await self._delete(key)
        return await take(self, key)

    with mock.patch.object(AstDbRequests, "_store_entry", early):
        yield


@_fault(
    "the calls of a minute are not counted",
    "the limits hold",
    first_seed=19,
)
def _no_calls_per_minute() -> Iterator[None]:
    with mock.patch.object(limits, "all_free_at", lambda *_: None):
        yield


@_fault(
    "callbacks that wait for an agent are not counted",
    "the limits hold",
    first_seed=PLACES_FROM + 12,
)
def _waiting_not_counted() -> Iterator[None]:
    with mock.patch.object(limits, "_NOT_DIALLED_YET", sa.false()):
        calls_of_all = limits._query()
    with mock.patch.object(limits, "_ALL", calls_of_all):
        yield


@_fault(
    "a number's calls are counted for each task separately",
    "the limits hold",
    first_seed=50,
)
def _new_task_new_count() -> Iterator[None]:
    task = schema.task.c
    of_task = limits._query(
        task.number_key == sa.bindparam("number_key"), task.ended_at.is_(None)
    )
    with mock.patch.object(limits, "_OF_NUMBER", of_task):
        yield


@_fault("blocked numbers are not checked", "no blocked number is called")
def _no_blocked_numbers() -> Iterator[None]:
    with mock.patch.object(guards, "blocked", lambda conn, key: None):
        yield


@_fault(
    "tasks of closed queues are begun",
    "no client is rung while the queue is closed",
    first_seed=3,
)
def _no_hours() -> Iterator[None]:
    def all_open(self: Any, now: float) -> frozenset[str]:
        return frozenset(self._settings().queues)

    with (
        mock.patch.object(OpeningState, "open_queues", all_open),
        mock.patch.object(Scheduler, "_why_closed", lambda *_: None),
    ):
        yield


@_fault(
    "an event that comes twice is stored twice",
    "a step is told once",
    first_seed=39,
)
def _store_event_twice() -> Iterator[None]:
    dialled = Progress.caller_dialled

    def always(self: Any, at: float) -> bool:
        dialled(self, at)
        return True

    with mock.patch.object(Progress, "caller_dialled", always):
        yield


@_fault(
    "a talk that was seen is forgotten when Asterisk dies",
    "a talk that was seen is a talk",
    first_seed=428,
)
def _forget_talk() -> Iterator[None]:
    def unwatched(self: Any, since: float) -> None:
        self.ringing.clear()

    with mock.patch.object(Progress, "unwatched", unwatched):
        yield


@_fault(
    "a request made during the talk is lost when the call ends",
    "a promise is honoured",
    first_seed=14,
)
def _later_request_lost() -> Iterator[None]:
    with mock.patch.object(LaterRequest, "outlives", lambda self, answered_at: False):
        yield


@_fault(
    "a service that was frozen goes on although another has taken over",
    "never two calls to one client",
    "no call before its COMMIT",
    "no client is rung for an attempt that has ended",
    "callbacks take only agents to spare",
    first_seed=114,
)
def _lease_not_checked() -> Iterator[None]:
    with (
        mock.patch.object(leases, "assert_held", lambda conn, held, **_: None),
        mock.patch.object(leases, "renew", lambda conn, held: held),
        mock.patch.object(leases.Lease, "is_sure", property(lambda self: True)),
    ):
        yield


@_fault(
    "a voice bot is taken for a person",
    "no missed call is lost",
    first_seed=17,
)
def _bot_is_a_person() -> Iterator[None]:
    with mock.patch.object(sections, "PERSON_TECHNOLOGIES", ("PJSIP", "AudioSocket")):
        yield


@_fault(
    "what was measured is taken over twice",
    "each call is measured once",
    first_seed=24,
)
def _measures_twice() -> Iterator[None]:
    read = TaskStore.measured

    async def measured(self: TaskStore) -> dict[str, Measured]:
        return {
            queue: known.merged(known) for queue, known in (await read(self)).items()
        }

    with mock.patch.object(TaskStore, "measured", measured):
        yield


@_fault(
    "a caller is asked while an agent is rung",
    "nobody is asked for whom an agent is rung",
    first_seed=OFFERS_FROM + 7,
)
def _asks_while_ringing() -> Iterator[None]:
    with mock.patch.object(LiveQueues, "is_ringing_for", lambda self, uniqueid: False):
        yield


@_fault(
    "it is forgotten who was asked",
    "nobody is asked twice within the pause",
    first_seed=OFFERS_FROM,
)
def _asks_again() -> Iterator[None]:
    with mock.patch.object(Offers, "_remember", lambda self, key, at: None):
        yield


@_fault(
    "one who declines joins at the end of the line",
    "one who is asked keeps the place",
    first_seed=OFFERS_FROM + 151,
)
def _loses_the_place() -> Iterator[None]:
    async def at_the_end(self: Any, agi: Any) -> None:
        self._offers.ended(agi.request.uniqueid, OfferOutcome.TIMED_OUT)
        await agi.set_variable("CALLBACK_POSITION", "99")

    with mock.patch.object(AgiScripts, "offered", at_the_end):
        yield


@_fault(
    "a client with a chosen time is called at once",
    "no call before the chosen time",
    first_seed=TIMES_FROM,
)
def _too_early() -> Iterator[None]:
    add = TaskStore.add

    async def at_once(self: TaskStore, new: NewTask, now: Any, **more: Any) -> Recorded:
        return await add(self, attrs.evolve(new, due_at=now), now, **more)

    with mock.patch.object(TaskStore, "add", at_once):
        yield


@_fault(
    "nobody notes that a chosen time is missed",
    "a chosen time is kept, or its history says why not",
    first_seed=TIMES_FROM + 8,
)
def _misses_in_silence() -> Iterator[None]:
    async def look(self: ChosenTimes) -> None:
        return None

    with mock.patch.object(ChosenTimes, "_look", look):
        yield


@_fault(
    "the clients of a slot are not counted",
    "no more promises in a slot than the settings allow",
    first_seed=SLOTS_FROM + 132,
)
def _any_slot() -> Iterator[None]:
    def all_free(self: SlotRules, now: Any, chosen: Any) -> list[Any]:
        return list(self.slots(now))

    with (
        mock.patch.object(requests, "is_full", lambda *_: False),
        mock.patch.object(SlotRules, "free", all_free),
    ):
        yield


@_fault(
    "a slot that fills up while the caller thinks is promised",
    "no more promises in a slot than the settings allow",
    first_seed=SLOTS_FROM + 430,
)
def _not_counted_again() -> Iterator[None]:
    with mock.patch.object(requests, "is_full", lambda *_: False):
        yield


@_fault(
    "the key of a time that was not said yet chooses it",
    "no request without the caller's yes",
    first_seed=SLOTS_FROM,
)
def _chooses_unheard() -> Iterator[None]:
    async def choose(self: Dialogue, options: Any, ways: Any = (), **_: Any) -> str:
        keys = "".join(one.keys for one in (*options, *ways))
        words = [word for one in (*options, *ways) for word in one.words]
        return str(await self.ask(words, keys))

    with mock.patch.object(Dialogue, "choose", choose):
        yield


@_fault(
    "a time that a caller chose is not watched",
    "a chosen time is kept, or its history says why not",
    first_seed=SLOTS_FROM,
)
def _forgets_slots() -> Iterator[None]:
    decide = Requests.decide

    def without_end(self: Requests, request: Any) -> Any:
        new = decide(self, request)
        return attrs.evolve(new, call_by=None) if isinstance(new, NewTask) else new

    with mock.patch.object(Requests, "decide", without_end):
        yield


@_fault(
    "a caller hears another time than the one that is stored",
    "the time that is said is the one that is stored",
    first_seed=SLOTS_FROM,
)
def _says_another_time() -> Iterator[None]:
    moment = Language.moment

    def later(self: Language, at: Any, now: Any) -> Any:
        return moment(self, at + timedelta(hours=1), now)

    with mock.patch.object(Language, "moment", later):
        yield


@_fault(
    "tasks are begun half a minute before they are due",
    HOLDS,
    first_seed=LOOKED_AT_FROM + 16 * LOOKED_AT,
    step=LOOKED_AT,
)
def _too_early() -> Iterator[None]:
    begin = TaskStore.begin_attempts

    def early(self: Any, queues: Any, ids: Any, now: Any, **more: Any) -> Any:
        return begin(self, queues, ids, now + timedelta(seconds=30), **more)

    with mock.patch.object(TaskStore, "begin_attempts", early):
        yield


@_fault(
    "tasks say that live callers come first whenever no agent is free",
    SAYS,
    first_seed=LOOKED_AT_FROM + 5 * LOOKED_AT,
    step=LOOKED_AT,
)
def _blames_callers() -> Iterator[None]:
    why_no_agent = Scheduler._why_no_agent

    def callers(self: Any, queue: Any, capacity: Any, now: float) -> Any:
        why = why_no_agent(self, queue, capacity, now)
        return why and because(Code.LIVE_CALLERS_FIRST, callers=1)

    with mock.patch.object(Scheduler, "_why_no_agent", callers):
        yield


@_fault(
    "the scheduler does not look for tasks that were added",
    CALLED,
    first_seed=LOOKED_AT_FROM + 5 * LOOKED_AT,
    step=LOOKED_AT,
)
def _forgets_new_tasks() -> Iterator[None]:
    with mock.patch.object(Scheduler, "_forget_due_times", lambda self: None):
        yield


@_fault(
    "tasks that have ended stay in the live state",
    IS_SO,
    first_seed=LOOKED_AT_FROM + 5 * LOOKED_AT,
    step=LOOKED_AT,
)
def _keeps_ended_tasks() -> Iterator[None]:
    with mock.patch.object(LiveState, "_drop", lambda self, task_id: None):
        yield


@_fault(
    "changes of what was sent before are not sent",
    SAME,
    first_seed=LOOKED_AT_FROM,
    step=LOOKED_AT,
)
def _sends_only_new() -> Iterator[None]:
    def new_ones(new: Any, old: Any) -> Any:
        return {key: value for key, value in new.items() if key not in old}

    with mock.patch.object(live_state, "_changed", new_ones):
        yield


@_fault(
    "a task moved to the front is due, and stays where it is",
    "a task moved to the front is the next one called of its queue",
    first_seed=STEERS_FROM + 55,
)
def _stays_behind() -> Iterator[None]:
    def at_the_end(turns: Iterable[Turn]) -> Turn:
        last = max(turns)
        return Turn(last.joined_at + 1, last.priority)

    with mock.patch.object(places, "in_front_of", at_the_end):
        yield


@_fault(
    "a task that waits in line stays there when it is moved",
    "a task moved to the front is the next one called of its queue",
    first_seed=STEERS_FROM + 75,
)
def _stays_in_line() -> Iterator[None]:
    with mock.patch.object(Dialer, "task_moved", lambda self, task: False):
        yield


@_fault(
    "any agent is rung for an assigned task",
    "an assigned task rings only that agent",
    first_seed=STEERS_FROM + 105,
)
def _assigned_to_nobody() -> Iterator[None]:
    with mock.patch.object(
        preferred_agents,
        "assigned",
        lambda conn, task, answers, asked, now: (task, None, None),
    ):
        yield


@_fault(
    "the attempts of tasks that are cancelled together go on",
    "no client is rung for a task that was cancelled",
    first_seed=STEERS_FROM + 37,
)
def _bulk_withdraws_nothing() -> Iterator[None]:
    with mock.patch.object(TaskCommands, "_changed", lambda *_: None):
        yield


@_fault(
    "clients in a call on another Asterisk are called",
    several.NOT_ELSEWHERE,
    first_seed=nodes.NODES_FROM,
)
def _knows_own_calls_only() -> Iterator[None]:
    begin_attempts = TaskStore.begin_attempts

    async def own_calls(self: Any, *args: Any, **more: Any) -> Any:
        return await begin_attempts(self, *args, **{**more, "busy_keys": ()})

    def own_busy(self: Nodes) -> set[str]:
        return set()

    with (
        mock.patch.object(TaskStore, "begin_attempts", own_calls),
        mock.patch.object(Nodes, "busy", own_busy),
    ):
        yield


@_fault(
    "a client who rings in on another Asterisk does not end the attempt",
    several.NOT_ELSEWHERE,
    first_seed=nodes.NODES_FROM + 4,
)
def _withdraws_nothing_elsewhere() -> Iterator[None]:
    with mock.patch.object(Nodes, "withdraw", lambda self, key, why: None):
        yield


@_fault(
    "a client waits in line although an agent is free on another Asterisk",
    several.NOT_LEFT,
    first_seed=nodes.NODES_FROM + 18,
)
def _stays_in_line_here() -> Iterator[None]:
    with mock.patch.object(Scheduler, "_leave_to_others", lambda self, target: None):
        yield


@_fault(
    "a node looks after the attempts of the other",
    several.ONE_RING,
    first_seed=nodes.NODES_FROM + 13,
)
def _reconciles_all() -> Iterator[None]:
    async def all_of_them(self: TaskStore) -> Any:
        found = []
        for name in ("default", "berlin"):
            store = TaskStore(self._database, node=name)
            found += await open_attempts(store)
        return found

    open_attempts = TaskStore.open_attempts
    with mock.patch.object(TaskStore, "open_attempts", all_of_them):
        yield


@_fault(
    "a service that was frozen places its call when it wakes, as nothing keeps it",
    clusters.HOLDER,
    clusters.ITS_NODE,
    several.ONE_RING,
    several.ONCE,
    first_seed=clusters.CLUSTERS_FROM + 208,
)
def _no_fence() -> Iterator[None]:
    with (
        mock.patch.object(Fence, "variables", lambda self: {}),
        mock.patch.object(leases.Lease, "is_sure", property(lambda self: True)),
    ):
        yield


@_fault(
    "a lease ends by the clock of the service that looks at it",
    clusters.HOLDER,
    clusters.TAKEN_OVER,
    first_seed=clusters.CLUSTERS_FROM,
)
def _lease_by_own_clock() -> Iterator[None]:
    with mock.patch.object(ClusterRun, "_database_now", ClusterRun.clock_of_asker):
        yield


@_fault(
    "who takes over an Asterisk leaves the attempts of the former service as they are",
    several.ENDS,
    several.NOT_LEFT,
    first_seed=clusters.CLUSTERS_FROM + 1,
)
def _reconciles_own_attempts_only() -> Iterator[None]:
    async def own(self: TaskStore) -> Any:
        begun = begun_by.setdefault(id(self), set())
        return [
            one for one in await open_attempts(self) if one.attempt.channel_id in begun
        ]

    async def begins(self: TaskStore, *args: Any, **more: Any) -> Any:
        result = await begin_attempts(self, *args, **more)
        ids = {one.attempt.channel_id for one in result.begun}
        begun_by.setdefault(id(self), set()).update(ids)
        return result

    begun_by: dict[int, set[str]] = {}
    open_attempts, begin_attempts = TaskStore.open_attempts, TaskStore.begin_attempts
    with (
        mock.patch.object(TaskStore, "open_attempts", own),
        mock.patch.object(TaskStore, "begin_attempts", begins),
    ):
        yield


@_fault(
    "clients in a call on an Asterisk of another service are called",
    several.NOT_ELSEWHERE,
    first_seed=clusters.CLUSTERS_FROM + 103,
)
def _knows_calls_of_own_asterisks() -> Iterator[None]:
    with mock.patch.object(together, "busy_elsewhere", lambda conn, own: frozenset()):
        yield


@_fault(
    "a task that is cancelled at one service is called by another one",
    clusters.NOT_CANCELLED,
    first_seed=clusters.CLUSTERS_FROM + 14,
)
def _cancels_own_attempts_only() -> Iterator[None]:
    look = together.look

    def withdraws_nothing(*args: Any) -> Any:
        return attrs.evolve(look(*args), in_progress=())

    with mock.patch.object(together, "look", withdraws_nothing):
        yield


@_fault(
    "a service without a link to an Asterisk keeps it",
    clusters.LINKED,
    first_seed=links.LINKS_FROM,
)
def _tells_of_no_link() -> Iterator[None]:
    async def tells_nothing(self: Holdings) -> None:
        pass

    with mock.patch.object(Holdings, "_tell_of_links", tells_nothing):
        yield


@_fault(
    "an Asterisk goes to a service that can not log in there either",
    clusters.REACHABLE,
    first_seed=links.LINKS_FROM,
)
def _tries_no_login() -> Iterator[None]:
    async def tries_nothing(*_: object) -> str:
        return ""

    with mock.patch.object(app, "try_login", tries_nothing):
        yield


def search(fault: Fault) -> tuple[int, Failed | None]:
    """Play seeds with a planted fault until it is found.

    Returns:
        The number of seeds played, and the broken rule; None if it was not found.
    """
    with fault.put_in():
        for played in range(fault.within_seeds):
            failed = play_one(fault.first_seed + played * fault.step)
            if failed is not None and failed.rule in fault.rules:
                return played + 1, failed
    return fault.within_seeds, None
