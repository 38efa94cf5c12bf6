# SPDX-License-Identifier: MIT
"""Where the programs of the laboratory are, and how to run one of them.

Owns the choice between the machine's own Asterisk and an installed tree, and the
wrapping of a command: it runs inside the tree, sees the machine's /tmp and /dev, and
ends with the process that started it. Independent of what the programs are for.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.harness.ram import ram
from tests.lab.errors import LabError

#: The directory of everything that both sides of a chroot must see: both see /tmp and
#: /dev. The name is short, as a Unix socket's path has at most 107 bytes.
SHARED = ram()

#: Debian keeps PostgreSQL's programs off the PATH, as there may be several versions.
_SERVERS = {
    "postgres": "usr/lib/postgresql/*/bin/postgres",
    "mariadbd": "usr/sbin/mariadbd",
}
_BROWSER = "usr/bin/chromium-headless-shell"
_PHP = "usr/bin/php"
_MODULE_GLOBS = (
    "usr/lib/*/asterisk/modules",
    "usr/lib*/asterisk/modules",
    "usr/local/lib*/asterisk/modules",
)
#: Where the documentation and the prompts are. Asterisk does not start without
#: documentation.
_DATA = ("usr/share/asterisk", "var/lib/asterisk")

# First argument: the tree. The mounts are in a namespace and end with it.
_ENTER = """
mount --bind /tmp "$1/tmp"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot "$@"
"""

# The same for programs that refuse to run as root: the root user of a namespace can
# become another user only below a real root, not in a chroot.
_ENTER_AS_USER = """
mount --bind "$1" "$1"
cd "$1"
shift
mount --bind /tmp tmp
mount -t proc proc proc
mount --rbind /dev dev
pivot_root . mnt
cd /
exec unshare --user --map-user={uid} --map-group={uid} "$@"
"""

#: Debian's user ``nobody``.
NOBODY = 65534

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": str(SHARED),
    # SIPp's screen needs a terminal type even without a terminal.
    "TERM": "xterm",
}


def lab_home() -> Path:
    """Return the directory that holds the installed trees."""
    if chosen := os.environ.get("CALLBACK_QUEUE_LAB"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "callback-queue-lab"


@attrs.frozen(kw_only=True)
class Programs:
    """The place of programs: a directory to chroot into, or the machine itself."""

    #: None: they are on the machine's PATH.
    root: Path | None

    def command(self, *argv: str, as_root: bool = True) -> list[str]:
        """Wrap a command so that it runs in this tree and ends with its parent.

        Args:
            argv: the command.
            as_root: whether it may run as root (or as a namespace's root).
        """
        leash = ["setpriv", "--pdeathsig", "KILL"]
        demoted = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        drops = not as_root and os.geteuid() == 0
        if self.root is None:
            return [*leash, *(demoted if drops else ()), *argv]
        enter = _ENTER
        if drops:
            argv = ("setpriv", *demoted, *argv)
        elif not as_root:
            enter = _ENTER_AS_USER.format(uid=NOBODY)
        return [
            *leash,
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *namespace_options(),
            *("sh", "-ec", enter, "sh", str(self.root), *argv),
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment for a program of this tree."""
        if self.root is None:
            return {**os.environ, "TERM": _ENVIRONMENT["TERM"]}
        return dict(_ENVIRONMENT)

    def outside(self, path: Path) -> Path:
        """Return the path by which this process reaches a file of the tree."""
        return self.root / path.relative_to("/") if self.root else path


@attrs.frozen(kw_only=True)
class Tree(Programs):
    """One installed Asterisk, together with SIPp."""

    major: int
    #: The version that the binary reports, such as ``22.10.1``.
    version: str

    def modules(self) -> Path:
        """Return the module directory, as the program itself sees it."""
        base = self.root or Path("/")
        for pattern in _MODULE_GLOBS:
            for found in base.glob(pattern):
                if (found / "app_queue.so").exists():
                    return Path("/") / found.relative_to(base)
        raise LabError(
            f"there is no app_queue.so below {base}; remove {base} and run `make lab`"
        )

    def data(self) -> Path:
        """Return the directory of what Asterisk ships, as the program sees it."""
        for name in _DATA:
            if (self.outside(Path("/") / name) / "documentation").is_dir():
                return Path("/") / name
        raise LabError(f"Asterisk {self.version} has no documentation directory")


@functools.cache
def find_tree(major: int) -> Tree:
    """Find the Asterisk of a major version.

    Raises:
        LabError: there is none; the text names the command that installs it.
    """
    version = _version_of(["asterisk", "-V"])
    if version and version.split(".")[0] == str(major) and shutil.which("sipp"):
        return Tree(major=major, version=version, root=None)
    root = lab_home() / f"asterisk-{major}"
    binary = root / "usr/sbin/asterisk"
    if not binary.exists():
        raise LabError(
            f"there is no Asterisk {major} in {root} and none on the PATH: "
            "run `make lab` (about two minutes, once)"
        )
    probe = Tree(major=major, version="", root=root)
    version = _version_of(probe.command("asterisk", "-V"))
    if version is None or version.split(".")[0] != str(major):
        raise LabError(
            f"{binary} says it is {version or 'nothing at all'}, not {major}: "
            f"remove {root} and run `make lab`"
        )
    return attrs.evolve(probe, version=version)


@functools.cache
def find_server(name: str) -> tuple[Programs, Path]:
    """Find a database server, on the machine or in the laboratory's tree.

    Args:
        name: ``postgres`` or ``mariadbd``.

    Returns:
        Where it is, and the server's own path there.

    Raises:
        LabError: it is not there; the text names the command that installs it.
    """
    tree = lab_home() / "databases"
    for root in (None, tree):
        base = root or Path("/")
        if found := sorted(base.glob(_SERVERS[name])):
            return Programs(root=root), Path("/") / found[-1].relative_to(base)
    raise LabError(
        f"there is no {name} in {tree} and none on this machine: "
        "run `make lab` (about two minutes, once)"
    )


@functools.cache
def find_browser() -> tuple[Programs, Path]:
    """Find Chromium, on the machine or in the laboratory's tree.

    Returns:
        Where it is, and the program's own path there.

    Raises:
        LabError: it is not there; the text names the command that installs it.
    """
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if found := shutil.which(name):
            return Programs(root=None), Path(found)
    tree = lab_home() / "browser"
    if (tree / _BROWSER).exists():
        return Programs(root=tree), Path("/") / _BROWSER
    raise LabError(
        f"there is no Chromium in {tree} and none on the PATH: "
        "run `make lab` (about two minutes, once)"
    )


def find_php() -> tuple[Programs, Path]:
    """Find PHP for the command line, on the machine or in the laboratory's tree.

    Returns:
        Where it is, and the program's own path there.

    Raises:
        LabError: it is not there; the text names the command that installs it.
    """
    if found := shutil.which("php"):
        return Programs(root=None), Path(found)
    tree = lab_home() / "php"
    if os.path.lexists(tree / _PHP):
        return Programs(root=tree), Path("/") / _PHP
    raise LabError(
        f"there is no PHP in {tree} and none on the PATH: "
        "run `python -m tests.lab.install php` (about one minute, once)"
    )


def find_debian(release: int) -> Programs:
    """Find the tree of a Debian release, in which packages are built and tried.

    Raises:
        LabError: it is not there; the text names the command that installs it.
    """
    root = lab_home() / f"debian-{release}"
    if all((root / name).exists() for name in ("usr/bin/python3", "usr/bin/systemctl")):
        return Programs(root=root)
    raise LabError(
        f"there is no Debian {release} in {root}: run "
        f"`python -m tests.lab.install debian{release}` (about two minutes, once)"
    )


def _version_of(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Asterisk (\d+(?:\.\d+)*)", done.stdout)
    return found.group(1) if found else None


@functools.cache
def namespace_options() -> tuple[str, ...]:
    """Return how `unshare` may do more: as root, or as root of a namespace.

    Raises:
        LabError: this user may do neither.
    """
    if os.geteuid() == 0:
        return ()
    mapped = ("--map-root-user",)
    tried = subprocess.run(
        ["unshare", *mapped, "--mount", "--pid", "--fork", "true"],
        capture_output=True,
        timeout=20,
        check=False,
    )
    if tried.returncode:
        raise LabError(
            "this user may not make a mount namespace: run the tests as root, or "
            "allow it with `sudo sysctl kernel.unprivileged_userns_clone=1`"
        )
    return mapped
