# SPDX-License-Identifier: MIT
"""The tables of the web process's own database.

A new table is a ``sa.Table`` of ``METADATA`` here. As long as ``LATEST`` is not
released, that is all. A change after a release raises ``LATEST`` and adds a step to
``fastagi.web.state.versions``.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

#: One row: the version of the tables.
VERSION: Final = sa.Table(
    "web_version",
    METADATA,
    sa.Column("version", sa.Integer, nullable=False),
)
