"""Templates as answers: everything from elsewhere is escaped, and nothing runs that is not one of our files."""

import gzip
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from app import __version__
from app.store.scopes import Scope
from app.web.assets import bundle

SIGN_IN = "/sign-in"
NOT_PAGES = ("/v1/", "/metrics", "/healthz", "/readyz", "/static/")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    # With no-referrer, browsers would not say where a form was sent from.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
PAGES = (
    ("/", "Jobs"),
    ("/new", "New job"),
    ("/compare", "Compare"),
    ("/ensembles", "Ensembles"),
    ("/datasets", "Data sets"),
    ("/workers", "Workers"),
)
KEYS = ("/keys", "Keys")
TITLES = {404: "Nothing here", 403: "Not allowed", 503: "The database is away", 500: "Something broke"}


def is_page(path: str) -> bool:
    """Whether people look at what is at `path`, rather than programs."""
    return not path.startswith(NOT_PAGES)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for something to look at."""
    return is_page(request.url.path) and "text/html" in request.headers.get("Accept", "")


def page(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """A page. `values` are the template's own; `signed_in` names who has signed in, if somebody has."""
    caller = request.scope.get("caller")
    has_key = getattr(caller, "key_id", None) is not None
    is_admin = has_key and getattr(caller, "scope", None) is Scope.ADMIN
    shown = {
        "signed_in": getattr(caller, "owner", None) if has_key else None,
        "pages": (*PAGES, KEYS) if is_admin else PAGES,
        "path": request.url.path,
    }
    text = _environment().get_template(template).render(**shown, **values)
    return _compressed(request, text, status, headers or {})


def error_page(request: Request, status: int, detail: str, headers: Mapping[str, str] | None) -> Response:
    """What went wrong, with the request's id; who must sign in first is led there."""
    if status == 401:
        return _to_sign_in(request)
    title = TITLES.get(status, HTTPStatus(status).phrase)
    request_id = request.scope.get("request_id")
    told = {"title": title, "code": status, "detail": detail, "request_id": request_id}
    return page(request, "error.html", status=status, headers=headers, **told)


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method == "GET":
        # A link on another site: the browser keeps the cookie back once, and sends it when our own page leads on.
        return page(request, "onward.html")
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    onward = "" if request.method != "GET" or asked == "/" else f"?next={quote(asked)}"
    return RedirectResponse(SIGN_IN + onward, 303, SECURITY_HEADERS)


def _compressed(request: Request, text: str, status: int, headers: Mapping[str, str]) -> Response:
    content = text.encode()
    sent = {**SECURITY_HEADERS, "Vary": "Accept-Encoding, Cookie", "Cache-Control": "no-store", **headers}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        content = gzip.compress(content, 5)
        sent["Content-Encoding"] = "gzip"
    return HTMLResponse(content, status, sent)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"static": bundle().url, "version": __version__}
    return environment
