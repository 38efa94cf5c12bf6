# SPDX-License-Identifier: MIT
"""Tries a changed settings file: its mistakes, or what it would change.

``python -m fastagi.config.dry_run`` reads the two files as JSON from its standard
input and writes the result as JSON. Reading a large file takes seconds, so the service
runs it as a program of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import attrs

from fastagi.config.errors import ConfigErrors
from fastagi.config.listing import ListedSetting, Origin, listed, written
from fastagi.config.load import parse_settings
from fastagi.config.queue_layers import DAYS_OF_WEEK
from fastagi.config.sections import Settings
from fastagi.domain.hours import CLOSED


def dry_run(file: str, before: str, after: str) -> dict[str, Any]:
    """Return what would happen if a file were changed, as JSON values.

    - ``problems``: the mistakes of the new file: ``line`` (0: the file as a whole),
      ``where``, ``problem`` and ``remedy``. If there are any, nothing else is there.
    - ``changes``: each setting with another value: ``name``, ``before``, ``after``,
      ``line`` in the new file (null: it is not there any more), ``needs_restart``,
      and ``secret``: whether the values are not told. A day of the week that is closed
      only because another day has hours is among them, with the line of that day.
    - ``queues_added``, ``queues_removed``: names of queues, whose settings are not
      among the changes.

    Args:
        file: the name of the file, for messages.
        before: its contents in force.
        after: its contents to be tried.
    """
    try:
        new = parse_settings(after, file=file)
    except ConfigErrors as errors:
        return _answer(problems=_problems(errors))
    try:
        old = parse_settings(before, file=file)
    except ConfigErrors as errors:
        # It was in force without mistakes: a file that it names has changed.
        return _answer(problems=_problems(errors))
    return _answer(
        changes=[_change_json(was, now) for was, now in changes(old, new)],
        queues_added=[name for name in new.queues if name not in old.queues],
        queues_removed=[name for name in old.queues if name not in new.queues],
    )


def changes(
    old: Settings, new: Settings
) -> Iterator[tuple[ListedSetting, ListedSetting]]:
    """Yield each setting whose value changes, as it was and as it will be.

    A changed value under ``defaults`` is not repeated for each queue that has it.
    """
    was = _by_name(old)
    shared = {Origin.DEFAULTS, Origin.BUILT_IN}
    for name, setting in _by_name(new).items():
        before = was.get(name)
        if before is None or _compared(before) == _compared(setting):
            continue
        is_of_queue = setting.name.startswith("queues.")
        if is_of_queue and {before.origin, setting.origin} <= shared:
            continue
        yield before, setting


def _by_name(settings: Settings) -> dict[str, ListedSetting]:
    """Return the settings; a day without hours is closed if another day has hours."""
    found = {setting.name.casefold(): setting for setting in listed(settings)}
    for name, setting in found.items():
        hours, _, day = name.rpartition(".")
        if day not in DAYS_OF_WEEK or setting.value is not None:
            continue
        week = [found[f"{hours}.{one}"] for one in DAYS_OF_WEEK]
        other = next((one for one in week if one.value is not None), None)
        if other is not None:
            found[name] = attrs.evolve(
                other, name=setting.name, value=written(CLOSED), default=setting.default
            )
    return found


def _compared(setting: ListedSetting) -> tuple[object, object]:
    return setting.value, setting.secret


def _change_json(was: ListedSetting, now: ListedSetting) -> dict[str, Any]:
    return {
        "name": now.name,
        "before": was.value,
        "after": now.value,
        "line": now.line,
        "needs_restart": now.needs_restart,
        "secret": was.is_secret or now.is_secret,
    }


def _problems(errors: ConfigErrors) -> list[dict[str, Any]]:
    return [
        {
            "line": line,
            "where": problem.where,
            "problem": problem.what,
            "remedy": problem.remedy,
        }
        for line, problem in zip(errors.lines, errors.problems, strict=True)
    ]


def _answer(**found: Any) -> dict[str, Any]:
    parts = ("problems", "changes", "queues_added", "queues_removed")
    return {part: found.get(part, []) for part in parts}


def answer(data: bytes) -> bytes:
    """Return the result for the arguments of `dry_run`, both as JSON text."""
    return json.dumps(dry_run(**json.loads(data))).encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(answer(sys.stdin.buffer.read()))
