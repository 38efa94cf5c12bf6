# SPDX-License-Identifier: MIT
"""The words of database and service, in words for people; translated where shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastagi.web.console.languages import N_

TERMS: Final[Mapping[str, Mapping[str, str]]] = {
    "status": {
        "pending": N_("waiting"),
        "calling": N_("calling"),
        "completed": N_("reached"),
        "failed": N_("failed"),
        "expired": N_("expired"),
        "cancelled": N_("cancelled"),
        "served": N_("served meanwhile"),
    },
    "kind": {
        "requested": N_("pressed the key"),
        "missed": N_("missed call"),
        "manual": N_("added by hand"),
        "web": N_("asked on the web"),
    },
    "agent": {
        "free": N_("free"),
        "ringing": N_("ringing"),
        "talking": N_("talking"),
        "wrapping_up": N_("wrapping up"),
        "paused": N_("paused"),
        "unavailable": N_("phone not connected"),
        "logged_out": N_("logged out"),
    },
    "stage": {
        "starts": N_("call starts"),
        "waits_in_line": N_("waits in line for an agent"),
        "agent_rings": N_("agent's phone rings"),
        "alert": N_("agent hears the alert"),
        "client_rings": N_("client's phone rings"),
        "client_asked": N_("client is asked for a key"),
        "talk": N_("they talk"),
        "ends": N_("call ends"),
    },
    "disposition": {
        "ANSWERED": N_("they talked"),
        "SHORT": N_("talked too short"),
        "BUSY": N_("client busy"),
        "NO ANSWER": N_("client did not answer"),
        "CONGESTION": N_("network congested"),
        "UNAVAILABLE": N_("client not reachable"),
        "INVALID NUMBER": N_("no such number"),
        "FORWARDED": N_("client's phone forwards"),
        "MACHINE": N_("answering machine"),
        "NOT CONFIRMED": N_("client pressed no key"),
        "CANCEL": N_("agent hung up"),
        "MEMBER NO ANSWER": N_("no agent answered"),
        "NOT PLACED": N_("call not placed"),
        "WITHDRAWN": N_("withdrawn"),
        "UNKNOWN": N_("result not known"),
    },
    "level": {
        "warning": N_("Warning"),
        "alarm": N_("Alarm"),
        "fault": N_("Fault"),
        "ok": N_("OK"),
        "unknown": N_("Not checked"),
    },
    "role": {
        "viewer": N_("viewer"),
        "supervisor": N_("supervisor"),
        "admin": N_("administrator"),
    },
    #: What the audit notes.
    "audit": {
        "login": N_("logged in"),
        "login-failed": N_("login failed"),
        "login-locked": N_("login refused during a pause"),
        "login-refused": N_("login refused"),
        "logout": N_("logged out"),
        "link-made": N_("link to set a password made"),
        "password-changed": N_("password changed"),
        "role-changed": N_("role changed"),
        "token-made": N_("token made"),
        "token-revoked": N_("token revoked"),
        "user-made": N_("user added"),
        "user-disabled": N_("user disabled"),
        "user-enabled": N_("user let in again"),
        "user-removed": N_("user removed"),
        "wall-link-made": N_("link to the wall made"),
        "wall-link-revoked": N_("link to the wall revoked"),
        "webhook-made": N_("webhook added"),
        "webhook-enabled": N_("webhook enabled"),
        "webhook-disabled": N_("webhook disabled"),
        "webhook-removed": N_("webhook removed"),
        "webhook-replayed": N_("webhook: events sent again"),
        "webhook-rotated": N_("webhook: new secret"),
    },
}
