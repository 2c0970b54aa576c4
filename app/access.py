"""Who asks: found out for each request, from its key, or from where it comes while no keys are asked for."""

import hmac
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from app.errors import Problem
from app.settings import Settings
from app.store import keys, websessions
from app.store.engine import read, retry
from app.store.models import ApiKey
from app.store.scopes import Scope

log = structlog.get_logger()

REALM = 'Bearer realm="annealer"'
CREATE = "annealer keys create --name NAME --owner OWNER --scope admin"
COOKIE = "annealer_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
NOT_ASKED = {"/healthz", "/readyz"}
"""Whoever asks for health asks for nothing else, and must not wait for the database."""


class CannotServe(Exception):
    """Why the API must not start like this, and what to do about it."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the owner of a key, or anybody on this machine while no keys are asked for."""

    scope: Scope
    owner: str | None = None
    key_id: str | None = None
    key_prefix: str | None = None

    @property
    def sees(self) -> str | None:
        """The owner whose objects are shown; None for those of all."""
        return None if self.scope is Scope.ADMIN else self.owner

    @property
    def name(self) -> str:
        """Who it is, to begin a sentence with."""
        return self.owner or "The user"


ANYBODY = Caller(Scope.ADMIN)
MONITOR = Caller(Scope.READ, owner="")
"""Who reads `/metrics` with its token: the owner of nothing."""


class Authenticate:
    """Leaves in `caller` of the connection's scope who asks, or the exception that refuses them.

    Whether somebody must ask by name at all is the endpoints' to say.
    """

    def __init__(self, app: ASGIApp, settings: Settings, engine: Engine) -> None:
        self._app = app
        self._asks_for_keys = settings.keys == "required"
        self._metrics_token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
        self._engine = engine

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["caller"] = await self._caller(scope)
        await self._app(scope, receive, send)

    async def _caller(self, connection: Connection) -> Caller | Exception:
        if not self._asks_for_keys:
            return _of_this_machine(connection)
        kind, _, text = Headers(scope=connection).get("Authorization", "").partition(" ")
        has_key = kind.lower() == "bearer"
        token = None if has_key else cookie_parser(Headers(scope=connection).get("Cookie", "")).get(COOKIE)
        if not (has_key or token) or connection["path"] in NOT_ASKED:
            return no_key()
        if token and is_from_elsewhere(connection):
            return from_elsewhere()
        if connection["path"] == "/metrics" and self._is_metrics_token(text.strip()):
            return MONITOR
        try:
            if token:
                return await run_in_threadpool(self._find, websessions.find, token) or no_key()
            return await run_in_threadpool(self._find, keys.find, text.strip()) or bad_key()
        except SQLAlchemyError as error:
            return error

    def _is_metrics_token(self, text: str) -> bool:
        """The token is known without the database: who watches a service must see that its database is away."""
        return self._metrics_token is not None and hmac.compare_digest(text.encode(), self._metrics_token.encode())

    def _find(self, find: Callable[[Session, str], tuple[ApiKey, bool] | None], secret: str) -> Caller | None:
        with read(self._engine) as session:
            found = find(session, secret)
        if found is None:
            return None
        key, is_unnoted = found
        if is_unnoted:
            self._note_use(key.id)
        return Caller(key.scope, key.owner, key.id, key.prefix)

    def _note_use(self, key_id: str) -> None:
        """Whoever may come in is not kept out because it cannot be noted."""
        try:
            retry(self._engine, lambda session: keys.note_use(session, key_id))
        except SQLAlchemyError as error:
            log.warning("the use of a key is not noted", error=type(error).__name__)


def is_from_elsewhere(connection: Connection) -> bool:
    """Whether a browser asks for a change on behalf of another site's page, whose cookie it may send by itself.

    Browsers say where a request comes from; other programs say nothing.
    """
    if connection["method"] in SAFE_METHODS:
        return False
    headers = Headers(scope=connection)
    if site := headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != headers.get("Host")


def _of_this_machine(connection: Connection) -> Caller | Exception:
    """Anybody here may come in, but no page of another site in their browser, by whatever name it has got here."""
    if not is_here(connection):
        return not_here()
    headers = Headers(scope=connection)
    host, origin = headers.get("Host", ""), headers.get("Origin")
    if not is_loopback(_hostname(host)):
        return wrong_host()
    if origin is not None and origin.lower() != f"{connection['scheme']}://{host}".lower():
        return wrong_origin()
    return from_elsewhere() if is_from_elsewhere(connection) else ANYBODY


def _hostname(host: str) -> str:
    """A Host header without its port and brackets; empty where it makes no sense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_here(connection: Connection) -> bool:
    """Whether a request came in on this machine's own address, or by a socket file."""
    address, *_ = connection.get("server") or ("",)
    return is_loopback(address)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; an address, a name, or the path of a socket file."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


def check_host(settings: Settings, host: str) -> None:
    """Raise `CannotServe` where others would reach an API that asks for no keys."""
    if settings.keys == "off" and not is_loopback(host):
        raise CannotServe(
            f"ANNEALER_KEYS=off is for this machine alone, and others reach {host}: make a key with `{CREATE}`"
            " and set ANNEALER_KEYS=required, or listen on 127.0.0.1."
        )


def check_keys(settings: Settings, engine: Engine) -> None:
    """Raise `CannotServe` where keys are asked for and there is none. A database that is away may come back."""
    if settings.keys == "off":
        return
    try:
        with read(engine) as session:
            is_any = keys.is_any_usable(session)
    except SQLAlchemyError:
        return
    if not is_any:
        raise CannotServe(no_key_exists())


def no_key_exists(options: str = "") -> str:
    """What to do where keys are asked for and there is none."""
    return (
        f"Keys are asked for and there is none: make one with `{CREATE}{options}`,"
        " or, where only this machine reaches the API, set ANNEALER_KEYS=off."
    )


def no_key() -> Problem:
    """The request carries no key."""
    detail = "Send a key: `Authorization: Bearer ann_…`. `annealer keys create` makes one."
    return _unauthorized(detail, REALM)


def bad_key() -> Problem:
    """One answer whatever is wrong with a key."""
    return _unauthorized("The key is unknown, expired or revoked.", f'{REALM}, error="invalid_token"')


def missing_scope(needed: Scope) -> Problem:
    """The key does not allow this."""
    headers = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{needed}"'}
    detail = f"This asks for a key of scope {needed}."
    return Problem(403, "scope-missing", detail, headers=headers)


def from_elsewhere() -> Problem:
    """Another site's page asks for a change."""
    detail = "A browser sent this from a page of another site; changes are made from this server's own pages."
    return Problem(403, "cross-site", detail)


def not_here() -> Problem:
    """The request came from elsewhere to a server that asks for no keys."""
    detail = "This server asks for no keys, and so it answers this machine alone. Start it with ANNEALER_KEYS=required."
    return Problem(403, "keys-off", detail)


def wrong_host() -> Problem:
    """The request was meant for a name that anybody on the internet may have made point here."""
    detail = "This server asks for no keys, and so it answers to localhost and 127.0.0.1 alone, not to this Host."
    return Problem(421, "host-refused", detail, errors=[_bad_header("Host", detail)])


def wrong_origin() -> Problem:
    """The request comes from a page of another site."""
    detail = "This server asks for no keys, and so it answers to no page of another origin."
    return Problem(403, "origin-refused", detail, errors=[_bad_header("Origin", detail)])


def _bad_header(name: str, detail: str) -> dict[str, str]:
    return {"header": name, "code": "refused", "detail": detail}


def keys_are_off() -> Problem:
    """Whoever is on this machine now shall not come in when keys are asked for later."""
    detail = "While no keys are asked for, they are made with `annealer keys create` alone."
    return Problem(403, "keys-off", detail)


def _unauthorized(detail: str, challenge: str) -> Problem:
    headers: Mapping[str, str] = {"WWW-Authenticate": challenge}
    return Problem(401, "key-missing-or-invalid", detail, headers=headers)
