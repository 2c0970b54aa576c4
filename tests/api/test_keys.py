"""Who may come in, and what they see: keys, scopes, owners. On both databases."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select, text
from starlette.routing import BaseRoute

from app import keytext
from app.main import create
from app.settings import Settings
from app.store import engine as engines
from app.store import keys, uploads
from app.store.engine import read, write
from app.store.jobs import DEFAULT_OWNER
from app.store.models import ApiKey, Ensemble, Snapshot
from app.store.scopes import Scope
from app.web.assets import bundle
from tests.api.conftest import Api, Finished, served
from tests.servers import Template, Valkey, await_true
from tests.shop import Shop, clear
from tests.specs import document

READ, SUBMIT, ADMIN, NOBODY = Scope.READ, Scope.SUBMIT, Scope.ADMIN, None

DECIDED = {
    "GET /": READ,
    "GET /jobs/{job_id}": READ,
    "GET /new": READ,
    "GET /compare": READ,
    "GET /ensembles": READ,
    "GET /ensembles/new": READ,
    "GET /ensembles/{ensemble_id}": READ,
    "GET /datasets": READ,
    "GET /datasets/{name}": READ,
    "GET /keys": ADMIN,
    "GET /workers": READ,
    "GET /sign-in": NOBODY,
    "POST /sign-in": NOBODY,
    "POST /sign-out": NOBODY,
    "GET /static/{version}/{path:path}": NOBODY,
    "GET /docs": NOBODY,
    "GET /docs/oauth2-redirect": NOBODY,
    "GET /redoc": NOBODY,
    "GET /openapi.json": NOBODY,
    "HEAD /openapi.json": NOBODY,
    "GET /healthz": NOBODY,
    "GET /readyz": NOBODY,
    "GET /metrics": READ,
    "GET /v1/jobs": READ,
    "POST /v1/jobs": SUBMIT,
    "POST /v1/jobs:validate": SUBMIT,
    "GET /v1/jobs/{job_id}": READ,
    "PATCH /v1/jobs/{job_id}": SUBMIT,
    "DELETE /v1/jobs/{job_id}": SUBMIT,
    "POST /v1/jobs/{job_id}/cancel": SUBMIT,
    "POST /v1/jobs/{job_id}/pause": SUBMIT,
    "POST /v1/jobs/{job_id}/resume": SUBMIT,
    "POST /v1/jobs/{job_id}/retry": SUBMIT,
    "GET /v1/jobs/{job_id}/events": READ,
    "GET /v1/jobs/{job_id}/logs": READ,
    "GET /v1/jobs/{job_id}/metrics": READ,
    "GET /v1/jobs/{job_id}/layers": READ,
    "GET /v1/jobs/{job_id}/snapshots": READ,
    "GET /v1/jobs/{job_id}/ensemble": READ,
    "GET /v1/jobs/{job_id}/files": READ,
    "GET /v1/jobs/{job_id}/files/{file}": READ,
    "HEAD /v1/jobs/{job_id}/files/{file}": READ,
    "GET /v1/snapshots/{snapshot_id}": READ,
    "GET /v1/snapshots/{snapshot_id}/weights": READ,
    "HEAD /v1/snapshots/{snapshot_id}/weights": READ,
    "GET /v1/snapshots/{snapshot_id}/filters.png": READ,
    "POST /v1/snapshots/{snapshot_id}/predict": READ,
    "POST /v1/snapshots/{snapshot_id}/batch-predict": SUBMIT,
    "POST /v1/snapshots/{snapshot_id}/export": SUBMIT,
    "GET /v1/snapshots/{snapshot_id}/export": READ,
    "GET /v1/ensembles": READ,
    "POST /v1/ensembles": SUBMIT,
    "GET /v1/ensembles/{ensemble_id}": READ,
    "DELETE /v1/ensembles/{ensemble_id}": SUBMIT,
    "POST /v1/ensembles/{ensemble_id}/predict": READ,
    "POST /v1/ensembles/{ensemble_id}/batch-predict": SUBMIT,
    "POST /v1/ensembles/{ensemble_id}/export": SUBMIT,
    "GET /v1/ensembles/{ensemble_id}/export": READ,
    "GET /v1/ensembles/{ensemble_id}/card": READ,
    "GET /v1/jobs/{job_id}/curves.svg": READ,
    "GET /v1/jobs/{job_id}/report.html": READ,
    "GET /v1/compare": READ,
    "GET /v1/datasets": READ,
    "POST /v1/datasets": SUBMIT,
    "GET /v1/datasets/{name}": READ,
    "GET /v1/datasets/{name}/sample.png": READ,
    "DELETE /v1/datasets/{name}": SUBMIT,
    "GET /v1/uploads": READ,
    "POST /v1/uploads": SUBMIT,
    "GET /v1/uploads/{upload_id}": READ,
    "PUT /v1/uploads/{upload_id}/parts/{number}": SUBMIT,
    "DELETE /v1/uploads/{upload_id}": SUBMIT,
    "GET /v1/workers": READ,
    "POST /v1/workers/{worker_id}/drain": ADMIN,
    "POST /v1/workers/{worker_id}/resume": ADMIN,
    "GET /v1/keys": ADMIN,
    "POST /v1/keys": ADMIN,
    "DELETE /v1/keys/{key_id}": ADMIN,
}
"""The scope that each route asks for. A new route is written down here, or the first test below fails."""

OWNED = ("{job_id}", "{snapshot_id}", "{ensemble_id}", "{upload_id}")
OBJECTS = [route for route in DECIDED if any(id in route for id in OWNED)]
ASKING = [route for route, scope in DECIDED.items() if scope]

Texts = dict[tuple[str, Scope], str]


@dataclass
class Door:
    """A server that asks for keys, with one of each scope for two owners."""

    url: str
    engine: Engine
    texts: Texts

    def key(self, scope: Scope, owner: str = DEFAULT_OWNER) -> dict[str, str]:
        """The header that opens it."""
        return bearer(self.texts[owner, scope])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def made(engine: Engine, owner: str, scope: Scope, **options: Any) -> tuple[str, str]:
    """A new key's id and its text."""
    with write(engine) as session:
        key, key_text = keys.create(session, name=f"{owner}, {scope}", owner=owner, scope=scope, **options)
        return key.id, key_text


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def door(
    request: pytest.FixtureRequest,
    migrated: Callable[[str], Template],
    valkey: Valkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Door]:
    """A server that asks for keys, on each database."""
    with migrated(request.param).copy(tmp_path_factory.mktemp("keys")) as url:
        engine = engines.create(url)
        texts = {(owner, scope): made(engine, owner, scope)[1] for owner in (DEFAULT_OWNER, "bob") for scope in Scope}
        with served(Settings(database_url=url, broker_url=valkey.url)) as (address, _):
            yield Door(address, engine, texts)
        engine.dispose()


@pytest.fixture
def api(door: Door, broker_url: str) -> Iterator[Api]:
    """The server with an empty database but for its keys; nobody's key is sent unless a test does so."""
    with httpx.Client(base_url=door.url, timeout=20) as http:
        yield Api(door.url, http, Shop(door.engine))
    with write(door.engine) as session:
        clear(session)


def routes(found: list[BaseRoute]) -> Iterator[str]:
    """Every method and path that is served."""
    for route in found:
        if inner := getattr(route, "original_router", None):
            yield from routes(inner.routes)
        for method in getattr(route, "methods", None) or ():
            yield f"{method} {getattr(route, 'path', '')}"


def ids(api: Api, job_id: str) -> dict[str, str]:
    """What stands for each part of a path: all of it belongs to the default owner."""
    with api.shop.look() as session:
        snapshot = session.scalars(select(Snapshot.id).where(Snapshot.job_id == job_id)).first()
        ensemble = session.scalars(select(Ensemble.id).where(Ensemble.job_id == job_id)).first()
    announced = {"owner": DEFAULT_OWNER, "name": "x", "size": 9, "sha256": "0" * 64}
    upload, _ = api.shop.act(lambda session: uploads.begin(session, **announced, part_bytes=9, most_bytes=9))
    names = {
        "name": "mnist5k",
        "key_id": "key_x",
        "upload_id": upload.id,
        "number": "7777",
        "file": "table.csv",
        "worker_id": "work_x",
    }
    return names | {"job_id": job_id, "snapshot_id": snapshot, "ensemble_id": ensemble}


def ask(api: Api, route: str, parts: dict[str, str], **headers: str) -> httpx.Response:
    method, path = route.replace(":path", "").split()
    return api.http.request(method, path.format(**parts), headers=headers)


def test_what_each_route_asks_for_has_been_decided(sqlite_url: str, broker_url: str) -> None:
    app = create(Settings(database_url=sqlite_url, broker_url=broker_url))

    assert set(routes(app.routes)) == set(DECIDED)


@pytest.mark.parametrize("route", [route for route, scope in DECIDED.items() if scope is NOBODY])
def test_what_holds_nobodys_data_asks_for_no_key(api: Api, route: str) -> None:
    answer = ask(api, route, {"version": bundle().version, "path": "icon.svg"})

    # Where a key is given to sign in with, none is refused as a page says it.
    assert answer.status_code < 400 or (route == "POST /sign-in" and answer.status_code == 403)


@pytest.mark.parametrize("route", ASKING)
def test_a_route_opens_to_the_scopes_that_cover_it_alone(api: Api, door: Door, finished: Finished, route: str) -> None:
    needed = DECIDED[route]
    assert needed
    parts = ids(api, finished.id)
    unknown = bearer(keytext.new())

    missing, wrong = ask(api, route, parts), ask(api, route, parts, **unknown)
    below = [ask(api, route, parts, **door.key(scope)) for scope in Scope if not scope.covers(needed)]
    enough = ask(api, route, parts, **door.key(needed))

    assert missing.status_code == wrong.status_code == 401
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="annealer"'
    assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="annealer", error="invalid_token"'
    for answer in below:
        assert answer.status_code == 403
        assert f'error="insufficient_scope", scope="{needed}"' in answer.headers["WWW-Authenticate"]
    assert enough.status_code not in (401, 403)
    if not route.startswith("HEAD"):
        assert {answer.headers["Content-Type"] for answer in (missing, wrong, *below)} == {"application/problem+json"}


@pytest.mark.parametrize("route", OBJECTS)
def test_what_is_anothers_is_not_found_as_if_there_were_none(
    api: Api, door: Door, finished: Finished, route: str
) -> None:
    parts = ids(api, finished.id)
    none = dict.fromkeys(parts, "none")
    bob = door.key(SUBMIT, "bob")
    before = ask(api, "GET /v1/jobs/{job_id}", parts, **door.key(READ)).json()

    theirs, nothing = ask(api, route, parts, **bob), ask(api, route, none, **bob)
    kept = ask(api, "GET /v1/jobs/{job_id}", parts, **door.key(READ))
    as_admin = ask(api, route, parts, **door.key(ADMIN, "bob"))

    assert theirs.status_code == nothing.status_code == 404
    if not route.startswith("HEAD"):
        told = [answer.json() for answer in (theirs, nothing)]
        for document, named in zip(told, (parts, none), strict=True):
            document.pop("request_id")
            # The longest first: a number may be a part of an id.
            for id in sorted(named.values(), key=len, reverse=True):
                document["detail"] = document["detail"].replace(id, "ID")
                document["instance"] = document["instance"].replace(id, "ID")
        assert told[0] == told[1]
    assert kept.json() == before
    assert as_admin.status_code not in (401, 403)
    assert as_admin.status_code != 404 or as_admin.json()["type"].endswith("not-exported")


def test_anothers_events_are_not_streamed_either(api: Api, door: Door) -> None:
    claim = api.shop.claimed()

    answer = api.http.get(
        f"/v1/jobs/{claim.job_id}/events", headers={"Accept": "text/event-stream", **door.key(READ, "bob")}
    )

    assert answer.status_code == 404


def test_lists_show_ones_own_and_an_admin_all(api: Api, door: Door) -> None:
    mine = api.submit(headers=door.key(SUBMIT)).json()
    theirs = api.submit(headers=door.key(SUBMIT, "bob")).json()

    def listed(headers: dict[str, str]) -> list[str]:
        return [job["id"] for job in api.http.get("/v1/jobs", headers=headers).json()["items"]]

    assert (mine["owner"], theirs["owner"]) == (DEFAULT_OWNER, "bob")
    assert listed(door.key(READ)) == [mine["id"]]
    assert listed(door.key(SUBMIT, "bob")) == [theirs["id"]]
    assert listed(door.key(ADMIN, "bob")) == [theirs["id"], mine["id"]]


def test_ensembles_are_made_of_ones_own_snapshots_alone(api: Api, door: Door) -> None:
    training = api.shop.trained(options={"owner": "bob"})
    document = {"name": "mine", "members": {"kind": "snapshots", "ids": api.shop.snapshots(training)}}
    of_jobs = {"name": "mine", "members": {"kind": "jobs", "ids": [training.job_id]}}

    answers = [api.http.post("/v1/ensembles", json=asked, headers=door.key(SUBMIT)) for asked in (document, of_jobs)]
    theirs = api.http.post("/v1/ensembles", json=document, headers=door.key(SUBMIT, "bob")).json()

    codes = [[place["code"] for place in answer.json()["errors"]] for answer in answers]
    assert codes == [["unknown_snapshot"] * 2, ["unknown_job"]]
    assert theirs["owner"] == "bob"
    for scope, owner, seen in (
        (READ, DEFAULT_OWNER, []),
        (READ, "bob", [theirs["id"]]),
        (ADMIN, DEFAULT_OWNER, [theirs["id"]]),
    ):
        listed = api.http.get("/v1/ensembles", headers=door.key(scope, owner)).json()["items"]
        assert [one["id"] for one in listed] == seen


def test_only_ones_own_trainings_are_compared(api: Api, door: Door) -> None:
    mine, theirs = (api.shop.trained(options={"owner": owner}).job_id for owner in (DEFAULT_OWNER, "bob"))
    asked = {"jobs": [mine, theirs]}

    answers = [
        api.http.get("/v1/compare", params=asked, headers=door.key(scope, "bob")).status_code for scope in (READ, ADMIN)
    ]

    assert answers == [404, 200]


def test_a_page_of_anothers_list_does_not_go_on(api: Api, door: Door) -> None:
    for _ in range(2):
        api.submit(headers=door.key(SUBMIT))
    cursor = api.http.get("/v1/jobs?limit=1", headers=door.key(READ)).json()["next_cursor"]

    answer = api.http.get("/v1/jobs", params={"cursor": cursor}, headers=door.key(READ, "bob"))

    assert answer.status_code == 422


def test_a_key_submits_for_its_owner_alone(api: Api, door: Door) -> None:
    same = api.submit(headers={"Annealer-Owner": "bob", **door.key(SUBMIT, "bob")})
    other = api.submit(headers={"Annealer-Owner": "carol", **door.key(SUBMIT, "bob")})

    assert (same.status_code, same.json()["owner"]) == (201, "bob")
    assert other.status_code == 422
    assert other.json()["errors"][0]["header"] == "Annealer-Owner"


def test_the_same_idempotency_key_is_another_for_another_owner(api: Api, door: Door) -> None:
    once = {"Idempotency-Key": "once"}

    mine, again, theirs = (
        api.submit(headers={**once, **door.key(SUBMIT, owner)}) for owner in (DEFAULT_OWNER, DEFAULT_OWNER, "bob")
    )

    assert mine.json()["id"] == again.json()["id"] != theirs.json()["id"]
    assert theirs.json()["owner"] == "bob"


def test_events_name_whose_key_asked(api: Api, door: Door) -> None:
    claim = api.shop.claimed()

    for wish, scope, owner in (("pause", SUBMIT, DEFAULT_OWNER), ("cancel", ADMIN, "bob")):
        api.http.post(f"/v1/jobs/{claim.job_id}/{wish}", headers=door.key(scope, owner)).raise_for_status()

    told = api.http.get(f"/v1/jobs/{claim.job_id}/events", headers=door.key(READ)).json()["items"]
    assert [event["message"] for event in told[-2:]] == [
        "default asked to pause the job.",
        "bob asked to cancel the job.",
    ]


@pytest.mark.parametrize("kind", ["unknown", "other secret", "expired", "revoked", "no key", "longer", "not ASCII"])
def test_one_answer_whatever_is_wrong_with_a_key(api: Api, door: Door, kind: str) -> None:
    good = door.texts[DEFAULT_OWNER, ADMIN]
    bad = {
        "unknown": keytext.new(),
        "other secret": good[:-1] + ("b" if good[-1] == "a" else "a"),
        "no key": "ann_",
        "longer": good + "a",
        "not ASCII": good[:-1] + "ä",
    }.get(kind)
    if kind in ("expired", "revoked"):
        id, bad = made(door.engine, "bob", ADMIN, expires_days=-1 if kind == "expired" else None)
        if kind == "revoked":
            api.shop.act(keys.revoke, id)
    assert bad is not None

    answer = api.http.get("/v1/jobs", headers={"Authorization": f"Bearer {bad}".encode()})

    problem = answer.json()
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="annealer", error="invalid_token"'
    assert problem["type"] == "urn:annealer:problem:key-missing-or-invalid"
    assert problem["detail"] == "The key is unknown, expired or revoked."
    assert bad not in answer.text


def test_another_scheme_is_no_key_and_the_schemes_name_is_read_in_any_case(api: Api, door: Door) -> None:
    key = door.texts[DEFAULT_OWNER, READ]

    basic = api.http.get("/v1/jobs", headers={"Authorization": f"Basic {key}"})
    lower = api.http.get("/v1/jobs", headers={"Authorization": f"bearer {key}"})
    in_query = api.http.get("/v1/jobs", params={"key": key})

    assert [answer.status_code for answer in (basic, lower, in_query)] == [401, 200, 401]
    assert basic.headers["WWW-Authenticate"] == 'Bearer realm="annealer"'


def test_an_admin_makes_a_key_that_is_shown_once_and_revokes_it_at_once(api: Api, door: Door) -> None:
    admin = door.key(ADMIN)
    asked = {"name": "laptop", "owner": "carol", "scope": "read", "expires_days": 2}

    answer = api.http.post("/v1/keys", json=asked, headers=admin)
    made_key = answer.json()
    opened = api.http.get("/v1/jobs", headers=bearer(made_key["key"]))
    listed = api.http.get("/v1/keys", headers=admin)
    gone = [api.http.delete(f"/v1/keys/{made_key['id']}", headers=admin) for _ in range(2)]
    closed = api.http.get("/v1/jobs", headers=bearer(made_key["key"]))

    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert opened.status_code == 200
    assert made_key["key"] not in listed.text
    (shown,) = (one for one in listed.json()["items"] if one["id"] == made_key["id"])
    assert (shown["name"], shown["owner"], shown["scope"]) == ("laptop", "carol", "read")
    assert made_key["key"].startswith(f"ann_{shown['prefix']}_")
    assert shown["last_used_at"]
    assert [one.status_code for one in gone] == [200, 200]
    assert gone[0].json()["revoked_at"] == gone[1].json()["revoked_at"]
    assert closed.status_code == 401


def test_nothing_stored_opens_anything(api: Api, door: Door) -> None:
    with read(door.engine) as session:
        stored = str(session.execute(text("SELECT * FROM api_keys")).all())

    for key in door.texts.values():
        assert keytext.digest(key) in stored
        assert key.rpartition("_")[2] not in stored


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"scope": "all"}, "/scope"),
        ({"owner": "-"}, "/owner"),
        ({"name": ""}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"expires_days": 0}, "/expires_days"),
        ({"key": "ann_"}, "/key"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_place(
    api: Api, door: Door, changes: dict[str, Any], pointer: str
) -> None:
    asked = {"name": "laptop", "owner": "carol", "scope": "read"} | changes

    answer = api.http.post("/v1/keys", json=asked, headers=door.key(ADMIN))

    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == [pointer]


def test_the_document_says_which_routes_ask_for_a_key(api: Api) -> None:
    described = api.http.get("/openapi.json").json()

    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            needed = DECIDED[f"{method.upper()} {path}"]
            assert operation.get("security") == ([{"key": [needed]}] if needed else None)
            assert ({"401", "403"} <= set(operation["responses"])) == bool(needed)


def test_requests_are_counted_by_key_and_those_without_by_address(sqlite_url: str, broker_url: str) -> None:
    engine = engines.create(sqlite_url)
    first, second = (made(engine, "bob", READ)[1] for _ in range(2))
    settings = Settings(database_url=sqlite_url, broker_url=broker_url, requests_per_minute=2)
    # Minutes are those of the clock: all of this is to happen within one.
    await_true(lambda: time.time() % 60 < 50, 20)
    with served(settings) as (url, _), httpx.Client(base_url=url) as http:
        mine = [http.get("/v1/datasets", headers=bearer(first)) for _ in range(3)]
        other = http.get("/v1/datasets", headers=bearer(second))
        unknown = [http.get("/v1/datasets", headers=bearer(keytext.new())) for _ in range(3)]

    assert [answer.status_code for answer in mine] == [200, 200, 429]
    assert mine[0].headers["RateLimit-Policy"] == '"key";q=2;w=60'
    assert other.status_code == 200
    assert [answer.status_code for answer in unknown] == [401, 401, 429]


def test_where_no_keys_are_asked_for_none_is_made_over_http(sqlite_url: str, broker_url: str) -> None:
    settings = Settings(database_url=sqlite_url, broker_url=broker_url, keys="off")
    with served(settings) as (url, engine), httpx.Client(base_url=url) as http:
        answer = http.post("/v1/keys", json={"name": "n", "owner": "o", "scope": "admin"})
        with read(engine) as session:
            stored = session.scalars(select(ApiKey)).all()

    assert answer.status_code == 403
    assert "annealer keys create" in answer.json()["detail"]
    assert stored == []


def test_a_server_that_asks_for_no_keys_answers_on_its_own_addresses_alone(sqlite_url: str, broker_url: str) -> None:
    app = create(Settings(database_url=sqlite_url, broker_url=broker_url, keys="off"))

    async def get(host: str, path: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}") as http:
            return (await http.get(path)).status_code

    assert asyncio.run(get("127.0.0.1", "/v1/datasets")) == 200
    assert asyncio.run(get("10.0.0.5", "/v1/datasets")) == 403
    assert asyncio.run(get("10.0.0.5", "/healthz")) == 200
    app.state.engine.dispose()


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Host": "localhost:8400"}, 200, None),
        ({"Host": "[::1]:8400"}, 200, None),
        ({"Host": "127.3.2.1"}, 200, None),
        ({"Host": "evil.example"}, 421, "host-refused"),
        ({"Host": "localhost.evil.example:8400"}, 421, "host-refused"),
        ({"Host": "evil.example@127.0.0.1.evil"}, 421, "host-refused"),
        ({"Host": "[::1"}, 421, "host-refused"),
        ({"Host": ""}, 421, "host-refused"),
        ({"Host": "localhost:8400", "Origin": "http://localhost:8400"}, 200, None),
        ({"Host": "localhost:8400", "Origin": "http://localhost:3000"}, 403, "origin-refused"),
        ({"Host": "localhost:8400", "Origin": "https://evil.example"}, 403, "origin-refused"),
        ({"Host": "localhost:8400", "Origin": "null"}, 403, "origin-refused"),
    ],
)
def test_a_server_that_asks_for_no_keys_answers_no_page_of_another_site(
    sqlite_url: str, broker_url: str, headers: dict[str, str], status: int, kind: str | None
) -> None:
    """A name of any site may be made to point here (DNS rebinding), and any page may send what needs no permission."""
    app = create(Settings(database_url=sqlite_url, broker_url=broker_url, keys="off"))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
            return await http.get("/v1/datasets", headers=headers)

    answer = asyncio.run(ask())
    app.state.engine.dispose()

    assert answer.status_code == status
    if kind:
        assert answer.json()["type"] == f"urn:annealer:problem:{kind}"
        assert answer.json()["errors"][0]["header"] in headers


def test_where_keys_are_asked_for_every_name_and_origin_will_do(api: Api, door: Door) -> None:
    """No browser sends a key by itself."""
    headers = {**door.key(SUBMIT), "Host": "annealer.example", "Origin": "https://other.example"}

    assert api.http.get("/v1/datasets", headers=headers).status_code == 200


def test_a_key_cannot_be_looked_up_while_the_database_is_away(tmp_path: Any, broker_url: str) -> None:
    away = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    settings = Settings(database_url=away, broker_url=broker_url, metrics_token="watches-it-all-day")
    with served(settings) as (url, _), httpx.Client(base_url=url) as http:
        figures = http.get("/metrics", headers=bearer("watches-it-all-day"))
        elsewhere = http.get("/v1/datasets", headers=bearer("watches-it-all-day"))
        answer = http.get("/v1/jobs", headers=bearer(keytext.new()))
        health = http.get("/healthz", headers=bearer(keytext.new()))

    assert (answer.status_code, answer.headers["Retry-After"], health.status_code) == (503, "2", 200)
    assert "annealer_database_up 0.0" in figures.text
    assert elsewhere.status_code != 200


def test_a_submit_with_a_key_is_what_it_is_without(api: Api, door: Door) -> None:
    answer = api.http.post("/v1/jobs", json=document(), headers=door.key(SUBMIT))

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"


def test_a_data_set_of_another_is_not_found_and_names_nothing_in_a_spec(api: Api, door: Door) -> None:
    mine = {"source": {"kind": "named", "name": "mnist"}}
    made = api.http.post("/v1/datasets", json=mine, headers=door.key(SUBMIT))
    assert made.status_code == 202

    def seen(scope: Scope, owner: str) -> list[int]:
        asked = ("/v1/datasets/mnist", "/v1/datasets/mnist5k", "/v1/datasets/mnist/sample.png")
        return [api.http.get(address, headers=door.key(scope, owner)).status_code for address in asked]

    assert seen(READ, "bob") == [404, 200, 404]
    assert seen(READ, DEFAULT_OWNER) == seen(ADMIN, "bob") == [200, 200, 409]
    spec = api.http.post("/v1/jobs", json=document(dataset="mnist"), headers=door.key(SUBMIT, "bob"))
    assert spec.json()["errors"][0]["code"] == "unknown_dataset"
    assert "mnist," not in spec.json()["errors"][0]["detail"]
    taken = api.http.post("/v1/datasets", json=mine, headers=door.key(SUBMIT, "bob"))
    assert (taken.status_code, taken.json()["detail"]) == (
        409,
        "The name mnist belongs to another data set; choose another name.",
    )


def test_an_upload_of_another_cannot_be_imported(api: Api, door: Door) -> None:
    asked = {"name": "x.zip", "size": 3, "sha256": "0" * 64}
    upload = api.http.post("/v1/uploads", json=asked, headers=door.key(SUBMIT)).json()
    document = {"name": "x", "source": {"kind": "upload", "upload": upload["id"]}}

    answer = api.http.post("/v1/datasets", json=document, headers=door.key(SUBMIT, "bob"))

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_upload")
