# SPDX-License-Identifier: MIT
"""Alembic's files: the upgrades from each version to the next.

A file in ``versions`` never changes and contains all that it needs; none imports the
schema, which does change. On SQLite, ``batch_alter_table`` recreates a table and drops
its triggers, so a migration that uses it on ``task_event`` must create them again. It
can not read the index ``ix_task_pending_turn`` from the file, so a migration that uses
it on ``task`` drops that index before, and creates it again afterwards.
"""
