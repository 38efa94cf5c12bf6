# SPDX-License-Identifier: MIT
"""An identity provider (OpenID Connect) in memory that really signs its tokens."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.web.help import Clock

ISSUER = "https://sso.example.com/realms/office"


@cache
def new_key(kid: str, *, other: bool = False) -> RSAKey:
    """Return a key; the other one has the same id."""
    return RSAKey.generate_key(2048, {"kid": kid}, auto_kid=False)


class FakeProvider:
    """Answers like an identity provider; tests change what it says."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.key = new_key("1")
        self.claims: dict[str, Any] = {
            "sub": "account-1",
            "preferred_username": "anna",
            "groups": ["leads"],
            "queues": ["support"],
        }
        #: What replaces claims of the ID token; None: it lacks the claim.
        self.wrong: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {"sub": "account-1"}
        self.document: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
        }
        self.client = ("callback-queue", "s3cret")
        self.asked: list[str] = []
        self.signed_with: Any = None
        self.algorithm = "RS256"
        #: The parameters of the login under way, by code.
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def transport(self) -> httpx.MockTransport:
        """The network that leads only here."""
        return httpx.MockTransport(self._answer)

    def log_in(self, address: str) -> str:
        """Log somebody in at the address a browser was sent to.

        Returns:
            The query with which the provider sends the browser back.
        """
        asked = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == self.client[0]
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        return f"code={code}&state={asked['state']}"

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/realms/office")
        self.asked.append(path)
        match path:
            case "/.well-known/openid-configuration":
                return httpx.Response(200, json=self.document)
            case "/keys":
                return httpx.Response(
                    200, json={"keys": [self.key.as_dict(private=False)]}
                )
            case "/token":
                return self._tokens(request)
            case "/userinfo":
                assert request.headers["authorization"] == "Bearer access"
                return httpx.Response(200, json=self.userinfo)
        return httpx.Response(404)

    def _tokens(self, request: httpx.Request) -> httpx.Response:
        sent = {k: v[0] for k, v in parse_qs(request.content.decode()).items()}
        login = ":".join(self.client).encode()
        basic = f"Basic {base64.b64encode(login).decode()}"
        if request.headers.get("authorization") != basic:
            return httpx.Response(401, json={"error": "invalid_client"})
        # A code works once.
        asked = self._codes.pop(sent["code"], None)
        digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or sent["redirect_uri"] != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
        ):
            return httpx.Response(400, json={"error": "invalid_grant"})
        now_s = int(self.clock.now_s)
        claims = {
            "iss": ISSUER,
            "aud": self.client[0],
            "iat": now_s,
            "exp": now_s + 300,
            "nonce": asked["nonce"],
            **self.claims,
            **self.wrong,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self.signed_with or self.key
        header = {"alg": self.algorithm}
        if not isinstance(key, OctKey):
            header["kid"] = key.kid or ""
        token = jwt.encode(header, claims, key, algorithms=[self.algorithm])
        return httpx.Response(
            200,
            json={"id_token": token, "access_token": "access", "token_type": "Bearer"},
        )
