"""Keys as they are stored."""

from typing import Any

import pytest
from sqlalchemy import text

from app import keytext
from app.store import keys
from app.store.errors import NotFound
from app.store.models import ApiKey
from app.store.scopes import Scope
from tests.shop import Shop

OLD = "2020-01-01T00:00:00.000Z"


def made(shop: Shop, **options: Any) -> tuple[ApiKey, str]:
    return shop.act(lambda session: keys.create(session, name="n", owner="o", scope=Scope.READ, **options))


def stored(shop: Shop, key: ApiKey) -> ApiKey:
    with shop.look() as session:
        found: ApiKey = session.get_one(ApiKey, key.id)
        session.expunge(found)
        return found


def test_a_key_is_found_by_its_text_alone(shop: Shop) -> None:
    key, key_text = made(shop)
    other = f"{key_text[:13]}{keytext.new()[13:]}"

    found = shop.act(keys.find, key_text)

    assert found is not None
    assert (found[0].id, found[1]) == (key.id, True)
    assert keytext.prefix(other) == key.prefix
    assert shop.act(keys.find, other) is None
    assert shop.act(keys.find, "ann_") is None


def test_an_expired_or_revoked_key_is_not_found_and_nobody_can_come_in(shop: Shop) -> None:
    _, expired = made(shop, expires_days=-1e-6)
    key, revoked = made(shop)
    assert shop.act(keys.is_any_usable)

    shop.act(keys.revoke, key.id)

    assert shop.act(keys.find, expired) is None
    assert shop.act(keys.find, revoked) is None
    assert not shop.act(keys.is_any_usable)


def test_a_key_that_is_not_there_cannot_be_revoked(shop: Shop) -> None:
    with pytest.raises(NotFound, match="key_x"):
        shop.act(keys.revoke, "key_x")


def test_the_last_use_is_noted_once_a_minute(shop: Shop) -> None:
    key, key_text = made(shop)

    shop.act(keys.note_use, key.id)
    first = stored(shop, key).last_used_at
    shop.act(keys.note_use, key.id)
    again, (_, is_unnoted) = stored(shop, key).last_used_at, shop.act(keys.find, key_text)
    shop.act(lambda session: session.execute(text(f"UPDATE api_keys SET last_used_at = '{OLD}'")))
    _, is_unnoted_later = shop.act(keys.find, key_text)
    shop.act(keys.note_use, key.id)

    assert first is not None
    assert first == again
    assert (is_unnoted, is_unnoted_later) == (False, True)
    last = stored(shop, key).last_used_at
    assert last is not None
    assert last >= first


def test_scopes_cover_those_before_them() -> None:
    covered = {scope: [other for other in Scope if scope.covers(other)] for scope in Scope}

    assert covered == {
        Scope.READ: [Scope.READ],
        Scope.SUBMIT: [Scope.READ, Scope.SUBMIT],
        Scope.ADMIN: [Scope.READ, Scope.SUBMIT, Scope.ADMIN],
    }


def test_no_two_keys_are_alike_and_each_has_its_form() -> None:
    texts = {keytext.new() for _ in range(100)}

    assert len(texts) == 100
    assert all(keytext.prefix(one) and keytext.is_random(one) for one in texts)


def test_what_somebody_typed_is_not_random() -> None:
    assert not keytext.is_random(f"ann_{'a' * 8}_{'a' * 32}")
    assert not keytext.is_random("ann_secret")
    assert keytext.is_random("ann_0a1b2c3d_00112233445566778899aabbccddeeff")


def test_a_secret_is_cut_out_of_a_text_and_its_prefix_stays() -> None:
    key = keytext.new()

    told = keytext.redact(f'{{"path": "/v1/keys/{key}", "then": "{key}"}}')

    assert key.rpartition("_")[2] not in told
    assert told.count(f"ann_{keytext.prefix(key)}_…") == 2
