# SPDX-License-Identifier: MIT
"""The sections of ``web.yaml`` for metrics, webhooks, alarms and mail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

from attrs import frozen
from pydantic import BeforeValidator, PlainValidator, ValidationError

from fastagi.config import fields
from fastagi.config.errors import BadValue, shown
from fastagi.config.values import (
    Host,
    Networks,
    Path,
    Port,
    Secret,
    Section,
    Switch,
    choice,
    number,
    span,
)
from fastagi.domain.names import folded


class MetricsSettings(Section):
    """``/metrics`` for Prometheus.

    Attributes:
        open_to: addresses that need no token.
    """

    open_to: Networks | None = None


class WebhookSettings(Section):
    """How webhooks are sent; the endpoints themselves are in the database.

    Attributes:
        allowed_addresses: private addresses that webhooks may be sent to. Only these
            may be reached without TLS.
        ca_file: certificates of signers that are trusted besides the usual ones.
        timeout: time limit for one delivery.
        old_secret_valid: how long both secrets are valid after a rotation.
    """

    allowed_addresses: Networks | None = None
    ca_file: Path | None = None
    timeout: Annotated[timedelta, span("1s", "1m")] = timedelta(seconds=15)
    old_secret_valid: Annotated[timedelta, span("0", "30d")] = timedelta(days=1)


class MailSecurity(StrEnum):
    """How the connection to the mail server is encrypted."""

    STARTTLS = "starttls"
    TLS = "tls"
    #: Only for a server on this machine or in a trusted network.
    NONE = "none"


class Level(StrEnum):
    """How bad an alarm is."""

    YELLOW = "yellow"
    RED = "red"

    @property
    def rank(self) -> int:
        """A higher one is worse."""
        return 1 if self is Level.YELLOW else 2


def parse_mail_address(value: object) -> str:
    """Parse one e-mail address, without a name."""
    text = fields.parse_text(value)
    local, at, domain = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' <>,;:"\\()')
    if not (at and local and domain and plain) or len(text) > 254:
        raise BadValue(
            f"must be an address such as ops@example.org (got {shown(text)})"
        )
    return text


MailAddress: TypeAlias = Annotated[str, PlainValidator(parse_mail_address)]
MailAddresses: TypeAlias = Annotated[
    tuple[MailAddress, ...], BeforeValidator(fields.parse_list)
]


class MailSettings(Section):
    """Alarms by e-mail; nothing is sent without ``host`` and ``to``.

    Attributes:
        sender: the address of the sender.
        level: the lowest level of an alarm that is mailed.
        gather: how long further alarms are waited for before a mail is sent.
        at_most_every: the pause between two mails.
    """

    host: Host | None = None
    port: Port = 587
    security: Annotated[MailSecurity, choice(MailSecurity)] = MailSecurity.STARTTLS
    ca_file: Path | None = None
    username: Annotated[str, PlainValidator(fields.parse_text)] | None = None
    password: Secret | None = None
    password_file: Path | None = None
    sender: MailAddress | None = None
    to: MailAddresses | None = None
    level: Annotated[Level, choice(Level)] = Level.RED
    gather: Annotated[timedelta, span("0", "1h")] = timedelta(minutes=1)
    at_most_every: Annotated[timedelta, span("0", "1d")] = timedelta(minutes=15)
    timeout: Annotated[timedelta, span("1s", "2m")] = timedelta(seconds=20)

    @property
    def is_wanted(self) -> bool:
        """Whether mails are sent at all."""
        return self.host is not None and bool(self.to)


class TimeThresholds(Section):
    """From which length of time on an alarm is yellow, and red; 0: never."""

    yellow: Annotated[timedelta, span("0", "30d")] | None = None
    red: Annotated[timedelta, span("0", "30d")] | None = None


class CountThresholds(Section):
    """From which number on an alarm is yellow, and red; 0: never."""

    yellow: Annotated[int, number(0, 1_000_000)] | None = None
    red: Annotated[int, number(0, 1_000_000)] | None = None


class QueueAlarmSection(Section):
    """The thresholds of one queue; what is not given is as for all queues."""

    oldest_task: TimeThresholds = TimeThresholds()
    expected_wait: TimeThresholds = TimeThresholds()
    failures: CountThresholds = CountThresholds()
    no_agents: TimeThresholds = TimeThresholds()


def _parse_queue_alarms(value: object) -> Mapping[str, QueueAlarmSection]:
    if not isinstance(value, dict):
        raise BadValue("must be a group of queues, such as `support:` with its alarms")
    parsed = _Alarms()
    for name, section in value.items():
        queue = fields.parse_queue_name(name)
        try:
            parsed[folded(queue)] = QueueAlarmSection.model_validate(section or {})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in (queue, *first["loc"]))
            cause = first.get("ctx", {}).get("error")
            if isinstance(cause, BadValue):
                problem = cause.problem
                raise BadValue(f"{where} {problem.what}", problem.remedy) from None
            known = ", ".join(QueueAlarmSection.model_fields)
            raise BadValue(
                f"{where} is no setting of an alarm", f"the alarms are {known}"
            ) from None
    return parsed


class _Alarms(dict[str, QueueAlarmSection]):
    """Thresholds by queue; compared and hashed like the frozen sections around it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((name, repr(value)) for name, value in self.items())))


class AlarmSettings(QueueAlarmSection):
    """The thresholds of alarms for all queues, and for single ones.

    Attributes:
        calm: how long a value must be well below its threshold until the alarm ends.
    """

    enabled: Switch = True
    calm: Annotated[timedelta, span("0", "1h")] = timedelta(minutes=1)
    oldest_task: TimeThresholds = TimeThresholds(
        yellow=timedelta(minutes=30), red=timedelta(hours=1)
    )
    expected_wait: TimeThresholds = TimeThresholds(
        yellow=timedelta(minutes=10), red=timedelta(minutes=20)
    )
    failures: CountThresholds = CountThresholds(yellow=5, red=15)
    no_agents: TimeThresholds = TimeThresholds(
        yellow=timedelta(minutes=1), red=timedelta(minutes=5)
    )
    link_down: TimeThresholds = TimeThresholds(
        yellow=timedelta(seconds=30), red=timedelta(minutes=2)
    )
    service_down: TimeThresholds = TimeThresholds(
        yellow=timedelta(seconds=30), red=timedelta(minutes=2)
    )
    queues: (
        Annotated[Mapping[str, QueueAlarmSection], PlainValidator(_parse_queue_alarms)]
        | None
    ) = None


@frozen
class Limits:
    """The thresholds of one alarm in seconds or as a count; None: never."""

    yellow: float | None
    red: float | None

    def level(self, value: float) -> Level | None:
        """Return the level of a value."""
        if self.red is not None and value >= self.red:
            return Level.RED
        if self.yellow is not None and value >= self.yellow:
            return Level.YELLOW
        return None

    def of(self, level: Level) -> float | None:
        """Return the threshold of a level."""
        return self.red if level is Level.RED else self.yellow


#: The thresholds unless others are given.
_DEFAULTS: Final = AlarmSettings()


def limits_of(settings: AlarmSettings, kind: str, queue: str = "") -> Limits:
    """Return the thresholds of an alarm; those of the queue come first."""
    own = (settings.queues or {}).get(folded(queue)) if queue else None
    layers: list[Any] = [getattr(own, kind)] if own is not None else []
    layers += [getattr(settings, kind), getattr(_DEFAULTS, kind)]

    def limit(level: Level) -> float | None:
        value: Any = next(
            found
            for layer in layers
            if (found := getattr(layer, level.value)) is not None
        )
        number = value.total_seconds() if isinstance(value, timedelta) else float(value)
        return number or None

    return Limits(limit(Level.YELLOW), limit(Level.RED))
