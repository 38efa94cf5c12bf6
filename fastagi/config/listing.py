# SPDX-License-Identifier: MIT
"""Lists settings one by one, for people: value, default, and where the value is from.

Values have the form in which one writes them in the file. A secret is never listed: a
password has no value here, and one in a URL is replaced by ``***``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import attrs
from pydantic import SecretStr

from fastagi.config.addresses import has_password, without_password
from fastagi.config.durations import format_duration
from fastagi.config.queue_layers import TARGET, QueueLayer, merge_layers
from fastagi.config.sections import (
    FIXED_SECTIONS,
    SECTIONS,
    AmiSection,
    NodeSection,
    Settings,
)
from fastagi.config.source import Place, dotted
from fastagi.config.values import Section

#: A value as it is written in the file: JSON.
Written: TypeAlias = Any


class Origin(enum.StrEnum):
    """Where a value is from."""

    #: The setting itself is in the file.
    FILE = "file"
    #: It is under ``defaults`` in the file, for all queues.
    DEFAULTS = "defaults"
    #: It is not in the file, so its default applies.
    BUILT_IN = "built_in"
    #: A variable of the environment.
    ENVIRONMENT = "environment"


@attrs.frozen(kw_only=True)
class ListedSetting:
    """One setting.

    Attributes:
        name: with its section, such as ``queues.support.attempts``.
        value: as written in the file; None: there is none, or it is secret.
        default: what applies if it is nowhere in the file.
        origin: where the value is from.
        line: its line in the file; None: it is not from the file.
        file: the included file that the line is in; empty: the settings file itself.
        is_secret: whether the value, or a part of it, is not listed.
        needs_restart: whether a change takes effect at the next start only, and not at
            a reload.
        secret: the whole value, to be compared only.
    """

    name: str
    value: Written
    default: Written
    origin: Origin
    line: int | None
    file: str = ""
    is_secret: bool = False
    needs_restart: bool = False
    secret: object = attrs.field(default=None, repr=False)


def listed(
    settings: Settings, queue: str = "", sections: Sequence[str] = ()
) -> Iterator[ListedSetting]:
    """Yield the settings in the order of the sample: all, or those of one queue.

    Args:
        settings: the settings.
        queue: the only queue; empty: all, and the sections.
        sections: only these sections, and no queue; empty: all.
    """
    for name in sections:
        kind = SECTIONS[name]
        yield from _section(settings, kind, getattr(settings, name), kind(), (name,))
    if sections:
        return
    if not queue:
        for name, kind in SECTIONS.items():
            if settings.nodes and name in NodeSection.model_fields:
                # They are those of the first node, which is listed below.
                continue
            section = getattr(settings, name)
            yield from _section(settings, kind, section, kind(), (name,))
        for node in settings.nodes:
            yield from _section(
                settings, NodeSection, node, NodeSection(), ("nodes", node.name)
            )
    names = [queue] if queue else list(settings.queues)
    for name in names:
        yield from _queue(settings, name)


def _queue(settings: Settings, name: str) -> Iterator[ListedSetting]:
    queue = settings.queues[name]
    yield from _section(
        settings, QueueLayer, queue, _built_in(name), ("queues", queue.name)
    )


def _built_in(name: str) -> Any:
    # Not a QueueSettings, which must have an outbound_channel.
    values = merge_layers(QueueLayer())
    return QueueLayer.model_construct(**{**values, "target_queue": name})


def _section(
    settings: Settings, kind: type[Section], values: Any, default: Any, place: Place
) -> Iterator[ListedSetting]:
    for name in kind.model_fields:
        value, usual = getattr(values, name), getattr(default, name)
        if isinstance(value, Section):
            yield from _section(settings, type(usual), value, usual, (*place, name))
        elif kind is AmiSection and name == "secret":
            yield _secret_of_manager(settings, place, values.secret)
        else:
            yield _setting(settings, (*place, name), value, usual)


def _setting(
    settings: Settings, place: Place, value: Any, default: Any
) -> ListedSetting:
    origin, line = _found(settings, place)
    file = settings.loaded.files.get(str(place[1]), "") if place[0] == "queues" else ""
    is_secret = isinstance(value, str) and "://" in value and has_password(value)
    return ListedSetting(
        name=dotted(place),
        value=without_password(value) if is_secret else written(value),
        default=written(default),
        origin=origin,
        line=line,
        file=file if origin is Origin.FILE else "",
        is_secret=is_secret,
        needs_restart=place[0] in FIXED_SECTIONS,
        secret=value if is_secret else None,
    )


def _secret_of_manager(
    settings: Settings, ami: Place, secret: SecretStr
) -> ListedSetting:
    lines = settings.loaded.lines
    given = [(*ami, name) for name in ("secret", "secret_file")]
    line = next((lines[place] for place in given if place in lines), None)
    return ListedSetting(
        name=dotted((*ami, "secret")),
        value=None,
        default=None,
        origin=Origin.ENVIRONMENT if line is None else Origin.FILE,
        line=line,
        is_secret=True,
        needs_restart=True,
        secret=secret.get_secret_value(),
    )


def _found(settings: Settings, place: Place) -> tuple[Origin, int | None]:
    """Return where a value is from."""
    lines = settings.loaded.lines
    if place in lines:
        return Origin.FILE, lines[place]
    if place[0] == "queues":
        queue, inner = place[:2], place[2:]
        # A queue with its own target uses nothing of the target under defaults.
        has_own_target = any((*queue, name) in lines for name in TARGET[:2])
        above = ("defaults", *inner)
        if above in lines and not (has_own_target and inner[0] in TARGET):
            return Origin.DEFAULTS, lines[above]
    return Origin.BUILT_IN, None


def written(value: object) -> Written:
    """Return a value in the form in which it is written in the file, as JSON."""
    match value:
        case None | bool() | int():
            return value
        case enum.Enum():
            return value.value
        case str():
            return value
        case timedelta():
            return format_duration(value)
        case re.Pattern():
            return value.pattern
        case ZoneInfo():
            return value.key
        case SecretStr():
            return None
        case Mapping():
            return {str(key): written(inner) for key, inner in value.items()}
        case tuple() | list():
            return [written(inner) for inner in value]
        case _:
            # Hours, days, networks.
            return str(value)
