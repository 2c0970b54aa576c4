"""API keys: made, found by their text, listed, revoked. Of the text only a hash is stored."""

import hmac
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import Session

from app import keytext
from app.store import ids
from app.store.clock import ago, from_now, now
from app.store.errors import NotFound
from app.store.models import ApiKey
from app.store.scopes import Scope

DAY_SECONDS = 24 * 3600.0
USED_SECONDS = 60.0
NO_DIGEST = "0" * 64


def create(
    session: Session, *, name: str, owner: str, scope: Scope, expires_days: float | None = None, text: str | None = None
) -> tuple[ApiKey, str]:
    """A new key and its text, which is not to be had again; `text` is a key that was made elsewhere."""
    text = text or keytext.new()
    key = ApiKey(
        id=ids.new("key"),
        name=name,
        owner=owner,
        scope=scope,
        prefix=keytext.prefix(text),
        sha256=keytext.digest(text),
        expires_at=None if expires_days is None else from_now(expires_days * DAY_SECONDS),
    )
    session.add(key)
    session.flush()
    session.refresh(key)
    return key, text


def find(session: Session, text: str) -> tuple[ApiKey, bool] | None:
    """The usable key of this text, and whether its last use is to be noted anew; None where there is none.

    The hashes are compared in constant time, also where the prefix is not known.
    """
    query = select(ApiKey, _unnoted()).where(ApiKey.prefix == keytext.prefix(text), *_usable())
    found = session.execute(query).first()
    stored = found[0].sha256 if found else NO_DIGEST
    if not hmac.compare_digest(stored, keytext.digest(text)) or found is None:
        return None
    key, is_unnoted = found
    return key, bool(is_unnoted)


def usable(session: Session, key_id: str) -> tuple[ApiKey, bool] | None:
    """The key of this id while it opens anything, and whether its last use is to be noted anew."""
    found = session.execute(select(ApiKey, _unnoted()).where(ApiKey.id == key_id, *_usable())).first()
    return (found[0], bool(found[1])) if found else None


def note_use(session: Session, key_id: str) -> None:
    """Remember that a key is used now, once a minute."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id, _unnoted()).values(last_used_at=now()))


def revoke(session: Session, key_id: str) -> ApiKey:
    """Let a key open nothing any more, from the next request on; done twice, it is done once. Raises `NotFound`."""
    key = session.get(ApiKey, key_id, with_for_update=True)
    if key is None:
        raise NotFound("key", key_id)
    if key.revoked_at is None:
        key.revoked_at = now()
        session.flush()
        session.refresh(key)
    return key


def all_of_them(session: Session) -> Sequence[ApiKey]:
    """Every key that was ever made, the oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def is_any_usable(session: Session) -> bool:
    """Whether somebody can come in."""
    return bool(session.scalar(select(exists().where(*_usable()))))


def _usable() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())


def _unnoted() -> ColumnElement[bool]:
    return or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < ago(USED_SECONDS))
