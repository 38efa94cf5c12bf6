# SPDX-License-Identifier: MIT
"""The settings of a queue, and how its layers are merged.

A setting that a queue does not have comes from ``defaults``, and one that ``defaults``
do not have from the built-in values. This module also finds settings of one queue that
contradict each other, and converts the settings to values of the domain.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated, Any, TypeAlias

import attrs
from pydantic import model_validator

from fastagi.config import fields
from fastagi.config.durations import format_duration
from fastagi.config.errors import BadValue
from fastagi.config.values import (
    CallerId,
    ChannelTemplate,
    ChannelTemplateOrEmpty,
    Days,
    Device,
    DeviceOrEmpty,
    DisplayPrefix,
    HoursOfDay,
    HoursOfDays,
    Key,
    KeyOrEmpty,
    Keys,
    KeysOrEmpty,
    KeysToRead,
    Language,
    NodeNames,
    NumberKinds,
    NumberPatterns,
    QueueName,
    QueueNameOrEmpty,
    QueueOptions,
    Regions,
    RegionsOrAll,
    Section,
    Sound,
    SoundOrEmpty,
    StateInterface,
    StateInterfaceOrEmpty,
    Switch,
    Zone,
    choice,
    number,
    span,
)
from fastagi.config.zones import machine_zone
from fastagi.domain.agent_keys import AgentKeyRules, NoKey
from fastagi.domain.attempt import Disposition
from fastagi.domain.hours import ALL_DAY, ALWAYS, CLOSED, DayHours, OpeningHours
from fastagi.domain.names import folded
from fastagi.domain.numbers import USUAL_KINDS, DialAs, NumberKind, OtherNumber
from fastagi.domain.offers import OfferRules
from fastagi.domain.policy import CarryOver, ExpiryRules, First
from fastagi.domain.preferred_agent import PreferredAgentRules
from fastagi.domain.retry import ResultRule, RetryRules
from fastagi.domain.slots import SlotRules
from fastagi.domain.turns import Fairness
from fastagi.errors import Problem

_ONE_DAY = timedelta(days=1)
_SHOWN_NUMBER = re.compile(r"(\+?[0-9]+)>?$")

DAYS_OF_WEEK = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
#: The settings of the queue or extension that takes the callback.
TARGET = ("target_queue", "target_extension", "state_interface")


class Sounds(Section):
    """The sound files of a queue, as Playback() takes them.

    Attributes:
        offer: None: what fits the caller, with the expected wait.
    """

    accepted: Sound = "callback-queue/accepted"
    already_registered: Sound = "callback-queue/already-registered"
    cannot_call: Sound = "callback-queue/cannot-call"
    closed: Sound = "callback-queue/closed"
    hold_on: Sound = "callback-queue/hold-on"
    offer: Sound | None = None
    member_alert: Sound = "callback-queue/member-alert"


class Choices(Section):
    """The questions to callers who have pressed the key for a callback.

    Several keys in one setting mean the same, and the first is said; but each of
    ``time_keys`` is another time.

    Attributes:
        times: whether they may choose a time; the settings below it say which times.
        slot_length: the length of a slot; a day has a whole number of slots.
        per_slot: maximum number of clients who may choose one slot.
        days_ahead: maximum number of days from today.
        queue_soon_keys: pressed in the queue, or to accept an offer, these keys mean:
            as soon as possible; the caller is not asked when.
        queue_time_keys: the same for: at a time.
        time_keys: the keys of the times, or days, that are said together.
        times_back_key: leads from the times to the former question.
    """

    confirm_number: Switch = False
    other_number: Annotated[OtherNumber, choice(OtherNumber)] = OtherNumber.NEVER
    other_numbers_per_day: Annotated[int, number(1, 100)] = 3
    times: Switch = False
    slot_length: Annotated[timedelta, span("10m", "4h")] = timedelta(minutes=30)
    per_slot: Annotated[int, number(1, 1000)] = 2
    days_ahead: Annotated[int, number(0, 14)] = 3
    queue_soon_keys: KeysOrEmpty = ""
    queue_time_keys: KeysOrEmpty = ""
    confirm_key: Keys = "1"
    other_number_key: Keys = "2"
    back_key: Keys = "3"
    soon_key: Keys = "1"
    choose_time_key: Keys = "2"
    time_keys: Keys = "1234"
    earlier_times_key: Keys = "7"
    later_times_key: Keys = "8"
    times_back_key: Keys = "9"

    @property
    def any(self) -> bool:
        """Whether callers are asked anything."""
        return self.asks_number or self.times

    def asks(self, pressed: str) -> bool:
        """Whether callers are asked anything who pressed a key; "" if not known."""
        return self.asks_number or (self.times and not self.means_soon(pressed))

    def means_soon(self, pressed: str) -> bool:
        """Whether a key that was pressed in the queue means: as soon as possible."""
        return pressed != "" and pressed in self.queue_soon_keys

    def means_a_time(self, pressed: str) -> bool:
        """Whether a key that was pressed in the queue means: at a time."""
        return pressed != "" and pressed in self.queue_time_keys

    @property
    def asks_number(self) -> bool:
        """Whether callers are asked to confirm the number."""
        return self.confirm_number or self.other_number is not OtherNumber.NEVER

    def may_enter(self, shows_number: bool) -> bool:
        """Whether a caller may enter another number."""
        if self.other_number is OtherNumber.SHOWN:
            return shows_number
        return self.other_number is OtherNumber.ANYBODY


class Numbers(Section):
    """Which numbers may be called back."""

    min_digits: Annotated[int, number(1, 20)] = 5
    max_digits: Annotated[int, number(1, 20)] = 15
    allow: NumberPatterns = ()
    deny: NumberPatterns = ()
    kinds: NumberKinds = tuple(kind for kind in NumberKind if kind in USUAL_KINDS)
    allow_regions: RegionsOrAll = ()
    deny_regions: Regions = ()
    dial_as: Annotated[DialAs, choice(DialAs)] = DialAs.AS_RECEIVED


class Hours(Section):
    """When the queue's clients are called.

    Attributes:
        time_zone: None: the machine's time zone.
        monday: hours of this day of the week, like the attributes of the other days.
            None: closed; but open all day if no day of the week has hours.
        days: hours of single dates, which replace those of the week; layers are merged
            date by date.
    """

    enabled: Switch = True
    time_zone: Zone | None = None
    monday: HoursOfDay | None = None
    tuesday: HoursOfDay | None = None
    wednesday: HoursOfDay | None = None
    thursday: HoursOfDay | None = None
    friday: HoursOfDay | None = None
    saturday: HoursOfDay | None = None
    sunday: HoursOfDay | None = None
    days: HoursOfDays = Days()
    carry_over: Annotated[CarryOver, choice(CarryOver)] = CarryOver.NONE

    @property
    def week(self) -> tuple[DayHours | None, ...]:
        """The hours of each day of the week, beginning with Monday."""
        return (
            self.monday,
            self.tuesday,
            self.wednesday,
            self.thursday,
            self.friday,
            self.saturday,
            self.sunday,
        )

    @property
    def in_use(self) -> bool:
        """Whether the queue is not simply always open."""
        return self.enabled and (self.has_week or bool(self.days))

    @property
    def has_week(self) -> bool:
        """Whether any day of the week has hours."""
        return any(day is not None for day in self.week)

    @property
    def zone(self) -> tzinfo | None:
        """The time zone; None if it is the machine's and unknown."""
        return self.time_zone or machine_zone()


@lru_cache(maxsize=1024)
def _opening_hours(hours: Hours) -> OpeningHours:
    if not hours.in_use:
        return ALWAYS
    zone = hours.zone
    assert zone is not None, "broken_rules() lets nobody do without one"
    unsaid = CLOSED if hours.has_week else ALL_DAY
    return OpeningHours(
        week=tuple(unsaid if day is None else day for day in hours.week),
        days=hours.days,
        zone=zone,
    )


class ChosenTime(Section):
    """Times that somebody chooses for a callback.

    Attributes:
        slack: within this time after the chosen time the client must be dialled.
    """

    days_ahead: Annotated[int, number(1, 60)] = 7
    slack: Annotated[timedelta, span("1m", "1d")] = timedelta(minutes=15)

    def call_by(self, chosen_at: datetime | None) -> datetime | None:
        """Return until when the client must be dialled; None if no time is chosen."""
        return None if chosen_at is None else chosen_at + self.slack


class Offers(Section):
    """When a caller who waits is offered a callback; 0: not for this reason.

    Attributes:
        not_before: no offer earlier than this after joining.
        after: the caller has waited this long.
        wait_over: the expected wait is longer.
        position_over: the position in line is higher.
        unless_within: no offer if an agent is expected for the caller so soon.
        pause: the least time between two offers to one number.
        answer_time: how long the caller may think after the prompt.
        accept_keys: each of them accepts, and the first is said.
    """

    enabled: Switch = False
    not_before: Annotated[timedelta, span("0", "1h")] = timedelta(seconds=10)
    after: Annotated[timedelta, span("0", "1d")] = timedelta(minutes=2)
    wait_over: Annotated[timedelta, span("0", "1d")] = timedelta(minutes=5)
    position_over: Annotated[int, number(0, 10_000)] = 10
    at_closing: Switch = True
    without_agents: Switch = True
    unless_within: Annotated[timedelta, span("0", "1h")] = timedelta(seconds=20)
    pause: Annotated[timedelta, span("1s", "1d")] = timedelta(minutes=5)
    answer_time: Annotated[timedelta, span("1s", "1m")] = timedelta(seconds=5)
    accept_keys: KeysToRead = "1"

    @property
    def rules(self) -> OfferRules:
        """The settings as values of the domain."""
        return OfferRules(
            not_before_s=self.not_before.total_seconds(),
            after_s=self.after.total_seconds() or None,
            wait_over_s=self.wait_over.total_seconds() or None,
            position_over=self.position_over or None,
            at_closing=self.at_closing,
            without_agents=self.without_agents,
            unless_within_s=self.unless_within.total_seconds(),
            pause_s=self.pause.total_seconds(),
        )


Attempts: TypeAlias = Annotated[int, number(1, 100)]
RetryDelay: TypeAlias = Annotated[timedelta, span("0", "1d")]


class Result(Section):
    """Settings for attempts that ended with one result; None: the general setting."""

    attempts: Attempts | None = None
    delay: RetryDelay | None = None


class InvalidNumber(Section):
    """The same for a number that does not exist; by default it is not retried."""

    attempts: Attempts = 1
    delay: RetryDelay | None = None


class Retry(Section):
    """How a task is retried, by the result of the last attempt."""

    busy: Result = Result()
    no_answer: Result = Result()
    congestion: Result = Result()
    unreachable: Result = Result()
    invalid_number: InvalidNumber = InvalidNumber()
    forwarded: Result = Result()
    machine: Result = Result()
    not_confirmed: Result = Result()
    short: Result = Result()
    agent_hung_up: Result = Result()


#: The disposition to which each group of ``Retry`` applies.
RESULTS: Mapping[str, Disposition] = {
    "busy": Disposition.BUSY,
    "no_answer": Disposition.NO_ANSWER,
    "congestion": Disposition.CONGESTION,
    "unreachable": Disposition.UNAVAILABLE,
    "invalid_number": Disposition.INVALID_NUMBER,
    "forwarded": Disposition.FORWARDED,
    "machine": Disposition.MACHINE,
    "not_confirmed": Disposition.NOT_CONFIRMED,
    "short": Disposition.SHORT,
    "agent_hung_up": Disposition.CANCEL,
}


class Whisper(Section):
    """What the agent hears about a callback before the client is dialled.

    Attributes:
        queue: a recording of the queue's name; empty: it is not said.
    """

    asked: Switch = False
    attempt: Switch = False
    queue: SoundOrEmpty = ""


class AgentKeys(Section):
    """Keys by which an agent accepts a callback before the client is dialled."""

    enabled: Switch = False
    accept: Key = "1"
    later: KeyOrEmpty = "2"
    cannot: KeyOrEmpty = "3"
    wait: Annotated[timedelta, span("1s", "2m")] = timedelta(seconds=10)
    later_delay: Annotated[timedelta, span("1s", "1d")] = timedelta(minutes=5)
    later_times: Annotated[int, number(0, 100)] = 3
    cannot_pause: Annotated[timedelta, span("1s", "1d")] = timedelta(minutes=10)
    no_key: Annotated[NoKey, choice(NoKey)] = NoKey.NO_ANSWER

    @property
    def rules(self) -> AgentKeyRules | None:
        """The rules of the keys as values of the domain; None: there are no keys."""
        if not self.enabled:
            return None
        return AgentKeyRules(
            later_delay=self.later_delay,
            later_times=self.later_times,
            cannot_pause=self.cannot_pause,
            no_key=self.no_key,
        )


class PreferredAgent(Section):
    """The agent who talked to the client last is asked first, for a while."""

    enabled: Switch = False
    talked_within: Annotated[timedelta, span("1m", "365d")] = timedelta(days=30)
    wait: Annotated[timedelta, span("1s", "1d")] = timedelta(minutes=5)

    @property
    def rules(self) -> PreferredAgentRules | None:
        """The settings, as the domain takes them; None: no agent is asked first."""
        if not self.enabled:
            return None
        return PreferredAgentRules(talked_within=self.talked_within, wait=self.wait)


class ClientKey(Section):
    """A key that the client presses before being connected to the agent.

    Attributes:
        wait: how long the client may think after the last word.
        times: how often the words are said, at most.
        who: a recording that tells who calls; empty: none.
    """

    enabled: Switch = False
    key: Key = "1"
    wait: Annotated[timedelta, span("1s", "1m")] = timedelta(seconds=5)
    times: Annotated[int, number(1, 5)] = 2
    who: SoundOrEmpty = ""


class QueueLayer(Section):
    """One layer of a queue's settings: ``defaults``, or the queue's own section.

    ``model_fields_set`` has the settings that the layer contains; the others have their
    built-in values.

    Attributes:
        nodes: the Asterisks from which its clients are called; empty: all.
    """

    target_queue: QueueName | None = None
    target_extension: Device | None = None
    state_interface: StateInterface | None = None
    nodes: NodeNames = ()
    outbound_channel: ChannelTemplate | None = None
    outbound_caller_id: CallerId = ""
    attempts: Attempts = 5
    retry_delay: RetryDelay = timedelta(seconds=30)
    retry: Retry = Retry()
    success_duration: Annotated[timedelta, span("0", "1h")] = timedelta(seconds=5)
    request_expiry: Annotated[timedelta, span("1s", "30d")] = timedelta(hours=4)
    missed_calls: Switch = True
    missed_window: Annotated[timedelta, span("1s", "30d")] = timedelta(minutes=5)
    opening_hours: Hours = Hours()
    chosen_time: ChosenTime = ChosenTime()
    fairness: Annotated[Fairness, choice(Fairness)] = Fairness.PLACE
    offers: Offers = Offers()
    member_ring_time: Annotated[timedelta, span("5s", "10m")] = timedelta(seconds=60)
    member_retry_delay: Annotated[timedelta, span("1s", "1h")] = timedelta(seconds=30)
    member_attempts: Annotated[int, number(1, 10_000)] = 30
    caller_ring_time: Annotated[timedelta, span("5s", "10m")] = timedelta(seconds=45)
    calls_per_hour: Annotated[int, number(0, 100_000)] = 0
    queue_options: QueueOptions = ""
    wrapuptime: Annotated[timedelta, span("0", "1h")] = timedelta(0)
    handling_time: Annotated[timedelta, span("1s", "4h")] = timedelta(minutes=3)
    display_prefix: DisplayPrefix = ""
    member_language: Language = ""
    whisper: Whisper = Whisper()
    agent_keys: AgentKeys = AgentKeys()
    preferred_agent: PreferredAgent = PreferredAgent()
    first: Annotated[First, choice(First)] = First.AGENT
    auto_agents: Annotated[int, number(1, 1000)] = 3
    client_key: ClientKey = ClientKey()
    amd: Switch = False
    choices: Choices = Choices()
    sounds: Sounds = Sounds()
    numbers: Numbers = Numbers()

    @property
    def success_duration_s(self) -> float:
        """The setting in seconds."""
        return self.success_duration.total_seconds()

    @property
    def missed_window_s(self) -> float:
        """The setting in seconds."""
        return self.missed_window.total_seconds()

    @property
    def member_ring_time_s(self) -> float:
        """The setting in seconds."""
        return self.member_ring_time.total_seconds()

    @property
    def caller_ring_time_s(self) -> float:
        """The setting in seconds."""
        return self.caller_ring_time.total_seconds()

    @property
    def wrapuptime_s(self) -> float:
        """The setting in seconds."""
        return self.wrapuptime.total_seconds()

    @property
    def handling_time_s(self) -> float:
        """The setting in seconds."""
        return self.handling_time.total_seconds()

    @property
    def may_call_client_first(self) -> bool:
        """Whether clients may be dialled before an agent is rung."""
        return self.first is not First.AGENT

    @property
    def may_ask_client(self) -> bool:
        """Whether clients may have to press a key before being connected."""
        return self.client_key.enabled or self.may_call_client_first

    @property
    def retry_rules(self) -> RetryRules:
        """The retry rules as values of the domain."""
        return RetryRules(
            attempts=self.attempts,
            retry_delay=self.retry_delay,
            success_duration_s=self.success_duration_s,
            member_attempts=self.member_attempts,
            member_retry_delay=self.member_retry_delay,
            agent_keys=self.agent_keys.rules,
            hours=_opening_hours(self.opening_hours),
            by_result={
                RESULTS[name]: ResultRule(attempts=result.attempts, delay=result.delay)
                for name, result in self.retry
            },
        )


#: The keys that are asked for together, with the section that has them.
_MENUS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("agent_keys", ("accept", "later", "cannot")),
    ("choices", ("queue_soon_keys", "queue_time_keys")),
    ("choices", ("confirm_key", "other_number_key", "back_key")),
    ("choices", ("soon_key", "choose_time_key", "back_key")),
    (
        "choices",
        ("time_keys", "earlier_times_key", "later_times_key", "times_back_key"),
    ),
)


@attrs.frozen
class BrokenRule:
    """Settings of one queue that are valid each, but contradict each other.

    Attributes:
        settings: the names of the settings; the one to change comes first.
        problem: what is wrong and what to do about it.
    """

    settings: tuple[str, ...]
    problem: Problem


class QueueSettings(QueueLayer):
    """All settings of one queue, each with its value.

    Attributes:
        name: as in queues.conf.
        target_queue: the queue that takes the callback, or empty if
            ``target_extension`` does. Left out, it is the queue itself.
        target_extension: the device that takes the callback, or empty.
        state_interface: whose state tells whether ``target_extension`` is free;
            empty if a queue takes the callback.
        outbound_channel: never empty in settings that were loaded from a file.
    """

    name: QueueName
    target_queue: QueueNameOrEmpty = ""
    target_extension: DeviceOrEmpty = ""
    state_interface: StateInterfaceOrEmpty = ""
    outbound_channel: ChannelTemplateOrEmpty = ""

    @model_validator(mode="before")
    @classmethod
    def _resolve_target(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = {name: value for name, value in values.items() if value is not None}
        extension = values.get("target_extension")
        if not extension:
            return {"target_queue": values.get("name"), **values}
        if isinstance(extension, str) and not fields.is_local(extension):
            return {"state_interface": extension, **values}
        return values

    @model_validator(mode="after")
    def _keep_rules(self) -> QueueSettings:
        for broken in broken_rules(dict(self)):
            raise BadValue(broken.problem.what, broken.problem.remedy)
        return self

    @property
    def keeps_place(self) -> bool:
        """Whether tasks are served in line with the live callers.

        A single extension has no line, so there live callers are not known at all. A
        client who is dialled first waits at the head of the queue. With ``first: auto``
        that is so only while enough agents are free.
        """
        return (
            self.fairness is Fairness.PLACE
            and not self.target_extension
            and self.first is not First.CLIENT
        )

    def is_called_from(self, node: str) -> bool:
        """Whether the clients of this queue are called from a node."""
        return not self.nodes or folded(node) in map(folded, self.nodes)

    @property
    def outbound_number(self) -> str:
        """The number that the client sees, without the name; may be empty."""
        return number_in(self.outbound_caller_id)

    @property
    def hours(self) -> OpeningHours:
        """The opening hours as values of the domain."""
        return _opening_hours(self.opening_hours)

    @property
    def zone(self) -> tzinfo:
        """The time zone in which people name times of this queue."""
        return self.opening_hours.zone or UTC

    @property
    def slot_rules(self) -> SlotRules:
        """Which times callers may choose, as the domain takes it."""
        choices = self.choices
        return SlotRules(
            hours=self.hours,
            zone=self.zone,
            length=choices.slot_length,
            per_slot=choices.per_slot,
            days_ahead=choices.days_ahead,
        )

    @property
    def expiry_rules(self) -> ExpiryRules:
        """The expiry rules as values of the domain."""
        return ExpiryRules(
            request_expiry=self.request_expiry,
            missed_window=self.missed_window,
            hours=self.hours,
            carry_over=self.opening_hours.carry_over,
        )


def number_in(caller_id: str) -> str:
    """Return the number in a caller ID, without the name; may be empty."""
    match = _SHOWN_NUMBER.search(caller_id)
    return match[1] if match else ""


def broken_rules(values: Mapping[str, Any]) -> Iterator[BrokenRule]:
    """Find settings of one queue that contradict each other.

    Args:
        values: merged settings by name. A setting that is missing, empty or None is
            not checked, so the others can be checked although it has a mistake.
    """
    queue = values.get("target_queue")
    extension = values.get("target_extension")
    state = values.get("state_interface")
    if queue and extension:
        yield BrokenRule(
            ("target_extension", "target_queue"),
            Problem(
                "",
                "cannot stand beside target_queue: only one takes the callback",
                "delete one of the two",
            ),
        )
    elif extension and fields.is_local(state or extension):
        yield BrokenRule(
            ("target_extension",),
            Problem(
                "",
                "is a Local/ channel, and Asterisk cannot tell whether one is free",
                "add state_interface with the phone behind it, e.g. PJSIP/101",
            ),
        )
    elif state and not extension:
        yield BrokenRule(
            ("state_interface",),
            Problem(
                "",
                "has no use without target_extension",
                "delete it or add target_extension",
            ),
        )
    numbers = values.get("numbers")
    if numbers is not None and numbers.min_digits > numbers.max_digits:
        yield BrokenRule(
            ("numbers.min_digits", "numbers.max_digits"),
            Problem(
                "",
                f"min_digits, {numbers.min_digits}, must not be more than max_digits, "
                f"{numbers.max_digits}",
                "lower min_digits, or raise max_digits",
            ),
        )
    for section, names in _MENUS:
        yield from _double_keys(section, names, values.get(section))
    yield from _broken_slots(values.get("choices"), values.get("request_expiry"))
    yield from _broken_first(values)
    client_key = values.get("client_key")
    if client_key is not None and client_key.key == "#":
        yield BrokenRule(
            ("client_key.key",),
            Problem(
                "",
                "is #, which ends the input, so it is not seen as a key",
                'choose one of 0 to 9 and "*"',
            ),
        )
    hours = values.get("opening_hours")
    if hours is not None and hours.in_use and hours.zone is None:
        yield BrokenRule(
            tuple(f"opening_hours.{name}" for name in (*DAYS_OF_WEEK, "days")),
            Problem(
                "",
                "needs a time zone, and this machine's own cannot be found out",
                "add time_zone, e.g. time_zone: Europe/Berlin",
            ),
        )
    attempts, retry = values.get("attempts"), values.get("retry")
    if attempts is not None and retry is not None:
        for name, result in retry:
            if result.attempts is not None and result.attempts > attempts:
                yield BrokenRule(
                    (f"retry.{name}.attempts", "attempts"),
                    Problem(
                        "",
                        f"retry.{name}.attempts, {result.attempts}, must not be more "
                        f"than attempts, {attempts}, which counts the calls to a "
                        "client whatever they come to",
                        f"lower it, or write attempts: {result.attempts}",
                    ),
                )


def _broken_first(values: Mapping[str, Any]) -> Iterator[BrokenRule]:
    """Find settings that contradict ``first: client`` and ``first: auto``."""
    first = values.get("first")
    if first not in {First.CLIENT, First.AUTO}:
        return
    agent_keys = values.get("agent_keys")
    if values.get("target_extension"):
        yield BrokenRule(
            ("first", "target_extension"),
            Problem(
                "",
                f"{first.value} cannot be combined with target_extension: the client"
                " waits in a queue, and one phone has none",
                "write target_queue, or first: agent",
            ),
        )
    if agent_keys is not None and agent_keys.enabled:
        yield BrokenRule(
            ("first", "agent_keys.enabled"),
            Problem(
                "",
                f"{first.value} cannot be combined with agent_keys: the client is"
                " already on the line when the agent answers",
                "under this queue write agent_keys: {enabled: false}, or write"
                " first: agent",
            ),
        )


def _double_keys(
    section: str, names: tuple[str, ...], settings: Section | None
) -> Iterator[BrokenRule]:
    """Find a key with two meanings among keys that are asked for together."""
    meanings: dict[str, str] = {}
    for name in names if settings else ():
        for key in getattr(settings, name):
            if key in meanings:
                yield BrokenRule(
                    (f"{section}.{name}", f"{section}.{meanings[key]}"),
                    Problem(
                        "",
                        f"{name} and {meanings[key]} are the same key, {key}",
                        "give each a key of its own",
                    ),
                )
            meanings.setdefault(key, name)


def _broken_slots(
    choices: Choices | None, request_expiry: timedelta | None
) -> Iterator[BrokenRule]:
    """Find a length of slots that can not be."""
    if choices is None or not choices.times:
        return
    length = choices.slot_length
    if _ONE_DAY % length:
        yield BrokenRule(
            ("choices.slot_length",),
            Problem(
                "",
                f"slot_length, {format_duration(length)}, must divide a day evenly",
                "write one of 10m, 15m, 20m, 30m, 1h, 2h",
            ),
        )
    if request_expiry is not None and request_expiry < length:
        yield BrokenRule(
            ("choices.slot_length", "request_expiry"),
            Problem(
                "",
                f"slot_length, {format_duration(length)}, must not be more than"
                f" request_expiry, {format_duration(request_expiry)}, after which a"
                " callback is given up",
                "write a shorter slot_length, or a longer request_expiry",
            ),
        )


def merge_layers(*layers: QueueLayer) -> dict[str, Any]:
    """Merge the layers of a queue: built-in values, defaults, the queue's own section.

    Groups such as ``sounds`` are merged key by key, and dates with their own hours date
    by date. A layer with a target replaces the whole target of the lower layers, so a
    queue's ``target_extension`` does not contradict a ``target_queue`` of the defaults.

    Args:
        layers: the lowest first.

    Returns:
        The values by name; None if no layer has one and there is no built-in value.
    """
    built_in = QueueLayer()
    values = {name: getattr(built_in, name) for name in QueueLayer.model_fields}
    for layer in layers:
        said = layer.model_fields_set
        if said & {"target_queue", "target_extension"}:
            values.update(dict.fromkeys(TARGET))
        for name in said:
            value = getattr(layer, name)
            values[name] = _laid_over(values[name], value)
    return values


def _laid_over(below: Any, above: Any) -> Any:
    if isinstance(above, Days):
        return Days({**below, **above})
    if not isinstance(above, Section):
        return above
    said = {
        name: _laid_over(getattr(below, name), getattr(above, name))
        for name in above.model_fields_set
    }
    return below.model_copy(update=said)


class QueueTable(Mapping[str, QueueSettings]):
    """Queues by name, in the order of the file and with the names as in the file.

    Like in Asterisk, upper and lower case make no difference in a name
    (apps/app_queue.c:queue_cmp_cb uses strcasecmp).
    """

    def __init__(self, queues: Mapping[str, QueueSettings]) -> None:
        if any(name != queue.name for name, queue in queues.items()):
            raise ValueError("a queue stands under another name than its own")
        self._by_folded_name = {folded(name): q for name, q in queues.items()}
        self._by_name = {q.name: q for q in self._by_folded_name.values()}

    def __getitem__(self, name: str) -> QueueSettings:
        return self._by_folded_name[folded(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_folded_name)

    # Those of Mapping look up one queue after another; these are read at each event.

    def values(self) -> ValuesView[QueueSettings]:
        """Return the settings of the queues."""
        return self._by_name.values()

    def items(self) -> ItemsView[str, QueueSettings]:
        """Return the names and the settings of the queues."""
        return self._by_name.items()

    def __hash__(self) -> int:
        return hash(frozenset(self._by_folded_name))

    def __repr__(self) -> str:
        return f"QueueTable({dict(self)!r})"
