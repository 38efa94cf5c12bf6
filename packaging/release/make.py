# SPDX-License-Identifier: MIT
"""Make a release of the last commit: ``make release``.

Into dist/: the wheel, the source distribution, a bill of materials (CycloneDX) and
SHA256SUMS of all that is there. The same commit gives the same bytes on each machine
that has the versions of constraints.txt. docs/releases.md explains it.

    python packaging/release/make.py [--to DIRECTORY] [--source DIRECTORY]
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sbom

ROOT: Final = Path(__file__).resolve().parents[2]
SUMS: Final = "SHA256SUMS"
_BUILD: Final = """
import sys
from setuptools import build_meta
to, *what = sys.argv[1:]
for build in what:
    getattr(build_meta, build)(to)
"""
_SETTLED: Final = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}


class ReleaseFailed(Exception):
    """There is no release; the text says why, and what to do."""


def main() -> int:
    """Read the arguments and make the release."""
    parser = argparse.ArgumentParser(description="Make the files of a release.")
    parser.add_argument("--to", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--source", type=Path, help="in place of the last commit, such as an sdist"
    )
    options = parser.parse_args()
    try:
        for file in release(options.source, options.to):
            print(f"{file.stat().st_size:>12,}  {file}")
    except (ReleaseFailed, sbom.BadEnvironment) as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    return 0


def release(source: Path | None, to: Path) -> list[Path]:
    """Make the files of a release and return their paths.

    Args:
        source: the files to build from; None: those of the last commit.
        to: where to put the files. What else is there stays, and is in SHA256SUMS.
    """
    epoch = _epoch(source)
    with tempfile.TemporaryDirectory() as temporary:
        code = Path(temporary, "code")
        if source is None:
            _export(code)
        else:
            _copy(source, code)
        _settle(code, epoch)
        made = Path(temporary, "made")
        made.mkdir()
        _build(code, made, epoch, "build_wheel", "build_sdist")
        (wheel,) = made.glob("*.whl")
        (sdist,) = made.glob("*.tar.gz")
        _settle_sdist(sdist, epoch)
        bom = wheel.with_name(f"{sdist.name.removesuffix('.tar.gz')}.cdx.json")
        constraints = (code / "constraints.txt").read_text()
        bom.write_text(sbom.make(wheel, sdist, constraints, epoch), encoding="utf-8")
        to.mkdir(parents=True, exist_ok=True)
        files = [Path(shutil.move(one, to / one.name)) for one in (wheel, sdist, bom)]
    for file in files:
        file.chmod(0o644)
    return [*files, write_sums(to)]


def build_wheel_here(to: Path, epoch: int) -> Path:
    """Build the wheel of this directory as it is, committed or not; return its path."""
    code = to / "code"
    for name in _git(
        "ls-files", "-co", "--exclude-standard", "--deduplicate"
    ).splitlines():
        if (ROOT / name).is_file():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, code / name)
    _settle(code, epoch)
    _build(code, to, epoch, "build_wheel")
    (wheel,) = to.glob("*.whl")
    return wheel


def write_sums(directory: Path) -> Path:
    """Write SHA256SUMS of all files of a directory, for ``sha256sum --check``."""
    files = sorted(
        one for one in directory.iterdir() if one.is_file() and one.name != SUMS
    )
    lines = []
    for file in files:
        with file.open("rb") as opened:
            lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  ")
        lines[-1] += f"{file.name}\n"
    sums = directory / SUMS
    sums.write_text("".join(lines))
    return sums


# -- the source


def _epoch(source: Path | None) -> int:
    """Return the time that all files get: SOURCE_DATE_EPOCH, or the commit's."""
    if source is None or os.environ.get("SOURCE_DATE_EPOCH"):
        return epoch_of_head()
    raise ReleaseFailed(
        "the time of the release is not known: set SOURCE_DATE_EPOCH, to the value in"
        " docs/releases.md of the version if you compare"
    )


def epoch_of_head() -> int:
    """Return SOURCE_DATE_EPOCH if it is set, or the time of the last commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct"))


def _export(to: Path) -> None:
    if changes := _git("status", "--porcelain"):
        raise ReleaseFailed(
            "these files are not as in the last commit, which is what is released:"
            f" commit them or put them aside\n{changes}"
        )
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # Python has filters since 3.11.4.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(to)


def _copy(source: Path, to: Path) -> None:
    """Copy the files of an sdist, without what commands have made there."""
    made = {".git", ".venv", "build", "dist"}

    def ignored(folder: str, names: list[str]) -> set[str]:
        at_top = made if Path(folder) == source else set()
        return {name for name in names if name in at_top or name == "__pycache__"}

    shutil.copytree(source, to, ignore=ignored)


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ReleaseFailed(
            f"git does not answer ({error}): run this in a clone, or give --source and"
            " SOURCE_DATE_EPOCH"
        ) from None
    return done.stdout.strip()


def _settle(code: Path, epoch: int) -> None:
    """Give all files the same modes and times, whatever umask and clock they had."""
    for path in _below(code):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch))


def _below(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if not path.is_symlink())


# -- the files


def _build(code: Path, to: Path, epoch: int, *what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BUILD, str(to), *what],
        cwd=code,
        env={**os.environ, **_SETTLED, "SOURCE_DATE_EPOCH": str(epoch)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o022,
        check=False,
    )
    if done.returncode:
        raise ReleaseFailed(f"setuptools failed:\n{done.stdout[-4000:]}")


def _settle_sdist(sdist: Path, epoch: int) -> None:
    """Write the archive again: sorted, and without the user and times of this run."""
    with tarfile.open(sdist) as packed:
        members = sorted(packed.getmembers(), key=lambda one: one.name)
        contents = {
            one.name: extracted.read()
            for one in members
            if (extracted := packed.extractfile(one)) is not None
        }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in members:
            entry = tarfile.TarInfo(one.name)
            entry.type, entry.mode, entry.mtime = one.type, one.mode, epoch
            data = contents.get(one.name, b"")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    with (
        sdist.open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed,
    ):
        packed.write(raw.getvalue())


if __name__ == "__main__":
    sys.exit(main())
