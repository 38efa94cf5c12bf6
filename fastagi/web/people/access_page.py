# SPDX-License-Identifier: MIT
"""The page Access: users, tokens of programs, links to the wall; for administrators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form
from starlette.responses import RedirectResponse, Response

from fastagi.errors import CallbackError
from fastagi.web.console.frame import Frame, framed
from fastagi.web.parts import WebParts
from fastagi.web.people.access import SCOPES, Right, Role
from fastagi.web.people.tokens import TokenProblem
from fastagi.web.people.users import UserProblem

_HERE: Final = "/access"
#: Entries of the audit on the page.
_ENTRIES: Final = 50

Admin = Annotated[Frame, Depends(framed(Right.ADMIN))]
Name = Annotated[str, Form(max_length=200)]
Names = Annotated[list[str], Form(default_factory=list, max_length=500)]
Days = Annotated[str, Form(max_length=5)]


def router(parts: WebParts) -> APIRouter:
    """Return the routes of the page."""
    routes = APIRouter(prefix=_HERE, include_in_schema=False)
    people = parts.people

    async def shown(
        frame: Frame,
        *,
        status: int = 200,
        error: str = "",
        secret: str = "",
        **more: Any,
    ) -> Response:
        def at(at_s: float | None) -> datetime | None:
            return (
                None
                if at_s is None
                else datetime.fromtimestamp(at_s, parts.now().tzinfo)
            )

        now_s = parts.now().timestamp()
        return frame.page(
            "access.html",
            _HERE,
            status=status,
            error=error,
            secret=secret,
            at=at,
            users=await people.list_users(),
            tokens=[one for one in await people.list_tokens() if one.works(now_s)],
            links=[
                (link, address)
                for link, address in await people.list_wall_links()
                if link.works(now_s)
            ],
            entries=await people.audit_entries(_ENTRIES),
            scopes=[scope.value for scope in SCOPES],
            roles=[role.value for role in Role],
            **{"what": "", **more},
        )

    async def done(frame: Frame, change: Callable[[], Awaitable[object]]) -> Response:
        """Make a change, and show the page again, perhaps with what was refused."""
        try:
            await change()
        except (TokenProblem, UserProblem) as error:
            return await shown(frame, status=422, error=str(error))
        return RedirectResponse(frame.request.scope.get("root_path", "") + _HERE, 303)

    def after(days: str) -> datetime | None:
        """Return when something expires; None: never."""
        if not days.strip():
            return None
        if not (days.isascii() and days.isdigit() and 0 < int(days) <= 3650):
            raise TokenProblem("the number of days must be 1 to 3650, or empty")
        return parts.now() + timedelta(days=int(days))

    @routes.get("")
    async def access(frame: Admin) -> Response:
        return await shown(frame)

    @routes.post("/users")
    async def add_user(
        frame: Admin,
        name: Name,
        role: Name,
        queues: Names,
    ) -> Response:
        try:
            if role not in set(Role):
                raise UserProblem(f"{role[:50]} is no role")
            link = await people.add_user(
                frame.who,
                name=name.strip(),
                role=Role(role),
                queues=queues or None,
                address=people.address(frame.request),
            )
        except CallbackError as error:
            return await shown(frame, status=422, error=str(error))
        return await shown(frame, secret=link, what="link")

    @routes.post("/users/{user_id}/link")
    async def make_link(frame: Admin, user_id: int) -> Response:
        try:
            address = people.address(frame.request)
            link = await people.make_link(frame.who, user_id, address)
        except UserProblem as error:
            return await shown(frame, status=422, error=str(error))
        return await shown(frame, secret=link, what="link")

    @routes.post("/users/{user_id}/{change}")
    async def change_user(frame: Admin, user_id: int, change: str) -> Response:
        disabled = {"disable": True, "enable": False}.get(change)
        if disabled is None:
            return await shown(frame, status=404, error="there is no such change")
        address = people.address(frame.request)
        return await done(
            frame,
            lambda: people.set_disabled(frame.who, user_id, disabled, address),
        )

    @routes.post("/tokens")
    async def make_token(
        frame: Admin,
        name: Name,
        scopes: Names,
        queues: Names,
        days: Days = "",
    ) -> Response:
        try:
            if foreign := [scope for scope in scopes if scope not in set(SCOPES)]:
                raise TokenProblem(f"{foreign[0][:50]} is no scope")
            _, text = await people.make_token(
                frame.who,
                name=name.strip(),
                rights=[Right(scope) for scope in scopes],
                queues=queues or None,
                expires_at=after(days),
                address=people.address(frame.request),
            )
        except TokenProblem as error:
            return await shown(frame, status=422, error=str(error))
        return await shown(frame, secret=text, what="token")

    @routes.post("/tokens/{token_id}/revoke")
    async def revoke_token(frame: Admin, token_id: int) -> Response:
        address = people.address(frame.request)
        return await done(
            frame, lambda: people.revoke_token(frame.who, token_id, address)
        )

    @routes.post("/wall-links")
    async def make_wall_link(
        frame: Admin,
        name: Name,
        queues: Names,
        days: Days = "",
    ) -> Response:
        async def make() -> None:
            await people.make_wall_link(
                frame.who,
                name=name.strip(),
                queues=queues or None,
                expires_at=after(days),
                address=people.address(frame.request),
            )

        return await done(frame, make)

    @routes.post("/wall-links/{link_id}/revoke")
    async def revoke_wall_link(frame: Admin, link_id: int) -> Response:
        address = people.address(frame.request)
        return await done(
            frame, lambda: people.revoke_wall_link(frame.who, link_id, address)
        )

    return routes
