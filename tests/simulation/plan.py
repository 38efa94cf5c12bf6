# SPDX-License-Identifier: MIT
"""What happens in a simulated run, drawn from its seed and from nothing else.

A plan is data: who calls when, how people behave, what breaks and when. It knows
neither the service nor the model that carries it out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

import attrs

from tests.emulator.scenarios import NO_ANSWER, Answers, Behaviour, Refuses

#: For so long things happen; then all is mended and comes to its end.
ACTION_S: Final = 300
_AGENTS: Final = ("PJSIP/alice", "PJSIP/bob", "PJSIP/carol")
#: The first ones have callbacks; ``plain`` shares their agents and has none.
_QUEUES: Final = ("support", "sales", "plain")
WITH_CALLBACKS: Final = _QUEUES[:2]

#: Where a service is killed: words in the names of its points.
_DEADLY: Final = (
    "COMMIT of add",
    "COMMIT of begin attempts",
    "COMMIT of close attempt",
    "COMMIT of progress",
    "COMMIT of open attempts",
    "COMMIT of serve",
    "COMMIT of take_back",
    "COMMIT",
    "sending AMI Action: Originate",
    "sending AMI Action: Hangup",
    "sending AMI Action: CoreShowChannels",
    "sending AMI Action: DBGet",
    "sending AMI",
    "sending AGI SET VARIABLE CALLBACK_PROMPT",
    "sending AGI SET VARIABLE CALLBACK_STATUS",
    "sending AGI",
    "sending",
    "",
)
#: Client and agent of a callback begin to talk.
TALK: Final = "talk of a callback"
#: What trouble comes right after: points of the service, and events of Asterisk.
_MOMENTS: Final = (
    *_DEADLY[:-3],
    "Newchannel",
    "QueueCallerJoin",
    "QueueCallerLeave",
    "QueueCallerAbandon",
    "AgentCalled",
    "AgentConnect",
    "DialBegin",
    "DialEnd",
    "BridgeEnter",
    "BridgeLeave",
    "UserEvent",
    "Hangup",
)


@attrs.frozen
class Event:
    """Something that happens at a moment, in seconds from the beginning."""

    at: float
    what: str
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.at:8.3f} {self.what} {facts}"


@attrs.frozen
class Cue:
    """Trouble that comes at the n-th moment of a kind, whenever that is."""

    moment: str
    count: int
    event: Event
    after_s: float = 0.0

    def __str__(self) -> str:
        when = f" + {self.after_s} s" if self.after_s else ""
        return f"at {self.moment!r} ({self.count}){when}: {self.event}"


@attrs.frozen
class Death:
    """Where one life of the service ends: at the n-th of its points named so."""

    at: str
    count: int
    #: Until the next life begins.
    down_s: float


#: Somebody follows the live state in each so many runs, from this seed of them on.
LOOKED_AT: Final = 64
LOOKED_AT_FROM: Final = 11


@attrs.frozen(kw_only=True)
class Plan:
    """One run."""

    seed: int
    version: str
    #: Members of each queue.
    queues: Mapping[str, tuple[str, ...]]
    strategy: str
    #: Until app_queue gives a free member to a caller.
    notice_s: float
    wrapuptime_s: int
    attempts: int
    retry_delay_s: int
    request_expiry_s: int
    missed_window_s: int
    #: How phones behave, ring after ring; the last for ever.
    agents: Mapping[str, tuple[Behaviour, ...]]
    clients: Mapping[str, tuple[Behaviour, ...]]
    #: How long a COMMIT takes, at most.
    commit_s: float
    #: How many events in a hundred come twice.
    doubled: int
    #: How much later the second of them may come, where a picture of what is there now
    #: is not made of it.
    doubled_after_s: float = 0.0
    #: How late those come that Asterisk raises past the bus that keeps their order.
    unordered_s: float = 0.0
    #: Asterisk ends as by "core restart now", and not as by a power cut.
    shuts_down: bool = False
    deaths: tuple[Death, ...]
    cues: tuple[Cue, ...]
    events: tuple[Event, ...]
    #: queues.conf is changed and read anew.
    reloads: tuple[Event, ...] = ()
    #: Asterisk dies in the middle of a talk.
    ends_of_talks: tuple[Cue, ...] = ()
    #: An agent sends the client of a callback on to another queue.
    transfers: tuple[Cue, ...] = ()
    #: An operator cancels a task while an agent is rung for it.
    cancels: tuple[Cue, ...] = ()
    #: Somebody with the number of a client who talks calls in.
    calls_in_talks: tuple[Cue, ...] = ()
    #: The service is frozen, and a second one on another machine tries to take over.
    freezes: tuple[Cue, ...] = ()
    #: When a task comes again that an agent put off, and for how long one who can not
    #: is not asked again.
    later_delay_s: int = 60
    cannot_pause_s: int = 60
    #: What an agent counts as who presses no key.
    no_key: str = "no_answer"
    #: An operator adds tasks for a time, and moves tasks.
    times: tuple[Event, ...] = ()
    #: Operators move, assign, note and cancel tasks, one or many.
    steers: tuple[Event, ...] = ()
    #: Asterisk keeps a request that the service does not answer.
    keeps_requests: bool
    #: The most calls, 0 for no limit: to a number, in a minute, for a queue in an hour.
    calls_per_number: int
    calls_per_minute: int
    calls_per_hour: int
    #: Minutes after the beginning, by the machine's clock, in which a queue is closed.
    closed: Mapping[str, tuple[int, int]]
    carry_over: str
    #: ``maxlen`` of queues that have one.
    maxlen: Mapping[str, int] = attrs.field(factory=dict)
    #: The settings of offers to callers who wait; empty: there are none.
    offers: Mapping[str, Any] = attrs.field(factory=dict)
    #: Whether clients press a key before being connected, and whether Asterisk listens
    #: for answering machines.
    client_key: bool = False
    amd: bool = False

    @property
    def is_looked_at(self) -> bool:
        """Whether somebody follows the live state, which takes a while to play."""
        return self.seed % LOOKED_AT == LOOKED_AT_FROM

    @property
    def keeps_places(self) -> bool:
        """Whether the queues have ``fairness: place``."""
        if self.first == "client":
            return False
        if self.seed >= KEYS_FROM:
            return self.seed % 2 == 1
        return self.seed >= PLACES_FROM

    @property
    def only_places(self) -> bool:
        """Whether only the places in line decide who is given an agent."""
        return PLACES_FROM <= self.seed < KEYS_FROM

    @property
    def first(self) -> str:
        """Who is called first: the setting."""
        if self.seed >= STEERS_FROM:
            return "agent"
        if self.seed >= AUTO_FROM:
            return "auto"
        return "client" if self.seed >= CLIENT_FIRST_FROM else "agent"

    @property
    def asks_for_keys(self) -> bool:
        """Whether agents accept callbacks by a key."""
        return KEYS_FROM <= self.seed < TIMES_FROM

    @property
    def prefers_agents(self) -> bool:
        """Whether the agent who talked to the client last is asked first."""
        return PREFERRED_FROM <= self.seed < SLOTS_FROM

    @property
    def asks_callers(self) -> bool:
        """Whether callers are asked after the key (``choices``)."""
        return CHOICES_FROM <= self.seed < OFFERS_FROM

    @property
    def offers_times(self) -> bool:
        """Whether callers may choose a time after the key (``choices.times``)."""
        return SLOTS_FROM <= self.seed < CLIENT_FIRST_FROM

    def __str__(self) -> str:
        facts = [
            f"{field.name}: {getattr(self, field.name)}"
            for field in attrs.fields(Plan)
            if field.name
            not in (
                "events",
                "cues",
                "deaths",
                "reloads",
                "times",
                "steers",
                "ends_of_talks",
                "transfers",
                "cancels",
                "calls_in_talks",
                "freezes",
            )
        ]
        deaths = [f"killed at {d.at!r} ({d.count}), {d.down_s} s" for d in self.deaths]
        return "\n".join(
            [
                *facts,
                *deaths,
                *map(str, self.cues),
                *map(str, self.events),
                *map(str, self.reloads),
                *map(str, self.times),
                *map(str, self.steers),
                *map(str, self.ends_of_talks),
                *map(str, self.transfers),
                *map(str, self.cancels),
                *map(str, self.calls_in_talks),
                *map(str, self.freezes),
            ]
        )


#: From this seed on, clients keep their place among the live callers.
PLACES_FROM: Final = 10_000_000
#: From this seed on, there are more live callers, some with a priority; the dialplan
#: may ask for the place of a task, queues may have a ``maxlen``, and nothing limits the
#: number of calls.
LINES_FROM: Final = 15_000_000
#: From this seed on, agents accept callbacks by a key; with odd seeds clients keep
#: keep their place, too.
KEYS_FROM: Final = 20_000_000
#: From this seed on, operators choose times; in half of these runs clients keep their
#: place.
TIMES_FROM: Final = 30_000_000
#: Within this time after the chosen time a client must be dialled.
SLACK_S: Final = 60
#: From this seed on, callers are asked after the key; with odd seeds clients keep their
#: place, too. Agents accept without a key.
CHOICES_FROM: Final = 40_000_000
#: A number that the settings of the simulation deny.
DENIED: Final = "0900123456"
#: From this seed on, callers who wait are offered a callback; with odd seeds clients
#: keep their place, too.
OFFERS_FROM: Final = 50_000_000
#: From this seed on, clients press a key before being connected, or Asterisk listens
#: for answering machines, or both; with odd seeds clients keep their place, too.
MACHINES_FROM: Final = 60_000_000
#: From this seed on, the agent who talked to the client last is asked first; with odd
#: seeds clients keep their place, too.
PREFERRED_FROM: Final = 70_000_000
#: For how long a callback waits for that agent.
PREFERRED_WAIT_S: Final = 60
#: From this seed on, clients are dialled before agents are rung.
CLIENT_FIRST_FROM: Final = 90_000_000
#: From this seed on, clients are dialled first only while AUTO_AGENTS are to spare;
#: with odd seeds clients keep their place, too.
AUTO_FROM: Final = 95_000_000
AUTO_AGENTS: Final = 2
#: From this seed on, operators move tasks in line, assign them to an agent, write notes
#: and cancel many at a time; with odd seeds clients keep their place, too.
STEERS_FROM: Final = 98_000_000
#: What a caller does who is asked, one as likely as the other: the keys pressed.
OFFER_ANSWERS: Final = ("1", "", "5", "")
#: From this seed on, callers may choose a time; with odd seeds clients keep their
#: place, too.
SLOTS_FROM: Final = 80_000_000
#: Maximum number of callers who may choose the same slot. A slot lasts SLACK_S.
PER_SLOT: Final = 1
#: What is said before the keys of the times, and after all of them.
AT: Final = "callback-queue/at"
ALL_TIMES_SAID: Final = "callback-queue/times-back-press"


def plan(seed: int) -> Plan:
    """Return the plan of a seed; the same in every process."""
    dice = random.Random(seed)
    agents = _AGENTS[: dice.choice((1, 1, 2, 3))]
    queues = _QUEUES[: dice.choice((1, 1, 2, 3))]
    clients = [f"03012345{number:02}" for number in range(dice.randint(1, 4))]
    troubles = [_trouble(dice) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
    cued = [dice.random() < 0.6 for _ in troubles]
    drawn = Plan(
        seed=seed,
        version=dice.choice(("22.10.1", "16.28.0")),
        queues={name: _some(dice, agents) for name in queues},
        strategy=dice.choice(("ringall", "linear")),
        notice_s=dice.choice((0.0, 1.0)),
        wrapuptime_s=dice.choice((0, 0, 5)),
        attempts=dice.randint(1, 3),
        retry_delay_s=dice.choice((20, 60)),
        request_expiry_s=dice.choice((300, 900)),
        missed_window_s=dice.choice((120, 300)),
        agents={name: _behaviours(dice, _agent) for name in agents},
        clients={number: _behaviours(dice, _client) for number in clients},
        commit_s=dice.choice((0.002, 0.02, 0.2)),
        doubled=dice.choice((0, 0, 0, 20)),
        deaths=_deaths(dice),
        cues=tuple(
            Cue(dice.choice(_MOMENTS), dice.randint(1, 8), trouble)
            for trouble, by_cue in zip(troubles, cued, strict=True)
            if by_cue
        ),
        events=tuple(
            sorted(
                [
                    *_people(dice, agents, queues, clients),
                    *(
                        t
                        for t, by_cue in zip(troubles, cued, strict=True)
                        if not by_cue
                    ),
                ],
                key=lambda event: event.at,
            )
        ),
        # What is new is drawn last, so that the seeds kept stay what they were.
        keeps_requests=dice.random() < 0.5,
        calls_per_number=dice.choice((0, 0, 0, 1, 2)),
        calls_per_minute=dice.choice((0, 0, 0, 1, 2)),
        calls_per_hour=dice.choice((0, 0, 0, 0, 2)),
        closed={
            name: _break(dice)
            for name in queues
            if name in WITH_CALLBACKS and dice.random() < 0.3
        },
        carry_over=dice.choice(("none", "missed", "all")),
    )
    drawn = attrs.evolve(
        drawn,
        events=(*drawn.events, *_blocks(dice, clients)),
        doubled_after_s=dice.choice((0.0, 0.0, 1.5)),
        unordered_s=dice.choice((0.0, 0.0, 0.5)),
        shuts_down=dice.random() < 0.5,
        reloads=_reloads(dice, agents, queues),
        ends_of_talks=_ends_of_talks(dice),
        transfers=_transfers(dice, queues, clients),
        cancels=_cancels(dice),
        calls_in_talks=_calls_in_talks(dice, queues),
        freezes=_freezes(dice),
        times=(
            _times(dice, queues, clients) if TIMES_FROM <= seed < CHOICES_FROM else ()
        ),
        steers=_steers(dice, agents, queues) if seed >= STEERS_FROM else (),
        offers=_offers(dice) if OFFERS_FROM <= seed < MACHINES_FROM else {},
    )
    if drawn.offers_times:
        # In most runs they all call at about the same time, and want the same slot.
        faster = dice.choice((1, 8, 30, 30))
        events = tuple(_with_time(dice, one, faster) for one in drawn.events)
        # No slot may be longer.
        return attrs.evolve(drawn, events=events, request_expiry_s=900)
    if LINES_FROM <= seed < KEYS_FROM:
        return _with_lines(dice, drawn)
    if drawn.asks_callers:
        events = tuple(_with_answers(dice, one, clients) for one in drawn.events)
        return attrs.evolve(drawn, events=events)
    if MACHINES_FROM <= seed < PREFERRED_FROM or drawn.first != "agent":
        return _with_machines(dice, drawn)
    if not drawn.asks_for_keys:
        return drawn
    return attrs.evolve(
        drawn,
        agents={
            name: tuple(_with_key(dice, one) for one in behaviours)
            for name, behaviours in drawn.agents.items()
        },
        later_delay_s=dice.choice((20, 60, 3600)),
        cannot_pause_s=dice.choice((30, 120)),
        no_key=dice.choice(("no_answer", "cannot")),
    )


def _with_machines(dice: random.Random, drawn: Plan) -> Plan:
    client_key, amd = dice.choice(((True, False), (False, True), (True, True)))
    client_key = client_key or drawn.first != "agent"
    return attrs.evolve(
        drawn,
        client_key=client_key,
        amd=amd,
        clients={
            number: tuple(_machine_or_not(dice, one) for one in behaviours)
            for number, behaviours in drawn.clients.items()
        },
    )


def _machine_or_not(dice: random.Random, behaviour: Behaviour) -> Behaviour:
    """Let a client who answers be a machine, or press a key, or none."""
    if not isinstance(behaviour, Answers):
        return behaviour
    is_machine = dice.random() < 0.3
    key = "" if is_machine else dice.choice(("1", "1", "1", "", "5"))
    return attrs.evolve(
        behaviour, key=key, key_after_s=_moment(dice, 0.1, 5), is_machine=is_machine
    )


def _with_lines(dice: random.Random, drawn: Plan) -> Plan:
    """Let more people call in, so that lines build up."""
    asks_place = dice.random() < 0.6
    events = [
        attrs.evolve(
            one,
            facts={
                **one.facts,
                "priority": dice.choice(("", "", "", "5", "-1")),
                "asks_place": asks_place,
            },
        )
        if one.what == "call"
        else one
        for one in drawn.events
    ]
    for number in range(dice.randint(4, 12)):
        facts: dict[str, Any] = {
            "queue": dice.choice([*drawn.queues]),
            "number": f"03099999{number:02}",
            "talks_s": _moment(dice, 3, 15),
            "withheld": False,
            "runs_out_after_s": None,
            "hangs_up_after_s": _moment(dice, 60, 150),
            "priority": dice.choice(("", "", "", "5")),
        }
        events.append(Event(_moment(dice, 0, ACTION_S * 0.7), "call", facts))
    return attrs.evolve(
        drawn,
        events=tuple(sorted(events, key=lambda event: event.at)),
        maxlen={
            name: dice.choice((1, 2, 3, 5))
            for name in drawn.queues
            if dice.random() < 0.3
        },
        calls_per_number=0,
        calls_per_minute=0,
        calls_per_hour=0,
    )


def _offers(dice: random.Random) -> dict[str, Any]:
    return {
        "enabled": True,
        "not_before": dice.choice(("0s", "3s")),
        "after": dice.choice(("5s", "20s", "0")),
        "wait_over": dice.choice(("0", "30s")),
        "position_over": dice.choice((0, 1, 2)),
        "at_closing": dice.random() < 0.5,
        "without_agents": dice.random() < 0.5,
        "unless_within": dice.choice(("0s", "5s")),
        "pause": f"{dice.choice((15, 60))}s",
        "answer_time": "2s",
    }


def _some(dice: random.Random, agents: tuple[str, ...]) -> tuple[str, ...]:
    chosen = dice.sample(agents, dice.randint(1, len(agents)))
    return tuple(sorted(chosen))


def _break(dice: random.Random) -> tuple[int, int]:
    begin = dice.randrange(ACTION_S // 60)
    return begin, begin + dice.randint(1, 4)


def _behaviours(dice: random.Random, one: Any) -> tuple[Behaviour, ...]:
    return tuple(one(dice) for _ in range(dice.randint(1, 6)))


def _agent(dice: random.Random) -> Behaviour:
    match dice.randrange(10):
        case 0:
            return NO_ANSWER
        case 1:
            return Refuses.DECLINE
        case 2 | 3:
            return Answers(
                after_s=_moment(dice, 0.2, 8), hangs_up_after_s=_moment(dice, 0.5, 25)
            )
        case _:
            return Answers(after_s=_moment(dice, 0.2, 8))


def _with_answers(dice: random.Random, event: Event, clients: list[str]) -> Event:
    """Let a caller who presses the key answer the questions, or not."""
    if event.what != "call" or event.facts.get("presses_after_s") is None:
        return event
    other = ("callback-queue/other-number-press", "2")
    confirm = ("callback-queue/confirm-press", "1")
    entered = ("callback-queue/enter-number", f"{dice.choice(clients)}#")
    denied = ("callback-queue/enter-number", f"{DENIED}#")
    answers = dice.choice(
        (
            (confirm,),
            (confirm,),
            (other, entered, confirm),
            (other, denied, confirm),
            (other, denied, entered, confirm),
            (("callback-queue/back-press", "3"),),
            # Too early for a yes.
            (("callback-queue/will-call-number", "1"),),
            (),
        )
    )
    return attrs.evolve(event, facts={**event.facts, "answers": answers})


def _with_time(dice: random.Random, event: Event, faster: int) -> Event:
    """Let a caller who presses the key choose when to be called, or not.

    Args:
        dice: for this run.
        event: of the plan.
        faster: how many times as soon the caller calls and presses the key.
    """
    if event.what != "call" or event.facts.get("presses_after_s") is None:
        return event
    at_a_time = ("callback-queue/choose-time-press", "2")
    later = ("callback-queue/more-times-press", "8")
    first, second = (AT, "1"), (ALL_TIMES_SAID, "2")
    answers = dice.choice(
        (
            (("callback-queue/soon-press", "1"),),
            (at_a_time, first),
            (at_a_time, first),
            # The other one, if others were faster.
            (at_a_time, (ALL_TIMES_SAID, "1"), first),
            (at_a_time, second),
            (at_a_time, later, first),
            (at_a_time, (AT, "9"), ("callback-queue/back-press", "3")),
            # Not said yet.
            (at_a_time, (AT, "2")),
            (at_a_time,),
        )
    )
    presses_after_s = round(event.facts["presses_after_s"] / faster, 3)
    facts = {"answers": answers, "presses_after_s": presses_after_s}
    at = round(event.at / faster, 3)
    return attrs.evolve(event, at=at, facts={**event.facts, **facts})


def _with_key(dice: random.Random, behaviour: Behaviour) -> Behaviour:
    """Let an agent who answers press a key, or none, as a mailbox does."""
    if not isinstance(behaviour, Answers):
        return behaviour
    key = dice.choice(("1", "1", "1", "1", "2", "2", "3", "3", "", "7"))
    return attrs.evolve(behaviour, key=key, key_after_s=_moment(dice, 0.1, 5))


def _client(dice: random.Random) -> Behaviour:
    match dice.randrange(10):
        case 0:
            return NO_ANSWER
        case 1:
            return Refuses.BUSY
        case 2:
            return dice.choice((Refuses.DECLINE, Refuses.CONGESTION, Refuses.NOT_FOUND))
        case 3:
            return Answers(
                after_s=_moment(dice, 0.5, 10), hangs_up_after_s=_moment(dice, 0.5, 6)
            )
        case _:
            return Answers(
                after_s=_moment(dice, 0.5, 10), hangs_up_after_s=_moment(dice, 6, 30)
            )


def _moment(dice: random.Random, least: float, most: float) -> float:
    return round(dice.uniform(least, most), 3)


# -- people --------------------------------------------------------------------


def _people(
    dice: random.Random,
    agents: tuple[str, ...],
    queues: tuple[str, ...],
    clients: list[str],
) -> list[Event]:
    events = []
    for _ in range(dice.randint(1, 8)):
        at = _moment(dice, 0, ACTION_S * 0.7)
        facts: dict[str, Any] = {
            "queue": dice.choice(queues),
            "number": dice.choice(clients),
            "talks_s": _moment(dice, 1, 40),
            "withheld": dice.random() < 0.05,
            "runs_out_after_s": dice.choice((None, None, None, 15)),
        }
        match dice.randrange(4):
            case 0:
                facts["hangs_up_after_s"] = _moment(dice, 0.3, 60)
            case 1:
                # In the middle of what the key sets off.
                facts["presses_after_s"] = presses = _moment(dice, 0.5, 30)
                facts["hangs_up_after_s"] = round(presses + _moment(dice, 0, 3), 3)
            case _:
                facts["presses_after_s"] = _moment(dice, 0.5, 30)
                facts["hangs_up_after_s"] = _moment(dice, 60, 120)
        events.append(Event(at, "call", facts))
    for agent in agents:
        busy = dice.random() < 0.7
        events.append(Event(0.0, "busy", {"agent": agent, "busy": busy}))
        at = 0.0
        for _ in range(dice.randint(1, 5)):
            at = round(at + dice.uniform(1, 60), 3)
            busy = not busy
            events.append(Event(at, "busy", {"agent": agent, "busy": busy}))
        if dice.random() < 0.2:
            at = _moment(dice, 0, ACTION_S)
            events.append(Event(at, "pause", {"agent": agent, "paused": True}))
            at = _moment(dice, at, ACTION_S)
            events.append(Event(at, "pause", {"agent": agent, "paused": False}))
    for _ in range(dice.choice((0, 0, 1, 2))):
        command = dice.choice(("tasks.add", "tasks.cancel", "tasks.retry"))
        facts = {"command": command, "number": dice.choice(clients)}
        facts["id"] = dice.randint(1, 3)
        facts["queue"] = dice.choice([q for q in queues if q in WITH_CALLBACKS])
        events.append(Event(_moment(dice, 0, ACTION_S), "operator", facts))
    return events


def _blocks(dice: random.Random, clients: list[str]) -> list[Event]:
    """Somebody does not want to be called any more."""
    if dice.random() < 0.6:
        return []
    facts = {"command": "numbers.block", "number": dice.choice(clients)}
    return [Event(_moment(dice, 0, ACTION_S * 0.5), "operator", facts)]


# -- trouble -------------------------------------------------------------------


def _deaths(dice: random.Random) -> tuple[Death, ...]:
    return tuple(
        Death(
            at := dice.choice(_DEADLY),
            dice.randint(1, 150 if at in ("", "sending", "COMMIT") else 8),
            dice.choice((0.0, 0.3, 2.0, 20.0, 90.0)),
        )
        for _ in range(dice.choice((0, 0, 1, 1, 2, 4)))
    )


def _reloads(
    dice: random.Random, agents: tuple[str, ...], queues: tuple[str, ...]
) -> tuple[Event, ...]:
    """A member is taken out of queues.conf, or put in, or nothing is changed."""
    return tuple(
        Event(
            _moment(dice, 0, ACTION_S),
            "reload",
            {
                "queue": dice.choice(queues),
                "agent": dice.choice(agents),
                "changes": dice.random() < 0.7,
                # "module reload" is told on the manager port, "queue reload" is not.
                "told": dice.random() < 0.5,
            },
        )
        for _ in range(dice.choice((0, 0, 0, 1, 2)))
    )


def _ends_of_talks(dice: random.Random) -> tuple[Cue, ...]:
    if dice.random() < 0.5:
        return ()
    facts = {
        "down_s": dice.choice((0.0, 5.0, 30.0)),
        "boots_s": 0.0,
        "at_once": True,
    }
    event = Event(0.0, "asterisk dies", facts)
    return (Cue(TALK, dice.choice((1, 1, 1, 2)), event, after_s=_moment(dice, 1, 28)),)


def _transfers(
    dice: random.Random, queues: tuple[str, ...], clients: list[str]
) -> tuple[Cue, ...]:
    """A client is sent on to a queue, and another one is to be called in it."""
    if dice.random() < 0.4:
        return ()
    queue, talk = dice.choice(queues), dice.choice((1, 1, 1, 2))
    after_s = _moment(dice, 0.1, 4)
    cues = [Cue(TALK, talk, Event(0.0, "transfer", {"queue": queue}), after_s=after_s)]
    if queue in WITH_CALLBACKS:
        facts = {"command": "tasks.add", "number": dice.choice(clients)}
        event = Event(0.0, "operator", {**facts, "queue": queue})
        cues.insert(0, Cue(TALK, talk, event, after_s=after_s / 2))
    return tuple(cues)


def _cancels(dice: random.Random) -> tuple[Cue, ...]:
    if dice.random() < 0.6:
        return ()
    facts = {"command": "tasks.cancel", "id": dice.randint(1, 3)}
    event = Event(0.0, "operator", facts)
    moment = dice.choice(
        ("sending AMI Action: Originate", "AgentCalled", "AgentConnect")
    )
    return (Cue(moment, dice.choice((1, 1, 2)), event, after_s=_moment(dice, 0, 3)),)


def _calls_in_talks(dice: random.Random, queues: tuple[str, ...]) -> tuple[Cue, ...]:
    """A company has one number and many phones."""
    cues = []
    for _ in range(dice.choice((0, 1, 2))):
        presses = dice.choice((None, _moment(dice, 0.2, 8)))
        facts = {
            "queue": dice.choice([q for q in queues if q in WITH_CALLBACKS]),
            "presses_after_s": presses,
            "hangs_up_after_s": _moment(dice, 0.3, 20) if presses is None else 60.0,
        }
        event = Event(0.0, "call in a talk", facts)
        after_s = _moment(dice, 0, 20)
        cues.append(Cue(TALK, dice.choice((1, 1, 2, 3)), event, after_s=after_s))
    return tuple(cues)


def _times(
    dice: random.Random, queues: tuple[str, ...], clients: list[str]
) -> tuple[Event, ...]:
    """An operator adds tasks for a time, moves tasks, or has them called now."""
    events = []
    for _ in range(dice.randint(1, 4)):
        at = {"at": f"+{dice.randint(1, 240)}s"}
        if dice.random() < 0.6:
            facts = {
                "command": "tasks.add",
                "queue": dice.choice([q for q in queues if q in WITH_CALLBACKS]),
                "number": dice.choice(clients),
                **at,
            }
        else:
            facts = {
                "command": "tasks.reschedule",
                "id": dice.randint(1, 3),
                **(at if dice.random() < 0.7 else {"now": True}),
            }
        events.append(Event(_moment(dice, 0, ACTION_S), "operator", facts))
    return tuple(events)


def _steers(
    dice: random.Random, agents: tuple[str, ...], queues: tuple[str, ...]
) -> tuple[Event, ...]:
    """Operators change what waits: often, so that most of it finds a task."""
    with_callbacks = [queue for queue in queues if queue in WITH_CALLBACKS]
    events = []
    for _ in range(dice.randint(4, 14)):
        id_ = dice.randint(1, 4)
        queue = dice.choice(with_callbacks)
        facts: dict[str, Any] = dice.choice(
            (
                {"command": "tasks.move", "id": id_, "front": True},
                {"command": "tasks.move", "id": id_, "front": True},
                {"command": "tasks.move", "id": id_, "behind": dice.randint(1, 4)},
                {
                    "command": "tasks.assign",
                    "id": id_,
                    "agent": dice.choice(agents),
                    "duration": f"{dice.choice((20, 60, 200))}s",
                },
                {"command": "tasks.assign", "id": id_, "release": True},
                {"command": "tasks.note", "id": id_, "note": "rang, and rang off"},
                {"command": "tasks.bulk", "action": "move", "queue": queue},
                {
                    "command": "tasks.bulk",
                    "action": dice.choice(("cancel", "note", "retry")),
                    "ids": f"{id_},{dice.randint(1, 4)}",
                    "note": "called by mistake",
                    "preview": dice.random() < 0.5,
                },
                {
                    "command": "tasks.add",
                    "queue": queue,
                    "number": f"03012345{dice.randrange(6):02}",
                },
                {
                    "command": "tasks.add",
                    "queue": queue,
                    "number": f"03012345{dice.randrange(6):02}",
                },
            )
        )
        events.append(Event(_moment(dice, 0, ACTION_S), "operator", facts))
    return tuple(events)


def _freezes(dice: random.Random) -> tuple[Cue, ...]:
    """A lease lasts 15 s, so a second service takes over after the longer ones."""
    if dice.random() < 0.7:
        return ()
    event = Event(0.0, "service freezes", {"for_s": dice.choice((5.0, 20.0, 60.0))})
    moment = dice.choice(
        (
            "COMMIT of begin attempts",
            "sending AMI Action: Originate",
            "COMMIT of add",
            "COMMIT of close attempt",
            "BridgeEnter",
            "Hangup",
        )
    )
    after_s = dice.choice((0.0, _moment(dice, 0, 10)))
    return (Cue(moment, dice.choice((1, 1, 2, 3)), event, after_s=after_s),)


def _trouble(dice: random.Random) -> Event:
    at = _moment(dice, 0, ACTION_S)
    for_s = dice.choice((0.0, 1.0, 5.0, 30.0, 90.0))
    match dice.randrange(12):
        case 0 | 1:
            return Event(at, "cut", {"down_s": for_s})
        case 2:
            old = dice.choice((0.0, 0.5, 1.5))
            return Event(at, "freeze", {"for_s": for_s, "old_after_s": old})
        case 3:
            return Event(at, "half-open")
        case 4:
            return Event(at, "slow link", {"latency_s": dice.choice((0.05, 0.5, 2.0))})
        case 5 | 6:
            boots_s = dice.choice((0.0, 5.0))
            return Event(at, "asterisk dies", {"down_s": for_s, "boots_s": boots_s})
        case 7 | 8:
            words = dice.choice(("database is locked", "disk is full"))
            return Event(at, "database fails", {"for_s": for_s, "words": words})
        case 9:
            facts = {"for_s": for_s, "takes_s": dice.choice((0.5, 0.79, 1.5))}
            return Event(at, "slow database", facts)
        case 10:
            by_s = dice.choice((-3600, -40, -2, 2, 40, 3600))
            return Event(at, "clock is set", {"by_s": by_s})
    return Event(at, dice.choice(("stop", "agi breaks")))
