# SPDX-License-Identifier: MIT
"""Rights, roles, and the one who makes a request.

Each route names the right that it needs:

    @router.get("/tasks")
    async def tasks(who: Annotated[Principal, Depends(require(Right.TASKS_READ))]): ...

and asks ``who.may(right, queue)`` for each queue that it shows or changes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from attrs import frozen
from fastapi import Depends
from starlette.requests import Request

from fastagi.errors import CallbackError


class Right(enum.StrEnum):
    """What somebody may do; also the scopes of API tokens."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    TASKS_CREATE = "tasks:create"
    NUMBERS_READ = "numbers:read"
    NUMBERS_WRITE = "numbers:write"
    REPORTS_READ = "reports:read"
    METRICS = "metrics"
    SETTINGS_READ = "settings:read"
    HEALTH_READ = "health:read"
    ADMIN = "admin"
    #: Wall links have this right only; it can not be given to a token.
    WALL = "wall"


class Role(enum.StrEnum):
    """A set of rights that a person has."""

    VIEWER = "viewer"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"


_VIEWER: Final = frozenset({Right.WALL, Right.TASKS_READ, Right.REPORTS_READ})
_SUPERVISOR: Final = _VIEWER | {
    Right.TASKS_WRITE,
    Right.TASKS_CREATE,
    Right.NUMBERS_READ,
    Right.NUMBERS_WRITE,
}
RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.VIEWER: _VIEWER,
    Role.SUPERVISOR: _SUPERVISOR,
    Role.ADMIN: frozenset(Right),
}
#: The rights that a token may have.
SCOPES: Final = tuple(right for right in Right if right is not Right.WALL)


#: The rights over what belongs to all queues. Who is limited to some queues has none.
OF_ALL_QUEUES: Final = frozenset({Right.NUMBERS_WRITE, Right.ADMIN})


class Kind(enum.StrEnum):
    """How somebody proved who they are."""

    PERSON = "person"
    TOKEN = "token"
    WALL = "wall"


class NotLoggedIn(CallbackError):
    """The request needs a session or a token.

    Attributes:
        has_token: whether there was a token, which is not valid (any more).
    """

    def __init__(self, what: str = "", *, has_token: bool = False) -> None:
        super().__init__(what or "log in, or send a token: Authorization: Bearer cbq_…")
        self.has_token = has_token


class Forbidden(CallbackError):
    """The one who asks may not do this."""


class RightMissing(Forbidden):
    """The one who asks lacks a right; the text names it, for programs."""


@frozen(kw_only=True)
class Principal:
    """The one who makes a request.

    Attributes:
        kind: how they proved who they are.
        name: the name of the user or of the token.
        rights: what they may do.
        queues: the queues for which they may do it; None: all queues.
        role: the role of a person; None for tokens and wall links.
        id: the key of the user, token or wall link in the web process's database.
        session_id: the key of a person's session.
    """

    kind: Kind
    name: str
    rights: frozenset[Right]
    queues: frozenset[str] | None = None
    role: Role | None = None
    id: int | None = None
    session_id: int | None = None

    @property
    def actor(self) -> str:
        """The name that the stories of tasks show: ``anna``, or ``token:crm``."""
        return (
            self.name if self.kind is Kind.PERSON else f"{self.kind.value}:{self.name}"
        )

    @property
    def sees_numbers(self) -> bool:
        """Whether numbers are shown in full; otherwise mask them everywhere."""
        return self.may(Right.NUMBERS_READ)

    def may(self, right: Right, queue: str | None = None) -> bool:
        """Whether they have a right, for a queue if one is given."""
        if right not in self.rights and Right.ADMIN not in self.rights:
            return False
        if right in OF_ALL_QUEUES and self.queues is not None:
            return False
        return queue is None or self.queues is None or queue in self.queues

    def check(self, right: Right, queue: str | None = None) -> None:
        """Raise Forbidden unless they have a right, for a queue if one is given."""
        if right in OF_ALL_QUEUES and self.queues is not None:
            raise Forbidden(
                f"the right {right.value} concerns all queues, and you have some only",
                "ask somebody who has all queues",
            )
        if not self.may(right, queue):
            where = f" for the queue {queue}" if queue is not None else ""
            raise RightMissing(f"the right {right.value}{where} is missing")


async def current_principal(request: Request) -> Principal | None:
    """Return the one who makes a request; None: nobody has logged in.

    Raises:
        NotLoggedIn: there is a token, and it does not work (any more).
    """
    # Set by fastagi.web.people.guard, which runs before every route.
    error: NotLoggedIn | None = getattr(request.state, "login_error", None)
    if error is not None:
        raise error
    principal: Principal | None = getattr(request.state, "principal", None)
    return principal


def require(right: Right) -> Callable[[Request, Principal | None], Principal]:
    """Return a dependency: the one who makes the request, if they have a right.

    Raises:
        NotLoggedIn: nobody has logged in.
        Forbidden: the right is missing.
    """

    def required(
        request: Request,
        principal: Annotated[Principal | None, Depends(current_principal)],
    ) -> Principal:
        if principal is None:
            raise NotLoggedIn
        principal.check(right)
        request.state.principal = principal
        return principal

    required.right = right  # type: ignore[attr-defined]
    return required
