# SPDX-License-Identifier: MIT
"""The settings: which there are, their defaults, and the rules between them.

This module owns the tree of settings and the way the layers of a queue's settings
(built in, then ``defaults``, then the queue's own) become one. It must not know
files, lines or YAML; ``load`` knows those.

Everything here is frozen, can be compared with ``==`` (so a reload can tell what
changed) and hashed.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta, tzinfo
from functools import lru_cache
from typing import Annotated, Any, Final, TypeAlias, cast
from zoneinfo import ZoneInfo

import attrs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    model_validator,
)

from fastagi.config import fields
from fastagi.config.durations import parse_duration
from fastagi.config.errors import BadValue
from fastagi.config.zones import machine_zone
from fastagi.domain.attempt import Disposition
from fastagi.domain.hours import (
    ALL_DAY,
    ALWAYS,
    CLOSED,
    DayHours,
    OpeningHours,
    SpecialDay,
)
from fastagi.domain.limits import CallLimits
from fastagi.domain.live_calls import CountingRules
from fastagi.domain.numbers import (
    USUAL_KINDS,
    DialAs,
    NumberKind,
    NumberPlan,
    NumberRules,
)
from fastagi.domain.policy import CarryOver, ExpiryRules
from fastagi.domain.retry import ResultRule, RetryRules

_SHOWN_NUMBER = re.compile(r"(\+?[0-9]+)>?$")


class AmiLogin(enum.StrEnum):
    """How the secret is proved to Asterisk."""

    MD5 = "md5"
    PLAIN = "plain"


class LogLevel(enum.StrEnum):
    """The least weighty line that is still written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """The form of a line in the log."""

    TEXT = "text"
    JSON = "json"


class Days(Mapping[SpecialDay, DayHours]):
    """Hours of single days; like a dict, and never changes."""

    def __init__(self, days: Mapping[SpecialDay, DayHours] | None = None) -> None:
        self._days = dict(sorted((days or {}).items()))

    def __getitem__(self, day: SpecialDay) -> DayHours:
        return self._days[day]

    def __iter__(self) -> Iterator[SpecialDay]:
        return iter(self._days)

    def __len__(self) -> int:
        return len(self._days)

    def __hash__(self) -> int:
        return hash(tuple(self._days.items()))

    def __repr__(self) -> str:
        return f"Days({self._days!r})"


def _number(lowest: int, highest: int) -> PlainValidator:
    return PlainValidator(lambda value: fields.parse_number(value, lowest, highest))


def _span(shortest: str, longest: str) -> PlainValidator:
    low, high = parse_duration(shortest), parse_duration(longest)
    return PlainValidator(lambda value: fields.parse_span(value, low, high))


def _choice(choices: type[enum.Enum]) -> PlainValidator:
    return PlainValidator(lambda value: fields.parse_choice(value, choices))


def _or_empty(parse: Callable[[object], str]) -> PlainValidator:
    return PlainValidator(lambda value: parse(value) if value else "")


Port: TypeAlias = Annotated[int, _number(1, 65535)]
Switch: TypeAlias = Annotated[bool, PlainValidator(fields.parse_switch)]
Host: TypeAlias = Annotated[str, PlainValidator(fields.parse_host)]
Address: TypeAlias = Annotated[str, PlainValidator(fields.parse_address)]
Path: TypeAlias = Annotated[str, PlainValidator(fields.parse_path)]
Directory: TypeAlias = Annotated[str, PlainValidator(fields.parse_directory)]
SocketPath: TypeAlias = Annotated[str, PlainValidator(fields.parse_socket_path)]
Username: TypeAlias = Annotated[str, PlainValidator(fields.parse_username)]
Secret: TypeAlias = Annotated[SecretStr, PlainValidator(fields.parse_secret)]
DatabaseUrl: TypeAlias = Annotated[
    str, PlainValidator(fields.parse_database_url), Field(repr=False)
]
CdrUrl: TypeAlias = Annotated[str, PlainValidator(fields.parse_cdr_url)]
TableName: TypeAlias = Annotated[str, PlainValidator(fields.parse_table)]
Column: TypeAlias = Annotated[str, PlainValidator(fields.parse_column)]
Columns: TypeAlias = Annotated[
    tuple[Column, ...], BeforeValidator(fields.parse_columns)
]
PathOrEmpty: TypeAlias = Annotated[str, PlainValidator(fields.parse_path_or_none)]
Network: TypeAlias = Annotated[fields.Network, PlainValidator(fields.parse_network)]
Networks: TypeAlias = Annotated[
    tuple[Network, ...], BeforeValidator(fields.parse_networks)
]
QueueName: TypeAlias = Annotated[str, PlainValidator(fields.parse_queue_name)]
Device: TypeAlias = Annotated[str, PlainValidator(fields.parse_device)]
StateInterface: TypeAlias = Annotated[str, PlainValidator(fields.parse_state_interface)]
ChannelTemplate: TypeAlias = Annotated[
    str, PlainValidator(fields.parse_channel_template)
]
QueueNameOrEmpty: TypeAlias = Annotated[str, _or_empty(fields.parse_queue_name)]
DeviceOrEmpty: TypeAlias = Annotated[str, _or_empty(fields.parse_device)]
StateInterfaceOrEmpty: TypeAlias = Annotated[
    str, _or_empty(fields.parse_state_interface)
]
ChannelTemplateOrEmpty: TypeAlias = Annotated[
    str, _or_empty(fields.parse_channel_template)
]
CallerId: TypeAlias = Annotated[str, PlainValidator(fields.parse_caller_id)]
DisplayPrefix: TypeAlias = Annotated[str, PlainValidator(fields.parse_display_prefix)]
QueueOptions: TypeAlias = Annotated[str, PlainValidator(fields.parse_queue_options)]
Language: TypeAlias = Annotated[str, PlainValidator(fields.parse_language)]
Sound: TypeAlias = Annotated[str, PlainValidator(fields.parse_sound)]
Region: TypeAlias = Annotated[str, PlainValidator(fields.parse_region)]
ContextName: TypeAlias = Annotated[str, PlainValidator(fields.parse_context)]
ContextNames: TypeAlias = Annotated[
    tuple[ContextName, ...], BeforeValidator(fields.parse_list)
]
NumberPattern: TypeAlias = Annotated[
    re.Pattern[str], PlainValidator(fields.parse_number_pattern)
]
NumberPatterns: TypeAlias = Annotated[
    tuple[NumberPattern, ...], BeforeValidator(fields.parse_list)
]
Regions: TypeAlias = Annotated[tuple[Region, ...], BeforeValidator(fields.parse_list)]
RegionsOrAll: TypeAlias = Annotated[
    tuple[Annotated[str, PlainValidator(fields.parse_region_or_all)], ...],
    BeforeValidator(fields.parse_list),
]
NumberKinds: TypeAlias = Annotated[
    tuple[Annotated[NumberKind, _choice(NumberKind)], ...],
    BeforeValidator(fields.parse_list),
]

Zone: TypeAlias = Annotated[ZoneInfo, PlainValidator(fields.parse_zone)]
HoursOfDay: TypeAlias = Annotated[DayHours, PlainValidator(fields.parse_day_hours)]
HoursOfDays: TypeAlias = Annotated[
    Mapping[
        Annotated[SpecialDay, PlainValidator(fields.parse_special_day)],
        HoursOfDay,
    ],
    BeforeValidator(fields.parse_special_days),
    AfterValidator(Days),
]


class Section(BaseModel):
    """A group of settings. Each is checked by itself; rules between them are below."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True
    )


class AmiTls(Section):
    """How the manager interface is encrypted and who is believed to be Asterisk."""

    enabled: Switch = False
    ca_file: Path | None = None
    server_name: Host | None = None


#: main/manager.c: DEFAULT_MANAGER_PORT and DEFAULT_MANAGER_TLS_PORT.
AMI_PORT = 5038
AMI_TLS_PORT = 5039


class AmiSection(Section):
    """``ami`` as it stands in the file: the secret may be elsewhere.

    Attributes:
        port: None: the usual one, see ``tcp_port``.
    """

    host: Host = "127.0.0.1"
    port: Port | None = None
    tls: AmiTls = AmiTls()
    username: Username = "callback-queue"
    secret: Secret | None = None
    secret_file: Path | None = None
    login: Annotated[AmiLogin, _choice(AmiLogin)] = AmiLogin.MD5
    ping_interval: Annotated[timedelta, _span("1s", "10m")] = timedelta(seconds=15)
    timeout: Annotated[timedelta, _span("1s", "2m")] = timedelta(seconds=10)

    @property
    def tcp_port(self) -> int:
        """The port of the manager interface, given or usual."""
        if self.port is not None:
            return self.port
        return AMI_TLS_PORT if self.tls.enabled else AMI_PORT

    @property
    def ping_interval_s(self) -> float:
        """The setting in seconds."""
        return self.ping_interval.total_seconds()

    @property
    def timeout_s(self) -> float:
        """The setting in seconds."""
        return self.timeout.total_seconds()


class AmiSettings(AmiSection):
    """How to reach Asterisk's manager interface, with the secret at hand."""

    secret: Secret


#: Files besides the connections that are served: those that are just refused, the
#: manager, the database, the control socket, histories and the log.
_OTHER_FILES: Final = 128


class FastAgiSettings(Section):
    """Where the dialplan reaches this service."""

    listen: Address = "127.0.0.1"
    port: Port = 4573
    max_connections: Annotated[int, _number(1, 10_000)] = 1000
    max_connections_per_peer: Annotated[int, _number(1, 10_000)] | None = None
    max_rate_per_peer: Annotated[int, _number(1, 100_000)] = 2000
    allowed_peers: Networks = (
        fields.parse_network("127.0.0.0/8"),
        fields.parse_network("::1/128"),
    )

    @property
    def share_of_one_peer(self) -> int:
        """How many of all connections one peer may have."""
        if self.max_connections_per_peer is not None:
            return self.max_connections_per_peer
        if self.has_one_peer:
            return self.max_connections
        return max(1, self.max_connections * 3 // 4)

    @property
    def has_one_peer(self) -> bool:
        """Whether only one machine may connect: there is nobody to leave room for."""
        machines = {
            "this machine" if network.is_loopback else str(network)
            for network in self.allowed_peers
        }
        return len(machines) <= 1 and all(
            network.is_loopback or network.num_addresses == 1
            for network in self.allowed_peers
        )

    @property
    def backlog(self) -> int:
        """How many connections the kernel is to hold until they are accepted."""
        return max(1024, self.max_connections)

    @property
    def open_files(self) -> int:
        """How many files the process must be allowed to have open at one time."""
        return self.max_connections + _OTHER_FILES


class DatabaseSettings(Section):
    """Where tasks are kept. The address may hold a password and is not shown."""

    url: DatabaseUrl = "sqlite:////var/lib/callback-queue/callback-queue.db"


class ControlSettings(Section):
    """How the running service is reached, and how it is stopped.

    Attributes:
        stop_timeout: how long calls under way are followed after the order to stop.
    """

    socket: SocketPath = "/run/callback-queue/control.sock"
    stop_timeout: Annotated[timedelta, _span("0", "1h")] = timedelta(seconds=5)


class AsteriskSettings(Section):
    """Where Asterisk keeps its files; only ``check`` looks at them."""

    config_dir: Directory = "/etc/asterisk"
    sounds_dir: Directory = "/usr/share/asterisk/sounds"


class LogSettings(Section):
    """What is written to the log."""

    level: Annotated[LogLevel, _choice(LogLevel)] = LogLevel.INFO
    format: Annotated[LogFormat, _choice(LogFormat)] = LogFormat.TEXT
    mask_numbers: Switch = False


class NumberPlanSettings(Section):
    """What numbers mean where this Asterisk is."""

    region: Region | None = None
    own_numbers: NumberPatterns = ()


class LimitSettings(Section):
    """How many calls are placed at most, whatever is asked for; 0: no limit.

    Attributes:
        calls_per_number: to one number within 24 hours.
        calls_per_minute: in all.
    """

    calls_per_number: Annotated[int, _number(0, 1000)] = 10
    calls_per_minute: Annotated[int, _number(0, 10_000)] = 120


class MissedSettings(Section):
    """Which calls count as missed besides those that were in a queue."""

    contexts: ContextNames = ()
    numbers: NumberPatterns = ()
    queue: QueueName | None = None
    min_duration: Annotated[timedelta, _span("0", "1h")] = timedelta(0)


class HistorySection(Section):
    """``history`` as it stands in the file: the password may be elsewhere."""

    enabled: Switch = True
    queue_log: PathOrEmpty = "/var/log/asterisk/queue_log"
    cdr_csv: Path | None = None
    cdr_columns: Columns = ()
    cdr_url: CdrUrl | None = Field(default=None, repr=False)
    cdr_table: TableName = "cdr"
    cdr_password_file: Path | None = None


class HistorySettings(HistorySection):
    """Where Asterisk writes down what happened while this service did not listen.

    Attributes:
        cdr_password: for ``cdr_url``, if it is given elsewhere.
    """

    cdr_password: Secret | None = None


class ReportSettings(Section):
    """What Asterisk is told for the sake of reports."""

    queue_log: Switch = True


class Sounds(Section):
    """The sound files of a queue, as Playback() takes them."""

    accepted: Sound = "callback-queue/accepted"
    already_registered: Sound = "callback-queue/already-registered"
    cannot_call: Sound = "callback-queue/cannot-call"
    hold_on: Sound = "callback-queue/hold-on"
    member_alert: Sound = "callback-queue/member-alert"


class Numbers(Section):
    """Which numbers may be called back."""

    min_digits: Annotated[int, _number(1, 20)] = 5
    max_digits: Annotated[int, _number(1, 20)] = 15
    allow: NumberPatterns = ()
    deny: NumberPatterns = ()
    kinds: NumberKinds = tuple(kind for kind in NumberKind if kind in USUAL_KINDS)
    allow_regions: RegionsOrAll = ()
    deny_regions: Regions = ()
    dial_as: Annotated[DialAs, _choice(DialAs)] = DialAs.AS_RECEIVED


class Hours(Section):
    """When the queue's clients are called.

    Attributes:
        time_zone: None is the machine's own.
        monday: and the other days of the week: None is open all day if no day says
            anything, else closed.
        days: instead of those of the week; merged day by day.
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
    carry_over: Annotated[CarryOver, _choice(CarryOver)] = CarryOver.NONE

    @property
    def week(self) -> tuple[DayHours | None, ...]:
        """What each day of the week says, from Monday on."""
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
        """Whether there is anything but "always open"."""
        return self.enabled and (self.has_week or bool(self.days))

    @property
    def has_week(self) -> bool:
        """Whether any day of the week says something."""
        return any(day is not None for day in self.week)

    @property
    def zone(self) -> tzinfo | None:
        """The time zone; None if it is the machine's, and that is not known."""
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


Attempts: TypeAlias = Annotated[int, _number(1, 100)]
RetryDelay: TypeAlias = Annotated[timedelta, _span("0", "1d")]


class Result(Section):
    """What is different after attempts that ended in one way; None: nothing."""

    attempts: Attempts | None = None
    delay: RetryDelay | None = None


class InvalidNumber(Section):
    """The same for a number that does not exist: it will not exist in a minute."""

    attempts: Attempts = 1
    delay: RetryDelay | None = None


class Retry(Section):
    """How a client is tried again, by how the attempt before ended."""

    busy: Result = Result()
    no_answer: Result = Result()
    congestion: Result = Result()
    unreachable: Result = Result()
    invalid_number: InvalidNumber = InvalidNumber()
    forwarded: Result = Result()
    short: Result = Result()
    agent_hung_up: Result = Result()


#: Which attempts the groups of ``Retry`` are about.
RESULTS: Mapping[str, Disposition] = {
    "busy": Disposition.BUSY,
    "no_answer": Disposition.NO_ANSWER,
    "congestion": Disposition.CONGESTION,
    "unreachable": Disposition.UNAVAILABLE,
    "invalid_number": Disposition.INVALID_NUMBER,
    "forwarded": Disposition.FORWARDED,
    "short": Disposition.SHORT,
    "agent_hung_up": Disposition.CANCEL,
}


class QueueLayer(Section):
    """One layer of a queue's settings: ``defaults``, or what a queue says itself.

    ``model_fields_set`` tells what the layer says; the rest is what is built in.
    """

    target_queue: QueueName | None = None
    target_extension: Device | None = None
    state_interface: StateInterface | None = None
    outbound_channel: ChannelTemplate | None = None
    outbound_caller_id: CallerId = ""
    attempts: Attempts = 5
    retry_delay: RetryDelay = timedelta(seconds=30)
    retry: Retry = Retry()
    success_duration: Annotated[timedelta, _span("0", "1h")] = timedelta(seconds=5)
    request_expiry: Annotated[timedelta, _span("1s", "30d")] = timedelta(hours=4)
    missed_calls: Switch = True
    missed_window: Annotated[timedelta, _span("1s", "30d")] = timedelta(minutes=5)
    opening_hours: Hours = Hours()
    member_ring_time: Annotated[timedelta, _span("5s", "10m")] = timedelta(seconds=60)
    member_retry_delay: Annotated[timedelta, _span("1s", "1h")] = timedelta(seconds=30)
    member_attempts: Annotated[int, _number(1, 10_000)] = 30
    caller_ring_time: Annotated[timedelta, _span("5s", "10m")] = timedelta(seconds=45)
    calls_per_hour: Annotated[int, _number(0, 100_000)] = 0
    queue_options: QueueOptions = ""
    wrapuptime: Annotated[timedelta, _span("0", "1h")] = timedelta(0)
    display_prefix: DisplayPrefix = ""
    member_language: Language = ""
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
    def retry_rules(self) -> RetryRules:
        """How often and how soon, as the domain takes it."""
        return RetryRules(
            attempts=self.attempts,
            retry_delay=self.retry_delay,
            success_duration_s=self.success_duration_s,
            member_attempts=self.member_attempts,
            member_retry_delay=self.member_retry_delay,
            by_result={
                RESULTS[name]: ResultRule(attempts=result.attempts, delay=result.delay)
                for name, result in self.retry
            },
        )


@attrs.frozen
class BrokenRule:
    """Settings of one queue that are right by themselves and wrong together.

    Attributes:
        settings: whose rule it is; the one to change comes first.
        problem: what is wrong and what to do about it.
    """

    settings: tuple[str, ...]
    problem: BadValue


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
            raise broken.problem
        return self

    @property
    def outbound_number(self) -> str:
        """The number that the client sees, without the name; may be empty."""
        match = _SHOWN_NUMBER.search(self.outbound_caller_id)
        return match[1] if match else ""

    @property
    def hours(self) -> OpeningHours:
        """When clients are called, as the domain takes it."""
        return _opening_hours(self.opening_hours)

    @property
    def expiry_rules(self) -> ExpiryRules:
        """How long tasks may wait, as the domain takes it."""
        return ExpiryRules(
            request_expiry=self.request_expiry,
            missed_window=self.missed_window,
            hours=self.hours,
            carry_over=self.opening_hours.carry_over,
        )


def broken_rules(values: Mapping[str, Any]) -> Iterator[BrokenRule]:
    """Find what is wrong between the settings of one queue.

    Args:
        values: merged settings by name. What is missing, empty or None is not looked
            at, so that the rest can be judged while something else is still wrong.
    """
    queue = values.get("target_queue")
    extension = values.get("target_extension")
    state = values.get("state_interface")
    if queue and extension:
        yield BrokenRule(
            ("target_extension", "target_queue"),
            BadValue(
                "cannot stand beside target_queue: only one takes the callback",
                "delete one of the two",
            ),
        )
    elif extension and fields.is_local(state or extension):
        yield BrokenRule(
            ("target_extension",),
            BadValue(
                "is a Local/ channel, and Asterisk cannot tell whether one is free",
                "add state_interface with the phone behind it, e.g. PJSIP/101",
            ),
        )
    elif state and not extension:
        yield BrokenRule(
            ("state_interface",),
            BadValue(
                "has no use without target_extension",
                "delete it or add target_extension",
            ),
        )
    numbers = values.get("numbers")
    if numbers is not None and numbers.min_digits > numbers.max_digits:
        yield BrokenRule(
            ("numbers.min_digits", "numbers.max_digits"),
            BadValue(
                f"min_digits, {numbers.min_digits}, must not be more than max_digits, "
                f"{numbers.max_digits}"
            ),
        )
    hours = values.get("opening_hours")
    if hours is not None and hours.in_use and hours.zone is None:
        yield BrokenRule(
            tuple(f"opening_hours.{name}" for name in (*DAYS_OF_WEEK, "days")),
            BadValue(
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
                    BadValue(
                        f"retry.{name}.attempts, {result.attempts}, must not be more "
                        f"than attempts, {attempts}, which counts the calls to a "
                        "client whatever they come to"
                    ),
                )


DAYS_OF_WEEK = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
TARGET = ("target_queue", "target_extension", "state_interface")


def merge_layers(*layers: QueueLayer) -> dict[str, Any]:
    """Lay a queue's own settings over the defaults, over what is built in.

    Groups such as ``sounds`` are merged key by key, days with hours of their own day by
    day. A layer that names a target
    replaces the whole target of the layers below, so that a queue with a
    ``target_extension`` is not at odds with a ``target_queue`` in the defaults.

    Args:
        layers: the lowest first.

    Returns:
        the values by name; None where no layer says one and none is built in.
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

    A name is looked up as Asterisk does it, without regard to case
    (apps/app_queue.c:queue_cmp_cb uses strcasecmp).
    """

    def __init__(self, queues: Mapping[str, QueueSettings]) -> None:
        if any(name != queue.name for name, queue in queues.items()):
            raise ValueError("a queue stands under another name than its own")
        self._by_folded_name = {name.lower(): q for name, q in queues.items()}

    def __getitem__(self, name: str) -> QueueSettings:
        return self._by_folded_name[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return (queue.name for queue in self._by_folded_name.values())

    def __len__(self) -> int:
        return len(self._by_folded_name)

    def name_of(self, name: str) -> str | None:
        """Return a queue's name as in the file, None if it is not there."""
        queue = self.get(name)
        return None if queue is None else queue.name

    def __hash__(self) -> int:
        return hash(frozenset(self._by_folded_name))

    def __repr__(self) -> str:
        return f"QueueTable({dict(self)!r})"


#: What a section of the file is read as, where the service gets more than it says.
_READ_AS = "read_as"
#: Marks a section that is used at the start alone.
_FIXED = {"fixed": True}


@attrs.frozen(kw_only=True)
class Settings:
    """All settings of the service.

    A section of the file is one attribute here, and this is the only list of them:
    what is read, shown and compared at a reload goes by it. Only ``queues`` is no
    section.

    Attributes:
        queues: the queues that have callbacks. ``queues.get(name)`` tells whether a
            queue does.
        defaults: what a queue has that says nothing itself.
    """

    ami: AmiSettings = attrs.field(metadata={_READ_AS: AmiSection, **_FIXED})
    fastagi: FastAgiSettings = attrs.field(factory=FastAgiSettings, metadata=_FIXED)
    database: DatabaseSettings = attrs.field(factory=DatabaseSettings, metadata=_FIXED)
    control: ControlSettings = attrs.field(factory=ControlSettings, metadata=_FIXED)
    asterisk: AsteriskSettings = attrs.field(factory=AsteriskSettings)
    log: LogSettings = attrs.field(factory=LogSettings)
    number_plan: NumberPlanSettings = attrs.field(factory=NumberPlanSettings)
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    missed: MissedSettings = attrs.field(factory=MissedSettings)
    history: HistorySettings = attrs.field(
        factory=HistorySettings, metadata={_READ_AS: HistorySection}
    )
    reports: ReportSettings = attrs.field(factory=ReportSettings)
    defaults: QueueLayer = attrs.field(factory=QueueLayer)
    queues: QueueTable = attrs.field(converter=QueueTable)

    def queue(self, name: str) -> QueueSettings:
        """Give the settings of a queue, whether or not it has callbacks.

        A queue may leave the settings while a call for it is under way; then the
        defaults hold for it. ``queues`` tells which may have new callbacks.
        """
        return self.queues.get(name) or QueueSettings(
            name=name, **merge_layers(self.defaults)
        )

    @property
    def plan(self) -> NumberPlan:
        """What numbers mean, as the domain takes it."""
        return NumberPlan(self.number_plan.region or "")

    def number_rules(self, queue: QueueSettings) -> NumberRules:
        """Which numbers a queue may call and how, as the domain takes it."""
        numbers = queue.numbers
        return NumberRules(
            min_digits=numbers.min_digits,
            max_digits=numbers.max_digits,
            allow=numbers.allow,
            deny=numbers.deny,
            kinds=frozenset(numbers.kinds),
            allow_regions=frozenset(numbers.allow_regions),
            deny_regions=frozenset(numbers.deny_regions),
            own=self.number_plan.own_numbers,
            own_keys=self._shown_keys(),
            dial_as=numbers.dial_as,
            plan=self.plan,
        )

    def _shown_keys(self) -> frozenset[str]:
        """Keys of the numbers that clients see when they are called."""
        numbers = (queue.outbound_number for queue in self.queues.values())
        return frozenset(self.plan.key(number) for number in numbers if number)

    @property
    def call_limits(self) -> CallLimits:
        """How many calls are placed at most, as the domain takes it."""
        return CallLimits(
            per_number=self.limits.calls_per_number,
            per_minute=self.limits.calls_per_minute,
            per_hour={
                name: queue.calls_per_hour
                for name, queue in self.queues.items()
                if queue.calls_per_hour
            },
        )

    @property
    def counting_rules(self) -> CountingRules:
        """Which calls may be missed ones, as the domain takes it."""
        return CountingRules(
            queues=frozenset(
                name.lower()
                for name, queue in self.queues.items()
                if queue.missed_calls
            ),
            contexts=frozenset(self.missed.contexts),
            numbers=self.missed.numbers,
            min_duration_s=self.missed.min_duration.total_seconds(),
        )

    @property
    def queue_for_others(self) -> str:
        """Name of the queue that calls back who was in none."""
        return self.missed.queue or next(iter(self.queues), "")


#: Every section of the file and what it is read as, in the order of the sample.
SECTIONS: Mapping[str, type[Section]] = {
    field.name: cast(type[Section], field.metadata.get(_READ_AS, field.type))
    for field in attrs.fields(attrs.resolve_types(Settings))
    if field.name != "queues"
}
#: Sections of which a change takes effect at the next start.
FIXED_SECTIONS = tuple(
    field.name for field in attrs.fields(Settings) if field.metadata.get("fixed")
)
