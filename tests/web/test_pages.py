"""The pages over HTTP: who comes in, what may run, what is kept, what is said when something is wrong."""

import html
import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, func, select

from app.access import COOKIE
from app.store import keys
from app.store.engine import read, write
from app.store.models import WebSession
from app.store.scopes import Scope
from app.web import pages, rendering
from app.web.assets import FOLDER, bundle
from tests import packs
from tests.shop import Shop
from tests.specs import document
from tests.web.conftest import new_key

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
HERE = {"Sec-Fetch-Site": "same-origin"}
SPEC = {"Content-Type": "application/yaml"}
PAGES = [address for address, _ in rendering.PAGES]


@pytest.fixture
def http(open_door: tuple[httpx.Client, Engine]) -> httpx.Client:
    """A browser at a server that asks for no keys."""
    return open_door[0]


@pytest.fixture
def door(closed_door: tuple[httpx.Client, Engine]) -> tuple[httpx.Client, Engine]:
    """A browser at a server that asks for keys, not signed in."""
    closed_door[0].cookies.clear()
    return closed_door


def sign_in(http: httpx.Client, key: str, **form: str) -> httpx.Response:
    return http.post("/sign-in", data={"key": key, **form}, headers=HERE)


@pytest.mark.parametrize(
    "path", [*PAGES, "/ensembles/new", "/datasets/mnist5k", "/keys", "/sign-in?next=/", "/jobs/none"]
)
def test_nothing_runs_or_loads_that_is_not_one_of_our_files(http: httpx.Client, path: str) -> None:
    answer = http.get(path)

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=|javascript:", answer.text) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", answer.text) == []
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_no_script_or_style_names_another_host() -> None:
    ours = [path for path in FOLDER.rglob("*.*") if path.suffix in (".js", ".css") and "vendor" not in path.parts]

    for path in ours:
        found = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
        assert found <= {"http://www.w3.org/2000/svg"}, path


def test_files_are_kept_for_ever_under_the_hash_of_their_content_and_compressed(http: httpx.Client) -> None:
    url = bundle().url("job.js")

    answer, other = http.get(url), http.get(url.replace(bundle().version, "0" * 16))

    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.text == (FOLDER / "job.js").read_text()
    assert other.status_code == 404
    assert "immutable" not in other.headers["Cache-Control"]


def test_all_that_a_page_loads_is_there_and_light(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=document(), headers=HERE).json()["id"]

    for path in (*PAGES, f"/jobs/{job}", "/ensembles/new", "/datasets/mnist5k"):
        page = http.get(path)
        loaded = set(re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page.text))
        for url in list(loaded):
            if url.endswith(".js"):
                folder = url.rpartition("/")[0]
                loaded |= {f"{folder}/{name}" for name in re.findall(r"from \"\./([^\"]+)\"", http.get(url).text)}
        answers = [http.get(url) for url in loaded]
        assert all(answer.is_success for answer in answers), path
        assert sum(int(answer.headers["Content-Length"]) for answer in [page, *answers]) < 150_000, path


def test_text_from_elsewhere_is_never_markup(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=document(name=HOSTILE), headers=HERE).json()["id"]

    for path in (f"/jobs/{job}", f"/new?clone={job}"):
        text = http.get(path).text
        assert "<script>alert" not in text, path
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text, path
        assert "49" not in re.sub(r"[0-9a-f]{16,}", "", text).partition("</title>")[0], path


def test_a_clone_is_the_same_spec(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=document(name="a: [b] #c"), headers=HERE).json()

    page = http.get(f"/new?clone={job['id']}").text
    text = html.unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.S)[1])  # type: ignore[index]
    again = http.post("/v1/jobs:validate", content=text, headers={**SPEC, **HERE}).json()

    assert again["spec"] == job["spec"]


def test_a_spec_begins_with_the_data_set_that_it_is_to_be_trained_on(http: httpx.Client) -> None:
    begun, unknown = (http.get("/new", params={"dataset": name}).text for name in ("gaussian", "<none>"))

    assert "\ndataset: gaussian\n" in begun
    assert "\ndataset: mnist5k\n" in unknown


def test_keys_are_for_admins(door: tuple[httpx.Client, Engine]) -> None:
    http, engine = door
    _, submits = new_key(engine)
    _, administers = new_key(engine, scope=Scope.ADMIN)

    sign_in(http, submits)
    refused, menu = http.get("/keys"), http.get("/").text
    http.cookies.clear()
    sign_in(http, administers)
    shown, full_menu = http.get("/keys"), http.get("/").text

    assert (refused.status_code, shown.status_code) == (403, 200)
    assert "/keys" not in menu
    assert '<a href="/keys">' in full_menu


def test_an_import_leads_to_what_it_makes(open_door: tuple[httpx.Client, Engine]) -> None:
    http, _ = open_door
    content = packs.zipped(packs.images())
    made = http.post(
        "/v1/datasets",
        params={"name": "led-to"},
        content=content,
        headers={"Content-Type": "application/octet-stream", **HERE},
    ).json()

    page = http.get(made["links"]["job"].replace("/v1", "")).text

    assert '<a class="button primary" href="/datasets/led-to">' in page
    assert "curves-title" not in page


def test_every_example_can_be_started_from_and_trained(http: httpx.Client) -> None:
    examples = sorted(path.stem for path in (Path(__file__).parents[2] / "examples").glob("*.yaml"))
    offered = http.get("/new").text.partition('<select id="example"')[2].partition("</select>")[0]

    assert re.findall(r"<option value=\"([^\"]+)\"", offered) == examples == sorted(pages._examples())
    for text in pages._examples().values():
        answer = http.post("/v1/jobs:validate", content=text, headers={**SPEC, **HERE})
        assert answer.status_code == 200, text


def test_mistakes_in_yaml_are_told_with_their_lines(http: httpx.Client) -> None:
    def refused(text: str) -> list[tuple[str, int]]:
        answer = http.post("/v1/jobs:validate", content=text, headers={**SPEC, **HERE})
        assert answer.status_code == 422, answer.text
        return [(place["pointer"], place["line"]) for place in answer.json()["errors"]]

    wrong = "name: x\ndataset: mnist5k\nnetwork:\n  kind: lennet\nschedule: {kind: constant, learning_rate: 0.1}\n"

    assert refused(wrong + "epochs: 0\n") == [("/network/kind", 4), ("/epochs", 6)]
    assert refused("name: x\n  bad: [\n") == [("", 2)]
    assert refused("a: &x [1]\nb: *x\n") == [("", 2)]


def test_a_spec_in_yaml_may_not_be_long(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs:validate", content="#" * 70_000, headers={**SPEC, **HERE})

    assert answer.status_code == 413


def test_what_is_not_there_is_a_page_for_people_and_a_document_for_programs(http: httpx.Client) -> None:
    page, unknown = http.get("/jobs/job_none"), http.get("/nowhere")
    document = http.get("/jobs/job_none", headers={"Accept": "application/json"})

    for answer in (page, unknown):
        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.headers["X-Request-ID"] in answer.text
    assert "There is no job job_none." in page.text
    assert document.headers["Content-Type"] == "application/problem+json"


def test_what_another_site_asks_for_is_not_done(http: httpx.Client, open_door: tuple[httpx.Client, Engine]) -> None:
    job = Shop(open_door[1]).submit().id
    elsewhere: list[dict[str, str]] = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ]

    for headers in elsewhere:
        answer = http.post(f"/v1/jobs/{job}/pause", headers={**headers, "Accept": "*/*"})
        assert answer.status_code == 403, headers
        assert http.get(f"/v1/jobs/{job}").json()["status"] == "queued"
    ours = http.post(f"/v1/jobs/{job}/pause", headers={"Origin": str(http.base_url).rstrip("/")})
    assert ours.json()["status"] == "paused"


def test_who_is_not_signed_in_is_led_there_and_back(door: tuple[httpx.Client, Engine]) -> None:
    http, engine = door
    _, key = new_key(engine)

    led = http.get("/new?example=swa")
    form = http.get(led.headers["Location"])
    back = sign_in(http, key, next="/new?example=swa")

    assert (led.status_code, led.headers["Location"]) == (303, "/sign-in?next=/new%3Fexample%3Dswa")
    assert 'value="/new?example=swa"' in form.text
    assert (back.status_code, back.headers["Location"]) == (303, "/new?example=swa")
    assert http.get("/new?example=swa").status_code == 200


def test_a_session_keeps_the_key_out_of_the_browser_and_scripts_out_of_the_cookie(
    door: tuple[httpx.Client, Engine],
) -> None:
    http, engine = door
    _, key = new_key(engine)

    cookie = sign_in(http, key).headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert key not in cookie
    token = http.cookies[COOKIE]
    with read(engine) as session:
        assert token not in session.scalars(select(WebSession.sha256)).all()
    assert http.get("/v1/jobs").status_code == 200


def test_a_session_sees_and_submits_as_its_keys_owner(door: tuple[httpx.Client, Engine]) -> None:
    http, engine = door
    theirs = Shop(engine).submit(options={"owner": "bob"}).id
    sign_in(http, new_key(engine, "ada")[1])

    mine = http.post("/v1/jobs", json=document(), headers=HERE).json()

    assert mine["owner"] == "ada"
    assert http.get(f"/jobs/{mine['id']}").status_code == 200
    assert http.get(f"/jobs/{theirs}").status_code == http.get(f"/new?clone={theirs}").status_code == 404
    assert {job["owner"] for job in http.get("/v1/jobs?view=summary").json()["items"]} == {"ada"}


def test_another_site_does_nothing_with_a_session_and_a_key_is_good_from_anywhere(
    door: tuple[httpx.Client, Engine],
) -> None:
    http, engine = door
    _, key = new_key(engine)
    sign_in(http, key)
    bearer = {"Authorization": f"Bearer {key}", "Origin": "https://other.example"}

    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = http.post("/v1/jobs", json=document(), headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:annealer:problem:cross-site")
        assert http.post("/sign-out", headers=headers).status_code == 403

    assert http.post("/v1/jobs", json=document(), headers=bearer).status_code == 201


def test_a_session_ends_with_its_key_and_with_signing_out(door: tuple[httpx.Client, Engine]) -> None:
    http, engine = door
    key_id, key = new_key(engine)
    sign_in(http, key)
    kept = {COOKIE: http.cookies[COOKIE]}
    assert http.get("/v1/jobs").status_code == 200

    with write(engine) as session:
        keys.revoke(session, key_id)
    revoked = http.get("/v1/jobs").status_code
    sign_in(http, new_key(engine)[1])
    kept = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
    out = http.post("/sign-out", headers=HERE)

    assert revoked == 401
    assert out.headers["Location"] == "/sign-in"
    assert COOKIE not in http.cookies
    assert http.get("/v1/jobs", headers=kept).status_code == 401
    with read(engine) as session:
        assert (
            session.scalar(select(func.count()).select_from(WebSession).where(WebSession.key_id != key_id)) is not None
        )


def test_a_wrong_key_and_a_form_of_another_site_sign_nobody_in(door: tuple[httpx.Client, Engine]) -> None:
    http, engine = door
    _, key = new_key(engine)

    wrong = sign_in(http, "ann_wrong")
    elsewhere = http.post("/sign-in", data={"key": key}, headers={"Sec-Fetch-Site": "cross-site"})

    assert wrong.status_code == 403
    assert "unknown, expired or revoked" in wrong.text
    assert elsewhere.status_code == 403
    assert COOKIE not in http.cookies


@pytest.mark.parametrize("next", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y"])
def test_signing_in_leads_to_no_other_site(door: tuple[httpx.Client, Engine], next: str) -> None:
    http, engine = door

    answer = sign_in(http, new_key(engine)[1], next=next)

    assert answer.headers["Location"] == "/"


def test_a_link_from_another_site_finds_the_session_by_a_page_that_leads_on(
    door: tuple[httpx.Client, Engine],
) -> None:
    http, _ = door

    answer = http.get("/jobs/job_x", headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
