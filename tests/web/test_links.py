# SPDX-License-Identifier: MIT
"""Whether the service is connected to all its Asterisks."""

from __future__ import annotations

from typing import Any

from fastagi.web.links import is_linked, links, unlinked


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
    assert is_linked({"service": _service(True, True)})
    assert not is_linked({"service": _service(True, False)})
    assert [one["name"] for one in unlinked(_service(True, False))] == ["pbx1"]


def test_service_of_an_older_version_tells_of_one_only() -> None:
    older = _service(False)
    del older["nodes"]
    (one,) = links(older)
    assert (one["name"], one["connected"]) == ("pbx0", False)
    assert not is_linked({"service": older})
