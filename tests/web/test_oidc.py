# SPDX-License-Identifier: MIT
"""Logins by an identity provider that really signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import httpx
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OctKey

from fastagi.web.people.access import Role
from fastagi.web.people.oidc import Oidc
from tests.web.fake_provider import ISSUER, FakeProvider, new_key
from tests.web.help import PAGE, Site

_SETTINGS = f"""\
web: {{public_url: 'https://cb.example.com'}}
oidc:
  issuer: {ISSUER}
  client_id: callback-queue
  client_secret: s3cret
  queues_claim: queues
  admins: [it]
  supervisors: [leads]
"""


class _Office(Site):
    """The web process, with the identity provider of the office."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, _SETTINGS)
        self.connect()

    def connect(self) -> None:
        """Begin with a new provider, of which nothing is known yet."""
        self.provider = FakeProvider(self.clock)
        oidc = Oidc(
            self.settings.oidc,
            origin=self.settings.origin,
            key=self.people.key,
            now=self.clock,
            transport=self.provider.transport,
        )
        self.parts = attrs.evolve(self.parts, oidc=oidc)
        self.app.state.parts = self.parts

    def begin(self, browser: TestClient, target: str = "/account") -> str:
        """Press the button; return the query with which the provider answers."""
        answer = browser.get("/login/oidc", params={"next": target}, headers=PAGE)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{ISSUER}/auth?")
        return self.provider.log_in(answer.headers["location"])

    def enter(self, browser: TestClient) -> httpx.Response:
        """Log in; return the answer to the browser that comes back."""
        query = self.begin(browser)
        return _back(browser, query)


def _back(browser: TestClient, query: str) -> httpx.Response:
    headers = {**PAGE, "sec-fetch-site": "cross-site"}
    return browser.get(f"/login/oidc/callback?{query}", headers=headers)


def _is_logged_in(browser: TestClient) -> bool:
    return browser.get("/account", headers=PAGE).status_code == 200


@pytest.fixture(scope="module")
def _office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Office]:
    office = _Office(tmp_path_factory.mktemp("office"))
    with office.running():
        yield office


@pytest.fixture
def office(_office: _Office) -> _Office:
    """The web process with an identity provider, and nobody in it."""
    _office.reset()
    _office.connect()
    return _office


def test_who_logs_in_at_the_provider_has_the_role_and_queues_of_the_claims(
    office: _Office,
) -> None:
    browser = office.browser()
    page = browser.get("/login?next=/account", headers=PAGE).text
    assert "Log in with single sign-on" in page
    assert 'href="/login/oidc?next=%2Faccount"' in page
    answer = office.enter(browser)
    assert answer.status_code == 200
    assert 'url=/account"' in answer.text
    account = browser.get("/account", headers=PAGE).text
    assert "You are anna, supervisor" in account
    assert "Your queues: support." in account
    assert "Change your password" not in account
    # The next login knows the account again, also under another name.
    office.provider.claims |= {"preferred_username": "anna.b", "groups": ["it"]}
    again = office.browser()
    office.enter(again)
    assert "You are anna, admin" in again.get("/account", headers=PAGE).text
    assert "You are anna, admin" in browser.get("/account", headers=PAGE).text


def test_who_has_no_role_is_not_let_in_and_sessions_end(office: _Office) -> None:
    browser = office.browser()
    office.enter(browser)
    assert _is_logged_in(browser)
    office.provider.claims["groups"] = ["others"]
    other = office.browser()
    answer = office.enter(other)
    assert answer.status_code == 403
    assert "anna has no role here" in answer.text
    assert not _is_logged_in(other)
    assert not _is_logged_in(browser)


def test_an_account_does_not_become_the_local_user_of_the_same_name(
    office: _Office,
) -> None:
    office.add("Anna", Role.ADMIN)
    browser = office.browser()
    answer = office.enter(browser)
    assert answer.status_code == 403
    assert "there is another user anna already" in answer.text
    assert not _is_logged_in(browser)


def test_claims_that_the_token_lacks_come_from_the_user_information(
    office: _Office,
) -> None:
    del office.provider.claims["groups"]
    office.provider.userinfo = {"sub": "account-1", "groups": ["it"], "iss": "x"}
    browser = office.browser()
    office.enter(browser)
    assert "anna, admin" in browser.get("/account", headers=PAGE).text
    office.provider.userinfo = {"sub": "account-2", "groups": ["it"]}
    other = office.browser()
    assert "of somebody else" in office.enter(other).text
    assert not _is_logged_in(other)


def _other_key(provider: FakeProvider) -> None:
    provider.signed_with = new_key("1", other=True)


def _shared_secret(provider: FakeProvider) -> None:
    provider.signed_with = OctKey.generate_key(256)
    provider.algorithm = "HS256"


def _wrong(**claims: object) -> Callable[[FakeProvider], None]:
    return lambda provider: provider.wrong.update(claims)


@pytest.mark.parametrize(
    ("make_wrong", "words"),
    [
        (_other_key, "the signature of the ID token is wrong"),
        (_shared_secret, "the signature of the ID token is wrong"),
        (_wrong(iss="https://evil.example"), "wrong issuer"),
        (_wrong(aud="another"), "wrong audience"),
        (_wrong(aud=["callback-queue", "x"]), "wrong authorized party"),
        (_wrong(exp=1), "wrong time of expiry"),
        (_wrong(exp=None), "wrong time of expiry"),
        (_wrong(iat=4102444800), "wrong time of issue"),
        (_wrong(nonce="another"), "wrong nonce"),
        (_wrong(nonce=None), "wrong nonce"),
        (_wrong(sub=""), "wrong subject"),
        (_wrong(preferred_username=None), "sent no claim preferred_username"),
        (_wrong(preferred_username="a b"), "name has up to 64 letters"),
    ],
)
def test_a_wrong_token_lets_nobody_in(
    office: _Office, make_wrong: Callable[[FakeProvider], None], words: str
) -> None:
    make_wrong(office.provider)
    browser = office.browser()
    answer = office.enter(browser)
    assert answer.status_code == 403
    assert words in answer.text
    assert not _is_logged_in(browser)


def test_a_login_that_was_begun_elsewhere_is_refused(office: _Office) -> None:
    """Otherwise an attacker could log a victim in to the attacker's account."""
    attacker, victim = office.browser(), office.browser()
    query = office.begin(attacker)
    assert _back(victim, query).status_code == 403
    assert not _is_logged_in(victim)
    office.begin(victim)
    assert "begun in another window" in _back(victim, query).text
    assert not _is_logged_in(victim)


def test_a_code_works_once_and_for_ten_minutes(office: _Office) -> None:
    browser = office.browser()
    query = office.begin(browser)
    stolen = dict(browser.cookies)
    assert _back(browser, query).status_code == 200
    thief = office.browser()
    thief.cookies.update(stolen)
    assert _back(thief, query).status_code == 403
    assert not _is_logged_in(thief)
    late = office.browser()
    query = office.begin(late)
    office.clock.pass_s(601)
    assert _back(late, query).status_code == 403
    assert not _is_logged_in(late)


def test_the_provider_may_change_its_keys(office: _Office) -> None:
    office.enter(office.browser())
    key = new_key("2")
    office.provider.key = key
    office.clock.pass_s(120)
    browser = office.browser()
    office.enter(browser)
    assert _is_logged_in(browser)
    # Unknown keys do not make it ask again and again.
    _other_key(office.provider)
    before = office.provider.asked.count("/keys")
    for _ in range(3):
        office.enter(office.browser())
    assert office.provider.asked.count("/keys") == before


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"issuer": "https://evil.example"}, "calls itself https://evil.example"),
        (
            {"token_endpoint": "http://sso.example.com/token"},
            "no usable token_endpoint",
        ),
        ({"jwks_uri": None}, "no usable jwks_uri"),
    ],
)
def test_a_wrong_document_of_the_provider_is_named(
    office: _Office, document: dict[str, object], words: str
) -> None:
    office.provider.document |= document
    answer = office.browser().get("/login/oidc", headers=PAGE)
    assert answer.status_code == 502
    assert words in answer.text


def test_what_the_provider_says_against_a_login_is_shown_as_text(
    office: _Office,
) -> None:
    browser = office.browser()
    query = office.begin(browser)
    state = query.partition("state=")[2]
    answer = _back(browser, f"error=<b>access_denied</b>&state={state}")
    assert answer.status_code == 403
    assert "&lt;b&gt;access_denied" in answer.text
