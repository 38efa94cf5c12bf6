# SPDX-License-Identifier: MIT
"""People and programs: who makes a request, logins, and changes of who may do what.

The only part of ``people`` that other packages need besides ``access``. Each method
stores what it changes together with its entry in the audit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from attrs import frozen
from starlette.requests import HTTPConnection

from fastagi.errors import CallbackError
from fastagi.store.errors import StoreUnavailable
from fastagi.web.people import (
    audit,
    cookies,
    csrf,
    lockout,
    passwords,
    sessions,
    tokens,
    users,
)
from fastagi.web.people.access import NotLoggedIn, Principal, Right, Role
from fastagi.web.people.addresses import client_address, is_from_proxy
from fastagi.web.people.groups import role_of, texts
from fastagi.web.people.passwords import Passwords
from fastagi.web.people.rates import Rates, TooManyRequests
from fastagi.web.people.sessions import Lifetime, Session
from fastagi.web.people.tokens import Token, WallLink
from fastagi.web.people.users import User, UserProblem
from fastagi.web.settings import WebSettings
from fastagi.web.state.schema import TOKENS
from fastagi.web.state.state import State

_log = logging.getLogger(__name__)

#: How often old sessions and entries of the audit are deleted, in seconds.
_CLEAN_S: Final = 3600.0
_LONGEST_AUTHORIZATION: Final = 200
#: Pause after the use of a session could not be stored, in seconds.
_STORE_AGAIN_S: Final = 60.0


class LoginRefused(CallbackError):
    """Nobody is logged in: the name or the password is wrong."""


class LoginLocked(TooManyRequests):
    """Too many logins have failed; the next try has to wait."""


@frozen
class Browser:
    """Where a login comes from."""

    address: str
    name: str


@frozen(kw_only=True)
class Account:
    """Somebody whom another system has logged in.

    Attributes:
        issuer: the system: an identity provider, or ``proxy``.
        subject: the account's id there, which never changes.
        name: the user's name.
        role: the role, from the groups; None: none.
        queues: the queues of a supervisor or viewer; None: all.
    """

    issuer: str
    subject: str
    name: str
    role: Role | None
    queues: frozenset[str] | None


#: The issuer of accounts that the web server in front of the process names.
PROXY: Final = "proxy"


class People:
    """Who may use the web process."""

    def __init__(
        self,
        settings: WebSettings,
        state: State,
        *,
        key: bytes,
        now: Callable[[], datetime],
        hashes: Passwords | None = None,
    ) -> None:
        """Prepare.

        Args:
            settings: the settings of the process.
            state: its database.
            key: the key for signatures of this installation.
            now: the current time.
            hashes: makes and checks the hashes of passwords.
        """
        self._settings = settings
        self._state = state
        self._key = key
        self._now = now
        self._hashes = hashes or Passwords()
        self._rates = Rates()
        #: When it could not be stored that a session is in use.
        self._not_stored_at = float("-inf")

    @property
    def lifetime(self) -> Lifetime:
        """How long sessions last."""
        login = self._settings.login
        return Lifetime(
            idle_s=login.idle.total_seconds(), most_s=login.lifetime.total_seconds()
        )

    def _now_s(self) -> float:
        return self._now().timestamp()

    # -- requests -----------------------------------------------------------

    async def authenticate(
        self, request: HTTPConnection, *, is_new: bool = True
    ) -> Principal | None:
        """Return the one who makes a request; None: nobody has logged in.

        A token counts before a session, and a session before a wall link.

        Args:
            request: the request.
            is_new: whether the request is made now, so that its session is in use.

        Raises:
            NotLoggedIn: there is a token, and it does not work (any more).
        """
        if self.sends_token(request):
            authorization = request.headers["authorization"]
            return await self._by_token(authorization, is_new)
        found = await self._by_session(request, is_new)
        return found or await self._by_wall_link(request)

    def sends_token(self, request: HTTPConnection) -> bool:
        """Whether a request brings a token, in place of a session.

        What a web server that logs people in has checked itself is none: browsers send
        the header with each request to it, with the scheme Basic or Negotiate.
        """
        authorization = request.headers.get("authorization")
        if authorization is None:
            return False
        by_proxy = self._settings.proxy_login.user_header is not None and is_from_proxy(
            request, self._settings.web
        )
        scheme = authorization.strip().partition(" ")[0]
        return not by_proxy or scheme.lower() == "bearer"

    async def is_still(self, request: HTTPConnection, principal: Principal) -> bool:
        """Whether the one who made a request may still do the same as then.

        An answer without end, such as an event stream, asks this again and again. It
        does not keep a session from ending.
        """
        try:
            return await self.authenticate(request, is_new=False) == principal
        except NotLoggedIn:
            return False

    def limit(self, request: HTTPConnection, principal: Principal | None) -> None:
        """Count a request.

        Raises:
            TooManyRequests: there were too many.
        """
        limits = self._settings.limits
        if principal is None:
            self._rates.note(f"address {self.address(request)}", limits.per_address)
        else:
            number = principal.session_id or principal.id
            self._rates.note(f"{principal.kind.value} {number}", limits.per_client)

    def forget_rates(self) -> None:
        """Let every client begin to count anew."""
        self._rates = Rates()

    def address(self, request: HTTPConnection) -> str:
        """Return the address of the browser or program."""
        return client_address(request, self._settings.web)

    def browser(self, request: HTTPConnection) -> Browser:
        """Return where a login comes from."""
        return Browser(self.address(request), request.headers.get("user-agent", ""))

    def csrf_token(self, request: HTTPConnection) -> str:
        """Return the token for forms of a page; empty without a session."""
        cookie = self._cookie(request, cookies.SESSION) or self._cookie(
            request, cookies.FORM
        )
        return csrf.token_for(self._key, cookie) if cookie else ""

    def form_token(self, cookie: str) -> str:
        """Return the token for the form of a browser that has not logged in."""
        return csrf.token_for(self._key, cookie)

    @property
    def key(self) -> bytes:
        """The key for signatures of this installation."""
        return self._key

    def _cookie(self, request: HTTPConnection, name: str) -> str:
        return cookies.read(request, self._settings, name)

    async def _by_token(self, authorization: str, is_new: bool) -> Principal:
        scheme, _, text = authorization.strip().partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or len(text) > _LONGEST_AUTHORIZATION:
            raise NotLoggedIn(has_token=True)
        now_s = self._now_s()
        token = await self._state.read(tokens.find, now_s, text)
        if token is None:
            raise NotLoggedIn("this token does not work (any more)", has_token=True)
        if is_new and token.is_due(now_s):
            await self._note_use(tokens.touch, token.id)
        return token.principal

    async def _by_session(
        self, request: HTTPConnection, is_new: bool
    ) -> Principal | None:
        key = self._cookie(request, cookies.SESSION)
        if not key:
            return None
        now_s = self._now_s()
        found = await self._state.read(sessions.find, now_s, key, self.lifetime)
        if found is None:
            return None
        if found.user.issuer == PROXY and not self._still_says(request, found.user):
            return None
        if is_new and sessions.is_due(found, now_s):
            await self._note_use(sessions.touch, found.session.id)
        return found.principal

    async def _note_use(
        self, touch: Callable[[sa.Connection, float, int], None], number: int
    ) -> None:
        """Store that a session or token is in use, as soon as that is possible.

        While nothing can be stored, because the disk is full or another process holds a
        lock, pages are shown all the same.
        """
        now_s = self._now_s()
        if 0 <= now_s - self._not_stored_at < _STORE_AGAIN_S:
            return
        try:
            await self._state.write(touch, now_s, number)
        except StoreUnavailable as error:
            self._not_stored_at = self._now_s()
            _log.warning("that sessions are in use can not be stored: %s", error)

    async def _by_wall_link(self, request: HTTPConnection) -> Principal | None:
        text = self._cookie(request, cookies.WALL)
        return await self.wall_principal(text) if text else None

    async def wall_principal(self, text: str) -> Principal | None:
        """Return who uses the signed text of a wall link; None: it does not work."""
        link = await self._state.read(
            tokens.find_wall_link, self._now_s(), self._key, text
        )
        return None if link is None else link.principal

    def proxy_user(self, request: HTTPConnection) -> str:
        """Return the user whom a trusted web server names; empty: none."""
        return self.proxy_header(request, self._settings.proxy_login.user_header)

    def proxy_account(self, request: HTTPConnection) -> Account | None:
        """Return the account that a trusted web server names; None: none."""
        name = self.proxy_user(request)
        if not name:
            return None
        chosen = self._settings.proxy_login
        groups = self.proxy_header(request, chosen.groups_header)
        queues = None
        if chosen.queues_header is not None:
            queues = frozenset(texts(self.proxy_header(request, chosen.queues_header)))
        return Account(
            issuer=PROXY,
            subject=name,
            name=name,
            role=role_of(texts(groups), chosen),
            queues=queues,
        )

    def _still_says(self, request: HTTPConnection, user: User) -> bool:
        """Whether the web server in front says the same as at the login of a user.

        It may have logged the user out, or somebody else in, or the user's groups may
        have changed. Headers that it does not send along with each request say nothing.
        """
        account = self.proxy_account(request)
        if account is None or account.name != user.name:
            return False
        chosen = self._settings.proxy_login
        if _is_sent(request, chosen.groups_header) and account.role is not user.role:
            return False
        return (
            user.role is Role.ADMIN
            or not _is_sent(request, chosen.queues_header)
            or account.queues == user.queues
        )

    def proxy_header(self, request: HTTPConnection, name: str | None) -> str:
        """Return what a trusted web server says in a header; empty: nothing."""
        if name is None or not is_from_proxy(request, self._settings.web):
            return ""
        values = request.headers.getlist(name)
        # Two headers: one of them is the client's.
        return values[0].strip() if len(values) == 1 else ""

    # -- logins -------------------------------------------------------------

    async def log_in(self, name: str, password: str, browser: Browser) -> str:
        """Log somebody in by password; return the id of the session.

        Raises:
            LoginLocked: too many logins have failed.
            LoginRefused: the name or the password is wrong.
        """
        user = await self._checked(name, password, browser)
        if user is None:
            raise LoginRefused("the name or the password is wrong")
        assert user.password is not None
        if self._hashes.is_outdated(user.password):
            new = await asyncio.to_thread(self._hashes.hash, password)
            await self._state.write(users.replace_hash, user, new)

        def begin(conn: sa.Connection) -> str:
            self._check_again(conn, user)
            return self._begun(conn, user, "password", browser)

        return await self._state.write(begin)

    async def _checked(self, name: str, password: str, browser: Browser) -> User | None:
        """Return the user of a name and a password; None: one of them is wrong."""
        tried = lockout.keys_of(name, browser.address)

        def begin(conn: sa.Connection) -> tuple[float, User | None]:
            wait_s = lockout.begin_try(conn, self._now_s(), tried)
            if wait_s:
                self._note(conn, "login-locked", name, browser.address)
            return wait_s, users.find(conn, name)

        wait_s, user = await self._state.write(begin)
        if wait_s:
            raise LoginLocked(wait_s, "too many logins have failed")
        usable = (
            user is not None
            and not user.disabled
            and not user.issuer
            and self._settings.login.passwords
        )
        stored = user.password if user is not None and usable else None
        right = await asyncio.to_thread(self._hashes.check, stored, password)

        def end(conn: sa.Connection) -> None:
            if right:
                lockout.succeeded(conn, tried)
            else:
                self._note(conn, "login-failed", name, browser.address)

        await self._state.write(end)
        return user if right else None

    @staticmethod
    def _check_again(conn: sa.Connection, user: User) -> None:
        """Check that a user still has the password that was just found to be right.

        It can not be changed before the end of the transaction: on PostgreSQL a session
        that begins during the change would outlast it.

        Raises:
            LoginRefused: it was changed meanwhile, or the user was removed.
        """
        now = users.find_and_lock(conn, user.id)
        if now is None or now.password_changed_at != user.password_changed_at:
            raise LoginRefused("the password has just been changed")

    def _begun(
        self, conn: sa.Connection, user: User, login: str, browser: Browser
    ) -> str:
        now = users.find_by_id(conn, user.id)
        if now is None or now.disabled:
            raise LoginRefused("the user is disabled")
        self._note(conn, "login", user.name, browser.address, detail=login)
        return sessions.begin(
            conn,
            self._now_s(),
            user,
            login=login,
            address=browser.address,
            browser=browser.name,
        )

    async def log_in_account(
        self, account: Account, login: str, browser: Browser
    ) -> str:
        """Log in somebody whom another system has checked; return the session's id.

        The user is made at the first login, and has the role of the account from then
        on.

        Raises:
            LoginRefused: the account has no role here, or its user is disabled.
        """

        def enter(conn: sa.Connection) -> str | LoginRefused:
            try:
                return self._begun(conn, self._user_of(conn, account), login, browser)
            except (LoginRefused, UserProblem) as error:
                problem = LoginRefused(error.problem)
            self._note(
                conn,
                "login-refused",
                account.name,
                browser.address,
                detail=str(problem),
            )
            return problem

        result = await self._state.write(enter)
        if isinstance(result, LoginRefused):
            raise result
        return result

    def _user_of(self, conn: sa.Connection, account: Account) -> User:
        user = users.find_by_subject(conn, account.issuer, account.subject)
        if account.role is None:
            if user is not None:
                users.end_sessions(conn, user)
            raise LoginRefused(
                f"{account.name} has no role here",
                "ask an administrator to add you to a group of the settings",
            )
        if user is None:
            if users.find(conn, account.name) is not None:
                # Otherwise an account of the same name would become that user.
                raise LoginRefused(
                    f"there is another user {account.name} already",
                    "an administrator can remove that one:"
                    " callback-queue web user remove",
                )
            user = users.add(
                conn,
                self._now_s(),
                name=account.name,
                role=account.role,
                queues=account.queues,
                issuer=account.issuer,
                subject=account.subject,
            )
            self._note(conn, "user-made", account.issuer, subject=user.name)
            return user
        if (user.role, user.queues) != (account.role, account.queues):
            users.set_role_from_outside(conn, user, account.role, account.queues)
        return user

    async def log_out(self, principal: Principal, address: str) -> None:
        """End the session of a request."""

        def end(conn: sa.Connection) -> None:
            assert principal.session_id is not None and principal.id is not None
            if sessions.end(conn, principal.session_id, principal.id):
                self._note(conn, "logout", principal.name, address)

        await self._state.write(end)

    # -- one's own account --------------------------------------------------

    async def sessions_of(self, principal: Principal) -> list[Session]:
        """Return the sessions of a person, the latest request first."""
        assert principal.id is not None
        return await self._state.read(
            sessions.of_user, self._now_s(), principal.id, self.lifetime
        )

    async def end_session(
        self, principal: Principal, session_id: int, address: str
    ) -> bool:
        """End one of a person's own sessions; return whether it was there."""

        def end(conn: sa.Connection) -> bool:
            assert principal.id is not None
            ended = sessions.end(conn, session_id, principal.id)
            if ended:
                self._note(conn, "logout", principal.name, address, detail="elsewhere")
            return ended

        return await self._state.write(end)

    async def end_other_sessions(self, principal: Principal, address: str) -> int:
        """End all sessions of a person but the one of the request."""

        def end(conn: sa.Connection) -> int:
            assert principal.id is not None
            user = users.find_by_id(conn, principal.id)
            if user is None:
                return 0
            count = users.end_sessions(conn, user, but=principal.session_id)
            self._note(
                conn, "logout", user.name, address, detail=f"{count} other sessions"
            )
            return count

        return await self._state.write(end)

    async def has_password(self, principal: Principal) -> bool:
        """Whether a person has a password here, and may log in with it."""
        user = await self._state.read(users.find, principal.name)
        return (
            self._settings.login.passwords
            and user is not None
            and user.password is not None
        )

    async def change_password(
        self, principal: Principal, old: str, new: str, browser: Browser
    ) -> str:
        """Change one's own password; all sessions end, and a new one begins.

        Returns:
            The id of the new session.

        Raises:
            LoginLocked: too many passwords were wrong.
            LoginRefused: the old password is wrong.
            WeakPassword: the new one can not be a password.
        """
        passwords.check_strength(new, principal.name)
        user = await self._checked(principal.name, old, browser)
        if user is None:
            raise LoginRefused("the present password is wrong")
        stored = await asyncio.to_thread(self._hashes.hash, new)

        def change(conn: sa.Connection) -> str:
            self._check_again(conn, user)
            users.set_password(conn, self._now_s(), user, stored)
            self._note(conn, "password-changed", user.name, browser.address)
            return self._begun(conn, user, "password", browser)

        return await self._state.write(change)

    # -- one-time links -----------------------------------------------------

    async def first_link(self) -> str | None:
        """Return the address that makes the first administrator; None: not needed."""

        def make(conn: sa.Connection) -> str | None:
            if not users.is_empty(conn):
                return None
            return users.make_link(conn, self._now_s(), None)

        key = await self._state.write(make)
        return None if key is None else self.link_address(key)

    def link_address(self, key: str) -> str:
        """Return the address of a one-time link."""
        return link_address(self._settings, key)

    async def link(self, key: str) -> users.Link | None:
        """Return what a one-time link is for; None: it does not work (any more)."""
        return await self._state.read(users.find_link, self._now_s(), key)

    async def use_link(
        self, key: str, name: str, password: str, browser: Browser
    ) -> str:
        """Set a password with a one-time link, and log in; return the session's id.

        Args:
            key: the key in the link.
            name: the name of the first administrator; not used for other links.
            password: the new password.
            browser: where the request comes from.

        Raises:
            LoginRefused: the link does not work (any more).
            UserProblem: the name can not be that of a user.
            WeakPassword: the text can not be a password.
        """
        link = await self.link(key)
        if link is None:
            raise LoginRefused("this link does not work any more")
        if link.user is None:
            users.check_name(name)
        else:
            name = link.user.name
        passwords.check_strength(password, name)
        stored = await asyncio.to_thread(self._hashes.hash, password)

        def use(conn: sa.Connection) -> str:
            again = users.find_link(conn, self._now_s(), key)
            if again is None or not users.use_up(conn, again):
                raise LoginRefused("this link does not work any more")
            if again.user is None:
                user = users.add(
                    conn,
                    self._now_s(),
                    name=name,
                    role=Role.ADMIN,
                    queues=None,
                    password=stored,
                )
                self._note(
                    conn,
                    "user-made",
                    name,
                    browser.address,
                    detail="the first administrator, by the one-time link",
                )
            else:
                user = again.user
                users.set_password(conn, self._now_s(), user, stored)
                lockout.succeeded(conn, lockout.keys_of(name, ""))
                self._note(
                    conn,
                    "password-changed",
                    name,
                    browser.address,
                    detail="by a one-time link",
                )
            return self._begun(conn, user, "link", browser)

        return await self._state.write(use)

    # -- what administrators do ---------------------------------------------

    async def list_users(self) -> list[User]:
        """Return all users by name."""
        return await self._state.read(users.everybody)

    async def add_user(
        self,
        by: Principal,
        *,
        name: str,
        role: Role,
        queues: Iterable[str] | None,
        address: str,
    ) -> str:
        """Add a user; return the address of a link to set the password.

        Raises:
            Forbidden: only an administrator may do this.
            UserProblem: the name is taken, or can not be one.
        """
        by.check(Right.ADMIN)

        def add(conn: sa.Connection) -> str:
            now_s = self._now_s()
            user = users.add(conn, now_s, name=name, role=role, queues=queues)
            self._note(
                conn, "user-made", by.actor, address, subject=name, detail=role.value
            )
            return users.make_link(conn, now_s, user)

        return self.link_address(await self._state.write(add))

    async def make_link(self, by: Principal, user_id: int, address: str) -> str:
        """Return the address of a link with which a user sets a new password.

        Raises:
            Forbidden: only an administrator may do this.
            UserProblem: there is no such user with a password.
        """
        by.check(Right.ADMIN)

        def make(conn: sa.Connection) -> str:
            user = users.find_by_id(conn, user_id)
            if user is None or user.issuer or user.disabled:
                raise UserProblem("there is no such user who could have a password")
            self._note(conn, "link-made", by.actor, address, subject=user.name)
            return users.make_link(conn, self._now_s(), user)

        return self.link_address(await self._state.write(make))

    async def set_disabled(
        self, by: Principal, user_id: int, disabled: bool, address: str
    ) -> None:
        """Keep a user out, or let the user in again.

        Raises:
            Forbidden: only an administrator may do this.
            UserProblem: there is no such user, or no other administrator.
        """
        by.check(Right.ADMIN)

        def change(conn: sa.Connection) -> None:
            user = users.find_by_id(conn, user_id)
            if user is None:
                raise UserProblem("there is no such user")
            users.set_disabled(conn, user, disabled)
            event = "user-disabled" if disabled else "user-enabled"
            self._note(conn, event, by.actor, address, subject=user.name)

        await self._state.write(change)

    async def audit_entries(self, limit: int = 200) -> list[audit.StoredEntry]:
        """Return the latest entries of the audit."""
        return await self._state.read(audit.latest, limit)

    async def list_tokens(self) -> list[Token]:
        """Return all tokens, the latest first."""
        return await self._state.read(tokens.everything)

    async def make_token(
        self,
        by: Principal,
        *,
        name: str,
        rights: Iterable[Right],
        queues: Iterable[str] | None,
        expires_at: datetime | None,
        address: str,
    ) -> tuple[Token, str]:
        """Make a token; return it and its text, which is never shown again.

        Raises:
            Forbidden: only an administrator may do this.
            TokenProblem: it can not be made.
        """
        by.check(Right.ADMIN)

        def make(conn: sa.Connection) -> tuple[Token, str]:
            token, text = tokens.make(
                conn,
                self._now_s(),
                name=name,
                rights=rights,
                queues=queues,
                expires_at=None if expires_at is None else expires_at.timestamp(),
                by=by.actor,
            )
            self._note(
                conn,
                "token-made",
                by.actor,
                address,
                subject=name,
                detail=" ".join(sorted(token.rights)),
            )
            return token, text

        return await self._state.write(make)

    async def revoke_token(self, by: Principal, token_id: int, address: str) -> None:
        """Revoke a token.

        Raises:
            Forbidden: only an administrator may do this.
            TokenProblem: there is no such token that works.
        """
        by.check(Right.ADMIN)

        def revoke(conn: sa.Connection) -> None:
            token = tokens.revoke(conn, self._now_s(), token_id)
            self._note(conn, "token-revoked", by.actor, address, subject=token.name)

        await self._state.write(revoke)

    async def list_wall_links(self) -> list[tuple[WallLink, str]]:
        """Return all wall links with their addresses, the latest first."""
        links = await self._state.read(tokens.wall_links)
        return [(link, self.wall_address(link)) for link in links]

    async def make_wall_link(
        self,
        by: Principal,
        *,
        name: str,
        queues: Iterable[str] | None,
        expires_at: datetime | None,
        address: str,
    ) -> tuple[WallLink, str]:
        """Make a link to the wall display; return it with its address.

        Raises:
            Forbidden: only an administrator may do this.
            TokenProblem: it can not be made.
        """
        by.check(Right.ADMIN)

        def make(conn: sa.Connection) -> WallLink:
            link = tokens.make_wall_link(
                conn,
                self._now_s(),
                name=name,
                queues=queues,
                expires_at=None if expires_at is None else expires_at.timestamp(),
                by=by.actor,
            )
            self._note(conn, "wall-link-made", by.actor, address, subject=name)
            return link

        link = await self._state.write(make)
        return link, self.wall_address(link)

    async def revoke_wall_link(self, by: Principal, link_id: int, address: str) -> None:
        """Revoke a wall link.

        Raises:
            Forbidden: only an administrator may do this.
            TokenProblem: there is no such link that works.
        """
        by.check(Right.ADMIN)

        def revoke(conn: sa.Connection) -> None:
            link = tokens.revoke_wall_link(conn, self._now_s(), link_id)
            self._note(conn, "wall-link-revoked", by.actor, address, subject=link.name)

        await self._state.write(revoke)

    def wall_address(self, link: WallLink) -> str:
        """Return the address of a wall link."""
        return wall_address(self._settings, self._key, link)

    # -- in the background --------------------------------------------------

    async def clean(self) -> None:
        """Delete what has ended or is too old, once an hour."""
        while True:

            def forget(conn: sa.Connection) -> None:
                now_s = self._now_s()
                sessions.forget_old(conn, now_s, self.lifetime)
                lockout.forget_old(conn, now_s)
                audit.forget_old(conn, now_s)
                old = TOKENS.c.revoked_at < now_s - audit.KEEP_S
                conn.execute(TOKENS.delete().where(old))

            await self._state.write(forget)
            await asyncio.sleep(_CLEAN_S)

    async def nobody_yet(self) -> bool:
        """Whether there is no user, so that nobody can log in."""
        return await self._state.read(users.is_empty)

    async def announce_first_link(self) -> None:
        """Log the link that makes the first administrator, if there are no users."""
        link = await self.first_link()
        if link is not None:
            _log.warning(
                "there are no users yet; make the first administrator at %s (works"
                " once, for 30 minutes; a restart makes a new one)",
                link,
            )

    def _note(
        self,
        conn: sa.Connection,
        event: str,
        actor: str,
        address: str = "",
        *,
        subject: str = "",
        detail: str = "",
    ) -> None:
        entry = audit.Entry(
            event=event, actor=actor, subject=subject, address=address, detail=detail
        )
        audit.note(conn, self._now_s(), entry)


def _is_sent(request: HTTPConnection, header: str | None) -> bool:
    """Whether a request has a header of the settings."""
    return header is not None and header in request.headers


def link_address(settings: WebSettings, key: str) -> str:
    """Return the address of a one-time link."""
    return f"{settings.origin}/login/link/{key}"


def wall_address(settings: WebSettings, key: bytes, link: WallLink) -> str:
    """Return the address of a wall link."""
    return f"{settings.origin}/wall/open/{tokens.wall_text(key, link)}"
