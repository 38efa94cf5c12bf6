# SPDX-License-Identifier: MIT
"""Install the Asterisks of the laboratory: ``python -m tests.lab.install 22 16``.

A version that is on the PATH is used as it is. Any other gets a small Debian tree of
its own, from the machine's own Debian mirror, with Asterisk and SIPp in it; nothing
of the machine itself changes (but debootstrap is installed when it is missing).
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.lab.errors import LabError
from tests.lab.trees import Tree, find_tree, lab_home

_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_TRIES = 3
_PAUSE_BEFORE_RETRY_S = 5.0
#: While it is made, a tree also holds the packages it is made of.
_BYTES_PER_TREE = 1_200_000_000


@attrs.frozen
class _Suite:
    """The Debian suite that holds an Asterisk version."""

    name: str
    #: debootstrap's script, where it does not know the suite by its name yet.
    script: str


_SUITES = {22: _Suite("forky", "sid"), 16: _Suite("bullseye", "bullseye")}


def main(arguments: Sequence[str]) -> int:
    """Install the wanted major versions; return the exit code."""
    try:
        majors = [int(argument) for argument in arguments] or list(_SUITES)
        install(majors)
    except ValueError:
        print("usage: python -m tests.lab.install [22] [16]", file=sys.stderr)
        return 2
    except LabError as error:
        print(f"laboratory: {error}", file=sys.stderr)
        return 1
    return 0


def install(majors: Sequence[int]) -> None:
    """Install what is missing of the wanted major versions, all at the same time.

    Raises:
        LabError: one could not be installed; the others are finished all the same.
    """
    missing = []
    for major in dict.fromkeys(majors):
        if tree := _installed(major):
            _say(major, f"{tree.version} is ready ({tree.root or 'on the PATH'})")
        elif major in _SUITES:
            missing.append(major)
        else:
            raise LabError(
                f"Asterisk {major} can only be used when it is on the PATH, together "
                f"with sipp; this program installs {', '.join(map(str, _SUITES))}"
            )
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
        jobs = [pool.submit(_install_one, major, home, mirror) for major in missing]
        concurrent.futures.wait(jobs)
    failures = [str(job.exception()) for job in jobs if job.exception()]
    if failures:
        raise LabError("\n".join(failures))


def _installed(major: int) -> Tree | None:
    try:
        return find_tree(major)
    except LabError:
        return None


def _install_one(major: int, home: Path, mirror: str) -> None:
    with _locked(home / f"asterisk-{major}.lock", f"Asterisk {major}"):
        # Another run may have made it while this one waited for the lock.
        if tree := _installed(major):
            _say(major, f"{tree.version} is ready ({tree.root})")
            return
        started = time.monotonic()
        suite = _SUITES[major]
        _say(major, f"making a Debian {suite.name} tree, usually in about 2 minutes")
        final = home / f"asterisk-{major}"
        for leftover in [*home.glob(f"{final.name}.making*"), final]:
            _remove(leftover)
        making = home / f"{final.name}.making"
        try:
            _debootstrap(major, suite, making, mirror)
            making.rename(final)
            tree = find_tree(major)
        except BaseException:
            _remove(making)
            raise
        took_s = time.monotonic() - started
        _say(major, f"{tree.version} is ready after {took_s:.0f} s ({final})")


def _debootstrap(major: int, suite: _Suite, target: Path, mirror: str) -> None:
    script = _SCRIPTS / suite.name
    if not script.exists():
        script = _SCRIPTS / suite.script
    command = [
        *_as_root(),
        # Its mounts and its processes go when it goes.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *(["env", f"http_proxy={_proxy()}"] if _proxy() else []),
        *("debootstrap", "--variant=minbase", "--include=asterisk,sip-tester"),
        *(suite.name, str(target), mirror, str(script)),
    ]
    tail = ""
    for attempt in range(1, _TRIES + 1):
        output = _run_and_tell(major, command)
        if output is None:
            _as_root_run("sh", "-c", f"rm -f '{target}'/var/cache/apt/archives/*.deb")
            return
        tail = "\n    ".join(output[-5:])
        if attempt == _TRIES or not _worth_a_retry(output):
            break
        _say(major, f"failed, trying again ({attempt} of {_TRIES}):\n    {tail}")
        # Packages that came are kept; one that was half unpacked is not.
        if not any("Couldn't download" in line for line in output):
            _remove(target)
        time.sleep(_PAUSE_BEFORE_RETRY_S * attempt)
    raise LabError(
        f"Asterisk {major}: debootstrap could not make a {suite.name} tree:\n"
        f"    {tail}\n"
        f"Check that the Debian mirror of this machine holds {suite.name}, or put an "
        f"Asterisk {major} and sipp on the PATH"
    )


def _worth_a_retry(output: Sequence[str]) -> bool:
    # A mirror without the suite, or a wrong signature, stays so.
    hopeless = ("Failed getting release file", "Invalid Release", "unable to find")
    return not any(reason in line for line in output for reason in hopeless)


def _run_and_tell(major: int, command: Sequence[str]) -> list[str] | None:
    """Run debootstrap and tell its stages; return its output if it failed."""
    stages = {
        "I: Retrieving Release": "reading what the mirror has",
        "I: Validating ": "downloading packages (30 s)",
        "I: Extracting ": "unpacking the base system (10 s)",
        "I: Installing core packages": "installing the base system (20 s)",
        "I: Unpacking ": "installing Asterisk and SIPp (40 s)",
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
                    _say(major, stages.pop(beginning))
    return output if process.returncode else None


# -- what it needs


def _install_debootstrap(home: Path) -> None:
    if Path("/usr/sbin/debootstrap").exists() or shutil.which("debootstrap"):
        return
    if shutil.which("apt-get") is None:
        raise LabError(
            "this machine has no apt-get: install debootstrap yourself, or put "
            "Asterisk and sipp on the PATH"
        )
    with _locked(home / "debootstrap.lock", "debootstrap"):
        _say(None, "installing debootstrap (10 s)")
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
        said = ""
        for _ in range(_TRIES):
            _as_root_run(*apt, "update")
            done = _as_root_run(
                *quiet, *apt, "install", "-y", "--no-install-recommends", "debootstrap"
            )
            if done.returncode == 0:
                return
            said = done.stderr
        raise LabError(f"apt-get could not install debootstrap:\n{said}")


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
        "(see /etc/apt/sources.list.d): add one, or put Asterisk and sipp on the PATH"
    )


@functools.cache
def _proxy() -> str:
    """Return apt's HTTP proxy, which debootstrap does not look for; "" for none."""
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
    """Return what makes a command run as root."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo"):
        asks = () if sys.stdin.isatty() else ("-n",)
        tried = subprocess.run(["sudo", *asks, "true"], timeout=120, check=False)
        if tried.returncode == 0:
            return ("sudo", *asks)
    raise LabError(
        "installing needs root, and sudo is not there or says no: run `make lab` as "
        "root, or put Asterisk and sipp on the PATH"
    )


def _as_root_run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_as_root(), *command], capture_output=True, text=True, check=False
    )


def _remove(path: Path) -> None:
    if not path.exists():
        return
    # A name of its own first, so that nobody takes a half removed tree for a whole one.
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


def _say(major: int | None, text: str) -> None:
    subject = "laboratory" if major is None else f"Asterisk {major}"
    print(f"{subject}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
