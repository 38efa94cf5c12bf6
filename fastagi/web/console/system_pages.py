# SPDX-License-Identifier: MIT
"""The pages Settings and Health: what is set and where, what is wrong and what to do.

Settings are only read here; they are changed in the file. A changed file can be tried
without any effect.
"""

from __future__ import annotations

import io
import json
import platform
import zipfile
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import distributions
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from fastagi import __version__
from fastagi.service.commands import CheckSettings, RunCheck, ShowSettings
from fastagi.web import services
from fastagi.web.console.actions import Refusal, attempt
from fastagi.web.console.frame import Frame, framed
from fastagi.web.console.languages import N_
from fastagi.web.console.live_page import notice_of
from fastagi.web.console.say import UNKNOWN
from fastagi.web.masking import masked
from fastagi.web.people.access import Right
from fastagi.web.records import RecordsUnavailable

router = APIRouter()

_LONGEST_SEARCH: Final = 100
#: Longest value of a setting that differs between services.
_LONGEST_VALUE: Final = 60
#: Where values are from, in words.
ORIGINS: Final[Mapping[str, str]] = {
    "file": N_("line %(line)s"),
    "defaults": N_("line %(line)s, for all queues"),
    "built_in": N_("default"),
    "environment": N_("environment"),
}
#: Parts of the live state that are about no person.
_WITHOUT_PEOPLE: Final = ("id", "at", "service", "queues")

Json = Mapping[str, Any]


@router.get("/settings")
async def settings(
    frame: Annotated[Frame, Depends(framed(Right.SETTINGS_READ))],
    q: str = "",
    all: bool = False,
) -> Response:
    """Show the settings with their values, defaults, and lines in the file."""
    return await _settings_page(frame, q=q.strip()[:_LONGEST_SEARCH], all=all)


@router.post("/settings/check")
async def check_settings(
    frame: Annotated[Frame, Depends(framed(Right.SETTINGS_READ))],
    text: Annotated[str, Form()] = "",
) -> Response:
    """Try a changed settings file: its mistakes, and what would be different."""
    # Forms have other line ends than files.
    text = text.replace("\r\n", "\n")
    done = await attempt(frame, lambda: CheckSettings(text=text))
    if isinstance(done, Refusal):
        return await _settings_page(frame, refusal=done, text=text)
    return await _settings_page(frame, tried=done, text=text)


async def _settings_page(
    frame: Frame,
    *,
    q: str = "",
    all: bool = False,
    refusal: Refusal | None = None,
    tried: Json | None = None,
    text: str = "",
) -> Response:
    shown = await attempt(frame, ShowSettings)
    if isinstance(shown, Refusal):
        refusal, shown = refusal or shown, None
    rows = []
    if shown is not None:
        rows = [
            one
            for one in shown["settings"]
            if (q and q.casefold() in one["name"].casefold())
            or (not q and (all or one["origin"] != "built_in"))
        ]
    return frame.page(
        "settings.html",
        "/settings",
        shown=shown,
        rows=rows,
        total=len(shown["settings"]) if shown else 0,
        waiting=sum(one["waits_for_restart"] for one in shown["settings"])
        if shown
        else 0,
        origins=ORIGINS,
        yaml=_yaml,
        q=q,
        all=all,
        tried=tried,
        text=text,
        refusal=refusal,
        status=refusal.status if refusal else 200,
    )


def _yaml(value: object) -> str:
    """Return a value as it may be written in the file, on one line."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case list():
            return ", ".join(_yaml(one) for one in value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _short(value: object) -> str:
    """Return a value as in the file, cut if it is long."""
    text = _yaml(value)
    if len(text) > _LONGEST_VALUE:
        text = f"{text[:_LONGEST_VALUE]}…"
    return text or UNKNOWN


@router.get("/health")
async def health(
    frame: Annotated[Frame, Depends(framed(Right.HEALTH_READ))],
) -> Response:
    """Show whether everything works; the check follows, as it takes seconds."""
    return frame.page(
        "health.html",
        "/health",
        findings=None,
        checked=None,
        refusal=None,
        **await _state(frame),
    )


@router.get("/health/check")
async def check(
    frame: Annotated[Frame, Depends(framed(Right.HEALTH_READ))],
) -> Response:
    """Show the same with the findings of the check."""
    done = await attempt(frame, RunCheck, within_s=60.0)
    refusal = done if isinstance(done, Refusal) else None
    checked = None if refusal else done
    findings = checked and [
        one if one.get("checked", True) else {**one, "level": "unknown"}
        for one in checked["findings"]
    ]
    levels = Counter(one["level"] for one in findings or ())
    return frame.page(
        "health.html",
        "/health",
        checked=checked,
        findings=findings,
        levels=levels,
        refusal=refusal,
        **await _state(frame),
    )


async def _state(frame: Frame) -> dict[str, Any]:
    return {
        "services": await _services(frame),
        "value": _short,
        "web_version": __version__,
        "sending": frame.parts.signals.lease,
        "alarms": [
            (one, notice_of(frame.snapshot, one, frame.say))
            for one in frame.parts.signals.alarms.current()
            if frame.who.queues is None or one.queue in frame.who.queues
        ],
    }


async def _services(frame: Frame) -> services.Services:
    service = frame.snapshot["service"] if frame.snapshot else None
    try:
        return await frame.parts.records.read(services.read_all, service)
    except RecordsUnavailable:
        # The page says what is wrong with the database.
        return services.only(service)


@router.get("/health/bundle.zip")
async def bundle(
    frame: Annotated[Frame, Depends(framed(Right.ADMIN))],
) -> Response:
    """Return what a helper needs, without secrets and numbers of clients."""
    found = {
        "versions.json": _versions(frame),
        "check.json": await _answer(frame, RunCheck, within_s=60.0),
        "settings.json": await _answer(frame, ShowSettings),
        "live.json": _without_people(frame.snapshot),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in found.items():
            text = json.dumps(masked(value), indent=2, ensure_ascii=False)
            archive.writestr(name, text)
    name = f"callback-queue-{frame.say.now:%Y-%m-%d}.zip"
    return Response(
        packed.getvalue(),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _answer(frame: Frame, make: Any, within_s: float | None = None) -> Any:
    done = await attempt(frame, make, within_s=within_s)
    return {"refused": done.words} if isinstance(done, Refusal) else done


def _without_people(snapshot: Json | None) -> Json | None:
    if snapshot is None:
        return None
    return {name: snapshot[name] for name in _WITHOUT_PEOPLE}


def _versions(frame: Frame) -> dict[str, Any]:
    live = frame.parts.live
    return {
        "web": __version__,
        "service": live.snapshot["service"]["version"] if live.snapshot else None,
        "service_problem": str(live.problem) if live.problem else None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {one.name: one.version for one in distributions()},
    }
