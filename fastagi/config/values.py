# SPDX-License-Identifier: MIT
"""The base class of sections, and the types of settings.

Each type parses a value with a function of ``fields``. A setting is one line of a
section: its name, its type and its default.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
)

from fastagi.config import fields
from fastagi.config.durations import parse_duration
from fastagi.domain.hours import DayHours, SpecialDay
from fastagi.domain.numbers import NumberKind


class Section(BaseModel):
    """A group of settings; each setting is checked separately."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True
    )


class Days(Mapping[SpecialDay, DayHours]):
    """Hours of single days, as an immutable mapping."""

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


def number(lowest: int, highest: int) -> PlainValidator:
    return PlainValidator(lambda value: fields.parse_number(value, lowest, highest))


def span(shortest: str, longest: str) -> PlainValidator:
    low, high = parse_duration(shortest), parse_duration(longest)
    return PlainValidator(lambda value: fields.parse_span(value, low, high))


def span_or_forever(shortest: str, longest: str) -> PlainValidator:
    low, high = parse_duration(shortest), parse_duration(longest)
    return PlainValidator(lambda value: fields.parse_span_or_forever(value, low, high))


def choice(choices: type[enum.Enum]) -> PlainValidator:
    return PlainValidator(lambda value: fields.parse_choice(value, choices))


def _or_empty(parse: Callable[[object], str]) -> PlainValidator:
    return PlainValidator(lambda value: parse(value) if value else "")


Port: TypeAlias = Annotated[int, number(1, 65535)]
Switch: TypeAlias = Annotated[bool, PlainValidator(fields.parse_switch)]
Host: TypeAlias = Annotated[str, PlainValidator(fields.parse_host)]
Address: TypeAlias = Annotated[str, PlainValidator(fields.parse_address)]
Path: TypeAlias = Annotated[str, PlainValidator(fields.parse_path)]
Directory: TypeAlias = Annotated[str, PlainValidator(fields.parse_directory)]
Directories: TypeAlias = Annotated[
    tuple[Directory, ...], BeforeValidator(fields.parse_list)
]
SocketPath: TypeAlias = Annotated[str, PlainValidator(fields.parse_socket_path)]
Username: TypeAlias = Annotated[str, PlainValidator(fields.parse_username)]
Secret: TypeAlias = Annotated[SecretStr, PlainValidator(fields.parse_secret)]
DatabaseUrl: TypeAlias = Annotated[
    str, PlainValidator(fields.parse_database_url), Field(repr=False)
]
HistoryUrl: TypeAlias = Annotated[str, PlainValidator(fields.parse_history_url)]
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
InstanceName: TypeAlias = Annotated[str, PlainValidator(fields.parse_instance_name)]
NodeNames: TypeAlias = Annotated[
    tuple[Annotated[str, PlainValidator(fields.parse_node_name)], ...],
    BeforeValidator(fields.parse_list),
]
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
Key: TypeAlias = Annotated[str, PlainValidator(fields.parse_key)]
Keys: TypeAlias = Annotated[str, PlainValidator(fields.parse_keys)]
KeysOrEmpty: TypeAlias = Annotated[str, _or_empty(fields.parse_keys)]
KeysToRead: TypeAlias = Annotated[str, PlainValidator(fields.parse_keys_to_read)]
KeyOrEmpty: TypeAlias = Annotated[str, PlainValidator(fields.parse_key_or_none)]
Language: TypeAlias = Annotated[str, PlainValidator(fields.parse_language)]
Sound: TypeAlias = Annotated[str, PlainValidator(fields.parse_sound)]
SoundOrEmpty: TypeAlias = Annotated[str, _or_empty(fields.parse_sound)]
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
Technologies: TypeAlias = Annotated[
    tuple[Annotated[str, PlainValidator(fields.parse_technology)], ...],
    BeforeValidator(fields.parse_list),
]
Regions: TypeAlias = Annotated[tuple[Region, ...], BeforeValidator(fields.parse_list)]
RegionsOrAll: TypeAlias = Annotated[
    tuple[Annotated[str, PlainValidator(fields.parse_region_or_all)], ...],
    BeforeValidator(fields.parse_list),
]
NumberKinds: TypeAlias = Annotated[
    tuple[Annotated[NumberKind, choice(NumberKind)], ...],
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
