"""`/v1/keys`: who may come in. For admins."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from app.access import Caller, keys_are_off
from app.api import documents
from app.api.deps import Admin, EngineOf, Id, JsonBody, read_body
from app.api.schemas import KeyList, KeyRequest, KeyView, NewKeyView
from app.api.views import key_view
from app.store import keys
from app.store.engine import read, retry

router = APIRouter(prefix="/v1", tags=["keys"])


def _with_a_key(caller: Admin) -> Caller:
    if caller.key_id is None:
        raise keys_are_off()
    return caller


KeyedAdmin = Annotated[Caller, Depends(_with_a_key)]


@router.get("/keys", summary="Every key", responses=documents.problems(503))
def index(caller: KeyedAdmin, engine: EngineOf) -> KeyList:
    """The oldest first, those that open nothing any more included."""
    with read(engine) as session:
        return KeyList(items=[key_view(key) for key in keys.all_of_them(session)])


@router.post(
    "/keys",
    status_code=201,
    summary="Make a key",
    responses=documents.problems(408, 413, 415, 422, 503),
    openapi_extra=documents.KEY_BODY,
)
def create(caller: KeyedAdmin, body: JsonBody, engine: EngineOf, response: Response) -> NewKeyView:
    """`key` is shown in this answer and never again."""
    asked = _asked(body)

    def make(session: Session) -> NewKeyView:
        made, text = keys.create(session, **asked.model_dump())
        return NewKeyView(**key_view(made).model_dump(), key=text)

    view = retry(engine, make)
    response.headers["Cache-Control"] = "no-store"
    return view


@router.delete("/keys/{key_id}", summary="Revoke a key", responses=documents.problems(404, 422, 503))
def revoke(caller: KeyedAdmin, key_id: Id, engine: EngineOf) -> KeyView:
    """It opens nothing from the next request on. Revoking twice is fine."""
    return retry(engine, lambda session: key_view(keys.revoke(session, key_id)))


def _asked(body: bytes) -> KeyRequest:
    return read_body(KeyRequest, body, "The key that you ask for is not valid; nothing was made.")
