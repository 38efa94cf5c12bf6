# SPDX-License-Identifier: MIT
"""The examples in etc/ cannot rot: what they say is held to the code.

That Asterisk takes them is tested with real ones in tests/asterisk.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fastagi.ami.events import READ_CLASSES
from fastagi.checks import dialplan
from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.conf import Conf, Section, read_conf
from fastagi.checks.files import HIDDEN
from fastagi.checks.manager import (
    NO_EMPTY_LINE,
    WRITE_CLASSES,
    check_manager,
)
from fastagi.checks.process import DEFAULT_USER
from fastagi.checks.queues import check_queues
from fastagi.command import cli
from fastagi.config.load import SECRET_VARIABLE, load_settings, parse_settings
from fastagi.config.sections import (
    ControlSettings,
    DatabaseSettings,
    FastAgiSettings,
    HistorySettings,
)
from fastagi.store import migrate
from tests.emulator.scripted_manager import ScriptedManager, success
from tests.harness.checking import log_in, settings, told, write

_ROOT = Path(__file__).parents[2]
_ETC = _ROOT / "etc"
_ASTERISK = _ETC / "asterisk"
#: How secure systemd takes a service to be: 10 is not at all.
_MAX_EXPOSURE = 1.5
#: Every Debian that the service can be installed on has it; a container made for
#: something else may not.
_with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd here"
)


def _read(name: str) -> Conf:
    path = _ASTERISK / name
    return read_conf(path.parent, path.name)


def _value(section: Section | None, name: str) -> str:
    assert section is not None
    option = section.get(name)
    assert option is not None, name
    return option.value


class TestManagerUser:
    def test_it_has_the_rights_that_are_needed_and_no_others(self) -> None:
        (user,) = _read("manager.d/callback-queue.conf").sections
        assert _value(user, "read").split(",") == list(READ_CLASSES)
        assert _value(user, "write").split(",") == list(WRITE_CLASSES)

    def test_it_fits_the_sample_settings(self) -> None:
        ami = load_settings(_ETC / "callback-queue.yaml", {}).ami
        user = _read("manager.d/callback-queue.conf").section(ami.username)
        assert _value(user, "secret") == ami.secret.get_secret_value()

    def test_only_this_machine_may_log_in(self) -> None:
        (user,) = _read("manager.d/callback-queue.conf").sections
        denied = {ipaddress.ip_network(one.value) for one in user.all("deny")}
        assert denied == {
            ipaddress.ip_network("0.0.0.0/0"),
            ipaddress.ip_network("::/0"),
        }
        permitted = [ipaddress.ip_network(one.value) for one in user.all("permit")]
        assert len(permitted) == 2
        assert all(network.is_loopback for network in permitted)

    def test_check_finds_nothing_in_it(self, tmp_path: Path) -> None:
        text = (_ASTERISK / "manager.d/callback-queue.conf").read_text()
        write(tmp_path / "etc/manager.d/callback-queue.conf", text)
        include = '[general]\nenabled = yes\n#include "manager.d/*.conf"\n'
        write(tmp_path / "etc/manager.conf", include)
        given = settings(tmp_path)
        names = [one for several in WRITE_CLASSES.values() for one in several]
        commands = success(
            *((name, "?") for name in [*names, "DeviceStateList", "QueueStatus"])
        )
        script = {
            "ListCommands": lambda _: (commands,),
            "CoreSettings": lambda _: (success(("AsteriskVersion", "22.1.0")),),
        }
        with ScriptedManager(script) as manager, log_in(manager) as link:
            assert told(check_manager(link, given, AsteriskMachine(given))) == ["ok"]

    def test_filters_hold_to_the_beginning(self) -> None:
        """Else a caller's name could match, and hide the caller's events."""
        (user,) = _read("manager.d/callback-queue.conf").sections
        filters = [one.value for one in user.all("eventfilter")]
        assert filters
        *of_names, of_empty_lines = filters
        assert all(text.startswith("!^Event: ") for text in of_names)
        assert of_empty_lines == NO_EMPTY_LINE


class TestQueues:
    def test_check_finds_nothing_in_it(self, tmp_path: Path) -> None:
        write(tmp_path / "etc/queues.conf", (_ASTERISK / "queues.conf").read_text())
        given = settings(tmp_path)
        assert told(check_queues(None, given, AsteriskMachine(given))) == [
            "warning: Asterisk: which queues and members it has is not checked: there"
            " is no connection to the manager - put the connection right and run this"
            " check again"
        ]

    def test_it_names_a_prompt_that_is_shipped(self) -> None:
        prompt = _value(_read("queues.conf").section("support"), "periodic-announce")
        assert (_ROOT / "sounds/en" / f"{prompt}.wav").exists()

    def test_wrapuptime_that_the_sample_settings_explain(self) -> None:
        assert _value(_read("queues.conf").section("support"), "wrapuptime") == "10"
        assert "#wrapuptime: " in (_ETC / "callback-queue.yaml").read_text()


class TestDialplan:
    @pytest.fixture
    def conf(self, tmp_path: Path) -> Conf:
        shutil.copy(_ASTERISK / "extensions.conf", tmp_path)
        shutil.copy(_ROOT / "dialplan" / dialplan.FILE, tmp_path)
        return read_conf(tmp_path, "extensions.conf")

    def test_it_includes_ours(self, conf: Conf) -> None:
        assert conf.gaps == []
        assert all(conf.section(name) for name in dialplan.CONTEXTS)

    def test_variables_are_those_of_our_dialplan(self) -> None:
        ours = (_ROOT / "dialplan" / dialplan.FILE).read_text()
        example = (_ASTERISK / "extensions.conf").read_text()
        used = set(re.findall(r"CALLBACK_[A-Z_]+", example))
        assert {"CALLBACK_QUEUE_ARGS", "CALLBACK_AGI"} <= used
        assert all(f"{{{name}}}" in ours for name in used)

    def test_its_way_into_the_queue_is_through_callback_enter(self, conf: Conf) -> None:
        (line,) = re.findall(
            r"^ same => n,Gosub\((.*)\)\n same => n,Queue\(\${CALLBACK_QUEUE_ARGS}\)$",
            (_ASTERISK / "extensions.conf").read_text(),
            re.MULTILINE,
        )
        assert line.startswith("callback-enter,s,1(support,")
        assert conf.section("callback-enter") is not None


class TestUnit:
    @pytest.fixture
    def unit(self) -> configparser.RawConfigParser:
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read(_ETC / "callback-queue.service")
        return parser

    def test_it_runs_our_command_with_our_settings(
        self, unit: configparser.RawConfigParser
    ) -> None:
        program, *arguments = unit["Service"]["ExecStart"].split()
        (script,) = entry_points(group="console_scripts", name=Path(program).name)
        assert script.value == "fastagi.command.cli:main"
        assert arguments == ["run"]
        assert "run" in cli.main.commands
        text = (_ETC / "callback-queue.service").read_text()
        assert cli.DEFAULT_CONFIG in text
        assert SECRET_VARIABLE in text

    def test_it_is_started_when_the_service_says_that_it_listens(
        self, unit: configparser.RawConfigParser
    ) -> None:
        # That it says so is tested in tests/process/test_supervisor.py.
        assert unit["Service"]["Type"] == "notify"
        assert unit["Service"]["NotifyAccess"] == "main"
        assert "AF_UNIX" in unit["Service"]["RestrictAddressFamilies"].split()

    def test_its_directories_are_the_default_ones(
        self, unit: configparser.RawConfigParser
    ) -> None:
        service = {key: _named(text) for key, text in unit["Service"].items()}
        database = DatabaseSettings().url.removeprefix("sqlite:///")
        assert Path(database).parent == Path("/var/lib", service["StateDirectory"])
        control = Path(ControlSettings().socket)
        assert control.parent == Path("/run", service["RuntimeDirectory"])

    def test_a_copy_under_another_name_has_directories_and_settings_of_its_own(
        self, tmp_path: Path
    ) -> None:
        # The directory of a control socket goes when its unit stops: one unit each.
        text = (_ETC / "callback-queue.service").read_text()
        named = ("StateDirectory", "RuntimeDirectory", "EnvironmentFile", "Environment")
        lines = [
            line
            for line in text.splitlines()
            if line.partition("=")[0] in named and "%b" not in line
        ]
        assert len(lines) == len(named)
        for name in ("callback-queue", "callback-queue-berlin"):
            assert [line.replace("%N", name) for line in lines] == [
                f"EnvironmentFile=-/etc/default/{name}",
                f"Environment=CALLBACK_QUEUE_CONFIG=/etc/{name}/callback-queue.yaml",
                f"StateDirectory={name}",
                f"RuntimeDirectory={name}",
            ]

    def test_docs_tell_how_to_run_a_second_service(self) -> None:
        told = (_ROOT / "docs/second-service.md").read_text()
        assert "callback-queue-berlin.service" in told
        (yaml,) = re.findall("^```yaml\n(.*?)```$", told, re.M | re.S)
        given = parse_settings(
            f"ami: {{secret: x}}\n{yaml}queues:\n  support:\n"
            "    outbound_channel: PJSIP/{number}@trunk\n",
            environ={},
        )
        assert given.fastagi.port != FastAgiSettings().port
        assert Path(given.control.socket).parent == Path("/run/callback-queue-berlin")
        database = given.database.url.removeprefix("sqlite:///")
        assert Path(database).parent == Path("/var/lib/callback-queue-berlin")
        # The default is the log of the first Asterisk.
        assert given.history.queue_log_file == ""

    def test_its_user_is_made(self, unit: configparser.RawConfigParser) -> None:
        assert unit["Service"]["User"] == DEFAULT_USER
        lines = (_ETC / "callback-queue.sysusers").read_text().splitlines()
        (line,) = [line for line in lines if line and not line.startswith("#")]
        assert line.split()[:2] == ["u", DEFAULT_USER]
        state = _named(unit["Service"]["StateDirectory"])
        assert line.split()[-1] == f"/var/lib/{state}"

    @pytest.fixture
    def ends(self, tmp_path: Path) -> Callable[..., int]:
        """Run the service with a database; return its exit code."""

        def run(url: str, ami: str = "") -> int:
            config = tmp_path / "callback-queue.yaml"
            if url:
                _write_settings(config, url, ami)
            done = subprocess.run(
                [_program(), "run"],
                env={**os.environ, "CALLBACK_QUEUE_CONFIG": str(config)},
                capture_output=True,
                check=False,
                timeout=60,
            )
            return done.returncode

        return run

    def test_what_stays_wrong_does_not_start_it_again_and_again(
        self,
        unit: configparser.RawConfigParser,
        ends: Callable[..., int],
        tmp_path: Path,
    ) -> None:
        for_a_person = {int(unit["Service"]["RestartPreventExitStatus"])}
        no_settings = ends("")
        path = tmp_path / "callbacks.db"
        no_ca = f", tls: {{enabled: true, ca_file: {tmp_path}/ca.pem}}"
        assert {ends(f"sqlite:///{path}", no_ca)} == for_a_person
        migrate.upgrade(f"sqlite:///{path}")
        versions = set()
        for version in ("0001", "9999"):
            with closing(sqlite3.connect(path)) as conn, conn:
                conn.execute("UPDATE alembic_version SET version_num = ?", (version,))
            versions.add(ends(f"sqlite:///{path}"))
        assert {no_settings} == versions == for_a_person

    def test_what_may_come_right_by_itself_starts_it_again(
        self, unit: configparser.RawConfigParser, ends: Callable[..., int]
    ) -> None:
        assert unit["Service"]["Restart"] == "on-failure"
        # The server has not started yet.
        code = ends("postgresql://callback@127.0.0.1:1/callback")
        assert code not in {0, int(unit["Service"]["RestartPreventExitStatus"])}

    def test_of_asterisk_it_sees_the_logs_and_no_secrets(
        self, unit: configparser.RawConfigParser
    ) -> None:
        # The group of Asterisk's logs would open all of these.
        text = (_ETC / "callback-queue.service").read_text()
        hidden = [
            Path(path.removeprefix("-"))
            for line in re.findall("^InaccessiblePaths=(.*)$", text, re.MULTILINE)
            for path in line.split()
        ]
        for directory in ("etc", "run", "var/run", "var/lib", "var/spool"):
            assert Path("/", directory, "asterisk") in hidden
        # What check tells of.
        assert set(HIDDEN) == set(hidden)
        needed = [cli.DEFAULT_CONFIG, HistorySettings().queue_log]
        needed += ["/var/log/asterisk/cdr-csv/Master.csv", ControlSettings().socket]
        for path in needed:
            assert not any(Path(path).is_relative_to(one) for one in hidden), path

    def test_it_may_do_nothing_that_it_does_not_need(
        self, unit: configparser.RawConfigParser
    ) -> None:
        # Where there is no systemd-analyze, too: these were measured with it.
        service = unit["Service"]
        for directive in (
            *("NoNewPrivileges", "RestrictSUIDSGID", "PrivateUsers", "ProtectHome"),
            *("PrivateTmp", "PrivateDevices", "ProtectKernelTunables"),
            *("ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups"),
            *("ProtectClock", "ProtectHostname", "RestrictNamespaces"),
            *("RestrictRealtime", "LockPersonality", "MemoryDenyWriteExecute"),
        ):
            assert service[directive] == "yes", directive
        assert service["CapabilityBoundingSet"] == ""
        assert service["ProtectSystem"] == "strict"
        assert service["UMask"] == "0077"
        assert service["User"] != "root"
        # TCP to Asterisk, and a database on TCP or a socket of this machine.
        families = service["RestrictAddressFamilies"].split()
        assert families == ["AF_UNIX", "AF_INET", "AF_INET6"]

    @_with_systemd
    def test_systemd_understands_it_and_takes_it_for_secure(
        self, tmp_path: Path
    ) -> None:
        text = (_ETC / "callback-queue.service").read_text()
        # The program itself is not installed here.
        text = text.replace("/opt/callback-queue/bin/callback-queue", "/bin/true")
        unit = tmp_path / "callback-queue.service"
        unit.write_text(text)
        verified = subprocess.run(
            ["systemd-analyze", "verify", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        ours = [line for line in verified.stderr.splitlines() if unit.name in line]
        assert ours == []
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found, done.stderr
        assert float(found[1]) <= _MAX_EXPOSURE

    @_with_systemd
    def test_systemd_understands_the_user(self) -> None:
        file = _ETC / "callback-queue.sysusers"
        done = subprocess.run(
            ["systemd-sysusers", "--dry-run", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "" or DEFAULT_USER in done.stderr


class TestNightlyCopy:
    """The systemd units that docs/backup.md has an admin write."""

    @pytest.fixture
    def units(self) -> dict[str, str]:
        text = (_ROOT / "docs/backup.md").read_text()
        pattern = r"^cat >/etc/systemd/system/(\S+) <<'END'\n(.*?)^END$"
        found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
        assert [name for name, _ in found] == [
            "callback-queue-backup.service",
            "callback-queue-backup.timer",
        ]
        return dict(found)

    def test_it_makes_a_copy_and_removes_old_ones_only_then(
        self, units: dict[str, str], tmp_path: Path
    ) -> None:
        copies = tmp_path / "copies"
        copies.mkdir()
        unit = units["callback-queue-backup.service"]
        unit = unit.replace("=callback-queue ", f"={_program()} ")
        unit = unit.replace("/var/backups/callback-queue", str(copies))
        back_up, tidy_up = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
        url = f"sqlite:///{tmp_path}/{Path(DatabaseSettings().url).name}"
        migrate.upgrade(url)
        config = tmp_path / "callback-queue.yaml"
        _write_settings(config, url)
        for name, days in (("old", 20), ("new", 10), ("other", 20)):
            prefix = "" if name == "other" else "callback-queue-"
            path = copies / f"{prefix}{name}.db"
            path.touch()
            os.utime(path, (time.time() - days * 86400,) * 2)

        for command in (back_up, tidy_up):
            subprocess.run(
                shlex.split(command),
                check=True,
                env={**os.environ, "CALLBACK_QUEUE_CONFIG": str(config)},
            )

        names = sorted(path.name for path in copies.iterdir())
        assert len(names) == 3
        assert names[0].startswith("callback-queue-20")
        assert names[1:] == ["callback-queue-new.db", "other.db"]

    @_with_systemd
    def test_systemd_understands_it(
        self, units: dict[str, str], tmp_path: Path
    ) -> None:
        for name, text in units.items():
            # The program itself is not installed here.
            text = text.replace("=callback-queue ", "=/bin/true ")
            (tmp_path / name).write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
            capture_output=True,
            text=True,
            check=False,
        )
        ours = [line for line in done.stderr.splitlines() if "backup" in line]
        assert ours == []


@pytest.mark.parametrize("before", ["[a]\nexten => 1,1,NoOp()", "[a]\n", ""])
def test_docs_add_the_include_to_a_file_without_a_newline_at_its_end(
    tmp_path: Path, before: str
) -> None:
    install = (_ROOT / "docs/install.md").read_text()
    (lines,) = re.findall(
        r"^sudo grep -q .*?tee -a /etc/asterisk/extensions.conf$", install, re.M | re.S
    )
    path = tmp_path / "extensions.conf"
    path.write_text(before)
    script = lines.replace("/etc/asterisk/extensions.conf", str(path))
    # Run again, it changes nothing.
    for _ in range(2):
        subprocess.run(
            ["bash", "-c", f'sudo() {{ "$@"; }}\n{script}'],
            check=True,
            capture_output=True,
        )
    after = path.read_text()
    assert after.startswith(before)
    assert after.splitlines().count('#include "callback-queue.conf"') == 1
    assert after.endswith('\n#include "callback-queue.conf"\n')


@pytest.mark.parametrize("page", ["docs/install.md", "docs/update.md"])
def test_docs_give_sudo_the_whole_path_of_our_command(page: str) -> None:
    # Its secure_path may lack /usr/local/bin.
    names = "|".join(sorted(cli.main.commands))
    command = re.compile(rf"(?<![/\w.-])callback-queue (?:\w+ )?(?:{names})\b")
    text = (_ROOT / page).read_text()
    by_sudo = re.findall(r"^sudo (?!systemctl|-u callback-queue).*$", text, re.M)
    assert by_sudo
    assert [line for line in by_sudo if command.search(line)] == []


def _named(text: str) -> str:
    """Return what the unit as it is installed makes of its own name."""
    return text.replace("%N", "callback-queue")


def _write_settings(config: Path, url: str, ami: str = "") -> None:
    config.write_text(
        f"ami: {{secret: x{ami}}}\ndatabase: {{url: '{url}'}}\n"
        f"control: {{socket: '{config.parent}/control.sock'}}\n"
        "queues: {support: {outbound_channel: 'PJSIP/{number}@trunk'}}\n"
    )


def _program() -> str:
    return shutil.which("callback-queue", path=_bin()) or ""


def _bin() -> str:
    return str(Path(sys.executable).parent)


#: Files for people; the dashboard, which Grafana has written, is for programs.
_FOR_PEOPLE = sorted(path for path in _ETC.rglob("*.*") if path.suffix != ".json")


@pytest.mark.parametrize("path", _FOR_PEOPLE, ids=lambda path: path.name)
def test_lines_are_short_enough_to_read(path: Path) -> None:
    lines = path.read_text().splitlines() if path.is_file() else []
    assert [line for line in lines if len(line) > 88 or line != line.rstrip()] == []
    assert not any("\t" in line for line in lines)
