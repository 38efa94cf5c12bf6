# SPDX-License-Identifier: MIT
"""Files of the service are readable only by its user, with any umask."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from fastagi.store import migrate
from tests.process.program import Program


def others_may(directory: Path) -> dict[str, str]:
    """Return the files below a directory that others may access, with their modes."""
    return {
        str(path.relative_to(directory)): stat.filemode(path.lstat().st_mode)
        for path in directory.rglob("*")
        # The mode of a symbolic link has no meaning.
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    }


def first_version(target: Path) -> Path:
    """Return the migrations of a service that had only the first one."""
    shutil.copytree(Path(migrate.__file__).with_name("migrations"), target)
    for file in (target / "versions").glob("[0-9]*.py"):
        if not file.name.startswith("0001"):
            file.unlink()
    return target


def test_with_umask_0_nobody_else_may_touch_what_the_service_makes(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    with Program(tmp_path, umask=0) as program:
        code, said = program.command("tasks", "add", "support", "+4930123456")
        assert code == 0, said
        data = {path.name for path in (tmp_path / "data").iterdir()}
        name = "callback-queue.db"
        assert data == {name, f"{name}-wal", f"{name}-shm", f"{name}-lock"}
        assert (tmp_path / "run/control.sock").is_socket()
        code, said = program.command("db", "backup", str(tmp_path / "copy.db"))
        assert code == 0, said
        assert (tmp_path / "copy.db").is_file()
        open_to_others = others_may(tmp_path)
        assert open_to_others.keys() == {"log"}, open_to_others


def test_with_umask_0_nobody_else_may_read_the_copy_made_before_an_upgrade(
    tmp_path: Path,
) -> None:
    program = Program(tmp_path, umask=0)
    url = f"sqlite:///{tmp_path}/data/callback-queue.db"
    migrate.upgrade(url, migrations=first_version(tmp_path / "migrations"))
    code, said = program.command("db", "upgrade")
    assert code == 0, said
    copies = [path for path in (tmp_path / "data").iterdir() if "0001" in path.name]
    assert len(copies) == 1
    assert others_may(tmp_path / "data") == {}
    # If the service is stopped, the command itself writes the task.
    code, said = program.command("tasks", "add", "support", "+4930123456")
    assert code == 0, said
    assert others_may(tmp_path / "data") == {}
