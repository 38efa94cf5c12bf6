# SPDX-License-Identifier: MIT
"""The page Access: what an administrator does with users, tokens and wall links."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from fastagi.web.console.terms import TERMS
from fastagi.web.people import access_page
from fastagi.web.people.access import Role
from tests.web.help import PAGE, PASSWORD, Site, csrf_of, submit


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")).running() as site:
        yield site


@pytest.fixture
def site(_site: Site) -> Site:
    """The web process, with nobody in it."""
    _site.reset()
    return _site


@pytest.fixture
def admin(site: Site) -> TestClient:
    """The browser of the administrator root."""
    site.add("root", Role.ADMIN)
    return site.log_in("root")


def _send(admin: TestClient, path: str, **values: str | list[str]) -> httpx.Response:
    """Send one of the forms of the page."""
    csrf = csrf_of(admin.get("/access", headers=PAGE).text)
    return admin.post(path, data={"csrf_token": csrf, **values}, headers=PAGE)


def _actions(admin: TestClient, part: str) -> list[str]:
    page = admin.get("/access", headers=PAGE).text
    return [one for one in re.findall(r'action="([^"]+)"', page) if part in one]


def test_a_token_is_shown_once_and_is_revoked(site: Site, admin: TestClient) -> None:
    page = _send(admin, "/access/tokens", name="crm", scopes="tasks:read", days="30")
    (text,) = re.findall(r"<code>(cbq_[\w-]{43})</code>", page.text)
    assert page.headers["cache-control"] == "no-store"
    assert site.with_token(text).get("/").status_code == 200
    assert text not in admin.get("/access", headers=PAGE).text
    (revoke,) = _actions(admin, "/tokens/")
    assert _send(admin, revoke).status_code == 303
    assert site.with_token(text).get("/").status_code == 401
    assert not _actions(admin, "/tokens/")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "crm"}, "a token needs at least one scope"),
        ({"name": "crm", "scopes": "wall"}, "wall is no scope"),
        ({"name": " ", "scopes": "metrics"}, "a name has 1 to 64 characters"),
        ({"name": "x", "scopes": "metrics", "days": "0"}, "must be 1 to 3650"),
        ({"name": "x", "scopes": "metrics", "days": "-1"}, "must be 1 to 3650"),
        ({"name": "x", "scopes": "admin", "queues": "support"}, "is for all queues"),
    ],
)
def test_what_can_not_be_a_token_is_named(
    admin: TestClient, values: dict[str, str], words: str
) -> None:
    answer = _send(admin, "/access/tokens", **values)
    assert answer.status_code == 422
    assert words in html.unescape(answer.text)
    assert not _actions(admin, "/tokens/")


def test_a_user_is_added_and_sets_the_password_with_the_link(
    site: Site, admin: TestClient
) -> None:
    page = _send(
        admin,
        "/access/users",
        name="boris",
        role="supervisor",
        queues=["support", "sales"],
    )
    (path,) = re.findall(
        r"<code>http://127\.0\.0\.1:8573(/login/link/\S+)</code>", page.text
    )
    browser = site.browser()
    submit(browser, path, password=PASSWORD, again=PASSWORD)
    account = browser.get("/account", headers=PAGE).text
    assert "You are boris, supervisor" in account
    assert "sales, support" in account
    again = _send(admin, "/access/users", name="BORIS", role="viewer")
    assert "there is a user BORIS already" in again.text
    assert _send(admin, "/access/users", name="x", role="boss").status_code == 422


def test_a_user_is_kept_out_and_let_in_again_but_not_the_only_administrator(
    site: Site, admin: TestClient
) -> None:
    site.add("boris")
    boris = site.log_in("boris")
    other, own = _actions(admin, "/disable")
    refused = _send(admin, own)
    assert refused.status_code == 422
    assert "root is the only administrator" in refused.text
    assert _send(admin, other).status_code == 303
    assert boris.get("/account", headers=PAGE).status_code == 303
    (back,) = _actions(admin, "/enable")
    _send(admin, back)
    (link, _) = _actions(admin, "/link")
    page = _send(admin, link).text
    (path,) = re.findall(r"(/login/link/[\w-]+)</code>", page)
    assert site.browser().get(path).status_code == 200
    assert _send(admin, "/access/users/999/link").status_code == 422
    assert _send(admin, "/access/users/1/promote").status_code == 404


def test_a_wall_link_is_made_shown_and_revoked(site: Site, admin: TestClient) -> None:
    assert _send(admin, "/access/wall-links", name="hall").status_code == 303
    page = admin.get("/access", headers=PAGE).text
    (path,) = re.findall(r"(/wall/open/[\w.-]+)</code>", page)
    assert site.browser().get(path, headers=PAGE).status_code == 200
    (revoke,) = _actions(admin, "/wall-links/")
    _send(admin, revoke)
    assert site.browser().get(path, headers=PAGE).status_code == 410
    assert "link to the wall revoked" in admin.get("/access", headers=PAGE).text


def test_names_are_shown_as_text(admin: TestClient) -> None:
    _send(admin, "/access/tokens", name="<b>crm</b>", scopes="metrics")
    page = admin.get("/access", headers=PAGE).text
    assert "<b>crm" not in page
    assert "&lt;b&gt;crm" in page


def test_roles_and_the_audit_are_in_the_language_of_the_page(
    admin: TestClient,
) -> None:
    page = admin.get("/access", headers={**PAGE, "accept-language": "ru"}).text
    users = page.split('id="users"')[1].split("</section>")[0]
    assert "<span>администратор</span>" in users
    audit = page.split('id="audit"')[1]
    assert "<span>вход (password)</span>" in audit
    assert "<span>login" not in audit


def test_every_event_of_the_audit_has_words() -> None:
    """Those that the code writes, found as texts that look like one."""
    web = Path(access_page.__file__).parents[1]
    sources = [*web.glob("people/*.py"), web / "signals/webhooks.py"]
    text = "".join(path.read_text() for path in sources)
    kinds = "login|logout|link|password|role|token|user|wall-link|webhook"
    ends = "made|revoked|removed|enabled|disabled|changed|failed|locked|refused"
    found = set(re.findall(f'"((?:{kinds})-(?:{ends}|replayed|rotated))"', text))
    assert len(found) > 15
    assert found <= set(TERMS["audit"])
