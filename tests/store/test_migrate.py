# SPDX-License-Identifier: MIT
"""A database is upgraded to this version from nothing and from any older one."""

from __future__ import annotations

import re
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from fastagi.domain.reason import said
from fastagi.store import migrate, versions
from fastagi.store.backends import backend_for
from fastagi.store.engine import Database
from fastagi.store.errors import (
    CopyFailed,
    DatabaseHeld,
    ForeignDatabase,
    SchemaOutdated,
    SchemaTooNew,
    StoreUnavailable,
)
from fastagi.store.positions import Position
from fastagi.store.schema import metadata
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, RULES, done, new_task, verdict

#: The newest version.
HEAD = migrate.newest_version()

#: A version after this one: it recreates a table, as batches do on SQLite, with an
#: additional column that the old rows must get a value for.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade():
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    recreate = "always" if on_sqlite else "never"
    if on_sqlite:
        # It is not read from the file; a real version creates it again.
        op.drop_index("ix_task_pending_turn")
    with op.batch_alter_table("task", recreate=recreate) as batch:
        batch.add_column(
            sa.Column("colour", sa.Text, nullable=False, server_default="blue")
        )
    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))
    {more}
"""


@pytest.fixture
def newer(tmp_path: Path) -> Callable[..., Path]:
    """Make a copy of the migrations with one more version."""

    def make(more: str = "pass") -> Path:
        target = tmp_path / "newer"
        shutil.copytree(migrate.MIGRATIONS, target, dirs_exist_ok=True)
        (target / "versions" / "9999_next.py").write_text(
            NEXT.format(revision="9999", down_revision=HEAD, more=more)
        )
        return target

    return make


def test_each_file_of_a_step_begins_with_its_version() -> None:
    """The service relies on this: it reads the version without Alembic."""
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == HEAD
    assert {
        step.revision for step in script.walk_revisions()
    } == versions.known_versions(migrate.MIGRATIONS)


def test_a_new_or_current_database_is_prepared_without_loading_alembic(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/callback.db"
    ask = (
        "import sys; from fastagi.store import migrate;"
        f" print(*(migrate.prepare({url!r}).changed for _ in range(2)));"
        f" migrate.check_current({url!r});"
        " print('alembic' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True)
    assert said.stdout == b"True False\nFalse\n"


def connect(url: str) -> sa.Engine:
    """Return an engine without the service's settings."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, poolclass=sa.NullPool)


def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables."""
    with connect(url).connect() as conn:
        return {
            name: sorted(map(tuple, conn.execute(sa.text(f"SELECT * FROM {name}"))))
            for name in sa.inspect(conn).get_table_names()
        }


def fill(url: str) -> None:
    """Put a task in each state into the database."""
    database = Database(url, deliver=None)
    store = TaskStore(database)
    for number in "123":
        done(store.add(new_task(number, name="Jörg"), NOW))
    first, _ = done(store.begin_attempts({"support"}, ["a", "b"], NOW)).begun
    done(store.progress(first.attempt.channel_id, said("rings"), NOW, member="PJSIP/1"))
    done(store.close_attempt(first.attempt.channel_id, verdict("ANSWERED"), RULES, NOW))
    done(database.close())


# -- from nothing ----------------------------------------------------------


@pytest.mark.parametrize("how", [migrate.prepare, migrate.upgrade])
def test_an_empty_database_gets_all_tables(empty_url: str, how) -> None:
    made = how(empty_url)

    assert (made.before, made.copy, made.changed) == ("", None, True)
    migrate.check_current(empty_url)
    fill(empty_url)
    again = how(empty_url)
    assert (again.before, again.after, again.changed) == (
        made.after,
        made.after,
        False,
    )
    assert len(everything(empty_url)["task"]) == 3


def test_a_file_without_a_byte_is_an_empty_database(sqlite_path: Path) -> None:
    sqlite_path.touch()

    assert migrate.prepare(f"sqlite:///{sqlite_path}").changed


def test_a_database_in_memory_has_all_tables() -> None:
    database = migrate.in_memory()

    assert done(TaskStore(database).add(new_task(), NOW)).created
    done(database.close())


def test_two_processes_that_start_at_once_make_it_once(empty_url: str) -> None:
    made: list[migrate.Upgraded] = []
    threads = [
        threading.Thread(target=lambda: made.append(migrate.prepare(empty_url)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(upgraded.changed for upgraded in made) == [False] * 3 + [True]
    migrate.check_current(empty_url)


@pytest.fixture(params=["IMMEDIATE", "EXCLUSIVE"])
def holder(
    sqlite_path: Path, request: pytest.FixtureRequest
) -> Iterator[sqlite3.Connection]:
    """Hold a new file while giving it a write-ahead log, in two steps."""
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as conn:
        conn.execute(f"BEGIN {request.param}")
        yield conn


def test_a_file_that_is_held_is_opened_when_it_is_let_go(
    sqlite_path: Path, holder: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            holder.rollback()

    monkeypatch.setattr(migrate.time, "sleep", pause)

    assert migrate.prepare(f"sqlite:///{sqlite_path}").changed
    assert pauses == [migrate._PAUSE_S] * 2


def test_a_file_that_is_held_for_too_long(
    sqlite_path: Path, holder: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_CONNECT_WAIT_S", 0.2)

    with pytest.raises(StoreUnavailable, match="locked by another process; find it"):
        migrate.prepare(f"sqlite:///{sqlite_path}")
    holder.rollback()
    assert migrate.prepare(f"sqlite:///{sqlite_path}").changed


# -- head and schema -------------------------------------------------------


@pytest.fixture
def all_migrations(tmp_path: Path) -> Path:
    """A copy of all migrations, which are run even if the database is empty."""
    return shutil.copytree(migrate.MIGRATIONS, tmp_path / "all-migrations")


#: Indexes that are not in the schema.
_OTHER_INDEXES = frozenset({"ix_task_text", "ix_task_pending_turn"})


@pytest.mark.filterwarnings(
    "ignore:Skipped unsupported reflection:sqlalchemy.exc.SAWarning"
)
@pytest.mark.parametrize("how", ["created", "migrated"])
def test_an_empty_database_gets_the_tables_of_the_schema(
    empty_url: str, how: str, all_migrations: Path
) -> None:
    if how == "created":
        migrate.upgrade(empty_url)
    else:
        migrate.upgrade(empty_url, migrations=all_migrations)
    opts = {
        "compare_server_default": True,
        "compare_type": True,
        "include_name": lambda name, _type, _parents: name not in _OTHER_INDEXES,
    }
    with connect(empty_url).connect() as conn:
        context = MigrationContext.configure(conn, opts=opts)
        assert compare_metadata(context, metadata) == []


def _sqlite_schema(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as conn:
        return {
            name: sql if kind == "trigger" else _same_order(sql)
            for name, kind, sql in conn.execute(
                "SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL"
            )
        }


def _same_order(sql: str) -> str:
    """Sort the constraints of a table, but not its columns.

    SQLite quotes the name of a table after a rename, as in batches, and puts a column
    that is added later behind the last constraint.
    """
    added = r", (\w+ (?:TEXT|INTEGER|DOUBLE|BOOLEAN)\b)"
    sql = re.sub(r"\)\s*$", "", re.sub(added, r",\n\1", sql))
    sql = re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", sql)
    lines = [line.strip().rstrip(",") for line in sql.splitlines()]
    constraints = sorted(line for line in lines if line.startswith("CONSTRAINT"))
    rest = [line for line in lines if line and not line.startswith("CONSTRAINT")]
    return re.sub(r"\s+", " ", "\n".join(rest + constraints))


def _as_sqlite_understands_it(path: Path) -> dict[str, Any]:
    """Return columns, references and indexes of each table, and settings of the file.

    Indexes are in the order of their creation, which decides between equal ones.
    """
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(path)) as conn:
        for name in ("application_id", "encoding", "journal_mode", "user_version"):
            found[name] = conn.execute(f"PRAGMA {name}").fetchone()
        for (table,) in conn.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            found[f"columns of {table}"] = conn.execute(
                f"PRAGMA table_xinfo({table})"
            ).fetchall()
            found[f"references of {table}"] = sorted(
                # Without their numbers.
                row[2:]
                for row in conn.execute(f"PRAGMA foreign_key_list({table})")
            )
            indexes = [
                row[1:]
                for row in conn.execute(f"PRAGMA index_list({table})").fetchall()
            ]
            for name, *_ in indexes:
                found[f"columns of {name}"] = conn.execute(
                    f"PRAGMA index_xinfo({name})"
                ).fetchall()
            # Alembic recreates these tables' indexes in an order that varies.
            varies = table in {"attempt", "offer"}
            found[f"indexes of {table}"] = sorted(indexes) if varies else indexes
    return found


def test_created_migrated_and_schema_are_the_same_to_the_letter_on_sqlite(
    tmp_path: Path, all_migrations: Path
) -> None:
    created, migrated, schema = (
        tmp_path / f"{name}.db" for name in ("created", "migrated", "schema")
    )
    migrate.upgrade(f"sqlite:///{created}")
    migrate.upgrade(f"sqlite:///{migrated}", migrations=all_migrations)
    metadata.create_all(sa.create_engine(f"sqlite:///{schema}"))

    as_created = _sqlite_schema(created)
    assert _sqlite_schema(migrated) == as_created
    # What is not in the schema.
    del as_created["alembic_version"]
    for name in ("task_event_update", "task_event_delete", *_OTHER_INDEXES):
        del as_created[name]
    assert _sqlite_schema(schema) == as_created
    assert {"task", "uq_task_open_number_key", "ix_task_number_key"} <= set(as_created)
    assert _as_sqlite_understands_it(created) == _as_sqlite_understands_it(migrated)
    rows = everything(f"sqlite:///{created}")
    assert rows == everything(f"sqlite:///{migrated}")
    assert rows["alembic_version"] == [(HEAD,)]


#: What PostgreSQL knows about the tables of the current schema, by kind.
_KNOWN_TO_POSTGRESQL = {
    "columns": "SELECT table_name, column_name, ordinal_position, data_type,"
    " character_maximum_length, is_nullable, column_default"
    " FROM information_schema.columns WHERE table_schema = current_schema()",
    "constraints": "SELECT conrelid::regclass::text, conname,"
    " pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = current_schema()::regnamespace AND contype <> 't'",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes"
    " WHERE schemaname = current_schema()",
    # In the order of their creation, which decides between equal ones.
    "order of indexes": "SELECT indrelid::regclass::text,"
    " array_agg(indexrelid::regclass::text ORDER BY indexrelid)::text"
    " FROM pg_index JOIN pg_class c ON c.oid = indrelid"
    " WHERE relnamespace = current_schema()::regnamespace GROUP BY indrelid",
    "triggers": "SELECT tgrelid::regclass::text, tgname, tgenabled::text,"
    " pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc"
    " WHERE pronamespace = current_schema()::regnamespace",
    "sequences": "SELECT sequencename, data_type::text, start_value, min_value,"
    " max_value, increment_by, cycle, cache_size, last_value FROM pg_sequences"
    " WHERE schemaname = current_schema()",
}


def test_created_migrated_and_schema_are_the_same_to_the_letter_on_postgresql(
    empty_postgres_url: str, all_migrations: Path
) -> None:
    engine = connect(empty_postgres_url)

    def described() -> dict[str, list[tuple[Any, ...]]]:
        with engine.begin() as conn:
            return {
                what: sorted(map(tuple, conn.exec_driver_sql(query)), key=str)
                for what, query in _KNOWN_TO_POSTGRESQL.items()
            }

    def empty() -> None:
        with engine.begin() as conn:
            conn.exec_driver_sql("DROP SCHEMA public CASCADE")
            conn.exec_driver_sql("CREATE SCHEMA public")

    migrate.upgrade(empty_postgres_url)
    created, rows = described(), everything(empty_postgres_url)
    empty()
    migrate.upgrade(empty_postgres_url, migrations=all_migrations)
    assert described() == created
    assert everything(empty_postgres_url) == rows
    assert rows["alembic_version"] == [(HEAD,)]
    assert len(created["constraints"]) > 15
    assert len(created["triggers"]) == len(created["functions"]) == 2
    empty()
    metadata.create_all(engine)
    schema = described()
    for what in ("columns", "constraints", "indexes", "sequences"):
        assert schema[what] == [
            row
            for row in created[what]
            # Alembic's own table is not in the schema.
            if row[0] != "alembic_version" and row[1] not in _OTHER_INDEXES
        ], what


# -- from an older version -------------------------------------------------


@pytest.fixture
def older(tmp_path: Path) -> Callable[[str], Path]:
    """Make a copy of the migrations that ends with an older version."""

    return partial(up_to, tmp_path)


def up_to(directory: Path, last: str) -> Path:
    """Copy the migrations up to a version into a directory; return the copy's path."""
    target = directory / f"up-to-{last}"
    shutil.copytree(migrate.MIGRATIONS, target, dirs_exist_ok=True)
    for file in (target / "versions").glob("[0-9]*.py"):
        if file.name[:4] > last:
            file.unlink()
    return target


@pytest.fixture(params=["sqlite", "postgresql"])
def unmade_url(request: pytest.FixtureRequest, sqlite_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{sqlite_path}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.mark.parametrize("name", ["service", "instance:b"])
def test_database_of_an_older_version_is_not_upgraded_while_a_service_runs_on_it(
    empty_postgres_url: str, older, name: str
) -> None:
    migrate.upgrade(empty_postgres_url, migrations=older("0025"))
    row = (
        "INSERT INTO lease (name, host, boot_id, pid, pid_space, process_start, token,"
        " since, epoch, valid_until) SELECT :name, 'pbx2', 'boot', 7, '', '', 'run',"
        " at, 1, at + 15 FROM (SELECT extract(epoch FROM clock_timestamp()) AS at) t"
    )
    with connect(empty_postgres_url).begin() as conn:
        conn.execute(sa.text(row), {"name": name})

    with pytest.raises(DatabaseHeld, match="while a service runs on it: process 7 on"):
        migrate.upgrade(empty_postgres_url)

    with connect(empty_postgres_url).begin() as conn:
        conn.execute(sa.text("UPDATE lease SET valid_until = 0"))
    assert migrate.upgrade(empty_postgres_url).before == "0025"
    # If nothing has to be changed, services may run.
    with connect(empty_postgres_url).begin() as conn:
        conn.execute(sa.text("UPDATE lease SET valid_until = 1e12"))
    assert not migrate.upgrade(empty_postgres_url).changed


def test_a_database_of_the_first_version_learns_how_attempts_can_end(
    unmade_url: str, older
) -> None:
    migrate.upgrade(unmade_url, migrations=older("0001"))
    insert_into_the_first_version(unmade_url)
    before = everything(unmade_url)

    migrate.upgrade(unmade_url)

    after = everything(unmade_url)
    # All attempts were made at the only Asterisk. A sentence without a code stays a
    # text.
    said = '{"text":"busy"}'
    assert after["attempt"] == [
        # For the limits the call counts from its beginning, as before.
        (*row[:-1], said, "default", "text", row[3])
        for row in before["attempt"]
    ]
    assert after["lease"] == []
    assert after["task_event"] == [
        (*row[:-2], said, row[-1], "text") for row in before["task_event"]
    ]
    with connect(unmade_url).connect() as conn:
        for newer in (
            "INVALID NUMBER",
            "WITHDRAWN",
            "FORWARDED",
            "NOT CONFIRMED",
            "MACHINE",
        ):
            conn.exec_driver_sql(f"UPDATE attempt SET disposition = '{newer}'")
        conn.rollback()
        # The constraints are still in force.
        for change in (
            "UPDATE attempt SET disposition = 'x'",
            "UPDATE attempt SET disposition = NULL",
            "UPDATE attempt SET talk_s = -1",
            "INSERT INTO attempt SELECT 3, task_id, channel_id, started_at, ended_at,"
            " disposition, member, talk_s, reason_params, node, reason_code,"
            " dialled_at FROM attempt",
            "UPDATE task_event SET reason_params = 'x'",
            "DELETE FROM task_event",
        ):
            with pytest.raises(sa.exc.IntegrityError):
                conn.exec_driver_sql(change)
            conn.rollback()


def test_offers_are_kept_and_may_be_refused(unmade_url: str, older) -> None:
    migrate.upgrade(unmade_url, migrations=older("0016"))
    with connect(unmade_url).begin() as conn:
        conn.exec_driver_sql(
            "INSERT INTO offer VALUES (7, 1, 'support', '100', 2, NULL, 'waited',"
            " 'accepted', 3, '1.1'), (8, 2, 'support', '', 1, 60, 'closed', 'asked',"
            " NULL, '1.2')"
        )
    before = everything(unmade_url)

    migrate.upgrade(unmade_url)

    assert everything(unmade_url)["offer"] == before["offer"]
    with connect(unmade_url).connect() as conn:
        conn.exec_driver_sql("UPDATE offer SET outcome = 'refused' WHERE id = 7")
        for change in (
            "UPDATE offer SET outcome = 'x' WHERE id = 7",
            "UPDATE offer SET reason = 'x'",
            "UPDATE offer SET ended_at = NULL",
        ):
            with pytest.raises(sa.exc.IntegrityError):
                conn.exec_driver_sql(change)
            conn.rollback()


def test_reports_know_when_older_talks_began(unmade_url: str, older) -> None:
    migrate.upgrade(unmade_url, migrations=older("0022"))
    columns = (
        "id, kind, status, number, number_key, name, language, queue, linkedid,"
        " joined_at, created_at, due_at, expires_at, ended_at, attempts,"
        " member_attempts, reason_params, cancel_requested, served"
    )
    with connect(unmade_url).begin() as conn:
        for task_id, status in ((1, "completed"), (2, "failed"), (3, "pending")):
            ended = "NULL" if status == "pending" else "90"
            conn.exec_driver_sql(
                f"INSERT INTO task ({columns}) VALUES ({task_id}, 'missed', '{status}',"
                f" '10{task_id}', '10{task_id}', '', '', 'support', '', 1, 1, 1, 9,"
                f" {ended}, 1, 0, '{{}}', false, false)"
            )
            conn.exec_driver_sql(
                "INSERT INTO task_event (id, task_id, at, move, status, reason_params,"
                f" linkedid) VALUES ({task_id}, {task_id}, 1, 'create', 'pending',"
                " '{}', '1.1')"
            )
        conn.exec_driver_sql(
            "INSERT INTO attempt (id, task_id, channel_id, started_at, ended_at,"
            " disposition, member, talk_s, reason_params) VALUES"
            " (4, 1, 'a', 10, 20, 'BUSY', '', 0, '{}'),"
            " (5, 1, 'b', 30, 90, 'ANSWERED', 'PJSIP/1', 50, '{}'),"
            " (6, 2, 'c', 30, 90, 'MACHINE', '', 0, '{}')"
        )
    before = everything(unmade_url)

    migrate.upgrade(unmade_url)

    after = everything(unmade_url)
    for table in ("task", "attempt", "task_event"):
        assert after[table] == before[table]
    assert after["reached"] == [(1, 40.0, None)]
    with connect(unmade_url).connect() as conn:
        # Ids of calls may be erased from ended tasks, and nothing else be changed.
        conn.exec_driver_sql("UPDATE task_event SET linkedid = '' WHERE task_id = 1")
        for change in (
            "UPDATE task_event SET linkedid = '' WHERE task_id = 3",
            "UPDATE task_event SET linkedid = '1.2' WHERE task_id = 2",
            "UPDATE task_event SET at = 2 WHERE task_id = 2",
            "DELETE FROM task_event WHERE task_id = 3",
        ):
            with pytest.raises(sa.exc.DBAPIError, match="only ever added to"):
                conn.exec_driver_sql(change)
            conn.rollback()


def test_counts_are_kept_and_may_be_of_a_year(unmade_url: str, older) -> None:
    migrate.upgrade(unmade_url, migrations=older("0027"))
    row = (
        "INSERT INTO tally (span, queue, begins_at, kind, ends_at, asked, reached,"
        " failed, expired, cancelled, served, numbers, last_task, final)"
        " VALUES ('{}', 'support', {}, 'missed', {}, 7, 4, 1, 1, 1, 0,"
        """ '{{"asked":7}}', 12, true)"""
    )
    with connect(unmade_url).begin() as conn:
        for one in (("day", 86400, 172800), ("week", 0, 604800), ("month", 0, 2678400)):
            conn.exec_driver_sql(row.format(*one))
    before = everything(unmade_url)

    migrate.upgrade(unmade_url)

    assert everything(unmade_url)["tally"] == before["tally"]
    with connect(unmade_url).begin() as conn:
        conn.exec_driver_sql(row.format("year", 0, 31536000))
        with pytest.raises(sa.exc.IntegrityError):
            conn.exec_driver_sql(row.format("hour", 0, 3600))


def test_events_are_kept_and_may_be_notes(unmade_url: str, older) -> None:
    migrate.upgrade(unmade_url, migrations=older("0021"))
    no = "0" if unmade_url.startswith("sqlite") else "false"
    with connect(unmade_url).begin() as conn:
        conn.exec_driver_sql(
            "INSERT INTO task (id, kind, status, number, number_key, name, language,"
            " queue, linkedid, joined_at, created_at, due_at, expires_at, attempts,"
            " member_attempts, reason_params, cancel_requested, served) VALUES (1,"
            " 'missed', 'pending', '100', '100', 'Ada', 'en', 'support', '1.1', 1, 2,"
            f" 3, 9, 0, 0, '{{}}', {no}, {no})"
        )
        conn.exec_driver_sql(
            "INSERT INTO task_event (id, task_id, at, move, status, reason_params,"
            " linkedid, reason_code) VALUES (7, 1, 1, 'create', 'pending', '{}', '1.1',"
            " 'missed_call'), (9, 1, 2, 'retry', 'pending', '{}', '', 'retry')"
        )
        conn.exec_driver_sql("INSERT INTO asked VALUES (7, 'missed')")
    before = everything(unmade_url)

    migrate.upgrade(unmade_url)

    after = everything(unmade_url)
    assert after["task_event"] == before["task_event"]
    assert after["asked"] == before["asked"]
    assert after["task"] == [(*row, *(None,) * 6) for row in before["task"]]
    with connect(unmade_url).connect() as conn:
        one = (
            "INSERT INTO task_event (task_id, at, move, status, reason_params,"
            " linkedid) VALUES (1, 3, '{}', 'pending', '', '')"
        )
        for move in ("move", "assign", "release", "note"):
            conn.exec_driver_sql(one.format(move))
        conn.rollback()
        for change in (
            one.format("x"),
            "UPDATE task_event SET at = 5",
            "DELETE FROM task_event",
        ):
            with pytest.raises(sa.exc.DBAPIError):
                conn.exec_driver_sql(change)
            conn.rollback()
    if unmade_url.startswith("sqlite"):
        with connect(unmade_url).connect() as conn:
            conn.exec_driver_sql(one.format("note"))
            last = "SELECT max(id) FROM task_event"
            # No id is used again.
            assert conn.exec_driver_sql(last).scalar() == 10


def test_readers_of_events_go_on_where_they_were(unmade_url: str, older) -> None:
    """No event is read twice, and none is left out, also after ids that are gone."""
    migrate.upgrade(unmade_url, migrations=older("0024"))
    no = "0" if unmade_url.startswith("sqlite") else "false"
    with connect(unmade_url).begin() as conn:
        conn.exec_driver_sql(
            "INSERT INTO task (id, kind, status, number, number_key, name, language,"
            " queue, linkedid, joined_at, created_at, due_at, expires_at, attempts,"
            " member_attempts, reason_params, cancel_requested, served) VALUES (1,"
            " 'missed', 'pending', '100', '100', 'Ada', 'en', 'support', '1.1', 1, 2,"
            f" 3, 9, 0, 0, '{{}}', {no}, {no})"
        )
        for event_id in (3, 4, 7, 9):
            conn.exec_driver_sql(
                "INSERT INTO task_event (id, task_id, at, move, status, reason_params,"
                f" linkedid) VALUES ({event_id}, 1, {event_id}, 'progress', 'pending',"
                " '{}', '')"
            )
        conn.exec_driver_sql(
            "UPDATE position SET event_id = 4, entries = 1 WHERE name = 'queue_log'"
        )
        conn.exec_driver_sql("INSERT INTO position VALUES ('queue_log:x', 9, 0)")
        if unmade_url.startswith("postgresql"):
            for table in ("task", "task_event"):
                conn.exec_driver_sql(f"SELECT setval('{table}_id_seq', 9)")
    before = everything(unmade_url)

    migrate.upgrade(unmade_url)

    after = everything(unmade_url)
    assert after["task_event"] == before["task_event"]
    assert after["position"] == before["position"]
    database = Database(unmade_url, deliver=None)
    store = TaskStore(database)
    assert done(store.position("queue_log")) == Position(4, 1)
    done(store.add(new_task("200"), NOW))
    for reader, left in (("queue_log", [7, 9, 10]), ("queue_log:x", [10])):
        page = done(store.events_after(done(store.position(reader)).event_id, 100))
        assert ([one.event_id for one in page.events], page.held_back) == (left, False)
    done(database.close())


def insert_into_the_first_version(url: str) -> None:
    """Put a task with an attempt that has ended into a database of version 0001."""
    task = (
        "INSERT INTO task VALUES (1, 'missed', 'pending', '100', '100', 'Jörg', '',"
        " 'support', '', 1, 1, 1, 9, NULL, 1, 0, 'busy', {no}, {no})"
    )
    no = "0" if url.startswith("sqlite") else "false"
    with connect(url).begin() as conn:
        conn.exec_driver_sql(task.format(no=no))
        conn.exec_driver_sql(
            "INSERT INTO attempt VALUES"
            " (2, 1, 'callback-1', 1, 2, 'BUSY', 'PJSIP/1', 0, 'busy')"
        )
        conn.exec_driver_sql(
            "INSERT INTO task_event VALUES (3, 1, 2, 1, 'retry', 'pending', 'busy', '')"
        )


def test_an_upgrade_keeps_every_row(url_of_its_own: str, newer) -> None:
    fill(url_of_its_own)
    before = everything(url_of_its_own)

    upgraded = migrate.upgrade(url_of_its_own, migrations=newer())

    after = everything(url_of_its_own)
    assert (upgraded.before, upgraded.after) == (HEAD, "9999")
    assert after.pop("later") == []
    assert after.pop("alembic_version") == [("9999",)]
    assert before.pop("alembic_version") == [(HEAD,)]
    assert [row[:-1] for row in after["task"]] == before["task"]
    assert {row[-1] for row in after.pop("task")} == {"blue"}
    before.pop("task")
    assert after == before
    # The constraints are still in force.
    with connect(url_of_its_own).connect() as conn:
        for change in (
            "UPDATE task_event SET reason_params = 'x'",
            "DELETE FROM task_event",
            "UPDATE task SET status = 'pending', ended_at = NULL, number_key = '2'",
            "UPDATE task SET kind = 'x'",
        ):
            with pytest.raises(sa.exc.IntegrityError):
                conn.exec_driver_sql(change)
            conn.rollback()


@pytest.fixture(params=["sqlite", "postgresql"])
def url_of_its_own(request: pytest.FixtureRequest) -> str:
    """A database of this version that no other test uses."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_url")
    url: str = request.getfixturevalue("empty_postgres_url")
    migrate.upgrade(url)
    return url


def test_a_copy_is_made_before_a_file_is_upgraded(
    sqlite_url: str, sqlite_path: Path, newer
) -> None:
    fill(sqlite_url)
    before = everything(sqlite_url)
    # Rows that are only in the write-ahead log belong into the copy, too.
    unclosed = Database(sqlite_url, deliver=None)
    done(TaskStore(unclosed).add(new_task("4"), NOW))

    upgraded = migrate.upgrade(sqlite_url, migrations=newer())

    assert upgraded.copy == sqlite_path.with_name(f"callbacks.db.backup-{HEAD}")
    copied = everything(f"sqlite:///{upgraded.copy}")
    assert len(copied["task"]) == len(before["task"]) + 1
    assert copied["attempt"] == before["attempt"]
    assert stat.S_IMODE(upgraded.copy.stat().st_mode) == 0o600
    migrate.check_current(f"sqlite:///{upgraded.copy}")
    assert not list(sqlite_path.parent.glob("*.unfinished"))
    done(unclosed.close())


def test_an_upgrade_is_not_begun_when_no_copy_can_be_made(
    sqlite_url: str, sqlite_path: Path, newer
) -> None:
    fill(sqlite_url)
    before = everything(sqlite_url)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (sqlite_path.stat().st_size - 1, limit[1])
    )
    try:
        with pytest.raises(CopyFailed, match=f"backup-{HEAD} can not be written: "):
            migrate.upgrade(sqlite_url, migrations=newer())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert everything(sqlite_url) == before
    assert [
        path for path in sqlite_path.parent.iterdir() if "backup" in path.name
    ] == []
    migrate.check_current(sqlite_url)


def test_an_upgrade_says_what_it_did(sqlite_path: Path, newer) -> None:
    url = f"sqlite:///{sqlite_path}"

    assert str(migrate.upgrade(url)) == f"the database was made, version {HEAD}"
    assert str(migrate.upgrade(url)) == f"the database is of version {HEAD} already"
    assert str(migrate.upgrade(url, migrations=newer())) == (
        f"the database was upgraded from version {HEAD} to 9999;"
        f" as it was before: {sqlite_path}.backup-{HEAD}"
    )


def test_an_earlier_copy_is_never_overwritten(
    sqlite_url: str, sqlite_path: Path, newer
) -> None:
    taken = sqlite_path.with_name(f"callbacks.db.backup-{HEAD}")
    taken.write_text("precious")

    upgraded = migrate.upgrade(sqlite_url, migrations=newer())

    assert upgraded.copy == sqlite_path.with_name(f"callbacks.db.backup-{HEAD}.2")
    assert taken.read_text() == "precious"


def test_an_upgrade_that_fails_leaves_all_as_it_was(url_of_its_own: str, newer) -> None:
    fill(url_of_its_own)
    before = everything(url_of_its_own)

    with pytest.raises(RuntimeError, match="half-way"):
        migrate.upgrade(
            url_of_its_own, migrations=newer("raise RuntimeError('half-way')")
        )

    assert everything(url_of_its_own) == before
    migrate.check_current(url_of_its_own)
    fill_again = Database(url_of_its_own, deliver=None)
    assert done(TaskStore(fill_again).add(new_task("9"), NOW)).created
    done(fill_again.close())


def test_an_upgrade_that_would_orphan_rows_is_undone(sqlite_url: str, newer) -> None:
    fill(sqlite_url)
    before = everything(sqlite_url)
    orphan = 'op.execute("UPDATE attempt SET task_id = 77 WHERE id = 1")'

    with pytest.raises(StoreUnavailable, match="without the row they belong to"):
        migrate.upgrade(sqlite_url, migrations=newer(orphan))

    assert everything(sqlite_url) == before


def test_an_upgrade_waits_for_nobody_for_ever(sqlite_url: str, newer) -> None:
    backends_wait = "fastagi.store.backends._MIGRATION_WAIT_S"
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends_wait, 0.2)
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            migrate.upgrade(sqlite_url, migrations=newer())

    other.close()


# -- checks ----------------------------------------------------------------


def test_the_service_does_not_upgrade_by_itself(url_of_its_own: str, newer) -> None:
    before = everything(url_of_its_own)

    for check in (migrate.prepare, migrate.check_current):
        with pytest.raises(SchemaOutdated, match="callback-queue db upgrade") as caught:
            check(url_of_its_own, migrations=newer())
        assert f"version {HEAD}, version 9999 is needed" in str(caught.value)
        # Of a SQLite file the upgrade makes a copy.
        needs_copy = not url_of_its_own.startswith("sqlite")
        assert ("callback-queue db backup" in str(caught.value)) == needs_copy

    assert everything(url_of_its_own) == before


def test_a_newer_database_is_left_alone(url_of_its_own: str, newer) -> None:
    migrate.upgrade(url_of_its_own, migrations=newer())
    before = everything(url_of_its_own)

    for check in (migrate.prepare, migrate.check_current, migrate.upgrade):
        with pytest.raises(SchemaTooNew, match="version 9999, this service knows only"):
            check(url_of_its_own)

    assert everything(url_of_its_own) == before


def test_an_empty_database_is_not_of_this_version(empty_url: str) -> None:
    backend_for(empty_url).create()

    with pytest.raises(SchemaOutdated, match="is empty"):
        migrate.check_current(empty_url)


def test_a_missing_file_is_not_made_by_a_check(sqlite_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist"):
        migrate.check_current(f"sqlite:///{sqlite_path}")

    assert not sqlite_path.exists()


def test_a_database_of_something_else_is_left_alone(empty_url: str) -> None:
    backend_for(empty_url).create()
    with connect(empty_url).begin() as conn:
        conn.exec_driver_sql("CREATE TABLE customers (id INTEGER)")

    for check in (migrate.prepare, migrate.check_current, migrate.upgrade):
        with pytest.raises(ForeignDatabase, match="customers"):
            check(empty_url)

    assert list(everything(empty_url)) == ["customers"]
