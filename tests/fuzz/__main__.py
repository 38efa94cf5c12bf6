# SPDX-License-Identifier: MIT
"""Fuzz one target: ``python -m tests.fuzz TARGET [options of libFuzzer]``.

The seeds are written into a directory of this run, so the stored corpus does not grow
by itself. Input that breaks a target is printed, and written to ``crash-*`` below
``-artifact_prefix``; ``python -m tests.fuzz TARGET FILE`` runs it again.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

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


def main() -> None:
    """Run libFuzzer, which ends the process."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    arguments = [sys.argv[0], f"-max_len={target.max_len}", *options]
    if all(option.startswith("-") for option in options):
        directory = Path(tempfile.mkdtemp(prefix=f"callback-fuzz-{name}-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        for number, seed in enumerate(seeds_of(name)):
            (directory / f"{number:03}").write_bytes(seed[: target.max_len])
        arguments.append(str(directory))
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()


main()
