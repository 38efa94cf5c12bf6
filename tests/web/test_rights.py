# SPDX-License-Identifier: MIT
"""Which route needs which right, and who has it: every route with every kind of client.

A new route needs a line in ``ROUTES``. ``HAVE`` says once more, without the code, who
has which right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastagi.web.people import tokens, users
from fastagi.web.people.access import Right, Role
from fastagi.web.people.keys import signing_key
from fastagi.web.state.direct import committed
from tests.web.help import Site

#: Everybody, also without a login.
PUBLIC: Final = "public"
#: Whoever has loaded the page with its form, also without a login.
FORM: Final = "form"
#: Whoever has logged in, or has a token that works.
ANYBODY: Final = "anybody"
#: A person who has logged in.
PERSON: Final = "person"

ROUTES: Final[Mapping[str, str]] = {
    # People
    "GET /login": PUBLIC,
    "POST /login": FORM,
    "GET /login/link/{key}": PUBLIC,
    "POST /login/link/{key}": FORM,
    "GET /login/oidc": PUBLIC,
    "GET /login/oidc/callback": PUBLIC,
    "POST /logout": PERSON,
    "GET /account": PERSON,
    "POST /account/password": PERSON,
    "POST /account/sessions/{session_id}/end": PERSON,
    "POST /account/sessions/end-others": PERSON,
    "GET /access": "admin",
    "POST /access/users": "admin",
    "POST /access/users/{user_id}/link": "admin",
    "POST /access/users/{user_id}/{change}": "admin",
    "POST /access/tokens": "admin",
    "POST /access/tokens/{token_id}/revoke": "admin",
    "POST /access/wall-links": "admin",
    "POST /access/wall-links/{link_id}/revoke": "admin",
    # Programs
    "GET /metrics": "metrics",
    "GET /api/v1/alive": PUBLIC,
    "GET /api/v1/ready": PUBLIC,
    "GET /api/v1/openapi.json": PUBLIC,
    "GET /api/v1/me": ANYBODY,
    "GET /api/v1/health": "health:read",
    "POST /api/v1/health/check": "health:read",
    "GET /api/v1/live": "tasks:read",
    "GET /api/v1/events": "tasks:read",
    "GET /api/v1/queues": "tasks:read",
    "GET /api/v1/queues/{name}": "tasks:read",
    "GET /api/v1/reports": "reports:read",
    "GET /api/v1/tasks": "tasks:read",
    "GET /api/v1/tasks/{task_id:int}": "tasks:read",
    "POST /api/v1/tasks": "tasks:create",
    "POST /api/v1/tasks/bulk": "tasks:write",
    "POST /api/v1/tasks/{task_id:int}/assign": "tasks:write",
    "POST /api/v1/tasks/{task_id:int}/cancel": "tasks:write",
    "POST /api/v1/tasks/{task_id:int}/move": "tasks:write",
    "POST /api/v1/tasks/{task_id:int}/note": "tasks:write",
    "POST /api/v1/tasks/{task_id:int}/reschedule": "tasks:write",
    "POST /api/v1/tasks/{task_id:int}/retry": "tasks:write",
    "GET /api/v1/numbers/blocked": "numbers:read",
    "GET /api/v1/numbers/refusals": "numbers:read",
    "POST /api/v1/numbers/check": "numbers:read",
    "POST /api/v1/numbers/block": "numbers:write",
    "POST /api/v1/numbers/unblock": "numbers:write",
    "POST /api/v1/numbers/export": "admin",
    "POST /api/v1/numbers/erase": "admin",
    "GET /api/v1/webhooks": "admin",
    "POST /api/v1/webhooks": "admin",
    "GET /api/v1/webhooks/messages/schemas": "admin",
    "GET /api/v1/webhooks/{name}": "admin",
    "DELETE /api/v1/webhooks/{name}": "admin",
    "POST /api/v1/webhooks/{name}/disable": "admin",
    "POST /api/v1/webhooks/{name}/enable": "admin",
    "POST /api/v1/webhooks/{name}/replay": "admin",
    "POST /api/v1/webhooks/{name}/rotate": "admin",
    "POST /api/v1/webhooks/{name}/test": "admin",
    # Console
    "GET /": "tasks:read",
    "GET /events": "tasks:read",
    "GET /tasks": "tasks:read",
    "GET /tasks.csv": "tasks:read",
    "GET /tasks/{task_id:int}": "tasks:read",
    "GET /tasks/new": "tasks:create",
    "POST /tasks/new": "tasks:create",
    "POST /tasks/bulk": "tasks:write",
    "GET /tasks/{task_id}/{name}": "tasks:write",
    "POST /tasks/{task_id}/{name}": "tasks:write",
    "GET /numbers": "numbers:read",
    "POST /numbers/block": "numbers:write",
    "POST /numbers/unblock": "numbers:write",
    "POST /numbers/export": "admin",
    "POST /numbers/erase": "admin",
    "GET /health": "health:read",
    "GET /health/check": "health:read",
    "GET /health/bundle.zip": "admin",
    "GET /settings": "settings:read",
    "POST /settings/check": "settings:read",
    "GET /reports": "reports:read",
    "GET /reports.csv": "reports:read",
    "GET /reports.json": "reports:read",
    "GET /wall": "wall",
    "GET /wall/events": "wall",
    "GET /wall/open/{text}": PUBLIC,
    "GET /look": PUBLIC,
    "GET /static/{name:path}": PUBLIC,
}

_ALL: Final = {
    "tasks:read",
    "tasks:write",
    "tasks:create",
    "numbers:read",
    "numbers:write",
    "reports:read",
    "metrics",
    "settings:read",
    "health:read",
    "admin",
    "wall",
}
_VIEWER: Final = {"wall", "tasks:read", "reports:read"}
_SUPERVISOR: Final = _VIEWER | {
    "tasks:write",
    "tasks:create",
    "numbers:read",
    "numbers:write",
}
#: What each client may do. Those of queues have their rights only there, which the
#: tests of the routes show, and none over what belongs to all queues.
HAVE: Final[Mapping[str, set[str]]] = {
    "nobody": set(),
    "viewer": _VIEWER | {PERSON},
    # Numbers are blocked for all queues.
    "supervisor of support": _SUPERVISOR - {"numbers:write"} | {PERSON},
    "supervisor of sales": _SUPERVISOR - {"numbers:write"} | {PERSON},
    "supervisor": _SUPERVISOR | {PERSON},
    "admin": _ALL | {PERSON},
    **{f"token {scope}": {scope} for scope in _ALL - {"admin", "wall"}},
    "token admin": _ALL,
    "wall link": {"wall"},
    "expired token": set(),
    "revoked token": set(),
    "expired session": set(),
    "logged out": set(),
    "disabled user": set(),
    "revoked wall link": set(),
    "expired wall link": set(),
    "forged wall link": set(),
    "forged session": set(),
    "token as a cookie": set(),
}


class _Clients:
    """One client of each kind, and the token for their forms."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.known: dict[str, tuple[TestClient, str]] = {}
        for name, role, queues in (
            ("viewer", Role.VIEWER, None),
            ("supervisor", Role.SUPERVISOR, None),
            ("supervisor-of-support", Role.SUPERVISOR, ["support"]),
            ("supervisor-of-sales", Role.SUPERVISOR, ["sales"]),
            ("admin", Role.ADMIN, None),
            ("gone", Role.ADMIN, None),
            ("off", Role.ADMIN, None),
        ):
            site.add(name, role, queues)
        self._token("expired token", site.token(*_EVERY_SCOPE, name="old", lasts_s=10))
        self._wall("expired wall link", lasts_s=10)
        expired = site.log_in("admin")
        expired_csrf = self._csrf(expired)
        site.clock.pass_s(9 * 3600)
        self.known["expired session"] = expired, expired_csrf
        self.known["nobody"] = site.browser(), ""
        for name in ("viewer", "supervisor", "admin"):
            self._person(name, name)
        self._person("supervisor of support", "supervisor-of-support")
        self._person("supervisor of sales", "supervisor-of-sales")
        for scope in _ALL - {"wall"}:
            text = site.token(Right(scope), name=scope)
            self._token(f"token {scope}", text)
        revoked = site.token(*_EVERY_SCOPE, name="revoked")
        self._token("revoked token", revoked)
        self._person("logged out", "gone")
        self._person("disabled user", "off")
        self._wall("wall link")
        self._wall("revoked wall link")
        with committed(site.settings.database.url) as conn:
            tokens.revoke(conn, site.clock.now_s, "revoked")
            tokens.revoke_wall_link(conn, site.clock.now_s, "revoked wall link")
            users.end_sessions(conn, users.get(conn, "gone"))
            users.set_disabled(conn, users.get(conn, "off"), True)
        forged = site.browser()
        forged.cookies["cbq_wall"] = "1." + "x" * 43
        self.known["forged wall link"] = forged, ""
        forged = site.browser()
        forged.cookies["cbq_session"] = "x" * 43
        token = site.people.form_token("x" * 43)
        self.known["forged session"] = forged, token
        mixed = site.browser()
        mixed.cookies["cbq_session"] = site.token(*_EVERY_SCOPE, name="as a cookie")
        self.known["token as a cookie"] = mixed, ""

    def _csrf(self, browser: TestClient) -> str:
        return self._site.people.form_token(browser.cookies["cbq_session"])

    def _person(self, kind: str, name: str) -> None:
        browser = self._site.log_in(name)
        self.known[kind] = browser, self._csrf(browser)

    def _token(self, kind: str, text: str) -> None:
        self.known[kind] = self._site.with_token(text), ""

    def _wall(self, kind: str, lasts_s: float | None = None) -> None:
        now_s = self._site.clock.now_s
        with committed(self._site.settings.database.url) as conn:
            link = tokens.make_wall_link(
                conn,
                now_s,
                name=kind,
                queues=None,
                expires_at=None if lasts_s is None else now_s + lasts_s,
                by="anna",
            )
            text = tokens.wall_text(signing_key(conn), link)
        browser = self._site.browser()
        browser.cookies["cbq_wall"] = text
        self.known[kind] = browser, ""


_EVERY_SCOPE: Final = tuple(Right(right) for right in _ALL - {"wall"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    more = "limits: {per_address: 100000, per_client: 100000}\n"
    site = Site(tmp_path_factory.mktemp("rights"), more)
    with site.running():
        yield site


@pytest.fixture(scope="module")
def clients(site: Site) -> _Clients:
    clients = _Clients(site)
    # Streams end at once.
    site.parts.stopping.set()
    return clients


def routes_of(app: FastAPI) -> set[str]:
    """Return every route of an application: its method and its path."""
    found: set[str] = set()

    def walk(routes: list[Any]) -> None:
        for route in routes:
            if hasattr(route, "effective_candidates"):
                walk(route.effective_candidates())
            elif getattr(route, "methods", None):
                methods = set(route.methods) - {"HEAD"}
                found.update(f"{method} {route.path}" for method in methods)
            else:
                found.add(f"MOUNT {getattr(route, 'path', route)}")

    walk(list(app.routes))
    return found


def test_every_route_is_in_the_table(site: Site) -> None:
    assert routes_of(site.app) == set(ROUTES)


def test_every_right_of_the_table_exists() -> None:
    assert set(ROUTES.values()) <= {PUBLIC, FORM, ANYBODY, PERSON, *map(str, Right)}
    assert set(map(str, Right)) == _ALL


def _request(kind: str, clients: _Clients, route: str) -> int:
    client, csrf = clients.known[kind]
    method, path = route.split(" ", 1)
    # 999: nobody's session, no task.
    path = re.sub(r"\{[^}]*\}", "999", path)
    headers = {"x-csrf-token": csrf} if csrf else {}
    cookies = dict(client.cookies)
    answer = client.request(method, path, headers=headers)
    # An answer may delete the cookies, which the next request needs.
    client.cookies.clear()
    client.cookies.update(cookies)
    return answer.status_code


def _expected(kind: str, route: str) -> set[int]:
    """Return which of the statuses 401 and 403 are right; empty: none of them."""
    need, have = ROUTES[route], HAVE[kind]
    unsafe = not route.startswith("GET ")
    if need == PUBLIC:
        return set()
    if need == ANYBODY:
        return {403} if kind == "wall link" else set() if have else {401}
    if need == FORM:
        return set() if PERSON in have or kind in _WITH_A_FORM else {403}
    if need in have:
        return set()
    if unsafe and kind in _WITHOUT_A_FORM:
        return {401, 403}
    if kind == "wall link":
        return {403} if unsafe or need != PERSON else {401}
    return {403} if have else {401}


#: They know the token that belongs to their cookie, though it is worth nothing.
_WITH_A_FORM: Final = {
    "expired session",
    "logged out",
    "disabled user",
    "forged session",
}
#: They send a cookie of a session without its token.
_WITHOUT_A_FORM: Final = {"token as a cookie"}


@pytest.mark.parametrize("kind", sorted(HAVE))
def test_a_client_may_do_what_the_table_says_and_nothing_else(
    kind: str, clients: _Clients
) -> None:
    wrong = []
    for route in sorted(ROUTES):
        if route == "POST /logout" and PERSON in HAVE[kind]:
            # It would end the session that the next routes need.
            continue
        status, expected = _request(kind, clients, route), _expected(kind, route)
        refused = status in {401, 403}
        # A link or a login that does not work is refused, too, by what it is.
        if route in _REFUSES_BY_ITSELF and not expected:
            refused = False
        if refused != bool(expected) or (refused and status not in expected):
            wrong.append(f"{route}: {status}, expected {expected or 'to be let in'}")
        if status == 500:
            wrong.append(f"{route}: 500")
    assert wrong == []


#: Without a login that was begun here, and without one of the person's own queues.
_REFUSES_BY_ITSELF: Final = {"GET /login/oidc/callback", "POST /tasks/new"}


def test_a_session_can_not_change_anything_without_its_token(
    clients: _Clients,
) -> None:
    browser, csrf = clients.known["admin"]
    wrong = []
    for route in sorted(ROUTES):
        method, path = route.split(" ", 1)
        if method == "GET":
            continue
        path = re.sub(r"\{[^}]*\}", "999", path)
        other = clients.known["viewer"][1]
        for headers in (
            {},
            {"x-csrf-token": ""},
            {"x-csrf-token": other},
            {"x-csrf-token": csrf, "origin": "https://evil.example"},
            {"x-csrf-token": csrf, "origin": "null"},
            {"x-csrf-token": csrf, "sec-fetch-site": "cross-site"},
            {"x-csrf-token": csrf, "sec-fetch-site": "same-site"},
        ):
            status = browser.request(method, path, headers=headers).status_code
            if status != 403:
                wrong.append(f"{route} with {headers}: {status}")
    assert wrong == []
    assert browser.get("/account").status_code == 200
