# SPDX-License-Identifier: MIT
"""A Debian machine with systemd, its own network and its own disk in memory.

Owns the container: a layer in memory above a tree of the laboratory, started with
systemd-nspawn. Nothing of it is left at the end, and the tree does not change.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.lab.closing import Starting
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.processes import LabProcess, pauses
from tests.lab.trees import Programs

#: Its administrator, who may use sudo without a password.
ADMIN: Final = "admin"

_BOOT_DEADLINE_S: Final = 60.0
_COMMAND_DEADLINE_S: Final = 120.0
#: Where the host may have its hierarchy of cgroups.
_CGROUPS: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_CLONE_NEWNET: Final = 0x40000000
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Arguments: the tree, an empty directory, the name of the container. Everything that is
# mounted here is gone when the last process of the namespace ends.
_BOOT: Final = """
tree=$1 here=$2 name=$3
mount -t tmpfs tmpfs "$here"
mkdir "$here/changes" "$here/work" "$here/root"
mount -t overlay overlay \
    -o "lowerdir=$tree,upperdir=$here/changes,workdir=$here/work" "$here/root"
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mkdir -p "/sys/fs/cgroup/$name"
echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
# With an id it is not the first boot, on which systemd enables units.
echo 0123456789abcdef0123456789abcdef >"$here/root/etc/machine-id"
echo pbx >"$here/root/etc/hostname"
echo '127.0.0.1 localhost pbx' >"$here/root/etc/hosts"
exec systemd-nspawn --quiet --register=no --keep-unit --machine="$name" \
    --directory="$here/root" --boot --private-network --console=pipe \
    --link-journal=no --resolv-conf=off --timezone=off
"""


class Machine(Starting):
    """A booted Debian machine. Use as a context manager.

    Args:
        tree: the tree of its Debian release.
        name: a short name for messages.
    """

    def __init__(self, tree: Programs, name: str) -> None:
        if tree.root is None:
            raise LabError("a machine is made from a tree")
        self._tree = tree.root
        self._name = f"callback-queue-{name}-{os.getpid()}"
        self._home = Path(tempfile.mkdtemp(prefix=f"{self._name}-"))
        self._process: LabProcess | None = None
        #: The process id of its systemd, as this machine sees it.
        self.init = 0

    def start(self) -> None:
        """Boot it, and make the administrator's account.

        Raises:
            LabError: it did not boot; the text names the reason.
        """
        _require_root()
        (self._home / "mnt").mkdir()
        self._process = LabProcess(
            Programs(root=None),
            [
                # A namespace for processes, so that the machine ends with this one,
                # however that ends.
                *("unshare", "--mount", "--propagation", "private", "--mount-proc"),
                *("--pid", "--fork", "--kill-child"),
                *("sh", "-ec", _BOOT, "sh", str(self._tree), str(self._home / "mnt")),
                self._name,
            ],
            output=self._home / "console",
        )
        self.init = self._find_init()
        self._wait_until_booted()
        self.run(
            f"useradd --create-home --shell /bin/bash {ADMIN};"
            f"echo '{ADMIN} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{ADMIN}"
        )

    def close(self) -> None:
        """Switch it off like a power cut, and remove what it wrote."""
        if self._process is not None:
            if self.init:
                with suppress(ProcessLookupError):
                    os.kill(self.init, 9)
            with suppress(DeadlinePassed):
                self._process.wait(10)
            self._process.kill()
        shutil.rmtree(self._home, ignore_errors=True)
        for hierarchy in _CGROUPS:
            groups = [path for path, _, _ in os.walk(Path(hierarchy, self._name))]
            for group in reversed(groups):
                with suppress(OSError):
                    Path(group).rmdir()

    def _find_init(self) -> int:
        assert self._process is not None
        for _ in pauses(_BOOT_DEADLINE_S):
            if not self._process.running:
                break
            for nspawn in _children(self._process.pid):
                for pid in _children(nspawn):
                    with suppress(OSError):
                        if Path(f"/proc/{pid}/exe").readlink().name == "systemd":
                            return pid
        raise LabError(f"the machine did not boot:\n{self.console()}")

    def _wait_until_booted(self) -> None:
        for _ in pauses(_BOOT_DEADLINE_S):
            done = self._nsenter("systemctl is-system-running --wait")
            if done.stdout.strip() in ("running", "degraded"):
                return
        raise LabError(f"the machine did not finish booting:\n{self.console()}")

    def console(self) -> str:
        """Return what it wrote to its console."""
        with suppress(FileNotFoundError):
            return (self._home / "console").read_text(errors="replace")[-4000:]
        return ""

    # -- what a person does on it

    def run(
        self,
        script: str,
        *,
        user: str = "root",
        deadline_s: float = _COMMAND_DEADLINE_S,
    ) -> str:
        """Run a shell script as a user; return what it prints.

        Raises:
            LabError: it failed; the text holds all that it printed.
        """
        done = self.attempt(script, user=user, deadline_s=deadline_s)
        if done.returncode:
            raise LabError(
                f"exit code {done.returncode} of\n{script}\n"
                f"{done.stdout[-6000:]}{done.stderr[-6000:]}"
            )
        return done.stdout

    def attempt(
        self,
        script: str,
        *,
        user: str = "root",
        deadline_s: float = _COMMAND_DEADLINE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as a user, whatever its exit code."""
        if user != "root":
            script = f"su - {user} -c {shlex.quote(script)}"
        try:
            return self._nsenter(script, deadline_s)
        except subprocess.TimeoutExpired as error:
            raise DeadlinePassed(
                f"not finished within {deadline_s} s:\n{script}\n{error.stdout}"
            ) from None

    def wait_until(
        self, script: str, *, deadline_s: float = 20.0, user: str = "root"
    ) -> str:
        """Repeat a shell script until it succeeds; return what it prints.

        Raises:
            DeadlinePassed: it did not succeed in time.
        """
        for _ in pauses(deadline_s):
            done = self.attempt(script, user=user)
            if done.returncode == 0:
                return done.stdout
        raise DeadlinePassed(
            f"exit code {done.returncode} for {deadline_s} s of\n{script}\n"
            f"{done.stdout}{done.stderr}"
        )

    def processor_time_s(self) -> float:
        """Return what its services have used; not what `run` has run."""
        for hierarchy in _CGROUPS:
            with suppress(FileNotFoundError):
                text = Path(hierarchy, self._name, "cpu.stat").read_text()
                return int(dict(map(str.split, text.splitlines()))["usage_usec"]) / 1e6
        raise LabError(f"there is no cgroup {self._name}")

    def path(self, place: str) -> Path:
        """Return the path by which this process reaches a file of the machine."""
        return Path(f"/proc/{self.init}/root") / place.lstrip("/")

    def write(self, place: str, text: str) -> None:
        """Write a file of the machine."""
        path = self.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def copy_in(self, source: Path, place: str) -> None:
        """Copy a file or a directory to the machine."""
        target = self.path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(source), str(target)], check=True)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Give this thread the machine's network: for sockets and new processes."""
        with (
            Path("/proc/thread-self/ns/net").open() as own,
            Path(f"/proc/{self.init}/ns/net").open() as other,
        ):
            _enter_network(other.fileno())
            try:
                yield
            finally:
                _enter_network(own.fileno())

    def _nsenter(
        self, script: str, deadline_s: float = _COMMAND_DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("nsenter", "--target", str(self.init), "--all", "env", "-i"),
                *(f"PATH={_PATH}", "LANG=C.UTF-8", "TERM=dumb"),
                *("DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=False,
        )


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _enter_network(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("booting a machine needs root: run `make package-test` as root")
