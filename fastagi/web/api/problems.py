# SPDX-License-Identifier: MIT
"""The errors of the API: problem+json (RFC 9457) with codes and pointers to fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastagi.errors import CallbackError

#: The media type of every error.
PROBLEM_JSON: Final = "application/problem+json"

#: Every code of the API with its meaning, for the reference.
CODES: Final[Mapping[str, str]] = {
    "bad-request": "a field has a wrong value; `errors` points to it",
    "bad-cursor": "the cursor does not belong to this list",
    "bad-time": "the text is no time, or no callback can be placed then",
    "not-logged-in": "there is no valid token or session",
    "forbidden": "the token or user lacks the right",
    "no-such-task": "there is no such task, or it is of a queue of others",
    "no-such-queue": "there is no such queue, or it is a queue of others",
    "no-such-webhook": "there is no webhook of this name",
    "webhook-exists": "there is a webhook of this name, or there are too many",
    "nothing-to-replay": "no event of this range has been delivered yet",
    "not-found": "there is nothing at this address",
    "method-not-allowed": "this address does not take this method",
    "too-long": "the body is longer than any request needs",
    "illegal-move": "the task or number is in a state in which this makes no sense",
    "refused": "the number may not be called; `reason` says why",
    "no-such-agent": "the queue has no such agent, or several of that name",
    "selection-changed": "other tasks match now than in the preview",
    "idempotency-key-missing": "this operation needs the header Idempotency-Key",
    "idempotency-key-invalid": "the header Idempotency-Key is too long or unreadable",
    "idempotency-key-reused": "the key was used for another request",
    "idempotency-in-progress": "the first request with this key is still under way",
    "outcome-unknown": "the service may have done it; look before you repeat it",
    "too-often": "a limit on requests is reached; `Retry-After` says how long",
    "busy": "too many requests, or the service has too much to do",
    "service-down": "the service does not run or does not answer",
    "stopping": "the service stops",
    "database": "the database can not be used",
    "other-version": "the database has another version than this program",
    "too-slow": "reading the database takes too long; ask for less",
    "failed": "a fault of the program; its log has the details",
}


class ApiProblem(CallbackError):
    """An error that the API answers with.

    Attributes:
        status: the HTTP status.
        code: one of `CODES`.
        detail: what is wrong, and what to do, in words.
        errors: the fields that are wrong.
        reason: a reason of the service as code, parameters and words.
        headers: headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        pointer: str = "",
        where: str = "body",
        errors: Sequence[Mapping[str, Any]] = (),
        reason: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Build it; ``pointer`` and ``where`` name a single wrong field."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        if pointer:
            self.errors.append(field_error(where, [pointer], detail))
        self.reason = reason
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the answer."""
        return problem_body(
            self.status, self.code, self.detail, self.errors, self.reason
        )


def problem_body(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[Mapping[str, Any]] = (),
    reason: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON object of an error."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = list(errors)
    if reason is not None:
        body["reason"] = reason
    return body


def field_error(where: str, path: Sequence[str | int], detail: str) -> dict[str, str]:
    """Return an entry of ``errors``.

    Args:
        where: ``body``, ``query``, ``path`` or ``header``.
        path: the keys that lead to the field.
        detail: what is wrong with it.
    """
    escaped = (str(key).replace("~", "~0").replace("/", "~1") for key in path)
    pointer = "".join(f"/{key}" for key in escaped)
    return {"in": where, "pointer": pointer, "detail": detail}
