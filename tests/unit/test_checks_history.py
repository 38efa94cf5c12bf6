# SPDX-License-Identifier: MIT
"""``check`` reports why the service cannot read a history."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from fastagi.checks import rotation
from fastagi.checks.asterisk_machine import AsteriskMachine
from fastagi.checks.history import check_history
from fastagi.checks.process import User
from fastagi.config.sections import HistorySettings
from tests.harness.checking import only, settings, told, write
from tests.recordings.past_calls import FREEPBX, make_cdr_table

_US = User("us", os.geteuid())
_CDR_CONF = "[general]\nunanswered = yes\n[csv]\nloguniqueid = yes\n"


def check(home: Path, user: User = _US, **history: Any) -> list[str]:
    """Check these histories; there are no others."""
    given = settings(home, history={"queue_log": "", **history})
    return told(check_history(given, AsteriskMachine(given), user))


def line(at: float) -> str:
    return f"{at:.0f}|1.1|support|NONE|ABANDON|1|1|5\n"


def cdr_line(at: float, uniqueid: bool = True) -> str:
    start = str(datetime.fromtimestamp(at))[:19]
    values = ["", "0301234567", "support", "inbound", "", "PJSIP/t-1", "", "Queue", ""]
    values += [start, "", start, "0", "0", "NO ANSWER", "DOCUMENTATION"]
    values += [f"{at:.0f}.1"] * uniqueid
    return ",".join(f'"{value}"' for value in values) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log/queue_log"
    write(path, line(time.time() - 60))
    write(tmp_path / "etc/cdr.conf", _CDR_CONF)
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "log/Master.csv"
    write(path, cdr_line(time.time() - 60))
    write(tmp_path / "etc/cdr.conf", _CDR_CONF)
    return path


def test_queue_log_that_is_written_is_ok(tmp_path: Path, log: Path) -> None:
    assert check(tmp_path, queue_log=str(log)) == ["ok"]


def test_place_with_punctuation_in_its_name_is_named_whole(tmp_path: Path) -> None:
    log = tmp_path / "log: old; new/queue_log"
    write(log, line(time.time() - 60))
    write(log.with_name("queue_log.1.gz"), "no gzip")
    write(tmp_path / "etc/cdr.conf", _CDR_CONF)
    (text,) = check(tmp_path, queue_log=str(log))
    assert text.startswith(f"fault: {log}.1.gz: it can not be read: ")
    assert text.endswith(" - the calls in it are not known; mend it or move it away")


def test_no_history_is_wanted(tmp_path: Path) -> None:
    assert check(tmp_path, enabled=False, queue_log="/nowhere/queue_log") == ["ok"]


def test_queue_log_is_not_there(tmp_path: Path) -> None:
    (text,) = check(tmp_path, queue_log="/nowhere/queue_log")
    assert text.startswith("fault: /nowhere/queue_log: it does not exist - write its")
    assert "queue_log = yes under [general] in logger.conf" in text


def test_queue_log_of_an_asterisk_on_another_machine(tmp_path: Path) -> None:
    given = settings(tmp_path, ami={"host": "192.0.2.1"})
    text = only(check_history(given, AsteriskMachine(given), _US))
    assert 'write queue_log: ""' in text


class TestQueueLogOfTheWrongAsterisk:
    """A second service, for another machine, beside the Asterisk of the first one."""

    def _check(self, home: Path, log: Path, host: str, **written: str) -> list[str]:
        given = settings(home, ami={"host": host}, history=written)
        # The default is a path of the machine; here it is this file.
        values = {**dict(given.history), "queue_log": str(log)}
        in_file = given.history.model_fields_set
        history = HistorySettings.model_construct(in_file, **values)
        given = attrs.evolve(given, history=history)
        return told(check_history(given, AsteriskMachine(given), _US))

    def test_default_path_is_a_file_of_this_machine(
        self, tmp_path: Path, log: Path
    ) -> None:
        (text,) = self._check(tmp_path, log, "192.0.2.1")
        assert text.startswith(f"warning: {log}: it is read by default, and Asterisk")
        assert "192.0.2.1" in text
        assert 'write queue_log: ""' in text

    def test_path_that_is_written_in_the_settings(
        self, tmp_path: Path, log: Path
    ) -> None:
        assert self._check(tmp_path, log, "192.0.2.1", queue_log=str(log)) == ["ok"]

    def test_asterisk_on_this_machine(self, tmp_path: Path, log: Path) -> None:
        assert self._check(tmp_path, log, "127.0.0.1") == ["ok"]


def test_asterisk_is_told_to_write_none(tmp_path: Path, log: Path) -> None:
    write(tmp_path / "etc/logger.conf", "[general]\nqueue_log = no\n")
    (text,) = check(tmp_path, queue_log=str(log))
    assert f"{tmp_path}/etc/logger.conf:2: Asterisk writes no queue_log" in text


class TestWhoMayNotRead:
    """The file belongs to root, or whoever runs the tests, and to some group."""

    _GROUP = grp.getgrgid(os.getgid() or 1).gr_name

    @pytest.fixture
    def closed(self, log: Path) -> Path:
        # Nobody may pass to the directories that pytest makes.
        for directory in log.parents:
            if directory.owner() == log.owner() and directory != Path("/"):
                directory.chmod(directory.stat().st_mode | 0o055)
        shutil.chown(log, group=self._GROUP)
        log.chmod(0o240 if os.geteuid() else 0o640)
        return log

    @pytest.fixture
    def service(self) -> User:
        if os.geteuid():
            return attrs.evolve(_US, name=pwd.getpwuid(os.geteuid()).pw_name)
        return User("nobody", pwd.getpwnam("nobody").pw_uid)

    def test_group_that_may(self, closed: Path, service: User) -> None:
        (text,) = check(closed.parents[1], service, queue_log=str(closed))
        assert text == (
            f"fault: {closed}: {service.name} may not read it - sudo usermod -a"
            f" -G {self._GROUP} {service.name}; sudo systemctl restart callback-queue"
        )
        if os.geteuid() == 0:
            # As systemd gives them, or as usermod did before the last start.
            gid = closed.stat().st_gid
            for groups, expected in (((gid,), ["ok"]), ((), [text])):
                running = attrs.evolve(service, groups=groups)
                said = check(closed.parents[1], running, queue_log=str(closed))
                assert said == expected

    def test_group_that_may_not_either(self, closed: Path, service: User) -> None:
        closed.chmod(closed.stat().st_mode & ~0o040)
        (text,) = check(closed.parents[1], service, queue_log=str(closed))
        assert f" - sudo chmod g+r {closed}; sudo usermod -a -G {self._GROUP} " in text

    def test_directory_above_is_closed(self, closed: Path, service: User) -> None:
        log, directory = closed, closed.parent
        log.chmod(0o644)
        shutil.chown(directory, group=self._GROUP)
        directory.chmod(0o650 if os.geteuid() else 0o750)
        try:
            (text,) = check(log.parents[1], service, queue_log=str(log))
        finally:
            directory.chmod(0o755)
        assert (
            f"{service.name} may not read it - sudo usermod -a -G {self._GROUP}" in text
        )

    def test_nobody_is_told_to_join_the_group_of_root(
        self, closed: Path, service: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "group", lambda _path: "root")
        (text,) = check(closed.parents[1], service, queue_log=str(closed))
        assert text.endswith(
            f"- sudo setfacl -m u:{service.name}:r {closed}; sudo setfacl -m"
            f" d:u:{service.name}:r {closed.parent}, for those to come"
        )

    def test_whoever_runs_the_check_is_not_the_service(
        self, closed: Path, service: User
    ) -> None:
        somebody = attrs.evolve(service, is_service=False)
        (text,) = check(closed.parents[1], somebody, queue_log=str(closed))
        assert text.startswith(f"warning: {closed}: not checked: ")
        assert "run this check as root" in text


def test_queue_log_that_nobody_writes_any_more(tmp_path: Path, log: Path) -> None:
    write(log, line(time.time() - 8 * 86_400))
    (text,) = check(tmp_path, queue_log=str(log))
    assert text.startswith(f"warning: {log}: its newest entry is of 20")
    assert "that of another Asterisk - correct the section 'history'" in text


def test_csv_that_is_written_is_ok(tmp_path: Path, csv: Path) -> None:
    assert check(tmp_path, cdr_csv=str(csv)) == ["ok"]


def test_csv_without_uniqueid(tmp_path: Path, csv: Path) -> None:
    write(csv, cdr_line(time.time() - 60, uniqueid=False))
    write(tmp_path / "etc/cdr.conf", "[general]\nunanswered = yes\n[csv]\n")
    first, second = check(tmp_path, cdr_csv=str(csv))
    assert "cdr.conf: CDRs are written without their uniqueid" in first
    assert "write loguniqueid = yes under [csv]" in first
    assert "1 CDRs have no uniqueid and are of no use - write loguniqueid" in second


def test_csv_of_other_columns(tmp_path: Path, csv: Path) -> None:
    columns = ["start", "src", "dst", "channel", "disposition", "uniqueid"]
    (text,) = check(tmp_path, cdr_csv=str(csv), cdr_columns=columns)
    assert "no line is a CDR with the columns expected" in text
    assert "correct history.cdr_columns" in text


def rows(at: float, uniqueid: str = "1.1") -> list[list[object]]:
    values = {
        "calldate": str(datetime.fromtimestamp(at))[:19],
        "uniqueid": uniqueid,
        "src": "0301234567",
        "channel": "PJSIP/t-1",
        "disposition": "NO ANSWER",
        "duration": 5,
    }
    return [[values.get(name, "") for name in FREEPBX]]


def test_table_that_is_written_is_ok(tmp_path: Path, log: Path) -> None:
    make_cdr_table(tmp_path / "cdr.db", rows(time.time() - 60))
    assert check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db") == ["ok"]


def test_table_of_another_name(tmp_path: Path, log: Path) -> None:
    make_cdr_table(tmp_path / "cdr.db", [])
    (text,) = check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db", cdr_table="cdrs")
    assert "there is no such table - correct history.cdr_table" in text


def test_table_without_uniqueids(tmp_path: Path, log: Path) -> None:
    make_cdr_table(tmp_path / "cdr.db", rows(time.time() - 60, uniqueid=""))
    (text,) = check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db")
    assert "its newest CDR has no uniqueid" in text


def test_table_that_is_empty(tmp_path: Path, log: Path) -> None:
    make_cdr_table(tmp_path / "cdr.db", [])
    (text,) = check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db")
    assert text.startswith("warning:")
    assert "there is no CDR in it yet" in text


def test_table_file_that_is_not_there(tmp_path: Path, log: Path) -> None:
    (text,) = check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db")
    assert f"{tmp_path}/cdr.db: it does not exist - correct history.cdr_url" in text


def test_server_that_does_not_answer_and_no_password_is_shown(
    tmp_path: Path, log: Path
) -> None:
    url = "mysql://reader:geheim@127.0.0.1:1/asteriskcdrdb"
    (text,) = check(tmp_path, cdr_url=url)
    assert "reader:***@127.0.0.1:1/asteriskcdrdb, table cdr" in text
    assert "geheim" not in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u@127.0.0.1:1/db?charset=foo", "can not be read: AttributeError: "),
        ("mysql://u@127.0.0.1:1/db?foo=bar", "unexpected keyword argument 'foo'"),
        ("mysql://u@127.0.0.1:1/db?plugin=foo", "Can't load plugin"),
        ("postgresql://u@127.0.0.1:1/db?foo=bar", 'invalid connection option "foo"'),
    ],
)
def test_server_with_an_option_that_nobody_knows(
    tmp_path: Path, log: Path, url: str, says: str
) -> None:
    (text,) = check(tmp_path, cdr_url=url)
    assert text.startswith("fault: ")
    assert says in text
    assert "correct history.cdr_url in the settings" in text


def test_table_that_stopped_while_queue_log_goes_on(tmp_path: Path, log: Path) -> None:
    make_cdr_table(tmp_path / "cdr.db", rows(time.time() - 9 * 86_400, ""))
    make_cdr_table(
        tmp_path / "old.db",
        rows(time.time() - 9 * 86_400, f"{time.time() - 9 * 86_400:.0f}.1"),
    )
    (text,) = check(
        tmp_path, queue_log=str(log), cdr_url=f"sqlite:///{tmp_path}/old.db"
    )
    assert text.startswith(f"warning: {tmp_path}/old.db, table cdr: its newest entry")
    assert "another history is written until" in text


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ("[general]\nenable = no\nunanswered = yes\n", "fault: {}:2: Asterisk writes"),
        ("[general]\n", "warning: {}: calls that ended before they rang anybody"),
        ("[general]\nunanswered = no\n", "warning: {}:2: calls that ended before"),
        (
            "[general]\nunanswered = yes\nbatch = yes\n",
            "warning: {}:3: CDRs are written up to 300 s late",
        ),
        ("[general]\nunanswered = yes\nbatch = yes\ntime = 60\n", "ok"),
    ],
)
def test_cdr_conf(tmp_path: Path, csv: Path, conf: str, says: str) -> None:
    path = tmp_path / "etc/cdr.conf"
    write(path, conf + "[csv]\nloguniqueid = yes\n")
    (text,) = check(tmp_path, cdr_csv=str(csv))
    assert text.startswith(says.format(path))


CUSTOM_CONF = (
    "[mappings]\nMaster.csv => ${CSV_QUOTE(${CDR(clid)})},${CSV_QUOTE(${CDR(src)})},"
    "${CSV_QUOTE(${CDR(dst)})},${CSV_QUOTE(${CDR(channel)})},"
    "${CSV_QUOTE(${CDR(start)})},${CSV_QUOTE(${CDR(disposition)})},"
    "${CSV_QUOTE(${CDR(uniqueid)})}\n"
)


def custom_line(at: float) -> str:
    start = str(datetime.fromtimestamp(at))[:19]
    values = ["", "0301234567", "1", "PJSIP/t-1", start, "NO ANSWER", f"{at:.0f}.1"]
    return ",".join(f'"{value}"' for value in values) + "\n"


def test_file_of_cdr_custom_without_its_columns(tmp_path: Path, csv: Path) -> None:
    write(csv, custom_line(time.time() - 60))
    # Nobody who uses cdr_custom needs this.
    write(tmp_path / "etc/cdr.conf", "[general]\nunanswered = yes\n")
    (text,) = check(tmp_path, cdr_csv=str(csv))
    assert text.startswith(f"fault: {csv}: its columns are not those of cdr_csv")
    assert "name its columns in their order: history.cdr_columns" in text
    write(tmp_path / "etc/cdr_custom.conf", CUSTOM_CONF)
    (text,) = check(tmp_path, cdr_csv=str(csv))
    _, _, columns = text.partition("cdr_columns: ")
    assert columns == "[clid, src, dst, channel, start, disposition, uniqueid]"
    names = columns[1:-1].split(", ")
    assert check(tmp_path, cdr_csv=str(csv), cdr_columns=names) == ["ok"]


def test_field_of_a_caller_that_cdr_custom_writes_without_quotes(
    tmp_path: Path, csv: Path
) -> None:
    write(csv, custom_line(time.time() - 60))
    write(tmp_path / "etc/cdr.conf", "[general]\nunanswered = yes\n")
    conf = tmp_path / "etc/cdr_custom.conf"
    names = ["clid", "src", "dst", "channel", "start", "disposition", "uniqueid"]

    def found(content: str) -> list[str]:
        write(conf, content)
        return check(tmp_path, cdr_csv=str(csv), cdr_columns=names)

    bare = CUSTOM_CONF.replace("${CSV_QUOTE(${CDR(src)})}", "${CDR(src)}")
    # Quotes by hand end at the first quote that a caller sends.
    bare = bare.replace("${CSV_QUOTE(${CDR(clid)})}", '"${CDR(clid)}"')
    assert found(bare) == [
        f"warning: {conf}:2: CDR(clid), CDR(src) may hold line breaks that a caller has"
        " sent, and without CSV_QUOTE() the caller can write CDRs of his own there -"
        " write each field as ${CSV_QUOTE(${CDR(clid)})}; then: sudo asterisk -rx"
        " 'module reload cdr_custom.so'"
    ]
    # The uniqueid is not the caller's.
    assert found(CUSTOM_CONF.replace("${CSV_QUOTE(${CDR(uniqueid)})}", "x")) == ["ok"]
    assert found(bare.replace("Master.csv", "other.csv")) == ["ok"]


def test_table_with_two_columns_for_the_time_of_which_none_is_filled(
    tmp_path: Path, log: Path
) -> None:
    names = ["start", *FREEPBX]
    (made,) = rows(time.time() - 60, uniqueid=f"{time.time() - 60:.0f}.1")
    for times in ([None, made[0]], [made[0], None]):
        make_table(tmp_path / "cdr.db", names, [[*times, *made[1:]]])
        assert check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db") == ["ok"]
    make_table(tmp_path / "cdr.db", names, [[None, None, *made[1:]]])
    (text,) = check(tmp_path, cdr_url=f"sqlite:///{tmp_path}/cdr.db")
    assert "table cdr: 1 CDRs have no time and are of no use - have Asterisk" in text


def make_table(path: Path, names: list[str], made: list[list[object]]) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"CREATE TABLE cdr ({', '.join(names)})")
        for one in made:
            conn.execute(f"INSERT INTO cdr VALUES ({', '.join('?' * len(one))})", one)


REALTIME = "[settings]\nqueue_log => odbc,asterisk,queue_log\n"


def test_asterisk_writes_queue_log_into_a_database(tmp_path: Path, log: Path) -> None:
    write(tmp_path / "etc/extconfig.conf", REALTIME)
    (text,) = check(tmp_path, queue_log=str(log))
    assert text.startswith(f"fault: {tmp_path}/etc/extconfig.conf:2: Asterisk writes")
    assert "into a database and not into a file" in text
    assert (
        "name the database as history.queue_log_url; or write queue_log_to_file" in text
    )
    write(tmp_path / "etc/logger.conf", "[general]\nqueue_log_to_file = yes\n")
    assert check(tmp_path, queue_log=str(log)) == ["ok"]


def queue_log_table(path: Path, at: float, form: str = "") -> str:
    path.unlink(missing_ok=True)
    shown = form or f"{datetime.fromtimestamp(at)}"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(
            "CREATE TABLE queue_log (time, callid, queuename, agent, event, data)"
        )
        values = [shown, f"{at - 5:.0f}.1", "support", "NONE", "ABANDON", "1|1|5"]
        conn.execute("INSERT INTO queue_log VALUES (?, ?, ?, ?, ?, ?)", values)
    return f"sqlite:///{path}"


def test_queue_log_in_a_table_is_ok(tmp_path: Path) -> None:
    url = queue_log_table(tmp_path / "realtime.db", time.time() - 60)
    write(tmp_path / "etc/extconfig.conf", REALTIME)
    default = "/var/log/asterisk/queue_log"
    assert check(tmp_path, queue_log=default, queue_log_url=url) == ["ok"]


def test_queue_log_in_a_table_that_asterisk_does_not_fill(tmp_path: Path) -> None:
    url = queue_log_table(tmp_path / "realtime.db", time.time() - 60)
    write(tmp_path / "etc/extconfig.conf", "[settings]\n")
    (text,) = check(tmp_path, queue_log_url=url)
    assert "extconfig.conf: Asterisk writes queue_log into no database" in text


def test_queue_log_in_a_table_that_nobody_writes_any_more(tmp_path: Path) -> None:
    at = time.time() - 9 * 86_400
    url = queue_log_table(tmp_path / "realtime.db", at)
    (text,) = check(tmp_path, queue_log_url=url)
    assert text.startswith(
        f"warning: {tmp_path}/realtime.db, table queue_log: its newest"
    )


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("31.12.2026 10:00", "its times can not be read: column time holds '31.12"),
        ("2099-99-99 10:00:00", "its times can not be read"),
    ],
)
def test_queue_log_in_a_table_whose_times_can_not_be_read(
    tmp_path: Path, form: str, says: str
) -> None:
    url = queue_log_table(tmp_path / "realtime.db", time.time(), form)
    (text,) = check(tmp_path, queue_log_url=url)
    assert says in text


def test_queue_log_under_another_name(tmp_path: Path, log: Path) -> None:
    write(tmp_path / "etc/logger.conf", "[general]\nqueue_log_name = queues.log\n")
    (text,) = check(tmp_path, queue_log=str(log))
    assert text == (
        f"fault: {tmp_path}/etc/logger.conf:2: Asterisk calls its queue_log queues.log,"
        f" and queue_log is read - write queue_log: {log.with_name('queues.log')} in"
        " the section 'history'"
    )
    renamed = log.rename(log.with_name("queues.log"))
    assert check(tmp_path, queue_log=str(renamed)) == ["ok"]


@pytest.mark.parametrize("where", ["in the block", "for all"])
def test_queue_log_that_is_rotated_into_a_folder_elsewhere(
    tmp_path: Path, log: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"olddir {tmp_path}/old/logs"
    inside, outside = (said, "") if where == "in the block" else ("", said)
    main, more = tmp_path / "logrotate.conf", tmp_path / "logrotate.d"
    monkeypatch.setattr(rotation, "CONFIGURATION", (main, more))
    write(main, f"weekly\n{outside}\ninclude {more}\n")
    block = f"{log.parent}/messages {log.parent}/queue_* {{\n  daily\n  {inside}\n}}\n"
    write(more / "asterisk", f"# of the package\n/var/log/x\n{{\n}}\n{block}")
    (text,) = check(tmp_path, queue_log=str(log))
    conf = f"{more}/asterisk:7" if inside else f"{main}:2"
    assert text == (
        f"fault: {conf}: old files of queue_log are moved into {tmp_path}/old/logs,"
        " where they are not looked for - write rotated_into:"
        f" [{tmp_path}/old/logs] in the section 'history'"
    )
    rotated_into = [f"{tmp_path}/old/logs"]
    assert check(tmp_path, queue_log=str(log), rotated_into=rotated_into) == ["ok"]
    # A folder within that of the log needs no setting.
    write(more / "asterisk", block.replace(f"{tmp_path}/old/logs", "old"))
    if inside:
        assert check(tmp_path, queue_log=str(log)) == ["ok"]


@pytest.mark.parametrize(
    ("pattern", "option", "is_moved"),
    [
        ("{log}", "olddir\t{old}", True),
        ("{log}", 'olddir "{old}"', True),
        # Not in the folder of the pattern.
        ("{folder}/../*", "olddir {old}", False),
        ("{parent}/*", "olddir {old}", False),
        ('""', "olddir {old}", False),
    ],
)
def test_logrotate_is_read_as_it_reads_itself(
    tmp_path: Path,
    log: Path,
    pattern: str,
    option: str,
    is_moved: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main, more = tmp_path / "logrotate.conf", tmp_path / "logrotate.d"
    monkeypatch.setattr(rotation, "CONFIGURATION", (main, more))
    names = {
        "log": log,
        "folder": log.parent,
        "parent": log.parent.parent,
        "old": f"{tmp_path}/old/logs",
    }
    block = f"{pattern} {{{{\n  {option}\n}}}}\n"
    write(more / "asterisk", block.format(**names))
    os.mkfifo(more / "pipe")
    found = check(tmp_path, queue_log=str(log))
    assert (found != ["ok"]) == is_moved


CHANNEL_TYPES = """Type             Description                              Devicestate
-----------      -----------                              -----------
Local            Local Proxy Channel Driver               yes
HoloPhone        Holographic telephones                   no
PJSIP            PJSIP Channel Driver                     yes
AudioSocket      AudioSocket Channel Driver               no
----------
4 channel drivers registered.
"""


def test_technology_of_which_nobody_said_whether_persons_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        AsteriskMachine, "console", lambda _place, _command: CHANNEL_TYPES
    )
    (text,) = check(tmp_path)
    assert text.startswith(
        "warning: missed.person_technologies: Asterisk has channels of the technology"
        " HoloPhone, which is not known to be a person's"
    )
    given = settings(
        tmp_path,
        history={"queue_log": ""},
        missed={"person_technologies": ["PJSIP", "holophone"]},
    )
    assert told(check_history(given, AsteriskMachine(given), _US)) == ["ok"]
