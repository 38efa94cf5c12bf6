# SPDX-License-Identifier: MIT
"""Copies of the database: complete, consistent, without blocking others, or none."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from fastagi.errors import CallbackError
from fastagi.store import migrate, sqlite_copy
from fastagi.store.backup import Backup, back_up
from fastagi.store.engine import Database
from fastagi.store.errors import CopyFailed, ForeignDatabase, StoreUnavailable
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, OtherProcess, done, new_task
from tests.store.running import RunningService

WHEN = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
DATED = "callbacks-20260301T123015Z.db"
#: A user other than root and the one running the tests; only root can become it.
SOMEBODY = 65534


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for copies."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


def add(url: str, *numbers: str) -> None:
    database = Database(url, deliver=None)
    for number in numbers:
        done(TaskStore(database).add(new_task(number), NOW))
    done(database.close())


def pad(path: Path, megabytes: int) -> None:
    """Make a file so large that its copy takes many steps."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("CREATE TABLE padding (bytes BLOB)")
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < ?) INSERT INTO padding SELECT zeroblob(1000000) FROM n",
            (megabytes,),
        )


def numbers_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {number for (number,) in conn.execute("SELECT number FROM task")}


def refused(
    url: str, given: str | Path | None, kind: type[CallbackError] = CopyFailed
) -> str:
    with pytest.raises(kind) as caught:
        back_up(url, None if given is None else str(given), WHEN)
    return str(caught.value)


# -- place and contents ----------------------------------------------------


def test_copy_is_one_file_for_its_owner_alone_and_has_every_task(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    add(sqlite_url, "1", "2", "3")
    before = os.umask(0)
    try:
        made = back_up(sqlite_url, str(home / "mine.db"), WHEN)
    finally:
        os.umask(before)

    copy = home / "mine.db"
    version = migrate.newest_version()
    assert made == Backup(copy, copy.stat().st_size, 3, version, version)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert copy.stat().st_nlink == 1
    # In SQLite's format, 1 means without a write-ahead log, 2 with one.
    assert copy.read_bytes()[18:20] == b"\x01\x01"
    assert numbers_in(copy) == {"+1", "+2", "+3"}
    assert [path.name for path in home.iterdir()] == ["mine.db"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_copy_in_a_folder_gets_a_name_with_the_date(
    sqlite_url: str, home: Path, slash: str
) -> None:
    assert back_up(sqlite_url, f"{home}{slash}", WHEN).path == home / DATED
    assert [path.name for path in home.iterdir()] == [DATED]


def test_copy_without_a_place_is_beside_the_database(
    sqlite_url: str, sqlite_path: Path
) -> None:
    assert back_up(sqlite_url, None, WHEN).path == sqlite_path.with_name(DATED)
    names = {path.name for path in sqlite_path.parent.iterdir()}
    assert names == {DATED, sqlite_path.name}


def test_place_can_be_written_from_where_one_stands(
    sqlite_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    assert back_up(sqlite_url, "here.db", WHEN).path == home / "here.db"


def test_nothing_about_the_database_changes(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    add(sqlite_url, "1")
    if os.geteuid() == 0:
        os.chown(sqlite_path, SOMEBODY, SOMEBODY)
    before = sqlite_path.read_bytes()
    owner = sqlite_path.stat()
    names = {path.name for path in sqlite_path.parent.iterdir()}

    back_up(sqlite_url, str(home), WHEN)

    assert sqlite_path.read_bytes() == before
    after = sqlite_path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode, after.st_mtime_ns) == (
        owner.st_uid,
        owner.st_gid,
        owner.st_mode,
        owner.st_mtime_ns,
    )
    assert {path.name for path in sqlite_path.parent.iterdir()} == names


def test_what_a_killed_service_left_in_its_log_is_in_the_copy(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    with OtherProcess("add_and_hang", sqlite_url) as other:
        assert other.line().startswith("added")
        other.kill()
    log = sqlite_path.with_name(f"{sqlite_path.name}-wal")
    before = sqlite_path.read_bytes(), log.read_bytes()
    assert before[1]

    assert back_up(sqlite_url, str(home), WHEN).tasks == 1

    assert (sqlite_path.read_bytes(), log.read_bytes()) == before
    assert numbers_in(home / DATED) == {"+100"}


def test_database_of_an_older_version_is_copied_as_it_is(
    sqlite_path: Path, home: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(migrate.MIGRATIONS, older)
    for file in (older / "versions").glob("[0-9]*.py"):
        if not file.name.startswith("0001"):
            file.unlink()
    url = f"sqlite:///{sqlite_path}"
    migrate.upgrade(url, migrations=older)

    made = back_up(url, str(home), WHEN)

    assert (made.version, made.needed_version) == ("0001", migrate.newest_version())
    assert migrate.upgrade(f"sqlite:///{made.path}").before == "0001"


def test_database_of_a_newer_version_is_copied_as_it_is(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    with closing(sqlite3.connect(sqlite_path)) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    assert back_up(sqlite_url, str(home), WHEN).version == "9999"


# -- while others write ----------------------------------------------------


def test_commits_go_on_between_its_steps_and_are_not_in_it(
    sqlite_url: str, sqlite_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_url, "1", "2")
    pad(sqlite_path, 20)
    # This service would give up at the first lock.
    database = Database(sqlite_url, deliver=None, lock_wait_s=0)
    meanwhile = iter(range(100, 1000))

    def commit(_pause_s: float) -> None:
        done(TaskStore(database).add(new_task(f"{next(meanwhile)}"), NOW))

    monkeypatch.setattr(sqlite_copy.time, "sleep", commit)
    made = back_up(sqlite_url, str(home), WHEN)
    monkeypatch.undo()

    assert made.tasks == 2
    assert numbers_in(made.path) == {"+1", "+2"}
    added = next(meanwhile) - 100
    # 20 MB need this many steps, so the copy was never restarted.
    assert 4 <= added <= 6
    assert sum(done(TaskStore(database).counts()).values()) == 2 + added
    done(database.close())


def test_nobody_who_writes_in_another_process_is_kept_waiting(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    add(sqlite_url, "1")
    pad(sqlite_path, 20)
    with OtherProcess("commit_until_told", sqlite_url, "1000") as other:
        assert other.line() == "ready"
        other.go()
        assert other.line() == "first"
        made = [back_up(sqlite_url, str(home / f"{n}.db"), WHEN) for n in range(3)]
        other.go()
        count, slowest_ms = map(int, other.lines())

    # Each was committed; an error would have ended the process.
    database = Database(sqlite_url, deliver=None)
    assert sum(done(TaskStore(database).counts()).values()) == 1 + count
    done(database.close())
    assert slowest_ms < 2000, "the service would have given up"
    seen = [one.tasks for one in made]
    assert 2 <= seen[0] < seen[1] < seen[2] <= 1 + count
    for one in made:
        # The copy has a COMMIT only if it has all earlier ones.
        wanted = {"+1"} | {f"+{1000 + n}" for n in range(one.tasks - 1)}
        assert numbers_in(one.path) == wanted


def test_service_goes_on_and_another_one_starts_from_the_copy(
    sqlite_path: Path, home: Path
) -> None:
    copy = home / "callbacks.db"
    with RunningService(sqlite_path.parent, f"sqlite:///{sqlite_path}") as service:
        for number in ("4930111", "4930222"):
            service.press_until_accepted(number)
        promised = service.numbers()
        code, told = service.command("db", "backup", str(copy), "--json")
        assert code == 0, told
        answer = json.loads(told)
        assert (answer["path"], answer["tasks"]) == (str(copy), 2)
        assert answer["size_bytes"] == copy.stat().st_size
        service.press_until_accepted("4930333")
        assert service.database == "ok"

    with RunningService(sqlite_path.parent, f"sqlite:///{copy}") as restored:
        assert restored.numbers() == promised
        restored.press_until_accepted("4930444")
        assert len(restored.numbers()) == 3


# -- errors ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "link that leads nowhere", "itself"])
def test_nothing_is_overwritten(
    sqlite_url: str, sqlite_path: Path, home: Path, kind: str
) -> None:
    target = home / "taken.db"
    if kind == "file":
        target.write_text("an earlier copy")
    elif kind == "itself":
        target = sqlite_path
    else:
        target.symlink_to(home / "nowhere")
    before = sqlite_path.read_bytes()
    assert refused(sqlite_url, target) == (
        f"{target} exists already and is left as it is; give another name, or move it"
        " away first"
    )
    assert sqlite_path.read_bytes() == before
    if kind == "file":
        assert target.read_text() == "an earlier copy"
    assert not (home / "nowhere").exists()
    assert len(list(home.iterdir())) == (0 if kind == "itself" else 1)


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_overwritten_that_comes_while_it_copies(
    sqlite_url: str, home: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    target = home / "mine.db"
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_copy.time, "sleep", lambda _s: target.write_text("other"))
        assert "exists already" in refused(sqlite_url, target)
    assert target.read_text() == "other"
    assert [path.name for path in home.iterdir()] == ["mine.db"]


def _no_links(_source: Path, target: Path) -> None:
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_disk_without_hard_links_takes_it_too(
    sqlite_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_url, "1")
    monkeypatch.setattr(os, "link", _no_links)
    made = back_up(sqlite_url, str(home), WHEN)
    assert numbers_in(made.path) == {"+1"}
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [DATED]


def test_name_is_free_again_when_the_copy_does_not_get_it(
    sqlite_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Path, _target: Path) -> Path:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", _no_links)
    monkeypatch.setattr(Path, "replace", fail)
    assert "can not be made: Input/output error; " in refused(sqlite_url, home)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("missing/copy.db", "No such file or directory"),
        ("missing/", "No such file or directory"),
        ("file/copy.db", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_place_where_nothing_can_be_made(
    sqlite_url: str, home: Path, place: str, why: str
) -> None:
    (home / "file").touch()
    said = refused(sqlite_url, f"{home}/{place}")
    assert said.startswith(f"{home}/{place}")
    assert f" can not be made: {why}; give a place on a disk with room" in said
    assert [path.name for path in home.iterdir()] == ["file"]


def test_disk_of_the_copy_is_full(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    pad(sqlite_path, 2)
    config = _settings(sqlite_url, home.parent)
    program = (sys.executable, "-m", "fastagi.command.cli", "db", "backup", str(home))
    # The disk is in a mount namespace, and ends with the command.
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    told = subprocess.run(
        [
            *("unshare", "--mount", *as_root, "sh", "-c", _ON_FULL_DISK, str(home)),
            *(*program, "--config", str(config)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"{home}/callbacks-20")
    assert told.stderr.endswith(
        ".db can not be written: no room left; make room on its disk, or give another"
        " place\n"
    )


#: Prints what is left on it.
_ON_FULL_DISK = """
mount -t tmpfs -o size=1m copies "$0" && "$@"
code=$?
ls -A "$0"
exit $code
"""


def test_file_of_the_copy_may_not_grow_so_large(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    pad(sqlite_path, 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        said = refused(sqlite_url, home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "can not be written: disk I/O error; check its disk, or give" in said
    assert list(home.iterdir()) == []


def _settings(url: str, folder: Path) -> Path:
    path = folder / "callback-queue.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "ami": {"secret": "x"},
                "database": {"url": url},
                "queues": {"support": {"outbound_channel": "PJSIP/{number}@trunk"}},
            }
        )
    )
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_that_is_ended_in_the_middle_leaves_nothing(
    sqlite_url: str, sqlite_path: Path, home: Path, number: int
) -> None:
    config = _settings(sqlite_url, home.parent)
    arguments = ("db", "backup", str(home), "--config", str(config))
    with OtherProcess("run_with_stops", *arguments) as other:
        assert other.line() == "copying"
        assert len(list(home.iterdir())) == 1
        assert other.signal(number) == (1, [])
    assert list(home.iterdir()) == []
    names = {path.name for path in sqlite_path.parent.iterdir()}
    assert names == {sqlite_path.name, home.name, config.name}


def test_ctrl_c_while_the_copy_is_looked_at_is_not_lost(
    sqlite_url: str, sqlite_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_url, "1")
    check = sqlite_copy._check

    def interrupted(copy: sqlite3.Connection) -> None:
        def raise_it() -> int:
            raise KeyboardInterrupt

        copy.set_progress_handler(raise_it, 1)
        check(copy)

    monkeypatch.setattr(sqlite_copy, "_check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        back_up(sqlite_url, str(home), WHEN)
    assert list(home.iterdir()) == []


def test_database_is_not_there(sqlite_path: Path, home: Path) -> None:
    assert refused(f"sqlite:///{sqlite_path}", home, StoreUnavailable) == (
        f"{sqlite_path} does not exist, so there is nothing to copy; see database.url"
        " in the settings"
    )
    assert not sqlite_path.exists()
    assert list(home.iterdir()) == []


def test_database_that_is_none(sqlite_path: Path, home: Path) -> None:
    sqlite_path.write_bytes(b"not a database at all" * 1000)
    said = refused(f"sqlite:///{sqlite_path}", home, StoreUnavailable)
    assert said.startswith(f"{sqlite_path} is damaged or no database (file is not a")
    assert list(home.iterdir()) == []


def test_damaged_database_is_not_taken_for_a_copy(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    add(sqlite_url, "1", "2")
    content = bytearray(sqlite_path.read_bytes())
    # An index loses rows, so some queries would return wrong results.
    with closing(sqlite3.connect(sqlite_path)) as conn:
        (page,) = conn.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'index'"
            " AND tbl_name = 'task' AND sql IS NOT NULL"
        ).fetchone()
    start = (page - 1) * 4096
    assert content[start] == 10, "a leaf of an index"
    content[start + 3 : start + 5] = b"\0\0"
    sqlite_path.write_bytes(content)

    said = refused(sqlite_url, home, StoreUnavailable)

    assert said.startswith(f"{sqlite_path} is damaged or no database (")
    assert said.endswith(
        "; stop the service, move the file away and put a copy back in its place"
    )
    assert "\n" not in said
    assert list(home.iterdir()) == []


def test_database_of_something_else(sqlite_path: Path, home: Path) -> None:
    with closing(sqlite3.connect(sqlite_path)) as conn, conn:
        conn.execute("CREATE TABLE cdr (id INTEGER)")
    said = refused(f"sqlite:///{sqlite_path}", home, ForeignDatabase)
    assert said.startswith("the database belongs to something else: it has tables such")
    assert " as cdr, " in said
    assert list(home.iterdir()) == []


def test_empty_database(sqlite_path: Path, home: Path) -> None:
    sqlite_path.touch()
    said = refused(f"sqlite:///{sqlite_path}", home)
    assert said.startswith("there is nothing in the database to copy; ")
    assert list(home.iterdir()) == []


def test_database_that_has_lost_a_table(
    sqlite_url: str, sqlite_path: Path, home: Path
) -> None:
    with closing(sqlite3.connect(sqlite_path)) as conn, conn:
        conn.execute("DROP TABLE task_event")
    assert "has no table task_event any more" in refused(sqlite_url, home)
    assert list(home.iterdir()) == []


def test_database_that_another_process_keeps_for_itself(
    sqlite_url: str, sqlite_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_copy, "_LOCK_WAIT_S", 0.05)
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        said = refused(sqlite_url, home, StoreUnavailable)
    assert said.startswith(f"{sqlite_path} is locked by another process; find it with")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("closed", "why"),
    [("file", "unable to open database file"), ("folder", "Permission denied")],
)
def test_user_who_may_not_read_the_database(
    sqlite_path: Path, sqlite_url: str, closed: str, why: str
) -> None:
    # Not below pytest's own folder, which other users cannot enter.
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "theirs"), Path(folder, "ours")
        theirs.mkdir()
        ours.mkdir()
        path = theirs / "callbacks.db"
        shutil.copy(sqlite_path, path)
        (path if closed == "file" else theirs).chmod(0)
        for open_to_all in (Path(folder), ours):
            open_to_all.chmod(0o777)
        me = os.geteuid()
        if me == 0:
            os.seteuid(SOMEBODY)
        try:
            said = refused(f"sqlite:///{path}", ours)
        finally:
            os.seteuid(me)
            theirs.chmod(0o700)
        assert said == (
            f"{path} can not be read ({why}); run this command as root or as the user"
            " of the service"
        )
        assert list(ours.iterdir()) == []
