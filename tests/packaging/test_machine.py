# SPDX-License-Identifier: MIT
"""The machines of these tests end with the test, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.lab.install import install
from tests.lab.processes import wait_until

_BOOT: Final = """
import sys, time
from tests.lab.trees import find_debian
from tests.packaging.machine import Machine
with Machine(find_debian(12), "killed") as machine:
    print(machine.init, flush=True)
    time.sleep(600)
"""


def test_a_machine_ends_when_the_test_is_killed() -> None:
    install(["debian12"])
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _BOOT], cwd=root, stdout=subprocess.PIPE, text=True
    ) as test:
        assert test.stdout is not None
        init = Path("/proc", test.stdout.readline().strip())
        assert (init / "exe").readlink().name == "systemd"
        test.kill()
    wait_until(lambda: not init.exists(), 20, "the end of the machine")
