# SPDX-License-Identifier: MIT
"""Whether the service can place calls on all its Asterisks, as its JSON tells."""

from __future__ import annotations

from typing import Any

from fastagi.doors.codec import all_work, links, out_of_work, works


def _service(*connected: bool) -> dict[str, Any]:
    return {
        "node": "pbx0",
        "asterisk": {"connected": connected[0], "version": "22", "error": ""},
        "nodes": [
            {"name": f"pbx{number}", "connected": one, "version": "22", "error": ""}
            for number, one in enumerate(connected)
        ],
    }


def test_one_that_is_not_connected_is_enough() -> None:
    assert all_work({"service": _service(True, True)})
    assert not all_work({"service": _service(True, False)})
    assert [one["name"] for one in out_of_work(_service(True, False))] == ["pbx1"]


def test_service_of_an_older_version_tells_of_one_only() -> None:
    older = _service(False)
    del older["nodes"]
    (one,) = links(older)
    assert (one["name"], one["connected"]) == ("pbx0", False)
    assert not all_work({"service": older})


def test_one_that_may_place_no_calls_does_not_work() -> None:
    service = _service(True, True)
    service["nodes"][1]["error"] = "the Asterisk pbx1 has the same systemname as pbx0"
    assert [works(one) for one in links(service)] == [True, False]
    assert [one["name"] for one in out_of_work(service)] == ["pbx1"]
    assert not all_work({"service": service})
