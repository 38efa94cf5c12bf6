# SPDX-License-Identifier: MIT
"""What setup has found and what it would write, as text for an administrator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Final

from fastagi.errors import Problem
from fastagi.setup.found import Found
from fastagi.setup.installation import Plan
from fastagi.setup.paths import Root
from fastagi.setup.planning import PROMPT, Change

_HIDDEN: Final = "********"
#: The beginning of a line that gives a password: also those of other users are hidden,
#: which may be near a changed line.
_SECRET: Final = re.compile(
    r"(?i)^(?P<shown>.+?(?:secret|passw|pwd|token)\w*\s*(?:\+?=>?|:)\s*)[^\s;].*$"
)


def found_text(found: Found) -> str:
    """Describe the Asterisk that was found."""
    version = found.version or "of unknown version (it does not run)"
    queues = ", ".join(one.name for one in found.queues) or "none"
    rows = [
        ("Asterisk", version),
        ("configuration", str(found.config_dir)),
        ("sounds", str(found.sounds_dir)),
        ("runs as", "root" if found.uid == 0 else f"user {found.uid}"),
        ("dialplan", ", ".join(found.styles) or "none"),
        ("queues", queues + (", others in a database" if found.realtime else "")),
        ("ways outside", ", ".join(found.trunks) or "none found"),
    ]
    return "\n".join(f"{name + ':':15}{value}" for name, value in rows)


def plan_text(plan: Plan, root: Root) -> str:
    """Describe every file and line that would be written."""
    parts = []
    for change in plan.changes:
        if not change.is_empty and change.path.suffix != PROMPT:
            parts.append(_change(change, root, plan.secret))
    prompts = Counter(
        change.path.parent
        for change in plan.changes
        if not change.is_empty and change.path.suffix == PROMPT
    )
    parts += [
        f"{number} prompts into {_shown(folder, root)}"
        for folder, number in prompts.items()
    ]
    if plan.adds_user:
        parts.append("the system user callback-queue is added")
    if plan.joins:
        parts.append(
            f"the user callback-queue joins the group {plan.joins}, to read queue_log"
        )
    return "\n".join(parts)


def by_hand_text(problems: tuple[Problem, ...] | list[Problem]) -> str:
    """List what remains to be done by hand."""
    return "\n".join(f"- {one.on_one_line(' - ')}" for one in problems)


def _change(change: Change, root: Root, secret: str) -> str:
    path = _shown(change.path, root)
    if change.before is not None:
        diff = _diff(change.before, change.after, path, path, secret)
        return "\n".join(diff)
    if change.source is None:
        return "\n".join(_diff(b"", change.after, "/dev/null", path, secret))
    source = change.source.read_bytes()
    lines = list(_diff(source, change.after, str(change.source), path, secret))
    if not lines:
        return f"new file {path}: a copy of {change.source}"
    return "\n".join([f"new file {path}: {change.source} with these changes", *lines])


def _diff(
    before: bytes, after: bytes, old: str, new: str, secret: str
) -> Iterator[str]:
    for line in unified_diff(
        before.decode("utf-8", "replace").splitlines(),
        after.decode("utf-8", "replace").splitlines(),
        old,
        new,
        lineterm="",
        n=2,
    ):
        line = line.replace(secret, _HIDDEN)
        yield _SECRET.sub(rf"\g<shown>{_HIDDEN}", line)


def _shown(path: Path, root: Root) -> str:
    """Return the path on Asterisk's machine."""
    return str(Path("/") / path.relative_to(root.directory))
