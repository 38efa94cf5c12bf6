# SPDX-License-Identifier: MIT
"""Everything that setup writes can be taken back, whatever happens meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from fastagi.setup import journal as journal_module
from fastagi.setup.errors import Refused, SetupFailed
from fastagi.setup.installation import Installation
from fastagi.setup.lines import BEGIN, has_ours
from fastagi.setup.machine import Machine
from fastagi.setup.material import material
from fastagi.setup.paths import Root
from fastagi.setup.planning import Change
from tests.setup.layouts import ANSWERS, installation, machine, planned, tree

_NOW = datetime(2026, 12, 1, tzinfo=UTC)
_ETC = "etc/asterisk"
#: The functions of ``os`` with which the journal changes something.
_STEPS = ("replace", "unlink", "rmdir", "write", "fchmod", "utime")


def _few(made: Installation) -> Installation:
    """Leave out the prompts, which are hundreds."""
    whole = made.plan

    def plan(*args: Any) -> Any:
        found = whole(*args)
        kept = [one for one in found.changes if one.path.suffix != ".wav"]
        return attrs.evolve(found, changes=tuple(kept))

    made.plan = plan  # type: ignore[method-assign]
    return made


def _installed(root: Root) -> Installation:
    made = _few(installation(root))
    made.apply(planned(made), _NOW)
    return made


def test_undo_leaves_every_byte_mode_owner_and_time(tmp_path: Path) -> None:
    root = machine(tmp_path)
    (tmp_path / _ETC / "queues.conf").chmod(0o604)
    before = tree(tmp_path)
    made = installation(root)
    made.apply(planned(made), _NOW)
    assert tree(tmp_path) != before
    assert (tmp_path / _ETC / "queues.conf").stat().st_mode & 0o777 == 0o604

    left, _ = made.undo()

    assert left == []
    after = tree(tmp_path)
    # The parents of the journal.
    for name in ("var/lib", "var"):
        before.pop(name, None), after.pop(name, None)
    assert after == before


@pytest.mark.parametrize("is_enabled", [True, False])
def test_undo_says_that_the_web_process_is_still_enabled(
    is_enabled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _installed(machine(tmp_path))

    def run(_machine: Machine, argv: Sequence[str]) -> None:
        if argv[1] == "is-enabled" and not is_enabled:
            raise SetupFailed("not enabled", "run it by hand")

    monkeypatch.setattr(Machine, "has_systemd", True)
    monkeypatch.setattr(Machine, "run", run)
    left, said = made.undo()
    assert left == []
    assert [line for line in said if "callback-queue-web" in line] == [
        "the web process is still enabled; to stop it: sudo systemctl disable --now"
        " callback-queue-web"
    ] * is_enabled


def test_undo_after_several_setups_goes_back_to_the_first(tmp_path: Path) -> None:
    root = machine(tmp_path)
    before = tree(tmp_path / _ETC)
    made = _installed(root)
    for queues in (("support", "sales"), ("sales",)):
        changed = attrs.evolve(ANSWERS, queues=queues)
        made.apply(planned(made, changed), _NOW)
    assert b"[support]\nstrategy" in (tmp_path / _ETC / "queues.conf").read_bytes()
    assert made.undo()[0] == []
    assert tree(tmp_path / _ETC) == before


def test_changes_of_the_administrator_survive_undo(tmp_path: Path) -> None:
    root = machine(tmp_path)
    made = _installed(root)
    path = tmp_path / _ETC / "queues.conf"
    path.write_text(path.read_text() + "[more]\nmember => PJSIP/3\n")
    assert made.undo()[0] == []
    text = path.read_text()
    assert "[more]\nmember => PJSIP/3\n" in text
    assert not has_ours(text)
    assert "callback-request" not in text


def test_changes_between_two_setups_survive_undo(tmp_path: Path) -> None:
    root = machine(tmp_path)
    made = _installed(root)
    path = tmp_path / _ETC / "queues.conf"
    path.write_text(path.read_text().replace("rrmemory", "linear"))
    changed = attrs.evolve(ANSWERS, queues=("support", "sales"))
    made.apply(planned(made, changed), _NOW)
    assert path.read_text().count(BEGIN) == 2
    assert made.undo()[0] == []
    assert "strategy = linear" in path.read_text()
    assert not has_ours(path.read_text())


def test_a_file_of_ours_that_was_edited_stays_and_is_named(tmp_path: Path) -> None:
    root = machine(tmp_path)
    made = _installed(root)
    path = tmp_path / _ETC / "callback-queue.conf"
    path.write_text(path.read_text() + "; mine\n")
    (problem,) = made.undo()[0]
    assert problem.where == str(path)
    assert path.exists()
    # The other files are back, and a second try finds only this one.
    assert not has_ours((tmp_path / _ETC / "queues.conf").read_text())
    assert len(made.undo()[0]) == 1


def test_a_secret_is_not_written_into_a_file_that_everybody_reads(
    tmp_path: Path,
) -> None:
    root = machine(tmp_path)
    samples = material() / "etc"
    # As a copy by hand leaves them: the secret is still that of the sample.
    settings = tmp_path / "etc/callback-queue/callback-queue.yaml"
    user = tmp_path / _ETC / "manager.d/callback-queue.conf"
    settings.parent.mkdir()
    for path, sample in (
        (settings, samples / "callback-queue.yaml"),
        (user, samples / "asterisk/manager.d/callback-queue.conf"),
    ):
        path.write_bytes(sample.read_bytes())
        path.chmod(0o644)
    before = tree(tmp_path / "etc")
    made = _installed(root)
    for path in (settings, user):
        assert "change-me" not in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o640, path
    assert made.undo()[0] == []
    assert tree(tmp_path / "etc") == before


def test_a_link_in_place_of_a_new_folder_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, changes = _small(machine(tmp_path))
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    mkdir = Path.mkdir

    def swapped(path: Path, *args: Any, **options: Any) -> None:
        mkdir(path, *args, **options)
        if path.name == "new":
            path.rmdir()
            path.symlink_to(kept)

    monkeypatch.setattr(Path, "mkdir", swapped)
    with pytest.raises(SetupFailed):
        made.journal.apply(changes, [], [], _NOW)
    assert kept.stat().st_mode & 0o777 == 0o700
    assert not list(kept.iterdir())


def test_damaged_markers_are_left_and_named(tmp_path: Path) -> None:
    root = machine(tmp_path)
    made = _installed(root)
    path = tmp_path / _ETC / "queues.conf"
    path.write_text(path.read_text().replace(BEGIN, ";"))
    (problem,) = made.undo()[0]
    assert problem.where.startswith(f"{path}:")


def test_undo_without_a_setup_does_nothing(tmp_path: Path) -> None:
    root = machine(tmp_path)
    before = tree(tmp_path / _ETC)
    left, said = installation(root).undo()
    assert (left, tree(tmp_path / _ETC)) == ([], before)
    assert "nothing to take back" in said[0]


# -- ends in the middle


@contextmanager
def _at_step(number: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Do something instead of the step with this number; count the steps."""
    seen: list[str] = []
    kept = {name: getattr(os, name) for name in _STEPS}

    def wrapped(name: str) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            seen.append(name)
            if len(seen) == number:
                act()
            return kept[name](*args, **options)

        return step

    try:
        for name in _STEPS:
            setattr(journal_module.os, name, wrapped(name))
        yield seen
    finally:
        for name, function in kept.items():
            setattr(journal_module.os, name, function)


def _killed(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed at a step; whether it got there."""
    child = os.fork()
    if child == 0:
        try:
            with _at_step(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _small(root: Root) -> tuple[Installation, list[Change]]:
    """Return two changes: a file that is there, and one in a new folder."""
    made = installation(root)
    old = tmp = root.directory / _ETC / "queues.conf"
    data = old.read_bytes()
    new = tmp.parent / "new/file"
    return made, [
        Change(path=new, before=None, after=b"x\n"),
        Change(path=old, before=data, after=data + b"y\n", clean=data),
    ]


def test_kill_at_any_step_of_writing_is_repaired(tmp_path: Path) -> None:
    root = machine(tmp_path)
    before = tree(tmp_path / _ETC)
    made, changes = _small(root)
    journal = made.journal
    number = 1
    while _killed(number, lambda: journal.apply(changes, [], [], _NOW)):
        journal.recover()
        assert tree(tmp_path / _ETC) == before, number
        number += 1
    # This time it came to its end.
    assert number > 15
    assert (tmp_path / _ETC / "new/file").read_bytes() == b"x\n"
    assert journal.undo() == []
    assert tree(tmp_path / _ETC) == before


def test_kill_at_any_step_of_undo_is_repaired_by_another_undo(tmp_path: Path) -> None:
    root = machine(tmp_path)
    before = tree(tmp_path / _ETC)
    journal = _small(root)[0].journal
    number, going = 1, True
    while going:
        journal.apply(_small(root)[1], [], [], _NOW)
        going = _killed(number, lambda: journal.undo())
        assert journal.undo() == []
        assert tree(tmp_path / _ETC) == before, number
        number += 1
    assert number > 5


def test_kill_of_a_whole_setup_is_repaired(tmp_path: Path) -> None:
    root = machine(tmp_path)
    before = tree(tmp_path / _ETC)
    made = _few(installation(root))
    plan = planned(made)
    number = 1
    while _killed(number, lambda: made.journal.apply(plan.changes, [], [], _NOW)):
        made.journal.recover()
        assert tree(tmp_path / _ETC) == before, number
        number += 5
    assert number > 30
    assert made.undo()[0] == []
    assert tree(tmp_path / _ETC) == before


def _fail(number: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk"),
        (errno.EACCES, "run it as root"),
        (errno.EROFS, "make its file system writable"),
    ],
)
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    tmp_path: Path, number: int, remedy: str
) -> None:
    root = machine(tmp_path)
    before = tree(tmp_path / _ETC)
    made, changes = _small(root)
    made.journal.directory.mkdir(parents=True)
    step = 1
    while True:
        try:
            with _at_step(step, _fail(number)):
                made.journal.apply(changes, [], [], _NOW)
        except SetupFailed as failed:
            assert remedy in str(failed)
            assert "nothing is changed" in str(failed)
            assert tree(tmp_path / _ETC) == before, step
            step += 1
        else:
            break
    assert step > 10


def test_a_damaged_copy_is_not_put_back(tmp_path: Path) -> None:
    root = machine(tmp_path)
    made = _installed(root)
    for copy in (made.journal.directory / "copies").iterdir():
        copy.write_bytes(b"damaged")
    with pytest.raises(SetupFailed, match="is damaged"):
        made.undo()


def test_a_damaged_journal_names_the_copies(tmp_path: Path) -> None:
    made = _installed(machine(tmp_path))
    (made.journal.directory / "journal.json").write_text("{")
    with pytest.raises(SetupFailed, match="the files as they were are in"):
        made.undo()


# -- who may write the journal


def test_two_setups_do_not_run_at_the_same_time(tmp_path: Path) -> None:
    made = installation(machine(tmp_path))
    with (
        made.journal.locked(),
        pytest.raises(SetupFailed, match="another"),
        installation(Root(tmp_path)).journal.locked(),
    ):
        pass


def test_a_setup_that_may_not_run_leaves_lock_and_copies_of_the_other(
    tmp_path: Path,
) -> None:
    made = installation(machine(tmp_path))
    other = installation(Root(tmp_path)).journal
    with made.journal.locked():
        # As it is while the first one asks, or makes its copies.
        (made.journal.directory / "copies").mkdir()
        (made.journal.directory / "copies/file").touch()
        for _ in range(2):
            with pytest.raises(SetupFailed, match="another"), other.locked():
                pass
        assert (made.journal.directory / "copies/file").exists()
    assert not made.journal.directory.exists()


def test_a_lock_file_that_was_removed_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = installation(machine(tmp_path))
    lock = made.journal.directory / "lock"
    flock = fcntl.flock
    opened: list[int] = []

    def slow(handle: int, how: int) -> None:
        if not opened:
            lock.unlink()
        opened.append(handle)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with made.journal.locked():
        assert len(opened) == 2
        assert lock.exists()


def test_a_journal_that_others_may_write_is_refused(tmp_path: Path) -> None:
    made = installation(machine(tmp_path))
    made.journal.directory.mkdir(parents=True)
    made.journal.directory.chmod(0o777)
    with pytest.raises(Refused, match="others may write"), made.journal.locked():
        pass


def test_a_journal_behind_a_link_is_refused(tmp_path: Path) -> None:
    made = installation(machine(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    made.journal.directory.parent.mkdir(parents=True, exist_ok=True)
    made.journal.directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="does not belong"), made.journal.locked():
        pass
