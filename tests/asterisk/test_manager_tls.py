# SPDX-License-Identifier: MIT
"""The manager interface with TLS, on real Asterisks, with certificates of the test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastagi import checks
from fastagi.checks.finding import Finding
from tests.asterisk.callback import CLIENT, QUICK, ask, settled
from tests.harness.certificates import authority, expired, issue
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import Service, says

CA = authority("The PBX's CA")
#: For the address, and for a name that nobody else has.
ASTERISK = issue("127.0.0.1", "pbx.example.com", by=CA)


def ca_file(home: Path) -> str:
    path = home / "ca.crt"
    path.write_bytes(CA.pem)
    return str(path)


def found_by_check(service: Service) -> Finding:
    """Return the only finding of `check` about the manager interface."""
    found = checks.run(str(service.config))
    (one,) = [one for one in found if one.area == "manager"]
    return one


def test_callback_over_tls(lab: Lab, tmp_path: Path) -> None:
    port = lab.asterisk.open_manager_tls(*ASTERISK.save(tmp_path, "asterisk"))
    tls = {"enabled": True, "ca_file": ca_file(tmp_path)}
    asterisk = {"config_dir": str(lab.asterisk.home / "etc")}
    service = lab.service(
        {**QUICK, "ami": {"port": port, "tls": tls}, "asterisk": asterisk}
    )
    lab.agent("alice")
    lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    ask(lab, service)
    settled(service, "completed")
    # `check` logs in beside the service, over the same kind of link.
    assert found_by_check(service).level == "ok"


def with_tls(lab: Lab, port: int, **tls: Any) -> Service:
    """Return a service, not started, that uses TLS on a port."""
    tls = {"enabled": True, **tls}
    return lab.service(
        {"ami": {"port": port, "timeout": "2s", "tls": tls}}, start=False
    )


def test_certificate_for_another_name_is_told_in_log_status_and_check(
    lab: Lab, tmp_path: Path
) -> None:
    port = lab.asterisk.open_manager_tls(*ASTERISK.save(tmp_path, "asterisk"))
    other = "other.example.com"
    service = with_tls(lab, port, ca_file=ca_file(tmp_path), server_name=other)
    service.start(ready=False)
    log = service.wait_for(says("no TLS with Asterisk"))["message"]
    status = service.cli("status", "--json").json()["asterisk"]["error"]
    fault = found_by_check(service)
    for text in (log, status, f"no TLS: {fault.what} - {fault.remedy}"):
        assert f"is for 127.0.0.1, pbx.example.com and not for {other} - " in text
        assert service.settings["ami"]["secret"] not in text


def test_each_reason_not_to_believe_is_told(lab: Lab, tmp_path: Path) -> None:
    authorities = ca_file(tmp_path)
    port = lab.asterisk.open_manager_tls(*ASTERISK.save(tmp_path, "asterisk"))
    unknown = found_by_check(with_tls(lab, port))
    assert "signed by an unknown CA: CN=The PBX's CA" in unknown.what
    # It never falls back to clear text, although this port would accept it.
    clear = with_tls(lab, lab.asterisk.ports.ami, ca_file=authorities)
    assert found_by_check(clear).what == "no TLS: the port speaks no TLS"
    # And the other way round.
    service = lab.service({"ami": {"port": port, "timeout": "1s"}}, start=False)
    assert "write ami.tls" in found_by_check(service).remedy
    old = expired("127.0.0.1", by=CA).save(tmp_path, "old")
    port = lab.asterisk.open_manager_tls(*old)
    late = found_by_check(with_tls(lab, port, ca_file=authorities))
    assert re.search(r"its certificate expired on \d{4}-\d\d-\d\d", late.what)
