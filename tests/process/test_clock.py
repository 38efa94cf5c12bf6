# SPDX-License-Identifier: MIT
"""The machine's clock is set back under a running service.

No test may set the machine's clock, so the service runs with a changeable one.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tests.process.program import Program

#: Python runs this at its start. Once a file exists, the time of day is an hour
#: earlier.
_SETTABLE_CLOCK = """
import os, time
_true, _file = time.time, os.environ["CLOCK_IS_SET_BACK_BY"]
time.time = lambda: _true() - 3600 * os.path.exists(_file)
"""
_DEADLINE_S = 30.0


def test_service_still_tries_to_reach_asterisk(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_SETTABLE_CLOCK)
    set_back = tmp_path / "an hour"
    with socket.create_server(("127.0.0.1", 0)) as manager:
        manager.settimeout(_DEADLINE_S)
        program = Program(
            tmp_path,
            forked=False,
            environ={
                "PYTHONPATH": str(tmp_path),
                "CLOCK_IS_SET_BACK_BY": str(set_back),
            },
            ami={"port": manager.getsockname()[1], "timeout": "2s"},
        )
        with program, manager.accept()[0] as link:
            link.sendall(b"Asterisk Call Manager/9.0.0\r\n")
            assert link.recv(4096).startswith(b"Action: Challenge")
            # It gets no answer, so the service gives up and connects again.
            set_back.touch()
            manager.accept()[0].close()
