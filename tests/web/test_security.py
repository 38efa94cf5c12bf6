# SPDX-License-Identifier: MIT
"""Attacks on logins, sessions and the web process's own pages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.parse import unquote

import pytest
from argon2 import PasswordHasher
from starlette.requests import HTTPConnection

from fastagi.web.people.access import Right, Role
from fastagi.web.people.addresses import client_address, is_from_proxy
from fastagi.web.people.pages import safe_target
from fastagi.web.people.passwords import Passwords
from fastagi.web.people.people import Browser
from fastagi.web.people.rates import Rates, TooManyRequests
from fastagi.web.settings import parse
from tests.web.help import PAGE, PASSWORD, Site, csrf_of, submit

_PROXIED = "web: {public_url: 'https://cb.example.com', proxies: [10.0.0.0/8]}\n"
_BY_HEADER = (
    _PROXIED + "proxy_login:\n"
    "  user_header: X-Remote-User\n"
    "  groups_header: X-Groups\n"
    "  queues_header: X-Queues\n"
    "  admins: [it]\n"
    "  supervisors: [leads]\n"
    "  viewers: [staff]\n"
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


@pytest.fixture(scope="module")
def _proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("proxied"), _BY_HEADER).running() as site:
        yield site


@pytest.fixture
def proxied(_proxied: Site) -> Site:
    """The web process behind a proxy that logs people in."""
    _proxied.reset()
    return _proxied


# -- cookies --------------------------------------------------------------------


def _cookie_of(answer_headers: list[str], name: str) -> set[str]:
    (found,) = [one for one in answer_headers if one.startswith(name)]
    value, *flags = found.split("; ")
    assert len(value.partition("=")[2]) > 40
    return {flag.partition("=")[0].lower() for flag in flags} | {
        flag.lower() for flag in flags
    }


def test_cookies_by_https_are_bound_to_the_host_and_by_http_are_as_strict_as_can_be(
    site: Site, proxied: Site
) -> None:
    proxied.add("anna")
    site.add("anna")
    for where, name in ((proxied, "__Host-cbq_session"), (site, "cbq_session")):
        browser = where.browser()
        answer = submit(browser, "/login", name="anna", password=PASSWORD)
        flags = _cookie_of(answer.headers.get_list("set-cookie"), name)
        assert {"httponly", "samesite=strict", "path=/", "max-age"} <= flags
        assert "domain" not in flags
        assert ("secure" in flags) == (where is proxied)


def test_a_session_of_an_attacker_is_not_taken_over_at_the_login(site: Site) -> None:
    site.add("anna")
    site.add("mallory")
    planted = site.log_in("mallory").cookies["cbq_session"]
    for known in ("planted" * 8, planted):
        victim = site.browser()
        victim.cookies.set("cbq_session", known, domain="127.0.0.1")
        token = site.people.form_token(known)
        data = {"csrf_token": token, "name": "anna", "password": PASSWORD}
        answer = victim.post("/login", data=data)
        assert answer.status_code == 303
        assert victim.cookies["cbq_session"] not in {planted, "planted" * 8}
        assert "You are anna" in victim.get("/account", headers=PAGE).text
        thief = site.browser()
        thief.cookies["cbq_session"] = known
        assert "You are anna" not in thief.get("/account", headers=PAGE).text


# -- other sites ----------------------------------------------------------------


def test_another_site_can_not_log_anybody_in(site: Site) -> None:
    """Otherwise a victim would work in the attacker's account."""
    site.add("mallory")
    victim = site.browser()
    data = {"name": "mallory", "password": PASSWORD}
    assert victim.post("/login", data=data).status_code == 403
    attacker = site.browser()
    token = csrf_of(attacker.get("/login", headers=PAGE).text)
    # The token belongs to the attacker's browser, not to the victim's.
    victim.get("/login", headers=PAGE)
    answer = victim.post("/login", data={**data, "csrf_token": token})
    assert answer.status_code == 403
    assert "cbq_session" not in victim.cookies


def test_a_token_needs_no_form_and_hides_the_session(site: Site) -> None:
    site.add("anna", Role.ADMIN)
    browser = site.log_in("anna")
    text = site.token(Right.METRICS)
    headers = {"authorization": f"Bearer {text}"}
    # The token's rights count, not those of the session.
    assert browser.get("/", headers=headers).status_code == 403
    for bad in ("Bearer cbq_x", "Basic YTpi", "Bearer", f"Bearer {text}x", "x" * 5000):
        answer = browser.get("/", headers={"authorization": bad})
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/login?next=/login",
        "/logout",
        "/\u2044evil.example",
        "/" + "x" * 3000,
    ],
)
def test_a_login_leads_to_no_other_site(site: Site, target: str) -> None:
    assert safe_target(target) == "/"
    site.add("anna")
    browser = site.browser()
    answer = submit(browser, "/login", name="anna", password=PASSWORD, next=target)
    assert answer.headers.get("location", "/") == "/"
    if answer.status_code == 303:
        again = browser.get("/login", params={"next": target}, headers=PAGE)
        assert again.headers["location"] == "/"


def test_a_path_of_this_site_is_kept() -> None:
    assert safe_target("/tasks?queue=a%20b&x=//y") == "/tasks?queue=a%20b&x=//y"


def test_a_link_in_a_mail_finds_the_session_again(site: Site) -> None:
    """The browser sends no strict cookie from another site, but does from a page."""
    site.add("anna")
    browser = site.browser()
    headers = {**PAGE, "sec-fetch-site": "cross-site"}
    answer = browser.get("/login?next=/account", headers=headers)
    assert answer.status_code == 200
    assert 'content="0; url=/login?next=%2Faccount&amp;again=1"' in answer.text
    site.log_in("anna", browser=browser)
    answer = browser.get("/login?next=%2Faccount&again=1", headers=PAGE)
    assert answer.headers["location"] == "/account"


# -- texts from outside ---------------------------------------------------------


def test_what_somebody_typed_is_shown_as_text_and_logged_on_one_line(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    name = '"><script>alert(1)</script>\r\n2026 critical forged \x1b[31m'
    browser = site.browser(headers={"user-agent": "<script>"})
    answer = submit(browser, "/login", name=name, password="x", next='"><b>')
    assert answer.status_code == 401
    assert "<script>alert" not in answer.text
    assert "<b>" not in answer.text
    (line,) = [r for r in caplog.records if "login-failed" in r.getMessage()]
    assert "\n" not in line.getMessage()
    assert "\x1b" not in line.getMessage()


def test_a_header_can_not_be_injected_by_an_address(site: Site) -> None:
    browser = site.browser()
    for path in ("/x%0d%0aSet-Cookie:%20a=b", "/account?x=%0d%0aSet-Cookie:%20a=b"):
        answer = browser.get(path, headers=PAGE)
        assert "a=b" not in str(answer.headers.get_list("set-cookie"))
        assert "\r" not in answer.headers.get("location", "")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../settings.py",
        "/static/%2e%2e/settings.py",
        "/static/..%2fsettings.py",
        "/static/%2e%2e%2f%2e%2e%2fsettings.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/..\\settings.py",
        "/static/",
    ],
)
def test_static_files_lead_out_of_their_folder_by_no_path(
    site: Site, path: str
) -> None:
    # Raw, as clients tidy up addresses before they send them.
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8573")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8573),
    }
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(site.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] in {404, 405}
    assert b"root:" not in repr(sent).encode()
    assert b"WebSettings" not in repr(sent).encode()


# -- forged headers -------------------------------------------------------------


def test_a_direct_client_can_not_log_in_by_the_header_of_the_proxy(
    proxied: Site,
) -> None:
    proxied.add("root", Role.ADMIN)
    headers = {**PAGE, "x-remote-user": "boss", "x-groups": "it"}
    for address in ("127.0.0.1", "192.0.2.1", "11.0.0.1", "testclient"):
        direct = proxied.browser(address=address, headers=headers)
        answer = direct.get("/login")
        assert answer.status_code == 200
        assert "__Host-cbq_session" not in direct.cookies
        # Nor by saying that a proxy is in front.
        answer = direct.get("/login", headers={"x-forwarded-for": "10.0.0.1"})
        assert "__Host-cbq_session" not in direct.cookies


def _through_proxy(site: Site, user: str, groups: str = "", queues: str = "") -> int:
    headers = {"x-remote-user": user, "x-groups": groups, "x-queues": queues}
    browser = site.browser(address="10.0.0.1", headers={**PAGE, **headers})
    return browser.get("/login").status_code


def test_the_proxy_says_who_it_is_and_which_role(proxied: Site) -> None:
    headers = {**PAGE, "x-remote-user": "anna", "x-groups": "staff, leads"}
    headers["x-queues"] = "support, sales"
    browser = proxied.browser(address="10.0.0.1", headers=headers)
    assert browser.get("/account").headers["location"].startswith("/login")
    answer = browser.get("/login?next=/account")
    # A page, not a redirect: the user may come from the proxy's login page elsewhere.
    assert 'url=/account"' in answer.text
    page = browser.get("/account").text
    assert "You are anna, supervisor" in page
    assert "sales, support" in page
    # Somebody else is logged in at the proxy: the session is not that person's.
    browser.headers["x-remote-user"] = "boris"
    assert browser.get("/account").status_code == 303
    del browser.headers["x-remote-user"]
    assert browser.get("/account").status_code == 303
    # And the cookie is worth nothing without the proxy.
    thief = proxied.browser(address="192.0.2.1", headers={"x-remote-user": "anna"})
    thief.cookies.update(dict(browser.cookies))
    assert thief.get("/account", headers=PAGE).status_code == 303


@pytest.mark.parametrize(
    ("header", "before", "after", "now"),
    [
        ("x-groups", "it", "staff", "anna, viewer"),
        ("x-groups", "leads", "", None),
        ("x-queues", "support, sales", "sales", "sales"),
        ("x-queues", "sales", "support, sales", "sales, support"),
    ],
)
def test_a_session_ends_when_the_proxy_says_other_groups_or_queues(
    proxied: Site, header: str, before: str, after: str, now: str | None
) -> None:
    headers = {**PAGE, "x-remote-user": "anna", "x-groups": "leads", "x-queues": ""}
    browser = proxied.browser(address="10.0.0.1", headers=headers)
    browser.headers[header] = before
    browser.get("/login")
    for _ in range(2):
        assert browser.get("/account").status_code == 200
    browser.headers[header] = after
    assert browser.get("/account").status_code == 303
    again = browser.get("/login")
    if now is None:
        assert again.status_code == 403
    else:
        page = browser.get("/account").text
        assert now in page
        assert now != "sales" or "support" not in page


def test_who_is_in_no_group_has_no_role_and_no_local_user_is_taken_over(
    proxied: Site,
) -> None:
    proxied.add("root", Role.ADMIN)
    assert _through_proxy(proxied, "carl", "others") == 403
    assert _through_proxy(proxied, "root", "it") == 403
    assert _through_proxy(proxied, "ROOT", "it") == 403
    assert _through_proxy(proxied, "carl", "staff") == 200
    # The role follows the groups.
    assert _through_proxy(proxied, "carl", "") == 403


def test_two_headers_with_a_user_are_none(proxied: Site) -> None:
    browser = proxied.browser(address="10.0.0.1", headers=PAGE)
    twice = [("x-remote-user", "anna"), ("x-remote-user", "boss"), ("x-groups", "it")]
    browser.get("/login", headers=[*twice, ("accept", "text/html")])
    assert "__Host-cbq_session" not in browser.cookies


def test_of_two_headers_with_groups_none_counts(proxied: Site) -> None:
    """A web server that adds its header leaves one that the browser has sent."""
    twice = [("x-groups", "it"), ("x-groups", "staff"), ("x-queues", "support")]
    user = [("x-remote-user", "anna"), ("accept", "text/html")]
    browser = proxied.browser(address="10.0.0.1")
    assert browser.get("/login", headers=[*user, *twice]).status_code == 403
    queues = [("x-groups", "leads"), ("x-queues", "support"), ("x-queues", "sales")]
    assert browser.get("/login", headers=[*user, *queues]).status_code == 200
    page = browser.get("/account", headers=user).text
    assert "You are anna, supervisor" in page
    assert "support" not in page and "sales" not in page


@pytest.mark.parametrize("scheme", ["Basic YW5uYTpw", "Negotiate YII="])
def test_the_password_for_the_proxy_is_no_token_and_frees_from_no_check(
    proxied: Site, scheme: str
) -> None:
    headers = {**PAGE, "x-remote-user": "anna", "x-groups": "staff"}
    browser = proxied.browser(
        address="10.0.0.1", headers={**headers, "authorization": scheme}
    )
    assert browser.get("/login").status_code == 200
    assert "You are anna, viewer" in browser.get("/account").text
    # A browser sends it also with a form of another site.
    assert browser.post("/logout").status_code == 403
    assert "You are anna, viewer" in browser.get("/account").text
    direct = proxied.browser(headers={**headers, "authorization": scheme})
    assert direct.get("/account").status_code == 401


class _Connection:
    """A connection as the functions of addresses see it."""

    def __init__(self, peer: str | None, forwarded: str = "") -> None:
        self.connection = HTTPConnection(
            {
                "type": "http",
                "client": None if peer is None else (peer, 1),
                "headers": [(b"x-forwarded-for", forwarded.encode())]
                if forwarded
                else [],
            }
        )


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        # What the client itself has sent stands before.
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.7, 10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, garbage", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (None, "203.0.113.9", ""),
    ],
)
def test_only_proxies_say_for_whom_they_ask(
    peer: str | None, forwarded: str, address: str
) -> None:
    web = parse(_PROXIED).web
    assert client_address(_Connection(peer, forwarded).connection, web) == address


def test_through_the_unix_socket_comes_only_the_proxy() -> None:
    more = "web: {public_url: 'https://cb.example.com', socket: /run/x.sock}"
    web = parse(more).web
    connection = _Connection(None, "203.0.113.9").connection
    assert is_from_proxy(connection, web)
    assert client_address(connection, web) == "203.0.113.9"


# -- guesses and floods ---------------------------------------------------------


@pytest.mark.stopwatch
def test_the_time_of_an_answer_does_not_tell_whether_there_is_a_user(
    tmp_path: Path,
) -> None:
    hashes = Passwords(PasswordHasher(1, 16 * 1024, 1))
    stored = hashes.hash(PASSWORD)

    def took_s(hash_: str | None) -> float:
        began = time.perf_counter()
        assert not hashes.check(hash_, "wrong horse battery")
        return time.perf_counter() - began

    known, unknown = [], []
    for _ in range(25):
        known.append(took_s(stored))
        unknown.append(took_s(None))
    assert 0.7 < median(known) / median(unknown) < 1.4


def test_an_unknown_user_costs_the_same_work_as_a_known_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str | None] = []
    check = Passwords.check

    def noting(self: Passwords, stored: str | None, password: str) -> bool:
        checked.append(stored)
        return check(self, stored, password)

    monkeypatch.setattr(Passwords, "check", noting)
    site.add("anna")
    for name in ("anna", "nobody"):
        submit(site.browser(), "/login", name=name, password="wrong")
    assert len(checked) == 2
    assert checked[1] is None


def test_many_guesses_at_the_same_time_are_not_free(site: Site) -> None:
    site.add("anna")

    async def guess() -> list[str]:
        async def once() -> str:
            try:
                await site.people.log_in("anna", "wrong", Browser("192.0.2.1", ""))
            except Exception as error:
                return type(error).__name__
            return "in"

        return await asyncio.gather(*(once() for _ in range(30)))

    found = asyncio.run(guess())
    assert found.count("LoginRefused") == 5
    assert found.count("LoginLocked") == 25


def test_too_many_requests_of_one_client_are_refused_and_others_are_not(
    tmp_path: Path,
) -> None:
    more = "limits: {per_address: 10, per_client: 20}\n"
    with Site(tmp_path, more).running() as site:
        text = site.token(Right.TASKS_READ)
        program = site.with_token(text)
        found = [program.get("/account").status_code for _ in range(21)]
        assert found == [403] * 20 + [429]
        refused = program.get("/account")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "busy"
        nobody = site.browser()
        assert [nobody.get("/login").status_code for _ in range(11)][-1] == 429
        assert site.browser(address="192.0.2.9").get("/login").status_code == 200


def test_a_bucket_fills_again_and_the_memory_of_clients_is_limited() -> None:
    now = [0.0]
    rates = Rates(now_s=lambda: now[0])
    for _ in range(60):
        rates.note("a", 60)
    with pytest.raises(TooManyRequests):
        rates.note("a", 60)
    now[0] = 1.0
    rates.note("a", 60)
    for number in range(21_000):
        rates.note(f"b{number}", 60)
    assert len(rates._buckets) == 20_000


def test_the_log_has_no_secrets(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="fastagi")
    site.add("anna", Role.ADMIN)
    text = site.token(Right.TASKS_READ)
    site.with_token(text).get("/account")
    browser = site.log_in("anna")
    submit(site.browser(), "/login", name="anna", password="my secret guess")
    assert text not in caplog.text
    assert browser.cookies["cbq_session"] not in caplog.text
    assert "my secret guess" not in caplog.text
    assert PASSWORD not in caplog.text
