# SPDX-License-Identifier: MIT
"""Build the container image: ``make image``, as root or with sudo.

Two layers: a small Debian with Python, made by mmdebstrap from the Debian mirror of
this machine; and the program with its libraries, below /usr/lib/callback-queue, in the
versions of constraints.txt. The result is a file for ``docker load`` and ``podman
load``; no registry is needed. docs/container.md explains how to run it.

    python packaging/image/build.py [--to DIRECTORY] [--wheel FILE] [--base-days N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path.append(str(ROOT / "packaging/release"))

import make as releases  # noqa: E402
import oci  # noqa: E402

SUITE: Final = "trixie"
_PYTHON: Final = "3.13"
_PACKAGES: Final = "python3,ca-certificates"
_PIP: Final = "pip==26.3"
#: Published without a wheel; it has no compiled parts.
_WITHOUT_WHEEL: Final = ("pyst2",)
_EXTRAS: Final = "mysql,postgres,web"
NAME: Final = "localhost/callback-queue"
_USER: Final = "callback-queue"
#: Above the ids that a system gives to its own users, so that it is nobody else's
#: on the machine outside.
UID: Final = 10001
_HOME: Final = "/usr/lib/callback-queue"
_OWNED: Final = ("run/callback-queue", "var/lib/callback-queue")
_OF_THE_PROGRAM: Final = (
    "etc/callback-queue",
    "run/callback-queue",
    "usr/lib/callback-queue",
    "var/lib/callback-queue",
)
#: The glibc versions for which wheels are made and which the suite has.
_GLIBC: Final = (34, 31, 28, 27, 26, 24, 17, 12, 5)

_AFTER_INSTALLATION: Final = rf"""
set -e
user='{_USER}:x:{UID}:{UID}:Queue callback:/var/lib/{_USER}:/usr/sbin/nologin'
echo "$user" >>"$1/etc/passwd"
echo '{_USER}:x:{UID}:' >>"$1/etc/group"
# Nothing of the machine that builds it, and nothing that becomes root.
rm -rf "$1"/etc/apt/sources.list* "$1/etc/resolv.conf" "$1/etc/hostname" \
    "$1/etc/machine-id" "$1"/var/log/* "$1"/var/cache/* "$1"/var/lib/apt/lists/* \
    "$1"/etc/passwd- "$1"/etc/group- "$1"/etc/shadow-
find "$1" -xdev -type f -perm /6000 -exec chmod a-s {{}} +
"""

# First argument: the root file system; second: the directory of wheels.
_INSTALL: Final = r"""
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/mnt"
exec chroot "$1" env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8 PYTHONHASHSEED=0 sh -ec '
umask 022
home=$1
python3 -m venv --without-pip "$home"
set -- /mnt/pip-*.whl
pip="$home/bin/python $1/pip"
$pip install --quiet --no-index --find-links /mnt --no-compile --no-cache-dir \
    --root-user-action=ignore --disable-pip-version-check $(cat /mnt/wanted)
$pip check --quiet
rm -f "$home"/bin/[Aa]ctivate* "$home/.gitignore"
find "$home" -name __pycache__ -prune -exec rm -r {} +
"$home/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$home/lib"
' sh "$3"
"""


class ImageFailed(Exception):
    """There is no image; the text says why, and what to do."""


def main() -> int:
    """Read the arguments and build the image."""
    parser = argparse.ArgumentParser(description="Build the container image.")
    parser.add_argument("--to", type=Path, default=ROOT / "dist")
    parser.add_argument("--cache", type=Path, default=_cache())
    parser.add_argument(
        "--wheel", type=Path, help="in place of one of the files of this directory"
    )
    parser.add_argument(
        "--base-days",
        type=float,
        default=1.0,
        help="how old the layer with Debian may be; it has the updates of its day",
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        # The files of a root file system belong to root.
        os.execvp("sudo", ["sudo", "-E", sys.executable, *sys.argv])
    try:
        file = build(options.to, options.cache, options.wheel, options.base_days)
    except (ImageFailed, releases.ReleaseFailed) as error:
        print(f"no image: {error}", file=sys.stderr)
        return 1
    if owner := os.environ.get("SUDO_UID"):
        os.chown(file, int(owner), int(os.environ["SUDO_GID"]))
    print(f"{file.stat().st_size:>12,}  {file}")
    return 0


def build(to: Path, cache: Path, wheel: Path | None, base_days: float) -> Path:
    """Build the image and return its file."""
    epoch = releases.epoch_of_head()
    cache.mkdir(parents=True, exist_ok=True)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        work = Path(temporary)
        if wheel is None:
            _say("building the wheel")
            wheel = releases.build_wheel_here(work, epoch)
        version = wheel.name.split("-")[1]
        base = _base(cache, base_days)
        wheels = _wheels(cache, wheel)
        root = work / "root"
        root.mkdir()
        _say("installing the program")
        _run("tar", "--extract", f"--file={base}", f"--directory={root}")
        _install(root, wheels, wheel, work)
        tar = work / "program.tar"
        oci.pack(root, _OF_THE_PROGRAM, tar, epoch, _owner)
        _say("writing the image")
        layers = [
            _compressed(base),
            oci.compress(tar, work / "callback-queue.tar.gz"),
        ]
        architecture = _architecture()
        made = work / "image.tar"
        created = f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}"
        oci.write(
            made,
            f"{NAME}:{version}",
            layers,
            config(version),
            architecture=architecture,
            created=created,
        )
        final = to / f"callback-queue-{version}-image-{architecture}.tar"
        shutil.move(made, final)
    return final


def config(version: str) -> dict[str, Any]:
    """Return how the image is run."""
    second = 1_000_000_000
    return {
        "User": f"{UID}:{UID}",
        "WorkingDir": f"/var/lib/{_USER}",
        "Env": [
            f"PATH={_HOME}/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG=C.UTF-8",
            f"HOME=/var/lib/{_USER}",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONUNBUFFERED=1",
        ],
        "Entrypoint": [f"{_HOME}/bin/callback-queue"],
        "Cmd": ["run"],
        "StopSignal": "SIGTERM",
        "ExposedPorts": {"4573/tcp": {}, "8573/tcp": {}},
        "Volumes": {f"/var/lib/{_USER}": {}},
        "Healthcheck": {
            "Test": ["CMD", f"{_HOME}/bin/callback-queue-health"],
            "Interval": 30 * second,
            "Timeout": 10 * second,
            "StartPeriod": 60 * second,
            "Retries": 3,
        },
        "Labels": {
            "org.opencontainers.image.title": "callback-queue",
            "org.opencontainers.image.description": "Queue callback for Asterisk",
            "org.opencontainers.image.licenses": "MIT",
            "org.opencontainers.image.version": version,
        },
    }


# -- the layer with Debian


def _base(cache: Path, days: float) -> Path:
    """Return the tar of a small Debian; a new one if it is older than so many days."""
    sources = _sources()
    command = [
        "mmdebstrap",
        *("--mode=root", "--variant=essential", f"--include={_PACKAGES}"),
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/info/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f"--customize-hook={_AFTER_INSTALLATION}",
        *_apt_options(),
    ]
    key = hashlib.sha256(json.dumps([SUITE, *command]).encode()).hexdigest()[:16]
    tar = cache / f"debian-{SUITE}-{key}.tar"
    if tar.exists() and time.time() - tar.stat().st_mtime < days * 86400:
        return tar
    _provide("mmdebstrap")
    _say(f"making a small Debian {SUITE} (about a minute)")
    new = tar.with_suffix(".new.tar")
    new.unlink(missing_ok=True)
    # One time for all files, so that the same packages give the same bytes.
    _run(
        *command,
        *(SUITE, str(new), *sources),
        environment={"SOURCE_DATE_EPOCH": str(releases.epoch_of_head())},
    )
    new.rename(tar)
    return tar


def _compressed(base: Path) -> oci.Layer:
    """Return the layer of a base, which is compressed once."""
    packed, about = base.with_suffix(".tar.gz"), base.with_suffix(".json")
    if about.exists() and about.stat().st_mtime >= base.stat().st_mtime:
        return oci.Layer(packed, **json.loads(about.read_text()))
    layer = oci.compress(base, packed)
    found = {"digest": layer.digest, "diff_id": layer.diff_id}
    about.write_text(json.dumps(found))
    return layer


def _sources() -> list[str]:
    """Return lines for apt: the mirrors of this machine, for the image's suite."""
    fields = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
    listed = _run("apt-get", "indextargets", "--format", fields, "Created-By: Packages")
    main, security = "", ""
    for line in listed.splitlines():
        _origin, label, component, codename, uri = line.split("|")
        if component != "main" or not uri.startswith(("http://", "https://", "file:")):
            continue
        if label == "Debian-Security" or "security" in codename:
            security = security or uri.rstrip("/")
        elif label in ("Debian", ""):
            main = main or uri.rstrip("/")
    if not main:
        raise ImageFailed("apt has no source for Debian's archive: run apt-get update")
    lines = [f"deb {main} {SUITE} main", f"deb {main} {SUITE}-updates main"]
    if security:
        lines.append(f"deb {security} {SUITE}-security main")
    else:
        _say("apt has no source for Debian's security updates: the image lacks them")
    return lines


def _apt_options() -> list[str]:
    """Return how this machine's apt reaches its mirrors."""
    dumped = _run("apt-config", "dump")
    wanted = re.findall(r"^Acquire::https?::(?:Proxy|CA\w+)\b.*;$", dumped, re.M)
    return [f"--aptopt={line.rstrip(';')}" for line in wanted]


def _provide(program: str) -> None:
    if shutil.which(program):
        return
    _say(f"installing {program}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "-qq", "update", environment=quiet)
    _run(
        *("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "install", "-y"),
        *("--no-install-recommends", program),
        environment=quiet,
    )


# -- the layer with the program


def _wheels(cache: Path, wheel: Path) -> Path:
    """Return a directory with the wheels of all libraries, for the image's Python."""
    constraints = (ROOT / "constraints.txt").read_text()
    key = hashlib.sha256(
        json.dumps(
            [constraints, (ROOT / "setup.cfg").read_text(), _PYTHON, _PIP, _EXTRAS]
        ).encode()
    ).hexdigest()[:16]
    wheels = cache / f"wheels-{_PYTHON}-{key}"
    if wheels.exists():
        return wheels
    _say("fetching the libraries")
    new = Path(tempfile.mkdtemp(prefix=f"{wheels.name}.", dir=cache))
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    pinned = [
        line
        for line in constraints.splitlines()
        if line.partition("==")[0].lower() in _WITHOUT_WHEEL
    ]
    _run(*pip, "wheel", "--no-deps", f"--wheel-dir={new}", *pinned)
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    _run(
        *(*pip, "download", f"--dest={new}", f"--find-links={new}"),
        *("--only-binary=:all:", f"--python-version={_PYTHON}", "--implementation=cp"),
        *(f"--platform={one}" for one in [*platforms, f"manylinux2014_{machine}"]),
        *(f"--constraint={ROOT}/constraints.txt", f"{wheel}[{_EXTRAS}]", _PIP),
    )
    (new / wheel.name).unlink(missing_ok=True)
    new.chmod(0o755)
    new.rename(wheels)
    return wheels


def _install(root: Path, wheels: Path, wheel: Path, work: Path) -> None:
    all_wheels = work / "wheels"
    shutil.copytree(wheels, all_wheels)
    shutil.copy(wheel, all_wheels)
    (all_wheels / "wanted").write_text(f"/mnt/{wheel.name}[{_EXTRAS}]\n")
    _run(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("sh", "-ec", _INSTALL, "sh", str(root), str(all_wheels), _HOME),
    )
    health = root / _HOME.lstrip("/") / "bin/callback-queue-health"
    shutil.copy(HERE / "health.py", health)
    health.chmod(0o755)
    (root / "etc/callback-queue").mkdir(mode=0o755)
    for name in _OWNED:
        (root / name).mkdir(parents=True, mode=0o750)


def _owner(name: str) -> tuple[int, int]:
    return (UID, UID) if name in _OWNED else (0, 0)


# -- the rest


def _architecture() -> str:
    return _run("dpkg", "--print-architecture").strip()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "callback-queue-image"


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ImageFailed(
            f"{_shown(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return done.stdout


def _shown(command: Sequence[str]) -> str:
    words: Iterable[str] = (word.partition("\n")[0][:60] for word in command)
    return " ".join(words)[:200]


def _say(text: str) -> None:
    print(f"image: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
