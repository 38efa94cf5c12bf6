# SPDX-License-Identifier: MIT
"""What setup has found and what it would write, as text for an administrator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Final

from fastagi.errors import Problem
from fastagi.setup.countries import country_name, language_of
from fastagi.setup.found import Found
from fastagi.setup.installation import Plan
from fastagi.setup.material import page
from fastagi.setup.paths import Root
from fastagi.setup.planning import PROMPT, Change

_HIDDEN: Final = "********"
#: In place of our own secret: what is written, and what was there.
_NEW: Final = "(a new random secret)"
_KEPT: Final = "(the secret of your settings)"
_FORMER: Final = "(the former secret)"
_OF_SAMPLE: Final = "(the secret of the sample)"
_OURS: Final = re.compile(r"[-+]\s*secret\s*[:=]")
#: Languages with prompts.
_LANGUAGES: Final = {"en": "English", "ru": "Russian"}
#: Countries in which callers expect them.
_ENGLISH: Final = frozenset(
    (
        *("AG", "AU", "BB", "BM", "BS", "BW", "BZ", "CA", "DM", "FJ", "GB", "GD"),
        *("GG", "GH", "GI", "GM", "GU", "GY", "IE", "IM", "IN", "JE", "JM", "KE"),
        *("KN", "KY", "LC", "LK", "LR", "LS", "MT", "MU", "MW", "NA", "NG", "NZ"),
        *("PG", "PH", "PK", "RW", "SB", "SC", "SG", "SL", "SZ", "TC", "TO", "TT"),
        *("TZ", "UG", "US", "VC", "VG", "VI", "VU", "WS", "ZA", "ZM", "ZW"),
    )
)
_RUSSIAN: Final = frozenset(("BY", "KG", "KZ", "RU"))
#: The beginning of a line that gives a password: also those of other users are hidden,
#: which may be near a changed line.
_SECRET: Final = re.compile(
    r"(?i)^(?P<shown>.+?(?:secret|passw|pwd|token)\w*\s*(?:\+?=>?|:)\s*)[^\s;].*$"
)


def found_text(found: Found, root: Root) -> str:
    """Describe the Asterisk that was found."""
    version = found.version or "of unknown version (it does not answer)"
    queues = ", ".join(one.name for one in found.queues) or "none"
    rows = [
        ("Asterisk", version),
        ("configuration", str(found.config_dir)),
        ("sounds", str(found.sounds_dir)),
        ("runs as", root.user_name(found.uid)),
        ("dialplan", ", ".join(found.styles) or "none"),
        ("queues", queues + (", others in a database" if found.realtime else "")),
        ("ways outside", ", ".join(found.trunks) or "none found"),
    ]
    return _rows(rows)


def answers_text(plan: Plan) -> str:
    """List the answers as they are taken."""
    answers = plan.answers
    shown = ""
    if answers.own_numbers and plan.found.shows_no_number(answers.outbound):
        shown = " (clients see the first one)"
    region = answers.region
    name = country_name(region)
    rows = [
        ("queues", ", ".join(answers.queues)),
        ("way outside", answers.outbound),
        ("country", f"{region} ({name})" if name else region),
        ("own numbers", (", ".join(answers.own_numbers) or "none") + shown),
        ("prompt", answers.offer),
        ("start", "yes" if answers.start else "no"),
    ]
    return _rows(rows)


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name + ':':15}{value}" for name, value in rows)


def plan_text(plan: Plan, root: Root) -> str:
    """Describe every file and line that would be written."""
    parts = []
    for change in plan.changes:
        if not change.is_empty and change.path.suffix != PROMPT:
            parts.append(_change(change, root, plan))
    prompts = Counter(
        change.path.parent
        for change in plan.changes
        if not change.is_empty and change.path.suffix == PROMPT
    )
    parts += [
        f"{number} prompts into {_shown(folder, root)}"
        for folder, number in prompts.items()
    ]
    if prompts:
        parts += _languages(plan)
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


def _languages(plan: Plan) -> list[str]:
    """Say in which languages the prompts are, and what other callers hear."""
    shipped = {
        one.source.parent.parent.name
        for one in plan.changes
        if one.path.suffix == PROMPT and one.source is not None
    }
    names = " and ".join(_LANGUAGES.get(code, code) for code in sorted(shipped))
    spoken = {one.partition("_")[0]: one for one in plan.found.languages}
    others = [spoken[code] for code in spoken if code not in shipped]
    region = plan.answers.region
    said = [
        f"the prompts are in {names}; callers hear those in their channel's language"
    ]
    if others:
        missing = f"prompts in the language {others[0]} of your channels"
    elif region not in _ENGLISH | _RUSSIAN and not spoken:
        missing = f"prompts in another language of your country ({region})"
        if language := language_of(region):
            missing = f"{language} prompts"
    elif region in _RUSSIAN and "ru" not in spoken:
        return [
            *said,
            "callers hear the English ones until their channels have the language ru:"
            f" {page('setup.md')} says where to set it (Prompts in another language)",
        ]
    else:
        return said
    return [
        *said,
        f"there are no {missing}: callers hear the English ones;"
        f" {page('setup.md')} says how to add a language (Prompts in another language)",
    ]


def _change(change: Change, root: Root, plan: Plan) -> str:
    path = _shown(change.path, root)
    if change.before is not None:
        former = _FORMER if change.clean is None else _HIDDEN
        return "\n".join(_diff(change.before, change.after, path, path, plan, former))
    if change.source is None:
        return "\n".join(_diff(b"", change.after, "/dev/null", path, plan, _HIDDEN))
    source = change.source.read_bytes()
    name = str(change.source)
    lines = list(_diff(source, change.after, name, path, plan, _OF_SAMPLE))
    if not lines:
        return f"new file {path}: a copy of {change.source}"
    return "\n".join([f"new file {path}: {change.source} with these changes", *lines])


def _diff(
    before: bytes, after: bytes, old: str, new: str, plan: Plan, former: str
) -> Iterator[str]:
    for line in unified_diff(
        before.decode("utf-8", "replace").splitlines(),
        after.decode("utf-8", "replace").splitlines(),
        old,
        new,
        lineterm="",
        n=2,
    ):
        hidden = _HIDDEN
        if _OURS.match(line) and line.startswith("-"):
            hidden = former
        elif _OURS.match(line) and plan.secret in line:
            hidden = _KEPT if plan.keeps_secret else _NEW
        line = line.replace(plan.secret, _HIDDEN)
        yield _SECRET.sub(rf"\g<shown>{hidden}", line)


def _shown(path: Path, root: Root) -> str:
    """Return the path on Asterisk's machine."""
    return str(Path("/") / path.relative_to(root.directory))
