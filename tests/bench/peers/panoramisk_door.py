# SPDX-License-Identifier: MIT
"""A FastAGI server with panoramisk on uvloop: ``panoramisk_door.py PORT FILE``."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from panoramisk import fast_agi
from row import Rows


async def main(port: int, path: str) -> None:
    """Answer each request after its COMMIT."""
    rows = Rows(path)

    async def accept(request: fast_agi.Request) -> None:
        rows.commit(request.headers["agi_callerid"], request.headers["agi_arg_1"])
        await request.send_command("SET VARIABLE CALLBACK_STATUS ACCEPTED")

    application = fast_agi.Application(loop=asyncio.get_running_loop())
    application.add_route("request", accept)
    server = await asyncio.start_server(
        application.handler, "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


uvloop.install()
asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
