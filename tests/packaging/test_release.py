# SPDX-License-Identifier: MIT
"""The files of a release: the same bytes each time, complete, and described."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import jsonschema_rs
import pytest
from cyclonedx import schema as cyclonedx_schemas
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.blocks import blocks

ROOT: Final = Path(__file__).parents[2]
_MAKE: Final = "packaging/release/make.py"
_EPOCH: Final = "1767225600"
#: What the repository needs and its users do not.
_ONLY_IN_GIT: Final = frozenset({".gitignore"})


def _block(beginning: str) -> str:
    """Return a block of the page about releases."""
    (found,) = (
        one.text
        for one in blocks("docs/releases.md", "sh")
        if one.text.startswith(beginning)
    )
    return found


def _files() -> list[str]:
    """Return the files that git knows or would know, or all of an unpacked sdist."""
    told = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--deduplicate"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in told.stdout.splitlines() if (ROOT / name).is_file()]


def _copy(to: Path, *, umask: int, time_s: int, backwards: bool) -> Path:
    """Copy the repository as another machine would check it out."""
    for name in sorted(_files(), reverse=backwards):
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        executable = (ROOT / name).stat().st_mode & 0o100
        target.chmod((0o777 if executable else 0o666) & ~umask)
        os.utime(target, (time_s, time_s))
    return to


def _make(source: Path, to: Path, umask: int = 0o022) -> Path:
    done = subprocess.run(
        [sys.executable, str(ROOT / _MAKE), f"--source={source}", f"--to={to}"],
        env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
        cwd=to.parent,
        capture_output=True,
        text=True,
        umask=umask,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return to


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release of this directory."""
    home = tmp_path_factory.mktemp("release")
    code = _copy(home / "code", umask=0o022, time_s=1_000_000_000, backwards=False)
    return _make(code, home / "dist")


def test_two_builds_on_different_machines_have_the_same_bytes(
    released: Path, tmp_path: Path
) -> None:
    other = tmp_path / "a longer path"
    _copy(other, umask=0o077, time_s=1_700_000_000, backwards=True)

    again = _make(other, tmp_path / "dist", umask=0o077)

    assert _contents(released).keys() == _contents(again).keys()
    for name, contents in _contents(released).items():
        assert contents == (again / name).read_bytes(), name


def test_sdist_is_complete_and_builds_the_same_wheel(
    released: Path, tmp_path: Path
) -> None:
    (sdist,) = released.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        owners = {(one.uid, one.gid, one.uname, one.mtime) for one in tar}
        # Python has filters since 3.11.4.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(tmp_path)
    (code,) = tmp_path.iterdir()
    assert owners == {(0, 0, "", int(_EPOCH))}
    inside = {str(path.relative_to(code)) for path in code.rglob("*")}
    assert set(_files()) - inside - _ONLY_IN_GIT == set()

    (code / ".venv").symlink_to(Path(sys.executable).parents[1])

    subprocess.run(["sh", "-ec", _block("SOURCE_DATE_EPOCH")], cwd=code, check=True)

    (wheel,) = released.glob("*.whl")
    assert (code / "dist" / wheel.name).read_bytes() == wheel.read_bytes()


def test_sums_are_those_of_all_files(released: Path, tmp_path: Path) -> None:
    files = set(_contents(released)) - {"SHA256SUMS"}
    listed = (released / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in listed} == files
    assert {Path(name).suffix for name in files} == {".whl", ".gz", ".json"}
    (some := tmp_path / "downloaded").mkdir()
    for name in (next(iter(files)), "SHA256SUMS"):
        shutil.copy(released / name, some)
    check = ["sh", "-ec", _block("sha256sum --check")]
    subprocess.run(check, cwd=some, check=True)
    (some / next(iter(files))).write_text("something else")
    assert subprocess.run(check, cwd=some, check=False).returncode == 1


def test_changes_that_are_not_committed_are_not_released(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "packaging").mkdir(parents=True)
    shutil.copytree(ROOT / "packaging/release", clone / "packaging/release")
    git = ("git", "-c", "user.name=ada", "-c", "user.email=ada@example.com")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    (clone / "packaging/release/new.py").write_text("")

    done = subprocess.run(
        [sys.executable, _MAKE], cwd=clone, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "packaging/release/new.py" in done.stderr
    assert not (clone / "dist").exists()


# -- the bill of materials


@pytest.fixture(scope="module")
def bom(released: Path) -> dict[str, Any]:
    (file,) = released.glob("*.cdx.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_bill_of_materials_is_valid_cyclonedx(bom: dict[str, Any]) -> None:
    folder = Path(next(iter(cyclonedx_schemas.__path__)), "_res")

    def read(name: str) -> Any:
        return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())

    of_bom = read("bom-1.6")
    # The schema names the others beside itself.
    registry = jsonschema_rs.Registry(
        [
            (urljoin(of_bom["$id"], f"{name}.SNAPSHOT.schema.json"), read(name))
            for name in ("spdx", "jsf-0.82")
        ]
    )
    validator = jsonschema_rs.validator_for(of_bom, registry=registry)
    assert [error.message for error in validator.iter_errors(bom)] == []
    # The schema is one that refuses something.
    assert not validator.is_valid({**bom, "bomFormat": "text"})


def _wanted(name: str, extras: set[str]) -> Iterator[Requirement]:
    for line in metadata.requires(name) or []:
        one = Requirement(line)
        if one.marker is None or any(
            one.marker.evaluate({"extra": extra}) for extra in {"", *extras}
        ):
            yield one


def test_bill_of_materials_has_each_library_that_is_needed(
    released: Path, bom: dict[str, Any]
) -> None:
    (wheel,) = released.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (one for one in opened.namelist() if one.endswith("/METADATA"))
        about = BytesParser().parsebytes(opened.read(name))
    needed: set[str] = set()
    waiting = [
        one
        for one in map(Requirement, about.get_all("Requires-Dist", []))
        if one.marker is None
        or any(
            one.marker.evaluate({"extra": extra})
            for extra in ("", "web", "postgres", "mysql")
        )
    ]
    while waiting:
        one = waiting.pop()
        key = canonicalize_name(one.name)
        if key not in needed or one.extras:
            needed.add(key)
            waiting += _wanted(one.name, one.extras)
    listed = {
        canonicalize_name(one["name"]): one
        for one in bom["components"]
        if one["purl"].startswith("pkg:pypi/")
    }
    assert set(listed) == needed
    assert {"twisted", "cffi", "markupsafe", "starlette", "psycopg-binary"} <= needed
    assert not {"pytest", "ruff", "mypy", "playwright"} & needed
    for key, one in listed.items():
        assert one["version"] == metadata.version(key)
        assert one["licenses"], key
    assert listed["twisted"]["scope"] == "required"
    assert listed["starlette"]["scope"] == "optional"


def test_bill_of_materials_has_each_file_of_javascript_libraries(
    bom: dict[str, Any],
) -> None:
    folder = ROOT / "fastagi/web/console/static/vendor"
    files = {
        part["name"]: part["hashes"][0]["content"]
        for one in bom["components"]
        for part in one.get("components", [])
    }
    expected = {
        str(path.relative_to(ROOT)): path
        for path in folder.iterdir()
        if path.name != "lock.json"
    }
    assert set(files) == set(expected) != set()
    for name, path in expected.items():
        done = subprocess.run(
            ["sha256sum", str(path)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[0] == files[name]


def test_everything_in_the_bill_of_materials_is_needed_by_the_program(
    released: Path, bom: dict[str, Any]
) -> None:
    edges = {one["ref"]: one["dependsOn"] for one in bom["dependencies"]}
    root = bom["metadata"]["component"]
    reached: set[str] = set()
    waiting = [root["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += edges[ref]
    assert reached == set(edges)
    assert reached == {root["bom-ref"], *(one["bom-ref"] for one in bom["components"])}
    sums = dict(
        reversed(line.split("  "))
        for line in (released / "SHA256SUMS").read_text().splitlines()
    )
    for one in root["externalReferences"]:
        assert one["hashes"] == [{"alg": "SHA-256", "content": sums[one["url"]]}]
