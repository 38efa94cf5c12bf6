# SPDX-License-Identifier: MIT
"""Install what the laboratory runs: ``python -m tests.lab.install 22 16 browser``.

It uses programs of the machine if they fit: an Asterisk of that version with SIPp, the
servers of PostgreSQL and MariaDB. For the others it makes a small Debian tree each,
from the machine's own Debian mirror. Nothing on the machine itself changes, except that
debootstrap is installed if it is missing, and systemd-nspawn for the tests of packages.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.lab.errors import LabError
from tests.lab.trees import (
    find_browser,
    find_debian,
    find_php,
    find_server,
    find_tree,
    lab_home,
)

_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_TRIES = 3
_PAUSE_BEFORE_RETRY_S = 5.0
#: During the installation a tree also holds the packages.
_BYTES_PER_TREE = 1_200_000_000


@attrs.frozen(kw_only=True)
class _Recipe:
    """What can be installed, and from where."""

    #: Its name for users.
    subject: str
    #: The directory of the tree.
    directory: str
    #: The Debian suite that has it.
    suite: str
    #: debootstrap's script, for versions that do not know the suite's name yet.
    script: str
    packages: str
    #: The programs that would do instead, if they are on the PATH; "" if none would.
    instead: str
    #: Returns what is already there; raises LabError if it is missing.
    find: Callable[[], str]
    #: What apt adds then; its dependencies may be too difficult for debootstrap.
    added: str = ""
    #: The name of a recipe whose tree is copied, to save downloading it again.
    base: str = ""


def _asterisk(major: int, suite: str, script: str) -> _Recipe:
    def find() -> str:
        tree = find_tree(major)
        return f"{tree.version} is ready ({tree.root or 'on the PATH'})"

    return _Recipe(
        subject=f"Asterisk {major}",
        directory=f"asterisk-{major}",
        suite=suite,
        script=script,
        packages="asterisk,sip-tester",
        instead=f"an Asterisk {major} and sipp",
        find=find,
    )


#: What a machine has that is administered with sudo.
_MACHINE = (
    "systemd,systemd-sysv,dbus,sudo,procps,iproute2,logrotate,libpam-systemd,"
    "python3-venv"
)


def _debian(
    release: int, suite: str, packages: str, *, added: str = "", base: str = ""
) -> _Recipe:
    def find() -> str:
        return f"ready ({find_debian(release).root})"

    return _Recipe(
        subject=f"Debian {release}",
        directory=f"debian-{release}",
        suite=suite,
        script=suite if suite == "bookworm" else "sid",
        packages=packages,
        added=added,
        instead="",
        find=find,
        base=base,
    )


def _find_databases() -> str:
    roots = [find_server(name)[0].root for name in ("postgres", "mariadbd")]
    where = " and ".join(str(root or "on the machine") for root in dict.fromkeys(roots))
    return f"PostgreSQL and MariaDB are ready ({where})"


def _find_browser() -> str:
    programs, path = find_browser()
    return f"Chromium is ready ({programs.root or path})"


def _find_php() -> str:
    programs, path = find_php()
    return f"PHP is ready ({programs.root or path})"


_RECIPES = {
    "22": _asterisk(22, "forky", "sid"),
    "16": _asterisk(16, "bullseye", "bullseye"),
    "databases": _Recipe(
        subject="databases",
        directory="databases",
        suite="bookworm",
        script="bookworm",
        packages="postgresql-15,mariadb-server",
        instead="the servers of PostgreSQL and MariaDB",
        find=_find_databases,
    ),
    # What Playwright downloads is not needed: it can drive Debian's Chromium.
    "browser": _Recipe(
        subject="browser",
        directory="browser",
        suite="bookworm",
        script="bookworm",
        packages="chromium-headless-shell,fonts-inter",
        instead="chromium",
        find=_find_browser,
    ),
    # FreePBX 17 runs on Debian 12.
    "php": _Recipe(
        subject="PHP",
        directory="php",
        suite="bookworm",
        script="bookworm",
        packages="php-cli",
        instead="php",
        find=_find_php,
    ),
    # Where packages are built and tried: each release with its own Python.
    "debian12": _debian(12, "bookworm", _MACHINE),
    "debian13": _debian(13, "trixie", _MACHINE, added="lintian"),
    "debian14": _debian(14, "forky", "asterisk,sip-tester", added=_MACHINE, base="22"),
}


#: What the tests of the program itself need.
_WITHOUT_NAMES = ("22", "16", "databases", "browser")


def main(arguments: Sequence[str]) -> int:
    """Install what is named, or what most tests need; return the exit code."""
    unknown = [argument for argument in arguments if argument not in _RECIPES]
    if unknown:
        names = " ".join(f"[{name}]" for name in _RECIPES)
        print(
            f"{unknown[0]} can not be installed; "
            f"usage: python -m tests.lab.install {names}",
            file=sys.stderr,
        )
        return 2
    try:
        install(arguments or _WITHOUT_NAMES)
    except LabError as error:
        print(f"laboratory: {error}", file=sys.stderr)
        return 1
    return 0


def install(names: Sequence[str]) -> None:
    """Install what is missing of what is named, all at the same time.

    Raises:
        LabError: one could not be installed; the others are finished first.
    """
    missing = []
    for recipe in [_RECIPES[name] for name in dict.fromkeys(names)]:
        if found := _installed(recipe):
            _say(recipe, found)
        else:
            missing.append(recipe)
    if not missing:
        return
    home = lab_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            f"{home} cannot be made ({error.strerror}); "
            "set CALLBACK_QUEUE_LAB to a directory that can"
        ) from None
    _check_space(home, len(missing))
    _install_debootstrap(home)
    mirror = _mirror()
    with concurrent.futures.ThreadPoolExecutor(len(missing)) as pool:
        jobs = [pool.submit(_install_one, recipe, home, mirror) for recipe in missing]
        concurrent.futures.wait(jobs)
    failures = [str(job.exception()) for job in jobs if job.exception()]
    if failures:
        raise LabError("\n".join(failures))


def _installed(recipe: _Recipe) -> str | None:
    try:
        return recipe.find()
    except LabError:
        return None


def _install_one(recipe: _Recipe, home: Path, mirror: str) -> None:
    if recipe.base and not _installed(_RECIPES[recipe.base]):
        _install_one(_RECIPES[recipe.base], home, mirror)
    with _locked(home / f"{recipe.directory}.lock", recipe.subject):
        # Another run may have made it while this one waited for the lock.
        if found := _installed(recipe):
            _say(recipe, found)
            return
        started = time.monotonic()
        _say(recipe, f"making a Debian {recipe.suite} tree, usually in about 2 minutes")
        final = home / recipe.directory
        for leftover in [*home.glob(f"{final.name}.making*"), final]:
            _remove(leftover)
        making = home / f"{final.name}.making"
        base = _tree_of(recipe.base, home) if recipe.base else None
        try:
            if base is None:
                _debootstrap(recipe, making, mirror)
            else:
                _say(recipe, f"copying the tree {base.name} (10 s)")
                _as_root_run("cp", "-a", "--reflink=auto", str(base), str(making))
            if recipe.added:
                _add_packages(recipe, making)
            making.rename(final)
            found = recipe.find()
        except BaseException:
            _remove(making)
            raise
        took_s = time.monotonic() - started
        _say(recipe, f"{found}, after {took_s:.0f} s")


def _tree_of(name: str, home: Path) -> Path | None:
    """Return the tree of a recipe; None if the machine's own programs are used."""
    tree = home / _RECIPES[name].directory
    return tree if tree.exists() else None


#: Arguments: the tree, and the packages to add.
_ADD_PACKAGES = """
tree=$1
shift
cp /etc/resolv.conf "$tree/etc/"
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
# A mirror may be a snapshot; what it had on that day is what the tree has.
chroot "$tree" apt-get -qq -o Acquire::Check-Valid-Until=false update
chroot "$tree" apt-get -qq install -y --no-install-recommends "$@"
chroot "$tree" apt-get clean
rm -rf "$tree"/var/lib/apt/lists/*
"""


def _add_packages(recipe: _Recipe, tree: Path) -> None:
    _say(recipe, f"adding {recipe.added} (30 s)")
    command = [
        *_as_root(),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"),
        *([f"http_proxy={_proxy()}"] if _proxy() else []),
        *("sh", "-ec", _ADD_PACKAGES, "sh", str(tree), *recipe.added.split(",")),
    ]
    tail = ""
    for attempt in range(1, _TRIES + 1):
        output = _run_and_tell(recipe, command)
        if output is None:
            return
        tail = "\n    ".join(output[-5:])
        _say(recipe, f"failed ({attempt} of {_TRIES}):\n    {tail}")
        time.sleep(_PAUSE_BEFORE_RETRY_S * attempt)
    raise LabError(
        f"{recipe.subject}: {recipe.added} could not be added:\n    {tail}\n"
        f"Check that the Debian mirror of this machine holds {recipe.suite}"
    )


def _debootstrap(recipe: _Recipe, target: Path, mirror: str) -> None:
    script = _SCRIPTS / recipe.suite
    if not script.exists():
        script = _SCRIPTS / recipe.script
    command = [
        *_as_root(),
        # A namespace, so that its mounts and processes end with it.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *(["env", f"http_proxy={_proxy()}"] if _proxy() else []),
        *("debootstrap", "--variant=minbase", f"--include={recipe.packages}"),
        *(recipe.suite, str(target), mirror, str(script)),
    ]
    tail = ""
    for attempt in range(1, _TRIES + 1):
        output = _run_and_tell(recipe, command)
        if output is None:
            _as_root_run("sh", "-c", f"rm -f '{target}'/var/cache/apt/archives/*.deb")
            return
        tail = "\n    ".join(output[-5:])
        if attempt == _TRIES or not _worth_a_retry(output):
            break
        _say(recipe, f"failed, trying again ({attempt} of {_TRIES}):\n    {tail}")
        # Downloaded packages are kept; a package that was unpacked half is not.
        if not any("Couldn't download" in line for line in output):
            _remove(target)
        time.sleep(_PAUSE_BEFORE_RETRY_S * attempt)
    raise LabError(
        f"{recipe.subject}: debootstrap could not make a {recipe.suite} tree:\n"
        f"    {tail}\n"
        f"Check that the Debian mirror of this machine holds {recipe.suite}"
        + (f", or put {recipe.instead} on the PATH" if recipe.instead else "")
    )


def _worth_a_retry(output: Sequence[str]) -> bool:
    # Retrying does not help if the mirror lacks the suite or a signature is wrong.
    hopeless = ("Failed getting release file", "Invalid Release", "unable to find")
    return not any(reason in line for line in output for reason in hopeless)


def _run_and_tell(recipe: _Recipe, command: Sequence[str]) -> list[str] | None:
    """Run debootstrap and print its stages; return its output if it failed."""
    stages = {
        "I: Retrieving Release": "reading what the mirror has",
        "I: Validating ": "downloading packages (30 s)",
        "I: Extracting ": "unpacking the base system (10 s)",
        "I: Installing core packages": "installing the base system (20 s)",
        "I: Unpacking ": f"installing {recipe.packages} (40 s)",
    }
    output: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line.rstrip())
            for beginning in list(stages):
                if line.startswith(beginning):
                    _say(recipe, stages.pop(beginning))
    return output if process.returncode else None


# -- requirements


def install_nspawn() -> None:
    """Install systemd-nspawn, which boots a tree, if it is missing.

    Raises:
        LabError: it could not be installed.
    """
    home = lab_home()
    home.mkdir(parents=True, exist_ok=True)
    _install_program(home, "systemd-nspawn", "systemd-container")


def _install_debootstrap(home: Path) -> None:
    if not Path("/usr/sbin/debootstrap").exists():
        _install_program(home, "debootstrap", "debootstrap")


def _install_program(home: Path, program: str, package: str) -> None:
    if shutil.which(program):
        return
    if shutil.which("apt-get") is None:
        raise LabError(
            f"this machine has no apt-get: install {program} yourself, or put "
            "what the tests run on the PATH"
        )
    with _locked(home / f"{program}.lock", program):
        _say(None, f"installing {package} (10 s)")
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
        said = ""
        for _ in range(_TRIES):
            _as_root_run(*apt, "update")
            done = _as_root_run(
                *quiet, *apt, "install", "-y", "--no-install-recommends", package
            )
            if done.returncode == 0:
                return
            said = done.stderr
        raise LabError(f"apt-get could not install {package}:\n{said}")


def _mirror() -> str:
    """Return the machine's own Debian archive, as apt knows it."""
    fields = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CODENAME)|$(RELEASE)|$(REPO_URI)"
    try:
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f"apt does not tell its sources: {error}") from error
    own = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    for line in listed.splitlines():
        origin, label, component, codename, release, uri = line.split("|")
        # ORIGIN and LABEL are empty until the first `apt-get update`.
        official = origin in ("Debian", "") and label in ("Debian", "")
        usable = uri.startswith(("http://", "https://", "file:"))
        main = component == "main" and own in (codename, release)
        if official and usable and main:
            return uri.rstrip("/")
    raise LabError(
        "apt has no source for the main Debian archive of this machine's own release "
        "(see /etc/apt/sources.list.d): add one, or put what the tests run on the "
        "PATH"
    )


@functools.cache
def _proxy() -> str:
    """Return apt's HTTP proxy, which debootstrap does not look up; "" if none."""
    done = subprocess.run(
        ["apt-config", "dump", "--format=%v", "Acquire::http::Proxy"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout.strip()


def _check_space(home: Path, trees: int) -> None:
    free = shutil.disk_usage(home).free
    if free < trees * _BYTES_PER_TREE:
        raise LabError(
            f"{home} has {free / 1e9:.1f} GB free, and "
            f"{trees * _BYTES_PER_TREE / 1e9:.1f} GB are needed: "
            "make room, or set CALLBACK_QUEUE_LAB to a directory that has it"
        )


@functools.cache
def _as_root() -> tuple[str, ...]:
    """Return the prefix that runs a command as root."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo"):
        asks = () if sys.stdin.isatty() else ("-n",)
        tried = subprocess.run(["sudo", *asks, "true"], timeout=120, check=False)
        if tried.returncode == 0:
            return ("sudo", *asks)
    raise LabError(
        "installing needs root, and sudo is not there or says no: run `make lab` as "
        "root, or put what the tests run on the PATH"
    )


def _as_root_run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_as_root(), *command], capture_output=True, text=True, check=False
    )


def _remove(path: Path) -> None:
    if not path.exists():
        return
    # Rename it first, so that a half removed tree is never taken for a whole one.
    doomed = Path(tempfile.mkdtemp(prefix=f"{path.name}.gone-", dir=path.parent))
    path.rename(doomed / path.name)
    _as_root_run("rm", "-rf", "--one-file-system", str(doomed))


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(None, f"another run installs {what}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(recipe: _Recipe | None, text: str) -> None:
    subject = recipe.subject if recipe else "laboratory"
    print(f"{subject}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
