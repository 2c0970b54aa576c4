"""Browsers that are signed in: each by a key, and no longer than that key opens anything."""

import secrets
from hashlib import sha256

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store import keys
from app.store.clock import from_now, now
from app.store.models import ApiKey, WebSession

LIFE_SECONDS = 14 * 24 * 3600.0


def begin(session: Session, key: ApiKey) -> str:
    """Sign a browser in; what its cookie holds, 256 random bits that are not to be had again."""
    token = secrets.token_urlsafe(32)
    session.add(WebSession(sha256=_digest(token), key_id=key.id, expires_at=from_now(LIFE_SECONDS)))
    session.flush()
    return token


def find(session: Session, token: str) -> tuple[ApiKey, bool] | None:
    """The usable key that a browser is signed in by, and whether its last use is to be noted anew."""
    query = select(WebSession.key_id).where(WebSession.sha256 == _digest(token), WebSession.expires_at > now())
    key_id = session.scalar(query)
    return keys.usable(session, key_id) if key_id else None


def end(session: Session, token: str) -> None:
    """Sign a browser out; done twice, it is done once."""
    session.execute(delete(WebSession).where(WebSession.sha256 == _digest(token)))


def forget_expired(session: Session) -> None:
    """Remove those that open nothing any more."""
    session.execute(delete(WebSession).where(WebSession.expires_at <= now()))


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
