# SPDX-License-Identifier: MIT
"""The output of the command line if the service does not run, or misbehaves."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGHUP, SIGTERM

import pytest
import yaml
from click.testing import CliRunner, Result

from twisted.internet.error import CannotListenError

from fastagi.command import cli, daemon
from fastagi.doors import client
from fastagi.service.commands import MAX_LISTED, BadRequest, ListTasks
from fastagi.store import leases, migrate


class _Home:
    """A directory with settings, and perhaps something at the control socket."""

    def __init__(self, path: Path, keep: ExitStack, url: str = "") -> None:
        self.path = path
        self.url = url or f"sqlite:///{path}/cq.db"
        self.socket = path / "control.sock"
        self._keep = keep
        self._config = path / "callback-queue.yaml"
        self._config.write_text(
            yaml.safe_dump(
                {
                    "ami": {"secret": "x"},
                    "database": {"url": self.url},
                    "control": {"socket": str(self.socket)},
                    "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
                    "queues": {"support": {}},
                }
            )
        )

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli.main, [*words, "--config", str(self._config)])

    def listen(self, backlog: int = 5) -> socket.socket:
        server = self._keep.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(self.socket))
        server.listen(backlog)
        return server

    def answer(self, data: bytes, *, reads_all: bool = True) -> None:
        """Answer the next request with these bytes only.

        If not all of the request is read, the client's connection is reset.
        """
        server = self.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb", buffering=0) as lines:
                while lines.readline().strip() and reads_all:
                    pass
                if reads_all:
                    connection.recv(1_000_000)
                connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self._keep.callback(thread.join, 5)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[_Home]:
    with ExitStack() as keep:
        yield _Home(tmp_path, keep)


def test_status_without_a_service_says_how_to_start_it(home: _Home) -> None:
    done = home.run("status")
    assert done.exit_code == 1
    assert "the service is not running" in done.stderr
    assert "systemctl start callback-queue" in done.stderr


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n",
    ],
)
@pytest.mark.parametrize("reads_all", [True, False], ids=["closed", "reset"])
def test_service_that_dies_in_the_middle_of_its_answer(
    home: _Home, data: bytes, *, reads_all: bool
) -> None:
    home.answer(data, reads_all=reads_all)
    done = home.run("tasks", "list")
    assert done.exit_code == 1
    assert done.stderr == (
        "the service closed the connection without an answer; see its log\n"
    )


def test_service_of_an_earlier_version_is_to_be_restarted(home: _Home) -> None:
    """Its control socket takes lines of JSON, and answers each line of a request."""
    home.answer(b'{"ok": false, "error": "not a command of this service"}\n' * 6)
    done = home.run("tasks", "list")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "the running service is of an older version than this command - restart it"
        " with 'systemctl restart callback-queue'\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail.example.com ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 many\r\n\r\n",
    ],
)
def test_other_program_on_the_control_socket_is_recognised(
    home: _Home, data: bytes
) -> None:
    home.answer(data)
    done = home.run("tasks", "list")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"another program answers on {home.socket}, not")


def test_service_that_refuses_before_it_has_read_is_understood(home: _Home) -> None:
    """It refuses the connection, so that nothing can be sent to it any more."""
    body = b'{"detail": "50 commands are being carried out already", "code": "busy"}'
    server = home.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            head = f"HTTP/1.1 429 Busy\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    with client.Service(str(home.socket)) as service:
        serve()
        with pytest.raises(client.CommandFailed, match="50 commands") as caught:
            service.do(ListTasks())
    assert caught.value.code == "busy"


def test_service_that_hangs_while_many_ask_it(home: _Home) -> None:
    home.listen(backlog=0)
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(home.socket))
        done = home.run("status")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{home.socket} can not be used: ")


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ({"connected": True, "error": ""}, 0),
        ({"connected": False, "error": "no route"}, 1),
        ({"connected": True, "error": "another has its systemname"}, 1),
    ],
)
def test_status_fails_if_no_call_can_be_placed_on_one_of_several(
    home: _Home, link: dict[str, object], code: int
) -> None:
    first = {"name": "pbx1", "connected": True, "version": "22", "error": ""}
    status = {
        "version": "1",
        "started_at": "2026-11-24T16:24:00.000+00:00",
        "asterisk": first,
        "nodes": [first, {"name": "pbx2", "version": "22", **link}],
        "database": "ok",
        "tasks": None,
        "calls_under_way": 0,
        "queues": {},
    }
    body = json.dumps(status).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    home.answer(head + body)
    assert home.run("status").exit_code == code


def test_tasks_of_a_database_that_is_not_there_yet(home: _Home) -> None:
    done = home.run("tasks", "list")
    assert done.exit_code == 1
    assert "cq.db does not exist" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "tasks add support +4930123456",
        "tasks list --json",
        "tasks show 1 --json",
        "tasks note 1 Hello",
        "numbers list --json",
    ],
)
def test_tasks_without_a_service_say_that_nobody_is_called(
    home: _Home, words: str
) -> None:
    assert home.run("db", "upgrade").exit_code == 0
    assert home.run("tasks", "add", "support", "+4930999999").exit_code == 0

    done = home.run(*words.split())

    assert done.exit_code == 0
    if "--json" in words:
        json.loads(done.stdout)
    if "note" in words or "numbers" in words:
        assert done.stderr == ""
        return
    assert done.stderr == (
        f"the service is not running (no answer on {home.socket}): this is what is"
        " stored, and nobody is called - start it with 'sudo systemctl start"
        " callback-queue'\n"
    )


def test_tasks_of_a_service_on_another_socket_say_so(home: _Home) -> None:
    assert home.run("db", "upgrade").exit_code == 0
    ownership = leases.Ownership.take(home.url)
    try:
        done = home.run("tasks", "list")
    finally:
        ownership.release()
    assert (done.exit_code, done.stdout) == (0, "no tasks\n")
    assert done.stderr.startswith(
        f"no service answers on {home.socket}, but the database is held by process"
    )
    assert "control.socket" in done.stderr


@pytest.mark.parametrize("words", ["tasks list", "numbers list", "numbers refused"])
def test_no_more_are_listed_than_calls_can_wait_for(home: _Home, words: str) -> None:
    assert home.run("db", "upgrade").exit_code == 0
    assert home.run(*words.split(), "--limit", str(MAX_LISTED)).exit_code == 0
    done = home.run(*words.split(), "--limit", str(MAX_LISTED + 1))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "10001 can not be the limit, which is 1 to 10,000: list less with the other"
        " options (see --help); for all, make a copy with 'callback-queue db backup'"
        " and ask that\n"
    )


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "5", None, 10**30])
def test_service_takes_no_other_limit_either(limit: object) -> None:
    with pytest.raises(BadRequest, match="can not be the limit"):
        ListTasks(limit=limit)


def test_copy_tells_where_it_is_and_what_is_in_it(home: _Home) -> None:
    assert home.run("db", "upgrade").exit_code == 0
    assert home.run("tasks", "add", "support", "+4930123456").exit_code == 0
    copy = home.path / "copy.db"

    done = home.run("db", "backup", str(copy))

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{copy}: 1 task, {copy.stat().st_size / 1e6:,.1f} MB\n"
    again = home.run("db", "backup", str(copy), "--json")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr.startswith(f"{copy} exists already and is left as it is; ")


def test_copy_for_programs_gets_a_name_of_its_own(home: _Home) -> None:
    assert home.run("db", "upgrade").exit_code == 0
    begun = datetime.now(UTC).replace(microsecond=0)

    done = home.run("db", "backup", "--json")

    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    copy = Path(answer.pop("path"))
    stamp = datetime.strptime(copy.name, "cq-%Y%m%dT%H%M%SZ.db").replace(tzinfo=UTC)
    assert begun <= stamp <= datetime.now(UTC)
    version = migrate.newest_version()
    assert answer == {
        "size_bytes": copy.stat().st_size,
        "tasks": 0,
        "version": version,
        "needed_version": version,
    }


def test_copy_leaves_signals_as_they_were(home: _Home) -> None:
    assert home.run("db", "upgrade").exit_code == 0
    before = [signal.getsignal(number) for number in (SIGTERM, SIGHUP)]
    assert home.run("db", "backup").exit_code == 0
    assert [signal.getsignal(number) for number in (SIGTERM, SIGHUP)] == before


@pytest.mark.parametrize(
    ("url", "words", "command"),
    [
        (
            "postgresql+psycopg://callback:s3cret@db.example.com/callback",
            ["my copy.dump"],
            "'--file=my copy.dump'"
            " --dbname=postgresql://callback@db.example.com/callback - ",
        ),
        (
            "postgresql://u:s3%20cret@/cb?host=/run/pg&password=s3cret&sslmode=require",
            [],
            "Z.dump '--dbname=postgresql://u@/cb?host=%2Frun%2Fpg&sslmode=require' - ",
        ),
    ],
)
def test_postgresql_is_copied_with_its_own_program(
    tmp_path: Path, url: str, words: list[str], command: str
) -> None:
    with ExitStack() as keep:
        done = _Home(tmp_path, keep, url).run("db", "backup", *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "own program: pg_dump --format=custom " in done.stderr
    assert command in done.stderr
    assert "~/.pgpass" in done.stderr
    assert "s3" not in done.stderr


@pytest.mark.parametrize(
    ("interface", "port", "where"),
    [
        (
            "any",
            b"/run/callback-queue/control.sock",
            "/run/callback-queue/control.sock",
        ),
        ("127.0.0.1", 4573, "127.0.0.1:4573"),
    ],
)
def test_second_service_is_told_what_is_taken(
    interface: str, port: bytes | int, where: str
) -> None:
    text = daemon.listen_problem(CannotListenError(interface, port, OSError("in use")))
    assert text.startswith(f"{where} can not be listened on (in use) - is another")


def test_reload_is_refused_before_it_begins_if_the_settings_have_mistakes(
    home: _Home,
) -> None:
    assert home.run("check", "--settings").exit_code == 0
    config = home.path / "callback-queue.yaml"
    config.write_text(config.read_text().replace("outbound_channel", "outbound_chanel"))
    done = home.run("check", "--settings")
    assert done.exit_code == 2
    assert "outbound_chanel" in done.stderr


def test_unit_checks_the_settings_before_it_reloads() -> None:
    unit = (Path(cli.__file__).parents[2] / "etc/callback-queue.service").read_text()
    reloads = [line for line in unit.splitlines() if line.startswith("ExecReload=")]
    assert [line.split()[1:] for line in reloads] == [
        ["check", "--settings"],
        ["-HUP", "$MAINPID"],
    ]


def test_settings_are_shown_without_a_service(home: _Home) -> None:
    done = home.run("settings", "show")
    assert (done.exit_code, done.stderr) == (0, "")
    head, _, columns, *rows = done.stdout.splitlines()
    assert head.startswith(f"{home.path}/callback-queue.yaml, loaded ")
    assert columns.split() == ["SETTING", "VALUE", "FROM", "DEFAULT"]
    values = {row.split()[0]: row.split()[1:] for row in rows}
    text = (home.path / "callback-queue.yaml").read_text().splitlines()
    secret = text.index("  secret: x") + 1
    channel = text.index("  outbound_channel: PJSIP/{number}@trunk") + 1
    assert values["ami.secret"] == ["secret", "line", f"{secret}", "-"]
    assert values["queues.support.outbound_channel"] == (
        ["PJSIP/{number}@trunk", "line", f"{channel},", "defaults", "-"]
    )
    assert values["queues.support.attempts"] == ["5", "-", "5"]
    given = home.run("settings", "show", "--given", "--json")
    assert [row["name"] for row in json.loads(given.stdout)["settings"]] == [
        *("ami.secret", "database.url", "control.socket"),
        *("defaults.outbound_channel", "queues.support.outbound_channel"),
    ]
    done = home.run("settings", "show", "--queue", "sales")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "no queue 'sales' in the settings (there are: support)\n"


def test_changed_settings_file_is_tried_without_a_service(home: _Home) -> None:
    text = (home.path / "callback-queue.yaml").read_text()
    changed = home.path / "changed.yaml"

    def check(text: str) -> Result:
        changed.write_text(text)
        return home.run("settings", "check", str(changed))

    assert check(text).stdout == "nothing changes\n"
    done = check(
        text.replace("secret: x", "secret: y")
        .replace("support: {}", "sales: {}")
        .replace("defaults:", "log: {level: warn}\ndefaults:")
    )
    assert done.exit_code == 0
    assert done.stdout == (
        "queue sales is added\nqueue support is removed\n"
        "ami.secret: a secret changes (takes effect at the next start)\n"
        "log.level: info -> warn\n"
    )
    done = check(text.replace("secret:", "secrets:"))
    assert done.exit_code == 1
    assert ": ami.secrets: unknown setting - did you mean secret?\n" in done.stdout
    changed.write_bytes(b"\xff")
    done = home.run("settings", "check", str(changed))
    assert (done.exit_code, done.stderr) == (1, f"{changed} is not UTF-8 text\n")
    done = check("#" * 300_000)
    assert done.exit_code == 1
    assert "text has 262,145 bytes" in done.stderr
