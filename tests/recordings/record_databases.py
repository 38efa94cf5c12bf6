# SPDX-License-Identifier: MIT
"""Records what version 0.1.0 writes: ``python -m tests.recordings.record_databases``.

It takes the last commit of 0.1.0 out of the repository's history, runs `fill_0_1_0`
with that code, once on SQLite and once on PostgreSQL, and keeps the databases as SQL
beside the answers of its commands. Ids of channels differ in each recording.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from tests.lab.databases import PostgreSQL
from tests.lab.install import install

DATABASES: Final = Path(__file__).with_name("databases")
#: The last commit whose changes are under 0.1.0 in the changelog.
COMMIT_OF_0_1_0: Final = "d85459e535e5ab94944eb1f3530744aca5ada82d"
_ROOT: Final = Path(__file__).parents[2]


def main() -> None:
    """Record the day on each engine; both must have the same answers."""
    DATABASES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        code = Path(temporary, "code")
        _export(COMMIT_OF_0_1_0, code)
        file = Path(temporary, "callback-queue.db")
        answers = _fill(code, f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as conn:
            (problem,) = conn.execute("PRAGMA integrity_check").fetchone()
            assert problem == "ok", problem
            _write("0.1.0.sqlite.sql", "\n".join(conn.iterdump()) + "\n")
        _write("0.1.0.sqlite.json", _as_json(answers))
        install(["databases"])
        server = PostgreSQL()
        try:
            server.start()
            with server.database() as url:
                answers = _fill(code, url)
                _write("0.1.0.postgresql.sql", _pg_dump(server, url))
        finally:
            server.close()
        _write("0.1.0.postgresql.json", _as_json(answers))


def _export(commit: str, to: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", commit, "fastagi", "tests"],
        cwd=_ROOT,
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        # Python has filters since 3.11.4.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(to)
    program = Path(__file__).with_name("fill_0_1_0.py")
    (to / program.name).write_bytes(program.read_bytes())


def _fill(code: Path, url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "fill_0_1_0.py", url],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code), "TZ": "UTC"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    assert answers["version"] == "0.1.0", answers["version"]
    return answers


def _pg_dump(server: PostgreSQL, url: str) -> str:
    parsed = sa.make_url(url)
    done = subprocess.run(
        server.programs.command(
            *("pg_dump", "--inserts", "--no-owner", "--no-privileges"),
            f"--dbname={url}",
        ),
        env=server.programs.environment(),
        cwd="/tmp",
        check=True,
        capture_output=True,
        text=True,
    )
    assert parsed.password is not None
    assert parsed.password not in done.stdout
    # Without commands of psql, and without a search path that hides the tables.
    kept = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("\\", "SELECT pg_catalog.set_config('search_path'"))
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)) + "\n"


def _as_json(answers: dict[str, Any]) -> str:
    return json.dumps(answers, ensure_ascii=False, indent=1) + "\n"


def _write(name: str, text: str) -> None:
    (DATABASES / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
