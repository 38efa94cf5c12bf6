# SPDX-License-Identifier: MIT
"""Reports: how many clients asked, how many were reached, how long they waited."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import Annotated, Any, Final, Union, get_args, get_origin

import attrs
from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field, create_model
from starlette.responses import JSONResponse, Response

from fastagi import reports
from fastagi.domain.tally import BANDS
from fastagi.domain.task import Kind
from fastagi.reports import (
    DEFAULT_GOAL_S,
    DEFINITIONS,
    FIRST_DAY,
    LAST_DAY,
    LATEST_DAYS,
    ReportQuery,
)
from fastagi.web.api.common import Parts, api_router, described, queues_of
from fastagi.web.api.problems import ApiProblem
from fastagi.web.parts import WebParts
from fastagi.web.people.access import Principal, Right, require

Reader = Annotated[Principal, Depends(require(Right.REPORTS_READ))]

router: Final = api_router("/reports", "Reports")

_DAY: Final = timedelta(days=1)
_CSV: Final = "text/csv"
#: Time limit of a report, in seconds: one of many years counts what is not stored yet.
_WITHIN_S: Final = 20.0


@cache
def _model(kind: type) -> type[BaseModel]:
    """Return the model of a class of a report, described by its definitions."""
    fields: dict[str, Any] = {}
    for one in attrs.fields(attrs.resolve_types(kind)):
        told = DEFINITIONS.get(one.name)
        fields[one.name] = (
            _type(one.type),
            Field(description=told.text if told else None),
        )
    if kind is reports.Offers:
        fields["outcomes"] = (dict[str, int], Field())
    if kind is reports.Report:
        told_by = "What each figure means."
        fields["definitions"] = (dict[str, str], Field(description=told_by))
    return create_model(kind.__name__, __doc__=kind.__doc__, **fields)


def _type(value: Any) -> Any:
    if attrs.has(value):
        return _model(value)
    if get_origin(value) is tuple:
        return list[_type(get_args(value)[0])]  # type: ignore[misc]
    if get_origin(value) in {Union, types.UnionType}:
        return Union[tuple(_type(one) for one in get_args(value))]  # noqa: UP007
    return value


@router.get(
    "",
    summary="Read a report",
    response_model=_model(reports.Report),
    **{
        **described(Right.REPORTS_READ, 404, 503),
        "responses": {
            **described(Right.REPORTS_READ, 404, 503)["responses"],
            200: {
                "description": "The report; with `Accept: text/csv` its days as CSV.",
                "content": {_CSV: {"schema": {"type": "string"}}},
            },
        },
    },
)
async def read_report(
    parts: Parts,
    who: Reader,
    request: Request,
    queue: Annotated[
        list[str] | None, Query(description="Of these queues; without any: of all.")
    ] = None,
    first: Annotated[
        date | None,
        Query(
            alias="from",
            ge=FIRST_DAY,
            le=LAST_DAY,
            description="The first day, in the time zone of each queue; without it: 30"
            " days before the last one.",
            examples=["2026-11-01"],
        ),
    ] = None,
    last: Annotated[
        date | None,
        Query(
            alias="to",
            ge=FIRST_DAY,
            le=LAST_DAY,
            description="The last day, which belongs to the report; without it: today.",
            examples=["2026-11-29"],
        ),
    ] = None,
    kind: Annotated[
        Kind | None, Query(description="Only clients of this kind.")
    ] = None,
    goal_s: Annotated[
        int,
        Query(
            description="Within how many seconds clients are to be reached.",
            json_schema_extra={"enum": list(BANDS)},
        ),
    ] = DEFAULT_GOAL_S,
    compare: Annotated[
        bool, Query(description="Whether to count as many days before, too.")
    ] = True,
) -> Any:
    """Count the clients who asked on some days, and what became of them.

    A client counts once, on the day of asking, however often they were called.
    `definitions` in the answer says what each figure means.
    """
    queues = queues_of(who, queue or ())
    if queues is not None and not queues:
        raise ApiProblem(404, "no-such-queue", "you have no queue")
    end = last or parts.now().date()
    if goal_s not in BANDS:
        allowed = ", ".join(map(str, BANDS))
        detail = f"the goal can not be {goal_s} s, but one of {allowed}"
        raise ApiProblem(422, "bad-request", detail, pointer="goal_s", where="query")
    wanted = ReportQuery(
        queues=None if queues is None else tuple(sorted(queues)),
        first=_in_order(first or max(end - (LATEST_DAYS - 1) * _DAY, FIRST_DAY), end),
        last=end,
        kind=kind,
        goal_s=goal_s,
        compare=compare,
        zones=_zones(parts),
    )
    found = await parts.records.read(reports.report, wanted, within_s=_WITHIN_S)
    if _CSV in request.headers.get("accept", ""):
        name = f"callbacks-{wanted.first}-{wanted.last}.csv"
        return Response(
            reports.report_csv(found),
            media_type=_CSV,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    return JSONResponse(reports.report_json(found))


def _in_order(first: date, last: date) -> date:
    if first > last:
        detail = f"the first day, {first}, is after the last one, {last}"
        raise ApiProblem(422, "bad-request", detail, pointer="from", where="query")
    return first


def _zones(parts: WebParts) -> Mapping[str, str]:
    """Return the time zones of the queues, as far as they are known."""
    queues = (parts.live.snapshot or {}).get("queues", {})
    return {name: queue["time_zone"] for name, queue in queues.items()}
