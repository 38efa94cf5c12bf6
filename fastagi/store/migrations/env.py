# SPDX-License-Identifier: MIT
"""Run by Alembic, with the connection and the transaction of the caller."""

from __future__ import annotations

from alembic import context

from fastagi.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
