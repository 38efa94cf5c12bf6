# SPDX-License-Identifier: MIT
"""Creates the tables of an empty database, at the newest version.

The migrations lead to the same tables, indexes, triggers and rows, but take many times
as long. Each change of a new migration is therefore also made in
:mod:`fastagi.store.schema` or here; tests compare the two results.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from fastagi.store import schema
from fastagi.store.versions import VERSION_TABLE
from fastagi.store.writers import EVENTS_LOCK

#: As Alembic creates it.
_version: Final = sa.Table(
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)

#: By which SQLite finds a part of a number or name without reading the rows, which are
#: long. The id comes first, so that a new task is appended and the latest are found
#: first. PostgreSQL would not use it.
_TEXT_INDEX: Final = "CREATE INDEX ix_task_text ON task (id, number, name)"

#: The waiting tasks of each queue in the order in which they are called, by the
#: expressions of :mod:`fastagi.store.schema`.
_TURN_INDEX: Final = (
    "CREATE INDEX ix_task_pending_turn ON task (queue,"
    " coalesce(place_chosen, chosen_at IS NOT NULL),"
    " coalesce(place_priority, priority) DESC, coalesce(place_at, joined_at), id)"
    f" WHERE {schema.PENDING_ONLY}"
)

_REFUSAL: Final = "the history of a task is only ever added to"


def _is_erasure(same: str) -> str:
    """Return the condition of an update that only erases a number of an ended task.

    Args:
        same: the operator that compares two values, also if both are NULL.
    """
    names = ("id", "task_id", "at", "move", "status", "reason_code", "attempt_id")
    kept = " AND ".join(f"NEW.{name} {same} OLD.{name}" for name in names)
    return (
        f"{kept} AND NEW.linkedid IN ('', OLD.linkedid) AND EXISTS (SELECT 1 FROM task"
        " WHERE task.id = OLD.task_id AND task.ended_at IS NOT NULL)"
    )


#: The triggers that keep the table ``task_event`` append-only, by SQLAlchemy's name of
#: the engine. They are the same to the letter as those of the migrations.
_GUARDS: Final = {
    "sqlite": (
        "CREATE TRIGGER task_event_update BEFORE UPDATE ON task_event"
        f" WHEN NOT ({_is_erasure('IS')})"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
        "CREATE TRIGGER task_event_delete BEFORE DELETE ON task_event"
        " WHEN EXISTS (SELECT 1 FROM task"
        f" WHERE task.id = OLD.task_id AND task.{schema.OPEN_ONLY})"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION task_event_guard() RETURNS trigger"
        " LANGUAGE plpgsql AS $$"
        " BEGIN"
        "   IF TG_OP = 'UPDATE' THEN"
        f"    IF {_is_erasure('IS NOT DISTINCT FROM')} THEN RETURN NEW; END IF;"
        f"    RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';"
        "   END IF;"
        "   IF EXISTS (SELECT 1 FROM task"
        "    WHERE task.id = OLD.task_id AND task.ended_at IS NULL) THEN"
        f"    RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';"
        "   END IF;"
        "   RETURN OLD;"
        " END $$",
        "CREATE TRIGGER task_event_guard BEFORE UPDATE OR DELETE ON task_event"
        " FOR EACH ROW EXECUTE FUNCTION task_event_guard()",
    ),
}

#: On PostgreSQL, the trigger by which readers of the events know who writes some
#: (:mod:`fastagi.store.writers`). It needs no search_path, as when rows are restored.
_WRITERS: Final = (
    "CREATE FUNCTION task_event_writer() RETURNS trigger"
    " LANGUAGE plpgsql AS $$"
    " BEGIN"
    "   IF coalesce(current_setting('callback_queue.writes', true), '') = '' THEN"
    f"     PERFORM pg_advisory_xact_lock_shared({EVENTS_LOCK}, coalesce("
    "       pg_sequence_last_value(CAST(quote_ident(TG_TABLE_SCHEMA)"
    "         || '.task_event_id_seq' AS regclass)), 0)::int);"
    "     PERFORM set_config('callback_queue.writes', 'events', true);"
    "   END IF;"
    "   RETURN NULL;"
    " END $$",
    "CREATE TRIGGER task_event_writer BEFORE INSERT ON task_event"
    " FOR EACH STATEMENT EXECUTE FUNCTION task_event_writer()",
)


def create_tables(conn: sa.Connection, version: str) -> None:
    """Create all tables in an empty database, within the caller's transaction.

    Args:
        conn: in a transaction.
        version: the version that the database gets.
    """
    for table in (_version, *schema.metadata.sorted_tables):
        conn.execute(CreateTable(table))
    # In a fixed order, unlike Table.indexes.
    for index in schema.INDEXES:
        conn.execute(CreateIndex(index))
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql(_TEXT_INDEX)
    conn.exec_driver_sql(_TURN_INDEX)
    for guard in _GUARDS[conn.dialect.name]:
        conn.exec_driver_sql(guard)
    for writers in _WRITERS if conn.dialect.name == "postgresql" else ():
        conn.exec_driver_sql(writers)
    conn.execute(_version.insert().values(version_num=version))
    # queue_log gets the events of all tasks.
    first = {"name": "queue_log", "event_id": 0, "entries": 0}
    conn.execute(schema.position.insert().values(first))
