# SPDX-License-Identifier: MIT
"""Runs an image as a container, without docker and podman.

crun runs it if it is there, which is what podman uses; otherwise `unshare` makes the
same: namespaces, a root file system that can only be read, the image's own user without
any capability, no new privileges. Which of the two it was is in `Container.runtime`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from tests.lab.closing import Starting
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.processes import pauses, read_text

_READY_S: Final = 60.0
_STOP_S: Final = 30.0
_COMMAND_S: Final = 60.0
_FILES: Final = 10240
#: crun refuses a machine whose cgroups are partly of version 1, so it sees only those
#: of version 2.
_CRUN: Final = (
    *("unshare", "--mount", "sh", "-ec"),
    'mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec crun "$@"',
    "sh",
)


@attrs.frozen
class Image:
    """An image, unpacked."""

    root: Path
    config: Mapping[str, Any]
    #: The digests of its layers as index.json says.
    layers: tuple[str, ...]

    @property
    def user(self) -> tuple[int, int]:
        """The numbers of its user and group."""
        uid, _, gid = self.config["User"].partition(":")
        return int(uid), int(gid)

    @property
    def health(self) -> list[str]:
        """The command of its health check."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return list(command)


def unpack(archive: Path, to: Path) -> Image:
    """Unpack an image by its index, as an OCI runtime does; check all digests.

    Args:
        archive: the file.
        to: a directory for its layers; unpacked layers in it are used again.
    """
    with tarfile.open(archive) as tar:

        def blob(digest: str) -> bytes:
            algorithm, _, value = digest.partition(":")
            found = tar.extractfile(f"blobs/{algorithm}/{value}")
            assert found is not None
            contents = found.read()
            assert hashlib.new(algorithm, contents).hexdigest() == value, digest
            return contents

        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        (described,) = index["manifests"]
        manifest = json.loads(blob(described["digest"]))
        about = json.loads(blob(manifest["config"]["digest"]))
        digests = tuple(layer["digest"] for layer in manifest["layers"])
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        root = to / name
        if not root.exists():
            new = to / f"{name}.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            for digest, diff_id in zip(
                digests, about["rootfs"]["diff_ids"], strict=True
            ):
                packed = new.with_suffix(".layer")
                packed.write_bytes(blob(digest))
                plain = subprocess.run(
                    ["gzip", "--decompress", "--stdout", str(packed)],
                    check=True,
                    stdout=subprocess.PIPE,
                ).stdout
                assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == diff_id
                subprocess.run(
                    ["tar", "--extract", "--numeric-owner", f"--directory={new}"],
                    input=plain,
                    check=True,
                )
                packed.unlink()
            new.rename(root)
    return Image(root, about["config"], digests)


@attrs.frozen
class Mount:
    """A directory of the machine that the container sees."""

    source: Path
    target: str
    read_only: bool = False


class Container(Starting):
    """One container of an image, in the network of the machine.

    Args:
        image: the image.
        home: a directory of the test.
        command: what to give to the image's entry point; None: the image's own.
        environment: variables on top of those of the image.
        mounts: what it sees of the machine. All else is the image's, and read-only.
    """

    def __init__(
        self,
        image: Image,
        home: Path,
        *,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        mounts: Sequence[Mount] = (),
    ) -> None:
        self.image = image
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        self._name = f"callback-queue-{os.getpid()}-{time.monotonic_ns()}"
        config = image.config
        given = config["Cmd"] if command is None else command
        self._argv = [*config["Entrypoint"], *given]
        names = dict(line.split("=", 1) for line in config["Env"])
        self._environment = {**names, **(environment or {})}
        self._mounts = list(mounts)
        self.log = home / "log"
        self.runtime = "crun" if has_crun() else "unshare"
        self._process: subprocess.Popen[bytes] | None = None

    # -- its life

    def start(self) -> None:
        """Start it without waiting."""
        start = {"crun": self._crun, "unshare": self._unshare}[self.runtime]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *start()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """Its output so far."""
        return read_text(self.log, 0)

    @property
    def pid(self) -> int:
        """The process id of its first process, seen from outside."""
        assert self._process is not None
        parent = self._process.pid
        for _ in pauses(_READY_S):
            if self._process.poll() is not None:
                raise LabError(f"the container ended:\n{self.said}")
            # crun, or unshare, waits for it.
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            for child in children.split():
                line = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if self._argv[0].encode() in line[:3]:
                    return int(child)
        raise DeadlinePassed(f"the container has no process:\n{self.said}")

    def wait_for(self, text: str, deadline_s: float = _READY_S) -> None:
        """Wait until its output has this text."""
        for _ in pauses(deadline_s):
            if text in self.said:
                return
            assert self._process is not None
            if self._process.poll() is not None:
                raise LabError(f"the container ended:\n{self.said}")
        raise DeadlinePassed(f"the container does not say {text!r}:\n{self.said}")

    def wait_until_healthy(self, deadline_s: float = _READY_S) -> None:
        """Wait until its health check succeeds."""
        last = ""
        for _ in pauses(deadline_s):
            assert self._process is not None
            if self._process.poll() is not None:
                raise LabError(f"the container ended:\n{self.said}")
            try:
                done = self.execute(*self.image.health)
            except LabError as error:
                last = str(error)
                continue
            if done.returncode == 0:
                return
            last = done.stdout + done.stderr
        raise DeadlinePassed(f"the container is not healthy: {last}\n{self.said}")

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user."""
        uid, gid = self.image.user
        if self.runtime == "crun":
            argv = [*_CRUN, "exec", f"--user={uid}:{gid}", self._name, *command]
        else:
            argv = [
                *("nsenter", f"--target={self.pid}"),
                *("--mount", "--pid", "--ipc", "--root"),
                *_demoted(uid, gid),
                *("env", "-i", *(f"{k}={v}" for k, v in self._environment.items())),
                *command,
            ]
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process, as `docker kill` does."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Stop it as `docker stop` does; return the exit code."""
        assert self._process is not None
        self.send(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise DeadlinePassed(f"the container did not stop:\n{self.said}") from None

    def close(self) -> None:
        """End it in any state."""
        if self._process is not None and self._process.poll() is None:
            if self.runtime == "crun":
                subprocess.run([*_CRUN, "delete", "--force", self._name], check=False)
            self._process.kill()
            self._process.wait(_STOP_S)

    # -- the runtimes

    def _crun(self) -> list[str]:
        uid, gid = self.image.user
        ours = [
            {
                "destination": one.target,
                "source": str(one.source),
                "type": "bind",
                "options": ["bind", "ro" if one.read_only else "rw", "nosuid", "nodev"],
            }
            for one in self._mounts
        ]
        none: list[str] = []
        bundle = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": self._argv,
                "env": [f"{name}={value}" for name, value in self._environment.items()],
                "cwd": self.image.config["WorkingDir"],
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(
                    ("bounding", "effective", "permitted", "inheritable", "ambient"),
                    none,
                ),
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": _FILES, "hard": _FILES}],
            },
            "root": {"path": str(self.image.root), "readonly": True},
            "mounts": [
                _mount("/proc", "proc"),
                _mount("/dev", "tmpfs", "nosuid", "mode=755", "size=65536k"),
                _mount("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777"),
                _mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777", "size=64m"),
                *ours,
            ],
            "linux": {
                "namespaces": [{"type": one} for one in ("pid", "ipc", "mount")],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            },
        }
        (self._home / "config.json").write_text(json.dumps(bundle, indent=1))
        return [
            *(*_CRUN, "--cgroup-manager=disabled", "run"),
            f"--bundle={self._home}",
            self._name,
        ]

    def _unshare(self) -> list[str]:
        uid, gid = self.image.user
        lines = ['mount --bind "$1" "$1"', 'cd "$1"', "mount -t proc proc proc"]
        lines += ["mount -t tmpfs -o mode=1777,size=64m tmpfs tmp"]
        lines += ["mount -t tmpfs -o mode=755 tmpfs dev"]
        for device in ("null", "zero", "random", "urandom"):
            lines += [f"touch dev/{device}; mount --bind /dev/{device} dev/{device}"]
        for one in self._mounts:
            lines += [f"mount --bind {one.source} .{one.target}"]
            if one.read_only:
                lines += [f"mount -o remount,bind,ro .{one.target}"]
        # Without capabilities nobody leaves a chroot.
        lines += ['mount -o remount,bind,ro "$1"', 'exec chroot "$@"']
        return [
            *("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
            *("sh", "-ec", "\n".join(lines), "sh", str(self.image.root)),
            *_demoted(uid, gid),
            *("env", "-i", f"--chdir={self.image.config['WorkingDir']}"),
            *(f"{name}={value}" for name, value in self._environment.items()),
            *self._argv,
        ]


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {
        "destination": target,
        "type": kind,
        "source": kind,
        "options": list(options),
    }


def _demoted(uid: int, gid: int) -> list[str]:
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
    ]


@functools.cache
def has_crun() -> bool:
    """Return whether crun is there."""
    return shutil.which("crun") is not None
