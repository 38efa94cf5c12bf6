# SPDX-License-Identifier: MIT
"""Each transaction that writes events says so, for readers of the events.

Rows and positions stay as they are: no service writes during an upgrade, so no event
is missing before the last one.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Create the trigger; SQLite has one writer at a time, and needs none."""
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute(
        "CREATE FUNCTION task_event_writer() RETURNS trigger"
        " LANGUAGE plpgsql AS $$"
        " BEGIN"
        "   IF coalesce(current_setting('callback_queue.writes', true), '') = '' THEN"
        "     PERFORM pg_advisory_xact_lock_shared(4574, coalesce("
        "       pg_sequence_last_value(CAST(quote_ident(TG_TABLE_SCHEMA)"
        "         || '.task_event_id_seq' AS regclass)), 0)::int);"
        "     PERFORM set_config('callback_queue.writes', 'events', true);"
        "   END IF;"
        "   RETURN NULL;"
        " END $$"
    )
    op.execute(
        "CREATE TRIGGER task_event_writer BEFORE INSERT ON task_event"
        " FOR EACH STATEMENT EXECUTE FUNCTION task_event_writer()"
    )
