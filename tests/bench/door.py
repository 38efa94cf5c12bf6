# SPDX-License-Identifier: MIT
"""How fast are requests promised, beside other servers? ``python -m tests.bench.door``.

The service, and FastAGI servers written with panoramisk and pystrix, get the same load
from the same program in C (``door_load.c``), in turns. Each of the others commits one
row for each request in its handler before it answers, to a SQLite file that is as
durable as the service's own. Each server has a processor for itself, if there are two;
the load, and the model of Asterisk that the service is linked to, have the rest.

``--sync-ms 2`` makes each fsync() that much slower, by a library that is loaded before
the servers' own (``slow_sync.c``); it also counts them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import frozen

from twisted.internet.threads import deferToThread

from tests.bench.rig import Rig, pause, run

_HERE: Final = Path(__file__).parent
_BUILD: Final = _HERE.parents[1] / "build"
_SOCKETS: Final = Path("/proc/net/tcp")
#: State of a listening socket there.
_LISTEN: Final = "0A"
_QUEUE: Final = "support"
_PROMISED: Final = "ACCEPTED"
_READY_S: Final = 30.0
#: Callers at the same time, and how many there are in all.
LOADS: Final[Mapping[int, int]] = {1: 1000, 50: 6000, 500: 6000}
_BURST: Final = 500
#: Callers before each measurement, at most so many at the same time.
_WARM_UP: Final = 300
_WARM_UP_AT_ONCE: Final = 50
_SETTINGS: Final[Mapping[str, Any]] = {
    "log": {"level": "warn"},
    "defaults": {
        "outbound_channel": "PJSIP/{number}@trunk",
        "request_expiry": "4h",
        "fairness": "live_first",
    },
}


class Unable(Exception):
    """This machine lacks something that the measurement needs."""


# -- the programs ------------------------------------------------------------


def compiled(source: str, *flags: str) -> Path:
    """Compile a program of this directory, unless that is done; return its path.

    Raises:
        Unable: there is no compiler.
    """
    path = _HERE / source
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    program = _BUILD / "bench" / f"{path.stem}-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unable(f"{source} needs a C compiler: apt-get install gcc libc6-dev")
    program.parent.mkdir(parents=True, exist_ok=True)
    made = program.with_suffix(f".{os.getpid()}")
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", *flags, "-o", str(made), str(path)],
        check=True,
    )
    made.replace(program)
    return program


def load_program() -> Path:
    """Return the program that plays the callers."""
    return compiled("door_load.c")


def sync_library() -> Path:
    """Return the library that counts the writes to the disk, and slows them down."""
    return compiled("slow_sync.c", "-shared", "-fPIC", "-ldl")


def peers_python() -> Path:
    """Return the Python of the environment with the other servers; make it first."""
    listed = _HERE / "peers" / "requirements.txt"
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()[:12]
    home = _BUILD / f"door-peers-{digest}"
    ready = home / "ready"
    if not ready.exists():
        print("installing the other servers", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = (home / "bin" / "python", "-m", "pip", "install", "-qq")
        subprocess.run([*pip, "--disable-pip-version-check", "-r", listed], check=True)
        ready.touch()
    return home / "bin" / "python"


class Syncs:
    """Counts the writes to the disk of one process, and may slow them down."""

    def __init__(self, home: Path, delay_ms: float) -> None:
        self._path = home / "syncs"
        self._path.write_bytes(bytes(8))
        self.environ = {
            "LD_PRELOAD": str(sync_library()),
            "SYNC_COUNT": str(self._path),
            "SYNC_DELAY_US": str(round(1000 * delay_ms)),
        }

    @property
    def count(self) -> int:
        """How many there were so far."""
        (count,) = struct.unpack("=Q", self._path.read_bytes())
        return int(count)


# -- the load ----------------------------------------------------------------


@frozen
class Taken:
    """What one load has measured.

    Attributes:
        took_s: from the first connect to the end of the last connection, in seconds.
        waited_ms: how long each caller waited for the answer, in milliseconds.
        told: how many callers were told what.
        syncs: how often the server has waited for the disk.
    """

    took_s: float
    waited_ms: Sequence[float]
    told: Counter[str]
    syncs: int = 0

    @property
    def rate(self) -> float:
        """Requests in a second."""
        return len(self.waited_ms) / self.took_s

    @property
    def p50_ms(self) -> float:
        """How long half of the callers waited at most."""
        return statistics.median(self.waited_ms)

    @property
    def p99_ms(self) -> float:
        """How long 99 of 100 callers waited at most."""
        return sorted(self.waited_ms)[(99 * len(self.waited_ms) - 1) // 100]

    @property
    def last_ms(self) -> float:
        """How long the last caller waited."""
        return max(self.waited_ms)

    @property
    def in_vain(self) -> int:
        """How many callers were not promised a callback."""
        return self.told.total() - self.told[_PROMISED]


def press(port: int, at_once: int, count: int, first: int) -> Taken:
    """Let callers press 1; return when all have been answered."""
    done = subprocess.run(
        [load_program(), *map(str, (port, at_once, count, first)), _QUEUE],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    took_us, *lines = done.stdout.splitlines()
    told = Counter(line.split()[0] for line in lines)
    waited_ms = [int(line.split()[1]) / 1000 for line in lines]
    return Taken(int(took_us) / 1e6, waited_ms, told)


# -- the servers -------------------------------------------------------------


class Door(Protocol):
    """A server that promises callbacks over FastAGI."""

    syncs: Syncs

    @property
    def port(self) -> int:
        """Its TCP port."""

    async def start(self) -> None:
        """Start it; return when it answers."""

    def close(self) -> None:
        """End it, and remove its files."""


class OwnDoor:
    """The service.

    Args:
        delay_ms: how much slower its disk is.
        runs_in: the words of a command that runs it.
        code: a directory with the package of another version; "": this one.
    """

    def __init__(self, delay_ms: float, runs_in: Sequence[str], code: str = "") -> None:
        self._rig = Rig(_SETTINGS, [_QUEUE], runs_in=runs_in)
        self._code = {"PYTHONPATH": code} if code else {}
        self.syncs = Syncs(self._rig.home, delay_ms)

    @property
    def port(self) -> int:
        return self._rig.agi_port

    async def start(self) -> None:
        await self._rig.listen()
        await self._rig.start({**self.syncs.environ, **self._code})

    def close(self) -> None:
        self._rig.close()


def _is_listening(port: int) -> bool:
    """Whether a process listens on a port of 127.0.0.1.

    Nobody connects for that: panoramisk would wait for the request without end, and do
    nothing else.
    """
    address = f"0100007F:{port:04X}"
    rows = [line.split() for line in _SOCKETS.read_text().splitlines()[1:]]
    return any(row[1] == address and row[3] == _LISTEN for row in rows)


class PeerDoor:
    """A server of ``tests/bench/peers``."""

    def __init__(self, script: str, delay_ms: float, runs_in: Sequence[str]) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="callback-queue-bench-"))
        self._script = _HERE / "peers" / script
        self._runs_in = runs_in
        self._process: subprocess.Popen[bytes] | None = None
        self.syncs = Syncs(self._home, delay_ms)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])

    async def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *self._runs_in,
                *("setpriv", "--pdeathsig", "KILL", peers_python(), self._script),
                *(str(self.port), self._home / "rows.db"),
            ],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.syncs.environ},
        )
        end = time.monotonic() + _READY_S
        while not _is_listening(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self._script.name} does not answer")
            await pause(0.05)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._home, ignore_errors=True)


OWN: Final = "callback-queue"
BEFORE: Final = "the version before"
#: The servers, by name: functions that make one, given how much slower its disk is, and
#: the words of a command that runs it.
DOORS: Final[dict[str, Callable[[float, Sequence[str]], Door]]] = {
    OWN: OwnDoor,
    "panoramisk, uvloop": lambda delay_ms, runs_in: PeerDoor(
        "panoramisk_door.py", delay_ms, runs_in
    ),
    "pystrix, threads": lambda delay_ms, runs_in: PeerDoor(
        "pystrix_door.py", delay_ms, runs_in
    ),
}


async def with_door(
    name: str,
    delay_ms: float,
    runs_in: Sequence[str],
    work: Callable[[Door], Awaitable[Taken]],
) -> Taken:
    """Do something with a new server, which has answered some callers before."""
    door = DOORS[name](delay_ms, runs_in)
    try:
        await door.start()
        await deferToThread(press, door.port, _WARM_UP_AT_ONCE, _WARM_UP, 0)
        # What follows from these callers is done by then.
        await pause(1)
        return await work(door)
    finally:
        door.close()


async def load(door: Door, at_once: int, count: int) -> Taken:
    """Put a load on a server."""
    before = door.syncs.count
    taken = await deferToThread(press, door.port, at_once, count, _WARM_UP)
    syncs = door.syncs.count - before
    if taken.told[_PROMISED] and not syncs:
        raise Unable("SQLite of this Python does not call fdatasync() of libc")
    return Taken(taken.took_s, taken.waited_ms, taken.told, syncs)


# -- the comparison ----------------------------------------------------------


def _median(taken: Sequence[Taken], of: Callable[[Taken], float]) -> float:
    return statistics.median(map(of, taken))


def lines_of(at_once: int, found: Mapping[str, Sequence[Taken]]) -> list[str]:
    """Return the table of one load: medians of all rounds, and the ratio."""
    lines = [f"{at_once} at once"]
    for name, taken in found.items():
        vain = sum(one.in_vain for one in taken)
        syncs = _median(taken, lambda one: one.syncs / len(one.waited_ms))
        lines.append(
            f"  {name:20} {_median(taken, lambda one: one.rate):6.0f}/s"
            f"   p50 {_median(taken, lambda one: one.p50_ms):7.2f} ms"
            f"   p99 {_median(taken, lambda one: one.p99_ms):7.2f} ms"
            f"   last {_median(taken, lambda one: one.last_ms):7.2f} ms"
            f"   {syncs:4.2f} fsync each" + (f"   {vain} in vain" if vain else "")
        )
    peers = [taken for name, taken in found.items() if name not in {OWN, BEFORE}]
    if OWN in found and peers:
        own = _median(found[OWN], lambda one: one.rate)
        best = max(_median(taken, lambda one: one.rate) for taken in peers)
        lines.append(f"  ratio to the fastest other: {own / best:.2f}")
    return lines


async def compare(
    names: Sequence[str],
    loads: Mapping[int, int],
    rounds: int,
    delay_ms: float,
    runs_in: Sequence[str],
) -> dict[int, dict[str, list[Taken]]]:
    """Put each load on each server in turns; return what was measured."""
    found: dict[int, dict[str, list[Taken]]] = {
        at_once: {name: [] for name in names} for at_once in loads
    }
    for turn in range(rounds):
        for at_once, count in loads.items():
            # Not always in the same order.
            for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
                taken = await with_door(
                    name,
                    delay_ms,
                    runs_in,
                    lambda door, at_once=at_once, count=count: load(  # type: ignore[misc]
                        door, at_once, count
                    ),
                )
                found[at_once][name].append(taken)
                print(
                    f"    round {turn + 1}, {at_once} at once, {name}:"
                    f" {taken.rate:.0f}/s",
                    file=sys.stderr,
                    flush=True,
                )
    return found


async def _main(options: argparse.Namespace) -> int:
    if options.before:
        DOORS[BEFORE] = partial(OwnDoor, code=options.before)
    names = [name for name in DOORS if not options.only or options.only in name]
    processors = sorted(os.sched_getaffinity(0))
    runs_in: tuple[str, ...] = ()
    if len(processors) > 1:
        runs_in = ("taskset", "-c", str(processors[0]))
        os.sched_setaffinity(0, processors[1:])
    loads = {_BURST: _BURST} if options.burst else {**LOADS}
    if options.callers:
        loads = {one: LOADS[one] for one in options.callers}
    if options.count:
        loads = dict.fromkeys(loads, options.count)
    try:
        found = await compare(names, loads, options.rounds, options.sync_ms, runs_in)
    except Unable as error:
        print(error, file=sys.stderr)
        return 2
    slower = f", {options.sync_ms:g} ms more for each fsync" if options.sync_ms else ""
    what = "a burst" if options.burst else "one after the other"
    print(f"medians of {options.rounds} rounds{slower}; {what}")
    for at_once, taken in found.items():
        print("\n".join(lines_of(at_once, taken)), flush=True)
    return 0


def main() -> int:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sync-ms", type=float, default=0.0, help="how much slower each fsync() is"
    )
    parser.add_argument(
        "--burst",
        action="store_true",
        help=f"{_BURST} callers who press at the same moment, once",
    )
    parser.add_argument(
        "--callers",
        type=int,
        nargs="+",
        choices=LOADS,
        help="how many callers at the same time",
    )
    parser.add_argument(
        "--before", help="a directory with another version of the service's code"
    )
    parser.add_argument("--count", type=int, help="how many callers in all")
    parser.add_argument("--only", help="the server with this in its name")
    return run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
