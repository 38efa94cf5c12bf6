# SPDX-License-Identifier: MIT
"""Alembic's files: how a database comes from any version to this one.

Each file in ``versions`` stands for ever and says all it needs itself; none imports
the schema, which moves on. On SQLite, ``batch_alter_table`` makes a table anew and
drops its triggers: a migration that does so to ``task_event`` makes them again.
"""
