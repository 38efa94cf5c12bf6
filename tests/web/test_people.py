# SPDX-License-Identifier: MIT
"""Logins, sessions, passwords and one-time links, as a browser sees them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from fastapi.testclient import TestClient
from starlette.requests import Request

from fastagi.store.errors import StoreUnavailable
from fastagi.web.people import audit, cookies, sessions, tokens, users
from fastagi.web.people.access import Principal, Right, Role
from fastagi.web.people.passwords import Passwords, WeakPassword, check_strength
from fastagi.web.people.people import Browser, LoginRefused, People
from fastagi.web.people.still import still_allowed
from fastagi.web.state import versions
from fastagi.web.state.direct import committed
from fastagi.web.state.schema import SESSIONS, USERS
from fastagi.web.state.state import State
from tests.lab.databases import PostgreSQL
from tests.web.help import (
    PAGE,
    PASSWORD,
    Clock,
    Site,
    cheap_hashes,
    csrf_of,
    settings_in,
    submit,
)


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")).running() as site:
        yield site


@pytest.fixture
def site(_site: Site) -> Site:
    """The web process, with nobody in it."""
    _site.reset()
    return _site


def _events(site: Site) -> list[tuple[str, str]]:
    """Return the audit, the oldest entry first."""
    with committed(site.settings.database.url) as conn:
        return [(one.event, one.actor) for one in reversed(audit.latest(conn))]


def _link(site: Site, name: str) -> str:
    with committed(site.settings.database.url) as conn:
        key = users.make_link(conn, site.clock.now_s, users.get(conn, name))
    return f"/login/link/{key}"


# -- the first administrator ----------------------------------------------------


def test_without_users_the_login_and_a_used_link_say_where_the_next_link_is(
    site: Site,
) -> None:
    browser = site.browser()
    for path in ("/login", "/login/link/used"):
        page = browser.get(path, headers=PAGE).text
        assert "journalctl -u callback-queue-web | grep /login/link/" in page, path
    site.add("root", Role.ADMIN)
    for path in ("/login", "/login/link/used"):
        assert "journalctl" not in browser.get(path, headers=PAGE).text, path


def test_the_first_start_logs_a_link_that_makes_the_first_administrator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Site(tmp_path).running() as site:
        found = re.search(r"http://127\.0\.0\.1:8573(/login/link/\S+)", caplog.text)
        assert found is not None
        browser = site.browser()
        answer = submit(
            browser, found[1], name="anna", password=PASSWORD, again=PASSWORD
        )
        assert answer.status_code == 303
        account = browser.get("/account", headers=PAGE)
        assert "You are anna, admin" in account.text
        # It works once, and for nobody else.
        assert site.browser().get(found[1]).status_code == 410
        caplog.clear()
    with Site(tmp_path).running():
        assert "/login/link/" not in caplog.text


def test_the_first_link_expires_and_ends_with_the_first_user(site: Site) -> None:
    async def link() -> str | None:
        return await site.people.first_link()

    first = asyncio.run(link())
    assert first is not None
    path = first.removeprefix(site.settings.origin)
    assert site.browser().get(path).status_code == 200
    site.clock.pass_s(29 * 60)
    assert site.browser().get(path).status_code == 200
    site.clock.pass_s(61)
    assert site.browser().get(path).status_code == 410
    second = asyncio.run(link())
    assert second is not None
    site.add("anna", Role.ADMIN)
    path = second.removeprefix(site.settings.origin)
    assert site.browser().get(path).status_code == 410
    assert asyncio.run(link()) is None


@pytest.mark.parametrize(
    ("name", "password", "again", "words"),
    [
        ("anna", "short", "short", "has 5 characters"),
        ("anna", PASSWORD, PASSWORD + "x", "the two passwords differ"),
        ("anna smith", PASSWORD, PASSWORD, "name has up to 64 letters"),
        ("annabel.smith", "annabel.smith1", "annabel.smith1", "nearly the user"),
        ("anna", "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "repeats the same"),
    ],
)
def test_a_link_is_not_used_up_by_a_mistake(
    site: Site,
    caplog: pytest.LogCaptureFixture,
    name: str,
    password: str,
    again: str,
    words: str,
) -> None:
    # As at the start of the process.
    asyncio.run(site.people.announce_first_link())
    (path,) = re.findall(r"http://127\.0\.0\.1:8573(\S+)", caplog.text)
    browser = site.browser()
    answer = submit(browser, path, name=name, password=password, again=again)
    assert answer.status_code == 422
    assert words in answer.text
    assert browser.get(path).status_code == 200


# -- logins ---------------------------------------------------------------------


def test_who_logs_in_is_led_to_the_page_that_was_asked_for(site: Site) -> None:
    site.add("Anna", Role.ADMIN)
    browser = site.browser()
    asked = browser.get("/account?x=1", headers=PAGE)
    assert asked.status_code == 303
    assert asked.headers["location"] == "/login?next=%2Faccount%3Fx%3D1"
    page = browser.get(asked.headers["location"], headers=PAGE)
    answer = browser.post(
        "/login",
        data={
            "csrf_token": csrf_of(page.text),
            "name": "anna",
            "password": PASSWORD,
            "next": "/account?x=1",
        },
    )
    assert answer.headers["location"] == "/account?x=1"
    assert browser.get("/account", headers=PAGE).status_code == 200
    # The login page has nothing to offer any more.
    again = browser.get("/login?next=/account", headers=PAGE)
    assert again.headers["location"] == "/account"


@pytest.mark.parametrize("name", ["anna", "nobody", "off", "other"])
def test_a_wrong_password_an_unknown_and_a_disabled_user_look_the_same(
    site: Site, name: str
) -> None:
    site.add("anna")
    site.add("off")
    site.add("boss", Role.ADMIN)
    with committed(site.settings.database.url) as conn:
        users.set_disabled(conn, users.get(conn, "off"), True)
        users.add(
            conn,
            0.0,
            name="other",
            role=Role.VIEWER,
            queues=None,
            issuer="https://sso.example.com",
            subject="1",
        )
    browser = site.browser()
    password = PASSWORD if name != "anna" else "wrong horse battery"
    answer = submit(browser, "/login", name=name, password=password)
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "cbq_session" not in browser.cookies
    assert _events(site)[-1] == ("login-failed", name)
    other = submit(browser, "/login", name="nobody2", password="wrong")
    assert other.text == answer.text
    assert dict(other.headers) == dict(answer.headers)


def test_each_failed_login_makes_the_next_pause_longer(site: Site) -> None:
    site.add("anna")
    browser = site.browser()

    def try_once(password: str = "wrong", name: str = "anna") -> int:
        page = browser.get("/login", headers=PAGE)
        data = {"csrf_token": csrf_of(page.text), "name": name, "password": password}
        answer = browser.post("/login", data=data, headers=PAGE)
        if answer.status_code == 429:
            assert 0 < int(answer.headers["retry-after"]) <= 62
        return answer.status_code

    assert [try_once() for _ in range(5)] == [401] * 5
    # During the pause not even the right password lets in, nor another spelling.
    assert try_once(PASSWORD) == 429
    assert try_once(PASSWORD, "ANNA") == 429
    site.clock.pass_s(2.1)
    assert try_once() == 401
    site.clock.pass_s(2.1)
    assert try_once(PASSWORD) == 429
    site.clock.pass_s(2.1)
    assert try_once(PASSWORD) == 303
    assert ("login-locked", "anna") in _events(site)


def test_an_unknown_name_is_locked_like_a_known_one(site: Site) -> None:
    browser = site.browser()
    found = [
        submit(browser, "/login", name="nobody", password="wrong").status_code
        for _ in range(6)
    ]
    assert found == [401] * 5 + [429]


def test_an_address_that_tries_many_names_is_locked(site: Site) -> None:
    site.add("anna")
    browser = site.browser(address="192.0.2.7")
    found = [
        submit(browser, "/login", name=f"user{n}", password="wrong").status_code
        for n in range(21)
    ]
    assert found == [401] * 20 + [429]
    assert submit(browser, "/login", name="anna", password=PASSWORD).status_code == 429
    elsewhere = site.browser(address="192.0.2.8")
    assert submit(elsewhere, "/login", name="anna", password=PASSWORD).is_redirect


def test_the_hash_of_a_password_follows_the_costs_of_today(site: Site) -> None:
    site.add("anna")
    with committed(site.settings.database.url) as conn:
        old = PasswordHasher(2, 8, 1).hash(PASSWORD)
        conn.execute(USERS.update().values(password=old))
    site.log_in("anna")
    with committed(site.settings.database.url) as conn:
        new = conn.execute(sa.select(USERS.c.password)).scalar_one()
    assert "t=1" in new
    site.log_in("anna")


def test_without_passwords_the_page_has_no_form(tmp_path: Path) -> None:
    with Site(tmp_path, "login: {passwords: false}\n").running() as site:
        site.add("anna")
        browser = site.browser()
        page = browser.get("/login", headers=PAGE).text
        assert 'name="password"' not in page


# -- sessions -------------------------------------------------------------------


def test_a_session_ends_when_idle_and_after_its_lifetime(tmp_path: Path) -> None:
    more = "login: {idle: 10m, lifetime: 1h}\n"
    with Site(tmp_path, more).running() as site:
        site.add("anna")
        idle = site.log_in("anna")
        busy = site.log_in("anna")
        for _ in range(6):
            site.clock.pass_s(9 * 60)
            assert busy.get("/account", headers=PAGE).status_code == 200
        assert idle.get("/account", headers=PAGE).status_code == 303
        site.clock.pass_s(7 * 60)
        assert busy.get("/account", headers=PAGE).status_code == 303


def test_the_log_out_ends_the_session_itself(site: Site) -> None:
    site.add("anna")
    browser = site.log_in("anna")
    stolen = dict(browser.cookies)
    answer = submit(browser, "/logout", form="/account")
    assert answer.status_code == 303
    assert "cbq_session" not in browser.cookies
    thief = site.browser()
    thief.cookies.update(stolen)
    assert thief.get("/account", headers=PAGE).status_code == 303
    assert [event for event, _ in _events(site)] == ["login", "logout"]


def _request(site: Site, browser: TestClient) -> Request:
    """Return a request of a browser, such as one for a stream."""
    cookie = f"{cookies.SESSION}={browser.cookies[cookies.SESSION]}"
    return Request(
        {"type": "http", "headers": [(b"cookie", cookie.encode())], "app": site.app}
    )


@pytest.mark.parametrize("end", ["log out", "disabled", "other queues", "idle"])
def test_a_stream_learns_that_the_session_has_ended_or_has_other_rights(
    site: Site, end: str
) -> None:
    site.add("sue", Role.SUPERVISOR, queues=["support"])
    browser = site.log_in("sue")
    request = _request(site, browser)

    async def may_go_on(who: Principal) -> bool:
        allowed = still_allowed(request, who)
        allowed._every_s = 0
        return await allowed()

    who = asyncio.run(site.people.authenticate(request))
    assert who is not None
    assert asyncio.run(may_go_on(who))
    with committed(site.settings.database.url) as conn:
        user = users.get(conn, "sue")
        if end == "disabled":
            users.add(conn, 0, name="root", role=Role.ADMIN, queues=None)
            users.set_disabled(conn, user, True)
        elif end == "other queues":
            users.set_role(conn, user, Role.SUPERVISOR, ["sales"])
    if end == "log out":
        submit(browser, "/logout", form="/account")
    elif end == "idle":
        # The stream itself does not keep the session.
        idle_s = site.settings.login.idle.total_seconds()
        site.clock.pass_s(idle_s - 60)
        assert asyncio.run(may_go_on(who))
        site.clock.pass_s(120)
    assert not asyncio.run(may_go_on(who))


def test_pages_are_shown_while_nothing_can_be_stored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    async def no_room(function: object, *_: object) -> None:
        tries.append(function)
        raise StoreUnavailable("no room left for web.sqlite3", "make room on its disk")

    site.add("anna", Role.ADMIN)
    browser = site.log_in("anna")
    program = site.with_token(site.token(Right.TASKS_READ))
    site.clock.pass_s(300)
    monkeypatch.setattr(site.parts.state, "write", no_room)
    for _ in range(3):
        assert browser.get("/account", headers=PAGE).status_code == 200
        assert program.get("/api/v1/me").status_code == 200
    # A database that is locked makes each try long.
    assert len([one for one in tries if one in (sessions.touch, tokens.touch)]) == 1
    monkeypatch.undo()
    site.clock.pass_s(90)
    assert browser.get("/account", headers=PAGE).status_code == 200
    with committed(site.settings.database.url) as conn:
        (seen_at,) = conn.execute(sa.select(SESSIONS.c.seen_at)).one()
    assert seen_at == site.clock.now_s


def test_a_person_sees_and_ends_only_their_own_sessions(site: Site) -> None:
    site.add("anna")
    site.add("boris")
    phone = site.log_in("anna", browser=site.browser(headers={"user-agent": "<Phone>"}))
    desk = site.log_in("anna")
    boris = site.log_in("boris")
    page = desk.get("/account", headers=PAGE).text
    assert "&lt;Phone&gt;" in page
    paths = re.findall(r'action="(/account/sessions/\d+/end)"', page)
    assert len(paths) == 1
    submit(boris, paths[0], form="/account")
    assert phone.get("/account", headers=PAGE).status_code == 200
    submit(desk, paths[0], form="/account")
    assert phone.get("/account", headers=PAGE).status_code == 303
    assert desk.get("/account", headers=PAGE).status_code == 200


def test_one_log_out_ends_all_other_sessions(site: Site) -> None:
    site.add("anna")
    others = [site.log_in("anna") for _ in range(3)]
    here = site.log_in("anna")
    submit(here, "/account/sessions/end-others", form="/account")
    assert here.get("/account", headers=PAGE).status_code == 200
    for other in others:
        assert other.get("/account", headers=PAGE).status_code == 303


def test_a_disabled_or_changed_user_is_so_with_the_next_request(site: Site) -> None:
    site.add("anna", Role.ADMIN)
    site.add("boris", Role.VIEWER)
    browser = site.log_in("boris")
    with committed(site.settings.database.url) as conn:
        users.set_role(conn, users.get(conn, "boris"), Role.SUPERVISOR, ["support"])
    page = browser.get("/account", headers=PAGE).text
    assert "You are boris, supervisor" in page
    assert "support" in page
    with committed(site.settings.database.url) as conn:
        users.set_disabled(conn, users.get(conn, "boris"), True)
    assert browser.get("/account", headers=PAGE).status_code == 303
    with committed(site.settings.database.url) as conn:
        users.set_disabled(conn, users.get(conn, "boris"), False)
    assert browser.get("/account", headers=PAGE).status_code == 303


def test_a_session_of_a_user_who_is_disabled_in_the_database_ends(
    site: Site,
) -> None:
    site.add("anna")
    browser = site.log_in("anna")
    with committed(site.settings.database.url) as conn:
        conn.execute(USERS.update().values(disabled=True))
    assert browser.get("/account", headers=PAGE).status_code == 303


def test_the_ids_of_sessions_are_not_in_the_database(
    site: Site, tmp_path: Path
) -> None:
    site.add("anna")
    browser = site.log_in("anna")
    key = browser.cookies["cbq_session"]
    with committed(site.settings.database.url) as conn:
        rows = conn.execute(sa.select(SESSIONS)).all()
    assert rows
    assert key not in repr(rows)


def test_a_user_has_a_limited_number_of_sessions(site: Site) -> None:
    site.add("anna")
    with committed(site.settings.database.url) as conn:
        user = users.get(conn, "anna")
        for _ in range(sessions.MOST + 5):
            sessions.begin(conn, 0.0, user, login="password", address="", browser="")
        count = conn.execute(sa.select(sa.func.count()).select_from(SESSIONS)).scalar()
    assert count == sessions.MOST


# -- passwords ------------------------------------------------------------------


def test_a_changed_password_ends_all_other_sessions(site: Site) -> None:
    site.add("anna")
    other, here = site.log_in("anna"), site.log_in("anna")
    before = here.cookies["cbq_session"]
    new = "another horse battery"
    answer = submit(
        here,
        "/account/password",
        form="/account",
        old=PASSWORD,
        password=new,
        again=new,
    )
    assert answer.status_code == 303
    assert here.cookies["cbq_session"] != before
    assert here.get("/account", headers=PAGE).status_code == 200
    assert other.get("/account", headers=PAGE).status_code == 303
    site.log_in("anna", new)
    refused = submit(site.browser(), "/login", name="anna", password=PASSWORD)
    assert refused.status_code == 401


def test_the_present_password_is_needed_and_its_guesses_are_counted(
    site: Site,
) -> None:
    site.add("anna")
    browser = site.log_in("anna")
    new = "another horse battery"
    found = [
        submit(
            browser,
            "/account/password",
            form="/account",
            old="wrong",
            password=new,
            again=new,
        ).status_code
        for _ in range(6)
    ]
    assert found == [422] * 5 + [429]


@pytest.mark.parametrize("change", ["log in", "change the password"])
def test_a_password_that_is_changed_while_it_is_checked_lets_nobody_in(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    site.add("anna")
    new, mine = "another horse battery", "a third horse battery"
    other = site.log_in("anna")
    path = "/account" if change == "change the password" else "/login"
    browser = other if path == "/account" else site.browser()
    form = csrf_of(browser.get(path, headers=PAGE).text)
    check = site.hashes.check

    def check_and_change(stored: str | None, password: str) -> bool:
        right = check(stored, password)
        site.clock.pass_s(0.001)
        with committed(site.settings.database.url) as conn:
            user, hashed = users.get(conn, "anna"), site.hashes.hash(new)
            users.set_password(conn, site.clock.now_s, user, hashed)
        return right

    fields = {"csrf_token": form, "name": "anna", "password": PASSWORD}
    if path == "/account":
        path += "/password"
        fields |= {"old": PASSWORD, "password": mine, "again": mine}
    with monkeypatch.context() as patch:
        patch.setattr(site.hashes, "check", check_and_change)
        answer = browser.post(
            path, data=fields, headers={**PAGE, "origin": site.settings.origin}
        )
    assert answer.status_code == (422 if path != "/login" else 401), answer.text
    assert browser.get("/account", headers=PAGE).status_code == 303
    site.log_in("anna", new)


def test_a_password_that_is_being_changed_on_postgresql_lets_nobody_in(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    async def log_in_during_change(url: str, state: State) -> None:
        hashes = cheap_hashes()
        people = People(
            settings_in(tmp_path), state, key=b"k" * 32, now=Clock(), hashes=hashes
        )
        with committed(url) as conn:
            stored = hashes.hash(PASSWORD)
            users.add(
                conn, 1.0, name="anna", role=Role.ADMIN, queues=None, password=stored
            )
        with committed(url) as conn:
            stored = hashes.hash("another horse battery")
            users.set_password(conn, 2.0, users.get(conn, "anna"), stored)
            trying = asyncio.create_task(
                people.log_in("anna", PASSWORD, Browser("127.0.0.1", ""))
            )
            while not trying.done() and not await state.read(_waits_for_a_lock):
                await asyncio.wait({trying}, timeout=0.02)
        with pytest.raises(LoginRefused, match="has just been changed"):
            await trying

    async def within_a_minute(url: str, state: State) -> None:
        async with asyncio.timeout(60):
            await log_in_during_change(url, state)

    with postgresql.database() as url:
        versions.prepare(url)
        state = State(url)
        try:
            asyncio.run(within_a_minute(url, state))
        finally:
            state.close()


def _waits_for_a_lock(conn: sa.Connection) -> bool:
    waiting = sa.text(
        "SELECT 1 FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return conn.execute(waiting).first() is not None


def test_two_logins_at_once_both_replace_an_old_hash(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Passwords(PasswordHasher(2, 8, 1))
    site.add("anna")
    with committed(site.settings.database.url) as conn:
        user = users.get(conn, "anna")
        users.set_password(conn, site.clock.now_s, user, old.hash(PASSWORD))
    check = site.hashes.check

    def check_and_replace(stored: str | None, password: str) -> bool:
        right = check(stored, password)
        with committed(site.settings.database.url) as conn:
            user = users.get(conn, "anna")
            users.replace_hash(conn, user, site.hashes.hash(password))
        return right

    monkeypatch.setattr(site.hashes, "check", check_and_replace)
    site.log_in("anna")


def test_a_link_to_set_a_password_works_once_and_ends_all_sessions(
    site: Site,
) -> None:
    site.add("anna")
    before = site.log_in("anna")
    old, path = _link(site, "anna"), _link(site, "anna")
    assert site.browser().get(old).status_code == 410
    new = "another horse battery"
    browser = site.browser()
    # The name in the form is not that of the user: it does not matter.
    answer = submit(browser, path, name="boss", password=new, again=new)
    assert answer.status_code == 303
    assert "You are anna" in browser.get("/account", headers=PAGE).text
    assert before.get("/account", headers=PAGE).status_code == 303
    assert site.browser().get(path).status_code == 410
    site.log_in("anna", new)


def test_letters_composed_in_another_way_are_the_same_password() -> None:
    hashes = Passwords(PasswordHasher(1, 8, 1))
    stored = hashes.hash("caf\u00e9 caf\u00e9 caf\u00e9")
    assert hashes.check(stored, "cafe\u0301 cafe\u0301 cafe\u0301")
    assert not hashes.check(stored, "cafe cafe cafe")
    assert not hashes.check(None, "cafe cafe cafe")


def test_without_a_user_a_whole_hash_is_checked() -> None:
    hasher = PasswordHasher(1, 16, 2)
    nobody = Passwords(hasher)._nobody
    assert extract_parameters(nobody) == extract_parameters(hasher.hash(PASSWORD))
    # Only the comparison at the end fails; a text that is no hash has another error.
    with pytest.raises(VerifyMismatchError):
        hasher.verify(nobody, PASSWORD)
    assert Passwords(hasher)._nobody != nobody


@pytest.mark.parametrize("password", ["", "x" * 257, "11111111111111", "annaannaanna"])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_strength(password, "anna")


def test_the_default_costs_are_those_of_the_standard() -> None:
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in Passwords().hash(PASSWORD)
