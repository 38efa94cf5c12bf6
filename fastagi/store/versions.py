# SPDX-License-Identifier: MIT
"""The versions of a database: the one that it has, and those that are known here.

Knows neither Alembic nor Twisted, so a process that only reads can use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from fastagi.store.errors import ForeignDatabase, SchemaOutdated, SchemaTooNew

MIGRATIONS: Final = Path(__file__).with_name("migrations")
#: The table in which Alembic stores the version.
VERSION_TABLE: Final = "alembic_version"
VERSIONS_TAKEN: Final[sa.TextClause] = sa.text(
    f"SELECT version_num FROM {VERSION_TABLE}"
)


def newest_version(*, migrations: Path = MIGRATIONS) -> str:
    """Return the version of a database that this service works with."""
    return max(known_versions(migrations))


def version_of(conn: sa.Connection, migrations: Path = MIGRATIONS) -> str:
    """Return the database's version; empty if the database is empty.

    Raises:
        SchemaTooNew: this service does not know the version.
        ForeignDatabase: the database has tables, but no version.
    """
    tables = sa.inspect(conn).get_table_names()
    heads: list[str] = []
    if VERSION_TABLE in tables:
        heads += conn.scalars(VERSIONS_TAKEN)
    if not heads:
        if tables:
            raise ForeignDatabase(
                "the database belongs to something else: it has tables such as"
                f" {tables[0]}, but no version of this service",
                "use one of its own",
            )
        return ""
    known = known_versions(migrations)
    if unknown := [head for head in heads if head not in known]:
        raise SchemaTooNew(
            f"the database is of version {unknown[0]}, this service knows only up to"
            f" {max(known)}",
            "install the newer service again, or put back the copy made before the"
            " upgrade",
        )
    return heads[0]


def outdated(
    version: str, before_upgrade: str, migrations: Path = MIGRATIONS
) -> SchemaOutdated:
    """Return the error for a database that has to be upgraded.

    Args:
        version: the version of the database; empty if it is empty.
        before_upgrade: what an administrator does before an upgrade; empty, or ends
            with a comma.
        migrations: Alembic's directory.
    """
    found = f"of version {version}" if version else "empty"
    needed = newest_version(migrations=migrations)
    return SchemaOutdated(
        f"the database is {found}, version {needed} is needed",
        f"stop the service, {before_upgrade}run 'callback-queue db upgrade' and"
        " start it again",
    )


def known_versions(migrations: Path) -> set[str]:
    """Return all versions; the name of each migration file begins with its version."""
    steps = (migrations / "versions").glob("[0-9]*_*.py")
    return {step.name.partition("_")[0] for step in steps}
