# SPDX-License-Identifier: MIT
"""The page Tasks: filters in the address, search, why not yet, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final

from attrs import frozen
from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response

from fastagi.domain.reason import Code
from fastagi.domain.task import ENDED, OPEN, CallbackTask, Kind, Status
from fastagi.store.selection import Selection, search
from fastagi.web.console.frame import Frame, framed
from fastagi.web.console.languages import N_
from fastagi.web.console.say import Say
from fastagi.web.people.access import Right
from fastagi.web.records import RecordsUnavailable

router = APIRouter()

#: Rows of one page, and of a file.
_PER_PAGE: Final = 50
_IN_FILE: Final = 10_000
#: Characters that make a spreadsheet take a text for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

#: Tabs of statuses: the word in the address, the words on the page, the statuses.
STATES: Final[Mapping[str, tuple[str, frozenset[Status] | None]]] = {
    "open": (N_("Open"), OPEN),
    "ended": (N_("Ended"), ENDED),
    "completed": (N_("Reached"), frozenset({Status.COMPLETED})),
    "failed": (N_("Failed"), frozenset({Status.FAILED})),
    "expired": (N_("Expired"), frozenset({Status.EXPIRED})),
    "cancelled": (N_("Cancelled"), frozenset({Status.CANCELLED})),
    "served": (N_("Served meanwhile"), frozenset({Status.SERVED})),
    "all": (N_("All"), None),
}


@frozen(kw_only=True)
class Filters:
    """The filters in the address of the page.

    Attributes:
        state: one of `STATES`.
        queue: the name of a queue; empty: all.
        kind: how the task came about; empty: all.
        reason: the code of a reason; empty: all.
        q: a part of a name or number.
        since, until: days of creation, both included, as ISO 8601; empty: any.
        before: the id after which the page begins.
    """

    state: str = "open"
    queue: str = ""
    kind: str = ""
    reason: str = ""
    q: str = ""
    since: str = ""
    until: str = ""
    before: int | None = None

    def query(self, **changes: object) -> dict[str, object]:
        """Return the query of an address with these filters, some of them changed."""
        values = {
            "state": "" if self.state == "open" else self.state,
            "queue": self.queue,
            "kind": self.kind,
            "reason": self.reason,
            "q": self.q,
            "since": self.since,
            "until": self.until,
        }
        return {k: v for k, v in (values | changes).items() if v not in (None, "")}

    @property
    def any(self) -> bool:
        """Whether any filter but the state is set."""
        return bool(
            self.queue or self.kind or self.reason or self.q or self.since or self.until
        )


def filters(
    state: str = "open",
    queue: str = "",
    kind: str = "",
    reason: str = "",
    q: str = "",
    since: str = "",
    until: str = "",
    before: int | None = None,
) -> Filters:
    """Return the filters of a request; what can not be a filter is left out."""
    return Filters(
        state=state if state in STATES else "open",
        queue=queue,
        kind=kind if kind in set(Kind) else "",
        reason=reason if reason in set(Code) else "",
        q=" ".join(q.split())[:100],
        since=since if _day(since) else "",
        until=until if _day(until) else "",
        before=before if before and 0 < before < 2**31 else None,
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def selection_of(frame: Frame, chosen: Filters) -> Selection:
    """Return the tasks that the filters leave, within what somebody may see."""
    zone = frame.say.zone(frame.zone(chosen.queue))
    queues = frame.who.queues
    if chosen.queue:
        chosen_one = frozenset({chosen.queue})
        queues = chosen_one if queues is None else chosen_one & queues

    def midnight(text: str, days: int) -> datetime | None:
        if (day := _day(text)) is None or day.year > 9998:
            return None
        return datetime.combine(day + timedelta(days), time.min, zone)

    return Selection(
        statuses=STATES[chosen.state][1],
        queues=queues,
        kinds=frozenset({Kind(chosen.kind)}) if chosen.kind else None,
        reason_codes=frozenset({Code(chosen.reason)}) if chosen.reason else None,
        text=chosen.q,
        in_numbers=frame.who.sees_numbers,
        created_from=midnight(chosen.since, 0),
        created_to=midnight(chosen.until, 1),
    )


@frozen(kw_only=True)
class Row:
    """One task with what is live of it.

    Attributes:
        task: the task, from the database.
        live: the same in the live state; None: it has ended, or nothing is live.
        attempt: its attempt in progress, in the live state; None: there is none.
        zone: the name of its queue's time zone; None: not known.
        say: how things are shown.
    """

    task: CallbackTask
    live: Mapping[str, Any] | None
    attempt: Mapping[str, Any] | None
    zone: str | None
    say: Say

    @property
    def why(self) -> str:
        """Why it is not called yet, or why it is as it is."""
        if self.attempt is not None and self.attempt["stage"] != "waits_in_line":
            return self.say.term("stage", self.attempt["stage"])
        if self.live is not None:
            if why := self.live.get("why_not_yet"):
                return self.say.why(why, self.zone)
            if (position := self.live.get("position")) is not None:
                return self.say.gettext(
                    "waits in line at position %(position)s", position=position
                )
        return self.say.reason(self.task.why, self.zone)

    @property
    def expected_at(self) -> str | None:
        """When an agent is expected to take it, as in the live state."""
        return self.live.get("expected_at") if self.live is not None else None


def rows_of(frame: Frame, tasks: Iterable[CallbackTask]) -> list[Row]:
    """Return tasks with what is live of them."""
    snapshot = frame.snapshot
    live = snapshot["tasks"] if snapshot else {}
    under_way = snapshot["attempts"].values() if snapshot else ()
    attempts = {one["task_id"]: one for one in under_way}
    return [
        Row(
            task=task,
            live=live.get(str(task.id)) if task.is_open else None,
            attempt=attempts.get(task.id),
            zone=frame.zone(task.queue),
            say=frame.say,
        )
        for task in tasks
    ]


@router.get("/tasks")
async def tasks(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_READ))],
    chosen: Annotated[Filters, Depends(filters)],
) -> HTMLResponse:
    """Show the tasks that the filters leave, the latest first."""
    wanted = selection_of(frame, chosen)
    problem, found = "", []
    try:
        found = await frame.parts.records.read(
            search, wanted, _PER_PAGE + 1, chosen.before
        )
    except RecordsUnavailable as error:
        problem = str(error)
    shown = found[:_PER_PAGE]
    rows = rows_of(frame, shown)
    return frame.page(
        "tasks.html",
        "/tasks",
        rows=rows,
        any_expected=any(row.expected_at for row in rows),
        filters=chosen,
        states=STATES,
        kinds=[kind.value for kind in Kind],
        problem=problem,
        next_before=shown[-1].id if len(found) > _PER_PAGE else None,
        status=503 if problem else 200,
    )


@router.get("/tasks.csv")
async def tasks_csv(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_READ))],
    chosen: Annotated[Filters, Depends(filters)],
) -> Response:
    """Return the same as a file for a spreadsheet, at most 10,000 rows."""
    found = await frame.parts.records.read(
        search, selection_of(frame, chosen), _IN_FILE, chosen.before
    )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEAD)
    for row in rows_of(frame, found):
        writer.writerow(map(_cell, _columns(frame, row)))
    name = f"tasks-{frame.say.now:%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    # A byte order mark: without it spreadsheets take UTF-8 for another encoding.
    body = "\ufeff" + text.getvalue()
    return Response(body, media_type="text/csv; charset=utf-8", headers=headers)


_HEAD: Final = (
    "id", "status", "kind", "queue", "number", "name", "created_at", "joined_at",
    "due_at", "chosen_at", "ended_at", "attempts", "agent_attempts", "reason_code",
    "reason",
)  # fmt: skip


def _columns(frame: Frame, row: Row) -> Iterable[object]:
    task, say = row.task, frame.say
    number = say.number(task.number) if say.masked else task.number
    name = say.anything(task.name)

    def iso(at: datetime | None) -> str:
        return at.isoformat(timespec="seconds") if at else ""

    return (
        task.id, task.status.value, task.kind.value, task.queue, number, name,
        iso(task.created_at), iso(task.joined_at), iso(task.due_at),
        iso(task.chosen_at), iso(task.ended_at), task.attempts, task.member_attempts,
        task.why.code.value, say.reason(task.why, row.zone),
    )  # fmt: skip


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    plain_number = value[0] == "+" and value[1:].isdigit()
    return value if plain_number else f"'{value}"
