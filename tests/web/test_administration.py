# SPDX-License-Identifier: MIT
"""The commands that manage users, tokens and wall links."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from fastagi.command.cli import main
from fastagi.doors import client
from fastagi.web.people import administration, users
from fastagi.web.people.access import (
    RIGHTS,
    Forbidden,
    Kind,
    Principal,
    Right,
    Role,
)
from fastagi.web.state.direct import committed
from fastagi.web.state.schema import AUDIT, FAILED_LOGINS, SESSIONS
from tests.docs.blocks import blocks
from tests.web.help import PAGE, PASSWORD, Site, cheap_hashes, submit

Run = Callable[..., Result]
_DOCS = Path(__file__).parents[2] / "docs"


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
def run(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command of `callback-queue web`; the web process is running."""
    path = tmp_path / "web.yaml"
    path.write_text(f"database: {{url: '{site.settings.database.url}'}}\n")
    made = administration.Administration.__init__
    monkeypatch.setattr(
        administration.Administration,
        "__init__",
        lambda self, settings, *, by: made(
            self, settings, by=by, now=site.clock, hashes=cheap_hashes
        ),
    )
    queues = {"queues": dict.fromkeys(("support", "sales"))}
    monkeypatch.setattr(client, "do", lambda path, command: queues)

    def run(*words: str, typed: str = "") -> Result:
        return CliRunner().invoke(
            main, ["web", *words, "-c", str(path)], input=typed, env={"SUDO_USER": ""}
        )

    return run


def test_a_user_is_added_with_a_password_and_logs_in(site: Site, run: Run) -> None:
    words = ("user", "add", "anna", "--role", "supervisor", "--queue", "support")
    done = run(*words, typed=f"{PASSWORD}\n")
    assert done.output == "user anna is added\n"
    page = site.log_in("anna").get("/account", headers=PAGE).text
    assert "You are anna, supervisor" in page
    again = run(*words, typed=f"{PASSWORD}\n")
    assert again.exit_code == 1
    assert again.output == "there is a user anna already\n"


def test_a_user_sets_the_password_with_a_link(site: Site, run: Run) -> None:
    done = run("user", "add", "anna", "--role", "admin", "--link")
    found = re.search(r"http://127\.0\.0\.1:8573(/login/link/\S+)", done.output)
    assert found is not None
    assert "(works once, for 30 minutes)" in done.output
    assert submit(site.browser(), "/login", name="anna", password="").status_code == 422
    browser = site.browser()
    submit(browser, found[1], password=PASSWORD, again=PASSWORD)
    assert "You are anna, admin" in browser.get("/account", headers=PAGE).text
    done = run("user", "password", "anna", "--link")
    assert "/login/link/" in done.output
    assert done.output.startswith("http")


@pytest.mark.parametrize(
    "words",
    [
        "user add boris --role supervisor",
        "user role boris --role viewer",
        "token add crm --scope tasks:read",
        "wall-link add hall",
        "webhook add crm https://crm.example.com/hook",
    ],
)
def test_a_queue_that_is_not_in_the_settings_is_refused(
    site: Site, run: Run, words: str
) -> None:
    if "user role" in words:
        site.add("boris", Role.SUPERVISOR)
    lists = ("user", "token", "wall-link", "webhook")
    before = [run(one, "list").output for one in lists]
    done = run(*words.split(), "--queue", "sales", "--queue", "suport")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "--queue suport: the settings of the service have no such queue; did you mean"
        " support? There are: sales, support\n"
    )
    assert [run(one, "list").output for one in lists] == before


def test_a_queue_has_the_name_that_it_has_in_the_settings(site: Site, run: Run) -> None:
    run("user", "add", "boris", "--role", "viewer", "--queue", "SUPPORT", "--link")
    (boris,) = json.loads(run("user", "list", "--json").output)
    assert boris["queues"] == ["support"]


def test_a_queue_is_accepted_if_the_service_does_not_answer(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_service(path: str, command: object) -> None:
        raise client.NoService(f"no service listens on {path}")

    monkeypatch.setattr(client, "do", no_service)
    done = run("wall-link", "add", "hall", "--queue", "suport")
    assert done.exit_code == 0
    assert "/wall/open/" in done.stdout
    assert done.stderr == (
        "--queue is not compared with the settings of the service: no service listens"
        " on /run/callback-queue/control.sock\n"
    )


@pytest.mark.parametrize(
    ("words", "exit_code", "output"),
    [
        ("user add b --role boss", 2, "'boss' is not one of"),
        ("user add b --role supervisor", 2, "needs --queue NAME, or --all-queues"),
        ("user add b --role admin --queue x", 2, "has all queues: leave out --queue"),
        ("user add b/c --role admin", 1, "a user's name has up to 64 letters"),
        ("user add b --role admin", 1, "the password has 5 characters"),
        ("user password nobody", 1, "there is no user nobody"),
        ("user remove nobody", 1, "there is no user nobody"),
        ("user remove anna", 1, "anna is the only administrator"),
        ("user disable anna", 1, "anna is the only administrator"),
        ("user role anna --role viewer", 1, "anna is the only administrator"),
        ("token add crm --scope tasks:all", 1, "tasks:all is no scope; choose from"),
        ("token add crm --scope wall", 1, "wall is no scope"),
        ("token add crm", 2, "Missing option '--scope'"),
        ("token add crm --scope admin --queue sales", 1, "admin is for all queues"),
        ("token add crm --scope metrics --expires 90", 1, "--expires must"),
        ("token remove crm", 1, "there is no crm that could be revoked"),
        ("wall-link add hall", 2, "Give either --queue or --all-queues"),
        ("wall-link remove hall", 1, "there is no hall that could be revoked"),
    ],
)
def test_what_can_not_be_done_is_named_and_changes_nothing(
    site: Site, run: Run, words: str, exit_code: int, output: str
) -> None:
    site.add("anna", Role.ADMIN)
    before = run("user", "list").output, run("token", "list").output
    done = run(*words.split(), typed="short\n")
    assert done.exit_code == exit_code
    assert output in done.output
    assert (run("user", "list").output, run("token", "list").output) == before


def test_changes_take_effect_in_the_running_process(site: Site, run: Run) -> None:
    site.add("anna", Role.ADMIN)
    site.add("boris", Role.VIEWER)
    boris = site.log_in("boris")

    def sees() -> str:
        answer = boris.get("/account", headers=PAGE)
        return answer.text if answer.status_code == 200 else ""

    assert "viewer" in sees()
    run("user", "role", "boris", "--role", "supervisor", "--queue", "sales")
    assert "supervisor" in sees()
    assert run("user", "logout", "boris").output == "1 sessions of boris ended\n"
    assert not sees()
    site.log_in("boris", browser=boris)
    run("user", "disable", "boris")
    assert not sees()
    assert submit(site.browser(), "/login", name="boris", password=PASSWORD).is_error
    run("user", "enable", "boris")
    site.log_in("boris", browser=boris)
    new = "another horse battery"
    assert "is changed" in run("user", "password", "boris", typed=f"{new}\n").output
    assert not sees()
    site.log_in("boris", new, browser=boris)
    run("user", "remove", "boris")
    assert not sees()
    listed = json.loads(run("user", "list", "--json").output)
    assert [user["name"] for user in listed] == ["anna"]


def test_a_token_is_shown_once_and_can_be_revoked(site: Site, run: Run) -> None:
    words = ("token", "add", "crm", "--scope", "tasks:read", "--expires", "30d")
    text = run(*words).output.strip()
    assert re.fullmatch(r"cbq_[\w-]{43}", text)
    assert site.with_token(text).get("/").status_code == 200
    listed = run("token", "list").output
    assert text not in listed
    assert text[:10] in listed
    assert "works" in listed
    # A name is taken only as long as its token works.
    assert "the name crm is taken" in run(*words).output
    assert run("token", "remove", "crm").output == "token crm is revoked\n"
    assert site.with_token(text).get("/").status_code == 401
    assert run(*words).exit_code == 0
    site.clock.pass_s(31 * 86400)
    assert "expired" in run("token", "list").output


def test_the_last_use_of_a_token_is_known_to_the_minute(site: Site, run: Run) -> None:
    text = site.token(Right.TASKS_READ)
    program = site.with_token(text)

    def last_use() -> str:
        (token,) = json.loads(run("token", "list", "--json").output)
        return str(token["last_use"])

    assert last_use() == "None"
    program.get("/")
    assert last_use() == "2026-11-29T12:00:00+00:00"
    site.clock.pass_s(30)
    program.get("/")
    assert last_use() == "2026-11-29T12:00:00+00:00"
    site.clock.pass_s(31)
    program.get("/")
    assert last_use() == "2026-11-29T12:01:01+00:00"


def test_a_wall_link_shows_the_wall_until_it_is_revoked(site: Site, run: Run) -> None:
    address = run("wall-link", "add", "hall", "--queue", "support").output.strip()
    path = address.removeprefix(site.settings.origin)
    assert path.startswith("/wall/open/")
    screen = site.browser()
    answer = screen.get(path, headers=PAGE)
    assert 'content="0; url=/wall"' in answer.text
    assert screen.get("/wall", headers=PAGE).status_code == 200
    assert screen.get("/", headers={"accept": "application/json"}).status_code == 403
    # It can be shown again, and a changed one is worth nothing.
    assert address in run("wall-link", "list").output
    assert site.browser().get(path[:-1] + "x").status_code == 410
    number, _, signature = path.rpartition("/")[2].partition(".")
    other = f"/wall/open/{int(number) + 1}.{signature}"
    run("wall-link", "add", "lobby", "--all-queues")
    assert site.browser().get(other).status_code == 410
    run("wall-link", "remove", "hall")
    assert site.browser().get(path).status_code == 410
    assert screen.get("/wall", headers=PAGE).status_code == 303


def test_the_audit_tells_who_did_what(site: Site, run: Run) -> None:
    run("user", "add", "anna", "--role", "admin", typed=f"{PASSWORD}\n")
    run("token", "add", "crm", "--scope", "metrics")
    submit(site.browser(), "/login", name="anna", password="wrong")
    entries = json.loads(run("audit", "--json", "--limit", "3").output)
    assert [entry["event"] for entry in entries] == [
        "login-failed",
        "token-made",
        "user-made",
    ]
    assert entries[0]["address"] == "127.0.0.1"
    assert entries[1]["actor"].startswith("cli:")
    assert entries[1]["subject"] == "crm"
    assert entries[1]["detail"] == "metrics"
    assert "login-failed" in run("audit").output


def test_a_copy_of_the_database_has_what_was_committed(
    site: Site, run: Run, tmp_path: Path
) -> None:
    site.add("anna", Role.ADMIN)
    done = run("backup", f"{tmp_path}/copy.sqlite3")
    assert done.output == f"copied to {tmp_path}/copy.sqlite3\n"
    with committed(f"sqlite:///{tmp_path}/copy.sqlite3") as conn:
        assert [user.name for user in users.everybody(conn)] == ["anna"]
    again = run("backup", f"{tmp_path}/copy.sqlite3")
    assert again.exit_code == 1
    assert f"{tmp_path}/copy.sqlite3" in again.output


def test_every_command_in_the_docs_exists() -> None:
    text = (_DOCS / "web.md").read_text()
    lines = set(re.findall(r"callback-queue (web [^`\n]+)", text))
    assert len(lines) > 15
    for line in lines:
        words = [*shlex.split(line.rstrip(".,")), "--help"]
        ran = CliRunner().invoke(main, words)
        assert ran.exit_code == 0, f"{line}: {ran.output}"
        options = [word for word in words if word.startswith("--")]
        assert all(option in ran.output for option in options), line


def test_commands_of_the_docs_work(site: Site, run: Run, tmp_path: Path) -> None:
    tried = 0
    for page in ("web", "console", "metrics", "api", "web-form"):
        # The examples of each page stand for themselves.
        site.reset()
        site.add("anna", Role.ADMIN)
        for block in blocks(f"docs/{page}.md", "sh"):
            if not block.text.startswith("sudo callback-queue web"):
                continue
            text = block.text.replace("/var/backups/callback-queue", str(tmp_path))
            for line in text.splitlines():
                _sudo, _program, _web, *words = shlex.split(line, comments=True)
                done = run(*words, typed=f"{PASSWORD}\n")
                assert done.exit_code == 0, f"{line}: {done.output}"
                tried += 1
    assert tried > 20


def test_an_administrator_makes_and_revokes_tokens_in_the_console(site: Site) -> None:
    """The pages use these; nobody else may."""

    def person(role: Role) -> Principal:
        return Principal(kind=Kind.PERSON, name="anna", role=role, rights=RIGHTS[role])

    async def use() -> None:
        people, admin = site.people, person(Role.ADMIN)
        _, text = await people.make_token(
            admin,
            name="crm",
            rights=[Right.TASKS_READ],
            queues=["support"],
            expires_at=None,
            address="192.0.2.1",
        )
        (token,) = await people.list_tokens()
        assert token.principal.queues == {"support"}
        assert token.principal.actor == "token:crm"
        assert not token.principal.sees_numbers
        link, address = await people.make_wall_link(
            admin, name="hall", queues=None, expires_at=None, address="192.0.2.1"
        )
        assert await people.list_wall_links() == [(link, address)]
        for revoke, number in (
            (people.revoke_token, token.id),
            (people.revoke_wall_link, link.id),
        ):
            with pytest.raises(Forbidden):
                await revoke(person(Role.SUPERVISOR), number, "192.0.2.1")
            await revoke(admin, number, "192.0.2.1")
        assert site.with_token(text).get("/account").status_code == 401
        with pytest.raises(Forbidden):
            await people.make_token(
                person(Role.SUPERVISOR),
                name="other",
                rights=[Right.ADMIN],
                queues=None,
                expires_at=None,
                address="",
            )
        events = [entry.event for entry in await people.audit_entries()]
        assert events == [
            "wall-link-revoked",
            "token-revoked",
            "wall-link-made",
            "token-made",
        ]

    asyncio.run(use())


def test_old_sessions_and_entries_are_deleted(site: Site) -> None:
    site.add("anna")
    site.log_in("anna")
    submit(site.browser(), "/login", name="anna", password="wrong")

    def counts() -> list[int]:
        with committed(site.settings.database.url) as conn:
            return [
                conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (SESSIONS, FAILED_LOGINS, AUDIT)
            ]

    async def clean_once() -> None:
        cleaning = asyncio.create_task(site.people.clean())
        # The pause after the first run is an hour.
        while not cleaning.done() and counts() == before:
            await asyncio.sleep(0.01)
        cleaning.cancel()

    before = counts()
    assert before == [1, 2, 2]
    site.clock.pass_s(2 * 86400)
    asyncio.run(asyncio.wait_for(clean_once(), 10))
    assert counts() == [0, 0, 2]
    before = counts()
    site.clock.pass_s(731 * 86400)
    asyncio.run(asyncio.wait_for(clean_once(), 10))
    assert counts() == [0, 0, 0]
