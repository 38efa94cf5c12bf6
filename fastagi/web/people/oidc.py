# SPDX-License-Identifier: MIT
"""Logins by an identity provider: OpenID Connect, authorization code with PKCE.

The browser is sent to the provider and comes back with a code, which this process
exchanges for a signed ID token. What the login began with (state, nonce, verifier) is
in a signed cookie, so a code that was begun in another browser is worth nothing.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from attrs import frozen
from itsdangerous import BadSignature, URLSafeSerializer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fastagi.errors import CallbackError
from fastagi.web.people import keys
from fastagi.web.people.groups import role_of, texts
from fastagi.web.people.people import Account
from fastagi.web.settings import OidcSettings

#: How long a login may take, in seconds.
LOGIN_S: Final = 600
#: Time limit of a request to the provider, in seconds.
_WITHIN_S: Final = 10.0
#: How long the provider's document and keys are used, in seconds.
_FRESH_S: Final = 3600.0
#: Shortest time between two readings of the keys because of an unknown one, in seconds.
_KEYS_PAUSE_S: Final = 60.0
#: How far the clocks may differ, in seconds.
_LEEWAY_S: Final = 60.0
_LARGEST_BYTES: Final = 1_000_000
#: Signatures with a public key only: with a shared secret, or without a signature,
#: others could make tokens, too.
_ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)


class OidcProblem(CallbackError):
    """The login by the identity provider did not work."""


@frozen
class Provider:
    """What the provider's document says."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    read_at: float


class Oidc:
    """Logs people in by an identity provider."""

    def __init__(
        self,
        settings: OidcSettings,
        *,
        origin: str,
        key: bytes,
        now: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare; the provider is asked at the first login.

        Args:
            settings: the settings of the provider.
            origin: the address of this process's pages.
            key: the key for signatures of this installation.
            now: the current time.
            transport: in place of the network, for tests.
        """
        self._settings = settings
        self._redirect_uri = f"{origin}/login/oidc/callback"
        self._now = now
        self._signer = URLSafeSerializer(key, salt="oidc")
        self._transport = transport
        self._provider: Provider | None = None
        self._keys: KeySet | None = None
        self._keys_at = 0.0

    @property
    def is_enabled(self) -> bool:
        """Whether there are such logins."""
        return self._settings.issuer is not None

    @property
    def name(self) -> str:
        """The name of the provider for people."""
        return self._settings.name

    async def begin(self, target: str) -> tuple[str, str]:
        """Return the provider's address for the browser, and the value of the cookie.

        Args:
            target: the path to show after the login.

        Raises:
            OidcProblem: the provider can not be asked.
        """
        provider = await self._document()
        began: dict[str, Any] = {
            "state": keys.new_key(),
            "nonce": keys.new_key(),
            "verifier": secrets.token_urlsafe(64),
            "target": target,
            "until": self._now().timestamp() + LOGIN_S,
        }
        digest = hashlib.sha256(began["verifier"].encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": began["state"],
            "nonce": began["nonce"],
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        between = "&" if "?" in provider.authorization_endpoint else "?"
        where = f"{provider.authorization_endpoint}{between}{urlencode(query)}"
        return where, self._signer.dumps(began)

    async def finish(
        self, cookie: str, query: Mapping[str, str]
    ) -> tuple[Account, str]:
        """Return who has logged in, and the path to show now.

        Args:
            cookie: the value that ``begin`` returned.
            query: the parameters with which the browser came back.

        Raises:
            OidcProblem: nobody is logged in.
        """
        try:
            began = self._signer.loads(cookie)
        except BadSignature:
            began = None
        if began is None or began["until"] < self._now().timestamp():
            raise OidcProblem(
                "this login was not begun in this browser, or took too long",
                "begin again",
            )
        if not keys.same(query.get("state", ""), began["state"]):
            raise OidcProblem("this login was begun in another window", "begin again")
        if error := query.get("error"):
            # Shown to the person who has just come from the provider, as text.
            raise OidcProblem(f"the identity provider refused: {error[:100]}")
        code = query.get("code", "")
        if not code:
            raise OidcProblem("the identity provider sent no code", "begin again")
        answer = await self._exchange(code, began["verifier"])
        claims = await self._checked_claims(answer.get("id_token"), began["nonce"])
        claims = await self._with_userinfo(claims, answer.get("access_token"))
        return self._account(claims), began["target"]

    @property
    def _client_id(self) -> str:
        return self._settings.client_id or ""

    def _account(self, claims: Mapping[str, Any]) -> Account:
        settings = self._settings
        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not name:
            raise OidcProblem(
                f"the identity provider sent no claim {settings.name_claim}",
                "correct oidc.name_claim or oidc.scopes in the settings",
            )
        queues = None
        if settings.queues_claim is not None:
            queues = frozenset(texts(claims.get(settings.queues_claim)))
        return Account(
            issuer=settings.issuer or "",
            subject=claims["sub"],
            name=name,
            role=role_of(texts(claims.get(settings.groups_claim)), settings),
            queues=queues,
        )

    async def _exchange(self, code: str, verifier: str) -> dict[str, Any]:
        """Exchange the code for tokens."""
        provider = await self._document()
        data = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        secret = self._settings.client_secret
        auth = None
        if secret is None:
            data["client_id"] = self._client_id
        else:
            auth = httpx.BasicAuth(self._client_id, secret.get_secret_value())
        return await self._ask("POST", provider.token_endpoint, data=data, auth=auth)

    async def _checked_claims(self, token: object, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token after checking them (OIDC Core 3.1.3.7)."""
        if not isinstance(token, str):
            raise OidcProblem("the identity provider sent no ID token")
        claims = await self._decoded(token)
        now_s = self._now().timestamp()
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        expires, issued = claims.get("exp"), claims.get("iat")
        sent_nonce, subject = claims.get("nonce"), claims.get("sub")
        wrong = (
            "issuer"
            if claims.get("iss") != self._settings.issuer
            else "audience"
            if not isinstance(audiences, list) or self._client_id not in audiences
            else "authorized party"
            if len(audiences) > 1 and claims.get("azp") != self._client_id
            else "time of expiry"
            if not isinstance(expires, int | float) or expires < now_s - _LEEWAY_S
            else "time of issue"
            if not isinstance(issued, int | float) or issued > now_s + _LEEWAY_S
            else "nonce"
            if not isinstance(sent_nonce, str) or not keys.same(sent_nonce, nonce)
            else "subject"
            if not isinstance(subject, str) or not subject
            else ""
        )
        if wrong:
            raise OidcProblem(f"the ID token has a wrong {wrong}")
        return claims

    async def _decoded(self, token: str) -> dict[str, Any]:
        for may_repeat in (True, False):
            known = await self._key_set(again=not may_repeat)
            try:
                claims: dict[str, Any] = jwt.decode(
                    token, known, algorithms=_ALGORITHMS
                ).claims
                return claims
            except (JoseError, ValueError) as error:
                # The provider may have new keys.
                if not may_repeat or not self._may_read_keys():
                    raise OidcProblem(
                        f"the signature of the ID token is wrong: {error}"
                    ) from None
        raise AssertionError

    def _may_read_keys(self) -> bool:
        return self._now().timestamp() - self._keys_at > _KEYS_PAUSE_S

    async def _key_set(self, *, again: bool) -> KeySet:
        now_s = self._now().timestamp()
        if self._keys is None or again or now_s - self._keys_at > _FRESH_S:
            provider = await self._document()
            found = await self._ask("GET", provider.jwks_uri)
            try:
                self._keys = KeySet.import_key_set(found)  # type: ignore[arg-type]
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise OidcProblem(f"the provider's keys are wrong: {error}") from None
            self._keys_at = now_s
        return self._keys

    async def _with_userinfo(
        self, claims: dict[str, Any], access_token: object
    ) -> dict[str, Any]:
        """Add claims that the ID token lacks."""
        settings = self._settings
        wanted = {settings.name_claim, settings.groups_claim, settings.queues_claim}
        provider = await self._document()
        if (
            not (wanted - {None} - set(claims))
            or not provider.userinfo_endpoint
            or not isinstance(access_token, str)
        ):
            return claims
        more = await self._ask(
            "GET",
            provider.userinfo_endpoint,
            headers={"Authorization": f"Bearer {access_token}"},
        )
        if more.get("sub") != claims["sub"]:
            raise OidcProblem("the provider's user information is of somebody else")
        return {**more, **claims}

    async def _document(self) -> Provider:
        """Return what the provider says about itself."""
        issuer = self._settings.issuer
        assert issuer is not None
        now_s = self._now().timestamp()
        if self._provider is not None and now_s - self._provider.read_at < _FRESH_S:
            return self._provider
        where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._ask("GET", where)
        if found.get("issuer") != issuer:
            raise OidcProblem(
                f"the identity provider calls itself {str(found.get('issuer'))[:200]},"
                f" not {issuer}",
                "correct oidc.issuer in the settings",
            )
        secure = "https://" if issuer.startswith("https://") else "http"
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not str(found.get(name, "")).startswith(secure):
                raise OidcProblem(f"the provider's document has no usable {name}")
        self._provider = Provider(
            authorization_endpoint=found["authorization_endpoint"],
            token_endpoint=found["token_endpoint"],
            jwks_uri=found["jwks_uri"],
            userinfo_endpoint=str(found.get("userinfo_endpoint") or ""),
            read_at=now_s,
        )
        return self._provider

    async def _ask(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """Send a request to the provider; return the object of its answer."""
        try:
            async with httpx.AsyncClient(
                transport=self._transport, timeout=_WITHIN_S, follow_redirects=False
            ) as client:
                answer = await client.request(method, url, **options)
            if answer.status_code != 200:
                raise OidcProblem(
                    f"the identity provider answers {answer.status_code} at {url}",
                    "see its log",
                )
            if len(answer.content) > _LARGEST_BYTES:
                raise OidcProblem(f"the answer of {url} is too large")
            value = answer.json()
        except httpx.HTTPError as error:
            raise OidcProblem(
                f"the identity provider can not be reached at {url}:"
                f" {error or type(error).__name__}"
            ) from None
        except ValueError:
            raise OidcProblem(f"the answer of {url} is no JSON") from None
        if not isinstance(value, dict):
            raise OidcProblem(f"the answer of {url} is no JSON object")
        return value
