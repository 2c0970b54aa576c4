"""Signing in with a key, and out again. The key itself stays out of the browser's cookies and of every address."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.access import COOKIE, from_elsewhere, is_from_elsewhere
from app.api.deps import EngineOf, bounded
from app.store import keys, websessions
from app.store.engine import read, retry
from app.web.rendering import SECURITY_HEADERS, SIGN_IN, page

router = APIRouter(include_in_schema=False)

LONGEST_FORM = 4096


def _same_site(request: Request) -> None:
    """Another site's page must not sign a browser in, as somebody else, or out."""
    if is_from_elsewhere(request.scope):
        raise from_elsewhere()


async def _form(request: Request) -> dict[str, str]:
    text = (await bounded(request, LONGEST_FORM)).decode(errors="replace")
    return {name: values[0] for name, values in parse_qs(text).items()}


Form = Annotated[dict[str, str], Depends(_form)]


@router.get(SIGN_IN)
def ask(request: Request, next: Annotated[str, Query()] = "/") -> Response:
    """The form; whoever is in already goes on."""
    if not isinstance(request.scope["caller"], Exception):
        return _to(_own(next))
    return page(request, "sign-in.html", next=_own(next), mistake=None)


@router.post(SIGN_IN, dependencies=[Depends(_same_site)])
def sign_in(request: Request, form: Form, engine: EngineOf) -> Response:
    """Begin a session for a key that opens something."""
    onward = _own(form.get("next", "/"))
    text = form.get("key", "").strip()
    with read(engine) as session:
        found = keys.find(session, text)
    if found is None:
        mistake = "The key is unknown, expired or revoked."
        return page(request, "sign-in.html", status=403, next=onward, mistake=mistake)
    token = retry(engine, lambda session: websessions.begin(session, found[0]))
    answer = _to(onward)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(websessions.LIFE_SECONDS),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/sign-out", dependencies=[Depends(_same_site)])
def sign_out(request: Request, engine: EngineOf) -> Response:
    """End the session, here and on the server."""
    if token := request.cookies.get(COOKIE):
        retry(engine, lambda session: websessions.end(session, token))
    answer = _to(SIGN_IN)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _own(address: str) -> str:
    """A path of this server, whatever somebody has written into a link to the form."""
    is_own = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_own and address.isprintable() else "/"


def _to(path: str) -> Response:
    return RedirectResponse(path, 303, SECURITY_HEADERS)
