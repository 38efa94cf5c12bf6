# SPDX-License-Identifier: MIT
"""The sections of the settings file, and the tree of all settings.

A new section is a class here and an attribute of ``Settings``; a new setting is a line
in its class, or, if each queue has it, in ``queue_layers``. Independent of files, lines
and YAML (see ``load``).

All classes are frozen, hashable and comparable with ``==``, so that a reload can find
out what changed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Final, cast

import attrs
from pydantic import Field

from fastagi.config import fields
from fastagi.config.queue_layers import (
    QueueLayer,
    QueueSettings,
    QueueTable,
    merge_layers,
    number_in,
)
from fastagi.config.source import Place
from fastagi.config.values import (
    Address,
    CallerId,
    ChannelTemplate,
    Columns,
    ContextNames,
    DatabaseUrl,
    Directories,
    Directory,
    HistoryUrl,
    Host,
    InstanceName,
    Networks,
    NodeNames,
    NumberPatterns,
    Path,
    PathOrEmpty,
    Port,
    QueueName,
    Region,
    Secret,
    Section,
    SocketPath,
    Switch,
    TableName,
    Technologies,
    Username,
    choice,
    number,
    span,
    span_or_forever,
)
from fastagi.domain.attempt import DEFAULT_NODE
from fastagi.domain.counting import CountingRules
from fastagi.domain.hours import OpeningHours
from fastagi.domain.limits import CallLimits
from fastagi.domain.names import folded
from fastagi.domain.numbers import NumberPlan, NumberRules, number_of_pattern
from fastagi.domain.people import PERSON_TECHNOLOGIES
from fastagi.domain.policy import ExpiryRules
from fastagi.domain.slots import SlotRules


class AmiLogin(enum.StrEnum):
    """How the service authenticates to Asterisk."""

    MD5 = "md5"
    PLAIN = "plain"


class LogLevel(enum.StrEnum):
    """The lowest level of lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """The form of a line in the log."""

    TEXT = "text"
    JSON = "json"


class AmiTls(Section):
    """How the link to the manager is encrypted, and how Asterisk is verified."""

    enabled: Switch = False
    ca_file: Path | None = None
    server_name: Host | None = None


#: main/manager.c: DEFAULT_MANAGER_PORT and DEFAULT_MANAGER_TLS_PORT.
AMI_PORT = 5038
AMI_TLS_PORT = 5039


class AmiSection(Section):
    """``ami`` in the file; the secret may be elsewhere.

    Attributes:
        port: None: the default port, see ``tcp_port``.
    """

    host: Host = "127.0.0.1"
    port: Port | None = None
    tls: AmiTls = AmiTls()
    username: Username = "callback-queue"
    secret: Secret | None = None
    secret_file: Path | None = None
    login: Annotated[AmiLogin, choice(AmiLogin)] = AmiLogin.MD5
    ping_interval: Annotated[timedelta, span("1s", "10m")] = timedelta(seconds=15)
    timeout: Annotated[timedelta, span("1s", "2m")] = timedelta(seconds=10)

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


#: Number of open files besides FastAGI connections: refused connections, the manager,
#: the database, the control socket, histories and the log.
_OTHER_FILES: Final = 128


class FastAgiSettings(Section):
    """The address of this service for the dialplan."""

    listen: Address = "127.0.0.1"
    port: Port = 4573
    max_connections: Annotated[int, number(1, 10_000)] = 1000
    max_connections_per_peer: Annotated[int, number(1, 10_000)] | None = None
    max_rate_per_peer: Annotated[int, number(1, 100_000)] = 2000
    allowed_peers: Networks = (
        fields.parse_network("127.0.0.0/8"),
        fields.parse_network("::1/128"),
    )

    @property
    def share_of_one_peer(self) -> int:
        """Maximum number of connections of one peer."""
        if self.max_connections_per_peer is not None:
            return self.max_connections_per_peer
        if self.has_one_peer:
            return self.max_connections
        return max(1, self.max_connections * 3 // 4)

    @property
    def has_one_peer(self) -> bool:
        """Whether only one machine may connect, so no connections are reserved."""
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
        """Maximum number of connections that wait in the kernel to be accepted."""
        return max(1024, self.max_connections)

    @property
    def open_files(self) -> int:
        """Number of files that the process must be able to have open at a time."""
        return self.max_connections + _OTHER_FILES


class DatabaseSettings(Section):
    """The database of tasks. Its URL may contain a password and is never shown."""

    url: DatabaseUrl = "sqlite:////var/lib/callback-queue/callback-queue.db"


class InstanceSettings(Section):
    """This process, if it is one of several services on one database.

    Attributes:
        name: its name; None: it is the only service.
        nodes: the Asterisks that it takes first; empty: all.
    """

    name: InstanceName | None = None
    nodes: NodeNames = ()


class ControlSettings(Section):
    """How the running service is reached, and how it is stopped.

    Attributes:
        stop_timeout: how long calls in progress are followed when the service stops.
    """

    socket: SocketPath = "/run/callback-queue/control.sock"
    stop_timeout: Annotated[timedelta, span("0", "1h")] = timedelta(seconds=5)


class AsteriskSettings(Section):
    """The directories of Asterisk, for ``check`` only."""

    config_dir: Directory = "/etc/asterisk"
    sounds_dir: Directory = "/usr/share/asterisk/sounds"


class LogSettings(Section):
    """What is written to the log."""

    level: Annotated[LogLevel, choice(LogLevel)] = LogLevel.INFO
    format: Annotated[LogFormat, choice(LogFormat)] = LogFormat.TEXT
    mask_numbers: Switch = False


class NumberPlanSettings(Section):
    """The number plan at the place of this Asterisk."""

    region: Region | None = None
    own_numbers: NumberPatterns = ()


class LimitSettings(Section):
    """Maximum numbers of calls; 0: no limit.

    Attributes:
        calls_per_number: to one number within 24 hours.
        calls_per_minute: to all numbers together.
    """

    calls_per_number: Annotated[int, number(0, 1000)] = 10
    calls_per_minute: Annotated[int, number(0, 10_000)] = 120


class MissedSettings(Section):
    """Which calls count as missed besides those that were in a queue."""

    contexts: ContextNames = ()
    numbers: NumberPatterns = ()
    queue: QueueName | None = None
    min_duration: Annotated[timedelta, span("0", "1h")] = timedelta(0)
    person_technologies: Technologies | None = None

    @property
    def technologies(self) -> tuple[str, ...]:
        """Technologies of the channels that a person may hold."""
        return self.person_technologies or PERSON_TECHNOLOGIES


class HistorySection(Section):
    """``history`` in the file; the passwords may be elsewhere."""

    enabled: Switch = True
    queue_log: PathOrEmpty = "/var/log/asterisk/queue_log"
    queue_log_url: HistoryUrl | None = Field(default=None, repr=False)
    queue_log_table: TableName = "queue_log"
    queue_log_password_file: Path | None = None
    rotated_into: Directories = ()
    cdr_csv: Path | None = None
    cdr_columns: Columns = ()
    cdr_url: HistoryUrl | None = Field(default=None, repr=False)
    cdr_table: TableName = "cdr"
    cdr_password_file: Path | None = None


class HistorySettings(HistorySection):
    """Asterisk's own records, for calls while this service did not run.

    Attributes:
        queue_log_password: for ``queue_log_url``, if it is given elsewhere.
        cdr_password: for ``cdr_url``, if it is given elsewhere.
    """

    queue_log_password: Secret | None = None
    cdr_password: Secret | None = None

    @property
    def queue_log_file(self) -> str:
        """The file of queue_log; empty if none is to be read.

        Where Asterisk writes it into a table, the file of the default is not expected.
        """
        default = type(self).model_fields["queue_log"].default
        if self.queue_log_url is not None and self.queue_log == default:
            return ""
        return self.queue_log


class NodeSection(Section):
    """One of ``nodes`` in the file: an Asterisk; its secrets may be elsewhere.

    Attributes:
        outbound_channel: how to reach the outside there; None: that of each queue.
        outbound_caller_id: what clients see who are called from there; None: that of
            each queue.
        gone_after: how long after the loss of its link its calls count.
    """

    ami: AmiSection = AmiSection()
    outbound_channel: ChannelTemplate | None = None
    outbound_caller_id: CallerId | None = None
    gone_after: Annotated[timedelta, span("30s", "1d")] = timedelta(minutes=5)
    history: HistorySection = HistorySection()
    asterisk: AsteriskSettings = AsteriskSettings()


class NodeSettings(NodeSection):
    """One Asterisk, with its secrets at hand.

    Attributes:
        name: as in the file.
    """

    name: str
    ami: AmiSettings
    history: HistorySettings = HistorySettings()

    @property
    def of_queues(self) -> Mapping[str, str]:
        """The settings of a queue for which this node has values of its own."""
        own = {
            "outbound_channel": self.outbound_channel,
            "outbound_caller_id": self.outbound_caller_id,
        }
        return {name: value for name, value in own.items() if value is not None}


class ReportSettings(Section):
    """What the service writes into queue_log, for reports."""

    queue_log: Switch = True


class IncludeSettings(Section):
    """Further files with settings.

    Attributes:
        queues: a directory; each ``*.yaml`` file in it has queues, and nothing else.
    """

    queues: Path | None = None


@attrs.frozen
class LoadedFile:
    """The file that settings were loaded from.

    Attributes:
        path: its path.
        data: its contents, with the secrets in it.
        lines: the line of each setting in its file.
        files: the path of the included file of each queue that is in one.
    """

    path: str = ""
    data: bytes = attrs.field(default=b"", repr=False)
    lines: Mapping[Place, int] = attrs.field(factory=dict, repr=False)
    files: Mapping[str, str] = attrs.field(factory=dict, repr=False)


class RetentionSettings(Section):
    """How long data of ended tasks are kept.

    Attributes:
        keep_numbers: how long numbers and names are kept; None: for ever.
        keep_tasks: how long whole tasks are kept; None: for ever.
    """

    keep_numbers: Annotated[timedelta | None, span_or_forever("2d", "36500d")] = (
        timedelta(days=365)
    )
    keep_tasks: Annotated[timedelta | None, span_or_forever("2d", "36500d")] = None


#: Metadata key: the class that parses a section of the file, if it is another one.
_READ_AS = "read_as"
#: Metadata key of a section that is only read at the start.
_FIXED = {"fixed": True}


@attrs.frozen(kw_only=True)
class QueueRules:
    """The rules of a queue for requests, as values of the domain."""

    #: Which numbers may be called, and how.
    numbers: NumberRules
    expiry: ExpiryRules
    #: Which times callers may choose.
    slots: SlotRules
    hours: OpeningHours


@attrs.frozen(kw_only=True)
class Settings:
    """All settings of the service.

    Each section of the file is one attribute here, and this is the only list of them:
    loading, and the comparison at a reload, use it. Only ``nodes``, ``queues``,
    ``elsewhere`` and ``loaded`` are no sections.

    Attributes:
        ami: the only Asterisk, or the first of ``nodes``. The same is true of
            ``history`` and ``asterisk``.
        nodes: the Asterisks, in the order of the file, if they are under ``nodes``.
        queues: the queues that have callbacks. ``queues.get(name)`` tells whether a
            queue does.
        defaults: the settings of a queue that has none of its own.
        elsewhere: queues whose clients are called from other nodes than this one, in
            the settings of one node.
        loaded: the file they are from. It makes no difference between settings.
    """

    ami: AmiSettings = attrs.field(metadata={_READ_AS: AmiSection, **_FIXED})
    nodes: tuple[NodeSettings, ...] = attrs.field(default=(), metadata=_FIXED)
    fastagi: FastAgiSettings = attrs.field(factory=FastAgiSettings, metadata=_FIXED)
    database: DatabaseSettings = attrs.field(factory=DatabaseSettings, metadata=_FIXED)
    instance: InstanceSettings = attrs.field(factory=InstanceSettings, metadata=_FIXED)
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
    retention: RetentionSettings = attrs.field(factory=RetentionSettings)
    include: IncludeSettings = attrs.field(factory=IncludeSettings)
    defaults: QueueLayer = attrs.field(factory=QueueLayer)
    queues: QueueTable = attrs.field(converter=QueueTable)
    elsewhere: QueueTable = attrs.field(
        factory=lambda: QueueTable({}), converter=QueueTable
    )
    loaded: LoadedFile = attrs.field(factory=LoadedFile, eq=False, repr=False)

    def queue(self, name: str) -> QueueSettings:
        """Return the settings of a queue, whether or not it has callbacks.

        If a queue was removed from the settings during a call for it, the defaults
        apply. ``queues`` tells which queues may have new callbacks.
        """
        return (
            self.queues.get(name)
            or self.elsewhere.get(name)
            or QueueSettings(name=name, **merge_layers(self.defaults))
        )

    @property
    def all_nodes(self) -> tuple[NodeSettings, ...]:
        """Every Asterisk; the one under ``ami`` is the node ``default``."""
        if self.nodes:
            return self.nodes
        return (
            NodeSettings(
                name=DEFAULT_NODE,
                ami=self.ami,
                history=self.history,
                asterisk=self.asterisk,
            ),
        )

    @property
    def preferred_nodes(self) -> frozenset[str]:
        """The names of the Asterisks that this instance takes first."""
        wanted = {folded(name) for name in self.instance.nodes}
        names = (node.name for node in self.all_nodes)
        return frozenset(n for n in names if not wanted or folded(n) in wanted)

    def at_node(self, node: NodeSettings) -> Settings:
        """Return these settings with the link and the histories of one Asterisk."""
        if not self.nodes:
            return self
        return attrs.evolve(
            self, ami=node.ami, history=node.history, asterisk=node.asterisk
        )

    def of_node(self, node: NodeSettings) -> Settings:
        """Return the settings by which one Asterisk calls clients.

        ``queues`` are those whose clients are called from there, with its outbound
        channel and caller ID.
        """
        if not self.nodes:
            return self
        here = {
            name: queue.model_copy(update=node.of_queues)
            for name, queue in self.queues.items()
            if queue.is_called_from(node.name)
        }
        others = {name: q for name, q in self.queues.items() if name not in here}
        return attrs.evolve(self.at_node(node), queues=here, elsewhere=others)

    @cached_property
    def plan(self) -> NumberPlan:
        """The number plan as a value of the domain."""
        return NumberPlan(self.number_plan.region or "")

    def number_rules(self, queue: QueueSettings) -> NumberRules:
        """The numbers that a queue may call, and how, as a value of the domain."""
        return self.rules_of(queue).numbers

    def rules_of(self, queue: QueueSettings) -> QueueRules:
        """The rules of a queue for requests, as values of the domain."""
        known = self._rules_of_queues.get(queue.name)
        if known is not None and self.queues[queue.name] is queue:
            return known
        return self._rules(queue)

    @cached_property
    def _rules_of_queues(self) -> Mapping[str, QueueRules]:
        """The rules of queues that have callbacks; each request needs them."""
        return {name: self._rules(queue) for name, queue in self.queues.items()}

    def _rules(self, queue: QueueSettings) -> QueueRules:
        return QueueRules(
            numbers=self._number_rules(queue),
            expiry=queue.expiry_rules,
            slots=queue.slot_rules,
            hours=queue.hours,
        )

    def _number_rules(self, queue: QueueSettings) -> NumberRules:
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
            own_keys=self._own_keys,
            dial_as=numbers.dial_as,
            plan=self.plan,
        )

    @cached_property
    def _own_keys(self) -> frozenset[str]:
        """Keys of own numbers: of those named as such, and of those that clients see.

        The library may know no form of a number, such as one of a new range, in which a
        pattern could match it.
        """
        named = map(number_of_pattern, self.number_plan.own_numbers)
        numbers = [
            *filter(self.plan.has_area_code, named),
            *(queue.outbound_number for queue in self.queues.values()),
            *(number_in(node.outbound_caller_id or "") for node in self.nodes),
        ]
        return frozenset(self.plan.key(number) for number in numbers if number)

    @property
    def call_limits(self) -> CallLimits:
        """The limits of calls as a value of the domain."""
        return CallLimits(
            per_number=self.limits.calls_per_number,
            per_minute=self.limits.calls_per_minute,
            per_hour={
                name: queue.calls_per_hour
                for name, queue in self.queues.items()
                if queue.calls_per_hour
            },
        )

    @cached_property
    def counting_rules(self) -> CountingRules:
        """Which calls may count as missed, as a value of the domain."""
        return CountingRules(
            queues=frozenset(
                folded(name)
                for name, queue in self.queues.items()
                if queue.missed_calls
            ),
            contexts=frozenset(self.missed.contexts),
            numbers=self.missed.numbers,
            min_duration_s=self.missed.min_duration.total_seconds(),
        )

    @cached_property
    def min_digits(self) -> int:
        """The fewest digits of a number that any queue may call."""
        return min((q.numbers.min_digits for q in self.queues.values()), default=1)

    @cached_property
    def has_offers(self) -> bool:
        """Whether any queue offers callbacks."""
        return any(queue.offers.enabled for queue in self.queues.values())

    @property
    def queue_for_others(self) -> str:
        """Name of the queue that calls back callers who were in no queue."""
        return self.missed.queue or next(iter(self.queues), "")


#: Every section of the file with its class, in the order of the sample.
SECTIONS: Mapping[str, type[Section]] = {
    field.name: cast(type[Section], field.metadata.get(_READ_AS, field.type))
    for field in attrs.fields(attrs.resolve_types(Settings))
    if field.name not in {"nodes", "queues", "elsewhere", "loaded"}
}
#: Sections whose changes take effect at the next start.
FIXED_SECTIONS = tuple(
    field.name for field in attrs.fields(Settings) if field.metadata.get("fixed")
)
