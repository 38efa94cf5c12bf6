# SPDX-License-Identifier: MIT
"""TLS with the manager where processes may not create executable memory.

The systemd unit says ``MemoryDenyWriteExecute=yes``. Here each process has the same
restriction from its first line.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.certificates import authority, issue
from tests.process.program import Program

#: Python runs this at its start. Linux has PR_SET_MDWE since 6.3. On older versions
#: this replaces it: Python's call of OpenSSL that the kernel would refuse is refused
#: here.
_NO_CODE_AT_RUN_TIME = """
import ctypes
from OpenSSL import SSL

class Refusing:
    def __init__(self, ffi):
        self._ffi = ffi
    def __getattr__(self, name):
        return getattr(self._ffi, name)
    def callback(self, *_):
        raise MemoryError("Cannot allocate write+execute memory for ffi.callback()")

SSL._ffi = Refusing(SSL._ffi)
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
"""
_DEADLINE_S = 30.0


@contextmanager
def manager(
    listener: socket.socket, context: ssl.SSLContext
) -> Iterator[ssl.SSLSocket]:
    """Accept one connection as Asterisk's manager does, and greet."""
    plain, _ = listener.accept()
    plain.settimeout(_DEADLINE_S)
    with context.wrap_socket(plain, server_side=True) as link:
        link.sendall(b"Asterisk Call Manager/9.0.0\r\n")
        yield link


def test_service_speaks_tls_though_it_may_make_no_code(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_NO_CODE_AT_RUN_TIME)
    ca = authority()
    (tmp_path / "ca.crt").write_bytes(ca.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issue("127.0.0.1", by=ca).save(tmp_path, "asterisk"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_DEADLINE_S)
        program = Program(
            tmp_path,
            forked=False,
            environ={"PYTHONPATH": str(tmp_path)},
            ami={
                "port": listener.getsockname()[1],
                "tls": {"enabled": True, "ca_file": str(tmp_path / "ca.crt")},
            },
        )
        with program, manager(listener, context) as link:
            assert link.recv(4096).startswith(b"Action: Challenge"), program.said
