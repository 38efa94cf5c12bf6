# SPDX-License-Identifier: MIT
"""What ``check`` finds on the network, and how all findings are put together.

These use real sockets on the loopback address: what the system says of them is what
is looked at.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from click.testing import CliRunner

from fastagi import __version__, checks
from fastagi.checks import runner
from fastagi.checks.asterisk_machine import AsteriskMachine, NotVisible
from fastagi.checks.finding import Finding, Level, Notes
from fastagi.checks.network import check_control, check_fastagi
from fastagi.checks.process import Running, User, running_service
from fastagi.checks.service import check_service
from fastagi.command import cli, render
from fastagi.errors import Problem
from fastagi.runtime import kernel_limits
from tests.harness.checking import only, settings, told, write

_ROOT = User("root", 0)
_SOMEBODY = User("somebody", 12345)
_RUNNING = Running(uid=os.geteuid(), status={})
_FEW_FILES = Running(uid=os.geteuid(), status={}, open_files=1024)


@contextmanager
def _listener(host: str = "127.0.0.1") -> Iterator[int]:
    with socket.create_server((host, 0)) as server:
        yield server.getsockname()[1]


def _free_port() -> int:
    with _listener() as port:
        return port


class TestLimits:
    def test_files_for_fewer_connections_than_the_settings_allow(
        self, tmp_path: Path
    ) -> None:
        given = settings(tmp_path, ami={"secret": "x"}, fastagi={"port": 1})
        with _listener() as port:
            fastagi = given.fastagi.model_copy(update={"port": port})
            text = only(
                check_fastagi(
                    fastagi,
                    AsteriskMachine(given),
                    _FEW_FILES,
                    _ROOT,
                    control_refused=False,
                )
            )
        assert "1000 connections need 1128 open files" in text
        assert "the service may have 1024" in text
        assert "LimitNOFILE=1128" in text

    def test_kernel_that_holds_fewer_connections(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit = tmp_path / "somaxconn"
        limit.write_text("128\n")
        monkeypatch.setattr(kernel_limits, "_SOMAXCONN", limit)
        given = settings(tmp_path, ami={"secret": "x"}, fastagi={"port": _free_port()})
        text = only(
            check_fastagi(
                given.fastagi,
                AsteriskMachine(given),
                None,
                _ROOT,
                control_refused=False,
            )
        )
        assert "the kernel holds 128 connections" in text
        assert "net.core.somaxconn=1024" in text

    def test_running_service_tells_how_many_files_it_may_open(
        self, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "control.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            thread = threading.Thread(target=lambda: server.accept()[0].close())
            thread.start()
            running = running_service(path)
            thread.join()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert running is not None
        assert running.open_files == soft


class TestFastAgi:
    def _check(
        self,
        home: Path,
        *,
        running: Running | None = None,
        user: User = _ROOT,
        host: str = "127.0.0.1",
        **fastagi: Any,
    ) -> Notes:
        given = settings(home, fastagi=fastagi, ami={"secret": "x", "host": host})
        return check_fastagi(
            given.fastagi, AsteriskMachine(given), running, user, control_refused=False
        )

    def test_free_port_is_ok(self, tmp_path: Path) -> None:
        assert told(self._check(tmp_path, port=_free_port())) == ["ok"]

    def test_port_of_another_program(self, tmp_path: Path) -> None:
        with _listener() as port:
            text = only(self._check(tmp_path, port=port))
        assert text == (
            f"fault: 127.0.0.1:{port}: another program has this port - see which: ss"
            f" -ltnp 'sport = :{port}'; stop it, or write another fastagi.port, and the"
            " same in CALLBACK_AGI"
        )

    def test_address_of_another_machine(self, tmp_path: Path) -> None:
        text = only(self._check(tmp_path, listen="192.0.2.1", port=_free_port()))
        assert "this machine has no address 192.0.2.1" in text

    def test_port_only_root_may_have(self, tmp_path: Path) -> None:
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        text = only(self._check(tmp_path, port=first - 1, user=_SOMEBODY))
        assert f"somebody may not listen on a port below {first}" in text

    @pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
    def test_running_service_that_listens_is_ok(
        self, tmp_path: Path, listen: str
    ) -> None:
        with _listener() as port:
            notes = self._check(tmp_path, running=_RUNNING, port=port, listen=listen)
            assert told(notes) == ["ok"]

    def test_running_service_that_does_not_listen_here(self, tmp_path: Path) -> None:
        port = _free_port()
        text = only(self._check(tmp_path, running=_RUNNING, port=port))
        assert text.startswith(
            f"fault: 127.0.0.1:{port}: the service runs, and does not listen here: "
        )
        assert text.endswith("sudo systemctl restart callback-queue")

    def test_service_we_may_not_ask(self, tmp_path: Path) -> None:
        given = settings(tmp_path)
        notes = check_fastagi(
            given.fastagi, AsteriskMachine(given), None, _ROOT, control_refused=True
        )
        assert only(notes).startswith("warning: 127.0.0.1:4573: not checked: ")

    def test_whole_world_may_connect(self, tmp_path: Path) -> None:
        peers = ["127.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0"]
        port = _free_port()
        text = only(
            self._check(tmp_path, port=port, listen="0.0.0.0", allowed_peers=peers)
        )
        assert text.startswith(
            "warning: fastagi.allowed_peers: 0.0.0.0/0 lets strangers ask for callbacks"
        )
        assert told(self._check(tmp_path, port=port, allowed_peers=peers)) == ["ok"]

    @pytest.mark.parametrize(
        "peers", ["8.8.8.8", "2001:4860::1", "100.64.0.0/10", "fd00::/8"]
    )
    def test_one_address_or_a_network_of_nobody_elses_is_no_stranger(
        self, tmp_path: Path, peers: str
    ) -> None:
        given: dict[str, Any] = {"listen": "0.0.0.0", "allowed_peers": [peers]}
        assert told(self._check(tmp_path, **given, port=_free_port())) == ["ok"]

    @pytest.mark.parametrize("peers", ["8.8.8.0/31", "2001:4860::/32", "100.0.0.0/8"])
    def test_network_of_strangers_is_named(self, tmp_path: Path, peers: str) -> None:
        given: dict[str, Any] = {"listen": "0.0.0.0", "allowed_peers": [peers]}
        text = only(self._check(tmp_path, **given, port=_free_port()))
        assert f"{peers} lets strangers ask for callbacks" in text

    def test_asterisk_elsewhere_can_not_reach_us(self, tmp_path: Path) -> None:
        text = only(self._check(tmp_path, port=_free_port(), host="192.0.2.7"))
        assert text.startswith("fault: fastagi.listen: Asterisk is on another machine")

    def test_asterisk_elsewhere_is_not_let_in(self, tmp_path: Path) -> None:
        port = _free_port()
        given: dict[str, Any] = {"listen": "0.0.0.0", "port": port, "host": "192.0.2.7"}
        text = only(self._check(tmp_path, **given))
        assert text == (
            "fault: fastagi.allowed_peers: Asterisk (192.0.2.7) is not among those who"
            " may connect - write allowed_peers: [192.0.2.7]"
        )
        peers = ["192.0.2.7/32"]
        assert told(self._check(tmp_path, **given, allowed_peers=peers)) == ["ok"]


def _http(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class TestRunningService:
    @contextmanager
    def _service(self, path: Path, answer: bytes) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()

            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            yield
            thread.join(10)

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (_http(200, b'{"version": "1"}'), {"version": "1"}),
            (_http(503, b'{"detail": "x", "code": "database"}'), None),
            (_http(200, b'{"version": '), None),
            (b"nonsense\n", None),
            (b"", None),
        ],
    )
    def test_what_it_says(
        self, tmp_path: Path, answer: bytes, status: dict[str, str] | None
    ) -> None:
        path = tmp_path / "control.sock"
        with self._service(path, answer):
            found = running_service(str(path))
        assert found is not None
        assert (found.uid, found.status) == (os.geteuid(), status)
        assert not found.is_outdated

    def test_service_of_an_earlier_version_is_not_taken_for_one_that_hangs(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "control.sock"
        with self._service(path, b'{"ok": false, "error": "it is not JSON"}\n'):
            found = running_service(str(path))
        assert found is not None
        assert found.is_outdated
        control = check_control(str(path), found, _ROOT, control_refused=False)
        assert told(control) == ["ok"]
        text = only(check_service(found, control_refused=False))
        assert text.startswith("warning: callback-queue.service: an earlier version is")
        assert "sudo systemctl restart callback-queue" in text

    def test_nobody_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "control.sock"
        assert running_service(str(path)) is None
        # What a service that was killed leaves behind.
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
        assert running_service(str(path)) is None


class TestPlace:
    def test_files_of_this_machine_are_read_once(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/queues.conf", "[a]\n")
        place = AsteriskMachine(
            settings(tmp_path, ami={"secret": "x", "host": "localhost"})
        )
        conf = place.conf("queues.conf")
        (tmp_path / "etc/queues.conf").unlink()
        assert place.conf("queues.conf") is conf
        assert place.is_here

    def test_files_of_another_machine_are_not_ours(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/queues.conf", "[a]\n")
        place = AsteriskMachine(
            settings(tmp_path, ami={"secret": "x", "host": "192.0.2.1"})
        )
        with pytest.raises(NotVisible, match="Asterisk is on another machine"):
            place.conf("queues.conf")
        assert place.conf_or_none("queues.conf") is None
        assert place.console("core show version") is None

    def test_host_without_an_address(self, tmp_path: Path) -> None:
        place = AsteriskMachine(
            settings(tmp_path, ami={"secret": "x", "host": "nosuchhost.invalid"})
        )
        assert place.addresses == []
        assert not place.is_here

    def test_no_console(self, tmp_path: Path) -> None:
        text = f"[directories]\nastrundir => {tmp_path}\n"
        write(tmp_path / "etc/asterisk.conf", text)
        assert AsteriskMachine(settings(tmp_path)).console("core show version") is None


class TestService:
    def test_service_that_is_connected_is_ok(self) -> None:
        status = {"version": __version__, "asterisk": {"connected": True}}
        running = Running(uid=0, status=status)
        assert told(check_service(running, control_refused=False)) == ["ok"]

    def test_service_that_does_not_run_is_no_fault_but_told(self) -> None:
        text = only(check_service(None, control_refused=False))
        assert text.startswith("warning: callback-queue.service: the service is not ru")
        assert "sudo systemctl start callback-queue" in text

    def test_service_we_may_not_ask(self) -> None:
        assert told(check_service(None, control_refused=True)) == ["ok"]

    def test_service_that_answers_nothing_is_told_elsewhere(self) -> None:
        running = Running(uid=0, status=None)
        assert told(check_service(running, control_refused=False)) == ["ok"]

    def test_program_that_was_updated_and_not_started_anew(self) -> None:
        status = {"version": "0.0.9", "asterisk": {"connected": True}}
        text = only(check_service(Running(uid=0, status=status), control_refused=False))
        assert f"version 0.0.9 is running, and {__version__} is installed" in text

    def test_service_without_asterisk_says_why(self) -> None:
        asterisk = {"connected": False, "error": "refused the login"}
        status = {"version": __version__, "asterisk": asterisk}
        text = only(check_service(Running(uid=0, status=status), control_refused=False))
        assert text.startswith("fault: ")
        assert "not connected to Asterisk: refused the login" in text

    @staticmethod
    def with_others(*others: dict[str, Any]) -> Running:
        link = {"connected": False, "error": "it is held by the instance b"}
        status = {
            "version": __version__,
            "asterisk": link,
            "nodes": [{"name": "x", **link}],
            "instances": [
                {"version": __version__, "running": True, "differences": [], **other}
                for other in others
            ],
        }
        return Running(uid=0, status=status)

    def test_asterisk_that_another_service_holds_is_no_fault(self) -> None:
        other = {"name": "b", "nodes": [{"name": "x"}]}
        assert told(check_service(self.with_others(other), control_refused=False)) == [
            "ok"
        ]
        other = {"name": "b", "nodes": [{"name": "y"}]}
        text = only(check_service(self.with_others(other), control_refused=False))
        assert text.startswith("fault: ")

    def test_asterisk_that_another_service_holds_without_a_link_is_a_fault(
        self,
    ) -> None:
        lost = {"name": "x", "link_lost_since": "2026-11-30T10:00:00+00:00"}
        kept = {"name": "y", "link_lost_since": None}
        running = self.with_others({"name": "b", "nodes": [lost, kept]})
        text = only(check_service(running, control_refused=False))
        assert text.startswith(
            "fault: instance b: it holds the Asterisk x and has no link to it"
        )

    def test_other_services_have_another_version_or_other_settings(self) -> None:
        x = [{"name": "x"}]
        words = "attempts is 5 here and 3 at instance c"
        running = self.with_others(
            {"name": "b", "nodes": x, "version": "0.0.9"},
            {"name": "c", "nodes": [], "differences": [{"words": words}]},
            {"name": "d", "nodes": [], "version": "0.0.8", "running": False},
        )
        version, setting = told(check_service(running, control_refused=False))
        assert version.startswith("warning: instance b: it runs version 0.0.9, and ")
        assert f"this service {__version__}" in version
        assert setting.startswith(
            "warning: instance c: all services on one database should have the same"
            f" settings: {words}"
        )
        assert "sudo systemctl reload callback-queue" in setting

    def test_service_that_has_not_tried_again_since_asterisk_is_right(self) -> None:
        status = {"version": __version__, "asterisk": {"connected": False}}
        text = only(check_service(Running(uid=0, status=status), control_refused=False))
        assert "if nothing is, the service connects again within a minute" in text

    def test_service_that_can_not_use_its_database_says_why(self) -> None:
        problem = Problem("", "no room left for /var/lib/x; y.db", "make room; now")
        status = {
            "version": __version__,
            "database": str(problem),
            "database_problem": attrs.asdict(problem),
        }
        text = only(check_service(Running(uid=0, status=status), control_refused=False))
        assert text == (
            "fault: callback-queue.service: the service can not use its database: no"
            " room left for /var/lib/x; y.db - make room; now"
        )
        # As a service of version 0.1.0 says it.
        status = {"version": __version__, "database": "it has not answered for 5 s"}
        text = only(check_service(Running(uid=0, status=status), control_refused=False))
        assert " - put right what is found under database" in text


class TestRun:
    def _configure(self, home: Path, **sections: Any) -> str:
        path = home / "callback-queue.yaml"
        given = {
            "ami": {"secret": "x", "port": _free_port()},
            "fastagi": {"port": _free_port()},
            "database": {"url": f"sqlite:///{home}/cq.db"},
            "control": {"socket": f"{home}/control.sock"},
            "asterisk": {"config_dir": f"{home}/etc", "sounds_dir": f"{home}/sounds"},
            "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
            "queues": {"support": {}},
            **sections,
        }
        path.touch(mode=0o640)
        path.write_text(yaml.safe_dump(given))
        return str(path)

    def test_every_area_is_told_of(self, tmp_path: Path) -> None:
        found = checks.run(self._configure(tmp_path))
        assert list(dict.fromkeys(finding.area for finding in found)) == [
            *(
                "settings",
                "program",
                "numbers",
                "database",
                "manager",
                "dialplan",
                "queues",
            ),
            *("history", "sounds", "FastAGI", "control socket", "service"),
        ]
        by_area = {finding.area: finding for finding in found}
        assert by_area["settings"].is_ok
        assert by_area["database"].is_ok
        assert by_area["manager"].is_fault
        assert not by_area["dialplan"].is_ok
        # Whatever is wrong comes with its place and its remedy.
        assert all(
            finding.is_ok or (finding.where and finding.what and finding.remedy)
            for finding in found
        )

    def test_wrong_settings_are_all_there_is_to_say(self, tmp_path: Path) -> None:
        path = self._configure(tmp_path, fastagi={"prot": 1, "port": 0})
        assert told(checks.run(path)) == [
            f"fault: {path}:14: fastagi.port: must be 1 or more (got 0) - ",
            f"fault: {path}:15: fastagi.prot: unknown setting - did you mean port?",
            f"warning: {path}: nothing else was checked: it depends on the settings -"
            " put them right and run this check again",
        ]

    def test_an_area_that_fails_does_not_keep_others_from_being_looked_at(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_settings: object, _place: object) -> Notes:
            raise PermissionError(13, "Permission denied", "/sound")

        monkeypatch.setattr(runner, "check_sounds", fail)
        found = checks.run(self._configure(tmp_path))
        (text,) = told(finding for finding in found if finding.area == "sounds")
        assert text == (
            "warning: sounds: not checked: [Errno 13] Permission denied: '/sound'"
            " - run this check as root"
        )
        assert found[-1].area == "service"

    def test_mistake_of_ours_is_a_finding_that_tells_no_secret(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_settings: object, _place: object) -> Notes:
            raise ValueError("invalid: 'a piece of a password'")

        monkeypatch.setattr(runner, "check_sounds", fail)
        found = checks.run(self._configure(tmp_path))
        (text,) = told(finding for finding in found if finding.area == "sounds")
        assert text.startswith(f"fault: sounds: not checked: ValueError in {__file__}")
        assert "report it" in text
        assert "password" not in text
        assert found[-1].area == "service"

    def test_command_tells_people_and_programs(self, tmp_path: Path) -> None:
        path = self._configure(tmp_path)
        done = CliRunner().invoke(cli.main, ["check", "--config", path])
        assert done.exit_code == 1
        assert done.output.startswith(
            "settings        ok\nprogram         ok\nnumbers         WARNING: "
        )
        done = CliRunner().invoke(cli.main, ["check", "--json", "--config", path])
        assert done.exit_code == 1
        found = json.loads(done.output)
        keys = {"area", "where", "problem", "remedy", "level", "checked"}
        assert keys == set(found[0])
        assert found[0]["level"] == "ok"

    def test_warnings_alone_are_no_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        doubt = Finding(
            area="queues", where="here", what="?", remedy="!", level=Level.WARNING
        )
        monkeypatch.setattr(checks, "run", lambda _config: [doubt])
        done = CliRunner().invoke(cli.main, ["check"])
        assert done.exit_code == 0
        assert done.output == (
            "queues  WARNING: here: ?\n          -> !\n\nno faults, 1 warning\n"
        )


def test_report_of_a_clean_system_has_one_line_for_each_area() -> None:
    areas = [*Notes("settings"), *Notes("control socket")]
    assert render.findings(areas) == "settings        ok\ncontrol socket  ok"


def test_faults_of_an_area_come_first_and_nothing_twice() -> None:
    notes = Notes("queues")
    notes.warn("a", "b", "c")
    notes.fault("d", "e", "f")
    notes.fault("d", "e", "f")
    assert told(notes) == ["fault: d: e - f", "warning: a: b - c"]
