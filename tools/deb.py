# SPDX-License-Identifier: MIT
"""Build the Debian packages: ``python -m tools.deb 12 13 14``.

There is one package for each Debian release, as each has its own Python. It contains
the program and its libraries, in the versions of constraints.txt, as a virtual
environment in /usr/lib/callback-queue. The same commit gives the same bytes.

What depends on the release is done in a tree of it (`tests.lab.install`): compiling,
the dependencies on other packages, packing. Libraries and packages are kept in the
directory of the laboratory, by a hash of what goes into them.
"""

from __future__ import annotations

import argparse
import configparser
import email.utils
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import Final

import attrs
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from fastagi import __version__
from tests.lab.errors import LabError
from tests.lab.install import install
from tests.lab.trees import SHARED, Programs, find_debian, lab_home
from tools.man_pages import write_man_pages

ROOT: Final = Path(__file__).resolve().parents[1]
RELEASES: Final = (12, 13, 14)
NAME: Final = "callback-queue"
#: The environment's place in the package.
HOME: Final = PurePosixPath("usr/lib/callback-queue")
MAINTAINER: Final = "asterisk-callback-queue <maintainers@callback-queue.invalid>"

_SOURCES: Final = ROOT / "packaging/debian"
#: What never goes into a package; all else may.
_NOT_IN_PACKAGES: Final = ("tests", ".ci", "freepbx", "Makefile", ".gitignore")
_SUITES: Final = {12: "bookworm", 13: "trixie", 14: "forky"}
#: Debian's names of kinds of machines, and those of wheels.
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_EXTRAS: Final = ("web", "postgres", "mysql")
#: Libraries without a wheel; they contain only Python.
_WITHOUT_WHEEL: Final = frozenset({"pyst2"})
#: What installers write into *.dist-info; it names files and tools of the build.
_NOT_SHIPPED: Final = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json"}
)
#: Parts of libraries that the program does not use, half of all files: names of places
#: and networks for numbers, and the libraries' own tests.
_UNUSED: Final = re.compile(
    r"phonenumbers/(geodata|carrierdata|tzdata)/"
    r"|phonenumbers/(geocoder|carrier|timezone)\.py"
    r"|twisted/(.+/)?newsfragments/"
    r"|(twisted|zope|incremental|automat|constantly|hyperlink)/(.+/)?_?tests?/"
)
#: The date of the libraries' files.
_LIBRARIES_EPOCH: Final = 1577836800
#: Packages that are kept for the next run.
_KEPT: Final = 12


class BuildError(Exception):
    """A package cannot be built. The text names the remedy."""


@attrs.frozen(kw_only=True)
class Release:
    """One Debian release, with its tree."""

    number: int
    programs: Programs
    #: The version of its Python, such as ``3.11``.
    python: str
    #: Debian's name of the machine's kind: ``amd64``.
    architecture: str
    #: Changes if another dpkg or Python in the tree may make other bytes.
    tools: str

    @property
    def site_packages(self) -> PurePosixPath:
        """The directory of the libraries in the package."""
        return HOME / f"lib/python{self.python}/site-packages"

    def run(self, *argv: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a program in the tree and return what it prints.

        Raises:
            BuildError: it failed.
        """
        done = subprocess.run(
            self.programs.command(*argv),
            env={**self.programs.environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(
                f"Debian {self.number}: {' '.join(argv)[:300]} failed:\n"
                f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return done.stdout


@functools.cache
def find_release(number: int) -> Release:
    """Find a Debian release; its tree is made if it is missing."""
    install([f"debian{number}"])
    release = Release(
        number=number,
        programs=find_debian(number),
        python="",
        architecture="",
        tools="",
    )
    version, compiler, architecture, packer = release.run(
        "sh",
        "-ec",
        'python3 -c "import sys; v = sys.version_info; print(v.major, v.minor,'
        " sep='.'); print(*v[:3], sep='.')\"; dpkg --print-architecture;"
        " dpkg-query -W -f '${Version}\\n' dpkg",
    ).splitlines()
    return attrs.evolve(
        release,
        python=version,
        architecture=architecture,
        tools=f"{compiler} {packer}",
    )


# -- the whole


def build(number: int, *, epoch: int | None = None) -> Path:
    """Build the package for a Debian release, or find it; return its path.

    Args:
        number: the release: 12, 13, 14.
        epoch: the date of its files; without it that of the commit.
    """
    release = find_release(number)
    version = f"{debian_version(__version__)}-1~deb{number}"
    epoch = commit_date() if epoch is None else epoch
    name = f"{NAME}_{version}_{release.architecture}.deb"
    key = _hash(
        [version, str(epoch), release.tools],
        *((str(path), (ROOT / path).read_bytes()) for path in _source_files()),
    )
    kept = _cache() / "packages" / key / name
    if kept.exists():
        kept.parent.touch()
        return kept
    with _locked(f"debian-{number}"):
        if not kept.exists():
            libraries = _libraries(release)
            with _shared_directory() as made:
                _keep(_build(release, libraries, version, epoch, made), kept)
        _forget_old(_cache() / "packages", _KEPT)
    return kept


def debian_version(version: str) -> str:
    """Return a Python version as Debian writes it: 0.2.0.dev0 is before 0.2.0."""
    return re.sub(r"\.?(dev|a|b|rc)", r"~\1", version)


def commit_date() -> int:
    """Return the date of the commit, in seconds; SOURCE_DATE_EPOCH if it is set."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(_git("log", "-1", "--format=%ct") or _LIBRARIES_EPOCH)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


@functools.cache
def _source_files() -> tuple[Path, ...]:
    """Return what may go into a package: files that git knows, or would."""
    listed = _git("ls-files", "-co", "--exclude-standard")
    if listed:
        found = [Path(line) for line in listed.splitlines()]
    else:
        # As it was unpacked from an archive.
        found = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        found = [path for path in found if "__pycache__" not in path.parts]
    return tuple(
        sorted(
            path
            for path in found
            if path.parts[0] not in _NOT_IN_PACKAGES and (ROOT / path).is_file()
        )
    )


def _build(
    release: Release, libraries: Path, version: str, epoch: int, made: Path
) -> Path:
    """Build the package in a directory that the tree sees, too."""
    root = made / "root"
    home = root / HOME
    home.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(libraries), str(home)], check=True)
    wheel = build_wheel(made / "wheel", epoch)
    unpack(wheel, home, root / release.site_packages)
    _compile(release, root, root / release.site_packages / "fastagi")
    _write_environment(release, home)
    _write_system_files(root, release, version, epoch)
    write_man_pages(root / "usr/share/man/man1", epoch)
    release.run(
        "find",
        f"{root}/usr/share/man",
        f"{root}/usr/share/doc",
        "-type",
        "f",
        "!",
        "-name",
        "copyright",
        "!",
        "-name",
        "*.md",
        "-exec",
        "gzip",
        "-9n",
        "{}",
        "+",
    )
    _set_modes_and_dates(root, epoch)
    _write_control(root, release, version)
    package = made / f"{NAME}_{version}_{release.architecture}.deb"
    release.run(
        *("dpkg-deb", "--root-owner-group", "--threads-max=2", "-Zgzip", "-z6"),
        *("--build", str(root), str(package)),
        environment={"SOURCE_DATE_EPOCH": str(epoch)},
    )
    return package


# -- the libraries


def _libraries(release: Release) -> Path:
    """Return the environment with all libraries, compiled, without the program."""
    wheels = wheels_for(release.python, release.architecture)
    key = _hash([release.tools, _UNUSED.pattern, *(wheel.name for wheel in wheels)])
    final = _cache() / "libraries" / f"{release.python}-{key}"
    if final.exists():
        final.touch()
        return final
    with _shared_directory() as root:
        for wheel in wheels:
            unpack(wheel, root / HOME, root / release.site_packages)
        shutil.rmtree(root / HOME / "share", ignore_errors=True)
        _compile(release, root, root / release.site_packages)
        _set_modes_and_dates(root, _LIBRARIES_EPOCH)
        _keep(root / HOME, final)
    _forget_old(final.parent, len(RELEASES) * 2)
    return final


def wheels_for(python: str, architecture: str = "amd64") -> list[Path]:
    """Download all libraries for a version of Python; return their wheels.

    Raises:
        BuildError: constraints.txt lacks the version of a library.
    """
    directory = _cache() / f"wheels-{python}-{architecture}"
    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": _MACHINES[architecture],
    }
    found: dict[str, Path] = {}
    wanted = set(_own_requirements())
    seen: set[tuple[str, str]] = set()
    with _locked(directory.name):
        while new := wanted - seen:
            names = {name for name, _extra in new} - set(found)
            found |= _download(sorted(names), directory, python, architecture)
            for name, extra in new:
                wanted |= _requirements_of(found[name], extra, environment)
            seen |= new
    return [found[name] for name in sorted(found)]


def _own_requirements() -> Iterator[tuple[str, str]]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lists = [config["options"]["install_requires"]]
    lists += [config["options.extras_require"][extra] for extra in _EXTRAS]
    for line in "\n".join(lists).splitlines():
        if line.strip():
            yield from _names(Requirement(line))


def _requirements_of(
    wheel: Path, extra: str, environment: Mapping[str, str]
) -> set[tuple[str, str]]:
    """Return what a wheel requires in an environment, with one of its extras or ""."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (
            name
            for name in archive.namelist()
            if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
        )
        headers = HeaderParser().parsestr(archive.read(metadata).decode())
    required: set[tuple[str, str]] = set()
    for line in headers.get_all("Requires-Dist", []):
        one = Requirement(line)
        if one.marker is None or one.marker.evaluate({**environment, "extra": extra}):
            required |= set(_names(one))
    return required


def _names(requirement: Requirement) -> Iterator[tuple[str, str]]:
    """Yield the name of what is required, with each extra, and with none."""
    for extra in ("", *requirement.extras):
        yield canonicalize_name(requirement.name), extra


def _download(
    names: Sequence[str], directory: Path, python: str, architecture: str
) -> dict[str, Path]:
    """Return a wheel for each name in the pinned version; download what is missing."""
    pinned = _pinned()
    if unknown := [name for name in names if name not in pinned]:
        raise BuildError(f"constraints.txt has no version of {', '.join(unknown)}")
    directory.mkdir(parents=True, exist_ok=True)
    there = _wheels_in(directory)
    missing = [name for name in names if (name, pinned[name]) not in there]
    with tempfile.TemporaryDirectory(dir=directory) as new:
        if ready := [name for name in missing if name not in _WITHOUT_WHEEL]:
            # Wheels for the C library of the oldest release.
            tags = [f"manylinux_2_{minor}" for minor in range(5, 37)]
            tags += ["manylinux1", "manylinux2010", "manylinux2014", "linux"]
            _pip(
                *("download", "--no-deps", "--only-binary=:all:", "--dest", new),
                *("--implementation", "cp", "--python-version", python),
                *(f"--platform={tag}_{_MACHINES[architecture]}" for tag in tags),
                *(f"{name}=={pinned[name]}" for name in ready),
            )
        for name in set(missing) & _WITHOUT_WHEEL:
            with _setuptools() as setuptools:
                _pip(
                    *("wheel", "--no-deps", "--no-build-isolation", "--use-pep517"),
                    *("--wheel-dir", new, f"{name}=={pinned[name]}"),
                    environment={"PYTHONPATH": setuptools},
                )
        for wheel in Path(new).glob("*.whl"):
            wheel.rename(directory / wheel.name)
    there = _wheels_in(directory)
    return {name: there[name, pinned[name]] for name in names}


def _wheels_in(directory: Path) -> dict[tuple[str, Version], Path]:
    wheels = {}
    for path in directory.glob("*.whl"):
        name, version, _build, _tags = parse_wheel_filename(path.name)
        wheels[str(name), version] = path
    return wheels


@functools.cache
def _pinned() -> dict[str, Version]:
    """Return the versions of constraints.txt."""
    pinned: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate():
                (specifier,) = one.specifier
                pinned[canonicalize_name(one.name)] = Version(specifier.version)
    return pinned


def setuptools_wheel() -> Path:
    """Return the wheel of the pinned setuptools, which builds wheels."""
    version = _pinned()["setuptools"]
    directory = _cache() / "setuptools"
    with _locked("setuptools"):
        if not list(directory.glob(f"setuptools-{version}-*.whl")):
            with tempfile.TemporaryDirectory(dir=_cache()) as new:
                _pip("download", "--no-deps", "--dest", new, f"setuptools=={version}")
                directory.mkdir(exist_ok=True)
                for path in Path(new).iterdir():
                    path.rename(directory / path.name)
        (wheel,) = directory.glob(f"setuptools-{version}-*.whl")
    return wheel


@contextmanager
def _setuptools() -> Iterator[str]:
    """Yield a directory with the pinned setuptools, for PYTHONPATH."""
    with tempfile.TemporaryDirectory() as directory:
        unpack(setuptools_wheel(), Path(directory), Path(directory))
        yield directory


def _pip(*arguments: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"pip {arguments[0]} failed:\n{done.stdout}{done.stderr}")


# -- files


def build_wheel(directory: Path, epoch: int) -> Path:
    """Build the program's wheel from the files that git knows; return its path."""
    directory.mkdir(parents=True)
    source = directory / "source"
    for path in _source_files():
        copy = source / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
    with _setuptools() as setuptools:
        done = subprocess.run(
            [
                *(sys.executable, "-c"),
                "import sys; from setuptools import build_meta;"
                " build_meta.build_wheel(sys.argv[1])",
                str(directory),
            ],
            cwd=source,
            env={
                **os.environ,
                "PYTHONPATH": setuptools,
                "SOURCE_DATE_EPOCH": str(epoch),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BuildError(f"the wheel can not be built:\n{done.stdout}{done.stderr}")
    (wheel,) = directory.glob("*.whl")
    return wheel


def unpack(wheel: Path, home: Path, site_packages: Path) -> None:
    """Unpack a wheel into an environment, without its scripts and headers."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            top, *rest = PurePosixPath(entry.filename).parts
            if entry.is_dir() or ".." in rest:
                continue
            if _UNUSED.match(entry.filename):
                continue
            place = site_packages / entry.filename
            if top.endswith(".data"):
                kind, *inner = rest
                if kind not in ("data", "purelib", "platlib"):
                    continue
                place = (home if kind == "data" else site_packages).joinpath(*inner)
            elif top.endswith(".dist-info") and rest[-1] in _NOT_SHIPPED:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as packed, place.open("wb") as file:
                shutil.copyfileobj(packed, file)


def _compile(release: Release, root: Path, directory: Path) -> None:
    """Compile Python files; the service can not write what it would compile itself."""
    release.run(
        *("python3", "-m", "compileall", "-q", "-s", str(root), "-p", "/"),
        *("--invalidation-mode", "unchecked-hash", str(directory)),
        environment={"PYTHONHASHSEED": "0"},
    )


def _write_environment(release: Release, home: Path) -> None:
    """Write what makes the directory a virtual environment, and the command."""
    (home / "pyvenv.cfg").write_text(
        "home = /usr/bin\n"
        "include-system-site-packages = false\n"
        f"version = {release.python}\n"
    )
    programs = home / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(f"/usr/bin/python{release.python}")
    (programs / "python3").symlink_to("python")
    (programs / NAME).write_text(
        f"#!/{HOME}/bin/python -I\n"
        "import sys\n\n"
        "from fastagi.command.cli import main\n\n"
        "sys.exit(main())\n"
    )


def _write_system_files(root: Path, release: Release, version: str, epoch: int) -> None:
    """Write units, user, settings, completion and documentation."""
    etc = ROOT / "etc"
    for path in sorted([*etc.glob("*.service"), *etc.glob("*.path")]):
        _write(root / "usr/lib/systemd/system" / path.name, packaged(path.read_text()))
    sysusers = (etc / f"{NAME}.sysusers").read_text()
    _write(root / f"usr/lib/sysusers.d/{NAME}.conf", packaged(sysusers))
    _write(
        root / f"etc/{NAME}/web.yaml", packaged((etc / f"{NAME}-web.yaml").read_text())
    )
    command = root / f"usr/bin/{NAME}"
    command.parent.mkdir(parents=True)
    command.symlink_to(f"../lib/{NAME}/bin/{NAME}")
    _write(root / f"usr/share/bash-completion/completions/{NAME}", completion())
    overrides = (_SOURCES / "lintian-overrides").read_text()
    _write(root / f"usr/share/lintian/overrides/{NAME}", overrides)
    documents = root / f"usr/share/doc/{NAME}"
    _write(documents / "copyright", _copyright(root / release.site_packages))
    _write(documents / "changelog", (ROOT / "CHANGELOG.md").read_text())
    suite = _SUITES[release.number]
    _write(
        documents / "changelog.Debian",
        f"{NAME} ({version}) {suite}; urgency=medium\n\n"
        "  * See changelog.gz for the changes of this version.\n\n"
        f" -- {MAINTAINER}  {email.utils.formatdate(epoch)}\n",
    )
    _write(documents / "README.Debian", (ROOT / "docs/debian.md").read_text())
    (documents / "docs").symlink_to(f"../../../lib/{NAME}/share/{NAME}/docs")


def packaged(text: str) -> str:
    """Return a file of ``etc/`` as the package installs it.

    The paths are those of the package, and the comment at its beginning does not say
    how to copy it.
    """
    text = text.replace("/opt/callback-queue/", f"/{HOME}/")
    lines = text.splitlines(keepends=True)
    if any(line.startswith("# Where:") for line in lines):
        while lines and lines[0].startswith("#"):
            del lines[0]
        lines[:0] = ["# Installed by the package callback-queue.\n"]
    return "".join(lines)


def completion() -> str:
    """Return the script that completes the command in bash."""
    from click.shell_completion import BashComplete

    from fastagi.command.cli import main

    made = BashComplete(main, {}, NAME, "_CALLBACK_QUEUE_COMPLETE")
    return BashComplete.source_template % made.source_vars()


def _copyright(site_packages: Path) -> str:
    """Return the licences: that of the program, and those of the libraries."""
    lines = []
    for metadata in sorted(site_packages.glob("*.dist-info/METADATA")):
        headers = HeaderParser().parsestr(metadata.read_text(errors="replace"))
        if headers["Name"] == "asterisk-callback-queue":
            continue
        licence = headers["License-Expression"] or _classified(
            headers.get_all("Classifier", [])
        )
        licence = licence or (headers["License"] or "").strip().split("\n")[0]
        lines.append(
            f"  {headers['Name']} {headers['Version']}: {licence or 'see its files'}"
        )
    text = (_SOURCES / "copyright").read_text()
    return text.format(
        licence=(ROOT / "LICENSE").read_text().strip(),
        voices=(ROOT / "sounds/LICENSE-voices.txt").read_text().strip(),
        libraries="\n".join(lines),
        directory=f"/{HOME}/lib/python*/site-packages",
    )


def _classified(classifiers: Iterable[str]) -> str:
    """Return the licences that a library's classifiers name."""
    return ", ".join(
        one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _set_modes_and_dates(root: Path, epoch: int) -> None:
    for directory, names, files in os.walk(root, topdown=False):
        for name in (*names, *files):
            path = Path(directory, name)
            if not path.is_symlink():
                runs = path.is_dir() or path.parent == root / HOME / "bin"
                path.chmod(0o755 if runs else 0o644)
            if path.lstat().st_mtime != _LIBRARIES_EPOCH:
                os.utime(path, (epoch, epoch), follow_symlinks=False)
    web = root / f"etc/{NAME}/web.yaml"
    if web.exists():
        # It may get secrets.
        web.chmod(0o640)
        web.parent.chmod(0o750)


def _write_control(root: Path, release: Release, version: str) -> None:
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    size_kib = sum(-(-path.stat().st_size // 1024) for path in files)
    size_kib += sum(1 for p in root.rglob("*") if p.is_dir() or p.is_symlink())
    sums = [
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"
        for path in files
        if path.relative_to(root).parts[0] != "etc"
    ]
    control = root / "DEBIAN"
    control.mkdir(mode=0o755)
    (control / "md5sums").write_text("".join(sums))
    (control / "conffiles").write_text(f"/etc/{NAME}/web.yaml\n")
    (control / "control").write_text(
        (_SOURCES / "control")
        .read_text()
        .format(
            version=version,
            architecture=release.architecture,
            maintainer=MAINTAINER,
            size_kib=size_kib,
            depends=", ".join(_dependencies(root, release)),
        )
    )
    for name in ("postinst", "prerm", "postrm"):
        shutil.copyfile(_SOURCES / name, control / name)
        (control / name).chmod(0o755)


def _dependencies(root: Path, release: Release) -> list[str]:
    """Return what the package needs: Python, systemd, and the libraries' libraries."""
    owners = release.run(
        "sh",
        "-ec",
        f"find {root}/{HOME} -name '*.so*' -type f -exec ldd {{}} + 2>&1 |"
        f" grep -F '=> /' | grep -vF '{root}/' | sed 's/.*=> \\([^ ]*\\).*/\\1/' |"
        " sort -u | xargs -r readlink -f | sort -u |"
        # dpkg knows files below /usr/lib by one of two names.
        ' while read -r file; do dpkg -S "$file" 2>/dev/null ||'
        ' dpkg -S "${file#/usr}"; done | cut -d: -f1 | sort -u',
    ).split()
    return [f"python{release.python}", "systemd", *owners]


# -- the cache


def _cache() -> Path:
    directory = lab_home() / "deb"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _hash(words: Iterable[str], *files: tuple[str, bytes]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(f"{word}\0".encode())
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:24]


def _keep(made: Path, final: Path) -> None:
    """Move a file or a directory into the cache, all of it or nothing."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent) as new:
        copy = Path(new, final.name)
        subprocess.run(["cp", "-a", str(made), str(copy)], check=True)
        copy.rename(final)


def _forget_old(directory: Path, kept: int) -> None:
    entries = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime)
    for path in entries[:-kept]:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _shared_directory() -> Iterator[Path]:
    """Yield an empty directory that the trees see, too."""
    prefix = "callback-queue-deb-"
    with tempfile.TemporaryDirectory(dir=SHARED, prefix=prefix) as directory:
        yield Path(directory)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (_cache() / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the packages that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.deb", description=__doc__)
    parser.add_argument("release", nargs="*", type=int, choices=[*RELEASES, []])
    parser.add_argument("--into", type=Path, default=ROOT / "dist")
    options = parser.parse_args(arguments)
    try:
        for number in options.release or RELEASES:
            package = build(number)
            options.into.mkdir(parents=True, exist_ok=True)
            copy = options.into / package.name
            shutil.copyfile(package, copy)
            size_mb = copy.stat().st_size / 1e6
            print(f"{copy} ({size_mb:.1f} MB)", flush=True)
    except (BuildError, LabError) as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
