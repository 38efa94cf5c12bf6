# SPDX-License-Identifier: MIT
"""Fuzz the parsers: ``python -m tests.fuzz [TARGET...] [options of libFuzzer]``.

Without a name it fuzzes all targets, at the same time. Each has a process of its own,
which is forked after the imports: instrumenting the parsers takes longer than a short
run.

The seeds are written into a directory of this run, so the stored corpus does not grow
by itself. Input that breaks a target is printed, and written to ``crash-*`` below
``-artifact_prefix``; ``python -m tests.fuzz TARGET FILE`` runs it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import atheris

# Only the parsers: instrumenting all their imports takes a minute.
PARSERS = [
    *(
        "fastagi.wire",
        "fastagi.config",
        "fastagi.history",
        "fastagi.node.astdb_requests",
    ),
    *("fastagi.doors", "fastagi.service.commands", "twisted.web.http"),
]

with atheris.instrument_imports(include=PARSERS):
    from tests.fuzz.targets import TARGETS, seeds_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; return 1 if something was found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        epilog="All other options are those of libFuzzer.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("names", nargs="*", metavar="TARGET or FILE")
    parser.add_argument("--short", action="store_true", help="as many runs as in tests")
    parser.add_argument(
        "--into", type=Path, help="directory for the output of each target and findings"
    )
    given, options = parser.parse_known_args(arguments)
    names = [name for name in given.names if name in TARGETS]
    files = [name for name in given.names if name not in TARGETS]
    for file in files:
        if not Path(file).is_file():
            parser.error(f"{file} is neither a file nor one of {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="callback-fuzz-") as directory:
        processes = {}
        for name in names or TARGETS:
            words = [f"-max_len={TARGETS[name].max_len}", *options]
            if given.short:
                words.append(f"-runs={TARGETS[name].runs}")
            if given.into:
                words.append(f"-artifact_prefix={given.into}/{name}-")
            words += files or [_written_seeds(name, Path(directory, name))]
            output = given.into / f"{name}.log" if given.into else None
            processes[name] = _start(name, words, output)
        ends = {name: os.waitpid(pid, 0)[1] for name, pid in processes.items()}
    for name in processes if given.into else ():
        lines = (given.into / f"{name}.log").read_text(errors="replace").splitlines()
        print(f"{name}: {lines[-1] if lines else 'no output'}")
    if any(ends.values()):
        print("Found by:", *(name for name, end in ends.items() if end))
    return int(any(ends.values()))


def _written_seeds(name: str, directory: Path) -> str:
    directory.mkdir()
    for number, seed in enumerate(seeds_of(name)):
        (directory / f"{number:03}").write_bytes(seed[: TARGETS[name].max_len])
    return str(directory)


def _start(name: str, options: Sequence[str], output: Path | None) -> int:
    """Fuzz a target in a new process; return its pid."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    if output is not None:
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
    _fuzz(name, options)


def _fuzz(name: str, options: Sequence[str]) -> NoReturn:
    """Run libFuzzer, which ends the process."""
    try:
        atheris.Setup([sys.argv[0], *options], TARGETS[name].run)
        atheris.Fuzz()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
