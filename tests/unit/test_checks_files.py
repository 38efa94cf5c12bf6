# SPDX-License-Identifier: MIT
"""Findings of ``check`` about files: the database, the sounds, the control socket."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs
import pytest
import yaml

from fastagi.checks import database
from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.database import check_database
from fastagi.checks.files import HIDDEN, check_program, check_settings_file
from fastagi.checks.finding import Notes
from fastagi.checks.network import check_control
from fastagi.checks.process import DEFAULT_USER, Running, User, service_user
from fastagi.checks.sounds import SHIPPED, check_sounds
from fastagi.config.load import load_settings, parse_settings
from fastagi.store import migrate
from fastagi.store.errors import StoreUnavailable
from tests.harness.checking import only, settings, told, write

_US = User(pwd.getpwuid(os.geteuid()).pw_name, os.geteuid())
_NOBODY = User("nobody", pwd.getpwnam("nobody").pw_uid)
#: Another user, from whom files can be hidden; only root can check that user's rights.
_STRANGER = _NOBODY if os.geteuid() == 0 else _US


def let_stranger(path: Path, bits: int) -> None:
    """Let the stranger do so much with a file or directory: 4 read, 2 write, 1 pass."""
    path.chmod(0o700 | bits if os.geteuid() == 0 else bits << 6)


class TestDatabase:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "callback-queue.db"

    def _check(self, file: Path, user: User = _US) -> Notes:
        return check_database(f"sqlite:///{file}", user)

    def test_database_of_this_version_is_ok(self, file: Path) -> None:
        migrate.upgrade(f"sqlite:///{file}")
        assert told(self._check(file)) == ["ok"]

    def test_calls_of_an_asterisk_that_is_not_in_the_settings(self, file: Path) -> None:
        url = f"sqlite:///{file}"
        migrate.upgrade(url)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(
                "INSERT INTO attempt (task_id, channel_id, started_at, member, talk_s,"
                " reason_code, reason_params, node)"
                " VALUES (1, 'callback-1', 1, '', 0, '', '{}', 'berlin')"
            )
            connection.commit()
        text = only(check_database(url, _US, nodes=["pbx1"]))
        assert text.startswith(f"fault: {file}: callbacks are in progress on the")
        assert "the Asterisk berlin, which is not in the settings" in text
        assert told(check_database(url, _US, nodes=["pbx1", "berlin"])) == ["ok"]

    @pytest.mark.parametrize("content", [None, b""])
    def test_database_that_the_first_start_makes_is_ok(
        self, file: Path, content: bytes | None
    ) -> None:
        if content is not None:
            file.write_bytes(content)
        assert told(self._check(file)) == ["ok"]
        assert not file.exists() or file.stat().st_size == 0

    def test_missing_directory(self, tmp_path: Path) -> None:
        text = only(self._check(tmp_path / "gone" / "cq.db"))
        assert text.startswith(
            f"fault: {tmp_path}/gone: the directory of the database does not exist"
            " - install -d -m 750 -o "
        )

    @pytest.mark.parametrize("unit", ["callback-queue", "callback-queue-berlin"])
    def test_directory_that_systemd_makes_is_no_fault(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
    ) -> None:
        monkeypatch.setattr(database, "MADE_BY_SYSTEMD", tmp_path / "callback-queue")
        made = tmp_path / unit
        text = only(self._check(made / "cq.db"))
        assert text.startswith(f"warning: {made}: ")
        assert f"systemctl start {unit}'" in text

    def test_directory_the_service_may_not_write_to(self, file: Path) -> None:
        _open_above(file.parent)
        let_stranger(file.parent, 5)
        assert only(self._check(file, _STRANGER)) == (
            f"fault: {file.parent}: {_STRANGER.name} may not write to the directory of"
            f" the database - chown {_STRANGER.owner} {file.parent}; chmod 750"
            f" {file.parent}"
        )

    def test_file_left_by_root_is_found(self, file: Path) -> None:
        _open_above(file.parent)
        migrate.upgrade(f"sqlite:///{file}")
        let_stranger(file.parent, 7)
        let_stranger(file, 0)
        assert told(self._check(file, _STRANGER)) == [
            f"fault: {file}: {_STRANGER.name} may not read and write it"
            f" - chown {_STRANGER.owner} {file}"
        ]

    def test_check_by_root_leaves_nothing_of_roots(self, file: Path) -> None:
        _open_above(file.parent)
        migrate.upgrade(f"sqlite:///{file}")
        for path in (file, file.parent):
            os.chown(path, _STRANGER.uid, -1)
        with closing(sqlite3.connect(file)) as conn:
            # Keeps the log, so that a check works on it.
            conn.execute("SELECT * FROM task").fetchall()
            assert told(self._check(file, _STRANGER)) == ["ok"]
            owners = {path.stat().st_uid for path in file.parent.iterdir()}
        assert owners == {_STRANGER.uid}

    def test_whoever_is_not_the_service_is_not_told_to_take_its_files(
        self, file: Path
    ) -> None:
        _open_above(file.parent)
        migrate.upgrade(f"sqlite:///{file}")
        somebody = attrs.evolve(_STRANGER, is_service=False)
        for closed, bits in ((file, 0), (file.parent, 5)):
            let_stranger(file.parent, 7)
            let_stranger(closed, bits)
            text = only(self._check(file, somebody))
            assert text.startswith(f"warning: {closed}: not checked: ")
            assert "chown" not in text
            assert "run this check as root" in text

    def test_file_without_tables_is_ok(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("CREATE TABLE calls (x)")
            conn.execute("DROP TABLE calls")
        assert told(self._check(file)) == ["ok"]

    def test_outdated_database(self, file: Path, tmp_path: Path) -> None:
        migrate.upgrade(f"sqlite:///{file}")
        ours = Path(migrate.__file__).with_name("migrations")
        newer = tmp_path / "migrations"
        shutil.copytree(ours, newer)
        (head,) = sorted((newer / "versions").glob("[0-9]*.py"))[-1:]
        text = f"revision = '9999'\ndown_revision = '{head.name[:4]}'\n"
        (newer / "versions/9999_more.py").write_text(text + "upgrade = print\n")
        current = functools.partial(migrate.check_current, migrations=newer)
        version = head.name[:4]
        assert only(check_database(f"sqlite:///{file}", _US, current)) == (
            f"fault: {file}: the database is of version {version}, version 9999 is"
            " needed - systemctl stop callback-queue; callback-queue db upgrade;"
            " systemctl start callback-queue"
        )

    def test_database_of_a_newer_version(self, file: Path) -> None:
        migrate.upgrade(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("UPDATE alembic_version SET version_num = '9999'")
            conn.commit()
        text = only(self._check(file))
        assert text.startswith(f"fault: {file}: the database is of version 9999, ")
        assert " - install the newer service again" in text

    def test_database_of_somebody_else_is_left_alone(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("CREATE TABLE calls (x)")
        before = file.read_bytes()
        assert "it belongs to something else: it has a table calls" in only(
            self._check(file)
        )
        # Not even turned over to a write-ahead log.
        assert file.read_bytes() == before

    @pytest.mark.parametrize("damage", ["no database", "lost pages"])
    def test_damaged_database(self, file: Path, damage: str) -> None:
        if damage == "no database":
            file.write_bytes(b"Hello, I am a letter. " * 100)
        else:
            migrate.upgrade(f"sqlite:///{file}")
            data = file.read_bytes()
            file.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
        text = only(self._check(file))
        assert text.startswith(f"fault: {file}: it is damaged or no database: ")

    def test_locked_database(self, file: Path) -> None:
        migrate.upgrade(f"sqlite:///{file}")
        with closing(sqlite3.connect(file, isolation_level=None)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            text = only(self._check(file))
        assert "is locked by another process" in text
        assert f"fuser -v {file}" in text

    def test_database_in_a_folder_with_punctuation_in_its_name(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "old; new/cq.db"
        file.parent.mkdir()
        migrate.upgrade(f"sqlite:///{file}")

        def current(_url: str) -> None:
            raise StoreUnavailable(f"{file} can not be opened", "see its rights; now")

        assert only(check_database(f"sqlite:///{file}", _US, current)) == (
            f"fault: {file}: {file} can not be opened - see its rights; now"
        )

    @pytest.mark.parametrize(
        ("option", "says"),
        [
            ("foo=bar", 'invalid connection option "foo"'),
            ("autocommit=1", 'invalid connection option "autocommit"'),
            ("plugin=foo", "Can't load plugin"),
        ],
    )
    def test_option_that_the_driver_does_not_know(self, option: str, says: str) -> None:
        url = f"postgresql://callback@127.0.0.1:1/callback?{option}"
        text = only(check_database(url, _US))
        assert text.startswith("fault: database.url: ")
        assert says in text
        assert text.endswith("correct database.url in the settings")


class TestSounds:
    def _install(self, home: Path, language: str, *names: str) -> None:
        for name in names or (
            "accepted",
            "already-registered",
            "cannot-call",
            "closed",
            "hold-on",
        ):
            write(home / "sounds" / language / f"callback-queue/{name}.wav", "")
        if not names:
            write(home / "sounds" / language / "callback-queue/member-alert.gsm", "")

    def _check(self, home: Path, **queue: object) -> Notes:
        given = settings(home, queues={"support": queue})
        return check_sounds(given, AsteriskMachine(given))

    def test_prompts_that_are_there_are_ok(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        assert told(self._check(tmp_path)) == ["ok"]

    def test_missing_prompt(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        (tmp_path / "sounds/en/callback-queue/accepted.wav").unlink()
        assert only(self._check(tmp_path)) == (
            f"fault: {tmp_path}/sounds/en/callback-queue/accepted: there is no such"
            " sound file for sounds.accepted - in the source of this service: mkdir -p"
            f" {tmp_path}/sounds/en; cp -r sounds/en/callback-queue"
            f" {tmp_path}/sounds/en/"
        )

    def test_prompt_in_no_format_of_asterisk(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        path = tmp_path / "sounds/en/callback-queue/accepted.wav"
        path.rename(path.with_suffix(".txt"))
        assert "sounds.accepted" in only(self._check(tmp_path))

    def test_prompt_of_another_name(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        text = only(self._check(tmp_path, sounds={"accepted": "custom/yes.sir"}))
        assert text.endswith("put the file there, or correct the name in the settings")
        write(tmp_path / "sounds/custom/yes.sir.ulaw", "")
        assert told(self._check(tmp_path, sounds={"accepted": "custom/yes.sir"})) == [
            "ok"
        ]

    def test_announcement_whose_file_is_not_there(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        write(
            tmp_path / "etc/queues.conf",
            "[support]\nperiodic-announce = custom/one, custom/two\n"
            "[other]\nperiodic-announce = custom/three\n",
        )
        write(tmp_path / "sounds/en/custom/one.gsm", "")
        assert only(self._check(tmp_path)) == (
            f"fault: {tmp_path}/sounds/en/custom/two: there is no such sound file for"
            " periodic-announce of [support] - put the file there, or correct the name"
            " in queues.conf"
        )

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for another user")
    def test_sound_that_asterisk_may_not_read(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        home = tmp_path
        while home != Path("/tmp"):
            home.chmod(0o755)
            home = home.parent
        write(
            tmp_path / "etc/asterisk.conf",
            f"[directories]\nastrundir = {tmp_path}/run\n[options]\nrunuser = nobody\n",
        )
        assert told(self._check(tmp_path)) == ["ok"]
        closed = tmp_path / "sounds/en/callback-queue/accepted.wav"
        closed.chmod(0o600)
        text = only(self._check(tmp_path))
        assert text.startswith(
            f"fault: {closed}: Asterisk runs as nobody, who may not read this sound"
            f" file for sounds.accepted - chmod a+r {closed}; "
        )
        # Another format that it may read is enough.
        closed.with_suffix(".gsm").touch()
        assert told(self._check(tmp_path)) == ["ok"]

    def test_full_path(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        sounds = {"accepted": f"{tmp_path}/yes"}
        assert f"fault: {tmp_path}/yes: " in only(self._check(tmp_path, sounds=sounds))
        write(tmp_path / "yes.sln16", "")
        assert told(self._check(tmp_path, sounds=sounds)) == ["ok"]

    def test_prompt_missing_in_one_of_the_languages(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        self._install(tmp_path, "de", "accepted", "hold-on")
        texts = told(self._check(tmp_path))
        assert len(texts) == 4
        assert all(text.startswith("warning: ") for text in texts)
        assert all("so it is heard in English" in text for text in texts)

    def test_language_that_is_a_link_to_another_counts_once(
        self, tmp_path: Path
    ) -> None:
        self._install(tmp_path, "en_US_f_Allison")
        for link, target in (("en_US", "en_US_f_Allison"), ("en", "en_US")):
            (tmp_path / "sounds" / link).symlink_to(target)
        assert told(self._check(tmp_path)) == ["ok"]
        (tmp_path / "sounds/en/callback-queue/hold-on.wav").unlink()
        assert f"cp -r sounds/en/callback-queue {tmp_path}/sounds/en/" in only(
            self._check(tmp_path)
        )

    def test_prompt_missing_in_a_language_that_we_do_not_speak(
        self, tmp_path: Path
    ) -> None:
        self._install(tmp_path, "en")
        self._install(
            tmp_path, "de", "accepted", "already-registered", "cannot-call", "closed"
        )
        texts = told(self._check(tmp_path))
        assert texts
        assert all("record it and put it there" in text for text in texts)

    def test_languages_that_we_speak_are_those_with_prompts(self) -> None:
        prompts = Path(__file__).parents[2].glob("sounds/*/callback-queue")
        assert {path.parent.name for path in prompts} == SHIPPED

    def test_alert_missing_in_the_language_of_the_agents(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        text = only(self._check(tmp_path, member_language="de_AT"))
        assert "/sounds/de_AT/callback-queue/member-alert: " in text
        self._install(tmp_path, "de")
        assert told(self._check(tmp_path, member_language="de_AT")) == ["ok"]

    def test_words_of_agents_keys_and_the_name_of_the_queue_are_missing(
        self, tmp_path: Path
    ) -> None:
        self._install(tmp_path, "en")
        missing = self._check(
            tmp_path,
            agent_keys={"enabled": True},
            whisper={"asked": True, "attempt": True, "queue": "custom/support"},
        )
        texts = told(missing)
        for name in (
            *("accept-press", "number-3", "client-missed", "ago"),
            *("attempt-number", "queue", "support"),
        ):
            assert any(f"/{name}: " in text for text in texts), name

    def test_words_for_times_are_looked_for_in_each_language(
        self, tmp_path: Path
    ) -> None:
        sounds = Path(__file__).parents[2] / "sounds"
        for language in SHIPPED:
            shutil.copytree(sounds / language, tmp_path / "sounds" / language)
        times = {"times": True, "slot_length": "10m"}
        assert told(self._check(tmp_path, choices=times)) == ["ok"]
        for missing in ("en/callback-queue/pm", "ru/callback-queue/hours-2"):
            (tmp_path / f"sounds/{missing}.wav").unlink()
        faults = sorted(told(self._check(tmp_path, choices=times)))
        assert len(faults) == 2
        assert "/en/callback-queue/pm: there is no such sound file for" in faults[0]
        assert "/ru/callback-queue/hours-2: " in faults[1]
        # Whole hours need no minutes.
        (tmp_path / "sounds/ru/callback-queue/minutes.wav").unlink()
        times["slot_length"] = "1h"
        assert len(told(self._check(tmp_path, choices=times))) == 2

    def test_missing_directory(self, tmp_path: Path) -> None:
        assert only(self._check(tmp_path)) == (
            f"fault: {tmp_path}/sounds: there is no such directory - write the"
            " directory of Asterisk's sounds as asterisk.sounds_dir"
        )

    def test_asterisk_has_its_sounds_elsewhere(self, tmp_path: Path) -> None:
        self._install(tmp_path, "en")
        text = "[directories](!)\nastdatadir => /usr/share/other\n"
        write(tmp_path / "etc/asterisk.conf", text)
        # A template makes no section of its own ...
        assert told(self._check(tmp_path)) == ["ok"]
        write(tmp_path / "etc/asterisk.conf", text.replace("(!)", ""))
        assert only(self._check(tmp_path)) == (
            f"fault: {tmp_path}/etc/asterisk.conf:2: Asterisk's sounds are in"
            f" /usr/share/other/sounds, the settings say {tmp_path}/sounds"
            " - write asterisk.sounds_dir: /usr/share/other/sounds"
        )

    def test_asterisk_on_another_machine(self, tmp_path: Path) -> None:
        given = settings(tmp_path, ami={"secret": "x", "host": "192.0.2.1"})
        text = only(check_sounds(given, AsteriskMachine(given)))
        assert text.startswith(
            "warning: sounds: not checked: Asterisk is on another machine (ami.host"
            " is 192.0.2.1)"
        )
        assert "callback-queue/accepted" in text


class TestControlSocket:
    def _check(self, path: Path, user: User = _US, running: object = None) -> Notes:
        assert running is None or isinstance(running, Running)
        return check_control(str(path), running, user, control_refused=False)

    def test_directory_that_is_there_is_ok(self, tmp_path: Path) -> None:
        assert told(self._check(tmp_path / "control.sock")) == ["ok"]

    def test_directory_that_the_service_can_make_is_ok(self, tmp_path: Path) -> None:
        assert told(self._check(tmp_path / "a/b/control.sock")) == ["ok"]

    @pytest.mark.parametrize("unit", ["callback-queue", "callback-queue-berlin"])
    def test_directory_that_systemd_makes_is_ok(self, unit: str) -> None:
        path = Path("/run", unit, "control.sock")
        assert told(self._check(path, _NOBODY)) == ["ok"]

    def test_directory_the_service_may_not_write_to(self, tmp_path: Path) -> None:
        _open_above(tmp_path)
        let_stranger(tmp_path, 5)
        assert only(self._check(tmp_path / "control.sock", _STRANGER)) == (
            f"fault: {tmp_path}: {_STRANGER.name} may not make the control socket here"
            f" - chown {_STRANGER.owner} {tmp_path}"
        )

    def test_directory_the_service_can_not_make(self, tmp_path: Path) -> None:
        _open_above(tmp_path)
        let_stranger(tmp_path, 5)
        user, _, group = _STRANGER.owner.partition(":")
        text = only(self._check(tmp_path / "a/control.sock", _STRANGER))
        assert text.startswith(
            f"fault: {tmp_path}/a: {user} may not make the directory of the control"
            f" socket - install -d -m 750 -o {user} -g {group}"
        )

    def test_service_that_does_not_answer(self, tmp_path: Path) -> None:
        running = Running(uid=_US.uid, status=None)
        text = only(self._check(tmp_path / "control.sock", running=running))
        assert text.startswith(f"fault: {tmp_path}/control.sock: the service has it")

    def test_service_that_answers_is_ok(self, tmp_path: Path) -> None:
        running = Running(uid=_US.uid, status={})
        path = tmp_path / "gone" / "control.sock"
        assert told(self._check(path, running=running)) == ["ok"]

    def test_socket_we_may_not_open(self, tmp_path: Path) -> None:
        notes = check_control(
            f"{tmp_path}/control.sock", None, _US, control_refused=True
        )
        assert only(notes).endswith("- run this check as root")


class TestSettingsFile:
    def _check(
        self, path: Path, user: User = _US, mode: int = 0o640, **ami: str
    ) -> Notes:
        path.write_text("ami:\n")
        path.chmod(mode)
        given = settings(path.parent, ami={"secret": "s3cret"})
        changed = attrs.evolve(given, ami=given.ami.model_copy(update=ami))
        return check_settings_file(str(path), changed, user)

    def test_file_for_the_service_alone_is_ok(self, tmp_path: Path) -> None:
        assert told(self._check(tmp_path / "cq.yaml")) == ["ok"]

    def test_files_the_service_may_not_read(self, tmp_path: Path) -> None:
        files = [tmp_path / name for name in ("cq.yaml", "secret", "cdr", "ca.pem")]
        path, secret, password, certificate = files
        for file in files:
            file.write_text("x")
            file.chmod(0o640)
        text = {
            "ami": {
                "secret_file": str(secret),
                "tls": {"enabled": True, "ca_file": str(certificate)},
            },
            "history": {
                "cdr_url": "mysql://callback@db/cdr",
                "cdr_password_file": str(password),
            },
            "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
            "queues": {"support": {}},
        }
        given = parse_settings(yaml.safe_dump(text), environ={})
        assert told(check_settings_file(str(path), given, _US)) == ["ok"]
        _open_above(tmp_path)
        for file in files:
            let_stranger(file, 0)
        name, group = _STRANGER.name, _STRANGER.owner.partition(":")[2]
        assert told(check_settings_file(str(path), given, _STRANGER)) == [
            *(
                f"fault: {file}: {name} may not read it - chgrp {group} {file}; chmod"
                f" 640 {file}; and let {name} pass to its directory"
                for file in (path, secret, password)
            ),
            f"fault: {certificate}: {name} may not read it - chmod 644 {certificate};"
            f" and let {name} pass to its directory",
        ]

    @pytest.mark.parametrize("directory", HIDDEN, ids=str)
    def test_certificate_in_a_directory_that_the_unit_hides(
        self, tmp_path: Path, directory: Path
    ) -> None:
        path = f"{directory}/keys/ca.crt"
        tls = {"enabled": True, "ca_file": path}
        given = settings(tmp_path, ami={"tls": tls})
        (tmp_path / "cq.yaml").write_text("ami:\n")
        (tmp_path / "cq.yaml").chmod(0o640)
        config = str(tmp_path / "cq.yaml")
        service = attrs.evolve(_US, name=DEFAULT_USER)
        assert only(check_settings_file(config, given, service)) == (
            f"fault: {path}: the systemd unit hides its directory from the service"
            f" (InaccessiblePaths) - install -m 640 -g callback-queue {path}"
            " /etc/callback-queue/ and write that path in the settings"
        )
        # Who runs as somebody else has no such unit.
        assert told(check_settings_file(config, given, _US)) == ["ok"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs a user besides this one")
    def test_console_that_the_service_may_use(self, tmp_path: Path) -> None:
        _open_above(tmp_path)
        path = tmp_path / "run/asterisk.ctl"
        write(path, "")
        write(
            tmp_path / "etc/asterisk.conf",
            f"[directories]\nastrundir => {path.parent}\n",
        )
        path.chmod(0o660)
        config = tmp_path / "cq.yaml"
        config.write_text("ami:\n")
        config.chmod(0o644)
        given = settings(tmp_path, ami={"secret": "s3cret"})

        def found() -> list[str]:
            notes = check_settings_file(str(config), given, _STRANGER)
            return [text for text in told(notes) if "asterisk.ctl" in text]

        assert found() == []
        path.chmod(0o666)
        (text,) = found()
        assert text.startswith(f"warning: {path}: {_STRANGER.name} may use Asterisk's")
        assert "RuntimeDirectoryPreserve=yes" in text

    def test_secret_that_everybody_may_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "cq.yaml"
        text = only(self._check(path, mode=0o644))
        assert text.startswith(f"warning: {path}: it holds the secret and every user")
        # There is no secret in it:
        secret = tmp_path / "secret"
        secret.touch(mode=0o640)
        assert told(self._check(path, mode=0o644, secret_file=str(secret))) == ["ok"]
        monkeypatch.setenv("CALLBACK_QUEUE_AMI_SECRET", "x")
        assert told(self._check(path, mode=0o644)) == ["ok"]

    def test_password_that_everybody_may_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CALLBACK_QUEUE_AMI_SECRET", "x")
        path = tmp_path / "cq.yaml"
        path.touch()
        url = "postgresql://callback:s3cret@db.example.com/callback"
        given = settings(tmp_path, ami={"secret": "x"}, database={"url": url})
        text = only(check_settings_file(str(path), given, _US))
        assert text.startswith(f"warning: {path}: it holds a password and every user")
        assert "s3cret" not in text

    def test_password_that_is_not_in_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CALLBACK_QUEUE_AMI_SECRET", "x")
        monkeypatch.setenv("CALLBACK_QUEUE_CDR_PASSWORD", "s3cret")
        path = tmp_path / "cq.yaml"
        text = yaml.safe_dump(
            {
                "database": {
                    "url": "postgresql://callback@db/callback?sslmode=require"
                },
                "history": {"cdr_url": "mysql://callback@db/cdr?charset=utf8mb4"},
                "defaults": {"outbound_channel": "PJSIP/{number}@trunk"},
                "queues": {"support": {}},
            }
        )
        path.write_text(text)
        path.chmod(0o644)
        assert told(check_settings_file(str(path), load_settings(path), _US)) == ["ok"]
        # And one that is.
        path.write_text(text.replace("utf8mb4", "utf8mb4&passwd=x"))
        monkeypatch.delenv("CALLBACK_QUEUE_CDR_PASSWORD")
        found = only(check_settings_file(str(path), load_settings(path), _US))
        assert "it holds a password and every user" in found

    def test_file_that_everybody_may_change(self, tmp_path: Path) -> None:
        text = only(self._check(tmp_path / "cq.yaml", mode=0o642))
        assert "every user of this machine may change it" in text


class TestUser:
    def test_somebody_asks_for_himself(self) -> None:
        with _as_nobody() if os.geteuid() == 0 else _nothing():
            user = service_user(Running(uid=0, status=None))
            assert user.is_us
            assert not user.may("w", Path("/"))
            assert user.may("r", Path("/"))

    def test_only_root_asks_for_the_user_of_the_running_service(self) -> None:
        user = service_user(Running(uid=_NOBODY.uid, status=None))
        assert attrs.evolve(user, is_service=True) == _STRANGER
        assert _NOBODY.owner == "nobody:nogroup"
        assert not user.may("w", Path("/"))
        assert user.may("r", Path("/"))
        assert user.may("x", Path("/"))

    def test_user_whom_the_machine_knows_by_number_only(self) -> None:
        user = User("user 54321", 54321, gid=54321)
        if os.geteuid() == 0:
            assert not user.may("w", Path("/"))
            assert user.may("r", Path("/"))
        else:
            with pytest.raises(PermissionError):
                user.may("r", Path("/"))


def _open_above(directory: Path) -> None:
    """Let everybody pass to a directory of the test, which pytest keeps closed."""
    for path in (directory, *directory.parents):
        if path.owner() == _US.name and path != Path("/"):
            mode = path.stat().st_mode
            if not mode & stat.S_IXOTH:
                path.chmod(mode | stat.S_IXOTH | stat.S_IROTH)


@contextmanager
def _as_nobody() -> Iterator[None]:
    os.seteuid(_NOBODY.uid)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user besides this one")
def test_program_that_was_installed_with_the_umask_077(tmp_path: Path) -> None:
    _open_above(tmp_path)
    prefix = tmp_path / "opt"
    python, package = prefix / "bin/python", prefix / "lib/fastagi.py"
    for file in (python, package):
        write(file, "")
    prefix.chmod(0o700)

    text = only(check_program(_STRANGER, [python, package], prefix))

    assert text == (
        f"fault: {python}: nobody may not read it, so the service can not start -"
        f" chmod -R go+rX {prefix}; and let nobody pass to that directory"
    )
    # The directory is open, and not what is in it.
    prefix.chmod(0o755)
    package.chmod(0o600)
    text = only(check_program(_STRANGER, [python, package], prefix))
    assert text.startswith(f"fault: {package}: ")
    package.chmod(0o644)
    assert told(check_program(_STRANGER, [python, package], prefix)) == ["ok"]
