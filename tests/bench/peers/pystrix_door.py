# SPDX-License-Identifier: MIT
"""A FastAGI server with pystrix and threads: ``pystrix_door.py PORT FILE``."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pystrix
from pystrix.agi import core
from row import Rows


def main(port: int, path: str) -> None:
    """Answer each request after its COMMIT."""
    rows, lock = Rows(path), threading.Lock()

    def accept(agi: Any, _args: Any, _kwargs: Any, _match: Any, _path: Any) -> None:
        environment = agi.get_environment()
        with lock:
            rows.commit(environment["agi_callerid"], environment["agi_arg_1"])
        agi.execute(core.SetVariable("CALLBACK_STATUS", "ACCEPTED"))

    server = pystrix.agi.FastAGIServer("127.0.0.1", port, daemon_threads=True)
    server.register_script_handler("request", accept)
    server.serve_forever()


main(int(sys.argv[1]), sys.argv[2])
