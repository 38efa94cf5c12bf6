# SPDX-License-Identifier: MIT
"""Looks for settings of queues that are valid but have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fastagi.checks.finding import Notes
from fastagi.config.durations import format_duration
from fastagi.config.queue_layers import QueueLayer, QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.policy import First

#: The settings of ``choices`` that only say which times a caller may choose.
_OF_TIMES: Final = (
    "slot_length",
    "per_slot",
    "days_ahead",
    "queue_soon_keys",
    "queue_time_keys",
)
_BUILT_IN: Final = QueueLayer()
#: The groups that are off by default, and what uses their other settings.
_GROUPS: Final[dict[str, Callable[[QueueSettings], bool]]] = {
    "offers": lambda queue: queue.offers.enabled,
    "agent_keys": lambda queue: queue.agent_keys.enabled,
    "preferred_agent": lambda queue: queue.preferred_agent.enabled,
    "client_key": lambda queue: queue.may_ask_client,
}


def note_unused(settings: Settings, notes: Notes) -> None:
    """Warn of settings without an effect.

    A setting under ``defaults`` that one queue uses may have no effect in others.
    """
    queues = list(settings.queues.values())
    for group, is_used in _GROUPS.items():
        _note_group(settings, group, is_used, notes)
    for name in _OF_TIMES:
        _note_without_times(settings, name, notes)
    for queue in queues:
        _note_auto_agents(settings, queue, notes)
        _note_offers(queue, notes)
        if queue.preferred_agent.enabled and queue.target_extension:
            notes.warn(
                f"queues.{queue.name}.preferred_agent",
                "has no effect with target_extension: only that phone is rung",
                "under this queue write preferred_agent: {enabled: false}, or write"
                " target_queue in place of target_extension",
            )
        if queue.choices.times and not queue.opening_hours.in_use:
            notes.warn(
                f"queues.{queue.name}.choices.times",
                "the queue has no opening hours, so callers may choose any hour of the"
                " night",
                "write opening_hours; if any hour is meant, write there every day as"
                " monday: 00:00-24:00",
            )


def _note_group(
    settings: Settings,
    group: str,
    is_used: Callable[[QueueSettings], bool],
    notes: Notes,
) -> None:
    """Look for a group with settings but without ``enabled``."""
    queues = settings.queues.values()
    default = getattr(settings.defaults, group)
    default_is_used = any(map(is_used, queues))
    for queue in queues:
        own = getattr(queue, group)
        written = own.model_fields_set
        if is_used(queue) or not written or "enabled" in written:
            continue
        is_default = own == default
        if is_default and default_is_used:
            continue
        place = "defaults" if is_default else f"queues.{queue.name}"
        notes.warn(
            f"{place}.{group}",
            f"{_listed(sorted(written))} without enabled has no effect",
            "write enabled: true beside it, or enabled: false if that is meant",
        )


def _note_without_times(settings: Settings, name: str, notes: Notes) -> None:
    """Look for a setting of the times where callers may not choose one."""
    queues = settings.queues.values()
    default = getattr(settings.defaults.choices, name)
    default_is_used = any(queue.choices.times for queue in queues)
    for queue in queues:
        choices = queue.choices
        if choices.times or name not in choices.model_fields_set:
            continue
        value = getattr(choices, name)
        if value == getattr(_BUILT_IN.choices, name):
            continue
        is_default = value == default
        if is_default and default_is_used:
            continue
        place = "defaults" if is_default else f"queues.{queue.name}"
        notes.warn(
            f"{place}.choices.{name}",
            "has no effect without times",
            "write times: true under choices, or delete this setting",
        )


def _note_auto_agents(settings: Settings, queue: QueueSettings, notes: Notes) -> None:
    """Look for a number of free agents where it decides nothing."""
    if queue.first is First.AUTO or queue.auto_agents == _BUILT_IN.auto_agents:
        return
    is_default = queue.auto_agents == settings.defaults.auto_agents
    others = settings.queues.values()
    if is_default and any(other.first is First.AUTO for other in others):
        return
    place = "defaults" if is_default else f"queues.{queue.name}"
    notes.warn(
        f"{place}.auto_agents",
        f"has no effect with first: {queue.first.value}",
        "write first: auto, or delete auto_agents",
    )


def _note_offers(queue: QueueSettings, notes: Notes) -> None:
    """Look for offers that are never made, and for times that are never reached."""
    offers, where = queue.offers, f"queues.{queue.name}.offers"
    if not offers.enabled:
        return
    if not any(_reasons(queue)):
        notes.warn(
            where,
            "no callback is ever offered: every reason for an offer is off",
            "write after, wait_over or position_over above 0, or without_agents: true,"
            " or at_closing: true in a queue with opening_hours; or write"
            " enabled: false",
        )
    if offers.after and offers.not_before > offers.after:
        notes.warn(
            f"{where}.after",
            f"nobody is offered a callback after {format_duration(offers.after)}, as"
            f" not_before is {format_duration(offers.not_before)}",
            "write a shorter not_before, or a longer after",
        )


def _reasons(queue: QueueSettings) -> Iterator[bool]:
    offers = queue.offers
    yield bool(offers.after)
    yield bool(offers.wait_over)
    yield bool(offers.position_over)
    yield offers.without_agents
    yield offers.at_closing and queue.opening_hours.in_use


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
