# SPDX-License-Identifier: MIT
"""The icons: paths of SVG, 24 x 24, drawn with a pen of width 2."""

from __future__ import annotations

from typing import Final

_CIRCLE: Final = "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z"
_HANDSET: Final = (
    "M5 3h4l2 5-2.5 1.5a12 12 0 0 0 6 6L16 13l5 2v4a2 2 0 0 1-2 2A16 16 0 0 1 3 5"
    "a2 2 0 0 1 2-2z"
)

ICONS: Final = {
    "live": "M3 12h4l3-8 4 16 3-8h4",
    "wall": "M3 4h18v12H3zM8 20h8M12 16v4",
    "tasks": "M9 6h12M9 12h12M9 18h12M4 6h.01M4 12h.01M4 18h.01",
    "reports": "M4 20V10M10 20V4M16 20v-7M21 20H3",
    "numbers": "M9 3 7 21M17 3l-2 18M4 8h17M3 16h17",
    "health": (
        "M12 21C5 15 3 12 3 8.5A4.5 4.5 0 0 1 12 7a4.5 4.5 0 0 1 9 1.5c0 3.5-2 6.5-9"
        " 12.5z"
    ),
    "settings": "M4 7h10M18 7h2M4 17h2M10 17h10M14 4.5v5M6 14.5v5",
    "ok": "M20 6 9 17l-5-5",
    "warning": "M12 3 2 20h20zM12 10v4M12 17h.01",
    "alarm": "M8 2h8l6 6v8l-6 6H8l-6-6V8zM12 7v6M12 16.5h.01",
    "info": f"{_CIRCLE}M12 11v6M12 7.5h.01",
    "open": "M5 11h14v10H5zM8 11V7a4 4 0 0 1 7.7-1.5",
    "closed": "M5 11h14v10H5zM8 11V7a4 4 0 0 1 8 0v4",
    "phone": _HANDSET,
    "callback": f"M15 3v6h6M21 3l-6 6{_HANDSET}",
    "waiting": f"{_CIRCLE}M12 6v6l4 2",
    "agent": (
        "M4 13a8 8 0 0 1 16 0M4 13h3v6H5a1 1 0 0 1-1-1zM20 13h-3v6h2a1 1 0 0 0 1-1z"
        "M18 19c0 2-2 3-5 3"
    ),
    "reached": f"{_CIRCLE}M8 12l3 3 5-6",
    "failed": f"{_CIRCLE}M9 9l6 6M15 9l-6 6",
    "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
    "cancel": "M6 6l12 12M18 6 6 18",
    "retry": "M20 11a8 8 0 1 0-2 6M20 5v6h-6",
    "next": "M12 20V5M5 12l7-7 7 7",
    "calendar": "M4 5h16v16H4zM4 10h16M8 2v5M16 2v5",
    "note": "M5 3h14v18H5zM9 8h6M9 12h6M9 16h3",
    "assign": "M10 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM3 21a7 7 0 0 1 12-5M18 14v6M15 17h6",
    "copy": "M8 8h12v12H8zM4 16V4h12",
    "download": "M12 3v12M7 10l5 5 5-5M4 21h16",
    "block": f"{_CIRCLE}M5 5l14 14",
    "out": "M14 4h6v16h-6M4 12h11M11 8l4 4-4 4",
    "file": "M6 2h9l4 4v16H6zM14 2v5h5",
}
